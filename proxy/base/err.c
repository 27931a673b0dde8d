/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <ctype.h>

#include "base/compiler.h"

struct err_row {
	const char *name, *token, *text;
	int status;
};

#define ERR_ROW(name, status, token, text) [name] = {#name, token, text, status},
static const struct err_row rows[ERR_COUNT] = {
	[ERR_NONE] = {"ERR_NONE", NULL, "no error", 0}, ERR_TABLE(ERR_ROW)};

static char names[ERR_COUNT][40];

/* Log names are the enum's, without its prefix, in lower case: derived once, not written twice. */
__attribute__((constructor)) static void make_names(void)
{
	for (int i = 0; i < ERR_COUNT; i++) {
		const char *from = rows[i].name + sizeof("ERR_") - 1;

		for (size_t j = 0; from[j] && j + 1 < sizeof(names[i]); j++)
			names[i][j] = (char)tolower((unsigned char)from[j]);
	}
}

static const struct err_row *row_of(enum err err)
{
	return &rows[(unsigned)err < ERR_COUNT ? err : ERR_INTERNAL];
}

int err_status(enum err err)
{
	return row_of(err)->status;
}

const char *err_token(enum err err)
{
	return row_of(err)->token;
}

const char *err_text(enum err err)
{
	return row_of(err)->text;
}

const char *err_name(enum err err)
{
	return names[(unsigned)err < ERR_COUNT ? err : ERR_INTERNAL];
}
