/* SPDX-License-Identifier: Apache-2.0 */
#include "process/pam.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "auth/backend/pam_server.h"
#include "base/log.h"
#include "process/ipc.h"
#include "process/sandbox.h"

static enum err set_up(int channel, struct ipc_message *message, int *served)
{
	struct ipc_start start;
	enum err err = ipc_expect(channel, roles_row(ROLE_PARENT)->sends, IPC_START, message);

	if (err)
		return err;
	memcpy(&start, message->payload.at, sizeof(start));
	ipc_drop(message);
	err = sandbox_drop(ROLE_PAM, &start);
	if (err == ERR_NONE)
		err = sandbox_close(ROLE_PAM);
	if (err == ERR_NONE)
		err = ipc_expect(channel, roles_row(ROLE_PARENT)->sends, IPC_CHANNEL, message);
	if (err)
		return err;
	*served = ipc_take_fd(message, 0);
	ipc_drop(message);
	return ERR_NONE;
}

int pam_main(int channel, unsigned number)
{
	static struct ipc_message message;
	struct ipc_ready ready = {.generation = 0};
	enum err err;
	int served;

	signal(SIGPIPE, SIG_IGN);
	err = set_up(channel, &message, &served);
	if (err == ERR_NONE)
		err = ipc_send(channel, IPC_READY, 0, span_of(&ready, sizeof(ready)), NULL, 0);
	if (err) {
		log_event(EV_SYSTEM, "role=pam number=%u what=start error=%s errno=%d", number, err_name(err), errno);
		return 1;
	}
	/* Until the verifier goes: its end of the channel closes then. */
	return pam_server_run(served);
}
