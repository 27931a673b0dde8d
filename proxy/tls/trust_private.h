/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of trust share: trust.c (verdicts), trust_chain.c (chains), trust_issuers.c (who issues), trust_staple.c
 * (OCSP), trust_names.c (exceptions), trust_text.c (words for people). */
#ifndef TLS_TRUST_PRIVATE_H
#define TLS_TRUST_PRIVATE_H

#include "base/list.h"
#include "tls/trust.h"
#include "tls/trust_image.h"

enum {
	TRUST_CERTIFICATES_MAX = 20,         /* that are looked at, of what an origin shows */
	TRUST_CHAIN_MAX_BYTES = 100 * 1024,
	TRUST_STAPLE_MAX_BYTES = 16 * 1024,
	TRUST_ADDED_MAX = 10,                /* that we add, where the origin forgot them */
	TRUST_FETCHED_PER_QUESTION = 2,
};

/* ---- trust_names.c ---- */

enum pattern_kind { PATTERN_NAME, PATTERN_BELOW, PATTERN_NAME_AND_BELOW, PATTERN_ADDRESS };

struct pattern {
	enum pattern_kind kind;
	unsigned exception;      /* from 1 */
	struct span name;        /* in lower case; without what the kind says */
	struct address address;
};

/* Patterns of all exceptions, in their order. owns: *out (free()). errors: ERR_MEMORY. */
MUST_USE enum err trust_patterns_new(const struct inspection_conf *conf, struct pattern **out, size_t *count);

/* The number of the exception; 0: none. */
unsigned trust_patterns_find(const struct pattern *patterns, size_t count, struct span host);

/* ---- trust_issuers.c ---- */

struct issuers;

/* borrows: image. errors: ERR_MEMORY. */
MUST_USE enum err trust_issuers_new(const struct trust_image *image, struct issuers **out);
void trust_issuers_free(struct issuers *issuers);

/* Who among the roots has issued it, for hosts of this exception, too: a reference, or NULL. */
X509 *trust_issuers_root_of(struct issuers *issuers, X509 *certificate, unsigned exception, time_t when);

/* Add to `known` whom its certificates lack: intermediates of the image, and what was fetched. *fetched: how many of the
 * latter. False on no memory. */
MUST_USE bool trust_issuers_complete(struct issuers *issuers, STACK_OF(X509) *known, unsigned exception, uint64_t wall_ms,
                                     unsigned *fetched);

/* Where the issuer of this certificate can be had, and was not asked yet: true with the URL. Else *until_ms becomes the time
 * when it may be asked again, if that is earlier. */
bool trust_issuers_url(struct issuers *issuers, X509 *certificate, uint64_t wall_ms, char *url, size_t url_bytes,
                       uint64_t *until_ms);

void trust_issuers_add(struct issuers *issuers, const char *url, struct span der, uint64_t wall_ms);

/* Changes whenever something was added. */
uint64_t trust_issuers_version(const struct issuers *issuers);

/* Our own CA: NULL if the image has none. Borrowed. */
X509 *trust_issuers_own(struct issuers *issuers);

/* ---- trust_chain.c ---- */

/* One question under way. */
struct verify {
	struct trust *trust;
	const struct trust_question *question;
	struct trust_verdict *out;
	const struct exception_conf *exception; /* or NULL */
	STACK_OF(X509) *known;                  /* leaf, what was sent, what we added; references */
	size_t shown;                           /* of them, what was sent */
	unsigned fetched;
	X509 *issuer;                           /* of the leaf, in the chain that was found; borrowed from `chain` */
	STACK_OF(X509) *chain;                  /* that was found; references */
	uint64_t until_ms;                      /* how long what was found can hold */
};

/* Is there more in one that was fetched than issuers have? It is not looked at, then. */
bool trust_certificate_is_large(X509 *certificate);

/* Is there more than we look at? The fault is said then. */
bool trust_chain_is_too_large(struct verify *verify);

/* Find a chain to a root and check all of it: fills the verdict and verify->chain. */
void trust_chain_verify(struct verify *verify, X509_STORE *store, X509_STORE_CTX *context);

/* ---- trust.c ---- */

/* If it can be had somewhere, the question becomes one for the issuer of this certificate. */
void trust_ask_for_issuer(struct verify *verify, X509 *certificate);

/* ---- trust_staple.c ---- */

/* Look at the OCSP response that came, or did not come. The chain has been found good. */
void trust_staple_check(struct verify *verify);

/* ---- trust_text.c ---- */

/* Say what is wrong with `certificate` at `depth`; text as by printf, of our own words and trust_text_name(). */
void trust_say(struct verify *verify, enum trust_fault fault, int depth, X509 *certificate, const char *format, ...)
	PRINTF_LIKE(5, 6);

enum { TRUST_NAME_TEXT = 100 };
/* A short name of it in printable ASCII. */
const char *trust_text_name(const X509_NAME *name, char text[static TRUST_NAME_TEXT]);
/* "2026-01-02" */
enum { TRUST_DATE_TEXT = 32 };
const char *trust_text_date(const ASN1_TIME *time, char text[static TRUST_DATE_TEXT]);

/* Milliseconds since 1970 of a time; 0 if it is none. */
uint64_t trust_time_ms(const ASN1_TIME *time);

/* The first bytes of something in printable ASCII; others as \xNN. */
void trust_add_text(struct buf *out, struct span text, size_t most);

#endif
