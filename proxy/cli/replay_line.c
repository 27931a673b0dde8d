/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/replay_line.h"

#include <stdio.h>

#include "cli/json_scan.h"
#include "http/target.h"

/* What both formats say, as text. Empty: absent. */
struct fields {
	struct span ts, event, listener, client, user, method, target, host, sni, origin, refused, access, content_type;
	bool has_user, has_groups, has_content_type;
	size_t group_count;
	uint64_t port, status;
};

enum { STATUS_ASKED = 407 };

static enum replay_kind fail(const char **why, const char *text)
{
	*why = text;
	return REPLAY_UNREADABLE;
}

/* ---- time ---- */

static bool take_number(struct span *text, size_t digits, uint64_t max, uint64_t *out)
{
	if (text->len < digits || !span_to_uint(span_first(*text, digits), max, out))
		return false;
	*text = span_skip(*text, digits);
	return true;
}

static bool take_byte(struct span *text, uint8_t byte)
{
	if (text->len == 0 || text->at[0] != byte)
		return false;
	*text = span_skip(*text, 1);
	return true;
}

/* Days from 1970-01-01 to a day of the Gregorian calendar; years are counted from March on. */
static uint64_t days_of(uint64_t year, uint64_t month, uint64_t day)
{
	uint64_t y = month <= 2 ? year - 1 : year, m = month <= 2 ? month + 9 : month - 3;

	return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

/* ".123" and more digits; none is 0. */
static bool take_fraction(struct span *text, uint64_t *ms)
{
	uint64_t weight = 100;

	*ms = 0;
	if (!take_byte(text, '.'))
		return true;
	if (text->len == 0 || text->at[0] < '0' || text->at[0] > '9')
		return false;
	for (; text->len && text->at[0] >= '0' && text->at[0] <= '9'; *text = span_skip(*text, 1)) {
		*ms += weight * (uint64_t)(text->at[0] - '0');
		weight /= 10;
	}
	return true;
}

/* 2026-11-23T08:13:59.123Z; strptime() would be a third of the time for a line. */
static bool read_rfc3339(struct span text, uint64_t *wall_ms)
{
	uint64_t year, month, day, hour, minute, second, ms;

	if (!take_number(&text, 4, 9999, &year) || year < 1970 || !take_byte(&text, '-') ||
	    !take_number(&text, 2, 12, &month) || month == 0 || !take_byte(&text, '-') ||
	    !take_number(&text, 2, 31, &day) || day == 0 || !take_byte(&text, 'T') ||
	    !take_number(&text, 2, 23, &hour) || !take_byte(&text, ':') ||
	    !take_number(&text, 2, 59, &minute) || !take_byte(&text, ':') ||
	    !take_number(&text, 2, 60, &second) || !take_fraction(&text, &ms) ||
	    !take_byte(&text, 'Z') || text.len)
		return false;
	*wall_ms = (days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second) * 1000 + ms;
	return true;
}

/* Seconds since 1970 with three digits behind the point. */
static bool read_epoch(struct span text, uint64_t *wall_ms)
{
	size_t point = span_find(text, '.');
	uint64_t seconds, ms;
	struct span rest = span_skip(text, point);

	if (!span_to_uint(span_first(text, point), UINT32_MAX, &seconds) || !take_fraction(&rest, &ms) ||
	    rest.len)
		return false;
	*wall_ms = seconds * 1000 + ms;
	return true;
}

/* ---- who and where ---- */

static void read_address(struct span text, struct address *out)
{
	if (!address_parse_with_port(text, out) && !address_parse(text, out))
		*out = (struct address){.family = span_equal(text, SPAN("unix")) ? AF_UNIX : 0};
}

/* A URL taken apart. */
struct url {
	struct span scheme, authority, path; /* path: with its query, "" if there is none */
	uint16_t default_port;
};

static bool split_url(struct span text, struct url *out)
{
	static const struct {
		const char *scheme;
		uint16_t port;
	} rows[] = {{"http", 80}, {"https", 443}, {"ftp", 21}, {"ws", 80}, {"wss", 443}};
	size_t colon = span_find_span(text, SPAN("://")), end = 0, at;

	if (colon == text.len)
		return false;
	*out = (struct url){.scheme = span_first(text, colon)};
	text = span_skip(text, colon + 3);
	while (end < text.len && text.at[end] != '/' && text.at[end] != '?' && text.at[end] != '#')
		end++;
	out->authority = span_first(text, end);
	out->path = span_skip(text, end);
	/* A user and a password are no part of the host. */
	at = span_find_last(out->authority, '@');
	if (at < out->authority.len)
		out->authority = span_skip(out->authority, at + 1);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (!span_equal_nocase(out->scheme, span_from(rows[i].scheme)))
			continue;
		out->scheme = span_from(rows[i].scheme);
		out->default_port = rows[i].port;
		return true;
	}
	return false;
}

