/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/signing.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tls/lru.h"

enum {
	KEY_LIFE_S = 86400,
	REST_S = 86400,         /* a certificate is not given out any more so long before its end */
	WAITING_MAX = 1024,     /* of one worker, for an RSA key */
	CACHE_MIN = 1024,
	/* A worker may use half of one core, and two seconds of it at once. */
	SHARE_FULL_US = 2000000,
	SHARE_DIVISOR = 2,
};

struct shared_key {
	EVP_PKEY *key;
	struct mint *mint;
	uint64_t number;
	int64_t made;
	bool is_wanted;         /* RSA: being made */
};

/* The answer to a question: its body lies behind the question. */
struct entry {
	struct lru_item item;
	int64_t until;
	size_t body_bytes;
	uint8_t bytes[];
};

/* Who waits for the RSA key. */
struct waiting {
	struct list link;
	struct signing_place place;
	size_t len;
	uint8_t question[LEAF_QUESTION_MAX_BYTES];
};

struct share {
	uint64_t left_us, filled_us;
	size_t waiting;
};

struct signing {
	struct signing_env env;
	struct ca *ca;
	struct mint_conf conf;
	char *organization, *crl_url;
	struct shared_key keys[LEAF_KIND_COUNT];
	uint64_t next_number;
	struct lru cache;
	struct list waiting;
	struct share shares[SIGNING_WORKERS_MAX];
	struct signing_counts counts;
	struct buf der, why, out;
};

/* ---- beginning and end ---- */

static void drop_entry(struct lru_item *item)
{
	free(CONTAINER_OF(item, struct entry, item));
}

enum err signing_new(const struct signing_env *env, struct signing **out)
{
	struct signing *signing = calloc(1, sizeof(*signing));

	*out = NULL;
	if (signing == NULL || lru_init(&signing->cache, CACHE_MIN, drop_entry)) {
		free(signing);
		return ERR_MEMORY;
	}
	signing->env = *env;
	/* Of a signer that is started again, a worker must not take a number for one that it knows. */
	secret_random(&signing->next_number, sizeof(signing->next_number));
	list_init(&signing->waiting);
	buf_init(&signing->der, LEAF_ANSWER_MAX_BYTES - LEAF_ANSWER_HEAD_BYTES);
	buf_init(&signing->why, 4096);
	buf_init(&signing->out, LEAF_KEY_MAX_BYTES);
	for (unsigned i = 0; i < SIGNING_WORKERS_MAX; i++)
		signing->shares[i].left_us = SHARE_FULL_US;
	*out = signing;
	return ERR_NONE;
}

static void drop_waiting(struct signing *signing, struct waiting *waiting)
{
	list_remove(&waiting->link);
	signing->shares[waiting->place.worker].waiting--;
	free(waiting);
}

static void free_key(struct shared_key *key)
{
	mint_free(key->mint);
	EVP_PKEY_free(key->key);
	key->mint = NULL;
	key->key = NULL;
}

void signing_free(struct signing *signing)
{
	if (signing == NULL)
		return;
	LIST_EACH(&signing->waiting, link)
		drop_waiting(signing, CONTAINER_OF(link, struct waiting, link));
	for (unsigned i = 0; i < LEAF_KIND_COUNT; i++)
		free_key(&signing->keys[i]);
	lru_fini(&signing->cache);
	ca_free(signing->ca);
	free(signing->organization);
	free(signing->crl_url);
	buf_fini(&signing->der);
	buf_fini(&signing->why);
	buf_fini(&signing->out);
	free(signing);
}

const struct ca *signing_ca(const struct signing *signing)
{
	return signing->ca;
}

struct signing_counts signing_counts(const struct signing *signing)
{
	return signing->counts;
}

/* ---- keys ---- */

static bool add_der(struct buf *all, struct span *out, uint8_t *der, int len)
{
	size_t before = buf_len(all);

	if (len > 0)
		buf_add(all, span_of(der, (size_t)len));
	/* Its place is known once all is there: the buffer may move. */
	*out = span_of(NULL, buf_len(all) - before);
	OPENSSL_free(der);
	return len > 0 && buf_is_whole(all);
}

