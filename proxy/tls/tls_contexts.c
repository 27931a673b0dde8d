/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/tls_contexts.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "tls/origin_sessions.h"

#define CIPHERS_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CIPHERS_12 \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:" \
	"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

/* OpenSSL's macros cast const away. */
static char groups[] = "X25519:P-256:P-384";
static char signatures[] =
	"ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256:rsa_pkcs1_sha256:ecdsa_secp384r1_sha384:rsa_pss_rsae_sha384:"
	"rsa_pkcs1_sha384:rsa_pss_rsae_sha512:rsa_pkcs1_sha512:ed25519";

enum { KEY_NAME_BYTES = 16, AES_KEY_BYTES = 32, HMAC_KEY_BYTES = 32 };

struct ticket_key {
	uint64_t epoch;
	uint8_t name[KEY_NAME_BYTES], aes[AES_KEY_BYTES], hmac[HMAC_KEY_BYTES];
};

struct tls_contexts {
	SSL_CTX *client, *origin, *legacy;
	struct origin_sessions *sessions;
	struct ticket_seed seed;
	struct ticket_key current, previous; /* epoch 0: none */
	uint64_t ticket_ms, now_ms;
	EVP_CIPHER *cipher;
	char digest[16];
	void (*write_secrets)(void *context, struct span line);
	void *secrets_context;
};

/* What one SSL of an origin has with it. */
struct origin_extra {
	struct tls_contexts *contexts;
	struct tls_scope scope;
	SSL_SESSION *waiting[2];  /* came before the origin was verified */
	uint64_t until_ms;        /* 0: it was not */
	uint64_t resumed_until_ms;
	bool was_asked;           /* for a certificate */
};

static int context_index = -1, extra_index = -1, alpn_index = -1;

/* ---- keys for tickets ---- */

static void derive(const uint8_t secret[static TICKET_SEED_BYTES], const char *label, uint8_t *out, size_t len)
{
	uint8_t mac[EVP_MAX_MD_SIZE];
	size_t mac_len = 0;

	if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, secret, TICKET_SEED_BYTES, (const unsigned char *)label, strlen(label), mac,
	               sizeof(mac), &mac_len) ||
	    len > mac_len)
		abort(); /* there is no key to go on with */
	memcpy(out, mac, len);
	explicit_bzero(mac, sizeof(mac));
}

void ticket_seed_advance(struct ticket_seed *seed, uint64_t epoch)
{
	enum { STEPS_MAX = 10000 };
	uint8_t next[TICKET_SEED_BYTES];

	/* A clock that jumped: keys of so long ago are of no use, and those of all workers stay the same. */
	for (int i = 0; seed->epoch < epoch && i < STEPS_MAX; i++) {
		derive(seed->secret, "next", next, sizeof(next));
		memcpy(seed->secret, next, sizeof(next));
		seed->epoch++;
	}
	explicit_bzero(next, sizeof(next));
}

static struct ticket_key make_key(const struct ticket_seed *seed)
{
	struct ticket_key key = {.epoch = seed->epoch};

	derive(seed->secret, "name", key.name, sizeof(key.name));
	derive(seed->secret, "aes", key.aes, sizeof(key.aes));
	derive(seed->secret, "hmac", key.hmac, sizeof(key.hmac));
	return key;
}

static void turn_keys(struct tls_contexts *contexts)
{
	uint64_t epoch = contexts->now_ms / contexts->ticket_ms;

	if (contexts->current.epoch && contexts->current.epoch >= epoch)
		return;
	if (contexts->seed.epoch + 1 < epoch)
		ticket_seed_advance(&contexts->seed, epoch - 1);
	if (contexts->seed.epoch + 1 == epoch) {
		contexts->previous = make_key(&contexts->seed);
		ticket_seed_advance(&contexts->seed, epoch);
	}
	contexts->current = make_key(&contexts->seed);
}

static bool set_mac_key(EVP_MAC_CTX *mac, const struct tls_contexts *contexts, const struct ticket_key *key)
{
	union {
		const uint8_t *from;
		uint8_t *to;
	} cast = {.from = key->hmac};
	union {
		const char *from;
		char *to;
	} digest = {.from = contexts->digest};
	const OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, cast.to, sizeof(key->hmac)),
	                             OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.to, 0), OSSL_PARAM_construct_end()};

	return EVP_MAC_CTX_set_params(mac, params);
}