static uint8_t *put(uint8_t *to, struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		*to++ = text.at[i];
	return to;
}

/* As a session has it (session/request.c): canonical, without the usual port. */
static struct span format_url(const struct url *url, const struct http_host *host, struct arena *arena)
{
	struct span path = span_first(url->path, span_find(url->path, '#'));
	uint8_t *text = arena_alloc(arena, url->scheme.len + host->name.len + path.len + 16), *to = text;
	bool brackets = host->address.family == AF_INET6;
	char port[8];

	if (text == NULL)
		return SPAN("");
	to = put(to, url->scheme);
	to = put(to, brackets ? SPAN("://[") : SPAN("://"));
	to = put(to, host->name);
	if (brackets)
		*to++ = ']';
	if (host->port != url->default_port) {
		snprintf(port, sizeof(port), ":%u", host->port);
		to = put(to, span_from(port));
	}
	if (path.len == 0 || path.at[0] != '/')
		*to++ = '/';
	to = put(to, path);
	return span_of(text, (size_t)(to - text));
}

static void set_host(const struct http_host *host, struct policy_facts *facts)
{
	facts->host = host->name;
	facts->host_address = host->address;
	facts->port = host->port;
}

/* The host from fields of its own, as our JSON has it. */
static bool read_host(const struct fields *fields, struct arena *arena, struct policy_facts *facts)
{
	struct http_host host = {.port = (uint16_t)fields->port};

	if (address_parse(fields->host, &host.address)) {
		host.name = fields->host;
		host.address.port = host.port;
	} else if (http_host_parse(fields->host, host.port, arena, &host) || host.port != fields->port) {
		return false;
	}
	set_host(&host, facts);
	return true;
}

static bool is_connect(const struct policy_facts *facts)
{
	return span_equal(facts->method, SPAN("CONNECT"));
}

static void set_url(const struct url *url, const struct http_host *host, struct arena *arena,
                    struct policy_facts *facts)
{
	facts->url = format_url(url, host, arena);
	if (facts->url.len)
		facts->known |= FACT_REQUEST;
}

static enum replay_kind read_target(const struct fields *fields, struct arena *arena,
                                    struct policy_facts *facts, const char **why)
{
	struct http_host host;
	struct url url;

	if (fields->host.len) {
		if (fields->port == 0)
			return fail(why, "there is a host, and no port");
		if (!read_host(fields, arena, facts))
			return fail(why, "the host is neither a name nor an address");
		host = (struct http_host){facts->host, facts->host_address, facts->port};
		if (!is_connect(facts) && split_url(fields->target, &url))
			set_url(&url, &host, arena, facts);
		return REPLAY_REQUEST;
	}
	if (is_connect(facts)) {
		if (http_host_parse(fields->target, 0, arena, &host))
			return fail(why, "CONNECT to something that is no host:port");
		set_host(&host, facts);
		return REPLAY_REQUEST;
	}
	if (!split_url(fields->target, &url))
		return REPLAY_NO_HOST;
	if (http_host_parse(url.authority, url.default_port, arena, &host))
		return fail(why, "the URL has no valid host");
	set_host(&host, facts);
	set_url(&url, &host, arena, facts);
	return REPLAY_REQUEST;
}

