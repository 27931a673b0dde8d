/* SPDX-License-Identifier: Apache-2.0 */
/* What explain is asked: options of a command line, a line of the same words, or a JSON object with the same keys, made
 * into facts of a decision. What is not given is as unknown as it is in a session. */
#ifndef CLI_QUESTION_H
#define CLI_QUESTION_H

#include "cli/command.h"
#include "cli/verdict.h"

/* One question. Texts are in the arena. */
struct question {
	struct arena arena;
	struct command_line line;
	struct span groups[COMMAND_GROUPS_MAX];
	struct verdict_request request;
	struct buf complaint; /* what is wrong with it; empty: nothing */
	bool can_open;        /* TLS sessions can be opened */
	struct buf note;      /* what was made of it that its author may not expect */
};

void question_init(struct question *question);
void question_fini(struct question *question);

/* Read a line of words, or of JSON where it begins with a brace: into question->line. False: see complaint. */
bool question_read(struct question *question, struct span text);

/* Make facts of question->line; `now_ms` is the time where none is given. False: see complaint. */
bool question_make(struct question *question, const struct settings *settings, uint64_t now_ms);

#endif
