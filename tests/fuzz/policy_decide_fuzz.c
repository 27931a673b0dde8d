/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions against a naive matcher that was written from DESIGN 5 alone: no index, no image, one
 * question and one name after the other. The input makes a small policy and facts; with a first byte of 0xc0 or more also
 * the names, and patterns of all kinds that are made of them.
 *
 * Where a question waits for a fact, only that much is compared: nothing is left open that the naive
 * matcher settles, for every name or with the strictest answer, and nothing else is settled. */
#include <inttypes.h>

#include "../unit/policy_naive.h"
#include "../unit/policy_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RULES_MAX = 6, ENTRIES_MAX = 5, MADE_ENTRIES_MAX = 40, LISTS = 2, QUESTIONS = 5, MADE_NAMES = 3, MADE_FROM = 0xc0,
       TEXT_MAX = 600, NAME_BYTES_MAX = 253 };

/* ---- what the input says ---- */

struct source {
	const uint8_t *at;
	size_t len;
};

static unsigned pick(struct source *source, unsigned below)
{
	uint8_t byte = source->len ? *source->at : 0;

	source->at += source->len > 0;
	source->len -= source->len > 0;
	return byte % below;
}

struct entry {
	unsigned kind;        /* enum naive_kind */
	const char *text;     /* NULL: it was made */
	unsigned port;        /* ports=; 0: none */
	bool expired;
	char made[TEXT_MAX];
};

struct list {
	struct entry entries[MADE_ENTRIES_MAX];
	size_t count;
};

struct rule {
	unsigned to;          /* 0: not asked; else list to - 1 */
	bool resolved;
	unsigned port;        /* 0: not asked */
	bool from, user, sni, method; /* from: 10.0.0.0/8; user: jane; sni: list 0; method: GET */
	bool type;            /* content-type: any video */
	int answers[QUESTIONS]; /* -1: none */
};

struct model {
	struct list lists[LISTS];
	struct rule rules[RULES_MAX];
	size_t rule_count;
	int defaults[QUESTIONS];
	unsigned default_port; /* 0: 80 and 443 */
	struct policy_facts facts;
	bool is_made;
	char names[MADE_NAMES][NAME_BYTES_MAX + 1];
};

static const enum policy_question questions[QUESTIONS] = {POLICY_ACCESS, POLICY_AUTH, POLICY_TLS, POLICY_CLASS,
                                                           POLICY_RESPONSE_HEADERS};
enum { PICKED_QUESTIONS = 4 }; /* the last is answered by bits that were left */
static const unsigned ports[] = {80, 443, 5004, 22};
static const char *const names[] = {"a.example", "b.a.example", "c.b.a.example", "example", "xa.example",
                                    "b.example", "10.1.2.3", "10.200.0.1", "2001:db8::1"};

static struct span entry_text(const struct entry *entry)
{
	return span_from(entry->text ? entry->text : entry->made);
}

/* ---- names, and patterns of them ---- */

static const char *const labels[] = {"a", "b", "cdn12", "mail", "x-y", "shop_2", "1",
                                     "a-label-that-is-long-and-goes-on-until-there-is-no-more-room-63", "example", "com"};

/* Labels in front of "test", some, or as many as there can be. */
static void make_name(struct source *source, char name[static NAME_BYTES_MAX + 1])
{
	unsigned count = pick(source, 16) == 0 ? 126 : pick(source, 7);
	size_t at = NAME_BYTES_MAX - 4;

	name[NAME_BYTES_MAX] = 0;
	memcpy(name + at, "test", 4);
	while (count-- > 0) {
		const char *label = labels[pick(source, COUNT_OF(labels))];
		size_t len = strlen(label);

		if (at < len + 1)
			break;
		name[--at] = '.';
		at -= len;
		memcpy(name + at, label, len);
	}
	memmove(name, name + at, NAME_BYTES_MAX + 1 - at);
}

/* The first is made; the others are it with less, with more, or made, too. */
static void make_names(struct source *source, struct model *model)
{
	make_name(source, model->names[0]);
	for (int i = 1; i < MADE_NAMES; i++) {
		struct span first = span_from(model->names[0]), rest = span_skip(first, span_find(first, '.'));
		char *name = model->names[i];

		switch (pick(source, 4)) {
		case 0:
			make_name(source, name);
			break;
		case 1:
			rest = span_skip(rest, rest.len > 0);
			snprintf(name, NAME_BYTES_MAX + 1, "%.*s", SPAN_ARG(rest.len ? rest : first));
			break;
		case 2:
			snprintf(name, NAME_BYTES_MAX + 1, "%s%.*s", first.len < 250 ? "q-." : "",
			         (int)first.len, (const char *)first.at);
			break;
		default:
			snprintf(name, NAME_BYTES_MAX + 1, "%s%.*s", first.len < 253 && first.at[0] != 'a' ? "x" : "",
			         (int)first.len, (const char *)first.at);
		}
	}
}

