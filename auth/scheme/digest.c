/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/scheme/digest.h"

#include "auth/fold.h"
#include "auth/scheme/digest_params.h"
#include "auth/scheme/digest_proof.h"

/* X(name, on the wire, most bytes, 1: it must be there) */
#define PARAMS(X) \
	X(USERNAME, "username", DIGEST_USER_MAX_BYTES, 0) \
	X(USERNAME_EXTENDED, "username*", 3 * DIGEST_USER_MAX_BYTES, 0) \
	X(REALM, "realm", DIGEST_REALM_MAX_BYTES, 1) \
	X(NONCE, "nonce", DIGEST_NONCE_MAX_BYTES, 1) \
	X(URI, "uri", DIGEST_URI_MAX_BYTES, 1) \
	X(RESPONSE, "response", 2 * DIGEST_MAX_BYTES, 1) \
	X(ALGORITHM, "algorithm", 32, 0) \
	X(CNONCE, "cnonce", DIGEST_NONCE_MAX_BYTES, 1) \
	X(OPAQUE, "opaque", 1024, 0) \
	X(QOP, "qop", 32, 1) \
	X(NC, "nc", 32, 1) \
	X(USERHASH, "userhash", 32, 0)

#define PARAM_ENUM(name, wire, most, needed) PARAM_##name,
enum { PARAMS(PARAM_ENUM) PARAM_COUNT };
#undef PARAM_ENUM

struct param_row {
	struct span wire;
	const char *twice, *missing, *too_long;
	size_t max_bytes;
	bool is_needed;
};

#define PARAM_ROW(name, wire, most, needed) \
	{{(const uint8_t *)wire, sizeof(wire) - 1}, wire " is there twice", wire " is missing or empty", wire " is too long", most, needed},
static const struct param_row rows[PARAM_COUNT] = {PARAMS(PARAM_ROW)};
#undef PARAM_ROW

struct parsing {
	struct span values[PARAM_COUNT]; /* `at` is NULL where there is none */
	struct digest_answer *out;
};

static const struct {
	const char *name;
	enum digest_algorithm algorithm;
	bool is_session;
} algorithms[] = {
	{"MD5", DIGEST_MD5, false},
	{"MD5-sess", DIGEST_MD5, true},
	{"SHA-256", DIGEST_SHA256, false},
	{"SHA-256-sess", DIGEST_SHA256, true},
};

const char *digest_algorithm_name(enum digest_algorithm algorithm, bool is_session)
{
	for (size_t i = 0; i < COUNT_OF(algorithms); i++)
		if (algorithms[i].algorithm == algorithm && algorithms[i].is_session == is_session)
			return algorithms[i].name;
	return "";
}

/* ---- the list ---- */

/* Room for everything at once, when the first value needs it: decoding makes nothing longer, and what was given out
 * must not move. */
static bool make_room(struct digest_answer *out)
{
	return out->text.at || buf_reserve(&out->text, out->text.max_bytes);
}

static const char *take_param(struct parsing *parsing, const struct digest_param *param)
{
	struct span value;
	size_t i = 0;

	while (i < PARAM_COUNT && !span_equal_nocase(param->name, rows[i].wire))
		i++;
	if (i == PARAM_COUNT)
		return NULL;
	if (parsing->values[i].at)
		return rows[i].twice;
	if (param->has_escapes && !make_room(parsing->out))
		return "no memory";
	value = digest_param_value(param, &parsing->out->text);
	if (value.len > rows[i].max_bytes)
		return rows[i].too_long;
	parsing->values[i] = value.len ? value : SPAN("");
	return NULL;
}

static const char *take_params(struct parsing *parsing, struct span rest)
{
	enum digest_param_step step;
	struct digest_param param;
	const char *why = NULL;

	while ((step = digest_param_next(&rest, &param)) == DIGEST_PARAM_ONE) {
		why = take_param(parsing, &param);
		if (why)
			return why;
	}
	if (step == DIGEST_PARAM_BROKEN)
		return "the credentials are no list of parameters";
	for (size_t i = 0; i < PARAM_COUNT; i++)
		if (rows[i].is_needed && parsing->values[i].len == 0)
			return rows[i].missing;
	return NULL;
}

/* ---- single values ---- */

