/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/trust_image.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

enum { SERIAL_MAX_BYTES = 32 }; /* RFC 5280 section 4.1.2.2: 20 */

static bool is_inside(const struct trust_image *image, const struct trust_section *section, size_t size)
{
	uint64_t left;

	if (section->at > image->bytes.len)
		return false;
	left = image->bytes.len - section->at;
	return section->count <= left / size;
}

bool trust_image_open(struct trust_image *image, const void *at, size_t bytes)
{
	struct trust_header *header = &image->header;

	*image = (struct trust_image){.bytes = span_of(at, bytes)};
	if (bytes < sizeof(*header))
		return false;
	memcpy(header, at, sizeof(*header));
	return memcmp(header->magic, TRUST_IMAGE_MAGIC, sizeof(header->magic)) == 0 && header->version == TRUST_IMAGE_VERSION &&
	       header->bytes == bytes && is_inside(image, &header->issuers, sizeof(struct trust_issuer)) &&
	       is_inside(image, &header->serials, TRUST_DIGEST_BYTES) && is_inside(image, &header->digests, TRUST_DIGEST_BYTES) &&
	       is_inside(image, &header->own, 1);
}

static void read_issuer(const struct trust_image *image, size_t at, struct trust_issuer *out)
{
	memcpy(out, image->bytes.at + image->header.issuers.at + at * sizeof(*out), sizeof(*out));
}

bool trust_image_issuer(const struct trust_image *image, size_t at, struct trust_issuer *out, struct span *der)
{
	if (at >= image->header.issuers.count)
		return false;
	read_issuer(image, at, out);
	if (out->at > image->bytes.len || out->length > image->bytes.len - out->at)
		return false;
	*der = span_of(image->bytes.at + out->at, out->length);
	return true;
}

size_t trust_image_find(const struct trust_image *image, uint32_t name_hash)
{
	size_t low = 0, high = (size_t)image->header.issuers.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct trust_issuer issuer;

		read_issuer(image, middle, &issuer);
		if (issuer.name_hash < name_hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool has(const struct trust_image *image, const struct trust_section *section, const uint8_t *digest)
{
	size_t low = 0, high = (size_t)section->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = memcmp(image->bytes.at + section->at + middle * TRUST_DIGEST_BYTES, digest, TRUST_DIGEST_BYTES);

		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool trust_image_has_serial(const struct trust_image *image, const uint8_t digest[static TRUST_DIGEST_BYTES])
{
	return has(image, &image->header.serials, digest);
}

bool trust_image_has_digest(const struct trust_image *image, const uint8_t digest[static TRUST_DIGEST_BYTES])
{
	return has(image, &image->header.digests, digest);
}

struct span trust_image_own(const struct trust_image *image)
{
	return span_of(image->bytes.at + image->header.own.at, (size_t)image->header.own.count);
}

/* ---- what is looked for ---- */

uint32_t trust_name_hash(const X509_NAME *name)
{
	int ok = 0;
	unsigned long hash = X509_NAME_hash_ex(name, NULL, NULL, &ok);

	return ok ? (uint32_t)hash : 0;
}

void trust_serial_digest(uint32_t issuer_hash, const ASN1_INTEGER *serial, uint8_t out[static TRUST_DIGEST_BYTES])
{
	struct {
		uint32_t issuer_hash;
		int32_t type, length; /* type: a negative number has its own */
		uint8_t bytes[SERIAL_MAX_BYTES];
	} text = {.issuer_hash = issuer_hash, .type = ASN1_STRING_type(serial), .length = ASN1_STRING_length(serial)};
	const uint8_t *bytes = ASN1_STRING_get0_data(serial);

	if (text.length > SERIAL_MAX_BYTES)
		SHA256(bytes, (size_t)text.length, text.bytes);
	else if (text.length > 0)
		memcpy(text.bytes, bytes, (size_t)text.length);
	SHA256((const uint8_t *)&text, sizeof(text), out);
}

static bool digest_der(uint8_t *der, int length, uint8_t *out)
{
	if (length > 0)
		SHA256(der, (size_t)length, out);
	OPENSSL_free(der);
	return length > 0;
}

bool trust_digest(X509 *certificate, uint8_t out[static TRUST_DIGEST_BYTES])
{
	uint8_t *der = NULL;
	int length = i2d_X509(certificate, &der);

	return digest_der(der, length, out);
}

bool trust_key_digest(X509 *certificate, uint8_t out[static TRUST_DIGEST_BYTES])
{
	uint8_t *der = NULL;
	int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);

	return digest_der(der, length, out);
}
