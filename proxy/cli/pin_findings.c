/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/pin_findings.h"

#include <libpsl.h>
#include <stdlib.h>
#include <string.h>

#include "http/target.h"

enum {
	PAIRS_MAX = 1 << 22,
	ARENA_MAX_BYTES = 16 << 20,
	HOST_MAX_BYTES = 255,
	HOSTS_OF_PARENT = 3,
};

void pin_findings_init(struct pin_findings *findings)
{
	*findings = (struct pin_findings){.proposals = NULL};
	names_init(&findings->texts);
	tally_init(&findings->pairs, sizeof(struct pin_pair), offsetof(struct pin_pair, ja4), PAIRS_MAX);
	tally_init(&findings->clients, sizeof(struct pin_client), sizeof(uint32_t), NAMES_MAX);
	tally_init(&findings->askings, sizeof(struct pin_asking), offsetof(struct pin_asking, count), PAIRS_MAX);
	arena_init(&findings->arena, ARENA_MAX_BYTES);
}

void pin_findings_fini(struct pin_findings *findings)
{
	names_fini(&findings->texts);
	tally_fini(&findings->pairs);
	tally_fini(&findings->clients);
	tally_fini(&findings->askings);
	arena_fini(&findings->arena);
	free(findings->proposals);
	free(findings->members);
}

/* ---- who and what ---- */

static uint32_t number_of(struct pin_findings *findings, struct span text)
{
	uint32_t number = names_number(&findings->texts, text);

	findings->is_full |= number == NAMES_NONE;
	return number;
}

/* An address of IPv6 is one of many that a client has. */
static void add_client(const struct policy_facts *facts, struct buf *out)
{
	struct address address = address_unmapped(&facts->from);

	if (address.family == AF_INET6)
		memset(address.bytes + 8, 0, 8);
	address_format(&address, out);
	if (address.family == AF_INET6)
		buf_add_string(out, "/64");
	if (facts->user.len) {
		buf_add_byte(out, ' ');
		buf_add_percent(out, facts->user);
	}
}

static struct pin_client *client_of(struct pin_findings *findings, const struct policy_facts *facts)
{
	struct pin_client *client;
	struct buf text;
	uint32_t number;

	buf_init(&text, 4096);
	add_client(facts, &text);
	number = number_of(findings, buf_span(&text));
	buf_fini(&text);
	client = number == NAMES_NONE ? NULL : tally_find(&findings->clients, &number);
	if (client == NULL) {
		findings->is_full = true;
		return NULL;
	}
	client->user = facts->user.len ? number_of(findings, facts->user) : NAMES_NONE;
	client->address = facts->from;
	return client;
}

/* The name that our certificate was for; NAMES_NONE: it is no name. */
static uint32_t host_of(struct pin_findings *findings, const struct policy_facts *facts)
{
	uint32_t number = NAMES_NONE;
	struct http_host sni;
	struct arena arena;

	if (facts->sni.len == 0)
		return number_of(findings, facts->host);
	arena_init(&arena, 4096);
	if (http_host_parse(span_first(facts->sni, HOST_MAX_BYTES + 1), 443, &arena, &sni) == ERR_NONE)
		number = number_of(findings, sni.name);
	arena_fini(&arena);
	return number;
}

struct pin_client *pin_findings_client(struct pin_findings *findings, uint32_t client)
{
	return tally_find(&findings->clients, &client);
}

/* ---- one line ---- */

static void note_asking(struct pin_findings *findings, uint32_t host, uint32_t port)
{
	const uint32_t key[] = {host, port};
	struct pin_asking *asking = tally_find(&findings->askings, key);

	if (asking)
		asking->count++;
	else
		findings->is_full = true;
}

/* A log is text that others had a part in. NAMES_NONE: it is no fingerprint. */
static uint32_t ja4_of(struct pin_findings *findings, struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!((text.at[i] >= '0' && text.at[i] <= '9') || (text.at[i] >= 'a' && text.at[i] <= 'z') || text.at[i] == '_'))
			return NAMES_NONE;
	return text.len && text.len <= 64 ? number_of(findings, text) : NAMES_NONE;
}

static void note_sign(struct pin_findings *findings, struct pin_pair *pair, struct pin_client *client, enum pins_sign sign,
                      const struct replay_request *request)
{
	uint64_t now_ms = request->facts.wall_ms;

	if (!pins_score_add(&pair->evidence, sign, now_ms))
		return;
	pins_score_note_failure(&client->state, pair->host, pins_score_is_strong(sign));
	pair->ja4 = ja4_of(findings, request->tls.ja4);
	pair->is_suspected |= pins_score_judge(&pair->evidence, &client->state, pair->success_ms, now_ms) == PINS_SUSPECTED;
}

