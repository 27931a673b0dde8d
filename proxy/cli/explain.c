/* SPDX-License-Identifier: Apache-2.0 */
/* explain: one decision, or one for each line of standard input, in words. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/files.h"
#include "cli/list_lines.h"
#include "cli/question.h"

enum { EXPLAIN_MAX_BYTES = 1 << 28, LINE_MAX_BYTES = 65536, VERDICT_MAX_BYTES = 65536 };

struct explaining {
	struct verdict_proxy proxy;
	struct list_lines lines;
	uint64_t now_ms;
	bool json, verbose;
};

/* ---- one answer ---- */

static void add_line_number(unsigned number, struct buf *out)
{
	if (number)
		buf_printf(out, ",\"line\":%u", number);
}

/* Everything, as text or JSON. `number` is that of a line, or 0. */
static enum err add_whole(struct explaining *explaining, const struct question *question, unsigned number,
                          struct buf *out)
{
	struct policy_explain_options options = {
		.json = explaining->json,
		.verbose = explaining->verbose,
		.read_line = list_lines_read,
		.context = &explaining->lines,
	};
	struct verdict verdict;
	struct buf first, more;
	enum err err;

	buf_init(&first, VERDICT_MAX_BYTES);
	buf_init(&more, VERDICT_MAX_BYTES);
	verdict_make(&explaining->proxy, &question->request, &verdict);
	if (explaining->json) {
		add_line_number(number, &first);
		verdict_add_json(&explaining->proxy, &verdict, &first);
	} else {
		verdict_add_text(&explaining->proxy, &verdict, &first, &more);
	}
	options.verdict = buf_span(&first);
	options.more = buf_span(&more);
	err = policy_explain(explaining->proxy.policy, &verdict.facts, &options, out);
	buf_fini(&first);
	buf_fini(&more);
	return err;
}

static void add_short_answer(const struct verdict *verdict, enum policy_question question, struct buf *out)
{
	buf_printf(out, " %s=%s", policy_question_name(question),
	           verdict->decision.open >> question & 1
	                   ? "open"
	                   : policy_answer_name(question, verdict->decision.answers[question].answer));
}

/* "api.wbx2.com:443 tunnelled access=allow auth=exempt tls=bypass why=rule by rule "..." (policy.yaml:3)" */
static void add_short(struct explaining *explaining, const struct question *question, struct buf *out)
{
	static const enum policy_question shown[] = {POLICY_ACCESS, POLICY_AUTH, POLICY_TLS, POLICY_CLASS};
	const struct policy *policy = explaining->proxy.policy;
	struct verdict verdict;
	const struct policy_answer *answer;
	bool brackets = question->request.facts.host_address.family == AF_INET6;

	verdict_make(&explaining->proxy, &question->request, &verdict);
	buf_printf(out, "%s%.*s%s:%u %s", brackets ? "[" : "", SPAN_ARG(verdict.facts.host), brackets ? "]" : "",
	           verdict.facts.port, verdict_name(&verdict));
	for (size_t i = 0; i < COUNT_OF(shown); i++)
		add_short_answer(&verdict, shown[i], out);
	if (verdict.err)
		buf_printf(out, " error=%s", err_name(verdict.err));
	answer = &verdict.decision.answers[verdict.question];
	if (verdict.decision.open >> verdict.question & 1) {
		buf_add_byte(out, '\n');
		return;
	}
	buf_printf(out, " why=%s by ", reason_name(verdict.why ? verdict.why : (enum reason)answer->reason));
	policy_say_rule(policy, answer, out);
	if (answer->list) {
		buf_add_string(out, ", because of ");
		policy_say_entry(policy, answer, out);
	}
	buf_add_byte(out, '\n');
}

static void print(struct span text)
{
	fwrite(text.at, 1, text.len, stdout);
}

/* ---- one question on the command line ---- */

static int explain_one(struct explaining *explaining, const struct settings *settings,
                       const struct command_line *line)
{
	struct question question;
	int status = EXIT_USAGE;
	struct buf text;

	question_init(&question);
	buf_init(&text, EXPLAIN_MAX_BYTES);
	question.line = *line;
	if (!question_make(&question, settings, explaining->now_ms)) {
		command_complain("explain: %.*s", SPAN_ARG(buf_span(&question.complaint)));
	} else if (add_whole(explaining, &question, 0, &text)) {
		command_complain("explain: %s", err_text(ERR_MEMORY));
	} else {
		if (buf_len(&question.note))
			fprintf(stderr, "sallyport: note: %.*s\n", SPAN_ARG(buf_span(&question.note)));
		print(buf_span(&text));
		status = EXIT_WELL;
	}
	buf_fini(&text);
	question_fini(&question);
	return status;
}

