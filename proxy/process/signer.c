/* SPDX-License-Identifier: Apache-2.0 */
#include "process/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rsa.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "process/ipc.h"
#include "process/sandbox.h"
#include "process/settings.h"
#include "process/shared.h"
#include "tls/signing.h"

enum {
	TICK_MS = 1000,
	MESSAGES_PER_TURN = 64,
	TELL_MS = 60000,
	RSA_BITS = 2048,
	CRL_RENEW_S = 86400,
	SECURE_BYTES = 256 << 10, /* keys of the CA and of certificates, and what OpenSSL computes from them */
	SECURE_LEAST = 32,
};

/* Places in the set of poll(). */
enum { AT_CHANNEL, AT_RSA, AT_WORKERS, AT_COUNT = AT_WORKERS + SETTINGS_WORKERS_MAX };

_Static_assert((int)SIGNING_WORKERS_MAX == (int)SETTINGS_WORKERS_MAX, "one share for each worker");

struct worker_channel {
	int fd;                    /* -1: none */
	uint64_t serial;           /* changes with each connection */
};

struct signer {
	int channel, rsa_done;     /* an eventfd */
	struct signing *signing;
	struct worker_channel workers[SETTINGS_WORKERS_MAX];
	uint64_t next_serial, unsent, told_ms, unavailable_told;
	int64_t crl_made;          /* seconds; 0: none yet */
	pthread_t thread;          /* makes the RSA key */
	bool is_making;
	EVP_PKEY *_Atomic made;
	struct ipc_message message, question;
};

static struct signing_time now(void)
{
	return (struct signing_time){clock_monotonic_us(), (int64_t)(clock_wall_ms() / 1000)};
}

/* ---- the RSA key, aside ---- */

static void *make_rsa(void *context)
{
	struct signer *signer = context;
	const uint64_t one = 1;

	signer->made = EVP_RSA_gen(RSA_BITS);
	if (write(signer->rsa_done, &one, sizeof(one)) < 0)
		errno = 0;
	return NULL;
}

static void want_rsa(void *context)
{
	struct signer *signer = context;

	if (signer->is_making)
		return;
	signer->is_making = pthread_create(&signer->thread, NULL, make_rsa, signer) == 0;
	if (!signer->is_making)
		make_rsa(signer); /* others wait for once */
}

static void end_thread(struct signer *signer)
{
	if (signer->is_making)
		pthread_join(signer->thread, NULL);
	signer->is_making = false;
}

static void take_rsa(struct signer *signer)
{
	uint64_t count;

	if (read(signer->rsa_done, &count, sizeof(count)) < 0)
		return;
	end_thread(signer);
	signing_take_rsa(signer->signing, atomic_exchange(&signer->made, NULL), now());
}

/* ---- workers ---- */

static void close_worker(struct worker_channel *worker)
{
	if (worker->fd >= 0)
		close(worker->fd);
	worker->fd = -1;
}

/* A worker that does not take its answers loses them: it has time-outs. */
static void on_answer(void *context, const struct signing_place *place, struct span answer)
{
	struct signer *signer = context;
	const struct worker_channel *worker = &signer->workers[place->worker];

	if (worker->fd < 0 || worker->serial != place->serial)
		return;
	if (ipc_send(worker->fd, IPC_LEAF, place->id, answer, NULL, 0))
		signer->unsent++;
}

/* Without the key it can use no answer: it gets a new channel when it is started again, or never. */
static void send_key(struct signer *signer, struct worker_channel *worker, struct span message)
{
	if (worker->fd < 0 || ipc_send(worker->fd, IPC_LEAF_KEY, 0, message, NULL, 0) == ERR_NONE)
		return;
	signer->unsent++;
	close_worker(worker);
}

static void on_key(void *context, struct span message)
{
	struct signer *signer = context;

	for (size_t i = 0; i < SETTINGS_WORKERS_MAX; i++)
		send_key(signer, &signer->workers[i], message);
}

