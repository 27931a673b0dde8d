/* SPDX-License-Identifier: Apache-2.0 */
/* The index against a naive matcher that walks over all entries: which of them match, and which one each list quotes. And what
 * would make it slow or wrong: long names, many entries of one key, many candidates, expressions that give up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/look_up.h"
#include "policy_naive.h"
#include "policy_rig.h"

enum { LISTS = 4, NAME_MAX_BYTES = 253, PATTERN_MAX = 1200 };
#define NOW_MS UINT64_C(1795435200000) /* 2026-11-23T12:00:00Z */

/* ---- lists as they are written, and as the naive matcher knows them ---- */

struct line {
	unsigned list, number;    /* number: of the line */
	enum naive_kind kind;
	char *text;
	struct image_ports ports; /* 0: none */
	uint64_t expires_ms;      /* 0: never */
	bool is_seen, is_sure;
};

struct rig {
	struct policy_rig policy;
	struct line *lines;
	size_t count, capacity;
	unsigned numbers[LISTS];
	struct buf files[LISTS];
	uint32_t *by_entry; /* line + 1 */
	uint64_t random;
};

static unsigned pick(struct rig *rig, unsigned below)
{
	rig->random ^= rig->random << 13;
	rig->random ^= rig->random >> 7;
	rig->random ^= rig->random << 17;
	return (unsigned)(rig->random >> 20) % below;
}

static void init(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	rig->random = UINT64_C(0x2545f4914f6cdd1d);
	for (int i = 0; i < LISTS; i++)
		buf_init(&rig->files[i], 64 << 20);
}

static void add(struct rig *rig, unsigned list, enum naive_kind kind, const char *text, struct image_ports ports,
                const char *expires)
{
	struct buf *file = &rig->files[list];
	struct line *line;

	if (rig->count == rig->capacity) {
		rig->capacity = rig->capacity ? rig->capacity * 2 : 64;
		rig->lines = realloc(rig->lines, rig->capacity * sizeof(*rig->lines));
		assert_non_null(rig->lines);
	}
	line = &rig->lines[rig->count++];
	*line = (struct line){.list = list, .number = ++rig->numbers[list], .kind = kind, .text = strdup(text), .ports = ports};
	buf_add_string(file, text);
	if (ports.first)
		buf_printf(file, " ports=%u-%u", ports.first, ports.last);
	if (expires) {
		buf_printf(file, " expires=%s", expires);
		line->expires_ms = expires[2] == '9' ? UINT64_MAX : expires[15] == '0' ? NOW_MS : NOW_MS + 60000;
	}
	buf_add_byte(file, '\n');
}

static void add_plain(struct rig *rig, unsigned list, enum naive_kind kind, const char *text)
{
	add(rig, list, kind, text, (struct image_ports){0, 0}, NULL);
}

static void map_lines(struct rig *rig)
{
	struct policy *policy = rig->policy.policy;
	struct policy_entry entry;
	size_t starts[LISTS] = {0}, total = 0;

	for (int i = 0; i < LISTS; i++) {
		starts[i] = total;
		total += rig->numbers[i];
	}
	/* By list and number: lines were added in any order. */
	uint32_t *places = calloc(total + 1, sizeof(*places));
	for (uint32_t i = 0; i < rig->count; i++)
		places[starts[rig->lines[i].list] + rig->lines[i].number - 1] = i + 1;
	rig->by_entry = calloc(policy_entry_count(policy) + 1, sizeof(*rig->by_entry));
	for (uint32_t i = 0; i < policy_entry_count(policy); i++)
		if (policy_entry(policy, i, &entry))
			rig->by_entry[i] = places[starts[entry.file.at[0] - 'a'] + entry.line - 1];
	free(places);
}

