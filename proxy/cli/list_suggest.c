/* SPDX-License-Identifier: Apache-2.0 */
/* list suggest: entries for apps that pin, out of access logs. Nothing is written: what is bypassed is somebody's decision. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/files.h"
#include "cli/list.h"
#include "cli/log_lines.h"
#include "cli/pin_findings.h"

enum { LINE_MEMORY_BYTES = 8 << 20, TEXT_MAX_BYTES = 1 << 28, CLIENTS_SHOWN = 5, ENTRIES_TRIED = 16 };

struct suggest {
	const struct command_line *line;
	struct loaded_files files;
	struct pin_findings found;
	uint64_t lines, unreadable;
	const char *first_path, *first_why;
	uint64_t first_number;
	size_t bypassed, proposed; /* proposals that policy bypasses already, and the others */
	size_t asking;             /* origins that ask for a certificate and are not bypassed */
	struct span list;          /* where entries are proposed for */
	struct buf out;
};

/* ---- reading ---- */

static void take_line(struct suggest *suggest, struct span text, const char *path, uint64_t number)
{
	struct replay_request request;
	const char *why = "";
	struct arena arena;
	enum replay_kind kind;

	arena_init(&arena, LINE_MEMORY_BYTES);
	kind = replay_line_read(text, SPAN(""), &arena, &request, &why);
	suggest->lines += kind != REPLAY_BLANK;
	if (kind == REPLAY_REQUEST)
		pin_findings_take(&suggest->found, &request);
	if (kind == REPLAY_UNREADABLE && suggest->unreadable++ == 0) {
		suggest->first_path = path;
		suggest->first_why = why;
		suggest->first_number = number;
	}
	arena_fini(&arena);
}

static enum err take_log(struct suggest *suggest, const char *path)
{
	struct log_lines *lines;
	struct span text;
	enum err err = log_lines_open(path, REPLAY_LINE_MAX_BYTES, &lines);
	bool is_cut;

	if (err == ERR_MEMORY)
		command_complain("%s: out of memory", path);
	if (err)
		return err;
	while (log_lines_next(lines, &text, &is_cut))
		take_line(suggest, is_cut ? SPAN("too long") : text, path, log_lines_number(lines));
	err = log_lines_err(lines);
	log_lines_close(lines);
	return err;
}

/* A log and the time of its first line: rotated ones come in any order. */
struct log {
	const char *path;
	uint64_t begins_ms;
};

/* Standard input, which cannot be read twice, is the latest. */
static enum err look_at_log(struct log *log)
{
	struct replay_request request = {.facts = {.wall_ms = 0}};
	const char *why;
	struct log_lines *lines;
	struct arena arena;
	struct span text;
	bool is_cut;

	log->begins_ms = UINT64_MAX;
	if (strcmp(log->path, "-") == 0)
		return ERR_NONE;
	if (log_lines_open(log->path, REPLAY_LINE_MAX_BYTES, &lines))
		return ERR_SYSTEM;
	while (log->begins_ms == UINT64_MAX && log_lines_next(lines, &text, &is_cut)) {
		arena_init(&arena, LINE_MEMORY_BYTES);
		if (!is_cut && replay_line_read(text, SPAN(""), &arena, &request, &why) == REPLAY_REQUEST)
			log->begins_ms = request.facts.wall_ms;
		arena_fini(&arena);
	}
	log_lines_close(lines);
	return ERR_NONE;
}

static int by_begin(const void *a, const void *b)
{
	const struct log *x = a, *y = b;

	return x->begins_ms < y->begins_ms ? -1 : x->begins_ms > y->begins_ms;
}

static enum err take_logs(struct suggest *suggest, const char *const *paths, size_t count)
{
	struct log logs[COMMAND_LOGS_MAX];
	enum err err = ERR_NONE;

	for (size_t i = 0; i < count && err == ERR_NONE; i++) {
		logs[i].path = paths[i];
		err = look_at_log(&logs[i]);
	}
	if (err == ERR_NONE)
		qsort(logs, count, sizeof(logs[0]), by_begin);
	for (size_t i = 0; i < count && err == ERR_NONE; i++)
		err = take_log(suggest, logs[i].path);
	return err;
}

