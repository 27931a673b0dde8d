/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of doctor, as a table and as JSON. */
#include <string.h>

#include "cli/doctor.h"

enum { SENTENCES_MAX_BYTES = 65536, ADDRESS_BYTES = 64 };

static const char *const result_texts[DOCTOR_RESULT_COUNT] = {
#define RESULT_TEXT(name, text) [DOCTOR_RESULT_##name] = text,
	DOCTOR_RESULTS(RESULT_TEXT)
#undef RESULT_TEXT
};

const char *doctor_say_way(enum doctor_way way)
{
	static const char *const texts[] = {"UDP", "TCP", "HTTPS", "WSS"};

	return texts[way];
}

const char *doctor_say_name(const struct doctor_target *target)
{
	return target->name[0] ? target->name : target->host;
}

void doctor_say_proxy(const struct doctor *doctor, struct buf *out)
{
	bool brackets = doctor->proxy.address.family == AF_INET6;

	buf_printf(out, "%s%.*s%s:%u", brackets ? "[" : "", SPAN_ARG(doctor->proxy.name), brackets ? "]" : "", doctor->proxy.port);
}

/* ---- table ---- */

/* The same way to another address of the same family, with the same end. */
static bool is_alike(const struct doctor_probe *one, const struct doctor_probe *other)
{
	return doctor_advice_is_beside(one, other) && one->result == other->result &&
	       (one->result == DOCTOR_RESULT_OPEN || strcmp(one->text, other->text) == 0);
}

/* Has it a row of its own? Not behind one that is alike. */
static bool has_row(const struct doctor_probe *probe)
{
	if (!doctor_advice_is_shown(probe))
		return false;
	for (const struct doctor_probe *other = probe->doctor->probes; other < probe; other++)
		if (is_alike(other, probe))
			return false;
	return true;
}

/* "192.0.2.10", and how many more are alike: "192.0.2.10 +2" */
static void say_address(const struct doctor_probe *probe, struct buf *out)
{
	const struct doctor *doctor = probe->doctor;
	unsigned more = 0;

	buf_reset(out);
	if (probe->address.family == 0 || probe->is_proxied) {
		buf_add_string(out, probe->address.family ? "by its name" : "-");
		return;
	}
	address_format(&probe->address, out);
	for (size_t i = 0; i < doctor->probe_count; i++)
		more += is_alike(&doctor->probes[i], probe);
	if (more)
		buf_printf(out, " +%u", more);
}

static int address_width(const struct doctor *doctor, const struct doctor_target *target)
{
	size_t width = 15;
	struct buf address;

	buf_init(&address, ADDRESS_BYTES);
	for (size_t i = 0; i < doctor->probe_count; i++) {
		if (doctor->probes[i].target != target || !has_row(&doctor->probes[i]))
			continue;
		say_address(&doctor->probes[i], &address);
		width = buf_len(&address) > width ? buf_len(&address) : width;
	}
	buf_fini(&address);
	return (int)width;
}

static void add_row(const struct doctor_probe *probe, int width, struct buf *out)
{
	struct buf address;

	buf_init(&address, ADDRESS_BYTES);
	say_address(probe, &address);
	buf_printf(out, "  %-9s %-5s %-6u %-*.*s %-12s", probe->is_proxied ? "proxy" : "direct", doctor_say_way(probe->way),
	           probe->host.port, width, SPAN_ARG(buf_span(&address)), result_texts[probe->result]);
	if (probe->rtt_us)
		buf_printf(out, " %6.1f ms", (double)probe->rtt_us / 1000);
	else
		buf_add_string(out, "          ");
	buf_printf(out, "  %s", probe->text);
	if (probe->mapped.family) {
		buf_add_string(out, ", and sees ");
		address_format_with_port(&probe->mapped, out);
	}
	buf_add_byte(out, '\n');
	buf_fini(&address);
}

static void add_sentences(struct buf *sentences, const char *first, struct buf *out)
{
	struct span rest = buf_span(sentences), line;

	while (rest.len && span_split(&rest, '\n', &line))
		if (line.len)
			buf_printf(out, "%s%.*s\n", first, SPAN_ARG(line));
	buf_reset(sentences);
}

