/* SPDX-License-Identifier: Apache-2.0 */
/* Files to an image, in the parent and in commands: everything is parsed here once, so that bad files are told of at load. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tls/trust_private.h"

#define SYSTEM_BUNDLE "/etc/ssl/certs/ca-certificates.crt"

enum { FILE_MAX_BYTES = 64 << 20, READ_BYTES = 65536, DIGESTS_MAX_BYTES = 512 << 20 };

struct item {
	struct trust_issuer issuer;
	uint8_t *der;
};

struct builder {
	const struct inspection_conf *conf;
	const char *file;          /* of the configuration */
	struct problems *problems;
	struct item *items;
	size_t count, capacity, roots;
	struct buf serials, digests;
	uint8_t *own;
	size_t own_bytes;
	uint8_t own_key[TRUST_DIGEST_BYTES];
	bool has_own_key, told_expired;
	enum err err;
};

static void fail(struct builder *builder, enum err err)
{
	builder->err = builder->err ? builder->err : err;
}

/* ---- files ---- */

static bool read_rest(int fd, struct buf *out)
{
	ssize_t got;

	do {
		uint8_t *room = buf_reserve(out, READ_BYTES);

		got = room ? read(fd, room, READ_BYTES) : -1;
		errno = room ? errno : EFBIG;
		if (got > 0)
			buf_advance(out, (size_t)got);
	} while (got > 0);
	return got == 0;
}

static bool read_file(struct builder *builder, const char *option, const char *path, const char *hint, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat stat;
	bool is_read = false;

	buf_init(out, FILE_MAX_BYTES);
	if (fd >= 0) {
		errno = EINVAL;
		is_read = fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && read_rest(fd, out);
	}
	if (!is_read) {
		problem_add_code(builder->problems, PROBLEM_NO_FILE, (struct problem_place){builder->file, 0, 0}, NULL,
		                 "inspection.%s: cannot read %s: %s%s", option, path,
		                 errno == EINVAL ? "it is no file" : errno == EFBIG ? "it is larger than 64M" : strerror(errno), hint);
		fail(builder, ERR_CONFIG);
	}
	if (fd >= 0)
		close(fd);
	return is_read;
}

/* ---- issuers ---- */

static bool grow(struct builder *builder)
{
	size_t capacity = builder->capacity ? builder->capacity * 2 : 256;
	struct item *items;

	if (builder->count < builder->capacity)
		return true;
	items = realloc(builder->items, capacity * sizeof(*items));
	if (items == NULL)
		return false;
	builder->items = items;
	builder->capacity = capacity;
	return true;
}

static void add_item(struct builder *builder, X509 *certificate, enum trust_kind kind, unsigned exception)
{
	struct item item = {.issuer = {.kind = kind, .exception = exception}};
	int length = i2d_X509(certificate, &item.der);

	if (length <= 0 || !grow(builder)) {
		OPENSSL_free(item.der);
		fail(builder, ERR_MEMORY);
		return;
	}
	item.issuer.name_hash = trust_name_hash(X509_get_subject_name(certificate));
	item.issuer.length = (uint32_t)length;
	builder->items[builder->count++] = item;
	builder->roots += kind == TRUST_KIND_ROOT;
}

/* Where a problem is: "certificate 3 (CN=Some Root)". */
struct spot {
	const char *path;
	unsigned number;
};

/* What our CA signs must never be taken for an origin's: a client of the proxy could be one. */
static bool is_own(struct builder *builder, const struct spot *spot, X509 *certificate)
{
	uint8_t key[TRUST_DIGEST_BYTES];

	if (!builder->has_own_key || !trust_key_digest(certificate, key) || memcmp(key, builder->own_key, sizeof(key)) != 0)
		return false;
	problem_add(builder->problems, PROBLEM_WARNING, spot->path, 0, 0,
	            "certificate %u has the key of the proxy's own CA (inspection.ca), and is left out: origins are never trusted by it",
	            spot->number);
	return true;
}

