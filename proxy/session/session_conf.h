/* SPDX-License-Identifier: Apache-2.0 */
/* The options of sessions: limits, timeouts, forwarding, access log. Types here, rows in
 * session_conf.c. */
#ifndef SESSION_SESSION_CONF_H
#define SESSION_SESSION_CONF_H

#include "conf/conf.h"
#include "net/net_conf.h"

/* limits: */
struct limits_conf {
	uint64_t sessions;             /* in all workers together */
	uint64_t sessions_per_client;  /* by address; 0: no limit */
	uint64_t rate_per_client;      /* bytes per second, each direction; 0: no limit */
	uint64_t rate_per_user;        /* the same */
	uint64_t rate_burst_ms;        /* of every rate limit: so much time may come at once */
	uint64_t head_bytes;           /* request and response heads */
	uint64_t session_bytes;        /* memory of one session, without the bytes in flight */
	uint64_t buffer_bytes;         /* bytes in flight per direction */
	uint64_t kernel_buffer_bytes;  /* of each socket and direction; 0: as the system does */
	uint64_t drain_bytes;          /* of a request body that nobody wants, to keep a connection */
	uint64_t origin_idle_count;    /* idle origin connections kept, per worker */
};

/* timeouts: */
struct timeouts_conf {
	uint64_t head_ms;        /* for a complete request head, from its first byte */
	uint64_t keep_alive_ms;  /* client connection idle between exchanges */
	uint64_t auth_ms;        /* for the verifier's answer */
	uint64_t dns_ms;
	uint64_t connect_ms;     /* all attempts together */
	uint64_t hello_ms;       /* for the client's ClientHello */
	uint64_t tls_ms;         /* for each TLS handshake */
	uint64_t response_ms;    /* for the head of a response */
	uint64_t exchange_idle_ms; /* nothing moves inside an exchange */
	uint64_t tunnel_idle_ms;
	uint64_t half_close_ms;
	uint64_t reply_ms;       /* to write a reply of our own */
	uint64_t origin_keep_alive_ms; /* idle origin connection */
	uint64_t drain_ms;       /* SIGTERM: sessions may end by themselves so long */
};

enum forwarded_choice { FORWARDED_OFF, FORWARDED_ON };

/* forwarding: */
struct forwarding_conf {
	const char *via;         /* our pseudonym in Via (RFC 9110 section 7.6.3); "" is the default "sallyport" */
	int forwarded;           /* RFC 7239 Forwarded: enum forwarded_choice */
};

enum access_format { ACCESS_JSON, ACCESS_SQUID, ACCESS_TEMPLATE };

/* X(name, as templates write it): what a line can say. */
#define ACCESS_FIELDS(X) \
	X(TS, "ts") X(EVENT, "event") X(ID, "id") X(LISTENER, "listener") X(CLIENT, "client") \
	X(USER, "user") X(SCHEME, "scheme") X(METHOD, "method") X(TARGET, "target") X(HOST, "host") X(PORT, "port") \
	X(SNI, "sni") X(ORIGIN, "origin") X(CLASS, "class") X(ACCESS, "access") X(RULE, "rule") \
	X(PLACE, "place") X(STATUS, "status") X(CONTENT_TYPE, "content_type") X(ERROR, "error") X(WHY, "why") X(REASON, "reason") \
	X(ADDRESS, "address") X(ENDED_BY, "ended_by") X(HOW, "how") X(BYTES_UP, "bytes_up") \
	X(BYTES_DOWN, "bytes_down") X(DURATION_MS, "duration_ms") X(AUTH_MS, "auth_ms") X(DNS_MS, "dns_ms") \
	X(CONNECT_MS, "connect_ms") X(TLS_ORIGIN_MS, "tls_origin_ms") X(TLS_CLIENT_MS, "tls_client_ms") \
	X(TLS, "tls") X(JA4, "ja4") X(VERIFY, "verify") X(EVIDENCE, "evidence") \
	X(FIRST_BYTE_MS, "first_byte_ms") X(MEDIA_PACKETS, "media_packets") X(MEDIA_STALLS, "media_stalls") \
	X(MEDIA_LONGEST_GAP_MS, "media_longest_gap_ms") X(WAITED_MS, "waited_ms") X(POLICY, "policy")

#define ACCESS_FIELD_ENUM(name, key) ACCESS_FIELD_##name,
enum access_field { ACCESS_FIELDS(ACCESS_FIELD_ENUM) ACCESS_FIELD_COUNT };
#undef ACCESS_FIELD_ENUM

/* Cut the next piece off a template: *text, and the %{field} behind it. *key is its name as written (at == NULL:
 * none is behind the text), *field ACCESS_FIELD_COUNT if there is none of that name. False at the end. */
bool session_conf_template_next(struct span *rest, struct span *text, struct span *key,
                                enum access_field *field);

/* log.access: */
struct access_conf {
	const char *path;        /* a file; "" with another target */
	int target;              /* enum log_target */
	int format;              /* enum access_format */
	const char *template;    /* for ACCESS_TEMPLATE: text with %{field} */
	uint64_t running_ms;     /* interval of "running" lines of long tunnels; 0: none */
	bool query;              /* write query strings */
};

enum log_target { LOG_TO_FILE, LOG_TO_STDERR, LOG_TO_SYSLOG, LOG_TO_JOURNALD, LOG_TO_NONE };

struct session_conf {
	struct limits_conf limits;
	struct timeouts_conf timeouts;
	struct forwarding_conf forwarding;
	struct access_conf access;
	struct classes_conf classes;
};

extern const struct conf_option limits_options[];
extern const struct conf_option timeouts_options[];
extern const struct conf_option forwarding_options[];
extern const struct conf_option access_options[];

#endif
