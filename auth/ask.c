/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/ask.h"

#include <string.h>

#include "base/cursor.h"

enum { WHY_MAX_BYTES = 500, USER_MAX_BYTES = 1024, GROUPS_MAX_BYTES = 50000 };

void answer_init(struct answer *answer)
{
	*answer = (struct answer){.verdict = VERDICT_INVALID};
	buf_init(&answer->why, WHY_MAX_BYTES);
	buf_init(&answer->user, USER_MAX_BYTES);
	buf_init(&answer->groups, GROUPS_MAX_BYTES);
	buf_init(&answer->token, ANSWER_WIRE_MAX_BYTES);
}

void answer_fini(struct answer *answer)
{
	buf_fini(&answer->why);
	buf_fini(&answer->user);
	buf_fini(&answer->groups);
	buf_fini(&answer->token);
	explicit_bzero(answer->ha1, sizeof(answer->ha1));
}

enum ask_verdict answer_say(struct answer *answer, enum ask_verdict verdict, const char *format, ...)
{
	va_list args;

	answer->verdict = verdict;
	buf_reset(&answer->why);
	va_start(args, format);
	buf_vprintf(&answer->why, format, args);
	va_end(args);
	return verdict;
}

/* ---- as bytes: integers big-endian, as base/cursor.h reads them; texts with their length before them ---- */

static void add_number(struct buf *out, uint64_t number, size_t bytes)
{
	while (bytes--)
		buf_add_byte(out, (uint8_t)(number >> (8 * bytes)));
}

static void add_text(struct buf *out, struct span text)
{
	if (text.len > UINT16_MAX) {
		out->overflow = true;
		return;
	}
	add_number(out, text.len, 2);
	buf_add(out, text);
}

static struct span read_text(struct cursor *cursor)
{
	return cursor_take(cursor, cursor_u16(cursor));
}

enum { FLAG_SESSION = 1, FLAG_USERHASH = 2, FLAG_ALLOW_V1 = 4, FLAG_MIC = 8, FLAG_LIST_MIC = 16, FLAG_ALL = 31 };

static unsigned flags_of(const struct ask *ask)
{
	return (ask->is_session ? FLAG_SESSION : 0u) | (ask->is_userhash ? FLAG_USERHASH : 0u) |
	       (ask->allow_v1 ? FLAG_ALLOW_V1 : 0u) | (ask->require_mic ? FLAG_MIC : 0u) |
	       (ask->require_mech_list_mic ? FLAG_LIST_MIC : 0u);
}

/* The texts of a question, in the order in which they travel. */
static size_t texts_of(struct ask *ask, struct span *texts[static 16])
{
	struct span *const all[] = {&ask->user, &ask->password, &ask->realm, &ask->nonce, &ask->cnonce, &ask->nc,
	                            &ask->method, &ask->uri, &ask->negotiate, &ask->challenge, &ask->authenticate,
	                            &ask->mech_types, &ask->mech_list_mic, &ask->token};

	memcpy(texts, all, sizeof(all));
	return COUNT_OF(all);
}

void ask_write(const struct ask *ask, struct buf *out)
{
	struct ask copy = *ask;
	struct span *texts[16];
	size_t count = texts_of(&copy, texts);

	buf_add_byte(out, (uint8_t)ask->kind);
	buf_add_byte(out, (uint8_t)flags_of(ask));
	buf_add_byte(out, (uint8_t)ask->algorithm);
	add_number(out, ask->context, 8);
	buf_add(out, span_of(&ask->client, sizeof(ask->client)));
	buf_add(out, span_of(ask->response, sizeof(ask->response)));
	for (size_t i = 0; i < count; i++)
		add_text(out, *texts[i]);
}

