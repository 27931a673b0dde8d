/* SPDX-License-Identifier: Apache-2.0 */
#include "process/auth_files.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/backend/users.h"
#include "base/hash.h"
#include "process/shared.h"

enum { USERS_MAX_BYTES = 64 << 20, KEYTAB_MAX_BYTES = 1 << 20, PASSWORD_MAX_BYTES = 4096, KEY_MIN_BYTES = 32 };

void auth_files_init(struct auth_files *files)
{
	*files = (struct auth_files){.keytab_fd = -1, .ldap_fd = -1};
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void auth_files_close(struct auth_files *files)
{
	close_fd(&files->keytab_fd);
	close_fd(&files->ldap_fd);
	for (size_t i = 0; i < files->users_count; i++)
		close_fd(&files->users_fds[i]);
	files->users_count = 0;
}

/* ---- reading; what is read is secret ---- */

static void wipe(struct buf *bytes)
{
	if (bytes->at)
		explicit_bzero(bytes->at, bytes->capacity);
	buf_fini(bytes);
}

/* The whole file; false and errno where it cannot be had, or is larger than `bytes` may be. */
static bool read_whole(const char *path, struct buf *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat stat;
	ssize_t got = -1;

	if (fd < 0)
		return false;
	if (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode)) {
		do {
			uint8_t *room = buf_reserve(bytes, 65536);

			got = room ? read(fd, room, 65536) : -1;
			if (got > 0)
				buf_advance(bytes, (size_t)got);
			errno = room ? errno : EFBIG;
		} while (got > 0);
	} else {
		errno = EINVAL;
	}
	close(fd);
	return got == 0;
}

static enum err seal(struct span bytes, int *fd)
{
	return shared_sealed("sallyport-auth", bytes, fd);
}

static const char *why(int error_number)
{
	return error_number == EINVAL ? "it is no file" : error_number == EFBIG ? "it is too large" : strerror(error_number);
}

/* ---- the keytab ---- */

static enum err read_keytab(const struct auth_conf *conf, const char *file, struct problems *problems,
                            struct auth_files *files)
{
	const char *path = conf->negotiate.keytab;
	struct buf bytes;
	enum err err = ERR_NONE;

	if (path[0] == 0 || !auth_conf_uses(conf, AUTH_NEGOTIATE))
		return ERR_NONE;
	buf_init(&bytes, KEYTAB_MAX_BYTES);
	if (!read_whole(path, &bytes))
		problem_add_code(problems, PROBLEM_KEYTAB, (struct problem_place){file, 0, 0}, NULL,
		                 "negotiate.keytab: cannot read %s: %s; there is no Kerberos until it can be read", path,
		                 why(errno));
	else if (buf_len(&bytes) < 2 || buf_span(&bytes).at[0] != 5)
		problem_add_code(problems, PROBLEM_KEYTAB, (struct problem_place){file, 0, 0}, NULL,
		                 "negotiate.keytab: %s is no keytab; there is no Kerberos until it is one", path);
	else
		err = seal(buf_span(&bytes), &files->keytab_fd);
	wipe(&bytes);
	return err;
}

/* ---- user files ---- */

/* NT hashes are as good as passwords. */
static void warn_of_mode(const char *path, struct problems *problems)
{
	struct stat stat_of;

	if (stat(path, &stat_of) == 0 && (stat_of.st_mode & S_IROTH))
		problem_add_code(problems, PROBLEM_OPEN_USERS, (struct problem_place){path, 0, 0}, NULL,
		                 "everybody on this machine can read it, and its hashes are nearly as good as passwords: chmod o-r");
}

static enum err read_users_file(const char *path, const char *file, struct problems *problems, struct buf *bytes,
                                int *fd)
{
	if (read_whole(path, bytes)) {
		warn_of_mode(path, problems);
		return seal(buf_len(bytes) ? buf_span(bytes) : SPAN("\n"), fd);
	}
	if (errno == ENOENT) {
		problem_add_code(problems, PROBLEM_NO_USERS, (struct problem_place){file, 0, 0}, NULL,
		                 "users: there is no %s yet, and so nobody can log on; sallyport user add NAME makes it", path);
		return seal(SPAN("\n"), fd);
	}
	problem_add_code(problems, PROBLEM_NO_FILE, (struct problem_place){file, 0, 0}, NULL, "users: cannot read %s: %s", path,
	                 why(errno));
	return ERR_CONFIG;
}

static void warn_of_verifiers(const struct auth_conf *conf, const struct users *users, const char *file,
                              struct problems *problems)
{
	struct users_stats stats;

	users_stats(users, &stats);
	if (auth_conf_uses(conf, AUTH_DIGEST) && stats.other_realm)
		problem_add_code(problems, PROBLEM_OTHER_REALM, (struct problem_place){file, 0, 0}, NULL,
		                 "users: %zu users have verifiers of Digest for another realm than \"%s\" alone: they cannot log on "
		                 "by Digest until their passwords are set again", stats.other_realm, conf->realm);
}

