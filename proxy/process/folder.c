/* SPDX-License-Identifier: Apache-2.0 */
#include "process/folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum err folder_make_for(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder;
	int result;

	if (slash == NULL || slash == path)
		return ERR_NONE;
	folder = strndup(path, (size_t)(slash - path));
	if (folder == NULL)
		return ERR_SYSTEM;
	result = mkdir(folder, 0755) < 0 && errno != EEXIST ? -1 : 0;
	free(folder);
	return result < 0 ? ERR_SYSTEM : ERR_NONE;
}
