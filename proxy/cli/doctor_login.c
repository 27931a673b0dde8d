/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor_login.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/backend/negotiate_client.h"
#include "auth/scheme/base64.h"
#include "auth/scheme/digest_client.h"
#include "auth/scheme/digest_params.h"
#include "auth/scheme/ntlm.h"
#include "cli/doctor.h"
#include "cli/doctor_work.h"
#include "cli/password.h"

enum { TOKEN_MAX_BYTES = 65536, CHALLENGE_MAX_BYTES = 8192, LEGS_MAX = 5, SENDS_MAX = 4 };

#define BIT(scheme) (1u << (scheme))

static const struct {
	const char *word, *label;
} schemes[DOCTOR_SCHEME_COUNT] = {
	{"", ""},
#define SCHEME_ROW(name, word, label) {word, label},
	DOCTOR_SCHEMES(SCHEME_ROW)
#undef SCHEME_ROW
};

static void begin(struct doctor_probe *probe);

const char *doctor_login_label(enum doctor_scheme scheme)
{
	return schemes[scheme].label;
}

/* ---- options ---- */

static bool read_forced(struct doctor *doctor, const struct command_line *line)
{
	static const struct {
		enum command_option option;
		enum doctor_scheme scheme;
	} forced[] = {{OPTION_proxy_negotiate, DOCTOR_SCHEME_NEGOTIATE}, {OPTION_proxy_ntlm, DOCTOR_SCHEME_NTLM},
	              {OPTION_proxy_digest, DOCTOR_SCHEME_DIGEST}, {OPTION_proxy_basic, DOCTOR_SCHEME_BASIC}};

	for (size_t i = 0; i < COUNT_OF(forced); i++) {
		if (line->options[forced[i].option] == NULL)
			continue;
		if (doctor->login.forced) {
			command_complain("doctor: one of --proxy-negotiate, --proxy-ntlm, --proxy-digest and --proxy-basic is enough; without "
			                 "them the strongest is taken that the proxy offers");
			return false;
		}
		doctor->login.forced = schemes[forced[i].scheme].word;
	}
	if (doctor->login.forced && doctor->login.user.len == 0 && strcmp(doctor->login.forced, "Negotiate") != 0) {
		command_complain("doctor: whose login? --proxy-user NAME");
		return false;
	}
	return true;
}

/* The password comes from who sits there, or from standard input. */
bool doctor_login_init(struct doctor *doctor, const struct command_line *line)
{
	struct doctor_login *login = &doctor->login;
	const char *user = line->options[OPTION_proxy_user], *why = "";

	if (!negotiate_client_init()) {
		command_complain("doctor: no memory");
		return false;
	}
	login->user = span_from(user ? user : "");
	if (user && (login->user.len == 0 || login->user.len > 255 || span_find(login->user, ':') < login->user.len)) {
		command_complain("doctor: --proxy-user takes a name of at most 255 bytes, without a colon: the password is asked for, or "
		                 "read from standard input");
		return false;
	}
	if (!read_forced(doctor, line) || (user && !password_read(user, false, &login->password)))
		return false;
	if (user && !ntlm_init(&why)) {
		login->failed |= BIT(DOCTOR_SCHEME_NTLM) | BIT(DOCTOR_SCHEME_NEGOTIATE_NTLM);
		snprintf(login->why, sizeof(login->why), "NTLM: %s", why);
	}
	return true;
}

void doctor_login_fini(struct doctor *doctor)
{
	secret_fini(&doctor->login.password);
}

static void wipe(struct buf *buf)
{
	if (buf->at)
		explicit_bzero(buf->at, buf->capacity);
	buf_fini(buf);
}

void doctor_login_talk_fini(struct doctor_probe *probe)
{
	struct doctor_talk *talk = &probe->talk;

	if (talk->work)
		doctor_work_leave(talk->work);
	negotiate_client_free(talk->ticket);
	talk->work = NULL;
	talk->ticket = NULL;
	buf_fini(&talk->challenge);
	buf_fini(&talk->ntlm);
	wipe(&talk->value);
}

