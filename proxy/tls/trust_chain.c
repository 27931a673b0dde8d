/* SPDX-License-Identifier: Apache-2.0 */
/* A chain from what an origin shows to a root, and whether it is good. OpenSSL builds and checks it; before it, we bound what it
 * has to do, and behind it we are as strict as browsers where it is not. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "tls/trust_private.h"

enum {
	DEPTH_MAX = 10,
	LEVEL_USUAL = 2,           /* OpenSSL's: 112 bits */
	EXTENSIONS_MAX = 64,       /* of one certificate */
	FETCHED_ELEMENTS_MAX = 500,
	ELEMENTS_MAX = 4000,       /* in all extensions together: what parsing them costs */
	CONSTRAINTS_MAX = 200000,  /* names that are compared with constraints */
	NESTED_MAX = 16,
	RSA_MAX_BITS = 8192,       /* so long a verification may take */
	RSA_EXPONENT_MAX_BITS = 64,
	NAMES_TOLD = 3,
};

/* ---- bounds ---- */

/* One element of DER; false where there is none. */
static bool next_element(struct span *rest, bool *is_constructed, struct span *content)
{
	size_t head = 2, length;

	if (rest->len < 2 || (rest->at[0] & 0x1f) == 0x1f)
		return false;
	*is_constructed = rest->at[0] & 0x20;
	length = rest->at[1];
	if (length & 0x80) {
		size_t count = length & 0x7f;

		if (count == 0 || count > 3 || rest->len < 2 + count)
			return false;
		for (length = 0; count; count--)
			length = length << 8 | rest->at[head++];
	}
	if (length > rest->len - head)
		return false;
	*content = span_of(rest->at + head, length);
	*rest = span_skip(*rest, head + length);
	return true;
}

static size_t count_elements(struct span der, unsigned nested)
{
	struct span content;
	bool is_constructed;
	size_t count = 0;

	while (next_element(&der, &is_constructed, &content)) {
		count++;
		if (is_constructed && nested < NESTED_MAX)
			count += count_elements(content, nested + 1);
	}
	return count;
}

struct amounts {
	size_t bytes, elements, names, constraints;
	bool has_huge_key, has_many_extensions;
};

static void add_extensions(X509 *certificate, struct amounts *amounts)
{
	int count = X509_get_ext_count(certificate);

	amounts->has_many_extensions |= count > EXTENSIONS_MAX;
	for (int i = 0; i < count && i < EXTENSIONS_MAX; i++) {
		X509_EXTENSION *extension = X509_get_ext(certificate, i);
		const ASN1_OCTET_STRING *data = X509_EXTENSION_get_data(extension);
		size_t elements = count_elements(span_of(ASN1_STRING_get0_data(data), (size_t)ASN1_STRING_length(data)), 0);
		int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));

		amounts->elements += elements;
		if (nid == NID_subject_alt_name)
			amounts->names += elements;
		if (nid == NID_name_constraints)
			amounts->constraints += elements;
	}
}

static bool is_huge(X509 *certificate)
{
	EVP_PKEY *key = X509_get0_pubkey(certificate);
	BIGNUM *exponent = NULL;
	bool huge = false;

	if (key == NULL || !EVP_PKEY_is_a(key, "RSA"))
		return false;
	if (EVP_PKEY_get_bn_param(key, "e", &exponent) == 1)
		huge = BN_num_bits(exponent) > RSA_EXPONENT_MAX_BITS;
	BN_free(exponent);
	return huge || EVP_PKEY_get_bits(key) > RSA_MAX_BITS;
}

static void add_amounts(X509 *certificate, struct amounts *amounts)
{
	int bytes = i2d_X509(certificate, NULL);

	amounts->bytes += bytes > 0 ? (size_t)bytes : TRUST_CHAIN_MAX_BYTES + 1;
	if (amounts->bytes > TRUST_CHAIN_MAX_BYTES)
		return;
	amounts->names += (size_t)X509_NAME_entry_count(X509_get_subject_name(certificate));
	amounts->has_huge_key |= is_huge(certificate);
	add_extensions(certificate, amounts);
}

bool trust_certificate_is_large(X509 *certificate)
{
	struct amounts amounts = {.bytes = 0};

	add_amounts(certificate, &amounts);
	return amounts.elements > FETCHED_ELEMENTS_MAX || amounts.has_many_extensions || amounts.has_huge_key;
}

