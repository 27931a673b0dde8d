/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between roles: small, typed, length-checked, versioned, with an id by which an answer finds
 * its question. One message is one packet of a SOCK_SEQPACKET pair, with descriptors beside it. Whoever
 * receives takes only what the other end's role may send; anything else ends that role. Adding a
 * message is adding a row. */
#ifndef PROCESS_IPC_H
#define PROCESS_IPC_H

#include <stdbool.h>

#include "base/address.h"
#include "base/err.h"
#include "base/hash.h"
#include "process/roles.h"
#include "tls/tls_contexts.h"

enum { IPC_VERSION = 1, IPC_BYTES_MAX = 96 << 10, IPC_FDS_MAX = 250 };

/* X(type, payload bytes at least, at most, descriptors at least, at most, who to whom and what) */
#define IPC_TYPES(X) \
	X(START, sizeof(struct ipc_start), sizeof(struct ipc_start), 0, IPC_FDS_MAX, \
	  "parent to all: who to become, shared regions") \
	X(GENERATION, 64, IPC_BYTES_MAX, 5, IPC_FDS_MAX, "parent to worker: configuration and policy, generation.h") \
	X(LOGS, sizeof(struct ipc_logs), sizeof(struct ipc_logs), 0, 3, "parent to logger: where lines go") \
	X(EVENT, 5, 4096, 0, 0, "parent to logger: uint32_t level, then a line of the event log") \
	X(DRAIN, 0, 0, 0, 0, "parent to worker: take no more clients, end when the last has gone") \
	X(STOP, 0, 0, 0, 0, "parent to all: end now, in order") \
	X(SESSIONS, sizeof(struct ipc_sessions), sizeof(struct ipc_sessions), 0, 0, "parent to worker: list some") \
	X(COMPILE, sizeof(struct ipc_compile) + 1, 4096, 0, 1, "parent to compile: head, path of the policy file; the image in force") \
	X(READY, sizeof(struct ipc_ready), sizeof(struct ipc_ready), 0, 0, "all to parent: what was asked for is in force") \
	X(SESSIONS_PAGE, sizeof(struct ipc_sessions_page), IPC_BYTES_MAX, 0, 0, "worker to parent: head, then lines") \
	X(PROBLEM, sizeof(struct ipc_problem), 16384, 0, 0, "compile to parent: head, file, other file, text") \
	X(PUBLIC, sizeof(struct ipc_public), IPC_BYTES_MAX, 2, 2, "parent to public: head, then proxies, one per line") \
	X(ADMIN, sizeof(struct ipc_admin), 8192, 4, 4, "parent to admin: head, then the token, then names, one per line") \
	X(PAGES, sizeof(struct ipc_pages), sizeof(struct ipc_pages), 1, 1, "parent to public: where this worker hands over") \
	X(CLIENT, sizeof(struct address), sizeof(struct address), 1, 1, "worker to public: a client, and a stream to it") \
	X(COMPILED, sizeof(struct ipc_compiled), sizeof(struct ipc_compiled), 0, 1, "compile to parent: the end, with the image") \
	X(AUTH, sizeof(struct ipc_auth), 8192, 1, IPC_FDS_MAX, \
	  "parent to verifier: head, path of the configuration; descriptors as ipc_auth says") \
	X(CHANNEL, sizeof(struct ipc_channel), sizeof(struct ipc_channel), 1, 1, \
	  "parent to verifier, signer, worker, pam: their end of a channel between two of them") \
	X(VERIFY, 32, IPC_BYTES_MAX, 0, 0, "worker to verifier: a question, auth/ask.h") \
	X(VERIFIED, 16, IPC_BYTES_MAX, 0, 0, "verifier to worker: its answer; id: of the question") \
	X(NAMES, 5, 4096, 0, 0, "verifier to worker: what NTLM calls us, auth/auth.h") \
	X(CUT_PAGE, 1, IPC_BYTES_MAX, 0, 0, "worker to parent: lines of sessions that the new policy ended; id: generation") \
	X(SIGNER, sizeof(struct ipc_signer), 8192, 2, 2, "parent to signer: head, organization, URL of the CRL; certificate, key (PEM)") \
	X(MINT, 2, 254, 0, 0, "worker to signer: a question, tls/leaf_message.h") \
	X(LEAF, 10, 65536, 0, 0, "signer to worker: its answer; id: of the question") \
	X(LEAF_KEY, 64, IPC_BYTES_MAX, 0, 0, "signer to worker: the key of certificates from now on, and what is sent behind them") \
	X(CRL, 16, 65536, 0, 0, "signer to parent: the revocation list of its CA, DER") \
	X(CA, sizeof(struct ipc_ca), IPC_BYTES_MAX, 0, 0, "parent to public: head, the certificate that clients are to trust (DER), revocation list")

#define IPC_ENUM(type, least, most, fds_least, fds_most, text) IPC_##type,
enum ipc_type { IPC_NONE, IPC_TYPES(IPC_ENUM) IPC_TYPE_COUNT };
#undef IPC_ENUM

