/* SPDX-License-Identifier: Apache-2.0 */
#include "net/socket.h"

#include <errno.h>
#include <linux/tcp.h> /* knows more of struct tcp_info than glibc does */
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/compiler.h"

/* A dead path is noticed after KEEPALIVE_IDLE_S + 3 * KEEPALIVE_EVERY_S. */
enum { KEEPALIVE_IDLE_S = 60, KEEPALIVE_EVERY_S = 10, KEEPALIVE_TRIES = 3 };

/* Time between two looks at what is not sent. */
enum { ASK_LEAST_MS = 20, ASK_MOST_MS = 1000 };

enum { PRIORITY_NORMAL = 0, PRIORITY_BULK = 2, PRIORITY_MEDIA = 6 };

struct option {
	int level, name, value;
};

static int set_options(int fd, const struct option *options, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
		               sizeof(options[i].value)) < 0)
			return -1;
	return 0;
}

static const struct option no_delay = {IPPROTO_TCP, TCP_NODELAY, 1};
/* Urgent bytes stay where they are among the others (RFC 6093 section 6). */
static const struct option urgent_inline = {SOL_SOCKET, SO_OOBINLINE, 1};

static const struct option keep_alive_options[] = {
	{SOL_SOCKET, SO_KEEPALIVE, 1},
	{IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
	{IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S},
	{IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_TRIES},
};

static enum err fail(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return ERR_SYSTEM;
}

static enum err listen_ip(const struct listen_conf *conf, int *out)
{
	struct sockaddr_storage storage;
	socklen_t len = address_to_sockaddr(&conf->address, &storage);
	int fd = socket(conf->address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const struct option reuse = {SOL_SOCKET, SO_REUSEADDR, 1};
	const struct option v6only = {IPPROTO_IPV6, IPV6_V6ONLY, 1};

	if (fd < 0 || set_options(fd, &reuse, 1) < 0 || set_options(fd, &no_delay, 1) < 0 ||
	    set_options(fd, &urgent_inline, 1) < 0 ||
	    set_options(fd, keep_alive_options, COUNT_OF(keep_alive_options)) < 0)
		return fail(fd);
	if (conf->address.family == AF_INET6 && set_options(fd, &v6only, 1) < 0)
		return fail(fd);
	if (bind(fd, (const struct sockaddr *)&storage, len) < 0 ||
	    listen(fd, (int)conf->backlog) < 0)
		return fail(fd);
	*out = fd;
	return ERR_NONE;
}

static bool unix_address(const char *path, struct sockaddr_un *out)
{
	size_t len = strlen(path);

	if (len >= sizeof(out->sun_path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(out->sun_path, path, len);
	return true;
}

/* A socket file that nobody listens on any more is in the way of bind(): remove it. */
static void remove_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stat stat;

	if (fd < 0)
		return;
	if (lstat(address->sun_path, &stat) == 0 && S_ISSOCK(stat.st_mode) &&
	    connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
	    errno == ECONNREFUSED)
		unlink(address->sun_path);
	close(fd);
}

/* The file has its permissions from the first: chmod() by name could be led elsewhere. */
static int bind_unix(int fd, const struct sockaddr_un *address, mode_t mode)
{
	mode_t mask = umask(0);
	int result = fchmod(fd, mode);

	if (result == 0)
		result = bind(fd, (const struct sockaddr *)address, sizeof(*address));
	umask(mask);
	return result;
}

static enum err listen_unix(const struct listen_conf *conf, int *out)
{
	struct sockaddr_un address;
	int fd;

	if (!unix_address(conf->path, &address))
		return ERR_SYSTEM;
	remove_stale(&address);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind_unix(fd, &address, (mode_t)conf->mode) < 0 ||
	    listen(fd, (int)conf->backlog) < 0)
		return fail(fd);
	*out = fd;
	return ERR_NONE;
}

enum err socket_listen(const struct listen_conf *conf, int *out)
{
	return conf->address.family == AF_UNIX ? listen_unix(conf, out) : listen_ip(conf, out);
}

enum err socket_error(int error_number)
{
	switch (error_number) {
	case ECONNREFUSED:
		return ERR_ORIGIN_REFUSED;
	case ETIMEDOUT:
		return ERR_ORIGIN_CONNECT_TIMEOUT;
	case ECONNRESET:
	case EPIPE:
		return ERR_ORIGIN_RESET;
	case EMFILE:
	case ENFILE:
	case EADDRNOTAVAIL: /* no local port is left */
	case ENOBUFS:
	case ENOMEM:
		return ERR_LIMIT_FILES;
	default:
		return ERR_ORIGIN_UNREACHABLE;
	}
}

static enum err bind_source(int fd, const struct address *source)
{
	const struct option no_port = {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1};
	struct sockaddr_storage storage;
	struct address any_port = *source;
	socklen_t len;

	any_port.port = 0;
	len = address_to_sockaddr(&any_port, &storage);
	if (set_options(fd, &no_port, 1) == 0 &&
	    bind(fd, (const struct sockaddr *)&storage, len) == 0)
		return ERR_NONE;
	/* No port is taken yet: it is the address that this host has not. */
	return errno == EADDRNOTAVAIL ? ERR_ROUTE_SOURCE : socket_error(errno);
}

enum err socket_connect(const struct address *to, const struct address *source, int *out)
{
	struct sockaddr_storage storage;
	socklen_t len = address_to_sockaddr(to, &storage);
	int fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	enum err err = ERR_NONE;

	if (fd < 0)
		return socket_error(errno);
	if (source && source->family == to->family)
		err = bind_source(fd, source);
	if (err == ERR_NONE && connect(fd, (const struct sockaddr *)&storage, len) < 0 &&
	    errno != EINPROGRESS)
		err = socket_error(errno);
	if (err)
		close(fd);
	else
		*out = fd;
	return err;
}

enum err socket_connect_result(int fd)
{
	int error_number = 0;
	socklen_t len = sizeof(error_number);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &len) < 0)
		return socket_error(errno);
	return error_number ? socket_error(error_number) : ERR_NONE;
}

