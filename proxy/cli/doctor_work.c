/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor_work.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct doctor_works {
	struct loop *loop;
	struct loop_io io;            /* eventfd */
	pthread_mutex_t lock;         /* of what follows */
	struct doctor_work *finished;
	size_t running;
	bool is_closed;               /* whoever runs last frees this */
};

static void free_works(struct doctor_works *works)
{
	pthread_mutex_destroy(&works->lock);
	free(works);
}

static struct doctor_work *take_finished(struct doctor_works *works)
{
	struct doctor_work *work;

	pthread_mutex_lock(&works->lock);
	work = works->finished;
	if (work)
		works->finished = work->next;
	pthread_mutex_unlock(&works->lock);
	return work;
}

static void on_finished(struct loop_io *io, unsigned events)
{
	struct doctor_works *works = CONTAINER_OF(io, struct doctor_works, io);
	struct doctor_work *work;
	uint64_t count;

	(void)events;
	if (read(io->fd, &count, sizeof(count)) < 0)
		return; /* that was for another one */
	while ((work = take_finished(works)) != NULL) {
		if (!work->is_left)
			work->done(work);
		work->free(work);
	}
}

static void *run_thread(void *context)
{
	static const uint64_t one = 1;
	struct doctor_work *work = context;
	struct doctor_works *works = work->works;
	bool is_last;

	work->run(work);
	pthread_mutex_lock(&works->lock);
	works->running--;
	is_last = works->is_closed && works->running == 0;
	if (!works->is_closed) {
		work->next = works->finished;
		works->finished = work;
		/* If it is full it is readable, which is all that is wanted. */
		(void)!write(works->io.fd, &one, sizeof(one));
		work = NULL;
	}
	pthread_mutex_unlock(&works->lock);
	if (work)
		work->free(work);
	if (is_last)
		free_works(works);
	return NULL;
}

bool doctor_works_open(struct loop *loop, struct doctor_works **out)
{
	struct doctor_works *works = calloc(1, sizeof(*works));

	if (works == NULL)
		return false;
	works->loop = loop;
	works->io = (struct loop_io){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .on_ready = on_finished};
	if (works->io.fd >= 0 && loop_watch(loop, &works->io) == ERR_NONE && pthread_mutex_init(&works->lock, NULL) == 0) {
		*out = works;
		return true;
	}
	if (works->io.fd >= 0)
		loop_close(loop, &works->io);
	free(works);
	return false;
}

bool doctor_works_close(struct doctor_works *works)
{
	struct doctor_work *work;
	bool is_last;

	if (works == NULL)
		return false;
	pthread_mutex_lock(&works->lock);
	works->is_closed = true;
	is_last = works->running == 0;
	work = works->finished;
	works->finished = NULL;
	loop_close(works->loop, &works->io);
	pthread_mutex_unlock(&works->lock);
	while (work) {
		struct doctor_work *next = work->next;

		work->free(work);
		work = next;
	}
	if (is_last)
		free_works(works);
	return !is_last;
}

bool doctor_work_start(struct doctor_works *works, struct doctor_work *work)
{
	pthread_attr_t attributes;
	pthread_t thread;
	bool well;

	work->works = works;
	pthread_mutex_lock(&works->lock);
	works->running++;
	pthread_mutex_unlock(&works->lock);
	well = pthread_attr_init(&attributes) == 0;
	if (well) {
		well = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
		       pthread_create(&thread, &attributes, run_thread, work) == 0;
		pthread_attr_destroy(&attributes);
	}
	if (well)
		return true;
	pthread_mutex_lock(&works->lock);
	works->running--;
	pthread_mutex_unlock(&works->lock);
	work->free(work);
	return false;
}

void doctor_work_leave(struct doctor_work *work)
{
	work->is_left = true;
}