/* One rule for each list: `to` of rule n is list n. */
static void compile(struct rig *rig)
{
	struct buf text;

	policy_rig_init(&rig->policy);
	buf_init(&text, 10000);
	buf_add_string(&text, "lists: {a: a.list, b: b.list, c: c.list, d: d.list}\nrules:\n");
	for (int i = 0; i < LISTS; i++) {
		char name[] = {(char)('a' + i), '.', 'l', 'i', 's', 't', 0};

		policy_rig_write(&rig->policy, name, buf_span(&rig->files[i]));
		buf_printf(&text, "- {name: r%d, when: {to: %c}, then: {access: deny}}\n", i, 'a' + i);
	}
	buf_add_string(&text, "defaults: {access: allow}\n");
	policy_rig_write(&rig->policy, "policy.yaml", buf_span(&text));
	buf_fini(&text);
	policy_rig_compile(&rig->policy);
	if (rig->policy.err && rig->policy.problems.first)
		print_message("%s:%u: %s\n", rig->policy.problems.first->file, rig->policy.problems.first->line,
		              rig->policy.problems.first->text);
	assert_int_equal(rig->policy.err, ERR_NONE);
	map_lines(rig);
}

static void fini(struct rig *rig)
{
	policy_rig_fini(&rig->policy);
	for (size_t i = 0; i < rig->count; i++)
		free(rig->lines[i].text);
	for (int i = 0; i < LISTS; i++)
		buf_fini(&rig->files[i]);
	free(rig->lines);
	free(rig->by_entry);
}

/* ---- the comparison ---- */

static void on_seen(void *context, uint32_t entry, bool is_sure)
{
	struct rig *rig = context;
	struct line *line = &rig->lines[rig->by_entry[entry] - 1];

	assert_int_not_equal(rig->by_entry[entry], 0);
	assert_false(line->is_seen); /* told once */
	line->is_seen = true;
	line->is_sure = is_sure;
}

static bool is_in_force(const struct line *line, const struct policy_facts *facts)
{
	return (line->expires_ms == 0 || facts->wall_ms < line->expires_ms) &&
	       (line->ports.first == 0 || (facts->port >= line->ports.first && facts->port <= line->ports.last));
}

/* Bytes of the name that it says; what says more is quoted. Globs and expressions come last. */
static size_t weight(const struct line *line)
{
	size_t len = strlen(line->text);

	return line->kind == NAIVE_EXACT ? len : line->kind == NAIVE_BELOW ? len - 2 : line->kind == NAIVE_SUFFIX ? len - 1 : 0;
}

static void expect_quoted(struct rig *rig, const struct policy_facts *facts, const bool *matches, unsigned list)
{
	const struct policy *policy = rig->policy.policy;
	const struct line *best = NULL;
	struct look_up_hit hit;
	bool found = look_up_find(policy, policy->image.rules[list].to, &hit);

	for (size_t i = 0; i < rig->count; i++) {
		const struct line *line = &rig->lines[i];
		bool has_ports = line->ports.first, best_has = best && best->ports.first;

		if (line->list != list || !matches[i] || !is_in_force(line, facts))
			continue;
		if (best == NULL || has_ports > best_has || (has_ports == best_has && weight(line) > weight(best)))
			best = line;
	}
	assert_int_equal(found, best != NULL);
	if (best == NULL)
		return;
	assert_int_equal(hit.has_ports, best->ports.first > 0);
	assert_true(matches[rig->by_entry[hit.entry] - 1]);
	if (best->kind != NAIVE_NETWORK)
		assert_int_equal(weight(&rig->lines[rig->by_entry[hit.entry] - 1]), weight(best));
}

static void expect_as_naive(struct rig *rig, const char *text, uint16_t port, uint64_t wall_ms)
{
	struct policy_facts facts = policy_rig_facts(text, port);
	bool *matches = calloc(rig->count + 1, sizeof(*matches));

	facts.wall_ms = wall_ms;
	for (size_t i = 0; i < rig->count; i++) {
		struct line *line = &rig->lines[i];

		line->is_seen = false;
		matches[i] = naive_matches(line->kind, span_from(line->text), facts.host, &facts.host_address);
	}
	look_up_and_tell(rig->policy.policy, &facts, facts.host, &facts.host_address, on_seen, rig);
	for (size_t i = 0; i < rig->count; i++) {
		if (rig->lines[i].is_seen != matches[i])
			print_message("%s: %s is %s\n", text, rig->lines[i].text, matches[i] ? "not found" : "found");
		assert_int_equal(rig->lines[i].is_seen, matches[i]);
		assert_true(!matches[i] || rig->lines[i].is_sure);
	}
	for (unsigned list = 0; list < LISTS; list++)
		expect_quoted(rig, &facts, matches, list);
	free(matches);
}

