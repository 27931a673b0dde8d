/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/list_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/command.h"
#include "conf/yaml.h"

static enum err complain(const char *what, const char *path)
{
	command_complain("%s %s: %s", what, path, strerror(errno));
	return ERR_SYSTEM;
}

/* The file, and the folder that its name stands in. */
static enum err find_target(struct list_file *file)
{
	char *slash;

	file->target = realpath(file->path, NULL);
	if (file->target == NULL)
		return complain("cannot find", file->path);
	file->folder = strdup(file->target);
	if (file->folder == NULL)
		return ERR_MEMORY;
	slash = strrchr(file->folder, '/');
	slash[slash == file->folder ? 1 : 0] = '\0';
	return ERR_NONE;
}

static enum err read_text(struct list_file *file)
{
	struct problems problems;
	enum err err;

	problems_init(&problems);
	err = yaml_read_file(file->target, LIST_FILE_MAX_BYTES, &file->arena, &problems, &file->text);
	if (err)
		command_print_problems(&problems);
	problems_fini(&problems);
	return err;
}

enum err list_file_open(struct list_file *file, const char *path)
{
	enum err err;

	*file = (struct list_file){.path = path, .folder_fd = -1};
	arena_init(&file->arena, (size_t)LIST_FILE_MAX_BYTES + 4096);
	err = find_target(file);
	if (err)
		return err;
	file->folder_fd = open(file->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (file->folder_fd < 0)
		return complain("cannot open", file->folder);
	/* On the folder: a lock on the file would stay with the old one when it is replaced. */
	if (flock(file->folder_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			fprintf(stderr, "sallyport: note: waiting for another edit in %s\n", file->folder);
		if (flock(file->folder_fd, LOCK_EX) < 0)
			return complain("cannot lock", file->folder);
	}
	if (stat(file->target, &file->stat) < 0)
		return complain("cannot look at", file->target);
	return read_text(file);
}

void list_file_close(struct list_file *file)
{
	if (file->folder_fd >= 0)
		close(file->folder_fd);
	free(file->target);
	free(file->folder);
	arena_fini(&file->arena);
	*file = (struct list_file){.folder_fd = -1};
}

/* ---- writing ---- */

static bool write_all(int fd, struct span text)
{
	while (text.len) {
		ssize_t done = write(fd, text.at, text.len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		text = span_skip(text, (size_t)done);
	}
	return true;
}

/* Editors do not know of our lock. */
static bool is_untouched(const struct list_file *file)
{
	struct stat now;

	if (stat(file->target, &now) == 0 && now.st_ino == file->stat.st_ino &&
	    now.st_size == file->stat.st_size && now.st_mtim.tv_sec == file->stat.st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == file->stat.st_mtim.tv_nsec)
		return true;
	command_complain("%s was changed by somebody else meanwhile; nothing is written, try again", file->target);
	return false;
}

/* Access control lists, labels and the like. */
static bool copy_attribute(const struct list_file *file, int fd, const char *name)
{
	char value[65536], now[65536];
	ssize_t len = getxattr(file->target, name, value, sizeof(value));

	if (len < 0)
		return false;
	/* What the folder gives to new files may be the same already; and then it may be that nobody can set it. */
	return (fgetxattr(fd, name, now, sizeof(now)) == len && memcmp(now, value, (size_t)len) == 0) ||
	       fsetxattr(fd, name, value, (size_t)len, 0) == 0;
}

static bool copy_attributes(const struct list_file *file, int fd)
{
	char names[65536];
	ssize_t len = listxattr(file->target, names, sizeof(names));

	if (len < 0 && errno != ENOTSUP)
		return complain("cannot look at the extended attributes of", file->target) == ERR_NONE;
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		if (copy_attribute(file, fd, names + at))
			continue;
		command_complain("%s has the extended attribute %s, which cannot be kept: %s; run this as its owner or as root",
		                 file->target, names + at, strerror(errno));
		return false;
	}
	return true;
}

/* Same owner, same mode, on the disk. */
static bool fill(const struct list_file *file, int fd, struct span text)
{
	const struct stat *old = &file->stat;
	struct stat new;

	if (fstat(fd, &new) < 0)
		return complain("cannot write beside", file->target) == ERR_NONE;
	if ((new.st_uid != old->st_uid || new.st_gid != old->st_gid) && fchown(fd, old->st_uid, old->st_gid) < 0) {
		command_complain("%s belongs to another user or group, which would change; run this as root or as its owner",
		                 file->target);
		return false;
	}
	if (!copy_attributes(file, fd))
		return false;
	if (fchmod(fd, old->st_mode & 07777) < 0 || !write_all(fd, text) || fsync(fd) < 0)
		return complain("cannot write beside", file->target) == ERR_NONE;
	return is_untouched(file);
}

enum err list_file_write(const struct list_file *file, struct span text)
{
	char name[4200];
	bool ok;
	int fd;

	if (file->stat.st_nlink > 1) {
		command_complain("%s has another name (a hard link), which would keep the old content; nothing is written",
		                 file->target);
		return ERR_SYSTEM;
	}
	if (snprintf(name, sizeof(name), "%s.XXXXXX", file->target) >= (int)sizeof(name)) {
		errno = ENAMETOOLONG;
		return complain("cannot write beside", file->target);
	}
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		return complain("cannot make a file beside", file->target);
	ok = fill(file, fd, text);
	ok = close(fd) == 0 && ok;
	if (ok && rename(name, file->target) < 0)
		ok = complain("cannot replace", file->target) == ERR_NONE;
	if (!ok) {
		unlink(name);
		return ERR_SYSTEM;
	}
	/* It is in force from here on; only a crash of the machine could undo it. */
	if (fsync(file->folder_fd) < 0)
		command_complain("%s is written, but perhaps not yet on the disk: %s", file->target, strerror(errno));
	return ERR_NONE;
}

enum err list_file_note(const struct list_file *file, struct span line)
{
	char name[4200];
	struct stat stat;
	int fd, flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
	bool ok;

	snprintf(name, sizeof(name), "%s.history", file->target);
	fd = open(name, flags, 0640);
	if (fd < 0)
		return complain("cannot open", name);
	/* A new one is the list's owner's. */
	ok = fstat(fd, &stat) == 0;
	if (ok && stat.st_size == 0 && stat.st_uid != file->stat.st_uid)
		ok = fchown(fd, file->stat.st_uid, file->stat.st_gid) == 0;
	ok = ok && write_all(fd, line) && fsync(fd) == 0;
	if (!ok)
		complain("cannot write", name);
	close(fd);
	return ok ? ERR_NONE : ERR_SYSTEM;
}
