/* SPDX-License-Identifier: Apache-2.0 */
/* The signer and a worker's cache, with messages handed from one to the other: one signature for all who wait, keys that
 * change, a signer that goes, a worker that asks without end or asks nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <openssl/rsa.h>

#include "base/clock.h"
#include "ca_rig.h"
#include "tls/leaves.h"
#include "tls/signing.h"

enum { SENT_MAX = 4096 };

/* One signer and one worker; what is sent waits for run(). */
struct rig {
	struct ca_rig ca;
	struct signing *signing;
	struct leaves *leaves;
	struct loop *loop;
	bool is_full;
	struct buf sent[SENT_MAX];
	uint64_t ids[SENT_MAX];
	size_t sent_count, taken, rsa_wanted, keys_told;
	unsigned answers, done;
	struct leaf_result last;
	char detail[256];
};

static struct signing_time now(void)
{
	return (struct signing_time){clock_monotonic_us(), (int64_t)(clock_wall_ms() / 1000)};
}

static void on_answer(void *context, const struct signing_place *place, struct span answer)
{
	struct rig *rig = context;

	rig->answers++;
	if (rig->leaves && place->worker == 0)
		assert_true(leaves_take_answer(rig->leaves, place->id, answer));
}

static void on_key(void *context, struct span message)
{
	struct rig *rig = context;

	rig->keys_told++;
	if (rig->leaves)
		assert_true(leaves_take_key(rig->leaves, message));
}

static void on_want_rsa(void *context)
{
	((struct rig *)context)->rsa_wanted++;
}

static void ask_signer(struct rig *rig, uint64_t id, struct span question)
{
	const struct signing_place place = {0, 1, id};

	assert_true(signing_take(rig->signing, &place, question, now()));
}

static enum err on_send(void *context, uint64_t id, struct span question)
{
	struct rig *rig = context;

	if (rig->is_full)
		return ERR_LIMIT;
	assert_true(rig->sent_count < SENT_MAX);
	buf_init(&rig->sent[rig->sent_count], 256);
	buf_add(&rig->sent[rig->sent_count], question);
	rig->ids[rig->sent_count++] = id;
	return ERR_NONE;
}

/* Hand over what was sent. */
static void run(struct rig *rig)
{
	for (; rig->taken < rig->sent_count; rig->taken++)
		ask_signer(rig, rig->ids[rig->taken], buf_span(&rig->sent[rig->taken]));
}

static void use(struct rig *rig, const char *organization)
{
	struct mint_conf conf = {span_from(organization), SPAN("http://p.test/ca.crl"), UINT64_C(30) * 86400000};
	struct ca_source source = {"ca.pem", "ca.key", buf_span(&rig->ca.certificate), buf_span(&rig->ca.key)};
	struct problems problems;
	struct ca *ca;

	problems_init(&problems);
	assert_int_equal(ca_open(&source, now().wall, &problems, &ca), ERR_NONE);
	problems_fini(&problems);
	assert_int_equal(signing_use(rig->signing, ca, &conf, 100, now()), ERR_NONE);
}

static void new_signer(struct rig *rig)
{
	const struct signing_env env = {on_answer, on_key, on_want_rsa, rig};

	signing_free(rig->signing);
	assert_int_equal(signing_new(&env, &rig->signing), ERR_NONE);
	use(rig, "Rig");
}

static void rig_start(struct rig *rig, const char *excludes)
{
	struct leaves_env env = {.send = on_send, .context = rig};

	memset(rig, 0, sizeof(*rig));
	ca_rig_make(&rig->ca, excludes, now().wall);
	assert_int_equal(loop_new(&rig->loop), ERR_NONE);
	env.loop = rig->loop;
	assert_int_equal(leaves_new(&env, 64, &rig->leaves), ERR_NONE);
	new_signer(rig);
}

static void rig_end(struct rig *rig)
{
	leaf_unref(rig->last.leaf);
	leaves_free(rig->leaves);
	signing_free(rig->signing);
	for (size_t i = 0; i < rig->sent_count; i++)
		buf_fini(&rig->sent[i]);
	loop_free(rig->loop);
	ca_rig_free(&rig->ca);
}

