/* SPDX-License-Identifier: Apache-2.0 */
#include "web/public_pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "web/ca_pages.h"

enum {
	BODIES_MAX = 16,    /* all but its begin, of the file for a class of clients */
	KEPT_MAX = 16,      /* files for such a class and a first proxy */
	FRESH_MS = 60000,   /* entries of lists expire by the minute */
	PROXIES_MAX = 512,
	TAG_BYTES = 24,
	SUBSCRIBER_BYTES = 8, /* of IPv6, one has a whole /64 */
};

struct body {
	uint64_t class, made_ms, used, hash;
	struct buf text; /* empty: none */
};

struct kept {
	uint64_t class, made_ms, used; /* made_ms: of its body */
	size_t first; /* proxy */
	struct web_page *page;
	char tag[TAG_BYTES];
};

struct public_pages {
	struct public_source source;
	char *proxies;
	size_t proxy_count;
	struct body bodies[BODIES_MAX];
	struct kept kept[KEPT_MAX];
	uint64_t uses;
	struct ca_pages ca;
};

enum err public_pages_new(struct public_pages **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? ERR_NONE : ERR_MEMORY;
}

static void forget(struct public_pages *pages)
{
	for (size_t i = 0; i < KEPT_MAX; i++) {
		web_page_free(pages->kept[i].page);
		pages->kept[i] = (struct kept){.page = NULL};
	}
	for (size_t i = 0; i < BODIES_MAX; i++) {
		buf_fini(&pages->bodies[i].text);
		pages->bodies[i] = (struct body){.made_ms = 0};
	}
}

void public_pages_free(struct public_pages *pages)
{
	if (pages == NULL)
		return;
	forget(pages);
	ca_pages_fini(&pages->ca);
	free(pages->proxies);
	free(pages);
}

static size_t count_lines(struct span text)
{
	size_t count = 0;
	struct span line;

	while (count < PROXIES_MAX && span_split(&text, '\n', &line))
		count += line.len > 0;
	return count;
}

enum err public_pages_use(struct public_pages *pages, const struct public_source *source)
{
	char *proxies = strndup((const char *)source->proxies.at, source->proxies.len);

	if (proxies == NULL)
		return ERR_MEMORY;
	forget(pages);
	free(pages->proxies);
	pages->proxies = proxies;
	pages->source = *source;
	pages->source.proxies = span_from(proxies);
	pages->proxy_count = count_lines(pages->source.proxies);
	return ERR_NONE;
}

/* ---- the proxies ---- */

/* The same on every node, and after every start. */
static size_t first_proxy(size_t count, const struct address *client)
{
	static const struct hash_key fixed = {{5, 6}};
	struct address plain = address_unmapped(client);

	return count ? (size_t)(hash_bytes(&fixed, span_of(plain.bytes, SUBSCRIBER_BYTES)) % count) : 0;
}

static void add_proxies(struct span proxies, size_t from, size_t to, struct buf *out)
{
	struct span line;

	for (size_t i = 0; i < to && span_split(&proxies, '\n', &line);) {
		if (line.len == 0)
			continue;
		if (i++ >= from)
			buf_printf(out, "%sPROXY %.*s", buf_len(out) ? "; " : "", SPAN_ARG(line));
	}
}

static void write_proxies(struct span proxies, size_t count, size_t first, struct buf *out)
{
	add_proxies(proxies, first, count, out);
	add_proxies(proxies, 0, first, out);
}

void public_pages_proxies(struct span proxies, const struct address *client, struct buf *out)
{
	size_t count = count_lines(proxies);

	write_proxies(proxies, count, first_proxy(count, client), out);
}

/* ---- the file ---- */

static uint64_t hash_of(const struct buf *text)
{
	static const struct hash_key fixed = {{7, 8}};

	return hash_bytes(&fixed, buf_span(text));
}

static bool make_body(const struct public_pages *pages, const struct address *client, struct body *body)
{
	buf_fini(&body->text);
	buf_init(&body->text, PAC_MAX_BYTES);
	if (policy_pac_write(pages->source.policy, client, clock_wall_ms(), &body->text)) {
		buf_fini(&body->text);
		return false;
	}
	body->hash = hash_of(&body->text);
	return true;
}

