/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of messages: which of them rules may set and remove, and what Content-Type says. */
#include "policy/image.h"

/* ---- text ---- */

/* RFC 9110 section 5.6.2 */
static bool is_token(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t lower = span_lower(text.at[i]);

		if (!(lower >= 'a' && lower <= 'z') && !(lower >= '0' && lower <= '9') &&
		    span_find(SPAN("!#$%&'*+-.^_`|~"), lower) == 15)
			return false;
	}
	return text.len > 0;
}

/* ---- edits ---- */

const char *policy_header_name_wrong(struct span name)
{
	static const struct {
		const char *name, *why;
	} rows[] = {
		{"connection", "it belongs to one connection, and the proxy writes it"},
		{"keep-alive", "it belongs to one connection, and the proxy writes it"},
		{"te", "it belongs to one connection, and the proxy writes it"},
		{"trailer", "it belongs to one connection, and the proxy writes it"},
		{"upgrade", "it belongs to one connection, and the proxy writes it"},
		{"http2-settings", "it belongs to one connection, and the proxy writes it"},
		{"transfer-encoding", "it says where the content ends, and the proxy writes it"},
		{"content-length", "it says where the content ends, and the proxy writes it"},
		{"expect", "it says when the content is sent, and the proxy needs it"},
		{"max-forwards", "the proxy counts it"},
		{"host", "it names the host that was decided"},
		{"via", "the proxy finds loops by it"},
	};

	if (name.len && name.at[0] == ':')
		return "pseudo headers of HTTP/2 say where the request goes";
	if (!is_token(name))
		return "a name is letters, digits and !#$%&'*+-.^_`|~";
	if (name.len >= 6 && span_equal_nocase(span_first(name, 6), SPAN("proxy-")))
		return "it is between a client and its proxy";
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (span_equal_nocase(name, span_from(rows[i].name)))
			return rows[i].why;
	return NULL;
}

const char *policy_header_value_wrong(struct span value)
{
	if (value.len > POLICY_HEADER_VALUE_MAX_BYTES)
		return "is longer than 8192 bytes";
	for (size_t i = 0; i < value.len; i++)
		if (value.at[i] < 0x20 || value.at[i] == 0x7f)
			return "has a control character in it";
	if (span_trim(value).len < value.len)
		return "begins or ends with a blank, which would not arrive";
	return NULL;
}

size_t policy_header_edits(const struct policy *policy, enum policy_question question, const struct policy_answer *answer,
                           struct policy_header_edit out[static POLICY_HEADER_EDITS_MAX])
{
	struct image_range range;

	if (answer->answer != HEADERS_EDIT || answer->rule >= policy->image.rules_count)
		return 0;
	range = image_edits(&policy->image.rules[answer->rule], question);
	for (uint32_t i = 0; i < range.count && i < POLICY_HEADER_EDITS_MAX; i++) {
		const struct image_edit *edit = &policy->image.edits[range.at + i];

		out[i] = (struct policy_header_edit){edit->is_set != 0, image_text(policy, edit->name),
		                                     image_text(policy, edit->value)};
	}
	return range.count;
}

/* ---- Content-Type ---- */

/* "text/html"; `any`: also "text" followed by a slash and a star. */
static bool is_type(struct span text, bool any)
{
	size_t slash = span_find(text, '/');
	struct span below = span_skip(text, slash + 1);

	return is_token(span_first(text, slash)) && is_token(below) &&
	       span_find(span_first(text, slash), '*') == slash &&
	       (span_find(below, '*') == below.len || (any && span_equal(below, SPAN("*"))));
}

bool policy_is_content_type(struct span pattern)
{
	return span_equal(pattern, SPAN(CONTENT_TYPE_NONE)) || is_type(pattern, true);
}

bool policy_content_type_next(struct span *rest, struct span *type)
{
	struct span piece;

	while (span_split(rest, ',', &piece)) {
		piece = span_trim(span_first(piece, span_find(piece, ';')));
		if (!is_type(piece, false))
			continue;
		*type = piece;
		return true;
	}
	return false;
}

static bool matches(struct span pattern, struct span type)
{
	size_t slash = span_find(pattern, '/');

	if (slash == pattern.len)
		return type.len == 0;
	if (span_equal(span_skip(pattern, slash), SPAN("/*")))
		return span_equal_nocase(span_first(type, slash + 1), span_first(pattern, slash + 1));
	return span_equal_nocase(pattern, type);
}

bool policy_content_type_matches(const struct policy *policy, struct image_range patterns, struct span type)
{
	for (uint32_t i = 0; i < patterns.count; i++)
		if (matches(image_text(policy, policy->image.texts[patterns.at + i]), type))
			return true;
	return false;
}
