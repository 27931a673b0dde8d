/* SPDX-License-Identifier: Apache-2.0 */
/* The options of this folder: how TLS is opened. Types here, rows in tls_conf.c. Which hosts are opened is policy's. */
#ifndef TLS_TLS_CONF_H
#define TLS_TLS_CONF_H

#include "conf/conf.h"

/* inspection.ca: */
struct ca_conf {
	const char *certificate; /* PEM: the CA, then what stands between it and the root that clients trust; "": none */
	const char *key;         /* PEM */
	const char *organization; /* O of leaves */
};

/* one of inspection.exceptions: origins that would be refused otherwise */
struct exception_conf {
	struct conf_texts to;    /* name, *.name, .name, or address */
	int least_version;       /* TLS1_VERSION ...: from here on */
	bool legacy;             /* old ciphers, SHA-1 signatures, small keys, no renegotiation_info */
	struct conf_texts trust; /* files of roots that count for it alone, beside inspection.trust */
	struct conf_texts pins;  /* "sha256:HEX" of the certificate: this one and no other, whoever issued it */
};

/* inspection: */
struct inspection_conf {
	struct ca_conf ca;
	struct conf_texts trust;         /* "system", and paths (made absolute) */
	struct conf_texts intermediates; /* paths: certificates that origins forget to send */
	struct conf_texts revocations;   /* paths: CRLs (PEM), and lines "sha256:HEX" of certificates */
	struct conf_groups exceptions;   /* of struct exception_conf, the first that matches */
	bool aia;                        /* fetch what origins forget to send (RFC 5280 section 4.2.2.1) */
	uint64_t leaf_ms;                /* validity of leaves */
	uint64_t leaf_count;             /* that the signer remembers */
	uint64_t ticket_ms;              /* a ticket key is used so long, and known once more as long */
	uint64_t session_count;          /* TLS sessions of origins that each worker remembers */
	const char *secrets;             /* SSLKEYLOGFILE format, for a packet analyser; "": never */
};

extern const struct conf_option inspection_options[];

/* A conf_check_fn over all of struct inspection_conf. */
conf_check_fn inspection_check;

/* Has it a CA: can anything be opened? */
bool inspection_is_on(const struct inspection_conf *conf);

#endif
