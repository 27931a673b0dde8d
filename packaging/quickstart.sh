#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# From a fresh Debian 12 to a running proxy: what is missing is installed (as root or with sudo), Sallyport is built, gets
# a configuration in a folder of its own and is started on loopback. Says what it does and ends with one clear line.
set -u
folder=sallyport-quickstart
port=""
foreground=""
stop=""

usage() {
	cat <<END
Usage: packaging/quickstart.sh [--folder DIR] [--port N] [--foreground]
       packaging/quickstart.sh [--folder DIR] --stop
Builds Sallyport, makes a working configuration and starts it on 127.0.0.1:3128.
  --folder DIR   configuration and logs (default: ./sallyport-quickstart); kept as it is if it is there
  --port N       another port than 3128
  --foreground   stay, with all events on this terminal; Ctrl-C ends it
  --stop         stop the proxy of this folder
END
}

say() {
	echo "==> $*"
}

fail() {
	echo "quickstart: $*" >&2
	exit 1
}

# need OPTION COUNT: the option's value must be there.
need() {
	[ "$2" -ge 2 ] || {
		usage >&2
		exit 2
	}
}

while [ $# -gt 0 ]; do
	case "$1" in
	--help | -h)
		usage
		exit 0
		;;
	--folder)
		need "$1" $#
		folder=$2
		shift
		;;
	--port)
		need "$1" $#
		port=$2
		shift
		;;
	--foreground) foreground=yes ;;
	--stop) stop=yes ;;
	*)
		echo "quickstart: what is \"$1\"?" >&2
		usage >&2
		exit 2
		;;
	esac
	shift
done
case "$port" in
*[!0-9]*) port=0 ;;
esac
if [ -n "$port" ] && { [ "$port" -lt 1 ] || [ "$port" -gt 65535 ]; }; then
	echo "quickstart: --port takes a number from 1 to 65535" >&2
	exit 2
fi

