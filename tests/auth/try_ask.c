/* SPDX-License-Identifier: Apache-2.0 */
/* Modes of backend_try for backends that check passwords: they stay, and answer line by line, so that what a backend keeps
 * between questions is tested, too. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auth/backend/ldap.h"
#include "auth/backend/pam_server.h"
#include "auth/fold.h"
#include "base/clock.h"
#include "try.h"

enum { WORDS_MAX = 4, THREADS_MAX = 128 };

struct setting {
	struct auth_conf conf;
	struct arena arena;
	struct secret ldap_password;
	struct backend_env env;
	const struct backend *backend;
	void *thread;
};

struct one {
	pthread_t thread;
	const struct setting *setting;
	struct ask ask;
	struct answer answer;
};

static void load(struct setting *setting, const char *path)
{
	uint64_t generation = setting->env.generation + 1;
	int pam_fd = setting->env.pam_fd;
	struct buf text = try_read(path), said;
	struct problems problems;

	secret_fini(&setting->ldap_password);
	arena_fini(&setting->arena);
	arena_init(&setting->arena, 1 << 20);
	problems_init(&problems);
	if (conf_load(buf_span(&text), path, auth_options, &setting->arena, &problems, &setting->conf,
	              sizeof(setting->conf))) {
		buf_init(&said, 1 << 16);
		problems_format(&problems, &said);
		buf_add_byte(&said, 0);
		try_die((const char *)buf_span(&said).at);
	}
	problems_fini(&problems);
	buf_fini(&text);
	setting->env = (struct backend_env){.conf = &setting->conf, .pam_fd = pam_fd, .generation = generation};
	if (setting->conf.ldap.password_file[0]) {
		text = try_read(setting->conf.ldap.password_file);
		if (!secret_init(&setting->ldap_password, buf_span(&text)))
			try_die("no memory");
		buf_fini(&text);
		setting->env.ldap_password = &setting->ldap_password;
	}
}

/* %XX in place. */
static struct span decode(char *word)
{
	size_t len = 0;

	for (const char *at = word; *at; at++) {
		char digits[3] = {0};

		if (*at == '%' && at[1] && at[2]) {
			memcpy(digits, at + 1, 2);
			word[len++] = (char)strtoul(digits, NULL, 16);
			at += 2;
		} else {
			word[len++] = *at;
		}
	}
	return span_of(word, len);
}

static void *ask_one(void *at)
{
	struct one *one = at;
	void *thread = one->setting->thread;
	bool is_own = thread == NULL && one->setting->backend->open;

	if (is_own)
		thread = one->setting->backend->open();
	answer_init(&one->answer);
	one->setting->backend->verify(thread, &one->setting->env, &one->ask, &one->answer);
	if (is_own)
		one->setting->backend->close(thread);
	return NULL;
}

static struct ask password_of(struct span user, struct span password)
{
	struct ask ask = {.kind = ASK_PASSWORD, .user = user, .password = password};

	if (!address_parse(SPAN("192.0.2.7"), &ask.client))
		try_die("address");
	return ask;
}

/* So many threads at once. */
static void ask_many(struct setting *setting, size_t count, struct span user, struct span password)
{
	static struct one all[THREADS_MAX];
	struct setting own = *setting;

	own.thread = NULL;
	for (size_t i = 0; i < count; i++) {
		all[i] = (struct one){.setting = &own, .ask = password_of(user, password)};
		if (pthread_create(&all[i].thread, NULL, ask_one, &all[i]))
			try_die("thread");
	}
	for (size_t i = 0; i < count; i++) {
		pthread_join(all[i].thread, NULL);
		try_print(&all[i].answer, 0);
		answer_fini(&all[i].answer);
	}
}

static void serve_line(struct setting *setting, char **words, size_t count)
{
	struct one one = {.setting = setting};

	if (count == 3 && strcmp(words[0], "password") == 0) {
		one.ask = password_of(decode(words[1]), decode(words[2]));
		ask_one(&one);
		try_print(&one.answer, 0);
		answer_fini(&one.answer);
	} else if (count == 2 && strcmp(words[0], "groups") == 0) {
		answer_init(&one.answer);
		one.answer.verdict = VERDICT_VALID;
		if (!ldap_groups_of(setting->thread, &setting->env, decode(words[1]), &one.answer) &&
		    one.answer.verdict == VERDICT_VALID)
			try_die("no groups, and no reason");
		try_print(&one.answer, 0);
		answer_fini(&one.answer);
	} else if (count == 4 && strcmp(words[0], "many") == 0 && strtoul(words[1], NULL, 10) <= THREADS_MAX) {
		ask_many(setting, strtoul(words[1], NULL, 10), decode(words[2]), decode(words[3]));
	} else if (count == 2 && strcmp(words[0], "conf") == 0) {
		load(setting, words[1]);
	} else {
		try_die("a line: password USER PASSWORD, groups USER, many COUNT USER PASSWORD, conf PATH; tabs between, %XX");
	}
}

static int serve(struct setting *setting)
{
	char *line = NULL, *words[WORDS_MAX];
	size_t room = 0;
	ssize_t len;

	signal(SIGPIPE, SIG_IGN);
	if (setting->backend->open)
		setting->thread = setting->backend->open();
	while ((len = getline(&line, &room, stdin)) > 0) {
		size_t count = 0;

		line[len - 1] = 0;
		for (char *word, *rest = line; count < WORDS_MAX && (word = strsep(&rest, "\t")) != NULL;)
			words[count++] = word;
		serve_line(setting, words, count);
	}
	free(line);
	if (setting->backend->close)
		setting->backend->close(setting->thread);
	secret_fini(&setting->ldap_password);
	arena_fini(&setting->arena);
	return 0;
}

static void set_up(struct setting *setting, const struct backend *backend, const char *path)
{
	*setting = (struct setting){.backend = backend, .env.pam_fd = -1};
	arena_init(&setting->arena, 1 << 20);
	fold_init();
	load(setting, path);
}

int try_ldap(int count, char **args)
{
	static struct setting setting;
	const char *why;

	if (count != 1)
		return 2;
	if (!ldap_backend_init(&why))
		try_die(why);
	set_up(&setting, &backend_ldap, args[0]);
	return serve(&setting);
}

int try_pam(int count, char **args)
{
	static struct setting setting;

	if (count != 1)
		return 2;
	set_up(&setting, &backend_pam, args[0]);
	return serve(&setting);
}

/* The role in a process of its own, as the parent starts it. Its exit status is ours. */
int try_pam_role(int count, char **args)
{
	static struct setting setting;
	int ends[2], status = 0;
	pid_t role;

	if (count != 1)
		return 2;
	set_up(&setting, &backend_pam, args[0]);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 || (role = fork()) < 0)
		try_die("the role cannot be started");
	if (role == 0) {
		close(ends[0]);
		signal(SIGPIPE, SIG_IGN);
		arena_fini(&setting.arena);
		exit(pam_server_run(ends[1]));
	}
	close(ends[1]);
	setting.env.pam_fd = ends[0];
	fprintf(stderr, "role=%d\n", (int)role);
	serve(&setting);
	close(ends[0]);
	waitpid(role, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