/* Results as OpenSSL wants them: 1 good, 2 good and to be renewed, 0 not known, -1 failed. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypts)
{
	struct tls_contexts *contexts = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index);
	const struct ticket_key *key = &contexts->current;

	if (encrypts) {
		memcpy(name, key->name, KEY_NAME_BYTES);
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(contexts->cipher)) != 1 ||
		    !EVP_EncryptInit_ex2(cipher, contexts->cipher, key->aes, iv, NULL) || !set_mac_key(mac, contexts, key))
			return -1;
		return 1;
	}
	if (memcmp(name, key->name, KEY_NAME_BYTES) != 0) {
		key = &contexts->previous;
		if (key->epoch == 0 || memcmp(name, key->name, KEY_NAME_BYTES) != 0)
			return 0;
	}
	if (!EVP_DecryptInit_ex2(cipher, contexts->cipher, key->aes, iv, NULL) || !set_mac_key(mac, contexts, key))
		return -1;
	/* Whoever uses each ticket of TLS 1.3 once, as it should, needs a new one. */
	return key == &contexts->current && SSL_version(ssl) < TLS1_3_VERSION ? 1 : 2;
}

/* ---- the client's leg ---- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *context)
{
	const struct span *chosen = SSL_get_ex_data(ssl, alpn_index);
	struct span rest = span_of(in, in_len);

	(void)context;
	if (chosen == NULL || chosen->len == 0)
		return SSL_TLSEXT_ERR_NOACK;
	while (rest.len > 1 && rest.at[0] < rest.len) {
		struct span name = span_of(rest.at + 1, rest.at[0]);

		if (span_equal(name, *chosen)) {
			*out = name.at;
			*out_len = (unsigned char)name.len;
			return SSL_TLSEXT_ERR_OK;
		}
		rest = span_skip(rest, name.len + 1);
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void on_secret(const SSL *ssl, const char *line)
{
	struct tls_contexts *contexts = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index);

	if (contexts->write_secrets)
		contexts->write_secrets(contexts->secrets_context, span_from(line));
}

static bool set_common(SSL_CTX *ctx, struct tls_contexts *contexts)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_ENABLE_PARTIAL_WRITE);
	return SSL_CTX_set_ex_data(ctx, context_index, contexts) && SSL_CTX_set_ciphersuites(ctx, CIPHERS_13) &&
	       SSL_CTX_set1_groups_list(ctx, groups) && SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION);
}

static bool make_client_side(struct tls_contexts *contexts)
{
	SSL_CTX *ctx = contexts->client = SSL_CTX_new(TLS_server_method());

	if (ctx == NULL || !set_common(ctx, contexts) || !SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ||
	    !SSL_CTX_set_cipher_list(ctx, CIPHERS_12) || !SSL_CTX_set_num_tickets(ctx, 1))
		return false;
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_ANTI_REPLAY);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	SSL_CTX_set_timeout(ctx, (long)(contexts->ticket_ms / 1000));
	return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}

struct tls_scope tls_scope_of(const struct span *parts, size_t count)
{
	struct tls_scope scope;
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	static EVP_MD *sha256;

	if (sha256 == NULL)
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (hash == NULL || sha256 == NULL || !EVP_DigestInit_ex2(hash, sha256, NULL))
		abort(); /* a scope that is not one would mix sessions */
	for (size_t i = 0; i < count; i++) {
		uint64_t len = parts[i].len;

		if (!EVP_DigestUpdate(hash, &len, sizeof(len)) || !EVP_DigestUpdate(hash, parts[i].at, parts[i].len))
			abort();
	}
	if (!EVP_DigestFinal_ex(hash, scope.bytes, NULL))
		abort();
	EVP_MD_CTX_free(hash);
	return scope;
}

SSL *tls_for_client(struct tls_contexts *contexts, struct leaf *leaf, const struct tls_scope *scope, const struct span *alpn,
                    uint64_t wall_ms)
{
	SSL *ssl = SSL_new(contexts->client);
	union {
		const struct span *from;
		void *to;
	} chosen = {.from = alpn};

	contexts->now_ms = wall_ms;
	turn_keys(contexts);
	if (ssl == NULL || !SSL_use_cert_and_key(ssl, leaf->certificate, leaf->key, leaf->chain, 1) ||
	    !SSL_set_session_id_context(ssl, scope->bytes, sizeof(scope->bytes)) || !SSL_set_ex_data(ssl, alpn_index, chosen.to)) {
		SSL_free(ssl);
		ERR_clear_error();
		return NULL;
	}
	SSL_set_accept_state(ssl);
	return ssl;
}

