#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds Sallyport with sanitizers and runs every test. Installs what it needs (Debian 12, as root or with sudo).
# Ends with one line: "N passed, N failed", and status 0 if none failed.
# What is needed is built first. Then the parts run in two rows at the same time, as most of them wait more than they work;
# each shows what it has to say when it has ended.
set -u
cd "$(dirname "$0")/.." || exit 2

all_parts="warnings units lint flows roles auth tls e2e package"
first_row="warnings units lint flows roles tls"
usage() {
	cat <<EOF
Usage: tests/run.sh [PART...] [--help]
Parts (default: all of them):
  lint      include directions, banned calls, scripts, spelling, generated text
  warnings  what Clang says of the sources of the program, all warnings as errors
  units     units (cmocka) and the corpora of the fuzz targets, under sanitizers
  flows     conversations with the real binary (tests/flow), under sanitizers
  roles     a Release build: what each role can, cannot and does; ten thousand sessions against explain;
            hostile peers at random; the PAC file in JavaScript engines, metrics; doctor against STUN servers and a firewall; every
            fourth conversation once more, under seccomp
  auth      real clients against real authorities (MIT KDC, Samba AD, OpenLDAP, PAM), and what goes wrong there
  tls       sessions that are opened, and those that are not: origins good and bad, real clients, the CA, the role that signs
  e2e       real clients through the proxy: curl, wget, git, apt, Chromium, ssh
  package   the Debian package: installed, started, reloaded, removed in a chroot
EOF
}

parts=""
for word in "$@"; do
	case "$word" in
	--help | -h) usage; exit 0 ;;
	lint | warnings | units | flows | roles | auth | tls | e2e | package) parts="$parts $word" ;;
	*) usage >&2; exit 2 ;;
	esac
done
[ -n "$parts" ] || parts=$all_parts

# shellcheck source=packaging/packages.sh
. packaging/packages.sh
# shellcheck disable=SC2086
install_packages $packages_build $packages_test || exit 2

jobs=$(nproc)
logs=build/test-logs
rm -rf "$logs"
mkdir -p "$logs"
python=/usr/bin/python3
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
export PYTHONDONTWRITEBYTECODE=1

# count PASSED FAILED: for the totals.
count() {
	echo "$1 $2" >>"$logs/$part.counts"
}

# step NAME COMMAND...: one test; its output is shown if it fails.
step() {
	name=$1
	shift
	if "$@" >"$logs/$name.log" 2>&1; then
		count 1 0
		echo "ok   $name"
	else
		count 0 1
		echo "FAIL $name (whole output: $logs/$name.log)"
		tail -n 40 "$logs/$name.log" | sed 's/^/    /'
	fi
}

# counted NAME COMMAND...: many tests in one command, whose output ends with "...: N passed, N failed".
counted() {
	name=$1
	shift
	"$@" 2>&1 | tee "$logs/$name.log" | grep -v '^ok '
	line=$(grep -E '^[a-z0-9-]+: [0-9]+ passed, [0-9]+ failed$' "$logs/$name.log" | tail -n 1)
	if [ -z "$line" ]; then
		echo "FAIL $name did not come to its end (whole output: $logs/$name.log)"
		count 0 1
		return
	fi
	count "$(echo "$line" | sed 's/.*: \([0-9]*\) passed.*/\1/')" "$(echo "$line" | sed 's/.* \([0-9]*\) failed/\1/')"
}

# build FOLDER TARGETS FLAGS...: configure and build, quietly.
build() {
	folder=$1
	targets=$2
	shift 2
	cmake -S . -B "build/$folder" -G Ninja "$@" || return 1
	# shellcheck disable=SC2086
	ninja -C "build/$folder" -j "$jobs" $targets
}

build_asan() {
	build asan "sallyport all_units" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O1 \
		-DSALLYPORT_SANITIZE=address,undefined -DSALLYPORT_WERROR=ON
}

# Tests run a copy: part package builds there once more beside them.
release=build/tested/sallyport
build_release() {
	build release sallyport -DCMAKE_BUILD_TYPE=Release -DSALLYPORT_WERROR=ON && mkdir -p build/tested &&
		cp build/release/sallyport build/tested/sallyport.new && mv build/tested/sallyport.new $release
}

# Its warnings need no program.
clang_warnings() {
	cmake -S . -B build/clang -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug -DSALLYPORT_WERROR=ON || return 1
	$python - >build/clang/commands <<'END' || return 1
import json, shlex
for one in json.load(open("build/clang/compile_commands.json")):
    if "/tests/" not in one["file"] and "llhttp" not in one["file"]:
        words = shlex.split(one["command"])
        at = words.index("-o")
        print(shlex.join(["cd", one["directory"]]), "&&", shlex.join(words[:at] + words[at + 2:] + ["-fsyntax-only"]), end="\0")
END
	xargs -0 -P "$jobs" -n 1 sh -c <build/clang/commands
}