static enum err read_users(const struct auth_conf *conf, const char *file, struct problems *problems,
                           struct auth_files *files)
{
	struct users_source sources[AUTH_FILES_USERS_MAX];
	struct buf texts[AUTH_FILES_USERS_MAX];
	struct users *users = NULL;
	size_t count = conf->users.count;
	enum err err = ERR_NONE;

	if (!auth_conf_uses_users(conf) && conf->negotiate.groups != NEGOTIATE_GROUPS_USERS)
		count = 0;
	for (size_t i = 0; i < count; i++) {
		enum err one;

		buf_init(&texts[i], USERS_MAX_BYTES);
		files->users_fds[i] = -1;
		files->users_count = i + 1;
		one = read_users_file(conf->users.at[i], file, problems, &texts[i], &files->users_fds[i]);
		err = err ? err : one;
		sources[i] = (struct users_source){conf->users.at[i], buf_span(&texts[i])};
	}
	if (err == ERR_NONE && count)
		err = users_load(sources, count, span_from(conf->realm), problems, &users);
	if (users)
		warn_of_verifiers(conf, users, file, problems);
	users_free(users);
	for (size_t i = 0; i < count; i++)
		wipe(&texts[i]);
	return err;
}

/* ---- the password for LDAP ---- */

static enum err read_password(const struct auth_conf *conf, const char *file, struct problems *problems,
                              struct auth_files *files)
{
	const char *path = conf->ldap.password_file;
	struct buf bytes;
	struct span line;
	enum err err = ERR_NONE;

	if (path[0] == 0 || conf->ldap.servers.count == 0)
		return ERR_NONE;
	buf_init(&bytes, PASSWORD_MAX_BYTES * 32);
	if (!read_whole(path, &bytes)) {
		problem_add_code(problems, PROBLEM_NO_FILE, (struct problem_place){file, 0, 0}, NULL,
		                 "ldap.password_file: cannot read %s: %s", path, why(errno));
		err = ERR_CONFIG;
	} else {
		line = span_first(buf_span(&bytes), span_find(buf_span(&bytes), '\n'));
		if (line.len && line.at[line.len - 1] == '\r')
			line.len--;
		if (line.len == 0) {
			problem_add(problems, PROBLEM_ERROR, path, 1, 1, "the first line is empty: write the password there");
			err = ERR_CONFIG;
		} else {
			err = seal(line, &files->ldap_fd);
		}
	}
	wipe(&bytes);
	return err;
}

/* ---- all of them ---- */

static uint64_t add_stamp(const struct hash_key *key, uint64_t stamp, const char *path)
{
	struct stat stat_of;
	uint64_t words[6] = {stamp};

	if (path[0] && stat(path, &stat_of) == 0) {
		words[1] = (uint64_t)stat_of.st_ino;
		words[2] = (uint64_t)stat_of.st_size;
		words[3] = (uint64_t)stat_of.st_mtim.tv_sec;
		words[4] = (uint64_t)stat_of.st_mtim.tv_nsec;
		words[5] = (uint64_t)stat_of.st_mode;
	}
	return hash_bytes(key, span_of(words, sizeof(words)));
}

uint64_t auth_files_stamp(const struct auth_conf *conf)
{
	static const struct hash_key key = {{1, 2}}; /* nobody gains by a collision */
	uint64_t stamp = add_stamp(&key, 0, conf->negotiate.keytab);

	stamp = add_stamp(&key, stamp, conf->ldap.password_file);
	for (size_t i = 0; i < conf->users.count; i++)
		stamp = add_stamp(&key, stamp, conf->users.at[i]);
	return stamp;
}

enum err auth_files_read(const struct auth_conf *conf, const char *file, struct problems *problems,
                         struct auth_files *files)
{
	uint64_t stamp = auth_files_stamp(conf); /* before: what changes meanwhile is seen later */
	enum err err, second, third;

	auth_files_init(files);
	err = read_keytab(conf, file, problems, files);
	second = read_users(conf, file, problems, files);
	third = read_password(conf, file, problems, files);
	err = err ? err : second ? second : third;
	if (err)
		auth_files_close(files);
	files->stamp = stamp;
	return err;
}

enum err auth_files_read_key(const struct digest_conf *conf, struct problems *problems, const char *file,
                             uint8_t key[static 32])
{
	struct buf bytes;
	enum err err = ERR_NONE;

	if (conf->key[0] == 0) {
		secret_random(key, 32);
		return ERR_NONE;
	}
	buf_init(&bytes, PASSWORD_MAX_BYTES * 32);
	if (!read_whole(conf->key, &bytes)) {
		problem_add_code(problems, PROBLEM_NO_FILE, (struct problem_place){file, 0, 0}, NULL,
		                 "digest.key: cannot read %s: %s", conf->key, why(errno));
		err = ERR_CONFIG;
	} else if (buf_len(&bytes) < KEY_MIN_BYTES) {
		problem_add(problems, PROBLEM_ERROR, conf->key, 0, 0,
		            "it has less than %d bytes; make it with: openssl rand -out %s 32", KEY_MIN_BYTES, conf->key);
		err = ERR_CONFIG;
	} else {
		SHA256(buf_span(&bytes).at, buf_len(&bytes), key);
	}
	wipe(&bytes);
	return err;
}
