/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of the bench share: sockets on loopback, epoll, the limit of open files. It is
 * not part of the product and includes nothing of it: what measures must not lean on what is
 * measured. */
#ifndef BENCH_H
#define BENCH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Says why on stderr and ends the program with 2. */
__attribute__((noreturn, format(printf, 1, 2))) void bench_die(const char *format, ...);

/* Raises the limit of open files to the hard one, which it returns; ignores SIGPIPE. */
size_t bench_prepare(void);

/* A listening, non-blocking socket of `device` (NULL: any) on `address`; its port is the kernel's
 * choice. */
int bench_listen(uint32_t address, const char *device, uint16_t *port);

/* Watches `fd` for `events`; they come with `context`. */
void bench_watch(int epoll, int fd, uint32_t events, void *context);

/* Accepts one client, non-blocking; -1 if nobody is there. */
int bench_accept(int listening);

/* "1.2.3.4:80", which ends at `end`. */
bool bench_address(const char *text, char end, struct sockaddr_in *out);

/* Sends without waiting and without SIGPIPE; false if not all of it went. Only for little. */
bool bench_send(int fd, const void *data, size_t len);

/* Takes bytes out of a TCP socket without copying them; returns what recv() would. The ends of the
 * bench must cost little, or the bench measures itself. */
ssize_t bench_drop(int fd);

#endif
