/* SPDX-License-Identifier: Apache-2.0 */
/* What is said in HTTP: CONNECT to the proxy, GET, and the upgrade to a WebSocket (RFC 6455 section 4). */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "auth/scheme/base64.h"
#include "cli/doctor.h"
#include "http/head.h"

#define WEBSOCKET_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

enum { HEAD_MEMORY_BYTES = 256 << 10, KEY_BYTES = 16, HEAD_MAX_BYTES = 60000 };

/* "host:port", "[v6]:port"; without the port where it is the usual one. */
static void add_authority(const struct http_host *host, bool with_port, struct buf *out)
{
	bool brackets = host->address.family == AF_INET6;

	buf_printf(out, "%s%.*s%s", brackets ? "[" : "", SPAN_ARG(host->name), brackets ? "]" : "");
	if (with_port || host->port != 443)
		buf_printf(out, ":%u", host->port);
}

/* A head, when it is there. False: more must come, or the probe has ended. */
static bool read_one(struct doctor_probe *probe, const char *method, struct arena *arena, struct http_head *head)
{
	bool is_proxy = probe->phase == DOCTOR_ASKING_PROXY;
	enum doctor_result result = is_proxy ? DOCTOR_RESULT_NO_PROXY
	                            : probe->way == DOCTOR_WSS ? DOCTOR_RESULT_NO_UPGRADE
	                                                       : DOCTOR_RESULT_NO_HTTP;
	size_t bytes = http_head_find(buf_span(&probe->in), &probe->scanned);
	const char *detail = "";

	if (bytes == 0) {
		struct span begin = span_first(buf_span(&probe->in), 5);

		if (!span_equal(begin, span_first(SPAN("HTTP/"), begin.len)) || buf_len(&probe->in) > HEAD_MAX_BYTES)
			doctor_probe_end(probe, result, "%s does not speak HTTP", is_proxy ? "what listens there" : "what answers");
		return false;
	}
	if (http_head_parse_response(span_first(buf_span(&probe->in), bytes), span_from(method), arena, head, &detail)) {
		doctor_probe_end(probe, result, "the answer is malformed: %s", detail);
		return false;
	}
	return true;
}

/* The final one: interim ones are passed over. */
static bool read_head(struct doctor_probe *probe, const char *method, struct arena *arena, struct http_head *head)
{
	while (read_one(probe, method, arena, head)) {
		probe->status = head->status;
		if (head->status >= 200 || head->status == 101)
			return true;
		buf_consume(&probe->in, head->head_bytes);
		probe->scanned = 0;
	}
	return false;
}

/* ---- the proxy ---- */

void doctor_http_add_authority(const struct doctor_probe *probe, struct buf *out)
{
	add_authority(&probe->host, true, out);
}

void doctor_http_ask_proxy(struct doctor_probe *probe)
{
	const struct buf *login = &probe->talk.value;

	buf_add_string(&probe->out, "CONNECT ");
	add_authority(&probe->host, true, &probe->out);
	buf_add_string(&probe->out, " HTTP/1.1\r\nHost: ");
	add_authority(&probe->host, true, &probe->out);
	buf_add_string(&probe->out, "\r\nUser-Agent: sallyport-doctor\r\n");
	if (buf_len(login)) {
		buf_add_string(&probe->out, "Proxy-Authorization: ");
		buf_add(&probe->out, buf_span(login));
		buf_add_string(&probe->out, "\r\n");
	}
	buf_add_string(&probe->out, "\r\n");
	doctor_probe_ask(probe, DOCTOR_ASKING_PROXY);
	if (buf_len(login))
		doctor_login_sent(probe);
}

/* A parameter of Proxy-Status (RFC 9209): error=token, or details="text". */
static bool find_parameter(struct span field, struct span name, struct buf *out)
{
	for (struct span rest = field; rest.len;) {
		size_t semicolon = span_find(rest, ';');
		struct span parameter = span_trim(span_skip(rest, semicolon + 1));
		bool quoted, escaped = false;

		if (semicolon == rest.len)
			return false;
		rest = parameter;
		if (!span_starts_with(parameter, name) || parameter.len <= name.len || parameter.at[name.len] != '=')
			continue;
		parameter = span_skip(parameter, name.len + 1);
		quoted = parameter.len && parameter.at[0] == '"';
		for (size_t i = quoted; i < parameter.len; i++) {
			uint8_t byte = parameter.at[i];

			if (!escaped && (quoted ? byte == '"' : byte == ';' || byte == ',' || byte == ' '))
				break;
			escaped = quoted && !escaped && byte == '\\';
			if (!escaped)
				buf_add_byte(out, byte);
		}
		return true;
	}
	return false;
}

/* Error and details that the proxy gives; those of this proxy begin with the error, and end with the id of the log line. */
static void read_status(struct doctor_probe *probe, const struct http_head *head, struct buf *details)
{
	const struct http_field *field = http_find(head, "proxy-status");
	struct buf error;

	if (field == NULL)
		return;
	buf_init(&error, sizeof(probe->error) - 1);
	if (find_parameter(field->value, SPAN("error"), &error) && http_is_token(buf_span(&error)))
		snprintf(probe->error, sizeof(probe->error), "%.*s", SPAN_ARG(buf_span(&error)));
	buf_fini(&error);
	find_parameter(field->value, SPAN("details"), details);
}

/* ---- more than one leg ---- */

bool doctor_http_can_go_on(const struct http_head *head)
{
	return head->keep_alive && head->framing != HTTP_UNTIL_CLOSE;
}