static void warn_of_time(struct builder *builder, const struct spot *spot, X509 *certificate)
{
	time_t now = time(NULL);
	char name[TRUST_NAME_TEXT], date[TRUST_DATE_TEXT];

	/* What the system has is not for us to mend. */
	if (builder->told_expired || strcmp(spot->path, SYSTEM_BUNDLE) == 0 || X509_cmp_time(X509_get0_notAfter(certificate), &now) >= 0)
		return;
	builder->told_expired = true;
	problem_add(builder->problems, PROBLEM_WARNING, spot->path, 0, 0,
	            "certificate %u (%s) expired on %s: what it issued is refused (others that have expired are not told)", spot->number,
	            trust_text_name(X509_get_subject_name(certificate), name),
	            trust_text_date(X509_get0_notAfter(certificate), date));
}

static void add_certificate(struct builder *builder, const struct spot *spot, X509 *certificate, enum trust_kind kind,
                            unsigned exception)
{
	char name[TRUST_NAME_TEXT], issuer[TRUST_NAME_TEXT];

	if (is_own(builder, spot, certificate))
		return;
	if (kind == TRUST_KIND_ROOT && X509_check_issued(certificate, certificate) != X509_V_OK) {
		problem_add(builder->problems, PROBLEM_WARNING, spot->path, 0, 0,
		            "certificate %u (%s) is no root: %s issued it; it is used as an intermediate, and the root is needed, too",
		            spot->number, trust_text_name(X509_get_subject_name(certificate), name),
		            trust_text_name(X509_get_issuer_name(certificate), issuer));
		kind = TRUST_KIND_INTERMEDIATE;
	}
	if (kind == TRUST_KIND_ROOT)
		warn_of_time(builder, spot, certificate);
	add_item(builder, certificate, kind, exception);
}

/* A certificate of PEM's three labels for one; NULL for another thing or a damaged one. */
static X509 *parse(const char *label, const uint8_t *der, long length)
{
	const uint8_t *at = der;
	X509 *certificate = NULL;

	if (strcmp(label, PEM_STRING_X509) == 0 || strcmp(label, PEM_STRING_X509_OLD) == 0)
		certificate = d2i_X509(NULL, &at, length);
	else if (strcmp(label, PEM_STRING_X509_TRUSTED) == 0)
		certificate = d2i_X509_AUX(NULL, &at, length);
	if (certificate && at != der + length) {
		X509_free(certificate);
		certificate = NULL;
	}
	return certificate;
}

static void say_bad(struct builder *builder, const char *path, const char *text)
{
	problem_add(builder->problems, PROBLEM_ERROR, path, 0, 0, "%s", text);
	fail(builder, ERR_CONFIG);
}

static void add_block(struct builder *builder, const struct spot *spot, const char *label, const uint8_t *der, long length,
                      enum trust_kind kind, unsigned exception)
{
	X509 *certificate = parse(label, der, length);

	if (certificate) {
		add_certificate(builder, spot, certificate, kind, exception);
	} else {
		problem_add(builder->problems, PROBLEM_ERROR, spot->path, 0, 0,
		            "block %u is no certificate that can be read; there should be nothing but blocks "
		            "-----BEGIN CERTIFICATE----- (PEM) in this file", spot->number);
		fail(builder, ERR_CONFIG);
	}
	X509_free(certificate);
}

static void add_file(struct builder *builder, const char *option, const char *path, enum trust_kind kind, unsigned exception)
{
	bool is_system = strcmp(path, "system") == 0;
	struct spot spot = {is_system ? SYSTEM_BUNDLE : path, 0};
	char *label, *header;
	uint8_t *der;
	struct buf text;
	long length;
	BIO *bio;

	if (!read_file(builder, option, spot.path, is_system ? "; install ca-certificates, or name files of roots instead" : "", &text)) {
		buf_fini(&text);
		return;
	}
	bio = BIO_new_mem_buf(buf_span(&text).at, (int)buf_len(&text));
	while (bio && PEM_read_bio(bio, &label, &header, &der, &length) == 1) {
		spot.number++;
		add_block(builder, &spot, label, der, length, kind, exception);
		OPENSSL_free(label);
		OPENSSL_free(header);
		OPENSSL_free(der);
	}
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		say_bad(builder, spot.path, "it ends in what is no PEM that can be read: the file may have been cut off");
	else if (spot.number == 0)
		say_bad(builder, spot.path, "there is no certificate in PEM here (-----BEGIN CERTIFICATE-----); make it of DER with: openssl "
		        "x509 -inform der -in FILE -out FILE.pem");
	ERR_clear_error();
	BIO_free(bio);
	buf_fini(&text);
}

