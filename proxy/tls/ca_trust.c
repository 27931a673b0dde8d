/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/ca_trust.h"

#include "base/span.h"

static const struct ca_trust_row rows[] = {
	{"Debian, Ubuntu",
	 "sudo install -m 644 %f /usr/local/share/ca-certificates/sallyport.crt\nsudo update-ca-certificates"},
	{"Red Hat, Fedora, Rocky, Alma",
	 "sudo install -m 644 %f /etc/pki/ca-trust/source/anchors/sallyport.pem\nsudo update-ca-trust"},
	{"SUSE", "sudo install -m 644 %f /etc/pki/trust/anchors/sallyport.pem\nsudo update-ca-certificates"},
	{"macOS", "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain %f"},
	{"Windows (as administrator)", "certutil -addstore -f Root %f"},
	{"Windows domain", "Group Policy: Computer Configuration, Policies, Windows Settings, Security Settings, Public Key Policies,\n"
	                   "Trusted Root Certification Authorities: import %f"},
	{"Firefox (policies.json)", "{\"policies\": {\"Certificates\": {\"ImportEnterpriseRoots\": true, \"Install\": [\"%f\"]}}}"},
	{"Chrome, Edge", "On Windows and macOS they take what the system trusts. On Linux, for the user:\n"
	                 "certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n sallyport -i %f"},
	{"Java", "keytool -importcert -noprompt -cacerts -storepass changeit -alias sallyport -file %f"},
	{"Node.js", "export NODE_EXTRA_CA_CERTS=%f"},
	{"Python requests, and others with a bundle of their own",
	 "cat /etc/ssl/certs/ca-certificates.crt %f > with-sallyport.pem\n"
	 "export REQUESTS_CA_BUNDLE=$PWD/with-sallyport.pem SSL_CERT_FILE=$PWD/with-sallyport.pem"},
	{"git", "git config --global http.sslCAInfo with-sallyport.pem    (the bundle above; not needed where the system trusts it)"},
	{"curl", "curl --cacert %f ...    (not needed where the system trusts it)"},
};

const struct ca_trust_row *ca_trust_row(size_t at)
{
	return at < COUNT_OF(rows) ? &rows[at] : NULL;
}

void ca_trust_add(const struct ca_trust_row *row, struct span file, struct buf *out)
{
	struct span rest = span_from(row->commands);

	for (;;) {
		size_t at = span_find_span(rest, SPAN("%f"));

		buf_add(out, span_first(rest, at));
		if (at == rest.len)
			return;
		buf_add(out, file);
		rest = span_skip(rest, at + 2);
	}
}
