/* SPDX-License-Identifier: Apache-2.0 */
#include "net/meter.h"

#include "net/stream.h"

enum {
	PORTION_MS = 20,
	PORTION_LEAST_BYTES = 4096,
	PORTION_MOST_BYTES = 256 * 1024,
	HALVES_MS = 50,           /* of waiting: portions become smaller where many wait */
	KEPT_MS = 1000,           /* a portion that is not used for so long is given back */
	PASSES_MS = 1000,         /* most that may be taken in advance by those who need little */
	RETRY_MS = 500,           /* where too many wait */
	BURST_LEAST_BYTES = 64 * 1024,
	CHARGE_MOST_BYTES = 1 << 24, /* no head is larger */
	MS_NS = 1000000,
	SECOND_MS = 1000,
};

const char *meter_kind_name(enum meter_kind kind)
{
	static const char *const names[METER_KIND_COUNT] = {"rule", "client", "user"};

	return names[kind];
}

void meter_init(struct meter *meter, struct meters *meters)
{
	*meter = (struct meter){.meters = meters};
}

static uint64_t now_ns(const struct meter *meter)
{
	return loop_now_ms(meter->meters->loop) * MS_NS;
}

/* As it is now, also after a reload; bytes_per_s 0: no limit. */
static struct rate rate_of(const struct meter *meter, const struct meter_limit *limit)
{
	const struct meters *meters = meter->meters;
	struct rate rate = {limit->kind == METER_RULE ? limit->bytes_per_s : meters->rates[limit->kind],
	                    meters->burst_ms * MS_NS};
	uint64_t least_ns;

	if (rate.bytes_per_s == 0)
		return rate;
	least_ns = (uint64_t)BURST_LEAST_BYTES * SECOND_MS * MS_NS / rate.bytes_per_s;
	if (rate.burst_ns < least_ns)
		rate.burst_ns = least_ns;
	if (rate.burst_ns > RATE_BURST_MAX_NS)
		rate.burst_ns = RATE_BURST_MAX_NS;
	return rate;
}

/* All together; 0: it is not limited. */
static uint64_t sum_rates(const struct meter *meter)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < meter->count; i++)
		sum += rate_of(meter, &meter->limits[i]).bytes_per_s;
	return sum;
}

/* One bucket for each rate, so that what was taken at another one is not owed at this one. */
static uint64_t bucket_of(const struct meter_limit *limit, struct rate rate)
{
	uint64_t key = limit->key ^ rate.bytes_per_s * UINT64_C(0x9e3779b97f4a7c15);

	return key ? key : 1;
}

/* ---- portions ---- */

static void give_back(struct meter *meter, size_t count, uint32_t bytes)
{
	for (size_t i = 0; i < count; i++) {
		struct rate rate = rate_of(meter, &meter->limits[i]);

		if (rate.bytes_per_s && bytes)
			rate_table_give(meter->meters->table, bucket_of(&meter->limits[i], rate), rate, bytes, now_ns(meter));
	}
}

static void give_back_all(struct meter *meter)
{
	give_back(meter, meter->count, meter->portion_bytes);
	meter->portion_bytes = 0;
}

/* About 20 ms of the slowest limit, less where others wait. */
static uint32_t portion_of(const struct meter *meter)
{
	uint64_t slowest = 0, longest_ms = 0, bytes;

	for (size_t i = 0; i < meter->count; i++) {
		struct rate rate = rate_of(meter, &meter->limits[i]);
		uint64_t ms;

		if (rate.bytes_per_s == 0)
			continue;
		ms = rate_table_wait_ns(meter->meters->table, bucket_of(&meter->limits[i], rate), rate, now_ns(meter)) / MS_NS;
		if (slowest == 0 || rate.bytes_per_s < slowest)
			slowest = rate.bytes_per_s;
		if (ms > longest_ms)
			longest_ms = ms;
	}
	bytes = slowest / SECOND_MS * PORTION_MS;
	if (bytes > PORTION_MOST_BYTES)
		bytes = PORTION_MOST_BYTES;
	bytes = bytes * HALVES_MS / (HALVES_MS + longest_ms);
	return (uint32_t)(bytes > PORTION_LEAST_BYTES ? bytes : PORTION_LEAST_BYTES);
}

/* Take a portion of that size from each bucket: when it is there, or RATE_TOO_LONG and nothing is taken. */
static uint64_t take(struct meter *meter, uint32_t bytes)
{
	uint64_t longest_ns = 0;

	for (size_t i = 0; i < meter->count; i++) {
		struct rate rate = rate_of(meter, &meter->limits[i]);
		uint64_t ns;

		if (rate.bytes_per_s == 0)
			continue;
		ns = rate_table_take(meter->meters->table, bucket_of(&meter->limits[i], rate), rate, bytes, now_ns(meter));
		if (ns == RATE_TOO_LONG)
			give_back(meter, i, bytes);
		if (ns > longest_ns) {
			longest_ns = ns;
			meter->slowest = (uint8_t)meter->limits[i].kind;
		}
		if (ns == RATE_TOO_LONG)
			break;
	}
	return longest_ns;
}

