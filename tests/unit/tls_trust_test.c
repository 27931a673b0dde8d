/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of origins, good and bad: each row of the studies that grade proxies that open TLS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tls_trust_rig.h"

#define HOST "shop.example"

static struct rig rig;

static int set_up(void **state)
{
	(void)state;
	rig_make(&rig);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	rig_fini(&rig);
	return 0;
}

/* ---- what is good ---- */

static void good_chains(void **state)
{
	(void)state;
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.name = HOST}));
	assert_int_equal(rig.verdict.until_ms, CERTIFICATES_NOW_MS + 3600000);
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.issuer = &rig.root}));
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.kind = KEY_RSA2048}));
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.kind = KEY_P384, .digest = "SHA384"}));
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, "a.shop.example", (struct make){.names = "DNS:*.shop.example"}));
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, "192.0.2.7", (struct make){.names = "IP:192.0.2.7"}));
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, "2001:db8::7", (struct make){.names = "IP:2001:db8::7"}));
	/* Without extended key usage it is for everything. No SCT (V22): not asked for. */
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.is_bare = true}));
	/* The verdict ends with the certificate. */
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.from_days = -1, .to_days = 1}));
	rig.wall_ms += 86400000 - 60000;
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.from_days = -1, .to_days = 1}));
	assert_int_equal(rig.verdict.until_ms, CERTIFICATES_NOW_MS + 86400000);
}

/* ---- V01, V02, V16: time ---- */

static void times(void **state)
{
	struct made late = make(&(struct make){.name = "Late", .issuer = &rig.root, .is_ca = true, .from_days = -20, .to_days = -10});

	(void)state;
	assert_fault(TRUST_FAULT_EXPIRED, rig_try(&rig, HOST, (struct make){.from_days = -20, .to_days = -10}));
	assert_detail("certificate of shop.example: expired on 2026-11-08 (issuer CN=Test Intermediate)");
	assert_int_equal(rig.verdict.depth, 0);
	assert_fault(TRUST_FAULT_NOT_YET, rig_try(&rig, HOST, (struct make){.from_days = 10, .to_days = 20}));
	assert_detail("not valid before 2026-11-28");
	assert_fault(TRUST_FAULT_EXPIRED, rig_try(&rig, HOST, (struct make){.issuer = &late}));
	assert_detail("issuing certificate CN=Late of shop.example");
	assert_int_equal(rig.verdict.depth, 1);
	unmake(&late);
}

static void expired_root(void **state)
{
	struct made root = make(&(struct make){.name = "Old Root", .is_ca = true, .from_days = -2000, .to_days = -1000});
	const struct made *roots[] = {&root};

	(void)state;
	rig.trust_files[1] = folder_write_certificates(&rig.folder, roots, 1);
	rig.conf.trust.count = 2;
	rig_open(&rig);
	assert_int_equal(rig.problems.warning_count, 1);
	assert_fault(TRUST_FAULT_EXPIRED, rig_try(&rig, HOST, (struct make){.issuer = &root}));
	unmake(&root);
}

/* ---- V03, V04: who issued it ---- */

static void strangers(void **state)
{
	struct made lone = make(&(struct make){.name = HOST, .names = "DNS:shop.example"});
	struct made stranger = make(&(struct make){.name = "Stranger", .issuer = &rig.other, .is_ca = true});
	/* It says that our root has issued it, and has the root's name and key identifier. */
	struct made forged = make(&(struct make){.name = "Test Root", .is_ca = true});
	struct made leaf;
	const struct made *with_root[] = {&stranger, &rig.other, NULL}, *nothing[] = {NULL};

	(void)state;
	assert_fault(TRUST_FAULT_SELF_SIGNED, rig_ask(&rig, HOST, &lone, NULL));
	assert_detail("pin it");
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_try(&rig, HOST, (struct make){.issuer = &stranger}));
	assert_detail("Strange Root");
	leaf = make(&(struct make){.name = HOST, .issuer = &stranger, .names = "DNS:shop.example"});
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, with_root));
	unmake(&leaf);
	leaf = make(&(struct make){.name = HOST, .issuer = &rig.between, .names = "DNS:shop.example"});
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &leaf, nothing));
	assert_detail("Test Intermediate");
	assert_detail("inspection.intermediates");
	unmake(&leaf);
	assert_true(rig_try(&rig, HOST, (struct make){.issuer = &forged}) != TRUST_FAULT_NONE);
	assert_true(rig_try(&rig, HOST, (struct make){.issuer = &forged, .is_bare = true}) != TRUST_FAULT_NONE);
	unmake(&forged);
	unmake(&stranger);
	unmake(&lone);
}