static int read_all(struct suggest *suggest)
{
	const struct access_conf *access = &suggest->files.settings.session.access;
	const char *configured[] = {access->path};
	const struct command_line *line = suggest->line;
	bool has_log = line->log_count > 0;

	if (!has_log && (access->target != LOG_TO_FILE || access->path[0] == '\0'))
		return command_complain("list suggest: the configuration has no file in log.access; --log names one");
	if (!has_log && access->format != ACCESS_JSON)
		return command_complain("list suggest: log.access has another format than json, which does not tell what is needed");
	if (take_logs(suggest, has_log ? line->logs : configured, has_log ? line->log_count : 1))
		return EXIT_USAGE;
	if (suggest->lines && suggest->unreadable == suggest->lines)
		return command_complain("list suggest: no line could be read; the first: %s:%llu: %s", suggest->first_path,
		                        (unsigned long long)suggest->first_number, suggest->first_why);
	if (pin_findings_finish(&suggest->found))
		return command_complain("list suggest: out of memory");
	return EXIT_WELL;
}

/* ---- what policy says already ---- */

/* `sni` is empty where it is the host. */
static void decide(const struct suggest *suggest, struct span host, struct span sni, uint32_t port, const struct pin_client *client,
                   struct policy_decision *decision)
{
	struct policy_facts facts = {
		.host = host,
		.port = (uint16_t)port,
		.listener = SPAN(""),
		.sni = sni,
		.inner_host = SPAN(""),
		.user = SPAN(""),
		.url = SPAN(""),
		.method = SPAN("CONNECT"),
		.wall_ms = clock_wall_ms(),
		.absent = FACT_ADDRESS | FACT_HELLO | FACT_REQUEST | FACT_USER,
	};

	if (sni.len) {
		facts.known |= FACT_HELLO;
		facts.absent &= ~(unsigned)FACT_HELLO;
	}
	if (client)
		facts.from = client->address;
	if (client && client->user != NAMES_NONE) {
		facts.user = pin_findings_text(&suggest->found, client->user);
		facts.known |= FACT_USER;
		facts.absent &= ~(unsigned)FACT_USER;
	}
	if (!address_parse(host, &facts.host_address))
		facts.host_address.family = 0;
	policy_decide(suggest->files.policy, &facts, decision);
}

/* The name that the CONNECT had, where it was another; else empty. */
static struct span other_name(const struct suggest *suggest, const struct pin_proposal *proposal)
{
	const struct pin_pair *sample = proposal->sample;

	if (sample->authority == sample->host || sample->authority == NAMES_NONE)
		return SPAN("");
	return pin_findings_text(&suggest->found, sample->authority);
}

/* What policy would say now, of the session that the proposal is made of. */
static void decide_again(struct suggest *suggest, const struct pin_proposal *proposal, struct policy_decision *decision)
{
	struct span host = pin_findings_text(&suggest->found, proposal->sample->host), other = other_name(suggest, proposal);

	decide(suggest, other.len ? other : host, other.len ? host : other, proposal->port,
	       pin_findings_client(&suggest->found, proposal->sample->client), decision);
}

static bool is_bypassed(const struct policy_decision *decision)
{
	return !(decision->open >> POLICY_TLS & 1) && decision->answers[POLICY_TLS].answer == TLS_BYPASS;
}

/* A host that an entry matches: "*.a.example" gives "x.a.example". Empty: that is not to be seen. */
static struct span host_for(const struct policy_entry *entry, char text[static 256])
{
	size_t len = 0;

	if (entry->text.len == 0 || entry->text.len > 250 || span_find(entry->text, '/') < entry->text.len)
		return SPAN("");
	if (entry->text.at[0] == '.')
		text[len++] = 'x';
	for (size_t i = 0; i < entry->text.len; i++)
		text[len++] = entry->text.at[i] == '*' ? 'x' : (char)entry->text.at[i];
	return span_of(text, len);
}

/* A list that is bypassed: found by asking policy about its first entries. */
static struct span find_list(const struct suggest *suggest)
{
	const struct policy *policy = suggest->files.policy;
	size_t count = policy_entry_count(policy);
	unsigned tried = 0;
	uint16_t last = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct policy_decision decision;
		struct policy_entry entry;
		char text[256];
		struct span host;

