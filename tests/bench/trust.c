/* SPDX-License-Identifier: Apache-2.0 */
/* What verifying an origin costs: remembered, anew, and in the worst cases that a stranger can make. Prints a table; no test. */
#include <time.h>

#include "../unit/tls_trust_rig.h"

enum { ROUNDS = 400, WORST_ROUNDS = 20, TEXT_BYTES = 400000 };

static struct rig rig;

/* Of the processor: others may use it meanwhile. */
static double now_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void report(const char *what, double us)
{
	printf("%-52s %10.1f us   %s\n", what, us, trust_fault_token(rig.verdict.fault));
}

/* A clock that goes back makes every verdict a new one. */
static void anew(const char *what, const char *host, const struct made *leaf, const struct made *const *between, unsigned rounds)
{
	double begin, worst = 0, sum = 0;
	char text[100];

	for (unsigned i = 0; i < rounds; i++) {
		rig.wall_ms--;
		begin = now_us();
		rig_ask(&rig, host, leaf, between);
		begin = now_us() - begin;
		sum += begin;
		worst = i && begin > worst ? begin : worst;
		if (i == 0) {
			snprintf(text, sizeof(text), "%s, first", what);
			report(text, begin);
		}
	}
	report(what, sum / rounds);
	snprintf(text, sizeof(text), "%s, longest", what);
	report(text, worst);
}

static void remembered(const struct made *leaf, const struct made *const *between)
{
	double begin;

	rig_ask(&rig, "shop.example", leaf, between);
	begin = now_us();
	for (unsigned i = 0; i < ROUNDS * 10; i++)
		rig_ask(&rig, "shop.example", leaf, between);
	report("remembered", (now_us() - begin) / (ROUNDS * 10));
}

static void usual(const char *what, enum key_kind kind, const char *digest)
{
	struct made between = make(&(struct make){.name = "Between", .issuer = &rig.root, .is_ca = true, .kind = kind, .digest = digest});
	struct made leaf = make(&(struct make){.name = "shop.example", .issuer = &between, .names = "DNS:shop.example", .kind = kind, .digest = digest});
	const struct made *chain[] = {&between, NULL};

	anew(what, "shop.example", &leaf, chain, ROUNDS);
	remembered(&leaf, chain);
	unmake(&leaf);
	unmake(&between);
}

/* "DNS:shop.example,DNS:a0.e,DNS:a1.e" */
static char *list_of(const char *kind, unsigned count)
{
	char *text = malloc(TEXT_BYTES), *at = text;

	ASSERT(text);
	at += snprintf(at, 100, "%sshop.example", kind);
	for (unsigned i = 0; i < count; i++)
		at += snprintf(at, 100, ",%sa%u.e", kind, i);
	return text;
}

static void many_names(void)
{
	char *names = list_of("DNS:", 3800);
	struct made leaf = make(&(struct make){.name = "shop.example", .issuer = &rig.between, .names = names});
	const struct made *chain[] = {&rig.between, NULL};

	anew("3800 names, another host", "other.example", &leaf, chain, WORST_ROUNDS);
	unmake(&leaf);
	free(names);
	names = list_of("DNS:", 15000);
	leaf = make(&(struct make){.name = "shop.example", .issuer = &rig.between, .names = names});
	anew("15000 names", "other.example", &leaf, chain, WORST_ROUNDS);
	unmake(&leaf);
	free(names);
}

static void many_constraints(void)
{
	char *constraints = list_of("excluded;DNS:x", 180), *names = list_of("DNS:", 360);
	struct made between = make(&(struct make){.name = "Constrained", .issuer = &rig.root, .is_ca = true, .constraints = constraints});
	struct made leaf = make(&(struct make){.name = "shop.example", .issuer = &between, .names = names});
	const struct made *chain[] = {&between, NULL};

	anew("360 names under 180 constraints", "shop.example", &leaf, chain, WORST_ROUNDS);
	unmake(&leaf);
	unmake(&between);
	free(names);
	free(constraints);
}

static void many_issuers(void)
{
	struct made more[19], leaf;
	const struct made *chain[20] = {NULL};

	for (size_t i = 0; i < COUNT_OF(more); i++) {
		more[i] = make(&(struct make){.name = "Same", .issuer = i ? &more[i - 1] : &rig.other, .is_ca = true, .is_bare = true, .kind = KEY_P384});
		chain[i] = &more[i];
	}
	leaf = make(&(struct make){.name = "shop.example", .issuer = &more[18], .names = "DNS:shop.example", .is_bare = true});
	anew("19 issuers of one name", "shop.example", &leaf, chain, WORST_ROUNDS);
	unmake(&leaf);
	for (size_t i = 0; i < COUNT_OF(more); i++)
		unmake(&more[i]);
}

static void long_subject(void)
{
	struct made leaf = make(&(struct make){.name = "shop.example", .issuer = &rig.between, .names = "DNS:shop.example"});
	X509_NAME *name = X509_NAME_dup(X509_get_subject_name(leaf.certificate));
	const struct made *chain[] = {&rig.between, NULL};

	for (unsigned i = 0; i < 4000; i++)
		X509_NAME_add_entry_by_NID(name, NID_organizationalUnitName, MBSTRING_ASC, (const unsigned char *)"unit", -1, -1, 0);
	X509_set_subject_name(leaf.certificate, name);
	X509_sign(leaf.certificate, rig.between.key, EVP_sha256());
	X509_NAME_free(name);
	anew("4000 parts of a subject", "other.example", &leaf, chain, WORST_ROUNDS);
	unmake(&leaf);
}

static void loading(void)
{
	double begin = now_us();

	rig.trust_files[1] = "system";
	rig.conf.trust.count = 2;
	rig_open(&rig);
	report("build with the system's roots, and open", now_us() - begin);
	trust_unref(rig.trust);
	begin = now_us();
	ASSERT(trust_open(rig.image, rig.image_bytes, &rig.conf, &rig.trust) == ERR_NONE);
	report("open", now_us() - begin);
	printf("image: %zu bytes\n", rig.image_bytes);
}

int main(void)
{
	rig_make(&rig);
	loading();
	usual("P-256 chain", KEY_P256, "SHA256");
	usual("RSA-2048 chain", KEY_RSA2048, "SHA256");
	usual("P-384 chain", KEY_P384, "SHA384");
	many_names();
	many_constraints();
	many_issuers();
	long_subject();
	rig.conf.trust.count = 1;
	rig_fini(&rig);
	return 0;
}