/* ---- what is offered ---- */

/* Up to a comma that is in no quotes. */
static struct span take_piece(struct span *rest)
{
	bool quoted = false;
	size_t len = 0;
	struct span piece;

	for (; len < rest->len && (quoted || rest->at[len] != ','); len++) {
		if (quoted && rest->at[len] == '\\')
			len++;
		else if (rest->at[len] == '"')
			quoted = !quoted;
	}
	piece = span_first(*rest, len);
	*rest = span_skip(*rest, len + 1);
	return span_trim(piece);
}

/* A scheme stands in front of it, and not the name of a parameter. */
static bool begins_challenge(struct span piece)
{
	struct span word = span_first(piece, span_find(piece, ' ')), behind = span_trim(span_skip(piece, word.len));

	return http_is_token(word) && !(behind.len && behind.at[0] == '=');
}

/* The next one of a field: one, as most send it, or several with commas between (RFC 9110 section 11.6.1). */
static bool next_challenge(struct span *rest, struct span *challenge)
{
	struct span after;

	do
		*challenge = take_piece(rest);
	while (challenge->len == 0 && rest->len);
	for (after = *rest; after.len; *rest = after) {
		struct span piece = take_piece(&after);

		if (begins_challenge(piece))
			break;
		if (piece.len)
			challenge->len = (size_t)(piece.at + piece.len - challenge->at);
	}
	return challenge->len > 0;
}

static struct span scheme_of(struct span challenge)
{
	return span_first(challenge, span_find(challenge, ' '));
}

/* A parameter of Digest; of `text`, or borrowed. Empty: there is none. */
static struct span find_param(struct span challenge, const char *name, struct buf *text)
{
	struct span rest = span_skip(challenge, scheme_of(challenge).len);
	struct digest_param param;

	while (digest_param_next(&rest, &param) == DIGEST_PARAM_ONE)
		if (span_equal_nocase(param.name, span_from(name)))
			return digest_param_value(&param, text);
	return SPAN("");
}

/* 2: SHA-256, 1: MD5, 0: what we cannot. */
static int digest_rank(struct span challenge)
{
	struct buf text;
	struct span name;
	int rank;

	buf_init(&text, challenge.len + 1);
	name = find_param(challenge, "algorithm", &text);
	rank = span_equal_nocase(span_first(name, 7), SPAN("SHA-256"))                      ? 2
	       : name.len == 0 || span_equal_nocase(span_first(name, 3), SPAN("MD5")) ? 1
	                                                                                        : 0;
	buf_fini(&text);
	return rank;
}

static void take_offer(struct doctor_probe *probe, struct span challenge, struct buf *offers)
{
	struct doctor_talk *talk = &probe->talk;
	struct span word = scheme_of(challenge);

	if (!http_is_token(word))
		return;
	if (span_find_span(buf_span(offers), word) == buf_len(offers))
		buf_printf(offers, "%s%.*s", buf_len(offers) ? ", " : "", SPAN_ARG(word));
	for (unsigned i = 1; i < DOCTOR_SCHEME_COUNT; i++)
		if (span_equal_nocase(word, span_from(schemes[i].word)))
			talk->offered |= BIT(i);
	if (span_equal_nocase(word, SPAN("Digest")) && digest_rank(challenge) > digest_rank(buf_span(&talk->challenge)) *
	    (buf_len(&talk->challenge) > 0)) {
		buf_reset(&talk->challenge);
		buf_add(&talk->challenge, challenge);
	}
}

