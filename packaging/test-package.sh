#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the Debian package and tries it: what is in it, cmake --install, quickstart.sh, and its whole life in a chroot of
# Debian 12 (needs root): install, run as the unit would, reload, rotate, upgrade, stop, remove, purge.
# Ends with one line, "package: N passed, N failed". Changes nothing outside build/package, build/release (which is built if
# it is not there) and /tmp.
set -u
cd "$(dirname "$0")/.." || exit 2
repository=$(pwd)
work=$repository/build/package
tree=$repository/build/release
mirror=http://deb.debian.org/debian
skip_chroot=""

usage() {
	cat <<END
Usage: packaging/test-package.sh [--skip-chroot] [--help]
  --skip-chroot   leave out what needs root and debootstrap
END
}

# ---- results ----

# check NAME COMMAND...: one test; its output is shown if it fails.
check() {
	name=$1
	shift
	if "$@" >"$work/check.log" 2>&1; then
		echo "ok   $name"
	else
		echo "FAIL $name"
		tail -n 25 "$work/check.log" | sed 's/^/    /'
		return 1
	fi
}

# is EXPECTED GOT
is() {
	[ "$1" = "$2" ] || {
		echo "expected: $1"
		echo "but got:  $2"
		return 1
	}
}

# has TEXT FILE: as it stands.
has() {
	grep -qF -- "$1" "$2" || {
		echo "\"$1\" is not in $2:"
		head -n 40 "$2"
		return 1
	}
}

# until_true COMMAND...: within 20 seconds.
until_true() {
	tenths=0
	until "$@"; do
		tenths=$((tenths + 1))
		[ $tenths -lt 900 ] || return 1
		sleep 0.1
	done
}

