/* SPDX-License-Identifier: Apache-2.0 */
#include "process/token.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process/folder.h"

enum { RANDOM_BYTES = 32 };

bool token_parse(struct span content, struct span *token)
{
	while (content.len && (content.at[content.len - 1] == '\n' || content.at[content.len - 1] == '\r'))
		content.len--;
	content = span_trim(content);
	if (content.len < TOKEN_MIN_BYTES || content.len > TOKEN_MAX_BYTES)
		return false;
	for (size_t i = 0; i < content.len; i++)
		if (content.at[i] <= ' ' || content.at[i] >= 0x7f)
			return false;
	*token = content;
	return true;
}

/* What is wrong with a file of this kind and mode; NULL: nothing. */
static const char *why_unsafe(const struct stat *stat)
{
	if (!S_ISREG(stat->st_mode))
		return "it is no file";
	if (stat->st_uid != 0 && stat->st_uid != geteuid())
		return "it is neither root's nor of the user that runs the proxy";
	if (stat->st_mode & 027)
		return "others can read it, or its group can write it; chmod 600 it, or 640 for those who watch";
	return NULL;
}

static const char *read_token(int fd, struct secret *out)
{
	char content[TOKEN_MAX_BYTES + 16];
	const char *why = NULL;
	struct stat stat;
	struct span token;
	ssize_t got;

	if (fstat(fd, &stat) < 0)
		return strerror(errno);
	why = why_unsafe(&stat);
	if (why)
		return why;
	got = read(fd, content, sizeof(content));
	if (got < 0)
		return strerror(errno);
	if (!token_parse(span_of(content, (size_t)got), &token))
		why = "it must hold one line of 16 to 512 visible characters; remove it to have one made";
	else if (!secret_init(out, token))
		why = "out of memory";
	explicit_bzero(content, sizeof(content));
	return why;
}

/* O_EXCL: whoever was first has made it, and it is read. */
static const char *make(const char *path)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[RANDOM_BYTES];
	char line[2 * RANDOM_BYTES + 1];
	bool is_whole;
	int fd;

	if (folder_make_for(path))
		return strerror(errno);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return strerror(errno);
	secret_random(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		line[2 * i] = digits[bytes[i] >> 4];
		line[2 * i + 1] = digits[bytes[i] & 15];
	}
	line[sizeof(line) - 1] = '\n';
	is_whole = write(fd, line, sizeof(line)) == (ssize_t)sizeof(line);
	explicit_bzero(bytes, sizeof(bytes));
	explicit_bzero(line, sizeof(line));
	if (close(fd) == 0 && is_whole)
		return NULL;
	unlink(path);
	return "it cannot be written whole";
}

enum err token_load(const char *path, bool makes, const char *file, struct problems *problems, struct secret *out,
                    bool *made)
{
	const char *why = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	*made = false;
	*out = (struct secret){.at = NULL};
	if (fd < 0 && errno == ENOENT && !makes)
		return ERR_NONE;
	if (fd < 0 && errno == ENOENT) {
		why = make(path);
		*made = why == NULL;
		fd = why ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	}
	if (why == NULL)
		why = fd >= 0           ? read_token(fd, out)
		      : errno == ELOOP ? "it is a symbolic link; name the file itself"
		                       : strerror(errno);
	if (fd >= 0)
		close(fd);
	if (why == NULL)
		return ERR_NONE;
	problem_add(problems, PROBLEM_ERROR, file, 0, 0, "admin.token: %s: %s", path, why);
	return ERR_CONFIG;
}
