/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/scheme/digest_params.h"

#include <string.h>

static bool is_name_byte(uint8_t byte)
{
	return (byte >= '0' && byte <= '9') || (span_lower(byte) >= 'a' && span_lower(byte) <= 'z') ||
	       (byte && strchr("!#$%&'*+-.^_`|~", byte));
}

static bool is_blank(uint8_t byte)
{
	return byte == ' ' || byte == '\t';
}

static bool is_control(uint8_t byte)
{
	return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

static bool needs_escape(uint8_t byte)
{
	return byte == '"' || byte == '\\';
}

static void skip_blanks(struct span *rest)
{
	while (rest->len && is_blank(rest->at[0]))
		*rest = span_skip(*rest, 1);
}

/* Behind the opening quote. */
static bool take_quoted(struct span *rest, struct digest_param *out)
{
	size_t len = 0;

	while (len < rest->len && rest->at[len] != '"') {
		if (rest->at[len] == '\\') {
			out->has_escapes = true;
			len++;
		}
		if (len >= rest->len || is_control(rest->at[len]))
			return false;
		len++;
	}
	if (len >= rest->len)
		return false;
	out->value = span_first(*rest, len);
	*rest = span_skip(*rest, len + 1);
	return true;
}

static bool is_plain(uint8_t byte)
{
	return byte > ' ' && byte < 0x7f && byte != '"' && byte != ',';
}

static bool take_plain(struct span *rest, struct digest_param *out)
{
	size_t len = 0;

	while (len < rest->len && is_plain(rest->at[len]))
		len++;
	out->value = span_first(*rest, len);
	*rest = span_skip(*rest, len);
	return len > 0;
}

enum digest_param_step digest_param_next(struct span *rest, struct digest_param *out)
{
	size_t len = 0;
	bool well;

	while (rest->len && (is_blank(rest->at[0]) || rest->at[0] == ','))
		*rest = span_skip(*rest, 1);
	if (rest->len == 0)
		return DIGEST_PARAM_END;
	while (len < rest->len && is_name_byte(rest->at[len]))
		len++;
	*out = (struct digest_param){.name = span_first(*rest, len), .value = SPAN("")};
	*rest = span_skip(*rest, len);
	skip_blanks(rest);
	if (len == 0 || rest->len == 0 || rest->at[0] != '=')
		return DIGEST_PARAM_BROKEN;
	*rest = span_skip(*rest, 1);
	skip_blanks(rest);
	if (rest->len && rest->at[0] == '"') {
		*rest = span_skip(*rest, 1);
		well = take_quoted(rest, out);
	} else {
		well = take_plain(rest, out);
	}
	skip_blanks(rest);
	return well && (rest->len == 0 || rest->at[0] == ',') ? DIGEST_PARAM_ONE : DIGEST_PARAM_BROKEN;
}

struct span digest_param_value(const struct digest_param *param, struct buf *text)
{
	uint8_t *at;
	size_t len = 0;

	if (!param->has_escapes)
		return param->value;
	at = buf_reserve(text, param->value.len);
	if (at == NULL)
		return SPAN("");
	for (size_t i = 0; i < param->value.len; i++) {
		if (param->value.at[i] == '\\' && i + 1 < param->value.len && needs_escape(param->value.at[i + 1]))
			i++;
		at[len++] = param->value.at[i];
	}
	buf_advance(text, len);
	return span_of(at, len);
}

void digest_param_quote(struct span value, struct buf *out)
{
	buf_add_byte(out, '"');
	for (size_t i = 0; i < value.len; i++) {
		if (is_control(value.at[i]))
			continue;
		if (needs_escape(value.at[i]))
			buf_add_byte(out, '\\');
		buf_add_byte(out, value.at[i]);
	}
	buf_add_byte(out, '"');
}
