/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/aia.h"

#include <stdlib.h>
#include <string.h>

#include "http/body.h"
#include "http/target.h"
#include "net/dial.h"

enum {
	PORT = 80,
	TOTAL_MS = 3000,
	ATTEMPT_DELAY_MS = 250,
	HEAD_MAX_BYTES = 16 * 1024,
	BODY_MAX_BYTES = 64 * 1024,
	ARENA_MAX_BYTES = 256 * 1024,
	STATUS_OK = 200,
};

struct aia_fetch {
	struct aia_env env;
	aia_done *done;
	void *context;
	struct arena arena;
	struct http_target target;
	struct resolve_query *query;
	struct dial *dial;
	struct stream *stream;
	struct loop_timer timer;
	struct loop_task report;
	struct buf out, in;         /* request; head of the response */
	size_t scanned;
	bool has_head;
	struct http_body body;
	struct buf der;
	const char *why;            /* NULL: it came */
};

/* ---- the end ---- */

static void let_go(struct aia_fetch *fetch)
{
	loop_timer_clear(fetch->env.loop, &fetch->timer);
	resolve_cancel(fetch->query);
	dial_cancel(fetch->dial);
	if (fetch->stream)
		stream_close(fetch->stream, true);
	fetch->query = NULL;
	fetch->dial = NULL;
}

static void fetch_free(struct aia_fetch *fetch)
{
	free(fetch->stream);
	if (fetch->has_head)
		http_body_fini(&fetch->body);
	buf_fini(&fetch->out);
	buf_fini(&fetch->in);
	buf_fini(&fetch->der);
	arena_fini(&fetch->arena);
	free(fetch);
}

static void on_report(struct loop_task *task)
{
	struct aia_fetch *fetch = CONTAINER_OF(task, struct aia_fetch, report);

	if (fetch->done)
		fetch->done(fetch->context, fetch->why ? SPAN("") : buf_span(&fetch->der), fetch->why ? fetch->why : "");
	fetch_free(fetch);
}

/* Told at the end of this turn: events of it may point here, and whoever began it has returned by then. */
static void finish(struct aia_fetch *fetch, const char *why)
{
	if (loop_is_deferred(&fetch->report))
		return;
	fetch->why = why ? why : buf_len(&fetch->der) ? NULL : "the answer is empty";
	let_go(fetch);
	loop_defer(fetch->env.loop, &fetch->report);
}

void aia_cancel(struct aia_fetch *fetch)
{
	if (fetch == NULL)
		return;
	fetch->done = NULL;
	finish(fetch, "nobody waits for it");
}

static void on_due(struct loop_timer *timer)
{
	finish(CONTAINER_OF(timer, struct aia_fetch, timer), "it takes too long");
}

/* ---- the response ---- */

static void take_body(struct aia_fetch *fetch, struct span bytes)
{
	while (bytes.len && !fetch->body.done) {
		struct span content;

		if (http_body_read(&fetch->body, &bytes, &content)) {
			finish(fetch, "the answer is malformed");
			return;
		}
		buf_add(&fetch->der, content);
		if (!buf_is_whole(&fetch->der)) {
			finish(fetch, "the answer is too large");
			return;
		}
	}
	if (fetch->body.done)
		finish(fetch, NULL);
}

static const char *check_head(const struct http_head *head)
{
	if (head->status != STATUS_OK)
		return head->status / 100 == 3 ? "the answer is a redirect, which is not followed" : "the answer is not 200";
	if (head->framing == HTTP_LENGTH && head->body_bytes > BODY_MAX_BYTES)
		return "the answer is too large";
	if (head->framing == HTTP_NO_BODY)
		return "the answer is empty";
	return NULL;
}

static void take_head(struct aia_fetch *fetch)
{
	struct span bytes = buf_span(&fetch->in);
	size_t head_bytes = http_head_find(bytes, &fetch->scanned);
	struct http_head head;
	const char *why;

	if (head_bytes == 0 && (!buf_is_whole(&fetch->in) || bytes.len >= HEAD_MAX_BYTES)) {
		finish(fetch, "the head of the answer is too large");
		return;
	}
	if (head_bytes == 0)
		return;
	if (http_head_parse_response(span_first(bytes, head_bytes), SPAN("GET"), &fetch->arena, &head, &why)) {
		finish(fetch, "the answer is malformed");
		return;
	}
	why = check_head(&head);
	if (why) {
		finish(fetch, why);
		return;
	}
	http_body_init(&fetch->body, head.framing, head.body_bytes);
	fetch->has_head = true;
	take_body(fetch, span_skip(bytes, head_bytes));
}

static void take(struct aia_fetch *fetch, struct span bytes)
{
	if (fetch->has_head) {
		take_body(fetch, bytes);
		return;
	}
	buf_add(&fetch->in, bytes);
	take_head(fetch);
}

static void on_end(struct aia_fetch *fetch)
{
	finish(fetch, fetch->has_head && http_body_ends_here(&fetch->body) ? NULL : "the answer ended early");
}

static void read_some(struct aia_fetch *fetch)
{
	size_t room, got;
	uint8_t *scratch = loop_scratch(fetch->env.loop, &room);

	while (!loop_is_deferred(&fetch->report)) {
		/* What a head may have at most: more than it and a body is not read in one go. */
		enum stream_state state = stream_read(fetch->stream, scratch, room < HEAD_MAX_BYTES ? room : HEAD_MAX_BYTES, &got);

		if (state == STREAM_AGAIN)
			return;
		if (state == STREAM_OK)
			take(fetch, span_of(scratch, got));
		else if (state == STREAM_END)
			on_end(fetch);
		else
			finish(fetch, "the connection broke");
	}
}