		if (!policy_entry(policy, i, &entry) || policy_list_name(policy, entry.list).len == 0)
			continue;
		tried = entry.list == last ? tried + 1 : 0;
		last = entry.list;
		host = tried < ENTRIES_TRIED ? host_for(&entry, text) : SPAN("");
		if (host.len == 0)
			continue;
		decide(suggest, host, SPAN(""), 443, NULL, &decision);
		if (is_bypassed(&decision) && decision.answers[POLICY_TLS].list == entry.list)
			return policy_list_name(policy, entry.list);
	}
	return SPAN("LIST");
}

static bool has_list(const struct policy *policy, struct span name)
{
	for (size_t i = 1; i <= policy_list_count(policy); i++)
		if (span_equal(policy_list_name(policy, (uint16_t)i), name))
			return true;
	command_complain("list suggest: the policy has no list \"%.*s\"", SPAN_ARG(name));
	return false;
}

/* ---- text ---- */

/* "pinned: 3 alerts unknown_ca (48), 2 clients" */
static void add_reason(const struct pin_proposal *proposal, struct buf *out)
{
	buf_add_string(out, "pinned: ");
	pins_score_say(&proposal->evidence, out);
	if (proposal->hosts > 1)
		buf_printf(out, ", %zu hosts", proposal->hosts);
	buf_printf(out, ", %zu client%s", proposal->clients, proposal->clients == 1 ? "" : "s");
}

/* A line for a list, by the code that writes them. */
static void add_line(struct span pattern, uint32_t port, const char *reason, struct buf *out)
{
	char today[LIST_DATE_BYTES], ports[16], text[512];
	struct list_fields fields = {.pattern = text, .reason = reason, .added = today};
	const char *why, *about;

	snprintf(text, sizeof(text), "%.*s", SPAN_ARG(pattern));
	list_format_date((clock_wall_ms() / 86400000 + 1) * 86400000, today);
	snprintf(ports, sizeof(ports), "%u", port);
	if (port != 443)
		fields.ports = ports;
	if (!list_text_format(&fields, out, &why, &about))
		buf_add(out, pattern);
}

static void add_command(const struct suggest *suggest, struct span pattern, uint32_t port, const char *reason, struct buf *out)
{
	buf_printf(out, "sallyport list add %.*s '%.*s' --reason '%s'", SPAN_ARG(suggest->list), SPAN_ARG(pattern), reason);
	if (port != 443)
		buf_printf(out, " --ports %u", port);
}

static void add_clients(const struct suggest *suggest, const struct pin_proposal *proposal, struct buf *out)
{
	for (size_t i = 0; i < proposal->clients && i < CLIENTS_SHOWN; i++) {
		uint32_t client = (uint32_t)suggest->found.members[proposal->first_member + i];

		buf_printf(out, "%s%.*s", i ? ", " : "", SPAN_ARG(pin_findings_text(&suggest->found, client)));
	}
	if (proposal->clients > CLIENTS_SHOWN)
		buf_printf(out, " and %zu more", proposal->clients - CLIENTS_SHOWN);
}

/* Lists that had a part in what policy answers now. */
static void add_lists(const struct suggest *suggest, const struct policy_decision *decision, struct buf *out)
{
	const struct policy *policy = suggest->files.policy;

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		const struct policy_answer *answer = &decision->answers[q];

		if ((decision->open >> q & 1) || answer->list == 0)
			continue;
		buf_printf(out, "    %s is %s by ", policy_question_name((enum policy_question)q),
		           policy_answer_name((enum policy_question)q, answer->answer));
		policy_say_entry(policy, answer, out);
		buf_add_byte(out, '\n');
	}
}

static void add_proposal(struct suggest *suggest, const struct pin_proposal *proposal, const struct policy_decision *decision)
{
	struct buf *out = &suggest->out, reason;
	char *text;

	buf_init(&reason, 4096);
	add_reason(proposal, &reason);
	text = buf_to_string(&reason);
	add_line(proposal->pattern, proposal->port, text ? text : "", out);
	buf_add_string(out, "\n    ");
	if (is_bypassed(decision))
		buf_add_string(out, "needs nothing: policy bypasses it by now");
	else
		add_command(suggest, proposal->pattern, proposal->port, text ? text : "", out);
	buf_add_string(out, "\n    seen at ");
	add_clients(suggest, proposal, out);
	if (proposal->ja4 != NAMES_NONE)
		buf_printf(out, "; ja4 %.*s", SPAN_ARG(pin_findings_text(&suggest->found, proposal->ja4)));
	buf_add_byte(out, '\n');
	if (other_name(suggest, proposal).len && !is_bypassed(decision))
		buf_printf(out, "    the CONNECT named %.*s: policy asks about both names, so that one needs an entry, too\n",
		           SPAN_ARG(other_name(suggest, proposal)));
	add_lists(suggest, decision, out);
	free(text);
	buf_fini(&reason);
}

