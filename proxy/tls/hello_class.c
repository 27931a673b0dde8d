/* SPDX-License-Identifier: Apache-2.0 */
/* What a client begins with. Each protocol looks at the first bytes and says yes, no, or that it wants more; the first in the
 * table that says yes has it, once all before it have said no. So an answer never changes when more bytes come. */
#include "base/cursor.h"
#include "tls/hello_private.h"

enum match { MATCH_NO, MATCH_MAYBE, MATCH_YES };

/* Byte `i`, or -1 where it has not come. */
static int at(struct span bytes, size_t i)
{
	return i < bytes.len ? bytes.at[i] : -1;
}

/* Bytes i and i + 1 as a number, or -1. */
static int pair(struct span bytes, size_t i)
{
	return i + 1 < bytes.len ? bytes.at[i] << 8 | bytes.at[i + 1] : -1;
}

static bool within(int value, int low, int high)
{
	return value >= low && value <= high;
}

/* No: it has come and is not so. Maybe: it has not come. */
static enum match check(int value, int low, int high)
{
	if (value < 0)
		return MATCH_MAYBE;
	return within(value, low, high) ? MATCH_YES : MATCH_NO;
}

/* The worst of `count` answers, none of which waits for another. */
static enum match all(const enum match *matches, size_t count)
{
	enum match worst = MATCH_YES;

	for (size_t i = 0; i < count; i++)
		if (matches[i] < worst)
			worst = matches[i];
	return worst;
}
#define ALL(...) all((const enum match[]){__VA_ARGS__}, sizeof((const enum match[]){__VA_ARGS__}) / sizeof(enum match))

static enum match begins(struct span bytes, struct span with)
{
	if (bytes.len >= with.len)
		return span_starts_with(bytes, with) ? MATCH_YES : MATCH_NO;
	return span_starts_with(with, bytes) ? MATCH_MAYBE : MATCH_NO;
}

/* A handshake record with a ClientHello; or what OpenSSL passes over: an empty one, or an empty change of ciphers. An alert
 * is of TLS, but no way to begin. */
static enum match is_tls(struct span bytes)
{
	enum match head = ALL(check(at(bytes, 0), 20, 22), check(at(bytes, 1), 3, 3), check(pair(bytes, 3), 0, 16384));

	if (at(bytes, 0) == 21)
		return ALL(head, check(pair(bytes, 3), 2, 2), check(at(bytes, 5), 1, 2));
	if (at(bytes, 0) == 20)
		return ALL(head, check(pair(bytes, 3), 0, 0));
	if (pair(bytes, 3) == 0)
		return head;
	return ALL(head, check(at(bytes, 5), 1, 1));
}

/* What libwebrtc and others begin media with that is to pass for TLS ("ssltcp"): a ClientHello of SSLv2, with a challenge that is
 * always the same. */
static enum match is_ssltcp(struct span bytes)
{
	static const uint8_t said[] = {
		0x80, 0x46, 0x01, 0x03, 0x01, 0x00, 0x2d, 0x00, 0x00, 0x00, 0x10, 0x01, 0x00, 0x80, 0x03, 0x00, 0x80, 0x07,
		0x00, 0xc0, 0x06, 0x00, 0x40, 0x02, 0x00, 0x80, 0x04, 0x00, 0x80, 0x00, 0x00, 0x04, 0x00, 0xfe, 0xff, 0x00,
		0x00, 0x0a, 0x00, 0xfe, 0xfe, 0x00, 0x00, 0x09, 0x00, 0x00, 0x64, 0x00, 0x00, 0x62, 0x00, 0x00, 0x03, 0x00,
		0x00, 0x06, 0x1f, 0x17, 0x0c, 0xa6, 0x2f, 0x00, 0x78, 0xfc};

	_Static_assert(sizeof(said) == HELLO_CLASSIFY_MAX_BYTES, "more is not looked at");
	return begins(bytes, span_of(said, sizeof(said)));
}

static enum match is_sslv2(struct span bytes)
{
	int version = pair(bytes, 3);

	return ALL(check(at(bytes, 0), 0x80, 0xff), check(at(bytes, 2), 1, 1),
	           version == 2 ? MATCH_YES : check(version, 0x0300, 0x03ff));
}

