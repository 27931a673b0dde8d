/* SPDX-License-Identifier: Apache-2.0 */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "process/logger.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "process/ipc.h"
#include "process/ring.h"
#include "process/sandbox.h"
#include "process/shared.h"
#include "session/session_conf.h"

enum {
	BATCH_BYTES = 8 * RING_LINE_MAX_BYTES,
	PAUSE_MS = 20, /* between two looks while lines come: their writers then need no bell */
	COMPLAIN_MS = 60000,
};

/* Where lines of one kind go. */
struct output {
	const char *name;
	uint32_t target; /* enum log_target */
	int fd;
	uint64_t complained_ms;
};

struct logger {
	int channel, bell;
	struct ring *rings[IPC_FDS_MAX];
	bool was_broken[IPC_FDS_MAX];
	size_t ring_count;
	struct output access, events, secrets;
	uint8_t *batch; /* of the access log */
	size_t batch_len;
	bool is_stopping;
	struct ipc_message message;
};

/* ---- writing ---- */

static void complain(struct output *output)
{
	uint64_t now = clock_monotonic_ms();

	if (output->complained_ms && now - output->complained_ms < COMPLAIN_MS)
		return;
	output->complained_ms = now;
	log_event(EV_LOG_FAILED, "log=%s error=%s", output->name, strerror(errno));
}

static void write_fd(struct output *output, int fd, struct span lines)
{
	while (lines.len) {
		ssize_t wrote = write(fd, lines.at, lines.len);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0) {
			complain(output);
			return;
		}
		lines = span_skip(lines, (size_t)wrote);
	}
}

static int syslog_priority(enum log_level level)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG};

	return priorities[level];
}

/* One line without newline to the journal or to syslog. */
static void write_line(struct output *output, enum log_level level, struct span line)
{
	struct buf text;

	if (output->target == LOG_TO_SYSLOG) {
		syslog(syslog_priority(level), "%.*s", SPAN_ARG(line));
		return;
	}
	buf_init(&text, RING_LINE_MAX_BYTES + 16);
	buf_add_string(&text, "MESSAGE=");
	buf_add(&text, line);
	{
		char priority[] = "PRIORITY=6", name[] = "SYSLOG_IDENTIFIER=sallyport";
		struct iovec fields[] = {{text.at, buf_len(&text)},
		                         {priority, sizeof(priority) - 1},
		                         {name, sizeof(name) - 1}};

		priority[sizeof(priority) - 2] = (char)('0' + syslog_priority(level));
		errno = -sd_journal_sendv(fields, COUNT_OF(fields));
	}
	if (errno)
		complain(output);
	buf_fini(&text);
}

static void write_access(struct logger *logger, struct span lines)
{
	struct output *output = &logger->access;
	struct span line;

	switch (output->target) {
	case LOG_TO_FILE:
		write_fd(output, output->fd, lines);
		return;
	case LOG_TO_STDERR:
		write_fd(output, STDERR_FILENO, lines);
		return;
	case LOG_TO_NONE:
		return;
	default:
		while (span_split(&lines, '\n', &line))
			if (line.len)
				write_line(output, LOG_LEVEL_INFO, line);
	}
}

static void write_event(struct logger *logger, const char *who, enum log_level level,
                        struct span line)
{
	struct output *output = &logger->events;
	struct buf text;

	if (output->target != LOG_TO_FILE && output->target != LOG_TO_STDERR) {
		write_line(output, level, line);
		return;
	}
	buf_init(&text, RING_LINE_MAX_BYTES + 128);
	clock_add_rfc3339(&text, clock_wall_ms());
	buf_printf(&text, " %s: ", who);
	buf_add(&text, line);
	buf_add_byte(&text, '\n');
	write_fd(output, output->target == LOG_TO_FILE ? output->fd : STDERR_FILENO,
	         buf_span(&text));
	buf_fini(&text);
}