static void add_untrusting(struct suggest *suggest)
{
	struct buf *out = &suggest->out;

	if (suggest->found.untrusting_count)
		buf_add_string(out, "\nclients that do not have our CA: install it on them (public serves it at /ca), a list is no remedy\n");
	for (size_t i = 0; i < suggest->found.clients.count; i++) {
		const struct pin_client *client = tally_at(&suggest->found.clients, i);

		if (!client->is_untrusting)
			continue;
		buf_printf(out, "    %.*s: ", SPAN_ARG(pin_findings_text(&suggest->found, client->text)));
		pins_score_say(&client->evidence, out);
		buf_printf(out, "; no host was taken, %u%s were not%s\n", client->state.host_count,
		           client->state.host_count == PINS_HOSTS_MAX ? " or more" : "",
		           pins_score_is_clock_wrong(&client->evidence) ? "; or its clock is wrong" : "");
	}
}

static void add_undecided(struct suggest *suggest)
{
	struct buf *out = &suggest->out;

	if (suggest->found.undecided_count)
		buf_add_string(out, "\nnot decided: nothing shows whether these clients have our CA\n");
	for (size_t i = 0; i < suggest->found.pairs.count; i++) {
		const struct pin_pair *pair = tally_at(&suggest->found.pairs, i);

		if (!pair->is_undecided)
			continue;
		buf_printf(out, "    %.*s at %.*s:%u: ", SPAN_ARG(pin_findings_text(&suggest->found, pair->client)),
		           SPAN_ARG(pin_findings_text(&suggest->found, pair->host)), pair->port);
		pins_score_say(&pair->evidence, out);
		buf_add_byte(out, '\n');
	}
}

static void add_askings(struct suggest *suggest)
{
	struct buf *out = &suggest->out;
	struct policy_decision decision;

	if (suggest->found.askings.count)
		buf_add_string(out, "\norigins that ask for a certificate of the client: where clients have one, an opened session cannot show it\n");
	for (size_t i = 0; i < suggest->found.askings.count; i++) {
		const struct pin_asking *asking = tally_at(&suggest->found.askings, i);
		struct span host = pin_findings_text(&suggest->found, asking->host);

		decide(suggest, host, SPAN(""), asking->port, NULL, &decision);
		suggest->asking += !is_bypassed(&decision);
		add_line(host, asking->port, "asks for a client certificate", out);
		buf_add_string(out, "\n    ");
		if (is_bypassed(&decision))
			buf_add_string(out, "needs nothing: policy bypasses it by now");
		else
			add_command(suggest, host, asking->port, "asks for a client certificate", out);
		buf_printf(out, "\n    seen in %llu line%s\n", (unsigned long long)asking->count, asking->count == 1 ? "" : "s");
	}
}

static void print_text(struct suggest *suggest)
{
	struct buf *out = &suggest->out;

	for (size_t i = 0; i < suggest->found.proposal_count; i++) {
		const struct pin_proposal *proposal = &suggest->found.proposals[i];
		struct policy_decision decision;

		decide_again(suggest, proposal, &decision);
		add_proposal(suggest, proposal, &decision);
		suggest->bypassed += is_bypassed(&decision);
	}
	suggest->proposed = suggest->found.proposal_count - suggest->bypassed;
	add_untrusting(suggest);
	add_undecided(suggest);
	add_askings(suggest);
	buf_printf(out, "%s%llu lines: %zu entr%s proposed, %zu needed no more; %zu client%s without our CA; %zu origin%s that ask%s "
	           "for a certificate\n", suggest->out.end > suggest->out.start ? "\n" : "", (unsigned long long)suggest->lines, suggest->proposed,
	           suggest->proposed == 1 ? "y" : "ies", suggest->bypassed, suggest->found.untrusting_count,
	           suggest->found.untrusting_count == 1 ? "" : "s", suggest->found.askings.count,
	           suggest->found.askings.count == 1 ? "" : "s", suggest->found.askings.count == 1 ? "s" : "");
}

