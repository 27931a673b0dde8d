/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include <stdio.h>
#include <string.h>

#include "bench.h"

enum { SHORT_EVERY = 1000 }; /* an expression in so many has no text that a name must have in it */

/* Words are three syllables and an end, so that each number has one; what is put before or behind a word has letters that
 * no word has, so that they stay different. */
static const char consonants[] = "bcdfghklmnprstvz", vowels[] = "aeio";
static const char *const ends[] = {"", "n", "r", "s", "l", "nt", "st", "rk", "ld", "ck", "m", "t", "ns", "lt", "rt", "d"};
static const char *const fronts[] = {"my", "buy", "web", "blue", "you", "sky", "quick", "new"};
static const char *const backs[] = {"hub", "plus", "group", "way", "tube", "xl", "wiki", "world"};
static const char *const tops[] = {
	"com", "com", "com", "com", "com", "com", "com", "com", "net", "net", "org", "org", "de", "ru", "io", "info",
	"fr", "nl", "it", "pl", "eu", "cn", "in", "co", "tv", "xyz", "online", "site", "shop", "biz", "us", "ch",
};
static const char *const countries[] = {"co.uk", "com.br", "com.au", "co.jp", "com.cn", "co.in", "com.tr", "co.za"};
static const char *const subs[] = {"www", "cdn", "api", "ads", "mail", "static", "img", "track", "app", "login", "m", "news"};
static const char *const parents[] = {
	"blogspot.com", "wordpress.com", "github.io", "azurewebsites.net", "cloudfront.net", "herokuapp.com",
	"s3.amazonaws.com", "web.app",
};

#define PICK(array, number) ((array)[(number) % BENCH_COUNT(array)])

static uint64_t mix(uint64_t number)
{
	number += UINT64_C(0x9e3779b97f4a7c15);
	number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
	return number ^ number >> 31;
}

uint64_t names_random(uint64_t *state)
{
	return mix((*state)++);
}

void names_shuffle(uint32_t *order, uint32_t count, uint64_t seed)
{
	for (uint32_t i = 0; i < count; i++)
		order[i] = i;
	for (uint32_t i = count; i > 1; i--) {
		uint32_t other = (uint32_t)(names_random(&seed) % i), kept = order[i - 1];

		order[i - 1] = order[other];
		order[other] = kept;
	}
}

bool names_kind(const char *text, enum names_kind *out)
{
	static const char *const known[] = {"suffixes", "regexes", "globs"};

	for (size_t i = 0; i < BENCH_COUNT(known); i++) {
		*out = (enum names_kind)i;
		if (strcmp(text, known[i]) == 0)
			return true;
	}
	return false;
}

bool names_ask(const char *text, enum names_ask *out)
{
	static const char *const known[] = {"hit", "below", "miss"};

	for (size_t i = 0; i < BENCH_COUNT(known); i++) {
		*out = (enum names_ask)i;
		if (strcmp(text, known[i]) == 0)
			return true;
	}
	return false;
}

/* Each number below 2^22 becomes another one: neighbours in a list are no neighbours in the alphabet. */
static uint32_t scatter(uint32_t index)
{
	const uint32_t mask = (1u << 22) - 1;

	index = (index * 2654435761u + 97) & mask;
	index ^= index >> 11;
	index = index * 2246822519u & mask;
	return index ^ index >> 9;
}

static void word(uint32_t index, char out[static 16])
{
	uint32_t number = scatter(index);
	size_t at = 0;

	for (int i = 0; i < 3; i++, number >>= 6) {
		out[at++] = consonants[number & 15];
		out[at++] = vowels[number >> 4 & 3];
	}
	snprintf(out + at, 16 - at, "%s", ends[number & 15]);
}

static size_t host(uint32_t index, char out[static NAMES_MAX])
{
	uint64_t h = mix(index);
	unsigned shape = h & 127;
	char name[16], label[32];

	word(index, name);
	h >>= 7;
	if ((h & 7) == 0)
		snprintf(label, sizeof(label), "%s%s", PICK(fronts, h >> 8), name);
	else if ((h & 7) == 1)
		snprintf(label, sizeof(label), "%s%s", name, PICK(backs, h >> 8));
	else
		snprintf(label, sizeof(label), "%s", name);
	h >>= 16;
	if (shape < 64)
		return (size_t)snprintf(out, NAMES_MAX, "%s.%s", label, PICK(tops, h));
	if (shape < 82)
		return (size_t)snprintf(out, NAMES_MAX, "%s.%s", label, PICK(countries, h));
	if (shape < 110)
		return (size_t)snprintf(out, NAMES_MAX, "%s.%s.%s", PICK(subs, h >> 8), label, PICK(tops, h));
	return (size_t)snprintf(out, NAMES_MAX, "%s.%s", label, PICK(parents, h));
}

/* ---- expressions and globs, and what they match ---- */

