/* SPDX-License-Identifier: Apache-2.0 */
/* Policy at scale (DESIGN 11): compiles lists that it makes itself, opens the image as a worker does, and measures single
 * look-ups. Prints one JSON object. The only program of the bench that is linked with the product. */
#include "bench.h"
#include "names.h"
#include "ticks.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy/image.h"
#include "policy/look_up.h"
#include "process/shared.h"

enum {
	PROBES_MAX = 20000, /* of a series */
	FLUSH_SHARE = 50,   /* one bucket in so many is read between two flushes, so that it is seldom one that was read before */
	FLUSH_LEAST = 8,
	WARM_NAMES = 500,
	SLICE_BYTES = 16 << 20, /* as in a worker: process/generation.c */
	COMPILES = 3,
};

static struct {
	const char *folder;
	enum names_kind kind;
	uint32_t count, compiles;
	bool is_huge;
} conf = {.folder = "/tmp", .compiles = COMPILES};

/* The policy as a worker has it. */
static struct opened {
	struct policy *policy;
	void *image;
	size_t image_bytes;
} opened;

static double samples[PROBES_MAX];
static const struct address no_address;

/* ---- lists ---- */

/* How each proxy writes an entry. */
static void write_entry(FILE *file, enum names_kind kind, uint32_t index, const char *form)
{
	char entry[NAMES_MAX];

	names_entry(kind, index, entry);
	if (kind == NAMES_SUFFIXES)
		fprintf(file, ".%s\n", entry);
	else if (kind == NAMES_REGEXES && strcmp(form, "sallyport") == 0)
		fprintf(file, "/%s/\n", entry);
	else
		fprintf(file, "%s\n", entry);
}

static FILE *create(const char *name)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", conf.folder, name);
	file = fopen(path, "we");
	if (file == NULL)
		bench_die("%s: %s", path, strerror(errno));
	return file;
}

static void write_policy(void)
{
	FILE *file = create("policy.yaml");

	fputs("lists:\n"
	      "  bench: bench.list\n"
	      "rules:\n"
	      "  - name: in the list\n"
	      "    when: {to: bench}\n"
	      "    then: {access: deny}\n"
	      "defaults: {access: allow, tls: bypass, auth: exempt, ports: [80, 443]}\n",
	      file);
	if (fclose(file))
		bench_die("policy.yaml: %s", strerror(errno));
}

static void write_list(void)
{
	FILE *file = create("bench.list");

	for (uint32_t i = 0; i < conf.count; i++)
		write_entry(file, conf.kind, i, "sallyport");
	if (fclose(file))
		bench_die("bench.list: %s", strerror(errno));
}

/* ---- compile and open ---- */

static void die_of(const struct problems *problems)
{
	for (const struct problem *problem = problems->first; problem; problem = problem->next)
		fprintf(stderr, "%s:%u:%u: %s\n", problem->file, problem->line, problem->column, problem->text);
	bench_die("the policy does not compile");
}

static void compile(void **image, size_t *bytes)
{
	char path[4096];
	double times[16];

	snprintf(path, sizeof(path), "%s/policy.yaml", conf.folder);
	for (uint32_t i = 0; i < conf.compiles; i++) {
		uint64_t since_ns = ticks_clock_ns();
		struct problems problems;

		if (i)
			free(*image);
		problems_init(&problems);
		if (policy_compile(path, &problems, image, bytes))
			die_of(&problems);
		times[i] = (double)(ticks_clock_ns() - since_ns) / 1e9;
		problems_fini(&problems);
	}
	printf("\"compile_s\": %.3f, ", ticks_summary(times, conf.compiles).median);
}

/* The slices in which a worker brings an image into reach and gives it back, each in a turn of its loop. */
static double populate(void)
{
	double longest = 0;

	for (size_t at = 0; at < opened.image_bytes; at += SLICE_BYTES) {
		size_t left = opened.image_bytes - at;
		uint64_t begin = ticks_begin();
		double ns;

		if (madvise((char *)opened.image + at, left < SLICE_BYTES ? left : SLICE_BYTES, MADV_POPULATE_READ) < 0)
			bench_die("MADV_POPULATE_READ: %s", strerror(errno));
		ns = ticks_ns(begin, ticks_end());
		longest = ns > longest ? ns : longest;
	}
	return longest;
}