/* A suffix of one of the names, of whole labels. */
static struct span pick_suffix(struct source *source, const struct model *model)
{
	struct span name = span_from(model->names[pick(source, MADE_NAMES)]);

	for (unsigned skip = pick(source, 5); skip > 0; skip--) {
		size_t dot = span_find(name, '.');

		if (dot < name.len)
			name = span_skip(name, dot + 1);
	}
	return name;
}

/* The suffix with stars in place of some of its bytes. */
static void make_glob(struct source *source, struct span name, struct buf *out)
{
	unsigned every = 2 + pick(source, 9), phase = pick(source, 9);
	bool has_star = false;

	for (unsigned above = pick(source, 3); above > 0; above--)
		buf_add_string(out, "*.");
	for (size_t i = 0; i < name.len; i++) {
		bool is_star = name.at[i] != '.' && i + 4 < name.len && (i + phase) % every == 0;

		buf_add_byte(out, is_star ? '*' : name.at[i]);
		has_star |= is_star;
	}
	if (!has_star)
		buf_add_string(out, "*");
}

static void add_escaped(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		buf_printf(out, "%s%c", text.at[i] == '.' || text.at[i] == '-' ? "\\" : "", text.at[i]);
}

/* Around a piece of the name. Anchored, or it could not loosen. */
static void make_regex(struct source *source, struct span name, struct buf *out)
{
	static const char *const before[] = {"", ".*", "([^.]+\\.)?", "(?:a|b|.*)", "[a-z0-9._-]*", "(x|y)*.*", "\\w*\\W?.*"};
	static const char *const behind[] = {"", ".*", "([.].*)?", "(test|.*)", ".{0,80}", "\\d*.*", "(?:\\.[a-z]{3,7})*"};
	size_t from = pick(source, (unsigned)name.len), len = 1 + pick(source, 20);
	struct span piece = span_first(span_skip(name, from), len);

	buf_printf(out, "/^%s(", before[pick(source, COUNT_OF(before))]);
	add_escaped(out, piece);
	if (pick(source, 2) && piece.len > 1) { /* one more alternative */
		buf_add_byte(out, '|');
		add_escaped(out, span_skip(piece, 1));
	}
	buf_printf(out, ")%s%s$/", pick(source, 3) ? "" : pick(source, 2) ? "+" : "?",
	           behind[pick(source, COUNT_OF(behind))]);
}

static struct entry make_entry(struct source *source, const struct model *model)
{
	static const unsigned kinds[] = {0, 1, 2, 3, 3, 5, 5, 5};
	struct entry entry = {.kind = kinds[pick(source, COUNT_OF(kinds))]};
	struct span suffix = pick_suffix(source, model);
	struct buf text;

	buf_init(&text, TEXT_MAX);
	if (entry.kind == 3)
		make_glob(source, suffix, &text);
	else if (entry.kind == 5)
		make_regex(source, suffix, &text);
	else
		buf_printf(&text, "%s%.*s", entry.kind == 1 ? "*." : entry.kind == 2 ? "." : "", SPAN_ARG(suffix));
	/* Stars can make it longer than a name may be. */
	if (entry.kind == 3 && buf_len(&text) > NAME_BYTES_MAX)
		buf_reset(&text);
	if (buf_len(&text) == 0)
		buf_add_string(&text, "*x*.test");
	snprintf(entry.made, sizeof(entry.made), "%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
	entry.port = pick(source, 3) == 0 ? ports[pick(source, COUNT_OF(ports))] : 0;
	entry.expired = pick(source, 5) == 0;
	return entry;
}

static struct entry pick_entry(struct source *source)
{
	static const struct entry choices[] = {
		{.kind = 0, .text = "a.example"},      {.kind = 0, .text = "b.a.example"},
		{.kind = 1, .text = "*.a.example"},    {.kind = 1, .text = "*.example"},
		{.kind = 2, .text = ".a.example"},     {.kind = 2, .text = ".example"},
		{.kind = 3, .text = "*a.example"},     {.kind = 3, .text = "b*.a.example"},
		{.kind = 4, .text = "10.0.0.0/8"},     {.kind = 4, .text = "10.1.0.0/16"},
		{.kind = 4, .text = "10.1.2.3"},       {.kind = 4, .text = "2001:db8::/32"},
	};
	struct entry entry = choices[pick(source, COUNT_OF(choices))];

