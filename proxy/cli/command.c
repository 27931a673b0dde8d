/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "base/reason.h"
#include "policy/policy.h"
#include "process/parent.h"
#include "web/prometheus.h"

int command_complain(const char *format, ...)
{
	va_list args;

	fputs("sallyport: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return EXIT_USAGE;
}

const char *command_config(const struct command_line *line)
{
	const char *path = line->options[OPTION_config];

	if (path == NULL)
		path = settings_default_path();
	if (path == NULL)
		command_complain("there is neither ./sallyport.yaml nor /etc/sallyport/sallyport.yaml; "
		                 "name the configuration with -c FILE");
	return path;
}

void command_print_problems(const struct problems *problems)
{
	struct buf text;

	buf_init(&text, 1 << 20);
	problems_format(problems, &text);
	fprintf(stderr, "%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

int run_command(const struct command_line *line)
{
	const char *path = command_config(line);

	return path ? parent_run(path) : EXIT_USAGE;
}

static void add_events(struct buf *out)
{
	buf_add_string(out, "\nEVENTS (log.events)\n\n");
	for (int i = 0; i < LOG_EVENT_COUNT; i++) {
		const struct log_event_row *row = log_event_row((enum log_event)i);

		buf_add_string(out, "  ");
		log_add_event_name((enum log_event)i, out);
		buf_printf(out, "\n      %s: %s%s%s\n", log_level_name(row->level), row->text,
		           row->action[0] ? "; what to do: " : "", row->action);
	}
}

static void add_errors(struct buf *out)
{
	buf_add_string(out, "\nERRORS (\"error\" in the access log; status of the page; Proxy-Status)\n\n");
	for (int i = 1; i < ERR_COUNT; i++) {
		enum err err = (enum err)i;
		char status[16] = "-";

		if (err_status(err))
			snprintf(status, sizeof(status), "%d", err_status(err));
		buf_printf(out, "  %-26s %-4s %-35s %s\n", err_name(err), status,
		           err_token(err) ? err_token(err) : "-", err_text(err));
	}
}

static void add_reasons(struct buf *out)
{
	buf_add_string(out, "\nREASONS (\"why\" of explain, the access log, the page and Proxy-Status)\n\n");
	for (int i = 1; i < REASON_COUNT; i++)
		buf_printf(out, "  %-26s %s\n", reason_name((enum reason)i), reason_text((enum reason)i));
}

int reference_command(const struct command_line *line)
{
	struct buf text;

	(void)line;
	buf_init(&text, 1 << 20);
	buf_add_string(&text, "COMMANDS\n\n");
	command_manual(&text);
	buf_add_string(&text, "\nOPTIONS (sallyport.yaml)\n\n");
	conf_reference(settings_options, &text);
	buf_add_string(&text, "\nPOLICY (policy.yaml and lists)\n\n");
	policy_reference(&text);
	add_events(&text);
	add_errors(&text);
	add_reasons(&text);
	buf_add_string(&text, "\nMETRICS (/metrics of admin)\n\n");
	prometheus_reference(&text);
	buf_add_string(&text, "\nPROBLEMS (sallyport check, sallyport reload, log.events)\n\n");
	problems_reference(&text);
	printf("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
	return EXIT_WELL;
}
