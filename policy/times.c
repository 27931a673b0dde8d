/* SPDX-License-Identifier: Apache-2.0 */
/* The condition time: "mon-fri 08:00-18:00 +01:00". */
#include "policy/compile.h"

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

static bool parse_zone(struct span text, int32_t *out)
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

static bool parse_time(struct span text, struct image_time *out)
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
		else if (parse_zone(word, &out->zone_min))
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
		if (!parse_time(n->text, &time)) {
			WRONG(compile, n, "\"%.*s\" is no time; write \"mon-fri 08:00-18:00 +01:00\" (each "
			                  "part once or not at all; the zone as an offset, UTC without one), or a list of such", SPAN_ARG(n->text));
			continue;
		}
		build_add(&compile->build, &compile->build.times, &time, 1, sizeof(time));
		range.count++;
	}
	return range;
}
