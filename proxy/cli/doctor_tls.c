/* SPDX-License-Identifier: Apache-2.0 */
/* TLS as an app has it: with the name, and with a certificate that is looked at as the proxy looks at origins'. Whoever opens
 * TLS on the way is found by that. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/doctor.h"

static bool open_trust(struct doctor *doctor)
{
	size_t image_bytes = 0;
	struct problems problems;
	bool well;

	doctor->inspection = doctor->settings->inspection;
	/* It only tells whether it was us who signed; who may not read it does without. */
	if (doctor->inspection.ca.certificate[0] && access(doctor->inspection.ca.certificate, R_OK) != 0)
		doctor->inspection.ca.certificate = "";
	problems_init(&problems);
	well = trust_build(&doctor->inspection, "inspection", &problems, &doctor->trust_image, &image_bytes) == ERR_NONE &&
	       trust_open(doctor->trust_image, image_bytes, &doctor->inspection, &doctor->trust) == ERR_NONE;
	if (!well)
		command_print_problems(&problems);
	problems_fini(&problems);
	return well;
}

bool doctor_tls_init(struct doctor *doctor)
{
	static const unsigned char alpn[] = "\x08http/1.1";

	if (!open_trust(doctor))
		return false;
	doctor->tls = SSL_CTX_new(TLS_client_method());
	if (doctor->tls && SSL_CTX_set_min_proto_version(doctor->tls, TLS1_2_VERSION) == 1 &&
	    SSL_CTX_set_alpn_protos(doctor->tls, alpn, sizeof(alpn) - 1) == 0) {
		/* Verified when it stands, before a byte goes out: with words for people. */
		SSL_CTX_set_verify(doctor->tls, SSL_VERIFY_NONE, NULL);
		SSL_CTX_set_options(doctor->tls, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
		return true;
	}
	command_complain("doctor: OpenSSL cannot be used");
	return false;
}

void doctor_tls_fini(struct doctor *doctor)
{
	SSL_CTX_free(doctor->tls);
	trust_unref(doctor->trust);
	free(doctor->trust_image);
}

void doctor_tls_start(struct doctor_probe *probe)
{
	SSL *ssl = SSL_new(probe->doctor->tls);
	char name[256];
	bool well = ssl != NULL;

	if (well && probe->host.address.family == 0) {
		snprintf(name, sizeof(name), "%.*s", SPAN_ARG(probe->host.name));
		well = SSL_set_tlsext_host_name(ssl, name) == 1;
	}
	if (well) {
		SSL_set_tlsext_status_type(ssl, TLSEXT_STATUSTYPE_ocsp);
		SSL_set_connect_state(ssl);
		well = tls_stream_start(&probe->stream, ssl, buf_span(&probe->in)) == ERR_NONE;
	} else {
		SSL_free(ssl);
	}
	if (!well) {
		ERR_clear_error();
		doctor_probe_end(probe, DOCTOR_RESULT_NO_TLS, "no memory for TLS");
	}
	buf_reset(&probe->in);
}

/* ---- the certificate ---- */

/* O and CN, or what there is. */
static void read_issuer(struct doctor_probe *probe, X509 *leaf)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	long len;

	if (bio == NULL)
		return;
	X509_NAME_print_ex(bio, X509_get_issuer_name(leaf), 0, ASN1_STRFLGS_ESC_CTRL | XN_FLAG_SEP_CPLUS_SPC | XN_FLAG_FN_SN);
	len = BIO_get_mem_data(bio, &text);
	for (long i = 0; i < len && i < (long)sizeof(probe->issuer) - 1; i++)
		probe->issuer[i] = (char)(text[i] < ' ' || text[i] > '~' ? '?' : text[i]);
	BIO_free(bio);
}

static void ask_trust(struct doctor_probe *probe, SSL *ssl, X509 *leaf, struct trust_verdict *verdict)
{
	const unsigned char *ocsp = NULL;
	long ocsp_bytes = SSL_get_tlsext_status_ocsp_resp(ssl, &ocsp);
	struct trust_question question = {
		.leaf = leaf,
		.chain = SSL_get_peer_cert_chain(ssl),
		.ocsp = span_of(ocsp, ocsp_bytes > 0 ? (size_t)ocsp_bytes : 0),
		.host = probe->host.name,
		.address = probe->host.address,
		.wall_ms = clock_wall_ms(),
	};

	*verdict = (struct trust_verdict){.state = TRUST_BAD};
	trust_verify(probe->doctor->trust, &question, verdict);
}

static void not_trusted(struct doctor_probe *probe, const struct trust_verdict *verdict)
{
	probe->fault = verdict->fault;
	if (verdict->state == TRUST_NEEDS_ISSUER)
		doctor_probe_end(probe, DOCTOR_RESULT_NOT_TRUSTED,
		                 "the server forgets to send who issued its certificate (%s); some apps fetch it, others fail",
		                 probe->issuer);
	else if (verdict->fault == TRUST_FAULT_OWN_CA)
		doctor_probe_end(probe, DOCTOR_RESULT_NOT_TRUSTED, "opened by this proxy: the certificate is of its own CA (%s)",
		                 probe->issuer);
	else if (verdict->fault == TRUST_FAULT_UNKNOWN_ISSUER || verdict->fault == TRUST_FAULT_SELF_SIGNED)
		doctor_probe_end(probe, DOCTOR_RESULT_NOT_TRUSTED, "the certificate is issued by %s, whom nobody trusts here",
		                 probe->issuer);
	else
		doctor_probe_end(probe, DOCTOR_RESULT_NOT_TRUSTED, "%s", verdict->detail);
}

static bool is_good(struct doctor_probe *probe)
{
	SSL *ssl = tls_stream_ssl(&probe->stream);
	X509 *leaf = SSL_get0_peer_certificate(ssl);
	struct trust_verdict verdict;

	if (leaf == NULL) {
		doctor_probe_end(probe, DOCTOR_RESULT_NO_TLS, "it shows no certificate");
		return false;
	}
	read_issuer(probe, leaf);
	ask_trust(probe, ssl, leaf, &verdict);
	if (verdict.state == TRUST_GOOD)
		return true;
	not_trusted(probe, &verdict);
	return false;
}

bool doctor_tls_shake(struct doctor_probe *probe)
{
	enum tls_step step = tls_stream_handshake(&probe->stream);
	struct tls_failure failure;

	if (step == TLS_WAIT)
		return false;
	if (step == TLS_DONE)
		return is_good(probe);
	failure = tls_stream_failure(&probe->stream);
	if (failure.alert >= 0)
		doctor_probe_end(probe, DOCTOR_RESULT_NO_TLS, "the other side ends the handshake: %s",
		                 SSL_alert_desc_string_long(failure.alert));
	else if (failure.is_closed)
		doctor_probe_end(probe, DOCTOR_RESULT_NO_TLS, "connects, and is closed %s",
		                 failure.got_bytes ? "in the handshake" : "at the ClientHello");
	else
		doctor_probe_end(probe, DOCTOR_RESULT_NO_TLS, "what answers speaks no TLS: %s", failure.text);
	return false;
}
