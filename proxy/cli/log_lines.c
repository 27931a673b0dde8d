/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/log_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "cli/command.h"

enum { READ_BYTES = 1 << 20, INSIDE_BYTES = 1 << 17, LINES_PER_LOOK = 8192, LOOK_EVERY_MS = 200 };

struct log_lines {
	const char *path;
	gzFile file;
	uint8_t *at;
	size_t start, end, capacity, line_max_bytes;
	uint64_t number;
	bool is_at_end;
	enum err err;
	/* progress */
	bool tells;
	uint64_t total_bytes, began_ms, told_ms;
};

static enum err complain(const char *path, const char *why)
{
	command_complain("%s: cannot read it: %s", path, why);
	return ERR_SYSTEM;
}

static int open_fd(const char *path, struct stat *stat)
{
	bool is_stdin = strcmp(path, "-") == 0;
	int fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && fstat(fd, stat) == 0 && !S_ISDIR(stat->st_mode))
		return fd;
	if (fd >= 0) {
		errno = S_ISDIR(stat->st_mode) ? EISDIR : errno;
		close(fd);
	}
	return -1;
}

enum err log_lines_open(const char *path, size_t line_max_bytes, struct log_lines **out)
{
	struct log_lines *lines = calloc(1, sizeof(*lines));
	struct stat stat = {0};
	int fd = open_fd(path, &stat);

	if (fd < 0 || lines == NULL) {
		enum err err = fd < 0 ? complain(path, strerror(errno)) : ERR_MEMORY;

		if (fd >= 0)
			close(fd);
		free(lines);
		return err;
	}
	lines->path = strcmp(path, "-") == 0 ? "standard input" : path;
	lines->line_max_bytes = line_max_bytes;
	lines->capacity = line_max_bytes + READ_BYTES;
	lines->at = malloc(lines->capacity);
	lines->file = gzdopen(fd, "rb");
	if (lines->file == NULL)
		close(fd);
	if (lines->at == NULL || lines->file == NULL) {
		log_lines_close(lines);
		return ERR_MEMORY;
	}
	gzbuffer(lines->file, INSIDE_BYTES);
	lines->tells = isatty(STDERR_FILENO);
	lines->total_bytes = S_ISREG(stat.st_mode) ? (uint64_t)stat.st_size : 0;
	lines->began_ms = lines->told_ms = clock_monotonic_ms();
	*out = lines;
	return ERR_NONE;
}

void log_lines_close(struct log_lines *lines)
{
	if (lines == NULL)
		return;
	if (lines->told_ms != lines->began_ms)
		fputs("\r\033[K", stderr);
	if (lines->file)
		gzclose(lines->file);
	free(lines->at);
	free(lines);
}

uint64_t log_lines_number(const struct log_lines *lines)
{
	return lines->number;
}

enum err log_lines_err(const struct log_lines *lines)
{
	return lines->err;
}

/* ---- progress ---- */

static void tell(struct log_lines *lines)
{
	uint64_t now_ms = clock_monotonic_ms(), spent_ms = now_ms - lines->began_ms;
	uint64_t done = (uint64_t)gzoffset(lines->file), rate;

	if (now_ms - lines->told_ms < LOOK_EVERY_MS || spent_ms == 0)
		return;
	lines->told_ms = now_ms;
	rate = lines->number * 1000 / spent_ms;
	fprintf(stderr, "\r\033[K%s: ", lines->path);
	if (lines->total_bytes && done && done <= lines->total_bytes)
		fprintf(stderr, "%llu %%, %llu s left, ", (unsigned long long)(done * 100 / lines->total_bytes),
		        (unsigned long long)((lines->total_bytes - done) * spent_ms / done / 1000));
	fprintf(stderr, "%llu lines, %llu lines/s", (unsigned long long)lines->number,
	        (unsigned long long)rate);
	fflush(stderr);
}

/* ---- lines ---- */

/* Read behind what there is. False at the end. */
static bool read_more(struct log_lines *lines)
{
	int got, code;

	if (lines->is_at_end)
		return false;
	memmove(lines->at, lines->at + lines->start, lines->end - lines->start);
	lines->end -= lines->start;
	lines->start = 0;
	got = gzread(lines->file, lines->at + lines->end, (unsigned)(lines->capacity - lines->end));
	if (got > 0) {
		lines->end += (size_t)got;
		return true;
	}
	lines->is_at_end = true;
	gzerror(lines->file, &code);
	if (code != Z_OK && code != Z_STREAM_END) {
		const char *why = code == Z_ERRNO ? strerror(errno)
		                  : code == Z_BUF_ERROR ? "the compressed data ends too early"
		                                        : "the compressed data is damaged";

		lines->err = complain(lines->path, why);
	}
	return false;
}

/* Pass over the rest of a line that is too long. */
static void skip_line(struct log_lines *lines)
{
	do {
		uint8_t *end = memchr(lines->at + lines->start, '\n', lines->end - lines->start);

		lines->start = end ? (size_t)(end - lines->at) + 1 : lines->end;
		if (end)
			return;
	} while (read_more(lines));
}

bool log_lines_next(struct log_lines *lines, struct span *line, bool *is_cut)
{
	size_t seen = 0;

	*is_cut = false;
	for (;;) {
		uint8_t *from = lines->at + lines->start;
		size_t len = lines->end - lines->start;
		uint8_t *end = memchr(from + seen, '\n', len - seen);

		if (end && (size_t)(end - from) <= lines->line_max_bytes) {
			*line = span_of(from, (size_t)(end - from));
			lines->start += line->len + 1;
			break;
		}
		if (end || len > lines->line_max_bytes) {
			*is_cut = true;
			*line = SPAN("");
			skip_line(lines);
			break;
		}
		seen = len;
		if (read_more(lines))
			continue;
		if (len == 0)
			return false;
		*line = span_of(lines->at + lines->start, len);
		lines->start = lines->end;
		break;
	}
	if (++lines->number % LINES_PER_LOOK == 0 && lines->tells)
		tell(lines);
	return true;
}
