/* SPDX-License-Identifier: Apache-2.0 */
/* A session from the inside. Private to this folder.
 *
 * READ_PROXY  the PROXY protocol header, where one is expected
 * READ_HEAD   a request head; between requests the session waits here
 * DECIDE      policy on what is known; the names' addresses may be asked for first
 * AUTHENTICATE who is asking: the client's credentials, and the verifier's answer
 * RESOLVE     addresses of the host, each past the guard
 * DIAL        a connection to one of them, or a kept one
 * READ_HELLO, TLS_ORIGIN, MINT, TLS_CLIENT, SNIFF  a session that is opened: inspect.h
 * TUNNEL      opaque bytes both ways (CONNECT, Upgrade)
 * RELAY       one http:// exchange
 * SERVE_H2    HTTP/2 inside an inspected session, h2/
 * REFUSE      a reply of our own
 * DRAIN       the content of a request that was refused, up to a bound: the connection goes on
 * LINGER      our last bytes are on their way: read until the client has closed, too
 * END         gone at the end of this turn
 *
 * cut.c ends sessions from outside. */
#ifndef SESSION_SESSION_PRIVATE_H
#define SESSION_SESSION_PRIVATE_H

#include "http/body.h"
#include "http/message.h"
#include "net/dial.h"
#include "net/guard.h"
#include "session/session.h"

/* X(state, name for traces and lists) */
#define SESSION_STATES(X) \
	X(READ_PROXY, "read_proxy") \
	X(READ_HEAD, "read_head") \
	X(DECIDE, "decide") \
	X(AUTHENTICATE, "authenticate") \
	X(RESOLVE, "resolve") \
	X(DIAL, "dial") \
	X(READ_HELLO, "read_hello") \
	X(TLS_ORIGIN, "tls_origin") \
	X(MINT, "mint") \
	X(TLS_CLIENT, "tls_client") \
	X(SNIFF, "sniff") \
	X(TUNNEL, "tunnel") \
	X(RELAY, "relay") \
	X(SERVE_H2, "serve_h2") \
	X(REFUSE, "refuse") \
	X(DRAIN, "drain") \
	X(LINGER, "linger") \
	X(END, "end")

#define STATE_ENUM(state, name) SESSION_##state,
enum session_state { SESSION_STATES(STATE_ENUM) SESSION_STATE_COUNT };
#undef STATE_ENUM

enum step { STEP_NEXT, STEP_WAIT };

/* Counted under the limits? */
enum session_entered { NOT_ENTERED, ENTERED_UNNAMED, ENTERED };

#define ABSENT_MS UINT32_MAX

/* What the access log wants of one exchange beside what the session knows. */
struct timing {
	uint32_t auth_ms, dns_ms, connect_ms, tls_origin_ms, tls_client_ms, first_byte_ms; /* ABSENT_MS: not known */
};

/* One request and its response, from its head to its log line. */
struct exchange {
	struct arena arena;        /* head, names: everything that spans below point into */
	struct http_head head;
	struct http_target target;
	struct policy_facts facts;
	struct policy_decision decision;
	bool is_parsed;            /* head and target are valid */
	bool is_decided;
	bool is_connect;
	bool is_for_pages;         /* the public role answers it */
	bool was_logged;
	uint64_t started_ms;       /* loop clock */
	uint64_t ended_ms;         /* the same; 0: it ends with its line */
	struct timing timing;
	int status;                /* that the client was given; 0: none yet */
	uint64_t waited_before_ms; /* of rates_waited_ms() */

	/* a failure: its first cause */
	enum err err;
	const char *detail;
	enum policy_question denied_by; /* question whose answer is quoted on the page */

	/* AUTHENTICATE */
	bool is_asking;            /* the verifier */
	uint64_t asked_ms;         /* loop clock */
	struct identity *identity; /* NULL: nobody was asked, or it is not known */
	enum auth_scheme tried;    /* AUTH_SCHEME_COUNT: none */
	struct span challenge;     /* header lines of the 407, in the arena */
	struct span success;       /* header lines of the answer: the last token of Negotiate */

	/* RESOLVE, DIAL */
	struct resolve_query *query;
	struct dial *dial;
	bool is_resolved;
	struct address addresses[RESOLVE_ADDRESSES_MAX];
	size_t address_count;
	struct address refused;    /* by the guard; family 0: none */
	struct address origin;     /* that was dialled */
	bool is_reused;            /* on a kept connection */
	bool was_retried;

	/* RELAY */
	struct http_body up, down;
	enum http_framing up_framing, down_framing; /* as we send them */
	struct buf to_origin, to_client, from_origin;
	size_t scanned;            /* of from_origin, for the end of the head */
	bool up_broken;            /* the origin takes no more of the request */
	bool was_origin_reset;     /* or its stream: what it had sent before may still be there */
	bool was_client_reset;     /* the same */
	bool is_upload_cut;        /* `cut` is of the request */
	enum err cut;              /* why the response, or the request, has stopped in the middle, while what there is of it still goes out */
	const char *cut_detail;
	uint64_t cut_due_ms;       /* then it is not waited for any more */
	bool has_response;         /* the final head was forwarded */
	bool keep_client, keep_origin;
	uint64_t bytes_up, bytes_down;  /* content */
	uint64_t drained_bytes;
	uint64_t interim_bytes;    /* of all heads before the final one */
	struct http_head response;
	struct arena response_arena;
};

