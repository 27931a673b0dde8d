/* SPDX-License-Identifier: Apache-2.0 */
/* A private folder with a policy and its lists, compiled and opened. For tests and fuzz targets. */
#ifndef TESTS_POLICY_RIG_H
#define TESTS_POLICY_RIG_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/policy.h"

struct policy_rig {
	char folder[40];
	struct problems problems;
	enum err err;
	void *image;
	size_t image_bytes;
	struct policy *policy;
};

static inline void policy_rig_path(const struct policy_rig *rig, const char *name, char path[static 100])
{
	snprintf(path, 100, "%s/%.50s", rig->folder, name);
}

static inline void policy_rig_write(const struct policy_rig *rig, const char *name, struct span text)
{
	char path[100];
	FILE *file;

	policy_rig_path(rig, name, path);
	file = fopen(path, "w");
	ASSERT(file != NULL);
	ASSERT(fwrite(text.at, 1, text.len, file) == text.len);
	fclose(file);
}

/* An empty folder. */
static inline void policy_rig_init(struct policy_rig *rig)
{
	*rig = (struct policy_rig){.folder = "/tmp/sallyport-policy-XXXXXX"};
	ASSERT(mkdtemp(rig->folder) != NULL);
	problems_init(&rig->problems);
}

/* Compile policy.yaml in the folder, and open it if it is good. */
static inline void policy_rig_compile(struct policy_rig *rig)
{
	char path[100];

	policy_rig_path(rig, "policy.yaml", path);
	rig->err = policy_compile(path, &rig->problems, &rig->image, &rig->image_bytes);
	if (rig->err == ERR_NONE)
		rig->err = policy_open(rig->image, rig->image_bytes, &rig->policy);
}

/* The common case: a policy and the lists a.list and b.list (NULL: there is none). */
static inline void policy_rig_make(struct policy_rig *rig, const char *policy, const char *a,
                                   const char *b)
{
	policy_rig_init(rig);
	policy_rig_write(rig, "policy.yaml", span_from(policy));
	if (a)
		policy_rig_write(rig, "a.list", span_from(a));
	if (b)
		policy_rig_write(rig, "b.list", span_from(b));
	policy_rig_compile(rig);
}

/* Remove the folder; what was compiled stays. */
static inline void policy_rig_remove(const struct policy_rig *rig)
{
	DIR *folder = opendir(rig->folder);
	struct dirent *entry;

	while (folder && (entry = readdir(folder)) != NULL) {
		char path[100];

		if (entry->d_name[0] == '.')
			continue;
		policy_rig_path(rig, entry->d_name, path);
		unlink(path);
	}
	if (folder)
		closedir(folder);
	rmdir(rig->folder);
}

static inline void policy_rig_fini(struct policy_rig *rig)
{
	policy_close(rig->policy);
	free(rig->image);
	problems_fini(&rig->problems);
	policy_rig_remove(rig);
}

/* Facts of a CONNECT to a name or an address literal, on a Monday noon. */
static inline struct policy_facts policy_rig_facts(const char *host, uint16_t port)
{
	struct policy_facts facts = {
		.from = {.bytes = {192, 0, 2, 10}, .family = AF_INET},
		.listener = SPAN("office"),
		.host = span_from(host),
		.port = port,
		.sni = SPAN(""),
		.inner_host = SPAN(""),
		.user = SPAN(""),
		.method = SPAN("CONNECT"),
		.url = SPAN(""),
		.wall_ms = UINT64_C(1795435200000), /* 2026-11-23T12:00:00Z */
	};

	if (address_parse(facts.host, &facts.host_address)) {
		facts.host_address.port = port;
		facts.address = facts.host_address;
		facts.known |= FACT_ADDRESS;
	}
	return facts;
}

#endif
