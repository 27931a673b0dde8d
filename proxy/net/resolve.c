/* SPDX-License-Identifier: Apache-2.0 */
#include "net/resolve.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "base/log.h"
#include "net/resolve_soa.h"

enum {
	SOCKETS_MAX = 64,
	NAME_MAX_BYTES = 253,
	FAILURE_TTL_MS = 1000, COMPLAIN_MS = 1000,
	TICK_MS = 20,
	ROUNDS_MAX = 64,
	ASKED_MAX = 16384, /* questions at once: c-ares looks for a free id of 65536, and for ever if none is */
};

/* What is known of one name; also the place where those wait who ask while it is asked for. */
struct entry {
	struct list bucket, lru; /* lru: unlinked for dns.hosts */
	struct resolver *resolver;
	struct list waiting; /* of struct resolve_query */
	uint64_t expires_ms;
	uint64_t ttl_ms, negative_ttl_ms; /* of addresses; of the answer that there are none */
	unsigned pending;    /* answers that c-ares still owes */
	bool is_known;       /* an answer stands until expires_ms */
	bool is_permanent;
	bool is_dropped;     /* out of the cache; freed when pending is 0 */
	enum err err;
	struct loop_timer delay;
	struct loop_task report;
	struct address at[2][RESOLVE_ADDRESSES_MAX / 2]; /* [0] IPv6, [1] IPv4 */
	size_t counts[2];
	size_t name_len;
	char name[]; /* NUL-terminated */
};

struct resolve_query {
	struct list link; /* unlinked: its report is under way or it was cancelled */
	resolve_done *done;
	void *context;
};

struct socket_watch {
	struct loop_io io; /* io.fd -1: free */
	struct resolver *resolver;
};

struct resolver {
	struct loop *loop;
	const struct dns_conf *conf;
	ares_channel channel;
	char *servers; /* that the channel asks, as c-ares is told them */
	struct hash_key key;
	struct list *buckets;
	size_t bucket_count, entry_count;
	struct list lru; /* longest unused first */
	struct socket_watch sockets[SOCKETS_MAX];
	struct loop_timer timer; /* for c-ares' own time-outs */
	uint64_t queries_count;
	uint64_t complained_ms; /* when a failure was told, and how many were not since */
	unsigned untold_count;
	size_t asked_count; /* answers that c-ares still owes, for all entries */
};

/* ---- sockets and time for c-ares ---- */

/* ares_timeout() would say when, but it looks at each open question: thousands of them to a silent name
 * server would then cost a millisecond at every event. */
static void arm(struct resolver *resolver)
{
	if (resolver->asked_count == 0)
		loop_timer_clear(resolver->loop, &resolver->timer);
	else if (resolver->timer.link.next == NULL)
		loop_timer_set(resolver->loop, &resolver->timer, TICK_MS);
}

static void on_timer(struct loop_timer *timer)
{
	struct resolver *resolver = CONTAINER_OF(timer, struct resolver, timer);

	ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm(resolver);
}