static void on_ready(struct stream *stream, unsigned events)
{
	struct aia_fetch *fetch = stream->owner;
	size_t taken;

	(void)events;
	while (buf_len(&fetch->out)) {
		enum stream_state state = stream_write(stream, buf_span(&fetch->out), &taken);

		if (state == STREAM_AGAIN)
			break;
		if (state != STREAM_OK) {
			finish(fetch, "the connection broke");
			return;
		}
		buf_consume(&fetch->out, taken);
	}
	read_some(fetch);
}

/* ---- the way there ---- */

static void write_request(struct aia_fetch *fetch)
{
	const struct http_host *host = &fetch->target.host;
	bool is_v6 = host->address.family == AF_INET6;

	buf_printf(&fetch->out,
	           "GET %.*s HTTP/1.1\r\nHost: %s%.*s%s\r\nAccept: application/pkix-cert, application/pkcs7-mime\r\n"
	           "User-Agent: sallyport\r\nConnection: close\r\n\r\n",
	           SPAN_ARG(fetch->target.path), is_v6 ? "[" : "", SPAN_ARG(host->name), is_v6 ? "]" : "");
}

static void on_dialled(void *context, const struct dial_result *result)
{
	struct aia_fetch *fetch = context;

	fetch->dial = NULL;
	if (result->err) {
		finish(fetch, "it cannot be connected to");
		return;
	}
	fetch->stream = result->stream;
	fetch->stream->owner = fetch;
	fetch->stream->on_ready = on_ready;
	write_request(fetch);
	on_ready(fetch->stream, LOOP_WRITABLE);
}

static bool may_dial(const struct aia_fetch *fetch, const struct address *address)
{
	const struct aia_env *env = &fetch->env;
	const char *why;

	return guard_allows(env->destinations, env->own, env->own_count, address, &why) &&
	       env->is_allowed(env->context, fetch->target.host.name, address, PORT);
}

static void dial(struct aia_fetch *fetch, const struct address *addresses, size_t count)
{
	struct address allowed[DIAL_ADDRESSES_MAX];
	size_t allowed_count = 0;

	for (size_t i = 0; i < count && allowed_count < DIAL_ADDRESSES_MAX; i++) {
		struct address address = addresses[i];

		address.port = fetch->env.dial_port ? fetch->env.dial_port : PORT;
		if (may_dial(fetch, &address))
			allowed[allowed_count++] = address;
	}
	if (allowed_count == 0)
		finish(fetch, "none of its addresses is allowed");
	else if (dial_start(fetch->env.loop, allowed, allowed_count, NULL, ATTEMPT_DELAY_MS, sizeof(struct stream), on_dialled, fetch,
	                    &fetch->dial))
		finish(fetch, "it cannot be connected to");
}

static void on_resolved(void *context, const struct resolve_answer *answer)
{
	struct aia_fetch *fetch = context;

	fetch->query = NULL;
	if (answer->err || answer->count == 0)
		finish(fetch, "its name has no address");
	else
		dial(fetch, answer->at, answer->count);
}

/* The URL comes from a stranger: a plain one, or none. */
static const char *read_url(struct aia_fetch *fetch, struct span url)
{
	const struct http_host *host = &fetch->target.host;

	for (size_t i = 0; i < url.len; i++)
		if (url.at[i] <= ' ' || url.at[i] > '~' || url.at[i] == '#')
			return "its URL is not valid";
	if (http_target_parse(SPAN("GET"), url, &fetch->arena, &fetch->target) || fetch->target.form != HTTP_TARGET_ABSOLUTE ||
	    !span_equal(fetch->target.scheme, SPAN("http")))
		return "its URL is not valid, or not of http";
	if (host->port != PORT)
		return "its URL is not of port 80";
	return NULL;
}

static void start(struct aia_fetch *fetch, const char *url)
{
	const struct http_host *host = &fetch->target.host;
	const char *why = read_url(fetch, span_from(url));

	if (why)
		finish(fetch, why);
	else if (!fetch->env.is_allowed(fetch->env.context, host->name, host->address.family ? &host->address : NULL, PORT))
		finish(fetch, "policy does not allow its host");
	else if (host->address.family)
		dial(fetch, &host->address, 1);
	else if (resolve_name(fetch->env.resolver, host->name, on_resolved, fetch, &fetch->query))
		finish(fetch, "its name cannot be asked for");
}

enum err aia_fetch(const struct aia_env *env, const char *url, aia_done *done, void *context, struct aia_fetch **out)
{
	struct aia_fetch *fetch = calloc(1, sizeof(*fetch));

	if (fetch == NULL)
		return ERR_MEMORY;
	*fetch = (struct aia_fetch){.env = *env, .done = done, .context = context, .report.run = on_report, .timer.on_due = on_due};
	arena_init(&fetch->arena, ARENA_MAX_BYTES);
	buf_init(&fetch->out, HEAD_MAX_BYTES);
	buf_init(&fetch->in, 2 * HEAD_MAX_BYTES);
	buf_init(&fetch->der, BODY_MAX_BYTES);
	loop_timer_set(env->loop, &fetch->timer, TOTAL_MS);
	*out = fetch;
	start(fetch, url);
	return ERR_NONE;
}
