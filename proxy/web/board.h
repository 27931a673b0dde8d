/* SPDX-License-Identifier: Apache-2.0 */
/* What the parent tells of itself: one page of shared memory that it alone writes, and the admin role reads. */
#ifndef WEB_BOARD_H
#define WEB_BOARD_H

#include <stdatomic.h>
#include <stdint.h>

enum { BOARD_ROLES_MAX = 16, BOARD_NAME_BYTES = 16 };

enum board_state { BOARD_STARTING, BOARD_RUNNING, BOARD_DRAINING, BOARD_STOPPING };

struct board_role {
	char name[BOARD_NAME_BYTES]; /* written once, before anybody reads */
	_Atomic uint64_t restarts, running, wanted;
};

struct board {
	_Atomic uint64_t state;        /* enum board_state */
	_Atomic uint64_t generation;   /* in force */
	_Atomic uint64_t policy_hash;
	_Atomic uint64_t started_ms, loaded_ms, refused_ms; /* wall clock; 0: never */
	_Atomic uint64_t reloads_total, refused_total;      /* loads after the first */
	_Atomic uint64_t workers_wanted, workers_ready;
	struct board_role roles[BOARD_ROLES_MAX];
};

#endif