static void add_files(struct builder *builder, const char *option, const struct conf_texts *paths, enum trust_kind kind,
                      unsigned exception)
{
	for (size_t i = 0; i < paths->count; i++)
		add_file(builder, option, paths->at[i], kind, exception);
}

/* ---- our own CA ---- */

static void read_own(struct builder *builder)
{
	const char *path = builder->conf->ca.certificate;
	struct buf text;
	X509 *own = NULL;
	BIO *bio = NULL;
	int length;

	if (path[0] && read_file(builder, "ca.certificate", path, "", &text)) {
		bio = BIO_new_mem_buf(buf_span(&text).at, (int)buf_len(&text));
		own = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
		if (own == NULL)
			say_bad(builder, path, "there is no certificate in PEM here (-----BEGIN CERTIFICATE-----)");
	}
	if (path[0])
		buf_fini(&text);
	BIO_free(bio);
	ERR_clear_error();
	if (own == NULL)
		return;
	builder->has_own_key = trust_key_digest(own, builder->own_key);
	length = i2d_X509(own, &builder->own);
	builder->own_bytes = length > 0 ? (size_t)length : 0;
	if (!builder->has_own_key || length <= 0)
		fail(builder, ERR_MEMORY);
	X509_free(own);
}

/* ---- revocations ---- */

/* Of an indirect CRL the issuer may change from entry to entry (RFC 5280 section 5.3.3), and holds for those that follow. */
static uint32_t entry_issuer(const X509_REVOKED *entry, uint32_t issuer_hash)
{
	GENERAL_NAMES *names = X509_REVOKED_get_ext_d2i(entry, NID_certificate_issuer, NULL, NULL);

	for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++)
		if (sk_GENERAL_NAME_value(names, i)->type == GEN_DIRNAME)
			issuer_hash = trust_name_hash(sk_GENERAL_NAME_value(names, i)->d.directoryName);
	GENERAL_NAMES_free(names);
	return issuer_hash;
}

static void add_crl(struct builder *builder, const char *path, unsigned line, X509_CRL *crl)
{
	const STACK_OF(X509_REVOKED) *revoked = X509_CRL_get_REVOKED(crl);
	uint32_t issuer_hash = trust_name_hash(X509_CRL_get_issuer(crl));
	const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
	char name[TRUST_NAME_TEXT], date[TRUST_DATE_TEXT];
	uint8_t digest[TRUST_DIGEST_BYTES];
	time_t now = time(NULL);

	for (int i = 0; revoked && i < sk_X509_REVOKED_num(revoked); i++) {
		const X509_REVOKED *entry = sk_X509_REVOKED_value(revoked, i);

		if (X509_REVOKED_get_ext_count(entry) > 0)
			issuer_hash = entry_issuer(entry, issuer_hash);
		trust_serial_digest(issuer_hash, X509_REVOKED_get0_serialNumber(entry), digest);
		buf_add(&builder->serials, span_of(digest, sizeof(digest)));
	}
	if (next && X509_cmp_time(next, &now) < 0)
		problem_add(builder->problems, PROBLEM_WARNING, path, line, 0,
		            "the list of %s should have been replaced on %s: what was revoked since is not known",
		            trust_text_name(X509_CRL_get_issuer(crl), name), trust_text_date(next, date));
}

/* A block that begins here; false where it does not end. */
static bool read_block(struct builder *builder, const char *path, unsigned line, struct span from, size_t *block_bytes)
{
	size_t end = span_find_span(from, SPAN("-----END"));
	BIO *bio;
	X509_CRL *crl;

	end += span_find(span_skip(from, end), '\n');
	*block_bytes = end < from.len ? end + 1 : from.len;
	bio = BIO_new_mem_buf(from.at, (int)*block_bytes);
	crl = bio ? PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL) : NULL;
	if (crl)
		add_crl(builder, path, line, crl);
	X509_CRL_free(crl);
	BIO_free(bio);
	ERR_clear_error();
	return crl != NULL;
}

