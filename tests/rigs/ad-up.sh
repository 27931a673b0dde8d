#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A real Active Directory for tests: Samba's domain controller DC1 and winbindd of PROXY1, a machine that has joined the
# domain AD.TEST (NetBIOS: ADTEST). Root only. They live in namespaces of their own (network, mounts, processes): nothing
# of theirs is seen outside, and they end with the first process in there, whose parent is DIR/keeper.pid.
#   ad-up.sh DIR          ad-down.sh DIR ends it
# As PROXY1 sees it (wbinfo, libwbclient, kinit, LDAP at dc1.ad.test):
#   nsenter -t "$(cat DIR/member.pid)" -n -m COMMAND
# DIR: krb5.conf, http.keytab (HTTP/proxy.ad.test, HTTP/localhost), ca.pem (who signed the certificate of LDAPS).
# Users: alice (Al1ce-Passw0rd; in proxy-users, which is in proxy-all), bob (B0b-Passw0rd), jürgen (Jürgen-Passw0rd),
# disabled, expired, locked, carol, carlos (each Us3r-Passw0rd), svcproxy (Svc-Passw0rd2; the proxy's account),
# Administrator (Adm1n-Passw0rd). The third wrong password in a row locks an account.
set -eu

if [ $# != 1 ]; then
	echo "usage: $0 DIR" >&2
	exit 2
fi
mkdir -p "$1"
dir=$(cd "$1" && pwd)
address=10.99.0.1
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 KRB5_CONFIG="$dir/krb5.conf"
PATH=$PATH:/usr/sbin
for side in dc member; do
	for part in lock private state cache run ncalrpc socket; do
		mkdir -p "$dir/$side/$part"
	done
done
mkdir -p /run/samba

cat >"$dir/hosts" <<END
127.0.0.1 localhost
$address dc1.ad.test dc1
$address proxy1.ad.test proxy1
127.0.0.1 proxy.ad.test
END
printf 'nameserver %s\nsearch ad.test\n' "$address" >"$dir/resolv.conf"

cat >"$dir/krb5.conf" <<END
[libdefaults]
	default_realm = AD.TEST
	dns_lookup_kdc = false
	dns_lookup_realm = false
	dns_canonicalize_hostname = false
	rdns = false
	qualify_shortname = ""
	default_ccache_name = FILE:$dir/ccache
[realms]
	AD.TEST = {
		kdc = $address
	}
[domain_realm]
	.ad.test = AD.TEST
	localhost = AD.TEST
END

# wait_for COMMAND...: until it succeeds, for so long that only a failure takes it all.
wait_for() {
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		if [ $tries = 600 ]; then
			echo "this did not come true: $* (logs in $dir)" >&2
			"$(dirname "$0")/ad-down.sh" "$dir" keep
			exit 1
		fi
		sleep 0.1
	done
}

# The first process of the namespaces. It reaps what has lost its parent, and all of them die with it.
cat >"$dir/keeper.sh" <<END
set -e
mount --make-rprivate /
mount --bind $dir/hosts /etc/hosts
mount --bind $dir/resolv.conf /etc/resolv.conf
mount --bind $dir/dc/socket /run/samba
ip link set lo up
ip address add $address/24 dev lo
trap '' CHLD
touch $dir/ready
exec sleep infinity
END
unshare --net --mount --pid --fork --kill-child=KILL sh "$dir/keeper.sh" </dev/null >"$dir/keeper.out" 2>&1 &
keeper=$!
echo $keeper >"$dir/keeper.pid"
wait_for test -e "$dir/ready"
first=$(cat "/proc/$keeper/task/$keeper/children")
first=${first% }
readlink "/proc/$first/ns/net" >"$dir/namespace"

as_dc() {
	nsenter -t "$first" -n -m -p "$@"
}

as_dc samba-tool domain provision --targetdir="$dir/dc" --realm=AD.TEST --domain=ADTEST --server-role=dc \
	--dns-backend=SAMBA_INTERNAL --adminpass=Adm1n-Passw0rd --host-name=dc1 --host-ip="$address" >"$dir/provision.log" 2>&1

# What both sides say alike.
common() {
	cat <<END
	realm = AD.TEST
	workgroup = ADTEST
	interfaces = 127.0.0.1/8 $address/24
	bind interfaces only = yes
	disable netbios = yes
	private dir = $dir/$1/private
	state directory = $dir/$1/state
	cache directory = $dir/$1/cache
	pid directory = $dir/$1/run
	ncalrpc dir = $dir/$1/ncalrpc
	log file = $dir/$1/log
END
}
{
	echo "[global]"
	common dc
	cat <<END
	netbios name = DC1
	server role = active directory domain controller
	lock directory = $dir/dc
	binddns dir = $dir/dc/bind-dns
	logging = file
	log level = 1 auth_audit:3
	ntlm auth = ntlmv2-only
	template homedir = /nonexistent
	tls cafile = $dir/ca.pem
	tls certfile = $dir/dc1.pem
	tls keyfile = $dir/dc1.key
[sysvol]
	path = $dir/dc/state/sysvol
	read only = no
[netlogon]
	path = $dir/dc/state/sysvol/ad.test/scripts
	read only = no
END
} >"$dir/dc.conf"
{
	echo "[global]"
	common member
	cat <<END
	netbios name = PROXY1
	security = ads
	lock directory = $dir/member/lock
	kerberos method = dedicated keytab
	dedicated keytab file = $dir/member/machine.keytab
	idmap config * : backend = autorid
	idmap config * : range = 100000-9999999
END
} >"$dir/member.conf"

# A certificate with the name that clients know; Samba's own has none that they may look at.
new_key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
# shellcheck disable=SC2086
{
	openssl req -x509 $new_key -subj /CN=ad.test-authority -keyout "$dir/ca.key" -out "$dir/ca.pem"
	openssl req -x509 $new_key -subj /CN=dc1.ad.test -CA "$dir/ca.pem" -CAkey "$dir/ca.key" \
		-addext subjectAltName=DNS:dc1.ad.test -addext basicConstraints=critical,CA:false \
		-keyout "$dir/dc1.key" -out "$dir/dc1.pem"
} >"$dir/openssl.log" 2>&1
chmod 600 "$dir/dc1.key" "$dir/ca.key"

# Users before the start: one process instead of one samba-tool for each. The password of svcproxy is set after its
# encryption types, or it would have no AES keys.
as_dc /usr/bin/python3 - "$dir" >"$dir/users.log" 2>&1 <<'END'
import sys
from samba.auth import system_session
from samba.dsdb import UF_ACCOUNTDISABLE
from samba.param import LoadParm
from samba.samdb import SamDB

conf = LoadParm()
conf.load(sys.argv[1] + "/dc.conf")
sam = SamDB(url=sys.argv[1] + "/dc/private/sam.ldb", session_info=system_session(), lp=conf)
for user, password in (("alice", "Al1ce-Passw0rd"), ("bob", "B0b-Passw0rd"), ("jürgen", "Jürgen-Passw0rd"),
                       ("svcproxy", "Svc-Passw0rd1"), ("disabled", "Us3r-Passw0rd"), ("expired", "Us3r-Passw0rd"),
                       ("locked", "Us3r-Passw0rd"), ("carol", "Us3r-Passw0rd"), ("carlos", "Us3r-Passw0rd")):
    sam.newuser(user, password)
for group, member in (("proxy-users", "alice"), ("proxy-all", "proxy-users")):
    sam.newgroup(group)
    sam.add_remove_group_members(group, [member], add_members_operation=True)
sam.toggle_userAccountFlags("(sAMAccountName=disabled)", UF_ACCOUNTDISABLE, "disabled", on=True)
sam.setexpiry("(sAMAccountName=expired)", -86400, no_expiry_req=False)
sam.modify_ldif("""dn: DC=ad,DC=test
changetype: modify
replace: lockoutThreshold
lockoutThreshold: 3
""")
sam.modify_ldif("""dn: CN=svcproxy,CN=Users,DC=ad,DC=test
changetype: modify
add: servicePrincipalName
servicePrincipalName: HTTP/proxy.ad.test
servicePrincipalName: HTTP/localhost
-
replace: msDS-SupportedEncryptionTypes
msDS-SupportedEncryptionTypes: 24
""")
sam.setpassword("(sAMAccountName=svcproxy)", "Svc-Passw0rd2")
END

listens() {
	as_dc bash -c "echo >/dev/tcp/$address/88 && echo >/dev/tcp/$address/445 && echo >/dev/tcp/$address/636"
}
# Not by the function: its shell would stay, with our output open.
nsenter -t "$first" -n -m -p samba -s "$dir/dc.conf" -F --no-process-group </dev/null >"$dir/samba.out" 2>&1 &
wait_for as_dc wbinfo -p
wait_for listens
for name in HTTP/proxy.ad.test HTTP/localhost; do
	as_dc samba-tool domain exportkeytab "$dir/http.keytab" --principal="$name" -s "$dir/dc.conf" >>"$dir/keytab.log" 2>&1
done

as_dc net ads join -s "$dir/member.conf" -U 'Administrator%Adm1n-Passw0rd' --no-dns-updates >"$dir/join.log" 2>&1
# Its own /run/samba: libwbclient knows no other place for winbindd's socket.
cat >"$dir/member.sh" <<END
mount --bind $dir/member/socket /run/samba
exec winbindd -s $dir/member.conf -F --no-process-group
END
nsenter -t "$first" -n -m -p unshare --mount sh "$dir/member.sh" </dev/null >"$dir/winbindd.out" 2>&1 &
entered=$!
wait_for test -S "$dir/member/socket/winbindd/pipe"
member=$(cat "/proc/$entered/task/$entered/children")
echo "${member% }" >"$dir/member.pid"
wait_for nsenter -t "${member% }" -n -m wbinfo -t

# Who may ask for NTLM, as Debian's package has it.
chgrp winbindd_priv "$dir/member/state/winbindd_privileged"
