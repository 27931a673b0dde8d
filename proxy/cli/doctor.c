/* SPDX-License-Identifier: Apache-2.0 */
/* sallyport doctor: which way would media go from here, and what should the firewall let through? */
#include "cli/doctor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ANSWER_MAX_BYTES = 4 << 20, ARENA_MAX_BYTES = 4 << 20 };

#define NO_TARGETS \
	"doctor: no target is known. Write one into sallyport.yaml, or name it with --target HOST:\n" \
	"\n" \
	"doctor:\n" \
	"  targets:\n" \
	"    - {host: HOST, udp: [5004], tcp: [5004, 33434]}\n" \
	"\n" \
	"HOST is what answers STUN outside of the firewall: a media node of your service, or a STUN server of your own, such\n" \
	"as coturn (framing: stun). sallyport reference, doctor.targets, says the rest"

/* ---- targets ---- */

/* What is written nowhere has the defaults of the options. */
static bool add_host(struct doctor *doctor, const char *given, struct doctor_target *out)
{
	static const struct conf_option options[] = {
		{.name = "doctor", .type = CONF_GROUP, .offset = 0, .group = doctor_options, .manual = ""}, CONF_END};
	struct address address;
	struct doctor_conf conf;
	struct problems problems;
	struct buf text;
	bool well;

	problems_init(&problems);
	buf_init(&text, 4096);
	buf_add_string(&text, "{\"doctor\": {\"targets\": [{\"host\": ");
	if (address_parse(span_from(given), &address) && address.family == AF_INET6)
		given = arena_printf(doctor->arena, "[%s]", given);
	buf_add_json(&text, span_from(given));
	buf_add_string(&text, "}]}}");
	well = given && conf_load(buf_span(&text), "--target", options, doctor->arena, &problems, &conf, sizeof(conf)) == ERR_NONE;
	if (well)
		*out = *(const struct doctor_target *)conf.targets.at;
	else
		command_print_problems(&problems);
	buf_fini(&text);
	problems_fini(&problems);
	return well;
}

static bool add_given(struct doctor *doctor, const char *given)
{
	const struct conf_groups *targets = &doctor->settings->doctor.targets;
	const struct doctor_target *known = targets->at;
	size_t before = doctor->target_count;

	if (before == DOCTOR_TARGETS_MAX) {
		command_complain("doctor: %d targets are the most that are asked at once", DOCTOR_TARGETS_MAX);
		return false;
	}
	for (size_t i = 0; i < targets->count; i++)
		if ((strcmp(doctor_say_name(&known[i]), given) == 0 || strcmp(known[i].host, given) == 0) &&
		    doctor->target_count < DOCTOR_TARGETS_MAX)
			doctor->targets[doctor->target_count++] = known[i];
	return doctor->target_count > before || add_host(doctor, given, &doctor->targets[doctor->target_count++]);
}

static bool choose_targets(struct doctor *doctor, const struct command_line *line)
{
	const struct conf_groups *targets = &doctor->settings->doctor.targets;

	for (size_t i = 0; i < line->target_count; i++)
		if (!add_given(doctor, line->targets[i]))
			return false;
	if (line->target_count == 0 && targets->count) {
		memcpy(doctor->targets, targets->at, targets->count * sizeof(doctor->targets[0]));
		doctor->target_count = targets->count;
	}
	if (doctor->target_count == 0)
		command_complain(NO_TARGETS);
	return doctor->target_count > 0;
}

/* ---- the proxy ---- */

static bool is_wildcard(const struct address *address)
{
	static const uint8_t zeros[16];

	return memcmp(address->bytes, zeros, sizeof(zeros)) == 0;
}

/* As clients reach it; "" if that cannot be said. */
static struct span listener_authority(struct arena *arena, const struct listen_conf *listen)
{
	struct address address = listen->address;
	struct buf text;
	struct span result;

	if (listen->advertise[0] && strcmp(listen->advertise, "none") != 0)
		return span_from(listen->advertise);
	if ((address.family != AF_INET && address.family != AF_INET6) || address.port == 0 || listen->proxy_protocol.count)
		return SPAN("");
	if (is_wildcard(&address)) { /* 127.0.0.1, ::1 */
		address.bytes[address.family == AF_INET ? 3 : 15] = 1;
		address.bytes[0] = address.family == AF_INET ? 127 : 0;
	}
	buf_init(&text, 100);
	address_format_with_port(&address, &text);
	result = arena_copy(arena, buf_span(&text));
	buf_fini(&text);
	return result;
}