static void read_offers(struct doctor_probe *probe, const struct http_head *head)
{
	struct doctor_talk *talk = &probe->talk;
	struct buf offers;

	talk->offered = 0;
	buf_fini(&talk->challenge);
	buf_init(&talk->challenge, CHALLENGE_MAX_BYTES);
	buf_init(&offers, sizeof(talk->offers) - 1);
	for (size_t i = 0; i < head->field_count; i++) {
		struct span rest = head->fields[i].value, challenge;

		if (!span_equal_nocase(head->fields[i].name, SPAN("proxy-authenticate")))
			continue;
		while (next_challenge(&rest, &challenge))
			take_offer(probe, challenge, &offers);
	}
	probe->doctor->login.offered |= talk->offered;
	snprintf(talk->offers, sizeof(talk->offers), "%.*s", SPAN_ARG(buf_span(&offers)));
	buf_fini(&offers);
}

/* What is behind the word of the scheme that is under way, decoded; empty if there is nothing. */
static void read_token(const struct doctor_probe *probe, const struct http_head *head, struct buf *out)
{
	struct span word = span_from(schemes[probe->talk.scheme].word);

	for (size_t i = 0; i < head->field_count; i++) {
		struct span rest = head->fields[i].value, challenge;

		if (!span_equal_nocase(head->fields[i].name, SPAN("proxy-authenticate")))
			continue;
		while (next_challenge(&rest, &challenge))
			if (span_equal_nocase(scheme_of(challenge), word) && buf_len(out) == 0 &&
			    !base64_decode(span_trim(span_skip(challenge, word.len)), out))
				buf_reset(out);
	}
}

/* Basic sends the password itself. A proxy that offers what hides it and then fails at that gets it only where people say so. */
static bool is_held_back(const struct doctor_login *login, enum doctor_scheme scheme)
{
	unsigned hides = BIT(DOCTOR_SCHEME_NTLM) | BIT(DOCTOR_SCHEME_NEGOTIATE_NTLM) | BIT(DOCTOR_SCHEME_DIGEST);

	return scheme == DOCTOR_SCHEME_BASIC && login->forced == NULL && (login->offered & login->failed & hides);
}

static enum doctor_scheme choose(const struct doctor_probe *probe)
{
	const struct doctor_login *login = &probe->doctor->login;

	for (unsigned i = 1; i < DOCTOR_SCHEME_COUNT; i++)
		if ((probe->talk.offered & ~login->failed & BIT(i)) &&
		    (login->forced == NULL || strcmp(login->forced, schemes[i].word) == 0) &&
		    (login->user.len || i == DOCTOR_SCHEME_NEGOTIATE) && !is_held_back(login, (enum doctor_scheme)i))
			return (enum doctor_scheme)i;
	return DOCTOR_SCHEME_NONE;
}

/* ---- who is first, and who waits ---- */

/* Whoever waits goes on. */
static void release(struct doctor *doctor)
{
	for (size_t i = 0; i < doctor->probe_count; i++) {
		struct doctor_probe *probe = &doctor->probes[i];

		if (probe->phase == DOCTOR_HELD && probe->talk.work == NULL)
			begin(probe);
	}
}

static void hold(struct doctor_probe *probe)
{
	stream_close(&probe->stream, false);
	probe->phase = DOCTOR_HELD;
}

/* On a new connection: proxies close the one on which they said 407, or not. */
static void ask_anew(struct doctor_probe *probe)
{
	probe->phase = DOCTOR_CONNECTING;
	loop_defer(probe->doctor->loop, &probe->redial);
}

static void end_refused(struct doctor_probe *probe)
{
	const struct doctor_login *login = &probe->doctor->login;

	if (login->is_refused)
		doctor_probe_end(probe, DOCTOR_RESULT_LOGIN, "407: the proxy does not take the login of %.*s",
		                 SPAN_ARG(span_first(login->user, 100)));
	else if (login->is_lost)
		doctor_probe_end(probe, DOCTOR_RESULT_LOGIN, "407: the login came to nothing on another connection");
	else
		doctor_probe_end(probe, DOCTOR_RESULT_LOGIN, "407: the proxy asks for a login (%s)", probe->talk.offers);
}

