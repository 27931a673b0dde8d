/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "policy/compile/compile.h"
#include "policy/pac/pac_text.h"

static bool *note_lists(const struct build *build, size_t list_count)
{
	const struct image_rule *rules = (const void *)build->rules.at;
	const uint16_t *refs = (const void *)build->list_refs.at;
	bool *used = calloc(list_count + 1, sizeof(*used));

	for (size_t i = 0; used && i < build->rules.count; i++)
		for (uint32_t j = 0; rules[i].answers[POLICY_PAC] != NO_ANSWER && j < rules[i].to.count; j++)
			used[refs[rules[i].to.at + j]] = true;
	return used;
}

void pac_check(struct compile *compile)
{
	const struct build *build = &compile->build;
	const struct build_entry *entries = (const void *)build->entries.at;
	const uint32_t *regexes = (const void *)build->regexes.at;
	bool *used = note_lists(build, compile->list_count);

	if (used == NULL) {
		compile->build.failed = true;
		return;
	}
	for (size_t i = 0; i < build->regexes.count; i++) {
		const struct build_entry *entry = regexes[i] == NONE ? NULL : &entries[regexes[i]];
		struct span text = entry ? build_entry_text(build, entry) : SPAN("");
		const char *why;
		size_t at;

		if (entry == NULL || !used[entry->list])
			continue;
		if (!pac_can_write(text, &why, &at))
			problem_add_code(compile->problems, PROBLEM_BAD_PAC,
			                 (struct problem_place){compile_file_path(compile, entry->file), entry->line, 1}, NULL,
			                 "%.*s decides pac, and JavaScript has no such expression (at %zu): %s", SPAN_ARG(text),
			                 at + 1, why);
		else if (pac_regex_is_slow(pattern_regex(text)))
			problem_add_code(compile->problems, PROBLEM_SLOW_PAC,
			                 (struct problem_place){compile_file_path(compile, entry->file), entry->line, 1}, NULL,
			                 "%.*s decides pac, and repeats what repeats already: browsers, which have no limit for "
			                 "that, may hang; write (a+)+ as a+", SPAN_ARG(text));
	}
	free(used);
}
