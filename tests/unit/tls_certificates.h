/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates made in a test, good ones and bad ones. */
#ifndef TESTS_UNIT_TLS_CERTIFICATES_H
#define TESTS_UNIT_TLS_CERTIFICATES_H

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

#define CERTIFICATES_NOW_MS UINT64_C(1795000000000) /* 2026-11-18: what tests take for today */

enum key_kind { KEY_P256, KEY_P384, KEY_P192, KEY_RSA2048, KEY_RSA1024, KEY_RSA512, KEY_HUGE_EXPONENT };

struct made {
	EVP_PKEY *key;
	X509 *certificate;
};

struct make {
	const char *name;            /* common name; NULL: an empty subject */
	const struct made *issuer;   /* NULL: itself */
	const char *issuer_name;     /* another one than the issuer has */
	enum key_kind kind;
	const struct made *key_of;   /* take this one's key */
	int from_days, to_days;      /* 0, 0: a year around today */
	const char *names;           /* "DNS:a.example,IP:192.0.2.1" */
	const char *basic, *usage, *extended, *constraints, *access, *features; /* as openssl.cnf has them */
	bool is_ca;                  /* basic and usage of a CA, where they are NULL */
	bool is_v1;                  /* no extensions at all */
	bool is_bare;                /* a leaf without those that are there by themselves */
	const char *digest;          /* "SHA256" */
	X509_EXTENSION *more;        /* taken over */
	long serial;                 /* 0: the next one */
};

static inline EVP_PKEY *make_key(enum key_kind kind)
{
	EVP_PKEY_CTX *context;
	EVP_PKEY *key = NULL;
	BIGNUM *exponent = NULL;

	switch (kind) {
	case KEY_P256:
		return EVP_EC_gen("P-256");
	case KEY_P384:
		return EVP_EC_gen("P-384");
	case KEY_P192:
		return EVP_EC_gen("prime192v1");
	case KEY_RSA2048:
		return EVP_RSA_gen(2048);
	case KEY_RSA1024:
		return EVP_RSA_gen(1024);
	case KEY_RSA512:
		return EVP_RSA_gen(512);
	case KEY_HUGE_EXPONENT:
		break;
	}
	context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	BN_hex2bn(&exponent, "10000000000000000000000000000000000000000000000000000000000000001F");
	ASSERT(context && EVP_PKEY_keygen_init(context) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(context, 2048) == 1 &&
	       EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context, exponent) == 1 && EVP_PKEY_generate(context, &key) == 1);
	BN_free(exponent);
	EVP_PKEY_CTX_free(context);
	return key;
}

static inline void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	if (value == NULL || value[0] == '\0')
		return;
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	if (extension == NULL)
		ERR_print_errors_fp(stderr);
	ASSERT(extension && X509_add_ext(certificate, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

static inline void set_times(X509 *certificate, const struct make *make)
{
	time_t now = (time_t)(CERTIFICATES_NOW_MS / 1000);
	bool usual = make->from_days == 0 && make->to_days == 0;

	ASSERT(X509_time_adj_ex(X509_getm_notBefore(certificate), usual ? -180 : make->from_days, 0, &now));
	ASSERT(X509_time_adj_ex(X509_getm_notAfter(certificate), usual ? 180 : make->to_days, 0, &now));
}

static inline X509_NAME *make_name(const char *text)
{
	X509_NAME *name = X509_NAME_new();

	ASSERT(name);
	if (text && text[0])
		ASSERT(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0) == 1);
	return name;
}

static inline void add_extensions(X509 *certificate, X509 *issuer, const struct make *make)
{
	const char *basic = make->basic ? make->basic : make->is_ca ? "critical,CA:TRUE" : NULL;
	const char *usage = make->usage  ? make->usage
	                    : make->is_ca ? "critical,keyCertSign,cRLSign"
	                    : make->is_bare ? NULL
	                                    : "critical,digitalSignature";

	add_extension(certificate, issuer, NID_subject_key_identifier, make->is_bare ? NULL : "hash");
	if (issuer != certificate && X509_get0_subject_key_id(issuer))
		add_extension(certificate, issuer, NID_authority_key_identifier, make->is_bare ? NULL : "keyid");
	add_extension(certificate, issuer, NID_basic_constraints, basic);
	add_extension(certificate, issuer, NID_key_usage, usage);
	add_extension(certificate, issuer, NID_ext_key_usage, make->extended ? make->extended : make->is_ca || make->is_bare ? NULL : "serverAuth");
	add_extension(certificate, issuer, NID_subject_alt_name, make->names);
	add_extension(certificate, issuer, NID_name_constraints, make->constraints);
	add_extension(certificate, issuer, NID_info_access, make->access);
	add_extension(certificate, issuer, NID_tlsfeature, make->features);
	if (make->more)
		ASSERT(X509_add_ext(certificate, make->more, -1) == 1);
	X509_EXTENSION_free(make->more);
}

static inline struct made make(const struct make *make)
{
	static long serial = 1000;
	struct made made = {.certificate = X509_new()};
	X509_NAME *subject = make_name(make->name), *other = make->issuer_name ? make_name(make->issuer_name) : NULL;
	X509 *issuer = make->issuer ? make->issuer->certificate : made.certificate;

	ASSERT(made.certificate);
	made.key = make->key_of ? make->key_of->key : make_key(make->kind);
	ASSERT(made.key);
	if (make->key_of)
		EVP_PKEY_up_ref(made.key);
	ASSERT(X509_set_version(made.certificate, make->is_v1 ? X509_VERSION_1 : X509_VERSION_3) == 1);
	ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), make->serial ? make->serial : ++serial);
	set_times(made.certificate, make);
	X509_set_subject_name(made.certificate, subject);
	X509_set_issuer_name(made.certificate, other ? other : X509_get_subject_name(issuer));
	X509_set_pubkey(made.certificate, made.key);
	if (!make->is_v1)
		add_extensions(made.certificate, issuer, make);
	ASSERT(X509_sign(made.certificate, make->issuer ? make->issuer->key : made.key,
	                 EVP_get_digestbyname(make->digest ? make->digest : "SHA256")) > 0);
	X509_NAME_free(subject);
	X509_NAME_free(other);
	return made;
}

static inline void unmake(struct made *made)
{
	EVP_PKEY_free(made->key);
	X509_free(made->certificate);
	*made = (struct made){NULL, NULL};
}

#endif
