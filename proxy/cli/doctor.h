/* SPDX-License-Identifier: Apache-2.0 */
/* sallyport doctor, inside: probes that run at once on one loop, and what their results mean. Private to doctor*.c.
 *
 *   way     UDP, TCP (both with STUN), HTTPS, WSS: what is spoken
 *   path    directly, or through the proxy
 *   probe   one way on one path to one port of one target, and for direct ones to one address
 *   target  a host that media would go to, with its ports
 */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "base/secret.h"
#include "cli/command.h"
#include "cli/doctor_login.h"
#include "cli/files.h"
#include "http/body.h"
#include "net/resolve.h"
#include "net/stun.h"
#include "tls/tls_stream.h"
#include "tls/trust.h"

/* X(name, as the table and JSON have it) */
#define DOCTOR_RESULTS(X) \
	X(NONE, "not tried") \
	X(OPEN, "open") \
	X(SILENT, "no answer") \
	X(REFUSED, "refused") \
	X(UNREACHABLE, "unreachable") \
	X(CLOSED, "closed") \
	X(NO_ADDRESS, "no address") \
	X(NO_STUN, "no STUN")           /* it connects, and does not speak STUN */ \
	X(NO_TLS, "no TLS") \
	X(NOT_TRUSTED, "not trusted")   /* TLS stands, and the certificate is not the origin's */ \
	X(NO_HTTP, "no HTTP")           /* TLS stands, and there is no answer inside */ \
	X(NO_UPGRADE, "no WebSocket") \
	X(NO_PROXY, "no proxy")         /* it cannot be reached, or is no proxy */ \
	X(DENIED, "denied")             /* by the proxy, with 403 */ \
	X(LOGIN, "login")               /* the proxy asks for one, with 407 */ \
	X(PROXY_FAILED, "proxy failed") /* it would, and could not */
#define DOCTOR_RESULT_ENUM(name, text) DOCTOR_RESULT_##name,
enum doctor_result { DOCTOR_RESULTS(DOCTOR_RESULT_ENUM) DOCTOR_RESULT_COUNT };
#undef DOCTOR_RESULT_ENUM

enum doctor_way { DOCTOR_UDP, DOCTOR_TCP, DOCTOR_HTTPS, DOCTOR_WSS, DOCTOR_WAY_COUNT };
enum doctor_phase {
	DOCTOR_WAITING, DOCTOR_CONNECTING, DOCTOR_ASKING_PROXY,
	DOCTOR_DRAINING, /* the page of a 407, before the login goes on */
	DOCTOR_HELD,     /* until another probe has logged in, or there is a ticket */
	DOCTOR_SHAKING, DOCTOR_ASKING, DOCTOR_DONE,
};

/* Of a name, of each family. */
enum { DOCTOR_ADDRESSES_MAX = 4 };

enum { DOCTOR_TEXT_BYTES = 400, DOCTOR_NAME_BYTES = 200 };

/* A name that is asked for once, and the probes that wait for it. */
struct doctor_name {
	struct doctor *doctor;
	struct span host;
	struct address literal;      /* of an IP literal; else family 0 */
	struct resolve_query *query; /* under way; as is: */
	struct doctor_work *lookup;
	struct resolve_answer answer;
	struct loop_timer timer;
};

struct doctor_probe {
	struct doctor *doctor;
	const struct doctor_target *target;
	struct doctor_name *name;    /* of what is dialled: the target's, or the proxy's */
	struct http_host host;       /* that is asked for */
	struct span url_path;        /* HTTPS, WSS */
	enum doctor_way way;
	bool is_proxied;
	uint16_t family;             /* of direct ones: AF_INET or AF_INET6 */
	size_t number;               /* and which address of it, from 0 */

	enum doctor_result result;
	struct address address;      /* dialled; family 0: none was */
	size_t address_count;        /* of the name, that were looked at */
	uint64_t connect_us, rtt_us; /* of the connection, and of question and answer; 0: none */
	int status;                  /* HTTP status of the proxy that refuses, or of the answer; 0: none */
	char error[64];              /* Proxy-Status error token */
	char text[DOCTOR_TEXT_BYTES];
	char issuer[DOCTOR_NAME_BYTES];
	enum trust_fault fault;      /* of the certificate */
	struct address mapped;       /* STUN: as the target sees us */

	enum doctor_phase phase;
	struct stream stream;
	struct loop_io udp;
	struct buf in, out;
	size_t scanned;              /* of `in`, for a head */
	uint64_t began_us, asked_us; /* connecting; the question that waits for an answer */
	unsigned sent_count, strange_count; /* requests; answers that are none */
	struct doctor_talk talk;     /* login at the proxy */
	struct http_body body;       /* DRAINING */
	uint8_t id[STUN_ID_BYTES];
	char key[32];                /* WSS: Sec-WebSocket-Key */
	struct loop_timer timer, resend; /* resend: of UDP; TLS: when it begins; login: no longer for a ticket, or an answer */
	struct loop_task redial;
};

struct doctor {
	const struct settings *settings;
	struct arena *arena;
	const struct policy *policy; /* NULL: there is none to ask */
	struct doctor_target targets[DOCTOR_TARGETS_MAX];
	size_t target_count;
	struct http_host proxy;      /* name empty: none is known */
	struct address from;         /* as the proxy sees us; family 0: not known */
	struct doctor_login login;
	bool json;
	uint64_t timeout_ms;

