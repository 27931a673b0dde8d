/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/mint.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "http/target.h"
#include "tls/der.h"

enum {
	SERIAL_BYTES = 16,
	SIGNATURE_MAX_BYTES = 2048, /* RSA with 16384 bits */
	NAME_MAX_BYTES = 253,
	COMMON_NAME_MAX_BYTES = 64, /* RFC 5280, ub-common-name */
	BACKDATED_S = 48 * 3600,    /* clocks of clients are wrong */
	CRL_BACKDATED_S = 3600,
	DAY_S = 86400,
};

/* DER that is always the same. */
#define VERSION_3 SPAN("\xa0\x03\x02\x01\x02")
#define ECDSA_SHA256 SPAN("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02")
#define RSA_SHA256 SPAN("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00")
#define OID_COMMON_NAME SPAN("\x06\x03\x55\x04\x03")
#define OID_ORGANIZATION SPAN("\x06\x03\x55\x04\x0a")
#define OID_KEY_USAGE SPAN("\x06\x03\x55\x1d\x0f")
#define OID_ALTERNATIVE_NAME SPAN("\x06\x03\x55\x1d\x11")
#define OID_BASIC_CONSTRAINTS SPAN("\x06\x03\x55\x1d\x13")
#define OID_CRL_POINTS SPAN("\x06\x03\x55\x1d\x1f")
#define OID_AUTHORITY_KEY SPAN("\x06\x03\x55\x1d\x23")
#define OID_EXTENDED_USAGE SPAN("\x06\x03\x55\x1d\x25")
#define SIGNS SPAN("\x03\x02\x07\x80")          /* digitalSignature */
#define SIGNS_AND_ENCRYPTS SPAN("\x03\x02\x05\xa0") /* and keyEncipherment: TLS 1.2 with an RSA key */
#define FOR_SERVERS SPAN("\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01")
#define NO_CA SPAN("\x30\x00")

/* The first four do not depend on the host: issuer, key, organization of the subject, extensions but for the name. The
 * others are used again and again. */
enum { ISSUER, KEY, ORGANIZATION, EXTENSIONS, BODY, WHOLE, BITS, VALIDITY, SUBJECT, NAME, ALL, MINT_BUFS };

struct mint {
	const struct ca *ca;
	uint64_t leaf_ms;
	EVP_MD_CTX *begun, *signing; /* the first is copied into the second: nothing is looked up again */
	struct span algorithm;
	struct buf bufs[MINT_BUFS];
};

/* ---- what is encoded once ---- */

static void add_extension(struct buf *out, struct span oid, bool is_critical, struct span value)
{
	struct buf content;

	buf_init(&content, MINT_MAX_BYTES);
	buf_add(&content, oid);
	if (is_critical)
		buf_add(&content, SPAN("\x01\x01\xff"));
	der_add(&content, DER_OCTET_STRING, value);
	der_add(out, DER_SEQUENCE, buf_span(&content));
	if (!buf_is_whole(&content))
		out->overflow = true;
	buf_fini(&content);
}

/* Around what is in it: `tag`. */
static void wrap(struct buf *bytes, uint8_t tag)
{
	struct buf outer;

	buf_init(&outer, MINT_MAX_BYTES);
	der_add(&outer, tag, buf_span(bytes));
	buf_reset(bytes);
	buf_add(bytes, buf_span(&outer));
	buf_fini(&outer);
}

static void add_authority_key(struct mint *mint)
{
	const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(mint->ca->certificate);
	struct buf value;

	if (id == NULL)
		return;
	buf_init(&value, MINT_MAX_BYTES);
	/* The issuer's own bytes: who computes them anew finds others where the issuer used another hash. */
	der_add(&value, 0x80, span_of(ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id)));
	wrap(&value, DER_SEQUENCE);
	add_extension(&mint->bufs[EXTENSIONS], OID_AUTHORITY_KEY, false, buf_span(&value));
	buf_fini(&value);
}

