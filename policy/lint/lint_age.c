/* SPDX-License-Identifier: Apache-2.0 */
/* Entries that were copied from somewhere (read=): what vendors publish changes. */
#include "policy/lint/lint.h"

enum { AGE_MAX_DAYS = 180, SOURCE_SHOWN_MAX = 200 };

void lint_note_read(struct compile *compile, uint16_t file, unsigned number, const struct pattern_line *line)
{
	struct build_section *section = &compile->ages;
	struct lint_age *age = section->count ? (struct lint_age *)(void *)section->at + section->count - 1 : NULL;
	struct lint_age first = {.file = file, .number = number, .oldest_ms = UINT64_MAX};

	if (line->read_ms == 0 || line->read_ms + (uint64_t)AGE_MAX_DAYS * 86400000 > compile->now_ms)
		return;
	if (age == NULL || age->file != file) {
		build_add(&compile->build, section, &first, 1, sizeof(first));
		if (compile->build.failed)
			return;
		age = (struct lint_age *)(void *)section->at + section->count - 1;
	}
	age->count++;
	if (line->read_ms >= age->oldest_ms)
		return;
	age->oldest_ms = line->read_ms;
	age->number = number;
	age->source = arena_string(&compile->arena, span_first(line->source, SOURCE_SHOWN_MAX));
}

void lint_ages(const struct lint *lint)
{
	const struct lint_age *ages = (const void *)lint->compile->ages.at;

	for (size_t i = 0; i < lint->compile->ages.count; i++) {
		const struct lint_age *age = &ages[i];
		struct problem_place at = {compile_file_path(lint->compile, age->file), age->number, 1};
		bool has_source = age->source && age->source[0];

		problem_add_code(lint->compile->problems, PROBLEM_OLD_PRESET, at, NULL,
		                 "%zu %s of this file %s read in %s more than %d days ago, this one %llu days ago; read it "
		                 "again, correct the entries and set read=",
		                 age->count, age->count == 1 ? "entry" : "entries", age->count == 1 ? "was" : "were",
		                 has_source ? age->source : "their source (which is not said: source=)", AGE_MAX_DAYS,
		                 (unsigned long long)((lint->compile->now_ms - age->oldest_ms) / 86400000 + 1));
	}
}
