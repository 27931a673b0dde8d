/* SPDX-License-Identifier: Apache-2.0 */
#include "session/media_tunnel.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/socket.h"
#include "session/inspect.h"
#include "session/media_networks.h"

enum {
	QUIET_MS = 600000, /* the first call behind so long a quiet is told */
	TELL_MS = 60000,   /* tricks are told once a minute */
};

/* ---- events ---- */

static void tell(enum log_event event, const struct tunnel *tunnel, const char *more)
{
	struct buf client;

	buf_init(&client, 64);
	address_format(&tunnel->session->client_address, &client);
	log_event(event, "client=%.*s host=%.*s port=%u%s", SPAN_ARG(buf_span(&client)), tunnel->host_len,
	          tunnel->text + tunnel->method_len, (unsigned)tunnel->port, more);
	buf_fini(&client);
}

/* Neither is there a call now, nor was there one lately. */
static bool is_quiet_in(const struct metrics *worker, uint64_t now_ms)
{
	return worker->media_tunnels == 0 && (worker->media_last_ms == 0 || now_ms - worker->media_last_ms >= QUIET_MS);
}

static bool is_quiet(const struct session_env *env, uint64_t now_ms)
{
	for (size_t i = 0; i < env->worker_count; i++)
		if (!is_quiet_in(env->workers[i], now_ms))
			return false;
	return is_quiet_in(env->metrics, now_ms);
}

static void tell_sometimes(struct session_told *told, enum log_event event, const struct tunnel *tunnel)
{
	uint64_t now_ms = loop_now_ms(tunnel->session->env->loop);
	char more[64] = "";

	if (told->at_ms && now_ms - told->at_ms < TELL_MS) {
		told->untold++;
		return;
	}
	if (told->untold)
		snprintf(more, sizeof(more), " others=%llu", (unsigned long long)told->untold);
	*told = (struct session_told){.at_ms = now_ms};
	tell(event, tunnel, more);
}

/* ---- counted as a call ---- */

static void enter(struct media_tunnel *media)
{
	struct session *session = media->tunnel->session;
	struct metrics *metrics = session->env->metrics;
	uint64_t now_ms = loop_now_ms(session->env->loop);
	bool was_quiet = is_quiet(session->env, now_ms);

	media->row = media_networks_enter(metrics, &session->client_address);
	media->is_counted = true;
	metrics->media_last_ms = now_ms;
	if (was_quiet)
		tell(EV_MEDIA_LAST_RESORT, media->tunnel, "");
}

static void leave(struct media_tunnel *media)
{
	struct session *session = media->tunnel->session;
	struct session_env *env = session->env;
	uint64_t longest_ms = media_longest_gap_ms(&media->media);

	if (!media->is_counted)
		return;
	media->is_counted = false;
	media_networks_leave(env->metrics, media->row);
	if (media->has_place)
		env->leave_media(env->context, &session->client_address);
	media->has_place = false;
	env->metrics->media_last_ms = loop_now_ms(env->loop);
	if (longest_ms != UINT64_MAX)
		metrics_note_time(&env->metrics->media_gaps, (uint32_t)longest_ms);
}

/* ---- what the pump shows ---- */

static void on_wait(struct pump *pump, enum pump_side from, bool is_waiting)
{
	struct tunnel *tunnel = CONTAINER_OF(pump, struct tunnel, pump);

	media_note_wait(&tunnel->media->media, from, is_waiting, clock_monotonic_us());
	tunnel->session->env->metrics->media_waits_total += is_waiting;
}

/* What counts for metrics, before and after something came. */
struct tally {
	uint64_t packets, stalls, bytes[2];
};

static struct tally tally_of(const struct media *media)
{
	return (struct tally){media_packet_count(media), media_stall_count(media), {media->flows[0].bytes, media->flows[1].bytes}};
}

static void count(struct metrics *metrics, const struct tally *before, const struct media *media)
{
	struct tally now = tally_of(media);

	metrics->media_packets_total += now.packets - before->packets;
	metrics->media_stalls_total += now.stalls - before->stalls;
	metrics->media_bytes_up_total += now.bytes[PUMP_CLIENT] - before->bytes[PUMP_CLIENT];
	metrics->media_bytes_down_total += now.bytes[PUMP_ORIGIN] - before->bytes[PUMP_ORIGIN];
}

static void on_turn_ends(struct loop_task *task)
{
	struct media_tunnel *media = CONTAINER_OF(task, struct media_tunnel, task);
	struct pump *pump = &media->tunnel->pump;

	if (!stream_is_open(pump->sides[PUMP_CLIENT]) || !stream_is_open(pump->sides[PUMP_ORIGIN]))
		return;
	pump_set_class(pump, LOOP_MEDIA, &session_conf_of(media->tunnel->session)->classes);
	media->is_switched = true;
}

static void drop(struct tunnel *tunnel)
{
	tunnel->pump.see = NULL;
	media_tunnel_free(tunnel);
}

static bool make(struct tunnel *tunnel, bool looks)
{
	struct media_tunnel *media = calloc(1, sizeof(*media));

	if (media == NULL)
		return false;
	media_init(&media->media, session_conf_of(tunnel->session)->classes.media.stall_ms, looks);
	media->tunnel = tunnel;
	media->task.run = on_turn_ends;
	media->is_switched = !looks;
	tunnel->media = media;
	return true;
}