static enum err take_channel(struct signer *signer, struct ipc_message *message)
{
	struct ipc_channel head;
	struct worker_channel *worker;
	struct buf text;

	memcpy(&head, message->payload.at, sizeof(head));
	if (head.worker >= SETTINGS_WORKERS_MAX)
		return ERR_MESSAGE;
	worker = &signer->workers[head.worker];
	close_worker(worker);
	signing_forget(signer->signing, head.worker);
	*worker = (struct worker_channel){ipc_take_fd(message, 0), ++signer->next_serial};
	for (unsigned kind = 0; kind < LEAF_KIND_COUNT; kind++) {
		buf_init(&text, LEAF_KEY_MAX_BYTES);
		if (signing_write_key(signer->signing, (enum leaf_kind)kind, &text))
			send_key(signer, worker, buf_span(&text));
		if (text.at)
			explicit_bzero(text.at, text.capacity);
		buf_fini(&text);
	}
	return ERR_NONE;
}

static void read_worker(struct signer *signer, unsigned number)
{
	struct worker_channel *worker = &signer->workers[number];

	for (int i = 0; i < MESSAGES_PER_TURN && worker->fd >= 0; i++) {
		enum ipc_got got = ipc_receive(worker->fd, UINT32_C(1) << IPC_MINT, &signer->question);
		struct signing_place place = {number, worker->serial, signer->question.id};
		bool is_valid;

		if (got == IPC_EMPTY)
			return;
		is_valid = got == IPC_GOT && signing_take(signer->signing, &place, signer->question.payload, now());
		if (got == IPC_GOT)
			ipc_drop(&signer->question);
		if (is_valid)
			continue;
		if (got != IPC_CLOSED)
			log_event(EV_ROLE_MESSAGE, "role=worker number=%u what=question", number);
		close_worker(worker);
	}
}

/* ---- the parent's messages ---- */

/* PEM, from a descriptor that the parent has sealed. The result is ours to unmap. */
static struct span map_pem(struct ipc_message *message, size_t at, size_t bytes)
{
	int fd = ipc_take_fd(message, at);
	void *mapped = fd >= 0 && bytes ? shared_map(fd, bytes, false) : NULL;

	if (fd >= 0)
		close(fd);
	return mapped ? span_of(mapped, bytes) : SPAN("");
}

static enum err open_ca(struct ipc_message *message, const struct ipc_signer *head, struct ca **out)
{
	struct ca_source source = {.certificate_path = "certificate", .key_path = "key"};
	struct problems problems;
	enum err err = ERR_MESSAGE;

	source.certificate = map_pem(message, 0, head->certificate_bytes);
	source.key = map_pem(message, 1, head->key_bytes);
	problems_init(&problems);
	*out = NULL;
	if (source.certificate.len && source.key.len)
		err = ca_open(&source, now().wall, &problems, out);
	/* The parent has looked at it, so this is news: the clock, or the files, have changed since. */
	if (err && problems.first)
		log_event(EV_CA, "what=\"%s: %s\"", problems.first->file, problems.first->text);
	problems_fini(&problems);
	shared_unmap(source.certificate.len ? source.certificate.at : NULL, source.certificate.len);
	shared_unmap(source.key.len ? source.key.at : NULL, source.key.len);
	return err;
}

static enum err send_crl(struct signer *signer)
{
	const struct ca *ca = signing_ca(signer->signing);
	enum err err = ERR_NONE;
	struct buf crl;

	signer->crl_made = now().wall;
	if (!ca->signs_crls)
		return ERR_NONE;
	buf_init(&crl, MINT_MAX_BYTES);
	err = mint_crl(ca, signer->crl_made, &crl);
	if (err == ERR_NONE)
		err = ipc_send(signer->channel, IPC_CRL, 0, buf_span(&crl), NULL, 0);
	buf_fini(&crl);
	return err;
}

