/* SPDX-License-Identifier: Apache-2.0 */
#include "process/acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "net/loop.h"

enum {
	BATCH = 4,          /* clients per event in a burst: others get their share of it */
	PATIENCE_MAX = 16,  /* events with one client each before a second one is looked for */
	LAST_BATCH = 65536, /* before closing: whoever waits in the queue */
	PAUSE_MS = 20,      /* how long clients are left to others */
	TIDY_MS = 1000,
	COMPLAIN_MS = 60000,
	LISTENER_ARENA_BYTES = 1 << 20,
};

struct listener {
	struct list link; /* in listening, or in retired until no session uses it */
	struct loop_io io;
	struct acceptor *acceptor;
	unsigned batch; /* clients to look for per event: more while there are more */
	/* A look in vain costs a system call: the more of them, the rarer they become. */
	unsigned patience, waited;
	struct session_listener session;
	struct arena arena; /* of what `session` points to */
};

struct acceptor {
	struct session_env *env;
	struct places *places;
	struct list listening, retired;
	struct loop_timer resume, tidy;
	bool is_paused;
	int spare; /* given up to take a client that would wait for ever */
	uint64_t complained_ms;
};

static const char out_of_files[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                                   "Content-Type: text/plain\r\nContent-Length: 38\r\n\r\n"
                                   "The proxy is out of file descriptors.\n";

static void free_listener(struct listener *listener)
{
	list_remove(&listener->link);
	arena_fini(&listener->arena);
	free(listener);
}

static void on_tidy(struct loop_timer *timer)
{
	struct acceptor *acceptor = CONTAINER_OF(timer, struct acceptor, tidy);

	LIST_EACH(&acceptor->retired, link)
	{
		struct listener *listener = LIST_ENTRY(link, struct listener, link);

		if (listener->session.references == 0)
			free_listener(listener);
	}
	if (!list_is_empty(&acceptor->retired))
		loop_timer_set(acceptor->env->loop, timer, TIDY_MS);
}

static void retire_all(struct acceptor *acceptor)
{
	LIST_EACH(&acceptor->listening, link)
	{
		struct listener *listener = LIST_ENTRY(link, struct listener, link);

		/* Other roles hold the same socket: closing alone would leave it in our set. */
		loop_unwatch(acceptor->env->loop, &listener->io);
		loop_close(acceptor->env->loop, &listener->io);
		list_remove(link);
		list_add_last(&acceptor->retired, link);
	}
	loop_timer_set(acceptor->env->loop, &acceptor->tidy, TIDY_MS);
}

static void refuse_one(struct acceptor *acceptor, int listening)
{
	uint64_t now = loop_now_ms(acceptor->env->loop);
	size_t len;
	int fd;

	if (acceptor->complained_ms == 0 || now - acceptor->complained_ms > COMPLAIN_MS) {
		log_event(EV_FILES_REACHED, "worker=%u errno=%d", acceptor->env->worker, errno);
		acceptor->complained_ms = now;
	}
	acceptor->env->metrics->errors[ERR_LIMIT_FILES]++;
	if (acceptor->spare >= 0)
		close(acceptor->spare);
	fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		uint8_t *scratch = loop_scratch(acceptor->env->loop, &len);

		/* As much as can be done for it without a session. Its request is read, since closing
		 * over unread bytes would reset what we say. */
		if (send(fd, out_of_files, sizeof(out_of_files) - 1, MSG_NOSIGNAL) >= 0)
			shutdown(fd, SHUT_WR);
		while (recv(fd, scratch, len, MSG_DONTWAIT) > 0)
			;
		close(fd);
	}
	acceptor->spare = fcntl(listening, F_DUPFD_CLOEXEC, 0);
}

/* True if somebody was there. */
static bool take_one(struct listener *listener)
{
	struct acceptor *acceptor = listener->acceptor;
	struct sockaddr_storage storage = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(storage);
	struct address peer = {.family = AF_UNIX};
	int fd = accept4(listener->io.fd, (struct sockaddr *)&storage, &len,
	                 SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		if (storage.ss_family != AF_UNIX)
			address_from_sockaddr((struct sockaddr *)&storage, &peer);
		session_start(acceptor->env, &listener->session, fd, &peer);
		return true;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		refuse_one(acceptor, listener->io.fd);
		return true;
	}
	/* A client that gave up while it waited, or an error of its network: accept(2). */
	return errno == ECONNABORTED || errno == EINTR || errno == EPROTO || errno == ENETDOWN ||
	       errno == EHOSTUNREACH || errno == ENETUNREACH || errno == EHOSTDOWN ||
	       errno == ENONET || errno == ENOPROTOOPT;
}

/* While it is paused it is told of each new client, too, but takes none. */
static enum err watch(struct acceptor *acceptor, struct listener *listener)
{
	return acceptor->is_paused ? loop_watch(acceptor->env->loop, &listener->io)
	                           : loop_watch_listener(acceptor->env->loop, &listener->io);
}

static void set_paused(struct acceptor *acceptor, bool is_paused)
{
	acceptor->is_paused = is_paused;
	LIST_EACH(&acceptor->listening, link)
	{
		struct listener *listener = LIST_ENTRY(link, struct listener, link);

		loop_unwatch(acceptor->env->loop, &listener->io);
		if (watch(acceptor, listener)) {
			log_event(EV_SYSTEM, "cannot watch a listener: errno=%d", errno);
			loop_timer_set(acceptor->env->loop, &acceptor->resume, PAUSE_MS); /* tried again */
		}
	}
}

