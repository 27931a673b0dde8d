/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a token of SPNEGO; what is found lies within it, and comes out again when it is written. */
#include "auth/scheme/spnego.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_within(struct span piece, struct span whole)
{
	ASSERT(piece.len == 0 || (piece.at >= whole.at && piece.at + piece.len <= whole.at + whole.len));
}

static void check_init(struct span token)
{
	struct spnego_init init;
	const char *why = NULL;

	if (!spnego_parse_init(token, &init, &why)) {
		ASSERT(why);
		return;
	}
	ASSERT(spnego_kind(token) == SPNEGO_KIND_INIT && init.mech_types.len);
	check_within(init.mech_types, token);
	check_within(init.token, token);
	check_within(init.mech_list_mic, token);
	ASSERT(init.has_krb5 || init.first != SPNEGO_KRB5);
	ASSERT(init.has_ntlm || init.first != SPNEGO_NTLM);
}

static void check_response(struct span token)
{
	struct spnego_response response, again;
	struct spnego_reply reply;
	const char *why = NULL;
	struct buf out;

	if (!spnego_parse_response(token, &response, &why)) {
		ASSERT(why);
		return;
	}
	ASSERT(spnego_kind(token) == SPNEGO_KIND_RESPONSE);
	check_within(response.token, token);
	check_within(response.mech_list_mic, token);
	reply = (struct spnego_reply){response.state, response.mech, response.token, response.mech_list_mic};
	buf_init(&out, token.len + 1024);
	spnego_write_response(&reply, &out);
	if (buf_is_whole(&out)) {
		ASSERT(spnego_parse_response(buf_span(&out), &again, &why));
		ASSERT(again.has_state && again.state == response.state && again.mech == response.mech);
		ASSERT(span_equal(again.token, response.token) && span_equal(again.mech_list_mic, response.mech_list_mic));
	} else {
		ASSERT(token.len > 60000);
	}
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span token = span_of(data, size);

	check_init(token);
	check_response(token);
	ASSERT(spnego_kind(token) <= SPNEGO_KIND_RESPONSE);
	return 0;
}
