/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a DNS message. */
#include "net/resolve_soa.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t seconds = resolve_soa_parse(span_of(data, size));

	/* A header, a root name, and the shortest SOA record are 45 bytes. */
	ASSERT(seconds == 0 || size >= 45);
	return 0;
}