static bool encode_key(const struct signing *signing, EVP_PKEY *key, struct buf *all, struct leaf_key_message *message)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
	uint8_t *der = NULL;
	int len = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : 0;
	bool is_well;
	size_t at = 0;

	buf_reset(all);
	if (len > 0)
		buf_add(all, span_of(der, (size_t)len));
	if (len > 0)
		OPENSSL_cleanse(der, (size_t)len);
	OPENSSL_free(der);
	PKCS8_PRIV_KEY_INFO_free(info);
	is_well = len > 0;
	message->key = span_of(NULL, is_well ? (size_t)len : 0);
	for (int i = 0; is_well && i < sk_X509_num(signing->ca->chain) && i < LEAF_CHAIN_MAX; i++) {
		uint8_t *one = NULL;
		int one_len = i2d_X509(sk_X509_value(signing->ca->chain, i), &one);

		is_well = add_der(all, &message->chain[i], one, one_len);
		message->chain_count++;
	}
	message->key.at = buf_span(all).at;
	at = message->key.len;
	for (size_t i = 0; i < message->chain_count; i++) {
		message->chain[i].at = buf_span(all).at + at;
		at += message->chain[i].len;
	}
	return is_well;
}

static void wipe(struct buf *bytes)
{
	if (bytes->at)
		explicit_bzero(bytes->at, bytes->capacity);
	buf_fini(bytes);
}

bool signing_write_key(struct signing *signing, enum leaf_kind kind, struct buf *out)
{
	const struct shared_key *key = &signing->keys[kind];
	struct leaf_key_message message = {.kind = kind, .number = key->number};
	struct buf all;
	bool is_well;

	if (key->mint == NULL)
		return false;
	buf_init(&all, LEAF_KEY_MAX_BYTES);
	/* At once: a buffer that grows leaves copies behind. */
	if (buf_reserve(&all, LEAF_KEY_MAX_BYTES) == NULL || buf_reserve(out, LEAF_KEY_MAX_BYTES) == NULL) {
		buf_fini(&all);
		return false;
	}
	is_well = encode_key(signing, key->key, &all, &message);
	message.ca_id = span_of(signing->ca->id, sizeof(signing->ca->id));
	if (is_well)
		leaf_key_write(&message, out);
	wipe(&all);
	return is_well && buf_is_whole(out);
}

/* owns: key. What is cached is of the key before. */
static enum err use_key(struct signing *signing, enum leaf_kind kind, EVP_PKEY *key, int64_t now)
{
	struct shared_key *shared = &signing->keys[kind];
	struct mint *mint = NULL;
	struct buf message;
	enum err err = key ? mint_new(signing->ca, key, &signing->conf, &mint) : ERR_MEMORY;

	if (err) {
		EVP_PKEY_free(key);
		return err;
	}
	free_key(shared);
	*shared = (struct shared_key){.key = key, .mint = mint, .number = ++signing->next_number, .made = now};
	lru_clear_kind(&signing->cache, (uint8_t)kind);
	buf_init(&message, LEAF_KEY_MAX_BYTES);
	if (signing_write_key(signing, kind, &message))
		signing->env.tell_key(signing->env.context, buf_span(&message));
	else
		err = ERR_MEMORY;
	wipe(&message);
	return err;
}

static void want_rsa(struct signing *signing)
{
	struct shared_key *rsa = &signing->keys[LEAF_RSA];

	if (rsa->is_wanted)
		return;
	rsa->is_wanted = true;
	signing->env.want_rsa(signing->env.context);
}

/* ---- the CA ---- */

static bool is_same(const struct signing *signing, const struct ca *ca, const struct mint_conf *conf)
{
	return signing->ca && X509_cmp(signing->ca->certificate, ca->certificate) == 0 &&
	       sk_X509_num(signing->ca->chain) == sk_X509_num(ca->chain) && conf->leaf_ms == signing->conf.leaf_ms &&
	       span_equal(conf->organization, signing->conf.organization) && span_equal(conf->crl_url, signing->conf.crl_url);
}

static enum err take_conf(struct signing *signing, const struct mint_conf *conf)
{
	char *organization = strndup((const char *)conf->organization.at, conf->organization.len);
	char *url = strndup((const char *)conf->crl_url.at, conf->crl_url.len);