static void on_done(void *context, const struct leaf_result *result)
{
	struct rig *rig = context;

	rig->done++;
	leaf_unref(rig->last.leaf);
	rig->last = *result;
	snprintf(rig->detail, sizeof(rig->detail), "%s", result->detail ? result->detail : "");
}

static struct leaf_query *ask(struct rig *rig, const char *host, enum leaf_kind kind)
{
	struct leaf_query *query;

	assert_int_equal(leaves_ask(rig->leaves, span_from(host), kind, on_done, rig, &query), ERR_NONE);
	return query;
}

/* ---- as it should be ---- */

static void one_signature_for_all(void **state)
{
	struct rig rig;
	struct leaf *leaf;

	(void)state;
	rig_start(&rig, "");
	assert_null(leaves_now(rig.leaves, SPAN("www.example.com"), LEAF_ECDSA));
	for (int i = 0; i < 500; i++)
		ask(&rig, "www.example.com", LEAF_ECDSA);
	assert_int_equal(rig.done, 0);
	assert_int_equal(rig.sent_count, 1);
	run(&rig);
	assert_int_equal(rig.done, 500);
	assert_int_equal(rig.last.err, ERR_NONE);
	assert_int_equal(signing_counts(rig.signing).minted, 1);
	leaf = leaves_now(rig.leaves, SPAN("www.example.com"), LEAF_ECDSA);
	assert_ptr_equal(leaf, rig.last.leaf);
	assert_int_equal(X509_check_private_key(leaf->certificate, leaf->key), 1);
	assert_int_equal(strlen(leaf->serial), 32);
	assert_memory_equal(leaf->ca_id, rig.ca.ca->id, 32);
	assert_memory_equal(leaves_ca_id(rig.leaves), rig.ca.ca->id, 32);
	assert_int_equal(sk_X509_num(leaf->chain), 0); /* the CA is a root */
	leaf_unref(leaf);
	/* Another worker's question: no signature either. */
	leaves_free(rig.leaves);
	rig.leaves = NULL;
	ask_signer(&rig, 7, SPAN("\0www.example.com"));
	assert_int_equal(signing_counts(rig.signing).minted, 1);
	assert_int_equal(rig.answers, 2);
	rig_end(&rig);
}

static void whoever_cancels_is_not_told(void **state)
{
	struct leaf_query *query;
	struct rig rig;

	(void)state;
	rig_start(&rig, "");
	query = ask(&rig, "a.example", LEAF_ECDSA);
	ask(&rig, "a.example", LEAF_ECDSA);
	leaves_cancel(query);
	leaves_cancel(NULL);
	run(&rig);
	assert_int_equal(rig.done, 1);
	leaves_cancel(ask(&rig, "b.example", LEAF_ECDSA));
	run(&rig);
	assert_int_equal(rig.done, 1);
	/* It was paid for. */
	leaf_unref(leaves_now(rig.leaves, SPAN("b.example"), LEAF_ECDSA));
	assert_int_equal(rig.sent_count, 2);
	rig_end(&rig);
}

static void rsa_key_is_made_when_it_is_needed(void **state)
{
	struct rig rig;

	(void)state;
	rig_start(&rig, "");
	assert_int_equal(rig.rsa_wanted, 0);
	ask(&rig, "old.example", LEAF_RSA);
	ask(&rig, "older.example", LEAF_RSA);
	run(&rig);
	assert_int_equal(rig.rsa_wanted, 1);
	assert_int_equal(rig.done, 0);
	/* Others are not held up. */
	ask(&rig, "new.example", LEAF_ECDSA);
	run(&rig);
	assert_int_equal(rig.done, 1);
	signing_take_rsa(rig.signing, EVP_RSA_gen(2048), now());
	assert_int_equal(rig.done, 3);
	assert_int_equal(rig.last.err, ERR_NONE);
	assert_true(EVP_PKEY_is_a(rig.last.leaf->key, "RSA"));
	/* Kinds are kept apart. */
	assert_null(leaves_now(rig.leaves, SPAN("new.example"), LEAF_RSA));
	ask(&rig, "gone.example", LEAF_RSA);
	run(&rig);
	assert_int_equal(rig.done, 4);
	rig_end(&rig);
}