static bool read_digest(struct builder *builder, struct span line)
{
	uint8_t digest[TRUST_DIGEST_BYTES] = {0};
	struct span hex = span_first(span_skip(line, 7), sizeof(digest) * 2), rest = span_skip(line, 7 + sizeof(digest) * 2);

	if (!span_starts_with(line, SPAN("sha256:")) || hex.len != sizeof(digest) * 2)
		return false;
	if (rest.len && rest.at[0] != ' ' && rest.at[0] != '\t')
		return false;
	if (span_trim(rest).len && span_trim(rest).at[0] != '#')
		return false;
	for (size_t i = 0; i < hex.len; i++) {
		const char *found = memchr("0123456789abcdef", span_lower(hex.at[i]), 16);

		if (found == NULL)
			return false;
		digest[i / 2] = (uint8_t)(digest[i / 2] << 4 | (found - "0123456789abcdef"));
	}
	buf_add(&builder->digests, span_of(digest, sizeof(digest)));
	return true;
}

static void add_revocations(struct builder *builder, const char *path)
{
	struct buf text;
	struct span rest, line;
	unsigned number = 0;
	size_t block_bytes;

	if (!read_file(builder, "revocations", path, "", &text)) {
		buf_fini(&text);
		return;
	}
	for (rest = buf_span(&text); rest.len;) {
		struct span from = rest;

		number++;
		(void)span_split(&rest, '\n', &line);
		if (line.len && line.at[line.len - 1] == '\r')
			line.len--;
		line = span_trim(line);
		if (line.len == 0 || line.at[0] == '#' || read_digest(builder, line))
			continue;
		if (span_starts_with(line, SPAN("-----BEGIN ")) && read_block(builder, path, number, from, &block_bytes)) {
			for (size_t i = (size_t)(rest.at - from.at); i < block_bytes; i++)
				number += from.at[i] == '\n';
			rest = span_skip(from, block_bytes);
			continue;
		}
		problem_add(builder->problems, PROBLEM_ERROR, path, number, 1,
		            "write CRLs in PEM (-----BEGIN X509 CRL-----, of DER with: openssl crl -inform der), lines sha256: and the 64 hex "
		            "digits of a certificate's digest, and # before free text");
		fail(builder, ERR_CONFIG);
		break;
	}
	buf_fini(&text);
}

/* ---- the image ---- */

static int compare_items(const void *a, const void *b)
{
	const struct item *one = a, *other = b;

	if (one->issuer.name_hash != other->issuer.name_hash)
		return one->issuer.name_hash < other->issuer.name_hash ? -1 : 1;
	if (one->issuer.kind != other->issuer.kind)
		return one->issuer.kind < other->issuer.kind ? -1 : 1;
	if (one->issuer.exception != other->issuer.exception)
		return one->issuer.exception < other->issuer.exception ? -1 : 1;
	return span_compare(span_of(one->der, one->issuer.length), span_of(other->der, other->issuer.length));
}

static int compare_digests(const void *a, const void *b)
{
	return memcmp(a, b, TRUST_DIGEST_BYTES);
}

/* Sorted, each once. */
static void sort_items(struct builder *builder)
{
	size_t kept = 0;

	if (builder->count)
		qsort(builder->items, builder->count, sizeof(*builder->items), compare_items);
	for (size_t i = 0; i < builder->count; i++) {
		if (kept && compare_items(&builder->items[kept - 1], &builder->items[i]) == 0)
			OPENSSL_free(builder->items[i].der);
		else
			builder->items[kept++] = builder->items[i];
	}
	builder->count = kept;
}

static void sort_digests(struct buf *digests)
{
	if (buf_len(digests))
		qsort(digests->at + digests->start, buf_len(digests) / TRUST_DIGEST_BYTES, TRUST_DIGEST_BYTES, compare_digests);
}

