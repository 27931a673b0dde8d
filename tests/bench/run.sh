#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds Sallyport and the programs of the bench (Release, in build/release) and runs bench.py with
# the arguments given; --help lists them.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build/release

for tool in cmake ninja python3; do
	command -v "$tool" >/dev/null || {
		echo "$0: $tool is missing. On Debian: apt-get install cmake ninja-build python3" >&2
		exit 2
	}
done
for argument; do
	case $argument in
	-h | --help) exec python3 "$root/tests/bench/bench.py" --help ;;
	esac
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release &&
	cmake --build "$build" --target sallyport bench_load bench_origin bench_floor \
			bench_policy bench_ask bench_pause bench_login bench_many bench_storm \
			bench_floor_tls bench_load_tls bench_origin_tls bench_media bench_push bench_readers; } >"$log" 2>&1; then
	tail -n 40 "$log" >&2
	echo "$0: the Release build in $build failed (above)" >&2
	exit 2
fi
rm -f "$log"
exec python3 "$root/tests/bench/bench.py" "$@"