static bool is_valid(const struct ask *ask)
{
	switch (ask->kind) {
	case ASK_PASSWORD:
		return ask->user.len && ask->password.len;
	case ASK_DIGEST:
		return ask->user.len && ask->algorithm < DIGEST_ALGORITHM_COUNT;
	case ASK_NTLM:
		return ask->negotiate.len && ask->challenge.len && ask->authenticate.len &&
		       ask->negotiate.len <= ASK_NTLM_MAX_BYTES && ask->challenge.len <= ASK_NTLM_MAX_BYTES &&
		       ask->authenticate.len <= ASK_NTLM_MAX_BYTES;
	case ASK_GSS:
		return ask->token.len && ask->token.len <= ASK_TOKEN_MAX_BYTES;
	case ASK_KIND_COUNT:
	default:
		return false;
	}
}

bool ask_read(struct span bytes, struct ask *ask)
{
	struct cursor cursor = cursor_over(bytes);
	struct span *texts[16], client, response;
	uint8_t kind = cursor_u8(&cursor), flags = cursor_u8(&cursor), algorithm = cursor_u8(&cursor);
	size_t count;

	if (kind >= ASK_KIND_COUNT || algorithm >= DIGEST_ALGORITHM_COUNT || flags > FLAG_ALL)
		return false;
	*ask = (struct ask){.kind = (enum ask_kind)kind,
	                    .algorithm = (enum digest_algorithm)algorithm,
	                    .is_session = flags & FLAG_SESSION,
	                    .is_userhash = flags & FLAG_USERHASH,
	                    .allow_v1 = flags & FLAG_ALLOW_V1,
	                    .require_mic = flags & FLAG_MIC,
	                    .require_mech_list_mic = flags & FLAG_LIST_MIC,
	                    .context = cursor_u64(&cursor)};
	client = cursor_take(&cursor, sizeof(ask->client));
	response = cursor_take(&cursor, sizeof(ask->response));
	if (cursor.overrun)
		return false;
	memcpy(&ask->client, client.at, client.len);
	memcpy(ask->response, response.at, response.len);
	count = texts_of(ask, texts);
	for (size_t i = 0; i < count; i++)
		*texts[i] = read_text(&cursor);
	return !cursor.overrun && cursor.rest.len == 0 && is_valid(ask);
}

void answer_write(const struct answer *answer, struct buf *out)
{
	buf_add_byte(out, (uint8_t)answer->verdict);
	buf_add_byte(out, (uint8_t)answer->mechanism);
	buf_add_byte(out, answer->has_ha1);
	add_number(out, answer->context, 8);
	buf_add(out, span_of(answer->ha1, sizeof(answer->ha1)));
	add_text(out, buf_span(&answer->why));
	add_text(out, buf_span(&answer->user));
	add_text(out, buf_span(&answer->groups));
	add_text(out, buf_span(&answer->token));
}

bool answer_read(struct span bytes, struct answer *answer)
{
	struct cursor cursor = cursor_over(bytes);
	struct buf *const texts[] = {&answer->why, &answer->user, &answer->groups, &answer->token};
	uint8_t verdict = cursor_u8(&cursor), mechanism = cursor_u8(&cursor), has_ha1 = cursor_u8(&cursor);
	struct span ha1;

	if (verdict >= VERDICT_COUNT || mechanism > AUTH_MECHANISM_NTLM_V1 || has_ha1 > 1)
		return false;
	answer->verdict = (enum ask_verdict)verdict;
	answer->mechanism = (enum auth_mechanism)mechanism;
	answer->has_ha1 = has_ha1;
	answer->context = cursor_u64(&cursor);
	ha1 = cursor_take(&cursor, sizeof(answer->ha1));
	if (cursor.overrun)
		return false;
	memcpy(answer->ha1, ha1.at, ha1.len);
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		buf_add(texts[i], read_text(&cursor));
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		if (!buf_is_whole(texts[i]))
			return false;
	return !cursor.overrun && cursor.rest.len == 0 &&
	       (answer->verdict != VERDICT_VALID || buf_len(&answer->user));
}
