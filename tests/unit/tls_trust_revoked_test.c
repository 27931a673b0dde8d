/* SPDX-License-Identifier: Apache-2.0 */
/* What has been revoked: OCSP responses that origins staple, lists, digests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <openssl/ocsp.h>

#include "tls/trust_image.h"
#include "tls_trust_rig.h"

#define HOST "shop.example"

enum { HOUR = 3600 };

static struct rig rig;
static struct made leaf, stapled, responder;
static const struct made *const with_between[] = {&rig.between, NULL};

static int set_up(void **state)
{
	(void)state;
	rig_make(&rig);
	leaf = make(&(struct make){.name = HOST, .issuer = &rig.between, .names = "DNS:shop.example"});
	stapled = make(&(struct make){.name = HOST, .issuer = &rig.between, .names = "DNS:shop.example", .features = "status_request"});
	responder = make(&(struct make){.name = "Responder", .issuer = &rig.between, .extended = "OCSPSigning"});
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unmake(&leaf);
	unmake(&stapled);
	unmake(&responder);
	rig_fini(&rig);
	return 0;
}

/* ---- OCSP ---- */

struct staple {
	const struct made *of, *issuer, *signer; /* NULL: the leaf, the intermediate, the issuer */
	int status;
	long from, until;                        /* seconds from today; 0, 0: an hour around it; until -1: none */
	const char *digest;
	bool is_broken, is_unsigned, is_late;    /* late: status tryLater */
	bool without_certificate;                /* of the signer */
};

static ASN1_GENERALIZEDTIME *time_at(long seconds)
{
	return ASN1_GENERALIZEDTIME_set(NULL, (time_t)(CERTIFICATES_NOW_MS / 1000) + seconds);
}

/* DER in a buffer of its own; free() */
static struct span make_staple(const struct staple *how)
{
	const struct made *of = how->of ? how->of : &leaf, *issuer = how->issuer ? how->issuer : &rig.between;
	const struct made *signer = how->signer ? how->signer : issuer;
	bool usual = how->from == 0 && how->until == 0;
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), of->certificate, issuer->certificate);
	ASN1_GENERALIZEDTIME *from = time_at(usual ? -HOUR : how->from);
	ASN1_GENERALIZEDTIME *until = how->until == -1 ? NULL : time_at(usual ? HOUR / 2 : how->until), *revoked = time_at(-HOUR);
	OCSP_RESPONSE *response;
	uint8_t *der = NULL, *copy;
	int len;

	ASSERT(OCSP_basic_add1_status(basic, id, how->status, OCSP_REVOKED_STATUS_KEYCOMPROMISE,
	                              how->status == V_OCSP_CERTSTATUS_REVOKED ? revoked : NULL, from, until));
	ASSERT(OCSP_basic_sign(basic, signer->certificate, signer->key, EVP_get_digestbyname(how->digest ? how->digest : "SHA256"), NULL,
	                       how->without_certificate ? OCSP_NOCERTS : 0) == 1);
	response = OCSP_response_create(how->is_late ? OCSP_RESPONSE_STATUS_TRYLATER : OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
	len = i2d_OCSP_RESPONSE(response, &der);
	ASSERT(len > 70);
	if (how->is_broken)
		der[len - 10] ^= 1;
	if (how->is_unsigned)
		memset(der + len - 60, 0, 60);
	copy = malloc((size_t)len);
	ASSERT(copy);
	memcpy(copy, der, (size_t)len);
	OPENSSL_free(der);
	OCSP_RESPONSE_free(response);
	OCSP_BASICRESP_free(basic);
	OCSP_CERTID_free(id);
	ASN1_GENERALIZEDTIME_free(from);
	ASN1_GENERALIZEDTIME_free(until);
	ASN1_GENERALIZEDTIME_free(revoked);
	return span_of(copy, (size_t)len);
}

static void free_staple(struct span staple)
{
	union {
		const uint8_t *from;
		void *to;
	} cast = {.from = staple.at};

	free(cast.to);
}

static enum trust_fault ask_with(const struct made *of, struct staple how)
{
	enum trust_fault fault;

	how.of = how.of ? how.of : of;
	rig.ocsp = make_staple(&how);
	fault = rig_ask(&rig, HOST, of, with_between);
	free_staple(rig.ocsp);
	rig.ocsp = SPAN("");
	return fault;
}