bool trust_chain_is_too_large(struct verify *verify)
{
	struct amounts amounts = {.bytes = verify->question->ocsp.len > TRUST_STAPLE_MAX_BYTES ? TRUST_CHAIN_MAX_BYTES + 1 : 0};

	for (int i = 0; i < sk_X509_num(verify->known) && amounts.bytes <= TRUST_CHAIN_MAX_BYTES; i++)
		add_amounts(sk_X509_value(verify->known, i), &amounts);
	if (amounts.bytes > TRUST_CHAIN_MAX_BYTES)
		trust_say(verify, TRUST_FAULT_TOO_LARGE, 0, NULL, "it has more than %d bytes", TRUST_CHAIN_MAX_BYTES);
	else if (amounts.elements > ELEMENTS_MAX || amounts.has_many_extensions)
		trust_say(verify, TRUST_FAULT_TOO_LARGE, 0, NULL, "it has more names and extensions than are looked at");
	else if (amounts.names * amounts.constraints > CONSTRAINTS_MAX)
		trust_say(verify, TRUST_FAULT_TOO_LARGE, 0, NULL, "it has more name constraints than are looked at");
	else if (amounts.has_huge_key)
		trust_say(verify, TRUST_FAULT_TOO_LARGE, 0, NULL, "an RSA key in it is larger than any that is used: more than %d bits, "
		          "or an exponent of more than %d", RSA_MAX_BITS, RSA_EXPONENT_MAX_BITS);
	else
		return false;
	return true;
}

/* ---- what OpenSSL said ---- */

static const struct {
	int error;
	enum trust_fault fault;
	const char *text;
} errors[] = {
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, TRUST_FAULT_UNKNOWN_ISSUER, ""},
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, TRUST_FAULT_UNKNOWN_ISSUER, ""},
	{X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, TRUST_FAULT_UNKNOWN_ISSUER, ""},
	{X509_V_ERR_CERT_UNTRUSTED, TRUST_FAULT_UNKNOWN_ISSUER, "its root is not trusted for servers"},
	{X509_V_ERR_CERT_REJECTED, TRUST_FAULT_UNKNOWN_ISSUER, "its root is not trusted for servers"},
	{X509_V_ERR_CERT_SIGNATURE_FAILURE, TRUST_FAULT_OTHER, "its signature is not that of its issuer"},
	{X509_V_ERR_EE_KEY_TOO_SMALL, TRUST_FAULT_WEAK, "its key is too small; RSA has 2048 bits at least, elliptic curves 224"},
	{X509_V_ERR_CA_KEY_TOO_SMALL, TRUST_FAULT_WEAK, "its key is too small; RSA has 2048 bits at least, elliptic curves 224"},
	{X509_V_ERR_CA_MD_TOO_WEAK, TRUST_FAULT_WEAK, "it is signed with a digest that can be forged, such as SHA-1 or MD5"},
	{X509_V_ERR_INVALID_CA, TRUST_FAULT_PURPOSE, "it may not issue certificates"},
	{X509_V_ERR_INVALID_NON_CA, TRUST_FAULT_PURPOSE, "it is not for a server"},
	{X509_V_ERR_KEYUSAGE_NO_CERTSIGN, TRUST_FAULT_PURPOSE, "its key may not sign certificates"},
	{X509_V_ERR_INVALID_PURPOSE, TRUST_FAULT_PURPOSE, "it is not for TLS servers (key usage, extended key usage)"},
	{X509_V_ERR_PATH_LENGTH_EXCEEDED, TRUST_FAULT_CONSTRAINT, "more issuers stand below it than it allows (path length)"},
	{X509_V_ERR_PERMITTED_VIOLATION, TRUST_FAULT_CONSTRAINT, "its issuer may not issue for this name (permitted names)"},
	{X509_V_ERR_EXCLUDED_VIOLATION, TRUST_FAULT_CONSTRAINT, "its issuer may not issue for this name (excluded names)"},
	{X509_V_ERR_SUBTREE_MINMAX, TRUST_FAULT_CONSTRAINT, "name constraints with minimum or maximum are not known"},
	{X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE, TRUST_FAULT_CONSTRAINT, "name constraints of a kind that is not known"},
	{X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX, TRUST_FAULT_CONSTRAINT, "name constraints that cannot be read"},
	{X509_V_ERR_UNSUPPORTED_NAME_SYNTAX, TRUST_FAULT_CONSTRAINT, "a name that cannot be compared with name constraints"},
	{X509_V_ERR_CERT_CHAIN_TOO_LONG, TRUST_FAULT_TOO_LARGE, "its chain has too many issuers"},
	{X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION, TRUST_FAULT_OTHER, "it has a critical extension that is not known here"},
	{X509_V_ERR_INVALID_EXTENSION, TRUST_FAULT_OTHER, "one of its extensions cannot be read"},
	{X509_V_ERR_OUT_OF_MEM, TRUST_FAULT_OTHER, "there was no memory to look at it"},
	{X509_V_ERR_UNSPECIFIED, TRUST_FAULT_OTHER, "it could not be looked at"},
};