/* At several ports and times; the second time a name is asked for, what was found out of it is remembered. */
static void expect_all_as_naive(struct rig *rig, const char *text)
{
	expect_as_naive(rig, text, 443, NOW_MS);
	expect_as_naive(rig, text, 8050, NOW_MS);
	expect_as_naive(rig, text, 443, NOW_MS + 60000);
}

/* ---- entries of all kinds ---- */

static void make_name(struct rig *rig, char name[static NAME_MAX_BYTES + 1])
{
	static const char *const labels[] = {"a", "b", "www", "cdn1", "x-y", "static", "7", "example",
	                                     "a-label-of-sixty-bytes-that-goes-on-until-there-are-enough-1"};
	unsigned count = pick(rig, 40) == 0 ? 126 : pick(rig, 6);
	size_t at = 0;

	while (count-- > 0) {
		const char *label = labels[pick(rig, pick(rig, 3) ? 8 : COUNT_OF(labels))];

		if (at + strlen(label) + 6 > NAME_MAX_BYTES)
			break;
		at += (size_t)snprintf(name + at, NAME_MAX_BYTES - at, "%s%s.", label, pick(rig, 3) ? "" : "q");
	}
	snprintf(name + at, NAME_MAX_BYTES + 1 - at, "%s", pick(rig, 2) ? "test" : "org");
}

static bool make_pattern(struct rig *rig, const char *name, enum naive_kind kind, char out[static PATTERN_MAX])
{
	size_t len = strlen(name), star = pick(rig, (unsigned)len);
	unsigned from = pick(rig, (unsigned)len), count = 3 + pick(rig, 9);

	if (kind <= NAIVE_SUFFIX)
		snprintf(out, PATTERN_MAX, "%s%s", kind == NAIVE_EXACT ? "" : kind == NAIVE_BELOW ? "*." : ".", name);
	else if (kind == NAIVE_GLOB && len < 250 && name[star] != '.')
		snprintf(out, PATTERN_MAX, "%s%.*s*%s", pick(rig, 4) ? "" : "*.", (int)star, name, name + star + 1);
	else if (kind == NAIVE_REGEX)
		snprintf(out, PATTERN_MAX, "/%s(%.*s)%s/", pick(rig, 2) ? "^.*" : "", (int)count, name + from, pick(rig, 2) ? "[a-z.]*$" : "");
	else
		return false;
	return span_find_span(span_from(out), SPAN("*.*.")) == strlen(out) && strchr(out + 1, '?') == NULL;
}

static bool has_pattern(const struct rig *rig, const char *text)
{
	for (size_t i = 0; i < rig->count; i++)
		if (strcmp(rig->lines[i].text, text) == 0)
			return true;
	return false;
}

static void all_kinds_are_found(void **state)
{
	enum { NAMES = 150, ENTRIES = 1500, REGEXES = 60 };
	static const char *const expires[] = {NULL, NULL, NULL, "2099-01-01", "2026-11-23T12:00Z", "2026-11-23T12:01Z"};
	static char names[NAMES][NAME_MAX_BYTES + 1];
	char text[PATTERN_MAX];
	struct rig rig;

	(void)state;
	init(&rig);
	for (int i = 0; i < NAMES; i++)
		make_name(&rig, names[i]);
	for (unsigned i = 0; i < ENTRIES; i++) {
		enum naive_kind kind = i < REGEXES ? NAIVE_REGEX : (enum naive_kind)pick(&rig, 4);
		const char *name = names[pick(&rig, NAMES)], *dot = name;

		for (unsigned skip = pick(&rig, 4); skip > 0 && strchr(dot, '.'); skip--)
			dot = strchr(dot, '.') + 1;
		if (!make_pattern(&rig, dot, kind, text) || has_pattern(&rig, text))
			continue;
		add(&rig, pick(&rig, LISTS), kind, text,
		    pick(&rig, 3) ? (struct image_ports){0, 0} : (struct image_ports){pick(&rig, 2) ? 443 : 8000, 8100},
		    expires[pick(&rig, COUNT_OF(expires))]);
	}
	assert_true(rig.count > 500);
	compile(&rig);
	for (int i = 0; i < NAMES; i++)
		expect_all_as_naive(&rig, names[i]);
	fini(&rig);
}

