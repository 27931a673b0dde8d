/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

void bench_die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

size_t bench_prepare(void)
{
	struct rlimit limit;

	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		bench_die("limit of open files: %s", strerror(errno));
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		bench_die("limit of open files: %s", strerror(errno));
	return (size_t)limit.rlim_cur;
}

int bench_listen(uint32_t address, const char *device, uint16_t *port)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
	socklen_t len = sizeof(name);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&name, len) < 0 ||
	    (device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device,
				  (socklen_t)strlen(device) + 1) < 0) ||
	    listen(fd, 4096) < 0 || getsockname(fd, (struct sockaddr *)&name, &len) < 0)
		bench_die("cannot listen: %s", strerror(errno));
	*port = ntohs(name.sin_port);
	return fd;
}

void bench_watch(int epoll, int fd, uint32_t events, void *context)
{
	struct epoll_event event = {.events = events, .data.ptr = context};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		bench_die("epoll_ctl: %s", strerror(errno));
}

int bench_accept(int listening)
{
	int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
		bench_die("accept: %s", strerror(errno));
	return fd;
}

bool bench_address(const char *text, char end, struct sockaddr_in *out)
{
	const char *colon = strchr(text, ':');
	char address[INET_ADDRSTRLEN];
	unsigned long port;
	char *after;

	if (colon == NULL || (size_t)(colon - text) >= sizeof(address))
		return false;
	memcpy(address, text, (size_t)(colon - text));
	address[colon - text] = '\0';
	port = strtoul(colon + 1, &after, 10);
	*out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	return inet_pton(AF_INET, address, &out->sin_addr) == 1 && after != colon + 1 &&
	       *after == end && port > 0 && port < 65536;
}

bool bench_send(int fd, const void *data, size_t len)
{
	return send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

ssize_t bench_drop(int fd)
{
	return recv(fd, NULL, 4 * 1024 * 1024, MSG_TRUNC);
}
