/* SPDX-License-Identifier: Apache-2.0 */
/* All probes at once: names first, then whatever waits for them. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/doctor.h"
#include "cli/doctor_work.h"

enum { PROGRESS_MS = 100 };

/* ---- probes ---- */

static struct doctor_probe *add(struct doctor *doctor, const struct doctor_target *target, enum doctor_way way,
                                const struct http_host *host, uint16_t port)
{
	struct doctor_probe *probe = &doctor->probes[doctor->probe_count++];

	*probe = (struct doctor_probe){.doctor = doctor, .target = target, .way = way, .host = *host,
	                               .udp = {.fd = -1}, .stream = {.io = {.fd = -1}}};
	probe->host.port = port;
	probe->url_path = SPAN("/");
	return probe;
}

static void add_direct(struct doctor *doctor, const struct doctor_target *target, enum doctor_way way,
                       const struct http_host *host, uint16_t port, struct span path)
{
	static const uint16_t families[] = {AF_INET, AF_INET6};

	for (size_t i = 0; i < COUNT_OF(families) * DOCTOR_ADDRESSES_MAX; i++) {
		uint16_t family = families[i / DOCTOR_ADDRESSES_MAX];
		size_t number = i % DOCTOR_ADDRESSES_MAX;
		struct doctor_probe *probe;

		if (host->address.family && (host->address.family != family || number))
			continue;
		probe = add(doctor, target, way, host, port);
		probe->family = family;
		probe->number = number;
		probe->url_path = path;
		probe->name = doctor_name_find(doctor, host);
		doctor->try_count += number == 0;
	}
}

static void add_proxied(struct doctor *doctor, const struct doctor_target *target, enum doctor_way way,
                        const struct http_host *host, uint16_t port, struct span path)
{
	struct doctor_probe *probe;

	if (doctor->proxy.name.len == 0)
		return;
	probe = add(doctor, target, way, host, port);
	probe->is_proxied = true;
	probe->url_path = path;
	probe->name = doctor_name_find(doctor, &doctor->proxy);
	doctor->try_count++;
}

/* An empty URL is the host itself. False: there is none. */
static bool read_url(struct doctor *doctor, const char *text, const char *scheme, const struct http_host *of,
                     struct http_host *host, struct span *path)
{
	*host = *of;
	host->port = 443;
	*path = SPAN("/");
	if (text[0] == '\0')
		return true;
	return strcmp(text, "none") != 0 && doctor_conf_url(span_from(text), scheme, doctor->arena, host, path);
}

typedef void add_probes(struct doctor *doctor, const struct doctor_target *target, enum doctor_way way,
                        const struct http_host *host, uint16_t port, struct span path);

/* In the order in which they are shown, and in which an app would try them. */
static void add_path(struct doctor *doctor, const struct doctor_target *target, add_probes *add_some, bool with_udp)
{
	struct http_host host, url;
	struct span path;

	if (http_host_parse(span_from(target->host), 443, doctor->arena, &host))
		return; /* looked at before */
	for (size_t i = 0; i < target->udp.count && with_udp; i++)
		add_some(doctor, target, DOCTOR_UDP, &host, target->udp.at[i], SPAN(""));
	for (size_t i = 0; i < target->tcp.count; i++)
		add_some(doctor, target, DOCTOR_TCP, &host, target->tcp.at[i], SPAN(""));
	if (read_url(doctor, target->https, "https", &host, &url, &path))
		add_some(doctor, target, DOCTOR_HTTPS, &url, url.port, path);
	if (read_url(doctor, target->wss, "wss", &host, &url, &path))
		add_some(doctor, target, DOCTOR_WSS, &url, url.port, path);
}

/* ---- while they run ---- */

static void on_signal(struct loop_io *io, unsigned events)
{
	struct doctor *doctor = CONTAINER_OF(io, struct doctor, signal);

	(void)events;
	doctor->is_interrupted = true;
	loop_stop(doctor->loop);
}

static void on_progress(struct loop_timer *timer)
{
	struct doctor *doctor = CONTAINER_OF(timer, struct doctor, progress);

	fprintf(stderr, "\r\033[K%zu of %zu probes, %.1f s", doctor->tried_count, doctor->try_count,
	        (double)(clock_monotonic_ms() - doctor->began_ms) / 1000);
	doctor->has_progress = true;
	loop_timer_set(doctor->loop, timer, PROGRESS_MS);
}

