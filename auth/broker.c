/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/broker.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1024, FLIGHTS_MAX = 10000 };

/* One question that is out. */
struct flight {
	struct list by_id, by_key; /* rings of a bucket */
	uint64_t id;
	bool has_key;
	uint8_t key[KEYED_HASH_BYTES];
	struct list waits;         /* of struct broker_wait */
};

struct broker {
	enum err (*send)(void *context, uint64_t id, struct span ask);
	void *context;
	uint64_t next_id, swept_id;
	size_t count;
	struct buf bytes;          /* of the question that is being sent */
	struct list by_id[BUCKETS], by_key[BUCKETS];
};

enum err broker_new(enum err (*send)(void *context, uint64_t id, struct span ask), void *context,
                    struct broker **out)
{
	struct broker *broker = calloc(1, sizeof(*broker));

	if (broker == NULL)
		return ERR_MEMORY;
	broker->send = send;
	broker->context = context;
	buf_init(&broker->bytes, ASK_WIRE_MAX_BYTES);
	for (size_t i = 0; i < BUCKETS; i++) {
		list_init(&broker->by_id[i]);
		list_init(&broker->by_key[i]);
	}
	*out = broker;
	return ERR_NONE;
}

static struct list *bucket_of(struct broker *broker, const uint8_t key[static KEYED_HASH_BYTES])
{
	uint32_t number;

	memcpy(&number, key, sizeof(number));
	return &broker->by_key[number % BUCKETS];
}

static void free_flight(struct broker *broker, struct flight *flight)
{
	list_remove(&flight->by_id);
	if (flight->has_key)
		list_remove(&flight->by_key);
	while (!list_is_empty(&flight->waits)) {
		struct broker_wait *wait = LIST_ENTRY(flight->waits.next, struct broker_wait, link);

		broker_cancel(wait);
	}
	broker->count--;
	free(flight);
}

static void add_wait(struct broker *broker, struct flight *flight, struct broker_wait *wait)
{
	wait->broker = broker;
	list_add_last(&flight->waits, &wait->link);
}

static struct flight *new_flight(struct broker *broker, const uint8_t *key)
{
	struct flight *flight = calloc(1, sizeof(*flight));

	if (flight == NULL)
		return NULL;
	flight->id = ++broker->next_id;
	list_init(&flight->waits);
	list_add_last(&broker->by_id[flight->id % BUCKETS], &flight->by_id);
	if (key) {
		flight->has_key = true;
		memcpy(flight->key, key, KEYED_HASH_BYTES);
		list_add_last(bucket_of(broker, key), &flight->by_key);
	}
	broker->count++;
	return flight;
}

bool broker_join(struct broker *broker, const uint8_t key[static KEYED_HASH_BYTES], struct broker_wait *wait)
{
	struct list *bucket = bucket_of(broker, key);

	LIST_EACH(bucket, link)
	{
		struct flight *flight = LIST_ENTRY(link, struct flight, by_key);

		if (memcmp(flight->key, key, KEYED_HASH_BYTES) == 0) {
			add_wait(broker, flight, wait);
			return true;
		}
	}
	return false;
}

static enum err send_ask(struct broker *broker, const struct ask *ask, uint64_t id)
{
	struct buf *bytes = &broker->bytes;
	enum err err = ERR_LIMIT;

	buf_reset(bytes);
	ask_write(ask, bytes);
	if (buf_is_whole(bytes))
		err = broker->send(broker->context, id, buf_span(bytes));
	if (bytes->at)
		explicit_bzero(bytes->at, bytes->end); /* a password may be in it */
	return err;
}

enum err broker_ask(struct broker *broker, const struct ask *ask, const uint8_t *key, struct broker_wait *wait)
{
	struct flight *flight;
	enum err err;

	if (broker->count >= FLIGHTS_MAX)
		return ERR_LIMIT;
	flight = new_flight(broker, key);
	if (flight == NULL)
		return ERR_MEMORY;
	err = send_ask(broker, ask, flight->id);
	if (err)
		free_flight(broker, flight);
	else
		add_wait(broker, flight, wait);
	return err;
}

bool broker_is_waiting(const struct broker_wait *wait)
{
	return wait->broker != NULL;
}

void broker_cancel(struct broker_wait *wait)
{
	if (wait->broker == NULL)
		return;
	list_remove(&wait->link);
	wait->broker = NULL;
}

static struct flight *find(struct broker *broker, uint64_t id)
{
	LIST_EACH(&broker->by_id[id % BUCKETS], link)
	{
		struct flight *flight = LIST_ENTRY(link, struct flight, by_id);

		if (flight->id == id)
			return flight;
	}
	return NULL;
}

/* Those who are told may ask anew, or cancel others that wait here. */
static void tell(struct broker *broker, struct flight *flight, const struct answer *answer)
{
	if (flight->has_key) {
		list_remove(&flight->by_key);
		flight->has_key = false;
	}
	while (!list_is_empty(&flight->waits)) {
		struct broker_wait *wait = LIST_ENTRY(flight->waits.next, struct broker_wait, link);

		broker_cancel(wait);
		wait->done(wait, answer);
	}
	free_flight(broker, flight);
}

bool broker_take(struct broker *broker, uint64_t id, struct span bytes)
{
	struct flight *flight = find(broker, id);
	struct answer answer;
	bool is_valid;

	answer_init(&answer);
	is_valid = answer_read(bytes, &answer);
	if (is_valid && flight)
		tell(broker, flight, &answer);
	answer_fini(&answer);
	return is_valid;
}

void broker_lose_all(struct broker *broker)
{
	uint64_t last_id = broker->next_id; /* those who are told may ask anew */
	struct answer answer;

	answer_init(&answer);
	answer_say(&answer, VERDICT_UNAVAILABLE, "the verifier has ended, and is started again");
	for (size_t i = 0; i < BUCKETS; i++) {
		LIST_EACH(&broker->by_id[i], link)
		{
			struct flight *flight = LIST_ENTRY(link, struct flight, by_id);

			if (flight->id <= last_id)
				tell(broker, flight, &answer);
		}
	}
	answer_fini(&answer);
}

void broker_sweep(struct broker *broker)
{
	struct answer answer;

	answer_init(&answer);
	answer_say(&answer, VERDICT_UNAVAILABLE, "the verifier has not answered");
	for (size_t i = 0; i < BUCKETS; i++) {
		LIST_EACH(&broker->by_id[i], link)
		{
			struct flight *flight = LIST_ENTRY(link, struct flight, by_id);

			if (flight->id <= broker->swept_id)
				tell(broker, flight, &answer);
		}
	}
	broker->swept_id = broker->next_id;
	answer_fini(&answer);
}

size_t broker_count(const struct broker *broker)
{
	return broker->count;
}

void broker_free(struct broker *broker)
{
	if (broker == NULL)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		while (!list_is_empty(&broker->by_id[i]))
			free_flight(broker, LIST_ENTRY(broker->by_id[i].next, struct flight, by_id));
	buf_fini(&broker->bytes);
	free(broker);
}