static void tell_ca(const struct ca *ca)
{
	struct buf text, name;

	buf_init(&text, 4096);
	buf_init(&name, 2048);
	ca_add_name(X509_get_subject_name(ca->certificate), &name);
	buf_add_string(&text, "subject=");
	buf_add_json(&text, buf_span(&name));
	buf_fini(&name);
	buf_add_string(&text, " sha256=");
	ca_add_hex(span_of(ca->id, sizeof(ca->id)), &text);
	buf_add_string(&text, " until=");
	clock_add_rfc3339(&text, (uint64_t)ca->not_after * 1000);
	log_event(EV_CA_IN_FORCE, "%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

static enum err take_signer(struct signer *signer, struct ipc_message *message)
{
	struct span rest = span_skip(message->payload, sizeof(struct ipc_signer));
	struct ipc_ready ready;
	struct ipc_signer head;
	struct mint_conf conf;
	const struct ca *before;
	uint8_t id[32] = {0};
	struct ca *ca;
	enum err err;

	memcpy(&head, message->payload.at, sizeof(head));
	if (rest.len != (size_t)head.organization_bytes + head.url_bytes)
		return ERR_MESSAGE;
	conf = (struct mint_conf){span_first(rest, head.organization_bytes), span_skip(rest, head.organization_bytes), head.leaf_ms};
	err = open_ca(message, &head, &ca);
	if (err)
		return err;
	before = signing_ca(signer->signing);
	if (before)
		memcpy(id, before->id, sizeof(id));
	err = signing_use(signer->signing, ca, &conf, (size_t)head.leaf_count, now());
	if (err == ERR_NONE && memcmp(id, signing_ca(signer->signing)->id, sizeof(id)) != 0)
		tell_ca(signing_ca(signer->signing));
	if (err == ERR_NONE)
		err = send_crl(signer);
	ready = (struct ipc_ready){.generation = head.generation};
	return err ? err : ipc_send(signer->channel, IPC_READY, head.generation, span_of(&ready, sizeof(ready)), NULL, 0);
}

/* False: it is over; *status. */
static bool read_channel(struct signer *signer, int *status)
{
	struct ipc_message *message = &signer->message;
	enum ipc_got got = ipc_receive(signer->channel, roles_row(ROLE_PARENT)->sends, message);
	enum err err = ERR_MESSAGE;

	*status = got == IPC_INVALID;
	if (got != IPC_GOT || message->type == IPC_STOP)
		return false;
	if (message->type == IPC_SIGNER)
		err = take_signer(signer, message);
	else if (message->type == IPC_CHANNEL)
		err = take_channel(signer, message);
	ipc_drop(message);
	if (err)
		log_event(EV_ROLE_MESSAGE, "role=parent type=%s error=%s", ipc_type_name(message->type), err_name(err));
	*status = err != ERR_NONE;
	return err == ERR_NONE;
}

/* ---- the loop ---- */

/* What goes on and on is told once a minute. */
static void tell(struct signer *signer)
{
	struct signing_counts counts = signing_counts(signer->signing);
	uint64_t now_ms = clock_monotonic_ms();

	if ((signer->unsent == 0 && counts.unavailable == signer->unavailable_told) ||
	    (signer->told_ms && now_ms - signer->told_ms < TELL_MS))
		return;
	log_event(EV_SIGNER_BUSY, "unsent=%llu unavailable=%llu", (unsigned long long)signer->unsent,
	          (unsigned long long)(counts.unavailable - signer->unavailable_told));
	signer->told_ms = now_ms;
	signer->unavailable_told = counts.unavailable;
	signer->unsent = 0;
}

static void tick(struct signer *signer)
{
	int64_t wall = now().wall;

	signing_tick(signer->signing, now());
	if ((wall - signer->crl_made >= CRL_RENEW_S || wall < signer->crl_made) && send_crl(signer))
		signer->unsent++;
	tell(signer);
}

static void fill(struct signer *signer, struct pollfd fds[static AT_COUNT])
{
	fds[AT_CHANNEL].fd = signer->channel;
	fds[AT_RSA].fd = signer->rsa_done;
	for (size_t i = 0; i < SETTINGS_WORKERS_MAX; i++)
		fds[AT_WORKERS + i].fd = signer->workers[i].fd;
	for (size_t i = 0; i < AT_COUNT; i++)
		fds[i].events = POLLIN;
}

static int serve(struct signer *signer)
{
	struct pollfd fds[AT_COUNT];
	uint64_t ticked_ms = clock_monotonic_ms();
	int status;

	for (;;) {
		fill(signer, fds);
		if (poll(fds, AT_COUNT, TICK_MS) < 0 && errno != EINTR)
			return 1;
		if (fds[AT_CHANNEL].revents && !read_channel(signer, &status))
			return status;
		if (fds[AT_RSA].revents)
			take_rsa(signer);
		for (unsigned i = 0; i < SETTINGS_WORKERS_MAX; i++)
			if (fds[AT_WORKERS + i].revents && fds[AT_WORKERS + i].fd == signer->workers[i].fd)
				read_worker(signer, i);
		if (clock_monotonic_ms() - ticked_ms >= TICK_MS) {
			ticked_ms = clock_monotonic_ms();
			tick(signer);
		}
	}
}

/* ---- beginning ---- */

/* Before the sandbox closes: what OpenSSL reads and maps. A system that lets nobody lock memory is no reason not to run. */
static enum err protect_memory(void)
{
	const struct rlimit no_core = {0, 0};

	if (setrlimit(RLIMIT_CORE, &no_core) < 0)
		return ERR_SYSTEM;
	OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_LOAD_CRYPTO_STRINGS | OPENSSL_INIT_ADD_ALL_DIGESTS, NULL);
	if (CRYPTO_secure_malloc_init(SECURE_BYTES, SECURE_LEAST) != 1)
		log_event(EV_MEMORY_UNLOCKED, "bytes=%d", SECURE_BYTES);
	return ERR_NONE;
}

static enum err expect_signer(struct signer *signer)
{
	enum err err = ipc_expect(signer->channel, roles_row(ROLE_PARENT)->sends, IPC_SIGNER, &signer->message);

	if (err == ERR_NONE) {
		err = take_signer(signer, &signer->message);
		ipc_drop(&signer->message);
	}
	return err;
}

static enum err set_up(struct signer *signer)
{
	const struct signing_env env = {on_answer, on_key, want_rsa, signer};
	struct ipc_start start;
	enum err err = ipc_expect(signer->channel, roles_row(ROLE_PARENT)->sends, IPC_START, &signer->message);

	if (err)
		return err;
	memcpy(&start, signer->message.payload.at, sizeof(start));
	ipc_drop(&signer->message);
	err = sandbox_drop(ROLE_SIGNER, &start);
	if (err == ERR_NONE)
		err = protect_memory();
	signer->rsa_done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (err == ERR_NONE && signer->rsa_done < 0)
		err = ERR_SYSTEM;
	if (err == ERR_NONE)
		err = sandbox_close(ROLE_SIGNER);
	if (err == ERR_NONE)
		err = signing_new(&env, &signer->signing);
	return err ? err : expect_signer(signer);
}

int signer_main(int channel, unsigned number)
{
	static struct signer signer;
	enum err err;
	int status;

	signal(SIGPIPE, SIG_IGN);
	signer.channel = channel;
	for (size_t i = 0; i < SETTINGS_WORKERS_MAX; i++)
		signer.workers[i].fd = -1;
	err = set_up(&signer);
	if (err) {
		log_event(EV_SYSTEM, "role=signer number=%u what=start error=%s errno=%d", number, err_name(err), errno);
		return 1;
	}
	status = serve(&signer);
	if (!SALLYPORT_SANITIZED)
		_exit(status); /* also where the thread is at work */
	end_thread(&signer);
	EVP_PKEY_free(signer.made);
	signing_free(signer.signing);
	for (size_t i = 0; i < SETTINGS_WORKERS_MAX; i++)
		close_worker(&signer.workers[i]);
	return status;
}
