/* SPDX-License-Identifier: Apache-2.0 */
/* when: one row per condition. */
#include <stddef.h>

#include "policy/compile/compile.h"

const struct yaml_node *compile_first(const struct yaml_node *node)
{
	return node->kind == YAML_SEQUENCE ? node->first : node;
}

const struct yaml_node *compile_next(const struct yaml_node *list, const struct yaml_node *node)
{
	return list->kind == YAML_SEQUENCE ? node->next : NULL;
}

bool compile_is_text(struct compile *compile, const struct yaml_node *node)
{
	if (node->kind == YAML_SCALAR && node->text.len)
		return true;
	WRONG(compile, node, "%.*s: expected a text, or a list of them", SPAN_ARG(node->key));
	return false;
}

struct image_range compile_ports(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.ports.count, 0};

	for (const struct yaml_node *n = compile_first(node); n; n = compile_next(node, n)) {
		struct image_ports ports[PATTERN_PORTS_MAX];
		size_t count;

		if (!compile_is_text(compile, n))
			continue;
		if (!pattern_ports_parse(n->text, ports, COUNT_OF(ports), &count)) {
			WRONG(compile, n, "\"%.*s\" is no port; write 443 or 33434-33598",
			      SPAN_ARG(n->text));
			continue;
		}
		build_add(&compile->build, &compile->build.ports, ports, count, sizeof(ports[0]));
		range.count += (uint32_t)count;
	}
	return range;
}

static struct image_range read_networks(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.networks.count, 0};

	for (const struct yaml_node *n = compile_first(node); n; n = compile_next(node, n)) {
		struct network network = {0};

		if (!compile_is_text(compile, n))
			continue;
		if (!pattern_network_parse(n->text, &network)) {
			WRONG(compile, n, "\"%.*s\" is no network; write 10.20.0.0/16 or fd00::/8 (bits "
			                  "behind the prefix zero)", SPAN_ARG(n->text));
			continue;
		}
		build_add(&compile->build, &compile->build.networks, &network, 1, sizeof(network));
		range.count++;
	}
	return range;
}

static struct image_range read_texts(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.texts.count, 0};

	for (const struct yaml_node *n = compile_first(node); n; n = compile_next(node, n)) {
		struct image_range text;

		if (!compile_is_text(compile, n))
			continue;
		text = build_text(&compile->build, n->text);
		build_add(&compile->build, &compile->build.texts, &text, 1, sizeof(text));
		range.count++;
	}
	return range;
}

/* RFC 9110, RFC 5789 and WebDAV (RFC 3253, 3648, 3744, 4791, 4918, 5323, 5842). Others pass, too. */
static const char *const methods[] = {
	"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "ACL", "BASELINE-CONTROL",
	"BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR",
	"MKCOL", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PROPFIND", "PROPPATCH", "QUERY", "REBIND", "REPORT",
	"SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "VERSION-CONTROL",
};