	if (organization == NULL || url == NULL) {
		free(organization);
		free(url);
		return ERR_MEMORY;
	}
	free(signing->organization);
	free(signing->crl_url);
	signing->organization = organization;
	signing->crl_url = url;
	signing->conf = (struct mint_conf){span_from(organization), span_from(url), conf->leaf_ms};
	return ERR_NONE;
}

enum err signing_use(struct signing *signing, struct ca *ca, const struct mint_conf *conf, size_t max_count,
                     struct signing_time now)
{
	bool had_rsa = signing->keys[LEAF_RSA].key || signing->keys[LEAF_RSA].is_wanted;
	struct ca *before = signing->ca;
	enum err err;

	lru_limit(&signing->cache, max_count);
	if (is_same(signing, ca, conf)) {
		ca_free(ca);
		return ERR_NONE;
	}
	err = take_conf(signing, conf);
	if (err) {
		ca_free(ca);
		return err;
	}
	signing->ca = ca;
	lru_clear(&signing->cache);
	for (unsigned i = 0; i < LEAF_KIND_COUNT; i++) {
		mint_free(signing->keys[i].mint);
		signing->keys[i].mint = NULL;
	}
	ca_free(before);
	err = use_key(signing, LEAF_ECDSA, EVP_EC_gen("P-256"), now.wall);
	/* One that is on its way is for whichever CA there is then. */
	if (err == ERR_NONE && had_rsa)
		want_rsa(signing);
	return err;
}

/* ---- questions ---- */

static void answer(struct signing *signing, const struct signing_place *place, const struct leaf_answer *what)
{
	buf_reset(&signing->out);
	leaf_answer_write(what, &signing->out);
	signing->counts.refused += what->verdict == LEAF_REFUSED;
	signing->counts.unavailable += what->verdict == LEAF_UNAVAILABLE;
	if (buf_is_whole(&signing->out))
		signing->env.answer(signing->env.context, place, buf_span(&signing->out));
}

static void answer_unavailable(struct signing *signing, const struct signing_place *place, enum leaf_kind kind,
                               struct span why)
{
	answer(signing, place, &(struct leaf_answer){.verdict = LEAF_UNAVAILABLE, .kind = kind, .body = why});
}

static void keep(struct signing *signing, struct span question, struct span der, int64_t now)
{
	int64_t end = now + (int64_t)(signing->conf.leaf_ms / 1000);
	int64_t rest;
	struct entry *entry = malloc(sizeof(*entry) + question.len + der.len);

	if (entry == NULL)
		return;
	end = end < signing->ca->not_after ? end : signing->ca->not_after;
	rest = (end - now) / 4;
	*entry = (struct entry){.until = end - (rest < REST_S ? rest : REST_S), .body_bytes = der.len};
	memcpy(entry->bytes, question.at, question.len);
	memcpy(entry->bytes + question.len, der.at, der.len);
	entry->item.key = span_of(entry->bytes, question.len);
	lru_add(&signing->cache, &entry->item);
}

static void refill(struct share *share, uint64_t now_us)
{
	uint64_t more = (now_us - share->filled_us) / SHARE_DIVISOR;

	share->filled_us = now_us;
	share->left_us = share->left_us + more > SHARE_FULL_US ? SHARE_FULL_US : share->left_us + more;
}

static void charge(struct share *share, uint64_t used_us)
{
	share->left_us = used_us < share->left_us ? share->left_us - used_us : 0;
}

static void sign(struct signing *signing, const struct signing_place *place, struct span question, int64_t now)
{
	enum leaf_kind kind = (enum leaf_kind)question.at[0];
	struct shared_key *key = &signing->keys[kind];
	enum err err;

	buf_reset(&signing->der);
	buf_reset(&signing->why);
	err = mint_leaf(key->mint, span_skip(question, 1), now, &signing->der, &signing->why);
	if (err == ERR_NONE) {
		signing->counts.minted++;
		keep(signing, question, buf_span(&signing->der), now);
		answer(signing, place, &(struct leaf_answer){LEAF_SIGNED, kind, key->number, buf_span(&signing->der)});
	} else if (err == ERR_SIGNER_REFUSED) {
		answer(signing, place, &(struct leaf_answer){LEAF_REFUSED, kind, 0, buf_span(&signing->why)});
	} else {
		answer_unavailable(signing, place, kind, SPAN("signing failed"));
	}
}

