/* SPDX-License-Identifier: Apache-2.0 */
#include "process/compile_child.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/policy.h"
#include "process/ipc.h"
#include "process/sandbox.h"
#include "process/shared.h"

enum { TEXT_MAX_BYTES = 8192 };

static enum err send_problem(int channel, const struct problem *problem)
{
	struct span file = span_first(span_from(problem->file), TEXT_MAX_BYTES / 2);
	struct ipc_problem head = {(uint32_t)problem->level, problem->line, problem->column,
	                           (uint32_t)file.len};
	struct buf payload;
	enum err err;

	buf_init(&payload, sizeof(head) + TEXT_MAX_BYTES);
	buf_add(&payload, span_of(&head, sizeof(head)));
	buf_add(&payload, file);
	buf_add(&payload, span_first(span_from(problem->text), TEXT_MAX_BYTES / 2));
	err = buf_is_whole(&payload)
	              ? ipc_send(channel, IPC_PROBLEM, 0, buf_span(&payload), NULL, 0)
	              : ERR_MEMORY;
	buf_fini(&payload);
	return err;
}

static enum err answer(int channel, const struct problems *problems, const void *image,
                       size_t image_bytes)
{
	struct ipc_compiled compiled = {image ? image_bytes : 0};
	enum err err = ERR_NONE;
	int fd = -1;

	for (const struct problem *problem = problems->first; problem && err == ERR_NONE;
	     problem = problem->next)
		err = send_problem(channel, problem);
	if (err == ERR_NONE && image)
		err = shared_sealed("sallyport-policy", span_of(image, image_bytes), &fd);
	if (err == ERR_NONE)
		err = ipc_send(channel, IPC_COMPILED, 0, span_of(&compiled, sizeof(compiled)), &fd,
		               image ? 1 : 0);
	if (fd >= 0)
		close(fd);
	return err;
}

static enum err compile(int channel, const char *path)
{
	struct problems problems;
	void *image = NULL;
	size_t image_bytes = 0;
	enum err err;

	problems_init(&problems);
	err = policy_compile(path, &problems, &image, &image_bytes);
	if (err == ERR_NONE || err == ERR_CONFIG)
		err = answer(channel, &problems, err ? NULL : image, image_bytes);
	free(image);
	problems_fini(&problems);
	return err;
}

int compile_child_main(int channel, unsigned number)
{
	const uint32_t sends = roles_row(ROLE_PARENT)->sends;
	struct ipc_message *message = calloc(1, sizeof(*message));
	struct ipc_start start;
	char *path;
	enum err err;

	(void)number;
	if (message == NULL || ipc_expect(channel, sends, IPC_START, message))
		return 1;
	memcpy(&start, message->payload.at, sizeof(start));
	if (sandbox_drop(ROLE_COMPILE, &start) || ipc_expect(channel, sends, IPC_COMPILE, message))
		return 1;
	path = strndup((const char *)message->payload.at, message->payload.len);
	free(message);
	if (path == NULL || sandbox_close(ROLE_COMPILE))
		return 1;
	err = compile(channel, path);
	free(path);
	return err ? 1 : 0;
}