enum outcome { OUTCOME_NONE, OUTCOME_UDP, OUTCOME_TCP, OUTCOME_PROXY };

static enum outcome outcome_of(const struct doctor *doctor, const struct doctor_target *target)
{
	const struct doctor_probe *chosen = doctor_advice_choose(doctor, target);

	if (chosen == NULL)
		return OUTCOME_NONE;
	return chosen->is_proxied ? OUTCOME_PROXY : chosen->way == DOCTOR_UDP ? OUTCOME_UDP : OUTCOME_TCP;
}

static void add_target(const struct doctor *doctor, const struct doctor_target *target, struct buf *out)
{
	int width = address_width(doctor, target);
	struct buf sentences;

	buf_init(&sentences, SENTENCES_MAX_BYTES);
	buf_printf(out, "%s%s%s%s\n", doctor_say_name(target), target->name[0] ? " (" : "", target->name[0] ? target->host : "",
	           target->name[0] ? ")" : "");
	for (size_t i = 0; i < doctor->probe_count; i++)
		if (doctor->probes[i].target == target && has_row(&doctor->probes[i]))
			add_row(&doctor->probes[i], width, out);
	doctor_policy_add(doctor, target, out);
	doctor_advice_add_notes(doctor, target, &sentences);
	add_sentences(&sentences, "   ", out);
	doctor_advice_add(doctor, target, &sentences);
	add_sentences(&sentences, "=> ", out);
	buf_fini(&sentences);
}

/* "over TCP to 2 (four, six)" */
static void add_group(const struct doctor *doctor, enum outcome outcome, const char *how, size_t *groups, struct buf *out)
{
	size_t count = 0;

	for (size_t i = 0; i < doctor->target_count; i++)
		count += outcome_of(doctor, &doctor->targets[i]) == outcome;
	if (count == 0)
		return;
	buf_printf(out, "%s %s %zu (", (*groups)++ ? "," : "", how, count);
	count = 0;
	for (size_t i = 0; i < doctor->target_count; i++)
		if (outcome_of(doctor, &doctor->targets[i]) == outcome)
			buf_printf(out, "%s%s", count++ ? ", " : "", doctor_say_name(&doctor->targets[i]));
	buf_add_byte(out, ')');
}

static void add_sum(const struct doctor *doctor, struct buf *out)
{
	size_t groups = 0;

	buf_printf(out, "\n=> of %zu targets media goes", doctor->target_count);
	add_group(doctor, OUTCOME_UDP, "over UDP to", &groups, out);
	add_group(doctor, OUTCOME_TCP, "over TCP to", &groups, out);
	add_group(doctor, OUTCOME_PROXY, "through the proxy to", &groups, out);
	add_group(doctor, OUTCOME_NONE, "nowhere for", &groups, out);
	buf_add_string(out, ".\n");
}

/* ---- JSON ---- */

static void add_ms(const char *key, uint64_t us, struct buf *out)
{
	if (us)
		buf_printf(out, ",\"%s\":%.3f", key, (double)us / 1000);
}

static void add_string(const char *key, struct span text, struct buf *out)
{
	if (text.len == 0)
		return;
	buf_printf(out, ",\"%s\":", key);
	buf_add_json(out, text);
}

static void add_address(const char *key, const struct address *address, struct buf *out)
{
	struct buf text;

	buf_init(&text, ADDRESS_BYTES);
	if (address->family)
		address_format_with_port(address, &text);
	add_string(key, buf_span(&text), out);
	buf_fini(&text);
}

static void add_way(const struct doctor_probe *probe, struct buf *out)
{
	buf_printf(out, "{\"path\":\"%s\",\"way\":\"%s\",\"host\":", probe->is_proxied ? "proxy" : "direct", doctor_say_way(probe->way));
	buf_add_json(out, probe->host.name);
	buf_printf(out, ",\"port\":%u", probe->host.port);
	add_ms("rtt_ms", probe->rtt_us, out);
	add_address("address", &probe->address, out);
}

