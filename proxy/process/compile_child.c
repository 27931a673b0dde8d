/* SPDX-License-Identifier: Apache-2.0 */
#include "process/compile_child.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "policy/policy.h"
#include "process/ipc.h"
#include "process/sandbox.h"
#include "process/shared.h"

enum { TEXT_MAX_BYTES = 8192, COMPILE_NICE = 10 };

static enum err send_problem(int channel, const struct problem *problem)
{
	struct span file = span_first(span_from(problem->file), TEXT_MAX_BYTES / 2);
	struct span other = span_first(span_from(problem->related.file), TEXT_MAX_BYTES / 4);
	struct ipc_problem head = {.code = (uint32_t)problem->code, .line = problem->line, .column = problem->column,
	                           .file_bytes = (uint32_t)file.len, .related_line = problem->related.line,
	                           .related_bytes = (uint32_t)other.len};
	struct buf payload;
	enum err err;

	buf_init(&payload, sizeof(head) + TEXT_MAX_BYTES);
	buf_add(&payload, span_of(&head, sizeof(head)));
	buf_add(&payload, file);
	buf_add(&payload, other);
	buf_add(&payload, span_first(span_from(problem->text), TEXT_MAX_BYTES / 4));
	err = buf_is_whole(&payload)
	              ? ipc_send(channel, IPC_PROBLEM, 0, buf_span(&payload), NULL, 0)
	              : ERR_MEMORY;
	buf_fini(&payload);
	return err;
}

/* That there are more of a code in a file. */
static enum err send_more(int channel, const struct problem_group *group)
{
	struct span file = span_first(span_from(group->file), TEXT_MAX_BYTES / 2);
	struct ipc_problem head = {.code = (uint32_t)group->code, .file_bytes = (uint32_t)file.len, .more = group->more};
	struct buf payload;
	enum err err;

	buf_init(&payload, sizeof(head) + TEXT_MAX_BYTES);
	buf_add(&payload, span_of(&head, sizeof(head)));
	buf_add(&payload, file);
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
	for (const struct problem_group *group = problems->groups; group && err == ERR_NONE; group = group->next)
		if (group->more)
			err = send_more(channel, group);
	if (err == ERR_NONE && image)
		err = shared_sealed("sallyport-policy", span_of(image, image_bytes), &fd);
	if (err == ERR_NONE)
		err = ipc_send(channel, IPC_COMPILED, 0, span_of(&compiled, sizeof(compiled)), &fd,
		               image ? 1 : 0);
	if (fd >= 0)
		close(fd);
	return err;
}

/* The policy in force, so that its entries keep their numbers. Without it they get new ones, and counters begin anew. */
static struct policy *open_previous(struct ipc_message *message, size_t bytes)
{
	int fd = ipc_take_fd(message, 0);
	const void *image = fd < 0 || bytes == 0 ? NULL : shared_map(fd, bytes, false);
	struct policy *previous = NULL;

	if (image && policy_open_as(image, bytes, POLICY_IS_CHECKED, &previous))
		previous = NULL;
	if (fd >= 0)
		close(fd);
	return previous; /* its mapping ends with this process */
}

static enum err compile(int channel, struct ipc_message *message)
{
	struct policy_compile_options options = {.previous = NULL};
	struct policy *previous;
	struct ipc_compile head;
	struct problems problems;
	void *image = NULL;
	size_t image_bytes = 0;
	enum err err = ERR_MEMORY;
	char *path;

	memcpy(&head, message->payload.at, sizeof(head));
	path = strndup((const char *)message->payload.at + sizeof(head), message->payload.len - sizeof(head));
	previous = open_previous(message, (size_t)head.previous_bytes);
	options.previous = previous;
	problems_init(&problems);
	if (path)
		err = policy_compile_with(path, &options, &problems, &image, &image_bytes);
	if (err == ERR_NONE || err == ERR_CONFIG)
		err = answer(channel, &problems, err ? NULL : image, image_bytes);
	policy_close(previous);
	free(image);
	free(path);
	problems_fini(&problems);
	return err;
}

int compile_child_main(int channel, unsigned number)
{
	const uint32_t sends = roles_row(ROLE_PARENT)->sends;
	struct ipc_message *message = calloc(1, sizeof(*message));
	struct ipc_start start;
	enum err err;

	(void)number;
	if (message == NULL || ipc_expect(channel, sends, IPC_START, message))
		return 1;
	memcpy(&start, message->payload.at, sizeof(start));
	if (sandbox_drop(ROLE_COMPILE, &start) || ipc_expect(channel, sends, IPC_COMPILE, message))
		return 1;
	/* Whoever waits for a reload can wait; whoever talks cannot. Where it is refused it is as before. */
	(void)setpriority(PRIO_PROCESS, 0, COMPILE_NICE);
	if (sandbox_close(ROLE_COMPILE))
		return 1;
	err = compile(channel, message);
	free(message);
	return err ? 1 : 0;
}