run_units() {
	ctest --test-dir build/asan --output-on-failure -j "$jobs" >"$logs/ctest.log" 2>&1
	grep -E 'tests passed|Failed|\*\*\*' "$logs/ctest.log"
	total=$(sed -n 's/.*tests failed out of \([0-9]*\)/\1/p' "$logs/ctest.log")
	bad=$(sed -n 's/.*tests passed, \([0-9]*\) tests failed.*/\1/p' "$logs/ctest.log")
	[ -n "$total" ] || return 1
	[ "$bad" = 0 ] || cat "$logs/ctest.log"
	echo "units: $((total - bad)) passed, $bad failed"
}

run_part() {
	case "$part" in
	lint) counted lint sh tests/lint/run.sh ;;
	warnings) step clang-warnings clang_warnings ;;
	units) counted units run_units ;;
	flows) counted flows $python tests/flow/flow.py --sallyport build/asan/sallyport ;;
	roles)
		counted roles $python tests/process/roles.py --sallyport $release
		counted rates $python tests/process/rates.py --sallyport $release
		counted policies $python tests/process/policies.py --sallyport $release
		counted pages $python tests/process/pages.py --sallyport $release
		counted doctor $python tests/process/doctor.py --sallyport $release
		counted agree $python tests/process/agree.py --sallyport $release
		counted hostile $python tests/process/hostile.py --sallyport build/asan/sallyport
		# Some of them once more, with seccomp in force; parts tls, auth and e2e run under it, too.
		# shellcheck disable=SC2046
		counted flows-release $python tests/flow/flow.py --sallyport $release $(printf '%s\n' tests/flow/*.flow | awk 'NR % 4 == 0')
		;;
	auth)
		counted user $python tests/auth/user_command.py --sallyport build/asan/sallyport
		counted kerberos $python tests/auth/kerberos.py
		counted winbind $python tests/auth/winbind.py
		counted ldap $python tests/auth/ldap.py
		counted pam $python tests/auth/pam.py
		counted connection $python tests/auth/connection.py --sallyport $release
		counted attacks $python tests/auth/attacks.py --sallyport $release
		counted doctor-login $python -W ignore tests/auth/doctor_login.py --sallyport $release
		counted authorities $python -W ignore tests/auth/authorities.py --sallyport $release
		counted clients $python tests/auth/clients.py --sallyport $release --table "$logs/clients.md"
		counted handbook $python tests/auth/handbook.py --sallyport $release
		;;
	tls)
		counted ca $python tests/tls/ca.py --sallyport $release --mint-try build/asan/tests/mint_try
		for area in bypass names hello leaf upstream alpn_http resumption client_certificate client_leg endings ca_in_use clients pins attacks; do
			counted "tls-$area" $python -W ignore "tests/tls/$area.py" --sallyport $release
		done
		;;
	e2e) counted e2e $python tests/e2e/run.py --sallyport $release ;;
	package) counted package sh packaging/test-package.sh ;;
	esac
}

# has PART...: is one of them to be run?
has() {
	for wanted in "$@"; do
		case " $parts " in
		*" $wanted "*) return 0 ;;
		esac
	done
	return 1
}

# timed: what runs is shown when it has ended, under a line that says how long it took.
timed() {
	since=$(date +%s)
	"$@" >"$logs/$part.part" 2>&1
	took=$(($(date +%s) - since))
	echo "== $part ($took s)" | cat - "$logs/$part.part"
	echo "$part $took" >>"$logs/durations"
}

builds() {
	has lint units flows roles auth tls && step asan-build build_asan
	has roles auth tls e2e package && step release-build build_release
}

# row PARTS: those of them that are to be run, one after the other.
row() {
	for part in $1; do
		has "$part" && timed run_part
	done
}

began=$(date +%s)
part=build
timed builds
second_row=""
for part in $parts; do
	case " $first_row " in
	*" $part "*) ;;
	*) second_row="$second_row $part" ;;
	esac
done
row "$second_row" &
beside=$!
row "$first_row"
wait "$beside"
passed=$(cat "$logs"/*.counts | awk '{sum += $1} END {print sum + 0}')
failed=$(cat "$logs"/*.counts | awk '{sum += $2} END {print sum + 0}')
times >"$logs/times" # of what was waited for, in the second line
cpu=$(awk 'NR == 2 {split($1, user, "m"); split($2, sys, "m"); printf "%d", 60 * (user[1] + sys[1]) + user[2] + sys[2]}' "$logs/times")
echo "took $(($(date +%s) - began)) s, $cpu s of processors: $(awk '{printf "%s%s %s", between, $1, $2; between = ", "}' "$logs/durations")"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
