/* SPDX-License-Identifier: Apache-2.0 */
/* Names as people see them: xn-- labels that are none, scripts that no language mixes, and two names that look like one. */
#include <idn2.h>
#include <libpsl.h>
#include <stdlib.h>
#include <string.h>

#include "policy/lint/lint.h"
#include "policy/lint/look_alike.h"

enum { NAME_BYTES_MAX = 253 };

/* Names that are worth imitating, and that conf/presets has: whether a policy uses them or not. */
static const char *const well_known[] = {
	"accompany.com", "apple.com", "ciscospark.com", "cisco.com", "google.com", "gstatic.com", "icloud.com", "live.com",
	"microsoft.com", "microsoftonline.com", "office.com", "office365.com", "sharepoint.com", "skype.com", "wbx2.com",
	"webex.com", "webexapis.com", "webexcontent.com", "zoom.us",
};

/* ---- labels in other scripts ---- */

/* "xn--..." as code points. False if IDNA 2008 has no such label. */
static bool decode_label(struct span label, uint32_t *out, size_t *count)
{
	char text[NAME_BYTES_MAX + 1], *utf8 = NULL, *back = NULL;
	uint32_t *codes = NULL;
	bool ok;

	memcpy(text, label.at, label.len);
	text[label.len] = 0;
	ok = idn2_to_unicode_8z8z(text, &utf8, 0) == IDN2_OK &&
	     idn2_lookup_u8((const uint8_t *)utf8, (uint8_t **)&back, IDN2_NFC_INPUT) == IDN2_OK &&
	     span_equal(span_from(back), label) && idn2_to_unicode_8z4z(text, &codes, 0) == IDN2_OK;
	*count = 0;
	for (size_t i = 0; ok && codes[i] && i < NAME_BYTES_MAX; i++)
		out[(*count)++] = codes[i];
	idn2_free(utf8);
	idn2_free(back);
	free(codes);
	return ok;
}

/* Append what the label looks like, if that is ASCII. */
static bool add_look(const uint32_t *codes, size_t count, char *out, size_t *len)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t letter = look_alike_letter(codes[i]);

		if (letter >= 0x80 || *len >= NAME_BYTES_MAX)
			return false;
		out[(*len)++] = (char)letter;
	}
	return true;
}

/* Look at each label; false: it has no look in ASCII. */
static bool read_labels(const struct lint *lint, const struct build_entry *entry, struct span name, char *look,
                        size_t *look_len)
{
	struct span rest = name, label;
	bool has_look = name.len <= NAME_BYTES_MAX;

	*look_len = 0;
	while (span_split(&rest, '.', &label)) {
		uint32_t codes[NAME_BYTES_MAX + 1];
		const char *first, *second;
		size_t count = 0;

		if (*look_len && *look_len < NAME_BYTES_MAX)
			look[(*look_len)++] = '.';
		if (!span_starts_with(label, SPAN("xn--"))) {
			for (; count < label.len; count++)
				codes[count] = label.at[count];
		} else if (!decode_label(label, codes, &count)) {
			LINT_ENTRY(lint, BAD_IDNA, entry, NULL, "has the label %.*s, which is none that IDNA 2008 allows",
			           SPAN_ARG(label));
			return false;
		} else if (look_alike_is_mixed(codes, count, &first, &second)) {
			LINT_ENTRY(lint, MIXED_SCRIPT, entry, NULL, "mixes %s and %s in the label %.*s", first, second,
			           SPAN_ARG(label));
		}
		has_look = has_look && add_look(codes, count, look, look_len);
	}
	return has_look;
}

/* ---- twins ---- */

static void say_twin(const struct lint *lint, const struct build_entry *entry, const struct build_entry *other,
                     struct span name)
{
	struct problem_place there;

	if (other == NULL) {
		LINT_ENTRY(lint, PUNYCODE_TWIN, entry, NULL, "looks like %.*s and is another name", SPAN_ARG(name));
		return;
	}
	there = lint_entry_place(lint, other);
	LINT_ENTRY(lint, PUNYCODE_TWIN, entry, &there, "looks like %.*s (%s) and is another name",
	           SPAN_ARG(build_entry_text(lint->build, other)), lint_where(lint, lint_entry_place(lint, entry), there));
}

static bool is_well_known(struct span name)
{
	for (size_t i = 0; i < COUNT_OF(well_known); i++)
		if (span_equal(name, span_from(well_known[i])))
			return true;
	return false;
}

/* Another entry whose name, or whose end, is what this one looks like. */
static bool find_twin(const struct lint *lint, const struct build_entry *entry, struct span name, struct span look)
{
	const struct build_entry *other;

	for (;;) {
		size_t dot = span_find(look, '.'), own_dot = span_find(name, '.');

		if (span_equal(look, name) || dot == look.len)
			return false; /* from here on it is the same name, or a top level domain */
		other = lint_find_key(lint, look);
		if (other || is_well_known(look)) {
			say_twin(lint, entry, other, look);
			return true;
		}
		look = span_skip(look, dot + 1);
		name = span_skip(name, own_dot + 1);
	}
}

/* Names by their look: those with one look that are not the same name are twins. */
struct look {
	struct span name;  /* in entry_texts */
	uint32_t entry;    /* index */
	uint32_t at;       /* of the look, in texts */
	uint32_t len;
};

struct looks {
	struct build_section texts, looks;
};

static void note_look(const struct lint *lint, struct looks *looks, size_t index, struct span name, struct span look)
{
	struct build *build = &lint->compile->build;
	struct look note = {.name = name, .entry = (uint32_t)index, .len = (uint32_t)look.len};

	note.at = build_add(build, &looks->texts, look.at, look.len, 1);
	build_add(build, &looks->looks, &note, 1, sizeof(note));
}