/* From one label to 127, and 253 bytes: above each name there are all the shorter ones. */
static void names_of_all_lengths(void **state)
{
	char name[NAME_MAX_BYTES + 10] = "x", text[PATTERN_MAX];
	struct rig rig;

	(void)state;
	init(&rig);
	for (unsigned labels = 1;; labels++) {
		snprintf(text, sizeof(text), "%s%s", labels > 1 ? "*." : ".", name);
		add_plain(&rig, 0, labels > 1 ? NAIVE_BELOW : NAIVE_SUFFIX, text);
		if (labels > 1)
			add_plain(&rig, 1, NAIVE_EXACT, name);
		snprintf(text, sizeof(text), ".%s", name);
		if (labels % 7 == 0)
			add_plain(&rig, 2, NAIVE_SUFFIX, text);
		if (labels == 127)
			break;
		snprintf(text, sizeof(text), "a.%s", name);
		memcpy(name, text, strlen(text) + 1);
	}
	assert_int_equal(strlen(name), NAME_MAX_BYTES);
	compile(&rig);
	for (const char *at = name; at; at = strchr(at, '.') ? strchr(at, '.') + 1 : NULL)
		expect_as_naive(&rig, at, 443, NOW_MS);
	expect_as_naive(&rig, "b.a.a.a.x", 443, NOW_MS);
	fini(&rig);
}

static void networks_of_all_lengths(void **state)
{
	static const char *const asked[] = {"203.0.113.201", "203.0.113.200", "203.0.113.73", "203.0.99.201", "203.128.113.201",
	                                    "75.0.113.201", "2001:db8:a5a5:5a5a:f00f:ff0:1234:4321", "2001:db8:a5a5:5a5a:f00f:ff0:1234:4320",
	                                    "2001:db8:a5a5:5a5b:f00f:ff0:1234:4321", "2001:db9::1", "a001::1"};
	char text[PATTERN_MAX];
	struct rig rig;

	(void)state;
	init(&rig);
	for (int family = 0; family < 2; family++) {
		struct address base;

		assert_true(address_parse(span_from(asked[family ? 6 : 0]), &base));
		for (unsigned len = 0; len <= (family ? 128u : 32u); len++) {
			struct address network = base;
			struct buf shown;

			for (unsigned bit = len; bit < (family ? 128u : 32u); bit++)
				network.bytes[bit / 8] &= (uint8_t)~(0x80u >> bit % 8);
			buf_init(&shown, 100);
			address_format(&network, &shown);
			snprintf(text, sizeof(text), "%.*s/%u", SPAN_ARG(buf_span(&shown)), len);
			buf_fini(&shown);
			add_plain(&rig, len % LISTS, NAIVE_NETWORK, text);
		}
	}
	compile(&rig);
	for (size_t i = 0; i < COUNT_OF(asked); i++)
		expect_as_naive(&rig, asked[i], 443, NOW_MS);
	expect_as_naive(&rig, "no.address.test", 443, NOW_MS);
	fini(&rig);
}

/* ---- many of one key; long names ---- */

static void one_key_again_and_again(void **state)
{
	enum { TIMES = 3000 };
	struct rig rig;

	(void)state;
	init(&rig);
	for (unsigned i = 0; i < TIMES; i++) {
		add(&rig, 0, NAIVE_EXACT, "same.test", (struct image_ports){(uint16_t)(i + 1), (uint16_t)(i + 1)}, NULL);
		add(&rig, 1, NAIVE_SUFFIX, ".same.test", (struct image_ports){(uint16_t)(i + 1), (uint16_t)(i + 2)},
		    i % 2 ? "2026-11-23T12:00Z" : "2099-01-01");
		if (i % 3 == 0) {
			char other[40];

			snprintf(other, sizeof(other), ".other-%u.test", i);
			add_plain(&rig, 2, NAIVE_SUFFIX, other);
		}
	}
	compile(&rig);
	expect_as_naive(&rig, "same.test", 1, NOW_MS);
	expect_as_naive(&rig, "same.test", TIMES, NOW_MS);
	expect_as_naive(&rig, "below.same.test", 2, NOW_MS);
	expect_as_naive(&rig, "same.test", 9999, NOW_MS);
	for (unsigned i = 0; i < TIMES; i += 300) {
		char other[40];

		snprintf(other, sizeof(other), "x.other-%u.test", i);
		expect_as_naive(&rig, other, 443, NOW_MS);
	}
	fini(&rig);
}

