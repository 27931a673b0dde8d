/* SPDX-License-Identifier: Apache-2.0 */
/* A trust with a root of the test's own, and questions to it. */
#ifndef TESTS_UNIT_TLS_TRUST_RIG_H
#define TESTS_UNIT_TLS_TRUST_RIG_H

#include "tls/trust.h"
#include "tls_folder.h"

struct rig {
	struct folder folder;
	struct made root, between, own, other;  /* other: a root that is not trusted */
	struct inspection_conf conf;
	const char *trust_files[4], *between_files[4], *revocation_files[4];
	struct exception_conf exceptions[4];
	size_t exception_count;
	struct problems problems;
	void *image;
	size_t image_bytes;
	struct trust *trust;
	struct trust_verdict verdict;
	struct span ocsp;
	uint64_t wall_ms;
};

static inline enum err rig_build(struct rig *rig)
{
	rig->conf.exceptions = (struct conf_groups){rig->exceptions, rig->exception_count};
	problems_fini(&rig->problems);
	problems_init(&rig->problems);
	return trust_build(&rig->conf, "sallyport.yaml", &rig->problems, &rig->image, &rig->image_bytes);
}

static inline void rig_close(struct rig *rig)
{
	trust_unref(rig->trust);
	free(rig->image);
	rig->trust = NULL;
	rig->image = NULL;
}

/* Load (anew), as a reload does. */
static inline void rig_open(struct rig *rig)
{
	rig_close(rig);
	if (rig_build(rig) != ERR_NONE) {
		struct buf text;

		buf_init(&text, 1 << 20);
		problems_format(&rig->problems, &text);
		fprintf(stderr, "%.*s", SPAN_ARG(buf_span(&text)));
		ASSERT(0);
	}
	ASSERT(trust_open(rig->image, rig->image_bytes, &rig->conf, &rig->trust) == ERR_NONE);
}

static inline void rig_make(struct rig *rig)
{
	const struct made *roots[1], *own[1];

	*rig = (struct rig){.wall_ms = CERTIFICATES_NOW_MS};
	folder_make(&rig->folder);
	problems_init(&rig->problems);
	rig->root = make(&(struct make){.name = "Test Root", .is_ca = true, .from_days = -1000, .to_days = 20000});
	rig->other = make(&(struct make){.name = "Strange Root", .is_ca = true});
	rig->own = make(&(struct make){.name = "Our CA", .is_ca = true});
	rig->between = make(&(struct make){.name = "Test Intermediate", .issuer = &rig->root, .is_ca = true});
	roots[0] = &rig->root;
	own[0] = &rig->own;
	rig->trust_files[0] = folder_write_certificates(&rig->folder, roots, 1);
	rig->conf.trust = (struct conf_texts){rig->trust_files, 1};
	rig->conf.ca.certificate = folder_write_certificates(&rig->folder, own, 1);
	rig->conf.ca.key = "unused";
	rig->conf.aia = true;
	rig_open(rig);
}

static inline void rig_fini(struct rig *rig)
{
	rig_close(rig);
	problems_fini(&rig->problems);
	unmake(&rig->root);
	unmake(&rig->between);
	unmake(&rig->own);
	unmake(&rig->other);
	folder_remove(&rig->folder);
}

/* Is it good for this host? `between` are sent with it, up to NULL. */
static inline enum trust_fault rig_ask(struct rig *rig, const char *host, const struct made *leaf, const struct made *const *between)
{
	struct trust_question question = {.leaf = leaf->certificate,
	                                  .chain = sk_X509_new_null(),
	                                  .ocsp = rig->ocsp,
	                                  .host = span_from(host),
	                                  .wall_ms = rig->wall_ms};

	sk_X509_push(question.chain, leaf->certificate);
	for (size_t i = 0; between && between[i]; i++)
		sk_X509_push(question.chain, between[i]->certificate);
	if (address_parse(question.host, &question.address))
		question.address.port = 443;
	ERR_clear_error();
	trust_verify(rig->trust, &question, &rig->verdict);
	sk_X509_free(question.chain);
	for (const char *at = rig->verdict.detail; *at; at++)
		ASSERT(*at >= ' ' && *at <= '~');
	ASSERT((rig->verdict.state == TRUST_GOOD) == (rig->verdict.fault == TRUST_FAULT_NONE));
	ASSERT((rig->verdict.state == TRUST_GOOD) == (rig->verdict.detail[0] == '\0'));
	ASSERT(ERR_peek_error() == 0);
	return rig->verdict.fault;
}

/* For tests with cmocka, and a `rig` of their own. */
#define assert_fault(expected, is) \
	do { \
		enum trust_fault fault_is = (is); \
		if (fault_is != (expected)) \
			fail_msg("%s instead of %s: %s", trust_fault_token(fault_is), trust_fault_token(expected), rig.verdict.detail); \
	} while (0)
#define assert_detail(part) \
	do { \
		if (strstr(rig.verdict.detail, (part)) == NULL) \
			fail_msg("\"%s\" is not in \"%s\"", (part), rig.verdict.detail); \
	} while (0)

/* The same of a certificate that is made for it; with the intermediate that issues it by default. */
static inline enum trust_fault rig_try(struct rig *rig, const char *host, struct make leaf)
{
	struct made made;
	const struct made *between[2] = {NULL, NULL};
	enum trust_fault fault;

	if (leaf.issuer == NULL)
		leaf.issuer = &rig->between;
	if (leaf.issuer != &rig->root)
		between[0] = leaf.issuer;
	if (leaf.names == NULL)
		leaf.names = "DNS:shop.example";
	if (leaf.name == NULL)
		leaf.name = "shop.example";
	made = make(&leaf);
	fault = rig_ask(rig, host, &made, between);
	unmake(&made);
	return fault;
}

#endif