static void say_expired(struct verify *verify, int depth, X509 *certificate)
{
	char date[TRUST_DATE_TEXT], issuer[TRUST_NAME_TEXT];

	trust_say(verify, TRUST_FAULT_EXPIRED, depth, certificate, "expired on %s (issuer %s)",
	          trust_text_date(X509_get0_notAfter(certificate), date),
	          trust_text_name(X509_get_issuer_name(certificate), issuer));
}

static void say_not_yet(struct verify *verify, int depth, X509 *certificate)
{
	char date[TRUST_DATE_TEXT], issuer[TRUST_NAME_TEXT];

	trust_say(verify, TRUST_FAULT_NOT_YET, depth, certificate,
	          "not valid before %s (issuer %s); look at the clock of this machine, too",
	          trust_text_date(X509_get0_notBefore(certificate), date),
	          trust_text_name(X509_get_issuer_name(certificate), issuer));
}

static void add_name(struct buf *out, const GENERAL_NAME *name, unsigned *told)
{
	struct address address = {.family = 0};
	const ASN1_STRING *text = name->type == GEN_DNS ? name->d.dNSName : name->type == GEN_IPADD ? name->d.iPAddress : NULL;
	int len = text ? ASN1_STRING_length(text) : 0;

	if (text == NULL || *told == NAMES_TOLD)
		return;
	buf_add_string(out, (*told)++ ? ", " : "");
	if (name->type == GEN_DNS) {
		trust_add_text(out, span_of(ASN1_STRING_get0_data(text), (size_t)len), 64);
	} else if (len == 4 || len == 16) {
		address.family = len == 4 ? AF_INET : AF_INET6;
		memcpy(address.bytes, ASN1_STRING_get0_data(text), (size_t)len);
		address_format(&address, out);
	}
}

static void say_wrong_host(struct verify *verify, X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	int count = names ? sk_GENERAL_NAME_num(names) : 0;
	struct buf text;
	unsigned told = 0;

	buf_init(&text, 1024);
	for (int i = 0; i < count; i++)
		add_name(&text, sk_GENERAL_NAME_value(names, i), &told);
	if (told == 0)
		trust_say(verify, TRUST_FAULT_WRONG_HOST, 0, certificate,
		          "it names no host (subject alternative names are empty; a common name alone counts nowhere any more)");
	else
		trust_say(verify, TRUST_FAULT_WRONG_HOST, 0, certificate, "it is for %.*s%s", SPAN_ARG(buf_span(&text)),
		          count > NAMES_TOLD ? " and others" : "");
	buf_fini(&text);
	GENERAL_NAMES_free(names);
}

static void say_unknown_issuer(struct verify *verify, int depth, X509 *certificate)
{
	char issuer[TRUST_NAME_TEXT];

	trust_say(verify, TRUST_FAULT_UNKNOWN_ISSUER, depth, certificate,
	          "its issuer %s is not known here: the origin sends no intermediate certificate, or the issuer is not trusted; "
	          "mend the origin, or name the issuer in inspection.intermediates or, if it is a root, in inspection.trust",
	          trust_text_name(X509_get_issuer_name(certificate), issuer));
}

static void say_error(struct verify *verify, int error, int depth, X509 *certificate)
{
	for (size_t i = 0; i < COUNT_OF(errors); i++)
		if (errors[i].error == error) {
			trust_say(verify, errors[i].fault, depth, certificate, "%s", errors[i].text);
			return;
		}
	trust_say(verify, TRUST_FAULT_OTHER, depth, certificate, "%s", X509_verify_cert_error_string(error));
}

