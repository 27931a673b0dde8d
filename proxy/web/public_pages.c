/* SPDX-License-Identifier: Apache-2.0 */
#include "web/public_pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/hash.h"

enum {
	KEPT_MAX = 32,      /* files for a class of clients and a first proxy */
	FRESH_MS = 60000,   /* entries of lists expire by the minute */
	PROXIES_MAX = 512,
	DATE_BYTES = 32,
	TAG_BYTES = 24,
	SUBSCRIBER_BYTES = 8, /* of IPv6, one has a whole /64 */
};

struct kept {
	uint64_t class, made_ms, used;
	size_t first; /* proxy */
	struct web_page *page;
	char tag[TAG_BYTES];
};

struct public_pages {
	struct public_source source;
	char *proxies;
	size_t proxy_count;
	char modified[DATE_BYTES];
	struct kept kept[KEPT_MAX];
	uint64_t uses;
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
}

void public_pages_free(struct public_pages *pages)
{
	if (pages == NULL)
		return;
	forget(pages);
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
	time_t seconds = (time_t)(source->loaded_ms / 1000);
	char *proxies = strndup((const char *)source->proxies.at, source->proxies.len);
	struct tm parts;

	if (proxies == NULL)
		return ERR_MEMORY;
	forget(pages);
	free(pages->proxies);
	pages->proxies = proxies;
	pages->source = *source;
	pages->source.proxies = span_from(proxies);
	pages->proxy_count = count_lines(pages->source.proxies);
	pages->modified[0] = '\0';
	if (gmtime_r(&seconds, &parts))
		strftime(pages->modified, sizeof(pages->modified), "%a, %d %b %Y %H:%M:%S GMT", &parts);
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

static void add_fields(const struct public_pages *pages, struct kept *kept, struct span script)
{
	static const struct hash_key fixed = {{7, 8}};
	bool is_shared = pages->proxy_count < 2 && !policy_pac_has_classes(pages->source.policy);
	char text[64];

	snprintf(kept->tag, sizeof(kept->tag), "\"%016llx\"",
	         (unsigned long long)hash_bytes(&fixed, script));
	/* Caches in between must not give one client what was made for another. */
	snprintf(text, sizeof(text), "%s, max-age=%llu", is_shared ? "public" : "private",
	         (unsigned long long)(pages->source.cache_ms / 1000));
	web_page_add(kept->page, "ETag", kept->tag);
	web_page_add(kept->page, "Cache-Control", text);
	if (pages->modified[0])
		web_page_add(kept->page, "Last-Modified", pages->modified);
	web_page_add(kept->page, "Connection", "close");
}

static bool make(const struct public_pages *pages, const struct address *client, struct kept *kept)
{
	struct buf proxies, script;
	enum err err;

	buf_init(&proxies, 1 << 20);
	buf_init(&script, (1 << 20) + PAC_MAX_BYTES);
	write_proxies(pages->source.proxies, pages->proxy_count, kept->first, &proxies);
	err = policy_pac_write(pages->source.policy, client, clock_wall_ms(), buf_span(&proxies), &script);
	if (err == ERR_NONE)
		kept->page = web_page_new(buf_span(&script), "application/x-ns-proxy-autoconfig");
	if (kept->page)
		add_fields(pages, kept, buf_span(&script));
	buf_fini(&proxies);
	buf_fini(&script);
	return kept->page != NULL;
}

/* NULL: it cannot be made. */
static const struct kept *find_or_make(struct public_pages *pages, const struct address *client)
{
	uint64_t class = policy_pac_class(pages->source.policy, client), now_ms = clock_monotonic_ms();
	size_t first = first_proxy(pages->proxy_count, client);
	struct kept *oldest = &pages->kept[0];

	for (size_t i = 0; i < KEPT_MAX; i++) {
		struct kept *kept = &pages->kept[i];

		if (kept->page && kept->class == class && kept->first == first) {
			kept->used = ++pages->uses;
			if (now_ms - kept->made_ms < FRESH_MS)
				return kept;
			oldest = kept;
			break;
		}
		if (kept->used < oldest->used)
			oldest = kept;
	}
	web_page_free(oldest->page);
	*oldest = (struct kept){.class = class, .first = first, .made_ms = now_ms, .used = ++pages->uses};
	return make(pages, client, oldest) ? oldest : NULL;
}

/* If-None-Match: a list of tags, W/ before them or not; it goes before the date (RFC 9110 section 13.2.2). */
static bool has_it(const struct public_pages *pages, const struct kept *kept,
                   const struct web_request *request)
{
	struct span tags = request->if_none_match, tag;

	if (tags.len == 0)
		return request->if_modified_since.len && pages->modified[0] &&
		       span_equal(request->if_modified_since, span_from(pages->modified));
	while (span_split(&tags, ',', &tag)) {
		tag = span_trim(tag);
		if (span_starts_with(tag, SPAN("W/")))
			tag = span_skip(tag, 2);
		if (span_equal(tag, SPAN("*")) || span_equal(tag, span_from(kept->tag)))
			return true;
	}
	return false;
}

void public_pages_answer(void *context, const struct web_request *request, struct web_reply *out)
{
	struct public_pages *pages = context;
	const struct kept *kept;

	if (!span_equal(request->path, SPAN("/proxy.pac")) && !span_equal(request->path, SPAN("/wpad.dat"))) {
		web_reply_with(out, 404, "there are /proxy.pac and /wpad.dat\n");
		return;
	}
	kept = pages->source.policy ? find_or_make(pages, &request->client) : NULL;
	if (kept == NULL)
		web_reply_with(out, 503, "the PAC file cannot be made now\n");
	else
		*out = (struct web_reply){.status = has_it(pages, kept, request) ? 304 : 200, .page = kept->page};
}
