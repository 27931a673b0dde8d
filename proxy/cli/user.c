/* SPDX-License-Identifier: Apache-2.0 */
/* sallyport user: local users, in the file that the configuration names. One line per user, with the verifiers that the
 * configured schemes need, and no password. */
#include <stdio.h>
#include <string.h>

#include "auth/backend/crypt_hash.h"
#include "auth/backend/users.h"
#include "auth/scheme/digest_proof.h"
#include "auth/scheme/ntlm.h"
#include "cli/command.h"
#include "cli/list_file.h"
#include "cli/password.h"
#include "cli/user_file.h"

enum { NAME_MAX_BYTES = 256, NAMES_MAX = 4096, SETTINGS_MAX_BYTES = 64 << 20 };

struct user_job {
	const struct command_line *line;
	const char *path;          /* of sallyport.yaml */
	struct settings settings;
	struct arena arena;
	const char *file;          /* the user file that is meant */
	const char *name;
};

/* What a new password needs to be written as. */
struct wanted {
	bool crypt, nt, ha1[DIGEST_ALGORITHM_COUNT], is_guess;
};

/* ---- configuration ---- */

static bool load_settings(struct user_job *job)
{
	struct problems problems;
	struct span text;
	bool well;

	problems_init(&problems);
	well = yaml_read_file(job->path, 4 << 20, &job->arena, &problems, &text) == ERR_NONE &&
	       settings_load(text, job->path, &job->arena, &problems, &job->settings) == ERR_NONE;
	if (!well)
		command_print_problems(&problems);
	problems_fini(&problems);
	return well;
}

static bool choose_file(struct user_job *job, bool is_new)
{
	if (job->settings.auth.users.count == 0) {
		command_complain("%s names no user file; write authentication: {users: users}", job->path);
		return false;
	}
	job->file = user_file_choose(&job->settings.auth, job->line->options[OPTION_file], span_from(job->name), is_new);
	return job->file != NULL;
}

static struct wanted find_wanted(const struct auth_conf *conf)
{
	struct wanted wanted = {.crypt = auth_conf_uses_basic(conf, BASIC_BACKEND_USERS),
	                        .nt = auth_conf_uses_ntlm(conf, NTLM_BACKEND_USERS)};

	if (!auth_conf_uses_users(conf))
		return (struct wanted){true, true, {true, true}, true};
	for (size_t i = 0; auth_conf_uses(conf, AUTH_DIGEST) && i < conf->digest.algorithm_count; i++)
		wanted.ha1[conf->digest.algorithms[i] & ~DIGEST_SESSION] = true;
	return wanted;
}

/* ---- add ---- */

static bool is_name(const char *name)
{
	if (users_is_name(span_from(name)))
		return true;
	command_complain("a user's name has 1 to %d bytes of UTF-8, no colon and no control characters", NAME_MAX_BYTES);
	return false;
}

static bool make_verifiers(const struct user_job *job, const struct wanted *wanted, const struct secret *password,
                           struct users_entry *entry, struct buf *crypt)
{
	struct span text = span_of(password->at, password->len), realm = span_from(job->settings.auth.realm);
	const char *why = "";
	bool well = true;

	if (wanted->crypt) {
		well = crypt_hash_make(text, crypt);
		entry->crypt = buf_span(crypt);
	}
	for (unsigned i = 0; i < DIGEST_ALGORITHM_COUNT && well; i++) {
		entry->has_ha1[i] = wanted->ha1[i];
		well = !wanted->ha1[i] || digest_ha1((enum digest_algorithm)i, entry->name, realm, text, entry->ha1[i]);
	}
	if (well && wanted->nt) {
		well = ntlm_init(&why) && ntlm_hash(text, entry->nt);
		entry->has_nt = true;
	}
	if (!well)
		command_complain("the password cannot be hashed%s%s", why[0] ? ": " : "", why);
	return well;
}

/* Those that are given, else those that there were. */
static bool take_groups(const struct user_job *job, const struct users_entry *before, struct buf *groups)
{
	if (job->line->group_count == 0 && before)
		buf_add(groups, before->groups);
	for (size_t i = 0; i < job->line->group_count; i++) {
		if (!users_is_name(span_from(job->line->groups[i]))) {
			command_complain("--group: the name of a group has 1 to %d bytes of UTF-8, no colon and no control characters",
			                 NAME_MAX_BYTES);
			return false;
		}
		buf_add_string(groups, job->line->groups[i]);
		buf_add_byte(groups, 0);
	}
	return true;
}

static void say_wanted(const struct user_job *job, const struct wanted *wanted, bool is_new)
{
	printf("%s: %s in %s, with%s%s%s%s\n", job->name, is_new ? "added" : "changed", job->file,
	       wanted->crypt ? " crypt (Basic)" : "", wanted->ha1[DIGEST_SHA256] ? " sha256 (Digest)" : "",
	       wanted->ha1[DIGEST_MD5] ? " md5 (Digest)" : "", wanted->nt ? " nt (NTLM)" : "");
	if (wanted->is_guess)
		printf("note: no scheme that needs the user file is configured yet (authentication.schemes), so verifiers for all of "
		       "them are written\n");
}

