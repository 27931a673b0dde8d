/* SPDX-License-Identifier: Apache-2.0 */
/* Replies of our own: one status, one sentence, and what support needs to find the log line. */
#include "base/clock.h"
#include "http/message.h"

#include <time.h>

enum { PAGE_MAX_BYTES = 32768, DETAILS_MAX_BYTES = 16384 };

/* X(status, reason) */
#define REASONS(X) \
	X(100, "Continue") X(101, "Switching Protocols") X(200, "OK") X(400, "Bad Request") \
	X(403, "Forbidden") X(404, "Not Found") X(405, "Method Not Allowed") \
	X(407, "Proxy Authentication Required") X(408, "Request Timeout") X(417, "Expectation Failed") \
	X(429, "Too Many Requests") \
	X(431, "Request Header Fields Too Large") X(500, "Internal Server Error") \
	X(501, "Not Implemented") X(502, "Bad Gateway") X(503, "Service Unavailable") \
	X(504, "Gateway Timeout") X(505, "HTTP Version Not Supported") X(508, "Loop Detected")

const char *http_reason(int status)
{
	switch (status) {
#define REASON_CASE(number, text) \
	case number: \
		return text;
		REASONS(REASON_CASE)
#undef REASON_CASE
	default:
		return "";
	}
}

/* The weight of a media type in Accept, times 1000 (RFC 9110 section 12.4.2); -1 if not named. */
static int weight_of(const struct http_head *head, struct span type)
{
	const struct http_field *accept = http_find(head, "accept");
	struct span rest, element;

	if (accept == NULL)
		return -1;
	rest = accept->value;
	while (span_split(&rest, ',', &element)) {
		struct span parameter, name;

		if (!span_split(&element, ';', &name) || !span_equal_nocase(span_trim(name), type))
			continue;
		while (span_split(&element, ';', &parameter)) {
			parameter = span_trim(parameter);
			if (!span_starts_with(parameter, SPAN("q=0")))
				continue;
			parameter = span_skip(parameter, 3);
			return parameter.len >= 2 && parameter.at[0] == '.' ? (parameter.at[1] - '0') * 100
			                                                    : 0;
		}
		return 1000;
	}
	return -1;
}

bool http_wants_html(const struct http_head *head)
{
	int html = weight_of(head, SPAN("text/html"));

	return html > 0 && html >= weight_of(head, SPAN("text/plain"));
}

/* A string of RFC 8941 section 3.3.3: visible ASCII, quotes and backslashes escaped. */
static void add_sf_string(struct buf *out, struct span text)
{
	buf_add_byte(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];

		if (byte == '"' || byte == '\\')
			buf_add_byte(out, '\\');
		buf_add_byte(out, byte >= 0x20 && byte < 0x7f ? byte : '?');
	}
	buf_add_byte(out, '"');
}

static void add_details(const struct http_reply *reply, struct buf *out)
{
	struct buf text;

	buf_init(&text, DETAILS_MAX_BYTES);
	buf_add_string(&text, err_name(reply->err));
	if (reply->detail && reply->detail[0])
		buf_printf(&text, ": %s", reply->detail);
	if (reply->rule.len)
		buf_printf(&text, "; decided by %.*s", SPAN_ARG(reply->rule));
	if (reply->entry.len)
		buf_printf(&text, "; because of %.*s", SPAN_ARG(reply->entry));
	if (reply->why && reply->why[0])
		buf_printf(&text, "; why %s", reply->why);
	buf_printf(&text, "; id %s", reply->id);
	buf_add(out, SPAN("; details="));
	add_sf_string(out, buf_span(&text));
	buf_fini(&text);
}

static void add_proxy_status(const struct http_reply *reply, struct buf *out)
{
	if (reply->err == ERR_NONE)
		return;
	buf_printf(out, "Proxy-Status: %s; error=%s", reply->proxy_name, err_token(reply->err));
	add_details(reply, out);
	buf_add(out, SPAN("\r\n"));
}

/* ---- the page ---- */

enum { ROWS_MAX = 7 };

struct row {
	const char *name;
	struct span value;
};

static size_t rows_of(const struct http_reply *reply, struct row rows[static ROWS_MAX])
{
	const struct row all[ROWS_MAX] = {
		{"Destination", reply->authority},
		{"Address", reply->address},
		{"Decided by", reply->rule},
		{"Because of", reply->entry},
		{"Reason", span_from(reply->detail)},
		{"Why", span_from(reply->why)},
		{"Id", span_from(reply->id)},
	};
	size_t count = 0;

	for (size_t i = 0; i < COUNT_OF(all); i++)
		if (all[i].value.len)
			rows[count++] = all[i];
	return count;
}

