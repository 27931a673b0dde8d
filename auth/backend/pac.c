/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/pac.h"

#include <inttypes.h>

#include "base/cursor.h"

/* Sizes of what is skipped in KERB_VALIDATION_INFO. */
enum {
	TIMES_BYTES = 6 * 8,         /* LogonTime to PasswordMustChange */
	KEY_BYTES = 16,              /* UserSessionKey */
	BETWEEN_BYTES = 8 + 4 + 4 + 8 + 8 + 4 + 4, /* Reserved1 to Reserved3 */
	STRINGS = 6,                 /* EffectiveName to HomeDirectoryDrive */
	PRIVATE_HEADER_BYTES = 8,
};

struct sid {
	struct span bytes;           /* revision, count, authority, sub-authorities; checked */
};

/* The fixed part: how many there are, and which pointers are set (their targets follow it, in this order). */
struct fixed {
	bool has_string[STRINGS], has_server, has_domain_name;
	bool has_groups, has_domain, has_extra, has_resource_domain, has_resource;
	uint32_t primary, group_count, extra_count, resource_count;
};

struct reader {
	struct cursor at;
	size_t size;                 /* of all that `at` was over: for alignment */
	struct buf *sids;
	const char *why;             /* of the first failure */
};

static bool fail(struct reader *reader, const char *why)
{
	if (reader->why == NULL)
		reader->why = why;
	return false;
}

static uint16_t read_u16(struct reader *reader)
{
	return __builtin_bswap16(cursor_u16(&reader->at));
}

static uint32_t read_u32(struct reader *reader)
{
	return __builtin_bswap32(cursor_u32(&reader->at));
}

static bool is_whole(struct reader *reader)
{
	return !reader->at.overrun || fail(reader, "the PAC ends too early");
}

static void align4(struct reader *reader)
{
	size_t read = reader->size - reader->at.rest.len;

	cursor_take(&reader->at, (4 - read % 4) % 4);
}

/* MS-RPCE 2.2.6.1: version 1, little-endian, a header of eight bytes; 2.2.6.2: the length of what follows. */
static bool read_headers(struct reader *reader)
{
	struct span common = cursor_take(&reader->at, 8);
	uint32_t length = read_u32(reader);

	read_u32(reader);
	if (!is_whole(reader))
		return false;
	if (common.at[0] != 1 || common.at[1] != 0x10 || common.at[2] != 8 || common.at[3] != 0)
		return fail(reader, "the PAC has a header of another form");
	if (length > reader->at.rest.len)
		return fail(reader, "the PAC ends too early");
	if (read_u32(reader) == 0)
		return fail(reader, "the PAC says nothing about a logon");
	return is_whole(reader);
}

/* RPC_UNICODE_STRING: two lengths and a pointer. */
static bool read_string_pointer(struct reader *reader)
{
	read_u16(reader);
	read_u16(reader);
	return read_u32(reader) != 0;
}

static bool read_fixed(struct reader *reader, struct fixed *fixed)
{
	cursor_take(&reader->at, TIMES_BYTES);
	for (size_t i = 0; i < STRINGS; i++)
		fixed->has_string[i] = read_string_pointer(reader);
	cursor_take(&reader->at, 2 + 2 + 4); /* LogonCount, BadPasswordCount, UserId */
	fixed->primary = read_u32(reader);
	fixed->group_count = read_u32(reader);
	fixed->has_groups = read_u32(reader) != 0;
	read_u32(reader);            /* UserFlags: which of the counts below are not zero */
	cursor_take(&reader->at, KEY_BYTES);
	fixed->has_server = read_string_pointer(reader);
	fixed->has_domain_name = read_string_pointer(reader);
	fixed->has_domain = read_u32(reader) != 0;
	cursor_take(&reader->at, BETWEEN_BYTES);
	fixed->extra_count = read_u32(reader);
	fixed->has_extra = read_u32(reader) != 0;
	fixed->has_resource_domain = read_u32(reader) != 0;
	fixed->resource_count = read_u32(reader);
	fixed->has_resource = read_u32(reader) != 0;
	if (!is_whole(reader))
		return false;
	if (fixed->group_count > PAC_GROUPS_MAX || fixed->extra_count > PAC_GROUPS_MAX ||
	    fixed->resource_count > PAC_GROUPS_MAX ||
	    1 + fixed->group_count + fixed->extra_count + fixed->resource_count > PAC_GROUPS_MAX)
		return fail(reader, "the PAC names too many groups");
	if (!fixed->has_domain || (fixed->group_count && !fixed->has_groups) || (fixed->extra_count && !fixed->has_extra) ||
	    (fixed->resource_count && (!fixed->has_resource || !fixed->has_resource_domain)))
		return fail(reader, "the PAC counts groups that it does not have");
	return true;
}