static struct span text_of(const struct looks *looks, const struct look *look)
{
	return span_of(looks->texts.at + look->at, look->len);
}

static int compare_looks(const void *a, const void *b, void *context)
{
	const struct look *x = a, *y = b;
	int order = span_compare(text_of(context, x), text_of(context, y));

	return order ? order : x->entry < y->entry ? -1 : x->entry > y->entry;
}

static void compare_all(const struct lint *lint, struct looks *looks)
{
	struct look *all = (void *)looks->looks.at;

	if (looks->looks.count)
		qsort_r(all, looks->looks.count, sizeof(*all), compare_looks, looks);
	for (size_t i = 1, first = 0; i < looks->looks.count; i++) {
		if (!span_equal(text_of(looks, &all[i]), text_of(looks, &all[first])))
			first = i;
		else if (!span_equal(all[i].name, all[first].name))
			say_twin(lint, &lint->entries[all[i].entry], &lint->entries[all[first].entry], all[i].name);
	}
	free(looks->texts.at);
	free(looks->looks.at);
}

static bool has_name(const struct build_entry *entry)
{
	return entry->kind != PATTERN_NETWORK && entry->kind != PATTERN_REGEX;
}

static void check_scripts(const struct lint *lint)
{
	struct looks looks = {{NULL, 0, 0}, {NULL, 0, 0}};

	for (size_t i = 0; i < lint->entry_count; i++) {
		const struct build_entry *entry = &lint->entries[i];
		struct span name = has_name(entry) ? lint_entry_key(lint, entry) : SPAN("");
		char look[NAME_BYTES_MAX + 1];
		size_t len;

		if (span_find_span(name, SPAN("xn--")) == name.len)
			continue;
		if (read_labels(lint, entry, name, look, &len) && !find_twin(lint, entry, name, span_of(look, len)))
			note_look(lint, &looks, i, name, span_of(look, len));
	}
	compare_all(lint, &looks);
}

/* ---- twins in ASCII, where TLS is not opened or nobody is asked ---- */

enum { SEEN_BITS = 1 << 16 };

struct ascii {
	const struct lint *lint;
	const psl_ctx_t *psl;
	struct looks looks;
	uint8_t seen[SEEN_BITS / 8]; /* hashes of looks */
	bool has_any;
};

/* What its owner has registered: below it, he names as he likes. Empty: a public suffix. */
static struct span registered(const psl_ctx_t *psl, struct span name)
{
	char text[NAME_BYTES_MAX + 1];
	const char *found;

	if (psl == NULL || name.len == 0 || name.len > NAME_BYTES_MAX)
		return SPAN("");
	memcpy(text, name.at, name.len);
	text[name.len] = 0;
	found = psl_registrable_domain(psl, text);
	return found ? span_skip(name, name.len - strlen(found)) : SPAN("");
}

static bool is_ambiguous(struct span name)
{
	for (size_t i = 0; i < name.len; i++)
		if (name.at[i] == '0' || name.at[i] == '1' ||
		    (i && ((name.at[i] == 'n' && name.at[i - 1] == 'r') || (name.at[i] == 'v' && name.at[i - 1] == 'v'))))
			return true;
	return false;
}

static size_t seen_bit(const struct ascii *ascii, struct span look)
{
	return image_hash(ascii->lint->key, look) % SEEN_BITS;
}

/* Those that look like something else than they are. */
static void note_ambiguous(struct ascii *ascii, size_t index)
{
	const struct build_entry *entry = &ascii->lint->entries[index];
	struct span name = lint_entry_key(ascii->lint, entry), look;
	char text[NAME_BYTES_MAX + 1];
	size_t bit;

	if (!is_ambiguous(name) || name.len > NAME_BYTES_MAX)
		return;
	name = registered(ascii->psl, name);
	if (!is_ambiguous(name))
		return;
	look = span_of(text, look_alike_ascii(name, text));
	if (is_well_known(look)) {
		say_twin(ascii->lint, entry, NULL, look);
		return;
	}
	bit = seen_bit(ascii, look);
	ascii->seen[bit / 8] = (uint8_t)(ascii->seen[bit / 8] | 1u << bit % 8);
	ascii->has_any = true;
	note_look(ascii->lint, &ascii->looks, index, name, look);
}

/* Those that are what others look like. */
static void note_plain(struct ascii *ascii, size_t index)
{
	struct span name = registered(ascii->psl, lint_entry_key(ascii->lint, &ascii->lint->entries[index]));
	size_t bit = seen_bit(ascii, name);

	if (name.len && !is_ambiguous(name) && (ascii->seen[bit / 8] >> bit % 8 & 1))
		note_look(ascii->lint, &ascii->looks, index, name, name);
}

static void check_ascii(const struct lint *lint)
{
	struct ascii ascii = {.lint = lint, .psl = psl_builtin()};

	for (size_t i = 0; i < lint->entry_count; i++) {
		if (has_name(&lint->entries[i]) && lint->lists[lint->entries[i].list].bypasses)
			note_ambiguous(&ascii, i);
		lint_progress(lint, LINT_PASS_AMBIGUOUS, i);
	}
	for (size_t i = 0; ascii.has_any && i < lint->entry_count; i++) {
		if (has_name(&lint->entries[i]) && lint->lists[lint->entries[i].list].bypasses)
			note_plain(&ascii, i);
		lint_progress(lint, LINT_PASS_PLAIN, i);
	}
	compare_all(lint, &ascii.looks);
}

void lint_names(struct lint *lint)
{
	check_scripts(lint);
	check_ascii(lint);
}
