/* SPDX-License-Identifier: Apache-2.0 */
/* What is allowed (DESIGN 5): policy files and lists are compiled into one image without pointers; the
 * image is opened anywhere (a worker maps it read-only) and decides. Deciding is pure: no I/O, no clock, no
 * allocation. The only exception is a regular expression's first use, which compiles it.
 *
 * Not here: counters per rule and entry. A decision says which rule and entry it was; who counts is the caller. */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include "base/address.h"
#include "base/err.h"
#include "base/problem.h"

struct image_ports;

/* X(question, key in the file) ; the answers of each are in the second table. Zero is the safe answer. */
#define POLICY_QUESTIONS(X) \
	X(ACCESS, "access") \
	X(AUTH, "auth") \
	X(TLS, "tls") \
	X(OPAQUE, "opaque") \
	X(CLIENT_CERTIFICATE, "client-certificate") \
	X(CLASS, "class") \
	X(ROUTE, "route") \
	X(PAC, "pac") \
	X(LOG, "log") \
	X(SNI, "sni") \
	X(RATE, "rate") \
	X(REQUEST_HEADERS, "request-headers") \
	X(RESPONSE_HEADERS, "response-headers")

#define POLICY_QUESTION_ENUM(name, key) POLICY_##name,
enum policy_question { POLICY_QUESTIONS(POLICY_QUESTION_ENUM) POLICY_QUESTION_COUNT };
#undef POLICY_QUESTION_ENUM

/* What a tunnel that runs can still be asked for: those behind are answered for single messages. */
enum { POLICY_TUNNEL_QUESTION_COUNT = POLICY_REQUEST_HEADERS };

enum policy_access { ACCESS_DENY, ACCESS_ALLOW };
enum policy_auth { AUTH_REQUIRED, AUTH_EXEMPT };
enum policy_tls { TLS_INSPECT, TLS_BYPASS };
enum policy_opaque { OPAQUE_DENY, OPAQUE_TUNNEL };
enum policy_client_certificate { CLIENT_CERTIFICATE_IGNORE, CLIENT_CERTIFICATE_DENY, CLIENT_CERTIFICATE_BYPASS };
enum policy_class { CLASS_NORMAL, CLASS_MEDIA, CLASS_BULK, CLASS_AUTO /* media, if it looks like that */ };
enum policy_route { ROUTE_DIRECT, ROUTE_SOURCE /* from the address in `route_source` */ };
enum policy_pac { PAC_PROXY, PAC_DIRECT };
enum policy_rate { RATE_NONE, RATE_LIMIT /* policy_rate_limit() */ };
enum policy_log { LOG_FULL, LOG_BRIEF, LOG_NONE };
enum policy_headers { HEADERS_NONE, HEADERS_EDIT /* policy_header_edits() */ };
enum policy_sni { SNI_ANY, SNI_MUST_MATCH /* a ClientHello that names another host than the authority is denied */ };

/* "access", and "deny" for its answer 0. */
const char *policy_question_name(enum policy_question question);
const char *policy_answer_name(enum policy_question question, unsigned answer);

/* Facts that come later than the request head; bits of `known` and `absent`. */
enum policy_fact {
	FACT_USER = 1,     /* user, groups */
	FACT_ADDRESS = 2,  /* the address that would be dialled */
	FACT_HELLO = 4,    /* sni */
	FACT_REQUEST = 8,  /* method and url of the (inner) request */
	FACT_RESPONSE = 16, /* content_type of its response */
};