static void one_key_in_many_lists(void **state)
{
	enum { MANY = 700 };
	struct policy_facts facts = policy_rig_facts("below.same.test", 443);
	struct policy_rig rig;
	struct look_up_hit hit;
	struct policy_entry entry;
	struct buf text;

	(void)state;
	buf_init(&text, 1 << 20);
	buf_add_string(&text, "lists: {");
	for (unsigned i = 0; i < MANY; i++)
		buf_printf(&text, "l%u: %c.list, ", i, i % 3 ? 'a' : 'b');
	buf_add_string(&text, "}\nrules:\n");
	for (unsigned i = 0; i < MANY; i++)
		buf_printf(&text, "- {name: r%u, when: {to: l%u}, then: {access: deny}}\n", i, i);
	buf_add_string(&text, "defaults: {access: allow}\n");
	buf_add_byte(&text, 0);
	policy_rig_make(&rig, (const char *)buf_span(&text).at, ".same.test\n*e*.same.test\n", "x.test\n/^below/\n*.same.test\n");
	buf_fini(&text);
	assert_int_equal(rig.err, ERR_NONE);
	look_up(rig.policy, &facts, facts.host, &facts.host_address);
	for (unsigned i = 0; i < MANY; i++) {
		assert_true(look_up_find(rig.policy, rig.policy->image.rules[i].to, &hit));
		assert_int_equal(hit.list, i + 1);
		assert_true(policy_entry(rig.policy, hit.entry, &entry));
		assert_int_equal(entry.list, i + 1);
		assert_true(span_equal(entry.text, i % 3 ? SPAN(".same.test") : SPAN("*.same.test")));
	}
	policy_rig_fini(&rig);
}

/* The same line twice is one record; a line that says the same and expires otherwise is not. */
static void the_same_line_twice(void **state)
{
	struct rig rig;

	(void)state;
	init(&rig);
	add_plain(&rig, 0, NAIVE_EXACT, "twice.test");
	add(&rig, 0, NAIVE_EXACT, "twice.test", (struct image_ports){0, 0}, "2099-01-01");
	add(&rig, 0, NAIVE_EXACT, "twice.test", (struct image_ports){443, 443}, NULL);
	compile(&rig);
	expect_all_as_naive(&rig, "twice.test");
	fini(&rig);
	init(&rig);
	for (int i = 0; i < 1000; i++)
		add_plain(&rig, 0, NAIVE_EXACT, "twice.test");
	compile(&rig);
	assert_int_equal(rig.policy.policy->image.buckets[0].goes_on, 0);
	fini(&rig);
}

/* Wherever a look-up begins, it need not go far: also where two records do not fit into one bucket. */
static void expect_short_chains(size_t text_bytes, bool expires)
{
	enum { ENTRIES = 6000, FAR = 200, MEAN = 6 };
	const struct image_header *header;
	const struct image *image;
	size_t sum = 0, far = 0;
	struct rig rig;

	init(&rig);
	for (unsigned i = 0; i < ENTRIES; i++) {
		char text[200];
		int len = snprintf(text, sizeof(text), "%u-%08x", i, pick(&rig, UINT32_MAX));

		while ((size_t)len < text_bytes - 5) {
			text[len] = len % 30 == 29 ? '.' : 'q';
			len++;
		}
		snprintf(text + len, sizeof(text) - (size_t)len, ".test");
		add(&rig, 0, NAIVE_EXACT, text, (struct image_ports){0, 0}, expires ? "2099-01-01" : NULL);
	}
	compile(&rig);
	header = rig.policy.policy->header;
	image = &rig.policy.policy->image;
	for (size_t i = 0; i < ENTRIES; i++) {
		struct image_record record;
		size_t home, away;

		assert_true(image_record_of(rig.policy.policy, (uint32_t)i, &record));
		home = image_home(image_hash(header->key, record.text), header->home_count);
		away = image->entries[i].at / BUCKET_BYTES - home;
		sum += away;
		far = away > far ? away : far;
	}
	if (far > FAR || sum / ENTRIES > MEAN)
		print_message("names of %zu bytes: %zu buckets away at most, %zu of %d on average\n", text_bytes, far, sum / ENTRIES, ENTRIES);
	assert_true(far <= FAR && sum / ENTRIES <= MEAN);
	fini(&rig);
}

