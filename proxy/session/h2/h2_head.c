/* SPDX-License-Identifier: Apache-2.0 */
/* Header blocks: from what nghttp2 tells to the heads that policy and log know, and back. nghttp2 has refused what RFC
 * 9113 section 8 calls malformed: characters, pseudo-fields twice or too late, connection-specific fields, wrong lengths. */
#include <stdlib.h>
#include <string.h>

#include "session/h2/h2_private.h"
#include "session/inspect.h"

enum { FIELD_OVERHEAD_BYTES = 32, FIELDS_FIRST = 16, PSEUDO_MAX = 5, STATUS_DIGITS = 3 };

struct arena *h2_head_arena(struct h2_stream *stream, enum h2_side side)
{
	return side == H2_CLIENT ? &stream->exchange->arena : &stream->exchange->response_arena;
}

/* ---- what comes in ---- */

struct h2_fields *h2_head_block(struct h2_stream *stream, enum h2_side side)
{
	struct h2_way *way = &stream->way[side];
	bool has_head = side == H2_CLIENT ? stream->has_head : way->is_started;

	return has_head ? &way->trailers : &way->fields;
}

void h2_fields_reset(struct h2_fields *fields)
{
	*fields = (struct h2_fields){.method = SPAN(""), .scheme = SPAN(""), .authority = SPAN(""), .path = SPAN(""),
	                             .protocol = SPAN("")};
}

static bool has_room(struct h2_fields *fields, struct arena *arena)
{
	size_t room = fields->room ? fields->room * 2 : FIELDS_FIRST;
	struct http_field *at;

	if (fields->count < fields->room)
		return true;
	at = arena_alloc(arena, room * sizeof(*at));
	if (at == NULL)
		return false;
	if (fields->count)
		memcpy(at, fields->at, fields->count * sizeof(*at));
	fields->at = at;
	fields->room = room;
	return true;
}

static struct span *pseudo_of(struct h2_fields *fields, struct span name)
{
	const struct {
		struct span name;
		struct span *at;
	} rows[] = {{SPAN(":method"), &fields->method},
	            {SPAN(":scheme"), &fields->scheme},
	            {SPAN(":authority"), &fields->authority},
	            {SPAN(":path"), &fields->path},
	            {SPAN(":protocol"), &fields->protocol}};

	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (span_equal(name, rows[i].name))
			return rows[i].at;
	return NULL;
}

static void note_never_indexed(struct h2_fields *fields, const uint8_t *value)
{
	if (fields->never_count < H2_NEVER_INDEXED_MAX)
		fields->never_indexed[fields->never_count] = value;
	fields->never_count++;
}

void h2_fields_add(struct h2_fields *fields, struct arena *arena, size_t max_bytes, struct span name, struct span value,
                   bool never_indexed)
{
	struct span *pseudo;
	uint64_t status;

	fields->bytes += name.len + value.len + FIELD_OVERHEAD_BYTES;
	if (fields->bytes > max_bytes)
		fields->is_too_large = true;
	if (fields->is_too_large)
		return;
	if (span_equal(name, SPAN(":status"))) {
		fields->status = span_to_uint(value, 999, &status) ? (int)status : 0;
		return;
	}
	pseudo = pseudo_of(fields, name);
	value = arena_copy(arena, value);
	if (pseudo)
		*pseudo = value;
	else
		name = arena_copy(arena, name);
	if (value.at == NULL || name.at == NULL || (pseudo == NULL && !has_room(fields, arena))) {
		fields->is_too_large = true;
		return;
	}
	if (pseudo == NULL)
		fields->at[fields->count++] = (struct http_field){name, value};
	if (never_indexed)
		note_never_indexed(fields, value.at);
}

/* ---- the request ---- */

