/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over the files of its corpus folder: every build replays what fuzzing found. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = malloc(1 << 20);
	size_t size;

	if (file == NULL || data == NULL) {
		perror(path);
		free(data);
		return 1;
	}
	size = fread(data, 1, 1 << 20, file);
	fclose(file);
	/* An exact allocation, so that a read behind the end is seen. */
	data = realloc(data, size ? size : 1);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 0;
}

int main(int count, char **args)
{
	struct dirent *entry;
	int files = 0;
	DIR *folder;

	if (count != 2 || (folder = opendir(args[1])) == NULL) {
		fprintf(stderr, "usage: %s CORPUS_FOLDER\n", args[0]);
		return 2;
	}
	while ((entry = readdir(folder)) != NULL) {
		char path[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", args[1], entry->d_name);
		if (replay(path))
			return 1;
		files++;
	}
	closedir(folder);
	printf("%d files replayed\n", files);
	return files ? 0 : 1;
}
