/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/ca.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tls/mint.h"

enum { RSA_LEAST_BITS = 2048, EC_LEAST_BITS = 256, SOON_S = 30 * 86400 };

struct look {
	const struct ca_source *source;
	struct problems *problems;
	struct ca *ca;
	int64_t now;
	size_t errors;
};

static void refuse(struct look *look, const char *path, const char *format, ...) PRINTF_LIKE(3, 4);
static void refuse(struct look *look, const char *path, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	problem_add_code(look->problems, PROBLEM_BAD_CA, (struct problem_place){path, 0, 0}, NULL, "%s", text);
	look->errors++;
}

static void doubt(struct look *look, const char *format, ...) PRINTF_LIKE(2, 3);
static void doubt(struct look *look, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	problem_add_code(look->problems, PROBLEM_DOUBTFUL_CA, (struct problem_place){look->source->certificate_path, 0, 0},
	                 NULL, "%s", text);
}

/* ---- small things ---- */

int64_t ca_time(const ASN1_TIME *time)
{
	struct tm parts = {0};

	return ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

void ca_add_hex(struct span bytes, struct buf *out)
{
	for (size_t i = 0; i < bytes.len; i++)
		buf_printf(out, "%02x", bytes.at[i]);
}

void ca_digest(const X509 *certificate, uint8_t out[static 32])
{
	memset(out, 0, 32);
	if (X509_digest(certificate, EVP_sha256(), out, NULL) != 1)
		ERR_clear_error();
}

void ca_add_name(const X509_NAME *name, struct buf *out)
{
	BIO *text = BIO_new(BIO_s_mem());
	char *at;
	long len;

	if (text && X509_NAME_print_ex(text, name, 0, XN_FLAG_ONELINE & ~XN_FLAG_SPC_EQ) >= 0) {
		len = BIO_get_mem_data(text, &at);
		buf_add(out, span_of(at, (size_t)len));
	}
	BIO_free(text);
}

static void format_day(int64_t seconds, char out[static 16])
{
	time_t time = (time_t)seconds;
	struct tm parts;

	out[0] = 0;
	if (gmtime_r(&time, &parts))
		strftime(out, 16, "%Y-%m-%d", &parts);
}

/* ---- reading ---- */

/* A question for a passphrase would wait for somebody who is not there. */
static int no_passphrase(char *out, int size, int is_writing, void *was_asked)
{
	(void)out;
	(void)size;
	(void)is_writing;
	*(bool *)was_asked = true;
	return -1;
}

static BIO *bio_over(struct span text)
{
	return BIO_new_mem_buf(text.at, (int)text.len);
}

static void read_certificates(struct look *look)
{
	STACK_OF(X509) *all = look->ca->all;
	BIO *bio = bio_over(look->source->certificate);
	X509 *one;

	while (bio && sk_X509_num(all) < CA_CHAIN_MAX && (one = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		if (sk_X509_push(all, one) <= 0)
			X509_free(one);
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE && ERR_peek_last_error())
		refuse(look, look->source->certificate_path, "a certificate in it cannot be read: %s",
		       ERR_reason_error_string(ERR_peek_last_error()));
	else if (sk_X509_num(all) == 0)
		refuse(look, look->source->certificate_path,
		       "there is no certificate in it (PEM, \"-----BEGIN CERTIFICATE-----\"); sallyport ca init makes one");
	ERR_clear_error();
	BIO_free(bio);
}

static void read_key(struct look *look)
{
	const struct ca_source *source = look->source;
	bool was_asked = false;
	BIO *bio;

	if (source->key.at == NULL)
		return;
	bio = bio_over(source->key);
	look->ca->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &was_asked) : NULL;
	if (look->ca->key == NULL && was_asked)
		refuse(look, source->key_path, "the key has a passphrase, and nobody is there to say it; store it without: openssl pkey -in %s",
		       source->key_path);
	else if (look->ca->key == NULL)
		refuse(look, source->key_path, "there is no private key in it (PEM)");
	else if (look->ca->certificate && X509_check_private_key(look->ca->certificate, look->ca->key) != 1)
		refuse(look, source->key_path, "it is not the key of the certificate in %s: take the files that belong together",
		       source->certificate_path);
	ERR_clear_error();
	BIO_free(bio);
}

static bool is_root(X509 *certificate)
{
	return X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate)) == 0;
}

/* Which of them is which: the CA first, then each the issuer of the one before. */
static enum err sort_out(struct look *look)
{
	struct ca *ca = look->ca;
	STACK_OF(X509) *all = ca->all;

