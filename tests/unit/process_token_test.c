/* SPDX-License-Identifier: Apache-2.0 */
/* The token's file: made once, read as it is, refused where others could read it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "process/token.h"

static char folder[] = "/tmp/sallyport-token-XXXXXX";
static char path[100];

static int make_folder(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/deeper/token", folder);
	return 0;
}

static int remove_folder(void **state)
{
	char deeper[100];

	(void)state;
	unlink(path);
	snprintf(deeper, sizeof(deeper), "%s/deeper", folder);
	rmdir(deeper);
	return rmdir(folder);
}

static void write_token(const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
}

/* The token, or what is wrong; the caller frees. */
static char *load(bool makes, bool *made)
{
	struct problems problems;
	struct secret token;
	char *text;
	enum err err;

	problems_init(&problems);
	err = token_load(path, makes, "x.yaml", &problems, &token, made);
	assert_int_equal(err, problems.error_count ? ERR_CONFIG : ERR_NONE);
	text = err ? strdup(problems.first->text) : strndup(token.at ? (const char *)token.at : "", token.len);
	secret_fini(&token);
	problems_fini(&problems);
	return text;
}

static void it_is_made_once(void **state)
{
	char *first, *second;
	struct stat stat_of;
	bool made;

	(void)state;
	first = load(false, &made);
	assert_string_equal(first, "");
	assert_false(made);
	free(first);
	first = load(true, &made);
	assert_true(made);
	assert_int_equal(strlen(first), 64);
	assert_int_equal(stat(path, &stat_of), 0);
	assert_int_equal(stat_of.st_mode & 07777, 0600);
	second = load(true, &made);
	assert_false(made);
	assert_string_equal(first, second);
	free(first);
	free(second);
}

static void what_others_can_read_is_no_secret(void **state)
{
	static const struct {
		const char *text;
		mode_t mode;
		const char *result; /* the token, or a part of the problem */
	} rows[] = {
		{"0123456789abcdef\n", 0600, "0123456789abcdef"},
		{"0123456789abcdef", 0400, "0123456789abcdef"},
		{"  0123456789abcdef \r\n", 0640, "0123456789abcdef"},
		{"0123456789abcdef\n", 0644, "chmod 600"},
		{"0123456789abcdef\n", 0660, "chmod 600"},
		{"0123456789abcdef\n", 0604, "chmod 600"},
		{"0123456789abcde\n", 0600, "16 to 512"},
		{"01234567 89abcdef\n", 0600, "16 to 512"},
		{"0123456789abcdef\n0123456789abcdef\n", 0600, "16 to 512"},
		{"", 0600, "16 to 512"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		bool made;
		char *text;

		write_token(rows[i].text, rows[i].mode);
		text = load(true, &made);
		if (made || strstr(text, rows[i].result) == NULL)
			fail_msg("row %zu: %s", i, text);
		free(text);
		unlink(path);
	}
}

static void it_is_no_link(void **state)
{
	bool made;
	char *text;

	(void)state;
	unlink(path);
	assert_int_equal(symlink("/etc/hostname", path), 0);
	text = load(true, &made);
	assert_non_null(strstr(text, "symbolic link"));
	free(text);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	text = load(true, &made);
	assert_non_null(strstr(text, "no file"));
	free(text);
	rmdir(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_made_once),
		cmocka_unit_test(what_others_can_read_is_no_secret),
		cmocka_unit_test(it_is_no_link),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
