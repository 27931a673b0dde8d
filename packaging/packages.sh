# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Debian packages that this project needs, and how to get them. Sourced by quickstart.sh and tests/run.sh.

# What the build needs (DESIGN 9).
# shellcheck disable=SC2034
packages_build="gcc cmake ninja-build pkg-config libc6-dev libyaml-dev libjansson-dev libpcre2-dev libidn2-dev libpsl-dev zlib1g-dev
	libc-ares-dev libseccomp-dev libcap-ng-dev libsystemd-dev libmicrohttpd-dev node-llhttp libssl-dev libnghttp2-dev libcrypt-dev libkrb5-dev libntlm0-dev
	libwbclient-dev libldap-dev libpam0g-dev"

# What the tests need beside it.
# shellcheck disable=SC2034
packages_test="clang llvm libclang-rt-14-dev lld libcmocka-dev python3 python3-yaml python3-pytest shellcheck codespell git
	curl wget nginx-light openssl openssh-client openssh-server netcat-openbsd chromium-headless-shell nghttp2-server
	nghttp2-client debootstrap dpkg-dev file ca-certificates procps iproute2 tzdata nodejs duktape
	prometheus krb5-kdc krb5-admin-server krb5-user gss-ntlmssp samba samba-ad-dc samba-ad-provision winbind samba-dsdb-modules
	samba-vfs-modules ldap-utils python3-samba ldb-tools slapd apache2-utils libpam-pwdfile cntlm wget2 default-jdk-headless
	python3-cryptography libnss3-tools gnutls-bin coturn nftables"

# install_packages NAME...: install those that are missing; needs root or sudo.
install_packages() {
	missing=""
	for package in "$@"; do
		dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
	done
	[ -z "$missing" ] && return 0
	sudo=""
	if [ "$(id -u)" != 0 ]; then
		if ! command -v sudo >/dev/null; then
			echo "These Debian packages are missing:$missing" >&2
			echo "Become root, or install sudo, and run this again." >&2
			return 1
		fi
		sudo=sudo
	fi
	echo "Installing:$missing"
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive sh -c "
		apt-get -q -o Dpkg::Use-Pty=0 update >/dev/null &&
		apt-get -q -o Dpkg::Use-Pty=0 install -y --no-install-recommends $missing >/dev/null" || {
		echo "apt-get could not install:$missing" >&2
		return 1
	}
}
