/* SPDX-License-Identifier: Apache-2.0 */
#include "process/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEALS_SIZE = F_SEAL_SHRINK | F_SEAL_GROW, SEALS_ALL = SEALS_SIZE | F_SEAL_WRITE };

static enum err fail(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return ERR_SYSTEM;
}

enum err shared_new(const char *name, size_t bytes, int *out)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, SEALS_SIZE | F_SEAL_SEAL) < 0)
		return fail(fd);
	*out = fd;
	return ERR_NONE;
}

static bool write_all(int fd, struct span content)
{
	while (content.len) {
		ssize_t wrote = write(fd, content.at, content.len);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return false;
		content = span_skip(content, (size_t)wrote);
	}
	return true;
}

enum err shared_sealed(const char *name, struct span content, int *out)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || !write_all(fd, content) ||
	    fcntl(fd, F_ADD_SEALS, SEALS_ALL | F_SEAL_SEAL) < 0)
		return fail(fd);
	*out = fd;
	return ERR_NONE;
}

enum err shared_readonly(int fd, int *out)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*out = open(path, O_RDONLY | O_CLOEXEC);
	return *out < 0 ? ERR_SYSTEM : ERR_NONE;
}

static void *map(int fd, size_t bytes, int protection, int flags, int seals)
{
	struct stat stat;
	int has = fcntl(fd, F_GET_SEALS);
	void *at;

	if (bytes == 0 || has < 0 || (has & seals) != seals || fstat(fd, &stat) < 0 ||
	    stat.st_size < 0 || (size_t)stat.st_size != bytes)
		return NULL;
	at = mmap(NULL, bytes, protection, flags, fd, 0);
	return at == MAP_FAILED ? NULL : at;
}

void *shared_map(int fd, size_t bytes, bool is_writable)
{
	/* Before Linux 6.7 what is sealed against writing can only be mapped private; nobody writes, so the
	 * pages are shared all the same. */
	return is_writable ? map(fd, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, SEALS_SIZE)
	                   : map(fd, bytes, PROT_READ, MAP_PRIVATE, SEALS_ALL);
}

const void *shared_map_changing(int fd, size_t bytes)
{
	return map(fd, bytes, PROT_READ, MAP_SHARED, SEALS_SIZE);
}

void shared_unmap(const void *at, size_t bytes)
{
	union {
		const void *from;
		void *to;
	} cast = {.from = at};

	if (at)
		munmap(cast.to, bytes);
}

void shared_unmap_cells(_Atomic uint32_t *cells, size_t count)
{
	if (cells)
		munmap((void *)(uintptr_t)cells, count * sizeof(*cells));
}
