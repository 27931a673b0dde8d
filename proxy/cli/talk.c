/* SPDX-License-Identifier: Apache-2.0 */
/* status, reload and drain: questions to the control socket of a running proxy. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/talk.h"

enum {
	CONFIG_MAX_BYTES = 4 << 20,
	ARENA_MAX_BYTES = 64 << 20,
	PATIENCE_S = 200,
	CELL_MAX_BYTES = 700,
};

/* The path alone is wanted, and a broken file must not stand between us and the running proxy: it will
 * say itself what is wrong with it. */
static char *control_path(const char *config)
{
	static const struct conf_option options[] = {
		{.name = "control", .type = CONF_PATH, .offset = 0, .min = 1,
		 .preset = "run/sallyport.sock", .reload = CONF_LIVE, .manual = ""},
		CONF_END};
	char *absolute = realpath(config, NULL), *result = NULL;
	const char *path = NULL;
	struct problems problems;
	struct arena arena;
	struct span text;

	arena_init(&arena, ARENA_MAX_BYTES);
	problems_init(&problems);
	/* Other keys are unknown to this table: only what it found counts. */
	if (absolute == NULL ||
	    yaml_read_file(absolute, CONFIG_MAX_BYTES, &arena, &problems, &text))
		text = SPAN("");
	else if (conf_load(text, absolute, options, &arena, &problems, &path, sizeof(path)) && !path)
		text = SPAN("");
	if (absolute && path == NULL &&
	    conf_load(text, absolute, options, &arena, &problems, &path, sizeof(path)))
		path = NULL;
	if (path)
		result = strdup(path);
	else
		command_complain("%s: cannot read it: %s", config, strerror(errno));
	problems_fini(&problems);
	arena_fini(&arena);
	free(absolute);
	return result;
}

