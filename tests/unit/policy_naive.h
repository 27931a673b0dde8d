/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns of lists held against a name one by one, as DESIGN 5 says it and as simply as it can be written: what the index
 * is compared with. For tests and fuzz targets. */
#ifndef TESTS_POLICY_NAIVE_H
#define TESTS_POLICY_NAIVE_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/address.h"
#include "base/span.h"

/* An expression that takes so many steps may reach the limits of the index, whose compiled code counts them otherwise. Then this
 * is set, and what was found is not to be compared. */
enum { NAIVE_STEPS_MAX = 3000 };
static bool naive_gave_up;

enum naive_kind { NAIVE_EXACT, NAIVE_BELOW, NAIVE_SUFFIX, NAIVE_GLOB, NAIVE_NETWORK, NAIVE_REGEX };

/* A star is any bytes of the label, or none. */
static inline bool naive_label_matches(struct span glob, struct span label)
{
	if (glob.len == 0)
		return label.len == 0;
	if (glob.at[0] != '*')
		return label.len && glob.at[0] == label.at[0] && naive_label_matches(span_skip(glob, 1), span_skip(label, 1));
	return naive_label_matches(span_skip(glob, 1), label) || (label.len && naive_label_matches(glob, span_skip(label, 1)));
}

static inline size_t naive_count_labels(struct span name)
{
	size_t count = 1;

	for (size_t i = 0; i < name.len; i++)
		count += name.at[i] == '.';
	return count;
}

/* Label by label from the end; "*." in front stands for one label or more. */
static inline bool naive_glob_matches(struct span glob, struct span name)
{
	size_t above = 0, there;

	for (; span_starts_with(glob, SPAN("*.")); above++)
		glob = span_skip(glob, 2);
	there = naive_count_labels(glob);
	if (above ? naive_count_labels(name) < there + above : naive_count_labels(name) != there)
		return false;
	for (; there > 0; there--) {
		size_t glob_dot = span_find_last(glob, '.'), dot = span_find_last(name, '.');
		bool is_last = glob_dot == glob.len;

		if (!naive_label_matches(is_last ? glob : span_skip(glob, glob_dot + 1),
		                   dot == name.len ? name : span_skip(name, dot + 1)))
			return false;
		glob = span_first(glob, is_last ? 0 : glob_dot);
		name = span_first(name, dot == name.len ? 0 : dot);
	}
	return true;
}

static inline bool naive_regex_matches(struct span text, struct span name)
{
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	pcre2_match_context *context = pcre2_match_context_create(NULL);
	int error, result;
	size_t at;
	pcre2_code *code = pcre2_compile(text.at + 1, text.len - 2, PCRE2_CASELESS, &error, &at, NULL);

	ASSERT(code && data && context);
	pcre2_set_match_limit(context, NAIVE_STEPS_MAX);
	result = pcre2_match(code, name.at, name.len, 0, 0, data, context);
	naive_gave_up |= result < PCRE2_ERROR_NOMATCH;
	pcre2_match_context_free(context);
	pcre2_code_free(code);
	pcre2_match_data_free(data);
	return result >= 0;
}

/* `text`: as it is written in the list, in lower case. An address, if its family is not 0; else a name. */
static inline bool naive_matches(enum naive_kind kind, struct span text, struct span name, const struct address *address)
{
	struct network network;

	if (kind == NAIVE_NETWORK)
		return address->family && network_parse(text, false, &network) && network_has(&network, address);
	if (address->family || name.len == 0)
		return false;
	switch (kind) {
	case NAIVE_EXACT:
		return span_equal(name, text);
	case NAIVE_BELOW:
		return span_ends_with(name, span_skip(text, 1)) && name.len > text.len - 1;
	case NAIVE_SUFFIX:
		return span_equal(name, span_skip(text, 1)) || span_ends_with(name, text);
	case NAIVE_GLOB:
		return naive_glob_matches(text, name);
	case NAIVE_NETWORK:
	case NAIVE_REGEX:
		break;
	}
	return naive_regex_matches(text, name);
}

#endif
