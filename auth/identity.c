/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/identity.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name, *wire;
} scheme_rows[AUTH_SCHEME_COUNT] = {
#define SCHEME_ROW(id, key, wire) [AUTH_##id] = {key, wire},
	AUTH_SCHEMES(SCHEME_ROW)
#undef SCHEME_ROW
};

const char *auth_scheme_name(enum auth_scheme scheme)
{
	return scheme < AUTH_SCHEME_COUNT ? scheme_rows[scheme].name : "";
}

const char *auth_scheme_wire(enum auth_scheme scheme)
{
	return scheme < AUTH_SCHEME_COUNT ? scheme_rows[scheme].wire : "";
}

const char *auth_mechanism_name(enum auth_mechanism mechanism)
{
	static const char *const names[] = {[AUTH_MECHANISM_NONE] = "",
	                                    [AUTH_MECHANISM_KERBEROS] = "kerberos",
	                                    [AUTH_MECHANISM_NTLM] = "ntlm",
	                                    [AUTH_MECHANISM_NTLM_V1] = "ntlm-v1"};

	return (unsigned)mechanism < COUNT_OF(names) ? names[mechanism] : "";
}

static size_t count_groups(struct span groups)
{
	size_t count = 0;
	struct span name;

	while (groups.len && count < IDENTITY_GROUPS_MAX && span_split(&groups, 0, &name))
		count += name.len > 0;
	return count;
}

/* One block: the struct, the spans of its groups, and all texts. */
struct identity *identity_new(enum auth_scheme scheme, enum auth_mechanism mechanism, struct span user,
                              struct span groups)
{
	size_t count = count_groups(groups), spans_bytes = count * sizeof(struct span);
	struct identity *identity;
	struct span name;
	uint8_t *text;

	if (user.len + groups.len > IDENTITY_TEXT_MAX_BYTES)
		return NULL;
	identity = calloc(1, sizeof(*identity) + spans_bytes + user.len + groups.len + 1);
	if (identity == NULL)
		return NULL;
	identity->references = 1;
	identity->scheme = scheme;
	identity->mechanism = mechanism;
	identity->groups = (struct span *)(void *)(identity + 1);
	text = (uint8_t *)identity->groups + spans_bytes;
	if (user.len)
		memcpy(text, user.at, user.len);
	identity->user = span_of(text, user.len);
	text += user.len;
	while (identity->group_count < count && span_split(&groups, 0, &name)) {
		if (name.len == 0)
			continue;
		memcpy(text, name.at, name.len);
		identity->groups[identity->group_count++] = span_of(text, name.len);
		text += name.len;
	}
	return identity;
}

struct identity *identity_ref(struct identity *identity)
{
	identity->references++;
	return identity;
}

void identity_unref(struct identity *identity)
{
	if (identity && --identity->references == 0)
		free(identity);
}