static void add_crl_point(struct mint *mint, struct span url)
{
	static const uint8_t tags[] = {0xa0, 0xa0, DER_SEQUENCE, DER_SEQUENCE};
	struct buf value;

	if (url.len == 0 || !mint->ca->signs_crls)
		return;
	buf_init(&value, MINT_MAX_BYTES);
	der_add(&value, 0x86, url);
	for (size_t i = 0; i < COUNT_OF(tags); i++)
		wrap(&value, tags[i]);
	add_extension(&mint->bufs[EXTENSIONS], OID_CRL_POINTS, false, buf_span(&value));
	buf_fini(&value);
}

/* RelativeDistinguishedName of one attribute */
static void add_attribute(struct buf *out, struct span oid, struct span text)
{
	struct buf value;

	buf_init(&value, MINT_MAX_BYTES);
	buf_add(&value, oid);
	der_add(&value, DER_UTF8_STRING, text);
	wrap(&value, DER_SEQUENCE);
	der_add(out, DER_SET, buf_span(&value));
	buf_fini(&value);
}

static bool add_encoded(struct buf *out, uint8_t *der, int len)
{
	if (len > 0)
		buf_add(out, span_of(der, (size_t)len));
	OPENSSL_free(der);
	return len > 0;
}

static bool encode_fixed(struct mint *mint, EVP_PKEY *leaf_key, const struct mint_conf *conf)
{
	bool is_rsa = EVP_PKEY_is_a(leaf_key, "RSA");
	uint8_t *issuer = NULL, *key = NULL;
	int issuer_len = i2d_X509_NAME(X509_get_subject_name(mint->ca->certificate), &issuer);
	int key_len = i2d_PUBKEY(leaf_key, &key);
	bool is_well = add_encoded(&mint->bufs[ISSUER], issuer, issuer_len);

	is_well &= add_encoded(&mint->bufs[KEY], key, key_len);
	if (conf->organization.len)
		add_attribute(&mint->bufs[ORGANIZATION], OID_ORGANIZATION, conf->organization);
	add_extension(&mint->bufs[EXTENSIONS], OID_KEY_USAGE, true, is_rsa ? SIGNS_AND_ENCRYPTS : SIGNS);
	add_extension(&mint->bufs[EXTENSIONS], OID_EXTENDED_USAGE, false, FOR_SERVERS);
	add_extension(&mint->bufs[EXTENSIONS], OID_BASIC_CONSTRAINTS, true, NO_CA);
	add_authority_key(mint);
	add_crl_point(mint, conf->crl_url);
	mint->algorithm = EVP_PKEY_is_a(mint->ca->key, "RSA") ? RSA_SHA256 : ECDSA_SHA256;
	return is_well && buf_is_whole(&mint->bufs[EXTENSIONS]);
}

static bool begin_signing(struct mint *mint)
{
	mint->begun = EVP_MD_CTX_new();
	mint->signing = EVP_MD_CTX_new();
	return mint->begun && mint->signing &&
	       EVP_DigestSignInit_ex(mint->begun, NULL, "SHA256", NULL, NULL, mint->ca->key, NULL) == 1;
}

enum err mint_new(const struct ca *ca, EVP_PKEY *leaf_key, const struct mint_conf *conf, struct mint **out)
{
	struct mint *mint = calloc(1, sizeof(*mint));

	*out = NULL;
	if (mint == NULL)
		return ERR_MEMORY;
	mint->ca = ca;
	mint->leaf_ms = conf->leaf_ms;
	for (size_t i = 0; i < MINT_BUFS; i++)
		buf_init(&mint->bufs[i], MINT_MAX_BYTES);
	if (ca->key == NULL || !encode_fixed(mint, leaf_key, conf) || !begin_signing(mint)) {
		ERR_clear_error();
		mint_free(mint);
		return ERR_MEMORY;
	}
	*out = mint;
	return ERR_NONE;
}

void mint_free(struct mint *mint)
{
	if (mint == NULL)
		return;
	EVP_MD_CTX_free(mint->begun);
	EVP_MD_CTX_free(mint->signing);
	for (size_t i = 0; i < MINT_BUFS; i++)
		buf_fini(&mint->bufs[i]);
	free(mint);
}

/* ---- hosts ---- */

