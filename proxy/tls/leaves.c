/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/leaves.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "tls/ca.h"
#include "tls/leaf_message.h"
#include "tls/lru.h"

enum { ANSWER_MAX_MS = 5000, FLIGHTS_MAX = 10000, REST_S = 86400, DETAIL_MAX_BYTES = 512, TIMES_MAX = 2 };

/* The key of a kind that certificates have from the signer's message on. */
struct leaf_key {
	uint64_t number;
	EVP_PKEY *key;
	STACK_OF(X509) *chain;
};

struct kept {
	struct lru_item item;
	struct leaf *leaf;
	int64_t until;
	size_t question_bytes;
	uint8_t question[LEAF_QUESTION_MAX_BYTES];
};

/* A question that the signer has not answered yet; all who want to know wait in it. */
struct flight {
	struct lru_item item;
	struct leaves *leaves;
	uint64_t id;
	struct list queries;
	struct loop_timer timer;
	unsigned times_sent;
	bool is_sent;            /* to the signer that there is now */
	size_t question_bytes;
	uint8_t question[LEAF_QUESTION_MAX_BYTES];
};

struct leaf_query {
	struct list link;
	leaf_done *done;
	void *context;
};

struct leaves {
	struct leaves_env env;
	struct lru cache, flights;
	struct leaf_key keys[LEAF_KIND_COUNT];
	uint8_t ca_id[32];
	uint64_t next_id;
	bool is_lost;
};

static struct flight *flight_at(struct list *link)
{
	return CONTAINER_OF(CONTAINER_OF(link, struct lru_item, link), struct flight, item);
}

/* ---- leaves ---- */

struct leaf *leaf_ref(struct leaf *leaf)
{
	leaf->references++;
	return leaf;
}

void leaf_unref(struct leaf *leaf)
{
	if (leaf == NULL || --leaf->references)
		return;
	X509_free(leaf->certificate);
	EVP_PKEY_free(leaf->key);
	sk_X509_pop_free(leaf->chain, X509_free);
	free(leaf);
}

static void write_serial(const X509 *certificate, char out[static 33])
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
	int len = ASN1_STRING_length(serial);

	out[0] = 0;
	for (int i = 0; i < len && i < 16; i++)
		for (int half = 0; half < 2; half++)
			out[2 * i + half] = "0123456789abcdef"[ASN1_STRING_get0_data(serial)[i] >> (half ? 0 : 4) & 15];
	out[2 * (len < 16 ? len : 16)] = 0;
}

/* owns: certificate. */
static struct leaf *make_leaf(struct leaves *leaves, const struct leaf_key *key, X509 *certificate)
{
	struct leaf *leaf = calloc(1, sizeof(*leaf));

	if (leaf == NULL) {
		X509_free(certificate);
		return NULL;
	}
	leaf->references = 1;
	leaf->certificate = certificate;
	leaf->chain = X509_chain_up_ref(key->chain);
	if (EVP_PKEY_up_ref(key->key))
		leaf->key = key->key;
	memcpy(leaf->ca_id, leaves->ca_id, sizeof(leaf->ca_id));
	write_serial(certificate, leaf->serial);
	if (leaf->chain && leaf->key)
		return leaf;
	leaf_unref(leaf);
	return NULL;
}

/* NULL: these bytes are no certificate for this key. */
static struct leaf *read_leaf(struct leaves *leaves, const struct leaf_answer *answer)
{
	const struct leaf_key *key = &leaves->keys[answer->kind];
	const uint8_t *at = answer->body.at;
	X509 *certificate;

	if (key->key == NULL || key->number != answer->key_number)
		return NULL;
	certificate = d2i_X509(NULL, &at, (long)answer->body.len);
	if (certificate && at == answer->body.at + answer->body.len && X509_check_private_key(certificate, key->key) == 1)
		return make_leaf(leaves, key, certificate);
	X509_free(certificate);
	ERR_clear_error();
	return NULL;
}