	entry.port = pick(source, 3) == 0 ? ports[pick(source, COUNT_OF(ports))] : 0;
	entry.expired = pick(source, 5) == 0;
	return entry;
}

static struct rule pick_rule(struct source *source)
{
	struct rule rule = {.to = pick(source, LISTS + 1)};
	unsigned bits = pick(source, 256);
	bool any = false;

	rule.resolved = rule.to && (bits & 1);
	rule.port = bits & 2 ? ports[pick(source, COUNT_OF(ports))] : 0;
	rule.from = (bits & 12) == 12;
	rule.method = (bits & 48) == 48;
	rule.user = (bits & 192) == 192;
	bits = pick(source, 256);
	rule.sni = (bits & 3) == 3;
	rule.type = (bits & 28) == 28;
	rule.answers[PICKED_QUESTIONS] = bits & 128 ? (int)(bits >> 5 & 1) : -1;
	any = rule.answers[PICKED_QUESTIONS] >= 0;
	for (int q = 0; q < PICKED_QUESTIONS; q++) {
		rule.answers[q] = (int)pick(source, 3) - 1;
		/* What asks for a type can only answer access, of these. */
		if (rule.type && questions[q] != POLICY_ACCESS)
			rule.answers[q] = -1;
		/* auth cannot ask for these: a configuration error. */
		if (questions[q] == POLICY_AUTH && (rule.user || rule.sni || rule.resolved))
			rule.answers[q] = -1;
		any = any || rule.answers[q] >= 0;
	}
	if (!any)
		rule.answers[0] = 0;
	return rule;
}

static void pick_facts(struct source *source, struct policy_facts *facts)
{
	unsigned bits;

	*facts = policy_rig_facts(names[pick(source, COUNT_OF(names))], (uint16_t)ports[pick(source, COUNT_OF(ports))]);
	bits = pick(source, 256);
	if (bits & 1)
		facts->from = (struct address){.bytes = {10, 1}, .family = AF_INET};
	facts->method = bits & 2 ? SPAN("GET") : SPAN("CONNECT");
	if (bits & 4)
		facts->known |= FACT_USER;
	else if (bits & 8)
		facts->absent |= FACT_USER;
	facts->user = bits & 16 ? SPAN("jane") : SPAN("joe");
	if (bits & 32)
		facts->known |= FACT_HELLO;
	else if (bits & 64)
		facts->absent |= FACT_HELLO;
	if (bits & 128)
		facts->sni = span_from(names[pick(source, 6)]);
	bits = pick(source, 256);
	if (bits & 8)
		facts->known |= FACT_RESPONSE;
	else if (bits & 16)
		facts->absent |= FACT_RESPONSE;
	facts->content_type = bits & 32 ? SPAN("video/mp4") : bits & 64 ? SPAN("text/html") : SPAN("");
	if (bits & 1)
		facts->inner_host = span_from(names[pick(source, COUNT_OF(names))]);
	if (facts->host_address.family == 0 && (bits & 2)) {
		facts->known |= FACT_ADDRESS;
		ASSERT(address_parse(bits & 4 ? SPAN("10.1.9.9") : SPAN("192.0.2.1"), &facts->address));
	}
}

static void make_facts(struct source *source, struct model *model)
{
	struct policy_facts *facts = &model->facts;

	make_names(source, model);
	pick_facts(source, facts);
	facts->host = span_from(model->names[0]);
	if (facts->host_address.family) {
		facts->host_address = facts->address = (struct address){.family = 0};
		facts->known &= ~(unsigned)FACT_ADDRESS;
	}
	if (facts->sni.len)
		facts->sni = span_from(model->names[1]);
	if (facts->inner_host.len)
		facts->inner_host = span_from(model->names[2]);
}

static void make_model(struct source source, struct model *model)
{
	memset(model, 0, sizeof(*model));
	model->is_made = source.len && source.at[0] >= MADE_FROM;
	if (model->is_made) {
		source = (struct source){source.at + 1, source.len - 1};
		make_facts(&source, model);
	} else {
		pick_facts(&source, &model->facts);
	}
	for (int i = 0; i < LISTS; i++) {
		model->lists[i].count = 1 + pick(&source, model->is_made ? MADE_ENTRIES_MAX : ENTRIES_MAX);
		for (size_t j = 0; j < model->lists[i].count; j++)
			model->lists[i].entries[j] =
				model->is_made && pick(&source, 8) ? make_entry(&source, model) : pick_entry(&source);
	}
	model->default_port = pick(&source, 3) == 0 ? 5004 : 0;
	for (int q = 0; q < PICKED_QUESTIONS; q++)
		model->defaults[q] = (int)pick(&source, 2);
	model->defaults[PICKED_QUESTIONS] = HEADERS_NONE;
	model->rule_count = pick(&source, RULES_MAX + 1);
	for (size_t i = 0; i < model->rule_count; i++)
		model->rules[i] = pick_rule(&source);
}

/* ---- as files ---- */

static void add_answers(struct buf *out, const int *answers)
{
	for (int q = 0; q < QUESTIONS; q++)
		if (answers[q] >= 0)
			buf_printf(out, "%s: %s, ", policy_question_name(questions[q]),
			           questions[q] == POLICY_RESPONSE_HEADERS && answers[q] == HEADERS_EDIT
			                   ? "{remove: A}" : policy_answer_name(questions[q], (unsigned)answers[q]));
}

static void add_rule(struct buf *out, const struct rule *rule, size_t index)
{
	buf_printf(out, "- {name: r%zu, when: {", index);
	if (rule->to)
		buf_printf(out, "to: l%u, ", rule->to);
	if (rule->resolved)
		buf_add_string(out, "resolved: true, ");
	if (rule->port)
		buf_printf(out, "port: %u, ", rule->port);
	if (rule->from)
		buf_add_string(out, "from: 10.0.0.0/8, ");
	if (rule->user)
		buf_add_string(out, "user: jane, ");
	if (rule->sni)
		buf_add_string(out, "sni: l1, ");
	if (rule->method)
		buf_add_string(out, "method: GET, ");
	if (rule->type)
		buf_add_string(out, "content-type: video/*, ");
	buf_add_string(out, "}, then: {");
	add_answers(out, rule->answers);
	buf_add_string(out, "}}\n");
}

static void write_list(const struct policy_rig *rig, const char *name, const struct list *list)
{
	struct buf text;

	buf_init(&text, 100000);
	for (size_t i = 0; i < list->count; i++) {
		const struct entry *entry = &list->entries[i];

		buf_add(&text, entry_text(entry));
		if (entry->port)
			buf_printf(&text, " ports=%u", entry->port);
		buf_printf(&text, " expires=%s\n", entry->expired ? "2001-01-01" : "2099-01-01");
	}
	policy_rig_write(rig, name, buf_span(&text));
	buf_fini(&text);
}

static void compile(const struct model *model, struct policy_rig *rig)
{
	struct buf text;

	policy_rig_init(rig);
	write_list(rig, "a.list", &model->lists[0]);
	write_list(rig, "b.list", &model->lists[1]);
	buf_init(&text, 100000);
	buf_add_string(&text, "lists: {l1: a.list, l2: b.list}\nrules:\n");
	for (size_t i = 0; i < model->rule_count; i++)
		add_rule(&text, &model->rules[i], i);
	buf_add_string(&text, "defaults: {");
	add_answers(&text, model->defaults);
	if (model->default_port)
		buf_printf(&text, "ports: %u", model->default_port);
	buf_add_string(&text, "}\n");
	policy_rig_write(rig, "policy.yaml", buf_span(&text));
	policy_rig_compile(rig);
	for (const struct problem *p = rig->problems.first; p && rig->err; p = p->next)
		fprintf(stderr, "%s:%u:%u: %s\n", p->file, p->line, p->column, p->text);
	ASSERT(rig->err == ERR_NONE);
	buf_fini(&text);
}

/* ---- the naive matcher ---- */

/* false, true, or not known yet. A fact that can never be known is a value of its own. */
enum truth { NO, YES, UNKNOWN, NEVER };

static bool entry_matches(const struct entry *entry, struct span name, const struct address *address)
{
	return naive_matches((enum naive_kind)entry->kind, entry_text(entry), name, address);
}

/* Does the list match? *by_ports: through an entry whose ports= has the port. */
static bool list_matches(const struct model *model, const struct list *list, struct span name,
                         const struct address *address, bool *by_ports)
{
	bool match = false;

	for (size_t i = 0; i < list->count; i++) {
		const struct entry *entry = &list->entries[i];

		if (entry->expired || (entry->port && entry->port != model->facts.port) ||
		    !entry_matches(entry, name, address))
			continue;
		match = true;
		*by_ports = *by_ports || entry->port;
	}
	return match;
}

static bool has_networks(const struct list *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->entries[i].kind == 4)
			return true;
	return false;
}

