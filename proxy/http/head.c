/* SPDX-License-Identifier: Apache-2.0 */
/* llhttp in strict mode cuts the head into spans; what even that tolerates, and two readers could
 * read differently, is refused here on top. */
#include "http/head.h"

#include <llhttp.h>
#include <string.h>

enum { FIELDS_MAX = 200, CONNECTION_OPTIONS_MAX = 100, LEADING_LINES_MAX = 2 };

/* What one run of llhttp collects. A span may come in pieces only when the input does; the input is
 * one piece here, so each callback is the whole of its thing. */
struct parse {
	llhttp_t parser;
	struct arena *arena;
	struct http_head *head;
	size_t capacity;
	enum err err;
};

size_t http_head_find(struct span bytes, size_t *scanned)
{
	size_t at = *scanned;

	/* An empty line before the request line is skipped (RFC 9112 section 2.2), but only so many. */
	for (;;) {
		struct span rest = span_skip(bytes, at);
		size_t newline = span_find(rest, '\n');
		size_t line = at + newline;

		if (newline == rest.len)
			return 0;
		/* A line feed right behind another, or behind CRLF: the head ends, well-formed or not. */
		if (line >= 1 && bytes.at[line - 1] == '\n')
			return line + 1;
		if (line >= 2 && bytes.at[line - 1] == '\r' && bytes.at[line - 2] == '\n' &&
		    line >= 4)
			return line + 1;
		at = line + 1;
		*scanned = at;
	}
}

static struct span skip_empty_lines(struct span bytes)
{
	for (int i = 0; i < LEADING_LINES_MAX && span_starts_with(bytes, SPAN("\r\n")); i++)
		bytes = span_skip(bytes, 2);
	return bytes;
}

/* ---- llhttp's callbacks ---- */

static struct http_field *last_field(struct parse *parse)
{
	return &parse->head->fields[parse->head->field_count - 1];
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
	((struct parse *)parser->data)->head->target = span_of(at, len);
	return 0;
}

static int on_status(llhttp_t *parser, const char *at, size_t len)
{
	((struct parse *)parser->data)->head->reason = span_of(at, len);
	return 0;
}

static int on_field(llhttp_t *parser, const char *at, size_t len)
{
	struct parse *parse = parser->data;
	struct http_head *head = parse->head;

	if (head->field_count >= FIELDS_MAX) {
		parse->err = ERR_REQUEST_SIZE;
		return -1;
	}
	if (head->field_count == parse->capacity) {
		size_t capacity = parse->capacity ? parse->capacity * 2 : 16;
		struct http_field *grown;

		grown = arena_alloc(parse->arena, capacity * sizeof(*grown));
		if (grown == NULL) {
			parse->err = ERR_SESSION_MEMORY;
			return -1;
		}
		if (head->field_count)
			memcpy(grown, head->fields, head->field_count * sizeof(*grown));
		head->fields = grown;
		parse->capacity = capacity;
	}
	head->fields[head->field_count++] = (struct http_field){span_of(at, len), SPAN("")};
	return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
	last_field(parser->data)->value = span_trim(span_of(at, len));
	return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
	(void)parser;
	return HPE_PAUSED; /* the body is not llhttp's: body.h */
}

static const llhttp_settings_t *settings(void)
{
	static llhttp_settings_t all;

	if (all.on_headers_complete == NULL) {
		llhttp_settings_init(&all);
		all.on_url = on_url;
		all.on_status = on_status;
		all.on_header_field = on_field;
		all.on_header_value = on_value;
		all.on_headers_complete = on_headers_complete;
	}
	return &all;
}

/* ---- lines and characters ---- */

