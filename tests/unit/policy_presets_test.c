/* SPDX-License-Identifier: Apache-2.0 */
/* The lists that are shipped: every entry says where it comes from, examples compile, and what is bypassed is the
 * vendor's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <libpsl.h>

#include "policy/pattern.h"
#include "policy_rig.h"

#define PRESETS "../../conf/presets"

enum { FILES_MAX = 100, NAME_MAX_BYTES = 100, TEXT_MAX_BYTES = 1 << 20 };

struct files {
	char names[FILES_MAX][NAME_MAX_BYTES];
	size_t count;
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Files of a folder whose names end so, sorted. */
static void files_find(const char *path, const char *end, struct files *out)
{
	DIR *folder = opendir(path);
	struct dirent *entry;

	assert_non_null(folder);
	out->count = 0;
	while ((entry = readdir(folder)) != NULL) {
		if (!span_ends_with(span_from(entry->d_name), span_from(end)))
			continue;
		assert_true(out->count < FILES_MAX);
		assert_true(strlen(entry->d_name) < NAME_MAX_BYTES);
		snprintf(out->names[out->count++], NAME_MAX_BYTES, "%.99s", entry->d_name);
	}
	closedir(folder);
	assert_true(out->count > 0);
	qsort(out->names, out->count, NAME_MAX_BYTES, compare_names);
}

/* Call `each` for every entry of a list. */
static void each_entry(const char *name, void (*each)(const char *name, unsigned line,
                                                      const struct pattern_line *entry, void *context),
                       void *context)
{
	char *content = malloc(TEXT_MAX_BYTES), path[200];
	struct span text, row;
	unsigned number = 0;
	FILE *file;

	snprintf(path, sizeof(path), PRESETS "/%s", name);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(content);
	text = span_of(content, fread(content, 1, TEXT_MAX_BYTES, file));
	assert_true(text.len < TEXT_MAX_BYTES);
	fclose(file);
	while (text.len && span_split(&text, '\n', &row)) {
		struct pattern_line line;
		const char *why = "";
		size_t at = 0;

		number++;
		if (!pattern_line_parse(row, &line, &why, &at))
			fail_msg("%s:%u:%zu: %s", name, number, at + 1, why);
		if (!line.is_empty)
			each(name, number, &line, context);
	}
	free(content);
}

static struct span text_of(const struct pattern_line *entry)
{
	return span_of(entry->pattern.text, entry->pattern.text_len);
}

static bool has_word(const char *name, const char *word)
{
	return strstr(name, word) != NULL;
}

/* What a list is for stands in its name. */
static bool is_bypass(const char *name)
{
	return has_word(name, "-bypass") || has_word(name, "-media") || has_word(name, "-pinned");
}

static bool is_of_others(const char *name)
{
	return has_word(name, "-third-party") || has_word(name, "-cdn") || has_word(name, "-allow-hybrid");
}

/* "webex" of "webex-allow-cdn.list". */
static struct span vendor_of(const char *name)
{
	return span_first(span_from(name), span_find(span_from(name), '-'));
}

/* ---- entries ---- */

static void is_documented(const char *name, unsigned line, const struct pattern_line *entry, void *context)
{
	size_t *count = context;

	++*count;
	if (entry->owner.len == 0 || entry->reason.len == 0 || entry->source.len == 0 || entry->read_ms == 0)
		fail_msg("%s:%u: owner=, reason=, source= and read= are wanted", name, line);
	if (entry->expires_ms)
		fail_msg("%s:%u: a preset grows old by read=, not by expires=", name, line);
	/* 2016-01-01 to 2100-01-01 */
	if (entry->read_ms < UINT64_C(1451606400000) || entry->read_ms > UINT64_C(4102444800000))
		fail_msg("%s:%u: read= is not a day of this project", name, line);
}