static void on_own_event(void *context, enum log_level level, struct span line)
{
	struct logger *logger = context;

	/* What cannot be written cannot be told there either. */
	if (logger->events.complained_ms && logger->events.target == LOG_TO_FILE) {
		struct output error = {"events", LOG_TO_STDERR, -1, UINT64_MAX};

		write_fd(&error, STDERR_FILENO, line);
		write_fd(&error, STDERR_FILENO, SPAN("\n"));
		return;
	}
	write_event(logger, "logger", level, line);
}

/* ---- reading ---- */

static void flush(struct logger *logger)
{
	if (logger->batch_len)
		write_access(logger, span_of(logger->batch, logger->batch_len));
	logger->batch_len = 0;
}

/* A worker is hostile: one line is one line, whatever it holds. */
static size_t make_one_line(uint8_t *at, size_t len)
{
	if (len && at[len - 1] == '\n')
		len--;
	for (size_t i = 0; i < len; i++)
		if (at[i] < 0x20 || at[i] == 0x7f)
			at[i] = '?';
	return len;
}

static void take_line(struct logger *logger, size_t ring, uint32_t kind, size_t len)
{
	uint8_t *at = logger->batch + logger->batch_len;
	char who[32];

	len = make_one_line(at, len);
	if (kind == RING_ACCESS) {
		at[len] = '\n';
		logger->batch_len += len + 1;
		return;
	}
	if (kind == RING_SECRETS) {
		at[len] = '\n';
		if (logger->secrets.target == LOG_TO_FILE)
			write_fd(&logger->secrets, logger->secrets.fd, span_of(at, len + 1));
		explicit_bzero(at, len);
		return;
	}
	snprintf(who, sizeof(who), "worker %zu", ring);
	if (kind >= RING_EVENT && kind <= RING_EVENT + LOG_LEVEL_DEBUG)
		write_event(logger, who, (enum log_level)(kind - RING_EVENT), span_of(at, len));
}

/* Take at most what was there when it began: one busy ring does not starve the others. */
static bool read_ring(struct logger *logger, size_t number)
{
	size_t taken = 0, len;
	bool broken = false;
	uint32_t kind;

	while (taken < RING_DATA_BYTES) {
		if (BATCH_BYTES - logger->batch_len < RING_LINE_MAX_BYTES + 1)
			flush(logger);
		if (!ring_read(logger->rings[number], logger->batch + logger->batch_len, &len, &kind,
		               &broken))
			break;
		take_line(logger, number, kind, len);
		taken += len + 1;
	}
	if (broken && !logger->was_broken[number])
		log_event(EV_ROLE_MESSAGE, "role=worker number=%zu what=ring", number);
	logger->was_broken[number] |= broken;
	return taken > 0;
}

static bool read_rings(struct logger *logger)
{
	bool any = false;

	for (size_t i = 0; i < logger->ring_count; i++)
		any |= read_ring(logger, i);
	flush(logger);
	return any;
}

/* ---- the parent's messages ---- */

static void use_output(struct output *output, uint32_t target, int fd)
{
	if (output->fd >= 0)
		close(output->fd);
	output->target = target;
	output->fd = fd;
	output->complained_ms = 0;
}

static bool use_logs(struct logger *logger)
{
	struct ipc_logs logs;
	struct ipc_ready ready = {0, 0};
	size_t at = 0;

	memcpy(&logs, logger->message.payload.at, sizeof(logs));
	use_output(&logger->access, logs.access_target,
	           logs.access_target == LOG_TO_FILE ? ipc_take_fd(&logger->message, at++) : -1);
	use_output(&logger->events, logs.event_target,
	           logs.event_target == LOG_TO_FILE ? ipc_take_fd(&logger->message, at++) : -1);
	use_output(&logger->secrets, logs.has_secrets ? LOG_TO_FILE : LOG_TO_NONE,
	           logs.has_secrets ? ipc_take_fd(&logger->message, at++) : -1);
	return ipc_send(logger->channel, IPC_READY, logger->message.id,
	                span_of(&ready, sizeof(ready)), NULL, 0) == ERR_NONE;
}

