/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net_conf.h"

/* RFC 2474 (CS), 2597 (AF), 3246 (EF), 5865 (VA), 8622 (LE). */
static const struct {
	const char *name;
	uint8_t dscp;
} dscp_names[] = {
	{"none", CLASS_DSCP_NONE},
	{"cs0", 0}, {"cs1", 8}, {"cs2", 16}, {"cs3", 24}, {"cs4", 32}, {"cs5", 40}, {"cs6", 48}, {"cs7", 56},
	{"af11", 10}, {"af12", 12}, {"af13", 14}, {"af21", 18}, {"af22", 20}, {"af23", 22},
	{"af31", 26}, {"af32", 28}, {"af33", 30}, {"af41", 34}, {"af42", 36}, {"af43", 38},
	{"ef", 46}, {"va", 44}, {"le", 1},
};

static void parse_dscp(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	uint64_t *dscp = at;

	*dscp = CLASS_DSCP_NONE;
	if (node == NULL)
		return;
	for (size_t i = 0; i < COUNT_OF(dscp_names); i++) {
		if (span_equal(node->text, span_from(dscp_names[i].name))) {
			*dscp = dscp_names[i].dscp;
			return;
		}
	}
	if (!span_to_uint(node->text, CLASS_DSCP_MAX, dscp))
		conf_problem(loading, PROBLEM_ERROR, node,
		             "dscp: \"%.*s\" is none; write none, a number from 0 to 63, or ef, va, le, af11 to af43, cs0 to cs7",
		             SPAN_ARG(span_first(node->text, 40)));
}

#define DSCP(type_, text) \
	{.name = "dscp", .type = CONF_PARSED, .offset = CONF_AT(type_, dscp), .preset = "none", \
	 .reload = CONF_NEW_SESSIONS, .parse = parse_dscp, .type_text = "none, ef, af41, le, ... or a number", .manual = text}

static const struct conf_option media_options[] = {
	DSCP(struct media_conf, "Mark of its packets, to the client and to the origin (RFC 2474), such as ef or af41; none leaves them as the system has it. Ask who runs the network what it honours."),
	{.name = "unsent", .type = CONF_SIZE_BYTES, .offset = CONF_AT(struct media_conf, unsent_bytes),
	 .min = 2048, .max = 1048576, .preset = "16K", .reload = CONF_NEW_SESSIONS,
	 .manual = "Bytes that may wait to be sent (TCP_NOTSENT_LOWAT). What waits is late: so the sender feels that the path is full, and nothing is stored here."},
	{.name = "buffer", .type = CONF_SIZE_BYTES, .offset = CONF_AT(struct media_conf, buffer_bytes),
	 .min = 16384, .max = 8388608, .preset = "256K", .reload = CONF_NEW_SESSIONS,
	 .manual = "Send and receive buffers of its sockets, with what is on its way. 256K is 10 Mbit/s over 200 ms."},
	{.name = "dead_after", .type = CONF_TIME_MS, .offset = CONF_AT(struct media_conf, dead_after_ms),
	 .min = 2000, .max = 600000, .preset = "10s", .reload = CONF_NEW_SESSIONS,
	 .manual = "A path on which nothing is acknowledged for so long is dead (TCP_USER_TIMEOUT), and a silent one is asked after half of it (keep-alive)."},
	{.name = "stall", .type = CONF_TIME_MS, .offset = CONF_AT(struct media_conf, stall_ms),
	 .min = 10, .max = 10000, .preset = "40ms", .reload = CONF_NEW_SESSIONS,
	 .manual = "A longer gap between packets of one direction counts as a stall in log and metrics; one of 5 s and more is a pause (hold, mute)."},
	{.name = "most", .type = CONF_SIZE_BYTES, .offset = CONF_AT(struct media_conf, most_bytes),
	 .min = 0, .max = 1073741824, .preset = "4M", .reload = CONF_NEW_SESSIONS,
	 .manual = "Bytes per second: a tunnel that was taken for media by its shape (class: auto) and moves more is none, and becomes bulk; 0: whatever it moves. A rule's class: media always holds."},
	{.name = "per_client", .type = CONF_COUNT, .offset = CONF_AT(struct media_conf, per_client_count),
	 .min = 0, .max = 1000000, .preset = "16", .reload = CONF_NEW_SESSIONS,
	 .manual = "Tunnels of one client address (of IPv6: one /64) that are media by their shape (class: auto) at a time, in all workers together; more of them stay normal, within their rate limits, and are told of (event media_too_many). 0: any number. Raise it where many people come from one address. A rule's class: media is not counted. Clients of a UNIX socket have no address."},
	CONF_END};

static const struct conf_option normal_options[] = {
	DSCP(struct normal_conf, "Mark of its packets, as for media."),
	CONF_END};

static const struct conf_option bulk_options[] = {
	DSCP(struct bulk_conf, "Mark of packets of tunnels that are bulk by a rule, as for media; le (RFC 8622) is for what may wait. What becomes bulk later is not marked."),
	{.name = "above", .type = CONF_SIZE_BYTES, .offset = CONF_AT(struct bulk_conf, above_bytes),
	 .min = 0, .max = 1ull << 40, .preset = "4M", .reload = CONF_NEW_SESSIONS,
	 .manual = "Bytes per second, both directions: a tunnel that moves more is served as bulk until it moves less than half of it; 0: only rules make bulk."},
	{.name = "slice", .type = CONF_SIZE_BYTES, .offset = CONF_AT(struct bulk_conf, slice_bytes),
	 .min = 4096, .max = 1048576, .preset = "32K", .reload = CONF_LIVE,
	 .manual = "Bytes of anything else that are moved at once while media lives, before media is looked at again. Less is better for calls, and costs throughput; without media it has no effect."},
	CONF_END};

const struct conf_option classes_options[] = {
	{.name = "media", .type = CONF_GROUP, .offset = CONF_AT(struct classes_conf, media), .group = media_options,
	 .manual = "Calls and meetings (RTP over TCP): served before everything else."},
	{.name = "normal", .type = CONF_GROUP, .offset = CONF_AT(struct classes_conf, normal), .group = normal_options,
	 .manual = "What is neither of the others."},
	{.name = "bulk", .type = CONF_GROUP, .offset = CONF_AT(struct classes_conf, bulk), .group = bulk_options,
	 .manual = "What may wait: served after everything else, and never not at all."},
	CONF_END};
