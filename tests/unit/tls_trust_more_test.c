/* SPDX-License-Identifier: Apache-2.0 */
/* What trust knows beside chains: exceptions, missing issuers, remembered verdicts; and its files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tls/trust_image.h"
#include "tls_trust_rig.h"

#define HOST "shop.example"
#define URL "http://pki.example/between.cer"

enum { HOUR = 3600 };

static struct rig rig;
static struct made leaf;
static const struct made *const with_between[] = {&rig.between, NULL};

static int set_up(void **state)
{
	(void)state;
	rig_make(&rig);
	leaf = make(&(struct make){.name = HOST, .issuer = &rig.between, .names = "DNS:shop.example", .access = "caIssuers;URI:" URL});
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unmake(&leaf);
	rig_fini(&rig);
	return 0;
}

/* ---- exceptions ---- */

static void use_list(const char *text, size_t len)
{
	rig.revocation_files[0] = folder_write(&rig.folder, text, len);
	rig.conf.revocations = (struct conf_texts){rig.revocation_files, 1};
}

static void digest_text(const struct made *of, char text[static 80])
{
	uint8_t digest[TRUST_DIGEST_BYTES];

	ASSERT(trust_digest(of->certificate, digest));
	snprintf(text, 80, "sha256:");
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(text + 7 + 2 * i, 3, "%02x", digest[i]);
}

static void except(const char *to, struct exception_conf exception)
{
	static const char *tos[4];

	tos[rig.exception_count] = to;
	exception.to = (struct conf_texts){&tos[rig.exception_count], 1};
	exception.least_version = TLS1_2_VERSION;
	rig.exceptions[rig.exception_count++] = exception;
}

static void patterns(void **state)
{
	static const char *const tos[] = {"a.example", "*.b.example", ".C.example", "192.0.2.1", "[2001:db8::1]", "d.example."};
	static const struct {
		const char *host;
		bool is_there;
	} rows[] = {
		{"a.example", true}, {"x.a.example", false}, {"xa.example", false}, {"b.example", false}, {"x.b.example", true},
		{"x.y.b.example", true}, {"xb.example", false}, {".b.example", false}, {"c.example", true}, {"x.c.example", true},
		{"xc.example", false}, {"192.0.2.1", true}, {"192.0.2.10", false}, {"2001:db8::1", true}, {"2001:db8::2", false},
		{"d.example", true}, {"", false}, {"example", false},
	};
	unsigned number;

	(void)state;
	rig.exceptions[0].to = (struct conf_texts){tos, COUNT_OF(tos)};
	rig.exceptions[1].to = (struct conf_texts){tos, 1};
	rig.exception_count = 2;
	rig_open(&rig);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct exception_conf *found = trust_exception(rig.trust, span_from(rows[i].host), &number);

		if ((found != NULL) != rows[i].is_there)
			fail_msg("%s", rows[i].host);
		assert_ptr_equal(found, rows[i].is_there ? &rig.exceptions[0] : NULL);
		assert_int_equal(number, rows[i].is_there);
	}
}

static void private_roots(void **state)
{
	const struct made *roots[] = {&rig.other};
	const char *file = folder_write_certificates(&rig.folder, roots, 1);

	(void)state;
	except(".corp.example", (struct exception_conf){.trust = {&file, 1}});
	rig_open(&rig);
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, "a.corp.example", (struct make){.issuer = &rig.other, .names = "DNS:a.corp.example,DNS:shop.example"}));
	assert_int_equal(rig.verdict.exception, 1);
	/* For no other host; and the usual roots stay. */
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_try(&rig, HOST, (struct make){.issuer = &rig.other, .names = "DNS:a.corp.example,DNS:shop.example"}));
	assert_int_equal(rig.verdict.exception, 0);
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, "a.corp.example", (struct make){.names = "DNS:a.corp.example"}));
}

static void pins(void **state)
{
	struct made lone = make(&(struct make){.name = "device", .from_days = -20, .to_days = -10});
	struct made other = make(&(struct make){.name = "device", .from_days = -20, .to_days = -10});
	char digest[80], upper[80];
	const char *pin = upper;

	(void)state;
	digest_text(&lone, digest);
	memcpy(upper, digest, sizeof(upper));
	for (size_t i = 7; upper[i]; i++)
		upper[i] = (char)(upper[i] >= 'a' ? upper[i] - 32 : upper[i]);
	except("192.0.2.1", (struct exception_conf){.pins = {&pin, 1}});
	except(HOST, (struct exception_conf){.pins = {&pin, 1}});
	rig_open(&rig);
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, "192.0.2.1", &lone, NULL));
	assert_int_equal(rig.verdict.exception, 1);
	assert_fault(TRUST_FAULT_PIN, rig_ask(&rig, "192.0.2.1", &other, NULL));
	assert_detail("sha256:");
	/* Nor one that is good otherwise; and it is for these hosts alone. */
	assert_fault(TRUST_FAULT_PIN, rig_ask(&rig, HOST, &leaf, with_between));
	assert_int_equal(rig.verdict.exception, 2);
	assert_fault(TRUST_FAULT_SELF_SIGNED, rig_ask(&rig, "192.0.2.2", &lone, NULL));
	/* Revoked is revoked. */
	use_list(digest, strlen(digest));
	rig_open(&rig);
	assert_fault(TRUST_FAULT_REVOKED, rig_ask(&rig, "192.0.2.1", &lone, NULL));
	unmake(&lone);
	unmake(&other);
}

