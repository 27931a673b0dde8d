/* SPDX-License-Identifier: Apache-2.0 */
/* What the ends of opened connections say about a client, a host and our CA. Pure: time and identity are given. The worker that
 * sees the connections (pins.c) and the command that reads of them in the log (cli/list_suggest.c) judge by these same rules.
 *
 * No single end proves anything: browsers open connections in stock, people close windows, apps try again in bursts. What counts
 * is what comes again, spaced, from a client that takes our certificates elsewhere and never took one for this host. */
#ifndef SESSION_PINS_SCORE_H
#define SESSION_PINS_SCORE_H

#include "base/buf.h"

/* X(sign, alert or -1, strong, as the log has it, for people). Other alerts are evidence of something else: 121 (ech_required)
 * says that the client wants Encrypted ClientHello, 90 (user_canceled) that somebody gave up. */
#define PINS_SIGNS(X) \
	X(NONE, -1, false, "", "") \
	X(UNUSED, -1, false, "unused", "closed without a byte, for another reason") \
	X(CLOSED, -1, false, "closed", "closed in the handshake") \
	X(SILENT, -1, false, "silent", "closed behind the handshake without a byte") \
	X(BAD_CERTIFICATE, 42, true, "alert-42", "bad_certificate (42)") \
	X(UNSUPPORTED_CERTIFICATE, 43, true, "alert-43", "unsupported_certificate (43)") \
	X(CERTIFICATE_EXPIRED, 45, true, "alert-45", "certificate_expired (45)") \
	X(CERTIFICATE_UNKNOWN, 46, true, "alert-46", "certificate_unknown (46)") \
	X(UNKNOWN_CA, 48, true, "alert-48", "unknown_ca (48)")

#define PINS_SIGN_ENUM(sign, alert, strong, name, text) PINS_SIGN_##sign,
enum pins_sign { PINS_SIGNS(PINS_SIGN_ENUM) PINS_SIGN_COUNT };
#undef PINS_SIGN_ENUM

/* Of an alert behind our certificate. PINS_SIGN_NONE: it says nothing about it. */
enum pins_sign pins_score_of_alert(int alert);

/* Of a close without an alert and without a byte inside, `after_ms` after our certificate (not `is_up`) or the handshake. */
enum pins_sign pins_score_of_close(bool is_up, uint64_t after_ms);

bool pins_score_is_strong(enum pins_sign sign);
bool pins_score_is_weak(enum pins_sign sign);

/* "alert-48" there and back; "" and PINS_SIGN_NONE for what it is not. */
const char *pins_score_name(enum pins_sign sign);
enum pins_sign pins_score_parse(struct span name);

/* What one client did with one host since it took our certificate for it last. Zeroed: nothing. */
struct pins_evidence {
	uint64_t first_ms, last_ms;       /* of what was counted */
	uint16_t counts[PINS_SIGN_COUNT]; /* they stop at their largest */
	uint8_t last;                     /* enum pins_sign */
};

/* Count a sign. A close within a second of what was counted last may be the same attempt, and counts nothing; an alert in its
 * place does. What lies a day back is forgotten. False: it counted nothing. */
bool pins_score_add(struct pins_evidence *evidence, enum pins_sign sign, uint64_t now_ms);

unsigned pins_score_strong_count(const struct pins_evidence *evidence);
unsigned pins_score_weak_count(const struct pins_evidence *evidence);

/* Append "3 alerts unknown_ca (48), 1 closed in the handshake". */
void pins_score_say(const struct pins_evidence *evidence, struct buf *out);

/* Our certificate is valid, and most alerts say that it has expired. */
bool pins_score_is_clock_wrong(const struct pins_evidence *evidence);

enum { PINS_HOSTS_MAX = 6 };

/* One client and our CA. Zeroed: nothing is known. */
struct pins_client {
	uint64_t success_ms;             /* it took one of our certificates; 0: never */
	uint64_t hosts[PINS_HOSTS_MAX];  /* different ones, for which it did not */
	uint8_t host_count;
	uint8_t strong;                  /* bits: by an alert */
};

void pins_score_note_success(struct pins_client *client, uint64_t now_ms);

/* `host` is a number that the caller has for it. */
void pins_score_note_failure(struct pins_client *client, uint64_t host, bool is_strong);

/* It never took a certificate of ours, and refused it for three hosts (or was silent at six): it is no matter of one app. */
bool pins_score_is_untrusting(const struct pins_client *client);

enum pins_verdict {
	PINS_NOTHING,
	PINS_UNDECIDED, /* enough, but whether the client has our CA is not known */
	PINS_SUSPECTED,
};

/* `success_ms`: when it took a certificate for this host last; 0: never. */
enum pins_verdict pins_score_judge(const struct pins_evidence *evidence, const struct pins_client *client, uint64_t success_ms,
                                   uint64_t now_ms);

#endif