static void every_entry_says_where_it_comes_from(void **state)
{
	struct files lists;

	(void)state;
	files_find(PRESETS, ".list", &lists);
	for (size_t i = 0; i < lists.count; i++) {
		size_t count = 0;

		each_entry(lists.names[i], is_documented, &count);
		if (count == 0)
			fail_msg("%s is empty", lists.names[i]);
		if (!is_bypass(lists.names[i]) && !has_word(lists.names[i], "-allow") &&
		    !has_word(lists.names[i], "-tenant-restrictions"))
			fail_msg("%s: its name does not say what it is for", lists.names[i]);
	}
}

struct seen {
	char texts[400][PATTERN_TEXT_MAX];
	size_t count;
};

static void is_new(const char *name, unsigned line, const struct pattern_line *entry, void *context)
{
	struct seen *seen = context;

	for (size_t i = 0; i < seen->count; i++)
		if (span_equal(text_of(entry), span_from(seen->texts[i])))
			fail_msg("%s:%u: %s is there twice", name, line, seen->texts[i]);
	assert_true(seen->count < COUNT_OF(seen->texts));
	snprintf(seen->texts[seen->count++], PATTERN_TEXT_MAX, "%.*s", SPAN_ARG(text_of(entry)));
}

static void no_entry_is_there_twice(void **state)
{
	struct seen *seen = malloc(sizeof(*seen));
	struct files lists;

	(void)state;
	assert_non_null(seen);
	files_find(PRESETS, ".list", &lists);
	for (size_t i = 0; i < lists.count; i++) {
		seen->count = 0;
		each_entry(lists.names[i], is_new, seen);
	}
	free(seen);
}

/* A wildcard over what everybody can rent, or over a whole suffix, would let anybody past inspection. */
static void is_narrow(const char *name, unsigned line, const struct pattern_line *entry, void *context)
{
	static const char *const shared[] = {
		"akamai.net", "akamaiedge.net", "akamaihd.net", "akamaitechnologies.com", "amazonaws.com", "appspot.com",
		"azureedge.net", "azurewebsites.net", "blob.core.windows.net", "cloudapp.net", "cloudflare.com",
		"cloudfront.net", "docker.io", "edgesuite.net", "fastly.net", "google.com",
		"googleapis.com", "googleusercontent.com", "gstatic.com", "icloud.com", "jsdelivr.net", "live.com",
		"microsoft.com", "microsoftonline.com", "msecnd.net", "office.com", "outlook.com", "rackcdn.com",
		"sharepoint.com", "trafficmanager.net", "windows.net", "zdassets.com",
	};
	struct span text = text_of(entry), base;
	char string[PATTERN_TEXT_MAX];

	(void)context;
	if (entry->pattern.kind == PATTERN_NETWORK) {
		if (entry->pattern.network.prefix_len < (entry->pattern.network.base.family == AF_INET ? 16 : 32))
			fail_msg("%s:%u: %.*s is very large", name, line, SPAN_ARG(text));
		return;
	}
	if (entry->pattern.kind == PATTERN_EXACT)
		return;
	assert_int_not_equal(entry->pattern.kind, PATTERN_REGEX);
	base = span_skip(text, span_find(text, '.') + 1);
	snprintf(string, sizeof(string), "%.*s", SPAN_ARG(base));
	if (psl_is_public_suffix(psl_builtin(), string))
		fail_msg("%s:%u: %.*s is a public suffix", name, line, SPAN_ARG(text));
	for (size_t i = 0; i < COUNT_OF(shared); i++)
		if (span_equal(base, span_from(shared[i])))
			fail_msg("%s:%u: %.*s is everybody's", name, line, SPAN_ARG(text));
}

static void bypass_is_narrow(void **state)
{
	struct files lists;
	size_t count = 0;

	(void)state;
	assert_non_null(psl_builtin());
	files_find(PRESETS, ".list", &lists);
	for (size_t i = 0; i < lists.count; i++)
		if (is_bypass(lists.names[i])) {
			count++;
			each_entry(lists.names[i], is_narrow, NULL);
		}
	assert_true(count >= 9);
}

/* ---- together, by the code that decides ---- */