/* What fails here (a UNIX socket, one that is gone) is not needed, or is told by the next read or write. */
void socket_no_delay(int fd)
{
	if (set_options(fd, &no_delay, 1) < 0)
		errno = 0;
}

void socket_keep_urgent(int fd)
{
	if (set_options(fd, &urgent_inline, 1) < 0)
		errno = 0;
}

void socket_keep_alive(int fd)
{
	/* What cannot be had (a UNIX socket) is not needed: the idle timeout stays. */
	if (set_options(fd, keep_alive_options, COUNT_OF(keep_alive_options)) < 0)
		errno = 0;
}

void socket_set_buffers(int fd, uint64_t bytes)
{
	/* With these the kernel holds still; before Linux 5.14 (no SO_BUF_LOCK) for ever. */
	const struct option fixed[] = {{SOL_SOCKET, SO_SNDBUF, (int)bytes}, {SOL_SOCKET, SO_RCVBUF, (int)bytes}};
	const struct option grows = {SOL_SOCKET, SO_BUF_LOCK, 0};

	if (set_options(fd, bytes ? fixed : &grows, bytes ? COUNT_OF(fixed) : 1) < 0)
		errno = 0;
}

static void set_dscp(int fd, uint64_t dscp, int priority)
{
	const struct option options[] = {
		{IPPROTO_IP, IP_TOS, (int)dscp << 2},
		{IPPROTO_IPV6, IPV6_TCLASS, (int)dscp << 2},
		{SOL_SOCKET, SO_PRIORITY, priority}, /* behind IP_TOS, which sets it, too */
	};

	if (dscp > CLASS_DSCP_MAX)
		return;
	for (size_t i = 0; i < COUNT_OF(options); i++)
		set_options(fd, &options[i], 1); /* one of the first two does not fit the family */
	errno = 0;
}

/* Bytes that wait are late: the sender is to feel that the path is full, not we to store it. */
static void set_media(int fd, const struct media_conf *conf)
{
	const int dead_s = (int)(conf->dead_after_ms / 1000);
	const struct option options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)conf->unsent_bytes},
		{SOL_SOCKET, SO_SNDBUF, (int)conf->buffer_bytes},
		{SOL_SOCKET, SO_RCVBUF, (int)conf->buffer_bytes},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, dead_s / 2 ? dead_s / 2 : 1},
		{IPPROTO_TCP, TCP_KEEPINTVL, dead_s / 6 ? dead_s / 6 : 1},
		{IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_TRIES},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, (int)conf->dead_after_ms},
	};

	for (size_t i = 0; i < COUNT_OF(options); i++)
		set_options(fd, &options[i], 1);
	errno = 0;
}

void socket_set_class(int fd, enum loop_class class, const struct classes_conf *conf)
{
	if (class == LOOP_MEDIA) {
		set_media(fd, &conf->media);
		set_dscp(fd, conf->media.dscp, PRIORITY_MEDIA);
	} else if (class == LOOP_BULK) {
		set_dscp(fd, conf->bulk.dscp, PRIORITY_BULK);
	} else {
		set_dscp(fd, conf->normal.dscp, PRIORITY_NORMAL);
	}
}

void socket_end_media(int fd, const struct classes_conf *conf, uint64_t kernel_buffer_bytes)
{
	static const struct option none[] = {{IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0}, {IPPROTO_TCP, TCP_USER_TIMEOUT, 0}};
	uint64_t dscp = conf->normal.dscp > CLASS_DSCP_MAX ? 0 : conf->normal.dscp;

	if (set_options(fd, none, COUNT_OF(none)) < 0)
		errno = 0;
	socket_set_buffers(fd, kernel_buffer_bytes);
	socket_keep_alive(fd);
	if (conf->media.dscp <= CLASS_DSCP_MAX)
		set_dscp(fd, dscp, PRIORITY_NORMAL);
}

bool socket_is_quiet(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

bool socket_was_reset(int fd, int *error_number)
{
	socklen_t len = sizeof(*error_number);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, error_number, &len) < 0)
		*error_number = errno;
	return *error_number != 0;
}

static bool read_info(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	*info = (struct tcp_info){.tcpi_state = 0};
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0;
}

bool socket_is_sent(int fd)
{
	enum { STATE_CLOSED = 7 /* TCP_CLOSE; its header and that of struct tcp_info do not go together */ };
	struct tcp_info info;

	if (!read_info(fd, &info))
		return true;
	/* Of a connection that was reset nothing more is sent. */
	return info.tcpi_state == STATE_CLOSED || (info.tcpi_unacked == 0 && info.tcpi_notsent_bytes == 0);
}

uint64_t socket_ask_again_ms(uint64_t quiet_ms)
{
	if (quiet_ms < ASK_LEAST_MS)
		return ASK_LEAST_MS;
	return quiet_ms < ASK_MOST_MS ? quiet_ms : ASK_MOST_MS;
}

uint32_t socket_acknowledged(int fd)
{
	struct tcp_info info;

	return read_info(fd, &info) ? (uint32_t)info.tcpi_bytes_acked : 0;
}
