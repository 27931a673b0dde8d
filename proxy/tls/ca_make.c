/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/ca_make.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "tls/mint.h"

enum { SERIAL_BYTES = 16, BACKDATED_S = 48 * 3600, DAY_S = 86400 };

/* ---- excludes ---- */

static struct span zone_of(struct span text)
{
	if (text.len && text.at[0] == '*')
		text = span_skip(text, 1);
	return text.len && text.at[0] == '.' ? span_skip(text, 1) : text;
}

bool ca_is_exclude(struct span text, bool *is_network)
{
	struct network network;
	struct address address;
	struct span zone = zone_of(text);

	*is_network = network_parse(text, false, &network);
	return *is_network || (mint_is_host(zone, &address) && address.family == 0);
}

bool ca_excludes_addresses(const struct ca_wish *wish)
{
	bool is_network = false, any_zone = false, any_network = false;

	for (size_t i = 0; i < wish->exclude_count; i++)
		if (ca_is_exclude(wish->excludes[i], &is_network)) {
			any_network |= is_network;
			any_zone |= !is_network;
		}
	return any_zone && !any_network;
}

static bool push(NAME_CONSTRAINTS *constraints, int type, struct span value)
{
	GENERAL_SUBTREE *tree = GENERAL_SUBTREE_new();
	ASN1_STRING *text = ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);

	if (tree == NULL || text == NULL || ASN1_STRING_set(text, value.at, (int)value.len) != 1 ||
	    sk_GENERAL_SUBTREE_push(constraints->excludedSubtrees, tree) <= 0) {
		GENERAL_SUBTREE_free(tree);
		ASN1_STRING_free(text);
		return false;
	}
	GENERAL_NAME_set0_value(tree->base, type, text);
	return true;
}

static bool push_network(NAME_CONSTRAINTS *constraints, const struct network *network)
{
	size_t len = network->base.family == AF_INET ? 4 : 16;
	uint8_t both[32] = {0};

	memcpy(both, network->base.bytes, len);
	for (size_t i = 0; i < network->prefix_len; i++)
		both[len + i / 8] |= (uint8_t)(0x80 >> i % 8);
	return push(constraints, GEN_IPADD, span_of(both, 2 * len));
}

static bool push_all_addresses(NAME_CONSTRAINTS *constraints)
{
	const struct network v4 = {.base.family = AF_INET}, v6 = {.base.family = AF_INET6};

	return push_network(constraints, &v4) && push_network(constraints, &v6);
}

/* NULL: there is nothing to exclude, or (*is_well false) it cannot be made. */
static NAME_CONSTRAINTS *make_constraints(const struct ca_wish *wish, bool *is_well)
{
	NAME_CONSTRAINTS *constraints = wish->exclude_count ? NAME_CONSTRAINTS_new() : NULL;
	struct network network;

	*is_well = wish->exclude_count == 0 || constraints;
	if (constraints == NULL)
		return NULL;
	constraints->excludedSubtrees = sk_GENERAL_SUBTREE_new_null();
	*is_well = constraints->excludedSubtrees != NULL;
	for (size_t i = 0; *is_well && i < wish->exclude_count; i++)
		*is_well = network_parse(wish->excludes[i], false, &network)
		                   ? push_network(constraints, &network)
		                   : push(constraints, GEN_DNS, zone_of(wish->excludes[i]));
	/* Only names are excluded otherwise, and https://10.1.2.3/ is opened. */
	if (*is_well && ca_excludes_addresses(wish))
		*is_well = push_all_addresses(constraints);
	return constraints;
}

/* ---- extensions ---- */

static bool push_extension(STACK_OF(X509_EXTENSION) **all, int nid, bool is_critical, void *value)
{
	return value && X509V3_add1_i2d(all, nid, value, is_critical, X509V3_ADD_APPEND) == 1;
}

static bool push_usage(STACK_OF(X509_EXTENSION) **all)
{
	ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
	EXTENDED_KEY_USAGE *extended = sk_ASN1_OBJECT_new_null();
	bool is_well = usage && extended && ASN1_BIT_STRING_set_bit(usage, 5, 1) == 1 && /* keyCertSign */
	               ASN1_BIT_STRING_set_bit(usage, 6, 1) == 1 &&                      /* cRLSign */
	               sk_ASN1_OBJECT_push(extended, OBJ_nid2obj(NID_server_auth)) > 0 &&
	               push_extension(all, NID_key_usage, true, usage) && push_extension(all, NID_ext_key_usage, false, extended);

	ASN1_BIT_STRING_free(usage);
	sk_ASN1_OBJECT_free(extended);
	return is_well;
}

static bool push_basic(STACK_OF(X509_EXTENSION) **all)
{
	BASIC_CONSTRAINTS *basic = BASIC_CONSTRAINTS_new();
	bool is_well;

	if (basic) {
		basic->ca = 0xff;
		basic->pathlen = ASN1_INTEGER_new();
	}
	is_well = basic && basic->pathlen && ASN1_INTEGER_set(basic->pathlen, 0) == 1 &&
	          push_extension(all, NID_basic_constraints, true, basic);
	BASIC_CONSTRAINTS_free(basic);
	return is_well;
}