static bool is_token_byte(uint8_t byte)
{
	return (byte >= '0' && byte <= '9') || (span_lower(byte) >= 'a' && span_lower(byte) <= 'z') ||
	       (byte && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

bool http_is_token(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!is_token_byte(text.at[i]))
			return false;
	return text.len > 0;
}

bool http_has_control(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((text.at[i] < 0x20 && text.at[i] != '\t') || text.at[i] == 0x7f)
			return true;
	return false;
}

/* One field line without its end: name, colon, value of visible characters, spaces and tabs. */
static const char *check_field_line(struct span line)
{
	size_t colon = span_find(line, ':');

	if (line.at[0] == ' ' || line.at[0] == '\t')
		return "a field is folded over two lines (obs-fold)";
	if (colon == line.len)
		return "a field line has no colon";
	if (!http_is_token(span_first(line, colon)))
		return "a field name is not a token";
	if (http_has_control(span_skip(line, colon)))
		return "a control character is in a field value";
	return NULL;
}

/* Every line ends with CRLF, and neither CR nor LF is anywhere else. */
static const char *check_lines(struct span bytes)
{
	bool first = true;

	while (bytes.len) {
		size_t newline = span_find(bytes, '\n');
		struct span line = span_first(bytes, newline);
		const char *why;

		if (newline == bytes.len || line.len == 0 || line.at[line.len - 1] != '\r')
			return "a line does not end with CRLF";
		line.len--;
		if (span_find(line, '\r') < line.len)
			return "a bare CR is in the head";
		bytes = span_skip(bytes, newline + 1);
		if (line.len == 0)
			return bytes.len ? "an empty line is inside the head" : NULL;
		why = first ? NULL : check_field_line(line);
		if (why)
			return why;
		first = false;
	}
	return "the head has no end";
}

/* The first line is exactly three parts with one space between, in visible ASCII. */
static enum err check_request_line(struct span line, const char **detail)
{
	struct span rest = line, method, target, version;

	*detail = "the request line is not METHOD SP target SP HTTP/1.1";
	if (!span_split(&rest, ' ', &method) || !span_split(&rest, ' ', &target) || rest.at == NULL)
		return ERR_REQUEST_SYNTAX;
	version = rest;
	for (size_t i = 0; i < target.len; i++)
		if (target.at[i] <= 0x20 || target.at[i] == 0x7f)
			return ERR_REQUEST_SYNTAX;
	if (target.len == 0 || !http_is_token(method) || span_find(version, ' ') < version.len)
		return ERR_REQUEST_SYNTAX;
	if (version.len != 8 || !span_starts_with(version, SPAN("HTTP/")) || version.at[6] != '.' ||
	    version.at[5] < '0' || version.at[5] > '9' || version.at[7] < '0' || version.at[7] > '9')
		return ERR_REQUEST_SYNTAX;
	if (version.at[5] != '1' || version.at[7] > '1') {
		*detail = "only HTTP/1.0 and HTTP/1.1 are spoken here";
		return ERR_REQUEST_VERSION;
	}
	return ERR_NONE;
}

static struct span first_line(struct span bytes)
{
	size_t newline = span_find(bytes, '\n');

	return newline && newline < bytes.len ? span_first(bytes, newline - 1) : SPAN("");
}

enum err http_head_check_start(struct span bytes, const char **detail)
{
	bytes = skip_empty_lines(bytes);
	if (span_find(bytes, '\n') == bytes.len)
		return ERR_NONE;
	return check_request_line(first_line(bytes), detail);
}

/* ---- fields ---- */

const struct http_field *http_find(const struct http_head *head, const char *name)
{
	for (size_t i = 0; i < head->field_count; i++)
		if (span_equal_nocase(head->fields[i].name, span_from(name)))
			return &head->fields[i];
	return NULL;
}

static size_t count_fields(const struct http_head *head, const char *name)
{
	size_t count = 0;

	for (size_t i = 0; i < head->field_count; i++)
		count += span_equal_nocase(head->fields[i].name, span_from(name));
	return count;
}

bool http_has_token(const struct http_head *head, const char *name, struct span token)
{
	for (size_t i = 0; i < head->field_count; i++) {
		struct span rest = head->fields[i].value, piece;

		if (!span_equal_nocase(head->fields[i].name, span_from(name)))
			continue;
		while (span_split(&rest, ',', &piece))
			if (span_equal_nocase(span_trim(piece), token))
				return true;
	}
	return false;
}

bool http_is_hop_by_hop(const struct http_head *head, struct span name)
{
	static const char *const always[] = {
		"connection",       "keep-alive",          "proxy-connection",    "te",
		"transfer-encoding", "upgrade",            "proxy-authenticate",  "proxy-authorization",
		"proxy-authentication-info", "trailer",    "http2-settings",
	};
	/* What Connection cannot make hop-by-hop: taking these away would change what the message means
	 * to the next reader (RFC 9110 section 7.6.1 forbids a sender to name them). */
	static const char *const never[] = {
		"host", "content-length", "content-type", "authorization", "cookie", "cache-control", "via",
		"date", "location", "set-cookie", "max-forwards", "expect", "forwarded", "x-forwarded-for",
	};

	for (size_t i = 0; i < COUNT_OF(always); i++)
		if (span_equal_nocase(name, span_from(always[i])))
			return true;
	for (size_t i = 0; i < COUNT_OF(never); i++)
		if (span_equal_nocase(name, span_from(never[i])))
			return false;
	return http_has_token(head, "connection", name);
}

/* ---- framing (RFC 9112 section 6) ---- */

/* Origins that hand fields on as CGI variables read Transfer_Encoding as Transfer-Encoding. */
static bool is_framing_in_disguise(struct span name)
{
	static const char *const names[] = {"content-length", "transfer-encoding"};

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct span plain = span_from(names[i]);
		size_t at = 0;

		if (name.len != plain.len || span_find(name, '_') == name.len)
			continue;
		while (at < name.len && (span_lower(name.at[at]) == plain.at[at] ||
		                         (name.at[at] == '_' && plain.at[at] == '-')))
			at++;
		if (at == name.len)
			return true;
	}
	return false;
}

