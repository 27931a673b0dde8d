/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/trust.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "tls/trust_private.h"

enum {
	VERDICTS_MAX = 4096,
	BUCKETS = 4096,
	VERDICT_MAX_MS = 3600 * 1000,
	PIN_HEX = 2 * TRUST_DIGEST_BYTES,
};

/* A verdict that is remembered, with what it depends on. */
struct kept {
	struct list used, bucket;  /* `used`: the last one first */
	uint8_t key[TRUST_DIGEST_BYTES];
	uint64_t from_ms, until_ms;
	uint64_t issuers_version;  /* of those whose issuer was missing */
	enum trust_state state;
	enum trust_fault fault;
	int depth;
	unsigned exception;
	bool has_staple;
	char *detail;              /* NULL: "" */
};

struct trust {
	unsigned references;
	const struct inspection_conf *conf;
	struct trust_image image;
	struct issuers *issuers;
	struct pattern *patterns;
	size_t pattern_count;
	X509_STORE *store;         /* without certificates: they are asked for by get_issuer() */
	X509_STORE_CTX *context;
	EVP_MD *sha256;
	EVP_MD_CTX *digest;
	struct list used, buckets[BUCKETS];
	size_t kept_count;
};

/* ---- the object ---- */

/* OpenSSL asks who issued `certificate`. */
static int get_issuer(X509 **issuer, X509_STORE_CTX *context, X509 *certificate)
{
	const struct verify *verify = X509_STORE_CTX_get_app_data(context);

	*issuer = trust_issuers_root_of(verify->trust->issuers, certificate, verify->out->exception,
	                                (time_t)(verify->question->wall_ms / 1000));
	return *issuer != NULL;
}

static enum err fill(struct trust *trust)
{
	enum err err = trust_issuers_new(&trust->image, &trust->issuers);

	if (err == ERR_NONE)
		err = trust_patterns_new(trust->conf, &trust->patterns, &trust->pattern_count);
	if (err)
		return err;
	trust->store = X509_STORE_new();
	trust->context = X509_STORE_CTX_new();
	trust->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	trust->digest = EVP_MD_CTX_new();
	if (trust->store == NULL || trust->context == NULL || trust->sha256 == NULL || trust->digest == NULL)
		return ERR_MEMORY;
	X509_STORE_set_get_issuer(trust->store, get_issuer);
	return ERR_NONE;
}

static void forget(struct trust *trust, struct kept *kept)
{
	list_remove(&kept->used);
	list_remove(&kept->bucket);
	trust->kept_count--;
	free(kept->detail);
	free(kept);
}

enum err trust_open(const void *image, size_t image_bytes, const struct inspection_conf *conf, struct trust **out)
{
	struct trust *trust = calloc(1, sizeof(*trust));
	enum err err;

	if (trust == NULL)
		return ERR_MEMORY;
	trust->references = 1;
	trust->conf = conf;
	list_init(&trust->used);
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&trust->buckets[i]);
	err = trust_image_open(&trust->image, image, image_bytes) ? fill(trust) : ERR_CONFIG;
	if (err)
		trust_unref(trust);
	else
		*out = trust;
	return err;
}

struct trust *trust_ref(struct trust *trust)
{
	trust->references++;
	return trust;
}

void trust_unref(struct trust *trust)
{
	if (trust == NULL || --trust->references)
		return;
	LIST_EACH(&trust->used, link)
		forget(trust, LIST_ENTRY(link, struct kept, used));
	trust_issuers_free(trust->issuers);
	X509_STORE_CTX_free(trust->context);
	X509_STORE_free(trust->store);
	EVP_MD_CTX_free(trust->digest);
	EVP_MD_free(trust->sha256);
	free(trust->patterns);
	free(trust);
}

const struct exception_conf *trust_exception(const struct trust *trust, struct span host, unsigned *number)
{
	const struct exception_conf *exceptions = trust->conf->exceptions.at;

	*number = trust_patterns_find(trust->patterns, trust->pattern_count, host);
	return *number ? &exceptions[*number - 1] : NULL;
}

