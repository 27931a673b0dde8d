/* SPDX-License-Identifier: Apache-2.0 */
/* list: edits leave every other byte as it is; a file is replaced as a whole or not at all, whatever fails or dies on the
 * way; what would break the policy is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "cli/command.h"
#include "cli/list_file.h"
#include "cli/list_text.h"
#include "policy_rig.h"

/* ---- text ---- */

static const struct {
	const char *before, *line, *after;
} additions[] = {
	{"", "a.test", "a.test\n"},
	{"b.test\n", "a.test", "b.test\na.test\n"},
	{"b.test", "a.test", "b.test\na.test\n"},
	{"# one\r\n\r\nb.test\r\n", "a.test", "# one\r\n\r\nb.test\r\na.test\r\n"},
	{"b.test\r\nc.test", "a.test", "b.test\r\nc.test\r\na.test\r\n"},
	{"\xef\xbb\xbf", "a.test", "\xef\xbb\xbf" "a.test\n"},
	{"\n\n", "a.test", "\n\na.test\n"},
};

static void a_line_comes_to_the_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(additions); i++) {
		struct buf out;

		buf_init(&out, 4096);
		list_text_add(span_from(additions[i].before), span_from(additions[i].line), &out);
		if (!span_equal(buf_span(&out), span_from(additions[i].after)))
			fail_msg("row %zu: %.*s", i, SPAN_ARG(buf_span(&out)));
		buf_fini(&out);
	}
}

static const struct {
	const char *before, *pattern, *after;
	size_t count;
} removals[] = {
	{"a.test\nb.test\n", "a.test", "b.test\n", 1},
	{"# mine\r\n A.test. owner=x # y\r\n\r\n# yours\r\nb.test\r\n", "a.test", "# mine\r\n\r\n# yours\r\nb.test\r\n", 1},
	{"b.test\na.test", "a.test", "b.test\n", 1},
	{"a.test ports=80\nb.test\na.test ports=443\n", "a.test", "b.test\n", 2},
	{"\xef\xbb\xbf" "a.test\nb.test\n", "a.test", "\xef\xbb\xbf" "b.test\n", 1},
	{"*.a.test\n.a.test\n# a.test\nxa.test\n", "a.test", "*.a.test\n.a.test\n# a.test\nxa.test\n", 0},
	{"not a line\nb\xc3\xbc" "cher.test\n", "xn--bcher-kva.test", "not a line\n", 1},
	{"10.0.0.0/8\n", "10.0.0.0/8", "", 1},
};

static void a_line_goes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(removals); i++) {
		struct buf out;

		buf_init(&out, 4096);
		assert_int_equal(list_text_remove(span_from(removals[i].before), span_from(removals[i].pattern), &out),
		                 removals[i].count);
		if (!span_equal(buf_span(&out), span_from(removals[i].after)))
			fail_msg("row %zu: %.*s", i, SPAN_ARG(buf_span(&out)));
		buf_fini(&out);
	}
}

static const struct {
	struct list_fields fields;
	const char *line; /* or why not */
	const char *about; /* NULL: it is a line */
} formats[] = {
	{{.pattern = "a.test"}, "a.test", NULL},
	{{.pattern = "A.Test", .owner = "net", .ticket = "INC-1", .reason = "why not", .added = "2026-11-24",
	  .expires = "2027-01-31", .ports = "443,5004"},
	 "A.Test owner=net ticket=INC-1 reason=\"why not\" added=2026-11-24 expires=2027-01-31 ports=443,5004", NULL},
	{{.pattern = "*.b\xc3\xbc" "cher.test", .owner = "the net"}, "*.xn--bcher-kva.test owner=\"the net\" # *.b\xc3\xbc" "cher.test", NULL},
	{{.pattern = "a.test b.test"}, "blank", ""},
	{{.pattern = "#a.test"}, "#", ""},
	{{.pattern = "a.test:443"}, "no port", ""},
	{{.pattern = ""}, "empty", ""},
	{{.pattern = "a.test", .reason = "say \"x\""}, "quotation mark", "reason"},
	{{.pattern = "a.test", .reason = "two\nlines"}, "control character", "reason"},
	{{.pattern = "a.test", .owner = ""}, "empty", "owner"},
	{{.pattern = "a.test", .expires = "tomorrow"}, "must be a date", "expires"},
	{{.pattern = "a.test", .ports = "https"}, "must be ports", "ports"},
	{{.pattern = "a.test", .ticket = "a b=c # d"}, "a.test ticket=\"a b=c # d\"", NULL},
};