/* The certificate of an intermediate that is not its issuer's, and whose signature is broken. */
static void broken_signature(void **state)
{
	struct made twin = make(&(struct make){.name = "Test Intermediate", .issuer = &rig.root, .is_ca = true});
	struct made leaf = make(&(struct make){.name = HOST, .issuer = &twin, .names = "DNS:shop.example", .is_bare = true});
	const struct made *between[] = {&rig.between, NULL};

	(void)state;
	assert_fault(TRUST_FAULT_OTHER, rig_ask(&rig, HOST, &leaf, between));
	assert_detail("signature");
	unmake(&leaf);
	unmake(&twin);
}

/* ---- V05, V20: names ---- */

static X509_EXTENSION *names_with_nul(void)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();
	X509_EXTENSION *extension;

	ASN1_STRING_set(text, "shop.example\0.attacker.example", 30);
	GENERAL_NAME_set0_value(name, GEN_DNS, text);
	sk_GENERAL_NAME_push(names, name);
	extension = X509V3_EXT_i2d(NID_subject_alt_name, 0, names);
	GENERAL_NAMES_free(names);
	return extension;
}

static void other_hosts(void **state)
{
	static const struct {
		const char *host, *names;
	} rows[] = {
		{HOST, "DNS:other.example"},
		{"shop.example.evil.example", "DNS:shop.example"},
		{"a.shop.example", "DNS:shop.example"},
		{"a.b.shop.example", "DNS:*.shop.example"},
		{"shop.example", "DNS:*.shop.example"},
		{"shop.example", "DNS:*.example"},
		{"shop.example", "DNS:sh*.example"},
		{"a.shop.example", "DNS:*a.shop.example"},
		{"shop.example", "DNS:*"},
		{"192.0.2.7", "DNS:192.0.2.7"},
		{"192.0.2.7", "IP:192.0.2.8"},
		{"2001:db8::7", "IP:192.0.2.7"},
		{"192.0.2.7", "DNS:*.0.2.7"},
		{"shop.example", "IP:192.0.2.7"},
		{"shop.example", "email:root@shop.example"},
		{"shop.example", "URI:https://shop.example/"},
		{".example", "DNS:shop.example"},
		{"", "DNS:shop.example"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		enum trust_fault fault = rig_try(&rig, rows[i].host, (struct make){.names = rows[i].names});

		if (fault != TRUST_FAULT_WRONG_HOST)
			fail_msg("\"%s\" with %s: %s", rows[i].host, rows[i].names, rig.verdict.detail);
	}
	assert_fault(TRUST_FAULT_WRONG_HOST, rig_try(&rig, HOST, (struct make){.names = "DNS:a.example,DNS:b.example,IP:192.0.2.1,DNS:c"}));
	assert_detail("it is for a.example, b.example, 192.0.2.1 and others");
	/* CN only, and CN right but names wrong. */
	assert_fault(TRUST_FAULT_WRONG_HOST, rig_try(&rig, HOST, (struct make){.name = HOST, .names = ""}));
	assert_detail("common name");
	assert_fault(TRUST_FAULT_WRONG_HOST, rig_try(&rig, HOST, (struct make){.name = HOST, .names = "DNS:a.example"}));
	assert_fault(TRUST_FAULT_WRONG_HOST, rig_try(&rig, HOST, (struct make){.names = "", .more = names_with_nul()}));
	assert_detail("shop.example\\x00.attacker.example");
	assert_fault(TRUST_FAULT_WRONG_HOST, rig_try(&rig, HOST, (struct make){.name = "", .names = ""}));
}

/* What a certificate says is shown, and must not change what is shown around it. */
static void hostile_texts(void **state)
{
	struct made issuer = make(&(struct make){.name = "\033[31m\nHTTP/1.1 200 OK\r\n\xc3\xa9<script>\\", .is_ca = true});

	(void)state;
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_try(&rig, HOST, (struct make){.issuer = &issuer}));
	assert_detail("\\x1b[31m\\x0aHTTP");
	unmake(&issuer);
}

