/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker asks the verifier, and what the verifier answers: the two structs, and their form as messages between the
 * roles. A worker is hostile to the verifier: whatever is taken apart here is checked again. */
#ifndef AUTH_ASK_H
#define AUTH_ASK_H

#include "auth/identity.h"
#include "base/address.h"
#include "base/secret.h"

/* A token of Kerberos has up to 64 KiB (MaxTokenSize of Windows, at its highest). */
enum { ASK_WIRE_MAX_BYTES = 95 << 10, ANSWER_WIRE_MAX_BYTES = 95 << 10, ASK_TOKEN_MAX_BYTES = 65535, ASK_NTLM_MAX_BYTES = 8192 };

/* What has to be proved. */
enum ask_kind {
	ASK_PASSWORD, /* Basic: user, password */
	ASK_DIGEST,   /* Digest: everything that the response is made of */
	ASK_NTLM,     /* the three messages of NTLM, alone or inside SPNEGO */
	ASK_GSS,      /* a Kerberos token, raw or inside SPNEGO */
	ASK_KIND_COUNT,
};

enum digest_algorithm { DIGEST_MD5, DIGEST_SHA256, DIGEST_ALGORITHM_COUNT };
enum { DIGEST_MAX_BYTES = 32 };

/* Borrowed until the question is answered. Spans that do not belong to the kind are empty. */
struct ask {
	enum ask_kind kind;
	struct address client;
	struct span user;          /* PASSWORD, DIGEST: UTF-8, as sent; with is_userhash: 32 or 64 hexadecimal digits */
	struct span password;      /* PASSWORD; never empty */
	/* DIGEST (RFC 7616 section 3.4.1) */
	enum digest_algorithm algorithm;
	bool is_session, is_userhash;
	struct span realm, nonce, cnonce, nc, method, uri;
	uint8_t response[DIGEST_MAX_BYTES];
	/* NTLM (MS-NLMP): messages as they were on the wire; `challenge` is ours */
	struct span negotiate, challenge, authenticate;
	struct span mech_types, mech_list_mic; /* SPNEGO: DER of MechTypeList, and its MIC where the client sent one */
	bool allow_v1, require_mic, require_mech_list_mic;
	/* GSS */
	struct span token;
	uint64_t context;          /* of an earlier leg; 0: the first */
};

enum ask_verdict {
	VERDICT_INVALID,      /* wrong: password, response, token, user. Zero: the safe one */
	VERDICT_VALID,
	VERDICT_CONTINUE,     /* one more leg: answer->token, answer->context */
	VERDICT_UNKNOWN_USER, /* this backend does not know the user: others may. Clients are told no difference */
	VERDICT_OTHER_MECH,   /* the token cannot be for us (no key for its service): NTLM may be tried instead */
	VERDICT_UNAVAILABLE,  /* the authority does not answer, or the backend is not set up */
	VERDICT_BUSY,         /* the queue is full, or the deadline passed before it was this one's turn */
	VERDICT_THROTTLED,    /* too many failures of this client or user lately */
	VERDICT_COUNT,
};

struct answer {
	enum ask_verdict verdict;
	enum auth_mechanism mechanism;
	struct buf why;       /* which check failed, for the log: "the MIC is wrong"; no secret, no byte of the password */
	struct buf user;      /* VALID: who it is, as the backend says: "alice", "ADTEST\\alice", "alice@AD.TEST" */
	struct buf groups;    /* VALID: each ended by a NUL, as the backend says: "staff", "ADTEST\\proxy-all", "S-1-5-.." */
	struct buf token;     /* for the client: of GSSAPI; after SPNEGO with NTLM inside, our mechListMIC */
	uint64_t context;     /* CONTINUE */
	bool has_ha1;         /* VALID of DIGEST: for the worker's cache */
	uint8_t ha1[DIGEST_MAX_BYTES];
};

/* Empty, INVALID. */
void answer_init(struct answer *answer);
void answer_fini(struct answer *answer); /* wipes */

/* verdict and `why` at once; the result is the verdict. `format` as by printf. */
enum ask_verdict answer_say(struct answer *answer, enum ask_verdict verdict, const char *format, ...) PRINTF_LIKE(3, 4);

/* As bytes; into buffers of ASK_WIRE_MAX_BYTES and ANSWER_WIRE_MAX_BYTES. Look at buf_is_whole(). */
void ask_write(const struct ask *ask, struct buf *out);
void answer_write(const struct answer *answer, struct buf *out);

/* And back. `ask` borrows from `bytes`; `answer` (after answer_init()) has copies. False: not what the writer writes. */
MUST_USE bool ask_read(struct span bytes, struct ask *ask);
MUST_USE bool answer_read(struct span bytes, struct answer *answer);

#endif
