/* SPDX-License-Identifier: Apache-2.0 */
#include "http/message.h"

static void add_field(struct buf *out, const char *name, struct span value)
{
	buf_add_string(out, name);
	buf_add(out, SPAN(": "));
	buf_add(out, value);
	buf_add(out, SPAN("\r\n"));
}

/* host[:port] as it belongs into Host: the default port is left out (RFC 9110 section 4.2.1). */
static void add_host(const struct http_host *host, uint16_t default_port, struct buf *out)
{
	bool brackets = host->address.family == AF_INET6;

	buf_add(out, SPAN("Host: "));
	if (brackets)
		buf_add_byte(out, '[');
	buf_add(out, host->name);
	if (brackets)
		buf_add_byte(out, ']');
	if (host->port != (default_port ? default_port : 80))
		buf_printf(out, ":%u", host->port);
	buf_add(out, SPAN("\r\n"));
}

/* Fields that this writer makes itself, from what the parser understood of them. */
static bool is_written_here(struct span name)
{
	static const char *const names[] = {"content-length", "transfer-encoding", "max-forwards"};

	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (span_equal_nocase(name, span_from(names[i])))
			return true;
	return false;
}

static bool is_edited(const struct http_forward *forward, struct span name)
{
	for (size_t i = 0; i < forward->edit_count; i++)
		if (span_equal_nocase(forward->edits[i].name, name))
			return true;
	return false;
}

static void add_edits(const struct http_forward *forward, struct buf *out)
{
	for (size_t i = 0; i < forward->edit_count; i++) {
		if (!forward->edits[i].is_set)
			continue;
		buf_add(out, forward->edits[i].name);
		buf_add(out, SPAN(": "));
		buf_add(out, forward->edits[i].value);
		buf_add(out, SPAN("\r\n"));
	}
}

static void copy_fields(const struct http_head *head, const char *without, const struct http_forward *forward,
                        struct buf *out)
{
	for (size_t i = 0; i < head->field_count; i++) {
		const struct http_field *field = &head->fields[i];

		if (http_is_hop_by_hop(head, field->name) || is_written_here(field->name) ||
		    span_equal_nocase(field->name, span_from(without)) || is_edited(forward, field->name))
			continue;
		buf_add(out, field->name);
		buf_add(out, SPAN(": "));
		buf_add(out, field->value);
		buf_add(out, SPAN("\r\n"));
	}
	add_edits(forward, out);
}

static void copy_named(const struct http_head *head, const char *name, struct buf *out)
{
	for (size_t i = 0; i < head->field_count; i++)
		if (span_equal_nocase(head->fields[i].name, span_from(name)))
			add_field(out, name, head->fields[i].value);
}

static void add_upgrade(const struct http_head *head, struct buf *out)
{
	copy_named(head, "Upgrade", out);
	buf_add(out, SPAN("Connection: Upgrade\r\n"));
}

static void add_framing(const struct http_head *head, const struct http_forward *forward,
                        struct buf *out)
{
	const struct http_field *length = http_find(head, "content-length");
	/* RFC 9110 section 8.6 forbids it there. */
	bool never = head->status == 204 || (head->status >= 100 && head->status < 200);

	if (forward->framing == HTTP_CHUNKED) {
		buf_add(out, SPAN("Transfer-Encoding: chunked\r\n"));
		copy_named(head, "Trailer", out);
	} else if (forward->framing == HTTP_LENGTH) {
		buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)head->body_bytes);
	} else if (length && !never && forward->framing == HTTP_NO_BODY) {
		/* Of an empty request body, or what a GET would have had (HEAD, 304). */
		add_field(out, "Content-Length", length->value);
	}
}

static void add_via(const struct http_head *head, const struct http_forward *forward,
                    struct buf *out)
{
	if (!forward->without_via)
		buf_printf(out, "Via: 1.%u %s\r\n", head->minor, forward->via);
}

static void add_max_forwards(const struct http_head *head, const struct http_forward *forward,
                             struct buf *out)
{
	const struct http_field *field = http_find(head, "max-forwards");

	if (forward->max_forwards != UINT64_MAX)
		buf_printf(out, "Max-Forwards: %llu\r\n", (unsigned long long)forward->max_forwards);
	else if (field)
		add_field(out, "Max-Forwards", field->value);
}

void http_write_request(const struct http_head *head, const struct http_target *target,
                        const struct http_forward *forward, struct buf *out)
{
	buf_add(out, head->method);
	buf_add_byte(out, ' ');
	buf_add(out, target->path);
	buf_add(out, SPAN(" HTTP/1.1\r\n"));
	add_host(&target->host, forward->default_port, out);
	copy_fields(head, "host", forward, out);
	add_framing(head, forward, out);
	add_max_forwards(head, forward, out);
	add_via(head, forward, out);
	if (forward->forwarded.len && !is_edited(forward, SPAN("Forwarded")))
		add_field(out, "Forwarded", forward->forwarded);
	if (http_has_token(head, "te", SPAN("trailers")) && !head->upgrade)
		buf_add(out, SPAN("TE: trailers\r\nConnection: TE\r\n"));
	else if (head->upgrade)
		add_upgrade(head, out);
	if (!forward->keep_alive)
		buf_add(out, SPAN("Connection: close\r\n"));
	buf_add(out, SPAN("\r\n"));
}

void http_write_response(const struct http_head *head, const struct http_forward *forward,
                         struct buf *out)
{
	buf_printf(out, "HTTP/1.1 %d ", head->status);
	buf_add(out, head->reason);
	buf_add(out, SPAN("\r\n"));
	copy_fields(head, "", forward, out);
	add_framing(head, forward, out);
	add_via(head, forward, out);
	buf_add(out, forward->fields);
	if (head->status == 101) {
		add_upgrade(head, out);
	} else if (head->status >= 200) {
		if (!forward->keep_alive)
			buf_add(out, SPAN("Connection: close\r\n"));
		else if (forward->to_http10)
			buf_add(out, SPAN("Connection: keep-alive\r\nProxy-Connection: keep-alive\r\n"));
	}
	buf_add(out, SPAN("\r\n"));
}

/* Cut a word off the front; words are apart by spaces and tabs (RFC 9110 section 5.6.3). */
static struct span take_word(struct span *text)
{
	struct span word = span_trim(*text);
	size_t space = span_find(word, ' '), tab = span_find(word, '\t');

	*text = span_skip(word, space < tab ? space : tab);
	return span_first(word, space < tab ? space : tab);
}

/* Via: 1.1 name (comment), 1.0 other (RFC 9110 section 7.6.3) */
bool http_via_has(const struct http_head *head, const char *via)
{
	for (size_t i = 0; i < head->field_count; i++) {
		struct span rest = head->fields[i].value, element;

		if (!span_equal_nocase(head->fields[i].name, SPAN("via")))
			continue;
		while (span_split(&rest, ',', &element)) {
			take_word(&element); /* the protocol */
			if (span_equal_nocase(take_word(&element), span_from(via)))
				return true;
		}
	}
	return false;
}
