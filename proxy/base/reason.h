/* SPDX-License-Identifier: Apache-2.0 */
/* Why an answer was given, or a session refused, in one table. The same code stands in explain, in the access log
 * ("why"), on the error page and in Proxy-Status. Which failure it was is another question: err.h. Adding a reason is
 * adding a row. */
#ifndef BASE_REASON_H
#define BASE_REASON_H

/* X(name, code, one sentence for the manual) */
#define REASON_TABLE(X) \
	X(REASON_RULE, "rule", "all conditions of the rule hold") \
	X(REASON_DEFAULT, "default", "no rule answers, and so defaults does") \
	X(REASON_PORT_NOT_OPEN, "port-not-open", \
	  "no rule answers; defaults would allow, but not on this port (defaults.ports)") \
	X(REASON_NEVER_KNOWN, "never-known", \
	  "a condition of the rule asks for what can never be known of this session; where it denies, inspects or " \
	  "requires, it counts as true") \
	X(REASON_REGEX_LIMIT, "regex-limit", \
	  "a regular expression of the rule gave up at its limits; where it denies, inspects or requires, it counts as " \
	  "a match") \
	X(REASON_URL_MEMORY, "url-memory", "there was no memory to read the URL as origins do") \
	X(REASON_SNI_DIFFERS, "sni-differs", \
	  "the rule says sni: must-match, and the ClientHello names another host than was asked for") \
	X(REASON_GUARD, "guard", "the address is one of destinations.deny") \
	X(REASON_OWN_ADDRESS, "own-address", "the address is one of the proxy itself")

#define REASON_ENUM(name, code, text) name,
enum reason { REASON_NONE = 0, REASON_TABLE(REASON_ENUM) REASON_COUNT };
#undef REASON_ENUM

/* The code for programs: "port-not-open"; "" for REASON_NONE. */
const char *reason_name(enum reason reason);

/* The sentence of the manual. */
const char *reason_text(enum reason reason);

#endif