static enum truth missing(const struct policy_facts *facts, unsigned fact)
{
	return facts->absent & fact ? NEVER : UNKNOWN;
}

static enum truth to_holds(const struct model *model, const struct rule *rule, struct span name,
                           const struct address *address, bool *by_ports)
{
	const struct list *list;

	if (rule->to == 0)
		return YES;
	list = &model->lists[rule->to - 1];
	if (list_matches(model, list, name, address, by_ports))
		return YES;
	if (!rule->resolved || address->family || !has_networks(list))
		return NO;
	if (!(model->facts.known & FACT_ADDRESS))
		return missing(&model->facts, FACT_ADDRESS);
	return list_matches(model, list, SPAN(""), &model->facts.address, by_ports) ? YES : NO;
}

static enum truth user_holds(const struct model *model, const struct rule *rule)
{
	if (!rule->user)
		return YES;
	if (!(model->facts.known & FACT_USER))
		return missing(&model->facts, FACT_USER);
	return span_equal(model->facts.user, SPAN("jane")) ? YES : NO;
}

static enum truth sni_holds(const struct model *model, const struct rule *rule)
{
	static const struct address none;
	bool ignored = false;

	if (!rule->sni)
		return YES;
	if (!(model->facts.known & FACT_HELLO))
		return missing(&model->facts, FACT_HELLO);
	if (model->facts.sni.len == 0)
		return NEVER;
	return list_matches(model, &model->lists[0], model->facts.sni, &none, &ignored) ? YES : NO;
}

