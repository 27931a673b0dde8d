/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/user_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "conf/yaml.h"

static struct span without_cr(struct span line)
{
	return line.len && line.at[line.len - 1] == '\r' ? span_first(line, line.len - 1) : line;
}

static bool is_line_of(struct span line, struct span realm, struct span name, bool *is_other_realm)
{
	struct buf found;
	bool same;

	buf_init(&found, 65536);
	same = users_line_name(line, realm, &found, is_other_realm) && span_equal(buf_span(&found), name);
	buf_fini(&found);
	return same;
}

static bool is_in(struct span text, struct span realm, struct span name)
{
	struct span line;
	bool is_other_realm;

	while (span_split(&text, '\n', &line))
		if (is_line_of(without_cr(line), realm, name, &is_other_realm) && !is_other_realm)
			return true;
	return false;
}

/* Missing: empty. */
static bool read_file(const char *path, struct arena *arena, struct span *out)
{
	struct problems problems;
	enum err err;

	*out = SPAN("");
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return true;
	problems_init(&problems);
	err = yaml_read_file(path, USER_FILE_MAX_BYTES, arena, &problems, out);
	if (err)
		command_print_problems(&problems);
	problems_fini(&problems);
	return err == ERR_NONE;
}

/* ---- which file ---- */

/* The whole of it, or what is behind a slash. */
static bool is_path(const char *path, const char *asked)
{
	size_t len = strlen(path), tail = strlen(asked);

	return tail && len >= tail && strcmp(path + len - tail, asked) == 0 && (len == tail || path[len - tail - 1] == '/');
}

/* How many of them have it, `except` not counted; the last one is *out. False: one cannot be read. */
static bool find_name(const struct auth_conf *conf, struct span name, const char *except, size_t *count,
                      const char **out)
{
	*count = 0;
	for (size_t i = 0; i < conf->users.count; i++) {
		const char *path = conf->users.at[i];
		struct arena arena;
		struct span text;
		bool well;

		arena_init(&arena, (size_t)USER_FILE_MAX_BYTES * 2);
		well = read_file(path, &arena, &text);
		if (well && path != except && is_in(text, span_from(conf->realm), name)) {
			*out = path;
			++*count;
		}
		arena_fini(&arena);
		if (!well)
			return false;
	}
	return true;
}

static const char *find_asked(const struct auth_conf *conf, const char *asked)
{
	const char *found = NULL;

	for (size_t i = 0; i < conf->users.count; i++) {
		if (!is_path(conf->users.at[i], asked))
			continue;
		if (found) {
			command_complain("--file %s: it may be %s or %s; write more of it", asked, found, conf->users.at[i]);
			return NULL;
		}
		found = conf->users.at[i];
	}
	if (found == NULL)
		command_complain("--file %s: authentication.users has no such file", asked);
	return found;
}

const char *user_file_choose(const struct auth_conf *conf, const char *asked, struct span name, bool is_new)
{
	const char *chosen = asked ? find_asked(conf, asked) : NULL, *other = NULL;
	size_t count;

	if (asked && chosen == NULL)
		return NULL;
	if (conf->users.count == 1 || name.len == 0 || (chosen && !is_new))
		return chosen ? chosen : conf->users.at[0];
	if (!find_name(conf, name, chosen, &count, &other))
		return NULL;
	if (chosen && count) {
		command_complain("%.*s is in %s already; change the password there, or remove it there first", SPAN_ARG(name), other);
		return NULL;
	}
	if (count > 1) {
		command_complain("%.*s is in %zu files, and one of them is %s; remove all but one, each with --file FILE",
		                 SPAN_ARG(name), count, other);
		return NULL;
	}
	return chosen ? chosen : other ? other : conf->users.at[0];
}

/* ---- reading and changing ---- */

bool user_file_make(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0) {
		close(fd);
		return true;
	}
	if (errno == EEXIST)
		return true;
	command_complain("cannot make %s: %s", path, strerror(errno));
	return false;
}

bool user_file_load(const struct auth_conf *conf, const char *changed, struct span text, struct users **out)
{
	struct arena arena;
	struct users_source *sources;
	struct problems problems;
	bool well;

	*out = NULL;
	arena_init(&arena, (size_t)USER_FILE_MAX_BYTES * 2);
	sources = arena_alloc(&arena, conf->users.count * sizeof(*sources));
	well = sources != NULL;
	for (size_t i = 0; i < conf->users.count && well; i++) {
		sources[i] = (struct users_source){conf->users.at[i], text};
		if (changed == NULL || strcmp(changed, sources[i].path) != 0)
			well = read_file(sources[i].path, &arena, &sources[i].text);
	}
	problems_init(&problems);
	well = well && users_load(sources, conf->users.count, span_from(conf->realm), &problems, out) == ERR_NONE;
	command_print_problems(&problems);
	problems_fini(&problems);
	arena_fini(&arena);
	return well;
}

void user_file_replace(struct span text, struct span realm, struct span name, struct span line, bool keep_realms,
                       struct buf *out)
{
	bool is_done = line.len == 0;

	while (text.len) {
		size_t end = span_find(text, '\n');
		struct span old = span_first(text, end), whole = span_first(text, end + 1);
		bool is_other_realm;

		text = span_skip(text, end + 1);
		if (!is_line_of(without_cr(old), realm, name, &is_other_realm) || (is_other_realm && keep_realms)) {
			buf_add(out, whole);
		} else if (!is_done) {
			buf_add(out, line);
			buf_add_byte(out, '\n');
			is_done = true;
		}
	}
	if (is_done)
		return;
	if (buf_len(out) && out->at[out->end - 1] != '\n')
		buf_add_byte(out, '\n');
	buf_add(out, line);
	buf_add_byte(out, '\n');
}
