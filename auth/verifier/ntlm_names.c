/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/verifier/ntlm_names.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "auth/auth.h"
#include "auth/backend/winbind.h"
#include "auth/fold.h"

enum { NAMES = 4, NAME_MAX_BYTES = 255, NETBIOS_MAX_BYTES = 15, WHY_MAX_BYTES = 500, AGAIN_S = 3, REFRESH_S = 60 };

struct ntlm_namer {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ends, is_winbind, has_thread;
	uint64_t round;            /* of ntlm_namer_use() */
	int bell;
	struct buf host;           /* short, in upper case */
	struct buf own[2];         /* domain, computer: of the configuration */
	struct buf names[NAMES], why;
};

/* ---- under the lock ---- */

static void set(struct buf *name, struct span text)
{
	buf_reset(name);
	buf_add(name, span_first(text, NAME_MAX_BYTES));
}

static void prefer_own(struct ntlm_namer *namer)
{
	for (size_t i = 0; i < 2; i++)
		if (buf_len(&namer->own[i]))
			set(&namer->names[i], buf_span(&namer->own[i]));
}

static void use_host(struct ntlm_namer *namer)
{
	struct span name = span_first(buf_span(&namer->host), NETBIOS_MAX_BYTES);
	struct buf lower;

	buf_init(&lower, NAME_MAX_BYTES);
	fold_lower(name, &lower);
	set(&namer->names[0], name);
	set(&namer->names[1], name);
	set(&namer->names[2], buf_span(&lower));
	set(&namer->names[3], buf_span(&lower));
	buf_fini(&lower);
	buf_reset(&namer->why);
	prefer_own(namer);
}

static void ring(const struct ntlm_namer *namer)
{
	uint64_t one = 1;

	ASSERT(write(namer->bell, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

/* Wait until something changes, or for so long. */
static void wait_for(struct ntlm_namer *namer, time_t seconds)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	pthread_cond_timedwait(&namer->changed, &namer->lock, &until);
}

/* ---- the thread ---- */

static void take(struct ntlm_namer *namer, bool well, struct buf found[static NAMES], const char *why)
{
	if (!well && buf_len(&namer->names[1]) && buf_len(&namer->why) == 0)
		return; /* it was known before: the machine's name does not change because winbindd rests */
	for (size_t i = 0; well && i < NAMES; i++)
		set(&namer->names[i], buf_span(&found[i]));
	buf_reset(&namer->why);
	if (well)
		prefer_own(namer);
	else
		buf_add_string(&namer->why, why && why[0] ? why : "winbind does not say what this machine is called");
}

static void *run(void *context)
{
	struct ntlm_namer *namer = context;
	struct buf found[NAMES];

	for (size_t i = 0; i < NAMES; i++)
		buf_init(&found[i], NAME_MAX_BYTES);
	pthread_mutex_lock(&namer->lock);
	while (!namer->ends) {
		uint64_t round = namer->round;
		const char *why = NULL;
		bool well;

		if (!namer->is_winbind) {
			wait_for(namer, REFRESH_S);
			continue;
		}
		pthread_mutex_unlock(&namer->lock);
		for (size_t i = 0; i < NAMES; i++)
			buf_reset(&found[i]);
		well = winbind_names(found, &why);
		pthread_mutex_lock(&namer->lock);
		if (namer->round != round)
			continue;
		take(namer, well, found, why);
		ring(namer);
		if (!namer->ends)
			wait_for(namer, well ? REFRESH_S : AGAIN_S);
	}
	pthread_mutex_unlock(&namer->lock);
	for (size_t i = 0; i < NAMES; i++)
		buf_fini(&found[i]);
	return NULL;
}

/* ---- the owner ---- */

enum err ntlm_namer_new(struct span host, struct ntlm_namer **out)
{
	struct ntlm_namer *namer = calloc(1, sizeof(*namer));

	if (namer == NULL)
		return ERR_MEMORY;
	namer->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&namer->lock, NULL);
	pthread_cond_init(&namer->changed, NULL);
	buf_init(&namer->host, NAME_MAX_BYTES * 4);
	buf_init(&namer->why, WHY_MAX_BYTES);
	for (size_t i = 0; i < NAMES; i++)
		buf_init(&namer->names[i], NAME_MAX_BYTES);
	for (size_t i = 0; i < 2; i++)
		buf_init(&namer->own[i], NAME_MAX_BYTES);
	fold_upper(span_first(host, span_find(host, '.')), &namer->host);
	if (buf_len(&namer->host) == 0)
		buf_add_string(&namer->host, "PROXY");
	namer->has_thread = namer->bell >= 0 && pthread_create(&namer->thread, NULL, run, namer) == 0;
	if (!namer->has_thread) {
		ntlm_namer_free(namer);
		return ERR_SYSTEM;
	}
	*out = namer;
	return ERR_NONE;
}

void ntlm_namer_free(struct ntlm_namer *namer)
{
	if (namer == NULL)
		return;
	pthread_mutex_lock(&namer->lock);
	namer->ends = true;
	pthread_cond_signal(&namer->changed);
	pthread_mutex_unlock(&namer->lock);
	if (namer->has_thread)
		pthread_join(namer->thread, NULL);
	if (namer->bell >= 0)
		close(namer->bell);
	pthread_cond_destroy(&namer->changed);
	pthread_mutex_destroy(&namer->lock);
	buf_fini(&namer->host);
	buf_fini(&namer->why);
	for (size_t i = 0; i < NAMES; i++)
		buf_fini(&namer->names[i]);
	for (size_t i = 0; i < 2; i++)
		buf_fini(&namer->own[i]);
	free(namer);
}

void ntlm_namer_use(struct ntlm_namer *namer, const struct ntlm_conf *conf)
{
	pthread_mutex_lock(&namer->lock);
	namer->round++;
	set(&namer->own[0], span_from(conf->domain));
	set(&namer->own[1], span_from(conf->computer));
	namer->is_winbind = conf->backend == NTLM_BACKEND_WINBIND;
	if (namer->is_winbind) {
		set(&namer->names[1], SPAN(""));
		buf_reset(&namer->why);
		buf_add_string(&namer->why, "winbind has not been asked yet what this machine is called");
	} else {
		use_host(namer);
	}
	pthread_cond_signal(&namer->changed);
	pthread_mutex_unlock(&namer->lock);
	ring(namer);
}

int ntlm_namer_fd(const struct ntlm_namer *namer)
{
	return namer->bell;
}

void ntlm_namer_write(struct ntlm_namer *namer, struct buf *out)
{
	struct ntlm_names names;
	uint64_t rings;

	pthread_mutex_lock(&namer->lock);
	if (read(namer->bell, &rings, sizeof(rings)) < 0)
		errno = 0; /* it had not rung */
	names = (struct ntlm_names){buf_span(&namer->names[0]), buf_span(&namer->names[1]),
	                            buf_span(&namer->names[2]), buf_span(&namer->names[3])};
	auth_write_names(&names, buf_span(&namer->why), out);
	pthread_mutex_unlock(&namer->lock);
}
