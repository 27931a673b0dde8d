/* SPDX-License-Identifier: Apache-2.0 */
/* The ClientHello message. As strict as OpenSSL 3.0 where a hello that we read otherwise than it would be a way around
 * policy: framing, what may come once, SNI, ALPN, versions, algorithms, groups. What else OpenSSL checks is left to it. */
#include "base/cursor.h"
#include "tls/hello_name.h"
#include "tls/hello_private.h"

enum {
	RANDOM_BYTES = 32,
	SESSION_ID_MAX_BYTES = 32,
	COMPRESSION_NONE = 0,
	STATUS_TYPE_OCSP = 1,
	TLS_1_3 = 0x0304,
	ECDSA_SECP256R1_SHA256 = 0x0403,
	GROUP_SECP256R1 = 23,
	EXTENSION_ECH = 0xfe0d,
};

/* X(name, number on the wire, may it be in a ClientHello): the extensions that OpenSSL 3.0 knows, each of which it takes
 * but once. use_srtp is for DTLS alone there. */
#define EXTENSIONS(X) \
	X(SERVER_NAME, 0, true) X(MAX_FRAGMENT, 1, true) X(STATUS_REQUEST, 5, true) X(GROUPS, 10, true) \
	X(POINT_FORMATS, 11, true) X(SRP, 12, true) X(SIGNATURES, 13, true) X(USE_SRTP, 14, false) X(ALPN, 16, true) \
	X(SCT, 18, true) X(PADDING, 21, true) X(ENCRYPT_THEN_MAC, 22, true) X(EXTENDED_MASTER_SECRET, 23, true) \
	X(TICKET, 35, true) X(PSK, 41, true) X(EARLY_DATA, 42, true) X(VERSIONS, 43, true) X(COOKIE, 44, true) \
	X(PSK_MODES, 45, true) X(AUTHORITIES, 47, true) X(POST_HANDSHAKE_AUTH, 49, true) X(SIGNATURES_CERT, 50, true) \
	X(KEY_SHARE, 51, true) X(NEXT_PROTOCOL, 13172, true) X(CRYPTOPRO_BUG, 0xfde8, false) X(RENEGOTIATE, 0xff01, true)
#define EXTENSION_ENUM(name, number, allowed) EXTENSION_##name,
#define EXTENSION_ROW(name, number, allowed) {number, allowed},
enum extension { EXTENSIONS(EXTENSION_ENUM) EXTENSION_COUNT };
static const struct extension_row {
	uint16_t number;
	bool allowed;
} known[] = {EXTENSIONS(EXTENSION_ROW)};

/* Contents of the known ones; `at` is NULL where there is none. */
struct extensions {
	struct span of[EXTENSION_COUNT];
};

static bool has(const struct extensions *extensions, enum extension which)
{
	return extensions->of[which].at != NULL;
}

static void list_add(struct hello_list *list, uint16_t value)
{
	if (hello_is_grease(value))
		return;
	if (list->count < HELLO_LIST_MAX)
		list->at[list->count++] = value;
	list->total++;
}

/* Fill `list`; whether `wanted` is in it is looked for in all, also in those that are not kept. */
static bool read_list(struct span bytes, struct hello_list *list, uint16_t wanted)
{
	struct cursor cursor = cursor_over(bytes);
	bool found = false;

	while (cursor.rest.len >= 2) {
		uint16_t value = cursor_u16(&cursor);

		list_add(list, value);
		found = found || value == wanted;
	}
	return found;
}

/* All of `bytes` is a list with its length in `head` bytes before it. */
static bool unwrap(struct span bytes, size_t head, struct span *list)
{
	struct cursor cursor = cursor_over(bytes);
	size_t len = head == 1 ? cursor_u8(&cursor) : cursor_u16(&cursor);

	*list = cursor.rest;
	return !cursor.overrun && cursor.rest.len == len;
}

/* A list of 16-bit values, of which there must be one. */
static bool unwrap_values(struct span bytes, size_t head, struct span *values)
{
	return unwrap(bytes, head, values) && values->len && values->len % 2 == 0;
}

