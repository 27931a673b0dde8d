/* SPDX-License-Identifier: Apache-2.0 */
/* A file that others may edit, too: held by a lock on its folder from reading to writing, and replaced as a whole or not
 * at all (temporary file in the same folder, fsync, rename, fsync of the folder). A symbolic link stays one: what it
 * leads to is written. */
#ifndef CLI_LIST_FILE_H
#define CLI_LIST_FILE_H

#include <sys/stat.h>

#include "base/arena.h"
#include "base/err.h"

enum { LIST_FILE_MAX_BYTES = 1 << 30 };

struct list_file {
	const char *path;      /* as it was asked for */
	char *target, *folder; /* without links; its folder */
	int folder_fd;         /* holds the lock */
	struct stat stat;      /* when it was read */
	struct span text;
	struct arena arena;
};

/* Wait for the lock and read the file. errors: ERR_SYSTEM, ERR_LIMIT, ERR_MEMORY, said on standard error.
 * owns: list_file_close() releases the lock, whatever the result was. */
MUST_USE enum err list_file_open(struct list_file *file, const char *path);
void list_file_close(struct list_file *file);

/* Replace the content; mode and owner stay. errors: ERR_SYSTEM, said on standard error: the file is as it was. */
MUST_USE enum err list_file_write(const struct list_file *file, struct span text);

/* Append a line to FILE.history (made with mode 0640 if it is not there). errors: ERR_SYSTEM, said. */
MUST_USE enum err list_file_note(const struct list_file *file, struct span line);

#endif