/* Content-Length: at most one field, digits alone; Transfer-Encoding: at most one, "chunked" alone. */
static const char *read_framing(struct http_head *head)
{
	const struct http_field *length = http_find(head, "content-length");
	const struct http_field *coding = http_find(head, "transfer-encoding");

	head->framing = head->is_request ? HTTP_NO_BODY : HTTP_UNTIL_CLOSE;
	for (size_t i = 0; i < head->field_count; i++)
		if (is_framing_in_disguise(head->fields[i].name))
			return "Content-Length or Transfer-Encoding with an underscore";
	if (length && coding)
		return "both Content-Length and Transfer-Encoding";
	if (count_fields(head, "content-length") > 1)
		return "more than one Content-Length";
	if (count_fields(head, "transfer-encoding") > 1)
		return "more than one Transfer-Encoding";
	if (coding) {
		if (head->minor == 0)
			return "Transfer-Encoding in HTTP/1.0";
		if (!span_equal_nocase(coding->value, SPAN("chunked")))
			return "Transfer-Encoding is not chunked alone";
		head->framing = HTTP_CHUNKED;
	}
	if (length) {
		if (!span_to_uint(length->value, INT64_MAX, &head->body_bytes))
			return "Content-Length is not a number";
		head->framing = head->is_request && head->body_bytes == 0 ? HTTP_NO_BODY : HTTP_LENGTH;
	}
	return NULL;
}

static void read_connection(struct http_head *head)
{
	const struct http_field *upgrade = http_find(head, "upgrade");
	const char *field = "connection";

	/* Clients of proxies may say Proxy-Connection instead; it counts where Connection says nothing. */
	if (head->is_request && http_find(head, "connection") == NULL)
		field = "proxy-connection";
	head->keep_alive = head->minor == 1 ? !http_has_token(head, field, SPAN("close"))
	                                    : http_has_token(head, field, SPAN("keep-alive"));
	/* To WebSocket and nothing else: inside h2c or another protocol, requests would pass that policy never
	 * sees, and TLS that it may want opened. */
	head->upgrade = head->minor == 1 && http_has_token(head, "connection", SPAN("upgrade")) &&
	                upgrade != NULL && span_equal_nocase(upgrade->value, SPAN("websocket"));
}

static enum err request_err(llhttp_errno_t result)
{
	/* llhttp finds some of what read_framing() would. */
	if (result == HPE_INVALID_CONTENT_LENGTH || result == HPE_UNEXPECTED_CONTENT_LENGTH ||
	    result == HPE_INVALID_TRANSFER_ENCODING)
		return ERR_REQUEST_FRAMING;
	return result == HPE_INVALID_METHOD ? ERR_REQUEST_METHOD : ERR_REQUEST_SYNTAX;
}

/* Each field is looked for among them: their number times that of the fields is work. */
static bool has_many_options(const struct http_head *head)
{
	size_t count = 0;

	for (size_t i = 0; i < head->field_count; i++) {
		struct span rest = head->fields[i].value, option;

		if (!span_equal_nocase(head->fields[i].name, SPAN("connection")))
			continue;
		while (span_split(&rest, ',', &option))
			if (++count > CONNECTION_OPTIONS_MAX)
				return true;
	}
	return false;
}

static enum err run(struct parse *parse, llhttp_type_t type, struct span bytes, const char **detail)
{
	llhttp_errno_t result;

	llhttp_init(&parse->parser, type, settings());
	parse->parser.data = parse;
	result = llhttp_execute(&parse->parser, (const char *)bytes.at, bytes.len);
	if (parse->err) {
		*detail = parse->err == ERR_REQUEST_SIZE ? "too many fields" : "";
		return parse->err;
	}
	if (result != HPE_PAUSED && result != HPE_PAUSED_UPGRADE && result != HPE_OK) {
		*detail = llhttp_get_error_reason(&parse->parser);
		if (*detail == NULL)
			*detail = llhttp_errno_name(result);
		return request_err(result);
	}
	parse->head->minor = parse->parser.http_minor;
	if (has_many_options(parse->head)) {
		*detail = "too many options in Connection";
		return ERR_REQUEST_SIZE;
	}
	return ERR_NONE;
}