/* A record with a ClientHello of DTLS (RFC 6347), bare or with a length before it (RFC 4571). */
static enum match is_dtls_at(struct span bytes, size_t begin)
{
	return ALL(check(at(bytes, begin), 22, 22), check(at(bytes, begin + 1), 0xfe, 0xfe),
	           check(at(bytes, begin + 2), 0xfc, 0xff));
}

static enum match is_dtls(struct span bytes)
{
	enum match bare = is_dtls_at(bytes, 0);
	enum match framed = ALL(check(pair(bytes, 0), 25, 1500), is_dtls_at(bytes, 2));

	return bare > framed ? bare : framed;
}

static enum match is_h2c(struct span bytes)
{
	return begins(bytes, SPAN("PRI * HTTP/2.0\r\n"));
}

static enum match is_ssh(struct span bytes)
{
	return begins(bytes, SPAN("SSH-"));
}

static enum match is_bittorrent(struct span bytes)
{
	return begins(bytes, SPAN("\x13" "BitTorrent protocol"));
}

/* A message of RFC 8489 that a client begins with: class and method are small numbers. */
static enum match is_stun_at(struct span bytes, size_t begin)
{
	int len = pair(bytes, begin + 2);

	return ALL(check(at(bytes, begin), 0, 0), check(at(bytes, begin + 1), 0, 0x1f),
	           len >= 0 && len % 4 ? MATCH_NO : check(len, 0, 1024), begins(span_skip(bytes, begin + 4), SPAN("\x21\x12\xa4\x42")));
}

/* Frames are shorter than what SOCKS begins with, read as a length. */
static enum match is_stun(struct span bytes)
{
	int frame = pair(bytes, 0), len = pair(bytes, 4);
	enum match bare = is_stun_at(bytes, 0);
	enum match framed = ALL(check(frame, 20, 1024), len < 0 ? MATCH_MAYBE : check(len, frame - 20, frame - 20),
	                        is_stun_at(bytes, 2));

	return bare > framed ? bare : framed;
}

/* A connection request of X.224 in a TPKT (RFC 1006). */
static enum match is_rdp(struct span bytes)
{
	return ALL(check(at(bytes, 0), 3, 3), check(at(bytes, 1), 0, 0), check(pair(bytes, 2), 11, 1024),
	           check(at(bytes, 5), 0xe0, 0xe0));
}

/* RFC 1928: a count, and so many methods. */
static enum match is_socks5(struct span bytes)
{
	int count = at(bytes, 1);
	enum match match = ALL(check(at(bytes, 0), 5, 5), check(count, 1, 10));

	for (int i = 0; match != MATCH_NO && i < count; i++)
		match = ALL(match, check(at(bytes, 2 + (size_t)i), 0, 9));
	return match;
}

/* A command, port, address, and a name of a user that a NUL ends. */
static enum match is_socks4(struct span bytes)
{
	enum match match = ALL(check(at(bytes, 0), 4, 4), check(at(bytes, 1), 1, 2), check(at(bytes, 8), 0, 0x7e));

	for (size_t i = 8; match != MATCH_NO && at(bytes, i) != 0; i++) {
		match = ALL(match, check(at(bytes, i), 0x20, 0x7e));
		if (at(bytes, i) < 0)
			break;
	}
	return match;
}

static enum match is_socks(struct span bytes)
{
	enum match five = is_socks5(bytes), four = is_socks4(bytes);

	return five > four ? five : four;
}

static bool is_token_byte(int byte)
{
	return within(byte, 'A', 'Z') || within(byte, 'a', 'z') || within(byte, '0', '9') || byte == '-' || byte == '_';
}

/* Methods whose "METHOD /" nothing else begins with: others of that look (RTSP, SIP) have URLs or "*". */
static bool is_method(struct span word)
{
	static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
	                                      "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH",
	                                      "REPORT", "PURGE"};

	for (size_t i = 0; i < COUNT_OF(methods); i++)
		if (span_equal(word, span_from(methods[i])))
			return true;
	return false;
}

static enum match is_version(struct span rest)
{
	enum match match = begins(rest, SPAN("HTTP/1."));

	return match == MATCH_YES ? check(at(rest, 7), '0', '9') : match;
}

/* What stands behind a method and a space. */
static enum match is_target(struct span rest, bool known)
{
	size_t len = span_find(rest, ' ');