/* What the reader can do; waiting helps against neither a typing error nor a wrong configuration. */
static const char *advice(const struct http_reply *reply)
{
	struct span token = span_from(err_token(reply->err));

	if (reply->err == ERR_DNS_NOT_FOUND)
		return "Check the spelling of the name.";
	if (span_equal(token, SPAN("proxy_configuration_error")) ||
	    span_equal(token, SPAN("proxy_loop_detected")))
		return "The configuration of the proxy must be mended; your IT department needs the "
		       "lines above.";
	if (reply->status == 407)
		return "Log on with the name and password that you have from your IT department, or to your domain.";
	if (reply->status == 429)
		return "Wait a minute, and then log on with the right password. If it stays, a program of yours still uses an old one.";
	if (reply->status == 403)
		return "If you need this destination, ask your IT department to allow it, and give the "
		       "lines above.";
	if (reply->status >= 500 && !span_equal(token, SPAN("http_request_error")))
		return "Try again in a moment. If it stays, give your IT department the lines above.";
	return "The program that sent this request must be mended; its maker needs the lines above.";
}

static struct span title_of(const struct http_reply *reply)
{
	return reply->title.len ? reply->title : span_from(http_reason(reply->status));
}

/* The texts of the table of errors are clauses. */
static void add_html_sentence(struct buf *out, struct span text)
{
	if (text.len && text.at[0] >= 'a' && text.at[0] <= 'z') {
		buf_add_byte(out, (uint8_t)(text.at[0] - 'a' + 'A'));
		text = span_skip(text, 1);
	}
	buf_add_html(out, text);
	buf_add_byte(out, '.');
}

static void add_html_page(const struct http_reply *reply, struct buf *out)
{
	struct row rows[ROWS_MAX];
	size_t count = rows_of(reply, rows);

	buf_add(out, SPAN("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>"));
	buf_add_html(out, title_of(reply));
	buf_add(out, SPAN("</title><meta name=\"viewport\" content=\"width=device-width\"><style>"
	                  "body{font:16px/1.5 system-ui,sans-serif;max-width:42em;margin:4em auto;"
	                  "padding:0 1em;color:#222;background:#fff}"
	                  "th{text-align:left;padding-right:1em;font-weight:600;vertical-align:top}"
	                  "td{overflow-wrap:anywhere}h1{font-size:1.5em}footer{color:#666}"
	                  "</style></head><body>\n<h1>"));
	buf_add_html(out, title_of(reply));
	buf_add(out, SPAN("</h1>\n<p>"));
	add_html_sentence(out, reply->text.len ? reply->text : span_from(err_text(reply->err)));
	buf_add(out, SPAN("</p>\n<table>"));
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "<tr><th>%s</th><td>", rows[i].name);
		buf_add_html(out, rows[i].value);
		buf_add(out, SPAN("</td></tr>\n"));
	}
	buf_add(out, SPAN("</table>\n"));
	if (reply->err)
		buf_printf(out, "<p>%s</p>\n", advice(reply));
	buf_printf(out, "<footer>%s, a Sallyport proxy</footer></body></html>\n", reply->proxy_name);
}

/* Control characters do not reach a terminal. */
static void add_plain(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		buf_add_byte(out, text.at[i] >= 0x20 && text.at[i] != 0x7f ? text.at[i] : '?');
}

static void add_plain_page(const struct http_reply *reply, struct buf *out)
{
	struct row rows[ROWS_MAX];
	size_t count = rows_of(reply, rows);

	add_plain(out, title_of(reply));
	buf_add(out, SPAN(": "));
	add_plain(out, reply->text.len ? reply->text : span_from(err_text(reply->err)));
	buf_add(out, SPAN(".\n"));
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "%s: ", rows[i].name);
		add_plain(out, rows[i].value);
		buf_add_byte(out, '\n');
	}
}

static void add_date(struct buf *out, uint64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	char text[64];
	struct tm tm;

	if (gmtime_r(&seconds, &tm) &&
	    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm))
		buf_printf(out, "Date: %s\r\n", text);
}

void http_write_reply(const struct http_reply *reply, uint64_t wall_ms, struct buf *out)
{
	struct buf page;

	buf_init(&page, PAGE_MAX_BYTES);
	if (reply->html)
		add_html_page(reply, &page);
	else
		add_plain_page(reply, &page);
	buf_printf(out, "HTTP/1.1 %d %s\r\n", reply->status, http_reason(reply->status));
	add_date(out, wall_ms);
	buf_printf(out,
	           "Content-Type: text/%s; charset=utf-8\r\nContent-Language: en\r\n"
	           "Content-Length: %zu\r\nCache-Control: no-store\r\n",
	           reply->html ? "html" : "plain", buf_len(&page));
	if (reply->html)
		buf_add(out, SPAN("Content-Security-Policy: default-src 'none'; style-src "
		                  "'unsafe-inline'\r\nX-Content-Type-Options: nosniff\r\n"));
	add_proxy_status(reply, out);
	buf_add(out, reply->fields);
	buf_printf(out, "Connection: %s\r\nProxy-Connection: %s\r\n\r\n",
	           reply->keep_alive ? "keep-alive" : "close",
	           reply->keep_alive ? "keep-alive" : "close");
	if (!reply->head_only)
		buf_add(out, buf_span(&page));
	buf_fini(&page);
}
