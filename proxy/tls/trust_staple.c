/* SPDX-License-Identifier: Apache-2.0 */
/* The OCSP response that an origin staples (RFC 6960, RFC 6066 section 8), and must-staple (RFC 7633): signed by the issuer or by
 * whom the issuer has named for it, for this certificate, and of today. */
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

#include "tls/trust_private.h"

enum {
	RESPONSES_MAX = 16,                     /* that are looked at in one message */
	RESPONDERS_MAX = 5,
	SKEW_MS = 300 * 1000,                   /* of clocks */
	WITHOUT_END_MS = 7 * 24 * 3600 * 1000,  /* how long one holds that does not say */
	FEATURE_STATUS_REQUEST = 5,
};

static bool must_staple(X509 *certificate)
{
	TLS_FEATURE *features = X509_get_ext_d2i(certificate, NID_tlsfeature, NULL, NULL);
	bool must = false;

	for (int i = 0; features && i < sk_ASN1_INTEGER_num(features); i++)
		must |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == FEATURE_STATUS_REQUEST;
	TLS_FEATURE_free(features);
	return must;
}

static bool is_legacy(const struct verify *verify)
{
	return verify->exception && verify->exception->legacy;
}

/* ---- who signed ---- */

static bool is_strong(const struct verify *verify, const OCSP_BASICRESP *basic)
{
	const X509_ALGOR *algorithm = OCSP_resp_get0_tbs_sigalg(basic);
	int digest = NID_undef, key = NID_undef;

	if (is_legacy(verify))
		return true;
	OBJ_find_sigid_algs(OBJ_obj2nid(algorithm->algorithm), &digest, &key);
	return digest != NID_md5 && digest != NID_sha1 && digest != NID_md4 && digest != NID_md5_sha1;
}

/* Only its own key counts; whether it may is decided before. */
static bool is_signed_by(OCSP_BASICRESP *basic, X509 *signer)
{
	STACK_OF(X509) *only = sk_X509_new_null();
	bool is = only && sk_X509_push(only, signer) > 0 &&
	          OCSP_basic_verify(basic, only, NULL, OCSP_TRUSTOTHER | OCSP_NOINTERN) == 1;

	sk_X509_free(only);
	return is;
}

static bool may_respond(const struct verify *verify, X509 *responder)
{
	uint64_t now_ms = verify->question->wall_ms;

	return X509_check_issued(verify->issuer, responder) == X509_V_OK && (X509_get_extension_flags(responder) & EXFLAG_XKUSAGE) &&
	       (X509_get_extended_key_usage(responder) & XKU_OCSP_SIGN) &&
	       trust_time_ms(X509_get0_notBefore(responder)) <= now_ms && trust_time_ms(X509_get0_notAfter(responder)) > now_ms &&
	       X509_verify(responder, X509_get0_pubkey(verify->issuer)) == 1;
}

static bool is_authentic(const struct verify *verify, OCSP_BASICRESP *basic)
{
	const STACK_OF(X509) *sent = OCSP_resp_get0_certs(basic);

	if (is_signed_by(basic, verify->issuer))
		return true;
	for (int i = 0; sent && i < sk_X509_num(sent) && i < RESPONDERS_MAX; i++) {
		X509 *responder = sk_X509_value(sent, i);

		if (may_respond(verify, responder) && is_signed_by(basic, responder))
			return true;
	}
	return false;
}

/* ---- what it says ---- */

static const EVP_MD *digest_of(const ASN1_OBJECT *object)
{
	switch (OBJ_obj2nid(object)) {
	case NID_sha1: /* of names and keys, which nobody forges by it */
		return EVP_sha1();
	case NID_sha256:
		return EVP_sha256();
	case NID_sha384:
		return EVP_sha384();
	case NID_sha512:
		return EVP_sha512();
	default:
		return NULL;
	}
}

static bool is_for(const struct verify *verify, OCSP_SINGLERESP *single)
{
	/* Asked for only to be read; OpenSSL has no other way. */
	OCSP_CERTID *theirs = OCSP_CERTID_dup(OCSP_SINGLERESP_get0_id(single)), *ours = NULL;
	X509 *leaf = verify->question->leaf;
	ASN1_OBJECT *algorithm = NULL;
	ASN1_INTEGER *serial = NULL;
	bool is = false;

	if (theirs && OCSP_id_get0_info(NULL, &algorithm, NULL, &serial, theirs) == 1 &&
	    ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(leaf)) == 0 && digest_of(algorithm)) {
		ours = OCSP_cert_to_id(digest_of(algorithm), leaf, verify->issuer);
		is = ours && OCSP_id_cmp(ours, theirs) == 0;
	}
	OCSP_CERTID_free(theirs);
	OCSP_CERTID_free(ours);
	return is;
}