	for (int i = 0; i < sk_X509_num(all); i++) {
		X509 *one = sk_X509_value(all, i);

		if (i && X509_check_issued(one, sk_X509_value(all, i - 1)) != X509_V_OK) {
			refuse(look, look->source->certificate_path,
			       "certificate %d did not issue the one before it: write the CA first, then each issuer of the one before", i + 1);
			break;
		}
		ca->is_constrained |= X509_get_ext_by_NID(one, NID_name_constraints, -1) >= 0;
		if (!is_root(one) && (!X509_up_ref(one) || sk_X509_push(ca->chain, one) <= 0))
			return ERR_MEMORY;
		ca->trusted = is_root(one) ? one : ca->trusted;
	}
	ca->certificate = sk_X509_value(all, 0);
	ca->trusted = ca->trusted ? ca->trusted : ca->certificate;
	if (!X509_up_ref(ca->certificate) || !X509_up_ref(ca->trusted))
		return ERR_MEMORY;
	ca_digest(ca->certificate, ca->id);
	return ERR_NONE;
}

/* ---- what strict clients look at (RFC 5280 section 4.2.1) ---- */

static void look_at_constraints(struct look *look)
{
	const char *path = look->source->certificate_path;
	int at = X509_get_ext_by_NID(look->ca->certificate, NID_basic_constraints, -1);
	BASIC_CONSTRAINTS *basic;

	if (at < 0) {
		refuse(look, path, "it has no basicConstraints: clients take it for no CA; make it with CA:TRUE, critical");
		return;
	}
	if (!X509_EXTENSION_get_critical(X509_get_ext(look->ca->certificate, at)))
		refuse(look, path, "its basicConstraints are not critical: strict clients (Python from 3.13 on) refuse what it signs");
	basic = X509_get_ext_d2i(look->ca->certificate, NID_basic_constraints, NULL, NULL);
	if (basic == NULL || !basic->ca)
		refuse(look, path, "its basicConstraints say CA:FALSE: it may sign nothing");
	else if (basic->pathlen == NULL)
		doubt(look, "it has no pathlen: whoever gets its key can make more CAs; pathlen:0 is enough for the signer");
	BASIC_CONSTRAINTS_free(basic);
}

static void look_at_usage(struct look *look)
{
	X509 *certificate = look->ca->certificate;
	const char *path = look->source->certificate_path;
	uint32_t usage = X509_get_key_usage(certificate), extended = X509_get_extended_key_usage(certificate);

	if (X509_get_ext_by_NID(certificate, NID_key_usage, -1) < 0)
		refuse(look, path, "it has no keyUsage: strict clients refuse what it signs; make it with keyCertSign and cRLSign");
	else if (!(usage & KU_KEY_CERT_SIGN))
		refuse(look, path, "its keyUsage is without keyCertSign: it may sign no certificates");
	look->ca->signs_crls = (usage & KU_CRL_SIGN) != 0;
	if (!look->ca->signs_crls)
		doubt(look, "its keyUsage is without cRLSign: there is no revocation list, and clients of Windows (Schannel) may refuse certificates for that");
	if (X509_get_ext_by_NID(certificate, NID_ext_key_usage, -1) >= 0 && !(extended & (XKU_SSL_SERVER | XKU_ANYEKU)))
		refuse(look, path, "its extendedKeyUsage is without serverAuth: clients refuse what it signs for servers");
	if (X509_get0_subject_key_id(certificate) == NULL)
		refuse(look, path, "it has no subjectKeyIdentifier: strict clients refuse what it signs");
}

static void look_at_key(struct look *look)
{
	EVP_PKEY *key = X509_get0_pubkey(look->ca->certificate);
	const char *path = look->source->certificate_path;
	int bits = key ? EVP_PKEY_get_bits(key) : 0, digest = NID_undef;

	if (key && EVP_PKEY_is_a(key, "RSA")) {
		if (bits < RSA_LEAST_BITS)
			refuse(look, path, "its key is RSA with %d bits: clients refuse less than %d", bits, RSA_LEAST_BITS);
		else
			doubt(look, "its key is RSA with %d bits: each certificate takes %s the time that a P-256 key takes; an intermediate with P-256 (sallyport ca init --csr) is faster",
			      bits, bits > 3000 ? "more than 100 times" : "about 20 times");
	} else if (key == NULL || !EVP_PKEY_is_a(key, "EC") || bits < EC_LEAST_BITS) {
		refuse(look, path, "its key is %s with %d bits: clients take ECDSA (P-256 and larger) and RSA (from %d bits on)",
		       key ? EVP_PKEY_get0_type_name(key) : "unknown", bits, RSA_LEAST_BITS);
	}
	/* Nobody looks at a root's own signature. */
	if (!is_root(look->ca->certificate) && X509_get_signature_info(look->ca->certificate, &digest, NULL, NULL, NULL) == 1 &&
	    (digest == NID_md5 || digest == NID_sha1 || digest == NID_md5_sha1))
		refuse(look, path, "it is signed with %s, which clients refuse: have it signed with SHA-256", OBJ_nid2sn(digest));
}

