/* SPDX-License-Identifier: Apache-2.0 */
/* Every way in which something can fail, in one table. From one row come the enum, the text in
 * logs, the status of the reply page, the Proxy-Status error token (RFC 9209 section 2.3), the
 * metrics counter and the manual. Adding an error is adding a row. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/* X(name, HTTP status or 0 if none can be sent, RFC 9209 error token or NULL, text for people) */
#define ERR_TABLE(X) \
	X(ERR_REQUEST_SYNTAX, 400, "http_request_error", "the request is malformed") \
	X(ERR_REQUEST_FRAMING, 400, "http_request_error", "the length of the request is ambiguous") \
	X(ERR_REQUEST_TARGET, 400, "http_request_error", "the request target is not valid here") \
	X(ERR_REQUEST_AUTHORITY, 400, "http_request_error", "the host or port is not valid") \
	X(ERR_REQUEST_HOST, 400, "http_request_error", "the request needs exactly one Host field") \
	X(ERR_REQUEST_CONNECT_BODY, 400, "http_request_error", "CONNECT cannot have content") \
	X(ERR_REQUEST_EXPECTATION, 417, "http_request_error", "the expectation is not known") \
	X(ERR_REQUEST_TIMEOUT, 408, "http_request_error", "the request did not arrive in time") \
	X(ERR_REQUEST_SIZE, 431, "http_request_error", "the request head is too large") \
	X(ERR_REQUEST_METHOD, 501, "http_request_error", "the method is not known") \
	X(ERR_REQUEST_VERSION, 505, "http_request_error", "the HTTP version is not supported") \
	X(ERR_REQUEST_SCHEME, 501, "http_request_error", "the URL scheme is not supported") \
	X(ERR_REQUEST_LOOP, 508, "proxy_loop_detected", "the request came back to this proxy") \
	X(ERR_PROXY_PROTOCOL, 0, NULL, "the PROXY protocol header is not valid") \
	X(ERR_POLICY_DENIED, 403, "http_request_denied", "denied by policy") \
	X(ERR_DESTINATION_DENIED, 403, "destination_ip_prohibited", "the destination address is not allowed") \
	X(ERR_INSPECT_UNAVAILABLE, 501, "proxy_configuration_error", "policy wants this inspected, and the configuration has no CA for it (inspection.ca)") \
	X(ERR_AUTH_REQUIRED, 407, "http_request_denied", "the proxy wants to know who is asking") \
	X(ERR_AUTH_LEG, 407, "http_request_denied", "the proxy goes on to ask who it is") \
	X(ERR_AUTH_REFUSED, 407, "http_request_denied", "the credentials are not valid here") \
	X(ERR_AUTH_NOT_OFFERED, 403, "http_request_denied", "policy wants to know who is asking, and this client is offered no way to say so") \
	X(ERR_AUTH_THROTTLED, 429, "http_request_denied", "too many attempts to log on failed") \
	X(ERR_AUTH_UNAVAILABLE, 503, "proxy_internal_error", "who is asking cannot be verified now") \
	X(ERR_AUTH_TIMEOUT, 503, "proxy_internal_error", "who is asking could not be verified in time") \
	X(ERR_ROUTE_SOURCE, 502, "proxy_configuration_error", "the proxy cannot connect from where policy wants it") \
	X(ERR_DNS_NOT_FOUND, 502, "dns_error", "the host name does not exist") \
	X(ERR_DNS_FAILED, 502, "dns_error", "the name servers could not answer") \
	X(ERR_DNS_TIMEOUT, 504, "dns_timeout", "the name servers did not answer in time") \
	X(ERR_ORIGIN_REFUSED, 502, "connection_refused", "the origin refused the connection") \
	X(ERR_ORIGIN_UNREACHABLE, 502, "destination_ip_unroutable", "the origin cannot be reached") \
	X(ERR_ORIGIN_CONNECT_TIMEOUT, 504, "connection_timeout", "the origin did not accept the connection in time") \
	X(ERR_ORIGIN_RESET, 502, "connection_terminated", "the origin reset the connection") \
	X(ERR_ORIGIN_CLOSED, 502, "connection_terminated", "the origin closed the connection before it answered") \
	X(ERR_HELLO_TIMEOUT, 0, NULL, "the client did not finish its ClientHello in time") \
	X(ERR_HELLO_REFUSED, 0, NULL, "the ClientHello is not valid") \
	X(ERR_OPAQUE_DENIED, 0, NULL, "these bytes are neither TLS nor HTTP, and policy wants them inspected") \
	X(ERR_ORIGIN_CERTIFICATE, 502, "tls_certificate_error", "the origin's certificate is not valid") \
	X(ERR_ORIGIN_ALERT, 502, "tls_alert_received", "the origin refused the TLS handshake") \
	X(ERR_ORIGIN_TLS, 502, "tls_protocol_error", "no TLS session with the origin could be made") \
	X(ERR_ORIGIN_TLS_TIMEOUT, 504, "connection_timeout", "the origin did not finish the TLS handshake in time") \
	X(ERR_CLIENT_CERTIFICATE, 502, "tls_certificate_error", "the origin asks for a certificate of the client, which cannot be shown to it here") \
	X(ERR_CLIENT_TLS, 0, NULL, "the client broke off the TLS handshake") \
	X(ERR_CLIENT_TLS_TIMEOUT, 0, NULL, "the client did not finish the TLS handshake in time") \
	X(ERR_INNER_HOST, 403, "http_request_denied", "the request names a host that this session is not with") \
	X(ERR_SIGNER_UNAVAILABLE, 503, "proxy_internal_error", "no certificate can be signed now") \
	X(ERR_SIGNER_REFUSED, 503, "proxy_configuration_error", "no certificate may be signed for this host") \
	X(ERR_RESPONSE_INCOMPLETE, 502, "http_response_incomplete", "the response ended early") \
	X(ERR_RESPONSE_SYNTAX, 502, "http_protocol_error", "the response is malformed") \
	X(ERR_RESPONSE_FRAMING, 502, "http_protocol_error", "the length of the response is ambiguous") \
	X(ERR_RESPONSE_SIZE, 502, "http_response_header_section_size", "the response head is too large") \
	X(ERR_RESPONSE_TIMEOUT, 504, "http_response_timeout", "the origin did not answer in time") \
	X(ERR_UPGRADE_FAILED, 502, "http_upgrade_failed", "the origin switched to a protocol that was not asked for") \
	X(ERR_LIMIT_SESSIONS, 503, "connection_limit_reached", "the proxy has as many sessions as it may") \
	X(ERR_LIMIT_CLIENT, 503, "connection_limit_reached", "this client has as many sessions as it may") \
	X(ERR_LIMIT_FILES, 503, "connection_limit_reached", "the proxy is out of file descriptors or ports") \
	X(ERR_PAGES_BUSY, 503, "connection_limit_reached", "the role public takes no more requests now") \
	X(ERR_SESSION_MEMORY, 503, "proxy_internal_error", "the session needs more memory than it may use") \
	X(ERR_INTERNAL, 500, "proxy_internal_error", "a fault in the proxy") \
	X(ERR_CLIENT_CLOSED, 0, NULL, "the client closed the connection early") \
	X(ERR_CLIENT_RESET, 0, NULL, "the client reset the connection") \
	X(ERR_CLIENT_TIMEOUT, 0, NULL, "the client took no data in time") \
	X(ERR_IDLE_TIMEOUT, 0, NULL, "nothing moved for the idle timeout") \
	X(ERR_HALF_CLOSE_TIMEOUT, 0, NULL, "the other side did not close in time") \
	X(ERR_PATH_DEAD, 0, NULL, "this side took or acknowledged nothing any more: the path is dead, or who is behind it") \
	X(ERR_CUT, 0, NULL, "ended by a reload: the policy denies it now") \
	X(ERR_STOPPED, 0, NULL, "ended because the proxy stopped") \
	X(ERR_SYSTEM, 0, NULL, "a system call failed") \
	X(ERR_MEMORY, 0, NULL, "out of memory") \
	X(ERR_LIMIT, 0, NULL, "a limit was reached") \
	X(ERR_CONFIG, 0, NULL, "the configuration is not valid") \
	X(ERR_MESSAGE, 0, NULL, "a message between roles is not valid")

#define ERR_ENUM(name, status, token, text) name,
enum err { ERR_NONE = 0, ERR_TABLE(ERR_ENUM) ERR_COUNT };
#undef ERR_ENUM

/* HTTP status of the reply page; 0 where no reply can be sent. */
int err_status(enum err err);

/* RFC 9209 error token; NULL where there is none. */
const char *err_token(enum err err);

/* One clause for people: "the origin refused the connection". */
const char *err_text(enum err err);

/* The name for programs, as in the access log: "origin_refused". */
const char *err_name(enum err err);

#endif
