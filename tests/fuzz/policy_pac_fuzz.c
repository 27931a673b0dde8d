/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions and globs on their way into a PAC file: what comes out is one literal of JavaScript, whatever went in. */
#include <stdlib.h>
#include <string.h>

#include "policy/pac/pac_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* From the first slash to the last one, and nothing behind it but the flag; no slash, outside a class, in between. */
static void check(struct span text)
{
	size_t at = 1;

	ASSERT(text.len >= 4 && text.at[0] == '/' && span_ends_with(text, SPAN("/i")));
	for (; at < text.len - 2; at++) {
		ASSERT(text.at[at] >= 0x20 && text.at[at] < 0x7f && text.at[at] != '/');
		if (text.at[at] == '\\')
			at++;
	}
	ASSERT(at == text.len - 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *why = NULL;
	struct buf out;
	size_t at = 0;

	if (size == 0 || size > 4096)
		return 0;
	buf_init(&out, 16 * size + 64);
	if (pac_regex_write(span_of(data, size), &out, &why, &at)) {
		ASSERT(buf_is_whole(&out));
		check(buf_span(&out));
	} else {
		ASSERT(why != NULL && at <= size);
	}
	buf_reset(&out);
	for (size_t i = 0; i < size; i++)
		if (data[i] < 0x20 || data[i] >= 0x7f)
			goto out; /* no pattern has them */
	pac_glob_write(span_of(data, size), &out);
	ASSERT(buf_is_whole(&out));
	check(buf_span(&out));
out:
	buf_fini(&out);
	return 0;
}