void doctor_login_leave(struct doctor_probe *probe)
{
	struct doctor_login *login = &probe->doctor->login;

	if (login->first != probe)
		return;
	login->first = NULL;
	login->is_lost = login->works == DOCTOR_SCHEME_NONE && probe->talk.leg && !login->is_refused &&
	                 probe->talk.scheme != DOCTOR_SCHEME_NEGOTIATE; /* no password is at risk */
	release(probe->doctor);
}

/* A refusal needs no target, and would be here: the next one tries. */
static void on_silent(struct loop_timer *timer)
{
	struct doctor_probe *probe = CONTAINER_OF(timer, struct doctor_probe, resend);
	struct doctor_login *login = &probe->doctor->login;

	if (login->first != probe || probe->phase != DOCTOR_ASKING_PROXY)
		return;
	login->first = NULL;
	release(probe->doctor);
}

/* What can be tried for the password: of NTLM its third message, of Digest not once more what was stale. */
static bool is_password_sent(const struct doctor_talk *talk)
{
	bool is_ntlm = talk->scheme == DOCTOR_SCHEME_NTLM || talk->scheme == DOCTOR_SCHEME_NEGOTIATE_NTLM;

	return talk->scheme != DOCTOR_SCHEME_NEGOTIATE && talk->leg == (is_ntlm ? 2 : 1);
}

void doctor_login_sent(struct doctor_probe *probe)
{
	struct doctor_login *login = &probe->doctor->login;

	probe->talk.leg++;
	if (probe->talk.scheme == DOCTOR_SCHEME_BASIC)
		login->is_clear = true;
	if (login->works == DOCTOR_SCHEME_NONE)
		login->sent_count += is_password_sent(&probe->talk);
	if (login->first != probe)
		return;
	probe->resend.on_due = on_silent;
	loop_timer_set(probe->doctor->loop, &probe->resend, probe->doctor->timeout_ms / SENDS_MAX);
}

void doctor_login_taken(struct doctor_probe *probe)
{
	struct doctor_login *login = &probe->doctor->login;

	if (probe->talk.scheme == DOCTOR_SCHEME_NONE)
		return;
	login->works = probe->talk.scheme;
	if (login->first == probe)
		doctor_login_leave(probe);
	else
		release(probe->doctor);
}

void doctor_login_due(struct doctor_probe *probe)
{
	doctor_probe_end(probe, DOCTOR_RESULT_LOGIN, "407: the login (%s) is not over in %.3g s", probe->talk.offers,
	                 (double)probe->doctor->timeout_ms / 1000);
}

/* This scheme does not work here: the next one. */
static void fail(struct doctor_probe *probe, enum doctor_scheme scheme, struct span why)
{
	struct doctor_login *login = &probe->doctor->login;
	size_t len = strlen(login->why);

	if (!(login->failed & BIT(scheme)))
		snprintf(login->why + len, sizeof(login->why) - len, "%s%s: %.*s", len ? "; " : "", schemes[scheme].label,
		         SPAN_ARG(span_first(why, 250)));
	login->failed |= BIT(scheme);
	probe->talk.scheme = DOCTOR_SCHEME_NONE;
	probe->talk.leg = 0;
	begin(probe);
}

/* Its password was sent and refused: it is sent no more, by no probe and in no other scheme. */
static void refuse(struct doctor_probe *probe)
{
	probe->doctor->login.is_refused = true;
	end_refused(probe);
}

/* ---- Basic, Digest ---- */

static void set_token(struct doctor_probe *probe, enum doctor_scheme scheme, struct span token)
{
	struct buf *value = &probe->talk.value;

	wipe(value);
	buf_init(value, TOKEN_MAX_BYTES * 4 / 3 + 64);
	buf_printf(value, "%s ", schemes[scheme].word);
	base64_encode(token, value);
}