static OCSP_SINGLERESP *find_single(const struct verify *verify, OCSP_BASICRESP *basic)
{
	for (int i = 0; i < OCSP_resp_count(basic) && i < RESPONSES_MAX; i++)
		if (is_for(verify, OCSP_resp_get0(basic, i)))
			return OCSP_resp_get0(basic, i);
	return NULL;
}

static void say_staple(struct verify *verify, const char *what)
{
	trust_say(verify, TRUST_FAULT_STAPLE, 0, verify->question->leaf,
	          "the OCSP response that the origin sends with it %s; the origin's server has to fetch a new one", what);
}

static void check_single(struct verify *verify, OCSP_SINGLERESP *single)
{
	ASN1_GENERALIZEDTIME *revoked = NULL, *from = NULL, *until = NULL;
	int reason = -1, status = OCSP_single_get0_status(single, &reason, &revoked, &from, &until);
	uint64_t now_ms = verify->question->wall_ms, from_ms = trust_time_ms(from);
	uint64_t until_ms = until ? trust_time_ms(until) : from_ms + WITHOUT_END_MS;
	char date[TRUST_DATE_TEXT];

	if (from_ms == 0 || from_ms > now_ms + SKEW_MS) {
		say_staple(verify, "is of a time to come");
	} else if (until_ms + SKEW_MS <= now_ms) {
		say_staple(verify, "is out of date");
	} else if (status == V_OCSP_CERTSTATUS_REVOKED) {
		trust_say(verify, TRUST_FAULT_REVOKED, 0, verify->question->leaf, "its issuer revoked it on %s%s%s (OCSP)",
		          trust_text_date(revoked, date), reason >= 0 ? ", reason: " : "",
		          reason >= 0 ? OCSP_crl_reason_str(reason) : "");
	} else if (status != V_OCSP_CERTSTATUS_GOOD) {
		say_staple(verify, "says that its issuer does not know it");
	}
	if (until_ms + SKEW_MS < verify->until_ms)
		verify->until_ms = until_ms + SKEW_MS;
}

static void check_basic(struct verify *verify, OCSP_BASICRESP *basic)
{
	OCSP_SINGLERESP *single;

	if (!is_strong(verify, basic)) {
		say_staple(verify, "is signed with a digest that can be forged");
		return;
	}
	if (!is_authentic(verify, basic)) {
		say_staple(verify, "is not signed by its issuer, nor by whom the issuer names for it");
		return;
	}
	single = find_single(verify, basic);
	if (single)
		check_single(verify, single);
	else
		say_staple(verify, "is for another certificate");
}

static void check_response(struct verify *verify, OCSP_RESPONSE *response)
{
	OCSP_BASICRESP *basic;

	if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
		say_staple(verify, "says that the responder could not answer");
		return;
	}
	basic = OCSP_response_get1_basic(response);
	if (basic)
		check_basic(verify, basic);
	else
		say_staple(verify, "cannot be read");
	OCSP_BASICRESP_free(basic);
}

void trust_staple_check(struct verify *verify)
{
	struct span staple = verify->question->ocsp;
	const uint8_t *at = staple.at;
	OCSP_RESPONSE *response;

	if (staple.len == 0) {
		if (must_staple(verify->question->leaf))
			trust_say(verify, TRUST_FAULT_STAPLE, 0, verify->question->leaf,
			          "it must come with an OCSP response (must-staple), and the origin sends none");
		return;
	}
	verify->out->has_staple = true;
	if (sk_X509_num(verify->chain) > 1)
		verify->issuer = sk_X509_value(verify->chain, 1);
	else
		verify->issuer = verify->question->leaf;
	response = d2i_OCSP_RESPONSE(NULL, &at, (long)staple.len);
	if (response && at == staple.at + staple.len)
		check_response(verify, response);
	else
		say_staple(verify, "cannot be read");
	OCSP_RESPONSE_free(response);
}
