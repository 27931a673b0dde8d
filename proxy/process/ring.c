/* SPDX-License-Identifier: Apache-2.0 */
#include "process/ring.h"

#include <string.h>
#include <unistd.h>

/* In front of every line. */
struct record {
	uint32_t len, kind;
};

_Static_assert((RING_DATA_BYTES & (RING_DATA_BYTES - 1)) == 0, "positions are masked");

static uint64_t record_bytes(uint64_t len)
{
	return sizeof(struct record) + ((len + sizeof(struct record) - 1) & ~(sizeof(struct record) - 1));
}

static void copy_in(struct ring *ring, uint64_t at, const void *from, size_t len)
{
	size_t place = at & (RING_DATA_BYTES - 1);
	size_t first = len < RING_DATA_BYTES - place ? len : RING_DATA_BYTES - place;

	memcpy(ring->data + place, from, first);
	memcpy(ring->data, (const uint8_t *)from + first, len - first);
}

static void copy_out(const struct ring *ring, uint64_t at, void *to, size_t len)
{
	size_t place = at & (RING_DATA_BYTES - 1);
	size_t first = len < RING_DATA_BYTES - place ? len : RING_DATA_BYTES - place;

	memcpy(to, ring->data + place, first);
	memcpy((uint8_t *)to + first, ring->data, len - first);
}

static void ring_bell(int bell)
{
	const uint64_t one = 1;

	/* Full means that it has been rung and not heard yet. */
	if (write(bell, &one, sizeof(one)) < 0)
		return;
}

bool ring_write(struct ring *ring, int bell, uint32_t kind, struct span line)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
	struct record record = {(uint32_t)line.len, kind};

	if (line.len > RING_LINE_MAX_BYTES ||
	    head - tail + record_bytes(line.len) > RING_DATA_BYTES) {
		atomic_fetch_add_explicit(&ring->dropped_count, 1, memory_order_relaxed);
		return false;
	}
	copy_in(ring, head, &record, sizeof(record));
	copy_in(ring, head + sizeof(record), line.at, line.len);
	/* Sequentially consistent, with ring_may_sleep(): either we see its wish or it sees our line. */
	atomic_store(&ring->head, head + record_bytes(line.len));
	if (atomic_load(&ring->wants_bell) && atomic_exchange(&ring->wants_bell, 0))
		ring_bell(bell);
	return true;
}

bool ring_is_half_empty(const struct ring *ring)
{
	return atomic_load_explicit(&ring->head, memory_order_relaxed) -
	               atomic_load_explicit(&ring->tail, memory_order_acquire) <
	       RING_DATA_BYTES / 2;
}

bool ring_read(struct ring *ring, uint8_t *out, size_t *len, uint32_t *kind, bool *broken)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
	uint64_t there = head - tail;
	struct record record;

	if (there == 0)
		return false;
	if (there >= sizeof(record) && there <= RING_DATA_BYTES) {
		/* Copied before it is looked at: the writer may change it at any time. */
		copy_out(ring, tail, &record, sizeof(record));
		if (record.len <= RING_LINE_MAX_BYTES && record_bytes(record.len) <= there) {
			copy_out(ring, tail + sizeof(record), out, record.len);
			*len = record.len;
			*kind = record.kind;
			atomic_store_explicit(&ring->tail, tail + record_bytes(record.len),
			                      memory_order_release);
			return true;
		}
	}
	*broken = true;
	atomic_store_explicit(&ring->tail, head, memory_order_release);
	return false;
}

bool ring_may_sleep(struct ring *ring)
{
	atomic_store(&ring->wants_bell, 1);
	if (atomic_load(&ring->head) ==
	    atomic_load_explicit(&ring->tail, memory_order_relaxed))
		return true;
	atomic_store(&ring->wants_bell, 0);
	return false;
}
