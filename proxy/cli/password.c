/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/password.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli/command.h"

enum { PASSWORD_MAX_BYTES = 511 }; /* as crypt(3) has it */

/* One line, without its end. */
static bool read_line(int fd, char *out, size_t *len)
{
	*len = 0;
	for (;;) {
		char byte;
		ssize_t got = read(fd, &byte, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return false;
		if (got == 0 || byte == '\n')
			return true;
		if (*len == PASSWORD_MAX_BYTES + 1)
			continue; /* said later */
		out[(*len)++] = byte;
	}
}

/* With signals held back, so that nobody is left with a terminal that does not show what he types. */
static bool ask(int terminal, const char *prompt, char *out, size_t *len)
{
	struct termios before, quiet;
	sigset_t all, old;
	bool well;

	if (tcgetattr(terminal, &before) < 0)
		return false;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	well = tcsetattr(terminal, TCSAFLUSH, &quiet) == 0 && dprintf(terminal, "%s", prompt) > 0 &&
	       read_line(terminal, out, len);
	/* Ctrl-C is a byte now. */
	well = well && memchr(out, 3, *len) == NULL;
	tcsetattr(terminal, TCSAFLUSH, &before);
	dprintf(terminal, "\n");
	sigprocmask(SIG_SETMASK, &old, NULL);
	return well;
}

static bool from_terminal(int terminal, const char *user, bool twice, char *out, size_t *len)
{
	char again[PASSWORD_MAX_BYTES + 2], prompt[400];
	size_t again_len;
	bool same;

	snprintf(prompt, sizeof(prompt), "Password of %.300s: ", user);
	if (!ask(terminal, prompt, out, len))
		return false;
	if (!twice)
		return true;
	if (!ask(terminal, "Once more: ", again, &again_len))
		return false;
	same = *len == again_len && memcmp(out, again, *len) == 0;
	explicit_bzero(again, sizeof(again));
	if (!same)
		command_complain("the two are not the same; nothing is changed");
	return same;
}

static const char *check(const char *text, size_t len)
{
	if (len == 0)
		return "the password is empty";
	if (len > PASSWORD_MAX_BYTES)
		return "the password is longer than 511 bytes";
	return memchr(text, 0, len) ? "there is a NUL in the password" : NULL;
}

bool password_read(const char *user, bool twice, struct secret *out)
{
	char text[PASSWORD_MAX_BYTES + 2];
	size_t len = 0;
	bool is_terminal = isatty(STDIN_FILENO);
	int terminal = is_terminal ? open("/dev/tty", O_RDWR | O_CLOEXEC) : -1;
	bool well = is_terminal ? from_terminal(terminal >= 0 ? terminal : STDIN_FILENO, user, twice, text, &len)
	                        : read_line(STDIN_FILENO, text, &len);
	const char *why;

	if (terminal >= 0)
		close(terminal);
	if (well && !is_terminal && len && text[len - 1] == '\r')
		fprintf(stderr, "sallyport: note: the password on standard input ends with a carriage return, which is taken as part of it\n");
	why = well ? check(text, len) : NULL;
	if (why)
		command_complain("%s", why);
	well = well && why == NULL && secret_init(out, span_of(text, len));
	explicit_bzero(text, sizeof(text));
	return well;
}