/* For comparison: what the same would be if the kernel gave large pages. */
static void map_huge(const void *image)
{
	const size_t huge = 2 << 20, bytes = (opened.image_bytes + huge - 1) / huge * huge;

	opened.image = aligned_alloc(huge, bytes);
	if (opened.image == NULL)
		bench_die("out of memory");
	if (madvise(opened.image, bytes, MADV_HUGEPAGE) < 0)
		bench_die("MADV_HUGEPAGE: %s", strerror(errno));
	memcpy(opened.image, image, opened.image_bytes);
}

static void map_sealed(const void *image)
{
	uint64_t since_ns = ticks_clock_ns();
	int fd;

	if (shared_sealed("bench-policy", span_of(image, opened.image_bytes), &fd))
		bench_die("memfd: %s", strerror(errno));
	printf("\"seal_ms\": %.1f, ", (double)(ticks_clock_ns() - since_ns) / 1e6);
	since_ns = ticks_clock_ns();
	opened.image = shared_map(fd, opened.image_bytes, false);
	if (opened.image == NULL)
		bench_die("mmap: %s", strerror(errno));
	printf("\"map_us\": %.1f, ", (double)(ticks_clock_ns() - since_ns) / 1e3);
	printf("\"slices\": %zu, ", (opened.image_bytes + SLICE_BYTES - 1) / SLICE_BYTES);
	printf("\"longest_slice_ms\": %.2f, ", populate() / 1e6);
	close(fd);
}

static void open_it(void)
{
	uint64_t since_ns;
	struct policy_stats stats;
	void *image = NULL;

	compile(&image, &opened.image_bytes);
	if (conf.is_huge)
		map_huge(image);
	else
		map_sealed(image);
	free(image);
	since_ns = ticks_clock_ns();
	if (policy_open(opened.image, opened.image_bytes, &opened.policy))
		bench_die("the image is not sound");
	printf("\"check_ms\": %.1f, ", (double)(ticks_clock_ns() - since_ns) / 1e6);
	policy_close(opened.policy);
	since_ns = ticks_clock_ns();
	if (policy_open_as(opened.image, opened.image_bytes, POLICY_IS_CHECKED, &opened.policy))
		bench_die("the image cannot be opened");
	printf("\"open_us\": %.1f, ", (double)(ticks_clock_ns() - since_ns) / 1e3);
	policy_stats(opened.policy, &stats);
	/* The region of counters has room to grow: process/counters.c. */
	printf("\"entries\": %zu, \"image_bytes\": %zu, \"counters_bytes\": %zu, ", stats.entries, opened.image_bytes,
	       (stats.counters + stats.counters / 4 + 1024) * 4);
	fflush(stdout);
}

/* As a worker does, a slice at a time. */
static void close_it(void)
{
	double longest = 0;

	policy_close(opened.policy);
	for (size_t at = 0; !conf.is_huge && at < opened.image_bytes; at += SLICE_BYTES) {
		size_t left = opened.image_bytes - at;
		uint64_t begin = ticks_begin();
		double ns;

		munmap((char *)opened.image + at, left < SLICE_BYTES ? left : SLICE_BYTES);
		ns = ticks_ns(begin, ticks_end());
		longest = ns > longest ? ns : longest;
	}
	printf("\"longest_unmap_ms\": %.2f", longest / 1e6);
}

/* ---- one look-up ---- */

enum what { LOOK_UP, DECIDE };

/* Where the policy is: in memory only; in what all cores share, as just after a swap. */
enum heat { COLD, SWAPPED };

/* The name has just come in, so it is in the caches; the policy need not be. */
static double time_one(enum what what, const char *name, size_t len)
{
	struct policy_facts facts = {.host = span_of(name, len), .port = 443, .known = 0, .wall_ms = 1800000000000};
	struct policy_decision decision;
	uint64_t begin;

	facts.from.family = AF_INET;
	facts.method = SPAN("CONNECT");
	begin = ticks_begin();
	if (what == LOOK_UP)
		look_up(opened.policy, &facts, facts.host, &no_address);
	else
		policy_decide(opened.policy, &facts, &decision);
	return ticks_ns(begin, ticks_end());
}

/* A bench whose names are not in the lists measures nothing. */
static void check_one(enum names_ask ask, const char *name, size_t len)
{
	struct policy_facts facts = {.host = span_of(name, len), .port = 443, .wall_ms = 1800000000000};
	struct policy_decision decision;

	policy_decide(opened.policy, &facts, &decision);
	if ((decision.answers[POLICY_ACCESS].answer == ACCESS_DENY) != (ask != NAMES_MISS))
		bench_die("\"%s\" is %s", name, ask == NAMES_MISS ? "denied" : "not denied");
}