static bool has_more(int fd)
{
	uint8_t byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

/* c-ares counts on being told again of what it left: of an answer by TCP it reads the length, and the
 * rest at the next call. The loop tells once. */
static void on_socket(struct loop_io *io, unsigned events)
{
	struct resolver *resolver = CONTAINER_OF(io, struct socket_watch, io)->resolver;
	bool readable = events & ~(unsigned)LOOP_WRITABLE, more;
	int fd = io->fd, rounds = 0;

	do {
		ares_process_fd(resolver->channel, readable ? fd : ARES_SOCKET_BAD,
		                events & LOOP_WRITABLE ? fd : ARES_SOCKET_BAD);
		more = readable && io->fd == fd && has_more(fd);
	} while (more && ++rounds < ROUNDS_MAX);
	if (more)
		loop_again(resolver->loop, io, LOOP_READABLE);
	arm(resolver);
}

static void on_socket_state(void *context, ares_socket_t fd, int readable, int writable)
{
	struct resolver *resolver = context;
	struct socket_watch *place = NULL;

	for (size_t i = 0; i < SOCKETS_MAX; i++) {
		struct socket_watch *watch = &resolver->sockets[i];

		if (watch->io.fd == fd) {
			if (!readable && !writable) {
				loop_unwatch(resolver->loop, &watch->io);
				watch->io.fd = -1;
			} else if (writable) { /* it may have been so all the time */
				loop_again(resolver->loop, &watch->io, LOOP_WRITABLE);
			}
			return;
		}
		if (watch->io.fd < 0 && place == NULL)
			place = watch;
	}
	if (place == NULL || (!readable && !writable))
		return; /* c-ares' time-out ends it */
	place->io = (struct loop_io){.fd = fd, .on_ready = on_socket};
	if (loop_watch(resolver->loop, &place->io))
		place->io.fd = -1;
}

/* ---- the cache ---- */

static struct list *bucket_of(struct resolver *resolver, struct span name)
{
	return &resolver->buckets[hash_bytes(&resolver->key, name) & (resolver->bucket_count - 1)];
}

static struct entry *find(struct resolver *resolver, struct span name)
{
	LIST_EACH(bucket_of(resolver, name), link)
	{
		struct entry *entry = LIST_ENTRY(link, struct entry, bucket);

		if (span_equal(name, span_of(entry->name, entry->name_len)))
			return entry;
	}
	return NULL;
}

static void drop(struct entry *entry)
{
	struct resolver *resolver = entry->resolver;

	if (!entry->is_dropped) {
		list_remove(&entry->bucket);
		list_remove(&entry->lru);
		if (!entry->is_permanent)
			resolver->entry_count--;
		entry->is_dropped = true;
	}
	if (entry->pending || loop_is_deferred(&entry->report))
		return;
	loop_timer_clear(resolver->loop, &entry->delay);
	free(entry);
}

static void report(struct loop_task *task);
static void on_delay(struct loop_timer *timer);

static struct entry *add_entry(struct resolver *resolver, struct span name)
{
	struct entry *entry = calloc(1, sizeof(*entry) + name.len + 1);

	if (entry == NULL)
		return NULL;
	entry->resolver = resolver;
	entry->report.run = report;
	entry->delay.on_due = on_delay;
	entry->name_len = name.len;
	memcpy(entry->name, name.at, name.len);
	list_init(&entry->waiting);
	list_init(&entry->lru);
	list_add_first(bucket_of(resolver, name), &entry->bucket);
	return entry;
}

static bool is_busy(const struct entry *entry)
{
	return entry->pending || !list_is_empty(&entry->waiting) || loop_is_deferred(&entry->report);
}

/* Room for one more: the longest unused that nobody waits for goes. Those that are asked for go to the
 * end, so that they are not met again at once. */
static bool make_room(struct resolver *resolver)
{
	if (resolver->entry_count < resolver->conf->cache_count)
		return true;
	for (size_t i = 0; i < resolver->entry_count; i++) {
		struct list *link = resolver->lru.next;
		struct entry *entry = LIST_ENTRY(link, struct entry, lru);

		if (!is_busy(entry)) {
			drop(entry);
			return true;
		}
		list_remove(link);
		list_add_last(&resolver->lru, link);
	}
	return false;
}

/* IPv6 and IPv4 in turn, IPv6 first (RFC 8305 section 4). */
static void interleave(const struct entry *entry, struct resolve_answer *out)
{
	out->err = entry->err;
	out->count = 0;
	for (size_t i = 0; i < RESOLVE_ADDRESSES_MAX / 2; i++)
		for (size_t family = 0; family < 2; family++)
			if (i < entry->counts[family])
				out->at[out->count++] = entry->at[family][i];
}

/* ---- answers ---- */

static void report(struct loop_task *task)
{
	struct entry *entry = CONTAINER_OF(task, struct entry, report);
	struct resolve_answer answer = {.cached = false};
	struct list *link;

	interleave(entry, &answer);
	while ((link = list_first(&entry->waiting)) != NULL) {
		struct resolve_query *query = LIST_ENTRY(link, struct resolve_query, link);

		list_remove(link);
		query->done(query->context, &answer);
		free(query);
	}
	if (entry->is_dropped)
		drop(entry);
}

static void finish(struct entry *entry)
{
	struct resolver *resolver = entry->resolver;
	bool found = entry->counts[0] + entry->counts[1] > 0;
	uint64_t most_ms = found ? resolver->conf->max_ttl_ms : resolver->conf->max_negative_ttl_ms;
	uint64_t ttl_ms;

	if (found)
		entry->err = ERR_NONE;
	else if (entry->err == ERR_NONE)
		entry->err = ERR_DNS_NOT_FOUND;
	/* That a name lacks one family says nothing about how long the addresses of the other hold. */
	ttl_ms = found                             ? entry->ttl_ms
	         : entry->err == ERR_DNS_NOT_FOUND ? entry->negative_ttl_ms
	                                           : FAILURE_TTL_MS;
	entry->is_known = true;
	entry->expires_ms = loop_now_ms(resolver->loop) + (ttl_ms < most_ms ? ttl_ms : most_ms);
	loop_timer_clear(resolver->loop, &entry->delay);
	loop_defer(resolver->loop, &entry->report);
}

static void on_delay(struct loop_timer *timer)
{
	struct entry *entry = CONTAINER_OF(timer, struct entry, delay);

	if (!entry->is_known)
		finish(entry);
}

static void note_ttl(uint64_t *ttl_ms, uint64_t seconds)
{
	if (seconds * 1000 < *ttl_ms)
		*ttl_ms = seconds * 1000;
}

static enum err error_of(int status)
{
	switch (status) {
	case ARES_SUCCESS:
	case ARES_ENODATA:
		return ERR_NONE;
	case ARES_ENOTFOUND:
		return ERR_DNS_NOT_FOUND;
	case ARES_ETIMEOUT:
		return ERR_DNS_TIMEOUT;
	default:
		return ERR_DNS_FAILED;
	}
}

static void take_ipv4(struct entry *entry, const unsigned char *message, int len)
{
	struct ares_addrttl found[RESOLVE_ADDRESSES_MAX / 2];
	int count = COUNT_OF(found);

	if (ares_parse_a_reply(message, len, NULL, found, &count) != ARES_SUCCESS)
		return;
	for (int i = 0; i < count; i++) {
		struct address *address = &entry->at[1][entry->counts[1]++];

		*address = (struct address){.family = AF_INET};
		memcpy(address->bytes, &found[i].ipaddr, 4);
		note_ttl(&entry->ttl_ms, (uint64_t)(found[i].ttl > 0 ? found[i].ttl : 0));
	}
}

static void take_ipv6(struct entry *entry, const unsigned char *message, int len)
{
	struct ares_addr6ttl found[RESOLVE_ADDRESSES_MAX / 2];
	int count = COUNT_OF(found);

	if (ares_parse_aaaa_reply(message, len, NULL, found, &count) != ARES_SUCCESS)
		return;
	for (int i = 0; i < count; i++) {
		struct address *address = &entry->at[0][entry->counts[0]++];

		*address = (struct address){.family = AF_INET6};
		memcpy(address->bytes, &found[i].ip6addr, 16);
		note_ttl(&entry->ttl_ms, (uint64_t)(found[i].ttl > 0 ? found[i].ttl : 0));
	}
}

/* Anybody can have names looked up that fail: not every one is an event. */
static void complain(const struct entry *entry, const char *reason)
{
	struct resolver *resolver = entry->resolver;
	uint64_t now_ms = loop_now_ms(resolver->loop);

	if (resolver->complained_ms && now_ms - resolver->complained_ms < COMPLAIN_MS) {
		resolver->untold_count++;
		return;
	}
	log_event(EV_DNS_FAILED, "name=%s reason=%s untold=%u", entry->name, reason,
	          resolver->untold_count);
	resolver->complained_ms = now_ms;
	resolver->untold_count = 0;
}

static void on_answer(struct entry *entry, size_t family, int status, const unsigned char *message,
                      int len)
{
	enum err err = error_of(status);
	size_t before = entry->counts[family];

	entry->pending--;
	entry->resolver->asked_count--;
	if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED || entry->is_dropped) {
		if (entry->is_dropped)
			drop(entry);
		return;
	}
	if (status == ARES_SUCCESS && before == 0) {
		if (family == 0)
			take_ipv6(entry, message, len);
		else
			take_ipv4(entry, message, len);
	}
	if (entry->counts[family] == 0 && message && err != ERR_DNS_FAILED)
		note_ttl(&entry->negative_ttl_ms,
		         resolve_soa_parse(span_of(message, (size_t)len)));
	if (err && (entry->err == ERR_NONE || entry->err == ERR_DNS_NOT_FOUND))
		entry->err = err;
	if (err == ERR_DNS_FAILED || err == ERR_DNS_TIMEOUT)
		complain(entry, ares_strerror(status));
	if (entry->is_known)
		return; /* a late family: it is there for the next who ask */
	if (entry->pending == 0)
		finish(entry);
	else if (entry->counts[family])
		loop_timer_set(entry->resolver->loop, &entry->delay,
		               entry->resolver->conf->resolution_delay_ms);
}