static void rsa_key_that_cannot_be_made(void **state)
{
	struct rig rig;

	(void)state;
	rig_start(&rig, "");
	ask(&rig, "old.example", LEAF_RSA);
	run(&rig);
	signing_take_rsa(rig.signing, NULL, now());
	assert_int_equal(rig.done, 1);
	assert_int_equal(rig.last.err, ERR_SIGNER_UNAVAILABLE);
	ask(&rig, "old.example", LEAF_RSA);
	run(&rig);
	assert_int_equal(rig.rsa_wanted, 2);
	signing_forget(rig.signing, 0);
	signing_take_rsa(rig.signing, NULL, now());
	assert_int_equal(rig.done, 1);
	rig_end(&rig);
}

static void constraints_are_told(void **state)
{
	struct rig rig;

	(void)state;
	rig_start(&rig, "corp.example 10.0.0.0/8");
	ask(&rig, "www.corp.example", LEAF_ECDSA);
	run(&rig);
	assert_int_equal(rig.last.err, ERR_SIGNER_REFUSED);
	assert_string_equal(rig.detail, "the CA's name constraints exclude corp.example");
	assert_null(rig.last.leaf);
	ask(&rig, "10.1.1.1", LEAF_ECDSA);
	run(&rig);
	assert_string_equal(rig.detail, "the CA's name constraints exclude 10.0.0.0/8");
	assert_int_equal(signing_counts(rig.signing).refused, 2);
	rig_end(&rig);
}

/* ---- keys and CAs change ---- */

static void keys_are_renewed_daily(void **state)
{
	struct signing_time later;
	struct leaf *old, *new;
	struct rig rig;

	(void)state;
	rig_start(&rig, "");
	ask(&rig, "a.example", LEAF_ECDSA);
	run(&rig);
	old = leaf_ref(rig.last.leaf);
	later = now(); /* not before the key was made */
	signing_tick(rig.signing, later);
	assert_int_equal(rig.keys_told, 1);
	later.wall += 86400 + 10;
	signing_tick(rig.signing, later);
	assert_int_equal(rig.keys_told, 2);
	/* What was shown stays valid; new sessions get the new key. */
	assert_null(leaves_now(rig.leaves, SPAN("a.example"), LEAF_ECDSA));
	ask(&rig, "a.example", LEAF_ECDSA);
	run(&rig);
	new = rig.last.leaf;
	assert_int_equal(EVP_PKEY_eq(old->key, new->key), 0);
	assert_int_equal(X509_check_private_key(old->certificate, old->key), 1);
	leaf_unref(old);
	rig_end(&rig);
}

static void another_ca_is_told(void **state)
{
	uint8_t before[32];
	struct ca_rig other;
	struct rig rig;

	(void)state;
	rig_start(&rig, "");
	memcpy(before, leaves_ca_id(rig.leaves), 32);
	ask(&rig, "a.example", LEAF_ECDSA);
	run(&rig);
	/* The same again changes nothing. */
	use(&rig, "Rig");
	assert_int_equal(rig.keys_told, 1);
	assert_non_null(leaves_now(rig.leaves, SPAN("a.example"), LEAF_ECDSA));
	leaf_unref(rig.last.leaf);
	use(&rig, "Another organization");
	assert_int_equal(rig.keys_told, 2);
	assert_null(leaves_now(rig.leaves, SPAN("a.example"), LEAF_ECDSA));
	ca_rig_make(&other, "", now().wall);
	ca_rig_free(&rig.ca);
	rig.ca = other;
	/* A question that is under way meanwhile is answered by the new one. */
	ask(&rig, "b.example", LEAF_ECDSA);
	use(&rig, "Rig");
	assert_int_equal(rig.keys_told, 3);
	assert_true(memcmp(leaves_ca_id(rig.leaves), before, 32) != 0);
	run(&rig);
	assert_int_equal(rig.last.err, ERR_NONE);
	assert_memory_equal(rig.last.leaf->ca_id, other.ca->id, 32);
	assert_int_equal(X509_check_issued(other.ca->certificate, rig.last.leaf->certificate), X509_V_OK);
	rig_end(&rig);
}