/* The body of a class, made anew now and then; NULL: it cannot be made. */
static const struct body *find_body(struct public_pages *pages, uint64_t class, const struct address *client)
{
	uint64_t now_ms = clock_monotonic_ms();
	struct body *body = &pages->bodies[0];

	for (size_t i = 0; i < BODIES_MAX; i++) {
		struct body *one = &pages->bodies[i];

		if (buf_len(&one->text) && one->class == class) {
			body = one;
			break;
		}
		if (one->used < body->used)
			body = one;
	}
	body->used = ++pages->uses;
	if (buf_len(&body->text) && body->class == class && now_ms - body->made_ms < FRESH_MS)
		return body;
	body->class = class;
	body->made_ms = now_ms;
	return make_body(pages, client, body) ? body : NULL;
}

static void add_fields(const struct public_pages *pages, struct kept *kept, uint64_t hash)
{
	bool is_shared = pages->proxy_count < 2 && !policy_pac_has_classes(pages->source.policy);
	char text[64];

	snprintf(kept->tag, sizeof(kept->tag), "\"%016llx\"", (unsigned long long)hash);
	/* Caches in between must not give one client what was made for another. */
	snprintf(text, sizeof(text), "%s, max-age=%llu", is_shared ? "public" : "private",
	         (unsigned long long)(pages->source.cache_ms / 1000));
	web_page_add(kept->page, "ETag", kept->tag);
	web_page_add(kept->page, "Cache-Control", text);
	web_page_add(kept->page, "Connection", "close");
}

static void make_page(const struct public_pages *pages, const struct body *body, struct kept *kept)
{
	struct buf proxies, script;
	uint64_t hash;

	buf_init(&proxies, 1 << 20);
	buf_init(&script, (1 << 20) + PAC_MAX_BYTES);
	write_proxies(pages->source.proxies, pages->proxy_count, kept->first, &proxies);
	policy_pac_begin(buf_span(&proxies), &script);
	hash = hash_of(&script) ^ body->hash;
	buf_add(&script, buf_span(&body->text));
	if (buf_is_whole(&script))
		kept->page = web_page_new(buf_span(&script), "application/x-ns-proxy-autoconfig");
	if (kept->page)
		add_fields(pages, kept, hash);
	buf_fini(&proxies);
	buf_fini(&script);
}

/* NULL: it cannot be made. */
static const struct kept *find_page(struct public_pages *pages, const struct address *client)
{
	uint64_t class = policy_pac_class(pages->source.policy, client);
	const struct body *body = find_body(pages, class, client);
	size_t first = first_proxy(pages->proxy_count, client);
	struct kept *kept = &pages->kept[0];

	if (body == NULL)
		return NULL;
	for (size_t i = 0; i < KEPT_MAX; i++) {
		struct kept *one = &pages->kept[i];

		if (one->page && one->class == class && one->first == first && one->made_ms == body->made_ms) {
			one->used = ++pages->uses;
			return one;
		}
		if (one->used < kept->used)
			kept = one;
	}
	web_page_free(kept->page);
	*kept = (struct kept){.class = class, .first = first, .made_ms = body->made_ms, .used = ++pages->uses};
	make_page(pages, body, kept);
	return kept->page ? kept : NULL;
}

/* If-None-Match: a list of tags, W/ before them or not. There is no Last-Modified, and If-Modified-Since is ignored
 * (RFC 9110 section 13.1.3): one time cannot tell apart what clients in two networks get, nor what has expired. */
static bool has_it(const struct kept *kept, const struct web_request *request)
{
	struct span tags = request->if_none_match, tag;

	while (span_split(&tags, ',', &tag)) {
		tag = span_trim(tag);
		if (span_starts_with(tag, SPAN("W/")))
			tag = span_skip(tag, 2);
		if (span_equal(tag, SPAN("*")) || span_equal(tag, span_from(kept->tag)))
			return true;
	}
	return false;
}

enum err public_pages_use_ca(struct public_pages *pages, struct span certificate, struct span crl)
{
	return ca_pages_use(&pages->ca, certificate, crl);
}

void public_pages_answer(void *context, const struct web_request *request, struct web_reply *out)
{
	struct public_pages *pages = context;
	const struct kept *kept;

	if (ca_pages_answer(&pages->ca, request->path, out))
		return;
	if (!span_equal(request->path, SPAN("/proxy.pac")) && !span_equal(request->path, SPAN("/wpad.dat"))) {
		web_reply_with(out, 404, "there are /proxy.pac, /wpad.dat, and /ca\n");
		return;
	}
	kept = pages->source.policy ? find_page(pages, &request->client) : NULL;
	if (kept == NULL)
		web_reply_with(out, 503, "the PAC file cannot be made now\n");
	else
		*out = (struct web_reply){.status = has_it(kept, request) ? 304 : 200, .page = kept->page};
}