static struct trust_section add_section(uint8_t *image, uint64_t *at, struct span bytes, size_t size)
{
	struct trust_section section = {*at, bytes.len / size};

	if (bytes.len)
		memcpy(image + *at, bytes.at, bytes.len);
	*at += (bytes.len + 7) & ~(uint64_t)7;
	return section;
}

static uint64_t image_size(const struct builder *builder)
{
	uint64_t bytes = sizeof(struct trust_header) + builder->count * sizeof(struct trust_issuer) + builder->own_bytes +
	                 buf_len(&builder->serials) + buf_len(&builder->digests) + 64;

	for (size_t i = 0; i < builder->count; i++)
		bytes += builder->items[i].issuer.length;
	return bytes;
}

static void write_issuers(const struct builder *builder, uint8_t *image, struct trust_header *header, uint64_t *at)
{
	header->issuers = (struct trust_section){*at, builder->count};
	*at += builder->count * sizeof(struct trust_issuer);
	for (size_t i = 0; i < builder->count; i++) {
		struct item *item = &builder->items[i];

		item->issuer.at = *at;
		memcpy(image + header->issuers.at + i * sizeof(item->issuer), &item->issuer, sizeof(item->issuer));
		memcpy(image + *at, item->der, item->issuer.length);
		*at += item->issuer.length;
	}
	*at = (*at + 7) & ~(uint64_t)7;
}

static enum err write_image(struct builder *builder, void **out, size_t *out_bytes)
{
	struct trust_header header = {.magic = TRUST_IMAGE_MAGIC, .version = TRUST_IMAGE_VERSION};
	uint64_t at = sizeof(header);
	uint8_t *image;

	sort_items(builder);
	sort_digests(&builder->serials);
	sort_digests(&builder->digests);
	image = calloc(1, image_size(builder));
	if (image == NULL || !buf_is_whole(&builder->serials) || !buf_is_whole(&builder->digests)) {
		free(image);
		return ERR_MEMORY;
	}
	header.serials = add_section(image, &at, buf_span(&builder->serials), TRUST_DIGEST_BYTES);
	header.digests = add_section(image, &at, buf_span(&builder->digests), TRUST_DIGEST_BYTES);
	header.own = add_section(image, &at, span_of(builder->own, builder->own_bytes), 1);
	write_issuers(builder, image, &header, &at);
	header.bytes = at;
	memcpy(image, &header, sizeof(header));
	*out = image;
	*out_bytes = (size_t)at;
	return ERR_NONE;
}

static void builder_fini(struct builder *builder)
{
	for (size_t i = 0; i < builder->count; i++)
		OPENSSL_free(builder->items[i].der);
	free(builder->items);
	OPENSSL_free(builder->own);
	buf_fini(&builder->serials);
	buf_fini(&builder->digests);
}

enum err trust_build(const struct inspection_conf *conf, const char *file, struct problems *problems, void **image,
                     size_t *image_bytes)
{
	struct builder builder = {.conf = conf, .file = file, .problems = problems};
	const struct exception_conf *exceptions = conf->exceptions.at;
	enum err err;

	buf_init(&builder.serials, DIGESTS_MAX_BYTES);
	buf_init(&builder.digests, DIGESTS_MAX_BYTES);
	read_own(&builder);
	add_files(&builder, "trust", &conf->trust, TRUST_KIND_ROOT, 0);
	add_files(&builder, "intermediates", &conf->intermediates, TRUST_KIND_INTERMEDIATE, 0);
	for (size_t i = 0; i < conf->exceptions.count; i++)
		add_files(&builder, "exceptions.trust", &exceptions[i].trust, TRUST_KIND_ROOT, (unsigned)i + 1);
	for (size_t i = 0; i < conf->revocations.count; i++)
		add_revocations(&builder, conf->revocations.at[i]);
	if (builder.err == ERR_NONE && builder.roots == 0)
		problem_add(problems, PROBLEM_WARNING, file, 0, 0, "inspection.trust has no roots: every origin is refused, pinned ones aside");
	err = builder.err ? builder.err : write_image(&builder, image, image_bytes);
	builder_fini(&builder);
	return err;
}
