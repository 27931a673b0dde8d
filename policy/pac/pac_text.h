/* SPDX-License-Identifier: Apache-2.0 */
/* The PAC file from the inside: patterns as expressions of JavaScript (ES3). Private to this folder. */
#ifndef POLICY_PAC_TEXT_H
#define POLICY_PAC_TEXT_H

#include "policy/image.h"

/* Append a regular expression as JavaScript has it, with slashes and the flag: /^cdn[0-9]+$/i. What JavaScript knows
 * in another sense, or not at all, is refused: *why says what, *at where (offset). */
MUST_USE bool pac_regex_write(struct span regex, struct buf *out, const char **why, size_t *at);

/* Does it repeat without end what repeats without end, as (a+)+ does? A browser has no limit for matching: such a name
 * as aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa! would stop it. What has a separator, as ([a-z]+\.)+, is not meant. */
MUST_USE bool pac_regex_is_slow(struct span regex);

/* The same for a glob; there is one for each. */
void pac_glob_write(struct span glob, struct buf *out);

/* Append what stands between the quotes of a string of JavaScript. What is there is checked before; that it can end
 * neither the string nor a script around it does not depend on that. */
void pac_string_write(struct span text, struct buf *out);

/* May this pattern stand in a PAC file? */
MUST_USE bool pac_can_write(struct span pattern, const char **why, size_t *at);

struct compile;

/* Refuse patterns that cannot be said in a PAC file, in lists that rules which answer pac use. */
void pac_check(struct compile *compile);

/* The parts that are the same in every file, before the tables and behind them. */
extern const char pac_script_begin[];
extern const char *const pac_script_end[]; /* ended by NULL */

#endif
