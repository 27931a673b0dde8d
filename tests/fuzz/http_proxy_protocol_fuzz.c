/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a PROXY header. One that is taken is waited for while a byte of it is missing, and is
 * the same whatever follows. */
#include "http/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct address client, listener;
	size_t used, again;
	bool local;

	if (proxy_protocol_parse(span_of(data, size), &used, &local, &client, &listener)) {
		ASSERT(used == 0);
		return 0;
	}
	ASSERT(used <= size && used <= PROXY_PROTOCOL_MAX_BYTES);
	ASSERT(used || size < PROXY_PROTOCOL_MAX_BYTES);
	if (used && !local)
		ASSERT(client.family == listener.family && client.family != 0);
	for (size_t len = 0; len < used; len++) {
		ASSERT(proxy_protocol_parse(span_of(data, len), &again, &local, &client, &listener) == ERR_NONE);
		ASSERT(again == 0);
	}
	if (used) {
		ASSERT(proxy_protocol_parse(span_of(data, used), &again, &local, &client, &listener) == ERR_NONE);
		ASSERT(again == used);
	}
	return 0;
}
