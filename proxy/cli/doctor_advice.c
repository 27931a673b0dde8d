/* SPDX-License-Identifier: Apache-2.0 */
/* What the results mean: which way an app would choose, what the firewall should let through, and what else is wrong. */
#include <stdio.h>
#include <string.h>

#include "cli/doctor.h"

enum { WAYS_MAX_BYTES = 400 };

static bool is_open(const struct doctor_probe *probe)
{
	return probe->result == DOCTOR_RESULT_OPEN;
}

bool doctor_advice_is_shown(const struct doctor_probe *probe)
{
	const struct doctor *doctor = probe->doctor;

	if (probe->result == DOCTOR_RESULT_NONE)
		return false; /* the name has not so many addresses */
	if (probe->is_proxied || probe->result != DOCTOR_RESULT_NO_ADDRESS)
		return true;
	for (size_t i = 0; i < doctor->probe_count; i++) {
		const struct doctor_probe *other = &doctor->probes[i];

		if (other->target == probe->target && other->way == probe->way && !other->is_proxied &&
		    other->host.port == probe->host.port && other->family != probe->family && other->number == 0)
			return other->result == DOCTOR_RESULT_NO_ADDRESS && probe->family == AF_INET;
	}
	return true;
}

bool doctor_advice_is_beside(const struct doctor_probe *one, const struct doctor_probe *other)
{
	return one != other && one->target == other->target && one->way == other->way && one->host.port == other->host.port &&
	       one->name == other->name && !one->is_proxied && !other->is_proxied && one->family == other->family &&
	       doctor_advice_is_shown(one) && doctor_advice_is_shown(other);
}

/* Probes stand in the order in which apps try. Media goes directly over UDP and TCP, and through the proxy over TCP
 * and, where all else fails, TLS. */
const struct doctor_probe *doctor_advice_choose(const struct doctor *doctor, const struct doctor_target *target)
{
	for (size_t i = 0; i < doctor->probe_count; i++) {
		const struct doctor_probe *probe = &doctor->probes[i];

		if (probe->target == target && is_open(probe) &&
		    (probe->is_proxied ? probe->way == DOCTOR_TCP || probe->way == DOCTOR_HTTPS
		                       : probe->way == DOCTOR_UDP || probe->way == DOCTOR_TCP))
			return probe;
	}
	return NULL;
}

bool doctor_advice_is_closed(const struct doctor *doctor, const struct doctor_target *target, uint16_t port)
{
	for (size_t i = 0; i < doctor->probe_count; i++)
		if (doctor->probes[i].target == target && doctor->probes[i].way == DOCTOR_UDP &&
		    doctor->probes[i].host.port == port && is_open(&doctor->probes[i]))
			return false;
	return true;
}

/* ---- what to open ---- */

/* "UDP 5004", "UDP 5004 and 33434" */
static void add_ports(const char *protocol, const struct doctor_ports *ports, struct buf *out)
{
	buf_add_string(out, protocol);
	for (size_t i = 0; i < ports->count; i++)
		buf_printf(out, "%s %u", i == 0 ? "" : i + 1 == ports->count ? " and" : ",", ports->at[i]);
}

/* The host, and what it is called now, as firewalls know addresses. */
static void add_host(const struct doctor *doctor, const struct doctor_target *target, struct buf *out)
{
	const struct doctor_name *name = NULL;

	buf_add_string(out, target->host);
	for (size_t i = 0; i < doctor->probe_count && name == NULL; i++)
		if (doctor->probes[i].target == target && !doctor->probes[i].is_proxied && doctor->probes[i].way <= DOCTOR_TCP)
			name = doctor->probes[i].name;
	if (name == NULL || name->literal.family || name->answer.err)
		return;
	for (size_t i = 0; i < name->answer.count; i++) {
		buf_add_string(out, i ? ", " : " (");
		address_format(&name->answer.at[i], out);
	}
	buf_add_string(out, name->answer.count ? ")" : "");
}

/* "Open UDP 5004 to HOST (ADDRESS) in the firewall, and let the replies in" */
static void add_opening(const struct doctor *doctor, const struct doctor_target *target, struct buf *out)
{
	static const struct doctor_ports usual = {{5004}, 1};

	buf_add_string(out, "Open ");
	add_ports("UDP", target->udp.count ? &target->udp : &usual, out);
	buf_add_string(out, " to ");
	add_host(doctor, target, out);
	buf_add_string(out, " in the firewall, and let the replies in");
}

