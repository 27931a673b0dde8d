/* SPDX-License-Identifier: Apache-2.0 */
/* What the policy says of the targets, decided as explain decides, and so as the proxy would. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/doctor.h"
#include "cli/question.h"

enum { ADDRESS_BYTES = 64, NAME_BYTES = 1024 };

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

/* Whom the proxy knows by the login, or would; NULL: nobody. */
static const char *who(const struct doctor *doctor, struct arena *arena)
{
	struct span user = doctor->login.user;
	const char *result = NULL;
	struct buf name;

	if (doctor->login.works == DOCTOR_SCHEME_NEGOTIATE)
		user = span_from(doctor->login.ticket_user);
	if (user.len == 0)
		return NULL;
	buf_init(&name, NAME_BYTES);
	auth_conf_map_name(&doctor->settings->auth, user, &name);
	if (buf_is_whole(&name))
		result = arena_string(arena, buf_span(&name));
	buf_fini(&name);
	return result;
}

/* What would become of this CONNECT. False: it cannot be asked. `verdict` borrows from `question`. */
static bool decide(const struct verdict_proxy *proxy, const struct doctor_probe *probe, struct question *question,
                   struct verdict *verdict)
{
	const struct doctor *doctor = probe->doctor;
	const struct address *address = dialled(probe);
	bool brackets = probe->host.address.family == AF_INET6;
	struct buf text;

	question->line.argument = arena_printf(&question->arena, "%s%.*s%s:%u", brackets ? "[" : "", SPAN_ARG(probe->host.name),
	                                       brackets ? "]" : "", probe->host.port);
	buf_init(&text, ADDRESS_BYTES);
	if (doctor->from.family)
		address_format(&doctor->from, &text);
	question->line.options[OPTION_from] = buf_len(&text) ? arena_string(&question->arena, buf_span(&text)) : NULL;
	buf_reset(&text);
	if (address && probe->host.address.family == 0)
		address_format(address, &text);
	question->line.options[OPTION_address] = buf_len(&text) ? arena_string(&question->arena, buf_span(&text)) : NULL;
	buf_fini(&text);
	question->line.options[OPTION_user] = who(doctor, &question->arena);
	if (question->line.argument == NULL || !question_make(question, doctor->settings, clock_wall_ms()))
		return false;
	verdict_make(proxy, &question->request, verdict);
	return true;
}

static void add_one(const struct verdict_proxy *proxy, const struct doctor_probe *probe, struct buf *out)
{
	struct question question;
	struct verdict verdict;

	question_init(&question);
	if (!decide(proxy, probe, &question, &verdict)) {
		question_fini(&question);
		return;
	}
	if (probe->doctor->json)
		add_json(proxy, &verdict, probe, out);
	else
		add_text(proxy, &verdict, question.line.argument, out);
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

static void add_note(const struct verdict_proxy *proxy, const struct doctor_probe *probe, struct buf *out)
{
	struct question question;
	struct verdict verdict;

	question_init(&question);
	if (decide(proxy, probe, &question, &verdict) && verdict.err == ERR_NONE) {
		const struct policy_decision *decision = &verdict.decision;

		if (verdict.is_opened)
			buf_printf(out, "the policy opens TLS to %s, and ends what is no TLS and no HTTP there, such as media: let a rule answer "
			                "tls: bypass, class: media.\n", question.line.argument);
		else if (!(decision->open >> POLICY_CLASS & 1) && decision->answers[POLICY_CLASS].answer != CLASS_MEDIA)
			buf_printf(out, "the policy gives %s the class %s: with class: media it would go before bulk.\n",
			           question.line.argument, policy_answer_name(POLICY_CLASS, decision->answers[POLICY_CLASS].answer));
	}
	question_fini(&question);
}

void doctor_policy_add_notes(const struct doctor *doctor, const struct doctor_target *target, struct buf *out)
{
	struct verdict_proxy proxy;

	if (doctor->policy == NULL)
		return;
	verdict_proxy_init(&proxy, doctor->settings, doctor->policy);
	for (size_t i = 0; i < doctor->probe_count; i++)
		if (doctor->probes[i].target == target && doctor->probes[i].way == DOCTOR_TCP && !is_again(&doctor->probes[i]))
			add_note(&proxy, &doctor->probes[i], out);
}