static void start_basic(struct doctor_probe *probe)
{
	const struct doctor_login *login = &probe->doctor->login;
	struct buf text;

	buf_init(&text, 2048);
	buf_add(&text, login->user);
	buf_add_byte(&text, ':');
	buf_add(&text, span_of(login->password.at, login->password.len));
	set_token(probe, DOCTOR_SCHEME_BASIC, buf_span(&text));
	wipe(&text);
	ask_anew(probe);
}

static void start_digest(struct doctor_probe *probe)
{
	struct doctor_talk *talk = &probe->talk;
	const struct doctor_login *login = &probe->doctor->login;
	struct digest_client client = {.user = login->user, .password = span_of(login->password.at, login->password.len),
	                               .method = SPAN("CONNECT"), .count = 1};
	const char *why = "none of its algorithms is known";
	struct buf uri;

	buf_init(&uri, 400);
	doctor_http_add_authority(probe, &uri);
	client.uri = buf_span(&uri);
	wipe(&talk->value);
	buf_init(&talk->value, CHALLENGE_MAX_BYTES * 2);
	if (buf_len(&talk->challenge) && digest_client_answer(buf_span(&talk->challenge), &client, &talk->value, &why))
		ask_anew(probe);
	else
		fail(probe, DOCTOR_SCHEME_DIGEST, span_from(why));
	buf_fini(&uri);
}

static bool is_stale(const struct doctor_probe *probe)
{
	struct buf text;
	bool stale;

	buf_init(&text, buf_len(&probe->talk.challenge) + 1);
	stale = span_equal_nocase(find_param(buf_span(&probe->talk.challenge), "stale", &text), SPAN("true"));
	buf_fini(&text);
	return stale;
}

/* ---- NTLM ---- */

static void start_ntlm(struct doctor_probe *probe, enum doctor_scheme scheme)
{
	struct buf *first = &probe->talk.ntlm;

	buf_fini(first);
	buf_init(first, ASK_NTLM_MAX_BYTES);
	ntlm_client_negotiate(first);
	set_token(probe, scheme, buf_span(first));
	ask_anew(probe);
}

/* DOMAIN\name, or a name by itself. */
static bool answer_ntlm(struct doctor_probe *probe, struct span challenge, struct buf *out)
{
	const struct doctor *doctor = probe->doctor;
	struct span user = doctor->login.user;
	size_t slash = span_find(user, '\\');
	uint8_t key[NTLM_HASH_BYTES];
	struct buf target;
	struct ntlm_client client = {.user = slash < user.len ? span_skip(user, slash + 1) : user,
	                             .domain = slash < user.len ? span_first(user, slash) : SPAN(""),
	                             .password = span_of(doctor->login.password.at, doctor->login.password.len),
	                             .workstation = SPAN("SALLYPORT"), .mic = true};
	bool well;

	buf_init(&target, 300);
	buf_printf(&target, "HTTP/%.*s", SPAN_ARG(doctor->proxy.name));
	client.target = buf_span(&target);
	well = ntlm_client_authenticate(&client, buf_span(&probe->talk.ntlm), challenge, out, key) && buf_is_whole(out);
	explicit_bzero(key, sizeof(key));
	buf_fini(&target);
	return well;
}

static void go_on_ntlm(struct doctor_probe *probe, const struct http_head *head, struct span challenge)
{
	enum doctor_scheme scheme = probe->talk.scheme;
	struct buf third;

	if (probe->talk.leg > 1) {
		refuse(probe);
		return;
	}
	buf_init(&third, ASK_NTLM_MAX_BYTES);
	if (challenge.len == 0)
		fail(probe, scheme, SPAN("the proxy does not answer its first message"));
	else if (!doctor_http_can_go_on(head))
		fail(probe, scheme, SPAN("the proxy ends the connection in the midst of it"));
	else if (!answer_ntlm(probe, challenge, &third))
		fail(probe, scheme, SPAN("the proxy's second message is none"));
	else {
		set_token(probe, scheme, buf_span(&third));
		doctor_http_go_on(probe, head);
	}
	wipe(&third);
}

