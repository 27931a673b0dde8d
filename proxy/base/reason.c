/* SPDX-License-Identifier: Apache-2.0 */
#include "base/reason.h"

#define REASON_ROW(name, code, text) [name] = {code, text},
static const struct {
	const char *name, *text;
} rows[REASON_COUNT] = {[REASON_NONE] = {"", ""}, REASON_TABLE(REASON_ROW)};

const char *reason_name(enum reason reason)
{
	return rows[(unsigned)reason < REASON_COUNT ? reason : REASON_NONE].name;
}

const char *reason_text(enum reason reason)
{
	return rows[(unsigned)reason < REASON_COUNT ? reason : REASON_NONE].text;
}