static enum err check_request_fields(struct http_head *head, const char **detail)
{
	bool connect = span_equal(head->method, SPAN("CONNECT"));
	size_t hosts = count_fields(head, "host");
	const struct http_field *expect = http_find(head, "expect");

	*detail = hosts ? "more than one Host" : "no Host in HTTP/1.1";
	if (hosts > 1 || (hosts == 0 && head->minor == 1))
		return ERR_REQUEST_HOST;
	*detail = read_framing(head);
	/* cntlm and others say that there is no content (Content-Length: 0), and are right. */
	if (connect && (*detail || head->framing != HTTP_NO_BODY || http_find(head, "transfer-encoding"))) {
		*detail = "CONNECT with Content-Length or Transfer-Encoding";
		return ERR_REQUEST_CONNECT_BODY;
	}
	if (*detail)
		return ERR_REQUEST_FRAMING;
	*detail = "only 100-continue can be expected";
	if (expect && !span_equal_nocase(expect->value, SPAN("100-continue")))
		return ERR_REQUEST_EXPECTATION;
	head->expect_continue = expect != NULL && head->minor == 1;
	*detail = "";
	return ERR_NONE;
}

enum err http_head_parse_request(struct span bytes, struct arena *arena, struct http_head *out,
                                 const char **detail)
{
	struct parse parse = {.arena = arena, .head = out};
	size_t head_bytes = bytes.len;
	struct span line;
	enum err err;

	*out = (struct http_head){.is_request = true};
	bytes = skip_empty_lines(bytes);
	line = first_line(bytes);
	err = check_request_line(line, detail);
	if (err)
		return err;
	*detail = check_lines(bytes);
	if (*detail)
		return ERR_REQUEST_SYNTAX;
	err = run(&parse, HTTP_REQUEST, bytes, detail);
	if (err)
		return err;
	out->method = span_first(line, span_find(line, ' '));
	out->method_number = parse.parser.method;
	out->head_bytes = head_bytes;
	err = check_request_fields(out, detail);
	read_connection(out);
	return err;
}

/* "HTTP/1.1 200 text" (RFC 9112 section 4): the space behind the status may be missing. */
static const char *check_status_line(struct span line)
{
	if (line.len < 12 || !span_starts_with(line, SPAN("HTTP/1.")) || line.at[7] > '1' ||
	    line.at[7] < '0' || line.at[8] != ' ' || line.at[9] < '1' || line.at[9] > '9')
		return "the status line is not HTTP/1.1 SP status SP text";
	if (line.len > 12 && line.at[12] != ' ')
		return "the status has more than three digits";
	for (size_t i = 9; i < 12; i++)
		if (line.at[i] < '0' || line.at[i] > '9')
			return "the status is not three digits";
	if (line.at[9] > '5')
		return "the status is not 100 to 599";
	if (http_has_control(line))
		return "a control character is in the status line";
	return NULL;
}

static void settle_response_framing(struct http_head *head, struct span method)
{
	bool success = head->status >= 200 && head->status < 300;

	if (head->status == 101 || (success && span_equal(method, SPAN("CONNECT"))))
		head->framing = HTTP_TUNNEL;
	else if (head->status < 200 || head->status == 204 || head->status == 304 ||
	         span_equal(method, SPAN("HEAD")))
		head->framing = HTTP_NO_BODY;
}

enum err http_head_parse_response(struct span bytes, struct span method, struct arena *arena,
                                  struct http_head *out, const char **detail)
{
	struct parse parse = {.arena = arena, .head = out};
	size_t head_bytes = bytes.len;
	enum err err;

	*out = (struct http_head){.is_request = false};
	bytes = skip_empty_lines(bytes);
	*detail = check_status_line(first_line(bytes));
	if (*detail == NULL)
		*detail = check_lines(bytes);
	if (*detail)
		return ERR_RESPONSE_SYNTAX;
	err = run(&parse, HTTP_RESPONSE, bytes, detail);
	if (err)
		return err == ERR_SESSION_MEMORY    ? err
		       : err == ERR_REQUEST_SIZE    ? ERR_RESPONSE_SIZE
		       : err == ERR_REQUEST_FRAMING ? ERR_RESPONSE_FRAMING
		                                    : ERR_RESPONSE_SYNTAX;
	out->status = parse.parser.status_code;
	out->head_bytes = head_bytes;
	*detail = read_framing(out);
	if (*detail)
		return ERR_RESPONSE_FRAMING;
	*detail = "";
	settle_response_framing(out, method);
	read_connection(out);
	return ERR_NONE;
}
