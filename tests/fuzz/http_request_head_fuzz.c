/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a request head. What is taken is written as it goes on, and that must be read again
 * as the same request: nothing that we send can be read in two ways by ourselves. */
#include "http/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct span inner, struct span outer)
{
	return inner.len == 0 || (inner.at >= outer.at && inner.at + inner.len <= outer.at + outer.len);
}

static void check_spans(const struct http_head *head, struct span bytes)
{
	ASSERT(is_inside(head->method, bytes) && is_inside(head->target, bytes));
	ASSERT(head->head_bytes == bytes.len);
	for (size_t i = 0; i < head->field_count; i++)
		ASSERT(is_inside(head->fields[i].name, bytes) && is_inside(head->fields[i].value, bytes));
}

static void check_round_trip(const struct http_head *head, struct arena *arena)
{
	struct http_forward forward = {.via = "fuzz", .forwarded = SPAN(""), .keep_alive = true,
	                               .framing = head->framing, .max_forwards = UINT64_MAX};
	struct http_target target;
	struct http_head again;
	size_t scanned = 0;
	const char *detail;
	struct buf out;

	if (http_target_parse(head->method, head->target, arena, &target) ||
	    (target.form != HTTP_TARGET_ABSOLUTE))
		return;
	buf_init(&out, 1 << 20);
	http_write_request(head, &target, &forward, &out);
	ASSERT(buf_is_whole(&out));
	ASSERT(http_head_find(buf_span(&out), &scanned) == buf_len(&out));
	/* A Via and a Host more may be a field too many. */
	if (head->field_count < 150) {
		ASSERT(http_head_parse_request(buf_span(&out), arena, &again, &detail) == ERR_NONE);
		ASSERT(span_equal(again.method, head->method));
		ASSERT(again.framing == head->framing && again.body_bytes == head->body_bytes);
		ASSERT(http_via_has(&again, "fuzz"));
		ASSERT(!http_find(&again, "proxy-authorization") && !http_find(&again, "keep-alive"));
	}
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = span_of(data, size);
	struct http_head head;
	const char *detail = NULL;
	struct arena arena;
	size_t scanned = 0, head_bytes = http_head_find(bytes, &scanned);

	if (head_bytes)
		bytes = span_first(bytes, head_bytes);
	arena_init(&arena, 1 << 20);
	if (http_head_parse_request(bytes, &arena, &head, &detail) == ERR_NONE) {
		ASSERT(http_head_check_start(bytes, &detail) == ERR_NONE);
		ASSERT(head_bytes == bytes.len);
		check_spans(&head, bytes);
		check_round_trip(&head, &arena);
	}
	ASSERT(detail != NULL);
	arena_fini(&arena);
	return 0;
}