/* Each Host field has to name what :authority names (RFC 9113 section 8.3.1); it is said once, in :authority. */
static bool take_hosts(struct h2_stream *stream)
{
	struct h2_fields *fields = &stream->way[H2_CLIENT].fields;
	struct exchange *exchange = stream->exchange;
	const struct http_host *host = &exchange->target.host;
	struct http_host named;
	size_t kept = 0;

	for (size_t i = 0; i < fields->count; i++) {
		const struct http_field *field = &fields->at[i];

		if (!span_equal(field->name, SPAN("host"))) {
			fields->at[kept++] = *field;
			continue;
		}
		if (http_host_parse(field->value, 443, &exchange->arena, &named) ||
		    !span_equal(named.name, host->name) || named.port != host->port)
			return false;
	}
	fields->count = kept;
	return true;
}

static enum err parse_authority(struct h2_stream *stream, const char **detail)
{
	struct h2_fields *fields = &stream->way[H2_CLIENT].fields;
	struct exchange *exchange = stream->exchange;
	enum err err;

	for (size_t i = 0; fields->authority.len == 0 && i < fields->count; i++)
		if (span_equal(fields->at[i].name, SPAN("host")))
			fields->authority = fields->at[i].value;
	if (fields->authority.len == 0) {
		*detail = "neither :authority nor Host";
		return ERR_REQUEST_HOST;
	}
	err = http_host_parse(fields->authority, 443, &exchange->arena, &exchange->target.host);
	if (err) {
		*detail = ":authority is no host";
		return err;
	}
	if (take_hosts(stream))
		return ERR_NONE;
	*detail = "Host names another host than :authority";
	return ERR_REQUEST_HOST;
}

/* In front of all others, as HTTP/1 has it. */
static bool put_host(struct h2_stream *stream)
{
	struct h2_fields *fields = &stream->way[H2_CLIENT].fields;

	if (!has_room(fields, &stream->exchange->arena))
		return false;
	if (fields->count)
		memmove(fields->at + 1, fields->at, fields->count * sizeof(*fields->at));
	fields->at[0] = (struct http_field){SPAN("host"), fields->authority};
	fields->count++;
	return true;
}

static void find_framing(struct h2_stream *stream)
{
	struct http_head *head = &stream->exchange->head;
	const struct http_field *length = http_find(head, "content-length");

	head->framing = HTTP_CHUNKED;
	if (stream->way[H2_CLIENT].ended)
		head->framing = HTTP_NO_BODY;
	else if (length && span_to_uint(length->value, INT64_MAX, &head->body_bytes))
		head->framing = HTTP_LENGTH;
}

static enum err parse_target(struct h2_stream *stream, const char **detail)
{
	const struct h2_fields *fields = &stream->way[H2_CLIENT].fields;
	struct exchange *exchange = stream->exchange;
	/* An extended CONNECT has the path of a GET (RFC 8441 section 4). */
	struct span method = stream->is_connect ? SPAN("GET") : fields->method;
	enum err err = http_target_parse(method, fields->path, &exchange->arena, &exchange->target);

	if (err == ERR_NONE && exchange->target.form == HTTP_TARGET_ABSOLUTE)
		err = ERR_REQUEST_TARGET;
	if (err) {
		*detail = ":path";
		return err;
	}
	if (exchange->target.form == HTTP_TARGET_ASTERISK)
		exchange->target.path = SPAN("*");
	return parse_authority(stream, detail);
}

static enum err check_request(struct h2_stream *stream, const char **detail)
{
	const struct h2_fields *fields = &stream->way[H2_CLIENT].fields;

	stream->is_connect = fields->protocol.len > 0;
	if (fields->is_too_large) {
		*detail = "limits.head";
		return ERR_REQUEST_SIZE;
	}
	if (span_equal(fields->method, SPAN("CONNECT")) && !stream->is_connect) {
		*detail = "CONNECT inside an inspected session";
		return ERR_REQUEST_METHOD;
	}
	if (!span_equal(fields->scheme, SPAN("https"))) {
		*detail = "another scheme than https inside TLS";
		return ERR_REQUEST_SCHEME;
	}
	return ERR_NONE;
}

enum err h2_head_request(struct h2_stream *stream, const char **detail)
{
	struct h2_fields *fields = &stream->way[H2_CLIENT].fields;
	struct exchange *exchange = stream->exchange;
	struct http_head *head = &exchange->head;
	enum err err = check_request(stream, detail);

