/* SPDX-License-Identifier: Apache-2.0 */
#include "session/pins_score.h"

enum {
	STRONG_ENOUGH = 3,
	WEAK_ENOUGH = 6,
	SPACED_MS = 1000,
	SOON_MS = 2000,
	KEPT_MS = 24 * 3600 * 1000,
};

static const struct sign_row {
	int alert;
	bool is_strong;
	const char *name, *text;
} signs[PINS_SIGN_COUNT] = {
#define SIGN_ROW(sign, alert, strong, name, text) {alert, strong, name, text},
	PINS_SIGNS(SIGN_ROW)
#undef SIGN_ROW
};

/* ---- signs ---- */

enum pins_sign pins_score_of_alert(int alert)
{
	for (int i = 0; alert >= 0 && i < PINS_SIGN_COUNT; i++)
		if (signs[i].alert == alert)
			return (enum pins_sign)i;
	return PINS_SIGN_NONE;
}

/* Who looks at a certificate does so at once; what was held in stock is closed later. */
enum pins_sign pins_score_of_close(bool is_up, uint64_t after_ms)
{
	if (after_ms > SOON_MS)
		return is_up ? PINS_SIGN_UNUSED : PINS_SIGN_NONE;
	return is_up ? PINS_SIGN_SILENT : PINS_SIGN_CLOSED;
}

bool pins_score_is_strong(enum pins_sign sign)
{
	return signs[sign].is_strong;
}

bool pins_score_is_weak(enum pins_sign sign)
{
	return sign == PINS_SIGN_CLOSED || sign == PINS_SIGN_SILENT;
}

const char *pins_score_name(enum pins_sign sign)
{
	return signs[sign].name;
}

enum pins_sign pins_score_parse(struct span name)
{
	for (int i = 0; i < PINS_SIGN_COUNT; i++)
		if (span_equal(name, span_from(signs[i].name)))
			return (enum pins_sign)i;
	return PINS_SIGN_NONE;
}

/* ---- evidence ---- */

static uint64_t between(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

static void count(struct pins_evidence *evidence, enum pins_sign sign, uint64_t now_ms)
{
	if (evidence->counts[sign] < UINT16_MAX)
		evidence->counts[sign]++;
	if (evidence->last == PINS_SIGN_NONE)
		evidence->first_ms = now_ms;
	evidence->last = (uint8_t)sign;
	evidence->last_ms = now_ms;
}

bool pins_score_add(struct pins_evidence *evidence, enum pins_sign sign, uint64_t now_ms)
{
	enum pins_sign last = (enum pins_sign)evidence->last;

	if (!pins_score_is_strong(sign) && !pins_score_is_weak(sign))
		return false;
	if (last != PINS_SIGN_NONE && between(now_ms, evidence->last_ms) >= KEPT_MS) {
		*evidence = (struct pins_evidence){.last_ms = 0};
		last = PINS_SIGN_NONE;
	}
	if (last != PINS_SIGN_NONE && between(now_ms, evidence->last_ms) < SPACED_MS) {
		if (pins_score_is_weak(sign))
			return false;
		if (pins_score_is_weak(last))
			evidence->counts[last]--;
	}
	count(evidence, sign, now_ms);
	return true;
}

static unsigned sum(const struct pins_evidence *evidence, bool (*is_meant)(enum pins_sign sign))
{
	unsigned all = 0;

	for (int i = 0; i < PINS_SIGN_COUNT; i++)
		if (is_meant((enum pins_sign)i))
			all += evidence->counts[i];
	return all;
}

unsigned pins_score_strong_count(const struct pins_evidence *evidence)
{
	return sum(evidence, pins_score_is_strong);
}

unsigned pins_score_weak_count(const struct pins_evidence *evidence)
{
	return sum(evidence, pins_score_is_weak);
}

void pins_score_say(const struct pins_evidence *evidence, struct buf *out)
{
	const char *comma = "";

	for (int i = PINS_SIGN_COUNT - 1; i >= 0; i--) {
		unsigned times = evidence->counts[i];

		if (times == 0)
			continue;
		buf_printf(out, "%s%u %s%s", comma, times, signs[i].is_strong ? (times == 1 ? "alert " : "alerts ") : "",
		           signs[i].text);
		comma = ", ";
	}
}

bool pins_score_is_clock_wrong(const struct pins_evidence *evidence)
{
	unsigned expired = evidence->counts[PINS_SIGN_CERTIFICATE_EXPIRED];

	return expired && expired * 2 > pins_score_strong_count(evidence);
}

static bool is_enough(const struct pins_evidence *evidence)
{
	unsigned strong = pins_score_strong_count(evidence);

	/* An app that tries again at once, on many connections, has met one obstacle. */
	if (between(evidence->last_ms, evidence->first_ms) < SPACED_MS)
		return false;
	return strong >= STRONG_ENOUGH || strong + pins_score_weak_count(evidence) >= WEAK_ENOUGH;
}

/* ---- clients ---- */

void pins_score_note_success(struct pins_client *client, uint64_t now_ms)
{
	client->success_ms = now_ms ? now_ms : 1;
	client->host_count = client->strong = 0;
}

void pins_score_note_failure(struct pins_client *client, uint64_t host, bool is_strong)
{
	unsigned i = 0;

	while (i < client->host_count && client->hosts[i] != host)
		i++;
	if (i == PINS_HOSTS_MAX)
		return;
	if (i == client->host_count) {
		client->hosts[i] = host;
		client->host_count++;
	}
	client->strong |= (uint8_t)((unsigned)is_strong << i);
}

bool pins_score_is_untrusting(const struct pins_client *client)
{
	if (client->success_ms)
		return false;
	return __builtin_popcount(client->strong) >= STRONG_ENOUGH || client->host_count >= WEAK_ENOUGH;
}

/* ---- the verdict ---- */

static bool is_recent(uint64_t then_ms, uint64_t now_ms)
{
	return then_ms && between(now_ms, then_ms) < KEPT_MS;
}

enum pins_verdict pins_score_judge(const struct pins_evidence *evidence, const struct pins_client *client, uint64_t success_ms,
                                   uint64_t now_ms)
{
	if (!is_enough(evidence) || is_recent(success_ms, now_ms))
		return PINS_NOTHING;
	return is_recent(client->success_ms, now_ms) ? PINS_SUSPECTED : PINS_UNDECIDED;
}