static bool is_issuer_missing(int error)
{
	return error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT || error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
	       error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

static void say(struct verify *verify, int error, int depth, X509 *certificate)
{
	switch (error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		say_expired(verify, depth, certificate);
		return;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		say_not_yet(verify, depth, certificate);
		return;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		say_wrong_host(verify, certificate);
		return;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		trust_say(verify, TRUST_FAULT_SELF_SIGNED, depth, certificate,
		          "it is signed by itself; to trust it for this host alone, pin it in inspection.exceptions");
		return;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		trust_say(verify, TRUST_FAULT_UNKNOWN_ISSUER, depth, certificate,
		          "this root is not trusted here; if it should be, name it in inspection.trust or in trust of an exception");
		return;
	default:
		if (is_issuer_missing(error))
			say_unknown_issuer(verify, depth, certificate);
		else
			say_error(verify, error, depth, certificate);
	}
}

/* ---- OpenSSL's verification ---- */

/* A host that begins with a dot would stand for all below it. */
static bool is_host(const struct trust_question *question)
{
	struct span host = question->host;

	return question->address.family || (host.len && host.at[0] != '.' && memchr(host.at, 0, host.len) == NULL);
}

static bool set_host(X509_VERIFY_PARAM *param, const struct trust_question *question)
{
	struct span host = question->host;

	if (question->address.family)
		return X509_VERIFY_PARAM_set1_ip(param, question->address.bytes, question->address.family == AF_INET ? 4 : 16) == 1;
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return X509_VERIFY_PARAM_set1_host(param, (const char *)host.at, host.len) == 1;
}

static bool prepare(struct verify *verify, X509_STORE *store, X509_STORE_CTX *context)
{
	X509_VERIFY_PARAM *param;

	if (X509_STORE_CTX_init(context, store, verify->question->leaf, verify->known) != 1 ||
	    X509_STORE_CTX_set_app_data(context, verify) != 1)
		return false;
	param = X509_STORE_CTX_get0_param(context);
	X509_VERIFY_PARAM_set_depth(param, DEPTH_MAX);
	X509_VERIFY_PARAM_set_auth_level(param, verify->exception && verify->exception->legacy ? 0 : LEVEL_USUAL);
	X509_VERIFY_PARAM_set_time(param, (time_t)(verify->question->wall_ms / 1000));
	return X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER) == 1 &&
	       X509_VERIFY_PARAM_set_trust(param, X509_TRUST_SSL_SERVER) == 1 &&
	       X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_TRUSTED_FIRST) == 1 && set_host(param, verify->question);
}

/* Where OpenSSL tolerates what browsers do not. */
static void check_strictly(struct verify *verify)
{
	X509 *leaf = verify->question->leaf;
	int count = sk_X509_num(verify->chain);

	for (int i = 1; i < count - 1; i++)
		if (X509_check_ca(sk_X509_value(verify->chain, i)) != 1) {
			trust_say(verify, TRUST_FAULT_PURPOSE, i, sk_X509_value(verify->chain, i), "it may not issue certificates");
			return;
		}
	if ((X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE) == 0 && !(verify->exception && verify->exception->legacy))
		trust_say(verify, TRUST_FAULT_PURPOSE, 0, leaf,
		          "its key may not sign (key usage without digitalSignature), as TLS wants it to");
}

void trust_chain_verify(struct verify *verify, X509_STORE *store, X509_STORE_CTX *context)
{
	int error = X509_V_ERR_OUT_OF_MEM;

	verify->out->state = TRUST_GOOD;
	if (!is_host(verify->question)) {
		trust_say(verify, TRUST_FAULT_WRONG_HOST, 0, verify->question->leaf, "no certificate can be for this name");
		return;
	}
	if (!prepare(verify, store, context)) {
		say(verify, error, 0, verify->question->leaf);
	} else if (X509_verify_cert(context) == 1) {
		verify->chain = X509_STORE_CTX_get1_chain(context);
		if (verify->chain)
			check_strictly(verify);
		else
			say(verify, error, 0, verify->question->leaf);
	} else {
		X509 *at_fault = X509_STORE_CTX_get_current_cert(context);

		error = X509_STORE_CTX_get_error(context);
		say(verify, error, X509_STORE_CTX_get_error_depth(context), at_fault ? at_fault : verify->question->leaf);
		if (at_fault && is_issuer_missing(error))
			trust_ask_for_issuer(verify, at_fault);
	}
	X509_STORE_CTX_cleanup(context);
}
