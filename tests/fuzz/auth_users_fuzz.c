/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a user file. Who is in it is found by name; what `sallyport user` would write of a user is read as the same. */
#include <string.h>

#include "auth/backend/users.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct users_entry *entry, struct span realm)
{
	struct users_source source = {.path = "again"};
	const struct users_entry *found;
	struct problems problems;
	struct users *users;
	struct buf line, name;

	buf_init(&line, 1 << 20);
	buf_init(&name, 1 << 16);
	users_format(entry, realm, &line);
	ASSERT(buf_is_whole(&line));
	users_line_name(buf_span(&line), &name);
	ASSERT(span_equal(buf_span(&name), entry->name));
	source.text = buf_span(&line);
	problems_init(&problems);
	ASSERT(users_load(&source, 1, realm, &problems, &users) == ERR_NONE);
	found = users_find(users, entry->name);
	ASSERT(found && span_equal(found->crypt, entry->crypt) && span_equal(found->groups, entry->groups) && found->has_nt == entry->has_nt);
	users_free(users);
	problems_fini(&problems);
	buf_fini(&line);
	buf_fini(&name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct users_source source = {"users", span_of(data, size < (1 << 16) ? size : 1 << 16)};
	const struct users_entry *entry;
	struct problems problems;
	struct users *users = NULL;

	problems_init(&problems);
	if (users_load(&source, 1, SPAN("realm"), &problems, &users) == ERR_NONE) {
		for (size_t i = 0; (entry = users_at(users, i)) != NULL; i++) {
			ASSERT(entry->name.len && users_find(users, entry->name) == entry && users_find_folded(users, entry->name));
			if (!entry->other_realm)
				check_again(entry, SPAN("realm"));
		}
		users_free(users);
	}
	problems_fini(&problems);
	return 0;
}
