/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

int main(int count, char **args)
{
	return cli_main(count, args);
}