static void a_line_is_made(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(formats); i++) {
		const char *why = "", *about = "";
		struct buf out;
		bool ok;

		buf_init(&out, 4096);
		ok = list_text_format(&formats[i].fields, &out, &why, &about);
		if (ok != (formats[i].about == NULL) ||
		    (ok ? !span_equal(buf_span(&out), span_from(formats[i].line))
		        : strcmp(about, formats[i].about) != 0 || strstr(why, formats[i].line) == NULL))
			fail_msg("row %zu: \"%.*s\" %s: %s", i, SPAN_ARG(buf_span(&out)), about, why);
		buf_fini(&out);
	}
}

static const struct {
	const char *wide, *narrow;
	bool covers;
} coverings[] = {
	{"a.test", "a.test", true},          {".a.test", "a.test", true},      {"*.a.test", "a.test", false},
	{"*.a.test", "b.a.test", true},      {".a.test", "xa.test", false},    {".a.test", "*.a.test", true},
	{"*.a.test", ".a.test", false},      {"*.a.test", ".b.a.test", true},  {".test", "*x*.a.test", true},
	{".a.test", "*x*.test", false},      {"x*.a.test", "xy.a.test", true}, {"x*.a.test", "y.a.test", false},
	{"10.0.0.0/8", "10.1.0.0/16", true}, {"10.1.0.0/16", "10.0.0.0/8", false}, {"10.0.0.0/8", "10.1.2.3", true},
	{"/^x[0-9]\\.test$/", "x1.test", true}, {"/^x[0-9]\\.test$/", "xx.test", false}, {"a.test", ".a.test", false},
	{"/(/", "a.test", false},            {".a.test", "10.0.0.1", false},   {"fd00::/8", "fd01::/16", true},
};

static void what_covers_what(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(coverings); i++)
		if (list_line_covers(span_from(coverings[i].wide), span_from(coverings[i].narrow)) != coverings[i].covers)
			fail_msg("%s, %s", coverings[i].wide, coverings[i].narrow);
}

/* ---- the file ---- */

static char *read_back(const struct policy_rig *rig, const char *name)
{
	char path[100], *text = calloc(1, 65536);
	FILE *file;

	policy_rig_path(rig, name, path);
	file = fopen(path, "r");
	if (file == NULL) {
		free(text);
		return NULL;
	}
	assert_true(fread(text, 1, 65535, file) < 65535);
	fclose(file);
	return text;
}

static size_t count_files(const struct policy_rig *rig)
{
	DIR *folder = opendir(rig->folder);
	size_t count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count - 2;
}