	if (known && (at(rest, 0) == '/' || begins(rest, SPAN("http://")) == MATCH_YES || begins(rest, SPAN("https://")) == MATCH_YES))
		return MATCH_YES;
	for (size_t i = 0; i < len; i++)
		if (!within(rest.at[i], 0x21, 0xff) || rest.at[i] == 0x7f)
			return MATCH_NO;
	if (len == rest.len)
		return MATCH_MAYBE;
	return len ? is_version(span_skip(rest, len + 1)) : MATCH_NO;
}

/* RFC 9112 section 3, and the empty line before it of section 2.2. */
static enum match is_http(struct span bytes)
{
	size_t len = 0;

	if (at(bytes, 0) == '\r') {
		if (at(bytes, 1) != '\n')
			return check(at(bytes, 1), '\n', '\n');
		bytes = span_skip(bytes, 2);
	}
	while (is_token_byte(at(bytes, len)))
		len++;
	if (len == bytes.len)
		return MATCH_MAYBE;
	if (len == 0 || bytes.at[len] != ' ')
		return MATCH_NO;
	return is_target(span_skip(bytes, len + 1), is_method(span_first(bytes, len)));
}

/* A length and the fixed head of RTP (RFC 3550 section 5.1) or RTCP (6.1). Weak, and the last for it. */
static enum match is_rtp(struct span bytes)
{
	int frame = pair(bytes, 0), first = at(bytes, 2), type = at(bytes, 3), words = pair(bytes, 4);

	if (type < 0)
		return ALL(MATCH_MAYBE, check(at(bytes, 0), 0, 5), check(frame, 8, 1500), check(first, 0x80, 0xbf));
	if (within(type, 200, 207))
		return ALL(check(frame, 8, 1500), check(first, 0x80, 0xbf),
		           words < 0 ? MATCH_MAYBE : check(4 * words + 4, 8, frame));
	return ALL(check(frame, 12 + 4 * (first & 15), 1500), check(first, 0x80, 0xbf),
	           within(type & 0x7f, 35, 95) ? MATCH_NO : MATCH_YES);
}

static const struct {
	enum hello_class class;
	enum match (*is)(struct span bytes);
} protocols[] = {{HELLO_TLS, is_tls},   {HELLO_SSLTCP, is_ssltcp}, {HELLO_SSLV2, is_sslv2}, {HELLO_DTLS, is_dtls},
                 {HELLO_H2C, is_h2c},   {HELLO_SSH, is_ssh},     {HELLO_BITTORRENT, is_bittorrent},
                 {HELLO_STUN, is_stun}, {HELLO_RDP, is_rdp},     {HELLO_SOCKS, is_socks},
                 {HELLO_HTTP, is_http}, {HELLO_RTP, is_rtp}};

bool hello_classify(struct span bytes, enum hello_class *class)
{
	struct span first = span_first(bytes, HELLO_CLASSIFY_MAX_BYTES);

	*class = HELLO_TLS;
	for (size_t i = 0; i < COUNT_OF(protocols); i++) {
		enum match match = protocols[i].is(first);

		if (match == MATCH_MAYBE && bytes.len < HELLO_CLASSIFY_MAX_BYTES)
			return false;
		if (match == MATCH_YES) {
			*class = protocols[i].class;
			return true;
		}
	}
	*class = HELLO_UNKNOWN;
	return true;
}

enum hello_call hello_call_of(struct span bytes, enum hello_class *class)
{
	if (!hello_classify(bytes, class))
		return HELLO_CALL_OPEN;
	if (*class == HELLO_RTP)
		return HELLO_CALL_LIKELY;
	if (*class == HELLO_DTLS && is_dtls_at(bytes, 0) == MATCH_YES) /* without a frame it is not for TCP */
		return HELLO_CALL_NO;
	return *class == HELLO_DTLS || *class == HELLO_STUN || *class == HELLO_SSLTCP ? HELLO_CALL_YES : HELLO_CALL_NO;
}

const char *hello_class_name(enum hello_class class)
{
#define HELLO_CLASS_TEXT(name, text) text,
	static const char *const names[] = {HELLO_CLASSES(HELLO_CLASS_TEXT)};

	return class < HELLO_CLASS_COUNT ? names[class] : "unknown";
}