/* ---- both ---- */

static void set_known(const struct fields *fields, struct policy_facts *facts)
{
	struct span origin = fields->origin.len ? fields->origin : fields->refused;

	if (facts->host_address.family)
		facts->address = facts->host_address;
	else
		read_address(origin, &facts->address);
	facts->address.port = facts->port;
	if (facts->address.family == AF_INET || facts->address.family == AF_INET6)
		facts->known |= FACT_ADDRESS;
	facts->user = fields->user;
	if (fields->has_user || fields->has_groups)
		facts->known |= FACT_USER;
	facts->group_count = fields->group_count;
	facts->sni = fields->sni;
	if (fields->sni.len)
		facts->known |= FACT_HELLO;
	facts->content_type = fields->content_type;
	if (fields->has_content_type)
		facts->known |= FACT_RESPONSE;
	facts->absent = (unsigned)FACT_USER | FACT_HELLO | (is_connect(facts) ? (unsigned)FACT_REQUEST | FACT_RESPONSE : 0);
	facts->absent &= ~facts->known;
}

static enum replay_kind make_request(const struct fields *fields, struct span listener,
                                     struct arena *arena, struct replay_request *out, const char **why)
{
	struct policy_facts *facts = &out->facts;
	uint64_t wall_ms = facts->wall_ms;
	enum replay_kind kind;

	*facts = (struct policy_facts){.wall_ms = wall_ms,
	                               .listener = fields->listener.len ? fields->listener : listener,
	                               .host = SPAN(""), .sni = SPAN(""), .inner_host = SPAN(""),
	                               .user = SPAN(""), .url = SPAN(""), .method = fields->method,
	                               .groups = out->groups};
	read_address(fields->client, &facts->from);
	kind = read_target(fields, arena, facts, why);
	if (kind != REPLAY_REQUEST)
		return kind;
	set_known(fields, facts);
	out->logged_access = span_equal(fields->access, SPAN("allow"))  ? (int)ACCESS_ALLOW
	                     : span_equal(fields->access, SPAN("deny")) ? (int)ACCESS_DENY
	                                                                : -1;
	return REPLAY_REQUEST;
}

/* ---- our JSON ---- */

static bool scan_groups(struct json_scan *scan, struct fields *fields, struct span *groups)
{
	bool first = true;

	fields->has_groups = true;
	if (!json_scan_open(scan, '['))
		return false;
	while (json_scan_element(scan, &first)) {
		if (fields->group_count == REPLAY_GROUPS_MAX)
			scan->why = "more than 256 groups";
		if (scan->why || !json_scan_string(scan, &groups[fields->group_count]))
			return false;
		fields->group_count++;
	}
	return scan->why == NULL;
}

/* One member of an object: that text, all else is passed over. */
static bool scan_one(struct json_scan *scan, const char *wanted, bool (*take)(struct json_scan *, struct fields *),
                     struct fields *fields)
{
	bool first = true;
	struct span key;

	if (!json_scan_open(scan, '{'))
		return false;
	while (json_scan_member(scan, &first, &key))
		if (!(span_equal(key, span_from(wanted)) ? take(scan, fields) : json_scan_skip(scan)))
			return false;
	return scan->why == NULL;
}

static bool scan_answer(struct json_scan *scan, struct fields *fields)
{
	return json_scan_string(scan, &fields->access);
}

static bool scan_access(struct json_scan *scan, struct fields *fields)
{
	return scan_one(scan, "answer", scan_answer, fields);
}