static void mode_owner_and_link_stay(void **state)
{
	struct list_file file;
	struct policy_rig rig;
	char path[100], link[100], *text;
	struct stat stat_of, link_stat;
	bool has_attributes;

	(void)state;
	policy_rig_init(&rig);
	policy_rig_write(&rig, "a.list", SPAN("old\n"));
	policy_rig_path(&rig, "a.list", path);
	policy_rig_path(&rig, "link", link);
	assert_int_equal(symlink("a.list", link), 0);
	assert_int_equal(chmod(path, 0604), 0);
	/* Not every file system has them. */
	has_attributes = setxattr(path, "user.seen", "by me", 5, 0) == 0;
	if (geteuid() == 0)
		assert_int_equal(chown(path, 1234, 2345), 0);
	assert_int_equal(list_file_open(&file, link), ERR_NONE);
	assert_int_equal(list_file_write(&file, SPAN("new\n")), ERR_NONE);
	assert_int_equal(list_file_note(&file, SPAN("{}\n")), ERR_NONE);
	list_file_close(&file);
	text = read_back(&rig, "a.list");
	assert_string_equal(text, "new\n");
	free(text);
	assert_int_equal(stat(path, &stat_of), 0);
	assert_int_equal(stat_of.st_mode & 07777, 0604);
	assert_true(geteuid() != 0 || (stat_of.st_uid == 1234 && stat_of.st_gid == 2345));
	assert_true(!has_attributes || getxattr(path, "user.seen", NULL, 0) == 5);
	assert_int_equal(lstat(link, &link_stat), 0);
	assert_true(S_ISLNK(link_stat.st_mode));
	policy_rig_path(&rig, "a.list.history", path);
	assert_int_equal(stat(path, &stat_of), 0);
	assert_int_equal(stat_of.st_mode & 07777, 0640);
	assert_true(geteuid() != 0 || stat_of.st_uid == 1234);
	assert_int_equal(count_files(&rig), 3);
	policy_rig_fini(&rig);
}

/* Somebody who saves his editor in between loses nothing. */
static void a_change_in_between_is_seen(void **state)
{
	struct list_file file;
	struct policy_rig rig;
	char path[100], *text;

	(void)state;
	policy_rig_init(&rig);
	policy_rig_write(&rig, "a.list", SPAN("old\n"));
	policy_rig_path(&rig, "a.list", path);
	assert_int_equal(list_file_open(&file, path), ERR_NONE);
	policy_rig_write(&rig, "a.list", SPAN("by an editor\n"));
	assert_int_equal(list_file_write(&file, SPAN("new\n")), ERR_SYSTEM);
	list_file_close(&file);
	text = read_back(&rig, "a.list");
	assert_string_equal(text, "by an editor\n");
	free(text);
	assert_int_equal(count_files(&rig), 1);
	policy_rig_fini(&rig);
}

/* What the kernel does at a system call of the writer: fail with an error, or end the process there. */
static void forbid(uint32_t action, int syscall)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	if (filter == NULL || seccomp_rule_add(filter, action, syscall, 0) || seccomp_load(filter))
		_exit(99);
	seccomp_release(filter);
}