static void add_udp(const struct doctor *doctor, const struct doctor_target *target, const struct doctor_probe *chosen,
                    struct buf *out)
{
	buf_printf(out, "media goes over UDP %u, which is best", chosen->host.port);
	if (chosen->host.port == target->udp.at[0]) {
		buf_add_string(out, ": nothing needs to be opened.");
		return;
	}
	buf_printf(out, ". Open UDP %u, too, which apps prefer: to ", target->udp.at[0]);
	add_host(doctor, target, out);
	buf_add_string(out, ", and the replies.");
}

static void add_without_udp(const struct doctor *doctor, const struct doctor_target *target,
                            const struct doctor_probe *chosen, struct buf *out)
{
	if (chosen == NULL) {
		buf_add_string(out, "media has no way out. ");
	} else if (!chosen->is_proxied) {
		buf_printf(out, "media goes over TCP %u, where each lost packet stops sound and picture for a moment. ",
		           chosen->host.port);
	} else {
		buf_add_string(out, chosen->way == DOCTOR_TCP ? "media goes through the proxy " : "media can only go through the proxy ");
		doctor_say_proxy(doctor, out);
		buf_printf(out, chosen->way == DOCTOR_TCP ? ", over TCP %u, its last resort. "
		                                          : ", over TLS on port %u, if the app can do that at all. ",
		           chosen->host.port);
	}
	add_opening(doctor, target, out);
	if (target->tcp.count && (chosen == NULL || chosen->is_proxied)) {
		buf_add_string(out, "; if that cannot be, ");
		add_ports("TCP", &target->tcp, out);
	}
	buf_add_byte(out, '.');
}

void doctor_advice_add(const struct doctor *doctor, const struct doctor_target *target, struct buf *out)
{
	const struct doctor_probe *chosen = doctor_advice_choose(doctor, target);

	if (chosen && chosen->way == DOCTOR_UDP)
		add_udp(doctor, target, chosen, out);
	else
		add_without_udp(doctor, target, chosen, out);
}

/* ---- what else was found ---- */

/* Those with one result on one path, as one sentence. */
struct finding {
	const struct doctor *doctor;
	const struct doctor_target *target;
	const struct doctor_probe *first;
	bool is_proxied;
	struct buf ways;        /* "TCP 5004, TCP 33434" */
	struct buf ports;       /* "5004, 33434" */
};

/* To a list with commas, unless it is there. */
static void add_once(const char *text, struct buf *out)
{
	struct span rest = buf_span(out), one;

	while (rest.len && span_split(&rest, ',', &one))
		if (span_equal(span_trim(one), span_from(text)))
			return;
	buf_printf(out, "%s%s", buf_len(out) ? ", " : "", text);
}

static void collect(struct finding *finding, bool is_proxied, enum doctor_result result, enum trust_fault fault)
{
	finding->first = NULL;
	finding->is_proxied = is_proxied;
	buf_reset(&finding->ways);
	buf_reset(&finding->ports);
	for (size_t i = 0; i < finding->doctor->probe_count; i++) {
		const struct doctor_probe *probe = &finding->doctor->probes[i];
		char text[40];

		if (probe->target != finding->target || probe->is_proxied != is_proxied || probe->result != result ||
		    (fault && probe->fault != fault) || !doctor_advice_is_shown(probe))
			continue;
		if (finding->first == NULL)
			finding->first = probe;
		snprintf(text, sizeof(text), "%s %u", doctor_say_way(probe->way), probe->host.port);
		add_once(text, &finding->ways);
		snprintf(text, sizeof(text), "%u", probe->host.port);
		add_once(text, &finding->ports);
	}
}

static const char *on_path(const struct finding *finding)
{
	return finding->is_proxied ? "through the proxy" : "directly";
}

static void add_refused(struct finding *finding, struct buf *out)
{
	collect(finding, false, DOCTOR_RESULT_REFUSED, TRUST_FAULT_NONE);
	if (finding->first && finding->first->way == DOCTOR_UDP)
		buf_printf(out, "%.*s is refused, not lost: a firewall rejects it, or nothing listens there at %.*s.\n",
		           SPAN_ARG(buf_span(&finding->ways)), SPAN_ARG(finding->first->host.name));
}

/* One that is open beside this one, which is not; NULL: there is none, or it is open itself. */
static const struct doctor_probe *open_beside(const struct doctor_probe *probe)
{
	const struct doctor *doctor = probe->doctor;

	for (size_t i = 0; i < doctor->probe_count && !is_open(probe); i++)
		if (is_open(&doctor->probes[i]) && doctor_advice_is_beside(probe, &doctor->probes[i]))
			return &doctor->probes[i];
	return NULL;
}

