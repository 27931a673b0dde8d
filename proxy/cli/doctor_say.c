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

static void add_row(const struct doctor_probe *probe, struct buf *out)
{
	struct buf address;

	buf_init(&address, ADDRESS_BYTES);
	if (probe->address.family && !probe->is_proxied)
		address_format(&probe->address, &address);
	else
		buf_add_string(&address, probe->address.family ? "by its name" : "-");
	buf_printf(out, "  %-9s %-5s %-6u %-15.*s %-12s", probe->is_proxied ? "proxy" : "direct", doctor_say_way(probe->way),
	           probe->host.port, SPAN_ARG(buf_span(&address)), result_texts[probe->result]);
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

static void add_target(const struct doctor *doctor, const struct doctor_target *target, struct buf *out)
{
	struct buf sentences;

	buf_init(&sentences, SENTENCES_MAX_BYTES);
	buf_printf(out, "%s%s%s%s\n", doctor_say_name(target), target->name[0] ? " (" : "", target->name[0] ? target->host : "",
	           target->name[0] ? ")" : "");
	for (size_t i = 0; i < doctor->probe_count; i++)
		if (doctor->probes[i].target == target && doctor_advice_is_shown(&doctor->probes[i]))
			add_row(&doctor->probes[i], out);
	doctor_policy_add(doctor, target, out);
	doctor_advice_add(doctor, target, &sentences);
	add_sentences(&sentences, "=> ", out);
	doctor_advice_add_notes(doctor, target, &sentences);
	add_sentences(&sentences, "   ", out);
	buf_fini(&sentences);
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
}

static void add_probe(const struct doctor_probe *probe, struct buf *out)
{
	add_way(probe, out);
	buf_printf(out, ",\"result\":\"%s\"", result_texts[probe->result]);
	add_address("address", &probe->address, out);
	add_ms("connect_ms", probe->connect_us, out);
	if (probe->sent_count)
		buf_printf(out, ",\"requests\":%u", probe->sent_count);
	add_address("seen_as", &probe->mapped, out);
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
}
