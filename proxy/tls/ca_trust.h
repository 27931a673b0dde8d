/* SPDX-License-Identifier: Apache-2.0 */
/* How people make systems and tools trust a CA: one table for the command line and for the page /ca. */
#ifndef TLS_CA_TRUST_H
#define TLS_CA_TRUST_H

#include "base/buf.h"

struct ca_trust_row {
	const char *where;    /* "Debian, Ubuntu" */
	const char *commands; /* lines; "%f" stands for the file */
};

/* Rows, one after the other; NULL at the end. */
const struct ca_trust_row *ca_trust_row(size_t at);

/* Append the commands with the file's name in them. */
void ca_trust_add(const struct ca_trust_row *row, struct span file, struct buf *out);

#endif