/* Is it of this target and address, and alone in not being open? */
static bool is_left_out(const struct doctor_probe *probe, const struct doctor_probe *like)
{
	struct address address = probe->address;

	address.port = like->address.port;
	return probe->target == like->target && address_equal(&address, &like->address) && open_beside(probe);
}

/* An address that is closed where others of the same name are open: a firewall that knows some of them alone. */
static void add_some_addresses(struct finding *finding, struct buf *out)
{
	const struct doctor *doctor = finding->doctor;

	for (const struct doctor_probe *probe = doctor->probes; probe < doctor->probes + doctor->probe_count; probe++) {
		const struct doctor_probe *other = doctor->probes;

		if (probe->target != finding->target || !open_beside(probe))
			continue;
		while (other < probe && !is_left_out(other, probe))
			other++;
		if (other < probe)
			continue; /* said with that one */
		buf_reset(&finding->ways);
		for (; other < doctor->probes + doctor->probe_count; other++) {
			char text[40];

			if (!is_left_out(other, probe))
				continue;
			snprintf(text, sizeof(text), "%s %u", doctor_say_way(other->way), other->host.port);
			add_once(text, &finding->ways);
		}
		buf_printf(out, "%.*s is open to ", SPAN_ARG(buf_span(&finding->ways)));
		address_format(&open_beside(probe)->address, out);
		buf_add_string(out, " and closed to ");
		address_format(&probe->address, out);
		buf_printf(out, ", of the same name. Apps are given any address of %.*s: is one missing in the firewall?\n",
		           SPAN_ARG(probe->host.name));
	}
}

/* More addresses than are tried. */
static void add_left_out(const struct finding *finding, struct buf *out)
{
	static const uint16_t families[] = {AF_INET, AF_INET6};
	const struct doctor *doctor = finding->doctor;
	const struct doctor_name *name = NULL;

	for (size_t i = 0; i < doctor->probe_count && name == NULL; i++)
		if (doctor->probes[i].target == finding->target && !doctor->probes[i].is_proxied)
			name = doctor->probes[i].name;
	for (size_t family = 0; name && name->answer.err == ERR_NONE && family < COUNT_OF(families); family++) {
		size_t count = 0;

		for (size_t i = 0; i < name->answer.count; i++)
			count += name->answer.at[i].family == families[family];
		if (count > DOCTOR_ADDRESSES_MAX)
			buf_printf(out, "of %zu IPv%d addresses of %.*s the first %d are tried.\n", count, family == 0 ? 4 : 6,
			           SPAN_ARG(name->host), DOCTOR_ADDRESSES_MAX);
	}
}

static void add_no_stun(struct finding *finding, struct buf *out)
{
	collect(finding, finding->is_proxied, DOCTOR_RESULT_NO_STUN, TRUST_FAULT_NONE);
	if (finding->first)
		buf_printf(out, "%.*s, %s: what answers does not speak STUN; is it the right host and framing, or a firewall that "
		                "answers for it?\n", SPAN_ARG(buf_span(&finding->ways)), on_path(finding));
}

static void add_certificates(struct finding *finding, struct buf *out)
{
	static const enum trust_fault faults[] = {TRUST_FAULT_OWN_CA, TRUST_FAULT_UNKNOWN_ISSUER, TRUST_FAULT_SELF_SIGNED};

	for (size_t i = 0; i < COUNT_OF(faults); i++) {
		collect(finding, finding->is_proxied, DOCTOR_RESULT_NOT_TRUSTED, faults[i]);
		if (finding->first == NULL)
			continue;
		if (i == 0)
			buf_printf(out, "%.*s, %s: this proxy opens TLS to %.*s; apps that pin certificates fail, so let a rule answer "
			                "tls: bypass for it.\n", SPAN_ARG(buf_span(&finding->ways)), on_path(finding),
			           SPAN_ARG(finding->first->host.name));
		else
			buf_printf(out, "%.*s, %s: something on the way opens TLS to %.*s, with certificates of %s (or that server has a CA "
			                "of its own); apps that pin certificates fail, so exempt it there.\n",
			           SPAN_ARG(buf_span(&finding->ways)), on_path(finding), SPAN_ARG(finding->first->host.name),
			           finding->first->issuer);
	}
}