/* Everything borrowed until policy_decide() returns. Names are canonical (http/target.h). */
struct policy_facts {
	struct address from;       /* the client */
	struct span listener;      /* its name */
	struct span host;          /* authority of the request; an IP literal in canonical text */
	struct address host_address; /* if the authority is an IP literal, else family 0 */
	uint16_t port;
	unsigned known;            /* bits of enum policy_fact: the member below is filled */
	unsigned absent;           /* bits: this fact cannot exist in this session */
	struct address address;    /* FACT_ADDRESS */
	struct span sni;           /* FACT_HELLO */
	struct span inner_host;    /* Host or :authority inside; empty if none */
	struct span user;          /* FACT_USER */
	const struct span *groups;
	size_t group_count;
	struct span method;        /* FACT_REQUEST (method of a CONNECT is known from the start: "CONNECT") */
	struct span url;
	struct span content_type;  /* FACT_RESPONSE: media type without parameters, in any case; empty: the response has none */
	uint64_t wall_ms;          /* now; time is a fact */
};

#define POLICY_NO_RULE UINT32_MAX

struct policy_answer {
	uint8_t answer;
	uint8_t name_index : 2; /* which known name: 0 authority, 1 SNI, 2 inner host */
	uint8_t reason : 6;   /* enum reason */
	uint16_t list;        /* list that matched, 1-based; 0: none */
	uint32_t rule;        /* index, or POLICY_NO_RULE: answered by defaults */
	uint32_t entry;       /* entry of the list, for policy_place(); also the index of its counter */
};

struct policy_decision {
	unsigned need;        /* bits of enum policy_fact: ask for these and decide again; 0: decided */
	struct policy_answer answers[POLICY_QUESTION_COUNT]; /* valid for questions not in `open` */
	unsigned open;        /* bits 1 << question that wait for a needed fact */
	uint8_t needs[POLICY_QUESTION_COUNT]; /* which: bits of enum policy_fact; 0 if it is not open */
	struct address route_source; /* ROUTE_SOURCE */
};

struct policy; /* an opened image */

/* Decide. Questions that the known facts settle are answered even while others need more. */
void policy_decide(const struct policy *policy, const struct policy_facts *facts,
                   struct policy_decision *out);

/* What becomes of the fields of one name in a message's head: one with this value stands for them, or all are dropped. */
struct policy_header_edit {
	bool is_set;
	struct span name, value; /* as they are written; value: of one that is set */
};

/* Of one answer: so many edits, with so many bytes of names and values. */
enum { POLICY_HEADER_EDITS_MAX = 32, POLICY_HEADER_EDITS_MAX_BYTES = 16384, POLICY_HEADER_VALUE_MAX_BYTES = 8192 };

/* The edits of an answer to request-headers or response-headers, borrowed from the image; how many there are, none for
 * HEADERS_NONE. Not for a question that is open. */
size_t policy_header_edits(const struct policy *policy, enum policy_question question, const struct policy_answer *answer,
                           struct policy_header_edit out[static POLICY_HEADER_EDITS_MAX]);

/* What RATE_LIMIT says: bytes per second and direction, for all that the rule answers for, or for each client or user of them. */
enum policy_each { EACH_RULE, EACH_CLIENT, EACH_USER, EACH_COUNT };
struct policy_rate_limit {
	uint64_t bytes_per_s;
	enum policy_each each;
};
enum { POLICY_RATE_LEAST_BYTES = 1024 };

/* The limit of an answer to rate; false for RATE_NONE. Not for a question that is open. */
bool policy_rate_limit(const struct policy *policy, const struct policy_answer *answer, struct policy_rate_limit *out);

/* The same in words, appended: "10M a second, all together", "512K a second for each client". Nothing for RATE_NONE. */
void policy_say_rate(const struct policy *policy, const struct policy_answer *answer, struct buf *out);

/* "rule", "client", "user" */
const char *policy_each_name(enum policy_each each);

/* Cut the next media type off the value of Content-Type, without parameters; what is none is passed over. A value should
 * have one; of several some clients take the first, others the last. False: there is no more. */
bool policy_content_type_next(struct span *rest, struct span *type);

/* For people and logs: the rule's name ("defaults" for POLICY_NO_RULE), and "lists/x.list", line. Borrowed
 * from the image. */
struct span policy_rule_name(const struct policy *policy, uint32_t rule);
struct span policy_rule_file(const struct policy *policy, uint32_t rule, unsigned *line);
struct span policy_list_name(const struct policy *policy, uint16_t list);