/* ---- a signer that goes ---- */

static void questions_wait_for_the_next_signer(void **state)
{
	struct rig rig;

	(void)state;
	rig_start(&rig, "");
	ask(&rig, "a.example", LEAF_ECDSA);
	assert_int_equal(rig.sent_count, 1);
	leaves_lose_signer(rig.leaves); /* with the question */
	rig.taken = rig.sent_count;
	ask(&rig, "b.example", LEAF_ECDSA);
	assert_int_equal(rig.sent_count, 1);
	assert_int_equal(rig.done, 0);
	new_signer(&rig);
	assert_int_equal(rig.sent_count, 3);
	run(&rig);
	assert_int_equal(rig.done, 2);
	assert_int_equal(rig.last.err, ERR_NONE);
	rig_end(&rig);
}

static void a_question_does_not_end_signers_for_ever(void **state)
{
	struct rig rig;

	(void)state;
	rig_start(&rig, "");
	ask(&rig, "poison.example", LEAF_ECDSA);
	leaves_lose_signer(rig.leaves);
	new_signer(&rig);
	leaves_lose_signer(rig.leaves);
	assert_int_equal(rig.done, 1);
	assert_int_equal(rig.last.err, ERR_SIGNER_UNAVAILABLE);
	new_signer(&rig);
	assert_int_equal(rig.sent_count, 2);
	rig_end(&rig);
}

static void no_answer_is_an_answer(void **state)
{
	struct leaf_query *query;
	struct rig rig;
	uint64_t began_ms = clock_monotonic_ms();

	(void)state;
	rig_start(&rig, "");
	ask(&rig, "a.example", LEAF_ECDSA);
	while (rig.done == 0 && clock_monotonic_ms() - began_ms < 60000)
		loop_turn(rig.loop, 50);
	assert_int_equal(rig.done, 1);
	assert_int_equal(rig.last.err, ERR_SIGNER_UNAVAILABLE);
	assert_string_equal(rig.detail, "the signer does not answer");
	/* Late, it is of no use and does no harm. */
	run(&rig);
	assert_int_equal(rig.done, 1);
	rig.is_full = true;
	assert_int_equal(leaves_ask(rig.leaves, SPAN("b.example"), LEAF_ECDSA, on_done, &rig, &query), ERR_SIGNER_UNAVAILABLE);
	assert_null(query);
	rig_end(&rig);
}

/* ---- limits ---- */

static void caches_are_bounded(void **state)
{
	struct rig rig;
	char host[64];

	(void)state;
	rig_start(&rig, "");
	for (int i = 0; i < 200; i++) {
		snprintf(host, sizeof(host), "h%d.example", i);
		ask(&rig, host, LEAF_ECDSA);
		run(&rig);
	}
	/* 64 of the worker, 100 of the signer. */
	for (int i = 0; i < 200; i++) {
		struct leaf *leaf;

		snprintf(host, sizeof(host), "h%d.example", i);
		leaf = leaves_now(rig.leaves, span_from(host), LEAF_ECDSA);
		assert_int_equal(leaf != NULL, i >= 200 - 64);
		leaf_unref(leaf);
	}
	assert_int_equal(signing_counts(rig.signing).minted, 200);
	ask(&rig, "h120.example", LEAF_ECDSA);
	run(&rig);
	assert_int_equal(signing_counts(rig.signing).minted, 200);
	ask(&rig, "h50.example", LEAF_ECDSA);
	run(&rig);
	assert_int_equal(signing_counts(rig.signing).minted, 201);
	rig_end(&rig);
}

