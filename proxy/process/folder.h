/* SPDX-License-Identifier: Apache-2.0 */
/* Folders for files that the parent makes. */
#ifndef PROCESS_FOLDER_H
#define PROCESS_FOLDER_H

#include "base/compiler.h"
#include "base/err.h"

/* Make the folder that `path` lies in, if only that last one is missing. errors: ERR_SYSTEM. */
MUST_USE enum err folder_make_for(const char *path);

#endif
