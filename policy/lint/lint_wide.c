/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns one by one: those that match too much, those that match nothing, those that cost too much. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <libpsl.h>
#include <pcre2.h>
#include <string.h>
#include <time.h>

#include "policy/compile/index.h"
#include "policy/lint/lint.h"

enum { SUFFIX_LABELS_MAX = 5, SLOW_REGEXES_MAX = 8, NAME_BYTES_MAX = 253 };

/* Hosts of everybody's content that the list of public suffixes has not, or not as what they are. */
static const char *const cdns[] = {
	"akadns.net", "akamai.net", "akamaiedge.net", "akamaihd.net", "akamaitechnologies.com", "akamaized.net",
	"amazonaws.com", "azure.com", "azure.net", "azureedge.net", "azurefd.net", "azurewebsites.net", "b-cdn.net",
	"cdn77.org", "clouddrive.com", "cloudapp.net", "cloudflare.net", "cloudfront.net", "digitaloceanspaces.com",
	"edgecastcdn.net", "edgekey.net", "edgesuite.net", "fastly.net", "fastlylb.net", "footprint.net",
	"googleapis.com", "googleusercontent.com", "herokuapp.com", "hwcdn.net", "kxcdn.com", "limelight.com",
	"llnwd.net", "rackcdn.com", "s3.amazonaws.com", "stackpathcdn.com", "trafficmanager.net", "windows.net",
	"blob.core.windows.net", "storage.googleapis.com",
};

/* ---- too much ---- */

static bool is_cdn(struct span name)
{
	for (size_t i = 0; i < COUNT_OF(cdns); i++)
		if (span_equal(name, span_from(cdns[i])))
			return true;
	return false;
}

enum suffix { SUFFIX_NONE, SUFFIX_REGISTRY, SUFFIX_PRIVATE };

static enum suffix suffix_of(const psl_ctx_t *psl, struct span name)
{
	char text[NAME_BYTES_MAX + 2];
	size_t labels = 1;

	for (size_t i = 0; i < name.len; i++)
		labels += name.at[i] == '.';
	if (psl == NULL || name.len == 0 || name.len >= sizeof(text) || labels > SUFFIX_LABELS_MAX)
		return SUFFIX_NONE;
	memcpy(text, name.at, name.len);
	text[name.len] = 0;
	if (psl_is_public_suffix2(psl, text, PSL_TYPE_ICANN | PSL_TYPE_NO_STAR_RULE))
		return SUFFIX_REGISTRY;
	return psl_is_public_suffix2(psl, text, PSL_TYPE_PRIVATE | PSL_TYPE_NO_STAR_RULE) ? SUFFIX_PRIVATE : SUFFIX_NONE;
}

/* What allows everything anyway is not made wider by an entry; what bypasses or exempts is. */
static bool loosens_much(const struct lint *lint, const struct lint_list *list)
{
	return list->bypasses || (list->loosens && lint->build->defaults[POLICY_ACCESS] == ACCESS_DENY);
}

static void check_width(const struct lint *lint, const psl_ctx_t *psl, const struct build_entry *entry)
{
	const struct lint_list *list = &lint->lists[entry->list];
	struct span key = lint_entry_key(lint, entry);
	enum suffix suffix;

	if (!list->loosens || entry->kind == PATTERN_EXACT || entry->kind == PATTERN_NETWORK ||
	    entry->kind == PATTERN_REGEX)
		return;
	if (is_cdn(key)) {
		if (loosens_much(lint, list))
			LINT_ENTRY(lint, CDN_WIDE, entry, NULL,
			           "is wide: below %.*s there are hosts of many owners, and anybody can become one",
			           SPAN_ARG(key));
		return;
	}
	if (key.len == 0) {
		LINT_ENTRY(lint, PUBLIC_SUFFIX, entry, NULL, "%s",
		           "ends in a star: anybody can register a name that fits; write the last labels out");
		return;
	}
	suffix = suffix_of(psl, key);
	if (suffix == SUFFIX_REGISTRY || (suffix == SUFFIX_PRIVATE && loosens_much(lint, list)))
		LINT_ENTRY(lint, PUBLIC_SUFFIX, entry, NULL,
		           "is wide: %.*s is a public suffix, and anybody can get a name below it that fits", SPAN_ARG(key));
}

