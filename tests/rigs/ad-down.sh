#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Ends what ad-up.sh has begun: with the first process of the namespaces all others in them end.
#   ad-down.sh DIR [keep]    keep: the files stay
set -eu

if [ $# -lt 1 ]; then
	echo "usage: $0 DIR [keep]" >&2
	exit 2
fi
dir=$1
keeper=$(cat "$dir/keeper.pid" 2>/dev/null || true)
first=
if [ -n "$keeper" ]; then
	first=$(cat "/proc/$keeper/task/$keeper/children" 2>/dev/null || true)
	first=${first% }
fi

# A number may have gone to another process since: it is ours if it is in the namespace that was made.
if [ -n "$first" ] && [ "$(readlink "/proc/$first/ns/net")" = "$(cat "$dir/namespace")" ]; then
	kill -KILL "$first"
	while [ -e "/proc/$first" ] && [ "$(cat "/proc/$keeper/task/$keeper/children" 2>/dev/null)" = "$first " ]; do
		sleep 0.05
	done
fi
[ "${2:-}" = keep ] || rm -rf "$dir"