/* Its own id is the authority's, too. */
static bool push_key_id(STACK_OF(X509_EXTENSION) **all, EVP_PKEY *key, bool is_request)
{
	uint8_t *der = NULL, digest[EVP_MAX_MD_SIZE];
	int len = i2d_PUBKEY(key, &der);
	ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
	AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
	bool is_well = len > 0 && id && authority && EVP_Digest(der, (size_t)len, digest, NULL, EVP_sha256(), NULL) == 1 &&
	               ASN1_OCTET_STRING_set(id, digest, 20) == 1 && push_extension(all, NID_subject_key_identifier, false, id);

	if (is_well && !is_request) {
		authority->keyid = ASN1_OCTET_STRING_dup(id);
		is_well = authority->keyid && push_extension(all, NID_authority_key_identifier, false, authority);
	}
	OPENSSL_free(der);
	ASN1_OCTET_STRING_free(id);
	AUTHORITY_KEYID_free(authority);
	return is_well;
}

static STACK_OF(X509_EXTENSION) *make_extensions(const struct ca_wish *wish, EVP_PKEY *key)
{
	STACK_OF(X509_EXTENSION) *all = NULL;
	bool is_well;
	NAME_CONSTRAINTS *constraints = make_constraints(wish, &is_well);

	is_well = is_well && push_basic(&all) && push_usage(&all) && push_key_id(&all, key, wish->is_request);
	if (is_well && constraints)
		is_well = push_extension(&all, NID_name_constraints, true, constraints);
	NAME_CONSTRAINTS_free(constraints);
	if (is_well)
		return all;
	sk_X509_EXTENSION_pop_free(all, X509_EXTENSION_free);
	return NULL;
}

/* ---- certificate and request ---- */

static bool fill_name(X509_NAME *name, const struct ca_wish *wish)
{
	bool is_well = name != NULL;

	if (is_well && wish->organization.len)
		is_well = X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8, wish->organization.at,
		                                     (int)wish->organization.len, -1, 0) == 1;
	return is_well && X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, wish->name.at,
	                                             (int)wish->name.len, -1, 0) == 1;
}

static bool set_serial(X509 *certificate)
{
	uint8_t serial[SERIAL_BYTES];
	BIGNUM *number;
	bool is_well;

	secret_random(serial, sizeof(serial));
	serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40);
	number = BN_bin2bn(serial, sizeof(serial), NULL);
	is_well = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
	BN_free(number);
	return is_well;
}

static bool write_certificate(const struct ca_wish *wish, int64_t now, X509_NAME *name, EVP_PKEY *key,
                              STACK_OF(X509_EXTENSION) *extensions, BIO *out)
{
	X509 *certificate = X509_new();
	bool is_well = certificate && X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
	               X509_set_issuer_name(certificate, name) == 1 && X509_set_subject_name(certificate, name) == 1 &&
	               ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)(now - BACKDATED_S)) != NULL &&
	               ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)(now + (int64_t)wish->days * DAY_S)) != NULL &&
	               X509_set_pubkey(certificate, key) == 1;

	for (int i = 0; is_well && i < sk_X509_EXTENSION_num(extensions); i++)
		is_well = X509_add_ext(certificate, sk_X509_EXTENSION_value(extensions, i), -1) == 1;
	is_well = is_well && X509_sign(certificate, key, EVP_sha256()) > 0 && PEM_write_bio_X509(out, certificate) == 1;
	X509_free(certificate);
	return is_well;
}

static bool write_request(X509_NAME *name, EVP_PKEY *key, STACK_OF(X509_EXTENSION) *extensions, BIO *out)
{
	X509_REQ *request = X509_REQ_new();
	bool is_well = request && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
	               X509_REQ_set_subject_name(request, name) == 1 && X509_REQ_set_pubkey(request, key) == 1 &&
	               X509_REQ_add_extensions(request, extensions) == 1 && X509_REQ_sign(request, key, EVP_sha256()) > 0 &&
	               PEM_write_bio_X509_REQ(out, request) == 1;

	X509_REQ_free(request);
	return is_well;
}

static bool take(BIO *from, struct buf *to)
{
	char *at;
	long len = BIO_get_mem_data(from, &at);

	buf_add(to, span_of(at, (size_t)len));
	OPENSSL_cleanse(at, (size_t)len);
	return len > 0 && buf_is_whole(to);
}

enum err ca_make(const struct ca_wish *wish, int64_t now, struct buf *certificate, struct buf *key)
{
	EVP_PKEY *pair = EVP_EC_gen("P-256");
	X509_NAME *name = X509_NAME_new();
	BIO *public = BIO_new(BIO_s_mem()), *private = BIO_new(BIO_s_mem());
	STACK_OF(X509_EXTENSION) *extensions = pair ? make_extensions(wish, pair) : NULL;
	bool is_network, is_well = extensions && public && private && fill_name(name, wish);
	enum err err = ERR_NONE;

	for (size_t i = 0; i < wish->exclude_count; i++)
		if (!ca_is_exclude(wish->excludes[i], &is_network))
			err = ERR_CONFIG;
	if (is_well && err == ERR_NONE)
		is_well = (wish->is_request ? write_request(name, pair, extensions, public)
		                            : write_certificate(wish, now, name, pair, extensions, public)) &&
		          PEM_write_bio_PKCS8PrivateKey(private, pair, NULL, NULL, 0, NULL, NULL) == 1 &&
		          take(public, certificate) && take(private, key);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	X509_NAME_free(name);
	EVP_PKEY_free(pair);
	BIO_free(public);
	BIO_free(private);
	ERR_clear_error();
	return err ? err : is_well ? ERR_NONE : ERR_SYSTEM;
}