/* What is written can be read again, with the other files, or it is not written. */
static bool write_line(const struct user_job *job, struct list_file *file, struct span line, bool keep_realms)
{
	struct users *check = NULL;
	struct buf text;
	bool well;

	buf_init(&text, USER_FILE_MAX_BYTES);
	user_file_replace(file->text, span_from(job->settings.auth.realm), span_from(job->name), line, keep_realms, &text);
	well = buf_is_whole(&text);
	if (!well)
		command_complain("%s would be larger than %d MiB", job->file, USER_FILE_MAX_BYTES >> 20);
	well = well && user_file_load(&job->settings.auth, job->file, buf_span(&text), &check) &&
	       list_file_write(file, buf_span(&text)) == ERR_NONE;
	users_free(check);
	if (text.at)
		explicit_bzero(text.at, text.capacity);
	buf_fini(&text);
	return well;
}

static int write_user(struct user_job *job, struct list_file *file, const struct secret *password)
{
	struct wanted wanted = find_wanted(&job->settings.auth);
	struct users_entry entry = {.name = span_from(job->name), .crypt = SPAN(""), .groups = SPAN("")};
	const struct users_entry *before;
	struct buf crypt, groups, line;
	struct users *users = NULL;
	int status = EXIT_USAGE;

	buf_init(&crypt, 1024);
	buf_init(&groups, 65536);
	buf_init(&line, 65536);
	if (user_file_load(&job->settings.auth, job->file, file->text, &users)) {
		before = users_find(users, entry.name);
		if (take_groups(job, before, &groups) && make_verifiers(job, &wanted, password, &entry, &crypt)) {
			entry.groups = buf_span(&groups);
			users_format(&entry, span_from(job->settings.auth.realm), &line);
			if (!buf_is_whole(&line) || !buf_is_whole(&groups))
				command_complain("%s would have more groups than a line holds", job->name);
			else if (write_line(job, file, buf_span(&line), true)) {
				say_wanted(job, &wanted, before == NULL);
				status = EXIT_WELL;
			}
		}
	}
	users_free(users);
	explicit_bzero(&entry, sizeof(entry));
	if (line.at)
		explicit_bzero(line.at, line.capacity);
	buf_fini(&crypt);
	buf_fini(&groups);
	buf_fini(&line);
	return status;
}

static int add_user(struct user_job *job)
{
	struct secret password = {.at = NULL};
	struct list_file file;
	int status = EXIT_USAGE;

	if (!password_read(job->name, true, &password))
		return EXIT_USAGE;
	if (user_file_make(job->file)) {
		if (list_file_open(&file, job->file) == ERR_NONE)
			status = write_user(job, &file, &password);
		list_file_close(&file);
	}
	secret_fini(&password);
	return status;
}

/* ---- remove, list, check ---- */

static int complain_unknown(const struct user_job *job, const struct users *users)
{
	const char *names[NAMES_MAX], *near;
	const struct users_entry *entry;
	size_t count = 0;

	for (; count < NAMES_MAX && (entry = users_at(users, count)) != NULL; count++)
		names[count] = (const char *)entry->name.at; /* ended by a NUL */
	near = conf_nearest(span_from(job->name), names, count);
	command_complain("%s is not in %s%s%s%s", job->name, job->file, near ? "; did you mean " : "", near ? near : "",
	                 near ? "?" : "");
	return EXIT_FINDING;
}

static bool load_all(const struct user_job *job, struct users **out)
{
	return user_file_load(&job->settings.auth, NULL, SPAN(""), out);
}

/* Files that say something twice can be put right in this way: they are only looked at afterwards. */
static int remove_user(struct user_job *job)
{
	struct users *users = NULL;
	struct list_file file;
	int status = EXIT_USAGE;
	struct buf text;

	buf_init(&text, LIST_FILE_MAX_BYTES);
	if (list_file_open(&file, job->file) == ERR_NONE) {
		user_file_replace(file.text, span_from(job->settings.auth.realm), span_from(job->name), SPAN(""), false, &text);
		if (buf_len(&text) == file.text.len) {
			status = load_all(job, &users) ? complain_unknown(job, users) : EXIT_USAGE;
		} else if (write_line(job, &file, SPAN(""), false)) {
			printf("%s: removed from %s; who is logged on stays so for authentication.cache_time, and on connections "
			       "that NTLM or Negotiate have opened until they end\n", job->name, job->file);
			status = EXIT_WELL;
		}
	}
	list_file_close(&file);
	users_free(users);
	buf_fini(&text);
	return status;
}