/* ---- the origin's leg ---- */

static struct origin_extra *extra_of(const SSL *ssl)
{
	return SSL_get_ex_data(ssl, extra_index);
}

static void free_extra(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long number, void *argument)
{
	struct origin_extra *extra = pointer;

	(void)parent;
	(void)data;
	(void)index;
	(void)number;
	(void)argument;
	if (extra == NULL)
		return;
	for (size_t i = 0; i < COUNT_OF(extra->waiting); i++)
		SSL_SESSION_free(extra->waiting[i]);
	free(extra);
}

/* All is verified when the handshake is done and everything is known (trust.h), before a byte of a request leaves. */
static int on_verify(X509_STORE_CTX *store, void *context)
{
	(void)store;
	(void)context;
	return 1;
}

static int on_certificate_wanted(SSL *ssl, X509 **certificate, EVP_PKEY **key)
{
	(void)certificate;
	(void)key;
	extra_of(ssl)->was_asked = true;
	return 0;
}

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
	struct origin_extra *extra = extra_of(ssl);

	if (extra->until_ms) {
		origin_sessions_put(extra->contexts->sessions, &extra->scope, session, extra->until_ms);
		return 1;
	}
	for (size_t i = 0; i < COUNT_OF(extra->waiting); i++) {
		if (extra->waiting[i] == NULL) {
			extra->waiting[i] = session;
			return 1;
		}
	}
	return 0;
}

static bool make_origin_side(struct tls_contexts *contexts, bool is_legacy, SSL_CTX **out)
{
	SSL_CTX *ctx = *out = SSL_CTX_new(TLS_client_method());

	if (ctx == NULL || !set_common(ctx, contexts))
		return false;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, on_verify, NULL);
	SSL_CTX_set_client_cert_cb(ctx, on_certificate_wanted);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_new_session);
	SSL_CTX_set_tlsext_status_type(ctx, TLSEXT_STATUSTYPE_ocsp);
	SSL_CTX_set_keylog_callback(ctx, contexts->write_secrets ? on_secret : NULL);
	if (is_legacy) {
		SSL_CTX_set_options(ctx, SSL_OP_LEGACY_SERVER_CONNECT);
		return SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION) && SSL_CTX_set_cipher_list(ctx, "DEFAULT:@SECLEVEL=0");
	}
	/* What is shown is looked at by trust.h, with the strengths that it wants. */
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) && SSL_CTX_set_cipher_list(ctx, CIPHERS_12 ":@SECLEVEL=2") &&
	       SSL_CTX_set1_sigalgs_list(ctx, signatures);
}

/* An old origin has one context for all of its kind, made when the first is met. */
static SSL_CTX *context_for(struct tls_contexts *contexts, const struct exception_conf *exception)
{
	bool is_old = exception && (exception->legacy || exception->least_version < TLS1_2_VERSION);

	if (!is_old)
		return contexts->origin;
	if (contexts->legacy == NULL && !make_origin_side(contexts, true, &contexts->legacy)) {
		SSL_CTX_free(contexts->legacy);
		contexts->legacy = NULL;
	}
	return contexts->legacy;
}

static bool set_up_origin(struct tls_contexts *contexts, SSL *ssl, struct span sni, struct span alpn,
                          const struct exception_conf *exception, const struct tls_scope *scope)
{
	struct origin_extra *extra = calloc(1, sizeof(*extra));
	SSL_SESSION *session;
	char name[256];

	if (extra == NULL || !SSL_set_ex_data(ssl, extra_index, extra)) {
		free(extra);
		return false;
	}
	extra->contexts = contexts;
	extra->scope = *scope;
	if (sni.len >= sizeof(name))
		return false;
	memcpy(name, sni.at, sni.len);
	name[sni.len] = '\0';
	if (sni.len && !SSL_set_tlsext_host_name(ssl, name))
		return false;
	if (alpn.len && SSL_set_alpn_protos(ssl, alpn.at, (unsigned)alpn.len))
		return false;
	if (exception && !SSL_set_min_proto_version(ssl, exception->least_version))
		return false;
	session = origin_sessions_take(contexts->sessions, scope, contexts->now_ms, &extra->resumed_until_ms);
	if (session) {
		SSL_set_session(ssl, session);
		SSL_SESSION_free(session);
	}
	return true;
}