/* Time stands still for it: it gets its share of two seconds, and others theirs. */
static void one_worker_cannot_have_all(void **state)
{
	const struct signing_time still = now();
	uint8_t question[64];
	uint64_t asked = 0;
	struct rig rig;

	(void)state;
	rig_start(&rig, "");
	leaves_free(rig.leaves);
	rig.leaves = NULL;
	question[0] = LEAF_ECDSA;
	while (signing_counts(rig.signing).unavailable == 0) {
		struct signing_place place = {3, 1, ++asked};
		int len = snprintf((char *)question + 1, sizeof(question) - 1, "h%llu.example", (unsigned long long)asked);

		assert_true(signing_take(rig.signing, &place, span_of(question, (size_t)len + 1), still));
		assert_true(asked < 10000000);
	}
	assert_true(signing_counts(rig.signing).minted > 100);
	assert_true(signing_take(rig.signing, &(struct signing_place){4, 1, 1}, SPAN("\0other.example"), still));
	assert_int_equal(signing_counts(rig.signing).unavailable, 1);
	/* What is known costs nothing. */
	assert_true(signing_take(rig.signing, &(struct signing_place){3, 1, 1}, SPAN("\0other.example"), still));
	assert_int_equal(signing_counts(rig.signing).unavailable, 1);
	rig_end(&rig);
}

static void nonsense_is_seen(void **state)
{
	const struct span bad[] = {SPAN(""), SPAN("\0"), SPAN("\x02" "a.example"), SPAN("\0A.example"), SPAN("\0a.example."),
	                                  SPAN("\0a.example:443"), SPAN("\0[::1]"), SPAN("\0a\0b"), SPAN("\0../../etc/passwd")};
	const struct signing_place place = {0, 1, 1};
	uint8_t large[300];
	struct rig rig;

	(void)state;
	rig_start(&rig, "");
	memset(large, 'a', sizeof(large));
	large[0] = 0;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(signing_take(rig.signing, &place, bad[i], now()));
	assert_false(signing_take(rig.signing, &place, span_of(large, sizeof(large)), now()));
	assert_false(signing_take(rig.signing, &(struct signing_place){SIGNING_WORKERS_MAX, 1, 1}, SPAN("\0a.example"), now()));
	assert_int_equal(rig.answers, 0);
	/* And what a worker takes for no answer. */
	assert_false(leaves_take_answer(rig.leaves, 1, SPAN("")));
	assert_false(leaves_take_answer(rig.leaves, 1, SPAN("\x07\0\0\0\0\0\0\0\0\0x")));
	assert_false(leaves_take_key(rig.leaves, SPAN("")));
	assert_false(leaves_take_key(rig.leaves, span_of(large, sizeof(large))));
	/* A certificate that is none, or of a key that it does not have. */
	ask(&rig, "a.example", LEAF_ECDSA);
	assert_true(leaves_take_answer(rig.leaves, rig.ids[0], SPAN("\0\0\0\0\0\0\0\0\0\1junk")));
	assert_int_equal(rig.done, 1);
	assert_int_equal(rig.last.err, ERR_SIGNER_UNAVAILABLE);
	rig_end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_signature_for_all),
		cmocka_unit_test(whoever_cancels_is_not_told),
		cmocka_unit_test(rsa_key_is_made_when_it_is_needed),
		cmocka_unit_test(rsa_key_that_cannot_be_made),
		cmocka_unit_test(constraints_are_told),
		cmocka_unit_test(keys_are_renewed_daily),
		cmocka_unit_test(another_ca_is_told),
		cmocka_unit_test(questions_wait_for_the_next_signer),
		cmocka_unit_test(a_question_does_not_end_signers_for_ever),
		cmocka_unit_test(no_answer_is_an_answer),
		cmocka_unit_test(caches_are_bounded),
		cmocka_unit_test(one_worker_cannot_have_all),
		cmocka_unit_test(nonsense_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
