/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as base64 and as credentials of Basic. What is taken is what one writer would write; users and passwords
 * are UTF-8 within their bounds. */
#include "auth/fold.h"
#include "auth/scheme/base64.h"
#include "auth/scheme/basic.h"

enum { MAX_BYTES = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_base64(struct span text)
{
	struct buf bytes, again;

	buf_init(&bytes, MAX_BYTES);
	buf_init(&again, 2 * MAX_BYTES);
	if (base64_decode(text, &bytes)) {
		base64_encode(buf_span(&bytes), &again);
		ASSERT(buf_is_whole(&again) && span_equal(buf_span(&again), text));
	} else {
		ASSERT(buf_len(&bytes) == 0);
	}
	buf_fini(&bytes);
	buf_fini(&again);
}

static void check_text(struct span text)
{
	ASSERT(text.len > 0 && text.len <= BASIC_MAX_BYTES && span_find(text, 0) == text.len);
	while (text.len)
		ASSERT(fold_next(&text) != UINT32_MAX);
}

static void check_credentials(struct span credentials)
{
	struct buf user, password;
	const char *why;

	buf_init(&user, BASIC_MAX_BYTES);
	buf_init(&password, BASIC_MAX_BYTES);
	if (basic_parse(credentials, &user, &password, &why)) {
		ASSERT(why == NULL);
		check_text(buf_span(&user));
		check_text(buf_span(&password));
		ASSERT(span_find(buf_span(&user), ':') == buf_len(&user));
	} else {
		ASSERT(why);
	}
	buf_fini(&user);
	buf_fini(&password);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of(data, size < MAX_BYTES ? size : MAX_BYTES);
	uint8_t bytes[48], again[BASE64_URL_LEN(48)];
	struct buf encoded;

	check_base64(text);
	check_credentials(text);
	/* And as what is inside. */
	buf_init(&encoded, 2 * MAX_BYTES);
	base64_encode(text, &encoded);
	ASSERT(buf_is_whole(&encoded));
	check_base64(buf_span(&encoded));
	check_credentials(buf_span(&encoded));
	buf_fini(&encoded);
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		if (base64_url_decode(text, bytes, len)) {
			base64_url_encode(span_of(bytes, len), again);
			ASSERT(span_equal(span_of(again, BASE64_URL_LEN(len)), text));
		}
	}
	return 0;
}
