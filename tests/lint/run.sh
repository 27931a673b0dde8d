#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# All lints. Ends with "lint: N passed, N failed".
cd "$(dirname "$0")/../.." || exit 2
passed=0
failed=0

check() {
	name=$1
	shift
	if output=$("$@" 2>&1); then
		passed=$((passed + 1))
		echo "ok   $name"
	else
		failed=$((failed + 1))
		echo "FAIL $name"
	fi
	[ -z "$output" ] || echo "$output" | sed 's/^/    /'
}

scripts=$(git ls-files '*.sh' '.ci/run' 'packaging/deb/*' | while read -r file; do
	head -n 1 "$file" | grep -q '^#!/bin/sh' && echo "$file"
done)
reference() { # every option of the tables has a manual, and the defaults' files are valid by them
	! build/asan/sallyport reference | grep -q '(null)' || return 1
	folder=$(mktemp -d)
	cp -rL conf/defaults/. "$folder" && build/asan/sallyport ca init -c "$folder/sallyport.yaml" >/dev/null &&
		build/asan/sallyport check -c "$folder/sallyport.yaml"
	status=$?
	rm -rf "$folder"
	return $status
}

check sources /usr/bin/python3 tests/lint/lint.py
# shellcheck disable=SC2086
check scripts shellcheck -x $scripts
# shellcheck disable=SC2046
check python /usr/bin/python3 -m py_compile $(git ls-files '*.py')
# shellcheck disable=SC2046
check spelling codespell --skip '*.list,tests/fuzz/corpus/*,LICENSE' --ignore-words-list "admi,conect,paht,acces,offic,ot,fo,te,crate,ue,nd,hel,hist,bu,filp,lates" \
	$(git ls-files | grep -vE '^tests/fuzz/corpus/')
[ -x build/asan/sallyport ] && check defaults reference
echo "lint: $passed passed, $failed failed"
[ "$failed" = 0 ]