case "$folder" in
/*) ;;
*) folder=$(pwd)/$folder ;;
esac
cd "$(dirname "$0")/.." || exit 1
repository=$(pwd)
binary=$repository/build/release/sallyport
config=$folder/sallyport.yaml
log=$folder/events.log
# shellcheck source=packaging/packages.sh
. packaging/packages.sh

# ---- a proxy that runs ----

# The id of this folder's proxy, if it runs: ids are used again, so the command line is looked at too.
running_pid() {
	[ -r "$folder/pid" ] || return 1
	pid=$(cat "$folder/pid")
	tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF " run -c $config " || return 1
	echo "$pid"
}

# Where it listens, as it says itself.
address() {
	"$binary" status -c "$config" --json | sed -n 's/^ *"address": "\(.*\)"$/\1/p' | head -n 1
}

stop_proxy() {
	pid=$(running_pid) || {
		echo "No proxy of $folder is running."
		return 0
	}
	say "Stopping process $pid: sessions may end by themselves for 5 seconds"
	kill -TERM "$pid" 2>/dev/null || fail "process $pid is not yours to stop; try with sudo"
	tenths=0
	while running_pid >/dev/null; do
		tenths=$((tenths + 1))
		[ $tenths -ne 50 ] || kill -TERM "$pid" # asked twice, it ends them
		[ $tenths -lt 200 ] || fail "process $pid does not end; look at $log"
		sleep 0.1
	done
	rm -f "$folder/pid"
	echo "Sallyport has stopped."
}

# ---- a port that is taken ----

# The socket's inode in /proc/net, of whatever listens where we would.
listening_inode() {
	awk -v port=":$(printf %04X "$port")" '
		BEGIN {
			taken["0100007F"] = taken["00000000"] = taken["00000000000000000000000000000000"] = 1
			taken["0000000000000000FFFF00000100007F"] = 1
		}
		$4 == "0A" && substr($2, length($2) - 4) == port && substr($2, 1, length($2) - 5) in taken { print $10; exit }
	' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

port_must_be_free() {
	inode=$(listening_inode)
	[ -n "$inode" ] || return 0
	owner=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | sed -n '1s|^/proc/\([0-9]*\)/.*|\1|p')
	echo "quickstart: port $port of 127.0.0.1 is taken" >&2
	if [ -n "$owner" ]; then
		echo "  by process $owner: $(tr '\0' ' ' <"/proc/$owner/cmdline")" >&2
	else
		echo "  by a process of another user (as root this would say which)" >&2
	fi
	echo "Stop it, or take another port: packaging/quickstart.sh --folder $folder-2 --port $((port < 65535 ? port + 1 : 3128))" >&2
	exit 1
}

# ---- steps ----

build() {
	say "Building in build/release (this takes a minute the first time)"
	mkdir -p build
	{
		tests=-DSALLYPORT_TESTS=OFF
		[ ! -e build/release/CMakeCache.txt ] || tests="" # a folder that is configured stays as it is
		cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release ${tests:+"$tests"} &&
			ninja -C build/release sallyport
	} >build/quickstart.log 2>&1 || {
		tail -n 30 build/quickstart.log >&2
		fail "it does not build; the whole output is in build/quickstart.log"
	}
}

# What the configuration of the folder says, if there is one; empty if it names no port of 127.0.0.1.
choose_port() {
	if [ ! -e "$config" ]; then
		port=${port:-3128}
		return
	fi
	own=$(sed -n 's/^[^#]*address: 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$config" | head -n 1)
	[ "${port:-$own}" = "$own" ] ||
		fail "--port $port: the listen: line of $config says something else; change it there, or take another --folder"
	port=$own
}

configure() {
	if [ -e "$config" ]; then
		say "Keeping the configuration in $folder as it is"
		return
	fi
	say "Making a configuration in $folder"
	mkdir -p "$folder/lists" || exit 1
	# What is there already stays: no file of a person is ever replaced.
	for from in conf/defaults/policy.yaml conf/defaults/lists/*.list; do
		to=$folder/${from#conf/defaults/}
		[ -e "$to" ] || cp -L "$from" "$to" || exit 1
	done
	sed "s/^\(  - {name: local, address: 127\.0\.0\.1\):3128}/\1:$port}/" conf/defaults/sallyport.yaml >"$config.new" ||
		fail "cannot write $config.new"
	grep -q "127\.0\.0\.1:$port}" "$config.new" || fail "conf/defaults/sallyport.yaml does not listen on 127.0.0.1:3128"
	mv "$config.new" "$config"
}

# Made on the spot: no two installations share one.
make_ca() {
	[ ! -e "$folder/ca/ca.pem" ] || return 0
	grep -q '^inspection:' "$config" || return 0
	say "Making a CA in $folder/ca, which signs for the hosts that are opened"
	"$binary" ca init -c "$config" >"$folder/ca-trust.txt" || fail "no CA; see above"
}

# Who connects without trusting it sees what is wrong; this says how to mend that.
print_trust() {
	[ -s "$folder/ca-trust.txt" ] || return 0
	say "TLS to other hosts than the pinned ones is opened. Clients have to trust the CA (also in $folder/ca-trust.txt):"
	sed 's/^/    /' "$folder/ca-trust.txt"
}

check() {
	say "Checking it: sallyport check -c $config"
	"$binary" check -c "$config"
	[ $? -ne 2 ] || fail "this configuration cannot be used; mend what is said above, or take another --folder"
}

start() {
	say "Starting the proxy in the background"
	nohup "$binary" run -c "$config" </dev/null >>"$log" 2>&1 &
	pid=$!
	echo "$pid" >"$folder/pid"
	tenths=0
	until "$binary" status -c "$config" --json 2>/dev/null | grep -q '"state": "running"'; do
		tenths=$((tenths + 1))
		if ! kill -0 "$pid" 2>/dev/null || [ $tenths -ge 300 ]; then
			tail -n 20 "$log" >&2
			kill "$pid" 2>/dev/null
			rm -f "$folder/pid"
			fail "it did not start; the whole output is in $log"
		fi
		sleep 0.1
	done
}

# A request that the default policy denies needs no internet, and shows how a refusal reads.
try_it() {
	say "Asking it for http://$1/, whose port the default policy does not allow"
	answer=$(curl --silent --show-error --max-time 10 --noproxy '' --proxy "http://$1" "http://$1/") ||
		fail "no answer; look at $log"
	echo "$answer" | sed 's/^/    /'
}

print_next() {
	cat <<END

What to try next:
  curl -x http://$1 --cacert $folder/ca/ca.pem https://example.com/     # opened
  curl -x http://$1 https://idbroker.webex.com/                  # pinned: passes untouched
  $binary explain -c $config example.com
  $binary explain -c $config api.wbx2.com
  $binary status -c $config
  what is allowed:       $folder/policy.yaml and $folder/lists
  requests are logged:   $folder/access.log
  events are logged:     $log
  stop it:               $repository/packaging/quickstart.sh --folder $folder --stop

END
}

if [ -n "$stop" ]; then
	stop_proxy
	exit
fi
if pid=$(running_pid); then
	say "It runs already, as process $pid of $folder${port:+; --port $port changes nothing}; --stop it first to build it anew"
	at=$(address)
	[ -n "$at" ] || fail "process $pid does not say where; try with sudo, or look at $log"
	print_next "$at"
	echo "Sallyport is ready on $at."
	exit 0
fi
choose_port
[ -z "$port" ] || port_must_be_free
say "Installing the Debian packages that are missing, if any"
# shellcheck disable=SC2086,SC2154
install_packages $packages_build curl ca-certificates || exit 1
build
configure
make_ca
check
if [ -n "$foreground" ]; then
	echo $$ >"$folder/pid"
	log="this terminal"
	print_next "${port:+127.0.0.1:}${port:-the address in $config}"
	exec "$binary" run -c "$config"
fi
start
at=$(address)
try_it "$at"
print_trust
print_next "$at"
echo "Sallyport is ready on $at."