/* Write in a child to which that happens; its wait status. */
static int write_in_child(const char *path, uint32_t action, int syscall)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		struct list_file file;
		struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		if (list_file_open(&file, path))
			_exit(98);
		forbid(action, syscall);
		_exit(list_file_write(&file, SPAN("new\n")) == ERR_NONE ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void the_old_file_stays_if_a_step_fails(void **state)
{
	static const int steps[] = {SCMP_SYS(rename), SCMP_SYS(fsync), SCMP_SYS(write), SCMP_SYS(fchmod)};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		struct policy_rig rig;
		char path[100], *text;
		int status;

		policy_rig_init(&rig);
		policy_rig_write(&rig, "a.list", SPAN("old\n"));
		policy_rig_path(&rig, "a.list", path);
		status = write_in_child(path, SCMP_ACT_ERRNO(EIO), steps[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
		text = read_back(&rig, "a.list");
		assert_string_equal(text, "old\n");
		free(text);
		assert_int_equal(count_files(&rig), 1); /* nothing is left behind */
		policy_rig_fini(&rig);
	}
}

/* Killed at any step: the file is the old one, whole; and nobody is locked out. */
static void the_old_file_stays_if_the_process_dies(void **state)
{
	static const int steps[] = {SCMP_SYS(rename), SCMP_SYS(fsync), SCMP_SYS(write), SCMP_SYS(fchmod)};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		struct list_file file;
		struct policy_rig rig;
		char path[100], *text;
		int status;

		policy_rig_init(&rig);
		policy_rig_write(&rig, "a.list", SPAN("old\n"));
		policy_rig_path(&rig, "a.list", path);
		status = write_in_child(path, SCMP_ACT_KILL_PROCESS, steps[i]);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
		text = read_back(&rig, "a.list");
		assert_string_equal(text, "old\n");
		free(text);
		assert_int_equal(list_file_open(&file, path), ERR_NONE);
		assert_int_equal(list_file_write(&file, SPAN("new\n")), ERR_NONE);
		list_file_close(&file);
		text = read_back(&rig, "a.list");
		assert_string_equal(text, "new\n");
		free(text);
		policy_rig_fini(&rig);
	}
}

/* ---- the command ---- */

static const char settings_text[] = "listen: [{name: local, address: '127.0.0.1:3128'}]\npolicy: policy.yaml\n"
				    "control: none.sock\n";
static const char policy_text[] =
	"lists: {app: a.list, two: [b.list, c.list]}\n"
	"rules:\n  - {name: app, when: {to: app}, then: {access: allow}}\n"
	"  - {name: two, when: {to: two}, then: {access: deny}}\n"
	"defaults: {access: deny, tls: bypass}\n";

static void command_rig(struct policy_rig *rig)
{
	policy_rig_init(rig);
	policy_rig_write(rig, "sallyport.yaml", span_from(settings_text));
	policy_rig_write(rig, "policy.yaml", span_from(policy_text));
	policy_rig_write(rig, "a.list", SPAN("# ours\n.example.com owner=net added=2026-01-02\nold.test expires=2026-01-31\n"));
	policy_rig_write(rig, "b.list", SPAN("b.test\n"));
	policy_rig_write(rig, "c.list", SPAN("c.test\n"));
}

/* list with these words, and at most one option; what it printed is in *out (free it). */
static int run_list(const struct policy_rig *rig, const char *const *words, enum command_option option, const char *value,
                    char **out)
{
	struct command_line line = {.arguments = words};
	char config[100], path[100];
	int status, saved = dup(STDOUT_FILENO);

	while (words[line.argument_count])
		line.argument_count++;
	line.argument = words[0];
	policy_rig_path(rig, "sallyport.yaml", config);
	policy_rig_path(rig, "out", path);
	line.options[OPTION_config] = config;
	line.options[option] = option == OPTION_config ? config : value;
	fflush(stdout);
	assert_non_null(freopen(path, "w", stdout));
	status = list_command(&line);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	*out = read_back(rig, "out");
	unlink(path);
	return status;
}

#define WORDS(...) (const char *const[]){__VA_ARGS__, NULL}
#define A_LIST "# ours\n.example.com owner=net added=2026-01-02\nold.test expires=2026-01-31\n"

static const struct command_row {
	const char *words[4];
	enum command_option option;
	const char *value;
	int status;
	const char *says;           /* on standard output; NULL: nothing */
	const char *name, *content; /* of a file afterwards, "~" in front: that is somewhere in it */
} commands[] = {
	{{"add", "app", "new.test"}, OPTION_reason, "asked for", EXIT_WELL, "added to a.list:4\n+ new.test reason=\"asked for\" added=",
	 "a.list", "~" A_LIST "new.test reason=\"asked for\" added=2"},
	{{"add", "app", "new.test"}, OPTION_dry_run, "", EXIT_WELL, "would be added to a.list:4", "a.list", A_LIST},
	{{"add", "app", "www.example.com"}, OPTION_config, NULL, EXIT_FINDING, NULL, "a.list", A_LIST},
	{{"add", "app", "www.example.com"}, OPTION_force, "", EXIT_WELL, "added to a.list:4", "a.list", "~" A_LIST "www.example.com added=2"},
	{{"add", "app", "old.test"}, OPTION_config, NULL, EXIT_FINDING, NULL, "a.list", A_LIST},
	{{"add", "app", "x.old.test"}, OPTION_config, NULL, EXIT_WELL, "added to a.list:4", "a.list", "~" A_LIST "x.old.test added=2"},
	{{"add", "app", "/x/"}, OPTION_config, NULL, EXIT_USAGE, NULL, "a.list", A_LIST},
	{{"add", "app", "new.test"}, OPTION_expires, "2026-01-01", EXIT_USAGE, NULL, "a.list", A_LIST},
	{{"add", "two", "new.test"}, OPTION_file, "c.list", EXIT_WELL, "added to c.list:2", "c.list", "~c.test\nnew.test added=2"},
	{{"add", "two", "new.test"}, OPTION_file, "d.list", EXIT_USAGE, NULL, "c.list", "c.test\n"},
	{{"add", "nope", "new.test"}, OPTION_config, NULL, EXIT_USAGE, NULL, "a.list", A_LIST},
	{{"show", "app"}, OPTION_owner, "net", EXIT_USAGE, NULL, "a.list", A_LIST},
	{{"remove", "app", "old.test"}, OPTION_force, "", EXIT_USAGE, NULL, "a.list", A_LIST},
	{{"add", "app"}, OPTION_config, NULL, EXIT_USAGE, NULL, "a.list", A_LIST},
	{{"remove", "two", "C.test"}, OPTION_config, NULL, EXIT_WELL, "removed from c.list:1\n- c.test\n", "c.list", ""},
	{{"remove", "app", "example.com"}, OPTION_config, NULL, EXIT_FINDING, NULL, "a.list", A_LIST},
	{{"remove", "app", "old.test"}, OPTION_dry_run, "", EXIT_WELL, "would be removed from a.list:3\n- old.test", "a.list", A_LIST},
	{{"remove", "app", "old.test"}, OPTION_reason, "over", EXIT_WELL, "removed from a.list:3", "a.list.history",
	 "~\"action\":\"remove\",\"list\":\"app\",\"pattern\":\"old.test\",\"reason\":\"over\",\"line\":\"old.test expires=2026-01-31\"}\n"},
	{{"show", "app"}, OPTION_config, NULL, EXIT_WELL, "a.list:3  old.test  (expired: it matches nothing)", "a.list", A_LIST},
	{{"blame", "app", "https://www.example.com/x"}, OPTION_config, NULL, EXIT_WELL, "a.list:2  .example.com\n     owner net", "a.list", A_LIST},
	{{"blame", "app", "old.test:443"}, OPTION_config, NULL, EXIT_FINDING, "no entry that is in force covers old.test", "a.list", A_LIST},
	{{"stale", "app"}, OPTION_config, NULL, EXIT_FINDING, "app: 0 without a hit for 90 days, 1 expired, 0 expire", "a.list", A_LIST},
	{{"stale", "two"}, OPTION_config, NULL, EXIT_WELL, "hits are not known: no proxy runs", "a.list", A_LIST},
	{{"stale", "two"}, OPTION_days, "many", EXIT_USAGE, NULL, "a.list", A_LIST},
};

static void check_row(const struct policy_rig *rig, const struct command_row *row)
{
	char *out, *text;
	int status = run_list(rig, row->words, row->option, row->value, &out);

	text = read_back(rig, row->name);
	if (status != row->status || (row->says ? strstr(out, row->says) == NULL : out[0] != '\0'))
		fail_msg("%s %s %s: status %d, %s", row->words[0], row->words[1], row->words[2], status, out);
	if (text == NULL || (row->content[0] == '~' ? strstr(text, row->content + 1) == NULL
	                                            : strcmp(text, row->content) != 0))
		fail_msg("%s %s %s: %s is %s", row->words[0], row->words[1], row->words[2], row->name, text);
	free(text);
	free(out);
}

static void the_command_does_what_it_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		struct policy_rig rig;

		command_rig(&rig);
		check_row(&rig, &commands[i]);
		policy_rig_fini(&rig);
	}
}