static void print_user(const struct users_entry *entry, bool json, bool first)
{
	struct span groups = entry->groups, group;
	struct buf text;
	bool any = false;

	buf_init(&text, 1 << 20);
	if (json) {
		buf_add_string(&text, first ? "{\"name\":" : ",{\"name\":");
		buf_add_json(&text, entry->name);
		buf_printf(&text, ",\"crypt\":%s,\"sha256\":%s,\"md5\":%s,\"nt\":%s,\"groups\":[",
		           entry->crypt.len ? "true" : "false", entry->has_ha1[DIGEST_SHA256] ? "true" : "false",
		           entry->has_ha1[DIGEST_MD5] ? "true" : "false", entry->has_nt ? "true" : "false");
	} else {
		buf_printf(&text, "%-24.*s %-6s%-7s%-4s%-3s ", SPAN_ARG(entry->name), entry->crypt.len ? "crypt" : "-",
		           entry->has_ha1[DIGEST_SHA256] ? "sha256" : "-", entry->has_ha1[DIGEST_MD5] ? "md5" : "-",
		           entry->has_nt ? "nt" : "-");
	}
	while (groups.len && span_split(&groups, 0, &group)) {
		if (group.len == 0)
			continue;
		buf_add_string(&text, any ? "," : "");
		if (json)
			buf_add_json(&text, group);
		else
			buf_add(&text, group);
		any = true;
	}
	buf_add_string(&text, json ? "]}" : "\n");
	printf("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

static int list_users(struct user_job *job)
{
	bool json = job->line->options[OPTION_json];
	const struct users_entry *entry;
	struct users *users;

	if (!load_all(job, &users))
		return EXIT_USAGE;
	if (json)
		printf("[");
	for (size_t i = 0; (entry = users_at(users, i)) != NULL; i++)
		print_user(entry, json, i == 0);
	if (json)
		printf("]\n");
	users_free(users);
	return EXIT_WELL;
}

static bool say_check(const char *what, bool has, bool right)
{
	printf("  %-16s %s\n", what, !has ? "no verifier: set the password again" : right ? "right" : "wrong");
	return has && right;
}

static int check_password(struct user_job *job, const struct users_entry *entry, const struct secret *password)
{
	static const char *const names[DIGEST_ALGORITHM_COUNT] = {"digest MD5", "digest SHA-256"};
	struct wanted wanted = find_wanted(&job->settings.auth);
	struct span text = span_of(password->at, password->len), realm = span_from(job->settings.auth.realm);
	uint8_t made[DIGEST_MAX_BYTES];
	const char *why;
	bool well = true;

	printf("%s\n", job->name);
	if (wanted.crypt)
		well &= say_check("basic", entry->crypt.len, crypt_hash_verify(entry->crypt, text));
	for (unsigned i = 0; i < DIGEST_ALGORITHM_COUNT; i++)
		if (wanted.ha1[i])
			well &= say_check(names[i], entry->has_ha1[i],
			                  digest_ha1((enum digest_algorithm)i, entry->name, realm, text, made) &&
			                          memcmp(made, entry->ha1[i], digest_bytes((enum digest_algorithm)i)) == 0);
	if (wanted.nt)
		well &= say_check("ntlm", entry->has_nt,
		                  ntlm_init(&why) && ntlm_hash(text, made) && memcmp(made, entry->nt, sizeof(entry->nt)) == 0);
	explicit_bzero(made, sizeof(made));
	return well ? EXIT_WELL : EXIT_FINDING;
}

static int check_user(struct user_job *job)
{
	struct secret password = {.at = NULL};
	const struct users_entry *entry;
	struct users *users;
	int status = EXIT_USAGE;

	if (!load_all(job, &users))
		return EXIT_USAGE;
	entry = users_find(users, span_from(job->name));
	if (entry == NULL)
		status = complain_unknown(job, users);
	else if (password_read(job->name, false, &password))
		status = check_password(job, entry, &password);
	secret_fini(&password);
	users_free(users);
	return status;
}

/* ---- the command ---- */

static const struct {
	const char *name;
	bool takes_name;
	int (*run)(struct user_job *job);
} verbs[] = {{"add", true, add_user}, {"remove", true, remove_user}, {"list", false, list_users}, {"check", true, check_user}};

int user_command(const struct command_line *line)
{
	struct user_job job = {.line = line, .path = command_config(line)};
	size_t verb = 0;
	int status = EXIT_USAGE;

	while (verb < COUNT_OF(verbs) && (line->argument == NULL || strcmp(line->argument, verbs[verb].name) != 0))
		verb++;
	if (verb == COUNT_OF(verbs))
		return command_complain("user: write add, remove, list or check");
	if (line->argument_count > 2)
		return command_complain("user %s takes one name; a password is never given here, where others can see it: it is asked "
		                        "for, or read from standard input", verbs[verb].name);
	if (verbs[verb].takes_name != (line->argument_count == 2))
		return command_complain(verbs[verb].takes_name ? "user %s: whose name?" : "user %s takes no name", verbs[verb].name);
	if (job.path == NULL)
		return EXIT_USAGE;
	job.name = line->argument_count == 2 ? line->arguments[1] : "";
	arena_init(&job.arena, SETTINGS_MAX_BYTES);
	/* A name is looked at before files are searched for it; what is to be removed may be misspelt. */
	if ((verbs[verb].run != add_user || is_name(job.name)) && load_settings(&job) &&
	    choose_file(&job, verbs[verb].run == add_user))
		status = verbs[verb].run(&job);
	arena_fini(&job.arena);
	return status;
}