static void note_success(struct pin_pair *pair, struct pin_client *client, uint64_t now_ms)
{
	pair->evidence = (struct pins_evidence){.last_ms = 0};
	pair->is_suspected = false;
	pair->success_ms = now_ms;
	pins_score_note_success(&client->state, now_ms);
}

void pin_findings_take(struct pin_findings *findings, const struct replay_request *request)
{
	const struct policy_facts *facts = &request->facts;
	enum pins_sign sign = pins_score_parse(request->tls.evidence);
	bool is_success = request->tls.is_opened && request->tls.evidence.len == 0;
	struct pin_client *client;
	struct pin_pair *pair;
	uint32_t key[3] = {0, 0, facts->port};

	if (!is_success && sign == PINS_SIGN_NONE && !request->tls.asks_certificate)
		return;
	key[1] = host_of(findings, facts);
	if (key[1] == NAMES_NONE)
		return;
	if (request->tls.asks_certificate)
		note_asking(findings, key[1], facts->port);
	client = client_of(findings, facts);
	if (client == NULL)
		return;
	key[0] = client->text;
	pair = tally_find(&findings->pairs, key);
	if (pair == NULL) {
		findings->is_full = true;
		return;
	}
	if (pair->success_ms == 0 && pair->evidence.last == PINS_SIGN_NONE)
		pair->ja4 = pair->proposal = NAMES_NONE;
	pair->authority = number_of(findings, facts->host);
	if (is_success)
		note_success(pair, client, facts->wall_ms);
	else
		note_sign(findings, pair, client, sign, request);
}

/* ---- judgement ---- */

static void add_evidence(struct pins_evidence *sum, const struct pins_evidence *one)
{
	for (int i = 0; i < PINS_SIGN_COUNT; i++) {
		unsigned all = (unsigned)sum->counts[i] + one->counts[i];

		sum->counts[i] = all < UINT16_MAX ? (uint16_t)all : UINT16_MAX;
	}
}

static uint32_t most_of(const struct pins_evidence *evidence)
{
	uint32_t most = 0;

	for (uint32_t i = 1; i < PINS_SIGN_COUNT; i++)
		if (evidence->counts[i] > evidence->counts[most])
			most = i;
	return most;
}

static void judge_clients(struct pin_findings *findings)
{
	for (size_t i = 0; i < findings->clients.count; i++) {
		struct pin_client *client = tally_at(&findings->clients, i);

		client->is_untrusting = pins_score_is_untrusting(&client->state);
		findings->untrusting_count += client->is_untrusting;
	}
}

/* Whether a client has our CA may be known only by what it did later. */
static size_t judge_pairs(struct pin_findings *findings)
{
	size_t suspected = 0;

	for (size_t i = 0; i < findings->pairs.count; i++) {
		struct pin_pair *pair = tally_at(&findings->pairs, i);
		struct pin_client *client = pin_findings_client(findings, pair->client);
		enum pins_verdict verdict = pins_score_judge(&pair->evidence, &client->state, pair->success_ms, pair->evidence.last_ms);

		add_evidence(&client->evidence, &pair->evidence);
		pair->is_suspected |= verdict == PINS_SUSPECTED;
		pair->is_undecided = verdict == PINS_UNDECIDED && !pair->is_suspected && !client->is_untrusting;
		suspected += pair->is_suspected;
		findings->undecided_count += pair->is_undecided;
	}
	return suspected;
}

/* ---- proposals: one for each host ---- */

/* What may stand behind "*."; empty: nothing. */
static struct span parent_of(struct span host)
{
	const psl_ctx_t *psl = psl_builtin();
	struct span parent = span_skip(host, span_find(host, '.') + 1);
	char text[HOST_MAX_BYTES + 1];
	struct address address;

	if (psl == NULL || parent.len == 0 || parent.len > HOST_MAX_BYTES || address_parse(host, &address))
		return SPAN("");
	memcpy(text, parent.at, parent.len);
	text[parent.len] = '\0';
	return psl_is_public_suffix(psl, text) ? SPAN("") : parent;
}

/* Found by what they are about; `at` counts from 1. */
struct host_place {
	uint32_t host, port, at;
};

static struct pin_proposal *new_proposal(struct pin_findings *findings, const struct pin_pair *pair)
{
	uint32_t at = (uint32_t)findings->proposal_count++;
	struct pin_proposal *proposal = &findings->proposals[at];
	struct span host = pin_findings_text(findings, pair->host), parent = parent_of(host);

	*proposal = (struct pin_proposal){.pattern = host, .port = pair->port, .sample = pair, .ja4 = pair->ja4, .into = at,
	                                  .hosts = 1, .parent = NAMES_NONE};
	if (parent.len)
		proposal->parent = number_of(findings, parent);
	return proposal;
}