/* Ctrl-C ends the loop, so that what was begun is closed and the terminal left as it was. */
static void watch(struct doctor *doctor, sigset_t *before)
{
	sigset_t wanted;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGTERM);
	sigprocmask(SIG_BLOCK, &wanted, before);
	doctor->signal = (struct loop_io){.fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC), .on_ready = on_signal};
	doctor->progress.on_due = on_progress;
	if (isatty(STDERR_FILENO))
		loop_timer_set(doctor->loop, &doctor->progress, PROGRESS_MS);
	if (doctor->signal.fd < 0 || loop_watch(doctor->loop, &doctor->signal))
		sigprocmask(SIG_SETMASK, before, NULL); /* then it ends as signals end others */
}

static void run_loop(struct doctor *doctor)
{
	sigset_t before;

	doctor->began_ms = clock_monotonic_ms();
	watch(doctor, &before);
	for (size_t i = 0; i < doctor->name_count; i++)
		doctor_name_look_up(&doctor->names[i]);
	if (doctor->done_count < doctor->probe_count)
		loop_run(doctor->loop);
	if (doctor->has_progress)
		fputs("\r\033[K", stderr);
	if (doctor->is_interrupted) {
		/* As if we had not been asked to hold it back: who started us sees what ended us. */
		struct signalfd_siginfo info = {.ssi_signo = SIGINT};

		if (read(doctor->signal.fd, &info, sizeof(info)) < 0)
			info.ssi_signo = SIGINT;
		doctor_run_fini(doctor);
		signal((int)info.ssi_signo, SIG_DFL);
		raise((int)info.ssi_signo);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static bool open_resolver(struct doctor *doctor)
{
	doctor->dns = doctor->settings->dns;
	return loop_new(&doctor->loop) == ERR_NONE &&
	       resolve_system_servers(&doctor->settings->dns.servers, doctor->arena, &doctor->dns.servers) == ERR_NONE &&
	       resolver_new(doctor->loop, &doctor->dns, &doctor->resolver) == ERR_NONE &&
	       doctor_works_open(doctor->loop, &doctor->works);
}

bool doctor_run(struct doctor *doctor)
{
	/* All addresses of two families, and the proxy, for each port; a name for each target, two URLs and the proxy. */
	size_t most = doctor->target_count * (2 * DOCTOR_ADDRESSES_MAX + 1) * (2 * DOCTOR_PORTS_MAX + 2);

	doctor->probes = calloc(most, sizeof(*doctor->probes));
	doctor->names = calloc(doctor->target_count * 3 + 1, sizeof(*doctor->names));
	/* The loop comes last: its clock stands until it runs, and reading all roots takes time. */
	if (!doctor_tls_init(doctor))
		return false;
	if (doctor->probes == NULL || doctor->names == NULL || !open_resolver(doctor)) {
		command_complain("doctor: no memory, or no descriptors");
		return false;
	}
	for (size_t i = 0; i < doctor->target_count; i++) {
		add_path(doctor, &doctor->targets[i], add_direct, true);
		add_path(doctor, &doctor->targets[i], add_proxied, false);
	}
	run_loop(doctor);
	return true;
}

void doctor_run_fini(struct doctor *doctor)
{
	for (size_t i = 0; i < doctor->probe_count; i++)
		doctor_probe_fini(&doctor->probes[i]);
	for (size_t i = 0; i < doctor->name_count; i++)
		doctor_name_fini(&doctor->names[i]);
	doctor->probe_count = doctor->name_count = 0;
	if (doctor->loop) {
		loop_timer_clear(doctor->loop, &doctor->progress);
		doctor->has_threads = doctor_works_close(doctor->works);
		resolver_free(doctor->resolver);
		loop_free(doctor->loop);
	}
	doctor->loop = NULL;
	doctor->resolver = NULL;
	doctor->works = NULL;
	if (doctor->signal.fd > 0)
		close(doctor->signal.fd);
	doctor->signal.fd = -1;
	doctor_tls_fini(doctor);
	doctor->tls = NULL;
	doctor->trust = NULL;
	doctor->trust_image = NULL;
	free(doctor->probes);
	free(doctor->names);
	doctor->probes = NULL;
	doctor->names = NULL;
}
