/* SPDX-License-Identifier: Apache-2.0 */
#include "net/guard.h"

#include <string.h>

/* Special-purpose networks (IANA registries, RFC 6890), by what DESIGN calls them. A row without a
 * class is never a destination: no option permits it as a class, only destinations.permit. */
static const struct row {
	const char *network;
	unsigned classes;
	const char *why;
} rows[] = {
	{"169.254.169.254/32", DESTINATION_METADATA | DESTINATION_LINK_LOCAL, "metadata"},
	{"169.254.170.2/32", DESTINATION_METADATA | DESTINATION_LINK_LOCAL, "metadata"},
	{"169.254.170.23/32", DESTINATION_METADATA | DESTINATION_LINK_LOCAL, "metadata"},
	{"100.100.100.200/32", DESTINATION_METADATA | DESTINATION_PRIVATE, "metadata"},
	{"192.0.0.192/32", DESTINATION_METADATA | DESTINATION_PRIVATE, "metadata"},
	{"fd00:ec2::23/128", DESTINATION_METADATA | DESTINATION_PRIVATE, "metadata"},
	{"fd00:ec2::254/128", DESTINATION_METADATA | DESTINATION_PRIVATE, "metadata"},
	{"168.63.129.16/32", DESTINATION_METADATA, "metadata"}, /* Azure's, in a public network */
	{"fd20:ce::254/128", DESTINATION_METADATA | DESTINATION_PRIVATE, "metadata"},
	{"0.0.0.0/8", DESTINATION_LOOPBACK, "loopback"},
	{"127.0.0.0/8", DESTINATION_LOOPBACK, "loopback"},
	{"::/128", DESTINATION_LOOPBACK, "loopback"},
	{"::1/128", DESTINATION_LOOPBACK, "loopback"},
	{"10.0.0.0/8", DESTINATION_PRIVATE, "private"},
	{"100.64.0.0/10", DESTINATION_PRIVATE, "private"},
	{"172.16.0.0/12", DESTINATION_PRIVATE, "private"},
	{"192.0.0.0/24", DESTINATION_PRIVATE, "private"},
	{"192.168.0.0/16", DESTINATION_PRIVATE, "private"},
	{"198.18.0.0/15", DESTINATION_PRIVATE, "private"},
	{"fc00::/7", DESTINATION_PRIVATE, "private"},
	{"fec0::/10", DESTINATION_PRIVATE, "private"},
	{"169.254.0.0/16", DESTINATION_LINK_LOCAL, "link-local"},
	{"fe80::/10", DESTINATION_LINK_LOCAL, "link-local"},
	{"224.0.0.0/4", DESTINATION_MULTICAST, "multicast"},
	{"255.255.255.255/32", DESTINATION_MULTICAST, "broadcast"},
	{"ff00::/8", DESTINATION_MULTICAST, "multicast"},
	{"240.0.0.0/4", DESTINATION_PRIVATE, "reserved"},
};

/* Forms of IPv6 that carry an IPv4 address, and where. */
static const struct {
	const char *network;
	uint8_t at, form; /* form 1: split, 2: inverted */
} embeddings[] = {
	{"::ffff:0:0:0/96", 12, 0},  /* SIIT (RFC 2765) */
	{"::/96", 12, 0},            /* IPv4-compatible (RFC 4291 section 2.5.5.1) */
	{"64:ff9b::/96", 12, 0},     /* NAT64 (RFC 6052) */
	{"64:ff9b:1::/48", 12, 0},   /* local-use NAT64 (RFC 8215), /96 form */
	{"64:ff9b:1::/48", 6, 1},    /* the same, /48 form: split around bits 64-71 */
	{"2002::/16", 2, 0},         /* 6to4 (RFC 3056) */
	{"2001::/32", 4, 0},         /* Teredo server (RFC 4380) */
	{"2001::/32", 12, 2},        /* Teredo client, inverted */
};

