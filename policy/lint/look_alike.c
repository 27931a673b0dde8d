/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/lint/look_alike.h"

/* ---- letters ---- */

/* In order. Small letters alone: IDNA 2008 has no others. */
static const struct {
	uint16_t code;
	char letter;
} letters[] = {
	{0x00e0, 'a'}, {0x00e1, 'a'}, {0x00e2, 'a'}, {0x00e3, 'a'}, {0x00e4, 'a'}, {0x00e5, 'a'}, {0x00e7, 'c'},
	{0x00e8, 'e'}, {0x00e9, 'e'}, {0x00ea, 'e'}, {0x00eb, 'e'}, {0x00ec, 'i'}, {0x00ed, 'i'}, {0x00ee, 'i'},
	{0x00ef, 'i'}, {0x00f1, 'n'}, {0x00f2, 'o'}, {0x00f3, 'o'}, {0x00f4, 'o'}, {0x00f5, 'o'}, {0x00f6, 'o'},
	{0x00f8, 'o'}, {0x00f9, 'u'}, {0x00fa, 'u'}, {0x00fb, 'u'}, {0x00fc, 'u'}, {0x00fd, 'y'}, {0x00ff, 'y'},
	{0x0101, 'a'}, {0x0105, 'a'}, {0x0107, 'c'}, {0x010b, 'c'}, {0x010d, 'c'}, {0x0111, 'd'}, {0x0117, 'e'},
	{0x0119, 'e'}, {0x011f, 'g'}, {0x0121, 'g'}, {0x0123, 'g'}, {0x0127, 'h'}, {0x012f, 'i'}, {0x0131, 'i'},
	{0x0137, 'k'}, {0x013a, 'l'}, {0x013c, 'l'}, {0x013e, 'l'}, {0x0142, 'l'}, {0x0144, 'n'}, {0x0146, 'n'},
	{0x0148, 'n'}, {0x014d, 'o'}, {0x0151, 'o'}, {0x0155, 'r'}, {0x0157, 'r'}, {0x0159, 'r'}, {0x015b, 's'},
	{0x015f, 's'}, {0x0161, 's'}, {0x0163, 't'}, {0x0165, 't'}, {0x016b, 'u'}, {0x016f, 'u'}, {0x0173, 'u'},
	{0x017a, 'z'}, {0x017c, 'z'}, {0x017e, 'z'}, {0x0251, 'a'}, {0x0261, 'g'}, {0x0269, 'i'}, {0x026a, 'i'},
	{0x03b1, 'a'}, {0x03b3, 'y'}, {0x03b5, 'e'}, {0x03b7, 'n'}, {0x03b9, 'i'}, {0x03ba, 'k'}, {0x03bd, 'v'},
	{0x03bf, 'o'}, {0x03c1, 'p'}, {0x03c3, 'o'}, {0x03c4, 't'}, {0x03c5, 'u'}, {0x03c7, 'x'}, {0x03c9, 'w'},
	{0x03f2, 'c'}, {0x03f3, 'j'}, {0x0430, 'a'}, {0x0432, 'b'}, {0x0433, 'r'}, {0x0435, 'e'}, {0x0438, 'n'},
	{0x043a, 'k'}, {0x043c, 'm'}, {0x043d, 'h'}, {0x043e, 'o'}, {0x043f, 'n'}, {0x0440, 'p'}, {0x0441, 'c'},
	{0x0442, 't'}, {0x0443, 'y'}, {0x0445, 'x'}, {0x0448, 'w'}, {0x0455, 's'}, {0x0456, 'i'}, {0x0457, 'i'},
	{0x0458, 'j'}, {0x0461, 'w'}, {0x0475, 'v'}, {0x04bb, 'h'}, {0x04cf, 'l'}, {0x0501, 'd'}, {0x051b, 'q'},
	{0x051d, 'w'}, {0x0561, 'w'}, {0x0563, 'q'}, {0x0566, 'q'}, {0x0570, 'h'}, {0x0578, 'n'}, {0x057c, 'n'},
	{0x057d, 'u'}, {0x0581, 'g'}, {0x0584, 'f'}, {0x0585, 'o'}, {0x1e6d, 't'}, {0x1ea1, 'a'}, {0x1eb9, 'e'},
	{0x1ecb, 'i'}, {0x1ecd, 'o'}, {0x1ee5, 'u'},
};

