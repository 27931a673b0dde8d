/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile image: raw bytes (first byte 0), or a good image in which elements of its sections are changed. If it opens, reading it,
 * deciding with it and numbering by it must stay inside of it. */
#include "../unit/policy_rig.h"
#include "policy/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIRST_RAW = 0, CHANGE_BYTES = 6, ALIGN = 64 };

static const char policy_text[] =
	"lists: {a: a.list, b: b.list}\n"
	"rules:\n"
	"- {name: one, when: {to: [a, '*.b.example', '*x*.c.example', '/^d\\d$/', 10.0.0.0/8, '[2001:db8::]/32'],\n"
	"   port: [443, 8000-8100], from: 192.0.2.0/24, listener: office, method: CONNECT, time: mon-fri},\n"
	"   then: {access: allow, tls: bypass, class: media}}\n"
	"- {name: two, when: {to: a, resolved: true, user: jane, group: staff, sni: a, url: ['http://a/', '/x$/']},\n"
	"   then: {access: deny, log: brief}}\n"
	"- {name: three, when: {time: '08:00-18:00 Europe/Berlin'}, then: {route: {source: 192.0.2.7}, rate: {each: client, rate: 1M}}}\n"
	"- {name: four, when: {to: b, time: 'sat 22:00-06:00 America/New_York'}, then: {access: deny}}\n"
	"defaults: {access: allow, ports: [80, 443]}\n";

static const char list_a[] = "a.example ports=443\n*.a.example expires=2099-01-01\n.e.example\n172.16.0.0/12\n"
                             "a.example ports=80,8000-8100 expires=2098-01-01\n2001:db8:1::/48\nq.a.example\n"
                             "/^tracker[0-9]+\\.(one|two)\\.example$/\n/^.*$/ ports=22\n"
                             "*ads*.example\nad*.a.example expires=2099-02-01\n";
#define LABEL_50 "a-label-of-fifty-bytes-that-goes-on-until-there-ar"
static const char list_b[] = "." LABEL_50 "." LABEL_50 "." LABEL_50 ".example\n"
                             LABEL_50 "." LABEL_50 ".a.example ports=443\n/(a|b)+\\.example/\n/stat(s|istics)/\n";

struct image_copy {
	uint8_t *at;
	size_t len;
};

/* The good image, compiled once; and its files stay, for compiling once more. */
static struct policy_rig rig;
static struct image_copy good(void)
{
	static struct image_copy copy;

	if (copy.at)
		return copy;
	policy_rig_make(&rig, policy_text, list_a, list_b);
	ASSERT(rig.err == ERR_NONE);
	copy = (struct image_copy){rig.image, rig.image_bytes};
	return copy;
}

static void remove_files(void)
{
	policy_rig_fini(&rig);
}

/* ---- what is done with it ---- */

static void decide(const struct policy *policy)
{
	static const char *const hosts[] = {"a.example", "q.a.example", "x.b.example", "axb.c.example", "d1",
	                                    "10.1.2.3", "2001:db8::1", "172.16.0.1", "", "tracker77.two.example",
	                                    "xads1.example", "statistics." LABEL_50 "." LABEL_50 "." LABEL_50 ".example"};

	for (size_t i = 0; i < COUNT_OF(hosts); i++) {
		struct policy_facts facts = policy_rig_facts(hosts[i], i % 2 ? 443 : 22);
		struct policy_explain_options options = {.verbose = true, .verdict = SPAN(""), .more = SPAN("")};
		struct policy_decision decision;
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
		policy_decide(policy, &facts, &decision);
		buf_init(&out, 1 << 20);
		policy_say_rate(policy, &decision.answers[POLICY_RATE], &out);
		options.json = i % 3 == 0;
		(void)!policy_explain(policy, &facts, &options, &out); /* what does not fit is left out */
		buf_fini(&out);
	}
}

