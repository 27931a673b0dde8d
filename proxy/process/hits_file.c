/* SPDX-License-Identifier: Apache-2.0 */
#include "process/hits_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "process/folder.h"

enum { FLUSH_BYTES = 1 << 16, LINE_MAX_BYTES = 1 << 20, FILE_MAX_BYTES = 1 << 30 };

static const char head[] = "sallyport-hits 1 ";

/* ---- how an entry is written ---- */

static void add_name(struct buf *out, const struct policy *policy, uint32_t index)
{
	struct policy_entry entry;
	struct span list;

	if (!policy_entry(policy, index, &entry))
		return;
	list = policy_list_name(policy, entry.list);
	buf_add_percent(out, list.len ? list : SPAN("-"));
	buf_add_byte(out, ' ');
	buf_add_percent(out, entry.text);
	buf_add_byte(out, ' ');
	policy_entry_add_ports(&entry, out);
}

/* ---- writing ---- */

static enum err flush(int fd, struct buf *text)
{
	while (buf_len(text)) {
		ssize_t wrote = write(fd, buf_span(text).at, buf_len(text));

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return ERR_SYSTEM;
		buf_consume(text, (size_t)wrote);
	}
	return buf_is_whole(text) ? ERR_NONE : ERR_MEMORY;
}

static enum err write_lines(int fd, const struct policy *policy, const struct counters *counters, uint64_t since_ms)
{
	size_t count = policy_entry_count(policy);
	enum err err = ERR_NONE;
	struct buf text;

	buf_init(&text, FLUSH_BYTES + LINE_MAX_BYTES);
	buf_printf(&text, "%s%llu\n", head, (unsigned long long)since_ms);
	for (uint32_t i = 0; i < count && err == ERR_NONE; i++) {
		uint32_t cell = atomic_load_explicit(&counters->entries[i], memory_order_relaxed);

		if (cell == 0 || !policy_has_entry(policy, i))
			continue;
		buf_add_uint(&text, cell);
		buf_add_byte(&text, ' ');
		add_name(&text, policy, i);
		buf_add_byte(&text, '\n');
		if (buf_len(&text) > FLUSH_BYTES)
			err = flush(fd, &text);
	}
	if (err == ERR_NONE)
		err = flush(fd, &text);
	buf_fini(&text);
	return err;
}

enum err hits_file_write(const char *path, const struct policy *policy, const struct counters *counters,
                         uint64_t since_ms)
{
	char fresh[4096];
	enum err err;
	int fd, saved;

	if ((size_t)snprintf(fresh, sizeof(fresh), "%s.new", path) >= sizeof(fresh)) {
		errno = ENAMETOOLONG;
		return ERR_SYSTEM;
	}
	if (folder_make_for(path) || (unlink(fresh) < 0 && errno != ENOENT))
		return ERR_SYSTEM;
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return ERR_SYSTEM;
	err = write_lines(fd, policy, counters, since_ms);
	if (err == ERR_NONE && (fsync(fd) < 0 || rename(fresh, path) < 0))
		err = ERR_SYSTEM;
	saved = errno;
	close(fd);
	if (err)
		unlink(fresh);
	errno = saved;
	return err;
}

/* ---- reading ---- */

/* Entries by the hash of how they are written: index + 1. */
struct names {
	const struct policy *policy;
	struct hash_key key;
	uint32_t *slots;
	size_t mask;
	struct buf text; /* of the one that is looked at */
};

static enum err names_init(struct names *names, const struct policy *policy)
{
	size_t count = policy_entry_count(policy), slots = 16;

	while (slots < count * 2)
		slots *= 2;
	*names = (struct names){.policy = policy, .key = hash_key_random(), .mask = slots - 1};
	buf_init(&names->text, LINE_MAX_BYTES);
	names->slots = calloc(slots, sizeof(*names->slots));
	if (names->slots == NULL)
		return ERR_MEMORY;
	for (uint32_t i = 0; i < count; i++) {
		size_t at;

		if (!policy_has_entry(policy, i))
			continue;
		buf_reset(&names->text);
		add_name(&names->text, policy, i);
		at = hash_bytes(&names->key, buf_span(&names->text));
		while (names->slots[at & names->mask])
			at++;
		names->slots[at & names->mask] = i + 1;
	}
	return ERR_NONE;
}

static void names_fini(struct names *names)
{
	buf_fini(&names->text);
	free(names->slots);
}

/* Several entries can be written alike (two patterns that stand in rules): the first that has nothing yet is meant. */
static void set_cell(struct names *names, struct span name, uint32_t value, struct counters *counters)
{
	for (size_t at = hash_bytes(&names->key, name); names->slots[at & names->mask]; at++) {
		uint32_t index = names->slots[at & names->mask] - 1;

		buf_reset(&names->text);
		add_name(&names->text, names->policy, index);
		if (index < counters->entry_cells && span_equal(buf_span(&names->text), name) &&
		    atomic_load_explicit(&counters->entries[index], memory_order_relaxed) == 0) {
			atomic_store_explicit(&counters->entries[index], value, memory_order_relaxed);
			return;
		}
	}
}

enum err hits_file_parse(struct span text, const struct policy *policy, struct counters *counters,
                         uint64_t *since_ms)
{
	struct names names;
	struct span line;
	uint64_t value;
	enum err err;

	if (!span_split(&text, '\n', &line) || !span_starts_with(line, span_from(head)) ||
	    !span_to_uint(span_skip(line, strlen(head)), INT64_MAX, &value))
		return ERR_CONFIG;
	*since_ms = value;
	err = names_init(&names, policy);
	while (err == ERR_NONE && text.len && span_split(&text, '\n', &line)) {
		size_t space = span_find(line, ' ');

		if (!span_to_uint(span_first(line, space), UINT32_MAX, &value))
			err = ERR_CONFIG;
		else
			set_cell(&names, span_skip(line, space + 1), (uint32_t)value, counters);
	}
	names_fini(&names);
	return err;
}

static enum err read_whole(int fd, uint8_t **out, size_t *len)
{
	struct stat stat;
	size_t done = 0;

	if (fstat(fd, &stat) < 0)
		return ERR_SYSTEM;
	if (!S_ISREG(stat.st_mode) || stat.st_size > FILE_MAX_BYTES)
		return ERR_CONFIG;
	*len = (size_t)stat.st_size;
	*out = malloc(*len + 1);
	if (*out == NULL)
		return ERR_MEMORY;
	while (done < *len) {
		ssize_t got = read(fd, *out + done, *len - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? ERR_SYSTEM : ERR_CONFIG;
		done += (size_t)got;
	}
	return ERR_NONE;
}

enum err hits_file_read(const char *path, const struct policy *policy, struct counters *counters, uint64_t *since_ms)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	uint8_t *text = NULL;
	size_t len = 0;
	enum err err;

	if (fd < 0)
		return errno == ENOENT ? ERR_NONE : ERR_SYSTEM;
	err = read_whole(fd, &text, &len);
	if (err == ERR_NONE)
		err = hits_file_parse(span_of(text, len), policy, counters, since_ms);
	free(text);
	close(fd);
	return err;
}
