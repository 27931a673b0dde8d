/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile image: raw bytes (first byte 0), or a good image with bytes changed (offset: 3 bytes,
 * value: 1). If it opens, deciding with it must stay inside of it. */
#include "../unit/policy_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char policy_text[] =
	"lists: {a: a.list}\n"
	"rules:\n"
	"- {name: one, when: {to: [a, '*.b.example', '*x*.c.example', '/^d\\d$/', 10.0.0.0/8, '[2001:db8::]/32'],\n"
	"   port: [443, 8000-8100], from: 192.0.2.0/24, listener: office, method: CONNECT, time: mon-fri},\n"
	"   then: {access: allow, tls: bypass, class: media}}\n"
	"- {name: two, when: {to: a, resolved: true, user: jane, group: staff, sni: a, url: ['http://a/', '/x$/']},\n"
	"   then: {access: deny, log: brief}}\n"
	"- {name: three, then: {route: {source: 192.0.2.7}}}\n"
	"defaults: {access: allow, ports: [80, 443]}\n";

struct image_copy {
	uint8_t *at;
	size_t len;
};

/* The good image, compiled once. */
static struct image_copy good(void)
{
	static struct image_copy copy;
	struct policy_rig rig;

	if (copy.at)
		return copy;
	policy_rig_make(&rig, policy_text,
	                "a.example ports=443\n*.a.example expires=2099-01-01\n.e.example\n172.16.0.0/12\n", NULL);
	ASSERT(rig.err == ERR_NONE);
	copy = (struct image_copy){malloc(rig.image_bytes), rig.image_bytes};
	memcpy(copy.at, rig.image, rig.image_bytes);
	policy_rig_fini(&rig);
	return copy;
}

static void use(const struct policy *policy)
{
	static const char *const hosts[] = {"a.example", "q.a.example", "x.b.example", "axb.c.example", "d1",
	                                    "10.1.2.3", "2001:db8::1", "172.16.0.1", ""};
	struct policy_stats stats;
	struct policy_spot spot;
	struct span name;

	policy_stats(policy, &stats);
	for (uint32_t rule = 0; rule < stats.rules; rule++)
		for (uint32_t at = 0; policy_rule_listener(policy, rule, at, &name, &spot); at++)
			;
	for (size_t i = 0; i < COUNT_OF(hosts); i++) {
		struct policy_facts facts = policy_rig_facts(hosts[i], 443);
		struct policy_explain_options options = {.verbose = true, .verdict = SPAN(""), .more = SPAN("")};
		struct span groups[] = {SPAN("staff")};
		struct buf out;

		if (i % 2) {
			facts.known = FACT_USER | FACT_ADDRESS | FACT_HELLO | FACT_REQUEST;
			facts.user = SPAN("jane");
			facts.groups = groups;
			facts.group_count = 1;
			facts.sni = SPAN("a.example");
			facts.url = SPAN("http://a/x");
			ASSERT(address_parse(SPAN("172.16.0.9"), &facts.address));
		}
		buf_init(&out, 1 << 20);
		options.json = i % 3 == 0;
		(void)!policy_explain(policy, &facts, &options, &out); /* what does not fit is left out */
		buf_fini(&out);
	}
}

static void change(uint8_t *image, size_t image_bytes, const uint8_t *data, size_t size)
{
	for (; size >= 4; data += 4, size -= 4)
		image[((size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2]) % image_bytes] = data[3];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_copy copy = good();
	size_t image_bytes = size && data[0] == 0 ? size - 1 : copy.len;
	struct policy *policy;
	uint8_t *image;

	if (size == 0)
		return 0;
	image = malloc(image_bytes ? image_bytes : 1);
	if (data[0] == 0) {
		memcpy(image, data + 1, image_bytes);
	} else {
		memcpy(image, copy.at, image_bytes);
		change(image, image_bytes, data + 1, size - 1);
	}
	if (policy_open(image, image_bytes, &policy) == ERR_NONE) {
		use(policy);
		policy_close(policy);
	}
	free(image);
	return 0;
}