static void on_ipv6(void *context, int status, int timeouts, unsigned char *message, int len)
{
	(void)timeouts;
	on_answer(context, 0, status, message, len);
}

static void on_ipv4(void *context, int status, int timeouts, unsigned char *message, int len)
{
	(void)timeouts;
	on_answer(context, 1, status, message, len);
}

static void ask(struct entry *entry)
{
	struct resolver *resolver = entry->resolver;

	entry->is_known = false;
	entry->err = ERR_NONE;
	entry->counts[0] = entry->counts[1] = 0;
	entry->ttl_ms = entry->negative_ttl_ms = UINT64_MAX / 2;
	/* Both are counted before the first is asked: c-ares may answer inside the call. */
	entry->pending = 2;
	resolver->asked_count += 2;
	resolver->queries_count += 2;
	ares_query(resolver->channel, entry->name, ns_c_in, ns_t_aaaa, on_ipv6, entry);
	ares_query(resolver->channel, entry->name, ns_c_in, ns_t_a, on_ipv4, entry);
	arm(resolver);
}

/* ---- the functions of the header ---- */

bool resolve_now(struct resolver *resolver, struct span host, struct resolve_answer *out)
{
	struct entry *entry;

	out->cached = true;
	if (address_parse(host, &out->at[0])) {
		out->err = ERR_NONE;
		out->count = 1;
		return true;
	}
	entry = find(resolver, host);
	if (entry == NULL || !entry->is_known)
		return false;
	if (!entry->is_permanent && entry->expires_ms <= loop_now_ms(resolver->loop))
		return false;
	if (!entry->is_permanent) {
		list_remove(&entry->lru);
		list_add_last(&resolver->lru, &entry->lru);
	}
	interleave(entry, out);
	return true;
}