static void resume_all(struct acceptor *acceptor)
{
	places_resume(acceptor->places);
	loop_timer_clear(acceptor->env->loop, &acceptor->resume);
	set_paused(acceptor, false);
}

static void on_resume(struct loop_timer *timer)
{
	resume_all(CONTAINER_OF(timer, struct acceptor, resume));
}

void acceptor_resume(struct acceptor *acceptor)
{
	if (acceptor->is_paused && !places_is_above_mean(acceptor->places))
		resume_all(acceptor);
}

/* Leave clients to the others for a moment, if there is one that takes them. The pause always ends, and then some are taken
 * whatever the load, so a worker that hangs while its load is low cannot keep clients waiting. */
static void pause_all(struct acceptor *acceptor)
{
	if (!places_pause(acceptor->places))
		return;
	loop_timer_set(acceptor->env->loop, &acceptor->resume, PAUSE_MS);
	set_paused(acceptor, true);
	/* Whoever came between the last look and now woke us and nobody else: look once more. */
	LIST_EACH(&acceptor->listening, link)
	{
		for (unsigned i = 0; i < BATCH; i++)
			if (!take_one(LIST_ENTRY(link, struct listener, link)))
				break;
	}
}

/* All that were looked for were there. */
static void look_for_more(struct listener *listener)
{
	if (listener->batch > 1)
		listener->patience = 0;
	else if (listener->waited++ < (listener->patience < PATIENCE_MAX ? listener->patience : PATIENCE_MAX))
		return;
	listener->waited = 0;
	if (listener->batch < BATCH)
		listener->batch++;
}

static void on_clients(struct loop_io *io, unsigned events)
{
	struct listener *listener = CONTAINER_OF(io, struct listener, io);
	struct acceptor *acceptor = listener->acceptor;

	(void)events;
	acceptor_resume(acceptor);
	if (acceptor->is_paused)
		return;
	for (unsigned i = 0; i < listener->batch; i++) {
		if (take_one(listener))
			continue;
		listener->batch = i ? i : 1;
		if (i == 1)
			listener->patience = listener->patience * 2 + 1;
		if (places_is_above_mean(acceptor->places))
			pause_all(acceptor);
		return;
	}
	if (listener->batch == 1 && places_is_above_mean(acceptor->places))
		pause_all(acceptor);
	else
		look_for_more(listener);
}

enum err acceptor_new(struct session_env *env, struct places *places, int spare_of,
                      struct acceptor **out)
{
	struct acceptor *acceptor = calloc(1, sizeof(*acceptor));

	if (acceptor == NULL)
		return ERR_MEMORY;
	acceptor->env = env;
	acceptor->places = places;
	list_init(&acceptor->listening);
	list_init(&acceptor->retired);
	acceptor->resume.on_due = on_resume;
	acceptor->tidy.on_due = on_tidy;
	acceptor->spare = fcntl(spare_of, F_DUPFD_CLOEXEC, 0);
	*out = acceptor;
	return ERR_NONE;
}

static struct listener *new_listener(struct acceptor *acceptor, const struct listen_conf *conf,
                                     const struct address *address, int fd)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	size_t bytes = conf->proxy_protocol.count * sizeof(struct network);
	struct span networks;

	if (listener == NULL)
		return NULL;
	arena_init(&listener->arena, LISTENER_ARENA_BYTES);
	list_init(&listener->link);
	listener->acceptor = acceptor;
	listener->batch = 1;
	listener->io = (struct loop_io){.fd = fd, .on_ready = on_clients};
	listener->session.name = arena_string(&listener->arena, span_from(conf->name));
	listener->session.address = *address;
	if (bytes) {
		networks = arena_copy(&listener->arena, span_of(conf->proxy_protocol.at, bytes));
		listener->session.proxy_protocol = (struct conf_networks){
			(const struct network *)(const void *)networks.at, conf->proxy_protocol.count};
	}
	if (listener->session.name == NULL || (bytes && !listener->session.proxy_protocol.at)) {
		free_listener(listener);
		return NULL;
	}
	return listener;
}

enum err acceptor_use(struct acceptor *acceptor, const struct conf_groups *conf,
                      const struct address *addresses, const int *fds)
{
	const struct listen_conf *rows = conf->at;
	enum err err = ERR_NONE;

	retire_all(acceptor);
	for (size_t i = 0; i < conf->count; i++) {
		struct listener *listener = NULL;

		if (err == ERR_NONE) {
			listener = new_listener(acceptor, &rows[i], &addresses[i], fds[i]);
			err = listener ? ERR_NONE : ERR_MEMORY;
		}
		if (err == ERR_NONE)
			err = watch(acceptor, listener);
		if (listener == NULL)
			close(fds[i]);
		else
			list_add_last(&acceptor->listening, &listener->link);
	}
	return err;
}

void acceptor_stop(struct acceptor *acceptor)
{
	LIST_EACH(&acceptor->listening, link)
	{
		for (unsigned i = 0; i < LAST_BATCH; i++)
			if (!take_one(LIST_ENTRY(link, struct listener, link)))
				break;
	}
	loop_timer_clear(acceptor->env->loop, &acceptor->resume);
	retire_all(acceptor);
}

void acceptor_free(struct acceptor *acceptor)
{
	if (acceptor == NULL)
		return;
	acceptor_stop(acceptor);
	loop_timer_clear(acceptor->env->loop, &acceptor->tidy);
	while (!list_is_empty(&acceptor->retired))
		free_listener(LIST_ENTRY(acceptor->retired.next, struct listener, link));
	if (acceptor->spare >= 0)
		close(acceptor->spare);
	free(acceptor);
}