static void covers(void **state)
{
	struct made leaf = make(&(struct make){.name = "c.example", .issuer = &rig.root, .names = "DNS:a.example,DNS:*.b.example,IP:192.0.2.1"});
	struct address address = {.family = 0};

	(void)state;
	assert_true(trust_covers(leaf.certificate, SPAN("a.example"), NULL));
	assert_true(trust_covers(leaf.certificate, SPAN("x.b.example"), &address));
	assert_false(trust_covers(leaf.certificate, SPAN("c.example"), NULL));
	assert_false(trust_covers(leaf.certificate, SPAN(".example"), NULL));
	assert_false(trust_covers(leaf.certificate, SPAN(""), NULL));
	assert_true(address_parse(SPAN("192.0.2.1"), &address));
	assert_true(trust_covers(leaf.certificate, SPAN("192.0.2.1"), &address));
	assert_true(address_parse(SPAN("192.0.2.2"), &address));
	assert_false(trust_covers(leaf.certificate, SPAN("192.0.2.2"), &address));
	unmake(&leaf);
}

/* ---- V07 to V12: who may issue, and what for ---- */

static void bad_issuers(void **state)
{
	static const struct {
		const char *what;
		struct make issuer;
		enum trust_fault fault;
	} rows[] = {
		{"no CA", {.basic = "critical,CA:FALSE", .usage = "keyCertSign"}, TRUST_FAULT_PURPOSE},
		{"no basic constraints", {.basic = "", .usage = "keyCertSign"}, TRUST_FAULT_PURPOSE},
		{"neither constraints nor usage", {.basic = "", .usage = "", .is_bare = true}, TRUST_FAULT_PURPOSE},
		{"a leaf", {.names = "DNS:attacker.example"}, TRUST_FAULT_PURPOSE},
		{"X.509 v1", {.is_v1 = true}, TRUST_FAULT_PURPOSE},
		{"a key that may not sign", {.is_ca = true, .usage = "critical,cRLSign"}, TRUST_FAULT_NONE},
		{"for code", {.is_ca = true, .extended = "codeSigning"}, TRUST_FAULT_PURPOSE},
		{"for clients", {.is_ca = true, .extended = "clientAuth"}, TRUST_FAULT_PURPOSE},
		{"for servers", {.is_ca = true, .extended = "serverAuth"}, TRUST_FAULT_NONE},
		{"other names", {.is_ca = true, .constraints = "critical,permitted;DNS:other.example"}, TRUST_FAULT_CONSTRAINT},
		{"these names not", {.is_ca = true, .constraints = "critical,excluded;DNS:shop.example"}, TRUST_FAULT_CONSTRAINT},
		{"these names", {.is_ca = true, .constraints = "critical,permitted;DNS:example"}, TRUST_FAULT_NONE},
		{"weak key", {.is_ca = true, .kind = KEY_RSA1024}, TRUST_FAULT_WEAK},
		{"weak curve", {.is_ca = true, .kind = KEY_P192}, TRUST_FAULT_WEAK},
		{"signed with SHA-1", {.is_ca = true, .digest = "SHA1"}, TRUST_FAULT_WEAK},
		{"signed with MD5", {.is_ca = true, .digest = "MD5"}, TRUST_FAULT_WEAK},
	};
	/* MD5 is signed with RSA alone. */
	struct made rsa_root = make(&(struct make){.name = "RSA Root", .is_ca = true, .kind = KEY_RSA2048});
	const struct made *roots[] = {&rsa_root};

	(void)state;
	rig.trust_files[1] = folder_write_certificates(&rig.folder, roots, 1);
	rig.conf.trust.count = 2;
	rig_open(&rig);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct make how = rows[i].issuer;
		struct made issuer;
		enum trust_fault fault;

		how.name = "Bad Intermediate";
		how.issuer = &rsa_root;
		issuer = make(&how);
		fault = rig_try(&rig, HOST, (struct make){.issuer = &issuer});
		/* The one that may not sign is not looked at as an issuer at all. */
		if (strcmp(rows[i].what, "a key that may not sign") == 0 ? fault == TRUST_FAULT_NONE : fault != rows[i].fault)
			fail_msg("%s: %s: %s", rows[i].what, trust_fault_token(fault), rig.verdict.detail);
		unmake(&issuer);
	}
	unmake(&rsa_root);
}