/* ---- many questions ---- */

static void print_complaint(const struct explaining *explaining, unsigned number, struct span complaint)
{
	struct buf text;

	buf_init(&text, VERDICT_MAX_BYTES);
	if (explaining->json) {
		buf_printf(&text, "{\"line\":%u,\"error\":", number);
		buf_add_json(&text, complaint);
		buf_add_string(&text, "}\n");
	} else {
		buf_printf(&text, "line %u: %.*s\n", number, SPAN_ARG(complaint));
	}
	print(buf_span(&text));
	buf_fini(&text);
}

static bool explain_line(struct explaining *explaining, const struct settings *settings, unsigned number,
                         struct span line)
{
	struct question question;
	enum err err = ERR_NONE;
	struct buf text;
	bool ok;

	question_init(&question);
	buf_init(&text, EXPLAIN_MAX_BYTES);
	ok = question_read(&question, line) && question_make(&question, settings, explaining->now_ms);
	if (ok && explaining->json)
		err = add_whole(explaining, &question, number, &text);
	else if (ok)
		add_short(explaining, &question, &text);
	if (!ok)
		print_complaint(explaining, number, buf_span(&question.complaint));
	else if (err)
		print_complaint(explaining, number, span_from(err_text(err)));
	else
		print(buf_span(&text));
	buf_fini(&text);
	question_fini(&question);
	return ok && err == ERR_NONE;
}

/* The next line, without its end. False at the end of the input. */
static bool next_line(struct buf *line)
{
	int byte = getc(stdin);

	buf_reset(line);
	if (byte == EOF)
		return false;
	for (; byte != EOF && byte != '\n'; byte = getc(stdin))
		buf_add_byte(line, (uint8_t)byte);
	return true;
}

/* Lines that are empty or begin with # are nobody's question. What is wrong with one line does not end the run. */
static int explain_lines(struct explaining *explaining, const struct settings *settings)
{
	unsigned number = 0;
	bool all_ok = true;
	struct buf line;

	buf_init(&line, LINE_MAX_BYTES);
	while (next_line(&line)) {
		struct span text = buf_span(&line);

		number++;
		if (text.len && text.at[text.len - 1] == '\r')
			text.len--;
		if (!buf_is_whole(&line)) {
			print_complaint(explaining, number, SPAN("the line is longer than 65536 bytes"));
			all_ok = false;
		} else if (span_trim(text).len && text.at[0] != '#') {
			all_ok &= explain_line(explaining, settings, number, text);
		}
	}
	buf_fini(&line);
	if (ferror(stdin))
		return command_complain("explain: standard input cannot be read");
	return all_ok ? EXIT_WELL : EXIT_USAGE;
}

/* ---- the command ---- */

/* Facts belong to the lines then: what stands on the command line would be taken for all of them, or for none. */
static bool has_facts(const struct command_line *line)
{
	for (int option = 0; option < OPTION_COUNT; option++)
		if (line->options[option] && option != OPTION_config && option != OPTION_json &&
		    option != OPTION_stdin && option != OPTION_verbose)
			return true;
	return line->argument != NULL;
}

static int explain(const struct command_line *line, const struct loaded_files *files)
{
	struct explaining explaining = {
		.now_ms = clock_wall_ms(),
		.json = line->options[OPTION_json] != NULL,
		.verbose = line->options[OPTION_verbose] != NULL,
	};
	int status;

	verdict_proxy_init(&explaining.proxy, &files->settings, files->policy);
	list_lines_init(&explaining.lines, files->settings.policy);
	status = line->options[OPTION_stdin] ? explain_lines(&explaining, &files->settings)
	                                     : explain_one(&explaining, &files->settings, line);
	list_lines_fini(&explaining.lines);
	if (fflush(stdout) != 0)
		return command_complain("explain: the answer cannot be written");
	return status;
}

int explain_command(const struct command_line *line)
{
	const char *path = command_config(line);
	struct loaded_files files;
	int status = EXIT_USAGE;

	if (path == NULL)
		return EXIT_USAGE;
	if (line->options[OPTION_stdin] && has_facts(line))
		return command_complain("explain: with --stdin each line names its host and its facts, and the command "
		                        "line none");
	if (files_load(&files, path) == ERR_NONE)
		status = explain(line, &files);
	else
		command_print_problems(&files.problems);
	files_fini(&files);
	return status;
}