void trust_add_issuer(struct trust *trust, const char *url, struct span der, uint64_t wall_ms)
{
	ERR_set_mark();
	trust_issuers_add(trust->issuers, url, der, wall_ms);
	ERR_pop_to_mark();
}

/* ---- verdicts that are remembered ---- */

static bool add_certificate(struct trust *trust, X509 *certificate)
{
	uint8_t *der = NULL;
	int length = i2d_X509(certificate, &der);
	bool added = length > 0 && EVP_DigestUpdate(trust->digest, &length, sizeof(length)) == 1 &&
	             EVP_DigestUpdate(trust->digest, der, (size_t)length) == 1;

	OPENSSL_free(der);
	return added;
}

/* Of all that a verdict follows from, but time and what the image holds. */
static bool make_key(struct verify *verify, uint8_t key[static TRUST_DIGEST_BYTES])
{
	const struct trust_question *question = verify->question;
	struct trust *trust = verify->trust;
	uint64_t lengths[] = {question->host.len, question->ocsp.len, question->address.family, verify->shown};
	bool done = EVP_DigestInit_ex2(trust->digest, trust->sha256, NULL) == 1 &&
	            EVP_DigestUpdate(trust->digest, lengths, sizeof(lengths)) == 1 &&
	            EVP_DigestUpdate(trust->digest, question->host.at, question->host.len) == 1 &&
	            EVP_DigestUpdate(trust->digest, question->address.bytes, sizeof(question->address.bytes)) == 1 &&
	            EVP_DigestUpdate(trust->digest, question->ocsp.at, question->ocsp.len) == 1;

	for (int i = 0; done && i < sk_X509_num(verify->known); i++)
		done = add_certificate(trust, sk_X509_value(verify->known, i));
	return done && EVP_DigestFinal_ex(trust->digest, key, NULL) == 1;
}

static struct list *bucket_of(struct trust *trust, const uint8_t *key)
{
	uint32_t at;

	memcpy(&at, key, sizeof(at));
	return &trust->buckets[at % BUCKETS];
}

static bool is_in_force(const struct trust *trust, const struct kept *kept, uint64_t wall_ms)
{
	return wall_ms >= kept->from_ms && wall_ms < kept->until_ms &&
	       (kept->fault != TRUST_FAULT_UNKNOWN_ISSUER || kept->issuers_version == trust_issuers_version(trust->issuers));
}

static bool recall(struct verify *verify, const uint8_t *key)
{
	struct trust *trust = verify->trust;
	struct trust_verdict *out = verify->out;

	LIST_EACH(bucket_of(trust, key), link) {
		struct kept *kept = LIST_ENTRY(link, struct kept, bucket);

		if (memcmp(kept->key, key, sizeof(kept->key)) != 0)
			continue;
		if (!is_in_force(trust, kept, verify->question->wall_ms)) {
			forget(trust, kept);
			return false;
		}
		list_remove(&kept->used);
		list_add_first(&trust->used, &kept->used);
		out->state = kept->state;
		out->fault = kept->fault;
		out->depth = kept->depth;
		out->exception = kept->exception;
		out->has_staple = kept->has_staple;
		out->until_ms = kept->state == TRUST_GOOD ? kept->until_ms : 0;
		if (kept->detail)
			memcpy(out->detail, kept->detail, strlen(kept->detail) + 1);
		return true;
	}
	return false;
}

static void remember(struct verify *verify, const uint8_t *key)
{
	struct trust *trust = verify->trust;
	const struct trust_verdict *out = verify->out;
	struct kept *kept = out->state == TRUST_NEEDS_ISSUER ? NULL : calloc(1, sizeof(*kept));

	if (kept == NULL)
		return;
	if (trust->kept_count == VERDICTS_MAX)
		forget(trust, LIST_ENTRY(trust->used.previous, struct kept, used));
	memcpy(kept->key, key, sizeof(kept->key));
	kept->from_ms = verify->question->wall_ms;
	kept->until_ms = verify->until_ms;
	kept->issuers_version = trust_issuers_version(trust->issuers);
	kept->state = out->state;
	kept->fault = out->fault;
	kept->depth = out->depth;
	kept->exception = out->exception;
	kept->has_staple = out->has_staple;
	kept->detail = out->detail[0] ? strdup(out->detail) : NULL;
	list_add_first(&trust->used, &kept->used);
	list_add_first(bucket_of(trust, key), &kept->bucket);
	trust->kept_count++;
}

