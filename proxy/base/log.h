/* SPDX-License-Identifier: Apache-2.0 */
/* The event log: what happened to the proxy itself (not one line per exchange: that is the access
 * log). Each event is a row that says how grave it is and what an operator should do; the manual
 * is printed from it. Where lines go is the role's business: log_set_sink(). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/buf.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* X(event, level, text, what the operator should do or "") ; error = someone must act. */
#define LOG_EVENTS(X) \
	X(EV_START, NOTICE, "started", "") \
	X(EV_READY, NOTICE, "ready for clients", "") \
	X(EV_STOP, NOTICE, "stopped", "") \
	X(EV_DRAIN, NOTICE, "draining: no new sessions, waiting for those that run", "") \
	X(EV_RELOAD, NOTICE, "configuration reloaded", "") \
	X(EV_RELOAD_REFUSED, ERROR, "reload refused, what was in force stays", "mend the problems named and reload again") \
	X(EV_CUT, NOTICE, "session ended: the policy in force denies it", "") \
	X(EV_CONFIG_PROBLEM, ERROR, "problem in the configuration", "mend the file at the place named") \
	X(EV_CONFIG_WARNING, WARNING, "doubtful in the configuration", "look at the place named") \
	X(EV_TOKEN_MADE, NOTICE, "there was no token for /metrics and /calls, so one was made", "give it to who collects metrics") \
	X(EV_LISTEN_LOST, ERROR, "a listening socket was ended or changed by a role, and is as it was again", "treat it as an attack until explained") \
	X(EV_LISTEN_FAILED, ERROR, "cannot listen", "free the address, or change listen in the configuration") \
	X(EV_ROLE_STARTED, INFO, "role started", "") \
	X(EV_ROLE_DIED, ERROR, "role died and will be restarted", "report it with the lines before it; with a worker its sessions are lost") \
	X(EV_ROLE_MESSAGE, ERROR, "role sent a message that is not valid and was ended", "treat it as an attack until explained") \
	X(EV_LIMIT_REACHED, WARNING, "limit reached, sessions are refused", "raise the limit, or find the client that uses it up") \
	X(EV_RATES_SHARED, WARNING, "more rate limits are in use than the table has room for: some share one until there is room", "raise limits.sessions (by a restart), or write fewer limits") \
	X(EV_FILES_REACHED, ERROR, "out of file descriptors", "raise LimitNOFILE, or lower limits.sessions") \
	X(EV_LOG_DROPPED, WARNING, "lines of the access log were dropped", "give the logger a faster disk, or log less") \
	X(EV_LOG_FAILED, ERROR, "cannot write a log", "free space, or mend the path or its permissions") \
	X(EV_LOG_REOPENED, INFO, "log files reopened", "") \
	X(EV_HITS, WARNING, "hits of entries cannot be kept over restarts", "mend the path (option hits) or its permissions; a file that is damaged can be removed: counting begins anew") \
	X(EV_AUTH_FILES, NOTICE, "files of authentication have changed and are in force", "") \
	X(EV_AUTH_FILES_REFUSED, ERROR, "files of authentication have changed and are refused, what was in force stays", "mend the problems named") \
	X(EV_AUTH_LOST, ERROR, "all threads of a backend hang: the verifier is started anew", "look why the authority does not answer") \
	X(EV_AUTH_UNSENT, WARNING, "answers of the verifier were lost, as workers did not take them", "report it if it goes on") \
	X(EV_AUTH_LIBRARY, ERROR, "a library of authentication cannot be used", "install it, or mend what is named") \
	X(EV_CLIENT_CERTIFICATE, NOTICE, "an origin asks for a certificate of the client, which an opened session cannot show", "where clients have one, put the entry on a list that is bypassed") \
	X(EV_PIN_SUSPECTED, NOTICE, "a client does not take our certificate for one host, and takes those for others: it may pin that host's", "if it has to work, put the entry on a list that is bypassed; sallyport list suggest proposes it") \
	X(EV_CA_NOT_TRUSTED, WARNING, "a client takes no certificate of ours for any host: it does not have our CA", "install the CA on it: sallyport ca show tells where it is; public serves it, at /ca") \
	X(EV_CA, ERROR, "the inspection CA cannot be used", "mend what is named, then reload") \
	X(EV_CA_IN_FORCE, NOTICE, "certificates for opened hosts are signed by this CA", "") \
	X(EV_MEDIA_LAST_RESORT, WARNING, "a call goes through this proxy as its last resort, the first one for ten minutes", "open UDP 5004 to the media networks; sallyport status has how many and from where, sallyport doctor which way is open") \
	X(EV_MEDIA_DEMOTED, WARNING, "a tunnel was taken for a call by its first bytes (class: auto), and moves more than calls do: it is served as bulk now", "if it is a call, raise classes.media.most or have a rule say class: media; else somebody wants to be served first") \
	X(EV_MEDIA_TOO_MANY, WARNING, "a tunnel begins like a call (class: auto), and its client has as many calls as one may have: it is served as anything else", "if many people come from this address, raise classes.media.per_client or have a rule say class: media; else somebody wants to be served first") \
	X(EV_SIGNER_BUSY, WARNING, "the signer could not serve all questions of workers", "report it if it goes on") \
	X(EV_MEMORY_UNLOCKED, WARNING, "memory for keys cannot be locked: it may be written to swap", "raise LimitMEMLOCK, or encrypt the swap") \
	X(EV_DNS_FAILED, WARNING, "name servers do not answer", "check dns.servers and the network") \
	X(EV_SANDBOX, ERROR, "sandbox cannot be set up", "use a kernel with seccomp; as root, leave CAP_SETUID, CAP_SETGID and CAP_SETPCAP to it; else report it") \
	X(EV_SYSTEM, ERROR, "a system call failed", "see the error named") \
	X(EV_SURPRISE, ERROR, "a fault in the proxy; one session was ended", "report it with this line") \
	X(EV_TRACE, DEBUG, "trace", "")

#define LOG_ENUM(event, level, text, action) event,
enum log_event { LOG_EVENTS(LOG_ENUM) LOG_EVENT_COUNT };
#undef LOG_ENUM

struct log_event_row {
	const char *name, *text, *action;
	enum log_level level;
};

/* Append the name of an event as lines begin with it: "role_died". */
void log_add_event_name(enum log_event event, struct buf *out);

/* The row of an event: for the manual and for sinks. */
const struct log_event_row *log_event_row(enum log_event event);

/* "error", "warning", ... */
const char *log_level_name(enum log_level level);

/* Where lines go; the line has neither time nor newline. Called in the caller's context and must
 * not block in a worker. The default writes them to standard error. */
typedef void log_sink(void *context, enum log_level level, struct span line);
void log_set_sink(log_sink *sink, void *context);

/* What is written at all; default LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);
enum log_level log_level(void);

/* Faults that SURPRISE() met in this process since its start. */
uint64_t log_surprise_count(void);

/* Log one event with details as by printf ("key=value key=value"); "" for none. Control characters
 * in the result are escaped, errno is preserved. The line reads
 * "EVENT level: text: details (what to do)". */
void log_event(enum log_event event, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