/* ---- beginning and end ---- */

static void drop_kept(struct lru_item *item)
{
	struct kept *kept = CONTAINER_OF(item, struct kept, item);

	leaf_unref(kept->leaf);
	free(kept);
}

static void drop_flight(struct lru_item *item)
{
	struct flight *flight = CONTAINER_OF(item, struct flight, item);

	loop_timer_clear(flight->leaves->env.loop, &flight->timer);
	LIST_EACH(&flight->queries, link) {
		list_remove(link);
		free(CONTAINER_OF(link, struct leaf_query, link));
	}
	free(flight);
}

enum err leaves_new(const struct leaves_env *env, size_t max_count, struct leaves **out)
{
	struct leaves *leaves = calloc(1, sizeof(*leaves));

	*out = NULL;
	if (leaves == NULL)
		return ERR_MEMORY;
	leaves->env = *env;
	leaves->is_lost = true;
	if (lru_init(&leaves->cache, max_count, drop_kept) || lru_init(&leaves->flights, FLIGHTS_MAX, drop_flight)) {
		leaves_free(leaves);
		return ERR_MEMORY;
	}
	*out = leaves;
	return ERR_NONE;
}

static void free_key(struct leaf_key *key)
{
	EVP_PKEY_free(key->key);
	sk_X509_pop_free(key->chain, X509_free);
	*key = (struct leaf_key){.key = NULL};
}

void leaves_free(struct leaves *leaves)
{
	if (leaves == NULL)
		return;
	lru_fini(&leaves->flights);
	lru_fini(&leaves->cache);
	for (unsigned i = 0; i < LEAF_KIND_COUNT; i++)
		free_key(&leaves->keys[i]);
	free(leaves);
}

const uint8_t *leaves_ca_id(const struct leaves *leaves)
{
	return leaves->ca_id;
}

/* ---- asking ---- */

/* The bytes that are sent are also the key of both tables. 0: too long for a host. */
static size_t write_question(struct span host, enum leaf_kind kind, uint8_t out[static LEAF_QUESTION_MAX_BYTES])
{
	if (host.len == 0 || host.len + 1 > LEAF_QUESTION_MAX_BYTES)
		return 0;
	out[0] = (uint8_t)kind;
	memcpy(out + 1, host.at, host.len);
	return host.len + 1;
}

struct leaf *leaves_now(struct leaves *leaves, struct span host, enum leaf_kind kind)
{
	uint8_t question[LEAF_QUESTION_MAX_BYTES];
	size_t len = write_question(host, kind, question);
	struct lru_item *item = len ? lru_find(&leaves->cache, span_of(question, len)) : NULL;
	struct kept *kept = item ? CONTAINER_OF(item, struct kept, item) : NULL;

	if (kept == NULL)
		return NULL;
	if ((int64_t)(loop_wall_ms(leaves->env.loop) / 1000) < kept->until)
		return leaf_ref(kept->leaf);
	lru_remove(&leaves->cache, item);
	return NULL;
}

/* Tell all who wait. They may ask again, or cancel each other. */
static void land(struct flight *flight, enum err err, const char *detail, struct leaf *leaf)
{
	struct leaves *leaves = flight->leaves;
	struct list queries, *link;

	/* Whoever asks from now on asks anew. */
	list_init(&queries);
	while ((link = list_first(&flight->queries)) != NULL) {
		list_remove(link);
		list_add_last(&queries, link);
	}
	lru_remove(&leaves->flights, &flight->item);
	while ((link = list_first(&queries)) != NULL) {
		struct leaf_query *query = CONTAINER_OF(link, struct leaf_query, link);
		struct leaf_result result = {err, detail, leaf ? leaf_ref(leaf) : NULL};
		leaf_done *done = query->done;
		void *context = query->context;

		list_remove(link);
		free(query);
		done(context, &result);
	}
}