/* The members that are texts. */
static struct span *text_of(struct fields *fields, struct span key)
{
	const struct {
		struct span key, *text;
	} rows[] = {
		{SPAN("ts"), &fields->ts},         {SPAN("client"), &fields->client},
		{SPAN("method"), &fields->method}, {SPAN("target"), &fields->target},
		{SPAN("host"), &fields->host},     {SPAN("origin"), &fields->origin},
		{SPAN("user"), &fields->user},     {SPAN("listener"), &fields->listener},
		{SPAN("sni"), &fields->sni},       {SPAN("event"), &fields->event},
		{SPAN("address"), &fields->refused}, {SPAN("content_type"), &fields->content_type},
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (span_equal(key, rows[i].key))
			return rows[i].text;
	return NULL;
}

static bool scan_member(struct json_scan *scan, struct span key, struct fields *fields, struct span *groups)
{
	struct span *text = text_of(fields, key);

	fields->has_user |= text == &fields->user;
	fields->has_content_type |= text == &fields->content_type;
	if (text)
		return json_scan_string(scan, text);
	if (span_equal(key, SPAN("port")))
		return json_scan_uint(scan, 65535, &fields->port);
	if (span_equal(key, SPAN("status")))
		return json_scan_uint(scan, 999, &fields->status);
	if (span_equal(key, SPAN("groups")))
		return scan_groups(scan, fields, groups);
	if (span_equal(key, SPAN("decision")))
		return scan_one(scan, "access", scan_access, fields);
	return json_scan_skip(scan);
}

static enum replay_kind read_json(struct span line, struct span listener, struct arena *arena,
                                  struct replay_request *out, const char **why)
{
	struct json_scan scan = json_scan_over(line, arena);
	struct fields fields = {.port = 0};
	bool first = true, ok = json_scan_open(&scan, '{');
	struct span key;

