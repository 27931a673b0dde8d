/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that one configuration names, loaded as the proxy loads it, for commands that need no running proxy. */
#ifndef CLI_FILES_H
#define CLI_FILES_H

#include "policy/policy.h"
#include "process/settings.h"

struct loaded_files {
	struct arena arena;        /* of the settings; commands may use it, too */
	struct problems problems;
	struct settings settings;
	void *image;
	size_t image_bytes;
	struct policy *policy;
	struct policy_stats stats;
};

/* Load the configuration and the policy that it names, as far as they go: all problems at once.
 * owns: files_fini() frees what there is, whatever the result. errors: ERR_CONFIG, ERR_MEMORY. */
MUST_USE enum err files_load(struct loaded_files *files, const char *config);
/* The same, with what compiling the policy can be asked for. */
MUST_USE enum err files_load_with(struct loaded_files *files, const char *config,
                                  const struct policy_compile_options *options);
void files_fini(struct loaded_files *files);

#endif