/* The first bytes of all, as most tunnels have them: no call. */
static bool may_be_call(enum pump_side from, struct span bytes)
{
	enum hello_class class;

	return from == PUMP_CLIENT && hello_call_of(bytes, &class) != HELLO_CALL_NO;
}

static void recognise(struct media_tunnel *media)
{
	struct tunnel *tunnel = media->tunnel;
	struct session_env *env = tunnel->session->env;

	env->metrics->media_recognised_total++;
	media->has_place = env->enter_media(env->context, &tunnel->session->client_address);
	if (!media->has_place) {
		media->media.state = MEDIA_TOO_MANY;
		tunnel->pump.see = NULL;
		env->metrics->media_too_many_total++;
		tell_sometimes(&env->too_many, EV_MEDIA_TOO_MANY, tunnel);
		return;
	}
	enter(media);
	tunnel->pump.on_wait = on_wait;
	loop_defer(env->loop, &media->task);
}

static void see(struct pump *pump, enum pump_side from, struct span bytes)
{
	struct tunnel *tunnel = CONTAINER_OF(pump, struct tunnel, pump);
	struct tally before = {0};
	struct media *media;
	bool looked;

	if (bytes.len == 0)
		return;
	if (tunnel->media == NULL && (!may_be_call(from, bytes) || !make(tunnel, true))) {
		pump->see = NULL;
		return;
	}
	media = &tunnel->media->media;
	looked = media->state == MEDIA_LOOKS;
	if (!looked)
		before = tally_of(media);
	media_note(media, from, bytes, clock_monotonic_us());
	if (media->state == MEDIA_OTHER) {
		drop(tunnel);
		return;
	}
	if (looked && media->state == MEDIA_RUNS)
		recognise(tunnel->media);
	if (media->state == MEDIA_RUNS)
		count(tunnel->session->env->metrics, &before, media);
}

/* ---- it moves more than calls do ---- */

/* Whoever got the mark of media by a trick does not keep it, and who is none is not held to its short queues. */
static void unmark(struct tunnel *tunnel)
{
	const struct session_conf *conf = session_conf_of(tunnel->session);

	for (int side = 0; side < 2; side++)
		socket_end_media(tunnel->pump.sides[side]->io.fd, &conf->classes, conf->limits.kernel_buffer_bytes);
}

static void on_class(struct pump *pump)
{
	struct tunnel *tunnel = CONTAINER_OF(pump, struct tunnel, pump);
	struct media_tunnel *media = tunnel->media;

	if (media == NULL || !media->is_switched || media->media.state != MEDIA_RUNS || pump->class == LOOP_MEDIA)
		return;
	media->media.state = MEDIA_WAS;
	pump->see = NULL;
	pump->on_wait = NULL;
	leave(media);
	unmark(tunnel);
	tunnel->session->env->metrics->media_demoted_total++;
	tell_sometimes(&tunnel->session->env->demoted, EV_MEDIA_DEMOTED, tunnel);
}

/* ---- for tunnel.c and access.c ---- */

void media_tunnel_start(struct tunnel *tunnel, struct span first)
{
	const struct inspect *inspect = tunnel->session->inspect;
	struct pump *pump = &tunnel->pump;

	if (pump->class == LOOP_MEDIA && make(tunnel, false)) {
		enter(tunnel->media);
		pump->on_wait = on_wait;
	} else if (tunnel->answers[POLICY_CLASS].answer != CLASS_AUTO || (inspect && inspect->class == HELLO_SERVER_FIRST)) {
		return;
	}
	pump->see = see;
	pump->shows_all = true; /* what may become media is none yet */
	pump->on_class = on_class;
	see(pump, PUMP_CLIENT, first);
}

void media_tunnel_end(struct tunnel *tunnel, struct pump_end end)
{
	struct media *media = tunnel->media ? &tunnel->media->media : NULL;
	struct tally before;

	if (media == NULL)
		return;
	before = tally_of(media);
	media_note_end(media, end, clock_monotonic_us());
	count(tunnel->session->env->metrics, &before, media);
}

void media_tunnel_free(struct tunnel *tunnel)
{
	struct media_tunnel *media = tunnel->media;

	if (media == NULL)
		return;
	leave(media);
	loop_undefer(&media->task);
	free(media);
	tunnel->media = NULL;
}

const struct media *media_tunnel_figures(const struct tunnel *tunnel)
{
	const struct media *media = tunnel->media ? &tunnel->media->media : NULL;

	return media && media->state != MEDIA_LOOKS && media->state != MEDIA_OTHER ? media : NULL;
}

const char *media_tunnel_class(const struct tunnel *tunnel)
{
	static const char *const names[] = {[LOOP_NORMAL] = "normal", [LOOP_MEDIA] = "media", [LOOP_BULK] = "bulk"};
	const struct media *media = media_tunnel_figures(tunnel);

	return names[media && media->state == MEDIA_RUNS ? LOOP_MEDIA : tunnel->pump.class];
}
