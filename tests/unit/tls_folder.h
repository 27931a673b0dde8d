/* SPDX-License-Identifier: Apache-2.0 */
/* Files of certificates in a folder of the test's own. */
#ifndef TESTS_UNIT_TLS_FOLDER_H
#define TESTS_UNIT_TLS_FOLDER_H

#include <unistd.h>

#include "tls_certificates.h"

struct folder {
	char path[64];
	unsigned count;
	char files[64][96];
};

static inline void folder_make(struct folder *folder)
{
	*folder = (struct folder){.path = "/tmp/sallyport-tls-XXXXXX"};
	ASSERT(mkdtemp(folder->path));
}

/* A new file with this text; its path is the folder's. */
static inline const char *folder_write(struct folder *folder, const void *text, size_t len)
{
	char *path = folder->files[folder->count], in[sizeof(folder->path)];
	FILE *file;

	ASSERT(folder->count < COUNT_OF(folder->files));
	memcpy(in, folder->path, sizeof(in));
	snprintf(path, sizeof(folder->files[0]), "%.63s/%u.pem", in, folder->count++);
	file = fopen(path, "wb");
	ASSERT(file && fwrite(text, 1, len, file) == len && fclose(file) == 0);
	return path;
}

static inline const char *folder_write_certificates(struct folder *folder, const struct made *const *made, size_t count)
{
	BIO *bio = BIO_new(BIO_s_mem());
	const char *path;
	char *text;
	long len;

	for (size_t i = 0; i < count; i++)
		ASSERT(PEM_write_bio_X509(bio, made[i]->certificate) == 1);
	len = BIO_get_mem_data(bio, &text);
	path = folder_write(folder, text, (size_t)len);
	BIO_free(bio);
	return path;
}

static inline void folder_remove(struct folder *folder)
{
	for (unsigned i = 0; i < folder->count; i++)
		unlink(folder->files[i]);
	rmdir(folder->path);
}

#endif