/* V17 */
static void staples(void **state)
{
	struct made stranger = make(&(struct make){.name = "Test Intermediate", .issuer = &rig.other, .is_ca = true});
	struct made no_responder = make(&(struct make){.name = "Shop", .issuer = &rig.between, .names = "DNS:x.example"});
	struct made old = make(&(struct make){.name = "Old", .issuer = &rig.between, .extended = "OCSPSigning", .from_days = -20, .to_days = -10});
	struct made other = make(&(struct make){.name = "Other", .issuer = &rig.between, .names = "DNS:shop.example"});
	struct made false_responder = make(&(struct make){.name = "Responder", .issuer = &rig.other, .issuer_name = "Test Intermediate",
	                                                  .extended = "OCSPSigning", .is_bare = true});
	const struct {
		const char *what;
		struct staple how;
		enum trust_fault fault;
		const char *detail;
	} rows[] = {
		{"good", {.status = V_OCSP_CERTSTATUS_GOOD}, TRUST_FAULT_NONE, ""},
		{"revoked", {.status = V_OCSP_CERTSTATUS_REVOKED}, TRUST_FAULT_REVOKED, "2026-11-18, reason: keyCompromise"},
		{"unknown", {.status = V_OCSP_CERTSTATUS_UNKNOWN}, TRUST_FAULT_STAPLE, "does not know"},
		{"out of date", {.from = -9 * HOUR, .until = -HOUR}, TRUST_FAULT_STAPLE, "out of date"},
		{"out of date and revoked", {.status = V_OCSP_CERTSTATUS_REVOKED, .from = -9 * HOUR, .until = -HOUR}, TRUST_FAULT_STAPLE, "out of date"},
		{"of tomorrow", {.from = 24 * HOUR, .until = 48 * HOUR}, TRUST_FAULT_STAPLE, "to come"},
		{"without an end", {.from = -HOUR, .until = -1}, TRUST_FAULT_NONE, ""},
		{"without an end, old", {.from = -8 * 24 * HOUR, .until = -1}, TRUST_FAULT_STAPLE, "out of date"},
		{"by a responder", {.signer = &responder}, TRUST_FAULT_NONE, ""},
		{"by a responder that is not there", {.signer = &responder, .without_certificate = true}, TRUST_FAULT_STAPLE, "not signed"},
		{"by a responder, revoked", {.signer = &responder, .status = V_OCSP_CERTSTATUS_REVOKED}, TRUST_FAULT_REVOKED, ""},
		{"by a server", {.signer = &no_responder}, TRUST_FAULT_STAPLE, "not signed"},
		{"by a responder that says that it is one", {.signer = &false_responder}, TRUST_FAULT_STAPLE, "not signed"},
		{"by an old responder", {.signer = &old}, TRUST_FAULT_STAPLE, "not signed"},
		{"by another CA", {.signer = &rig.other}, TRUST_FAULT_STAPLE, "not signed"},
		{"by one of the same name", {.signer = &stranger}, TRUST_FAULT_STAPLE, "not signed"},
		{"for another certificate", {.of = &other}, TRUST_FAULT_STAPLE, "another certificate"},
		{"of another issuer", {.issuer = &stranger, .signer = &rig.between}, TRUST_FAULT_STAPLE, "another certificate"},
		{"with a broken signature", {.is_broken = true, .without_certificate = true}, TRUST_FAULT_STAPLE, "not signed"},
		{"unsigned", {.is_unsigned = true, .without_certificate = true}, TRUST_FAULT_STAPLE, "not signed"},
		{"try later", {.is_late = true}, TRUST_FAULT_STAPLE, "could not answer"},
		{"signed with SHA-1", {.digest = "SHA1"}, TRUST_FAULT_STAPLE, "forged"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		enum trust_fault fault = ask_with(&leaf, rows[i].how);

		if (fault != rows[i].fault || strstr(rig.verdict.detail, rows[i].detail) == NULL)
			fail_msg("%s: %s: %s", rows[i].what, trust_fault_token(fault), rig.verdict.detail);
		assert_true(rig.verdict.has_staple);
	}
	/* The verdict ends with the response. */
	assert_fault(TRUST_FAULT_NONE, ask_with(&leaf, (struct staple){.from = -HOUR, .until = HOUR / 4}));
	assert_int_equal(rig.verdict.until_ms, CERTIFICATES_NOW_MS + (HOUR / 4 + 300) * 1000);
	rig.ocsp = SPAN("\x30\x03\x0a\x01");
	assert_fault(TRUST_FAULT_STAPLE, rig_ask(&rig, HOST, &leaf, with_between));
	unmake(&other);
	unmake(&old);
	unmake(&false_responder);
	unmake(&no_responder);
	unmake(&stranger);
}

static void must_staple(void **state)
{
	(void)state;
	assert_fault(TRUST_FAULT_STAPLE, rig_ask(&rig, HOST, &stapled, with_between));
	assert_detail("must-staple");
	assert_false(rig.verdict.has_staple);
	assert_fault(TRUST_FAULT_NONE, ask_with(&stapled, (struct staple){.status = V_OCSP_CERTSTATUS_GOOD}));
	assert_fault(TRUST_FAULT_REVOKED, ask_with(&stapled, (struct staple){.status = V_OCSP_CERTSTATUS_REVOKED}));
}

/* ---- revocations ---- */

static char *crl_of(const struct made *issuer, const struct made *const *revoked, long *len)
{
	X509_CRL *crl = X509_CRL_new();
	BIO *bio = BIO_new(BIO_s_mem());
	time_t now = time(NULL);
	ASN1_TIME *at = ASN1_TIME_adj(NULL, now, -1, 0), *next = ASN1_TIME_adj(NULL, now, 10, 0);
	char *text, *copy;

	X509_CRL_set_version(crl, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->certificate));
	X509_CRL_set1_lastUpdate(crl, at);
	X509_CRL_set1_nextUpdate(crl, next);
	for (size_t i = 0; revoked[i]; i++) {
		X509_REVOKED *one = X509_REVOKED_new();

		X509_REVOKED_set_serialNumber(one, X509_get_serialNumber(revoked[i]->certificate));
		X509_REVOKED_set_revocationDate(one, at);
		X509_CRL_add0_revoked(crl, one);
	}
	ASSERT(X509_CRL_sign(crl, issuer->key, EVP_sha256()) > 0 && PEM_write_bio_X509_CRL(bio, crl) == 1);
	*len = BIO_get_mem_data(bio, &text);
	copy = malloc((size_t)*len + 200);
	ASSERT(copy);
	memcpy(copy, text, (size_t)*len);
	copy[*len] = '\0';
	BIO_free(bio);
	X509_CRL_free(crl);
	ASN1_TIME_free(at);
	ASN1_TIME_free(next);
	return copy;
}

