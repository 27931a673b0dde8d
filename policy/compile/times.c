/* SPDX-License-Identifier: Apache-2.0 */
/* The condition time: "mon-fri 08:00-18:00 +01:00". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "policy/compile/compile.h"

static bool parse_day(struct span text, uint32_t *out)
{
	static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

	for (uint32_t i = 0; i < COUNT_OF(names); i++) {
		if (span_equal_nocase(text, span_from(names[i]))) {
			*out = i;
			return true;
		}
	}
	return false;
}

static bool parse_days(struct span text, uint32_t *out)
{
	struct span piece;
	uint32_t days = 0;

	while (span_split(&text, ',', &piece)) {
		size_t dash = span_find(piece, '-');
		uint32_t first, last;

		if (!parse_day(span_first(piece, dash), &first))
			return false;
		last = first;
		if (dash < piece.len && !parse_day(span_skip(piece, dash + 1), &last))
			return false;
		for (uint32_t day = first;; day = (day + 1) % 7) {
			days |= 1u << day;
			if (day == last)
				break;
		}
	}
	*out = days;
	return true;
}

static bool parse_clock(struct span text, uint32_t *out)
{
	uint64_t hours, minutes;

	if (text.len != 5 || text.at[2] != ':' || !span_to_uint(span_first(text, 2), 24, &hours) ||
	    !span_to_uint(span_skip(text, 3), 59, &minutes) || (hours == 24 && minutes))
		return false;
	*out = (uint32_t)(hours * 60 + minutes);
	return true;
}

static bool parse_offset(struct span text, int32_t *out)
{
	uint32_t minutes;

	if (span_equal(text, SPAN("UTC")) || span_equal(text, SPAN("Z"))) {
		*out = 0;
		return true;
	}
	if (text.len != 6 || (text.at[0] != '+' && text.at[0] != '-') ||
	    !parse_clock(span_skip(text, 1), &minutes) || minutes > 14 * 60)
		return false;
	*out = text.at[0] == '-' ? -(int32_t)minutes : (int32_t)minutes;
	return true;
}

/* ---- zones with a name: what the system knows of them is written down for the years to come ---- */

enum { DAY_S = 86400, DAYS_BACK = 400, DAYS_AHEAD = 3700, NAME_MAX_BYTES = 64 };

static int32_t offset_at(int64_t at_s)
{
	time_t time = (time_t)at_s;
	struct tm local;

	return localtime_r(&time, &local) ? (int32_t)(local.tm_gmtoff / 60) : 0;
}

/* The moment between two at which the offset changes, to the minute. */
static int64_t find_change(int64_t before_s, int64_t after_s)
{
	int32_t before = offset_at(before_s);

	while (after_s - before_s > 60) {
		int64_t middle_s = before_s + (after_s - before_s) / 2 / 60 * 60;

		if (offset_at(middle_s) == before)
			before_s = middle_s;
		else
			after_s = middle_s;
	}
	return after_s;
}

static void add_changes(struct build *build, uint64_t now_ms, struct image_time *out)
{
	int64_t from_s = (int64_t)(now_ms / 1000) / DAY_S * DAY_S - (int64_t)DAYS_BACK * DAY_S;

	out->zone_min = offset_at(from_s);
	out->zone.at = (uint32_t)build->zones.count;
	for (int day = 0; day < DAYS_BACK + DAYS_AHEAD; day++, from_s += DAY_S) {
		struct image_zone_change change = {.zone_min = offset_at(from_s + DAY_S)};

		if (change.zone_min == offset_at(from_s))
			continue;
		change.from_min = find_change(from_s, from_s + DAY_S) / 60;
		build_add(build, &build->zones, &change, 1, sizeof(change));
		out->zone.count++;
	}
}

/* "Europe/Berlin": a file of tzdata. */
static bool is_zone_name(struct span text)
{
	bool has_slash = false;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = span_lower(text.at[i]);

		if ((byte < 'a' || byte > 'z') && strchr("0123456789/_+-", byte) == NULL)
			return false;
		has_slash |= byte == '/' && i > 0;
	}
	return has_slash && text.len < NAME_MAX_BYTES;
}

static bool parse_zone_name(struct compile *compile, struct span text, struct image_time *out)
{
	char path[NAME_MAX_BYTES + 32], zone[NAME_MAX_BYTES + 2];
	const char *old = getenv("TZ");
	char *kept = old ? strdup(old) : NULL;
	struct stat file;

	snprintf(path, sizeof(path), "/usr/share/zoneinfo/%.*s", SPAN_ARG(text));
	snprintf(zone, sizeof(zone), ":%.*s", SPAN_ARG(text));
	if (stat(path, &file) < 0 || !S_ISREG(file.st_mode) || (old && kept == NULL)) {
		free(kept);
		return false;
	}
	setenv("TZ", zone, 1);
	tzset();
	add_changes(&compile->build, compile->now_ms, out);
	if (kept)
		setenv("TZ", kept, 1);
	else
		unsetenv("TZ");
	tzset();
	free(kept);
	return true;
}

static bool parse_time(struct compile *compile, struct span text, struct image_time *out)
{
	enum { DAYS = 1, ZONE = 2, HOURS = 4 };
	unsigned seen = 0;
	struct span word;

	*out = (struct image_time){.days = 0x7f, .until_min = 1440};
	while (span_split(&text, ' ', &word)) {
		size_t dash = span_find(word, '-');
		unsigned part = HOURS;

		if (word.len == 0)
			continue;
		if (parse_days(word, &out->days))
			part = DAYS;
		else if (parse_offset(word, &out->zone_min) ||
		         (is_zone_name(word) && parse_zone_name(compile, word, out)))
			part = ZONE;
		else if (!parse_clock(span_first(word, dash), &out->from_min) ||
		         !parse_clock(span_skip(word, dash + 1), &out->until_min))
			return false;
		if (seen & part)
			return false; /* the second would take the place of the first */
		seen |= part;
	}
	return out->from_min != out->until_min;
}

struct image_range compile_times(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.times.count, 0};

	for (const struct yaml_node *n = compile_first(node); n; n = compile_next(node, n)) {
		struct image_time time = {0};

		if (!compile_is_text(compile, n))
			continue;
		if (!parse_time(compile, n->text, &time)) {
			WRONG(compile, n, "\"%.*s\" is no time; write \"mon-fri 08:00-18:00 +01:00\" (each "
			                  "part once or not at all; the zone as an offset or a name of tzdata such as Europe/Berlin, UTC "
			                  "without one), or a list of such", SPAN_ARG(n->text));
			continue;
		}
		build_add(&compile->build, &compile->build.times, &time, 1, sizeof(time));
		range.count++;
	}
	return range;
}