static void on_late(struct loop_timer *timer)
{
	land(CONTAINER_OF(timer, struct flight, timer), ERR_SIGNER_UNAVAILABLE, "the signer does not answer", NULL);
}

/* ERR_LIMIT: it takes no more. Where there is none, the next one is asked. */
static enum err send_flight(struct flight *flight)
{
	struct leaves *leaves = flight->leaves;
	enum err err = leaves->is_lost ? ERR_NONE : leaves->env.send(leaves->env.context, flight->id, flight->item.key);

	flight->is_sent = err == ERR_NONE && !leaves->is_lost;
	flight->times_sent += flight->is_sent;
	return err == ERR_LIMIT ? err : ERR_NONE;
}

static enum err take_off(struct leaves *leaves, struct span question, struct flight **out)
{
	struct flight *flight;

	if (leaves->flights.count >= FLIGHTS_MAX)
		return ERR_SIGNER_UNAVAILABLE;
	flight = calloc(1, sizeof(*flight));
	if (flight == NULL)
		return ERR_MEMORY;
	flight->leaves = leaves;
	flight->id = ++leaves->next_id;
	list_init(&flight->queries);
	memcpy(flight->question, question.at, question.len);
	flight->item.key = span_of(flight->question, question.len);
	flight->timer.on_due = on_late;
	if (send_flight(flight)) {
		free(flight);
		return ERR_SIGNER_UNAVAILABLE;
	}
	loop_timer_set(leaves->env.loop, &flight->timer, ANSWER_MAX_MS);
	lru_add(&leaves->flights, &flight->item);
	*out = flight;
	return ERR_NONE;
}

enum err leaves_ask(struct leaves *leaves, struct span host, enum leaf_kind kind, leaf_done *done, void *context,
                    struct leaf_query **out)
{
	uint8_t question[LEAF_QUESTION_MAX_BYTES];
	size_t len = write_question(host, kind, question);
	struct leaf_query *query;
	struct lru_item *item;
	struct flight *flight;
	enum err err = ERR_NONE;

	*out = NULL;
	if (len == 0)
		return ERR_SIGNER_UNAVAILABLE;
	query = calloc(1, sizeof(*query));
	if (query == NULL)
		return ERR_MEMORY;
	item = lru_find(&leaves->flights, span_of(question, len));
	flight = item ? CONTAINER_OF(item, struct flight, item) : NULL;
	if (flight == NULL)
		err = take_off(leaves, span_of(question, len), &flight);
	if (err) {
		free(query);
		return err;
	}
	query->done = done;
	query->context = context;
	list_add_last(&flight->queries, &query->link);
	*out = query;
	return ERR_NONE;
}

/* The answer is still taken: it was paid for. */
void leaves_cancel(struct leaf_query *query)
{
	if (query == NULL)
		return;
	list_remove(&query->link);
	free(query);
}

/* ---- what the signer says ---- */

/* Answers come nearly in the order of the questions. */
static struct flight *find_flight(struct leaves *leaves, uint64_t id)
{
	for (struct list *link = leaves->flights.order.previous; link != &leaves->flights.order; link = link->previous) {
		struct flight *flight = flight_at(link);

		if (flight->id == id)
			return flight;
	}
	return NULL;
}

static void keep(struct leaves *leaves, struct span question, struct leaf *leaf)
{
	int64_t now = (int64_t)(loop_wall_ms(leaves->env.loop) / 1000);
	int64_t end = ca_time(X509_get0_notAfter(leaf->certificate)), rest = (end - now) / 4;
	struct kept *kept = calloc(1, sizeof(*kept));

	if (kept == NULL)
		return;
	kept->leaf = leaf_ref(leaf);
	kept->until = end - (rest < REST_S ? rest : REST_S);
	memcpy(kept->question, question.at, question.len);
	kept->item.key = span_of(kept->question, question.len);
	lru_add(&leaves->cache, &kept->item);
}