/* A CA that is trusted here shows itself where the other path has another one. */
static void add_other_issuer(const struct doctor *doctor, const struct doctor_target *target, struct buf *out)
{
	const struct doctor_probe *seen[2] = {NULL, NULL};

	for (size_t i = 0; i < doctor->probe_count; i++) {
		const struct doctor_probe *probe = &doctor->probes[i];

		if (probe->target == target && probe->way == DOCTOR_HTTPS && is_open(probe))
			seen[probe->is_proxied] = probe;
	}
	if (seen[0] && seen[1] && strcmp(seen[0]->issuer, seen[1]->issuer) != 0)
		buf_printf(out, "the certificate of %.*s is issued by %s directly, and by %s through the proxy: one of them opens TLS, "
		                "and apps that pin certificates fail there.\n", SPAN_ARG(seen[0]->host.name), seen[0]->issuer, seen[1]->issuer);
}

static bool has_logged_in(const struct finding *finding)
{
	for (size_t i = 0; i < finding->doctor->probe_count; i++)
		if (finding->doctor->probes[i].target == finding->target && finding->doctor->probes[i].talk.scheme)
			return true;
	return false;
}

static void add_of_proxy(struct finding *finding, struct buf *out)
{
	collect(finding, true, DOCTOR_RESULT_NO_PROXY, TRUST_FAULT_NONE);
	if (finding->first) {
		buf_add_string(out, "the proxy ");
		doctor_say_proxy(finding->doctor, out);
		buf_printf(out, ": %s\n", finding->first->text);
	}
	collect(finding, true, DOCTOR_RESULT_LOGIN, TRUST_FAULT_NONE);
	if (finding->first || has_logged_in(finding))
		doctor_login_add_notes(finding->doctor, finding->first, out);
	collect(finding, true, DOCTOR_RESULT_DENIED, TRUST_FAULT_NONE);
	if (finding->first)
		buf_printf(out, "the proxy denies %.*s to %.*s; a rule that allows it: {when: {to: \"%.*s\", port: [%.*s]}, then: "
		                "{access: allow, tls: bypass, class: media}}.\n",
		           SPAN_ARG(buf_span(&finding->ways)), SPAN_ARG(finding->first->host.name),
		           SPAN_ARG(finding->first->host.name), SPAN_ARG(buf_span(&finding->ports)));
	collect(finding, true, DOCTOR_RESULT_PROXY_FAILED, TRUST_FAULT_NONE);
	if (finding->first)
		buf_printf(out, "the proxy takes %.*s, and cannot reach it (%s): let the proxy out through the firewall.\n",
		           SPAN_ARG(buf_span(&finding->ways)), finding->first->text);
}

/* Not media's, but without it there is no call. */
static void add_signalling(struct finding *finding, enum doctor_way way, struct buf *out)
{
	const struct doctor *doctor = finding->doctor;
	const struct doctor_probe *seen = NULL;

	for (size_t i = 0; i < doctor->probe_count; i++) {
		const struct doctor_probe *probe = &doctor->probes[i];

		if (probe->target != finding->target || probe->way != way)
			continue;
		if (is_open(probe))
			return;
		seen = probe;
	}
	if (seen)
		buf_printf(out, "%s to %.*s has no way: %s.\n", doctor_say_way(way), SPAN_ARG(seen->host.name),
		           way == DOCTOR_HTTPS ? "nobody can log on or send a message there, whatever becomes of media"
		                               : "calls and messages are not told of while they come in");
}

void doctor_advice_add_notes(const struct doctor *doctor, const struct doctor_target *target, struct buf *out)
{
	struct finding finding = {.doctor = doctor, .target = target};

	buf_init(&finding.ways, WAYS_MAX_BYTES);
	buf_init(&finding.ports, WAYS_MAX_BYTES);
	collect(&finding, false, DOCTOR_RESULT_NO_ADDRESS, TRUST_FAULT_NONE);
	if (finding.first)
		buf_printf(out, "%s: nothing can go there directly before DNS knows it.\n", finding.first->text);
	add_refused(&finding, out);
	add_some_addresses(&finding, out);
	add_left_out(&finding, out);
	for (int path = 0; path < 2; path++) {
		finding.is_proxied = path;
		add_no_stun(&finding, out);
		add_certificates(&finding, out);
	}
	add_other_issuer(doctor, target, out);
	add_of_proxy(&finding, out);
	for (int way = DOCTOR_HTTPS; way <= DOCTOR_WSS; way++)
		add_signalling(&finding, (enum doctor_way)way, out);
	doctor_policy_add_notes(doctor, target, out);
	buf_fini(&finding.ways);
	buf_fini(&finding.ports);
}