static const char *keep_extension(struct extensions *extensions, uint16_t number, struct span content, bool is_last)
{
	for (size_t i = 0; i < COUNT_OF(known); i++) {
		if (known[i].number != number)
			continue;
		if (!known[i].allowed)
			return "an extension that may not be in a ClientHello of TLS";
		if (extensions->of[i].at)
			return "an extension is there twice";
		if (i == EXTENSION_PSK && !is_last)
			return "pre_shared_key is not the last extension";
		extensions->of[i] = content;
		return NULL;
	}
	return NULL;
}

static const char *collect(struct hello *hello, struct extensions *extensions)
{
	struct cursor cursor = cursor_over(hello->extension_bytes);

	while (cursor.rest.len) {
		uint16_t number = cursor_u16(&cursor);
		struct span content = cursor_take(&cursor, cursor_u16(&cursor));
		const char *problem;

		if (cursor.overrun)
			return "an extension is longer than the ClientHello";
		problem = keep_extension(extensions, number, content, cursor.rest.len == 0);
		if (problem)
			return problem;
		list_add(&hello->extensions, number);
		hello->has_ech = hello->has_ech || number == EXTENSION_ECH;
	}
	return NULL;
}

/* RFC 6066 section 3. OpenSSL takes a list of one host_name and nothing else. */
static const char *read_server_name(struct hello *hello, struct span content)
{
	struct cursor cursor;
	struct span list, name;

	hello->has_sni_extension = true;
	if (!unwrap(content, 2, &list) || list.len == 0)
		return "server_name is no list";
	cursor = cursor_over(list);
	if (cursor_u8(&cursor) != 0)
		return "server_name of another type than host_name";
	name = cursor_take(&cursor, cursor_u16(&cursor));
	if (cursor.overrun)
		return "server_name is longer than its list";
	if (cursor.rest.len)
		return "more than one server_name";
	return hello_name(name, hello->name, &hello->sni);
}

/* RFC 7301 section 3.1. */
static const char *read_alpn(struct hello *hello, struct span content)
{
	struct span rest, name;

	if (!unwrap(content, 2, &hello->alpn) || hello->alpn.len < 2)
		return "the ALPN list is broken";
	rest = hello->alpn;
	while (rest.len)
		if (!hello_alpn_next(&rest, &name))
			return "the ALPN list is broken";
	return NULL;
}

static const char *read_versions(struct hello *hello, struct span content)
{
	struct span values;

	hello->best_version = 0;
	if (!unwrap_values(content, 1, &values))
		return "supported_versions is no list";
	hello->offers_tls_1_3 = read_list(values, &hello->versions, TLS_1_3);
	for (size_t i = 0; i < hello->versions.count; i++)
		if (hello->versions.at[i] > hello->best_version)
			hello->best_version = hello->versions.at[i];
	return NULL;
}

/* RFC 8446 section 4.2.8. Of no meaning below TLS 1.3. */
static const char *read_key_shares(struct hello *hello, struct span content)
{
	struct span list;
	struct cursor cursor;

	if (!hello->offers_tls_1_3)
		return NULL;
	if (!unwrap(content, 2, &list))
		return "key_share is no list";
	cursor = cursor_over(list);
	while (cursor.rest.len) {
		uint16_t group = cursor_u16(&cursor);
		struct span share = cursor_take(&cursor, cursor_u16(&cursor));

		if (cursor.overrun || share.len == 0)
			return "a key share is broken";
		list_add(&hello->key_shares, group);
	}
	return NULL;
}

/* Ciphers of TLS 1.2 and below that OpenSSL has at security level 2 for an ECDSA key. */
static bool is_ecdsa_cipher(uint16_t cipher)
{
	static const uint16_t ciphers[] = {0xc009, 0xc00a, 0xc023, 0xc024, 0xc02b, 0xc02c, 0xcca9};

	for (size_t i = 0; i < COUNT_OF(ciphers); i++)
		if (ciphers[i] == cipher)
			return true;
	return false;
}

