/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a response head; the first byte says to which method. What is taken is written as it
 * goes on to the client, and read again. */
#include "http/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct http_head *head, struct span method, struct arena *arena)
{
	struct http_forward forward = {.via = "fuzz", .forwarded = SPAN(""), .keep_alive = true,
	                               .framing = head->framing == HTTP_TUNNEL ? HTTP_NO_BODY : head->framing,
	                               .max_forwards = UINT64_MAX};
	struct http_head again;
	size_t scanned = 0;
	const char *detail;
	struct buf out;

	buf_init(&out, 1 << 20);
	http_write_response(head, &forward, &out);
	ASSERT(buf_is_whole(&out));
	ASSERT(http_head_find(buf_span(&out), &scanned) == buf_len(&out));
	if (head->field_count < 150) {
		ASSERT(http_head_parse_response(buf_span(&out), method, arena, &again, &detail) == ERR_NONE);
		ASSERT(again.status == head->status && again.framing == head->framing);
		ASSERT(head->framing != HTTP_LENGTH || again.body_bytes == head->body_bytes);
	}
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const methods[] = {"GET", "HEAD", "CONNECT", "POST"};
	struct span bytes, method;
	struct http_head head;
	const char *detail = NULL;
	struct arena arena;
	size_t scanned = 0, head_bytes;

	if (size == 0)
		return 0;
	method = span_from(methods[data[0] % COUNT_OF(methods)]);
	bytes = span_of(data + 1, size - 1);
	head_bytes = http_head_find(bytes, &scanned);
	if (head_bytes)
		bytes = span_first(bytes, head_bytes);
	arena_init(&arena, 1 << 20);
	if (http_head_parse_response(bytes, method, &arena, &head, &detail) == ERR_NONE)
		check_round_trip(&head, method, &arena);
	arena_fini(&arena);
	return 0;
}
