/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/files.h"

#include <stdlib.h>

#include "process/advice.h"

enum { ARENA_MAX_BYTES = 64 << 20, CONFIG_MAX_BYTES = 4 << 20 };

void files_fini(struct loaded_files *files)
{
	policy_close(files->policy);
	free(files->image);
	problems_fini(&files->problems);
	arena_fini(&files->arena);
}

/* The policy is read even if the settings are wrong elsewhere: all errors at once. */
static enum err load_policy(struct loaded_files *files, const char *path, const struct policy_compile_options *options)
{
	enum err err = policy_compile_with(path, options, &files->problems, &files->image, &files->image_bytes);

	if (err == ERR_NONE)
		err = policy_open(files->image, files->image_bytes, &files->policy);
	if (err == ERR_NONE)
		policy_stats(files->policy, &files->stats);
	return err;
}

enum err files_load(struct loaded_files *files, const char *config)
{
	static const struct policy_compile_options none;

	return files_load_with(files, config, &none);
}

enum err files_load_with(struct loaded_files *files, const char *config, const struct policy_compile_options *options)
{
	struct span text;
	enum err err, second = ERR_NONE;
	char *absolute = realpath(config, NULL);

	*files = (struct loaded_files){.policy = NULL};
	arena_init(&files->arena, ARENA_MAX_BYTES);
	problems_init(&files->problems);
	err = yaml_read_file(absolute ? absolute : config, CONFIG_MAX_BYTES, &files->arena,
	                     &files->problems, &text);
	if (err == ERR_NONE) {
		err = settings_load(text, absolute, &files->arena, &files->problems,
		                    &files->settings);
		if (files->settings.policy && files->settings.policy[0])
			second = load_policy(files, files->settings.policy, options);
		if (err == ERR_NONE)
			err = second;
		if (err == ERR_NONE)
			err = advice_add(&files->settings, files->policy, absolute, &files->problems);
	}
	free(absolute);
	return err;
}