/* Who added it, when and why, from the history; for programs. */
static void blame_knows_the_history(void **state)
{
	struct policy_rig rig;
	json_t *all, *note;
	char *out;

	(void)state;
	command_rig(&rig);
	assert_int_equal(run_list(&rig, WORDS("add", "app", "new.test"), OPTION_ticket, "INC-7", &out), EXIT_WELL);
	free(out);
	assert_int_equal(run_list(&rig, WORDS("blame", "app", "new.test"), OPTION_json, "", &out), EXIT_WELL);
	all = json_loads(out, 0, NULL);
	assert_non_null(all);
	assert_true(json_is_true(json_object_get(all, "covered")));
	note = json_array_get(json_object_get(json_array_get(json_object_get(all, "entries"), 0), "history"), 0);
	assert_string_equal(json_string_value(json_object_get(note, "ticket")), "INC-7");
	assert_true(strlen(json_string_value(json_object_get(note, "who"))) > 0);
	json_decref(all);
	free(out);
	policy_rig_fini(&rig);
}

/* What an edit would have changed, by a log; nothing is written. */
static void an_edit_is_rehearsed(void **state)
{
	struct policy_rig rig;
	char log[100], *out, *text;

	(void)state;
	command_rig(&rig);
	policy_rig_write(&rig, "access.log", SPAN("1795435200.250 12 192.0.2.7 TCP_TUNNEL/200 39 CONNECT www.example.com:443 - HIER_DIRECT/192.0.2.9 -\n"));
	policy_rig_path(&rig, "access.log", log);
	assert_int_equal(run_list(&rig, WORDS("remove", "app", ".example.com"), OPTION_replay, log, &out), EXIT_FINDING);
	assert_non_null(strstr(out, "allow -> deny      www.example.com:443"));
	free(out);
	assert_int_equal(run_list(&rig, WORDS("remove", "app", "old.test"), OPTION_replay, log, &out), EXIT_WELL);
	assert_non_null(strstr(out, "nothing changes"));
	free(out);
	text = read_back(&rig, "a.list");
	assert_string_equal(text, A_LIST);
	free(text);
	policy_rig_fini(&rig);
}

