/* SPDX-License-Identifier: Apache-2.0 */
/* Which addresses may be dialled, in every form in which one can be written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/guard.h"

enum { DENY_ALL = 31 };

static struct address address(const char *text, uint16_t port)
{
	struct address out = {0};

	if (!address_parse(span_from(text), &out))
		fail_msg("%s is no address", text);
	out.port = port;
	return out;
}

static struct conf_networks networks(struct network room[static 8], const char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_true(network_parse(span_from(texts[i]), true, &room[i]));
	return (struct conf_networks){room, count};
}

static void every_form_of_an_address_is_known(void **state)
{
	static const struct {
		const char *text;
		const char *why; /* NULL: allowed */
	} rows[] = {
		{"192.0.2.1", NULL},
		{"8.8.8.8", NULL},
		{"2001:4860:4860::8888", NULL},
		{"172.15.255.255", NULL},
		{"172.32.0.0", NULL},
		{"100.128.0.1", NULL},
		{"169.253.255.255", NULL},
		{"223.255.255.255", NULL},
		{"10.0.0.1", "private"},
		{"172.16.0.1", "private"},
		{"172.31.255.255", "private"},
		{"192.168.255.255", "private"},
		{"100.64.0.1", "private"},
		{"100.127.255.255", "private"},
		{"198.18.0.1", "private"},
		{"fc00::1", "private"},
		{"fdff::1", "private"},
		{"240.0.0.1", "reserved"},
		{"0.0.0.0", "loopback"},
		{"0.1.2.3", "loopback"},
		{"127.0.0.1", "loopback"},
		{"127.255.255.255", "loopback"},
		{"::", "loopback"},
		{"::1", "loopback"},
		{"169.254.0.1", "link-local"},
		{"fe80::1", "link-local"},
		{"febf::1", "link-local"},
		{"224.0.0.1", "multicast"},
		{"239.255.255.255", "multicast"},
		{"ff02::1", "multicast"},
		{"255.255.255.255", "broadcast"},
		{"169.254.169.254", "metadata"},
		{"169.254.170.2", "metadata"},
		{"169.254.170.23", "metadata"},
		{"100.100.100.200", "metadata"},
		{"168.63.129.16", "metadata"},
		{"168.63.129.17", NULL},
		{"::ffff:168.63.129.16", "metadata"},
		{"fd00:ec2::23", "metadata"},
		{"fd00:ec2::254", "metadata"},
		{"::ffff:10.0.0.1", "private"},
		{"::ffff:127.0.0.1", "loopback"},
		{"::ffff:169.254.169.254", "metadata"},
		{"::ffff:8.8.8.8", NULL},
		{"::ffff:0:10.0.0.1", "private"},
		{"::10.0.0.1", "private"},
		{"::8.8.8.8", NULL},
		{"64:ff9b::10.0.0.1", "private"},
		{"64:ff9b::169.254.169.254", "metadata"},
		{"64:ff9b::8.8.8.8", NULL},
		{"64:ff9b:1::10.0.0.1", "private"},
		{"64:ff9b:1:a00:0:100:808:808", "private"}, /* the /48 form of 10.0.0.1 */
		{"2002:a00:1::", "private"},
		{"2002:7f00:1::1", "loopback"},
		{"2002:808:808::1", NULL},
		{"2001:0:a00:1::f7f7:f7f7", "private"},             /* Teredo: the server */
		{"2001:0:808:808:0:0:f5ff:fffe", "private"},        /* Teredo: the client, inverted */
		{"2001:0:808:808:0:0:f7f7:f7f7", NULL},
	};
	struct destinations_conf conf = {.deny = DENY_ALL};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct address to = address(rows[i].text, 443);
		const char *why = NULL;
		bool allowed = guard_allows(&conf, NULL, 0, &to, &why);

		if (allowed != (rows[i].why == NULL))
			fail_msg("%s: %s", rows[i].text, allowed ? "allowed" : why);
		if (!allowed && strcmp(why, rows[i].why) != 0)
			fail_msg("%s: %s", rows[i].text, why);
	}
}

/* A network is denied as a whole, or some of it may be dialled. */
static void networks_are_denied_as_a_whole(void **state)
{
	static const char *const permitted[] = {"10.9.0.0/16:443"};
	static const struct {
		const char *text, *why; /* NULL: some address of it may be dialled */
	} rows[] = {
		{"10.1.0.0/16", "private"}, {"10.0.0.0/8", NULL}, {"10.9.1.0/24", NULL}, {"8.0.0.0/6", NULL},
		{"127.0.0.1", "loopback"}, {"169.254.169.254", "metadata"}, {"192.0.2.0/24", NULL}, {"0.0.0.0/0", NULL},
		{"224.0.0.0/4", NULL}, {"fc00::/7", "private"}, {"fe80::/10", "link-local"}, {"::/0", NULL},
	};
	struct network room[8];
	struct destinations_conf conf = {
		.deny = DESTINATION_PRIVATE | DESTINATION_LOOPBACK | DESTINATION_LINK_LOCAL | DESTINATION_METADATA,
		.permit = networks(room, permitted, COUNT_OF(permitted)),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct network network;
		const char *why = NULL;

		assert_true(network_parse(span_from(rows[i].text), false, &network));
		if (guard_denies_network(&conf, &network, &why) != (rows[i].why != NULL) ||
		    (why && strcmp(why, rows[i].why) != 0))
			fail_msg("%s: %s", rows[i].text, why ? why : "not denied");
	}
}