/* What a rule answers to a question; false if it does not answer it, or there is no such rule. */
bool policy_rule_answers(const struct policy *policy, uint32_t rule, enum policy_question question,
                         unsigned *answer);

/* Lists, with the patterns that stand in rules (they have no name), and files, from 0: as policy_place() says them. */
size_t policy_list_count(const struct policy *policy);
size_t policy_file_count(const struct policy *policy);
struct span policy_file_name(const struct policy *policy, size_t file);

/* File and line of an entry; false if there is none. */
bool policy_place(const struct policy *policy, const struct policy_answer *answer,
                  struct span *file, unsigned *line, struct span *entry_text);

/* An entry of a list, or a pattern that stands in a rule; borrowed from the image. */
struct policy_entry {
	struct span text;          /* canonical pattern */
	struct span file;          /* as policy_place() says it */
	unsigned line;
	uint16_t list;             /* 1-based, for policy_list_name() */
	uint64_t expires_ms;       /* 0: never */
	const struct image_ports *ports; /* ports=, for policy/ itself */
	size_t port_count;
};

/* Entries by index, in no order that means anything. An index is also that of the entry's counter, and stays the
 * entry's own over reloads: so there are holes, for which this is false. */
size_t policy_entry_count(const struct policy *policy);
bool policy_entry(const struct policy *policy, uint32_t index, struct policy_entry *out);
/* Append its ports as they are written: "443,8000-8100". */
void policy_entry_add_ports(const struct policy_entry *entry, struct buf *out);
bool policy_has_entry(const struct policy *policy, uint32_t index);

/* Each network in a list that some rule allows, bypasses or exempts. */
void policy_each_network(const struct policy *policy,
                         void (*each)(void *context, const struct network *network, const struct policy_entry *entry),
                         void *context);

/* A counter of hits, 32 bits for all workers: how many (up to POLICY_HITS_MAX, which means: so many or more), and the
 * day of the last one in days since 1970 (UTC); 0 where there was none. */
enum { POLICY_HITS_MAX = 1000000 };
uint32_t policy_hits_count(uint32_t cell);
uint32_t policy_hits_day(uint32_t cell);
/* Count one more. Any number of workers may do so at once. */
void policy_hits_add(_Atomic uint32_t *cell, uint64_t wall_ms);

/* ---- in words, the same in explain, on the error page and in Proxy-Status; each appends ---- */

/* `rule "no bad hosts" (policy.yaml:3)`, `defaults (policy.yaml:5)` */
void policy_say_rule(const struct policy *policy, const struct policy_answer *answer, struct buf *out);

/* `*.bad.test (bad.list:1, list bad)`. False: no entry had a part in it. */
bool policy_say_entry(const struct policy *policy, const struct policy_answer *answer, struct buf *out);

/* What rule and entry do not tell: "port 22 is not among defaults.ports (80, 443)". False: there is nothing else. */
bool policy_say_reason(const struct policy *policy, const struct policy_facts *facts,
                       const struct policy_answer *answer, struct buf *out);

/* The same behind what is asked for, where that is not access: "tls: inspect". */
void policy_say_refusal(const struct policy *policy, const struct policy_facts *facts, enum policy_question question,
                        const struct policy_answer *answer, struct buf *out);

/* ---- compile: in a short-lived child, or in a command; never in a worker ---- */

/* Read policy file and lists and compile them. On success *image is a heap block of *image_bytes (caller frees).
 * errors: ERR_CONFIG with all problems added (file, line, column), ERR_MEMORY. Warnings do not fail. */
MUST_USE enum err policy_compile(const char *path, struct problems *problems, void **image,
                                 size_t *image_bytes);