static double time_asked(enum what what, enum names_ask ask, uint32_t index, uint32_t salt)
{
	char name[NAMES_MAX];
	size_t len = names_asked(conf.kind, ask, index, salt, name);

	return time_one(what, name, len);
}

/* Another process has read all of it, on another core if there is one: as the parent does, which checks what it was given
 * before workers get it. */
static void check_elsewhere(void)
{
	struct policy *policy;
	pid_t child = fork();
	cpu_set_t cores;
	int status;

	if (child == 0) {
		/* All but this one; with only one it stays where it is. */
		CPU_ZERO(&cores);
		for (size_t i = 0; i < 64; i++)
			if ((int)i != sched_getcpu())
				CPU_SET(i, &cores);
		(void)sched_setaffinity(0, sizeof(cores), &cores);
		_exit(policy_open(opened.image, opened.image_bytes, &policy) ? 1 : 0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		bench_die("the policy could not be checked in another process");
}

/* What this core has not read: made so again and again, so that small lists are as cold as large ones. */
static size_t time_cold(enum what what, enum names_ask ask, enum heat heat, const uint32_t *order)
{
	const size_t share = opened.policy->image.buckets_count / FLUSH_SHARE * (heat == SWAPPED ? 10 : 1);
	const size_t each = share > FLUSH_LEAST ? share : FLUSH_LEAST;
	const size_t probes = heat == SWAPPED ? PROBES_MAX / 5 : PROBES_MAX;
	size_t count = 0;

	for (; count < probes; count++) {
		if (count % each == 0) {
			ticks_flush(opened.image, opened.image_bytes);
			if (heat == SWAPPED)
				check_elsewhere();
			time_asked(what, ask, order[conf.count - 1], 99); /* what every look-up reads */
		}
		samples[count] = time_asked(what, ask, order[count % conf.count], (uint32_t)(count / conf.count));
	}
	return count;
}

/* Few names, asked for again and again. */
static size_t time_warm(enum what what, enum names_ask ask, const uint32_t *order)
{
	const uint32_t names = conf.count < WARM_NAMES ? conf.count : WARM_NAMES;
	size_t count = 0;

	for (uint32_t i = 0; i < names * 4; i++)
		time_asked(what, ask, order[i % names], 0);
	while (count < PROBES_MAX) {
		samples[count] = time_asked(what, ask, order[count % names], 0);
		count++;
	}
	return count;
}

/* The least that a look-up must cost: one read of the same memory, at random. */
static size_t time_floor(enum heat heat)
{
	const volatile uint8_t *at = (const void *)opened.policy->image.buckets;
	const size_t lines = opened.policy->image.buckets_count;
	const size_t share = lines / FLUSH_SHARE * (heat == SWAPPED ? 10 : 1);
	const size_t each = share > FLUSH_LEAST ? share : FLUSH_LEAST;
	const size_t probes = heat == SWAPPED ? PROBES_MAX / 5 : PROBES_MAX;
	uint64_t random = 7;
	size_t count = 0;

	for (; count < probes; count++) {
		const volatile uint8_t *bucket = at + names_random(&random) % lines * BUCKET_BYTES;
		uint64_t begin;

		if (count % each == 0)
			ticks_flush(opened.image, opened.image_bytes);
		if (count % each == 0 && heat == SWAPPED)
			check_elsewhere();
		begin = ticks_begin();
		(void)*bucket;
		samples[count] = ticks_ns(begin, ticks_end());
	}
	return count;
}

static void print_asks(const char *label, enum what what, const uint32_t *order)
{
	static const char *const asks[] = {"hit", "below", "miss"};

	printf(", \"%s\": {", label);
	for (int ask = NAMES_HIT; ask <= NAMES_MISS; ask++) {
		printf("%s\"%s\": {", ask ? ", " : "", asks[ask]);
		ticks_print("cold", samples, time_cold(what, (enum names_ask)ask, COLD, order));
		printf(", ");
		ticks_print("swapped", samples, time_cold(what, (enum names_ask)ask, SWAPPED, order));
		printf(", ");
		ticks_print("warm", samples, time_warm(what, (enum names_ask)ask, order));
		printf("}");
	}
	printf("}");
	fflush(stdout);
}

static void check_names(const uint32_t *order)
{
	char name[NAMES_MAX];

	for (uint32_t i = 0; i < conf.count && i < 1000; i++)
		for (int ask = NAMES_HIT; ask <= NAMES_MISS; ask++)
			check_one((enum names_ask)ask, name,
			          names_asked(conf.kind, (enum names_ask)ask, order[i], i, name));
}

static void measure_suffixes(const uint32_t *order)
{
	check_names(order);
	ticks_print("floor", samples, time_floor(COLD));
	printf(", ");
	ticks_print("floor_swapped", samples, time_floor(SWAPPED));
	print_asks("look_up", LOOK_UP, order);
	print_asks("decide", DECIDE, order);
}

/* ---- expressions ---- */

/* The name that has to be compared with the most: three bytes again and again, those that lead to the most literals. */
static double time_worst_name(void)
{
	static const char letters[] = "?abcdefghijklmnopqrstuvwxyz0123456789.-_";
	const uint32_t *grams = opened.policy->image.grams;
	double best = 1e12;
	uint32_t worst = 0;
	char name[254];

	for (uint32_t gram = 0; gram < GRAM_COUNT; gram++)
		if (grams[gram + 1] - grams[gram] > grams[worst + 1] - grams[worst])
			worst = gram;
	for (size_t i = 0; i < sizeof(name); i += 3) {
		size_t at = i + 3 <= sizeof(name) ? 3 : sizeof(name) - i;
		const char gram[3] = {letters[worst / GRAM_CLASSES / GRAM_CLASSES],
		                      letters[worst / GRAM_CLASSES % GRAM_CLASSES], letters[worst % GRAM_CLASSES]};

		memcpy(name + i, gram, at);
	}
	for (int i = 0; i < 20; i++) {
		double ns = time_one(LOOK_UP, name, sizeof(name) - 1);

		best = ns < best ? ns : best;
	}
	return best;
}

/* The first time that an expression is needed it is decoded and compiled; behind that a name is tried once, and from then
 * on its verdict is known. */
static void measure_scans(const uint32_t *order)
{
	uint32_t count = conf.count < PROBES_MAX ? conf.count : PROBES_MAX;

	for (uint32_t i = 0; i < PROBES_MAX; i++)
		samples[i] = time_asked(LOOK_UP, NAMES_MISS, i, 0);
	ticks_print("miss", samples, PROBES_MAX);
	for (uint32_t i = 0; i < count; i++)
		samples[i] = time_asked(LOOK_UP, NAMES_HIT, order[i], 1);
	printf(", ");
	ticks_print("hit_first", samples, count);
	for (uint32_t i = 0; i < count; i++)
		samples[i] = time_asked(LOOK_UP, NAMES_HIT, order[i], 12);
	printf(", ");
	ticks_print("hit", samples, count);
	for (uint32_t i = 0; i < count; i++) {
		time_asked(LOOK_UP, NAMES_HIT, order[i], 13);
		samples[i] = time_asked(LOOK_UP, NAMES_HIT, order[i], 13);
	}
	printf(", ");
	ticks_print("again", samples, count);
	printf(", \"always_tried\": %zu, \"worst_name_us\": %.1f", opened.policy->image.always_count,
	       time_worst_name() / 1e3);
	check_names(order);
}

/* ---- hostile ones ---- */

/* Expressions that run for ever in names made for them: they have the text that is looked for first, and fail late. */
static void write_hostile(void)
{
	FILE *file = create("bench.list");

	for (uint32_t i = 0; i < conf.count; i++)
		fprintf(file, "/^(a+)+[b-z]{%" PRIu32 ",}[0-9]\\.evil$/\n", i + 1);
	if (fclose(file))
		bench_die("bench.list: %s", strerror(errno));
}

/* Five names, so that no verdict is known; the best time, as what the machine does beside is not meant. */
static double time_hostile(size_t run)
{
	double best = 1e12;

	for (int i = 0; i < 5; i++) {
		char name[300];
		double ns;

		memset(name, 'a', run);
		snprintf(name + run, sizeof(name) - run, "%c.evil", 'v' + i);
		ns = time_one(LOOK_UP, name, run + strlen(name + run));
		best = ns < best ? ns : best;
	}
	return best;
}

/* A run of each length: some end just before the limit of steps, and so do not count as given up. */
static void measure_hostile(void)
{
	double worst = 0;
	size_t worst_run = 0;

	time_hostile(3); /* decodes and compiles */
	for (size_t run = 1; run < 60; run++) {
		double ns = time_hostile(run);

		if (ns > worst) {
			worst = ns;
			worst_run = run;
		}
	}
	printf("\"worst_us\": %.1f, \"worst_run\": %zu, \"long_us\": %.1f", worst / 1e3, worst_run,
	       time_hostile(240) / 1e3);
}

/* Names below names, as deep as names can be. */
static void write_deep(void)
{
	FILE *file = create("bench.list");
	char name[300] = "zz";

	for (int labels = 1; labels < 126; labels++) {
		fprintf(file, ".%s\n", name);
		memmove(name + 2, name, strlen(name) + 1);
		memcpy(name, "y.", 2);
	}
	if (fclose(file))
		bench_die("bench.list: %s", strerror(errno));
}

/* The longest name, each of whose ends is an entry. */
static void measure_deep(void)
{
	char name[300];
	size_t len = 0;

	for (int labels = 1; labels < 126; labels++) {
		memcpy(name + len, "y.", 2);
		len += 2;
	}
	memcpy(name + len, "zz", 2);
	for (int i = 0; i < PROBES_MAX; i++)
		samples[i] = time_one(LOOK_UP, name, len + 2);
	ticks_print("look_up", samples, PROBES_MAX);
}

/* ---- the command ---- */

static const char help[] =
	"usage: bench_policy suffixes|regexes|globs COUNT [options]   measure look-ups in a list\n"
	"       bench_policy hostile COUNT [options]                  expressions made to burn time\n"
	"       bench_policy deep 1 [options]                         the longest name\n"
	"       bench_policy list suffixes|regexes|globs COUNT FORM   print a list; FORM: sallyport, or plain\n"
	"\n"
	"  --folder PATH     where policy.yaml and the list are written (/tmp)\n"
	"  --compiles N      compile so often, and say the median (3)\n"
	"  --huge            the image in large pages, for comparison: no worker has it so\n";

static uint32_t parse_count(const char *text, uint32_t max)
{
	char *after;
	unsigned long number = strtoul(text, &after, 10);

	if (after == text || *after || number == 0 || number > max)
		bench_die("\"%s\" is no number from 1 to %" PRIu32, text, max);
	return (uint32_t)number;
}

static void print_list(char **words)
{
	uint32_t count = parse_count(words[1], NAMES_COUNT_MAX);

	if (!names_kind(words[0], &conf.kind))
		bench_die("there is no list of %s", words[0]);
	for (uint32_t i = 0; i < count; i++)
		write_entry(stdout, conf.kind, i, words[2]);
	if (fflush(stdout))
		bench_die("stdout: %s", strerror(errno));
}

static void measure_list(void)
{
	uint32_t *order = calloc(conf.count, sizeof(*order));

	if (order == NULL)
		bench_die("out of memory");
	names_shuffle(order, conf.count, 1);
	write_list();
	open_it();
	if (conf.kind == NAMES_SUFFIXES)
		measure_suffixes(order);
	else
		measure_scans(order);
	free(order);
}

static void measure(const char *mode)
{
	ticks_init();
	write_policy();
	printf("{");
	if (names_kind(mode, &conf.kind)) {
		measure_list();
	} else if (strcmp(mode, "hostile") == 0) {
		write_hostile();
		open_it();
		measure_hostile();
	} else if (strcmp(mode, "deep") == 0) {
		write_deep();
		open_it();
		measure_deep();
	} else {
		bench_die("there is nothing to measure that is called %s; see --help", mode);
	}
	printf(", ");
	close_it();
	printf("}\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"folder", required_argument, NULL, 'f'},
	                                        {"compiles", required_argument, NULL, 'c'},
	                                        {"huge", no_argument, NULL, 'H'},
	                                        {"help", no_argument, NULL, 'h'},
	                                        {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'f')
			conf.folder = optarg;
		else if (option == 'c')
			conf.compiles = parse_count(optarg, COMPILES * 5);
		else if (option == 'H')
			conf.is_huge = true;
		else if (option != 'h')
			return 2;
		else
			return fputs(help, stdout) < 0;
	}
	if (argc - optind == 4 && strcmp(argv[optind], "list") == 0) {
		print_list(argv + optind + 1);
	} else if (argc - optind == 2) {
		conf.count = parse_count(argv[optind + 1], NAMES_COUNT_MAX);
		measure(argv[optind]);
	} else {
		fputs(help, stderr);
		return 2;
	}
	return 0;
}