static void only_named_classes_are_denied(void **state)
{
	static const struct {
		unsigned deny;
		const char *text;
		bool allowed;
	} rows[] = {
		{0, "127.0.0.1", true},
		{0, "169.254.169.254", true},
		{DESTINATION_PRIVATE, "10.0.0.1", false},
		{DESTINATION_PRIVATE, "127.0.0.1", true},
		{DESTINATION_LOOPBACK, "127.0.0.1", false},
		{DESTINATION_LOOPBACK, "64:ff9b::127.0.0.1", false},
		{DESTINATION_LOOPBACK, "10.0.0.1", true},
		{DESTINATION_METADATA, "169.254.169.254", false},
		{DESTINATION_METADATA, "169.254.1.1", true},
		{DESTINATION_LINK_LOCAL, "169.254.169.254", false},
		{DESTINATION_MULTICAST, "224.0.0.1", false},
		{DESTINATION_MULTICAST, "ff02::1", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct destinations_conf conf = {.deny = rows[i].deny};
		struct address to = address(rows[i].text, 443);
		const char *why = NULL;

		if (guard_allows(&conf, NULL, 0, &to, &why) != rows[i].allowed)
			fail_msg("%u and %s", rows[i].deny, rows[i].text);
	}
}

static void exceptions_have_networks_and_ports(void **state)
{
	static const char *const permits[] = {"10.1.0.0/16", "10.2.0.0/16:443", "10.3.0.0/16:8000-8100",
	                                      "[fd00:1::]/32:443", "127.0.0.1:8080"};
	static const struct {
		const char *text;
		uint16_t port;
		bool allowed;
	} rows[] = {
		{"10.1.2.3", 1, true},
		{"10.2.2.3", 443, true},
		{"10.2.2.3", 444, false},
		{"10.3.2.3", 8000, true},
		{"10.3.2.3", 8101, false},
		{"10.4.2.3", 443, false},
		{"fd00:1::1", 443, true},
		{"fd00:1::1", 444, false},
		{"fd00:2::1", 443, false},
		{"127.0.0.1", 8080, true},
		{"127.0.0.2", 8080, false},
		{"::ffff:10.1.2.3", 443, true},
		{"64:ff9b::10.1.2.3", 443, false}, /* another way to it was not permitted */
		{"8.8.8.8", 1, true},
	};
	struct network room[8];
	struct destinations_conf conf = {.deny = DENY_ALL};

	(void)state;
	conf.permit = networks(room, permits, COUNT_OF(permits));
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct address to = address(rows[i].text, rows[i].port);
		const char *why = NULL;

		if (guard_allows(&conf, NULL, 0, &to, &why) != rows[i].allowed)
			fail_msg("%s port %u", rows[i].text, rows[i].port);
		if (!rows[i].allowed)
			assert_int_equal(guard_reason(why), REASON_GUARD);
	}
}

/* Fail unless it is so, with nothing denied and everything permitted. */
static bool is_ourselves(const char *text, uint16_t port)
{
	static const char *const permits[] = {"0.0.0.0/0", "[::]/0"};
	struct address own[] = {address("192.0.2.5", 3128), address("127.0.0.1", 8088),
	                        address("2001:db8::5", 3128)};
	struct address to = address(text, port);
	struct destinations_conf conf = {.deny = 0};
	struct network room[8];
	const char *why = NULL;

	conf.permit = networks(room, permits, COUNT_OF(permits));
	if (guard_allows(&conf, own, COUNT_OF(own), &to, &why))
		return false;
	assert_string_equal(why, "the proxy itself");
	assert_int_equal(guard_reason(why), REASON_OWN_ADDRESS);
	return true;
}

static void our_own_listeners_are_always_denied(void **state)
{
	(void)state;
	assert_true(is_ourselves("192.0.2.5", 3128));
	assert_true(is_ourselves("::ffff:192.0.2.5", 3128));
	assert_true(is_ourselves("127.0.0.1", 8088));
	assert_true(is_ourselves("2001:db8::5", 3128));
	assert_false(is_ourselves("192.0.2.5", 443));
	assert_false(is_ourselves("192.0.2.6", 3128));
	assert_false(is_ourselves("127.0.0.1", 3128));
}

/* Linux takes the unspecified address for this host: it leads to our listener on 127.0.0.1. */
static void the_unspecified_address_is_this_host(void **state)
{
	(void)state;
	assert_true(is_ourselves("0.0.0.0", 8088));
	assert_true(is_ourselves("::", 8088));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_of_an_address_is_known),
		cmocka_unit_test(networks_are_denied_as_a_whole),
		cmocka_unit_test(only_named_classes_are_denied),
		cmocka_unit_test(exceptions_have_networks_and_ports),
		cmocka_unit_test(our_own_listeners_are_always_denied),
		cmocka_unit_test(the_unspecified_address_is_this_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