static void legacy(void **state)
{
	(void)state;
	except("old.example", (struct exception_conf){.legacy = true});
	rig_open(&rig);
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, "old.example", (struct make){.names = "DNS:old.example", .kind = KEY_RSA1024}));
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, "old.example", (struct make){.names = "DNS:old.example", .digest = "SHA1"}));
	assert_fault(TRUST_FAULT_EXPIRED, rig_try(&rig, "old.example", (struct make){.names = "DNS:old.example", .digest = "SHA1", .from_days = -9, .to_days = -1}));
	assert_fault(TRUST_FAULT_WEAK, rig_try(&rig, HOST, (struct make){.names = "DNS:old.example,DNS:shop.example", .digest = "SHA1"}));
}

/* ---- missing issuers ---- */

static struct span der_of(const struct made *made, uint8_t **der)
{
	int len = i2d_X509(made->certificate, der);

	ASSERT(len > 0);
	return span_of(*der, (size_t)len);
}

static void add_issuer(const char *url, const struct made *made)
{
	uint8_t *der = NULL;

	trust_add_issuer(rig.trust, url, der_of(made, &der), rig.wall_ms);
	OPENSSL_free(der);
}

static void from_a_file(void **state)
{
	const struct made *between[] = {&rig.between};

	(void)state;
	rig.between_files[0] = folder_write_certificates(&rig.folder, between, 1);
	rig.conf.intermediates = (struct conf_texts){rig.between_files, 1};
	rig_open(&rig);
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, NULL));
	assert_int_equal(rig.verdict.state, TRUST_GOOD);
}

static void asks_for_issuer(void **state)
{
	(void)state;
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, NULL));
	assert_int_equal(rig.verdict.state, TRUST_NEEDS_ISSUER);
	assert_string_equal(rig.verdict.url, URL);
	add_issuer(URL, &rig.between);
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, NULL));
	/* It is forgotten after a day, and so is the verdict. */
	rig.wall_ms += UINT64_C(24) * HOUR * 1000;
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, NULL));
	assert_int_equal(rig.verdict.state, TRUST_NEEDS_ISSUER);
	/* Nothing came: not again for ten minutes. */
	trust_add_issuer(rig.trust, URL, SPAN(""), rig.wall_ms);
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, NULL));
	assert_int_equal(rig.verdict.state, TRUST_BAD);
	rig.wall_ms += 599 * 1000;
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, NULL));
	assert_int_equal(rig.verdict.state, TRUST_BAD);
	rig.wall_ms += 2 * 1000;
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, NULL));
	assert_int_equal(rig.verdict.state, TRUST_NEEDS_ISSUER);
	/* Garbage is nothing. */
	trust_add_issuer(rig.trust, URL, SPAN("<html>"), rig.wall_ms);
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, NULL));
	assert_int_equal(rig.verdict.state, TRUST_BAD);
	rig.conf.aia = false;
	rig_open(&rig);
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, NULL));
	assert_int_equal(rig.verdict.state, TRUST_BAD);
}

static void issuers_in_pkcs7(void **state)
{
	PKCS7 *message = PKCS7_new();
	uint8_t *der = NULL;
	int len;

	(void)state;
	PKCS7_set_type(message, NID_pkcs7_signed);
	PKCS7_content_new(message, NID_pkcs7_data);
	PKCS7_add_certificate(message, rig.other.certificate);
	PKCS7_add_certificate(message, rig.between.certificate);
	len = i2d_PKCS7(message, &der);
	assert_true(len > 0);
	trust_add_issuer(rig.trust, URL, span_of(der, (size_t)len), rig.wall_ms);
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, NULL));
	OPENSSL_free(der);
	PKCS7_free(message);
}