static bool has_answer(const struct entry *entry)
{
	return entry->is_known && (entry->is_permanent ||
	                           entry->expires_ms > loop_now_ms(entry->resolver->loop));
}

static struct entry *get_entry(struct resolver *resolver, struct span host)
{
	struct entry *entry = find(resolver, host);

	if (resolver->asked_count >= ASKED_MAX &&
	    (entry == NULL || (!has_answer(entry) && !is_busy(entry))))
		return NULL;
	if (entry || host.len > NAME_MAX_BYTES || !make_room(resolver))
		return entry;
	entry = add_entry(resolver, host);
	if (entry) {
		resolver->entry_count++;
		list_add_last(&resolver->lru, &entry->lru);
	}
	return entry;
}

enum err resolve_name(struct resolver *resolver, struct span host, resolve_done *done,
                      void *context, struct resolve_query **out)
{
	struct resolve_query *query = calloc(1, sizeof(*query));
	struct entry *entry = query ? get_entry(resolver, host) : NULL;

	if (entry == NULL) {
		free(query);
		return query ? ERR_LIMIT : ERR_MEMORY;
	}
	query->done = done;
	query->context = context;
	list_add_last(&entry->waiting, &query->link);
	*out = query;
	if (loop_is_deferred(&entry->report))
		return ERR_NONE; /* an answer is on its way to others: it is this one's, too */
	if (has_answer(entry))
		loop_defer(resolver->loop, &entry->report);
	else if (entry->pending == 0)
		ask(entry);
	else
		entry->is_known = false; /* expired while one family is late: wait for that one */
	return ERR_NONE;
}

void resolve_cancel(struct resolve_query *query)
{
	if (query == NULL)
		return;
	list_remove(&query->link);
	free(query);
}

uint64_t resolver_queries_count(const struct resolver *resolver)
{
	return resolver->queries_count;
}

static void drop_all(struct resolver *resolver)
{
	for (size_t i = 0; i < resolver->bucket_count; i++)
		LIST_EACH(&resolver->buckets[i], link)
		{
			struct entry *entry = LIST_ENTRY(link, struct entry, bucket);

			/* Those who wait get their answer; the entry goes with it. */
			if (list_is_empty(&entry->waiting))
				drop(entry);
		}
}

/* Those who wait for a name get the address that is fixed for it now. */
static void hand_over(struct entry *from, struct entry *to)
{
	struct list *link;

	while ((link = list_first(&from->waiting)) != NULL) {
		list_remove(link);
		list_add_last(&to->waiting, link);
		loop_defer(to->resolver->loop, &to->report);
	}
	drop(from);
}

static enum err add_hosts(struct resolver *resolver)
{
	for (size_t i = 0; i < resolver->conf->hosts.count; i++) {
		const struct conf_text_pair *host = &resolver->conf->hosts.at[i];
		struct address address;
		struct entry *entry, *before;
		size_t family;

		if (!address_parse(span_from(host->text), &address))
			return ERR_CONFIG;
		before = find(resolver, span_from(host->name));
		entry = add_entry(resolver, span_from(host->name));
		if (entry == NULL)
			return ERR_MEMORY;
		if (before)
			hand_over(before, entry);
		family = address.family == AF_INET;
		entry->is_permanent = entry->is_known = true;
		entry->at[family][0] = address;
		entry->counts[family] = 1;
	}
	return ERR_NONE;
}

