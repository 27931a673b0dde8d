/* SPDX-License-Identifier: Apache-2.0 */
#include "process/ipc.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct {
	const char *name;
	size_t least, most, fds_least, fds_most;
} rows[IPC_TYPE_COUNT] = {
	[IPC_NONE] = {"NONE", 0, 0, 0, 0},
#define IPC_ROW(type, least, most, fds_least, fds_most, text) \
	[IPC_##type] = {#type, least, most, fds_least, fds_most},
	IPC_TYPES(IPC_ROW)
#undef IPC_ROW
};

union control {
	struct cmsghdr header;
	uint8_t space[CMSG_SPACE(IPC_FDS_MAX * sizeof(int))];
};

const char *ipc_type_name(enum ipc_type type)
{
	return rows[(unsigned)type < IPC_TYPE_COUNT ? type : IPC_NONE].name;
}

enum err ipc_pair(int ends[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 ? ERR_SYSTEM
	                                                                        : ERR_NONE;
}

static void attach(struct msghdr *message, union control *control, const int *fds, size_t count)
{
	struct cmsghdr *header;

	if (count == 0)
		return;
	message->msg_control = control->space;
	message->msg_controllen = CMSG_SPACE(count * sizeof(int));
	header = &control->header; /* the first, and the only one */
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(header), fds, count * sizeof(int));
}

enum err ipc_send(int channel, enum ipc_type type, uint64_t id, struct span payload,
                  const int *fds, size_t fd_count)
{
	struct ipc_header header = {IPC_VERSION, (uint16_t)type, (uint32_t)payload.len, id};
	union {
		const uint8_t *from;
		uint8_t *to;
	} cast = {.from = payload.at};
	struct iovec parts[2] = {{&header, sizeof(header)}, {cast.to, payload.len}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = payload.len ? 2 : 1};
	union control control = {.space = {0}};
	ssize_t sent;

	ASSERT(payload.len >= rows[type].least && payload.len <= rows[type].most);
	ASSERT(fd_count >= rows[type].fds_least && fd_count <= rows[type].fds_most);
	attach(&message, &control, fds, fd_count);
	do
		sent = sendmsg(channel, &message, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return ERR_NONE;
	return errno == EAGAIN || errno == ENOBUFS ? ERR_LIMIT : ERR_SYSTEM;
}

static void collect_fds(struct ipc_message *out, struct msghdr *message)
{
	out->fd_count = 0;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
	     header = CMSG_NXTHDR(message, header)) {
		size_t count;

		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count && out->fd_count < IPC_FDS_MAX; i++)
			memcpy(&out->fds[out->fd_count++], CMSG_DATA(header) + i * sizeof(int),
			       sizeof(int));
	}
}

bool ipc_parse(struct ipc_message *message, size_t len, uint32_t sends)
{
	struct ipc_header header;

	if (len < sizeof(header))
		return false;
	memcpy(&header, message->bytes, sizeof(header));
	if (header.version != IPC_VERSION || header.type == IPC_NONE ||
	    header.type >= IPC_TYPE_COUNT || !(sends >> header.type & 1) ||
	    header.payload_bytes != len - sizeof(header))
		return false;
	if (header.payload_bytes < rows[header.type].least ||
	    header.payload_bytes > rows[header.type].most ||
	    message->fd_count < rows[header.type].fds_least ||
	    message->fd_count > rows[header.type].fds_most)
		return false;
	message->type = (enum ipc_type)header.type;
	message->id = header.id;
	message->payload = span_of(message->bytes + sizeof(header), header.payload_bytes);
	return true;
}

enum ipc_got ipc_receive(int channel, uint32_t sends, struct ipc_message *out)
{
	struct iovec part = {out->bytes, sizeof(out->bytes)};
	union control control;
	struct msghdr message = {.msg_iov = &part,
	                         .msg_iovlen = 1,
	                         .msg_control = control.space,
	                         .msg_controllen = sizeof(control.space)};
	ssize_t got;

	do
		got = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? IPC_EMPTY : IPC_CLOSED;
	collect_fds(out, &message);
	if (got == 0 && out->fd_count == 0)
		return IPC_CLOSED;
	if (!(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && ipc_parse(out, (size_t)got, sends))
		return IPC_GOT;
	ipc_drop(out);
	return IPC_INVALID;
}

int ipc_take_fd(struct ipc_message *message, size_t at)
{
	int fd = at < message->fd_count ? message->fds[at] : -1;

	if (fd >= 0)
		message->fds[at] = -1;
	return fd;
}

void ipc_drop(struct ipc_message *message)
{
	for (size_t i = 0; i < message->fd_count; i++)
		if (message->fds[i] >= 0)
			close(message->fds[i]);
	message->fd_count = 0;
}

enum err ipc_expect(int channel, uint32_t sends, enum ipc_type type, struct ipc_message *out)
{
	if (ipc_receive(channel, sends, out) != IPC_GOT)
		return ERR_MESSAGE;
	if (out->type == type)
		return ERR_NONE;
	ipc_drop(out);
	return ERR_MESSAGE;
}