/* The tables as networks: parsed once, since every dialled address is looked up. */
static struct network row_networks[COUNT_OF(rows)], embedding_networks[COUNT_OF(embeddings)];

__attribute__((constructor)) static void parse_tables(void)
{
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		ASSERT(network_parse(span_from(rows[i].network), false, &row_networks[i]));
	for (size_t i = 0; i < COUNT_OF(embeddings); i++)
		ASSERT(network_parse(span_from(embeddings[i].network), false,
		                     &embedding_networks[i]));
}

static const char *why_denied(unsigned deny, const struct address *to)
{
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if ((rows[i].classes & deny) && network_has(&row_networks[i], to))
			return rows[i].why;
	return NULL;
}

static struct address embedded_address(const struct address *to, uint8_t at, uint8_t form)
{
	struct address inner = {.family = AF_INET, .port = to->port};

	memcpy(inner.bytes, to->bytes + at, 4);
	if (form == 1) { /* RFC 6052 section 2.2: bits 48-63, then 72-87 */
		inner.bytes[2] = to->bytes[9];
		inner.bytes[3] = to->bytes[10];
	}
	for (size_t i = 0; form == 2 && i < 4; i++)
		inner.bytes[i] = (uint8_t)~inner.bytes[i];
	return inner;
}

static const char *why_embedded_denied(unsigned deny, const struct address *to)
{
	for (size_t i = 0; to->family == AF_INET6 && i < COUNT_OF(embeddings); i++) {
		struct address inner;
		const char *why;

		if (!network_has(&embedding_networks[i], to))
			continue;
		inner = embedded_address(to, embeddings[i].at, embeddings[i].form);
		why = why_denied(deny, &inner);
		if (why)
			return why;
	}
	return NULL;
}

static const char ourselves[] = "the proxy itself";

enum reason guard_reason(const char *why)
{
	return why == ourselves ? REASON_OWN_ADDRESS : REASON_GUARD;
}

static bool is_unspecified(const struct address *address)
{
	static const uint8_t zeros[sizeof(address->bytes)];

	return memcmp(address->bytes, zeros, sizeof(zeros)) == 0;
}

/* Is a listener on `own` reached by `to`? A host answers on all of 127.0.0.0/8, and who dials the
 * unspecified address reaches it, too. */
static bool is_own(const struct address *own, const struct address *to)
{
	if (own->port != to->port)
		return false;
	return is_unspecified(to) || address_equal(own, to) ||
	       (is_unspecified(own) && own->family == AF_INET && to->family == AF_INET &&
	        to->bytes[0] == 127);
}

bool guard_allows(const struct destinations_conf *conf, const struct address *own, size_t own_count,
                  const struct address *to, const char **why)
{
	struct address plain = address_unmapped(to);

	for (size_t i = 0; i < own_count; i++) {
		if (is_own(&own[i], &plain)) {
			*why = ourselves;
			return false;
		}
	}
	for (size_t i = 0; i < conf->permit.count; i++)
		if (network_has(&conf->permit.at[i], &plain))
			return true;
	*why = why_denied(conf->deny, &plain);
	if (*why == NULL)
		*why = why_embedded_denied(conf->deny, &plain);
	return *why == NULL;
}

/* Do two networks have an address in common? Ports are not looked at. */
static bool overlap(const struct network *a, const struct network *b)
{
	const struct network *wide = a->prefix_len <= b->prefix_len ? a : b, *narrow = wide == a ? b : a;
	struct network every_port = *wide;

	every_port.port_first = every_port.port_last = 0;
	return network_has(&every_port, &narrow->base);
}

bool guard_denies_network(const struct destinations_conf *conf, const struct network *network, const char **why)
{
	for (size_t i = 0; i < conf->permit.count; i++)
		if (overlap(&conf->permit.at[i], network))
			return false;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (!(rows[i].classes & conf->deny) || row_networks[i].prefix_len > network->prefix_len ||
		    !network_has(&row_networks[i], &network->base))
			continue;
		*why = rows[i].why;
		return true;
	}
	return false;
}