	struct loop *loop;
	struct resolver *resolver;
	struct doctor_works *works;
	struct dns_conf dns;
	struct inspection_conf inspection;
	struct trust *trust;
	void *trust_image;
	SSL_CTX *tls;

	struct doctor_name *names;
	size_t name_count;
	struct doctor_probe *probes;
	size_t probe_count, done_count;
	size_t try_count, tried_count; /* without those whose address there is not */
	struct loop_io signal;       /* signalfd */
	struct loop_timer progress;
	uint64_t began_ms;
	bool is_interrupted, has_progress;
	bool has_threads;            /* at the end: they wait for DNS or the KDC */
};

/* ---- doctor_run.c ---- */

/* Make the probes and run them all. False: said why on standard error. blocks: yes, some seconds. */
MUST_USE bool doctor_run(struct doctor *doctor);
void doctor_run_fini(struct doctor *doctor);

/* ---- doctor_name.c ---- */

struct doctor_name *doctor_name_find(struct doctor *doctor, const struct http_host *host);
/* Look it up, and start the probes that wait for it. */
void doctor_name_look_up(struct doctor_name *name);
void doctor_name_fini(struct doctor_name *name);

/* ---- doctor_probe.c: dialling, the proxy, what is common ---- */

/* Its name is known: begin. */
void doctor_probe_start(struct doctor_probe *probe);
/* It is over; the first result counts. */
void doctor_probe_end(struct doctor_probe *probe, enum doctor_result result, const char *format, ...) PRINTF_LIKE(3, 4);
/* A question is on its way (`out`), and its answer is waited for. */
void doctor_probe_ask(struct doctor_probe *probe, enum doctor_phase phase);
void doctor_probe_answered(struct doctor_probe *probe);
void doctor_probe_fini(struct doctor_probe *probe);
/* What an errno of a socket means here. */
const char *doctor_probe_error(int error_number);

/* ---- doctor_stun.c ---- */

void doctor_stun_start_udp(struct doctor_probe *probe);
/* Write the request into `out`, and read what came of `in`. */
void doctor_stun_ask_tcp(struct doctor_probe *probe);
void doctor_stun_read_tcp(struct doctor_probe *probe);

/* ---- doctor_http.c ---- */

/* CONNECT, and its answer: true when the tunnel stands. */
void doctor_http_ask_proxy(struct doctor_probe *probe);
bool doctor_http_read_proxy(struct doctor_probe *probe);
/* "host:port", as CONNECT has it. */
void doctor_http_add_authority(const struct doctor_probe *probe, struct buf *out);
/* Can this connection be used once more, behind the page of this head? Then: pass over that page, and ask again. */
bool doctor_http_can_go_on(const struct http_head *head);
void doctor_http_go_on(struct doctor_probe *probe, const struct http_head *head);
void doctor_http_drain(struct doctor_probe *probe);
/* GET, or the upgrade to a WebSocket. */
void doctor_http_ask(struct doctor_probe *probe);
void doctor_http_read(struct doctor_probe *probe);

/* ---- doctor_tls.c ---- */

MUST_USE bool doctor_tls_init(struct doctor *doctor);
void doctor_tls_fini(struct doctor *doctor);
void doctor_tls_start(struct doctor_probe *probe);
/* Go on; true when TLS stands and the certificate is good. */
bool doctor_tls_shake(struct doctor_probe *probe);

/* ---- doctor_advice.c ---- */

/* Is it worth a line? Not for an address family that the name has not. */
bool doctor_advice_is_shown(const struct doctor_probe *probe);
/* Do both go the same way, directly, to two addresses of one family and name? */
bool doctor_advice_is_beside(const struct doctor_probe *one, const struct doctor_probe *other);
/* The way that an app would choose; NULL: none is open. */
const struct doctor_probe *doctor_advice_choose(const struct doctor *doctor, const struct doctor_target *target);
/* Is this UDP port closed? */
bool doctor_advice_is_closed(const struct doctor *doctor, const struct doctor_target *target, uint16_t port);
/* One sentence or two: what is chosen, and what to open. */
void doctor_advice_add(const struct doctor *doctor, const struct doctor_target *target, struct buf *out);
/* What else was found: one sentence a line. */
void doctor_advice_add_notes(const struct doctor *doctor, const struct doctor_target *target, struct buf *out);

/* ---- doctor_policy.c ---- */

/* What the policy says of each port of the target: lines, or a JSON array. */
void doctor_policy_add(const struct doctor *doctor, const struct doctor_target *target, struct buf *out);

/* What its rules should say of media, and do not: one sentence a line. */
void doctor_policy_add_notes(const struct doctor *doctor, const struct doctor_target *target, struct buf *out);

/* ---- doctor_say.c ---- */

const char *doctor_say_way(enum doctor_way way);
const char *doctor_say_name(const struct doctor_target *target);
void doctor_say_proxy(const struct doctor *doctor, struct buf *out);
/* All of it, as a table or as JSON. */
void doctor_say_all(const struct doctor *doctor, struct buf *out);

#endif
