/* SPDX-License-Identifier: Apache-2.0 */
/* What strangers give to trust. The first byte says what the others are: an image (0), changes to a good one (1), an OCSP response
 * (2), what came from where an issuer should be (3), the certificate of an origin (4), one certificate after the other (5). */
#include "../unit/tls_trust_rig.h"
#include "tls/trust_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define URL "http://pki.example/a"

enum { IS_IMAGE, IS_CHANGES, IS_STAPLE, IS_FETCHED, IS_LEAF, IS_CHAIN, CHANGE_BYTES = 4 };

static struct rig rig;
static struct made leaf;

static void clean_up(void)
{
	unmake(&leaf);
	rig_fini(&rig);
}

static void prepare(void)
{
	static const char *const tos[] = {".corp.example"};
	static const char digest[] = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";
	const struct made *roots[1], *between[1];
	static const char *file;

	if (rig.trust)
		return;
	rig_make(&rig);
	roots[0] = &rig.other;
	between[0] = &rig.between;
	file = folder_write_certificates(&rig.folder, roots, 1);
	rig.between_files[0] = folder_write_certificates(&rig.folder, between, 1);
	rig.revocation_files[0] = folder_write(&rig.folder, digest, sizeof(digest) - 1);
	rig.conf.intermediates = (struct conf_texts){rig.between_files, 1};
	rig.conf.revocations = (struct conf_texts){rig.revocation_files, 1};
	rig.exceptions[0] = (struct exception_conf){.to = {tos, 1}, .trust = {&file, 1}};
	rig.exception_count = 1;
	rig_open(&rig);
	leaf = make(&(struct make){.name = "shop.example", .issuer = &rig.between, .names = "DNS:shop.example,DNS:a.corp.example",
	                           .access = "caIssuers;URI:" URL});
	atexit(clean_up);
}

static void ask(struct trust *trust, X509 *certificate, STACK_OF(X509) *chain, const char *host, struct span ocsp)
{
	struct trust_question question = {.leaf = certificate, .chain = chain, .ocsp = ocsp, .host = span_from(host),
	                                  .wall_ms = CERTIFICATES_NOW_MS};
	struct trust_verdict verdict;

	trust_verify(trust, &question, &verdict);
	ASSERT((verdict.state == TRUST_GOOD) == (verdict.fault == TRUST_FAULT_NONE));
	for (const char *at = verdict.detail; *at; at++)
		ASSERT(*at >= ' ' && *at <= '~');
	(void)trust_covers(certificate, question.host, NULL);
}

static void use_image(const void *image, size_t bytes)
{
	struct trust *trust;

	if (trust_open(image, bytes, &rig.conf, &trust))
		return;
	ask(trust, leaf.certificate, NULL, "shop.example", SPAN(""));
	ask(trust, leaf.certificate, NULL, "a.corp.example", SPAN(""));
	ask(trust, rig.other.certificate, NULL, "a.corp.example", SPAN(""));
	ask(trust, rig.own.certificate, NULL, "shop.example", SPAN(""));
	trust_unref(trust);
}

static void use_changes(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(rig.image_bytes);

	ASSERT(copy);
	memcpy(copy, rig.image, rig.image_bytes);
	for (; size >= CHANGE_BYTES; data += CHANGE_BYTES, size -= CHANGE_BYTES) {
		size_t at = ((size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2]) % rig.image_bytes;

		copy[at] = (uint8_t)(copy[at] + data[3]);
	}
	use_image(copy, rig.image_bytes);
	free(copy);
}

/* The image comes again with each: verdicts and what was fetched must not pile up. */
static void use_certificates(const uint8_t *data, size_t size, bool is_chain)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	const uint8_t *at = data, *end = data + size;
	X509 *first = d2i_X509(NULL, &at, (long)size), *next;
	struct trust *trust;

	while (is_chain && first && at < end && sk_X509_num(chain) < 30 && (next = d2i_X509(NULL, &at, (long)(end - at))))
		sk_X509_push(chain, next);
	ASSERT(trust_open(rig.image, rig.image_bytes, &rig.conf, &trust) == ERR_NONE);
	if (first) {
		ask(trust, first, chain, "shop.example", SPAN(""));
		ask(trust, first, chain, "a.corp.example", SPAN(""));
	}
	trust_unref(trust);
	X509_free(first);
	sk_X509_pop_free(chain, X509_free);
	ERR_clear_error();
}

static void use_fetched(const uint8_t *data, size_t size)
{
	struct inspection_conf conf = rig.conf;
	struct trust *trust;

	ASSERT(trust_open(rig.image, rig.image_bytes, &conf, &trust) == ERR_NONE);
	trust_add_issuer(trust, URL, span_of(data, size), CERTIFICATES_NOW_MS);
	ask(trust, leaf.certificate, NULL, "shop.example", SPAN(""));
	trust_unref(trust);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t kind;

	prepare();
	if (size == 0)
		return 0;
	kind = data[0] % 6;
	data++;
	size--;
	if (kind == IS_IMAGE)
		use_image(data, size);
	else if (kind == IS_CHANGES)
		use_changes(data, size);
	else if (kind == IS_STAPLE)
		ask(rig.trust, leaf.certificate, NULL, "shop.example", span_of(data, size));
	else if (kind == IS_FETCHED)
		use_fetched(data, size);
	else
		use_certificates(data, size, kind == IS_CHAIN);
	return 0;
}
