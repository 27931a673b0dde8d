/* SPDX-License-Identifier: Apache-2.0 */
/* What access logs tell of clients that do not take our certificates: line by line by the rules that the proxy itself judges by
 * (session/pins_score.h), then put together into entries as narrow as the evidence. */
#ifndef CLI_PIN_FINDINGS_H
#define CLI_PIN_FINDINGS_H

#include "cli/names.h"
#include "cli/replay_line.h"
#include "cli/tally.h"
#include "session/pins_score.h"

/* A client and a host. What is a number is one of `texts`. */
struct pin_pair {
	uint32_t client, host, port;
	uint32_t ja4;          /* NAMES_NONE: not known */
	uint32_t authority;    /* that the CONNECT named last; mostly the host */
	uint32_t proposal;     /* that it is part of, before they were sorted */
	bool is_suspected;     /* at some moment, and it has not taken a certificate for this host since */
	bool is_undecided;
	uint64_t success_ms;
	struct pins_evidence evidence;
};

struct pin_client {
	uint32_t text;         /* "192.0.2.7", "2001:db8:0:1::/64", and the user behind it */
	uint32_t user;         /* NAMES_NONE: none */
	struct address address;
	struct pins_client state;
	struct pins_evidence evidence; /* of all hosts */
	bool is_untrusting;
};

/* An origin that asks for a certificate of the client. */
struct pin_asking {
	uint32_t host, port;
	uint64_t count;
};

struct pin_proposal {
	struct span pattern;
	uint32_t port;
	const struct pin_pair *sample;
	struct pins_evidence evidence; /* of all */
	uint32_t sign;         /* that there is most of */
	uint32_t ja4;          /* NAMES_NONE: none, or several */
	uint32_t parent;       /* name that may stand behind "*."; NAMES_NONE: none may */
	uint32_t into;         /* that it became part of; its own index: of none */
	size_t hosts;
	size_t first_member, clients; /* different ones: in `members` */
};

struct pin_findings {
	struct names texts;
	struct tally pairs, clients, askings;
	struct arena arena;
	struct pin_proposal *proposals; /* most clients first */
	uint64_t *members;     /* index of a proposal before they were sorted << 32, and a client */
	size_t proposal_count, untrusting_count, undecided_count;
	bool is_full;          /* something did not fit */
};

void pin_findings_init(struct pin_findings *findings);
void pin_findings_fini(struct pin_findings *findings);

/* A line, in the order of time. Copies what it needs. */
void pin_findings_take(struct pin_findings *findings, const struct replay_request *request);

/* All was taken: judge, and propose. errors: ERR_MEMORY. */
MUST_USE enum err pin_findings_finish(struct pin_findings *findings);

static inline struct span pin_findings_text(const struct pin_findings *findings, uint32_t number)
{
	return findings->texts.at[number];
}

/* Borrowed. */
struct pin_client *pin_findings_client(struct pin_findings *findings, uint32_t client);

#endif
