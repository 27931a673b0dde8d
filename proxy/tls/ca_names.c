/* SPDX-License-Identifier: Apache-2.0 */
/* Name constraints (RFC 5280 section 4.2.1.10): the verdict is OpenSSL's, the words are ours. */
#include <openssl/err.h>
#include <string.h>

#include "tls/ca.h"

/* ---- as text ---- */

/* Of a mask; -1 where its bits are no prefix. */
static int prefix_len(const uint8_t *mask, size_t len)
{
	size_t bits = 0, all = len * 8;

	while (bits < all && mask[bits / 8] >> (7 - bits % 8) & 1)
		bits++;
	for (size_t i = bits; i < all; i++)
		if (mask[i / 8] >> (7 - i % 8) & 1)
			return -1;
	return (int)bits;
}

static void add_network(const ASN1_OCTET_STRING *ip, struct address *base, struct buf *out)
{
	const uint8_t *at = ASN1_STRING_get0_data(ip);
	size_t len = (size_t)ASN1_STRING_length(ip) / 2;
	struct address mask = {.family = len == 4 ? AF_INET : AF_INET6};
	int prefix;

	if ((size_t)ASN1_STRING_length(ip) != 2 * len || (len != 4 && len != 16)) {
		buf_add_string(out, "an address of a strange length");
		return;
	}
	base->family = mask.family;
	memcpy(base->bytes, at, len);
	memcpy(mask.bytes, at + len, len);
	prefix = prefix_len(at + len, len);
	address_format(base, out);
	buf_add_byte(out, '/');
	if (prefix >= 0)
		buf_printf(out, "%d", prefix);
	else
		address_format(&mask, out);
}

static void add_subtree(const GENERAL_NAME *name, struct address *base, struct buf *out)
{
	int type;
	const void *value = GENERAL_NAME_get0_value(name, &type);

	*base = (struct address){.family = 0};
	switch (type) {
	case GEN_DNS:
	case GEN_EMAIL:
	case GEN_URI: {
		const ASN1_STRING *text = value;
		struct span name_of = span_of(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));

		buf_printf(out, "%s", type == GEN_EMAIL ? "email:" : type == GEN_URI ? "URI:" : "");
		buf_add(out, name_of.len ? name_of : SPAN("(every name)"));
		break;
	}
	case GEN_IPADD:
		add_network(value, base, out);
		break;
	case GEN_DIRNAME:
		buf_add_string(out, "name:");
		ca_add_name(value, out);
		break;
	default:
		buf_printf(out, "a name of type %d", type);
	}
}

/* ---- all of them ---- */

static void each_of(const NAME_CONSTRAINTS *constraints, bool excluded, ca_constraint *each, void *context)
{
	STACK_OF(GENERAL_SUBTREE) *trees = excluded ? constraints->excludedSubtrees : constraints->permittedSubtrees;
	struct address base;
	struct buf text;

	buf_init(&text, 4096);
	for (int i = 0; i < sk_GENERAL_SUBTREE_num(trees); i++) {
		buf_reset(&text);
		add_subtree(sk_GENERAL_SUBTREE_value(trees, i)->base, &base, &text);
		each(context, excluded, buf_span(&text), &base);
	}
	buf_fini(&text);
}

void ca_each_constraint(const struct ca *ca, ca_constraint *each, void *context)
{
	for (int i = 0; i < sk_X509_num(ca->all); i++) {
		NAME_CONSTRAINTS *constraints = X509_get_ext_d2i(sk_X509_value(ca->all, i), NID_name_constraints, NULL, NULL);

		if (constraints) {
			each_of(constraints, false, each, context);
			each_of(constraints, true, each, context);
		}
		NAME_CONSTRAINTS_free(constraints);
	}
	ERR_clear_error();
}

/* ---- may it sign this? ---- */

/* The subtree that does it: each alone. */
static void name_excluded(const NAME_CONSTRAINTS *constraints, X509 *certificate, struct buf *why)
{
	for (int i = 0; i < sk_GENERAL_SUBTREE_num(constraints->excludedSubtrees); i++) {
		STACK_OF(GENERAL_SUBTREE) *one = sk_GENERAL_SUBTREE_new_null();
		NAME_CONSTRAINTS alone = {.excludedSubtrees = one};
		struct address base;
		int verdict = X509_V_OK;

		if (one && sk_GENERAL_SUBTREE_push(one, sk_GENERAL_SUBTREE_value(constraints->excludedSubtrees, i)) > 0)
			verdict = NAME_CONSTRAINTS_check(certificate, &alone);
		sk_GENERAL_SUBTREE_free(one);
		if (verdict == X509_V_OK)
			continue;
		add_subtree(sk_GENERAL_SUBTREE_value(constraints->excludedSubtrees, i)->base, &base, why);
		return;
	}
}

static void name_permitted(const NAME_CONSTRAINTS *constraints, struct buf *why)
{
	struct address base;

	for (int i = 0; i < sk_GENERAL_SUBTREE_num(constraints->permittedSubtrees); i++) {
		buf_add_string(why, i ? ", " : "");
		add_subtree(sk_GENERAL_SUBTREE_value(constraints->permittedSubtrees, i)->base, &base, why);
	}
}

static bool is_excluded_by(X509 *issuer, X509 *certificate, struct buf *why)
{
	NAME_CONSTRAINTS *constraints = X509_get_ext_d2i(issuer, NID_name_constraints, NULL, NULL);
	int verdict = constraints ? NAME_CONSTRAINTS_check(certificate, constraints) : X509_V_OK;

	if (verdict == X509_V_ERR_EXCLUDED_VIOLATION) {
		buf_add_string(why, "the CA's name constraints exclude ");
		name_excluded(constraints, certificate, why);
	} else if (verdict == X509_V_ERR_PERMITTED_VIOLATION) {
		buf_add_string(why, "the CA's name constraints permit only ");
		name_permitted(constraints, why);
	} else if (verdict != X509_V_OK) {
		buf_printf(why, "the CA's name constraints: %s", X509_verify_cert_error_string(verdict));
	}
	NAME_CONSTRAINTS_free(constraints);
	return verdict != X509_V_OK;
}

bool ca_excludes(const struct ca *ca, X509 *certificate, struct buf *why)
{
	bool excludes = false;

	/* Only then is it known what names it has. */
	if (ca->is_constrained && X509_check_purpose(certificate, -1, 0) != 1) {
		ERR_clear_error();
		return true;
	}
	for (int i = 0; ca->is_constrained && !excludes && i < sk_X509_num(ca->all); i++)
		excludes = is_excluded_by(sk_X509_value(ca->all, i), certificate, why);
	ERR_clear_error();
	return excludes;
}