static size_t short_regex(uint32_t index, char out[static NAMES_MAX])
{
	uint64_t h = mix(index);

	return (size_t)snprintf(out, NAMES_MAX, "^[%c%c%c%c]{3,9}[0-9]{1,3}\\.[a-z]{2}$", (char)('a' + h % 6),
	                        (char)('g' + (h >> 8) % 6), (char)('m' + (h >> 16) % 6), (char)('s' + (h >> 24) % 6));
}

static size_t regex(uint32_t index, char out[static NAMES_MAX])
{
	const char *top = PICK(tops, mix(index) >> 40);
	char w[16];

	word(index, w);
	if (index % SHORT_EVERY == SHORT_EVERY - 1)
		return short_regex(index, out);
	switch (index % 6) {
	case 0:
		return (size_t)snprintf(out, NAMES_MAX, "^cdn[0-9]+\\.%s\\.%s$", w, top);
	case 1:
		return (size_t)snprintf(out, NAMES_MAX, "^(www|mail|app)\\.%s\\.(com|net|org)$", w);
	case 2:
		return (size_t)snprintf(out, NAMES_MAX, "(^|\\.)%s[0-9]{1,3}\\.%s$", w, top);
	case 3:
		return (size_t)snprintf(out, NAMES_MAX, "^[a-z0-9-]+\\.%s\\.%s$", w, top);
	case 4:
		return (size_t)snprintf(out, NAMES_MAX, "^%s-(eu|us|ap)[0-9]?\\.%s$", w, top);
	default:
		return (size_t)snprintf(out, NAMES_MAX, "^ads?[0-9]*\\.(static\\.)?%s\\.", w);
	}
}

static size_t regex_hit(uint32_t index, uint32_t salt, char out[static NAMES_MAX])
{
	const char *top = PICK(tops, mix(index) >> 40);
	unsigned number = salt % 10;
	char w[16];

	word(index, w);
	if (index % SHORT_EVERY == SHORT_EVERY - 1) {
		char letter = (char)('a' + mix(index) % 6);

		return (size_t)snprintf(out, NAMES_MAX, "%c%c%c%c%u.de", letter, letter, letter, letter, number);
	}
	switch (index % 6) {
	case 0:
		return (size_t)snprintf(out, NAMES_MAX, "cdn%u.%s.%s", salt % 1000, w, top);
	case 1:
		return (size_t)snprintf(out, NAMES_MAX, "%s.%s.net", salt & 1 ? "mail" : "www", w);
	case 2:
		return (size_t)snprintf(out, NAMES_MAX, "a.%s%u.%s", w, salt % 1000, top);
	case 3:
		return (size_t)snprintf(out, NAMES_MAX, "x-%u.%s.%s", salt % 1000, w, top);
	case 4:
		return (size_t)snprintf(out, NAMES_MAX, "%s-eu%u.%s", w, number, top);
	default:
		return (size_t)snprintf(out, NAMES_MAX, "ad%u.%s.com", salt % 1000, w);
	}
}

static size_t glob(uint32_t index, const char *middle, char out[static NAMES_MAX])
{
	const char *top = PICK(tops, mix(index) >> 40);
	char w[16];

	word(index, w);
	switch (index % 4) {
	case 0:
		return (size_t)snprintf(out, NAMES_MAX, "%s%s%s.%s", middle, w, middle, top);
	case 1:
		return (size_t)snprintf(out, NAMES_MAX, "ads%s.%s.%s", middle, w, top);
	case 2:
		return (size_t)snprintf(out, NAMES_MAX, "%s-cdn.%s.%s", middle, w, top);
	default:
		return (size_t)snprintf(out, NAMES_MAX, "%s-%s.s3.amazonaws.com", w, middle);
	}
}

/* ---- all kinds ---- */

size_t names_entry(enum names_kind kind, uint32_t index, char out[static NAMES_MAX])
{
	if (kind == NAMES_REGEXES)
		return regex(index, out);
	return kind == NAMES_GLOBS ? glob(index, "*", out) : host(index, out);
}

size_t names_asked(enum names_kind kind, enum names_ask ask, uint32_t index, uint32_t salt,
                   char out[static NAMES_MAX])
{
	char name[NAMES_MAX], middle[16];

	if (ask == NAMES_MISS)
		return host(index + NAMES_COUNT_MAX, out);
	if (kind == NAMES_REGEXES)
		return regex_hit(index, salt, out);
	if (kind == NAMES_GLOBS) {
		snprintf(middle, sizeof(middle), "%u", salt % 1000);
		return glob(index, middle, out);
	}
	host(index, name);
	if (ask == NAMES_HIT)
		return (size_t)snprintf(out, NAMES_MAX, "%s", name);
	return (size_t)snprintf(out, NAMES_MAX, "%s%u.%s", PICK(subs, mix(index) >> 20), salt % 100, name);
}