/* A tunnel keeps only what it needs to run and to be logged. */
struct tunnel {
	struct pump pump;
	struct session *session;
	struct pump_limits limits;
	struct loop_timer running; /* for "running" lines */
	struct policy_answer answers[POLICY_TUNNEL_QUESTION_COUNT];
	struct timing timing;
	struct address origin;
	uint64_t started_ms;
	uint64_t waited_before_ms; /* of rates_waited_ms() */
	enum err err;              /* ERR_NONE, or why we ended it */
	struct identity *identity;
	struct media_tunnel *media; /* NULL: no call, as far as is known */
	uint16_t port;
	uint16_t status;
	bool is_upgrade;           /* target is a URL */
	bool is_sni_host;          /* the ClientHello named the host */
	struct hello *hello;       /* NULL, or one that is not complete yet */
	char *sni;                 /* NULL, or another name that the ClientHello had */
	uint8_t method_len, host_len;
	uint16_t target_len;
	uint8_t other_len;
	char text[];               /* method, host, target, and a Host field that named another host */
};

struct session {
	struct list link; /* in env->sessions */
	struct session_env *env;
	struct session_generation *generation;
	struct session_listener *listener;
	uint64_t id;
	struct address client_address;
	struct stream client;
	struct stream *origin; /* NULL, or origin_pool.c's; may be closed */
	struct loop_timer timer;
	struct loop_task end_task;
	struct buf in;    /* read from the client and not used yet */
	size_t scanned;   /* of `in`, for the end of the head */
	struct exchange *exchange;
	struct tunnel *tunnel;
	struct inspect *inspect;        /* NULL: it is not opened, nor about to be */
	struct rates *rates;            /* NULL: nothing was limited yet */
	struct h2_relay *h2;            /* SERVE_H2; else NULL */
	struct dialog *dialog;          /* NULL: nobody was asked yet, or it is over */
	struct identity *identity;  /* NTLM, Negotiate: of the connection */
	uint64_t identity_number;   /* of the generation that it was found under */
	uint32_t exchange_count;
	uint32_t state_since_ms; /* loop clock; it may go round */
	uint32_t acknowledged;   /* session_is_taken() */
	uint8_t state;
	uint8_t entered;   /* enum session_entered */
	bool client_ended; /* it sent FIN */
	bool is_running;  /* inside session_run() */
	bool has_shut;    /* LINGER: FIN was sent */
	uint64_t lingered_bytes;
};

/* ---- session.c ---- */

/* Run steps until one waits. */
void session_run(struct session *session);

/* The one place where the state changes. */
enum step session_go(struct session *session, enum session_state next);

/* Note the first cause of a failure of the exchange and go on to REFUSE (or END if no reply can be sent). */
enum step session_fail(struct session *session, enum err err, const char *detail);

/* Has client or origin taken anything of what the kernel has for it, since this was last asked? Whoever reads slowly does. */
bool session_is_taken(struct session *session);

/* Arm the session's timer; 0 clears it. */
void session_timeout(struct session *session, uint64_t after_ms);

/* Both streams are served in this class from now on: bulk while it moves more than its share, not media. */
void session_set_class(struct session *session, enum loop_class class);

/* Of the exchange, since what came before it was done: the times of the log. */
uint32_t session_since_ms(const struct session *session);

/* Both streams are this machine's again, after a pump had them. */
void session_take_back(struct session *session);

const struct session_conf *session_conf_of(const struct session *session);
struct exchange *exchange_new(struct session *session);

/* Free the exchange: queries, dials and buffers with it. */
void exchange_free(struct session *session);

/* "3-17.2": worker, session, exchange. Into a buffer of 48 bytes. */
const char *session_id_text(const struct session *session, char text[static 48]);

/* The PROXY header named the client: count it under its own address. errors: as env->enter. */
MUST_USE enum err session_is_for(struct session *session, const struct address *client);

/* ---- one function per state; request.c, authenticate.c, connect.c, tunnel.c, relay.c, refuse.c ---- */

enum step step_read_proxy(struct session *session);
enum step step_read_head(struct session *session);
enum step step_decide(struct session *session);
enum step step_authenticate(struct session *session);
enum step step_resolve(struct session *session);
enum step step_dial(struct session *session);
enum step step_tunnel(struct session *session);
enum step step_relay(struct session *session);
enum step step_serve_h2(struct session *session);
enum step step_refuse(struct session *session);
enum step step_drain(struct session *session);
enum step step_linger(struct session *session);

/* The time of LINGER is over, but a slow client has not got all yet, and goes on taking it: true, and it has more time. */
bool linger_goes_on(struct session *session);

/* Read what is there behind what is buffered. */
enum stream_state request_read_more(struct session *session);

