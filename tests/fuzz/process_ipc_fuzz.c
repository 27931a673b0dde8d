/* SPDX-License-Identifier: Apache-2.0 */
/* A message of a hostile role: the header and, where it is one, the generation inside. Input: number of
 * descriptors, four bytes of what the role may send, the packet. */
#include <stdlib.h>
#include <string.h>

#include "process/generation.h"
#include "process/ipc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ipc_message message;
	struct generation_parts parts;
	uint32_t sends;

	if (size < 5 || size - 5 > sizeof(message.bytes))
		return 0;
	message.fd_count = data[0] % IPC_FDS_MAX;
	memcpy(&sends, data + 1, sizeof(sends));
	memcpy(message.bytes, data + 5, size - 5);
	if (!ipc_parse(&message, size - 5, sends))
		return 0;
	ASSERT(sends >> message.type & 1);
	ASSERT(message.payload.len == size - 5 - sizeof(struct ipc_header));
	if (message.type == IPC_GENERATION && generation_parse(message.payload, &parts)) {
		for (size_t i = 0; i < parts.head.listener_count; i++)
			if (generation_address(parts.listeners, i).port == 1)
				continue;
		for (size_t i = 0; i < parts.head.own_count; i++)
			if (generation_address(parts.own, i).port == 1)
				continue;
		ASSERT(parts.path.len + parts.servers.len + parts.listeners.len + parts.own.len +
		               sizeof(parts.head) ==
		       message.payload.len);
	}
	return 0;
}