	*head = (struct http_head){.is_request = true, .minor = 1, .method = fields->method, .target = fields->path,
	                           .reason = SPAN(""), .keep_alive = true};
	exchange->target = (struct http_target){.scheme = SPAN("https"), .path = fields->path};
	if (err == ERR_NONE)
		err = parse_target(stream, detail);
	if (err == ERR_NONE && !put_host(stream))
		err = ERR_SESSION_MEMORY;
	head->fields = fields->at;
	head->field_count = fields->count;
	exchange->is_parsed = head->method.len && head->target.len;
	find_framing(stream);
	if (err == ERR_NONE && http_via_has(head, session_conf_of(stream->relay->session)->forwarding.via)) {
		*detail = "our own name is in Via";
		return ERR_REQUEST_LOOP;
	}
	return err;
}

enum err h2_head_response(struct h2_stream *stream)
{
	struct h2_fields *fields = &stream->way[H2_ORIGIN].fields;
	struct http_head *head = &stream->exchange->response;

	if (fields->is_too_large)
		return ERR_RESPONSE_SIZE;
	*head = (struct http_head){.minor = 1, .method = SPAN(""), .target = SPAN(""), .status = fields->status,
	                           .reason = SPAN(""), .fields = fields->at, .field_count = fields->count};
	return ERR_NONE;
}

/* ---- what goes out ---- */

static bool list_init_for(struct h2_list *list, struct arena *arena, size_t field_count)
{
	*list = (struct h2_list){.room = field_count + PSEUDO_MAX + 1};
	list->at = arena_alloc(arena, list->room * sizeof(*list->at));
	return list->at != NULL;
}

/* nghttp2 takes pointers that are not const and writes through none of them. */
static uint8_t *unconst(struct span span)
{
	return (uint8_t *)(uintptr_t)span.at;
}

static void put(struct h2_list *list, struct span name, struct span value, uint8_t flags)
{
	ASSERT(list->count < list->room);
	list->at[list->count++] = (nghttp2_nv){unconst(name), unconst(value), name.len, value.len, flags};
}

static uint8_t flags_of(const struct h2_fields *fields, struct span value)
{
	if (fields->never_count > H2_NEVER_INDEXED_MAX)
		return NGHTTP2_NV_FLAG_NO_INDEX;
	for (size_t i = 0; i < fields->never_count; i++)
		if (fields->never_indexed[i] == value.at)
			return NGHTTP2_NV_FLAG_NO_INDEX;
	return NGHTTP2_NV_FLAG_NONE;
}

/* What is for one connection only was refused by nghttp2, but for what is meant for proxies. TE and Trailer are for
 * the one at the end, where there is HTTP/2 on both sides. */
static bool is_kept(const struct http_head *head, struct span name)
{
	if (span_equal(name, SPAN("te")) || span_equal(name, SPAN("trailer")))
		return true;
	return !http_is_hop_by_hop(head, name) && !span_equal(name, SPAN("host"));
}

/* Names go out in lower case (RFC 9113 section 8.2), wherever they come from. False: no memory. */
static bool put_lower(struct h2_list *list, struct arena *arena, struct span name, struct span value, uint8_t flags)
{
	uint8_t *lower = arena_alloc(arena, name.len + 1);

	if (lower == NULL)
		return false;
	for (size_t i = 0; i < name.len; i++)
		lower[i] = span_lower(name.at[i]);
	put(list, span_of(lower, name.len), value, flags);
	return true;
}

static bool is_lower(struct span name)
{
	for (size_t i = 0; i < name.len; i++)
		if (name.at[i] != span_lower(name.at[i]))
			return false;
	return true;
}

static bool put_fields(struct h2_list *list, struct arena *arena, const struct http_head *head,
                       const struct h2_fields *fields)
{
	for (size_t i = 0; i < head->field_count; i++) {
		struct span name = head->fields[i].name, value = head->fields[i].value;

		if (!is_kept(head, name))
			continue;
		if (is_lower(name))
			put(list, name, value, flags_of(fields, value));
		else if (!put_lower(list, arena, name, value, flags_of(fields, value)))
			return false;
	}
	return true;
}