/* c-ares takes other servers only while it asks none: what is asked is called off, ask_again() mends it. */
static enum err set_servers(struct resolver *resolver)
{
	struct buf csv;
	char *text;
	int status;

	buf_init(&csv, 4096);
	for (size_t i = 0; i < resolver->conf->servers.count; i++)
		buf_printf(&csv, "%s%s", i ? "," : "", resolver->conf->servers.at[i]);
	text = buf_to_string(&csv);
	buf_fini(&csv);
	if (text == NULL)
		return ERR_MEMORY;
	if (resolver->servers && strcmp(resolver->servers, text) == 0) {
		free(text);
		return ERR_NONE;
	}
	free(resolver->servers);
	resolver->servers = text;
	ares_cancel(resolver->channel);
	status = ares_set_servers_ports_csv(resolver->channel, text);
	return status == ARES_SUCCESS ? ERR_NONE : ERR_CONFIG;
}

static void ask_again(struct resolver *resolver)
{
	for (size_t i = 0; i < resolver->bucket_count; i++)
		LIST_EACH(&resolver->buckets[i], link)
		{
			struct entry *entry = LIST_ENTRY(link, struct entry, bucket);

			if (!list_is_empty(&entry->waiting) && !entry->is_known && entry->pending == 0)
				ask(entry);
		}
}

enum err resolver_set_conf(struct resolver *resolver, const struct dns_conf *conf)
{
	enum err err;

	resolver->conf = conf;
	drop_all(resolver);
	err = set_servers(resolver);
	if (err == ERR_NONE)
		err = add_hosts(resolver);
	if (err == ERR_NONE)
		ask_again(resolver);
	return err;
}

/* Query ids: c-ares 1.18 seeds its generator from /dev/urandom in ares_init_options(), so the
 * channel must be opened before a sandbox forbids to open files. */
static enum err open_channel(struct resolver *resolver)
{
	char lookups[] = "b"; /* no files: /etc/hosts is not ours to read */
	struct ares_options options = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
		.timeout = (int)resolver->conf->timeout_ms,
		.tries = (int)resolver->conf->tries_count,
		.lookups = lookups,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
	};

	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return ERR_MEMORY;
	if (ares_init_options(&resolver->channel, &options,
	                      ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
	                              ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS)
		return ERR_SYSTEM;
	return ERR_NONE;
}

enum err resolver_new(struct loop *loop, const struct dns_conf *conf, struct resolver **out)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	enum err err;

	if (resolver == NULL)
		return ERR_MEMORY;
	resolver->loop = loop;
	resolver->conf = conf;
	resolver->key = hash_key_random();
	resolver->timer.on_due = on_timer;
	list_init(&resolver->lru);
	for (size_t i = 0; i < SOCKETS_MAX; i++)
		resolver->sockets[i] = (struct socket_watch){{.fd = -1}, resolver};
	for (resolver->bucket_count = 64; resolver->bucket_count < conf->cache_count;)
		resolver->bucket_count *= 2;
	resolver->buckets = calloc(resolver->bucket_count, sizeof(*resolver->buckets));
	if (resolver->buckets == NULL) {
		free(resolver);
		return ERR_MEMORY;
	}
	for (size_t i = 0; i < resolver->bucket_count; i++)
		list_init(&resolver->buckets[i]);
	err = open_channel(resolver);
	if (err == ERR_NONE)
		err = resolver_set_conf(resolver, conf);
	if (err) {
		resolver_free(resolver);
		return err;
	}
	*out = resolver;
	return ERR_NONE;
}

void resolver_free(struct resolver *resolver)
{
	if (resolver == NULL)
		return;
	if (resolver->channel)
		ares_destroy(resolver->channel);
	loop_timer_clear(resolver->loop, &resolver->timer);
	for (size_t i = 0; i < resolver->bucket_count; i++) {
		struct list *link;

		while ((link = list_first(&resolver->buckets[i])) != NULL) {
			struct entry *entry = LIST_ENTRY(link, struct entry, bucket);
			struct list *waiting;

			while ((waiting = list_first(&entry->waiting)) != NULL)
				resolve_cancel(LIST_ENTRY(waiting, struct resolve_query, link));
			entry->pending = 0;
			loop_undefer(&entry->report);
			drop(entry);
		}
	}
	free(resolver->buckets);
	free(resolver->servers);
	free(resolver);
}