static void take_leaf(struct flight *flight, const struct leaf_answer *answer)
{
	struct leaf *leaf = read_leaf(flight->leaves, answer);

	if (leaf)
		keep(flight->leaves, flight->item.key, leaf);
	land(flight, leaf ? ERR_NONE : ERR_SIGNER_UNAVAILABLE, leaf ? "" : "the signer's certificate cannot be used", leaf);
	leaf_unref(leaf);
}

bool leaves_take_answer(struct leaves *leaves, uint64_t id, struct span message)
{
	struct leaf_answer answer;
	struct flight *flight;
	char detail[DETAIL_MAX_BYTES];
	size_t len;

	if (!leaf_answer_parse(message, &answer))
		return false;
	flight = find_flight(leaves, id);
	if (flight == NULL)
		return true; /* nobody waits any more */
	if (answer.kind != (enum leaf_kind)flight->question[0])
		return false;
	if (answer.verdict == LEAF_SIGNED) {
		take_leaf(flight, &answer);
		return true;
	}
	len = answer.body.len < sizeof(detail) - 1 ? answer.body.len : sizeof(detail) - 1;
	memcpy(detail, answer.body.at, len);
	detail[len] = 0;
	land(flight, answer.verdict == LEAF_REFUSED ? ERR_SIGNER_REFUSED : ERR_SIGNER_UNAVAILABLE, detail, NULL);
	return true;
}

static bool read_chain(const struct leaf_key_message *message, STACK_OF(X509) *chain)
{
	for (size_t i = 0; i < message->chain_count; i++) {
		const uint8_t *at = message->chain[i].at;
		X509 *one = d2i_X509(NULL, &at, (long)message->chain[i].len);

		if (one == NULL || at != message->chain[i].at + message->chain[i].len || sk_X509_push(chain, one) <= 0) {
			X509_free(one);
			return false;
		}
	}
	return true;
}

static void send_unsent(struct leaves *leaves)
{
	for (struct list *link = leaves->flights.order.previous; link != &leaves->flights.order; link = link->previous)
		if (!flight_at(link)->is_sent && send_flight(flight_at(link)))
			return; /* its time is limited */
}

bool leaves_take_key(struct leaves *leaves, struct span message)
{
	struct leaf_key_message parsed;
	struct leaf_key key = {.key = NULL};
	const uint8_t *at;
	bool is_well;

	if (!leaf_key_parse(message, &parsed))
		return false;
	at = parsed.key.at;
	key.number = parsed.number;
	key.key = d2i_AutoPrivateKey(NULL, &at, (long)parsed.key.len);
	key.chain = sk_X509_new_null();
	is_well = key.key && key.chain && EVP_PKEY_is_a(key.key, parsed.kind == LEAF_RSA ? "RSA" : "EC") &&
	          read_chain(&parsed, key.chain);
	if (!is_well) {
		ERR_clear_error();
		free_key(&key);
		return false;
	}
	/* What was signed for the key before, or by another CA, is shown no more. */
	lru_clear_kind(&leaves->cache, (uint8_t)parsed.kind);
	free_key(&leaves->keys[parsed.kind]);
	leaves->keys[parsed.kind] = key;
	memcpy(leaves->ca_id, parsed.ca_id.at, sizeof(leaves->ca_id));
	leaves->is_lost = false;
	send_unsent(leaves);
	return true;
}

/* A question that ends one signer after the other is not asked for ever. */
void leaves_lose_signer(struct leaves *leaves)
{
	struct list lost, *link;

	leaves->is_lost = true;
	list_init(&lost);
	LIST_EACH(&leaves->flights.order, at) {
		flight_at(at)->is_sent = false;
		if (flight_at(at)->times_sent < TIMES_MAX)
			continue;
		list_remove(at);
		list_add_last(&lost, at);
	}
	while ((link = list_first(&lost)) != NULL) {
		list_remove(link);
		list_add_first(&leaves->flights.order, link);
		land(flight_at(link), ERR_SIGNER_UNAVAILABLE, "the signer has gone", NULL);
	}
}