static void use_list(const char *text, size_t len)
{
	rig.revocation_files[0] = folder_write(&rig.folder, text, len);
	rig.conf.revocations = (struct conf_texts){rig.revocation_files, 1};
}

/* V18 */
static void lists(void **state)
{
	const struct made *revoked[] = {&stapled, &leaf, NULL}, *others[] = {&stapled, NULL}, *below_root[] = {&rig.between, NULL};
	long len;
	char *text = crl_of(&rig.between, revoked, &len);

	(void)state;
	use_list(text, (size_t)len);
	free(text);
	rig_open(&rig);
	assert_fault(TRUST_FAULT_REVOKED, rig_ask(&rig, HOST, &leaf, with_between));
	assert_detail("inspection.revocations");
	assert_int_equal(rig.verdict.depth, 0);
	text = crl_of(&rig.between, others, &len);
	use_list(text, (size_t)len);
	free(text);
	rig_open(&rig);
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, with_between));
	/* The same serial number of another issuer. */
	text = crl_of(&rig.root, revoked, &len);
	use_list(text, (size_t)len);
	free(text);
	rig_open(&rig);
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, with_between));
	text = crl_of(&rig.root, below_root, &len);
	use_list(text, (size_t)len);
	free(text);
	rig_open(&rig);
	assert_fault(TRUST_FAULT_REVOKED, rig_ask(&rig, HOST, &leaf, with_between));
	assert_int_equal(rig.verdict.depth, 1);
}

static void digest_text(const struct made *of, char text[static 80])
{
	uint8_t digest[TRUST_DIGEST_BYTES];

	ASSERT(trust_digest(of->certificate, digest));
	snprintf(text, 80, "sha256:");
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(text + 7 + 2 * i, 3, "%02x", digest[i]);
}

static void digests(void **state)
{
	char digest[80], text[500];

	(void)state;
	digest_text(&rig.between, digest);
	snprintf(text, sizeof(text), "# what was stolen\r\n\n%s   # intermediate\n", digest);
	use_list(text, strlen(text));
	rig_open(&rig);
	assert_fault(TRUST_FAULT_REVOKED, rig_ask(&rig, HOST, &leaf, with_between));
	assert_detail("digest");
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.issuer = &rig.root}));
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {ROW(staples), ROW(must_staple), ROW(lists), ROW(digests)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