/* What one certificate's URL gave is not used for another's, and two levels are enough. */
static void issuers_of_strangers(void **state)
{
	struct made plain = make(&(struct make){.name = HOST, .issuer = &rig.between, .names = "DNS:shop.example"});
	struct made tower[4], top;
	char url[40];

	(void)state;
	add_issuer(URL, &rig.between);
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &plain, NULL));
	assert_int_equal(rig.verdict.state, TRUST_BAD);
	for (size_t i = 0; i < COUNT_OF(tower); i++) {
		char name[20], access[60];

		snprintf(name, sizeof(name), "Level %zu", i);
		snprintf(access, sizeof(access), "caIssuers;URI:http://pki.example/%zu", i);
		tower[i] = make(&(struct make){.name = name, .issuer = i ? &tower[i - 1] : &rig.root, .is_ca = true, .access = access});
	}
	top = make(&(struct make){.name = HOST, .issuer = &tower[3], .names = "DNS:shop.example", .access = "caIssuers;URI:http://pki.example/4"});
	for (size_t i = 4; i > 2; i--) {
		snprintf(url, sizeof(url), "http://pki.example/%zu", i);
		assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &top, NULL));
		assert_int_equal(rig.verdict.state, TRUST_NEEDS_ISSUER);
		assert_string_equal(rig.verdict.url, url);
		add_issuer(url, &tower[i - 1]);
	}
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &top, NULL));
	assert_int_equal(rig.verdict.state, TRUST_BAD);
	for (size_t i = 0; i < COUNT_OF(tower); i++)
		unmake(&tower[i]);
	unmake(&top);
	unmake(&plain);
}

/* One who names a URL may have put there what takes long to look at. */
static void hostile_issuers(void **state)
{
	char names[16000] = "DNS:a.example";
	struct made large, huge;

	(void)state;
	for (unsigned i = 0; i < 600; i++)
		snprintf(names + strlen(names), 20, ",DNS:a%u.example", i);
	large = make(&(struct make){.name = "Test Intermediate", .issuer = &rig.root, .is_ca = true, .key_of = &rig.between, .names = names});
	huge = make(&(struct make){.name = "Test Intermediate", .issuer = &rig.root, .is_ca = true, .kind = KEY_HUGE_EXPONENT});
	add_issuer(URL, &large);
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, NULL));
	add_issuer(URL, &huge);
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, NULL));
	add_issuer(URL, &rig.between);
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, NULL));
	unmake(&large);
	unmake(&huge);
}

static void urls_that_are_not_fetched(void **state)
{
	static const char *const accesses[] = {"caIssuers;URI:https://pki.example/a", "caIssuers;URI:ldap://pki.example/a", "OCSP;URI:http://pki.example/a",
	                                       "caIssuers;email:a@pki.example", "caIssuers;URI:http://", "caIssuers;URI:http://pki.example/a b"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(accesses); i++) {
		struct made one = make(&(struct make){.name = HOST, .issuer = &rig.between, .names = "DNS:shop.example", .access = accesses[i]});

		assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &one, NULL));
		assert_int_equal(rig.verdict.state, TRUST_BAD);
		unmake(&one);
	}
	/* Many are remembered, not all. */
	for (unsigned i = 0; i < 1000; i++) {
		char url[40];

		snprintf(url, sizeof(url), "http://pki.example/%u", i);
		add_issuer(url, &rig.between);
	}
}

/* ---- remembered verdicts ---- */

static void remembered(void **state)
{
	struct trust_verdict first;

	(void)state;
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, with_between));
	first = rig.verdict;
	rig.wall_ms += 10 * 60 * 1000;
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, with_between));
	assert_int_equal(rig.verdict.until_ms, first.until_ms); /* it is the one of before */
	/* Not for another host, another chain, another staple. */
	assert_fault(TRUST_FAULT_WRONG_HOST, rig_ask(&rig, "other.example", &leaf, with_between));
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, NULL));
	rig.ocsp = SPAN("\x30\x03\x0a\x01\x03");
	assert_fault(TRUST_FAULT_STAPLE, rig_ask(&rig, HOST, &leaf, with_between));
	rig.ocsp = SPAN("");
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, with_between));
	/* Bad ones, too, with what was said. */
	assert_fault(TRUST_FAULT_WRONG_HOST, rig_ask(&rig, "other.example", &leaf, with_between));
	assert_detail("it is for shop.example");
	rig.wall_ms += UINT64_C(51) * 60 * 1000;
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, with_between));
	assert_true(rig.verdict.until_ms > first.until_ms);
	/* A clock that goes back makes none older than it is. */
	rig.wall_ms = CERTIFICATES_NOW_MS - UINT64_C(200) * 24 * HOUR * 1000;
	assert_fault(TRUST_FAULT_NOT_YET, rig_ask(&rig, HOST, &leaf, with_between));
}

