/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/scheme/digest_client.h"

#include <stdio.h>
#include <string.h>

#include "auth/scheme/base64.h"
#include "auth/scheme/digest.h"
#include "auth/scheme/digest_params.h"
#include "auth/scheme/digest_proof.h"
#include "base/secret.h"

enum { CNONCE_RANDOM_BYTES = 18 };

struct challenge {
	struct span realm, nonce, opaque, algorithm, qop; /* `at` is NULL where there is none */
	struct buf text;
};

static bool read_challenge(struct span text, struct challenge *out)
{
	const struct {
		const char *name;
		struct span *at;
	} known[] = {
		{"realm", &out->realm}, {"nonce", &out->nonce}, {"opaque", &out->opaque},
		{"algorithm", &out->algorithm}, {"qop", &out->qop},
	};
	enum digest_param_step step;
	struct digest_param param;

	*out = (struct challenge){.realm = {NULL, 0}};
	buf_init(&out->text, text.len + 1);
	if (buf_reserve(&out->text, text.len + 1) == NULL)
		return false;
	while ((step = digest_param_next(&text, &param)) == DIGEST_PARAM_ONE)
		for (size_t i = 0; i < COUNT_OF(known); i++)
			if (span_equal_nocase(param.name, span_from(known[i].name)))
				*known[i].at = digest_param_value(&param, &out->text);
	return step == DIGEST_PARAM_END;
}

static bool offers_auth(struct span qop)
{
	struct span one;

	while (span_split(&qop, ',', &one))
		if (span_equal_nocase(span_trim(one), SPAN("auth")))
			return true;
	return false;
}

static bool take_algorithm(struct span name, struct ask *ask)
{
	if (name.at == NULL)
		name = SPAN("MD5");
	for (unsigned i = 0; i < 2u * DIGEST_ALGORITHM_COUNT; i++) {
		ask->algorithm = (enum digest_algorithm)(i / 2);
		ask->is_session = i % 2;
		if (span_equal_nocase(name, span_from(digest_algorithm_name(ask->algorithm, ask->is_session))))
			return true;
	}
	return false;
}

static void add_hex(struct span bytes, struct buf *out)
{
	for (size_t i = 0; i < bytes.len; i++)
		buf_printf(out, "%02x", bytes.at[i]);
}

static void write_answer(const struct ask *ask, const struct challenge *challenge,
                         const uint8_t response[static DIGEST_MAX_BYTES], struct buf *out)
{
	buf_add_string(out, ask->is_userhash ? "Digest userhash=true, username=" : "Digest username=");
	digest_param_quote(ask->user, out);
	buf_add_string(out, ", realm=");
	digest_param_quote(ask->realm, out);
	buf_add_string(out, ", uri=");
	digest_param_quote(ask->uri, out);
	buf_printf(out, ", algorithm=%s, nonce=", digest_algorithm_name(ask->algorithm, ask->is_session));
	digest_param_quote(ask->nonce, out);
	buf_printf(out, ", nc=%.*s, cnonce=", SPAN_ARG(ask->nc));
	digest_param_quote(ask->cnonce, out);
	buf_add_string(out, ", qop=auth, response=\"");
	add_hex(span_of(response, digest_bytes(ask->algorithm)), out);
	buf_add_byte(out, '"');
	if (challenge->opaque.at) {
		buf_add_string(out, ", opaque=");
		digest_param_quote(challenge->opaque, out);
	}
}

/* The response, and the user's hash where one is wanted (`user` holds it). */
static bool prove(const struct digest_client *client, struct ask *ask, struct buf *user,
                  uint8_t response[static DIGEST_MAX_BYTES])
{
	uint8_t ha1[DIGEST_MAX_BYTES], hash[DIGEST_MAX_BYTES];
	bool well = digest_ha1(ask->algorithm, ask->user, ask->realm, client->password, ha1) &&
	            digest_proof(ask->algorithm, ask->is_session, ha1, ask->nonce, ask->nc, ask->cnonce, ask->method,
	                         ask->uri, response) &&
	            digest_userhash(ask->algorithm, ask->user, ask->realm, hash);

	explicit_bzero(ha1, sizeof(ha1));
	if (well && ask->is_userhash) {
		add_hex(span_of(hash, digest_bytes(ask->algorithm)), user);
		ask->user = buf_span(user);
	}
	return well;
}

static const char *answer(const struct challenge *challenge, const struct digest_client *client, struct buf *out)
{
	uint8_t random[CNONCE_RANDOM_BYTES], cnonce[BASE64_URL_LEN(CNONCE_RANDOM_BYTES)], response[DIGEST_MAX_BYTES];
	char nc[9];
	struct ask ask = {.kind = ASK_DIGEST, .is_userhash = client->wants_userhash, .user = client->user,
	                  .realm = challenge->realm, .nonce = challenge->nonce, .cnonce = client->cnonce,
	                  .nc = span_of(nc, 8), .method = client->method, .uri = client->uri};
	struct buf user;
	bool well;

	if (challenge->realm.at == NULL || challenge->nonce.at == NULL)
		return "the challenge has no realm or no nonce";
	if (!offers_auth(challenge->qop))
		return "the challenge does not offer qop auth";
	if (!take_algorithm(challenge->algorithm, &ask))
		return "the algorithm is not known";
	(void)snprintf(nc, sizeof(nc), "%08x", (unsigned)client->count);
	secret_random(random, sizeof(random));
	base64_url_encode(span_of(random, sizeof(random)), cnonce);
	if (ask.cnonce.len == 0)
		ask.cnonce = span_of(cnonce, sizeof(cnonce));
	buf_init(&user, 2 * DIGEST_MAX_BYTES);
	well = prove(client, &ask, &user, response);
	if (well)
		write_answer(&ask, challenge, response, out);
	buf_fini(&user);
	if (!well)
		return "OpenSSL cannot make the digest";
	return buf_is_whole(out) ? NULL : "the answer is too long";
}

bool digest_client_answer(struct span challenge, const struct digest_client *client, struct buf *out, const char **why)
{
	struct challenge parsed;
	size_t space = span_find(challenge, ' ');

	*why = NULL;
	if (!span_equal_nocase(span_first(challenge, space), SPAN("Digest"))) {
		*why = "this is no challenge of Digest";
		return false;
	}
	if (!read_challenge(span_skip(challenge, space), &parsed))
		*why = "the challenge is no list of parameters";
	else
		*why = answer(&parsed, client, out);
	buf_fini(&parsed.text);
	return *why == NULL;
}