/* What the parent looks at. */
static void read_all(const struct policy *policy)
{
	struct policy_stats stats;
	struct policy_entry entry;
	struct policy_spot spot;
	struct span name;
	unsigned line, sum = 0;

	policy_stats(policy, &stats);
	for (uint32_t rule = 0; rule < stats.rules; rule++) {
		for (uint32_t at = 0; policy_rule_listener(policy, rule, at, &name, &spot); at++)
			sum += spot.line;
		name = policy_rule_name(policy, rule);
		sum += name.len ? name.at[name.len - 1] : 0;
		name = policy_rule_file(policy, rule, &line);
		sum += name.len ? name.at[name.len - 1] : 0;
	}
	for (uint32_t i = 0; i < policy_entry_count(policy); i++) {
		if (!policy_entry(policy, i, &entry))
			continue;
		sum += entry.text.len ? entry.text.at[entry.text.len - 1] : 0;
		sum += entry.file.len ? entry.file.at[entry.file.len - 1] : 0;
		name = policy_list_name(policy, entry.list);
		sum += name.len ? name.at[name.len - 1] : 0;
	}
	ASSERT(sum != 1); /* it is all read */
}

/* The next policy is compiled, and its entries keep the numbers that they have in this one. */
static void number(const struct policy *previous)
{
	struct policy_compile_options options = {.previous = previous};
	struct problems problems;
	struct policy *policy;
	char path[100];
	void *image;
	size_t bytes;

	policy_rig_path(&rig, "policy.yaml", path);
	problems_init(&problems);
	ASSERT(policy_compile_with(path, &options, &problems, &image, &bytes) == ERR_NONE);
	ASSERT(policy_open(image, bytes, &policy) == ERR_NONE);
	read_all(policy);
	policy_close(policy);
	free(image);
	problems_fini(&problems);
}

static void use(const uint8_t *image, size_t image_bytes, bool numbers)
{
	struct policy *policy;

	if (policy_open(image, image_bytes, &policy) == ERR_NONE) {
		decide(policy);
		policy_close(policy);
	}
	if (policy_open_as(image, image_bytes, POLICY_FOR_READING, &policy) == ERR_NONE) {
		read_all(policy);
		if (numbers)
			number(policy);
		policy_close(policy);
	}
}

/* ---- changes: section, offset (3 bytes), value, how ---- */

static struct span section_of(const uint8_t *image, unsigned which)
{
	const struct image_header *header = (const void *)image;
	const struct {
		const struct image_section *section;
		size_t size;
	} sections[] = {
#define SECTION(name, type) {&header->name, sizeof(type)},
		IMAGE_SECTIONS(SECTION)
#undef SECTION
	};

	which %= COUNT_OF(sections) + 1;
	if (which == COUNT_OF(sections))
		return span_of(image, sizeof(*header));
	return span_of(image + sections[which].section->at,
	               (size_t)sections[which].section->count * sections[which].size);
}

static void change_one(uint8_t *image, struct span section, const uint8_t *data)
{
	size_t at = ((size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3]);
	uint8_t *start = image + (section.at - image);
	uint32_t word;

	if (section.len == 0)
		return;
	if (data[5] % 4 == 0 || section.len < sizeof(word)) {
		start[at % section.len] = data[4];
		return;
	}
	start += at % (section.len / sizeof(word)) * sizeof(word);
	memcpy(&word, start, sizeof(word));
	word = data[5] % 4 == 1 ? data[4] : data[5] % 4 == 2 ? NONE - data[4] : word + data[4] - 128;
	memcpy(start, &word, sizeof(word));
}

/* Where sections are is read in the good one: a header that was changed does not lead astray. */
static void change(uint8_t *image, const uint8_t *good_image, const uint8_t *data, size_t size)
{
	for (; size >= CHANGE_BYTES; data += CHANGE_BYTES, size -= CHANGE_BYTES) {
		struct span section = section_of(good_image, data[0]);

		section.at = image + (section.at - good_image);
		change_one(image, section, data);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_ready;
	struct image_copy copy = good();
	void *image;
	size_t bytes = size && data[0] == FIRST_RAW ? size - 1 : copy.len;

	if (!is_ready)
		atexit(remove_files);
	is_ready = true;
	if (size == 0 || posix_memalign(&image, ALIGN, bytes ? bytes : 1))
		return 0;
	if (data[0] == FIRST_RAW) {
		memcpy(image, data + 1, bytes);
	} else {
		memcpy(image, copy.at, bytes);
		change(image, copy.at, data + 1, size - 1);
	}
	use(image, bytes, data[0] % 16 == 1);
	free(image);
	return 0;
}