bool mint_is_host(struct span host, struct address *address)
{
	struct http_host parsed;
	struct arena arena;
	struct buf text;
	bool is_same;

	*address = (struct address){.family = 0};
	if (host.len == 0 || host.len > NAME_MAX_BYTES)
		return false;
	if (address_parse(host, address)) {
		buf_init(&text, 64);
		address_format(address, &text);
		is_same = span_equal(buf_span(&text), host);
		buf_fini(&text);
		return is_same;
	}
	if (span_find(host, ':') < host.len || span_find(host, '[') < host.len)
		return false;
	arena_init(&arena, 4096);
	is_same = http_host_parse(host, 443, &arena, &parsed) == ERR_NONE && span_equal(parsed.name, host);
	arena_fini(&arena);
	return is_same;
}

/* ---- one certificate ---- */

static void add_serial(struct buf *out)
{
	uint8_t serial[SERIAL_BYTES];

	secret_random(serial, sizeof(serial));
	/* Positive, and always of this length. */
	serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40);
	der_add(out, DER_INTEGER, span_of(serial, sizeof(serial)));
}

static void add_validity(const struct mint *mint, int64_t now, struct buf *scratch, struct buf *out)
{
	int64_t from = now - BACKDATED_S, to = now + (int64_t)(mint->leaf_ms / 1000);

	buf_reset(scratch);
	der_add_time(scratch, from > mint->ca->not_before ? from : mint->ca->not_before);
	der_add_time(scratch, to < mint->ca->not_after ? to : mint->ca->not_after);
	der_add(out, DER_SEQUENCE, buf_span(scratch));
}

static void add_subject(const struct mint *mint, struct span host, struct buf *scratch, struct buf *out)
{
	buf_reset(scratch);
	buf_add(scratch, buf_span(&mint->bufs[ORGANIZATION]));
	if (host.len <= COMMON_NAME_MAX_BYTES)
		add_attribute(scratch, OID_COMMON_NAME, host);
	der_add(out, DER_SEQUENCE, buf_span(scratch));
}

static void add_extensions(struct mint *mint, struct span host, const struct address *address, struct buf *out)
{
	struct buf *name = &mint->bufs[NAME], *all = &mint->bufs[ALL];

	buf_reset(name);
	buf_reset(all);
	if (address->family)
		der_add(name, DER_IP_ADDRESS, span_of(address->bytes, address->family == AF_INET ? 4 : 16));
	else
		der_add(name, DER_DNS_NAME, host);
	wrap(name, DER_SEQUENCE);
	buf_add(all, buf_span(&mint->bufs[EXTENSIONS]));
	/* Who has no common name is known by this alone. */
	add_extension(all, OID_ALTERNATIVE_NAME, host.len > COMMON_NAME_MAX_BYTES, buf_span(name));
	wrap(all, DER_SEQUENCE);
	der_add(out, DER_EXTENSIONS, buf_span(all));
}

/* The TBSCertificate, into mint->bufs[BODY]. */
static void write_body(struct mint *mint, struct span host, const struct address *address, int64_t now)
{
	struct buf *body = &mint->bufs[BODY];

	buf_reset(body);
	buf_add(body, VERSION_3);
	add_serial(body);
	buf_add(body, mint->algorithm);
	buf_add(body, buf_span(&mint->bufs[ISSUER]));
	add_validity(mint, now, &mint->bufs[VALIDITY], body);
	add_subject(mint, host, &mint->bufs[SUBJECT], body);
	buf_add(body, buf_span(&mint->bufs[KEY]));
	add_extensions(mint, host, address, body);
	wrap(body, DER_SEQUENCE);
}

/* The whole of it around the body. */
static void finish(struct mint *mint, struct span signature, struct buf *out)
{
	struct buf *whole = &mint->bufs[WHOLE], *bits = &mint->bufs[BITS];

	buf_reset(whole);
	buf_reset(bits);
	buf_add_byte(bits, 0); /* no unused bits */
	buf_add(bits, signature);
	buf_add(whole, buf_span(&mint->bufs[BODY]));
	buf_add(whole, mint->algorithm);
	der_add(whole, DER_BIT_STRING, buf_span(bits));
	der_add(out, DER_SEQUENCE, buf_span(whole));
}

