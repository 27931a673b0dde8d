/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/scheme/basic.h"

#include <string.h>

#include "auth/fold.h"
#include "auth/scheme/base64.h"

enum { DECODED_MAX_BYTES = 2 * BASIC_MAX_BYTES + 1 };

static bool is_utf8(struct span text)
{
	while (text.len)
		if (fold_next(&text) == UINT32_MAX)
			return false;
	return true;
}

/* In one piece of memory: a buffer that grows leaves unwiped copies behind. */
static void add_text(struct span text, bool latin1, struct buf *out)
{
	size_t len = text.len;

	for (size_t i = 0; i < text.len && latin1; i++)
		len += text.at[i] >= 0x80;
	if (buf_reserve(out, len) == NULL)
		return;
	if (!latin1) {
		buf_add(out, text);
		return;
	}
	for (size_t i = 0; i < text.len; i++)
		fold_add(text.at[i], out);
}

/* C0, DEL, and C1. Logs and directories are written with this name. */
static bool has_controls(struct span text)
{
	while (text.len) {
		uint32_t character = fold_next(&text);

		if (character < 0x20 || (character >= 0x7f && character < 0xa0))
			return true;
	}
	return false;
}

static const char *split(struct span text, struct buf *user, struct buf *password)
{
	size_t colon = span_find(text, ':');
	bool latin1 = !is_utf8(text);

	if (colon == text.len)
		return "there is no colon behind the user";
	if (colon == 0)
		return "the user is empty";
	if (colon + 1 == text.len)
		return "the password is empty";
	if (span_find(text, 0) < text.len)
		return "there is a NUL in the credentials";
	add_text(span_first(text, colon), latin1, user);
	add_text(span_skip(text, colon + 1), latin1, password);
	if (!buf_is_whole(user))
		return "the user is longer than 1024 bytes";
	if (!buf_is_whole(password))
		return "the password is longer than 1024 bytes";
	return has_controls(buf_span(user)) ? "there is a control character in the user" : NULL;
}

bool basic_parse(struct span credentials, struct buf *user, struct buf *password, const char **why)
{
	uint8_t text[DECODED_MAX_BYTES];
	size_t len;

	*why = NULL;
	if (credentials.len == 0)
		*why = "there are no credentials behind the scheme";
	else if (credentials.len > (DECODED_MAX_BYTES + 2) / 3 * 4)
		*why = "the credentials are longer than any are";
	else if (!base64_decode_into(credentials, text, sizeof(text), &len))
		*why = "the credentials are no base64";
	else
		*why = split(span_of(text, len), user, password);
	explicit_bzero(text, sizeof(text));
	return *why == NULL;
}