free_port() {
	/usr/bin/python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# ---- the package itself ----

build_package() {
	rm -f "$tree"/*.deb
	[ -e "$tree/CMakeCache.txt" ] || cmake -S . -B "$tree" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSALLYPORT_TESTS=OFF || return 1
	nice ninja -C "$tree" -j "$(nproc)" package
}

listed() {
	dpkg-deb --contents "$deb" | awk '{print $1, $2, $6}' >"$work/contents"
	has "-rwxr-xr-x root/root ./usr/bin/sallyport" "$work/contents" || return 1
	for file in etc/sallyport/sallyport.yaml etc/sallyport/policy.yaml etc/sallyport/lists/cisco-spark-pinned.list \
		etc/logrotate.d/sallyport usr/lib/systemd/system/sallyport.service usr/share/man/man1/sallyport.1.gz \
		usr/share/doc/sallyport/README.md usr/share/doc/sallyport/LICENSE usr/share/doc/sallyport/copyright \
		usr/share/doc/sallyport/changelog.Debian.gz etc/sallyport/lists/webex-bypass.list \
		usr/share/doc/sallyport/presets/README.md usr/share/doc/sallyport/presets/examples/webex.yaml; do
		has "-rw-r--r-- root/root ./$file" "$work/contents" || return 1
	done
	is "$(cd conf/presets && ls ./*.list)" "$(sed -n 's|.*/etc/sallyport/lists/\(.*\.list\)$|./\1|p' "$work/contents" | sort)" || return 1
	! grep -vE '^[d-]rw[x-]r-[x-]r-[x-] root/root \./(etc|usr)/' "$work/contents" || return 1
	! grep -E '\./usr/(local|sbin)|\./(var|run)/' "$work/contents"
}

every_configuration_is_a_conffile() {
	dpkg-deb --info "$deb" conffiles | sort >"$work/conffiles"
	dpkg-deb --contents "$deb" | awk '$1 ~ /^-/ && $6 ~ /^\.\/etc\// {print substr($6, 2)}' | sort |
		diff - "$work/conffiles"
}

fields() {
	dpkg-deb --info "$deb" control >"$work/control"
	for text in "Package: sallyport" "Section: net" "Priority: optional" "libc6 (>=" libpcre2-8-0 libsystemd0 adduser; do
		has "$text" "$work/control" || return 1
	done
	dpkg-deb --ctrl-tarfile "$deb" | tar -tv | grep -E 'p(ostinst|rerm|ostrm)$' >"$work/scripts"
	is 3 "$(grep -c '^-rwxr-xr-x' "$work/scripts")"
}

is_stripped() {
	dpkg-deb --fsys-tarfile "$deb" | tar -xO ./usr/bin/sallyport >"$work/stripped" &&
		! readelf --sections "$work/stripped" | grep -F .debug_
}

# The unit, with a program that exists here.
unit_is_valid() {
	command -v systemd-analyze >/dev/null || return 0
	mkdir -p "$work/verify"
	sed "s|/usr/bin/sallyport|$tree/sallyport|" packaging/sallyport.service >"$work/verify/sallyport.service"
	systemd-analyze verify --man=no "$work/verify/sallyport.service" >"$work/verify/output" 2>&1 || return 1
	is "" "$(cat "$work/verify/output")"
}

manual_is_valid() {
	command -v man >/dev/null || return 0
	is "" "$(LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l -Tutf8 -Z packaging/sallyport.1 2>&1 >/dev/null)"
}

# ---- cmake --install ----

install_to() {
	DESTDIR=$1 cmake --install "$tree" --prefix /opt/sallyport >"$work/install.log" 2>&1 ||
		{
			cat "$work/install.log"
			return 1
		}
}

installs() {
	install_to "$1" || return 1
	has "ExecStart=/opt/sallyport/bin/sallyport run" "$1/opt/sallyport/lib/systemd/system/sallyport.service" &&
		has "(/opt/sallyport/bin/sallyport status" "$1/etc/logrotate.d/sallyport" &&
		has "control: /run/sallyport/sallyport.sock" "$1/etc/sallyport/sallyport.yaml" &&
		has "path: /var/log/sallyport/access.log" "$1/etc/sallyport/sallyport.yaml" &&
		"$1/opt/sallyport/bin/sallyport" ca init -c "$1/etc/sallyport/sallyport.yaml" >/dev/null &&
		"$1/opt/sallyport/bin/sallyport" check -c "$1/etc/sallyport/sallyport.yaml"
}

keeps_what_was_changed() {
	echo "# mine" >>"$1/etc/sallyport/policy.yaml"
	rm "$1/etc/sallyport/lists/cisco-spark-pinned.list"
	install_to "$1" || return 1
	has "# mine" "$1/etc/sallyport/policy.yaml" && has "Kept as it is: $1/etc/sallyport/policy.yaml" "$work/install.log" &&
		test -e "$1/etc/sallyport/lists/cisco-spark-pinned.list"
}

# As it stands, with what is not committed yet.
copy_repository() {
	git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --ignore-failed-read -c | tar -x -C "$1"
}

# A default that no longer has the line that is replaced must not be installed quietly.
refuses_a_source_that_does_not_fit() {
	mkdir "$1" && copy_repository "$1" && sed -i 's/^control: .*/control: elsewhere.sock/' "$1/conf/defaults/sallyport.yaml"
	! cmake -S "$1" -B "$1/build" -G Ninja -DSALLYPORT_TESTS=OFF >"$1/log" 2>&1 && has 'has no "' "$1/log"
}

# ---- quickstart.sh ----

# With the program of build/release.
quick() {
	nice sh packaging/quickstart.sh --folder "$scratch/quick folder" "$@"
}

quickstart_starts() {
	quick --port "$port" >"$scratch/quick.log" 2>&1
	is "Sallyport is ready on 127.0.0.1:$port." "$(tail -n 1 "$scratch/quick.log")" || {
		cat "$scratch/quick.log"
		return 1
	}
}

# The CA is made on the spot, and how to trust it is said.
quickstart_makes_a_ca() {
	has "update-ca-certificates" "$scratch/quick.log" && test "$(stat -c %a "$scratch/quick folder/ca/ca.key")" = 600 &&
		openssl x509 -in "$scratch/quick folder/ca/ca.pem" -noout -ext basicConstraints | grep -q "CA:TRUE"
}

quickstart_runs_already() {
	quick >"$scratch/quick.log" 2>&1 || return 1
	has "It runs already" "$scratch/quick.log" && is "Sallyport is ready on 127.0.0.1:$port." "$(tail -n 1 "$scratch/quick.log")"
}

quickstart_says_who_has_the_port() {
	! sh packaging/quickstart.sh --folder "$scratch/other" --port "$port" >"$scratch/quick.log" 2>&1 &&
		has "by process $(cat "$scratch/quick folder/pid"): " "$scratch/quick.log" && ! test -e "$scratch/other"
}

quickstart_stops() {
	quick --stop >"$scratch/quick.log" || return 1
	has "Sallyport has stopped." "$scratch/quick.log" && ! test -e "$scratch/quick folder/run/sallyport.sock" &&
		quick --stop && ! curl -s "http://127.0.0.1:$port/"
}

# The second start, in the foreground, with a policy that a person changed.
quickstart_keeps() {
	echo "# mine" >>"$scratch/quick folder/policy.yaml"
	quick --foreground >"$scratch/foreground.log" 2>&1 &
	until_true grep -q '^ready ' "$scratch/foreground.log" || {
		cat "$scratch/foreground.log"
		kill "$(cat "$scratch/quick folder/pid")"
		return 1
	}
	has "Keeping the configuration" "$scratch/foreground.log" && has "# mine" "$scratch/quick folder/policy.yaml" && quick --stop && wait
}

quickstart_complains() {
	sh packaging/quickstart.sh --port 0 && return 1
	sh packaging/quickstart.sh --folder && return 1
	sh packaging/quickstart.sh --help | grep -q -- --foreground
}

# ---- the chroot ----

# A Debian 12 with what the package depends on, kept for the next time.
make_system() {
	depends=$(dpkg-deb --field "$deb" Depends Recommends | sed 's/^[A-Za-z]*: //; s/([^)]*)//g; s/|[^,]*//g; s/[ \t]//g' | paste -sd , -)
	key=$(echo "$depends" | cksum | cut -d ' ' -f 1)
	system=$work/bookworm-$key.tar
	[ -n "$(find "$system" -mtime -14 2>/dev/null)" ] && return 0
	rm -rf "$work"/bookworm-*.tar "$work/new-system"
	nice debootstrap --variant=minbase --include="$depends" bookworm "$work/new-system" $mirror &&
		rm -rf "$work/new-system"/var/cache/apt/archives/*.deb "$work/new-system"/var/lib/apt/lists/* &&
		tar -C "$work/new-system" -cf "$system.new" . && rm -rf "$work/new-system" && mv "$system.new" "$system"
}

# A package of the next version, whose policy.yaml is not that of this one.
make_next_version() {
	rm -rf "$scratch/next"
	dpkg-deb --raw-extract "$deb" "$scratch/next" &&
		sed -i 's/^Version: .*/&+next/' "$scratch/next/DEBIAN/control" &&
		echo "# new in the next version" >>"$scratch/next/etc/sallyport/policy.yaml" &&
		(cd "$scratch/next" && find etc usr -type f -exec md5sum {} + >DEBIAN/md5sums) &&
		dpkg-deb --root-owner-group --build "$scratch/next" "$scratch/next.deb"
}

# Everything from here to the end runs in namespaces of its own: no other process, no other listener is there, and
# processes and mounts end with it, whatever happens.
in_system() {
	chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# Paths of everything, but of what dpkg, apt and adduser write about their own work.
files_of_system() {
	(cd "$root" && find . -xdev -path ./proc -prune -o -path ./tmp -prune -o -path ./var/lib/dpkg -prune -o \
		-path ./var/cache -prune -o -path ./var/log/apt -prune -o -path ./var/lib/apt -prune -o -path ./var/lib/logrotate -prune -o \
		-type f -name '*-' -prune -o -print | sort)
}

unit() {
	sed -n "s/^$1=//p" "$root/usr/lib/systemd/system/sallyport.service"
}

installed_well() {
	in_system apt-get -o Dpkg::Use-Pty=0 install -y /tmp/sallyport.deb >"$work/apt.log" 2>&1 || {
		cat "$work/apt.log"
		return 1
	}
	has "/etc/sallyport/sallyport.yaml is valid" "$work/apt.log"
}

user_is_there() {
	is "sallyport:/nonexistent:/usr/sbin/nologin" "$(in_system getent passwd sallyport | cut -d : -f 1,6,7)" &&
		is "root adm 750" "$(in_system stat -c '%U %G %a' /var/log/sallyport)"
}

# As systemd would: user, group, rights, folder, notification. What it is told comes to $notes.
start_as_the_unit() {
	rights=$(unit CapabilityBoundingSet | tr ' ' '\n' | sed 's/^CAP_/+/' | tr 'A-Z\n' 'a-z,' | sed 's/,$//')
	is yes "$(unit NoNewPrivileges)" || return 1
	notes=$work/notes
	rm -f "$work/run.status"
	/usr/bin/python3 -c '
import socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.bind(sys.argv[1])
while True:
    print(sock.recv(4096).decode(), flush=True)' "$root/run/notify" >"$notes" &
	until_true test -S "$root/run/notify" || return 1
	in_system install -d -m 0755 -g "$(unit Group)" "/run/$(unit RuntimeDirectory)"
	command=$(unit ExecStart)
	# shellcheck disable=SC2086
	(umask "$(unit UMask)" && in_system NOTIFY_SOCKET=/run/notify setpriv --no-new-privs --regid "$(unit Group)" --clear-groups \
		--inh-caps=-all --bounding-set="-all,$rights" $command >"$work/run.log" 2>&1
	echo $? >"$work/run.status") &
	until_true grep -q READY=1 "$notes" || {
		cat "$work/run.log"
		return 1
	}
}

parent() {
	in_system sallyport status --json | sed -n 's/^  "pid": \([0-9]*\),$/\1/p'
}

children_are_confined() {
	uid=$(in_system id -u sallyport)
	pids=$(pgrep -P "$(parent)")
	[ "$(echo "$pids" | wc -l)" -ge 2 ] || return 1
	for pid in $pids; do
		is "$uid 0000000000000000 0000000000000000 1 2" "$(awk '
			$1 == "Uid:" {uid = $2} $1 == "CapPrm:" {permitted = $2} $1 == "CapBnd:" {bounding = $2} $1 == "NoNewPrivs:" {privileges = $2}
			$1 == "Seccomp:" {filter = $2} END {print uid, permitted, bounding, privileges, filter}' "/proc/$pid/status")" || return 1
	done
}

# ask WORD...: a request through the proxy; the status and the text that came.
ask() {
	curl -sS --max-time 20 --noproxy '' -x http://127.0.0.1:3128 -w ' %{http_code}' "$@"
}

answers() {
	/usr/bin/python3 -c '
import http.server
class Origin(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
http.server.ThreadingHTTPServer(("127.0.0.1", 80), Origin).serve_forever()' 2>"$work/origin.log" &
	until_true curl -s -o "$work/origin.out" --noproxy '*' http://127.0.0.1/ || return 1
	is " 403" "$(ask -o /dev/null http://127.0.0.1/)"
}

reloads() {
	sed -i 's/^  permit: \[\]/  permit: [127.0.0.0\/8]/' "$root/etc/sallyport/sallyport.yaml"
	echo "# mine" >>"$root/etc/sallyport/policy.yaml"
	command=$(unit ExecReload)
	# shellcheck disable=SC2086
	in_system $command || return 1
	is "hello 200" "$(ask http://127.0.0.1/)" && is "hello 200" "$(ask --proxytunnel http://127.0.0.1/)"
}

# With the lists that are installed; warnings are no matter here.
examples_are_valid() {
	for example in "$root"/usr/share/doc/sallyport/presets/examples/*.yaml; do
		sed "s|^policy: .*|policy: ${example#"$root"}|; s|: ca/ca|: /etc/sallyport/ca/ca|g" "$root/etc/sallyport/sallyport.yaml" >"$root/tmp/example.yaml"
		in_system sallyport check -c /tmp/example.yaml
		[ $? -ne 2 ] || return 1
	done
	has "policy: /usr/share" "$root/tmp/example.yaml"
}

refuses_a_broken_policy() {
	cp -p "$root/etc/sallyport/policy.yaml" "$scratch/policy"
	echo "nonsense: yes" >>"$root/etc/sallyport/policy.yaml"
	command=$(unit ExecReload)
	# shellcheck disable=SC2086
	in_system $command
	status=$?
	cp -p "$scratch/policy" "$root/etc/sallyport/policy.yaml"
	is 2 $status && is "hello 200" "$(ask http://127.0.0.1/)"
}

logs_are_rotated() {
	log=$root/var/log/sallyport/access.log
	until_true grep -q '"status":200' "$log" || return 1
	in_system logrotate --force /etc/logrotate.d/sallyport || return 1
	until_true grep -q log_reopened "$work/run.log" || return 1
	before=$(wc -l <"$log.1")
	is "hello 200" "$(ask http://127.0.0.1/)" && until_true grep -q '"status":200' "$log" && is "$before" "$(wc -l <"$log.1")" &&
		is "root adm 640" "$(in_system stat -c '%U %G %a' /var/log/sallyport/access.log)"
}

upgrade_keeps_changes() {
	in_system dpkg --install /tmp/sallyport.deb || return 1
	has "# mine" "$root/etc/sallyport/policy.yaml" || return 1
	in_system dpkg --force-confdef --force-confold --install /tmp/next.deb || return 1
	has "# mine" "$root/etc/sallyport/policy.yaml" && has "# new in the next" "$root/etc/sallyport/policy.yaml.dpkg-dist" &&
		is "hello 200" "$(ask http://127.0.0.1/)" && in_system sallyport reload
}

stops() {
	kill -TERM "$(parent)" && until_true test -s "$work/run.status" && is 0 "$(cat "$work/run.status")" &&
		has STOPPING=1 "$notes" && ! test -e "$root/run/sallyport/sallyport.sock"
}

# A broken configuration of a person must not make an upgrade fail.
broken_configuration_installs() {
	echo "nonsense: yes" >>"$root/etc/sallyport/policy.yaml"
	in_system dpkg --install /tmp/next.deb >"$work/dpkg.log" 2>&1 || {
		cat "$work/dpkg.log"
		return 1
	}
	has "is not valid" "$work/dpkg.log"
}

removal_keeps_configuration() {
	in_system apt-get remove -y sallyport || return 1
	! test -e "$root/usr/bin/sallyport" && has "# mine" "$root/etc/sallyport/policy.yaml" &&
		test -e "$root/var/log/sallyport/access.log" && in_system getent passwd sallyport
}

purge_removes_everything() {
	in_system apt-get purge -y sallyport || return 1
	in_system getent passwd sallyport && return 1
	in_system getent group sallyport && return 1
	rm -f "$root/run/notify"
	files_of_system | diff "$work/files-before" -
}

nothing_is_left_running() {
	is "" "$(pgrep -af 'sallyport (run|--role)')"
}

try_in_system() {
	root=$1
	deb=$2
	mount -t proc proc "$root/proc" || exit 1
	ip link set lo up || exit 1
	files_of_system >"$work/files-before"
	check "package is installed" installed_well || exit 1
	check "user and log folder are there" user_is_there
	check "it is enabled" test -L "$root/etc/systemd/system/multi-user.target.wants/sallyport.service"
	check "sallyport check is satisfied" in_system sallyport check
	check "examples of presets are valid" examples_are_valid
	if check "it starts with the rights of the unit" start_as_the_unit; then
		check "children are confined" children_are_confined
		check "it answers" answers
		check "it reloads" reloads
		check "it refuses a broken policy" refuses_a_broken_policy
		check "logs are rotated" logs_are_rotated
		check "an upgrade keeps changes" upgrade_keeps_changes
		check "it stops" stops
	fi
	check "a broken configuration does not break an upgrade" broken_configuration_installs
	check "removal keeps the configuration" removal_keeps_configuration
	check "purge removes everything" purge_removes_everything
	check "nothing is left running" nothing_is_left_running
}

try_in_chroot() {
	if [ "$(id -u)" != 0 ]; then
		echo "FAIL chroot (needs root; --skip-chroot leaves it out)"
		return
	fi
	check "a Debian 12 is made" make_system || return
	root=$work/root
	rm -rf --one-file-system "$root"
	mkdir "$root" && tar -C "$root" -xf "$system" || return
	check "a next version is made" make_next_version || return
	cp "$deb" "$root/tmp/sallyport.deb"
	cp "$scratch/next.deb" "$root/tmp/next.deb"
	unshare --mount --pid --net --fork --kill-child --mount-proc sh packaging/test-package.sh --in-system "$root" "$deb" "$scratch" ||
		echo "FAIL chroot (it did not come to its end)"
	rm -rf --one-file-system "$root"
}

try_package() {
	check "it is built" build_package || return
	deb=$(echo "$tree"/sallyport_*.deb)
	check "every file is in it" listed
	check "every configuration is a conffile" every_configuration_is_a_conffile
	check "its fields and scripts" fields
	check "the program is stripped" is_stripped
	check "the unit is valid" unit_is_valid
	check "the manual page is valid" manual_is_valid
	check "cmake --install" installs "$scratch/destination"
	check "cmake --install keeps what was changed" keeps_what_was_changed "$scratch/destination"
	check "cmake stops at a default that does not fit" refuses_a_source_that_does_not_fit "$scratch/unfit"
	port=$(free_port)
	if check "quickstart.sh starts it" quickstart_starts; then
		check "quickstart.sh makes a CA and says how to trust it" quickstart_makes_a_ca
		check "quickstart.sh says that it runs already" quickstart_runs_already
		check "quickstart.sh says who has the port" quickstart_says_who_has_the_port
		check "quickstart.sh stops it" quickstart_stops
		check "quickstart.sh keeps a folder" quickstart_keeps
	fi
	check "quickstart.sh complains" quickstart_complains
	[ -n "$skip_chroot" ] || try_in_chroot
}

while [ $# -gt 0 ]; do
	case "$1" in
	--in-system)
		scratch=$4
		try_in_system "$2" "$3"
		exit 0
		;;
	--skip-chroot) skip_chroot=yes ;;
	--help | -h)
		usage
		exit 0
		;;
	*)
		usage >&2
		exit 2
		;;
	esac
	shift
done

mkdir -p "$work"
scratch=$(mktemp -d)
clean_up() {
	[ ! -e "$scratch/quick folder/pid" ] || quick --stop >/dev/null 2>&1
	rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP
results=$scratch/results
try_package 2>&1 | tee "$results"
passed=$(grep -c '^ok ' "$results")
failed=$(grep -c '^FAIL ' "$results")
echo "package: $passed passed, $failed failed"
[ "$failed" = 0 ]