/* Descriptors: of a worker, its page, its ring, the logger's bell, its end for IPC_CLIENT, the table of nonces, that of rate limits, then all
 * pages (read-only, in the order of numbers); of the logger, the bell, then all rings; of the verifier, the replay cache of Kerberos; of admin, the board, then all pages, read-only. */
struct ipc_start {
	uint32_t switches_user, uid, gid; /* become this user: the parent is root */
	uint32_t worker_count;
	uint64_t slot_count;              /* of each page, and of the table of rate limits: places.h, net/rate_table.h */
	struct hash_key client_key;       /* for the clients in the pages */
	uint32_t has_group, group;        /* one more group: auth_children_grant() */
	uint64_t nonce_slots;             /* of the table of nonces */
	uint8_t nonce_key[32];            /* of workers alone: signs nonces of Digest */
	struct ticket_seed ticket_seed;   /* of workers alone: session tickets of opened sessions */
};

/* Descriptors, where the head says that they are there: the text of the configuration, the keytab, the password for LDAP, the
 * way to the role pam, then the user files in the order of the configuration. */
struct ipc_auth {
	uint64_t generation, text_bytes;
	uint32_t path_bytes, users_count, has_keytab, has_ldap_password, has_pam, reserved;
};

struct ipc_channel {
	uint32_t worker;                  /* at the other end, or whose it is; of no meaning for pam */
	uint32_t role;                    /* enum role: the one of the two that is no worker */
};

struct ipc_signer {
	uint64_t generation, leaf_ms, leaf_count;
	uint32_t organization_bytes, url_bytes, certificate_bytes, key_bytes;
};

/* Both empty: there is no CA any more. */
struct ipc_ca {
	uint32_t certificate_bytes, crl_bytes;
};

/* Descriptors: the files, access first, of those whose target is LOG_TO_FILE. */
struct ipc_logs {
	uint32_t access_target, event_target; /* enum log_target */
	uint32_t has_secrets, reserved;       /* the last descriptor is the file for secrets of TLS */
};

struct ipc_sessions {
	uint64_t after_id;
	uint32_t count, reserved;
};

struct ipc_sessions_page {
	uint64_t last_id;
	uint32_t is_last, reserved;
};

struct ipc_ready {
	uint64_t generation, cut_count;
};

struct ipc_problem {
	uint32_t code, line, column, file_bytes; /* enum problem_code */
	uint32_t related_line, related_bytes;    /* of the other place's file; 0: there is none */
	uint64_t more;                           /* so many of this code in this file are not told; no text */
};

struct ipc_compile {
	uint64_t previous_bytes; /* of the image in force; 0: there is none */
};

struct ipc_compiled {
	uint64_t image_bytes; /* 0: it did not compile */
};

/* Descriptors: the policy, the listening socket. */
struct ipc_public {
	uint64_t generation, image_bytes, cache_ms;
};

/* Descriptors: the policy, its counters (read-only), ages of its files, the listening socket. */
struct ipc_admin {
	uint64_t generation, image_bytes, counters_bytes, rule_hit_count, token_bytes;
};

struct ipc_pages {
	uint32_t worker, reserved;
};

struct ipc_header {
	uint16_t version, type;
	uint32_t payload_bytes;
	uint64_t id;
};

/* Received; descriptors that nobody took are closed by ipc_drop(). */
struct ipc_message {
	enum ipc_type type;
	uint64_t id;
	struct span payload; /* in `bytes` */
	int fds[IPC_FDS_MAX];
	size_t fd_count;
	_Alignas(16) uint8_t bytes[sizeof(struct ipc_header) + IPC_BYTES_MAX];
};

/* Two ends, both close-on-exec. errors: ERR_SYSTEM. */
MUST_USE enum err ipc_pair(int ends[2]);

/* Send; descriptors stay the caller's. Waits only if the channel is a blocking one.
 * errors: ERR_LIMIT (the other end does not read), ERR_SYSTEM. */
MUST_USE enum err ipc_send(int channel, enum ipc_type type, uint64_t id, struct span payload,
                           const int *fds, size_t fd_count);

enum ipc_got { IPC_GOT, IPC_EMPTY, IPC_CLOSED, IPC_INVALID };

/* Take the next message from an end where a role with these `sends` bits (roles.h) sits. */
enum ipc_got ipc_receive(int channel, uint32_t sends, struct ipc_message *out);

/* The same without I/O: is message->bytes[0..len) with fd_count descriptors valid? Fills type, id, payload. */
MUST_USE bool ipc_parse(struct ipc_message *message, size_t len, uint32_t sends);

/* Take a descriptor out of the message; -1 if there is none at that place. */
int ipc_take_fd(struct ipc_message *message, size_t at);

/* Close what was not taken. */
void ipc_drop(struct ipc_message *message);

/* Wait for the next message, which must be of this type; a blocking channel. */
MUST_USE enum err ipc_expect(int channel, uint32_t sends, enum ipc_type type,
                             struct ipc_message *out);

const char *ipc_type_name(enum ipc_type type);

#endif