static void path_length(void **state)
{
	struct made first = make(&(struct make){.name = "First", .issuer = &rig.root, .is_ca = true, .basic = "critical,CA:TRUE,pathlen:0"});
	struct made second = make(&(struct make){.name = "Second", .issuer = &first, .is_ca = true});
	struct made leaf = make(&(struct make){.name = HOST, .issuer = &second, .names = "DNS:shop.example"});
	const struct made *between[] = {&second, &first, NULL};

	(void)state;
	assert_fault(TRUST_FAULT_CONSTRAINT, rig_ask(&rig, HOST, &leaf, between));
	assert_detail("path length");
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.issuer = &first}));
	unmake(&leaf);
	unmake(&second);
	unmake(&first);
}

static void address_constraint(void **state)
{
	struct made issuer = make(&(struct make){.name = "Office", .issuer = &rig.root, .is_ca = true,
	                                         .constraints = "critical,permitted;IP:192.0.2.0/255.255.255.0"});

	(void)state;
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, "192.0.2.7", (struct make){.issuer = &issuer, .names = "IP:192.0.2.7"}));
	assert_fault(TRUST_FAULT_CONSTRAINT, rig_try(&rig, "198.51.100.7", (struct make){.issuer = &issuer, .names = "IP:198.51.100.7"}));
	unmake(&issuer);
}

static X509_EXTENSION *unknown_extension(int critical)
{
	ASN1_OBJECT *object = OBJ_txt2obj("1.3.6.1.4.1.99999.1", 1);
	ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
	X509_EXTENSION *extension;

	ASN1_OCTET_STRING_set(data, (const unsigned char *)"\x05\x00", 2);
	extension = X509_EXTENSION_create_by_OBJ(NULL, object, critical, data);
	ASN1_OBJECT_free(object);
	ASN1_OCTET_STRING_free(data);
	return extension;
}

static void purposes(void **state)
{
	(void)state;
	assert_fault(TRUST_FAULT_PURPOSE, rig_try(&rig, HOST, (struct make){.extended = "clientAuth"}));
	assert_fault(TRUST_FAULT_PURPOSE, rig_try(&rig, HOST, (struct make){.extended = "codeSigning,emailProtection"}));
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.extended = "clientAuth,serverAuth"}));
	assert_fault(TRUST_FAULT_PURPOSE, rig_try(&rig, HOST, (struct make){.usage = "critical,keyCertSign"}));
	assert_fault(TRUST_FAULT_PURPOSE, rig_try(&rig, HOST, (struct make){.usage = "critical,keyEncipherment"}));
	assert_detail("digitalSignature");
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.usage = "critical,digitalSignature,keyEncipherment"}));
	assert_fault(TRUST_FAULT_OTHER, rig_try(&rig, HOST, (struct make){.more = unknown_extension(1)}));
	assert_detail("critical extension");
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.more = unknown_extension(0)}));
}