/* Fill the facts of the exchange; false: no memory. */
bool request_fill_facts(struct session *session);

/* Decide with the facts of the exchange; false if it is refused (session_fail() was called). */
bool request_decide(struct session *session);

/* The identity that the connection has, if it still holds: the exchange gets it. */
void authenticate_use_connection(struct session *session);

/* Does the request come with credentials? */
bool authenticate_has_credentials(const struct exchange *exchange);

/* The connection's identity and its talk are over. */
void authenticate_forget(struct session *session);

/* Count hits of the rules and entries that a decision quotes. */
void request_count_hits(struct session *session, const struct policy_decision *decision);

/* The response head was 101 or the request a CONNECT whose origin stands: from now on bytes. `first` as in
 * pump_start(). With `looks`, the client's first bytes are looked at for another name before they go on. */
enum step tunnel_start(struct session *session, const struct span first[2], bool looks);

/* What is known of it, for policy. */
struct policy_facts tunnel_facts(const struct session *session);

/* Policy said something else, now that the ClientHello is there. */
void tunnel_take_answers(struct tunnel *tunnel, const struct policy_decision *decision);

/* The ClientHello named another host than was asked for. */
void tunnel_note_sni(struct tunnel *tunnel, struct span sni);

/* The origin's bytes and the tunnel are no more: the session goes on without. */
void tunnel_forget(struct session *session);

/* End the tunnel now, for this reason. */
void tunnel_stop(struct session *session, enum err err);

/* RELAY begins: the origin stands. */
enum step relay_start(struct session *session);

/* May the request be sent a second time if the first got no answer? */
bool relay_is_repeatable(const struct exchange *exchange);
/* Nothing has moved for as long as RELAY waits. */
void relay_on_due(struct session *session);

/* Append the page of the exchange's err to its to_client, as an HTTP/1 reply; status and keep_alive are noted. */
void refuse_write(struct session *session);

/* Read the content of a request that was refused, and drop it. STREAM_OK: all of it is read; STREAM_AGAIN: not yet; else it
 * cannot be (the client is gone, it is no content, it is more than limits.drain). */
enum stream_state relay_drain(struct session *session);

/* The dialled (or kept) connection to the origin. */
void on_origin_ready(struct stream *stream, unsigned events);

/* ---- rates.c ---- */

/* Content is carried between session->client and session->origin from now on: by these answers (of an open question: 0) and this
 * user (NULL: none) it has these rate limits. `read_bytes` of it, by enum pump_side, were read already. Ended by session_go() to a
 * state that carries none, or rates_stop(). False: no memory. */
MUST_USE bool rates_start(struct session *session, const struct policy_answer *answers, const struct identity *identity,
                          const size_t read_bytes[2]);

/* The same for one more exchange of several at once: its limits come to those that are there. */
MUST_USE bool rates_add(struct session *session, const struct policy_answer *answers, const struct identity *identity);

/* Before session->origin becomes another's. */
void rates_stop(struct session *session);
void rates_free(struct session *session);

/* How long it has waited for its limits, both directions together. */
uint64_t rates_waited_ms(const struct session *session);

/* Which limit it waited for; `now`: waits for at this moment. NULL: none. */
const char *rates_slowest(const struct session *session, bool now);

/* ---- origin_pool.c ---- */

/* What dial_start() is to make room for, and what becomes of its stream: session->origin. */
extern const size_t origin_bytes;
void origin_use(struct session *session, struct stream *stream);

/* Close session->origin if it is open. */
void origin_close(struct session *session, bool reset);

/* Let go of session->origin; it is closed. */
void origin_free(struct session *session);

/* Take a kept connection to this origin into session->origin. */
bool origin_pool_take(struct session *session);

/* Keep session->origin for others, or close it. */
void origin_pool_give(struct session *session);

/* ---- response_rules.c ---- */

/* The final response is there, with this value of Content-Type (empty: it has none; several apart by commas), which is borrowed
 * until the exchange is over: what waits for it is decided now, and counted. The state stays. errors: ERR_POLICY_DENIED, with
 * exchange->detail and denied_by: nothing of the response may go on. */
MUST_USE enum err response_decide(struct session *session, struct span content_type);

/* The same with the fields of a head. */
MUST_USE enum err response_decide_head(struct session *session, const struct http_head *response);

/* What policy sets and removes (POLICY_REQUEST_HEADERS, POLICY_RESPONSE_HEADERS): how many edits, borrowed from the generation. */
size_t response_header_edits(const struct session *session, enum policy_question question,
                             struct http_edit out[static HTTP_EDITS_MAX]);

/* ---- access.c ---- */

/* The answer that refused the exchange, whose rule is quoted; NULL: it was something else. */
const struct policy_answer *access_refusing_answer(const struct exchange *exchange);

/* The code of why it was refused; REASON_NONE where the error says all. */
enum reason access_reason(const struct exchange *exchange);

/* Write the line of the exchange (once), or of the tunnel. */
void access_log_exchange(struct session *session);
void access_log_tunnel(struct session *session, bool is_running, const struct pump_end *end);

#endif
