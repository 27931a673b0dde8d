/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a list: what is added can be removed again, and nothing else moves. */
#include <string.h>

#include "cli/list_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 1 << 21 };

static size_t count_entries(struct span text, struct span pattern)
{
	struct list_walk walk = list_walk_over(text);
	size_t count = 0, seen = 0, at;
	struct list_line line;
	const char *why;

	while (list_walk_next(&walk)) {
		ASSERT(walk.at >= seen && walk.at + walk.whole <= text.len && walk.line.len <= walk.whole);
		seen = walk.at + walk.whole;
		count += list_line_parse(walk.line, &line, &why, &at) && !line.is_empty &&
		         span_equal(list_line_pattern(&line), pattern);
	}
	ASSERT(seen == text.len || text.len <= 3);
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of(data, size), pattern = SPAN("fuzz.test"), mark = SPAN("\xef\xbb\xbf");
	size_t before = count_entries(text, pattern), removed;
	struct buf without, more, again;

	/* One in the middle, where it is no pattern, would become one in front. */
	if (span_find_span(span_skip(text, 1), mark) < text.len - (text.len > 0))
		return 0;
	buf_init(&without, MAX_BYTES);
	buf_init(&more, MAX_BYTES);
	buf_init(&again, MAX_BYTES);
	removed = list_text_remove(text, pattern, &without);
	ASSERT(removed == before);
	if (removed == 0)
		ASSERT(span_equal(buf_span(&without), text));
	ASSERT(count_entries(buf_span(&without), pattern) == 0);
	list_text_add(buf_span(&without), SPAN("fuzz.test owner=x"), &more);
	ASSERT(count_entries(buf_span(&more), pattern) == 1);
	ASSERT(list_text_remove(buf_span(&more), pattern, &again) == 1);
	/* But for the end of a last line that had none. */
	ASSERT(span_starts_with(buf_span(&again), buf_span(&without)) && buf_len(&again) <= buf_len(&without) + 2);
	buf_fini(&without);
	buf_fini(&more);
	buf_fini(&again);
	return 0;
}