static void add_probe(const struct doctor_probe *probe, struct buf *out)
{
	add_way(probe, out);
	buf_printf(out, ",\"result\":\"%s\"", result_texts[probe->result]);
	add_ms("connect_ms", probe->connect_us, out);
	if (probe->sent_count)
		buf_printf(out, ",\"requests\":%u", probe->sent_count);
	add_address("seen_as", &probe->mapped, out);
	add_string("login", span_from(doctor_login_label(probe->talk.scheme)), out);
	if (probe->status)
		buf_printf(out, ",\"status\":%d", probe->status);
	add_string("error", span_from(probe->error), out);
	add_string("issuer", span_from(probe->issuer), out);
	add_string("certificate", span_from(trust_fault_token(probe->fault)), out);
	add_string("text", span_from(probe->text), out);
	buf_add_byte(out, '}');
}

/* An array of lines. */
static void add_lines(const char *key, struct buf *lines, struct buf *out)
{
	struct span rest = buf_span(lines), line;
	size_t count = 0;

	buf_printf(out, ",\"%s\":[", key);
	while (rest.len && span_split(&rest, '\n', &line))
		if (line.len) {
			buf_add_string(out, count++ ? "," : "");
			buf_add_json(out, line);
		}
	buf_add_byte(out, ']');
	buf_reset(lines);
}

/* What a program would write into a firewall: UDP ports that are closed. */
static void add_openings(const struct doctor *doctor, const struct doctor_target *target, struct buf *out)
{
	size_t count = 0;

	buf_add_string(out, ",\"open\":[");
	for (size_t i = 0; i < target->udp.count; i++)
		if (doctor_advice_is_closed(doctor, target, target->udp.at[i]))
			buf_printf(out, "%s{\"protocol\":\"udp\",\"port\":%u}", count++ ? "," : "", target->udp.at[i]);
	buf_add_byte(out, ']');
}

static void add_target_json(const struct doctor *doctor, const struct doctor_target *target, struct buf *out)
{
	const struct doctor_probe *chosen = doctor_advice_choose(doctor, target);
	struct buf sentences;
	size_t count = 0;

	buf_init(&sentences, SENTENCES_MAX_BYTES);
	buf_add_string(out, "{\"name\":");
	buf_add_json(out, span_from(doctor_say_name(target)));
	add_string("host", span_from(target->host), out);
	buf_add_string(out, ",\"probes\":[");
	for (size_t i = 0; i < doctor->probe_count; i++) {
		if (doctor->probes[i].target != target || !doctor_advice_is_shown(&doctor->probes[i]))
			continue;
		buf_add_string(out, count++ ? "," : "");
		add_probe(&doctor->probes[i], out);
	}
	buf_add_string(out, "],\"chosen\":");
	if (chosen)
		add_way(chosen, out);
	buf_add_string(out, chosen ? "}" : "null");
	add_openings(doctor, target, out);
	doctor_advice_add(doctor, target, &sentences);
	add_string("advice", buf_span(&sentences), out);
	buf_reset(&sentences);
	doctor_advice_add_notes(doctor, target, &sentences);
	add_lines("notes", &sentences, out);
	if (doctor->policy) {
		buf_add_string(out, ",\"policy\":[");
		doctor_policy_add(doctor, target, out);
		buf_add_byte(out, ']');
	}
	buf_add_byte(out, '}');
	buf_fini(&sentences);
}

/* ---- all of it ---- */

static void add_all_json(const struct doctor *doctor, struct buf *out)
{
	struct buf proxy;

	buf_init(&proxy, 400);
	if (doctor->proxy.name.len)
		doctor_say_proxy(doctor, &proxy);
	buf_add_string(out, "{\"targets\":[");
	for (size_t i = 0; i < doctor->target_count; i++) {
		buf_add_string(out, i ? "," : "");
		add_target_json(doctor, &doctor->targets[i], out);
	}
	buf_add_byte(out, ']');
	add_string("proxy", buf_span(&proxy), out);
	buf_add_string(out, "}\n");
	buf_fini(&proxy);
}

void doctor_say_all(const struct doctor *doctor, struct buf *out)
{
	if (doctor->json) {
		add_all_json(doctor, out);
		return;
	}
	for (size_t i = 0; i < doctor->target_count; i++) {
		buf_add_string(out, i ? "\n" : "");
		add_target(doctor, &doctor->targets[i], out);
	}
	if (doctor->target_count > 1)
		add_sum(doctor, out);
}