static enum truth type_holds(const struct model *model, const struct rule *rule)
{
	if (!rule->type)
		return YES;
	if (!(model->facts.known & FACT_RESPONSE))
		return missing(&model->facts, FACT_RESPONSE);
	return span_equal(model->facts.content_type, SPAN("video/mp4")) ? YES : NO;
}

/* Those that have no order of strictness, or (fields of a message) need no permission. */
static bool is_free(enum policy_question question)
{
	return question == POLICY_CLASS || question == POLICY_RESPONSE_HEADERS;
}

static bool loosens(enum policy_question question, int answer)
{
	return !is_free(question) && answer == 1; /* allow, exempt, bypass */
}

static bool tightens(enum policy_question question, int answer)
{
	return !is_free(question) && answer == 0;
}

static bool is_default_port(const struct model *model)
{
	unsigned port = model->facts.port;

	return model->default_port ? port == model->default_port : port == 80 || port == 443;
}

/* Does the rule answer this question for this name: no, yes, or not known yet? */
static enum truth rule_answers(const struct model *model, const struct rule *rule, int q, struct span name,
                               const struct address *address)
{
	bool by_ports = false;
	enum truth parts[] = {to_holds(model, rule, name, address, &by_ports), user_holds(model, rule),
	                      sni_holds(model, rule), type_holds(model, rule)};
	enum truth all = YES;

	if (rule->answers[q] < 0)
		return NO;
	if (rule->from && model->facts.from.bytes[0] != 10)
		return NO;
	if (rule->method && !span_equal(model->facts.method, SPAN("GET")))
		return NO;
	if (!by_ports && rule->port && rule->port != model->facts.port)
		return NO;
	if (!by_ports && !rule->port && loosens(questions[q], rule->answers[q]) && !is_default_port(model))
		return NO;
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		if (parts[i] == NEVER)
			parts[i] = tightens(questions[q], rule->answers[q]) ? YES : NO;
		if (parts[i] == NO)
			return NO;
		if (parts[i] == UNKNOWN)
			all = UNKNOWN;
	}
	return all;
}