static void chains_are_short(void **state)
{
	static const size_t lengths[] = {20, 33, 34, 40, 48, 54, 55, 60, 80, 100};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lengths); i++)
		expect_short_chains(lengths[i], false);
	expect_short_chains(47, true);
	expect_short_chains(90, true);
}

/* ---- scans ---- */

/* More candidates than are kept; more matches than a verdict has room for; ten thousand expressions and the longest name. */
static void many_candidates(void **state)
{
	enum { SAME = 400, OTHERS = 10000 };
	char name[NAME_MAX_BYTES + 1], text[PATTERN_MAX];
	struct rig rig;

	(void)state;
	init(&rig);
	for (unsigned i = 0; i < SAME; i++) {
		snprintf(text, sizeof(text), "/^tracker%s[.].*$/", i % 40 ? "[0-9]" : "");
		snprintf(text + strlen(text) - 1, 40, "|tracker-%u/", i);
		add_plain(&rig, i % LISTS, NAIVE_REGEX, text);
	}
	compile(&rig);
	expect_all_as_naive(&rig, "tracker.example.test");
	expect_all_as_naive(&rig, "tracker7.example.test");
	expect_all_as_naive(&rig, "tracker-17.example.test");
	expect_all_as_naive(&rig, "track-17.example.test");
	fini(&rig);
	init(&rig);
	for (unsigned i = 0; i < OTHERS; i++) {
		snprintf(text, sizeof(text), "/^(.*\\.)?host%u-[a-z]+\\.example%u\\.test$/", i, i % 100);
		add_plain(&rig, 0, NAIVE_REGEX, text);
	}
	compile(&rig);
	memset(name, 'x', sizeof(name));
	for (size_t i = 50; i < 230; i += 50)
		name[i] = '.';
	snprintf(name + 222, sizeof(name) - 222, "x.host77-abc.example77.test");
	for (int again = 0; again < 3; again++)
		expect_as_naive(&rig, name, 443, NOW_MS);
	fini(&rig);
}

static void what_is_remembered_is_of_one_policy(void **state)
{
	struct rig rigs[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		init(&rigs[i]);
		add_plain(&rigs[i], 0, NAIVE_REGEX, i ? "/^some\\..*$/" : "/^other\\..*$/");
		add(&rigs[i], 1, NAIVE_GLOB, i ? "o*.test" : "s*.test", (struct image_ports){443, 443}, "2026-11-23T12:01Z");
		compile(&rigs[i]);
	}
	for (int i = 0; i < 6; i++) {
		expect_all_as_naive(&rigs[i % 2], "some.test");
		expect_all_as_naive(&rigs[i % 2], "other.test");
	}
	fini(&rigs[0]);
	fini(&rigs[1]);
}

/* More names than are remembered: what is known of one is not told of another. */
static void many_names_are_asked_for(void **state)
{
	char name[40];
	struct rig rig;

	(void)state;
	init(&rig);
	add_plain(&rig, 0, NAIVE_GLOB, "n*7.test");
	add_plain(&rig, 1, NAIVE_REGEX, "/^name[0-9]*3[.]test$/");
	compile(&rig);
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "name%u.test", i % 5000);
		expect_as_naive(&rig, name, 443, NOW_MS);
	}
	fini(&rig);
}

static void count_unsure(void *context, uint32_t entry, bool is_sure)
{
	size_t *counts = context;

	(void)entry;
	counts[is_sure]++;
}