	while (ok && json_scan_member(&scan, &first, &key))
		ok = scan_member(&scan, key, &fields, out->groups);
	if (scan.why || !json_scan_at_end(&scan))
		return fail(why, scan.why);
	if (!read_rfc3339(fields.ts, &out->facts.wall_ms))
		return fail(why, "\"ts\" is not a time such as 2026-11-23T08:00:00.000Z");
	if (span_equal(fields.event, SPAN("running")))
		return REPLAY_RUNNING;
	if (fields.host.len == 0)
		return REPLAY_NO_HOST;
	if (fields.status == STATUS_ASKED)
		return REPLAY_ASKED;
	return make_request(&fields, listener, arena, out, why);
}

/* ---- Squid's native format: time elapsed client code/status bytes method URL user hierarchy/origin type ---- */

enum { SQUID_TIME, SQUID_ELAPSED, SQUID_CLIENT, SQUID_CODE, SQUID_BYTES, SQUID_METHOD, SQUID_URL, SQUID_USER,
       SQUID_HIERARCHY, SQUID_TYPE, SQUID_COUNT };

/* Cut the next word off. */
static bool next_word(struct span *rest, struct span *word)
{
	size_t at = 0;

	while (at < rest->len && rest->at[at] == ' ')
		at++;
	*rest = span_skip(*rest, at);
	*word = span_first(*rest, span_find(*rest, ' '));
	*rest = span_skip(*rest, word->len);
	return word->len > 0;
}

/* "HIER_DIRECT/192.0.2.1", "TIMEOUT_FIRSTUP_PARENT/10.0.0.1", "NONE/-" */
static bool is_hierarchy(struct span word)
{
	size_t slash = span_find(word, '/');

	for (size_t i = 0; i < slash; i++)
		if (!(word.at[i] >= 'A' && word.at[i] <= 'Z') && !(word.at[i] >= '0' && word.at[i] <= '9') &&
		    word.at[i] != '_')
			return false;
	return slash > 0 && slash < word.len;
}

/* Squid writes the blanks in a user's name as they are: the name ends where the hierarchy begins. How many words. */
static size_t split_words(struct span line, struct span words[static SQUID_COUNT])
{
	size_t count = 0;
	struct span more;

	while (count <= SQUID_USER && next_word(&line, &words[count]))
		count++;
	while (count == SQUID_HIERARCHY && next_word(&line, &more)) {
		if (is_hierarchy(more))
			words[count++] = more;
		else
			words[SQUID_USER].len = (size_t)(more.at + more.len - words[SQUID_USER].at);
	}
	if (count == SQUID_TYPE && next_word(&line, &words[count]))
		count++;
	return count;
}

static int digit_of(uint8_t byte)
{
	uint8_t lower = span_lower(byte);

	return byte >= '0' && byte <= '9' ? byte - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* %XX in the name of a user; {"", 0} for "-". */
static struct span user_of(struct span word, struct arena *arena)
{
	uint8_t *copy, *to;

	if (span_equal(word, SPAN("-")))
		return SPAN("");
	if (span_find(word, '%') == word.len)
		return word;
	copy = to = arena_alloc(arena, word.len);
	for (size_t i = 0; copy && i < word.len; i++) {
		int high = i + 2 < word.len ? digit_of(word.at[i + 1]) : -1;
		int low = i + 2 < word.len ? digit_of(word.at[i + 2]) : -1;

		if (word.at[i] == '%' && high >= 0 && low >= 0) {
			*to++ = (uint8_t)(high << 4 | low);
			i += 2;
		} else {
			*to++ = word.at[i];
		}
	}
	return copy ? span_of(copy, (size_t)(to - copy)) : word;
}

/* What came to no origin was answered by nobody. */
static struct span squid_access(struct span code)
{
	if (span_starts_with(code, SPAN("NONE")))
		return SPAN("");
	return span_find_span(code, SPAN("DENIED")) < code.len ? SPAN("deny") : SPAN("allow");
}

static enum replay_kind read_squid(struct span line, struct span listener, struct arena *arena,
                                   struct replay_request *out, const char **why)
{
	struct span words[SQUID_COUNT] = {{NULL, 0}};
	struct fields fields = {.port = 0};
	size_t slash;

	if (split_words(line, words) < SQUID_COUNT)
		return fail(why, "a line of Squid's native format has ten words, the ninth such as HIER_DIRECT/192.0.2.1");
	if (!read_epoch(words[SQUID_TIME], &out->facts.wall_ms))
		return fail(why, "the first word is not seconds since 1970, such as 1795435200.123");
	slash = span_find_last(words[SQUID_CODE], '/');
	if (slash == words[SQUID_CODE].len ||
	    !span_to_uint(span_skip(words[SQUID_CODE], slash + 1), 999, &fields.status))
		return fail(why, "the fourth word is not code/status, such as TCP_MISS/200");
	if (fields.status == STATUS_ASKED)
		return REPLAY_ASKED;
	fields.client = words[SQUID_CLIENT];
	read_address(fields.client, &out->facts.from);
	if (out->facts.from.family == 0 && !span_equal(fields.client, SPAN("-")))
		return fail(why, "the client is no IP address");
	if (!span_equal(words[SQUID_METHOD], SPAN("-")))
		fields.method = words[SQUID_METHOD];
	fields.target = words[SQUID_URL];
	fields.user = user_of(words[SQUID_USER], arena);
	fields.has_user = fields.user.len > 0;
	/* What stands behind a parent is that parent's address. */
	slash = span_find(words[SQUID_HIERARCHY], '/');
	if (span_ends_with(span_first(words[SQUID_HIERARCHY], slash), SPAN("DIRECT")))
		fields.origin = span_skip(words[SQUID_HIERARCHY], slash + 1);
	fields.access = squid_access(words[SQUID_CODE]);
	/* A dash is for none, and for not known. */
	fields.has_content_type = policy_content_type_next(&words[SQUID_TYPE], &fields.content_type);
	return make_request(&fields, listener, arena, out, why);
}

enum replay_kind replay_line_read(struct span line, struct span listener, struct arena *arena,
                                  struct replay_request *out, const char **why)
{
	if (line.len && line.at[line.len - 1] == '\r')
		line.len--;
	line = span_trim(line);
	out->logged_access = -1;
	if (line.len == 0)
		return REPLAY_BLANK;
	if (line.at[0] == '{')
		return read_json(line, listener, arena, out, why);
	if (line.at[0] >= '0' && line.at[0] <= '9')
		return read_squid(line, listener, arena, out, why);
	return fail(why, "neither our JSON nor Squid's native format");
}