static bool has_ecdsa_cipher(struct span ciphers)
{
	struct cursor cursor = cursor_over(ciphers);

	while (cursor.rest.len >= 2)
		if (is_ecdsa_cipher(cursor_u16(&cursor)))
			return true;
	return false;
}

/* Signature algorithms and groups, and what they allow. */
static const char *read_algorithms(struct hello *hello, const struct extensions *extensions)
{
	bool signature = false, certificate = true, group = true;
	struct span values;

	if (has(extensions, EXTENSION_SIGNATURES)) {
		if (!unwrap_values(extensions->of[EXTENSION_SIGNATURES], 2, &values))
			return "signature_algorithms is no list";
		hello->signature_bytes = values;
		signature = read_list(values, &hello->signatures, ECDSA_SECP256R1_SHA256);
	}
	hello->has_signatures_cert = has(extensions, EXTENSION_SIGNATURES_CERT);
	if (hello->has_signatures_cert) {
		struct hello_list unused = {.count = 0};

		if (!unwrap_values(extensions->of[EXTENSION_SIGNATURES_CERT], 2, &values))
			return "signature_algorithms_cert is no list";
		certificate = read_list(values, &unused, ECDSA_SECP256R1_SHA256);
	}
	if (has(extensions, EXTENSION_GROUPS)) {
		if (!unwrap_values(extensions->of[EXTENSION_GROUPS], 2, &values))
			return "supported_groups is no list";
		group = read_list(values, &hello->groups, GROUP_SECP256R1);
	}
	hello->takes_ecdsa = signature && certificate &&
	                     (hello->offers_tls_1_3 || (group && has_ecdsa_cipher(hello->cipher_bytes)));
	return NULL;
}

static const char *read_extensions(struct hello *hello)
{
	struct extensions extensions = {.of = {{NULL, 0}}};
	struct span status;
	const char *problem = collect(hello, &extensions);

	if (problem == NULL && has(&extensions, EXTENSION_VERSIONS))
		problem = read_versions(hello, extensions.of[EXTENSION_VERSIONS]);
	if (problem == NULL && has(&extensions, EXTENSION_SERVER_NAME))
		problem = read_server_name(hello, extensions.of[EXTENSION_SERVER_NAME]);
	if (problem == NULL && has(&extensions, EXTENSION_ALPN))
		problem = read_alpn(hello, extensions.of[EXTENSION_ALPN]);
	if (problem == NULL && has(&extensions, EXTENSION_KEY_SHARE))
		problem = read_key_shares(hello, extensions.of[EXTENSION_KEY_SHARE]);
	if (problem == NULL)
		problem = read_algorithms(hello, &extensions);
	status = extensions.of[EXTENSION_STATUS_REQUEST];
	hello->has_status_request = status.len && status.at[0] == STATUS_TYPE_OCSP;
	hello->has_early_data = has(&extensions, EXTENSION_EARLY_DATA);
	hello->has_psk = has(&extensions, EXTENSION_PSK);
	return problem;
}

const char *hello_parse(struct hello *hello)
{
	struct cursor cursor = cursor_over(span_skip(hello->message, 4));
	struct span session_id, compressions;

	hello->legacy_version = hello->best_version = cursor_u16(&cursor);
	cursor_take(&cursor, RANDOM_BYTES);
	session_id = cursor_take(&cursor, cursor_u8(&cursor));
	hello->cipher_bytes = cursor_take(&cursor, cursor_u16(&cursor));
	compressions = cursor_take(&cursor, cursor_u8(&cursor));
	if (cursor.overrun)
		return "the ClientHello is cut off";
	if (session_id.len > SESSION_ID_MAX_BYTES)
		return "the session id is too long";
	if (hello->cipher_bytes.len == 0 || hello->cipher_bytes.len % 2)
		return "the list of ciphers is broken";
	if (span_find(compressions, COMPRESSION_NONE) == compressions.len)
		return "a ClientHello that demands compression";
	if (cursor.rest.len && !unwrap(cursor.rest, 2, &hello->extension_bytes))
		return "the list of extensions does not end with the ClientHello";
	read_list(hello->cipher_bytes, &hello->ciphers, 0);
	return read_extensions(hello);
}
