/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 in an inspected session: the input is what one side sends, the other is a real peer that behaves.
 * Byte 0: flags; byte 1: how the input is cut; then the bytes. The session must give everything back, and hold no more
 * than its windows allow. */
#include "../unit/h2_peer.h"
#include "../unit/session_rig.h"

#include "base/log.h"
#include "session/h2/h2_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FLAG_FROM_ORIGIN = 1, FLAG_PREFACE = 2, FLAG_PEER_SENDS_MUCH = 4, FLAG_PEER_IS_DEAF = 8, FLAG_CLOSES_EARLY = 16 };
enum { INPUT_MAX_BYTES = 8192, TURNS_MAX = 3000, STREAMS_MAX = 1000 };

static const char policy_text[] =
	"rules:\n"
	"- {name: url, when: {url: 'https://origin.example/denied'}, then: {access: deny}}\n"
	"- {name: origin, when: {to: origin.example, port: 1-65535}, then: {access: allow}}\n"
	"defaults: {access: deny, tls: inspect, auth: exempt}\n";

static const char *const ok[] = {":status", "200", "content-type", "text/plain", NULL};
static const char *const requests[][12] = {
	{":method", "GET", ":scheme", "https", ":authority", "origin.example", ":path", "/a", NULL},
	{":method", "HEAD", ":scheme", "https", ":authority", "origin.example", ":path", "/denied", NULL},
	{":method", "POST", ":scheme", "https", ":authority", "origin.example", ":path", "/b", NULL},
};

static struct h2_peer peer;

static void drop_line(void *context, enum log_level level, struct span line)
{
	(void)context;
	if (level == LOG_LEVEL_ERROR && span_find_span(line, SPAN("assertion")) < line.len)
		fprintf(stderr, "%.*s\n", SPAN_ARG(line));
}

static struct session_rig *rig_of_process(void)
{
	static struct session_rig rig;

	if (rig.loop == NULL) {
		log_set_sink(drop_line, NULL);
		session_rig_init(&rig, policy_text);
		policy_rig_remove(&rig.policy);
	}
	return &rig;
}

static unsigned flags_now;

static void answer(struct h2_peer *origin, struct h2_peer_stream *stream)
{
	(void)origin;
	stream->to_send = flags_now & FLAG_PEER_SENDS_MUCH ? 200000 : 10;
	stream->sends_trailers = stream->id % 4 == 1;
	h2_peer_respond(stream, ok, true);
}

static void start_peer(int fd, bool is_server)
{
	const nghttp2_settings_entry extended[] = {{NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1}};

	h2_peer_init(&peer, fd, is_server, false);
	h2_peer_settings(&peer, extended, is_server ? 1 : 0);
	peer.on_request = is_server ? answer : NULL;
	for (size_t i = 0; !is_server && i < COUNT_OF(requests); i++) {
		struct h2_peer_stream *stream = h2_peer_request(&peer, requests[i], i == 2);

		stream->to_send = flags_now & FLAG_PEER_SENDS_MUCH ? 200000 : 10;
		stream->sends_trailers = true;
	}
}

/* The session, with a socket for its origin. */
static struct session *start_session(struct session_rig *rig, int *client_fd, int *origin_fd)
{
	struct stream *stream = calloc(1, origin_bytes);
	struct session *session;
	int ends[2];

	ASSERT(stream && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	*client_fd = session_rig_connect(rig);
	*origin_fd = ends[0];
	session = LIST_ENTRY(rig->env.sessions.previous, struct session, link);
	ASSERT(stream_open_plain(stream, rig->loop, ends[1], on_origin_ready) == ERR_NONE);
	origin_use(session, stream);
	session_rig_open(session, "origin.example");
	session->state = SESSION_TLS_CLIENT;
	h2_start(session);
	session_run(session);
	return session;
}

static void check_bounds(struct session_rig *rig, struct session *session)
{
	uint64_t held[H2_SIDES] = {0, 0}, buffer = rig->conf.limits.buffer_bytes;

	if (list_is_empty(&rig->env.sessions) || session->h2 == NULL)
		return;
	LIST_EACH(&session->h2->streams, link)
	{
		const struct h2_stream *stream = LIST_ENTRY(link, struct h2_stream, link);

		for (int side = 0; side < H2_SIDES; side++)
			held[side] += stream->is_page ? 0 : buf_len(&stream->way[side].data);
	}
	ASSERT(session->h2->stream_count <= STREAMS_MAX);
	ASSERT(held[H2_CLIENT] <= buffer * 16 + 65535 && held[H2_ORIGIN] <= buffer * 64 + 65535);
}

static void one_turn(struct session_rig *rig, struct session *session, int fd)
{
	uint8_t bytes[16384];

	h2_peer_send(&peer);
	loop_turn(rig->loop, 0);
	h2_peer_receive(&peer);
	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	check_bounds(rig, session);
}

static void play(struct session_rig *rig, struct session *session, int fd, struct span bytes, unsigned step)
{
	for (int turn = 0; bytes.len && turn < TURNS_MAX; turn++) {
		struct span piece = span_first(bytes, step);
		ssize_t count = send(fd, piece.at, piece.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (count <= 0)
			break;
		bytes = span_skip(bytes, (size_t)count);
		one_turn(rig, session, fd);
	}
	for (int turn = 0; turn < (flags_now & FLAG_CLOSES_EARLY ? 1 : 20); turn++)
		one_turn(rig, session, fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t preface[] = NGHTTP2_CLIENT_MAGIC "\0\0\0\4\0\0\0\0";
	struct session_rig *rig = rig_of_process();
	struct session *session;
	int client_fd, origin_fd, fd;
	struct buf bytes;
	bool from_origin;

	if (size < 2)
		return 0;
	flags_now = data[0];
	from_origin = flags_now & FLAG_FROM_ORIGIN;
	session = start_session(rig, &client_fd, &origin_fd);
	fd = from_origin ? origin_fd : client_fd;
	start_peer(from_origin ? client_fd : origin_fd, !from_origin);
	peer.is_paused = flags_now & FLAG_PEER_IS_DEAF;
	buf_init(&bytes, INPUT_MAX_BYTES + sizeof(preface));
	/* The last byte of SETTINGS is the literal's own NUL; an origin has no magic. */
	if (flags_now & FLAG_PREFACE)
		buf_add(&bytes, from_origin ? span_of(preface + 24, 9) : span_of(preface, 33));
	buf_add(&bytes, span_first(span_of(data + 2, size - 2), INPUT_MAX_BYTES));
	play(rig, session, fd, buf_span(&bytes), data[1] ? data[1] * 8u : 65536);
	close(fd);
	h2_peer_fini(&peer);
	for (int turn = 0; turn < TURNS_MAX && !list_is_empty(&rig->env.sessions); turn++)
		loop_turn(rig->loop, turn < 100 ? 0 : 10);
	loop_turn(rig->loop, 0);
	session_rig_check_idle(rig);
	buf_fini(&bytes);
	buf_reset(&rig->received);
	buf_reset(&rig->log);
	return 0;
}
