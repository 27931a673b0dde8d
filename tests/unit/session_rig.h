/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker lends its sessions, for tests: a loop, a policy, a log that is kept, and an origin on
 * loopback that answers each connection with a script. */
#ifndef TESTS_SESSION_RIG_H
#define TESTS_SESSION_RIG_H

#include <arpa/inet.h>
#include <sys/socket.h>

#include "net/pipes.h"
#include "policy_rig.h"
#include "session/inspect.h"

enum { SESSION_RIG_ORIGINS = 16 };

/* One connection to the origin. */
struct rig_origin {
	struct loop_io io; /* fd -1: free */
	struct session_rig *rig;
	size_t sent;
	bool heard; /* something was received */
};

struct session_rig {
	struct loop *loop;
	struct resolver *resolver;
	struct pipes *pipes;
	struct metrics metrics;
	struct session_conf conf;
	struct destinations_conf destinations;
	struct dns_conf dns;
	struct network permit;
	struct policy_rig policy;
	struct session_generation generation;
	struct session_listener listener;
	struct session_env env;
	struct loop_io origin_listener;
	struct rig_origin origins[SESSION_RIG_ORIGINS];
	uint16_t origin_port;
	struct span script;      /* what the origin answers to the first bytes */
	size_t script_step;      /* bytes per turn */
	bool origin_closes;      /* behind the script */
	struct buf received;     /* by the origin */
	struct buf log;
	size_t entered;
};

static inline void session_rig_write_access(void *context, struct span line)
{
	struct session_rig *rig = context;

	buf_add(&rig->log, line);
}

static inline enum err session_rig_enter(void *context, const struct address *client)
{
	struct session_rig *rig = context;

	(void)client;
	rig->entered++;
	return ERR_NONE;
}

static inline void session_rig_leave(void *context, const struct address *client)
{
	struct session_rig *rig = context;

	(void)client;
	ASSERT(rig->entered > 0);
	rig->entered--;
}

static inline bool session_rig_enter_media(void *context, const struct address *client)
{
	return session_rig_enter(context, client) == ERR_NONE;
}

static inline void session_rig_free_generation(struct session_generation *generation)
{
	(void)generation;
}

/* ---- the origin ---- */

static inline void session_rig_close_origin(struct rig_origin *origin)
{
	loop_close(origin->rig->loop, &origin->io);
}