/* ---- JSON ---- */

static void add_member(struct buf *out, const char *key, struct span value)
{
	buf_printf(out, ",\"%s\":", key);
	buf_add_json(out, value);
}

static void add_evidence(struct buf *out, const struct pins_evidence *evidence)
{
	struct buf text;

	buf_init(&text, 4096);
	pins_score_say(evidence, &text);
	add_member(out, "evidence", buf_span(&text));
	buf_fini(&text);
	buf_printf(out, ",\"strong\":%u,\"weak\":%u", pins_score_strong_count(evidence), pins_score_weak_count(evidence));
}

/* What is to be pasted, and what policy says now. */
static void add_entry(struct suggest *suggest, struct span pattern, uint32_t port, const char *reason,
                      const struct policy_decision *decision)
{
	const struct policy_answer *answer = &decision->answers[POLICY_TLS];
	struct buf *out = &suggest->out, text;

	buf_init(&text, 8192);
	buf_add_string(out, "{\"entry\":");
	buf_add_json(out, pattern);
	buf_printf(out, ",\"port\":%u,\"bypassed\":%s", port, is_bypassed(decision) ? "true" : "false");
	if (is_bypassed(decision) && policy_list_name(suggest->files.policy, answer->list).len)
		add_member(out, "bypassed_by", policy_list_name(suggest->files.policy, answer->list));
	add_line(pattern, port, reason, &text);
	add_member(out, "line", buf_span(&text));
	buf_reset(&text);
	add_command(suggest, pattern, port, reason, &text);
	add_member(out, "command", buf_span(&text));
	buf_reset(&text);
	add_lists(suggest, decision, &text);
	if (buf_len(&text))
		add_member(out, "listed", span_trim(buf_span(&text)));
	buf_fini(&text);
}

static void add_json_proposal(struct suggest *suggest, const struct pin_proposal *proposal)
{
	struct buf *out = &suggest->out, reason;
	struct policy_decision decision;
	char *text;

	decide_again(suggest, proposal, &decision);
	suggest->bypassed += is_bypassed(&decision);
	buf_init(&reason, 4096);
	add_reason(proposal, &reason);
	text = buf_to_string(&reason);
	add_entry(suggest, proposal->pattern, proposal->port, text ? text : "", &decision);
	free(text);
	buf_fini(&reason);
	add_evidence(out, &proposal->evidence);
	if (proposal->ja4 != NAMES_NONE)
		add_member(out, "ja4", pin_findings_text(&suggest->found, proposal->ja4));
	if (other_name(suggest, proposal).len)
		add_member(out, "authority", other_name(suggest, proposal));
	buf_printf(out, ",\"hosts\":%zu,\"client_count\":%zu,\"clients\":[", proposal->hosts, proposal->clients);
	for (size_t i = 0; i < proposal->clients && i < CLIENTS_SHOWN; i++) {
		buf_add_string(out, i ? "," : "");
		buf_add_json(out, pin_findings_text(&suggest->found, (uint32_t)suggest->found.members[proposal->first_member + i]));
	}
	buf_add_string(out, "]}");
}

static void add_json_clients(struct suggest *suggest)
{
	const char *comma = "";

	buf_add_string(&suggest->out, "],\"without_ca\":[");
	for (size_t i = 0; i < suggest->found.clients.count; i++) {
		const struct pin_client *client = tally_at(&suggest->found.clients, i);

		if (!client->is_untrusting)
			continue;
		buf_printf(&suggest->out, "%s\n{\"client\":", comma);
		buf_add_json(&suggest->out, pin_findings_text(&suggest->found, client->text));
		add_evidence(&suggest->out, &client->evidence);
		buf_printf(&suggest->out, ",\"hosts\":%u,\"clock\":%s}", client->state.host_count,
		           pins_score_is_clock_wrong(&client->evidence) ? "true" : "false");
		comma = ",";
	}
}