static int connect_to(const char *path, const char **why)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval patience = {PATIENCE_S, 0};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path)) {
		command_complain("control: %s is too long for a socket", path);
	} else if (fd >= 0) {
		memcpy(address.sun_path, path, strlen(path));
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		if (why)
			*why = errno == EACCES ? "the running proxy may not be asked (try as root)" : "no proxy runs";
		else
			command_complain("no proxy answers at %s: %s%s", path, strerror(errno),
			                 errno == EACCES ? " (try as root)" : "; is it running?");
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

json_t *talk_ask(const struct command_line *line, const char *question,
                 void (*show)(void *context, const char *text), void *context, const char **why)
{
	const char *config = command_config(line);
	char *path = config ? control_path(config) : NULL, *text = NULL, *last = NULL;
	int fd = path ? connect_to(path, why) : -1;
	FILE *stream = fd >= 0 ? fdopen(fd, "r") : NULL;
	json_t *result = NULL;
	size_t size = 0;

	free(path);
	if (stream == NULL)
		return NULL;
	if (send(fd, question, strlen(question), MSG_NOSIGNAL) < 0)
		command_complain("the proxy does not listen: %s", strerror(errno));
	while (getline(&text, &size, stream) > 0) {
		if (last && show)
			show(context, last);
		free(last);
		last = strdup(text);
	}
	if (last)
		result = json_loads(last, 0, NULL);
	if (result == NULL && why)
		*why = "the running proxy does not answer (only root and its own user are heard)";
	else if (result == NULL)
		command_complain("the proxy hung up without an answer (only root and its own user are heard)");
	free(last);
	free(text);
	fclose(stream);
	return result;
}

static json_t *ask(const struct command_line *line, const char *question,
                   void (*show)(void *context, const char *text), void *context)
{
	return talk_ask(line, question, show, context, NULL);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* The same for a terminal: what a client sent, or a role that is not what it was, must not move the cursor. */
struct cell {
	char text[CELL_MAX_BYTES];
};

static const char *shown(struct cell *cell, const char *text)
{
	size_t len = 0;

	for (; *text && len + 1 < sizeof(cell->text); text++) {
		bool is_c1 = (uint8_t)text[0] == 0xc2 && (uint8_t)text[1] < 0xa0; /* U+0080 to U+009F */

		cell->text[len++] = (uint8_t)*text < 0x20 || *text == 0x7f || is_c1 ? '?' : *text;
		text += is_c1 && text[1];
	}
	cell->text[len] = '\0';
	return cell->text;
}

static long long number_of(const json_t *object, const char *key)
{
	return (long long)json_integer_value(json_object_get(object, key));
}

static int print_raw(json_t *answer)
{
	int status = json_is_true(json_object_get(answer, "ok")) ? EXIT_WELL : EXIT_USAGE;

	json_dumpf(answer, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(answer);
	return status;
}

static int print_refusal(json_t *answer)
{
	command_complain("refused: %s", text_of(answer, "error"));
	json_decref(answer);
	return EXIT_USAGE;
}

/* ---- reload, drain ---- */

static void print_problem(const json_t *problem)
{
	long long row = number_of(problem, "line"), column = number_of(problem, "column");

	fprintf(stderr, "%s:", text_of(problem, "file"));
	if (row)
		fprintf(stderr, "%lld:%lld:", row, column);
	fprintf(stderr, " %s: %s [%s]\n", text_of(problem, "level"), text_of(problem, "text"), text_of(problem, "code"));
}

/* A session that the new policy ended: for a program, then for people. */
static void keep_cut(void *context, const char *text)
{
	json_t *session = json_loads(text, 0, NULL);

	if (session)
		json_array_append_new(context, session);
}

static void print_cut(void *context, const char *text)
{
	json_t *session = json_loads(text, 0, NULL);
	bool *is_headed = context;
	struct cell cell;
	char target[CELL_MAX_BYTES];

	if (session == NULL)
		return;
	if (!*is_headed)
		printf("%-18s %-22s %-32s %8s %12s %12s  %s\n", "session", "client", "target", "age",
		       "bytes up", "bytes down", "denied by");
	*is_headed = true;
	printf("%-18s ", shown(&cell, text_of(session, "id")));
	printf("%-22s ", shown(&cell, text_of(session, "client")));
	snprintf(target, sizeof(target), "%.255s:%lld", shown(&cell, text_of(session, "host")),
	         number_of(session, "port"));
	printf("%-32s %6lld s %12lld %12lld ", target, number_of(session, "age_ms") / 1000,
	       number_of(session, "bytes_up"), number_of(session, "bytes_down"));
	printf(" %s", shown(&cell, text_of(session, "because")));
	if (json_object_get(session, "user"))
		printf(", user %s", shown(&cell, text_of(session, "user")));
	putchar('\n');
	json_decref(session);
}

static void print_cut_sum(const json_t *answer)
{
	long long more = number_of(answer, "more");

	printf(", sessions ended: %lld", number_of(answer, "cut"));
	if (more)
		printf(" (%lld of them are only in the access log, with \"how\": \"cut\")", more);
}

static int reload_for_program(const struct command_line *line, const char *question, bool cut)
{
	json_t *sessions = cut ? json_array() : NULL;
	json_t *answer = ask(line, question, sessions ? keep_cut : NULL, sessions);

	if (answer == NULL) {
		json_decref(sessions);
		return EXIT_USAGE;
	}
	if (sessions)
		json_object_set_new(answer, "sessions", sessions);
	return print_raw(answer);
}

int reload_command(const struct command_line *line)
{
	bool cut = line->options[OPTION_cut] != NULL, is_headed = false;
	const char *question = cut ? "{\"command\": \"reload\", \"cut\": true}\n"
	                           : "{\"command\": \"reload\"}\n";
	const json_t *problem;
	json_t *answer;
	size_t i;

	if (line->options[OPTION_json])
		return reload_for_program(line, question, cut);
	answer = ask(line, question, cut ? print_cut : NULL, &is_headed);
	if (answer == NULL)
		return EXIT_USAGE;
	if (json_object_get(answer, "error"))
		return print_refusal(answer);
	json_array_foreach(json_object_get(answer, "problems"), i, problem)
		print_problem(problem);
	if (!json_is_true(json_object_get(answer, "ok"))) {
		json_decref(answer);
		return command_complain("refused; what was in force stays");
	}
	printf("in force: generation %lld", number_of(answer, "generation"));
	if (cut)
		print_cut_sum(answer);
	putchar('\n');
	json_decref(answer);
	return EXIT_WELL;
}

int drain_command(const struct command_line *line)
{
	json_t *answer = ask(line, "{\"command\": \"drain\"}\n", NULL, NULL);

	if (answer == NULL)
		return EXIT_USAGE;
	if (line->options[OPTION_json])
		return print_raw(answer);
	json_decref(answer);
	puts("draining: no new sessions; it stops when those that run have ended, or after timeouts.drain");
	return EXIT_WELL;
}

/* ---- status ---- */

static void print_line(void *context, const char *text)
{
	(void)context;
	fputs(text, stdout);
}

/* One session as people read it. */
static void print_session(void *context, const char *text)
{
	json_t *session = json_loads(text, 0, NULL);
	const char *target = text_of(session, "target");
	bool *is_headed = context;
	struct cell cell;

	if (!*is_headed)
		printf("%-22s %-24s %-10s %10s %12s %12s  %s\n", "session", "client", "state", "age", "bytes up",
		       "bytes down", "target");
	*is_headed = true;
	printf("%-22s ", shown(&cell, text_of(session, "id")));
	printf("%-24s ", shown(&cell, text_of(session, "client")));
	printf("%-10s ", shown(&cell, text_of(session, "state")));
	printf("%8lld s %12lld %12lld  %s\n", number_of(session, "age_ms") / 1000,
	       number_of(session, "bytes_up"), number_of(session, "bytes_down"),
	       shown(&cell, target[0] ? target : text_of(session, "host")));
	json_decref(session);
}

static void print_metrics(const json_t *metrics)
{
	const json_t *value;
	const char *key;

	json_object_foreach((json_t *)(uintptr_t)metrics, key, value)
		if (json_is_integer(value) && json_integer_value(value))
			printf("  %-24s %lld\n", key, (long long)json_integer_value(value));
	json_object_foreach(json_object_get(metrics, "errors"), key, value)
		printf("  error %-18s %lld\n", key, (long long)json_integer_value(value));
}

static void print_status(const json_t *answer)
{
	const json_t *policy = json_object_get(answer, "policy"), *row;
	struct cell cell;
	size_t i;

	printf("sallyport %s, %s, pid %lld, up %lld s\n", text_of(answer, "version"),
	       text_of(answer, "state"), number_of(answer, "pid"),
	       number_of(answer, "uptime_ms") / 1000);
	printf("configuration %s\n", text_of(answer, "configuration"));
	if (json_object_get(answer, "refused"))
		printf("last reload   refused at %s, errors %lld; sallyport check says which\n",
		       text_of(json_object_get(answer, "refused"), "at"),
		       number_of(json_object_get(answer, "refused"), "errors"));
	printf("policy        generation %lld of %s, %lld rules, %lld entries, hash %s\n",
	       number_of(policy, "generation"), text_of(policy, "loaded"),
	       number_of(policy, "rules"), number_of(policy, "entries"), text_of(policy, "hash"));
	if (json_object_get(json_object_get(answer, "media"), "text"))
		printf("calls         %s\n", shown(&cell, text_of(json_object_get(answer, "media"), "text")));
	json_array_foreach(json_object_get(answer, "listeners"), i, row)
		printf("listening     %s %s\n", text_of(row, "name"), text_of(row, "address"));
	json_array_foreach(json_object_get(answer, "small_listeners"), i, row)
		printf("%-13s http://%s\n", text_of(row, "name"), text_of(row, "address"));
	json_array_foreach(json_object_get(answer, "roles"), i, row)
		printf("role          %s %lld, pid %lld, %s, restarts %lld, sessions %lld\n",
		       text_of(row, "role"), number_of(row, "number"), number_of(row, "pid"),
		       json_is_true(json_object_get(row, "ready")) ? "ready" : "not ready",
		       number_of(row, "restarts"),
		       number_of(json_object_get(row, "metrics"), "sessions"));
	print_metrics(json_object_get(answer, "metrics"));
}

int status_command(const struct command_line *line)
{
	bool sessions = line->options[OPTION_sessions] != NULL, is_headed = false;
	json_t *answer = ask(line, sessions ? "{\"command\": \"sessions\"}\n"
	                                    : "{\"command\": \"status\"}\n",
	                     !sessions ? NULL : line->options[OPTION_json] ? print_line : print_session,
	                     &is_headed);

	if (answer == NULL)
		return EXIT_USAGE;
	if (json_object_get(answer, "error"))
		return print_refusal(answer);
	if (sessions) {
		json_decref(answer);
		return EXIT_WELL;
	}
	if (line->options[OPTION_json])
		return print_raw(answer);
	print_status(answer);
	json_decref(answer);
	return EXIT_WELL;
}