/* ---- what is looked at before the chain ---- */

static bool collect(struct verify *verify)
{
	const struct trust_question *question = verify->question;

	verify->known = sk_X509_new_null();
	if (verify->known == NULL || X509_add_cert(verify->known, question->leaf, X509_ADD_FLAG_UP_REF) != 1)
		return false;
	for (int i = 0; question->chain && i < sk_X509_num(question->chain); i++) {
		X509 *certificate = sk_X509_value(question->chain, i);

		if (sk_X509_num(verify->known) == TRUST_CERTIFICATES_MAX)
			break;
		if ((i == 0 && X509_cmp(certificate, question->leaf) == 0))
			continue;
		if (X509_add_cert(verify->known, certificate, X509_ADD_FLAG_UP_REF) != 1)
			return false;
	}
	verify->shown = (size_t)sk_X509_num(verify->known);
	return true;
}

static bool is_revoked_by_digest(struct verify *verify)
{
	uint8_t digest[TRUST_DIGEST_BYTES];

	if (verify->trust->image.header.digests.count == 0)
		return false;
	for (int i = 0; i < sk_X509_num(verify->known); i++)
		if (trust_digest(sk_X509_value(verify->known, i), digest) && trust_image_has_digest(&verify->trust->image, digest)) {
			trust_say(verify, TRUST_FAULT_REVOKED, i, sk_X509_value(verify->known, i), "inspection.revocations names its digest");
			return true;
		}
	return false;
}

static bool is_pin(const char *pin, const uint8_t *digest)
{
	struct span hex = span_skip(span_from(pin), 7);

	for (size_t i = 0; i < PIN_HEX; i++) {
		uint8_t nibble = i % 2 ? digest[i / 2] & 15 : digest[i / 2] >> 4;

		if (hex.len != PIN_HEX || span_lower(hex.at[i]) != "0123456789abcdef"[nibble])
			return false;
	}
	return true;
}

/* Does the exception name certificates? Then the question is answered by them alone. */
static bool is_decided_by_pins(struct verify *verify)
{
	const struct conf_texts *pins = &verify->exception->pins;
	uint8_t digest[TRUST_DIGEST_BYTES];
	char text[PIN_HEX + 1];

	if (pins->count == 0)
		return false;
	for (size_t i = 0; i < pins->count && trust_digest(verify->question->leaf, digest); i++)
		if (is_pin(pins->at[i], digest))
			return true;
	for (size_t i = 0; i < PIN_HEX; i++)
		text[i] = "0123456789abcdef"[i % 2 ? digest[i / 2] & 15 : digest[i / 2] >> 4];
	text[PIN_HEX] = '\0';
	trust_say(verify, TRUST_FAULT_PIN, 0, verify->question->leaf,
	          "it is sha256:%s, and pins of exception %u has another; if the change is meant, write the new one there", text,
	          verify->out->exception);
	return true;
}

static bool has_own_key(X509 *certificate, X509 *own)
{
	return EVP_PKEY_eq(X509_get0_pubkey(certificate), X509_get0_pubkey(own)) == 1;
}

/* What our CA signs is for clients: an origin that shows it is one of its clients, or has stolen a key. */
static bool is_from_own_ca(struct verify *verify)
{
	X509 *own = trust_issuers_own(verify->trust->issuers);

	for (int i = 0; own && i < sk_X509_num(verify->known); i++) {
		X509 *certificate = sk_X509_value(verify->known, i);

		if (has_own_key(certificate, own) ||
		    (X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(own)) == 0 &&
		     X509_verify(certificate, X509_get0_pubkey(own)) == 1)) {
			trust_say(verify, TRUST_FAULT_OWN_CA, i, certificate,
			          "the CA of this proxy (inspection.ca) issued it, whose certificates are for clients of the proxy; does the origin "
			          "stand behind another proxy, or does the name lead back here?");
			return true;
		}
	}
	return false;
}