static void on_parent_event(struct logger *logger)
{
	struct span payload = logger->message.payload;
	uint32_t level;

	memcpy(&level, payload.at, sizeof(level));
	if (level <= LOG_LEVEL_DEBUG)
		write_event(logger, "parent", (enum log_level)level,
		            span_skip(payload, sizeof(level)));
}

/* False: nobody is left to serve. */
static bool read_channel(struct logger *logger)
{
	enum ipc_got got = ipc_receive(logger->channel, roles_row(ROLE_PARENT)->sends,
	                               &logger->message);
	bool is_well = true;

	if (got != IPC_GOT)
		return false;
	if (logger->message.type == IPC_LOGS)
		is_well = use_logs(logger);
	else if (logger->message.type == IPC_EVENT)
		on_parent_event(logger);
	else if (logger->message.type == IPC_STOP)
		logger->is_stopping = true;
	ipc_drop(&logger->message);
	return is_well;
}

static bool heard_channel(struct logger *logger, int wait_ms, bool with_bell)
{
	struct pollfd fds[2] = {{logger->channel, POLLIN, 0},
	                        {with_bell ? logger->bell : -1, POLLIN, 0}};
	uint64_t rings;

	if (poll(fds, 2, wait_ms) <= 0)
		return false;
	if (fds[1].revents && read(logger->bell, &rings, sizeof(rings)) < 0 && errno != EAGAIN)
		log_event(EV_SYSTEM, "what=bell errno=%d", errno);
	return fds[0].revents != 0;
}

static bool may_sleep(struct logger *logger)
{
	bool may = true;

	for (size_t i = 0; i < logger->ring_count; i++)
		may &= ring_may_sleep(logger->rings[i]);
	return may;
}

static void serve(struct logger *logger)
{
	bool is_served = true;

	while (is_served && !logger->is_stopping) {
		bool any = read_rings(logger), sleeps = !any && may_sleep(logger);

		if (heard_channel(logger, any ? PAUSE_MS : sleeps ? -1 : 0, sleeps))
			is_served = read_channel(logger);
	}
	while (read_rings(logger))
		;
}

static enum err set_up(struct logger *logger)
{
	const uint32_t sends = roles_row(ROLE_PARENT)->sends;
	struct ipc_message *message = &logger->message;
	struct ipc_start start;
	enum err err = ipc_expect(logger->channel, sends, IPC_START, message);

	if (err)
		return err;
	memcpy(&start, message->payload.at, sizeof(start));
	err = sandbox_drop(ROLE_LOGGER, &start);
	logger->bell = ipc_take_fd(message, 0);
	for (size_t i = 1; err == ERR_NONE && i < message->fd_count; i++) {
		logger->rings[i - 1] = shared_map(message->fds[i], sizeof(struct ring), true);
		logger->ring_count = i;
		if (logger->rings[i - 1] == NULL)
			err = ERR_SYSTEM;
	}
	ipc_drop(message);
	logger->batch = malloc(BATCH_BYTES);
	if (err == ERR_NONE && logger->batch == NULL)
		err = ERR_MEMORY;
	/* The rings may be full of lines of before: not one is read until it is known where they go. */
	if (err == ERR_NONE)
		err = ipc_expect(logger->channel, sends, IPC_LOGS, message);
	if (err == ERR_NONE && !use_logs(logger))
		err = ERR_SYSTEM;
	ipc_drop(message);
	return err;
}

int logger_main(int channel, unsigned number)
{
	static struct logger logger = {.access = {"access", LOG_TO_NONE, -1, 0},
	                               .events = {"events", LOG_TO_STDERR, -1, 0},
	                               .secrets = {"secrets", LOG_TO_NONE, -1, 0}};

	(void)number;
	logger.channel = channel;
	if (set_up(&logger))
		return 1;
	/* Before its socket is out of reach. */
	openlog("sallyport", LOG_NDELAY | LOG_PID, LOG_DAEMON);
	log_set_sink(on_own_event, &logger);
	if (sandbox_close(ROLE_LOGGER))
		return 1;
	serve(&logger);
	free(logger.batch);
	return 0;
}
