/* SPDX-License-Identifier: Apache-2.0 */
/* The manual of policy.yaml and of lists. What can be listed comes from the tables that are used. */
#include "policy/lint/lint.h"

static const char *const questions[POLICY_QUESTION_COUNT] = {
	[POLICY_ACCESS] = "may the client go there",
	[POLICY_AUTH] = "must it say who it is (exempt, where defaults says nothing)",
	[POLICY_TLS] = "is TLS opened (inspection: in sallyport.yaml; without a CA such sessions are refused)",
	[POLICY_OPAQUE] = "bytes that are neither TLS nor HTTP, where tls says inspect: in a CONNECT, or inside TLS that was opened",
	[POLICY_CLIENT_CERTIFICATE] = "an opened origin asks for one: ignore goes on without and explains a failure, deny shows a page, bypass tunnels the session with the client's own handshake, untouched",
	[POLICY_CLASS] = "how a tunnel is served (classes: in sallyport.yaml): media before everything else, bulk after it; auto is media if the client's first bytes are those of a call (STUN as it is or framed by RFC 4571; DTLS, and two frames of RTP, framed so; ssltcp), which nothing waits for, else normal. normal and auto become bulk while they move much, and what was taken for a call then is none any more (classes.media.most)",
	[POLICY_ROUTE] = "how it is dialled; source: from this IP address of the host, not in defaults",
	[POLICY_PAC] = "what the PAC file tells clients (public: in sallyport.yaml): direct, or by the proxy. Such a rule may use to, port and from. from is the address that asks for the file, and is decided here, since browsers do not know theirs: behind a relay or a balancer without PROXY headers all are one. Regular expressions must be such as JavaScript has, too",
	[POLICY_LOG] = "how much the access log says of it",
	[POLICY_REQUEST_HEADERS] = "fields of the request that the origin gets: set puts one field in place of all of that name, remove drops them; not those by which connections, content and the proxy work (Host, Content-Length, Connection, Via, Proxy-...). With several names or spellings of a URL the edits hold if one of them has some, the authority's first",
	[POLICY_RESPONSE_HEADERS] = "the same of the response that the client gets; not of 1xx",
	[POLICY_RATE] = "bytes per second that clients send, and as many that they get, for all that the rule answers for together, or each client or user by itself (who says no name is told apart by the address); what is more waits. It comes beside limits.rate_per_client and rate_per_user in sallyport.yaml: the strictest holds. Class media is never limited. With HTTP/2 in an opened session it holds for the whole connection. Not in defaults",
	[POLICY_SNI] = "must-match: a ClientHello that names another host than was asked for is denied",
};

static const struct row {
	const char *key, *text;
} patterns[] = {
	{"idbroker.webex.com", "that name only; one without a dot is intranet in a list, and in a rule intranet. (to tell it from the name of a list)"},
	{"*.wbx2.com", "every name below it, not the name itself"},
	{".example.com", "the name and everything below"},
	{"*mcs*.webex.com", "* inside a label stands for anything inside that label"},
	{"170.72.0.0/16", "addresses and networks, IPv6 as 2402:2500::/34 or in brackets: a host that is asked for by address"},
	{"/^cdn\\d+\\.example\\.net$/", "a regular expression (PCRE2); one that allows must be anchored at both ends"},
}, fields[] = {
	{"ports=443,5000-5010", "to these ports only"},
	{"expires=2026-12-31", "it no longer matches after that day"},
	{"owner= ticket= reason= added=", "for people; \"in quotes\" where there are spaces"},
	{"source= read=2026-09-01", "where it was read (an address, a document), and when; for entries that somebody else publishes"},
	{"# text", "to the end of the line, for people"},
};

static void add_rows(const char *title, const struct row *rows, size_t count, struct buf *out)
{
	buf_printf(out, "\n%s\n", title);
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "    %-30s %s\n", rows[i].key, rows[i].text);
}

static const char *how_written(enum policy_question question, unsigned answer, const char *name)
{
	if (question == POLICY_ROUTE && answer == ROUTE_SOURCE)
		return "{source: ADDRESS}";
	if (question == POLICY_RATE && answer == RATE_LIMIT)
		return "SIZE such as 10M, {each: client or user, rate: SIZE}";
	if ((question == POLICY_REQUEST_HEADERS || question == POLICY_RESPONSE_HEADERS) && answer == HEADERS_EDIT)
		return "{set: {NAME: VALUE}, remove: [NAME]}";
	return name;
}

static void add_answers(enum policy_question question, struct buf *out)
{
	const char *name;

	for (unsigned answer = 0; (name = policy_answer_name(question, answer)) != NULL; answer++)
		buf_printf(out, "%s%s", answer ? ", " : "", how_written(question, answer, name));
}

void policy_reference(struct buf *out)
{
	const char *key = "", *manual = "";

	buf_add_string(out, "lists: {NAME: FILE or list of files}\n"
	                    "rules:\n"
	                    "  - {name: TEXT, when: {CONDITION: VALUE or list of values}, then: {QUESTION: ANSWER}}\n"
	                    "  - include: FILE or folder\n"
	                    "include: FILE or folder, or a list of them\n"
	                    "defaults: {QUESTION: ANSWER, ports: [80, 443]}\n\n"
	                    "For each question the first rule decides whose conditions all hold and that answers it; what no\n"
	                    "rule answers, defaults answers. Of several values one has to hold; a rule without when: holds always.\n"
	                    "Paths are relative to the file that has them.\n\n"
	                    "A file that is included has lists: and rules: (and include:) of its own. Its rules come where the\n"
	                    "include stands among the rules, or behind them all; of a folder *.yaml and *.yml are read, by the\n"
	                    "bytes of their names: 10-vendors.yaml before 20-site.yaml. Lists are known in every file.\n\n"
	                    "Questions and answers\n");
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		buf_printf(out, "    %-19s ", policy_question_name((enum policy_question)q));
		add_answers((enum policy_question)q, out);
		buf_printf(out, ": %s\n", questions[q]);
	}
	buf_add_string(out, "\nConditions\n");
	for (size_t i = 0; i < compile_condition(i, &key, &manual); i++)
		buf_printf(out, "    %-10s %s\n", key, manual);
	buf_printf(out, "    %-10s %s\n", "resolved", "true: networks in to are compared with the address that would be dialled");
	add_rows("Patterns, in lists (one per line), in to and in sni", patterns, COUNT_OF(patterns), out);
	add_rows("Fields of a list's entry, behind the pattern", fields, COUNT_OF(fields), out);
	lint_reference(out);
}
