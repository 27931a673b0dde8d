/* SPDX-License-Identifier: Apache-2.0 */
/* What the policy says of the targets, decided as explain decides, and so as the proxy would. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/doctor.h"
#include "cli/question.h"

enum { TEXT_MAX_BYTES = 4096 };

static void add_text(const struct verdict_proxy *proxy, const struct verdict *verdict, const char *asked, struct buf *out)
{
	const struct policy_answer *answer = &verdict->decision.answers[verdict->question];

	buf_printf(out, "  policy    %-28s %s", asked, verdict_name(verdict));
	if (verdict->err)
		buf_printf(out, ": %s", err_text(verdict->err));
	if (verdict->err == ERR_DESTINATION_DENIED && verdict->guard_why)
		buf_printf(out, " (%s, destinations.deny)", verdict->guard_why);
	if (verdict->is_by_policy) {
		buf_add_string(out, ", by ");
		policy_say_rule(proxy->policy, answer, out);
	}
	if (verdict->err == ERR_NONE && !(verdict->decision.open >> POLICY_CLASS & 1)) {
		answer = &verdict->decision.answers[POLICY_CLASS];
		buf_printf(out, ", class %s by ", policy_answer_name(POLICY_CLASS, answer->answer));
		policy_say_rule(proxy->policy, answer, out);
	}
	buf_add_byte(out, '\n');
}

static void add_json(const struct verdict_proxy *proxy, const struct verdict *verdict, const struct doctor_probe *probe,
                     struct buf *out)
{
	buf_add_string(out, "{\"host\":");
	buf_add_json(out, probe->host.name);
	buf_printf(out, ",\"port\":%u", probe->host.port);
	verdict_add_json(proxy, verdict, out);
	if (!(verdict->decision.open >> POLICY_CLASS & 1))
		buf_printf(out, ",\"class\":\"%s\"",
		           policy_answer_name(POLICY_CLASS, verdict->decision.answers[POLICY_CLASS].answer));
	buf_add_byte(out, '}');
}

/* The address that the proxy would dial first, if it looks the name up as we do. */
static const struct address *dialled(const struct doctor_probe *probe)
{
	const struct doctor *doctor = probe->doctor;

	for (size_t i = 0; i < doctor->name_count; i++)
		if (span_equal(doctor->names[i].host, probe->host.name) && doctor->names[i].answer.err == ERR_NONE &&
		    doctor->names[i].answer.count)
			return &doctor->names[i].answer.at[0];
	return NULL;
}

static void add_one(const struct verdict_proxy *proxy, const struct doctor_probe *probe, struct buf *out)
{
	const struct doctor *doctor = probe->doctor;
	const struct address *address = dialled(probe);
	bool brackets = probe->host.address.family == AF_INET6;
	struct question question;
	struct verdict verdict;
	char asked[300], from[64] = "127.0.0.1", to[64], user[200];
	struct buf text;

	question_init(&question);
	buf_init(&text, sizeof(to) - 1);
	snprintf(asked, sizeof(asked), "%s%.*s%s:%u", brackets ? "[" : "", SPAN_ARG(probe->host.name), brackets ? "]" : "",
	         probe->host.port);
	question.line.argument = asked;
	if (doctor->from.family) {
		address_format(&doctor->from, &text);
		snprintf(from, sizeof(from), "%.*s", SPAN_ARG(buf_span(&text)));
	}
	question.line.options[OPTION_from] = from;
	buf_reset(&text);
	if (address && probe->host.address.family == 0) {
		address_format(address, &text);
		snprintf(to, sizeof(to), "%.*s", SPAN_ARG(buf_span(&text)));
		question.line.options[OPTION_address] = to;
	}
	snprintf(user, sizeof(user), "%.*s", SPAN_ARG(doctor->user));
	question.line.options[OPTION_user] = doctor->user.len ? user : NULL;
	if (question_make(&question, doctor->settings, clock_wall_ms())) {
		verdict_make(proxy, &question.request, &verdict);
		if (doctor->json)
			add_json(proxy, &verdict, probe, out);
		else
			add_text(proxy, &verdict, asked, out);
	}
	buf_fini(&text);
	question_fini(&question);
}

/* Was the same host and port asked about before? */
static bool is_again(const struct doctor_probe *probe)
{
	for (const struct doctor_probe *other = probe->doctor->probes; other < probe; other++)
		if (other->target == probe->target && other->way != DOCTOR_UDP && other->host.port == probe->host.port &&
		    span_equal(other->host.name, probe->host.name))
			return true;
	return false;
}

void doctor_policy_add(const struct doctor *doctor, const struct doctor_target *target, struct buf *out)
{
	struct verdict_proxy proxy;
	size_t count = 0;

	if (doctor->policy == NULL)
		return;
	verdict_proxy_init(&proxy, doctor->settings, doctor->policy);
	for (size_t i = 0; i < doctor->probe_count; i++) {
		const struct doctor_probe *probe = &doctor->probes[i];

		if (probe->target != target || probe->way == DOCTOR_UDP || is_again(probe))
			continue;
		if (doctor->json && count++)
			buf_add_byte(out, ',');
		add_one(&proxy, probe, out);
	}
}