/* A few expressions may reach their limits, those behind are not tried: nobody knows of them. What is sure stays so. */
static void expressions_that_explode(void **state)
{
	enum { HOSTILE = 50 };
	struct policy_facts facts = policy_rig_facts("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-.test", 443);
	size_t counts[2] = {0, 0};
	struct policy_decision decision;
	struct look_up_hit hit;
	struct rig rig;
	char text[PATTERN_MAX];

	(void)state;
	init(&rig);
	for (unsigned i = 0; i < HOSTILE; i++) {
		snprintf(text, sizeof(text), "/^(a+)+(a|b)*(a+)+[0-9]{%u}$/", i + 1);
		add_plain(&rig, 0, NAIVE_REGEX, text);
	}
	add_plain(&rig, 1, NAIVE_REGEX, "/^a+/");
	add_plain(&rig, 2, NAIVE_SUFFIX, ".test");
	compile(&rig);
	for (int again = 0; again < 2; again++) {
		counts[0] = counts[1] = 0;
		look_up_and_tell(rig.policy.policy, &facts, facts.host, &facts.host_address, count_unsure, counts);
		assert_int_equal(counts[0], HOSTILE + 1); /* and the good one behind them */
		assert_int_equal(counts[1], 1);
		assert_false(look_up_find(rig.policy.policy, rig.policy.policy->image.rules[0].to, &hit));
		assert_true(look_up_find_unsure(rig.policy.policy, rig.policy.policy->image.rules[0].to, &hit));
		assert_true(look_up_find(rig.policy.policy, rig.policy.policy->image.rules[2].to, &hit));
	}
	policy_decide(rig.policy.policy, &facts, &decision);
	assert_int_equal(decision.answers[POLICY_ACCESS].answer, ACCESS_DENY);
	assert_int_equal(decision.answers[POLICY_ACCESS].rule, 0);
	fini(&rig);
}

static void what_gives_up_does_not_loosen(void **state)
{
	struct policy_facts facts = policy_rig_facts("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-.test", 443);
	struct policy_decision decision;
	struct policy_rig rig;

	(void)state;
	policy_rig_make(&rig, "lists: {a: a.list}\nrules:\n- {name: r, when: {to: a}, then: {access: allow, tls: bypass}}\n"
	                      "defaults: {access: deny, tls: inspect}\n", "/^(a+)+(a|b)*(a+)+[0-9]$/\n", NULL);
	assert_int_equal(rig.err, ERR_NONE);
	policy_decide(rig.policy, &facts, &decision);
	assert_int_equal(decision.answers[POLICY_ACCESS].answer, ACCESS_DENY);
	assert_int_equal(decision.answers[POLICY_TLS].answer, TLS_INSPECT);
	policy_rig_fini(&rig);
}

/* The first minute that there was: it is over, as every other. */
static void what_ended_at_once_has_ended(void **state)
{
	struct policy_facts facts = policy_rig_facts("old.test", 443);
	struct policy_decision decision;
	struct policy_rig rig;

	(void)state;
	policy_rig_make(&rig, "lists: {a: a.list}\nrules:\n- {name: r, when: {to: a}, then: {access: allow}}\n"
	                      "defaults: {access: deny}\n", "old.test expires=1970-01-01T00:00:30Z\n", NULL);
	assert_int_equal(rig.err, ERR_NONE);
	policy_decide(rig.policy, &facts, &decision);
	assert_int_equal(decision.answers[POLICY_ACCESS].answer, ACCESS_DENY);
	policy_rig_fini(&rig);
}

/* So many sets of ports as there are: none of them is another's. */
static void ports_are_their_own(void **state)
{
	char text[100];
	struct rig rig;

	(void)state;
	init(&rig);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(text, sizeof(text), "h%u.test", i / 2);
		add(&rig, i % 2, NAIVE_EXACT, text, (struct image_ports){(uint16_t)(i / 500 + 1), (uint16_t)(i / 500 + 1)}, NULL);
	}
	compile(&rig);
	assert_true(rig.policy.policy->image.ports_count < 50); /* the same set is there once */
	for (unsigned i = 0; i < 1000; i += 99) {
		snprintf(text, sizeof(text), "h%u.test", i);
		for (uint16_t port = 1; port < 5; port++)
			expect_as_naive(&rig, text, port, NOW_MS);
	}
	fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_kinds_are_found),
		cmocka_unit_test(names_of_all_lengths),
		cmocka_unit_test(networks_of_all_lengths),
		cmocka_unit_test(one_key_again_and_again),
		cmocka_unit_test(one_key_in_many_lists),
		cmocka_unit_test(the_same_line_twice),
		cmocka_unit_test(chains_are_short),
		cmocka_unit_test(many_candidates),
		cmocka_unit_test(what_is_remembered_is_of_one_policy),
		cmocka_unit_test(many_names_are_asked_for),
		cmocka_unit_test(expressions_that_explode),
		cmocka_unit_test(what_gives_up_does_not_loosen),
		cmocka_unit_test(what_ended_at_once_has_ended),
		cmocka_unit_test(ports_are_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
