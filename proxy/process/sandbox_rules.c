/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls of each role. What is not here is fatal to the role that tries it. */
#include "process/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define CALL(name) {SCMP_SYS(name), 0, {{0, SCMP_CMP_EQ, 0, 0}}, 0}
#define CALL_IF(name, ...) {SCMP_SYS(name), 1, {__VA_ARGS__}, 0}
#define CALL_IF2(name, ...) {SCMP_SYS(name), 2, {__VA_ARGS__}, 0}
#define IS(argument, value) {argument, SCMP_CMP_EQ, (scmp_datum_t)(value), 0}
#define HAS(argument, mask, value) \
	{argument, SCMP_CMP_MASKED_EQ, (scmp_datum_t)(mask), (scmp_datum_t)(value)}
/* Whoever asks for it does without. */
#define ABSENT(name) {SCMP_SYS(name), 0, {{0, SCMP_CMP_EQ, 0, 0}}, ENOSYS}
#define END {-1, 0, {{0, SCMP_CMP_EQ, 0, 0}}, 0}

/* Memory, time, its own end: what every C program does. Memory never becomes executable, but for
 * what PCRE2's compiler of regular expressions asks for: JIT_MEMORY, of workers. */
#define COMMON \
	CALL(read), CALL(write), CALL(readv), CALL(writev), CALL(close), CALL(recvmsg), \
	CALL(sendmsg), CALL(brk), CALL(munmap), CALL(mremap), CALL(madvise), \
	CALL_IF(mmap, HAS(2, PROT_EXEC, 0)), CALL_IF(mprotect, HAS(2, PROT_EXEC, 0)), \
	CALL(futex), CALL(clock_gettime), CALL(gettimeofday), CALL(time), CALL(getrandom), \
	CALL(rt_sigreturn), CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(restart_syscall), \
	CALL(sched_yield), CALL(sysinfo), CALL(getpid), CALL(gettid), CALL(exit), CALL(exit_group), \
	/* abort(): only with its own signal */ \
	CALL_IF(tgkill, IS(2, 6)), \
	/* Flags are those of all who share the descriptor's file: a listener that blocks would hang them. */ \
	CALL_IF(fcntl, IS(1, F_GETFL)), \
	CALL_IF2(fcntl, IS(1, F_SETFL), HAS(2, O_NONBLOCK, O_NONBLOCK)), \
	CALL_IF(fcntl, IS(1, F_GETFD)), CALL_IF(fcntl, IS(1, F_SETFD)), \
	CALL_IF(fcntl, IS(1, F_GET_SEALS)), CALL(fstat), CALL_IF(newfstatat, IS(3, AT_EMPTY_PATH))

/* PCRE2 maps pages that are writable and executable at once; they must be anonymous, so that no
 * file can be run. */
#define JIT_MEMORY CALL_IF2(mmap, HAS(3, MAP_ANONYMOUS, MAP_ANONYMOUS), HAS(4, UINT32_MAX, UINT32_MAX))

#define OPTION(level, name) CALL_IF2(setsockopt, IS(1, level), IS(2, name))

#define SOCKET(family, type) \
	CALL_IF2(socket, IS(0, family), HAS(1, ~(SOCK_NONBLOCK | SOCK_CLOEXEC) & 0xffff, type))

/* Sessions: sockets to anywhere by IP, and nothing that has a name in a file system. bind() is for
 * source addresses; without listen() it takes no client away. */
const struct sandbox_rule sandbox_worker_rules[] = {
	COMMON,
	JIT_MEMORY,
	CALL(epoll_wait), CALL(epoll_pwait), CALL(epoll_ctl),
	CALL(accept4),
	SOCKET(AF_INET, SOCK_STREAM), SOCKET(AF_INET6, SOCK_STREAM),
	/* Both ends are its own: one of them goes to the public role. */
	CALL_IF2(socketpair, IS(0, AF_UNIX), HAS(1, ~(SOCK_NONBLOCK | SOCK_CLOEXEC) & 0xffff, SOCK_STREAM)),
	SOCKET(AF_INET, SOCK_DGRAM), SOCKET(AF_INET6, SOCK_DGRAM),
	CALL(bind), CALL(connect), CALL(getsockname), CALL(getpeername),
	CALL(getsockopt), CALL(recvfrom), CALL(sendto),
	/* Listeners are shared: nothing that ends, filters or delays what others would accept. */
	CALL_IF(shutdown, IS(1, SHUT_WR)),
	OPTION(SOL_SOCKET, SO_KEEPALIVE), OPTION(SOL_SOCKET, SO_LINGER), OPTION(SOL_SOCKET, SO_OOBINLINE),
	OPTION(IPPROTO_TCP, TCP_NODELAY), OPTION(IPPROTO_TCP, TCP_KEEPIDLE),
	OPTION(IPPROTO_TCP, TCP_KEEPINTVL), OPTION(IPPROTO_TCP, TCP_KEEPCNT),
	OPTION(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT),
	/* What a class of tunnels has. */
	OPTION(IPPROTO_IP, IP_TOS), OPTION(IPPROTO_IPV6, IPV6_TCLASS), OPTION(SOL_SOCKET, SO_PRIORITY),
	OPTION(SOL_SOCKET, SO_SNDBUF), OPTION(SOL_SOCKET, SO_RCVBUF), OPTION(SOL_SOCKET, SO_BUF_LOCK),
	OPTION(IPPROTO_TCP, TCP_NOTSENT_LOWAT), OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT),
	CALL(splice), CALL(pipe2),
	CALL_IF(fcntl, IS(1, F_SETPIPE_SZ)), CALL_IF(fcntl, IS(1, F_GETPIPE_SZ)),
	CALL_IF(fcntl, IS(1, F_DUPFD_CLOEXEC)),
	CALL_IF(ioctl, IS(1, SIOCOUTQ)),
	END};

