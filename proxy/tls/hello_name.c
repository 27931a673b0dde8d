/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/hello_name.h"

#include "base/address.h"

enum { LABEL_MAX_BYTES = 63 };

static bool is_name_byte(uint8_t byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_';
}

static const char *check_labels(struct span name)
{
	struct span rest = name, label;

	while (span_split(&rest, '.', &label)) {
		if (label.len == 0)
			return "an empty label in server_name";
		if (label.len > LABEL_MAX_BYTES)
			return "a label of server_name is too long";
		for (size_t i = 0; i < label.len; i++)
			if (!is_name_byte(label.at[i]))
				return "a byte in server_name that is in no name";
	}
	return NULL;
}

const char *hello_name(struct span raw, uint8_t room[static HELLO_NAME_MAX_BYTES], struct span *name)
{
	struct address address;
	const char *problem;

	*name = SPAN("");
	if (raw.len == 0)
		return NULL;
	if (span_find(raw, 0) < raw.len)
		return "a NUL in server_name";
	if (raw.at[raw.len - 1] == '.')
		raw.len--;
	if (raw.len == 0)
		return "an empty label in server_name";
	if (raw.len > HELLO_NAME_MAX_BYTES)
		return "server_name is too long";
	if (address_parse(raw, &address))
		return NULL;
	for (size_t i = 0; i < raw.len; i++)
		room[i] = span_lower(raw.at[i]);
	problem = check_labels(span_of(room, raw.len));
	if (problem == NULL)
		*name = span_of(room, raw.len);
	return problem;
}
