/* SPDX-License-Identifier: Apache-2.0 */
#include "process/ca_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "process/shared.h"

void ca_files_init(struct ca_files *files)
{
	*files = (struct ca_files){.certificate_fd = -1, .key_fd = -1};
}

void ca_files_close(struct ca_files *files)
{
	if (files->certificate_fd >= 0)
		close(files->certificate_fd);
	if (files->key_fd >= 0)
		close(files->key_fd);
	ca_free(files->ca);
	ca_files_init(files);
}

static void refuse(struct problems *problems, const char *path, const char *why)
{
	problem_add_code(problems, PROBLEM_BAD_CA, (struct problem_place){path, 0, 0}, NULL, "%s", why);
}

static const char *why_not_read(const char *what)
{
	static char text[256];

	if (errno == ENOENT)
		snprintf(text, sizeof(text), "%s: there is no such file; sallyport ca init makes it", what);
	else
		snprintf(text, sizeof(text), "%s: it cannot be read: %s", what,
		         errno == EINVAL ? "it is no file" : errno == EFBIG ? "it is too large" : strerror(errno));
	return text;
}

/* Whoever can read it can be every host to every client that trusts the CA. */
static bool is_key_safe(int fd, const char *path, struct problems *problems)
{
	struct stat stat;

	if (fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode)) {
		refuse(problems, path, "it is no file");
		return false;
	}
	if (stat.st_uid != 0 && stat.st_uid != geteuid()) {
		refuse(problems, path, "the key of the CA is neither root's nor of the user that runs the proxy: chown it");
		return false;
	}
	if (stat.st_mode & 077) {
		problem_add_code(problems, PROBLEM_BAD_CA, (struct problem_place){path, 0, 0}, NULL,
		                 "others can read the key of the CA (mode %03o), and with it be any host to all who trust it: chmod 600 %s; "
		                 "if they may have read it, make a new CA (sallyport ca rotate)", (unsigned)stat.st_mode & 0777, path);
		return false;
	}
	return true;
}

/* All of the file at once, so that no buffer that grows leaves a copy behind. */
static bool read_all(int fd, struct buf *out)
{
	uint8_t *room = buf_reserve(out, CA_FILE_MAX_BYTES);
	size_t len = 0;
	ssize_t got = 0;

	while (room && len < CA_FILE_MAX_BYTES && (got = read(fd, room + len, CA_FILE_MAX_BYTES - len)) > 0)
		len += (size_t)got;
	if (room == NULL || got < 0)
		return false;
	if (len == CA_FILE_MAX_BYTES) {
		errno = EFBIG;
		return false;
	}
	buf_advance(out, len);
	return true;
}

static bool read_file(const char *path, const char *what, bool is_key, struct problems *problems, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool is_well;

	if (fd < 0) {
		refuse(problems, path, why_not_read(what));
		return false;
	}
	is_well = !is_key || is_key_safe(fd, path, problems);
	if (is_well && !read_all(fd, out)) {
		refuse(problems, path, why_not_read(what));
		is_well = false;
	}
	close(fd);
	return is_well;
}

static void wipe(struct buf *bytes)
{
	if (bytes->at)
		explicit_bzero(bytes->at, bytes->capacity);
	buf_fini(bytes);
}

static enum err seal(struct span certificate, struct span key, struct ca_files *files)
{
	enum err err = shared_sealed("sallyport-ca", certificate, &files->certificate_fd);

	files->certificate_bytes = certificate.len;
	files->key_bytes = key.len;
	return err ? err : shared_sealed("sallyport-ca-key", key, &files->key_fd);
}

enum err ca_files_read_at(const char *certificate_path, const char *key_path, bool seals, struct problems *problems,
                          struct ca_files *files)
{
	struct ca_source source = {.certificate_path = certificate_path, .key_path = key_path};
	struct buf certificate, key;
	bool has_certificate, has_key;
	enum err err = ERR_CONFIG;

	ca_files_init(files);
	buf_init(&certificate, CA_FILE_MAX_BYTES);
	buf_init(&key, CA_FILE_MAX_BYTES);
	has_certificate = read_file(certificate_path, "inspection.ca.certificate", false, problems, &certificate);
	has_key = read_file(key_path, "inspection.ca.key", true, problems, &key);
	source.certificate = buf_span(&certificate);
	source.key = has_key ? buf_span(&key) : (struct span){NULL, 0};
	if (has_certificate)
		err = ca_open(&source, (int64_t)(clock_wall_ms() / 1000), problems, &files->ca);
	if (err == ERR_NONE && !has_key)
		err = ERR_CONFIG;
	if (err == ERR_NONE && seals)
		err = seal(buf_span(&certificate), buf_span(&key), files);
	if (err == ERR_NONE) {
		EVP_PKEY_free(files->ca->key);
		files->ca->key = NULL;
	} else {
		ca_files_close(files);
	}
	wipe(&certificate);
	wipe(&key);
	return err;
}

enum err ca_files_read(const struct ca_conf *conf, bool seals, struct problems *problems, struct ca_files *files)
{
	ca_files_init(files);
	if (conf->certificate == NULL || conf->key == NULL || conf->certificate[0] == 0)
		return ERR_NONE;
	return ca_files_read_at(conf->certificate, conf->key, seals, problems, files);
}
