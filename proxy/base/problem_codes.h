/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of problems, in one table. From one row come the code behind each message, "code" in JSON and in the event
 * log, and the manual. A code never changes its meaning; adding one is adding a row. */
#ifndef BASE_PROBLEM_CODES_H
#define BASE_PROBLEM_CODES_H

/* X(name, level, code, what it means, what to do) */
#define PROBLEM_CODES(X) \
	X(CONFIGURATION, ERROR, "configuration", "something is not as configuration, policy or lists can be", \
	  "write what the message says") \
	X(DOUBTFUL, WARNING, "doubtful", "it is valid, and can hardly be meant", "see the message") \
	X(NO_FILE, ERROR, "no-file", "a file cannot be read", "correct its path or its permissions") \
	X(BAD_ENTRY, ERROR, "bad-entry", "a line of a list is no entry", \
	  "write a pattern, key=value fields, and # before free text") \
	X(BAD_REGEX, ERROR, "bad-regex", "a regular expression is not valid", "correct it; PCRE2 says where") \
	X(LOOSE_REGEX, ERROR, "loose-regex", \
	  "a regular expression that allows, bypasses or exempts would match longer names, too", \
	  "anchor it at both ends: /^...$/") \
	X(UNKNOWN_KEY, ERROR, "unknown-key", "nobody knows this key", "take the nearest known one, or remove it") \
	X(NO_SCHEME, ERROR, "no-scheme", "clients must say who they are, and no scheme is offered", \
	  "offer one in authentication.schemes, or write auth: exempt") \
	X(SHADOWED_RULE, WARNING, "shadowed-rule", "a rule is never reached: one before it answers for all that it matches", \
	  "remove it, or move it before the other") \
	X(SHADOWED_PORTS, WARNING, "shadowed-ports", \
	  "a rule is never reached at defaults.ports, where one before it answers for all that it matches", \
	  "move it before the other, or give it a port") \
	X(DUPLICATE_RULE, WARNING, "duplicate-rule", "a rule says what one before it says", "remove one of the two") \
	X(SAME_NAME, WARNING, "same-name", "two rules have one name: logs do not tell them apart", "rename one") \
	X(DUPLICATE_ENTRY, WARNING, "duplicate-entry", "an entry is in its list already", "remove one of the two") \
	X(COVERED_ENTRY, WARNING, "covered-entry", "all that an entry matches is matched by a wider one, with the same answers", \
	  "remove it, or the wider one if that is too wide") \
	X(OVERRULED_ENTRY, WARNING, "overruled-entry", \
	  "a rule before the one that uses the entry answers for all that it matches, and otherwise", \
	  "remove it, or move its rule before the other") \
	X(NEVER_MATCHES, WARNING, "never-matches", "no host can match", "correct or remove it") \
	X(ADDRESS_AS_NAME, WARNING, "address-as-name", "names are never addresses, so this does not match the addresses it looks like", \
	  "write a network, such as 10.0.0.0/8") \
	X(PUBLIC_SUFFIX, WARNING, "public-suffix", "anybody can register a name below", "name the owner's domain") \
	X(CDN_WIDE, WARNING, "cdn-wide", "a host for customers of all kinds: what they serve is not one owner's", \
	  "write the full names, or give no bypass and no permission") \
	X(WIDE_REGEX, WARNING, "wide-regex", "a regular expression that loosens matches names of strangers", \
	  "begin with a host and end with the owner's domain") \
	X(EXPIRED, WARNING, "expired", "the entry's time is over: it matches nothing", "remove it, or set a new expires=") \
	X(EXPIRES_SOON, WARNING, "expires-soon", "the entry ends within 14 days", "ask its owner, then set a new expires=") \
	X(BYPASS_WIDER, WARNING, "bypass-wider-than-allow", "what shall not be opened is wider than what is allowed", \
	  "allow the same pattern, or bypass only what is allowed") \
	X(NOT_COMPARED, WARNING, "not-compared", "there are too many rules to compare each with all before it", \
	  "write fewer rules, with lists") \
	X(NEVER_OPENED, WARNING, "never-opened", "a rule asks for what is inside TLS, where TLS is never opened", \
	  "inspect these hosts, or take the condition away") \
	X(AUTH_IMPOSSIBLE, WARNING, "auth-impossible", "a rule asks who it is, where nobody is asked", \
	  "require authentication there, or take user and group away") \
	X(NEVER_KNOWN, WARNING, "never-known", "a condition can never be known of some sessions", \
	  "use other conditions; where it denies it holds for all, where it allows for none") \
	X(NO_EFFECT, WARNING, "no-effect", "an answer has no effect in this version", "leave it out") \
	X(NO_INSPECTION, WARNING, "no-inspection", "sessions that are to be inspected are refused: there is no CA", \
	  "make a CA (sallyport ca init), or write tls: bypass") \
	X(SECRETS, WARNING, "secrets", "secrets of TLS sessions are written to a file", "take the option away when the analysis is done") \
	X(NO_DEFAULT, WARNING, "no-default", "defaults do not say access: what no rule allows is denied", \
	  "write access: deny or access: allow") \
	X(UNUSED_LIST, WARNING, "unused-list", "no rule uses a list", "use it, or remove it") \
	X(UNKNOWN_METHOD, WARNING, "unknown-method", "no request has this method", "methods are written in capitals") \
	X(UNKNOWN_LISTENER, WARNING, "unknown-listener", "a rule is for a listener that is not there", \
	  "take a name from listen: of sallyport.yaml") \
	X(PRIVATE_NETWORK, WARNING, "private-network", "destinations.deny has these addresses: they are never dialled", \
	  "name them in destinations.permit, or remove the entry") \
	X(PUNYCODE_TWIN, WARNING, "punycode-twin", "a name looks like another one and is not the same", \
	  "make sure who owns it; if it is not meant, remove it") \
	X(MIXED_SCRIPT, WARNING, "mixed-script", "a label mixes scripts that no language mixes", \
	  "make sure that it is the name you mean") \
	X(BAD_IDNA, WARNING, "bad-idna", "a label begins with xn-- and is none that IDNA 2008 allows", \
	  "copy the name from its owner's page") \
	X(CUT_OFF, WARNING, "cut-off", "a list does not end with a line break: it may have been written in part", \
	  "look at its last line, and end it with a line break") \
	X(OLD_PRESET, WARNING, "old-preset", "entries were read in their source long ago (read=)", \
	  "read the source again, and set read=") \
	X(SLOW_REGEX, WARNING, "slow-regex", "expressions without a text of three bytes: every name is tried against them", \
	  "write them as names, *.names or globs") \
	X(OPEN_PROXY, WARNING, "open-proxy", "everybody who reaches the listener can use it", \
	  "let rules say from:, or listen on loopback") \
	X(BAD_PAC, ERROR, "bad-pac", "a PAC file cannot say this, or would be too large for browsers", \
	  "decide pac by to, port and from, with few and wide patterns") \
	X(SLOW_PAC, WARNING, "slow-pac", "an expression that a PAC file holds can keep a browser busy for ever", \
	  "repeat no group that is only a repeat itself: write (a+)+ as a+") \
	X(KEYTAB, WARNING, "keytab", "the keytab is not there, cannot be read, or is none", "export it from the directory, and let the proxy read it") \
	X(NO_USERS, WARNING, "no-users", "the user file is not there yet", "sallyport user add NAME makes it") \
	X(OPEN_USERS, WARNING, "open-users", "others on this machine can read the user file", "chmod o-r") \
	X(OTHER_REALM, WARNING, "other-realm", "verifiers of Digest belong to another realm", "set the realm that they were made for, or the passwords again") \
	X(BASIC_IN_CLEAR, WARNING, "basic-in-clear", "passwords go over the network in clear", "offer digest, ntlm or negotiate there, or listen on loopback") \
	X(CLOCK_SKEW, WARNING, "clock-skew", "this machine's clock is not that of the authority", "set it by NTP: Kerberos refuses more than five minutes") \
	X(WEAK_SCHEME, WARNING, "weak-scheme", "a scheme is offered that can be broken", "switch it off, or allow it by network alone") \
	X(OPEN_TOKEN, WARNING, "open-token", "who listens in on the network learns the token for /metrics", \
	  "listen on loopback, or in a network of those who watch") \
	X(BAD_CA, ERROR, "bad-ca", "clients would refuse what this CA signs, or its key cannot be used", \
	  "write what the message says; sallyport ca init makes one that is well") \
	X(DOUBTFUL_CA, WARNING, "doubtful-ca", "the CA can be used, and could be better", "see the message") \
	X(CONSTRAINED_CA, WARNING, "constrained-ca", "policy inspects hosts that the CA may sign no certificates for", \
	  "deny or bypass these hosts by a rule, or take a CA without these name constraints") \
	X(FEW_FILES, WARNING, "few-files", "the system lets a worker open fewer files than it may need", \
	  "raise LimitNOFILE, or lower limits.sessions") \
	X(RESTART_NEEDED, WARNING, "restart-needed", "an option has changed that a reload cannot change", "restart") \
	X(LOG_SOCKET, WARNING, "log-socket", "the socket of the log is not there", "start what reads it")

#endif
