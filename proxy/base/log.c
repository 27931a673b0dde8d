/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

enum { LINE_MAX_BYTES = 2048 };

#define LOG_ROW(event, level, text, action) [event] = {#event, text, action, LOG_LEVEL_##level},
static const struct log_event_row rows[LOG_EVENT_COUNT] = {LOG_EVENTS(LOG_ROW)};

static const char *const level_names[] = {"error", "warning", "notice", "info", "debug"};

static void write_to_stderr(void *context, enum log_level level, struct span line);

/* One per process: which role this is decides where its events go. */
static struct {
	log_sink *sink;
	void *context;
	enum log_level level;
	uint64_t surprise_count;
} logger = {write_to_stderr, NULL, LOG_LEVEL_INFO, 0};

const struct log_event_row *log_event_row(enum log_event event)
{
	return &rows[event];
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

static void write_to_stderr(void *context, enum log_level level, struct span line)
{
	struct buf buf;

	(void)context;
	(void)level;
	buf_init(&buf, LINE_MAX_BYTES + 64);
	clock_add_rfc3339(&buf, clock_wall_ms());
	buf_add_byte(&buf, ' ');
	buf_add(&buf, line);
	buf_add_byte(&buf, '\n');
	if (write(STDERR_FILENO, buf_span(&buf).at, buf_len(&buf)) < 0)
		errno = 0; /* nobody is left to be told */
	buf_fini(&buf);
}

void log_set_sink(log_sink *sink, void *context)
{
	logger.sink = sink ? sink : write_to_stderr;
	logger.context = context;
}

void log_set_level(enum log_level level)
{
	logger.level = level;
}

enum log_level log_level(void)
{
	return logger.level;
}

static void add_escaped(struct buf *line, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < 0x20 || text.at[i] == 0x7f)
			buf_printf(line, "\\x%02x", text.at[i]);
		else
			buf_add_byte(line, text.at[i]);
	}
}

void log_add_event_name(enum log_event event, struct buf *out)
{
	for (const char *at = rows[event].name + sizeof("EV_") - 1; *at; at++)
		buf_add_byte(out, (uint8_t)tolower((unsigned char)*at));
}

void log_event(enum log_event event, const char *format, ...)
{
	const struct log_event_row *row = &rows[event];
	int saved = errno;
	char details[1024];
	struct buf line;
	va_list args;

	if (row->level > logger.level)
		return;
	va_start(args, format);
	vsnprintf(details, sizeof(details), format, args);
	va_end(args);
	buf_init(&line, LINE_MAX_BYTES);
	log_add_event_name(event, &line);
	buf_printf(&line, " %s: %s", level_names[row->level], row->text);
	if (details[0]) {
		buf_add_string(&line, ": ");
		add_escaped(&line, span_from(details));
	}
	if (row->action[0])
		buf_printf(&line, " (%s)", row->action);
	logger.sink(logger.context, row->level, buf_span(&line));
	buf_fini(&line);
	errno = saved;
}

uint64_t log_surprise_count(void)
{
	return logger.surprise_count;
}

void compiler_surprised(const char *what, const char *file, int line)
{
	logger.surprise_count++;
	log_event(EV_SURPRISE, "%s at %s:%d", what, file, line);
}

void compiler_assert_failed(const char *what, const char *file, int line)
{
	log_event(EV_SURPRISE, "assertion failed, process ends: %s at %s:%d", what, file, line);
	abort();
}