/* ---- the whole ---- */

void trust_ask_for_issuer(struct verify *verify, X509 *certificate)
{
	struct trust_verdict *out = verify->out;

	if (!verify->trust->conf->aia || verify->fetched >= TRUST_FETCHED_PER_QUESTION)
		return;
	if (trust_issuers_url(verify->trust->issuers, certificate, verify->question->wall_ms, out->url, sizeof(out->url),
	                      &verify->until_ms))
		out->state = TRUST_NEEDS_ISSUER;
}

/* A revocation list may name any of the chain but the root. */
static void check_serials(struct verify *verify)
{
	const struct trust_image *image = &verify->trust->image;
	uint8_t digest[TRUST_DIGEST_BYTES];

	for (int i = 0; image->header.serials.count && i < sk_X509_num(verify->chain) - 1; i++) {
		X509 *certificate = sk_X509_value(verify->chain, i);

		trust_serial_digest(trust_name_hash(X509_get_issuer_name(certificate)), X509_get0_serialNumber(certificate), digest);
		if (trust_image_has_serial(image, digest)) {
			trust_say(verify, TRUST_FAULT_REVOKED, i, certificate, "its issuer revoked it (a list in inspection.revocations)");
			return;
		}
	}
}

/* Every moment at which one of them becomes valid or ends may change the verdict. */
static void bound_by_times(struct verify *verify, STACK_OF(X509) *certificates)
{
	for (int i = 0; i < sk_X509_num(certificates); i++) {
		const X509 *certificate = sk_X509_value(certificates, i);
		uint64_t times[] = {trust_time_ms(X509_get0_notBefore(certificate)), trust_time_ms(X509_get0_notAfter(certificate))};

		for (size_t j = 0; j < COUNT_OF(times); j++)
			if (times[j] > verify->question->wall_ms && times[j] < verify->until_ms)
				verify->until_ms = times[j];
	}
}

static void look_at_chain(struct verify *verify)
{
	struct trust *trust = verify->trust;

	if (!trust_issuers_complete(trust->issuers, verify->known, verify->out->exception, verify->question->wall_ms,
	                            &verify->fetched)) {
		trust_say(verify, TRUST_FAULT_OTHER, 0, verify->question->leaf, "there was no memory to look at it");
		return;
	}
	trust_chain_verify(verify, trust->store, trust->context);
	if (verify->out->state == TRUST_GOOD)
		check_serials(verify);
	if (verify->out->state == TRUST_GOOD)
		trust_staple_check(verify);
}

static void look(struct verify *verify)
{
	if (trust_chain_is_too_large(verify) || is_revoked_by_digest(verify) ||
	    (verify->exception && is_decided_by_pins(verify)) || is_from_own_ca(verify))
		return;
	look_at_chain(verify);
	bound_by_times(verify, verify->chain ? verify->chain : verify->known);
}

static void release(struct verify *verify)
{
	sk_X509_pop_free(verify->known, X509_free);
	sk_X509_pop_free(verify->chain, X509_free);
}

void trust_verify(struct trust *trust, const struct trust_question *question, struct trust_verdict *out)
{
	struct verify verify = {.trust = trust, .question = question, .out = out, .until_ms = question->wall_ms + VERDICT_MAX_MS};
	uint8_t key[TRUST_DIGEST_BYTES];

	*out = (struct trust_verdict){.state = TRUST_GOOD};
	ERR_set_mark();
	verify.exception = trust_exception(trust, question->host, &out->exception);
	if (!collect(&verify) || !make_key(&verify, key)) {
		trust_say(&verify, TRUST_FAULT_OTHER, 0, question->leaf, "there was no memory to look at it");
	} else if (!recall(&verify, key)) {
		look(&verify);
		out->has_staple = question->ocsp.len > 0;
		out->until_ms = out->state == TRUST_GOOD ? verify.until_ms : 0;
		remember(&verify, key);
	}
	release(&verify);
	ERR_pop_to_mark();
}