static bool choose_proxy(struct doctor *doctor, const struct command_line *line)
{
	const struct conf_groups *groups = &doctor->settings->listen;
	const struct listen_conf *listen = groups->at;
	const char *given = line->options[OPTION_proxy];
	struct span text = span_from(given ? given : doctor->settings->doctor.proxy);

	for (size_t i = 0; i < groups->count && text.len == 0; i++)
		text = listener_authority(doctor->arena, &listen[i]);
	if (text.len == 0) {
		fprintf(stderr, "sallyport: note: no listener says how it is reached, so nothing is tried through the proxy; --proxy "
		                "HOST:PORT names it\n");
		return true;
	}
	if (http_host_parse(text, 0, doctor->arena, &doctor->proxy) == ERR_NONE)
		return true;
	command_complain("doctor: \"%.*s\" is no HOST:PORT of a proxy, such as proxy.example.com:3128", SPAN_ARG(text));
	return false;
}

static bool set_timeout(struct doctor *doctor, const struct command_line *line)
{
	const char *given = line->options[OPTION_timeout];

	doctor->timeout_ms = doctor->settings->doctor.timeout_ms;
	if (given == NULL)
		return true;
	if (conf_parse_time_ms(span_from(given), &doctor->timeout_ms) && doctor->timeout_ms >= 100 && doctor->timeout_ms <= 60000)
		return true;
	command_complain("doctor: --timeout %s is no time from 100ms to 1m, such as 3s", given);
	return false;
}

/* ---- the command ---- */

/* 0: media of every target goes over UDP. */
static int print(const struct doctor *doctor)
{
	int status = EXIT_WELL;
	struct buf text;

	buf_init(&text, ANSWER_MAX_BYTES);
	doctor_say_all(doctor, &text);
	printf("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
	for (size_t i = 0; i < doctor->target_count; i++) {
		const struct doctor_probe *chosen = doctor_advice_choose(doctor, &doctor->targets[i]);

		if (chosen == NULL || chosen->way != DOCTOR_UDP)
			status = EXIT_FINDING;
	}
	return status;
}

static int examine(const struct command_line *line, const struct settings *settings, const struct policy *policy)
{
	struct doctor doctor = {.settings = settings, .policy = policy, .json = line->options[OPTION_json] != NULL, .signal = {.fd = -1}};
	struct arena arena;
	int status = EXIT_USAGE;

	arena_init(&arena, ARENA_MAX_BYTES);
	doctor.arena = &arena;
	if (choose_targets(&doctor, line) && choose_proxy(&doctor, line) && set_timeout(&doctor, line) &&
	    doctor_login_init(&doctor, line) && doctor_run(&doctor))
		status = print(&doctor);
	doctor_run_fini(&doctor);
	doctor_login_fini(&doctor);
	arena_fini(&arena);
	if (doctor.has_threads) {
		if (fflush(stdout) != 0 || ferror(stdout))
			status = command_complain("cannot write the answer: %s", strerror(errno));
		_exit(status);
	}
	return status;
}

/* On a client's machine there is no configuration: then --target says where to, and the options have their defaults. */
static int examine_without(const struct command_line *line)
{
	static const struct conf_option options[] = {
		{.name = "dns", .type = CONF_GROUP, .offset = CONF_AT(struct settings, dns), .group = dns_options, .manual = ""},
		{.name = "inspection", .type = CONF_GROUP, .offset = CONF_AT(struct settings, inspection), .group = inspection_options,
		 .manual = ""},
		{.name = "doctor", .type = CONF_GROUP, .offset = CONF_AT(struct settings, doctor), .group = doctor_options, .manual = ""},
		CONF_END};
	struct settings settings;
	struct problems problems;
	struct arena arena;
	int status = EXIT_USAGE;

	arena_init(&arena, ARENA_MAX_BYTES);
	problems_init(&problems);
	if (conf_load(SPAN("{}"), "defaults", options, &arena, &problems, &settings, sizeof(settings)) == ERR_NONE)
		status = examine(line, &settings, NULL);
	else
		command_print_problems(&problems);
	problems_fini(&problems);
	arena_fini(&arena);
	return status;
}

int doctor_command(const struct command_line *line)
{
	struct loaded_files files;
	const char *path;
	int status = EXIT_USAGE;

	if (line->target_count && line->options[OPTION_config] == NULL && settings_default_path() == NULL)
		return examine_without(line);
	path = command_config(line);
	if (path == NULL)
		return EXIT_USAGE;
	if (files_load(&files, path) == ERR_NONE)
		status = examine(line, &files.settings, files.policy);
	else
		command_print_problems(&files.problems);
	files_fini(&files);
	return status;
}