static void many_verdicts(void **state)
{
	char host[40];

	(void)state;
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, with_between));
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(host, sizeof(host), "h%u.example", i);
		assert_fault(TRUST_FAULT_WRONG_HOST, rig_ask(&rig, host, &leaf, with_between));
	}
	rig.wall_ms += 1000;
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, with_between));
	assert_int_equal(rig.verdict.until_ms, rig.wall_ms + HOUR * 1000); /* it had to go */
}

/* C05: what a reload takes away is gone. */
static void root_removed(void **state)
{
	const struct made *roots[] = {&rig.other};

	(void)state;
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, with_between));
	rig.trust_files[0] = folder_write_certificates(&rig.folder, roots, 1);
	rig_open(&rig);
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, with_between));
}

/* ---- files ---- */

static void assert_refused(const char *part)
{
	void *image = rig.image;
	struct buf text;

	rig.image = NULL;
	assert_int_equal(rig_build(&rig), ERR_CONFIG);
	assert_null(rig.image);
	rig.image = image;
	buf_init(&text, 1 << 16);
	problems_format(&rig.problems, &text);
	buf_add_byte(&text, 0);
	if (strstr((const char *)buf_span(&text).at, part) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", part, (const char *)buf_span(&text).at);
	buf_fini(&text);
}

static void bad_files(void **state)
{
	static const char half[] = "-----BEGIN CERTIFICATE-----\nMIIB\n";
	static const char wrong[] = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
	const char *good = rig.trust_files[0], *ca = rig.conf.ca.certificate;

	(void)state;
	rig.trust_files[0] = "/nonexistent/roots.pem";
	assert_refused("inspection.trust: cannot read /nonexistent/roots.pem");
	rig.trust_files[0] = rig.folder.path;
	assert_refused("it is no file");
	rig.trust_files[0] = folder_write(&rig.folder, "\x30\x82\x01", 3);
	assert_refused("openssl x509 -inform der");
	rig.trust_files[0] = folder_write(&rig.folder, half, strlen(half));
	assert_refused("cut off");
	rig.trust_files[0] = folder_write(&rig.folder, wrong, strlen(wrong));
	assert_refused("block 1 is no certificate");
	rig.trust_files[0] = good;
	use_list("sha256:0123\n", 12);
	assert_refused(".pem:1:1");
	use_list("\n# x\nsha256:zz\n", 15);
	assert_refused(".pem:3:1");
	use_list(wrong, strlen(wrong));
	assert_refused("BEGIN X509 CRL");
	rig.conf.revocations.count = 0;
	rig.conf.ca.certificate = "/nonexistent/ca.pem";
	assert_refused("inspection.ca.certificate");
	rig.conf.ca.certificate = ca;
}

static void no_root_among_roots(void **state)
{
	const struct made *roots[] = {&rig.between, &rig.root};

	(void)state;
	rig.trust_files[0] = folder_write_certificates(&rig.folder, roots, 2);
	rig_open(&rig);
	assert_int_equal(rig.problems.warning_count, 1);
	assert_non_null(strstr(rig.problems.first->text, "no root"));
	/* It helps as an intermediate. */
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, NULL));
}

static void nothing_trusted(void **state)
{
	const struct made *own[] = {&rig.own};

	(void)state;
	rig.trust_files[0] = folder_write_certificates(&rig.folder, own, 1);
	rig_open(&rig);
	assert_int_equal(rig.problems.warning_count, 2);
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, with_between));
}

/* Each byte of the head, and the image cut at each length of it. */
static void damaged_images(void **state)
{
	size_t head = sizeof(struct trust_header);
	uint8_t *copy = malloc(rig.image_bytes);
	struct trust *trust;

	(void)state;
	assert_non_null(copy);
	for (size_t i = 0; i < head; i++) {
		memcpy(copy, rig.image, rig.image_bytes);
		copy[i] ^= 0xff;
		if (trust_open(copy, rig.image_bytes, &rig.conf, &trust) == ERR_NONE)
			trust_unref(trust);
		else
			continue;
		/* Only what says nothing may change. */
		assert_true(i >= offsetof(struct trust_header, reserved));
	}
	for (size_t i = 0; i < rig.image_bytes; i++)
		assert_int_equal(trust_open(rig.image, i, &rig.conf, &trust), ERR_CONFIG);
	free(copy);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(patterns), ROW(private_roots), ROW(pins), ROW(legacy),
		ROW(from_a_file), ROW(asks_for_issuer), ROW(issuers_in_pkcs7), ROW(issuers_of_strangers), ROW(hostile_issuers), ROW(urls_that_are_not_fetched),
		ROW(remembered), ROW(many_verdicts), ROW(root_removed), ROW(bad_files), ROW(no_root_among_roots), ROW(nothing_trusted),
		ROW(damaged_images),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