/* A conformant and varying array of 16-bit units. */
static bool skip_string(struct reader *reader, bool is_there)
{
	uint32_t room, offset, count;

	if (!is_there)
		return true;
	room = read_u32(reader);
	offset = read_u32(reader);
	count = read_u32(reader);
	if (is_whole(reader) && (offset != 0 || count > room))
		return fail(reader, "a string of the PAC has a wrong length");
	cursor_take(&reader->at, (size_t)count * 2);
	align4(reader);
	return is_whole(reader);
}

/* The number of elements stands once more before a conformant array. */
static bool read_count(struct reader *reader, uint32_t expected)
{
	uint32_t count = read_u32(reader);

	return is_whole(reader) && (count == expected || fail(reader, "an array of the PAC has a wrong length"));
}

static bool read_sid(struct reader *reader, struct sid *sid)
{
	uint32_t count = read_u32(reader);

	if (!is_whole(reader))
		return false;
	if (count > PAC_SID_PARTS_MAX)
		return fail(reader, "a SID of the PAC is too long");
	sid->bytes = cursor_take(&reader->at, 8 + 4 * (size_t)count);
	if (!is_whole(reader))
		return false;
	if (sid->bytes.at[0] != 1 || sid->bytes.at[1] != count)
		return fail(reader, "a SID of the PAC has another form");
	return true;
}

/* As MS-DTYP 2.4.2.1 has it: the authority in hexadecimal where it has more than 32 bits. */
static void add_sid(struct reader *reader, struct sid sid)
{
	struct cursor at = cursor_over(span_skip(sid.bytes, 2));
	uint64_t authority = (uint64_t)cursor_u16(&at) << 32;

	authority |= cursor_u32(&at);
	buf_printf(reader->sids, authority > UINT32_MAX ? "S-1-0x%012" PRIX64 : "S-1-%" PRIu64, authority);
	while (at.rest.len) {
		buf_add_byte(reader->sids, '-');
		buf_add_uint(reader->sids, __builtin_bswap32(cursor_u32(&at)));
	}
}

static void add_group(struct reader *reader, struct sid domain, uint32_t rid)
{
	add_sid(reader, domain);
	buf_add_byte(reader->sids, '-');
	buf_add_uint(reader->sids, rid);
	buf_add_byte(reader->sids, 0);
}

/* GROUP_MEMBERSHIP: a relative identifier and attributes. */
static void add_groups(struct reader *reader, struct sid domain, struct span members, const uint32_t *except)
{
	struct cursor at = cursor_over(members);

	while (at.rest.len) {
		uint32_t rid = __builtin_bswap32(cursor_u32(&at));

		cursor_u32(&at);
		if (except == NULL || rid != *except)
			add_group(reader, domain, rid);
	}
}

static bool read_members(struct reader *reader, bool is_there, uint32_t count, struct span *members)
{
	*members = SPAN("");
	if (!is_there)
		return true;
	if (!read_count(reader, count))
		return false;
	*members = cursor_take(&reader->at, 8 * (size_t)count);
	return is_whole(reader);
}

/* KERB_SID_AND_ATTRIBUTES: first all pointers, then the SIDs that they mean. */
static bool read_extra(struct reader *reader, const struct fixed *fixed)
{
	struct cursor pointers;
	struct span members;
	struct sid sid;

	if (!read_members(reader, fixed->has_extra, fixed->extra_count, &members))
		return false;
	pointers = cursor_over(members);
	while (pointers.rest.len) {
		bool is_there = cursor_u32(&pointers) != 0;

		cursor_u32(&pointers);
		if (!is_there)
			return fail(reader, "the PAC counts groups that it does not have");
		if (!read_sid(reader, &sid))
			return false;
		add_sid(reader, sid);
		buf_add_byte(reader->sids, 0);
	}
	return true;
}

static bool read_all(struct reader *reader)
{
	struct fixed fixed = {0};
	struct sid domain;
	struct span groups;

	if (!read_headers(reader) || !read_fixed(reader, &fixed))
		return false;
	for (size_t i = 0; i < STRINGS; i++)
		if (!skip_string(reader, fixed.has_string[i]))
			return false;
	if (!read_members(reader, fixed.has_groups, fixed.group_count, &groups) || !skip_string(reader, fixed.has_server) ||
	    !skip_string(reader, fixed.has_domain_name) || !read_sid(reader, &domain))
		return false;
	add_group(reader, domain, fixed.primary);
	add_groups(reader, domain, groups, &fixed.primary);
	if (!read_extra(reader, &fixed))
		return false;
	if (fixed.has_resource_domain && !read_sid(reader, &domain))
		return false;
	if (!read_members(reader, fixed.has_resource, fixed.resource_count, &groups))
		return false;
	add_groups(reader, domain, groups, NULL);
	return true;
}

bool pac_read_groups(struct span logon_info, struct buf *sids, const char **why)
{
	struct reader reader = {.at = cursor_over(logon_info), .size = logon_info.len, .sids = sids};

	if (read_all(&reader) && !buf_is_whole(sids))
		fail(&reader, "the names of the groups in the PAC are too long");
	*why = reader.why ? reader.why : "";
	return reader.why == NULL;
}
