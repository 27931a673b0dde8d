/* SPDX-License-Identifier: Apache-2.0 */
/* A CA for units, as sallyport ca init makes it. */
#ifndef CA_RIG_H
#define CA_RIG_H

#include <stdlib.h>
#include <string.h>

#include "tls/ca_make.h"

/* 2026-11-28T12:00:00Z */
#define RIG_NOW INT64_C(1795867200)

struct ca_rig {
	struct ca *ca;
	struct buf certificate, key;
};

static inline enum err ca_rig_open(struct ca_rig *rig, int64_t now, struct problems *problems)
{
	struct ca_source source = {"ca.pem", "ca.key", buf_span(&rig->certificate), buf_span(&rig->key)};

	ca_free(rig->ca);
	rig->ca = NULL;
	return ca_open(&source, now, problems, &rig->ca);
}

/* `excludes`: separated by blanks, or "". */
static inline void ca_rig_make(struct ca_rig *rig, const char *excludes, int64_t now)
{
	struct ca_wish wish = {.name = SPAN("Rig CA"), .organization = SPAN("Rig"), .days = 365};
	struct span rest = span_from(excludes), one;
	struct problems problems;

	*rig = (struct ca_rig){.ca = NULL};
	while (rest.len && span_split(&rest, ' ', &one))
		wish.excludes[wish.exclude_count++] = one;
	buf_init(&rig->certificate, 65536);
	buf_init(&rig->key, 65536);
	ASSERT(ca_make(&wish, now, &rig->certificate, &rig->key) == ERR_NONE);
	problems_init(&problems);
	ASSERT(ca_rig_open(rig, now, &problems) == ERR_NONE);
	ASSERT(problems.error_count == 0 && problems.warning_count == 0);
	problems_fini(&problems);
}

static inline void ca_rig_free(struct ca_rig *rig)
{
	ca_free(rig->ca);
	buf_fini(&rig->certificate);
	buf_fini(&rig->key);
}

#endif
