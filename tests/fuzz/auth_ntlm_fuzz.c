/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the messages of NTLM; and any bytes as name and password of our client, whom our acceptor then takes. */
#include <string.h>

#include "auth/scheme/ntlm.h"
#include "base/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW UINT64_C(134000000000000000)
enum { SKEW_MS = 300000, MAX_BYTES = 1 << 16 };

static const struct ntlm_names names = {{(const uint8_t *)"LAB", 3}, {(const uint8_t *)"PROXY", 5},
                                        {NULL, 0}, {NULL, 0}};
static const uint8_t challenge[NTLM_CHALLENGE_BYTES];
static uint8_t hash[NTLM_HASH_BYTES];

static void init(void)
{
	static bool done;
	const char *why = "";

	if (done)
		return;
	ASSERT(ntlm_init(&why) && ntlm_hash(SPAN("pw"), hash));
	done = true;
}

static void verify(const struct ask *ask, struct span password)
{
	struct answer answer;
	uint8_t own[NTLM_HASH_BYTES];

	answer_init(&answer);
	ASSERT(ntlm_hash(password, own));
	if (ntlm_verify_local(ask, own, SKEW_MS, &answer) == VERDICT_VALID)
		ASSERT(buf_len(&answer.why) == 0 && answer.mechanism >= AUTH_MECHANISM_NTLM &&
		       (ask->allow_v1 || answer.mechanism == AUTH_MECHANISM_NTLM) &&
		       (!ask->require_mech_list_mic || buf_len(&answer.token) == NTLM_MIC_BYTES));
	else
		ASSERT(answer.verdict == VERDICT_INVALID && buf_len(&answer.why) && answer.mechanism == AUTH_MECHANISM_NONE);
	answer_fini(&answer);
	/* As winbind would: the key is of no use without its MIC. */
	answer_init(&answer);
	ASSERT(ntlm_verify_known_key(ask, false, own, &answer) == answer.verdict);
	answer_fini(&answer);
}

static void read_names(struct span authenticate)
{
	struct buf texts[3];
	const char *why = NULL;
	bool well;

	for (size_t i = 0; i < COUNT_OF(texts); i++)
		buf_init(&texts[i], MAX_BYTES);
	well = ntlm_who(authenticate, &texts[0], &texts[1], &texts[2], &why);
	ASSERT(well || why);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		for (size_t at = 0; well && at < buf_len(&texts[i]); at++)
			ASSERT(texts[i].at[at] >= 0x20 && texts[i].at[at] != 0x7f);
		buf_fini(&texts[i]);
	}
}

/* Lengths before the pieces, as the roles write them; a second message of no length is ours. */
static void take_messages(struct cursor cursor, uint8_t flags)
{
	struct ask ask = {.kind = ASK_NTLM, .allow_v1 = flags & 1, .require_mic = flags & 2,
	                  .require_mech_list_mic = flags & 4};
	struct ntlm_negotiate negotiate;
	struct ntlm_responses responses;
	const char *why = NULL;
	struct buf own;
	bool is_v1;

	buf_init(&own, MAX_BYTES);
	ask.negotiate = cursor_take(&cursor, cursor_u16(&cursor));
	ask.challenge = cursor_take(&cursor, cursor_u16(&cursor));
	ask.authenticate = cursor_take(&cursor, cursor_u16(&cursor));
	ask.mech_types = cursor_take(&cursor, cursor_u16(&cursor));
	ask.mech_list_mic = cursor.rest;
	if (ntlm_parse_negotiate(ask.negotiate, &negotiate, &why) && ask.challenge.len == 0) {
		ntlm_write_challenge(&negotiate, challenge, &names, NOW, &own);
		ASSERT(buf_is_whole(&own));
		ask.challenge = buf_span(&own);
	}
	read_names(ask.authenticate);
	why = NULL;
	ASSERT(ntlm_check_form(&ask, SKEW_MS, &is_v1, &why) || why);
	if (ntlm_responses(&ask, &responses, &why))
		ASSERT(responses.lm.len + responses.nt.len <= 2 * ask.authenticate.len);
	verify(&ask, SPAN("pw"));
	buf_fini(&own);
}

static void be_client(struct cursor cursor, uint8_t flags)
{
	struct ntlm_client client = {.mic = flags & 2, .v1 = flags & 1, .session = flags & 4};
	struct buf messages[3];
	struct ntlm_negotiate negotiate;
	struct answer answer;
	uint8_t key[NTLM_HASH_BYTES], own[NTLM_HASH_BYTES];
	const char *why;

	client.user = cursor_take(&cursor, cursor_u8(&cursor));
	client.domain = cursor_take(&cursor, cursor_u8(&cursor));
	client.target = cursor_take(&cursor, cursor_u8(&cursor));
	client.password = client.v1 ? SPAN("pw") : cursor.rest; /* libntlm has strings of Latin-1 */
	for (size_t i = 0; i < COUNT_OF(messages); i++)
		buf_init(&messages[i], MAX_BYTES);
	ntlm_client_negotiate(&messages[0]);
	ASSERT(ntlm_parse_negotiate(buf_span(&messages[0]), &negotiate, &why));
	ntlm_write_challenge(&negotiate, challenge, &names, NOW, &messages[1]);
	ASSERT(ntlm_client_authenticate(&client, buf_span(&messages[0]), buf_span(&messages[1]), &messages[2], key));
	struct ask ask = {.kind = ASK_NTLM, .negotiate = buf_span(&messages[0]), .challenge = buf_span(&messages[1]),
	                  .authenticate = buf_span(&messages[2]), .allow_v1 = true};

	answer_init(&answer);
	ASSERT(ntlm_hash(client.password, own));
	/* Names may be none that is allowed; the rest is right. */
	if (ntlm_verify_local(&ask, own, SKEW_MS, &answer) != VERDICT_VALID)
		ASSERT(client.user.len == 0 ||
		       span_equal(buf_span(&answer.why), SPAN("a name in the third message of NTLM is no text")));
	answer_fini(&answer);
	for (size_t i = 0; i < COUNT_OF(messages); i++)
		buf_fini(&messages[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor cursor = cursor_over(span_of(data, size));
	uint8_t flags;

	init();
	if (size > MAX_BYTES / 2)
		return 0;
	flags = cursor_u8(&cursor);
	if (flags & 0x80)
		be_client(cursor, flags);
	else
		take_messages(cursor, flags);
	return 0;
}