/* All bypass lists of a vendor in one policy. */
static void rig_of_vendor(struct policy_rig *rig, const struct files *lists, struct span vendor)
{
	struct buf text, rule;
	char *folder = realpath(PRESETS, NULL);
	size_t count = 0;

	assert_non_null(folder);
	buf_init(&text, 1 << 16);
	buf_init(&rule, 1 << 16);
	buf_add_string(&text, "lists:\n");
	for (size_t i = 0; i < lists->count; i++) {
		if (!is_bypass(lists->names[i]) || !span_equal(vendor_of(lists->names[i]), vendor))
			continue;
		buf_printf(&text, "  l%zu: %s/%s\n", count, folder, lists->names[i]);
		buf_printf(&rule, "%sl%zu", count ? ", " : "", count);
		count++;
	}
	assert_true(count > 0);
	buf_printf(&text, "rules: [{name: r, when: {to: [%.*s]}, then: {tls: bypass}}]\n", SPAN_ARG(buf_span(&rule)));
	policy_rig_init(rig);
	policy_rig_write(rig, "policy.yaml", buf_span(&text));
	policy_rig_compile(rig);
	assert_int_equal(rig->err, ERR_NONE);
	buf_fini(&text);
	buf_fini(&rule);
	free(folder);
}

static bool bypasses(const struct policy *policy, const char *host)
{
	struct policy_facts facts = policy_rig_facts(host, 443);
	struct policy_decision decision;

	policy_decide(policy, &facts, &decision);
	return decision.answers[POLICY_TLS].answer == TLS_BYPASS;
}

/* One name that the entry matches is a probe. */
static void is_not_bypassed(const char *name, unsigned line, const struct pattern_line *entry, void *context)
{
	const struct policy_rig *rig = context;
	struct span text = text_of(entry);
	char host[PATTERN_TEXT_MAX + 8];

	if (entry->pattern.kind == PATTERN_BELOW)
		snprintf(host, sizeof(host), "probe.%.*s", SPAN_ARG(span_skip(text, 2)));
	else
		snprintf(host, sizeof(host), "%.*s", SPAN_ARG(span_skip(text, entry->pattern.kind == PATTERN_SUFFIX)));
	if (bypasses(rig->policy, host))
		fail_msg("%s:%u: a bypass list of the same vendor matches %s", name, line, host);
}

/* Nor names that have to be inspected. */
static void names_of_others_are_not_bypassed(void **state)
{
	struct files lists;
	size_t count = 0;

	(void)state;
	files_find(PRESETS, ".list", &lists);
	for (size_t i = 0; i < lists.count; i++) {
		struct policy_rig rig;

		if (!is_of_others(lists.names[i]) && !has_word(lists.names[i], "-tenant-restrictions"))
			continue;
		count++;
		rig_of_vendor(&rig, &lists, vendor_of(lists.names[i]));
		each_entry(lists.names[i], is_not_bypassed, &rig);
		policy_rig_fini(&rig);
	}
	assert_true(count >= 7);
}

static void examples_compile(void **state)
{
	struct files examples, lists;
	bool used[FILES_MAX] = {false};

	(void)state;
	files_find(PRESETS, ".list", &lists);
	files_find(PRESETS "/examples", ".yaml", &examples);
	for (size_t i = 0; i < examples.count; i++) {
		struct problems problems;
		size_t image_bytes;
		char path[200];
		void *image = NULL;

		problems_init(&problems);
		snprintf(path, sizeof(path), PRESETS "/examples/%s", examples.names[i]);
		if (policy_compile(path, &problems, &image, &image_bytes))
			fail_msg("%s:%u: %s", examples.names[i], problems.first->line, problems.first->text);
		problems_fini(&problems);
		/* Which lists it uses, by their file names in it. */
		for (size_t j = 0; j < lists.count; j++) {
			char name[NAME_MAX_BYTES + 3], line[400];
			FILE *file = fopen(path, "r");

			snprintf(name, sizeof(name), "../%s", lists.names[j]);
			while (fgets(line, sizeof(line), file))
				used[j] = used[j] || strstr(line, name);
			fclose(file);
		}
		free(image);
	}
	for (size_t j = 0; j < lists.count; j++)
		if (!used[j] && !has_word(lists.names[j], "cisco-spark-"))
			fail_msg("%s is in no example", lists.names[j]);
}

