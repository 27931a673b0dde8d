/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets with the options that this proxy always wants: non-blocking, close-on-exec, no Nagle (dialled ones: when it matters,
 * net/stream.h). */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include "base/address.h"
#include "base/err.h"
#include "net/loop.h"
#include "net/net_conf.h"

/* Bind and listen. Options that accepted sockets inherit (TCP_NODELAY, keep-alive) are set here, so
 * that accepting costs one system call. A stale UNIX socket file is replaced, one in use is not.
 * errors: ERR_SYSTEM with errno. blocks: no. */
MUST_USE enum err socket_listen(const struct listen_conf *conf, int *out);

/* Start to connect; completion is writability, then socket_connect_result(). Such a socket still delays small writes behind
 * others that are on their way, and puts urgent bytes aside: accepted ones do neither. `source` may be NULL
 * (family and bytes are used, with IP_BIND_ADDRESS_NO_PORT).
 * errors: ERR_ROUTE_SOURCE (the host has no such address), ERR_LIMIT_FILES, ERR_ORIGIN_UNREACHABLE,
 * ERR_ORIGIN_REFUSED. */
MUST_USE enum err socket_connect(const struct address *to, const struct address *source, int *out);

/* ERR_NONE when connected, else the reason. */
MUST_USE enum err socket_connect_result(int fd);

/* No Nagle; urgent bytes stay in their place among the others (RFC 6093 section 6). */
void socket_no_delay(int fd);
void socket_keep_urgent(int fd);

/* Have the kernel look every minute whether the other end is there. Accepted sockets do so from the start; for
 * others it is four system calls, which only those that live long are worth. */
void socket_keep_alive(int fd);

/* What sockets of this class have by `conf`: DSCP, and for media small queues and the means to notice a dead path soon. Nothing
 * is undone. What a socket cannot have (a UNIX socket has no DSCP) it does without. */
void socket_set_class(int fd, enum loop_class class, const struct classes_conf *conf);

/* It is of class media no more: queues of any length again, the times of others, and their mark where it had one of its own.
 * `kernel_buffer_bytes` as below. */
void socket_end_media(int fd, const struct classes_conf *conf, uint64_t kernel_buffer_bytes);

/* So much the kernel stores of it in each direction, twice that with what it needs itself; 0: as the system does for all
 * (net.ipv4.tcp_wmem, tcp_rmem). Accepted sockets have what their listener has. */
void socket_set_buffers(int fd, uint64_t bytes);

/* Is there nothing to read, and no end? */
bool socket_is_quiet(int fd);

/* Is there an error that nobody was told yet? Then *error_number is it. */
bool socket_was_reset(int fd, int *error_number);

/* Has the other end got everything that was written? True, too, where that cannot be told. */
bool socket_is_sent(int fd);
/* The kernel does not say when it is: in how many milliseconds to ask again where nothing was taken for so many. The longer, the rarer. */
uint64_t socket_ask_again_ms(uint64_t quiet_ms);

/* How many bytes the other end has got: whoever reads slowly makes it grow. It may go round; 0 where it cannot be told. */
uint32_t socket_acknowledged(int fd);

/* The error table's word for an errno of connect(). */
enum err socket_error(int error_number);

#endif