static inline void session_rig_answer(struct rig_origin *origin)
{
	struct session_rig *rig = origin->rig;
	struct span rest = span_first(span_skip(rig->script, origin->sent), rig->script_step);
	ssize_t count = rest.len ? send(origin->io.fd, rest.at, rest.len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

	origin->sent += count > 0 ? (size_t)count : 0;
	if (origin->sent < rig->script.len && count >= 0)
		loop_again(rig->loop, &origin->io, 0);
	else if (rig->origin_closes)
		session_rig_close_origin(origin);
}

static inline void session_rig_on_origin(struct loop_io *io, unsigned events)
{
	struct rig_origin *origin = CONTAINER_OF(io, struct rig_origin, io);
	uint8_t bytes[4096];
	ssize_t count;

	(void)events;
	while ((count = recv(io->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		buf_add(&origin->rig->received, span_of(bytes, (size_t)count));
		origin->heard = true;
	}
	if (origin->heard)
		session_rig_answer(origin);
	if (count == 0 && io->fd >= 0)
		session_rig_close_origin(origin);
}

static inline void session_rig_on_accept(struct loop_io *io, unsigned events)
{
	struct session_rig *rig = CONTAINER_OF(io, struct session_rig, origin_listener);
	int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	for (size_t i = 0; fd >= 0 && i < SESSION_RIG_ORIGINS; i++) {
		struct rig_origin *origin = &rig->origins[i];

		if (origin->io.fd >= 0)
			continue;
		*origin = (struct rig_origin){.io = {.fd = fd, .on_ready = session_rig_on_origin}, .rig = rig};
		ASSERT(loop_watch(rig->loop, &origin->io) == ERR_NONE);
		return;
	}
	if (fd >= 0)
		close(fd);
}

static inline void session_rig_open_origin(struct session_rig *rig)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ASSERT(fd >= 0 && bind(fd, (const struct sockaddr *)&address, len) == 0 && listen(fd, 64) == 0);
	ASSERT(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
	rig->origin_port = ntohs(address.sin_port);
	rig->origin_listener = (struct loop_io){.fd = fd, .on_ready = session_rig_on_accept};
	ASSERT(loop_watch_listener(rig->loop, &rig->origin_listener) == ERR_NONE);
	for (size_t i = 0; i < SESSION_RIG_ORIGINS; i++)
		rig->origins[i].io.fd = -1;
}

/* ---- the environment ---- */

static inline void session_rig_conf(struct session_rig *rig)
{
	static const struct conf_text_pair hosts[] = {{"origin.example", "127.0.0.1", 1}};
	static const char *const servers[] = {"127.0.0.1:9"};

	rig->dns = (struct dns_conf){.servers = {servers, 1}, .hosts = {hosts, 1}, .timeout_ms = 50, .tries_count = 1,
	                             .cache_count = 100, .max_ttl_ms = 1000, .max_negative_ttl_ms = 1000,
	                             .attempt_delay_ms = 50, .resolution_delay_ms = 10};
	rig->conf.limits = (struct limits_conf){.sessions = 100, .head_bytes = 8192, .session_bytes = 65536,
	                                        .buffer_bytes = 8192, .drain_bytes = 65536, .origin_idle_count = 4};
	rig->conf.timeouts = (struct timeouts_conf){.head_ms = 5000, .keep_alive_ms = 5000, .dns_ms = 1000,
		.connect_ms = 2000, .response_ms = 5000, .exchange_idle_ms = 5000, .tunnel_idle_ms = 5000,
		.half_close_ms = 5000, .reply_ms = 5000, .origin_keep_alive_ms = 5000, .drain_ms = 1000};
	rig->conf.forwarding.via = "sallyport";
	rig->conf.access = (struct access_conf){.path = "x", .target = LOG_TO_FILE, .template = ""};
	ASSERT(network_parse(SPAN("127.0.0.1"), false, &rig->permit));
	rig->permit.port_first = rig->permit.port_last = rig->origin_port;
	rig->destinations = (struct destinations_conf){.deny = 31, .permit = {&rig->permit, 1}};
}

/* `policy` as in policy.yaml. */
static inline void session_rig_init(struct session_rig *rig, const char *policy)
{
	*rig = (struct session_rig){.script_step = SIZE_MAX, .script = SPAN("")};
	ASSERT(loop_new(&rig->loop) == ERR_NONE);
	session_rig_open_origin(rig);
	session_rig_conf(rig);
	policy_rig_make(&rig->policy, policy, NULL, NULL);
	ASSERT(rig->policy.err == ERR_NONE);
	ASSERT(resolver_new(rig->loop, &rig->dns, &rig->resolver) == ERR_NONE);
	ASSERT(pipes_new(1 << 20, &rig->pipes) == ERR_NONE);
	buf_init(&rig->received, 1 << 22);
	buf_init(&rig->log, 1 << 22);
	rig->generation = (struct session_generation){
		.references = 1, .number = 7, .conf = &rig->conf, .destinations = &rig->destinations,
		.dns = &rig->dns, .policy = rig->policy.policy, .free = session_rig_free_generation};
	rig->listener = (struct session_listener){.name = "office"};
	rig->env = (struct session_env){
		.loop = rig->loop, .resolver = rig->resolver, .pipes = rig->pipes, .metrics = &rig->metrics,
		.current = &rig->generation, .worker = 3, .context = rig,
		.write_access = session_rig_write_access, .enter = session_rig_enter, .leave = session_rig_leave,
		.enter_media = session_rig_enter_media, .leave_media = session_rig_leave};
	ASSERT(session_env_init(&rig->env) == ERR_NONE);
}

/* A client: the other end of a session. */
static inline int session_rig_connect(struct session_rig *rig)
{
	struct address peer = {.bytes = {192, 0, 2, 10}, .family = AF_INET, .port = 4711};
	int ends[2];

	ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	session_start(&rig->env, &rig->listener, ends[1], &peer);
	return ends[0];
}

/* Everything that a session took is given back. */
/* The session is with this host inside, as after both handshakes. */
static inline void session_rig_open(struct session *session, const char *host)
{
	struct inspect *inspect = calloc(1, sizeof(*inspect));

	ASSERT(inspect);
	arena_init(&inspect->arena, 4096);
	inspect->authority = (struct http_host){.name = span_from(host), .port = 443};
	inspect->sni = span_from(host);
	inspect->detail = "";
	inspect->is_open = true;
	session->inspect = inspect;
}

static inline void session_rig_check_idle(const struct session_rig *rig)
{
	ASSERT(list_is_empty(&rig->env.sessions));
	ASSERT(rig->metrics.sessions == 0 && rig->metrics.exchanges == 0 && rig->metrics.tunnels == 0);
	ASSERT(rig->generation.references == 1 && rig->listener.references == 0 && rig->entered == 0);
	ASSERT(rig->metrics.surprises_total == 0);
}

static inline void session_rig_fini(struct session_rig *rig)
{
	session_stop_all(&rig->env);
	for (int i = 0; i < 3; i++)
		loop_turn(rig->loop, 0);
	session_env_fini(&rig->env);
	for (size_t i = 0; i < SESSION_RIG_ORIGINS; i++)
		loop_close(rig->loop, &rig->origins[i].io);
	loop_close(rig->loop, &rig->origin_listener);
	resolver_free(rig->resolver);
	loop_turn(rig->loop, 0);
	pipes_free(rig->pipes);
	loop_free(rig->loop);
	policy_rig_fini(&rig->policy);
	buf_fini(&rig->received);
	buf_fini(&rig->log);
}

#endif
