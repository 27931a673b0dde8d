/* SPDX-License-Identifier: Apache-2.0 */
/* Who issues: roots and intermediates of the image, each parsed when a chain needs it; and what was fetched from where
 * certificates say that their issuer is. What was fetched counts for certificates that name its URL alone: a stranger cannot
 * put his own before another's. */
#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "tls/trust_private.h"

enum {
	CANDIDATES_MAX = 32,      /* with the same name */
	FETCHED_MAX = 256,        /* URLs that are remembered */
	FETCHED_CERTIFICATES_MAX = 4,
	FETCHED_MAX_BYTES = 64 * 1024,
	FETCHED_GOOD_MS = 24 * 3600 * 1000,
	FETCHED_BAD_MS = 600 * 1000,
	URLS_MAX = 2,             /* of one certificate */
	URL_MAX_BYTES = 511,
	ACCESS_MAX_BYTES = 4096,  /* of the extension */
};

struct fetched {
	struct list link;         /* the last used first */
	char url[URL_MAX_BYTES + 1];
	uint64_t from_ms, until_ms;
	X509 *certificates[FETCHED_CERTIFICATES_MAX];
	size_t count;
};

struct issuers {
	const struct trust_image *image;
	X509 **parsed;            /* by place in the image */
	X509 *own;
	struct list fetched;
	size_t fetched_count;
	uint64_t version;
};

static X509 *parse(struct span der)
{
	const uint8_t *at = der.at;
	X509 *certificate = d2i_X509(NULL, &at, (long)der.len);

	if (certificate && at != der.at + der.len) {
		X509_free(certificate);
		return NULL;
	}
	return certificate;
}

enum err trust_issuers_new(const struct trust_image *image, struct issuers **out)
{
	struct issuers *issuers = calloc(1, sizeof(*issuers));

	if (issuers)
		issuers->parsed = calloc((size_t)image->header.issuers.count + 1, sizeof(X509 *));
	if (issuers == NULL || issuers->parsed == NULL) {
		free(issuers);
		return ERR_MEMORY;
	}
	issuers->image = image;
	list_init(&issuers->fetched);
	*out = issuers;
	return ERR_NONE;
}

static void forget(struct issuers *issuers, struct fetched *fetched)
{
	for (size_t i = 0; i < fetched->count; i++)
		X509_free(fetched->certificates[i]);
	list_remove(&fetched->link);
	issuers->fetched_count--;
	free(fetched);
}

void trust_issuers_free(struct issuers *issuers)
{
	if (issuers == NULL)
		return;
	LIST_EACH(&issuers->fetched, link)
		forget(issuers, LIST_ENTRY(link, struct fetched, link));
	for (size_t i = 0; i < issuers->image->header.issuers.count; i++)
		X509_free(issuers->parsed[i]);
	X509_free(issuers->own);
	free(issuers->parsed);
	free(issuers);
}

uint64_t trust_issuers_version(const struct issuers *issuers)
{
	return issuers->version;
}

X509 *trust_issuers_own(struct issuers *issuers)
{
	struct span der = trust_image_own(issuers->image);

	if (issuers->own == NULL && der.len)
		issuers->own = parse(der);
	return issuers->own;
}

/* ---- of the image ---- */

/* Walk those of the image that may have issued `certificate`; *at begins at SIZE_MAX. Borrowed. */
static X509 *next_candidate(struct issuers *issuers, X509 *certificate, enum trust_kind kind, unsigned exception, size_t *at,
                            unsigned *seen)
{
	uint32_t name_hash = trust_name_hash(X509_get_issuer_name(certificate));
	struct trust_issuer issuer;
	struct span der;

	*at = *at == SIZE_MAX ? trust_image_find(issuers->image, name_hash) : *at + 1;
	for (; *at < issuers->image->header.issuers.count && *seen < CANDIDATES_MAX; (*at)++) {
		X509 **parsed = &issuers->parsed[*at];

		if (!trust_image_issuer(issuers->image, *at, &issuer, &der) || issuer.name_hash != name_hash)
			return NULL;
		if (issuer.kind != kind || (issuer.exception && issuer.exception != exception))
			continue;
		(*seen)++;
		if (*parsed == NULL)
			*parsed = parse(der);
		if (*parsed && X509_check_issued(*parsed, certificate) == X509_V_OK)
			return *parsed;
	}
	return NULL;
}