static void doubt_method(struct compile *compile, const struct yaml_node *node)
{
	const char *nearest = NULL;

	for (size_t i = 0; i < COUNT_OF(methods) && nearest == NULL; i++) {
		if (span_equal(node->text, span_from(methods[i])))
			return;
		if (span_equal_nocase(node->text, span_from(methods[i])))
			nearest = methods[i];
	}
	if (nearest) {
		WARN(compile, UNKNOWN_METHOD, node, "method: \"%.*s\" is another method than %s, and matches no request: write it in capitals",
		     SPAN_ARG(node->text), nearest);
		return;
	}
	nearest = conf_nearest(node->text, methods, COUNT_OF(methods));
	WARN(compile, UNKNOWN_METHOD, node, "method: \"%.*s\" is no method that is known%s%s%s", SPAN_ARG(node->text),
	     nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

static struct image_range read_methods(struct compile *compile, const struct yaml_node *node)
{
	for (const struct yaml_node *n = compile_first(node); n; n = compile_next(node, n))
		if (n->kind == YAML_SCALAR && n->text.len)
			doubt_method(compile, n);
	return read_texts(compile, node);
}

/* One row per condition: how it is read, where its range lies in the rule. */
static const struct condition {
	const char *key;
	struct image_range (*read)(struct compile *compile, const struct yaml_node *node);
	size_t offset;
	bool for_auth, for_route, for_pac; /* may decide these questions */
	const char *manual;
} conditions[] = {
	{"to", compile_list_refs, offsetof(struct image_rule, to), true, true, true,
	 "names of lists, or patterns: the host that is asked for"},
	{"port", compile_ports, offsetof(struct image_rule, port), true, true, true,
	 "ports and ranges, 443 or 33434-33598; without it, answers that allow hold for defaults.ports"},
	{"from", read_networks, offsetof(struct image_rule, from), true, true, true,
	 "addresses and networks of clients"},
	{"user", read_texts, offsetof(struct image_rule, user), false, true, false,
	 "who the client has proved to be, as authentication.domains names it; where nobody is asked (auth: exempt) it holds for everyone where the rule denies and for no one where it allows"},
	{"group", read_texts, offsetof(struct image_rule, group), false, true, false, "a group of the user, by name (case does not matter), or as S-1-5-..; as user"},
	{"sni", compile_list_refs, offsetof(struct image_rule, sni), false, false, false,
	 "as to, for the name in the ClientHello; not read in this version: as with a user who is not asked"},
	{"method", read_methods, offsetof(struct image_rule, method), true, true, false, "CONNECT, GET, ..."},
	{"url", compile_urls, offsetof(struct image_rule, url), false, false, false,
	 "beginnings, or expressions /.../, of the URL of an http:// request; that of a CONNECT is never known, and there it is as with a user who is not asked"},
	{"content-type", compile_content_types, offsetof(struct image_rule, content_type), true, true, true,
	 "media types of the response, video/mp4 or video/*, without parameters, or none where it has none. A rule that asks for it can answer access, response-headers and log: the request has gone out by then, and what is denied does not come back. Never known of a CONNECT, as url"},
	{"time", compile_times, offsetof(struct image_rule, time), true, true, false,
	 "\"mon-fri 08:00-18:00 +01:00\": days, hours, zone, each once or not at all; the zone is an offset, UTC, or a name such as Europe/Berlin with its summer time"},
	{"listener", read_texts, offsetof(struct image_rule, listener), true, true, false,
	 "names of listeners of sallyport.yaml"},
};

size_t compile_condition(size_t at, const char **key, const char **manual)
{
	if (at < COUNT_OF(conditions)) {
		*key = conditions[at].key;
		*manual = conditions[at].manual;
	}
	return COUNT_OF(conditions);
}

void compile_complain_unknown(struct compile *compile, const struct yaml_node *node,
                             const char *const *names, size_t count)
{
	const char *nearest = conf_nearest(node->key, names, count);
	struct buf all;

	buf_init(&all, 400);
	for (size_t i = 0; i < count; i++)
		buf_printf(&all, "%s%s", i ? ", " : "", names[i]);
	problem_add_code(compile->problems, PROBLEM_UNKNOWN_KEY,
	            (struct problem_place){compile->path, node->key_line, node->key_column}, NULL, "unknown key \"%.*s\"; %s%s%sknown are %.*s",
	            SPAN_ARG(node->key), nearest ? "did you mean " : "", nearest ? nearest : "",
	            nearest ? "? " : "", SPAN_ARG(buf_span(&all)));
	buf_fini(&all);
}

static bool read_flag(struct compile *compile, const struct yaml_node *node)
{
	if (span_equal(node->text, SPAN("true")))
		return true;
	if (!span_equal(node->text, SPAN("false")))
		WRONG(compile, node, "%.*s is neither true nor false", SPAN_ARG(node->text));
	return false;
}

void compile_when(struct compile *compile, const struct yaml_node *when,
                      struct image_rule *rule)
{
	const char *names[COUNT_OF(conditions) + 1] = {"resolved"};

	if (when == NULL || when->kind == YAML_NULL)
		return;
	if (when->kind != YAML_MAPPING) {
		WRONG(compile, when, "when: expected conditions, such as {to: LIST}");
		return;
	}
	for (size_t i = 0; i < COUNT_OF(conditions); i++)
		names[i + 1] = conditions[i].key;
	for (const struct yaml_node *node = when->first; node; node = node->next) {
		size_t i = 0;

		while (i < COUNT_OF(conditions) &&
		       !span_equal(node->key, span_from(conditions[i].key)))
			i++;
		if (i < COUNT_OF(conditions)) {
			struct image_range *range = (void *)((uint8_t *)rule + conditions[i].offset);
			size_t errors = compile->problems->error_count;

			*range = conditions[i].read(compile, node);
			if (range->count == 0 && compile->problems->error_count == errors)
				WRONG(compile, node, "%s: is empty; leave it out if it is not meant",
				      conditions[i].key);
		} else if (span_equal(node->key, SPAN("resolved"))) {
			rule->resolved = read_flag(compile, node);
		} else {
			compile_complain_unknown(compile, node, names, COUNT_OF(names));
		}
	}
}

/* The type of a response is known when most is over. */
static void check_late(struct compile *compile, const struct yaml_node *node, const struct image_rule *rule)
{
	for (int q = 0; q < POLICY_QUESTION_COUNT && rule->content_type.count; q++)
		if (rule->answers[q] != NO_ANSWER && q != POLICY_ACCESS && q != POLICY_RESPONSE_HEADERS && q != POLICY_LOG)
			WRONG(compile, node, "a rule that answers %s cannot ask for content-type: that is decided before there is "
			                     "a response; content-type may answer access, response-headers and log",
			      policy_question_name((enum policy_question)q));
}

/* auth is decided before a user, a name inside TLS or a request is known; route before dialling. */
void compile_check_questions(struct compile *compile, const struct yaml_node *node,
                            const struct image_rule *rule)
{
	for (size_t i = 0; i < COUNT_OF(conditions); i++) {
		const struct image_range *range =
			(const void *)((const uint8_t *)rule + conditions[i].offset);

		if (range->count == 0)
			continue;
		if (rule->answers[POLICY_AUTH] != NO_ANSWER && !conditions[i].for_auth)
			WRONG(compile, node, "a rule that answers auth cannot ask for %s: it may use from, "
			                     "listener, to, port, method and time", conditions[i].key);
		if (rule->answers[POLICY_ROUTE] != NO_ANSWER && !conditions[i].for_route)
			WRONG(compile, node, "a rule that answers route cannot ask for %s: it is decided "
			                     "before dialling", conditions[i].key);
		if (rule->answers[POLICY_PAC] != NO_ANSWER && !conditions[i].for_pac)
			WRONG(compile, node, "a rule that answers pac cannot ask for %s: a PAC file knows the host and port "
			                     "that a client wants, and is made by its address; use to, port and from",
			      conditions[i].key);
	}
	check_late(compile, node, rule);
	if (rule->resolved && rule->answers[POLICY_PAC] != NO_ANSWER)
		WRONG(compile, node, "a rule that answers pac cannot say resolved: true: browsers would wait for DNS");
	if (rule->resolved && rule->answers[POLICY_AUTH] != NO_ANSWER)
		WRONG(compile, node, "a rule that answers auth cannot say resolved: true");
	if (rule->resolved && rule->to.count == 0)
		WRONG(compile, node, "resolved: true needs to:");
}
