/* SPDX-License-Identifier: Apache-2.0 */
/* A name server of a few lines, on a UDP socket of loopback, served by the loop of the test. */
#ifndef TESTS_NAME_SERVER_H
#define TESTS_NAME_SERVER_H

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cursor.h"
#include "net/loop.h"

enum { NAME_SERVER_A = 1, NAME_SERVER_CNAME = 5, NAME_SERVER_SOA = 6, NAME_SERVER_AAAA = 28 };

/* What is known of one name and type. A name that has no row at all does not exist; one that has
 * rows of other types only has no data. */
struct name_row {
	const char *name;
	uint16_t type;
	uint32_t ttl;
	const char *addresses[4];
	const char *cname;        /* the addresses belong to this name */
	uint8_t rcode;
	bool silent;              /* never answered */
	bool noisy;               /* garbage and a wrong id come first */
	bool has_soa;
	uint32_t soa_ttl, soa_minimum;
};

struct name_server {
	struct loop_io io;
	const struct name_row *rows;
	size_t row_count, question_count;
	struct name_row missing; /* for names without a row */
	char text[40]; /* "127.0.0.1:12345", for the configuration */
};

static inline void name_server_put_name(struct buf *out, const char *name)
{
	struct span rest = span_from(name), label;

	while (span_split(&rest, '.', &label)) {
		buf_add_byte(out, (uint8_t)label.len);
		buf_add(out, label);
	}
	buf_add_byte(out, 0);
}

static inline void name_server_put(struct buf *out, uint32_t value, size_t bytes)
{
	while (bytes-- > 0)
		buf_add_byte(out, (uint8_t)(value >> 8 * bytes));
}

static inline void name_server_put_record(struct buf *out, const char *owner, uint16_t type, uint32_t ttl,
                                          struct span data)
{
	if (owner)
		name_server_put_name(out, owner);
	else
		name_server_put(out, 0xc00c, 2);
	name_server_put(out, type, 2);
	name_server_put(out, 1, 2);
	name_server_put(out, ttl, 4);
	name_server_put(out, (uint32_t)data.len, 2);
	buf_add(out, data);
}

static inline void name_server_put_soa(struct buf *out, const struct name_row *row)
{
	struct buf data;

	buf_init(&data, 300);
	name_server_put_name(&data, "ns.example");
	name_server_put_name(&data, "admin.example");
	for (int i = 0; i < 4; i++)
		name_server_put(&data, 3600, 4);
	name_server_put(&data, row->soa_minimum, 4);
	name_server_put_record(out, "example", NAME_SERVER_SOA, row->soa_ttl, buf_span(&data));
	buf_fini(&data);
}

static inline size_t name_server_put_answers(struct buf *out, const struct name_row *row)
{
	size_t count = 0;

	if (row->cname) {
		struct buf data;

		buf_init(&data, 300);
		name_server_put_name(&data, row->cname);
		name_server_put_record(out, NULL, NAME_SERVER_CNAME, row->ttl, buf_span(&data));
		buf_fini(&data);
		count++;
	}
	for (size_t i = 0; i < COUNT_OF(row->addresses) && row->addresses[i]; i++, count++) {
		uint8_t bytes[16];
		bool six = row->type == NAME_SERVER_AAAA;

		ASSERT(inet_pton(six ? AF_INET6 : AF_INET, row->addresses[i], bytes) == 1);
		name_server_put_record(out, row->cname, row->type, row->ttl, span_of(bytes, six ? 16 : 4));
	}
	return count;
}

/* The row of a question; `other` if the name has rows of another type only, `missing` if none. */
static inline const struct name_row *name_server_find(const struct name_server *server, const char *name,
                                                      uint16_t type)
{
	static const struct name_row no_data = {.name = "no data"};
	const struct name_row *found = &server->missing;

	for (size_t i = 0; i < server->row_count; i++) {
		if (strcasecmp(server->rows[i].name, name) != 0)
			continue;
		if (server->rows[i].type == type)
			return &server->rows[i];
		found = &no_data;
	}
	return found;
}

static inline void name_server_answer(const struct name_server *server, const struct name_row *row,
                                      struct span question, struct buf *out)
{
	size_t answers;
	struct buf records;

	(void)server;
	buf_init(&records, 2000);
	answers = name_server_put_answers(&records, row);
	buf_add(out, span_first(question, 2));
	name_server_put(out, 0x8180u | row->rcode, 2);
	name_server_put(out, 1, 2);
	name_server_put(out, (uint32_t)answers, 2);
	name_server_put(out, row->has_soa, 2);
	name_server_put(out, 0, 2);
	buf_add(out, span_skip(question, 12));
	buf_add(out, buf_span(&records));
	if (row->has_soa)
		name_server_put_soa(out, row);
	buf_fini(&records);
}

/* Read the name of a question into text; its type. The question alone is left in *question. */
static inline uint16_t name_server_parse(struct span *question, char name[static 256])
{
	struct cursor cursor = cursor_over(span_skip(*question, 12));
	size_t len = 0;
	uint16_t type;

	for (uint8_t label_len; (label_len = cursor_u8(&cursor)) != 0;) {
		struct span label = cursor_take(&cursor, label_len);

		len += (size_t)snprintf(name + len, 256 - len, "%s%.*s", len ? "." : "", SPAN_ARG(label));
	}
	type = cursor_u16(&cursor);
	cursor_u16(&cursor);
	ASSERT(!cursor.overrun);
	*question = span_first(*question, question->len - cursor.rest.len);
	return type;
}

static inline void name_server_serve(struct name_server *server, struct span question,
                                     const struct sockaddr *to, socklen_t to_len)
{
	const struct name_row *row;
	char name[256] = "";
	struct buf out;
	uint16_t type = name_server_parse(&question, name);

	server->question_count++;
	row = name_server_find(server, name, type);
	if (row->silent)
		return;
	buf_init(&out, 4000);
	name_server_answer(server, row, question, &out);
	if (row->noisy) {
		sendto(server->io.fd, "garbage", 7, 0, to, to_len);
		out.at[out.start] ^= 0xff;
		sendto(server->io.fd, buf_span(&out).at, buf_len(&out), 0, to, to_len);
		out.at[out.start] ^= 0xff;
	}
	sendto(server->io.fd, buf_span(&out).at, buf_len(&out), 0, to, to_len);
	buf_fini(&out);
}

static inline void name_server_on_ready(struct loop_io *io, unsigned events)
{
	struct name_server *server = CONTAINER_OF(io, struct name_server, io);
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	uint8_t bytes[2000];
	ssize_t len;

	(void)events;
	while ((len = recvfrom(io->fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &from_len)) > 12) {
		name_server_serve(server, span_of(bytes, (size_t)len), (const struct sockaddr *)&from,
		                  from_len);
		from_len = sizeof(from);
	}
}

static inline void name_server_open(struct name_server *server, struct loop *loop, const struct name_row *rows,
                                    size_t row_count)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ASSERT(fd >= 0 && bind(fd, (const struct sockaddr *)&address, len) == 0);
	ASSERT(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
	*server = (struct name_server){
		.io = {.fd = fd, .on_ready = name_server_on_ready},
		.rows = rows,
		.row_count = row_count,
		.missing = {.rcode = 3, .has_soa = true, .soa_ttl = 300, .soa_minimum = 60},
	};
	snprintf(server->text, sizeof(server->text), "127.0.0.1:%u", ntohs(address.sin_port));
	ASSERT(loop_watch(loop, &server->io) == ERR_NONE);
}

static inline void name_server_close(struct name_server *server, struct loop *loop)
{
	loop_close(loop, &server->io);
}

#endif
