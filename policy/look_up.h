/* SPDX-License-Identifier: Apache-2.0 */
/* What the lists say of one name or address: found in one pass over the index, for all lists at once, and then read
 * list by list. Private to this folder. */
#ifndef POLICY_LOOK_UP_H
#define POLICY_LOOK_UP_H

#include "policy/image.h"

/* An entry that matched. */
struct look_up_hit {
	uint16_t list;
	uint32_t entry;
	bool has_ports; /* its ports= hold instead of the rule's and the default's */
};

/* Make and free the scratch of looking up. False: no memory. */
bool look_up_init(struct policy *policy);
void look_up_fini(struct policy *policy);

/* Find all that matches the name, or the address if its family is not 0. What was found before is forgotten. */
void look_up(const struct policy *policy, const struct policy_facts *facts, struct span text,
             const struct address *address);

/* The same, and tell of each entry that matches, in force or not. `is_sure`: false if an expression gave up. */
typedef void look_up_seen(void *context, uint32_t entry, bool is_sure);
void look_up_and_tell(const struct policy *policy, const struct policy_facts *facts, struct span text,
                      const struct address *address, look_up_seen *seen, void *context);

/* Has one of the lists a hit? The entry with ports= goes before the one without, as it says more. */
bool look_up_find(const struct policy *policy, struct image_range lists, struct look_up_hit *hit);

/* The lists have no hit: did it remain open for one of them? Nobody shall make an expression give up and
 * so pass what it denies. */
bool look_up_find_unsure(const struct policy *policy, struct image_range lists, struct look_up_hit *hit);

/* Has one of the lists an address in it? */
bool look_up_has_networks(const struct policy *policy, struct image_range lists);

/* Is the port in one of these ranges? */
bool look_up_has_port(const struct policy *policy, struct image_range ports, uint16_t port);

#endif