static int hex_digit(uint8_t byte)
{
	uint8_t lower = span_lower(byte);

	if (byte >= '0' && byte <= '9')
		return byte - '0';
	return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool is_hex(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (hex_digit(text.at[i]) < 0)
			return false;
	return true;
}

static const char *take_algorithm(struct parsing *parsing)
{
	struct span name = parsing->values[PARAM_ALGORITHM];
	struct ask *ask = &parsing->out->ask;

	if (name.at == NULL)
		name = SPAN("MD5");
	for (size_t i = 0; i < COUNT_OF(algorithms); i++) {
		if (span_equal_nocase(name, span_from(algorithms[i].name))) {
			ask->algorithm = algorithms[i].algorithm;
			ask->is_session = algorithms[i].is_session;
			return NULL;
		}
	}
	return "the algorithm is not known";
}

static const char *take_response(struct parsing *parsing)
{
	struct span text = parsing->values[PARAM_RESPONSE];
	struct ask *ask = &parsing->out->ask;

	if (text.len != 2 * digest_bytes(ask->algorithm) || !is_hex(text))
		return "the response is not as many hexadecimal digits as its algorithm makes";
	for (size_t i = 0; i < text.len / 2; i++)
		ask->response[i] = (uint8_t)(hex_digit(text.at[2 * i]) << 4 | hex_digit(text.at[2 * i + 1]));
	return NULL;
}

static const char *take_count(struct parsing *parsing)
{
	struct span text = parsing->values[PARAM_NC];

	if (text.len != 8 || !is_hex(text))
		return "nc is not eight hexadecimal digits";
	for (size_t i = 0; i < text.len; i++)
		parsing->out->count = parsing->out->count << 4 | (uint32_t)hex_digit(text.at[i]);
	parsing->out->ask.nc = text;
	return NULL;
}

static const char *take_userhash(struct parsing *parsing)
{
	struct span text = parsing->values[PARAM_USERHASH];

	if (text.at == NULL || span_equal_nocase(text, SPAN("false")))
		return NULL;
	if (!span_equal_nocase(text, SPAN("true")))
		return "userhash is neither true nor false";
	parsing->out->ask.is_userhash = true;
	return NULL;
}

/* ---- the user ---- */

/* UTF-8''J%C3%A4s%C3%B8n (RFC 8187 section 3.2); the language between the quotes says nothing here. */
static bool decode_extended(struct span text, struct digest_answer *out)
{
	size_t quote, len = 0;
	uint8_t *at;

	if (!span_equal_nocase(span_first(text, 6), SPAN("UTF-8'")))
		return false;
	text = span_skip(text, 6);
	quote = span_find(text, '\'');
	if (quote == text.len)
		return false;
	text = span_skip(text, quote + 1);
	at = make_room(out) ? buf_reserve(&out->text, text.len + 1) : NULL;
	if (at == NULL)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		at[len] = text.at[i];
		if (text.at[i] == '%') {
			if (text.len - i < 3 || !is_hex(span_of(text.at + i + 1, 2)))
				return false;
			at[len] = (uint8_t)(hex_digit(text.at[i + 1]) << 4 | hex_digit(text.at[i + 2]));
			i += 2;
		}
		len++;
	}
	buf_advance(&out->text, len);
	out->ask.user = span_of(at, len);
	return true;
}

static const char *check_user(struct span user)
{
	if (user.len == 0)
		return "the user is empty";
	if (user.len > DIGEST_USER_MAX_BYTES)
		return "the user is too long";
	while (user.len) {
		uint32_t character = fold_next(&user);

		if (character == UINT32_MAX)
			return "the user is not UTF-8";
		if (character < 0x20 || (character >= 0x7f && character < 0xa0))
			return "there is a control character in the user";
	}
	return NULL;
}

static const char *take_user(struct parsing *parsing)
{
	struct span plain = parsing->values[PARAM_USERNAME], extended = parsing->values[PARAM_USERNAME_EXTENDED];
	struct ask *ask = &parsing->out->ask;

	if (plain.at && extended.at)
		return "username and username* are both there";
	if (plain.at == NULL && extended.at == NULL)
		return "username is missing";
	if (extended.at && ask->is_userhash)
		return "username* cannot be a userhash";
	ask->user = plain;
	if (extended.at && !decode_extended(extended, parsing->out))
		return "username* is not UTF-8'' and percent escapes";
	if (ask->is_userhash && (plain.len != 2 * digest_bytes(ask->algorithm) || !is_hex(plain)))
		return "the userhash is not as many hexadecimal digits as its algorithm makes";
	return check_user(ask->user);
}

static const char *take_values(struct parsing *parsing)
{
	struct ask *ask = &parsing->out->ask;
	const char *why;

	if (!span_equal_nocase(parsing->values[PARAM_QOP], SPAN("auth")))
		return "qop is not auth";
	why = take_algorithm(parsing);
	if (why == NULL)
		why = take_response(parsing);
	if (why == NULL)
		why = take_count(parsing);
	if (why == NULL)
		why = take_userhash(parsing);
	if (why == NULL)
		why = take_user(parsing);
	ask->realm = parsing->values[PARAM_REALM];
	ask->nonce = parsing->values[PARAM_NONCE];
	ask->cnonce = parsing->values[PARAM_CNONCE];
	ask->uri = parsing->values[PARAM_URI];
	if (parsing->values[PARAM_OPAQUE].at)
		parsing->out->opaque = parsing->values[PARAM_OPAQUE];
	return why;
}

bool digest_parse(struct span credentials, struct digest_answer *out, const char **why)
{
	struct parsing parsing = {.out = out};
	const struct span none = SPAN("");

	*out = (struct digest_answer){.opaque = none};
	out->ask = (struct ask){.kind = ASK_DIGEST, .user = none, .password = none, .realm = none, .nonce = none,
	                        .cnonce = none, .nc = none, .method = none, .uri = none, .negotiate = none,
	                        .challenge = none, .authenticate = none, .mech_types = none, .mech_list_mic = none,
	                        .token = none};
	buf_init(&out->text, credentials.len + 1);
	*why = NULL;
	if (credentials.len == 0)
		*why = "there are no credentials behind the scheme";
	else if (credentials.len > DIGEST_CREDENTIALS_MAX_BYTES)
		*why = "the credentials are longer than any are";
	else
		*why = take_params(&parsing, credentials);
	if (*why == NULL)
		*why = take_values(&parsing);
	return *why == NULL;
}

void digest_answer_fini(struct digest_answer *answer)
{
	buf_fini(&answer->text);
}