/* Set replaces all fields of a name by one, remove drops them all. */
static bool apply(const struct http_edit *edits, size_t edit_count, struct arena *arena, struct http_field **fields, size_t *count)
{
	struct http_field *out;
	size_t kept = 0;

	if (edit_count == 0)
		return true;
	out = arena_alloc(arena, (*count + edit_count) * sizeof(*out));
	if (out == NULL)
		return false;
	for (size_t i = 0; i < *count; i++) {
		bool is_edited = false;

		for (size_t j = 0; j < edit_count && !is_edited; j++)
			is_edited = span_equal_nocase((*fields)[i].name, edits[j].name);
		if (!is_edited)
			out[kept++] = (*fields)[i];
	}
	for (size_t j = 0; j < edit_count; j++)
		if (edits[j].is_set)
			out[kept++] = (struct http_field){edits[j].name, edits[j].value};
	*fields = out;
	*count = kept;
	return true;
}

/* Here, and nowhere else, the fields of a request are as the origin will get them: exchange->head.fields (Host first).
 * What policy sets or removes is set and removed here. */
static bool edit_request(struct h2_stream *stream)
{
	struct http_head *head = &stream->exchange->head;
	struct http_edit edits[HTTP_EDITS_MAX];
	size_t count = response_header_edits(h2_stream_enter(stream), POLICY_REQUEST_HEADERS, edits);

	h2_stream_leave(stream);
	return apply(edits, count, &stream->exchange->arena, &head->fields, &head->field_count);
}

/* The same for a response, exchange->response.fields; interim ones are left alone. */
static bool edit_response(struct h2_stream *stream)
{
	struct http_head *head = &stream->exchange->response;
	struct http_edit edits[HTTP_EDITS_MAX];
	size_t count;

	if (head->status < 200)
		return true;
	count = response_header_edits(h2_stream_enter(stream), POLICY_RESPONSE_HEADERS, edits);
	h2_stream_leave(stream);
	return apply(edits, count, &stream->exchange->response_arena, &head->fields, &head->field_count);
}

bool h2_head_list_request(struct h2_stream *stream, struct h2_list *out)
{
	const struct h2_fields *fields = &stream->way[H2_CLIENT].fields;
	struct exchange *exchange = stream->exchange;
	const struct http_head *head = &exchange->head;

	if (!edit_request(stream) || !list_init_for(out, &exchange->arena, head->field_count))
		return false;
	put(out, SPAN(":method"), head->method, NGHTTP2_NV_FLAG_NONE);
	if (stream->is_connect)
		put(out, SPAN(":protocol"), fields->protocol, NGHTTP2_NV_FLAG_NONE);
	put(out, SPAN(":scheme"), fields->scheme, NGHTTP2_NV_FLAG_NONE);
	put(out, SPAN(":authority"), fields->authority, NGHTTP2_NV_FLAG_NONE);
	put(out, SPAN(":path"), head->target, flags_of(fields, head->target));
	return put_fields(out, &exchange->arena, head, fields);
}

bool h2_head_list_response(struct h2_stream *stream, struct h2_list *out)
{
	struct exchange *exchange = stream->exchange;
	const struct http_head *head = &exchange->response;
	struct arena *arena = &exchange->response_arena;
	char *status;

	if (!stream->is_page && !edit_response(stream))
		return false;
	status = arena_printf(arena, "%0*d", STATUS_DIGITS, head->status);
	if (status == NULL || !list_init_for(out, arena, head->field_count))
		return false;
	put(out, SPAN(":status"), span_from(status), NGHTTP2_NV_FLAG_NONE);
	return put_fields(out, arena, head, &stream->way[H2_ORIGIN].fields);
}

bool h2_head_list_trailers(struct h2_way *way, struct h2_list *out)
{
	const struct http_head none = {.field_count = 0};
	struct arena *arena = h2_head_arena(way->stream, way->from);

	if (!list_init_for(out, arena, way->trailers.count))
		return false;
	for (size_t i = 0; i < way->trailers.count; i++)
		if (is_kept(&none, way->trailers.at[i].name))
			put(out, way->trailers.at[i].name, way->trailers.at[i].value,
			    flags_of(&way->trailers, way->trailers.at[i].value));
	return true;
}
