#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A real MIT KDC for tests, without root: realm PROXY.TEST on 127.0.0.1.
#   kdc-up.sh DIR PORT    everything is in DIR; DIR/kdc.pid is what to kill
# Principals: alice (alicepw), jürgen (jürgenpw), brief (briefpw; its tickets last 2 s), HTTP/localhost, HTTP/proxy.test,
# HTTP/other.test. Keytabs: http.keytab (localhost and proxy.test), other.keytab (other.test alone).
set -eu

if [ $# != 2 ]; then
	echo "usage: $0 DIR PORT" >&2
	exit 2
fi
mkdir -p "$1"
dir=$(cd "$1" && pwd)
port=$2
realm=PROXY.TEST
export LC_ALL=C.UTF-8

# Neither DNS nor names turned round: what a client types is what it asks a ticket for.
cat >"$dir/krb5.conf" <<END
[libdefaults]
	default_realm = $realm
	dns_lookup_kdc = false
	dns_lookup_realm = false
	dns_canonicalize_hostname = false
	rdns = false
	qualify_shortname = ""
	udp_preference_limit = 0
	default_ccache_name = FILE:$dir/ccache
[realms]
	$realm = {
		kdc = 127.0.0.1:$port
	}
[domain_realm]
	localhost = $realm
	.test = $realm
END

# The same, for an acceptor that takes no clock but its own.
sed 's/^\[libdefaults\]/&\n\tclockskew = 1/' "$dir/krb5.conf" >"$dir/krb5-strict.conf"

cat >"$dir/kdc.conf" <<END
[kdcdefaults]
	kdc_listen = 127.0.0.1:$port
	kdc_tcp_listen = 127.0.0.1:$port
[realms]
	$realm = {
		database_name = $dir/principal
		key_stash_file = $dir/stash
		acl_file = $dir/kadm5.acl
		supported_enctypes = aes256-cts-hmac-sha1-96:normal
		max_life = 1h
	}
[logging]
	kdc = FILE:$dir/kdc.log
	admin_server = FILE:$dir/kadmin.log
END
: >"$dir/kadm5.acl"

export KRB5_CONFIG="$dir/krb5.conf" KRB5_KDC_PROFILE="$dir/kdc.conf"

# All of it in one process: each kadmin.local costs as much as the KDC's start.
fill() {
	kadmin.local -r "$realm" >"$dir/kadmin.out" 2>&1 <<END
addprinc -pw alicepw alice
addprinc -pw jürgenpw jürgen
addprinc -pw briefpw -maxlife "2 seconds" brief
addprinc -randkey HTTP/localhost
addprinc -randkey HTTP/proxy.test
addprinc -randkey HTTP/other.test
ktadd -k $dir/http.keytab HTTP/localhost HTTP/proxy.test
ktadd -k $dir/other.keytab HTTP/other.test
END
}

PATH=$PATH:/usr/sbin
kdb5_util create -s -r "$realm" -P a-master-key >"$dir/kdb5.out" 2>&1
fill
krb5kdc -n </dev/null >"$dir/kdc.out" 2>&1 &
echo $! >"$dir/kdc.pid"

tries=0
until echo alicepw | kinit -c "FILE:$dir/ready" alice >/dev/null 2>&1; do
	tries=$((tries + 1))
	if [ $tries = 200 ]; then
		echo "the KDC does not answer: $dir/kdc.log" >&2
		exit 1
	fi
	sleep 0.05
done
rm -f "$dir/ready"