static bool is_in_time(const X509 *certificate, time_t when)
{
	return X509_cmp_time(X509_get0_notBefore(certificate), &when) < 0 && X509_cmp_time(X509_get0_notAfter(certificate), &when) > 0;
}

X509 *trust_issuers_root_of(struct issuers *issuers, X509 *certificate, unsigned exception, time_t when)
{
	X509 *candidate, *best = NULL;
	size_t at = SIZE_MAX;
	unsigned seen = 0;

	while ((candidate = next_candidate(issuers, certificate, TRUST_KIND_ROOT, exception, &at, &seen))) {
		best = best ? best : candidate;
		if (is_in_time(candidate, when)) {
			best = candidate;
			break;
		}
	}
	if (best)
		X509_up_ref(best);
	return best;
}

/* ---- where an issuer can be had ---- */

static bool is_url(struct span text)
{
	if (text.len > URL_MAX_BYTES || text.len < 8 || !span_equal_nocase(span_first(text, 7), SPAN("http://")))
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] <= ' ' || text.at[i] > '~')
			return false;
	return true;
}

static size_t read_urls(X509 *certificate, char urls[URLS_MAX][URL_MAX_BYTES + 1])
{
	int place = X509_get_ext_by_NID(certificate, NID_info_access, -1);
	X509_EXTENSION *extension = place < 0 ? NULL : X509_get_ext(certificate, place);
	AUTHORITY_INFO_ACCESS *access;
	size_t count = 0;

	if (extension == NULL || ASN1_STRING_length(X509_EXTENSION_get_data(extension)) > ACCESS_MAX_BYTES)
		return 0;
	access = X509V3_EXT_d2i(extension);
	for (int i = 0; access && i < sk_ACCESS_DESCRIPTION_num(access) && count < URLS_MAX; i++) {
		const ACCESS_DESCRIPTION *one = sk_ACCESS_DESCRIPTION_value(access, i);
		struct span text;

		if (OBJ_obj2nid(one->method) != NID_ad_ca_issuers || one->location->type != GEN_URI)
			continue;
		text = span_of(ASN1_STRING_get0_data(one->location->d.uniformResourceIdentifier),
		               (size_t)ASN1_STRING_length(one->location->d.uniformResourceIdentifier));
		if (!is_url(text))
			continue;
		memcpy(urls[count], text.at, text.len);
		urls[count++][text.len] = '\0';
	}
	AUTHORITY_INFO_ACCESS_free(access);
	return count;
}

static struct fetched *find_fetched(struct issuers *issuers, const char *url, uint64_t wall_ms)
{
	LIST_EACH(&issuers->fetched, link) {
		struct fetched *fetched = LIST_ENTRY(link, struct fetched, link);

		if (!span_equal(span_from(fetched->url), span_from(url)))
			continue;
		if (wall_ms < fetched->from_ms || wall_ms >= fetched->until_ms) {
			forget(issuers, fetched);
			return NULL;
		}
		list_remove(&fetched->link);
		list_add_first(&issuers->fetched, &fetched->link);
		return fetched;
	}
	return NULL;
}

bool trust_issuers_url(struct issuers *issuers, X509 *certificate, uint64_t wall_ms, char *url, size_t url_bytes,
                       uint64_t *until_ms)
{
	char urls[URLS_MAX][URL_MAX_BYTES + 1];
	size_t count = read_urls(certificate, urls);

	for (size_t i = 0; i < count; i++) {
		const struct fetched *fetched = find_fetched(issuers, urls[i], wall_ms);

		if (fetched == NULL && strlen(urls[i]) < url_bytes) {
			memcpy(url, urls[i], strlen(urls[i]) + 1);
			return true;
		}
		if (fetched && fetched->until_ms < *until_ms)
			*until_ms = fetched->until_ms;
	}
	return false;
}

/* ---- what was fetched ---- */

static void keep(struct fetched *fetched, X509 *certificate)
{
	if (fetched->count == FETCHED_CERTIFICATES_MAX || trust_certificate_is_large(certificate) || X509_up_ref(certificate) != 1)
		return;
	fetched->certificates[fetched->count++] = certificate;
}