void doctor_http_go_on(struct doctor_probe *probe, const struct http_head *head)
{
	http_body_fini(&probe->body);
	http_body_init(&probe->body, head->framing, head->body_bytes);
	buf_consume(&probe->in, head->head_bytes);
	probe->phase = DOCTOR_DRAINING;
}

void doctor_http_drain(struct doctor_probe *probe)
{
	struct span rest = buf_span(&probe->in), content;
	size_t before = rest.len;
	enum err err = ERR_NONE;

	while (err == ERR_NONE && rest.len && !probe->body.done)
		err = http_body_read(&probe->body, &rest, &content);
	buf_consume(&probe->in, before - rest.len);
	if (err)
		doctor_probe_end(probe, DOCTOR_RESULT_NO_PROXY, "the page of its 407 is malformed");
	else if (probe->body.done)
		doctor_http_ask_proxy(probe);
}

static void refused(struct doctor_probe *probe, const struct http_head *head)
{
	enum doctor_result result = head->status == 403 ? DOCTOR_RESULT_DENIED
	                            : head->status >= 500 ? DOCTOR_RESULT_PROXY_FAILED
	                                                  : DOCTOR_RESULT_NO_PROXY;
	struct buf details;

	buf_init(&details, DOCTOR_TEXT_BYTES / 2);
	read_status(probe, head, &details);
	doctor_probe_end(probe, result, "%d%s%s%s%.*s", head->status, probe->error[0] ? " " : "", probe->error,
	                 buf_len(&details) ? ": " : probe->error[0] || head->reason.len == 0 ? "" : " ",
	                 SPAN_ARG(buf_len(&details) ? buf_span(&details) : probe->error[0] ? SPAN("") : head->reason));
	buf_fini(&details);
}

bool doctor_http_read_proxy(struct doctor_probe *probe)
{
	struct http_head head;
	struct arena arena;
	bool stands = false;

	arena_init(&arena, HEAD_MEMORY_BYTES);
	if (read_head(probe, "CONNECT", &arena, &head)) {
		if (head.status != 407)
			doctor_login_taken(probe);
		if (head.status >= 200 && head.status < 300) {
			stands = true;
			buf_consume(&probe->in, head.head_bytes);
			probe->status = 0;
		} else if (head.status == 407) {
			doctor_login_asked(probe, &head);
		} else {
			refused(probe, &head);
		}
	}
	arena_fini(&arena);
	return stands;
}

/* ---- inside TLS ---- */

void doctor_http_ask(struct doctor_probe *probe)
{
	struct buf *out = &probe->out;
	uint8_t nonce[KEY_BYTES];
	struct buf key;

	buf_printf(out, "GET %.*s HTTP/1.1\r\nHost: ", SPAN_ARG(probe->url_path));
	add_authority(&probe->host, false, out);
	buf_add_string(out, "\r\nUser-Agent: sallyport-doctor\r\nAccept: */*\r\n");
	if (probe->way == DOCTOR_WSS) {
		secret_random(nonce, sizeof(nonce));
		buf_init(&key, sizeof(probe->key) - 1);
		base64_encode(span_of(nonce, sizeof(nonce)), &key);
		snprintf(probe->key, sizeof(probe->key), "%.*s", SPAN_ARG(buf_span(&key)));
		buf_fini(&key);
		buf_printf(out, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		           probe->key);
	} else {
		buf_add_string(out, "Connection: close\r\n\r\n");
	}
	doctor_probe_ask(probe, DOCTOR_ASKING);
}

/* RFC 6455 section 4.2.2: who has read the key, and is no cache, answers so. */
static bool is_accepted(const struct doctor_probe *probe, const struct http_head *head)
{
	const struct http_field *field = http_find(head, "sec-websocket-accept");
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned digest_bytes = 0;
	struct buf text;
	bool same;

	buf_init(&text, 200);
	buf_printf(&text, "%s" WEBSOCKET_GUID, probe->key);
	same = EVP_Digest(buf_span(&text).at, buf_len(&text), digest, &digest_bytes, EVP_sha1(), NULL) == 1;
	buf_reset(&text);
	base64_encode(span_of(digest, digest_bytes), &text);
	same = same && field && span_equal(field->value, buf_span(&text));
	buf_fini(&text);
	return same;
}

static void read_upgrade(struct doctor_probe *probe, const struct http_head *head)
{
	if (head->status != 101)
		doctor_probe_end(probe, DOCTOR_RESULT_NO_UPGRADE, "the upgrade is answered with %d in place of 101", head->status);
	else if (!is_accepted(probe, head))
		doctor_probe_end(probe, DOCTOR_RESULT_NO_UPGRADE, "101 with a wrong Sec-WebSocket-Accept");
	else
		doctor_probe_end(probe, DOCTOR_RESULT_OPEN, "WebSocket stands");
}

void doctor_http_read(struct doctor_probe *probe)
{
	struct http_head head;
	struct arena arena;

	if (buf_len(&probe->in) == 0)
		return;
	arena_init(&arena, HEAD_MEMORY_BYTES);
	if (read_head(probe, "GET", &arena, &head)) {
		doctor_probe_answered(probe);
		if (probe->way == DOCTOR_WSS)
			read_upgrade(probe, &head);
		else
			doctor_probe_end(probe, DOCTOR_RESULT_OPEN, "the certificate is good; %d %.*s", head.status,
			                 SPAN_ARG(span_first(head.reason, 40)));
	}
	arena_fini(&arena);
}
