/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a STUN message. */
#include "net/stun.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = span_of(data, size);
	struct stun_message message;
	size_t message_bytes = 0;
	enum stun_shape shape = stun_header_shape(bytes, &message_bytes);

	ASSERT((shape == STUN_SHAPE_WHOLE) == (message_bytes >= STUN_HEADER_BYTES));
	if (!stun_parse(bytes, &message))
		return 0;
	ASSERT(shape == STUN_SHAPE_WHOLE && message_bytes == size);
	ASSERT(message.error_code == 0 || (message.error_code >= 300 && message.error_code < 700));
	ASSERT(message.mapped.family == 0 || message.mapped.family == AF_INET || message.mapped.family == AF_INET6);
	return 0;
}