/* Log lines to descriptors that the parent opened, to syslog and to the journal. */
const struct sandbox_rule sandbox_logger_rules[] = {
	COMMON,
	CALL(poll), CALL(ppoll),
	/* connect(): to syslog, which may come later or anew. Its sockets are datagrams of this host. */
	SOCKET(AF_UNIX, SOCK_DGRAM),
	CALL(connect), CALL(sendto), CALL(getsockopt), CALL(setsockopt),
	END};

/* Policy and lists: files to read, and one memfd to answer with. The folder walk of names is
 * open()'s alone: no links are made, nothing is written by name. */
const struct sandbox_rule sandbox_compile_rules[] = {
	COMMON,
	JIT_MEMORY,
	CALL_IF(openat, HAS(2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY)),
	CALL_IF(open, HAS(1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY)),
	CALL(fstat), CALL(newfstatat), CALL(statx), CALL(lseek), CALL(pread64), CALL(getcwd),
	CALL(readlink), CALL(getdents64), CALL_IF(ioctl, IS(1, TCGETS)),
	CALL(memfd_create),
	CALL_IF(fcntl, IS(1, F_ADD_SEALS)),
	END};

/* What comes over sockets that were there before, or that are accepted from one: no socket is made, nothing is
 * connected to, nothing has a name. Served by one thread from memory. */
const struct sandbox_rule sandbox_web_rules[] = {
	COMMON,
	CALL(poll), CALL(ppoll),
	CALL(epoll_wait), CALL(epoll_pwait), CALL(epoll_ctl),
	CALL(accept4), CALL(recvfrom), CALL(sendto), CALL(getsockopt),
	OPTION(IPPROTO_TCP, TCP_NODELAY), OPTION(IPPROTO_TCP, TCP_CORK),
	CALL_IF(shutdown, IS(1, SHUT_WR)), CALL_IF(shutdown, IS(1, SHUT_RDWR)),
	END};

/* Libraries that ask authorities: LDAP over TCP, winbindd over its socket, names by DNS, time zones, the replay cache of
 * Kerberos (a file that is locked). Threads, but no processes: clone3()'s flags cannot be seen from here, so the C library
 * is made to use clone(). */
const struct sandbox_rule sandbox_verifier_rules[] = {
	COMMON,
	ABSENT(clone3), CALL_IF(clone, HAS(0, CLONE_THREAD, CLONE_THREAD)),
	CALL(set_robust_list), CALL(rseq), CALL(sched_getaffinity), CALL(prlimit64), CALL(sigaltstack),
	CALL(poll), CALL(ppoll), CALL(select), CALL(pselect6), CALL(nanosleep), CALL(clock_nanosleep),
	CALL(eventfd2), CALL(dup), CALL(pipe2),
	CALL(openat), CALL(open), CALL(newfstatat), CALL(stat), CALL(lstat), CALL(statx), CALL(lseek), CALL(pread64),
	CALL(pwrite64), CALL(getdents64), CALL(getcwd), CALL(readlink), CALL(readlinkat), CALL(access), CALL(faccessat),
	CALL(faccessat2), CALL(umask), CALL(ftruncate), CALL(fsync), CALL(fdatasync), CALL(uname), CALL(statfs), CALL(fstatfs),
	/* libldap makes its own sockets block again; no socket here is shared with another role. */
	CALL_IF(fcntl, IS(1, F_SETFL)),
	CALL_IF(fcntl, IS(1, F_OFD_SETLKW)), CALL_IF(fcntl, IS(1, F_OFD_SETLK)), CALL_IF(fcntl, IS(1, F_SETLK)),
	CALL_IF(fcntl, IS(1, F_SETLKW)), CALL_IF(fcntl, IS(1, F_DUPFD_CLOEXEC)), CALL_IF(fcntl, IS(1, F_DUPFD)),
	CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid), CALL(getresuid), CALL(getresgid), CALL(getppid),
	SOCKET(AF_UNIX, SOCK_STREAM), SOCKET(AF_UNIX, SOCK_DGRAM),
	SOCKET(AF_INET, SOCK_STREAM), SOCKET(AF_INET6, SOCK_STREAM),
	SOCKET(AF_INET, SOCK_DGRAM), SOCKET(AF_INET6, SOCK_DGRAM),
	/* getaddrinfo() asks which addresses this host has. */
	CALL_IF2(socket, IS(0, AF_NETLINK), IS(2, NETLINK_ROUTE)),
	CALL(bind), CALL(connect), CALL(getsockname), CALL(getpeername), CALL(getsockopt), CALL(setsockopt),
	CALL(recvfrom), CALL(sendto), CALL(sendmmsg), CALL(recvmmsg), CALL(shutdown), CALL_IF(ioctl, IS(1, FIONREAD)),
	CALL_IF(ioctl, IS(1, TCGETS)),
	END};

/* Keys, and messages over channels that the parent has made: no files, no sockets, nothing that has a name. One more
 * thread, for the key that takes long. */
const struct sandbox_rule sandbox_signer_rules[] = {
	COMMON,
	ABSENT(clone3), CALL_IF(clone, HAS(0, CLONE_THREAD, CLONE_THREAD)),
	CALL(set_robust_list), CALL(rseq), CALL(sched_getaffinity),
	CALL(poll), CALL(ppoll),
	END};
