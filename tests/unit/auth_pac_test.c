/* SPDX-License-Identifier: Apache-2.0 */
/* Groups of PACs: a real one, and what a domain could write or spoil. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/backend/pac.h"

/* ---- a PAC, written ---- */

struct pac {
	const char *name;          /* EffectiveName; NULL: no pointer */
	uint32_t groups[4], group_count, group_array;
	const char *domain;        /* bytes of the SIDs below the authority, one letter for each sub-authority */
	const char *extra[4];
	uint32_t extra_count;
	const char *resource_domain;
	uint32_t resources[4], resource_count;
};

static void add_u16(struct buf *out, unsigned value)
{
	buf_add_byte(out, (uint8_t)value);
	buf_add_byte(out, (uint8_t)(value >> 8));
}

static void add_u32(struct buf *out, uint32_t value)
{
	add_u16(out, value & 0xffff);
	add_u16(out, value >> 16);
}

static void add_zeros(struct buf *out, size_t count)
{
	while (count--)
		buf_add_byte(out, 0);
}

/* "5ab": the authority 5 and the sub-authorities 97 and 98. */
static void add_sid(struct buf *out, const char *letters)
{
	size_t count = strlen(letters) - 1;

	add_u32(out, (uint32_t)count);
	buf_add_byte(out, 1);
	buf_add_byte(out, (uint8_t)count);
	add_zeros(out, 5);
	buf_add_byte(out, (uint8_t)(letters[0] - '0'));
	for (size_t i = 1; i <= count; i++)
		add_u32(out, (uint32_t)letters[i]);
}

static void add_members(struct buf *out, const uint32_t *members, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		add_u32(out, members[i]);
		add_u32(out, 7);
	}
}

static void add_fixed(const struct pac *pac, struct buf *out)
{
	add_zeros(out, 48);
	add_u16(out, pac->name ? (unsigned)strlen(pac->name) * 2 : 0);
	add_u16(out, pac->name ? (unsigned)strlen(pac->name) * 2 : 0);
	add_u32(out, pac->name ? 1 : 0);
	add_zeros(out, (size_t)5 * 8 + 8);
	add_u32(out, 513);
	add_u32(out, pac->group_count);
	add_u32(out, pac->group_count ? 1 : 0);
	add_zeros(out, 4 + 16 + 8 + 8);
	add_u32(out, pac->domain ? 1 : 0);
	add_zeros(out, 40);
	add_u32(out, pac->extra_count);
	add_u32(out, pac->extra_count ? 1 : 0);
	add_u32(out, pac->resource_domain ? 1 : 0);
	add_u32(out, pac->resource_count);
	add_u32(out, pac->resource_count ? 1 : 0);
}

static void add_targets(const struct pac *pac, struct buf *out)
{
	size_t len = pac->name ? strlen(pac->name) : 0;

	if (pac->name) {
		add_u32(out, (uint32_t)len);
		add_u32(out, 0);
		add_u32(out, (uint32_t)len);
		for (size_t i = 0; i < len; i++)
			add_u16(out, (unsigned char)pac->name[i]);
		add_zeros(out, len % 2 * 2);
	}
	if (pac->group_count) {
		add_u32(out, pac->group_array ? pac->group_array : pac->group_count);
		add_members(out, pac->groups, pac->group_count);
	}
	if (pac->domain)
		add_sid(out, pac->domain);
	if (pac->extra_count) {
		add_u32(out, pac->extra_count);
		for (size_t i = 0; i < pac->extra_count; i++) {
			add_u32(out, pac->extra[i] ? 1 : 0);
			add_u32(out, 7);
		}
		for (size_t i = 0; i < pac->extra_count; i++)
			if (pac->extra[i])
				add_sid(out, pac->extra[i]);
	}
	if (pac->resource_domain)
		add_sid(out, pac->resource_domain);
	if (pac->resource_count) {
		add_u32(out, pac->resource_count);
		add_members(out, pac->resources, pac->resource_count);
	}
}

static void write_pac(const struct pac *pac, struct buf *out)
{
	static const uint8_t header[] = {1, 0x10, 8, 0, 0xcc, 0xcc, 0xcc, 0xcc};
	struct buf body;

	buf_init(&body, 1 << 16);
	add_u32(&body, 1);
	add_fixed(pac, &body);
	add_targets(pac, &body);
	buf_add(out, span_of(header, sizeof(header)));
	add_u32(out, (uint32_t)buf_len(&body));
	add_u32(out, 0);
	buf_add(out, buf_span(&body));
	buf_fini(&body);
}

/* The SIDs with a space behind each, or why there are none. */
static void read_as_text(struct span bytes, char *text, size_t size)
{
	const char *why;
	struct buf sids;

	buf_init(&sids, 1 << 16);
	if (!pac_read_groups(bytes, &sids, &why)) {
		snprintf(text, size, "%s", why);
		assert_true(why[0] != 0);
	} else {
		for (size_t i = sids.start; i < sids.end; i++)
			if (sids.at[i] == 0)
				sids.at[i] = ' ';
		snprintf(text, size, "%.*s", SPAN_ARG(buf_span(&sids)));
	}
	buf_fini(&sids);
}