/* ---- nothing ---- */

static bool is_digit(uint8_t byte)
{
	return byte >= '0' && byte <= '9';
}

/* Digits, dots and stars: whoever writes that means addresses. */
static bool is_numeric(struct span glob)
{
	bool digits = false;

	for (size_t i = 0; i < glob.len; i++) {
		digits |= is_digit(glob.at[i]);
		if (!is_digit(glob.at[i]) && glob.at[i] != '.' && glob.at[i] != '*')
			return false;
	}
	return digits;
}

/* Anchored, and of digits, dots in disguise and counts of them alone: addresses, too. */
static bool is_numeric_regex(struct span regex)
{
	if (regex.len < 3 || regex.at[0] != '^' || regex.at[regex.len - 1] != '$' ||
	    span_find_span(regex, SPAN("\\.")) == regex.len)
		return false;
	for (size_t i = 1; i + 1 < regex.len; i++) {
		if (regex.at[i] == '\\') {
			i++;
			if (regex.at[i] != '.' && regex.at[i] != 'd')
				return false;
		} else if (regex.at[i] == '-') { /* "2-3" would be a label */
			if (!is_digit(regex.at[i - 1]) || !is_digit(regex.at[i + 1]))
				return false;
		} else if (memchr("0123456789{}[]+*?,", regex.at[i], 18) == NULL) {
			return false;
		}
	}
	return true;
}

static bool is_name_byte(uint32_t byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
	       byte == '-' || byte == '_' || byte == '.';
}

/* A byte that no name has, and without which nothing matches: a literal in no group, class or alternative, and with no
 * quantifier that could leave it out. What is not understood has none. */
static bool needs_other_byte(struct span regex)
{
	unsigned depth = 0;
	bool found = false;

	if (span_find(regex, '|') < regex.len || span_find(regex, '[') < regex.len ||
	    span_find_span(regex, SPAN("(?")) < regex.len || span_find_span(regex, SPAN("\\Q")) < regex.len ||
	    span_find_span(regex, SPAN("\\c")) < regex.len)
		return false;
	for (size_t i = 0; i < regex.len; i++) {
		uint8_t byte = regex.at[i], next;

		depth += byte == '(';
		depth -= byte == ')' && depth;
		if (byte == '\\' && ++i < regex.len)
			byte = is_name_byte(regex.at[i]) ? 'a' : regex.at[i];
		next = i + 1 < regex.len ? regex.at[i + 1] : 0;
		if (memchr("/:@ =&%;~!#", byte, 11) && next != '?' && next != '*' && next != '{' && depth == 0)
			found = true;
	}
	return found;
}

/* NULL, or why no name can match. */
static const char *why_regex_never(const pcre2_code *code, struct span regex)
{
	uint32_t type = 0, byte = 0, shortest = 0;

	if (pcre2_pattern_info(code, PCRE2_INFO_FIRSTCODETYPE, &type) == 0 && type == 1 &&
	    pcre2_pattern_info(code, PCRE2_INFO_FIRSTCODEUNIT, &byte) == 0 && !is_name_byte(byte))
		return "it begins with a byte that no name has";
	if (needs_other_byte(regex))
		return "it needs a byte that no name has; it is tried against the host alone, without https:// and path";
	if (pcre2_pattern_info(code, PCRE2_INFO_MINLENGTH, &shortest) == 0 && shortest > NAME_BYTES_MAX)
		return "it needs more bytes than a name has";
	if (span_ends_with(regex, SPAN("\\.$")) && !span_ends_with(regex, SPAN("\\\\.$")) &&
	    span_find(regex, '|') == regex.len)
		return "names are compared without a dot at their end";
	return NULL;
}