/* The rule of a row "| `LIST` | .. | `{RULE}` |" with its list, as a person copies them. False: it is another line. */
static bool copy_rule(const char *row, struct buf *out)
{
	struct span line = span_from(row), name, rule;
	char *folder;

	if (!span_split(&line, '`', &name) || !span_equal(name, SPAN("| ")) || !span_split(&line, '`', &name))
		return false;
	line = span_skip(line, span_find_span(line, SPAN("`{")) + 1);
	if (!span_split(&line, '`', &rule))
		return false;
	folder = realpath(PRESETS, NULL);
	assert_non_null(folder);
	buf_reset(out);
	buf_printf(out, "lists: {%.*s: %s/%.*s.list}\nrules:\n  - %.*s\n"
	                "defaults: {access: deny, tls: bypass, auth: exempt}\n",
	           SPAN_ARG(name), folder, SPAN_ARG(name), SPAN_ARG(rule));
	free(folder);
	return true;
}

static void rules_to_copy_compile(void **state)
{
	FILE *file = fopen(PRESETS "/README.md", "r");
	struct files lists;
	size_t count = 0;
	struct buf text;
	char row[1000];

	(void)state;
	assert_non_null(file);
	buf_init(&text, 1 << 16);
	while (fgets(row, sizeof(row), file)) {
		struct policy_rig rig;

		if (!copy_rule(row, &text))
			continue;
		count++;
		policy_rig_init(&rig);
		policy_rig_write(&rig, "policy.yaml", buf_span(&text));
		policy_rig_compile(&rig);
		if (rig.err)
			fail_msg("%s: %s", row, rig.problems.first->text);
		policy_rig_fini(&rig);
	}
	fclose(file);
	buf_fini(&text);
	files_find(PRESETS, ".list", &lists);
	assert_int_equal(count, lists.count);
}

struct question {
	const char *host;
	uint16_t port;
	unsigned access, tls, class;
};

static void ask(const char *example, const struct question *questions, size_t count)
{
	struct policy_rig rig = {0};
	char path[200];

	problems_init(&rig.problems);
	snprintf(path, sizeof(path), PRESETS "/examples/%s", example);
	assert_int_equal(policy_compile(path, &rig.problems, &rig.image, &rig.image_bytes), ERR_NONE);
	assert_int_equal(policy_open(rig.image, rig.image_bytes, &rig.policy), ERR_NONE);
	for (size_t i = 0; i < count; i++) {
		struct policy_facts facts = policy_rig_facts(questions[i].host, questions[i].port);
		struct policy_decision decision;

		policy_decide(rig.policy, &facts, &decision);
		if (decision.answers[POLICY_ACCESS].answer != questions[i].access ||
		    decision.answers[POLICY_TLS].answer != questions[i].tls ||
		    decision.answers[POLICY_CLASS].answer != questions[i].class)
			fail_msg("%s: %s:%u: access %u, tls %u, class %u", example, questions[i].host, questions[i].port,
			         decision.answers[POLICY_ACCESS].answer, decision.answers[POLICY_TLS].answer,
			         decision.answers[POLICY_CLASS].answer);
	}
	policy_close(rig.policy);
	free(rig.image);
	problems_fini(&rig.problems);
}