static const struct {
	struct pac pac;
	const char *text;
} rows[] = {
	{{.domain = "5ab"}, "S-1-5-97-98-513 "},
	{{.name = "alice", .domain = "5ab", .groups = {513, 1104}, .group_count = 2}, "S-1-5-97-98-513 S-1-5-97-98-1104 "},
	{{.name = "even", .domain = "5a", .groups = {4294967295}, .group_count = 1}, "S-1-5-97-513 S-1-5-97-4294967295 "},
	{{.domain = "5a", .extra = {"1", "9bc"}, .extra_count = 2}, "S-1-5-97-513 S-1-1 S-1-9-98-99 "},
	{{.domain = "5a", .resource_domain = "5z", .resources = {7, 513}, .resource_count = 2},
	 "S-1-5-97-513 S-1-5-122-7 S-1-5-122-513 "},
	{{.name = "bob", .domain = "5a", .groups = {2}, .group_count = 1, .extra = {"5c"}, .extra_count = 1,
	  .resource_domain = "5d", .resources = {3}, .resource_count = 1},
	 "S-1-5-97-513 S-1-5-97-2 S-1-5-99 S-1-5-100-3 "},
	{{.resource_domain = "5z"}, "the PAC counts groups that it does not have"},
	{{.domain = "5a", .resources = {7}, .resource_count = 1}, "the PAC counts groups that it does not have"},
	{{.domain = "5a", .extra = {NULL, "9bc"}, .extra_count = 2}, "the PAC counts groups that it does not have"},
	{{.domain = "5a", .groups = {1}, .group_count = 1, .group_array = 2}, "an array of the PAC has a wrong length"},
	{{.domain = "5abcdefghijklmnop"}, "a SID of the PAC is too long"},
};

static void groups_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char text[1024];
		struct buf bytes;

		buf_init(&bytes, 1 << 16);
		write_pac(&rows[i].pac, &bytes);
		read_as_text(buf_span(&bytes), text, sizeof(text));
		if (strcmp(text, rows[i].text))
			fail_msg("row %zu: \"%s\" instead of \"%s\"", i, text, rows[i].text);
		buf_fini(&bytes);
	}
}

/* Every beginning of a PAC is refused. */
static void cut_pacs_are_refused(void **state)
{
	const char *why;
	struct buf bytes, sids;

	(void)state;
	buf_init(&bytes, 1 << 16);
	write_pac(&rows[5].pac, &bytes);
	buf_init(&sids, 1 << 16);
	for (size_t len = 0; len < buf_len(&bytes); len++) {
		uint8_t *copy = malloc(len ? len : 1);

		assert_non_null(copy);
		memcpy(copy, bytes.at + bytes.start, len);
		assert_false(pac_read_groups(span_of(copy, len), &sids, &why));
		free(copy);
	}
	buf_fini(&sids);
	buf_fini(&bytes);
}

/* Numbers that would be very many, at every place where a number could stand. */
static void large_numbers_are_refused_or_harmless(void **state)
{
	char text[4096];
	struct buf bytes;

	(void)state;
	buf_init(&bytes, 1 << 16);
	write_pac(&rows[5].pac, &bytes);
	for (size_t at = 0; at + 4 <= buf_len(&bytes); at += 4) {
		uint8_t old[4];

		memcpy(old, bytes.at + bytes.start + at, 4);
		memset(bytes.at + bytes.start + at, 0xff, 4);
		read_as_text(buf_span(&bytes), text, sizeof(text));
		memcpy(bytes.at + bytes.start + at, old, 4);
	}
	buf_fini(&bytes);
}

static void the_counts_are_bounded(void **state)
{
	struct pac pac = {.domain = "5a", .groups = {1}, .group_count = 1};
	uint32_t counts[] = {PAC_GROUPS_MAX, PAC_GROUPS_MAX + 1, 0x7fffffff, 0xffffffff};
	char text[1024];
	struct buf bytes;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(counts); i++) {
		buf_init(&bytes, 1 << 16);
		write_pac(&pac, &bytes);
		/* Headers, the pointer, times, strings, LogonCount to PrimaryGroupId. */
		memcpy(bytes.at + bytes.start + 16 + 4 + 48 + 48 + 8 + 4, &counts[i], 4);
		read_as_text(buf_span(&bytes), text, sizeof(text));
		assert_string_equal(text, "the PAC names too many groups");
		buf_fini(&bytes);
	}
}

static void small_buffers_are_said(void **state)
{
	struct buf bytes, sids;
	const char *why;

	(void)state;
	buf_init(&bytes, 1 << 16);
	write_pac(&rows[5].pac, &bytes);
	buf_init(&sids, 20);
	assert_false(pac_read_groups(buf_span(&bytes), &sids, &why));
	assert_string_equal(why, "the names of the groups in the PAC are too long");
	buf_fini(&sids);
	buf_fini(&bytes);
}

/* Of alice, by Samba's domain controller. */
static void a_real_one_is_read(void **state)
{
	FILE *file = fopen("../fuzz/corpus/auth_pac/samba_alice", "rb");
	uint8_t bytes[4096];
	char text[1024];
	size_t len;

	(void)state;
	assert_non_null(file);
	len = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	read_as_text(span_of(bytes, len), text, sizeof(text));
	assert_string_equal(text, "S-1-5-21-1602183970-3596677903-2252835196-513 S-1-5-21-1602183970-3596677903-2252835196-1110 "
	                          "S-1-5-21-1602183970-3596677903-2252835196-1111 S-1-18-1 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_are_read),
		cmocka_unit_test(cut_pacs_are_refused),
		cmocka_unit_test(large_numbers_are_refused_or_harmless),
		cmocka_unit_test(the_counts_are_bounded),
		cmocka_unit_test(small_buffers_are_said),
		cmocka_unit_test(a_real_one_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