static void end_wait(struct meter *meter)
{
	uint64_t now_ms = loop_now_ms(meter->meters->loop), since_ms = meter->taken_ms;

	loop_timer_clear(meter->meters->loop, &meter->timer);
	meter->waits = false;
	meter->taken_ms = now_ms;
	meter->waited_ms += now_ms - since_ms;
	*meter->meters->waited_ms_total += now_ms - since_ms;
}

/* Until it is due, or until a reload gives it another rate, or none. */
static bool must_wait(const struct meter *meter)
{
	return meter->waits && loop_now_ms(meter->meters->loop) < meter->due_ms && sum_rates(meter) == meter->waits_at;
}

static uint64_t until_look_ms(const struct meter *meter)
{
	uint64_t ms = meter->due_ms - loop_now_ms(meter->meters->loop);

	return ms < SECOND_MS ? ms : SECOND_MS;
}

static void on_due(struct loop_timer *timer)
{
	struct meter *meter = CONTAINER_OF(timer, struct meter, timer);

	if (must_wait(meter)) {
		loop_timer_set(meter->meters->loop, timer, until_look_ms(meter));
		return;
	}
	end_wait(meter);
	if (stream_is_open(meter->stream))
		loop_again(meter->meters->loop, &meter->stream->io, 0);
}

static void begin_wait(struct meter *meter, uint64_t ms)
{
	meter->waits = true;
	meter->waits_at = sum_rates(meter);
	meter->due_ms = meter->taken_ms + ms;
	meter->timer.on_due = on_due;
	loop_timer_set(meter->meters->loop, &meter->timer, until_look_ms(meter));
	(*meter->meters->waits_total)++;
}

/* A new portion, at once or after a while. */
static void take_portion(struct meter *meter)
{
	uint64_t now_ms = loop_now_ms(meter->meters->loop), ns;
	bool needs_little = !meter->has_taken || now_ms - meter->taken_ms >= KEPT_MS;
	uint32_t bytes = portion_of(meter);

	if (needs_little && bytes > PORTION_LEAST_BYTES)
		bytes = PORTION_LEAST_BYTES;
	meter->taken_ms = now_ms;
	meter->has_taken = true;
	ns = take(meter, bytes);
	if (ns != RATE_TOO_LONG)
		meter->portion_bytes = bytes;
	if (ns == RATE_TOO_LONG)
		begin_wait(meter, RETRY_MS);
	else if (ns && !(needs_little && ns <= (uint64_t)PASSES_MS * MS_NS))
		begin_wait(meter, ns / MS_NS + 1);
}

/* ---- for streams ---- */

size_t meter_room(struct meter *meter, size_t want)
{
	uint64_t now_ms = loop_now_ms(meter->meters->loop);

	if (must_wait(meter))
		return 0;
	if (meter->waits)
		end_wait(meter);
	if (sum_rates(meter) == 0)
		return want;
	if (meter->portion_bytes && now_ms - meter->taken_ms >= KEPT_MS)
		give_back_all(meter);
	if (meter->portion_bytes == 0)
		take_portion(meter);
	if (meter->waits)
		return 0;
	return meter->portion_bytes < want ? meter->portion_bytes : want;
}

void meter_use(struct meter *meter, size_t bytes)
{
	meter->portion_bytes -= bytes < meter->portion_bytes ? (uint32_t)bytes : meter->portion_bytes;
}

void meter_charge(struct meter *meter, size_t bytes)
{
	if (bytes && bytes <= CHARGE_MOST_BYTES)
		take(meter, (uint32_t)bytes);
}

void meter_start(struct meter *meter, struct stream *stream, const struct meter_limit *limits, size_t count)
{
	meter_stop(meter);
	meter->count = 0;
	for (size_t i = 0; i < count && i < METER_LIMITS_MAX; i++)
		meter->limits[meter->count++] = limits[i];
	meter->stream = stream;
	stream->meter = meter;
}

void meter_add(struct meter *meter, struct meter_limit limit)
{
	for (size_t i = 0; i < meter->count; i++)
		if (meter->limits[i].key == limit.key)
			return;
	if (meter->count == METER_LIMITS_MAX)
		return;
	give_back_all(meter);
	meter->limits[meter->count++] = limit;
}

void meter_stop(struct meter *meter)
{
	if (meter->stream == NULL)
		return;
	if (meter->waits)
		end_wait(meter);
	give_back_all(meter);
	meter->stream->meter = NULL;
	meter->stream = NULL;
}
