/* SPDX-License-Identifier: Apache-2.0 */
/* What a stranger sends for the token of /metrics, and what may stand in its file: the result is visible text, and
 * lies in what came. */
#include <stdlib.h>
#include <string.h>

#include "process/token.h"
#include "web/web_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct span token, struct span in)
{
	ASSERT(token.len > 0 && token.at >= in.at && token.at + token.len <= in.at + in.len);
	for (size_t i = 0; i < token.len; i++)
		ASSERT(token.at[i] > ' ' && token.at[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size), token;

	if (web_bearer_parse(in, &token))
		check(token, in);
	if (token_parse(in, &token)) {
		check(token, in);
		ASSERT(token.len >= TOKEN_MIN_BYTES && token.len <= TOKEN_MAX_BYTES);
	}
	return 0;
}