/* ---- Negotiate ---- */

/* A ticket is asked of the KDC, whose name is asked of DNS: all that may wait. */
struct ticket {
	struct doctor_work work;
	struct doctor_probe *probe;
	struct negotiate_client *client;
	char host[256];
	struct buf token, why, user;
	bool is_made;
};

static void run_ticket(struct doctor_work *work)
{
	struct ticket *ticket = CONTAINER_OF(work, struct ticket, work);

	ticket->is_made = negotiate_client_step(ticket->client, span_from(ticket->host), SPAN(""), &ticket->token, &ticket->why);
	negotiate_client_user(ticket->client, &ticket->user);
}

static void ticket_done(struct doctor_work *work)
{
	struct ticket *ticket = CONTAINER_OF(work, struct ticket, work);
	struct doctor_probe *probe = ticket->probe;
	struct doctor_login *login = &probe->doctor->login;

	probe->talk.work = NULL;
	loop_timer_clear(probe->doctor->loop, &probe->resend);
	if (buf_len(&ticket->user))
		snprintf(login->ticket_user, sizeof(login->ticket_user), "%.*s", SPAN_ARG(buf_span(&ticket->user)));
	if (!ticket->is_made) {
		fail(probe, DOCTOR_SCHEME_NEGOTIATE, buf_span(&ticket->why));
		return;
	}
	probe->talk.ticket = ticket->client;
	ticket->client = NULL;
	set_token(probe, DOCTOR_SCHEME_NEGOTIATE, buf_span(&ticket->token));
	ask_anew(probe);
}

/* It may have half of the time: the rest is for what else the proxy offers. */
static void on_ticket_due(struct loop_timer *timer)
{
	struct doctor_probe *probe = CONTAINER_OF(timer, struct doctor_probe, resend);
	struct buf why;

	doctor_work_leave(probe->talk.work);
	probe->talk.work = NULL;
	buf_init(&why, 100);
	buf_printf(&why, "no ticket in %.3g s; does the KDC answer?", (double)probe->doctor->timeout_ms / 2000);
	fail(probe, DOCTOR_SCHEME_NEGOTIATE, buf_span(&why));
	buf_fini(&why);
}

static void free_ticket(struct doctor_work *work)
{
	struct ticket *ticket = CONTAINER_OF(work, struct ticket, work);

	negotiate_client_free(ticket->client);
	wipe(&ticket->token);
	buf_fini(&ticket->why);
	buf_fini(&ticket->user);
	free(ticket);
}

static void start_negotiate(struct doctor_probe *probe)
{
	struct ticket *ticket = calloc(1, sizeof(*ticket));

	if (ticket)
		ticket->client = negotiate_client_new();
	if (ticket == NULL || ticket->client == NULL) {
		free(ticket);
		fail(probe, DOCTOR_SCHEME_NEGOTIATE, SPAN("no memory"));
		return;
	}
	buf_init(&ticket->token, TOKEN_MAX_BYTES);
	buf_init(&ticket->why, sizeof(probe->doctor->login.why));
	buf_init(&ticket->user, sizeof(probe->doctor->login.ticket_user) - 1);
	ticket->work = (struct doctor_work){.run = run_ticket, .done = ticket_done, .free = free_ticket};
	ticket->probe = probe;
	snprintf(ticket->host, sizeof(ticket->host), "%.*s", SPAN_ARG(probe->doctor->proxy.name));
	hold(probe);
	negotiate_client_free(probe->talk.ticket);
	probe->talk.ticket = NULL;
	probe->talk.work = &ticket->work;
	if (!doctor_work_start(probe->doctor->works, &ticket->work)) {
		probe->talk.work = NULL;
		fail(probe, DOCTOR_SCHEME_NEGOTIATE, SPAN("there is no thread to be had"));
		return;
	}
	probe->resend.on_due = on_ticket_due;
	loop_timer_set(probe->doctor->loop, &probe->resend, probe->doctor->timeout_ms / 2);
}

