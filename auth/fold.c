/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/fold.h"

#include <locale.h>
#include <wctype.h>

enum { CHARACTER_MAX = 0x10ffff };

static locale_t unicode; /* (locale_t)0 where the C library has none: ASCII alone then */

void fold_init(void)
{
	if (unicode == (locale_t)0)
		unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

uint32_t fold_next(struct span *text)
{
	uint8_t first = text->at[0];
	size_t len = first < 0x80 ? 1 : first >= 0xf5 ? 0 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t character = len == 1 ? first : first & (0x7fu >> len);

	for (size_t i = 1; i < len && len <= text->len; i++) {
		if ((text->at[i] & 0xc0) != 0x80)
			len = 0;
		else
			character = character << 6 | (text->at[i] & 0x3fu);
	}
	if (len == 0 || len > text->len || character < least[len] || character > CHARACTER_MAX ||
	    (character >= 0xd800 && character < 0xe000)) {
		*text = span_skip(*text, 1);
		return UINT32_MAX;
	}
	*text = span_skip(*text, len);
	return character;
}

void fold_add(uint32_t character, struct buf *out)
{
	if (character < 0x80) {
		buf_add_byte(out, (uint8_t)character);
	} else if (character < 0x800) {
		buf_add_byte(out, (uint8_t)(0xc0 | character >> 6));
		buf_add_byte(out, (uint8_t)(0x80 | (character & 0x3f)));
	} else {
		if (character < 0x10000) {
			buf_add_byte(out, (uint8_t)(0xe0 | character >> 12));
		} else {
			buf_add_byte(out, (uint8_t)(0xf0 | character >> 18));
			buf_add_byte(out, (uint8_t)(0x80 | (character >> 12 & 0x3f)));
		}
		buf_add_byte(out, (uint8_t)(0x80 | (character >> 6 & 0x3f)));
		buf_add_byte(out, (uint8_t)(0x80 | (character & 0x3f)));
	}
}

static uint32_t change(uint32_t character, bool upper)
{
	if (character < 0x80)
		return upper ? (character >= 'a' && character <= 'z' ? character - 32 : character)
		             : span_lower((uint8_t)character);
	if (unicode == (locale_t)0)
		return character;
	return upper ? (uint32_t)towupper_l((wint_t)character, unicode) : (uint32_t)towlower_l((wint_t)character, unicode);
}

static void fold(struct span text, bool upper, struct buf *out)
{
	while (text.len) {
		uint8_t byte = text.at[0];
		uint32_t character = fold_next(&text);

		if (character == UINT32_MAX)
			buf_add_byte(out, byte);
		else
			fold_add(change(character, upper), out);
	}
}

void fold_lower(struct span text, struct buf *out)
{
	fold(text, false, out);
}

void fold_upper(struct span text, struct buf *out)
{
	fold(text, true, out);
}