static void check_idle(const struct lint *lint, const struct build_entry *entry)
{
	const struct lint_list *list = &lint->lists[entry->list];
	struct span text = build_entry_text(lint->build, entry);

	if (entry->kind == PATTERN_GLOB && is_numeric(text))
		LINT_ENTRY(lint, ADDRESS_AS_NAME, entry, NULL, "%s",
		           "is tried against names alone; addresses are written as networks, such as 10.0.0.0/8");
	if (entry->kind == PATTERN_NETWORK && list->in_sni && !list->in_to)
		LINT_ENTRY(lint, NEVER_MATCHES, entry, NULL, "%s",
		           "never matches: its list is used in sni: alone, and an SNI is a name");
}

static void check_regex(const struct lint *lint, const struct build_entry *entry, const pcre2_code *code)
{
	struct span regex = pattern_regex(build_entry_text(lint->build, entry));
	const char *why = why_regex_never(code, regex);

	if (why)
		LINT_ENTRY(lint, NEVER_MATCHES, entry, NULL, "never matches: %s", why);
	else if (is_numeric_regex(regex))
		LINT_ENTRY(lint, ADDRESS_AS_NAME, entry, NULL, "%s",
		           "never matches: it is tried against names alone; addresses are written as networks, such as "
		           "10.0.0.0/8");
}

/* ---- expressions ---- */

/* Names of nobody in particular: what matches one of them matches what its author has not thought of. */
static bool matches_strangers(const pcre2_code *code, pcre2_match_data *data, pcre2_match_context *limits)
{
	static const char *const strangers[] = {"qzv-xw7.com", "www.qzv-xw7.co.uk", "a.b.qzv-xw7.net"};

	for (size_t i = 0; i < COUNT_OF(strangers); i++)
		if (pcre2_match(code, (PCRE2_SPTR)strangers[i], strlen(strangers[i]), 0, 0, data, limits) >= 0)
			return true;
	return false;
}

static bool is_slow(const struct lint *lint, const struct build_entry *entry)
{
	const struct literals_choice longest = {.counts = NULL};
	struct literals literals;

	literals_of_regex(pattern_regex(build_entry_text(lint->build, entry)), &longest, &literals);
	return literals.count == 0;
}

static void check_regexes(const struct lint *lint)
{
	const uint32_t *regexes = (const void *)lint->build->regexes.at;
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	pcre2_match_context *limits = pcre2_match_context_create(NULL);
	const struct build_entry *first_slow = NULL;
	size_t slow = 0;

	if (limits)
		pcre2_set_match_limit(limits, 10000);
	for (size_t i = 0; data && limits && i < lint->build->regexes.count; i++) {
		const struct build_entry *entry = regexes[i] == NONE ? NULL : &lint->entries[regexes[i]];

		if (entry == NULL)
			continue;
		check_regex(lint, entry, lint->build->codes[i]);
		if (loosens_much(lint, &lint->lists[entry->list]) &&
		    matches_strangers(lint->build->codes[i], data, limits))
			LINT_ENTRY(lint, WIDE_REGEX, entry, NULL, "matches names of %s, such as www.qzv-xw7.co.uk or qzv-xw7.com",
			           "strangers");
		if (is_slow(lint, entry) && slow++ == 0)
			first_slow = entry;
	}
	if (slow > SLOW_REGEXES_MAX)
		LINT_ENTRY(lint, SLOW_REGEX, first_slow, NULL,
		           "and %zu more regular expressions have no text of three bytes that must be in a name: every "
		           "name is tried against each of them", slow - 1);
	pcre2_match_data_free(data);
	pcre2_match_context_free(limits);
}

void lint_reference(struct buf *out)
{
	time_t then = psl_builtin() ? psl_builtin_file_time() : 0;
	struct tm tm;

	buf_add_string(out, "\nPublic suffixes, of which check knows\n    ");
	if (then && gmtime_r(&then, &tm))
		buf_printf(out, "those of %04d-%02d-%02d, in libpsl\n", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
	else
		buf_add_string(out, "none: this libpsl was built without its list\n");
}

void lint_wide(const struct lint *lint)
{
	const psl_ctx_t *psl = psl_builtin();

	for (size_t i = 0; i < lint->entry_count; i++) {
		check_width(lint, psl, &lint->entries[i]);
		check_idle(lint, &lint->entries[i]);
		lint_progress(lint, LINT_PASS_WIDE, i);
	}
	check_regexes(lint);
}
