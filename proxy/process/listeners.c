/* SPDX-License-Identifier: Apache-2.0 */
#include "process/listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "net/socket.h"
#include "process/folder.h"

static bool is_unix(const struct listen_conf *conf)
{
	return conf->address.family == AF_UNIX;
}

static bool is_same(const struct listen_conf *a, const struct listen_conf *b)
{
	if (is_unix(a) || is_unix(b))
		return is_unix(a) && is_unix(b) && strcmp(a->path, b->path) == 0;
	/* Port 0 is whatever the kernel gave to the listener of this name. */
	if (a->address.port == 0 && strcmp(a->name, b->name) != 0)
		return false;
	return a->address.port == b->address.port && address_equal(&a->address, &b->address);
}

static size_t find_same(const struct listeners *in, const struct listen_conf *conf)
{
	for (size_t i = 0; in && i < in->count; i++)
		if (is_same(&in->conf[i], conf))
			return i;
	return SIZE_MAX;
}

static void find_address(int fd, const struct listen_conf *conf, struct address *out)
{
	struct sockaddr_storage storage;
	socklen_t len = sizeof(storage);

	*out = conf->address;
	if (!is_unix(conf) && getsockname(fd, (struct sockaddr *)&storage, &len) == 0)
		address_from_sockaddr((const struct sockaddr *)&storage, out);
}

static const char *hint_for(int error_number, const struct listen_conf *conf)
{
	switch (error_number) {
	case EADDRINUSE:
		return "; another program has this address";
	case EADDRNOTAVAIL:
		return "; this host has no such address: see ip addr";
	case EACCES:
		return is_unix(conf) ? "; the folder must be writable"
		                     : "; ports below 1024 need root or CAP_NET_BIND_SERVICE";
	default:
		return "";
	}
}

static enum err open_one(struct listeners *listeners, size_t at, const struct listeners *old,
                         const char *file, struct problems *problems)
{
	const struct listen_conf *conf = &listeners->conf[at];
	size_t same = find_same(old, conf);
	struct buf text;
	int error_number;

	if (same != SIZE_MAX) {
		listeners->addresses[at] = old->addresses[same];
		listeners->fds[at] = fcntl(old->fds[same], F_DUPFD_CLOEXEC, 0);
		/* Backlogs can be changed at any time. */
		if (listeners->fds[at] >= 0 && listen(listeners->fds[at], (int)conf->backlog) == 0)
			return ERR_NONE;
	} else if ((!is_unix(conf) || folder_make_for(conf->path) == ERR_NONE) &&
	           socket_listen(conf, &listeners->fds[at]) == ERR_NONE) {
		find_address(listeners->fds[at], conf, &listeners->addresses[at]);
		return ERR_NONE;
	}
	error_number = errno;
	buf_init(&text, 4096);
	if (is_unix(conf))
		buf_add_string(&text, conf->path);
	else
		address_format_with_port(&conf->address, &text);
	problem_add(problems, PROBLEM_ERROR, file, 0, 0, "listen %s: cannot listen on %.*s: %s%s",
	            conf->name, SPAN_ARG(buf_span(&text)), strerror(error_number), hint_for(error_number, conf));
	buf_fini(&text);
	return ERR_SYSTEM;
}

enum err listeners_open(const struct conf_groups *conf, const struct listeners *old,
                        const char *file, struct problems *problems, struct listeners *out)
{
	enum err err = ERR_NONE;

	*out = (struct listeners){.conf = conf->at, .count = conf->count};
	out->fds = calloc(conf->count, sizeof(*out->fds));
	out->addresses = calloc(conf->count, sizeof(*out->addresses));
	if (out->fds == NULL || out->addresses == NULL) {
		out->count = 0;
		listeners_close(out, NULL);
		return ERR_MEMORY;
	}
	for (size_t i = 0; i < conf->count; i++) {
		out->fds[i] = -1;
		if (open_one(out, i, old, file, problems))
			err = ERR_SYSTEM;
	}
	if (err)
		listeners_close(out, old);
	return err;
}