/* ---- V13 to V15: keys and signatures ---- */

static void weak(void **state)
{
	struct made issuer = make(&(struct make){.name = "RSA Intermediate", .issuer = &rig.root, .is_ca = true, .kind = KEY_RSA2048});

	(void)state;
	assert_fault(TRUST_FAULT_WEAK, rig_try(&rig, HOST, (struct make){.kind = KEY_RSA1024}));
	assert_fault(TRUST_FAULT_WEAK, rig_try(&rig, HOST, (struct make){.kind = KEY_RSA512}));
	assert_fault(TRUST_FAULT_WEAK, rig_try(&rig, HOST, (struct make){.kind = KEY_P192}));
	assert_fault(TRUST_FAULT_WEAK, rig_try(&rig, HOST, (struct make){.digest = "SHA1"}));
	assert_detail("SHA-1");
	assert_fault(TRUST_FAULT_WEAK, rig_try(&rig, HOST, (struct make){.issuer = &issuer, .digest = "SHA1"}));
	assert_fault(TRUST_FAULT_WEAK, rig_try(&rig, HOST, (struct make){.issuer = &issuer, .digest = "MD5"}));
	unmake(&issuer);
}

/* ---- V19: our own CA ---- */

static void own_ca(void **state)
{
	struct made below = make(&(struct make){.name = "Below", .issuer = &rig.own, .is_ca = true});
	struct made crossed = make(&(struct make){.name = "Our CA", .issuer = &rig.root, .is_ca = true, .key_of = &rig.own});
	struct made leaf = make(&(struct make){.name = HOST, .issuer = &rig.own, .names = "DNS:shop.example"});
	struct made named = make(&(struct make){.name = HOST, .issuer = &rig.between, .issuer_name = "Our CA", .names = "DNS:shop.example"});
	const struct made *with_crossed[] = {&crossed, NULL};

	(void)state;
	assert_fault(TRUST_FAULT_OWN_CA, rig_try(&rig, HOST, (struct make){.issuer = &rig.own}));
	assert_fault(TRUST_FAULT_OWN_CA, rig_try(&rig, HOST, (struct make){.issuer = &below}));
	assert_fault(TRUST_FAULT_OWN_CA, rig_ask(&rig, HOST, &leaf, NULL));
	/* Even where a root that is trusted stands above it. */
	assert_fault(TRUST_FAULT_OWN_CA, rig_ask(&rig, HOST, &leaf, with_crossed));
	/* The name alone is no proof. */
	assert_fault(TRUST_FAULT_UNKNOWN_ISSUER, rig_ask(&rig, HOST, &named, NULL));
	unmake(&named);
	unmake(&leaf);
	unmake(&crossed);
	unmake(&below);
}

static void own_ca_among_roots(void **state)
{
	struct made again = make(&(struct make){.name = "Renamed CA", .is_ca = true, .key_of = &rig.own});
	const struct made *roots[] = {&rig.own, &again, &rig.root};

	(void)state;
	rig.trust_files[0] = folder_write_certificates(&rig.folder, roots, 3);
	rig_open(&rig);
	assert_int_equal(rig.problems.warning_count, 2);
	assert_non_null(strstr(rig.problems.first->text, "own CA"));
	assert_fault(TRUST_FAULT_OWN_CA, rig_try(&rig, HOST, (struct make){.issuer = &again}));
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, HOST, (struct make){.name = HOST}));
	unmake(&again);
}

/* ---- V25: large ones ---- */

static char *many_names(unsigned count)
{
	char *text = malloc(count * 32 + 1), *at = text;

	assert_non_null(text);
	for (unsigned i = 0; i < count; i++)
		at += snprintf(at, 32, "%sDNS:h%u.shop.example", i ? "," : "", i);
	return text;
}

