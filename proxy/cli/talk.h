/* SPDX-License-Identifier: Apache-2.0 */
/* A question to the control socket of the running proxy. */
#ifndef CLI_TALK_H
#define CLI_TALK_H

#include <jansson.h>

#include "cli/command.h"

/* Ask, and give every line of the answer but the last to `show` (NULL: to nobody); the last one is the result
 * (the caller's), NULL if there was none. If no proxy answers, that is said on standard error; or, where `why` is not NULL,
 * *why says it (a literal). */
json_t *talk_ask(const struct command_line *line, const char *question,
                 void (*show)(void *context, const char *text), void *context, const char **why);

#endif
