/* SPDX-License-Identifier: Apache-2.0 */
/* Names, each looked up once: as the configuration says (dns.hosts; dns.servers that are named), and otherwise as every
 * program of this machine does, with /etc/hosts. */
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "cli/doctor.h"
#include "cli/doctor_work.h"

struct lookup {
	struct doctor_work work;
	struct doctor_name *name;
	char host[256];
	struct resolve_answer answer;
};

struct doctor_name *doctor_name_find(struct doctor *doctor, const struct http_host *host)
{
	struct doctor_name *name;

	for (size_t i = 0; i < doctor->name_count; i++)
		if (span_equal(doctor->names[i].host, host->name))
			return &doctor->names[i];
	name = &doctor->names[doctor->name_count++];
	*name = (struct doctor_name){.doctor = doctor, .host = host->name, .literal = host->address};
	return name;
}

static void on_answer(void *context, const struct resolve_answer *answer)
{
	struct doctor_name *name = context;
	struct doctor *doctor = name->doctor;

	name->query = NULL;
	name->lookup = NULL;
	name->answer = *answer;
	loop_timer_clear(doctor->loop, &name->timer);
	for (size_t i = 0; i < doctor->probe_count; i++)
		if (doctor->probes[i].name == name)
			doctor_probe_start(&doctor->probes[i]);
}

static void on_due(struct loop_timer *timer)
{
	static const struct resolve_answer late = {.err = ERR_DNS_TIMEOUT};
	struct doctor_name *name = CONTAINER_OF(timer, struct doctor_name, timer);

	doctor_name_fini(name);
	on_answer(name, &late);
}

void doctor_name_fini(struct doctor_name *name)
{
	loop_timer_clear(name->doctor->loop, &name->timer);
	if (name->query)
		resolve_cancel(name->query);
	if (name->lookup)
		doctor_work_leave(name->lookup);
	name->query = NULL;
	name->lookup = NULL;
}

/* ---- as the system does ---- */

static void run_lookup(struct doctor_work *work)
{
	struct lookup *lookup = CONTAINER_OF(work, struct lookup, work);
	struct resolve_answer *answer = &lookup->answer;
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *all = NULL;
	int error = getaddrinfo(lookup->host, NULL, &hints, &all);

	answer->err = error == 0 ? ERR_NONE : error == EAI_AGAIN ? ERR_DNS_FAILED : ERR_DNS_NOT_FOUND;
	if (error)
		return;
	for (const struct addrinfo *one = all; one && answer->count < COUNT_OF(answer->at); one = one->ai_next)
		if (one->ai_family == AF_INET || one->ai_family == AF_INET6)
			address_from_sockaddr(one->ai_addr, &answer->at[answer->count++]);
	freeaddrinfo(all);
}

static void lookup_done(struct doctor_work *work)
{
	struct lookup *lookup = CONTAINER_OF(work, struct lookup, work);

	on_answer(lookup->name, &lookup->answer);
}

static void free_lookup(struct doctor_work *work)
{
	free(CONTAINER_OF(work, struct lookup, work));
}

static enum err look_up_by_system(struct doctor_name *name)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));

	if (lookup == NULL || name->host.len >= sizeof(lookup->host)) {
		free(lookup);
		return ERR_DNS_NOT_FOUND;
	}
	lookup->name = name;
	memcpy(lookup->host, name->host.at, name->host.len);
	lookup->work = (struct doctor_work){.run = run_lookup, .done = lookup_done, .free = free_lookup};
	if (!doctor_work_start(name->doctor->works, &lookup->work))
		return ERR_MEMORY;
	name->lookup = &lookup->work;
	return ERR_NONE;
}

/* ---- whoever is asked ---- */

static bool asks_system(const struct doctor *doctor)
{
	const struct conf_texts *servers = &doctor->settings->dns.servers;

	for (size_t i = 0; i < servers->count; i++)
		if (strcmp(servers->at[i], "system") == 0)
			return true;
	return false;
}

void doctor_name_look_up(struct doctor_name *name)
{
	struct doctor *doctor = name->doctor;
	struct resolve_answer answer;
	enum err err;

	name->timer.on_due = on_due;
	if (name->literal.family) {
		answer = (struct resolve_answer){.at = {name->literal}, .count = 1};
		on_answer(name, &answer);
	} else if (resolve_now(doctor->resolver, name->host, &answer)) {
		on_answer(name, &answer);
	} else {
		loop_timer_set(doctor->loop, &name->timer, doctor->timeout_ms);
		err = asks_system(doctor) ? look_up_by_system(name)
		                          : resolve_name(doctor->resolver, name->host, on_answer, name, &name->query);
		if (err == ERR_NONE)
			return;
		answer = (struct resolve_answer){.err = err};
		on_answer(name, &answer);
	}
}
