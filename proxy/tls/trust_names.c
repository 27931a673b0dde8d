/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "tls/trust_private.h"

/* Our hosts are canonical; certificates and patterns are written by people. */
enum { HOST_FLAGS = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT };

static void parse_pattern(const char *text, struct pattern *out)
{
	struct span rest = span_from(text);

	if (rest.len > 2 && rest.at[0] == '[' && rest.at[rest.len - 1] == ']')
		rest = span_of(rest.at + 1, rest.len - 2);
	if (address_parse(rest, &out->address)) {
		out->kind = PATTERN_ADDRESS;
		return;
	}
	out->kind = PATTERN_NAME;
	if (span_starts_with(rest, SPAN("*."))) {
		out->kind = PATTERN_BELOW;
		rest = span_skip(rest, 2);
	} else if (span_starts_with(rest, SPAN("."))) {
		out->kind = PATTERN_NAME_AND_BELOW;
		rest = span_skip(rest, 1);
	}
	if (rest.len && rest.at[rest.len - 1] == '.')
		rest.len--;
	out->name = rest;
}

enum err trust_patterns_new(const struct inspection_conf *conf, struct pattern **out, size_t *count)
{
	const struct exception_conf *exceptions = conf->exceptions.at;
	size_t total = 0, at = 0;

	for (size_t i = 0; i < conf->exceptions.count; i++)
		total += exceptions[i].to.count;
	*out = calloc(total + 1, sizeof(**out));
	if (*out == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < conf->exceptions.count; i++)
		for (size_t j = 0; j < exceptions[i].to.count; j++) {
			(*out)[at].exception = (unsigned)i + 1;
			parse_pattern(exceptions[i].to.at[j], &(*out)[at++]);
		}
	*count = total;
	return ERR_NONE;
}

/* Is it below the name, at any depth? */
static bool is_below(struct span host, struct span name)
{
	size_t cut;

	if (name.len == 0 || host.len < name.len + 2)
		return false;
	cut = host.len - name.len;
	return host.at[cut - 1] == '.' && span_equal_nocase(span_skip(host, cut), name);
}

static bool matches(const struct pattern *pattern, struct span host, const struct address *address)
{
	switch (pattern->kind) {
	case PATTERN_ADDRESS:
		return address && address_equal(&pattern->address, address);
	case PATTERN_NAME:
		return !address && span_equal_nocase(host, pattern->name);
	case PATTERN_BELOW:
		return !address && is_below(host, pattern->name);
	case PATTERN_NAME_AND_BELOW:
		return !address && (span_equal_nocase(host, pattern->name) || is_below(host, pattern->name));
	}
	return false;
}

unsigned trust_patterns_find(const struct pattern *patterns, size_t count, struct span host)
{
	struct address address;
	bool is_address;

	if (count == 0)
		return 0;
	is_address = address_parse(host, &address);
	for (size_t i = 0; i < count; i++)
		if (matches(&patterns[i], host, is_address ? &address : NULL))
			return patterns[i].exception;
	return 0;
}

bool trust_covers(X509 *certificate, struct span host, const struct address *address)
{
	bool covers;

	ERR_set_mark();
	if (address && address->family)
		covers = X509_check_ip(certificate, address->bytes, address->family == AF_INET ? 4 : 16, 0) == 1;
	else /* a name that begins with a dot would stand for all below it */
		covers = host.len && host.at[0] != '.' && memchr(host.at, 0, host.len) == NULL &&
		         X509_check_host(certificate, (const char *)host.at, host.len, HOST_FLAGS, NULL) == 1;
	ERR_pop_to_mark();
	return covers;
}
