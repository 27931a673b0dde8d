/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

static uint64_t read_us(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_monotonic_ms(void)
{
	return read_us(CLOCK_MONOTONIC) / 1000;
}

uint64_t clock_monotonic_us(void)
{
	return read_us(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ms(void)
{
	return read_us(CLOCK_REALTIME) / 1000;
}

static void put_digits(uint8_t *at, unsigned value, int digits)
{
	while (digits-- > 0) {
		at[digits] = (uint8_t)('0' + value % 10);
		value /= 10;
	}
}

void clock_add_rfc3339(struct buf *buf, uint64_t wall_ms)
{
	uint8_t text[] = "0000-00-00T00:00:00.000Z";
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;

	if (gmtime_r(&seconds, &tm) == NULL)
		return;
	put_digits(text, (unsigned)tm.tm_year + 1900, 4);
	put_digits(text + 5, (unsigned)tm.tm_mon + 1, 2);
	put_digits(text + 8, (unsigned)tm.tm_mday, 2);
	put_digits(text + 11, (unsigned)tm.tm_hour, 2);
	put_digits(text + 14, (unsigned)tm.tm_min, 2);
	put_digits(text + 17, (unsigned)tm.tm_sec, 2);
	put_digits(text + 20, (unsigned)(wall_ms % 1000), 3);
	buf_add(buf, span_of(text, sizeof(text) - 1));
}