/* The answer for one name; -1: open. */
static int answer_name(const struct model *model, int q, struct span name, const struct address *address)
{
	bool is_open = false, may_allow = false;
	int answer = -1;
	size_t i;

	for (i = 0; i < model->rule_count; i++) {
		enum truth truth = rule_answers(model, &model->rules[i], q, name, address);

		if (truth == UNKNOWN) {
			is_open = true;
			may_allow |= model->rules[i].answers[q] == ACCESS_ALLOW;
		} else if (truth == YES) {
			answer = model->rules[i].answers[q];
			break;
		}
		if (is_open && questions[q] != POLICY_ACCESS)
			return -1;
	}
	if (answer < 0)
		answer = model->defaults[q];
	if (i == model->rule_count && questions[q] == POLICY_ACCESS && !is_default_port(model))
		answer = ACCESS_DENY;
	if (!is_open)
		return answer;
	/* What denies in every case is denied without asking. */
	return !may_allow && answer == ACCESS_DENY ? answer : -1;
}

/* The answer than which none is stricter. */
static int strictest(int q)
{
	return questions[q] == POLICY_RESPONSE_HEADERS ? HEADERS_EDIT : 0;
}

struct naive {
	int answer;   /* the strictest of the names that are settled; -1: none is */
	bool is_open; /* some name waits */
};

static void add_name(const struct model *model, int q, struct span name, struct naive *naive)
{
	struct address address = {0};
	int answer;

	if (name.len == 0)
		return;
	if (!address_parse(name, &address))
		address.family = 0;
	answer = answer_name(model, q, name, &address);
	if (answer < 0)
		naive->is_open = true;
	else if (naive->answer < 0 || answer == strictest(q) || (strictest(q) == 0 && answer < naive->answer))
		naive->answer = answer;
}

static struct naive decide(const struct model *model, int q)
{
	struct naive naive = {-1, false};

	add_name(model, q, model->facts.host, &naive);
	if (questions[q] == POLICY_CLASS)
		return naive; /* follows the authority */
	if (model->facts.known & FACT_HELLO)
		add_name(model, q, model->facts.sni, &naive);
	add_name(model, q, model->facts.inner_host, &naive);
	return naive;
}

/* What a person needs who looks into a difference. */
static void print_difference(const struct model *model, int q, const struct naive *naive,
                             const struct policy_decision *decision)
{
	const struct policy_facts *facts = &model->facts;
	const struct policy_answer *answer = &decision->answers[questions[q]];

	fprintf(stderr, "%.*s port %u sni %.*s inner %.*s method %.*s user %.*s from %u known %u absent %u\n"
	                "%s: decided %u by rule %u for name %u, open %x; naive %d, open %d\n",
	        SPAN_ARG(facts->host), facts->port, SPAN_ARG(facts->sni), SPAN_ARG(facts->inner_host),
	        SPAN_ARG(facts->method), SPAN_ARG(facts->user), facts->from.bytes[0], facts->known,
	        facts->absent, policy_question_name(questions[q]), answer->answer, answer->rule,
	        answer->name_index, decision->open, naive->answer, naive->is_open);
}

static bool is_same(int q, const struct naive *naive, bool is_open, unsigned answer)
{
	if (is_open)
		return naive->is_open && naive->answer != strictest(q);
	if (naive->is_open) /* settled all the same: nothing is stricter */
		return naive->answer == strictest(q) && (int)answer == strictest(q);
	return (int)answer == naive->answer;
}

static void compare(const struct model *model, const struct policy_decision *decision)
{
	for (int q = 0; q < QUESTIONS; q++) {
		struct naive naive = decide(model, q);
		bool is_open = decision->open >> questions[q] & 1;

		if (naive_gave_up || is_same(q, &naive, is_open, decision->answers[questions[q]].answer))
			continue;
		print_difference(model, q, &naive, decision);
		ASSERT(false); /* the same decision is what is wanted */
	}
	ASSERT((decision->need != 0) == (decision->open != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy_decision decision;
	struct policy_rig rig;
	struct model model;

	naive_gave_up = false;
	make_model((struct source){data, size}, &model);
	compile(&model, &rig);
	policy_decide(rig.policy, &model.facts, &decision);
	compare(&model, &decision);
	/* Once more, since the first look at a name is remembered; then at another port. */
	policy_decide(rig.policy, &model.facts, &decision);
	compare(&model, &decision);
	model.facts.port = model.facts.port == 443 ? 5004 : 443;
	model.facts.host_address.port = model.facts.port;
	policy_decide(rig.policy, &model.facts, &decision);
	compare(&model, &decision);
	policy_rig_fini(&rig);
	return 0;
}