static bool is_excluded(struct mint *mint, struct buf *why)
{
	struct buf unsigned_der;
	const uint8_t *at;
	X509 *certificate;
	bool excluded = true;

	buf_init(&unsigned_der, MINT_MAX_BYTES);
	finish(mint, SPAN(""), &unsigned_der);
	at = buf_span(&unsigned_der).at;
	certificate = d2i_X509(NULL, &at, (long)buf_len(&unsigned_der));
	if (certificate)
		excluded = ca_excludes(mint->ca, certificate, why);
	X509_free(certificate);
	ERR_clear_error();
	buf_fini(&unsigned_der);
	return excluded;
}

static enum err sign(struct mint *mint, struct buf *out)
{
	uint8_t signature[SIGNATURE_MAX_BYTES];
	size_t len = sizeof(signature);
	struct span body = buf_span(&mint->bufs[BODY]);

	if (!buf_is_whole(&mint->bufs[BODY]) || EVP_MD_CTX_copy_ex(mint->signing, mint->begun) != 1 ||
	    EVP_DigestSign(mint->signing, signature, &len, body.at, body.len) != 1) {
		ERR_clear_error();
		return ERR_SYSTEM;
	}
	finish(mint, span_of(signature, len), out);
	return buf_is_whole(out) ? ERR_NONE : ERR_SYSTEM;
}

enum err mint_leaf_unchecked(struct mint *mint, struct span host, int64_t now, struct buf *out)
{
	struct address address;

	if (!mint_is_host(host, &address))
		return ERR_SYSTEM;
	write_body(mint, host, &address, now);
	return sign(mint, out);
}

enum err mint_leaf(struct mint *mint, struct span host, int64_t now, struct buf *out, struct buf *why)
{
	struct address address;

	if (!mint_is_host(host, &address)) {
		buf_add_string(why, "this is no host");
		return ERR_SIGNER_REFUSED;
	}
	if (now < mint->ca->not_before || now >= mint->ca->not_after) {
		buf_add_string(why, now < mint->ca->not_before ? "the CA is not valid yet" : "the CA has expired");
		return ERR_SIGNER_REFUSED;
	}
	write_body(mint, host, &address, now);
	if (mint->ca->is_constrained && is_excluded(mint, why))
		return ERR_SIGNER_REFUSED;
	return sign(mint, out);
}

/* ---- the revocation list ---- */

static bool add_crl_extensions(const struct ca *ca, int64_t now, X509_CRL *crl)
{
	const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(ca->certificate);
	AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
	ASN1_INTEGER *number = ASN1_INTEGER_new();
	bool is_well = id && authority && number && ASN1_INTEGER_set_int64(number, now) == 1;

	if (is_well)
		authority->keyid = ASN1_OCTET_STRING_dup(id);
	is_well = is_well && authority->keyid &&
	          X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, authority, 0, 0) == 1 &&
	          X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0) == 1;
	AUTHORITY_KEYID_free(authority);
	ASN1_INTEGER_free(number);
	return is_well;
}

static bool fill_crl(const struct ca *ca, int64_t now, X509_CRL *crl)
{
	int64_t from = now - CRL_BACKDATED_S > ca->not_before ? now - CRL_BACKDATED_S : ca->not_before;
	ASN1_TIME *last = ASN1_TIME_set(NULL, (time_t)from);
	ASN1_TIME *next = ASN1_TIME_set(NULL, (time_t)(now + MINT_CRL_DAYS * DAY_S));
	bool is_well = last && next && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
	               X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->certificate)) == 1 &&
	               X509_CRL_set1_lastUpdate(crl, last) == 1 && X509_CRL_set1_nextUpdate(crl, next) == 1 &&
	               add_crl_extensions(ca, now, crl) && X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0;

	ASN1_TIME_free(last);
	ASN1_TIME_free(next);
	return is_well;
}

enum err mint_crl(const struct ca *ca, int64_t now, struct buf *out)
{
	X509_CRL *crl = X509_CRL_new();
	uint8_t *der = NULL;
	bool is_well = crl && ca->key && fill_crl(ca, now, crl);
	int len = is_well ? i2d_X509_CRL(crl, &der) : 0;

	is_well = is_well && add_encoded(out, der, len) && buf_is_whole(out);
	X509_CRL_free(crl);
	ERR_clear_error();
	return is_well ? ERR_NONE : ERR_SYSTEM;
}