uint32_t look_alike_letter(uint32_t code)
{
	size_t low = 0, high = COUNT_OF(letters);

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (letters[middle].code == code)
			return (uint32_t)letters[middle].letter;
		if (letters[middle].code < code)
			low = middle + 1;
		else
			high = middle;
	}
	return code;
}

/* ---- scripts ---- */

enum { LATIN = 1, HAN = 2, KANA = 4, HANGUL = 8, CYRILLIC = 16, GREEK = 32, ARMENIAN = 64, OTHER = 128 };

/* In order. What is in no row is no letter, and goes with every script. */
static const struct script {
	uint32_t first, last;
	unsigned bit;
	const char *name;
} scripts[] = {
	{'a', 'z', LATIN, "Latin"},
	{0x00df, 0x024f, LATIN, "Latin"},
	{0x0250, 0x02af, LATIN, "Latin"},
	{0x0370, 0x03ff, GREEK, "Greek"},
	{0x0400, 0x052f, CYRILLIC, "Cyrillic"},
	{0x0531, 0x058f, ARMENIAN, "Armenian"},
	{0x05d0, 0x05f2, OTHER, "Hebrew"},
	{0x0620, 0x074a, OTHER, "Arabic"},
	{0x0900, 0x097f, OTHER, "Devanagari"},
	{0x0e01, 0x0e5b, OTHER, "Thai"},
	{0x10d0, 0x10ff, OTHER, "Georgian"},
	{0x1100, 0x11ff, HANGUL, "Hangul"},
	{0x1e00, 0x1eff, LATIN, "Latin"},
	{0x1f00, 0x1fff, GREEK, "Greek"},
	{0x3005, 0x3007, HAN, "Han"},
	{0x3041, 0x30ff, KANA, "Kana"},
	{0x3105, 0x312f, HAN, "Han"},
	{0x3400, 0x9fff, HAN, "Han"},
	{0xac00, 0xd7a3, HANGUL, "Hangul"},
};

static const struct script *script_of(uint32_t code)
{
	for (size_t i = 0; i < COUNT_OF(scripts); i++)
		if (code >= scripts[i].first && code <= scripts[i].last)
			return &scripts[i];
	return NULL;
}

/* Languages of East Asia write Latin among their own (UTS 39, highly restrictive). */
static bool go_together(unsigned bits)
{
	return (bits & ~(unsigned)(LATIN | HAN | KANA)) == 0 || (bits & ~(unsigned)(LATIN | HAN | HANGUL)) == 0;
}

bool look_alike_is_mixed(const uint32_t *label, size_t count, const char **first, const char **second)
{
	const struct script *one = NULL;
	unsigned bits = 0;

	for (size_t i = 0; i < count; i++) {
		const struct script *script = script_of(label[i]);

		if (script == NULL)
			continue;
		if (one == NULL)
			one = script;
		bits |= script->bit;
		if (script->name != one->name && !go_together(bits)) {
			*first = one->name;
			*second = script->name;
			return true;
		}
	}
	return false;
}

/* ---- ASCII ---- */

size_t look_alike_ascii(struct span name, char *out)
{
	size_t len = 0;

	for (size_t i = 0; i < name.len; i++) {
		uint8_t next = i + 1 < name.len ? name.at[i + 1] : 0;

		if (name.at[i] == 'r' && next == 'n') {
			out[len++] = 'm';
			i++;
		} else if (name.at[i] == 'v' && next == 'v') {
			out[len++] = 'w';
			i++;
		} else {
			out[len++] = name.at[i] == '0' ? 'o' : name.at[i] == '1' ? 'l' : (char)name.at[i];
		}
	}
	return len;
}