static void propose_hosts(struct pin_findings *findings)
{
	struct tally places;

	tally_init(&places, sizeof(struct host_place), offsetof(struct host_place, at), PAIRS_MAX);
	for (size_t i = 0; i < findings->pairs.count; i++) {
		struct pin_pair *pair = tally_at(&findings->pairs, i);
		const uint32_t key[] = {pair->host, pair->port};
		struct host_place *place = pair->is_suspected ? tally_find(&places, key) : NULL;
		struct pin_proposal *proposal;

		if (place == NULL) {
			findings->is_full |= pair->is_suspected;
			pair->is_suspected = false;
			continue;
		}
		proposal = place->at ? &findings->proposals[place->at - 1] : new_proposal(findings, pair);
		pair->proposal = proposal->into;
		place->at = pair->proposal + 1;
		if (proposal->ja4 != pair->ja4)
			proposal->ja4 = NAMES_NONE;
		add_evidence(&proposal->evidence, &pair->evidence);
		proposal->sign = most_of(&proposal->evidence);
	}
	tally_fini(&places);
}

/* ---- one for several hosts: of one parent, by the same evidence of the same sort of client ---- */

struct kin {
	uint32_t parent, port, sign, ja4; /* the key */
	uint32_t count, first;
};

static struct kin *kin_of(struct tally *kins, const struct pin_proposal *proposal)
{
	const uint32_t key[] = {proposal->parent, proposal->port, proposal->sign, proposal->ja4};

	return proposal->parent == NAMES_NONE || proposal->ja4 == NAMES_NONE ? NULL : tally_find(kins, key);
}

static void join(struct pin_findings *findings, struct pin_proposal *proposal, const struct kin *kin)
{
	struct pin_proposal *first = &findings->proposals[kin->first];
	const char *pattern;

	if (proposal == first) {
		pattern = arena_printf(&findings->arena, "*.%.*s", SPAN_ARG(pin_findings_text(findings, kin->parent)));
		if (pattern)
			first->pattern = span_from(pattern);
		return;
	}
	if (first->pattern.at[0] != '*')
		return;
	add_evidence(&first->evidence, &proposal->evidence);
	first->hosts++;
	proposal->hosts = 0;
	proposal->into = first->into;
}

static void widen(struct pin_findings *findings)
{
	struct tally kins;

	tally_init(&kins, sizeof(struct kin), offsetof(struct kin, count), PAIRS_MAX);
	for (size_t i = 0; i < findings->proposal_count; i++) {
		struct kin *kin = kin_of(&kins, &findings->proposals[i]);

		if (kin && kin->count++ == 0)
			kin->first = (uint32_t)i;
	}
	for (size_t i = 0; i < findings->proposal_count; i++) {
		const struct kin *kin = kin_of(&kins, &findings->proposals[i]);

		if (kin && kin->count >= HOSTS_OF_PARENT)
			join(findings, &findings->proposals[i], kin);
	}
	tally_fini(&kins);
}

/* ---- who ---- */

static int by_member(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void note_members(struct pin_findings *findings)
{
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < findings->pairs.count; i++) {
		const struct pin_pair *pair = tally_at(&findings->pairs, i);

		if (pair->is_suspected)
			findings->members[count++] = (uint64_t)findings->proposals[pair->proposal].into << 32 | pair->client;
	}
	qsort(findings->members, count, sizeof(*findings->members), by_member);
	for (size_t i = 0; i < count; i++) {
		struct pin_proposal *proposal = &findings->proposals[findings->members[i] >> 32];

		if (i && findings->members[i] == findings->members[kept - 1])
			continue;
		if (proposal->clients++ == 0)
			proposal->first_member = kept;
		findings->members[kept++] = findings->members[i];
	}
}

/* Those that became part of others at the end. */
static int by_weight(const void *a, const void *b)
{
	const struct pin_proposal *x = a, *y = b;

	if ((x->hosts == 0) != (y->hosts == 0))
		return x->hosts == 0 ? 1 : -1;
	if (x->clients != y->clients)
		return x->clients > y->clients ? -1 : 1;
	return span_compare(x->pattern, y->pattern);
}

static void sort_proposals(struct pin_findings *findings)
{
	qsort(findings->proposals, findings->proposal_count, sizeof(*findings->proposals), by_weight);
	while (findings->proposal_count && findings->proposals[findings->proposal_count - 1].hosts == 0)
		findings->proposal_count--;
}

enum err pin_findings_finish(struct pin_findings *findings)
{
	size_t suspected;

	judge_clients(findings);
	suspected = judge_pairs(findings);
	if (suspected == 0)
		return ERR_NONE;
	findings->proposals = calloc(suspected, sizeof(*findings->proposals));
	findings->members = calloc(suspected, sizeof(*findings->members));
	if (findings->proposals == NULL || findings->members == NULL)
		return ERR_MEMORY;
	propose_hosts(findings);
	widen(findings);
	note_members(findings);
	sort_proposals(findings);
	return ERR_NONE;
}