static void look_at_time(struct look *look)
{
	struct ca *ca = look->ca;
	char day[16];

	ca->not_before = ca_time(X509_get0_notBefore(ca->certificate));
	ca->not_after = ca_time(X509_get0_notAfter(ca->certificate));
	for (int i = 0; i < sk_X509_num(ca->chain); i++) {
		int64_t from = ca_time(X509_get0_notBefore(sk_X509_value(ca->chain, i)));
		int64_t to = ca_time(X509_get0_notAfter(sk_X509_value(ca->chain, i)));

		ca->not_before = from > ca->not_before ? from : ca->not_before;
		ca->not_after = to < ca->not_after ? to : ca->not_after;
	}
	format_day(look->now < ca->not_before ? ca->not_before : ca->not_after, day);
	if (look->now < ca->not_before)
		refuse(look, look->source->certificate_path, "it is not valid before %s; is the clock right?", day);
	else if (look->now >= ca->not_after)
		refuse(look, look->source->certificate_path,
		       "it has expired on %s: make a new one (sallyport ca rotate), and have clients trust it", day);
	else if (ca->not_after - look->now < SOON_S)
		doubt(look, "it expires on %s: make the next one now (sallyport ca rotate), so that clients trust it in time", day);
}

/* ---- what clients do ---- */

/* Which names it may sign for is another question. */
static int forgive_names(int is_well, X509_STORE_CTX *context)
{
	int error = X509_STORE_CTX_get_error(context);

	return is_well || error == X509_V_ERR_EXCLUDED_VIOLATION || error == X509_V_ERR_PERMITTED_VIOLATION;
}

static const char *verify(const struct ca *ca, X509 *leaf, int64_t now)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	const char *why = NULL;

	if (store == NULL || context == NULL || X509_STORE_add_cert(store, ca->trusted) != 1 ||
	    X509_STORE_CTX_init(context, store, leaf, ca->chain) != 1) {
		why = "out of memory";
	} else {
		param = X509_STORE_CTX_get0_param(context);
		X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN);
		X509_VERIFY_PARAM_set_time(param, (time_t)now);
		X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER);
		X509_STORE_CTX_set_verify_cb(context, forgive_names);
		if (X509_verify_cert(context) != 1)
			why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context));
	}
	X509_STORE_CTX_free(context);
	X509_STORE_free(store);
	ERR_clear_error();
	return why;
}

/* The last word: a leaf, as clients of opened hosts get it, past OpenSSL at its strictest. */
static void try_it(struct look *look)
{
	const struct mint_conf conf = {SPAN("Sallyport"), SPAN(""), UINT64_C(86400000)};
	EVP_PKEY *key = EVP_EC_gen("P-256");
	struct mint *mint = NULL;
	const char *why = "it cannot sign";
	struct buf der;
	X509 *leaf = NULL;

	buf_init(&der, MINT_MAX_BYTES);
	if (key && mint_new(look->ca, key, &conf, &mint) == ERR_NONE &&
	    mint_leaf_unchecked(mint, SPAN("check.invalid"), look->now, &der) == ERR_NONE) {
		const uint8_t *at = buf_span(&der).at;

		leaf = d2i_X509(NULL, &at, (long)buf_len(&der));
		why = leaf ? verify(look->ca, leaf, look->now) : "the certificate cannot be read again";
	}
	if (why)
		refuse(look, look->source->certificate_path, "a certificate that it has signed is refused by strict clients: %s", why);
	X509_free(leaf);
	mint_free(mint);
	EVP_PKEY_free(key);
	buf_fini(&der);
	ERR_clear_error();
}

static void look_at(struct look *look)
{
	look_at_constraints(look);
	look_at_usage(look);
	look_at_key(look);
	look_at_time(look);
	if (look->errors == 0 && look->ca->key)
		try_it(look);
}

enum err ca_open(const struct ca_source *source, int64_t now, struct problems *problems, struct ca **out)
{
	struct ca *ca = calloc(1, sizeof(*ca));
	struct look look = {source, problems, ca, now, 0};
	enum err err = ERR_NONE;

	*out = NULL;
	if (ca == NULL)
		return ERR_MEMORY;
	ca->all = sk_X509_new_null();
	ca->chain = sk_X509_new_null();
	if (ca->all == NULL || ca->chain == NULL)
		err = ERR_MEMORY;
	if (err == ERR_NONE)
		read_certificates(&look);
	if (err == ERR_NONE && sk_X509_num(ca->all))
		err = sort_out(&look);
	if (err == ERR_NONE)
		read_key(&look);
	if (err == ERR_NONE && ca->certificate)
		look_at(&look);
	if (err == ERR_NONE && look.errors)
		err = ERR_CONFIG;
	if (err)
		ca_free(ca);
	else
		*out = ca;
	return err;
}

void ca_free(struct ca *ca)
{
	if (ca == NULL)
		return;
	X509_free(ca->certificate);
	X509_free(ca->trusted);
	EVP_PKEY_free(ca->key);
	sk_X509_pop_free(ca->all, X509_free);
	sk_X509_pop_free(ca->chain, X509_free);
	free(ca);
}