static void many_hosts(void **state)
{
	char *some = many_names(1000), *many = many_names(10000);

	(void)state;
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, "h999.shop.example", (struct make){.names = some}));
	assert_fault(TRUST_FAULT_WRONG_HOST, rig_try(&rig, "h1000.shop.example", (struct make){.names = some}));
	assert_fault(TRUST_FAULT_TOO_LARGE, rig_try(&rig, "h9999.shop.example", (struct make){.names = many}));
	free(some);
	free(many);
}

static void many_certificates(void **state)
{
	const struct made *between[200];
	struct made more[30], leaf = make(&(struct make){.name = HOST, .issuer = &rig.between, .names = "DNS:shop.example"});
	size_t count = COUNT_OF(more);

	(void)state;
	for (size_t i = 0; i < count; i++)
		more[i] = make(&(struct make){.name = "Test Intermediate", .issuer = &rig.root, .is_ca = true, .is_bare = true});
	/* Twenty are looked at, the right one is behind them. */
	for (size_t i = 0; i < count; i++)
		between[i] = &more[i];
	between[count] = &rig.between;
	between[count + 1] = NULL;
	assert_true(rig_ask(&rig, HOST, &leaf, between) != TRUST_FAULT_NONE);
	between[1] = &rig.between;
	assert_fault(TRUST_FAULT_NONE, rig_ask(&rig, HOST, &leaf, between + 1));
	for (size_t i = 0; i < count; i++)
		unmake(&more[i]);
	unmake(&leaf);
}

static void long_chain(void **state)
{
	struct made chain[14], leaf;
	const struct made *between[COUNT_OF(chain) + 1] = {NULL};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(chain); i++) {
		chain[i] = make(&(struct make){.name = i % 2 ? "Odd" : "Even", .issuer = i ? &chain[i - 1] : &rig.root, .is_ca = true});
		between[i] = &chain[i];
	}
	leaf = make(&(struct make){.name = HOST, .issuer = &chain[COUNT_OF(chain) - 1], .names = "DNS:shop.example"});
	assert_fault(TRUST_FAULT_TOO_LARGE, rig_ask(&rig, HOST, &leaf, between));
	unmake(&leaf);
	for (size_t i = 0; i < COUNT_OF(chain); i++)
		unmake(&chain[i]);
}

static void many_constraints(void **state)
{
	char *names = many_names(900), constraints[40 * 500] = "permitted;DNS:shop.example";
	struct made issuer;

	(void)state;
	for (unsigned i = 0; i < 400; i++)
		snprintf(constraints + strlen(constraints), 40, ",excluded;DNS:x%u.shop.example", i);
	issuer = make(&(struct make){.name = "Constrained", .issuer = &rig.root, .is_ca = true, .constraints = constraints});
	assert_fault(TRUST_FAULT_TOO_LARGE, rig_try(&rig, "h1.shop.example", (struct make){.issuer = &issuer, .names = names}));
	assert_fault(TRUST_FAULT_NONE, rig_try(&rig, "h1.shop.example", (struct make){.issuer = &issuer, .names = "DNS:h1.shop.example"}));
	unmake(&issuer);
	free(names);
}

static void huge_exponent(void **state)
{
	(void)state;
	assert_fault(TRUST_FAULT_TOO_LARGE, rig_try(&rig, HOST, (struct make){.kind = KEY_HUGE_EXPONENT}));
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(good_chains), ROW(times), ROW(expired_root), ROW(strangers), ROW(broken_signature), ROW(other_hosts), ROW(hostile_texts),
		ROW(covers), ROW(bad_issuers), ROW(path_length), ROW(address_constraint), ROW(purposes), ROW(weak), ROW(own_ca),
		ROW(own_ca_among_roots), ROW(many_hosts), ROW(many_certificates), ROW(long_chain), ROW(many_constraints), ROW(huge_exponent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
