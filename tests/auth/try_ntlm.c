/* SPDX-License-Identifier: Apache-2.0 */
/* Modes of backend_try for NTLM through winbind. */
#include <stdio.h>
#include <string.h>

#include "auth/backend/gss.h"
#include "auth/backend/winbind.h"
#include "auth/fold.h"
#include "auth/scheme/ntlm.h"
#include "base/clock.h"
#include "base/secret.h"
#include "try.h"

enum { NAMES = 4, NAME_MAX_BYTES = 255, SKEW_MS = 300000 };

/* MechTypeList: Kerberos, then NTLM. */
static const uint8_t mech_types[] = {0x30, 0x17, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02,
                                     0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a};

/* What the last arguments ask for. */
struct wishes {
	bool mic, v1, allow_v1, require_mic, list_mic, require_list_mic, wrong_mic, wrong_list_mic, wrong_computer;
};

static struct wishes take_wishes(int count, char **args)
{
	struct wishes wishes = {0};
	const struct {
		const char *name;
		bool *at;
	} known[] = {
		{"mic", &wishes.mic},
		{"v1", &wishes.v1},
		{"allow-v1", &wishes.allow_v1},
		{"require-mic", &wishes.require_mic},
		{"list-mic", &wishes.list_mic},
		{"require-list-mic", &wishes.require_list_mic},
		{"wrong-mic", &wishes.wrong_mic},
		{"wrong-list-mic", &wishes.wrong_list_mic},
		{"wrong-computer", &wishes.wrong_computer},
	};

	for (int i = 0; i < count; i++) {
		size_t at = 0;

		while (at < COUNT_OF(known) && strcmp(known[at].name, args[i]))
			at++;
		if (at == COUNT_OF(known))
			try_die(args[i]);
		*known[at].at = true;
	}
	return wishes;
}

static uint64_t filetime_now(void)
{
	return (clock_wall_ms() + UINT64_C(11644473600000)) * 10000;
}

/* Our second message, with the names that winbind gives. */
static void write_challenge(const struct wishes *wishes, struct span negotiate, struct buf *out)
{
	uint8_t challenge[NTLM_CHALLENGE_BYTES];
	struct ntlm_negotiate parsed;
	struct buf names[NAMES];
	const char *why;

	for (size_t i = 0; i < NAMES; i++)
		buf_init(&names[i], NAME_MAX_BYTES);
	if (!winbind_names(names, &why) || !ntlm_parse_negotiate(negotiate, &parsed, &why))
		try_die(why);
	secret_random(challenge, sizeof(challenge));
	ntlm_write_challenge(&parsed, challenge,
	                     &(struct ntlm_names){buf_span(&names[0]),
	                                          wishes->wrong_computer ? SPAN("SOMEBODY") : buf_span(&names[1]),
	                                          buf_span(&names[2]), buf_span(&names[3])},
	                     filetime_now(), out);
	for (size_t i = 0; i < NAMES; i++)
		buf_fini(&names[i]);
}

static void check_server_mic(struct span authenticate, const uint8_t key[static NTLM_HASH_BYTES], struct span got)
{
	uint8_t expected[NTLM_MIC_BYTES];

	if (!ntlm_list_mic(ntlm_flags(authenticate), key, false, span_of(mech_types, sizeof(mech_types)), expected) ||
	    !span_equal(got, span_of(expected, sizeof(expected))))
		try_die("the acceptor's MIC of the list is wrong");
}

static void verify(const struct wishes *wishes, struct span messages[static 3], const uint8_t key[static NTLM_HASH_BYTES])
{
	struct auth_conf conf = {.ntlm = {.backend = NTLM_BACKEND_WINBIND, .skew_ms = SKEW_MS}};
	struct backend_env env = {.conf = &conf, .pam_fd = -1, .generation = 1};
	struct ask ask = {.kind = ASK_NTLM,
	                  .negotiate = messages[0],
	                  .challenge = messages[1],
	                  .authenticate = messages[2],
	                  .allow_v1 = wishes->allow_v1,
	                  .require_mic = wishes->require_mic,
	                  .require_mech_list_mic = wishes->require_list_mic};
	void *thread = backend_winbind.open();
	uint8_t mic[NTLM_MIC_BYTES];
	struct answer answer;

	if (wishes->list_mic || wishes->require_list_mic)
		ask.mech_types = span_of(mech_types, sizeof(mech_types));
	if (wishes->list_mic) {
		if (!ntlm_list_mic(ntlm_flags(messages[2]), key, true, ask.mech_types, mic))
			try_die("no MIC");
		mic[8] ^= wishes->wrong_list_mic;
		ask.mech_list_mic = span_of(mic, sizeof(mic));
	}
	answer_init(&answer);
	if (backend_winbind.verify(thread, &env, &ask, &answer) == VERDICT_VALID && wishes->list_mic)
		check_server_mic(messages[2], key, buf_span(&answer.token));
	try_print(&answer, 1);
	answer_fini(&answer);
	backend_winbind.close(thread);
	gss_backend_fini();
}

int try_ntlm(int count, char **args)
{
	struct buf negotiate, challenge, authenticate;
	struct ntlm_client client = {.workstation = SPAN("DESK"), .target = SPAN("HTTP/proxy.ad.test")};
	uint8_t key[NTLM_HASH_BYTES];
	struct wishes wishes;
	const char *why;

	if (count < 3)
		return 2;
	fold_init();
	if (!ntlm_init(&why))
		try_die(why);
	wishes = take_wishes(count - 3, args + 3);
	client.domain = span_from(args[0]);
	client.user = span_from(args[1]);
	client.password = span_from(args[2]);
	client.mic = wishes.mic;
	client.v1 = wishes.v1;
	buf_init(&negotiate, ASK_NTLM_MAX_BYTES);
	buf_init(&challenge, ASK_NTLM_MAX_BYTES);
	buf_init(&authenticate, ASK_NTLM_MAX_BYTES);
	ntlm_client_negotiate(&negotiate);
	write_challenge(&wishes, buf_span(&negotiate), &challenge);
	if (!ntlm_client_authenticate(&client, buf_span(&negotiate), buf_span(&challenge), &authenticate, key))
		try_die("no third message");
	if (wishes.wrong_mic)
		authenticate.at[authenticate.start + 75] ^= 1;
	verify(&wishes, (struct span[]){buf_span(&negotiate), buf_span(&challenge), buf_span(&authenticate)}, key);
	buf_fini(&negotiate);
	buf_fini(&challenge);
	buf_fini(&authenticate);
	return 0;
}

int try_names(int count, char **args)
{
	struct buf names[NAMES];
	const char *why = "";
	bool well;

	(void)args;
	if (count)
		return 2;
	fold_init();
	for (size_t i = 0; i < NAMES; i++)
		buf_init(&names[i], NAME_MAX_BYTES);
	well = winbind_names(names, &why);
	for (size_t i = 0; well && i < NAMES; i++)
		printf("%.*s\n", SPAN_ARG(buf_span(&names[i])));
	if (!well)
		printf("%s\n", why);
	for (size_t i = 0; i < NAMES; i++)
		buf_fini(&names[i]);
	return 0;
}
