/* SPDX-License-Identifier: Apache-2.0 */
/* What a new policy ends (reload --cut): sessions whose access it denies, and no others: who is asked, and what is
 * opened, is decided when a session begins. What still waits for addresses is judged when it has them. */
#include "session/session_private.h"

#include "base/log.h"
#include "session/h2/h2.h"

/* What is said of one cut. Texts of the configuration may be long. */
enum { TEXT_MAX_BYTES = 200, BECAUSE_MAX_BYTES = 600, TOLD_MAX = 1000 };

/* Ending a session takes as long as looking at so many: two sockets are closed and lines are written. */
enum { CUT_COST = 32 };

/* ---- deciding once more ---- */

/* The texts behind each other in a tunnel. */
struct tunnel_texts {
	struct span method, host, target, other;
};

static struct tunnel_texts texts_of(const struct tunnel *tunnel)
{
	struct tunnel_texts texts;
	const char *at = tunnel->text;

	texts.method = span_of(at, tunnel->method_len);
	texts.host = span_of(at += tunnel->method_len, tunnel->host_len);
	texts.target = span_of(at += tunnel->host_len, tunnel->target_len);
	texts.other = span_of(at += tunnel->target_len, tunnel->other_len);
	return texts;
}

struct policy_facts tunnel_facts(const struct session *session)
{
	const struct tunnel *tunnel = session->tunnel;
	struct tunnel_texts texts = texts_of(tunnel);
	struct policy_facts facts = {
		.from = session->client_address,
		.listener = span_from(session->listener->name),
		.host = texts.host,
		.port = tunnel->port,
		.known = FACT_ADDRESS,
		.absent = (unsigned)FACT_REQUEST | FACT_RESPONSE,
		.address = tunnel->origin,
		.method = texts.method,
		.sni = SPAN(""),
		.inner_host = texts.other,
		.url = SPAN(""),
		.user = SPAN(""),
		.content_type = SPAN(""),
	};

	if (tunnel->identity) {
		facts.known |= FACT_USER;
		facts.user = tunnel->identity->user;
		facts.groups = tunnel->identity->groups;
		facts.group_count = tunnel->identity->group_count;
	} else {
		facts.absent |= FACT_USER;
	}
	if (tunnel->is_sni_host || tunnel->sni) {
		facts.known |= FACT_HELLO;
		facts.sni = tunnel->sni ? span_from(tunnel->sni) : facts.host;
	} else {
		facts.absent |= FACT_HELLO;
	}
	if (address_parse(facts.host, &facts.host_address))
		facts.host_address.port = tunnel->port;
	if (tunnel->is_upgrade) {
		facts.known |= (unsigned)FACT_REQUEST | FACT_RESPONSE;
		facts.absent &= ~((unsigned)FACT_REQUEST | FACT_RESPONSE);
		facts.url = texts.target;
	}
	return facts;
}

static bool denies(const struct policy *policy, const struct policy_facts *facts,
                   struct policy_decision *out)
{
	policy_decide(policy, facts, out);
	return !(out->open >> POLICY_ACCESS & 1) &&
	       out->answers[POLICY_ACCESS].answer == ACCESS_DENY;
}

/* A connection that does not stand yet may come to stand with any of the addresses. */
static bool exchange_is_denied(const struct policy *policy, const struct exchange *exchange,
                               struct policy_facts *facts, struct policy_decision *out)
{
	const struct address *at = exchange->addresses;
	size_t count = exchange->address_count;

	if (exchange->origin.family) {
		at = &exchange->origin;
		count = 1;
	}
	if (count == 0)
		return denies(policy, facts, out);
	facts->known |= FACT_ADDRESS;
	for (size_t i = 0; i < count; i++) {
		facts->address = at[i];
		if (denies(policy, facts, out))
			return true;
	}
	return false;
}

/* Its addresses will be held against the policy in force, not against the one that it began with. */
static void move_to_current(struct session *session, const struct policy_decision *decision)
{
	struct session_generation *before = session->generation;

	session->generation = session_generation_ref(session->env->current);
	session->exchange->decision = *decision;
	session_generation_unref(before);
}

static bool is_denied(struct session *session, struct policy_facts *facts,
                      struct policy_decision *decision)
{
	const struct policy *policy = session->env->current->policy;
	bool denied;

	*facts = session->tunnel ? tunnel_facts(session) : session->exchange->facts;
	facts->wall_ms = loop_wall_ms(session->env->loop);
	if (session->tunnel)
		return denies(policy, facts, decision);
	denied = exchange_is_denied(policy, session->exchange, facts, decision);
	if (!denied && session->state == SESSION_RESOLVE && (decision->open >> POLICY_ACCESS & 1))
		move_to_current(session, decision);
	return denied;
}

/* ---- telling ---- */

static void add_text(struct buf *out, const char *key, struct span value)
{
	if (value.len == 0)
		return;
	buf_printf(out, ",\"%s\":", key);
	buf_add_json(out, span_first(value, TEXT_MAX_BYTES));
}

/* As explain and the error page say it: rule, entry of a list, and what these do not tell. */
static void add_because(const struct policy *policy, const struct policy_facts *facts,
                        const struct policy_answer *access, struct buf *out)
{
	struct buf part;

	buf_init(&part, SESSION_CUT_LINE_MAX_BYTES);
	policy_say_rule(policy, access, out);
	if (policy_say_entry(policy, access, &part)) {
		buf_add_string(out, ", ");
		buf_add(out, buf_span(&part));
	}
	buf_reset(&part);
	if (policy_say_reason(policy, facts, access, &part)) {
		buf_add_string(out, ", ");
		buf_add(out, buf_span(&part));
	}
	buf_fini(&part);
}