static void add_json_undecided(struct suggest *suggest)
{
	const char *comma = "";

	buf_add_string(&suggest->out, "],\"undecided\":[");
	for (size_t i = 0; i < suggest->found.pairs.count; i++) {
		const struct pin_pair *pair = tally_at(&suggest->found.pairs, i);

		if (!pair->is_undecided)
			continue;
		buf_printf(&suggest->out, "%s\n{\"client\":", comma);
		buf_add_json(&suggest->out, pin_findings_text(&suggest->found, pair->client));
		add_member(&suggest->out, "host", pin_findings_text(&suggest->found, pair->host));
		buf_printf(&suggest->out, ",\"port\":%u", pair->port);
		add_evidence(&suggest->out, &pair->evidence);
		buf_add_byte(&suggest->out, '}');
		comma = ",";
	}
}

static void add_json_askings(struct suggest *suggest)
{
	struct policy_decision decision;

	buf_add_string(&suggest->out, "],\"ask_certificate\":[");
	for (size_t i = 0; i < suggest->found.askings.count; i++) {
		const struct pin_asking *asking = tally_at(&suggest->found.askings, i);
		struct span host = pin_findings_text(&suggest->found, asking->host);

		decide(suggest, host, SPAN(""), asking->port, NULL, &decision);
		suggest->asking += !is_bypassed(&decision);
		buf_add_string(&suggest->out, i ? ",\n" : "\n");
		add_entry(suggest, host, asking->port, "asks for a client certificate", &decision);
		buf_printf(&suggest->out, ",\"lines\":%llu}", (unsigned long long)asking->count);
	}
}

static void print_json(struct suggest *suggest)
{
	struct buf *out = &suggest->out;

	buf_printf(out, "{\"lines\":%llu,\"unreadable\":%llu,\"complete\":%s,\"proposals\":[", (unsigned long long)suggest->lines,
	           (unsigned long long)suggest->unreadable, suggest->found.is_full ? "false" : "true");
	for (size_t i = 0; i < suggest->found.proposal_count; i++) {
		buf_add_string(out, i ? ",\n" : "\n");
		add_json_proposal(suggest, &suggest->found.proposals[i]);
	}
	suggest->proposed = suggest->found.proposal_count - suggest->bypassed;
	add_json_clients(suggest);
	add_json_undecided(suggest);
	add_json_askings(suggest);
	buf_add_string(out, "]}\n");
}

/* ---- the command ---- */

static int suggest_all(struct suggest *suggest)
{
	const struct command_line *line = suggest->line;
	bool given = line->argument_count > 1;
	int status = EXIT_WELL;

	suggest->list = given ? span_from(line->arguments[1]) : find_list(suggest);
	if (given && !has_list(suggest->files.policy, suggest->list))
		return EXIT_USAGE;
	status = read_all(suggest);
	if (status != EXIT_WELL)
		return status;
	(line->options[OPTION_json] ? print_json : print_text)(suggest);
	fwrite(buf_span(&suggest->out).at, 1, buf_len(&suggest->out), stdout);
	if (suggest->unreadable)
		fprintf(stderr, "sallyport: note: %llu line%s could not be read; the first: %s:%llu: %s\n",
		        (unsigned long long)suggest->unreadable, suggest->unreadable == 1 ? "" : "s", suggest->first_path, (unsigned long long)suggest->first_number,
		        suggest->first_why);
	if (suggest->found.is_full || !buf_is_whole(&suggest->out))
		fprintf(stderr, "sallyport: note: there are more clients and hosts than can be told apart; the rest was left out\n");
	return suggest->proposed || suggest->found.untrusting_count || suggest->asking ? EXIT_FINDING : EXIT_WELL;
}

int list_suggest(const struct command_line *line)
{
	const char *path = command_config(line);
	struct suggest suggest = {.line = line};
	int status = EXIT_USAGE;

	if (path == NULL)
		return EXIT_USAGE;
	pin_findings_init(&suggest.found);
	buf_init(&suggest.out, TEXT_MAX_BYTES);
	if (files_load(&suggest.files, path) == ERR_NONE)
		status = suggest_all(&suggest);
	else
		command_print_problems(&suggest.files.problems);
	files_fini(&suggest.files);
	buf_fini(&suggest.out);
	pin_findings_fini(&suggest.found);
	return status;
}
