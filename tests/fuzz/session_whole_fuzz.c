/* SPDX-License-Identifier: Apache-2.0 */
/* A whole session: what the client sends and what the origin answers are the input, cut at random.
 * Byte 0: flags; byte 1: how things are cut; then the client's bytes, 0xff 0xff, the origin's bytes.
 * "PORT!" in the client's bytes stands for the origin's port. The session must come to its end by
 * itself once both have closed, and give everything back. */
#include "../unit/session_rig.h"

#include <errno.h>

#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FLAG_ORIGIN_CLOSES = 1, FLAG_CLIENT_LEAVES_EARLY = 2, FLAG_CLIENT_SHUTS = 4, FLAG_WAITS = 8 };
enum { TURNS_MAX = 3000 };

static const char policy_text[] =
	"rules:\n"
	"- {name: address, when: {to: [10.0.0.0/8, 127.0.0.0/9], resolved: true, port: 1-3}, then: {access: deny}}\n"
	"- {name: url, when: {url: 'http://origin.example/denied'}, then: {access: deny}}\n"
	"- {name: origin, when: {to: [origin.example, 127.0.0.1], port: 1-65535}, then: {access: allow, class: auto}}\n"
	"defaults: {access: deny, tls: bypass, auth: exempt}\n";

/* Only what ends the process is of interest. */
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

/* The client's bytes with the port put in. */
static void fill_in(const struct session_rig *rig, struct span text, struct buf *out)
{
	while (text.len) {
		size_t at = span_find_span(text, SPAN("PORT!"));

		buf_add(out, span_first(text, at));
		if (at < text.len)
			buf_printf(out, "%05u", rig->origin_port);
		text = span_skip(text, at + 5);
	}
}

struct cuts {
	uint32_t state;
};

static size_t next_cut(struct cuts *cuts)
{
	cuts->state = cuts->state * 1103515245u + 12345u;
	return (cuts->state >> 16) % (cuts->state & 0x4000 ? 700 : 7) + 1;
}

static void swallow(int fd)
{
	uint8_t bytes[4096];

	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void play_client(struct session_rig *rig, int fd, struct span text, unsigned flags, struct cuts *cuts)
{
	for (int turn = 0; text.len && turn < TURNS_MAX; turn++) {
		struct span piece = span_first(text, next_cut(cuts));
		ssize_t count = send(fd, piece.at, piece.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (count < 0 && errno != EAGAIN)
			return;
		text = span_skip(text, count > 0 ? (size_t)count : 0);
		loop_turn(rig->loop, 0);
		swallow(fd);
	}
	if (flags & FLAG_CLIENT_SHUTS)
		shutdown(fd, SHUT_WR);
	for (int turn = 0; turn < (flags & FLAG_WAITS ? 30 : 4); turn++) {
		loop_turn(rig->loop, 0);
		swallow(fd);
	}
}

static void close_origins(struct session_rig *rig)
{
	for (size_t i = 0; i < SESSION_RIG_ORIGINS; i++)
		loop_close(rig->loop, &rig->origins[i].io);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct session_rig *rig = rig_of_process();
	struct span text;
	struct cuts cuts;
	struct buf client;
	size_t middle;
	int fd;

	if (size < 2)
		return 0;
	cuts = (struct cuts){data[1]};
	text = span_of(data + 2, size - 2);
	middle = span_find_span(text, SPAN("\xff\xff"));
	rig->script = span_skip(text, middle + 2);
	rig->script_step = next_cut(&cuts);
	rig->origin_closes = data[0] & FLAG_ORIGIN_CLOSES;
	buf_init(&client, 1 << 20);
	fill_in(rig, span_first(text, middle), &client);
	fd = session_rig_connect(rig);
	play_client(rig, fd, buf_span(&client), data[0], &cuts);
	if (!(data[0] & FLAG_CLIENT_LEAVES_EARLY))
		close_origins(rig);
	close(fd);
	for (int turn = 0; turn < TURNS_MAX && !list_is_empty(&rig->env.sessions); turn++) {
		loop_turn(rig->loop, turn < 100 ? 0 : 10);
		close_origins(rig);
	}
	loop_turn(rig->loop, 0);
	session_rig_check_idle(rig);
	buf_fini(&client);
	buf_reset(&rig->received);
	buf_reset(&rig->log);
	return 0;
}