/* The library needs nobody for what follows a first token. */
static void go_on_negotiate(struct doctor_probe *probe, const struct http_head *head, struct span came)
{
	struct buf token, why;

	if (came.len == 0 || probe->talk.leg >= LEGS_MAX || !doctor_http_can_go_on(head)) {
		buf_init(&why, 300);
		buf_printf(&why, "the proxy does not take the ticket of %s for HTTP/%.*s", probe->doctor->login.ticket_user,
		           SPAN_ARG(probe->doctor->proxy.name));
		fail(probe, DOCTOR_SCHEME_NEGOTIATE, buf_span(&why));
		buf_fini(&why);
		return;
	}
	buf_init(&token, TOKEN_MAX_BYTES);
	buf_init(&why, 300);
	if (negotiate_client_step(probe->talk.ticket, probe->doctor->proxy.name, came, &token, &why)) {
		set_token(probe, DOCTOR_SCHEME_NEGOTIATE, buf_span(&token));
		doctor_http_go_on(probe, head);
	} else {
		fail(probe, DOCTOR_SCHEME_NEGOTIATE, buf_span(&why));
	}
	wipe(&token);
	buf_fini(&why);
}

/* ---- from leg to leg ---- */

static void start(struct doctor_probe *probe, enum doctor_scheme scheme)
{
	probe->talk.scheme = scheme;
	probe->talk.leg = 0;
	switch (scheme) {
	case DOCTOR_SCHEME_NEGOTIATE:
		start_negotiate(probe);
		break;
	case DOCTOR_SCHEME_NTLM:
	case DOCTOR_SCHEME_NEGOTIATE_NTLM:
		start_ntlm(probe, scheme);
		break;
	case DOCTOR_SCHEME_DIGEST:
		start_digest(probe);
		break;
	case DOCTOR_SCHEME_BASIC:
		start_basic(probe);
		break;
	case DOCTOR_SCHEME_NONE:
	case DOCTOR_SCHEME_COUNT:
		break;
	}
}

static void begin(struct doctor_probe *probe)
{
	struct doctor_login *login = &probe->doctor->login;
	enum doctor_scheme scheme = login->is_refused || login->is_lost ? DOCTOR_SCHEME_NONE : choose(probe);

	if (scheme == DOCTOR_SCHEME_NONE) {
		end_refused(probe);
	} else if (login->works == DOCTOR_SCHEME_NONE && login->first && login->first != probe) {
		hold(probe);
	} else {
		if (login->works == DOCTOR_SCHEME_NONE)
			login->first = probe;
		start(probe, scheme);
	}
}

static void go_on(struct doctor_probe *probe, const struct http_head *head)
{
	struct buf token;

	buf_init(&token, TOKEN_MAX_BYTES);
	switch (probe->talk.scheme) {
	case DOCTOR_SCHEME_NEGOTIATE:
		read_token(probe, head, &token);
		go_on_negotiate(probe, head, buf_span(&token));
		break;
	case DOCTOR_SCHEME_NTLM:
	case DOCTOR_SCHEME_NEGOTIATE_NTLM:
		read_token(probe, head, &token);
		go_on_ntlm(probe, head, buf_span(&token));
		break;
	case DOCTOR_SCHEME_DIGEST:
		if (probe->talk.leg == 1 && is_stale(probe)) {
			start_digest(probe);
			break;
		}
		refuse(probe);
		break;
	case DOCTOR_SCHEME_BASIC:
	case DOCTOR_SCHEME_NONE:
	case DOCTOR_SCHEME_COUNT:
		refuse(probe);
		break;
	}
	wipe(&token);
}