/* A certificate, or a PKCS#7 message of nothing but some (RFC 5280 section 4.2.2.1). */
static void read_fetched(struct fetched *fetched, struct span der)
{
	X509 *certificate = parse(der);
	const uint8_t *at = der.at;
	PKCS7 *message;

	if (certificate) {
		keep(fetched, certificate);
		X509_free(certificate);
		return;
	}
	message = d2i_PKCS7(NULL, &at, (long)der.len);
	if (message && PKCS7_type_is_signed(message) && message->d.sign)
		for (int i = 0; i < sk_X509_num(message->d.sign->cert); i++)
			keep(fetched, sk_X509_value(message->d.sign->cert, i));
	PKCS7_free(message);
}

void trust_issuers_add(struct issuers *issuers, const char *url, struct span der, uint64_t wall_ms)
{
	struct fetched *fetched = find_fetched(issuers, url, wall_ms);

	if (strlen(url) > URL_MAX_BYTES)
		return;
	if (fetched)
		forget(issuers, fetched);
	if (issuers->fetched_count == FETCHED_MAX)
		forget(issuers, LIST_ENTRY(issuers->fetched.previous, struct fetched, link));
	fetched = calloc(1, sizeof(*fetched));
	if (fetched == NULL)
		return;
	memcpy(fetched->url, url, strlen(url) + 1);
	if (der.len && der.len <= FETCHED_MAX_BYTES)
		read_fetched(fetched, der);
	fetched->from_ms = wall_ms;
	fetched->until_ms = wall_ms + (fetched->count ? FETCHED_GOOD_MS : FETCHED_BAD_MS);
	list_add_first(&issuers->fetched, &fetched->link);
	issuers->fetched_count++;
	issuers->version++;
}

/* ---- what the origin forgot ---- */

static bool has_issuer(STACK_OF(X509) *known, X509 *certificate)
{
	for (int i = 0; i < sk_X509_num(known); i++)
		if (X509_check_issued(sk_X509_value(known, i), certificate) == X509_V_OK)
			return true;
	return false;
}

static bool add(STACK_OF(X509) *known, X509 *certificate)
{
	for (int i = 0; i < sk_X509_num(known); i++)
		if (X509_cmp(sk_X509_value(known, i), certificate) == 0)
			return true;
	return X509_add_cert(known, certificate, X509_ADD_FLAG_UP_REF) == 1;
}

static bool add_fetched(struct issuers *issuers, STACK_OF(X509) *known, X509 *certificate, uint64_t wall_ms, unsigned *count)
{
	char urls[URLS_MAX][URL_MAX_BYTES + 1];
	size_t url_count = issuers->fetched_count ? read_urls(certificate, urls) : 0;

	for (size_t i = 0; i < url_count; i++) {
		const struct fetched *fetched = find_fetched(issuers, urls[i], wall_ms);

		for (size_t j = 0; fetched && j < fetched->count; j++) {
			if (X509_check_issued(fetched->certificates[j], certificate) != X509_V_OK)
				continue;
			(*count)++;
			if (!add(known, fetched->certificates[j]))
				return false;
			break;
		}
	}
	return true;
}

bool trust_issuers_complete(struct issuers *issuers, STACK_OF(X509) *known, unsigned exception, uint64_t wall_ms,
                            unsigned *fetched)
{
	int most = sk_X509_num(known) + TRUST_ADDED_MAX;

	for (int i = 0; i < sk_X509_num(known) && sk_X509_num(known) < most; i++) {
		X509 *certificate = sk_X509_value(known, i), *candidate;
		X509 *root = has_issuer(known, certificate)
		                     ? NULL
		                     : trust_issuers_root_of(issuers, certificate, exception, (time_t)(wall_ms / 1000));
		size_t at = SIZE_MAX;
		unsigned seen = 0;

		if (root || has_issuer(known, certificate)) {
			X509_free(root);
			continue;
		}
		while (sk_X509_num(known) < most &&
		       (candidate = next_candidate(issuers, certificate, TRUST_KIND_INTERMEDIATE, exception, &at, &seen)))
			if (!add(known, candidate))
				return false;
		if (*fetched < TRUST_FETCHED_PER_QUESTION && !has_issuer(known, certificate) &&
		    !add_fetched(issuers, known, certificate, wall_ms, fetched))
			return false;
	}
	return true;
}