SSL *tls_for_origin(struct tls_contexts *contexts, struct span sni, struct span alpn, const struct exception_conf *exception,
                    const struct tls_scope *scope, uint64_t wall_ms)
{
	SSL_CTX *ctx = context_for(contexts, exception);
	SSL *ssl = ctx ? SSL_new(ctx) : NULL;

	contexts->now_ms = wall_ms;
	if (ssl && !set_up_origin(contexts, ssl, sni, alpn, exception, scope)) {
		SSL_free(ssl);
		ssl = NULL;
	}
	ERR_clear_error();
	if (ssl)
		SSL_set_connect_state(ssl);
	return ssl;
}

void tls_keep_sessions(SSL *ssl, uint64_t until_ms)
{
	struct origin_extra *extra = extra_of(ssl);

	extra->until_ms = until_ms;
	for (size_t i = 0; i < COUNT_OF(extra->waiting); i++) {
		if (extra->waiting[i] && until_ms)
			origin_sessions_put(extra->contexts->sessions, &extra->scope, extra->waiting[i], until_ms);
		else
			SSL_SESSION_free(extra->waiting[i]);
		extra->waiting[i] = NULL;
	}
}

uint64_t tls_session_until(const SSL *ssl)
{
	return extra_of(ssl)->resumed_until_ms;
}

bool tls_was_asked_for_certificate(const SSL *ssl)
{
	return extra_of(ssl)->was_asked;
}

/* ---- all ---- */

static bool init_library(void)
{
	/* No file is read, also not one that the environment names. */
	if (!OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL))
		return false;
	if (context_index < 0)
		context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	if (extra_index < 0)
		extra_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_extra);
	if (alpn_index < 0)
		alpn_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return context_index >= 0 && extra_index >= 0 && alpn_index >= 0;
}

enum err tls_contexts_new(const struct inspection_conf *conf, const struct ticket_seed *seed, uint64_t wall_ms,
                          struct tls_contexts **out)
{
	struct tls_contexts *contexts = calloc(1, sizeof(*contexts));

	if (contexts == NULL)
		return ERR_MEMORY;
	contexts->seed = *seed;
	contexts->ticket_ms = conf->ticket_ms;
	contexts->now_ms = wall_ms;
	memcpy(contexts->digest, "SHA256", sizeof("SHA256"));
	if (init_library())
		contexts->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	if (contexts->cipher == NULL || origin_sessions_new((size_t)conf->session_count, &contexts->sessions) ||
	    !make_client_side(contexts) || !make_origin_side(contexts, false, &contexts->origin)) {
		tls_contexts_free(contexts);
		ERR_clear_error();
		return ERR_MEMORY;
	}
	turn_keys(contexts);
	*out = contexts;
	return ERR_NONE;
}

void tls_contexts_free(struct tls_contexts *contexts)
{
	if (contexts == NULL)
		return;
	SSL_CTX_free(contexts->client);
	SSL_CTX_free(contexts->origin);
	SSL_CTX_free(contexts->legacy);
	EVP_CIPHER_free(contexts->cipher);
	origin_sessions_free(contexts->sessions);
	explicit_bzero(contexts, sizeof(*contexts));
	free(contexts);
}

void tls_contexts_use(struct tls_contexts *contexts, const struct inspection_conf *conf)
{
	origin_sessions_clear(contexts->sessions, (size_t)conf->session_count);
}

void tls_contexts_set_secrets(struct tls_contexts *contexts, void (*write)(void *context, struct span line), void *context)
{
	contexts->write_secrets = write;
	contexts->secrets_context = context;
	SSL_CTX_set_keylog_callback(contexts->client, write ? on_secret : NULL);
	SSL_CTX_set_keylog_callback(contexts->origin, write ? on_secret : NULL);
	if (contexts->legacy)
		SSL_CTX_set_keylog_callback(contexts->legacy, write ? on_secret : NULL);
}