/* In the examples `tls` is bypass by default, so that they are of use without inspection. */
static void webex_is_decided_as_cisco_asks(void **state)
{
	static const struct question questions[] = {
		{"amcs1.webex.com", 5004, ACCESS_ALLOW, TLS_BYPASS, CLASS_MEDIA},
		{"mcc7.webex.com", 443, ACCESS_ALLOW, TLS_BYPASS, CLASS_MEDIA},
		{"170.72.3.4", 5004, ACCESS_ALLOW, TLS_BYPASS, CLASS_MEDIA},
		{"170.72.3.4", 443, ACCESS_ALLOW, TLS_BYPASS, CLASS_MEDIA},
		{"170.72.3.4", 22, ACCESS_DENY, TLS_BYPASS, CLASS_NORMAL},
		{"2402:2500::1", 5004, ACCESS_ALLOW, TLS_BYPASS, CLASS_MEDIA},
		{"20.120.239.1", 443, ACCESS_ALLOW, TLS_BYPASS, CLASS_MEDIA},
		{"idbroker.webex.com", 443, ACCESS_ALLOW, TLS_BYPASS, CLASS_NORMAL},
		{"idbroker.webex.com", 5004, ACCESS_DENY, TLS_BYPASS, CLASS_NORMAL},
		{"api.giphy.com", 443, ACCESS_ALLOW, TLS_BYPASS, CLASS_NORMAL},
		{"a.cloudfront.net", 443, ACCESS_DENY, TLS_BYPASS, CLASS_NORMAL},
	};

	(void)state;
	ask("webex.yaml", questions, COUNT_OF(questions));
}

static void tenants_are_inspected(void **state)
{
	static const struct question questions[] = {
		{"login.microsoftonline.com", 443, ACCESS_ALLOW, TLS_INSPECT, CLASS_NORMAL},
		{"device.login.microsoftonline.com", 443, ACCESS_DENY, TLS_BYPASS, CLASS_NORMAL},
	};

	(void)state;
	ask("microsoft365-tenants.yaml", questions, COUNT_OF(questions));
}

/* The first field that requests to this host get; "" if they get none. */
static void check_field(const char *example, const char *host, const char *want)
{
	struct policy_facts facts = policy_rig_facts(host, 443);
	struct policy_header_edit edits[POLICY_HEADER_EDITS_MAX];
	struct policy_decision decision;
	struct policy_rig rig = {0};
	char path[200];
	size_t count;

	problems_init(&rig.problems);
	snprintf(path, sizeof(path), PRESETS "/examples/%s", example);
	assert_int_equal(policy_compile(path, &rig.problems, &rig.image, &rig.image_bytes), ERR_NONE);
	assert_int_equal(policy_open(rig.image, rig.image_bytes, &rig.policy), ERR_NONE);
	policy_decide(rig.policy, &facts, &decision);
	count = policy_header_edits(rig.policy, POLICY_REQUEST_HEADERS, &decision.answers[POLICY_REQUEST_HEADERS], edits);
	if (!span_equal(count ? edits[0].name : SPAN(""), span_from(want)) || (count && !edits[0].is_set))
		fail_msg("%s: %s: %.*s", example, host, count ? (int)edits[0].name.len : 0, count ? (const char *)edits[0].name.at : "");
	policy_close(rig.policy);
	free(rig.image);
	problems_fini(&rig.problems);
}

static void tenants_are_restricted_by_fields(void **state)
{
	(void)state;
	check_field("microsoft365-tenants.yaml", "login.microsoftonline.com", "Restrict-Access-To-Tenants");
	check_field("microsoft365-tenants.yaml", "login.windows.net", "Restrict-Access-To-Tenants");
	check_field("microsoft365-tenants.yaml", "login.live.com", "sec-Restrict-Tenant-Access-Policy");
	check_field("microsoft365-tenants.yaml", "device.login.microsoftonline.com", "");
	check_field("google-tenants.yaml", "mail.google.com", "X-GoogApps-Allowed-Domains");
	check_field("google-tenants.yaml", "google.com.example", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_entry_says_where_it_comes_from),
		cmocka_unit_test(no_entry_is_there_twice),
		cmocka_unit_test(bypass_is_narrow),
		cmocka_unit_test(names_of_others_are_not_bypassed),
		cmocka_unit_test(examples_compile),
		cmocka_unit_test(rules_to_copy_compile),
		cmocka_unit_test(webex_is_decided_as_cisco_asks),
		cmocka_unit_test(tenants_are_inspected),
		cmocka_unit_test(tenants_are_restricted_by_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