/* What compiling can be asked for beside; all may be left out. */
struct policy_compile_options {
	const struct policy *previous;   /* its entries keep their index, and so their counters */
	const char *instead_path;        /* this file's content is `instead_text`: an edit before it is written */
	struct span instead_text;
	void (*progress)(void *context, uint64_t done, uint64_t total); /* bytes of one list's file, now and then */
	/* Each file of each list, before it is read: the list's name, the way to the file, and how people name it. */
	void (*on_list)(void *context, const char *list, const char *path, struct span shown);
	void (*lint_progress)(void *context, uint64_t done, uint64_t total); /* entries that the linter has looked at */
	void *context;
	size_t lint_entries_max;         /* more are not looked at one by one, but by check; 0: 100,000 */
};
MUST_USE enum err policy_compile_with(const char *path, const struct policy_compile_options *options,
                                      struct problems *problems, void **image, size_t *image_bytes);

/* Open an image (from policy_compile(), or a sealed mapping), at an address that 64 divides. borrows: image, until
 * policy_close(). errors: ERR_CONFIG (it is not what this version writes, or it is damaged), ERR_MEMORY. */
MUST_USE enum err policy_open(const void *image, size_t image_bytes, struct policy **out);

/* The same, said what for. */
enum policy_open_mode {
	POLICY_TO_DECIDE,   /* as policy_open(): every byte is checked, milliseconds for a million entries */
	POLICY_FOR_READING, /* to look at it, never to decide: regular expressions are not compiled. For the parent, who is
	                     * root, and for those who show it. */
	POLICY_IS_CHECKED,  /* somebody who is trusted has opened these very bytes before, and nobody can have changed them.
	                     * For workers, who must not pause. */
};
MUST_USE enum err policy_open_as(const void *image, size_t image_bytes, enum policy_open_mode mode,
                                 struct policy **out);
void policy_close(struct policy *policy);

/* Append the manual of policy files and lists. */
void policy_reference(struct buf *out);

/* A place in the policy file, from 1; 0 where nobody wrote it. */
struct policy_spot {
	unsigned line, column;
};

struct policy_stats {
	uint64_t generation_hash; /* of the files: the same policy has the same number on every machine */
	size_t rules, lists, entries, image_bytes; /* entries: with the patterns that stand in rules */
	size_t counters;          /* of entries; holes have one, too */
	bool wants_inspect;       /* some rule or default answers tls: inspect */
	bool wants_auth;          /* some rule or default answers auth: required */
	bool asks_everybody;      /* defaults do, and no rule exempts clients of all addresses for all hosts */
	bool asks_user;           /* some rule has a condition on the user or a group */
	bool allows_anybody;      /* some client could be allowed without a condition on its address */
	struct policy_spot inspect_at, auth_at; /* of the first rule, else of defaults */
};
void policy_stats(const struct policy *policy, struct policy_stats *out);

/* The listener at place `at` of a rule's condition, and where the condition stands; false if there is none. */
bool policy_rule_listener(const struct policy *policy, uint32_t rule, uint32_t at, struct span *name,
                          struct policy_spot *spot);

/* What explaining can be asked for beside; all may be left out. */
struct policy_explain_options {
	bool json;            /* one JSON object, with everything; else lines for people, short first */
	bool verbose;         /* lines: every rule and every list, too */
	struct span verdict;  /* what becomes of the request: lines, or members (",\"key\":1"), that stand first */
	struct span more;     /* the same, behind the answers */
	/* Line `line` of a list's file, borrowed until the next call; false: it cannot be read. NULL: nobody reads. */
	bool (*read_line)(void *context, struct span file, unsigned line, struct span *text);
	void *context;
};

/* Append the same decision in words: each question with its answer, rule, file and line, list entry and what is
 * written there of it; what was missing, and what the answer could become; how the names were merged; rules that came
 * too late, and rules that do not match; what every list matches. errors: ERR_MEMORY. */
MUST_USE enum err policy_explain(const struct policy *policy, const struct policy_facts *facts,
                                 const struct policy_explain_options *options, struct buf *out);

/* A name as lists have it: A-labels (IDNA 2008) in lower case. False if it has none, or they do not fit. */
MUST_USE bool policy_name_to_ascii(struct span name, char *out, size_t max, size_t *len);

#endif