enum { ADDERS = 6 };

/* All at once: none is lost. */
static void adds_at_the_same_time_all_count(void **state)
{
	struct policy_rig rig;
	pid_t children[ADDERS];
	char *text;
	int status;

	(void)state;
	command_rig(&rig);
	fflush(NULL);
	for (int i = 0; i < ADDERS; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			char config[100], entry[40];
			const char *words[] = {"add", "app", entry};
			struct command_line line = {.argument = "add", .arguments = words, .argument_count = 3};

			snprintf(entry, sizeof(entry), "host%d.test", i);
			policy_rig_path(&rig, "sallyport.yaml", config);
			line.options[OPTION_config] = config;
			_exit(freopen("/dev/null", "w", stdout) ? list_command(&line) : 97);
		}
	}
	for (int i = 0; i < ADDERS; i++) {
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_WELL);
	}
	text = read_back(&rig, "a.list");
	for (int i = 0; i < ADDERS; i++) {
		char entry[40];

		snprintf(entry, sizeof(entry), "\nhost%d.test added=", i);
		assert_non_null(strstr(text, entry));
	}
	free(text);
	policy_rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_comes_to_the_end),
		cmocka_unit_test(a_line_goes),
		cmocka_unit_test(a_line_is_made),
		cmocka_unit_test(what_covers_what),
		cmocka_unit_test(mode_owner_and_link_stay),
		cmocka_unit_test(a_change_in_between_is_seen),
		cmocka_unit_test(the_old_file_stays_if_a_step_fails),
		cmocka_unit_test(the_old_file_stays_if_the_process_dies),
		cmocka_unit_test(the_command_does_what_it_says),
		cmocka_unit_test(blame_knows_the_history),
		cmocka_unit_test(an_edit_is_rehearsed),
		cmocka_unit_test(adds_at_the_same_time_all_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