void listeners_set_buffers(const struct listeners *listeners, uint64_t bytes)
{
	for (size_t i = 0; i < listeners->count; i++)
		if (!is_unix(&listeners->conf[i]))
			socket_set_buffers(listeners->fds[i], bytes);
}

void listeners_close(struct listeners *listeners, const struct listeners *next)
{
	for (size_t i = 0; i < listeners->count; i++) {
		const struct listen_conf *conf = &listeners->conf[i];

		if (listeners->fds[i] < 0)
			continue;
		close(listeners->fds[i]);
		if (is_unix(conf) && find_same(next, conf) == SIZE_MAX)
			unlink(conf->path);
	}
	free(listeners->fds);
	free(listeners->addresses);
	*listeners = (struct listeners){.conf = NULL};
}

static bool is_listening(int fd)
{
	int yes = 0;
	socklen_t len = sizeof(yes);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 && yes;
}

/* Ended, it may have lost its address, too. */
static bool listen_again(int fd, const struct listen_conf *conf, const struct address *address)
{
	struct sockaddr_storage storage;
	socklen_t len = is_unix(conf) ? 0 : address_to_sockaddr(address, &storage);

	/* EINVAL: it has kept it. */
	if (len && bind(fd, (const struct sockaddr *)&storage, len) < 0 && errno != EINVAL)
		return false;
	return listen(fd, (int)conf->backlog) == 0;
}

void listeners_heal(const struct listeners *listeners)
{
	for (size_t i = 0; i < listeners->count; i++) {
		const struct listen_conf *conf = &listeners->conf[i];
		int fd = listeners->fds[i], flags = fcntl(fd, F_GETFL);
		bool blocks = flags >= 0 && !(flags & O_NONBLOCK), was_ended = !is_listening(fd);
		bool is_well = true;

		if (!blocks && !was_ended)
			continue;
		if (blocks)
			is_well = fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
		if (was_ended)
			is_well &= listen_again(fd, conf, &listeners->addresses[i]);
		log_event(is_well ? EV_LISTEN_LOST : EV_LISTEN_FAILED, "listener=%s", conf->name);
	}
}

static bool is_wildcard(const struct address *address)
{
	static const uint8_t zeros[16];

	return memcmp(address->bytes, zeros, sizeof(zeros)) == 0;
}

static size_t add_interfaces(const struct address *wildcard, struct address *out, size_t max)
{
	struct ifaddrs *all;
	size_t count = 0;

	if (getifaddrs(&all) < 0)
		return 0;
	for (const struct ifaddrs *one = all; one && count < max; one = one->ifa_next) {
		if (one->ifa_addr == NULL || one->ifa_addr->sa_family != wildcard->family)
			continue;
		address_from_sockaddr(one->ifa_addr, &out[count]);
		out[count++].port = wildcard->port;
	}
	freeifaddrs(all);
	return count;
}

size_t listeners_own(const struct listeners *listeners, struct address *out, size_t max)
{
	size_t count = 0;

	for (size_t i = 0; i < listeners->count && count < max; i++) {
		const struct address *address = &listeners->addresses[i];

		if (is_unix(&listeners->conf[i]))
			continue;
		out[count++] = *address;
		if (is_wildcard(address))
			count += add_interfaces(address, out + count, max - count);
	}
	return count;
}

void listeners_format(const struct listeners *listeners, struct buf *out)
{
	for (size_t i = 0; i < listeners->count; i++) {
		buf_printf(out, "%s%s=", i ? " " : "", listeners->conf[i].name);
		if (is_unix(&listeners->conf[i]))
			buf_printf(out, "unix:%s", listeners->conf[i].path);
		else
			address_format_with_port(&listeners->addresses[i], out);
	}
}