static void serve(struct signing *signing, const struct signing_place *place, struct span question,
                  struct signing_time now)
{
	enum leaf_kind kind = (enum leaf_kind)question.at[0];
	struct share *share = &signing->shares[place->worker];
	struct lru_item *item = lru_find(&signing->cache, question);
	struct entry *entry = item ? CONTAINER_OF(item, struct entry, item) : NULL;
	uint64_t began_us;

	if (entry && now.wall < entry->until) {
		answer(signing, place, &(struct leaf_answer){LEAF_SIGNED, kind, signing->keys[kind].number,
		                                             span_of(entry->bytes + question.len, entry->body_bytes)});
		return;
	}
	refill(share, now.monotonic_us);
	if (share->left_us == 0) {
		answer_unavailable(signing, place, kind, SPAN("this worker has asked for too many new hosts at once"));
		return;
	}
	began_us = clock_monotonic_us();
	sign(signing, place, question, now.wall);
	charge(share, clock_monotonic_us() - began_us);
}

static void wait_for_rsa(struct signing *signing, const struct signing_place *place, struct span question)
{
	struct share *share = &signing->shares[place->worker];
	struct waiting *waiting = share->waiting < WAITING_MAX ? malloc(sizeof(*waiting)) : NULL;

	if (waiting == NULL) {
		answer_unavailable(signing, place, LEAF_RSA, SPAN("too many wait for the RSA key"));
		return;
	}
	*waiting = (struct waiting){.place = *place, .len = question.len};
	memcpy(waiting->question, question.at, question.len);
	share->waiting++;
	list_add_last(&signing->waiting, &waiting->link);
	want_rsa(signing);
}

bool signing_take(struct signing *signing, const struct signing_place *place, struct span question,
                  struct signing_time now)
{
	struct address address;

	if (question.len < 2 || question.len > LEAF_QUESTION_MAX_BYTES || question.at[0] >= LEAF_KIND_COUNT ||
	    place->worker >= SIGNING_WORKERS_MAX || !mint_is_host(span_skip(question, 1), &address))
		return false;
	signing->counts.questions++;
	if (signing->keys[question.at[0]].mint)
		serve(signing, place, question, now);
	else if (question.at[0] == LEAF_RSA && signing->ca)
		wait_for_rsa(signing, place, question);
	else
		answer_unavailable(signing, place, (enum leaf_kind)question.at[0], SPAN("there is no CA yet"));
	return true;
}

/* ---- later ---- */

void signing_take_rsa(struct signing *signing, EVP_PKEY *key, struct signing_time now)
{
	bool is_well;

	signing->keys[LEAF_RSA].is_wanted = false;
	is_well = use_key(signing, LEAF_RSA, key, now.wall) == ERR_NONE;
	LIST_EACH(&signing->waiting, link) {
		struct waiting *waiting = CONTAINER_OF(link, struct waiting, link);

		if (is_well)
			serve(signing, &waiting->place, span_of(waiting->question, waiting->len), now);
		else
			answer_unavailable(signing, &waiting->place, LEAF_RSA, SPAN("the RSA key cannot be made"));
		drop_waiting(signing, waiting);
	}
}

void signing_tick(struct signing *signing, struct signing_time now)
{
	const struct shared_key *ecdsa = &signing->keys[LEAF_ECDSA], *rsa = &signing->keys[LEAF_RSA];

	if (signing->ca == NULL)
		return;
	if (now.wall - ecdsa->made >= KEY_LIFE_S || now.wall < ecdsa->made)
		if (use_key(signing, LEAF_ECDSA, EVP_EC_gen("P-256"), now.wall))
			ERR_clear_error(); /* again at the next tick */
	if (rsa->key && (now.wall - rsa->made >= KEY_LIFE_S || now.wall < rsa->made))
		want_rsa(signing);
}

void signing_forget(struct signing *signing, unsigned worker)
{
	LIST_EACH(&signing->waiting, link) {
		struct waiting *waiting = CONTAINER_OF(link, struct waiting, link);

		if (waiting->place.worker == worker)
			drop_waiting(signing, waiting);
	}
}