void doctor_login_asked(struct doctor_probe *probe, const struct http_head *head)
{
	const struct doctor_login *login = &probe->doctor->login;

	read_offers(probe, head);
	if (probe->talk.scheme == DOCTOR_SCHEME_NONE || (login->is_refused && login->works == DOCTOR_SCHEME_NONE))
		begin(probe);
	else
		go_on(probe, head);
}

/* ---- what is said of it ---- */

static void add_sent(const struct doctor *doctor, const struct doctor_probe *probe, struct buf *out)
{
	const struct doctor_login *login = &doctor->login;

	if (login->is_refused)
		buf_printf(out, "the proxy does not take the login of %.*s, of which it offers: %s. Is the password right, and may the "
		                "user use the proxy? It was sent ", SPAN_ARG(login->user), probe->talk.offers);
	else
		buf_printf(out, "the proxy asks for a login (%s), and does not answer ", probe->talk.offers);
	if (login->sent_count > 1)
		buf_printf(out, "%s%u times: no refusal came within %.3g s.\n", login->is_refused ? "" : "the login, which was sent ",
		           login->sent_count, (double)doctor->timeout_ms / SENDS_MAX / 1000);
	else
		buf_add_string(out, login->is_refused ? "once, so that no account is locked.\n"
		                                      : "the one that was sent: it is not sent again, so that no account is locked.\n");
}

static void add_failed(const struct doctor *doctor, const struct doctor_probe *probe, struct buf *out)
{
	const struct doctor_login *login = &doctor->login;
	unsigned wanted = 0;

	for (unsigned i = 1; i < DOCTOR_SCHEME_COUNT; i++)
		if (login->forced == NULL || strcmp(login->forced, schemes[i].word) == 0)
			wanted |= BIT(i);
	if (login->is_refused || login->is_lost) {
		add_sent(doctor, probe, out);
	} else if (login->forced && (probe->talk.offered & wanted) == 0) {
		buf_printf(out, "the proxy asks for a login, and offers %s, not %s: leave the option out, and what it offers is taken.\n",
		           probe->talk.offers, login->forced);
	} else if ((probe->talk.offered & wanted) == 0) {
		buf_printf(out, "the proxy asks for a login, and offers %s: doctor can Negotiate, NTLM, Digest and Basic. Apps that cannot "
		                "either need auth: exempt in the policy.\n", probe->talk.offers[0] ? probe->talk.offers : "nothing");
	} else if (login->user.len == 0) {
		buf_printf(out, "the proxy asks for a login, and offers %s: with --proxy-user NAME doctor asks you for the password, and "
		                "tries again%s.\n", probe->talk.offers,
		           probe->talk.offered & BIT(DOCTOR_SCHEME_NEGOTIATE) ? "; or get a ticket with kinit before" : "");
	} else {
		buf_printf(out, "the proxy asks for a login, and nothing of what it offers (%s) works from here.\n", probe->talk.offers);
		if ((probe->talk.offered & BIT(DOCTOR_SCHEME_BASIC)) && is_held_back(login, DOCTOR_SCHEME_BASIC))
			buf_add_string(out, "it offers Basic, too, which would send the password in clear text: --proxy-basic does that.\n");
	}
}

void doctor_login_add_notes(const struct doctor *doctor, const struct doctor_probe *probe, struct buf *out)
{
	const struct doctor_login *login = &doctor->login;
	bool has_ticket = login->works == DOCTOR_SCHEME_NEGOTIATE;

	if (probe)
		add_failed(doctor, probe, out);
	else if (login->works)
		buf_printf(out, "the proxy takes the login of %.*s with %s.\n",
		           SPAN_ARG(has_ticket ? span_from(login->ticket_user) : login->user), schemes[login->works].label);
	if (login->is_clear)
		buf_add_string(out, "the password went in clear text, with Basic.\n");
	if (login->why[0] && (probe || login->works))
		buf_printf(out, "%s%s\n", login->why, login->why[strlen(login->why) - 1] == '?' ? "" : ".");
}
