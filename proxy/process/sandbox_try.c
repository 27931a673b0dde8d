/* SPDX-License-Identifier: Apache-2.0 */
#include "process/sandbox_try.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/sandbox.h"

enum { BIT_WORKER = 1 << ROLE_WORKER, BIT_LOGGER = 1 << ROLE_LOGGER, BIT_COMPILE = 1 << ROLE_COMPILE,
       BIT_WEB = 1 << ROLE_PUBLIC | 1 << ROLE_ADMIN, BIT_VERIFIER = 1 << ROLE_VERIFIER,
       BIT_SIGNER = 1 << ROLE_SIGNER };
enum { ALL = BIT_WORKER | BIT_LOGGER | BIT_COMPILE | BIT_WEB | BIT_SIGNER, SOME = ALL | BIT_VERIFIER };

static bool try_read(void)
{
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0;
}

static bool try_write(void)
{
	return open("/tmp/sallyport-forbidden", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0;
}

static bool try_exec(void)
{
	char name[] = "true";
	char *args[] = {name, NULL};

	return execve("/bin/true", args, NULL) == 0;
}

static bool try_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

static bool try_ptrace(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
}

static bool try_kill(void)
{
	return kill(getppid(), 0) == 0;
}

static bool try_listen(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && listen(fd, 1) == 0;
}

static bool try_internet(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0;
}

static bool try_unix(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0;
}

static bool try_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0;
}

static bool try_raw(void)
{
	return socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, 6) >= 0;
}

static bool try_setuid(void)
{
	return setuid(0) == 0;
}

static bool try_unlink(void)
{
	return unlink("/tmp/sallyport-forbidden") == 0;
}

static bool try_executable(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at != MAP_FAILED && mprotect(at, 4096, PROT_READ | PROT_EXEC) == 0;
}

/* A listening socket is shared by all workers: whether it exists does not matter here, only that the call is
 * never made. */
static bool was_made(int result)
{
	return result == 0 || errno != EPERM;
}

static bool try_block(void)
{
	return was_made(fcntl(STDERR_FILENO, F_SETFL, 0));
}

static bool try_block_ioctl(void)
{
	int off = 0;

	return was_made(ioctl(STDERR_FILENO, FIONBIO, &off));
}

static bool try_deafen(void)
{
	return was_made(shutdown(STDERR_FILENO, SHUT_RD));
}

static bool try_filter(void)
{
	int on = 1;

	return was_made(setsockopt(STDERR_FILENO, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)));
}

static bool try_terminal(void)
{
	char byte = '\n';

	return was_made(ioctl(STDERR_FILENO, TIOCSTI, &byte));
}

static const struct {
	const char *name;
	bool (*run)(void);
	unsigned forbidden; /* to these roles */
} things[] = {
	{"read", try_read, BIT_WORKER | BIT_LOGGER | BIT_WEB | BIT_SIGNER},
	{"write", try_write, ALL},
	{"exec", try_exec, SOME},
	{"fork", try_fork, SOME},
	{"ptrace", try_ptrace, SOME},
	{"kill", try_kill, SOME},
	{"listen", try_listen, SOME},
	{"internet", try_internet, BIT_LOGGER | BIT_COMPILE | BIT_WEB | BIT_SIGNER},
	{"unix", try_unix, ALL},
	{"netlink", try_netlink, ALL},
	{"raw", try_raw, SOME},
	{"setuid", try_setuid, SOME},
	{"unlink", try_unlink, SOME},
	{"executable", try_executable, SOME},
	{"block", try_block, ALL},
	{"block-ioctl", try_block_ioctl, SOME},
	{"deafen", try_deafen, ALL},
	{"filter", try_filter, BIT_WORKER | BIT_COMPILE | BIT_WEB | BIT_SIGNER},
	{"terminal", try_terminal, SOME},
};

static int print_names(enum role role)
{
	for (size_t i = 0; i < COUNT_OF(things); i++)
		if (things[i].forbidden & 1u << role)
			puts(things[i].name);
	return 0;
}

int sandbox_try(enum role role, const char *what)
{
	/* As whoever started it, root included: then only the filter is in the way. */
	const struct ipc_start start = {.switches_user = 0};
	const struct rlimit no_core = {0, 0};

	if (strcmp(what, "list") == 0)
		return print_names(role);
	for (size_t i = 0; i < COUNT_OF(things); i++) {
		if (strcmp(things[i].name, what) != 0 || roles_row(role)->rules == NULL)
			continue;
		if (setrlimit(RLIMIT_CORE, &no_core) < 0 || sandbox_drop(role, &start) ||
		    sandbox_close(role))
			return 2;
		return things[i].run() ? 0 : 1;
	}
	fprintf(stderr, "sallyport: nothing forbidden of that name\n");
	return 2;
}