/* Rule, list and line by which access is denied now. */
static void add_cause(const struct policy *policy, const struct policy_answer *access,
                      struct span because, struct buf *out)
{
	struct span file, entry;
	unsigned line;

	add_text(out, "rule", policy_rule_name(policy, access->rule));
	file = policy_rule_file(policy, access->rule, &line);
	add_text(out, "rule_file", file);
	buf_printf(out, ",\"rule_line\":%u", line);
	if (policy_list_name(policy, access->list).len &&
	    policy_place(policy, access, &file, &line, &entry)) {
		add_text(out, "list", policy_list_name(policy, access->list));
		add_text(out, "file", file);
		buf_printf(out, ",\"line\":%u", line);
		add_text(out, "entry", entry);
	}
	buf_add_string(out, ",\"because\":");
	buf_add_json(out, because);
}

static void describe(const struct session *session, const struct policy_facts *facts,
                     const struct policy_answer *access, struct span because, struct buf *out)
{
	const struct tunnel *tunnel = session->tunnel;
	const struct exchange *exchange = session->exchange;
	uint64_t started_ms = tunnel ? tunnel->started_ms : exchange->started_ms;
	char id[48];

	buf_printf(out, "{\"id\":\"%s\",\"client\":\"", session_id_text(session, id));
	address_format_with_port(&session->client_address, out);
	buf_add_byte(out, '"');
	add_text(out, "listener", facts->listener);
	add_text(out, "user", facts->user);
	add_text(out, "method", facts->method);
	buf_add_string(out, ",\"host\":");
	buf_add_json(out, facts->host);
	buf_printf(out, ",\"port\":%u", facts->port);
	add_cause(session->env->current->policy, access, because, out);
	buf_printf(out, ",\"age_ms\":%llu,\"bytes_up\":%llu,\"bytes_down\":%llu}\n",
	           (unsigned long long)(loop_now_ms(session->env->loop) - started_ms),
	           (unsigned long long)(tunnel ? tunnel->pump.bytes[PUMP_CLIENT] : exchange->bytes_up),
	           (unsigned long long)(tunnel ? tunnel->pump.bytes[PUMP_ORIGIN] : exchange->bytes_down));
}

/* What does not fit is counted alone. */
static void tell(const struct session *session, const struct policy_facts *facts,
                 const struct policy_answer *access, struct session_cuts *cuts)
{
	struct buf line, because;
	struct span shown;
	char id[48];

	if (cuts->told == TOLD_MAX)
		return;
	buf_init(&because, SESSION_CUT_LINE_MAX_BYTES);
	buf_init(&line, SESSION_CUT_LINE_MAX_BYTES);
	add_because(session->env->current->policy, facts, access, &because);
	shown = span_first(buf_span(&because), BECAUSE_MAX_BYTES);
	describe(session, facts, access, shown, &line);
	if (buf_is_whole(&line) && buf_len(&cuts->lines) + buf_len(&line) <= cuts->lines.max_bytes) {
		buf_add(&cuts->lines, buf_span(&line));
		cuts->told++;
		log_event(EV_CUT, "session=%s host=%.*s port=%u %.*s", session_id_text(session, id),
		          SPAN_ARG(facts->host), facts->port, SPAN_ARG(shown));
	}
	buf_fini(&line);
	buf_fini(&because);
}

/* ---- all sessions ---- */

/* One stream of HTTP/2; the others go on. */
static bool is_stream_cut(struct session *session, void *context)
{
	struct session_cuts *cuts = context;
	struct policy_decision decision;
	struct policy_facts facts;

	if (!is_denied(session, &facts, &decision))
		return false;
	cuts->count++;
	tell(session, &facts, &decision.answers[POLICY_ACCESS], cuts);
	return true;
}

static bool cut_one(struct session *session, struct session_cuts *cuts)
{
	const unsigned decided = 1u << SESSION_RESOLVE | 1u << SESSION_DIAL | 1u << SESSION_RELAY |
	                         1u << SESSION_TUNNEL;
	struct policy_decision decision;
	struct policy_facts facts;

	if (session->exchange && session->exchange->is_for_pages)
		return false; /* policy was not asked */
	if (session->state == SESSION_SERVE_H2)
		return h2_cut(session, is_stream_cut, cuts);
	if (!(decided >> session->state & 1) || !is_denied(session, &facts, &decision))
		return false;
	cuts->count++;
	tell(session, &facts, &decision.answers[POLICY_ACCESS], cuts);
	if (session->state == SESSION_TUNNEL) {
		tunnel_stop(session, ERR_CUT);
	} else {
		/* No page is owed to it, and what was sent must not look complete. */
		session->exchange->has_response = true;
		session_fail(session, ERR_CUT, "");
		session_run(session);
	}
	return true;
}

void session_cut_begin(struct session_env *env)
{
	env->cut_next = env->sessions.next;
}

bool session_cut_some(struct session_env *env, size_t most, struct session_cuts *cuts)
{
	size_t spent = 0;

	/* A session that ends between two calls moves this on (step_end()). */
	while (env->cut_next && env->cut_next != &env->sessions && spent < most) {
		struct session *session = LIST_ENTRY(env->cut_next, struct session, link);

		env->cut_next = env->cut_next->next;
		spent += cut_one(session, cuts) ? CUT_COST : 1;
	}
	if (env->cut_next == &env->sessions)
		env->cut_next = NULL;
	return env->cut_next != NULL;
}
