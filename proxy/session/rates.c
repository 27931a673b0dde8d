/* SPDX-License-Identifier: Apache-2.0 */
/* Which rate limits a session has: of its client, of its user, of the rule that answers rate. Each direction has buckets of its
 * own. They hold while it carries content (RELAY, TUNNEL, SERVE_H2), not for heads and handshakes. */
#include "session/session_private.h"

#include <stdlib.h>
#include <string.h>

struct rates {
	struct meter meters[2]; /* by enum pump_side: of what comes from there */
};

/* ---- whose buckets ---- */

static uint64_t hash_text(const struct session *session, struct span text)
{
	return hash_bytes(&session->env->meters->key, text);
}

/* Of IPv6, one subscriber has a whole /64. Behind a UNIX socket are many clients without an address: 0. */
static uint64_t client_of(const struct session *session)
{
	enum { CLIENT_BYTES = 8 };
	struct address plain = address_unmapped(&session->client_address);

	if (plain.family != AF_INET && plain.family != AF_INET6)
		return 0;
	return hash_text(session, span_of(plain.bytes, CLIENT_BYTES));
}

/* The rule goes by its name, as its counters do: a reload does not change whose bucket it is. */
static uint64_t key_of(const struct session *session, enum meter_kind kind, uint64_t who, uint64_t rule, enum pump_side from)
{
	const uint64_t words[] = {(uint64_t)kind, who, rule, (uint64_t)from};
	uint64_t key = hash_text(session, span_of(words, sizeof(words)));

	return key ? key : 1;
}

/* What the rule that answers rate has to say. */
static void find_rule(const struct session *session, const struct policy_answer *answer, uint64_t client, uint64_t user,
                      uint64_t *who, uint64_t *rule, uint64_t *bytes_per_s)
{
	const struct policy *policy = session->generation->policy;
	struct policy_rate_limit limit;

	*bytes_per_s = 0;
	if (!policy_rate_limit(policy, answer, &limit))
		return;
	*bytes_per_s = limit.bytes_per_s;
	*rule = hash_text(session, policy_rule_name(policy, answer->rule));
	/* Who is not known is told apart by the address. */
	*who = limit.each == EACH_RULE ? 0 : limit.each == EACH_USER && user ? user : client;
}

/* The limits of one direction; how many. */
static size_t find(const struct session *session, const struct policy_answer *answers, const struct identity *identity,
                   enum pump_side from, struct meter_limit limits[static METER_KIND_COUNT])
{
	const struct meters *meters = session->env->meters;
	uint64_t client = client_of(session), user = identity ? hash_text(session, identity->user) : 0;
	uint64_t who = 0, rule = 0, bytes_per_s;
	size_t count = 0;

	if (answers[POLICY_CLASS].answer == CLASS_MEDIA)
		return 0;
	find_rule(session, &answers[POLICY_RATE], client, user, &who, &rule, &bytes_per_s);
	if (bytes_per_s)
		limits[count++] = (struct meter_limit){key_of(session, METER_RULE, who, rule, from), bytes_per_s, METER_RULE};
	if (meters->rates[METER_CLIENT] && client)
		limits[count++] = (struct meter_limit){key_of(session, METER_CLIENT, client, 0, from), 0, METER_CLIENT};
	if (meters->rates[METER_USER] && user)
		limits[count++] = (struct meter_limit){key_of(session, METER_USER, user, 0, from), 0, METER_USER};
	return count;
}

/* ---- while content is carried ---- */

static struct rates *need(struct session *session)
{
	if (session->rates)
		return session->rates;
	session->rates = calloc(1, sizeof(*session->rates));
	for (int side = 0; session->rates && side < 2; side++)
		meter_init(&session->rates->meters[side], session->env->meters);
	return session->rates;
}

/* Without a look at who it is. */
static bool has_none(const struct session *session, const struct policy_answer *answers)
{
	const struct meters *meters = session->env->meters;

	return meters == NULL || (session->rates == NULL && meters->rates[METER_CLIENT] == 0 && meters->rates[METER_USER] == 0 &&
	                          answers[POLICY_RATE].answer == RATE_NONE);
}

/* Without memory for it nothing is carried without limit: it is not carried. */
static bool start(struct session *session, const struct policy_answer *answers, const struct identity *identity, bool adds)
{
	struct stream *const streams[] = {[PUMP_CLIENT] = &session->client, [PUMP_ORIGIN] = session->origin};
	struct meter_limit limits[METER_KIND_COUNT];

	if (has_none(session, answers))
		return true;
	for (int side = 0; side < 2; side++) {
		size_t count = find(session, answers, identity, (enum pump_side)side, limits);
		struct meter *meter;

		if (count && need(session) == NULL)
			return false;
		meter = session->rates ? &session->rates->meters[side] : NULL;
		if (meter && meter->stream && adds)
			for (size_t i = 0; i < count; i++)
				meter_add(meter, limits[i]);
		else if (count)
			meter_start(meter, streams[side], limits, count);
		else if (meter)
			meter_stop(meter);
	}
	return true;
}

bool rates_start(struct session *session, const struct policy_answer *answers, const struct identity *identity,
                 const size_t read_bytes[2])
{
	if (!start(session, answers, identity, false))
		return false;
	for (int side = 0; session->rates && side < 2; side++)
		if (session->rates->meters[side].stream)
			meter_charge(&session->rates->meters[side], read_bytes[side]);
	return true;
}

bool rates_add(struct session *session, const struct policy_answer *answers, const struct identity *identity)
{
	return start(session, answers, identity, true);
}

void rates_stop(struct session *session)
{
	for (int side = 0; session->rates && side < 2; side++)
		meter_stop(&session->rates->meters[side]);
}

void rates_free(struct session *session)
{
	rates_stop(session);
	free(session->rates);
	session->rates = NULL;
}

/* ---- for people ---- */

uint64_t rates_waited_ms(const struct session *session)
{
	const struct rates *rates = session->rates;

	return rates ? rates->meters[0].waited_ms + rates->meters[1].waited_ms : 0;
}

const char *rates_slowest(const struct session *session, bool now)
{
	const struct rates *rates = session->rates;
	const struct meter *meter;

	if (rates == NULL || (now && !rates->meters[0].waits && !rates->meters[1].waits))
		return NULL;
	if (now)
		meter = &rates->meters[rates->meters[PUMP_ORIGIN].waits ? PUMP_ORIGIN : PUMP_CLIENT];
	else
		meter = &rates->meters[rates->meters[0].waited_ms > rates->meters[1].waited_ms ? 0 : 1];
	return meter_kind_name((enum meter_kind)meter->slowest);
}
