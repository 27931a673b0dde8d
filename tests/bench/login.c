/* SPDX-License-Identifier: Apache-2.0 */
/* The load of the rows on authentication: threads that open tunnels with credentials, 64 bytes there and back, close. The
 * clients' side of the schemes is the product's (or GSSAPI's): it costs the load's core, which is not measured. */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <gssapi/gssapi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "auth/scheme/base64.h"
#include "auth/scheme/digest_client.h"
#include "auth/scheme/ntlm.h"

enum { ECHO_BYTES = 64, CLIENTS = 16, HEAD_MAX = 32768, THREADS_MAX = 64, CREDENTIALS_MAX = 90000, PATIENCE_S = 20 };

enum scheme { NONE, BASIC, BASIC_FIRST, BASIC_WRONG, DIGEST, DIGEST_FIRST, NTLM, KERBEROS, SCHEMES };
static const char *const names[SCHEMES] = {"none", "basic", "basic-first", "basic-wrong", "digest", "digest-first", "ntlm", "kerberos"};

static struct {
	enum scheme scheme;
	unsigned port;
	uint32_t count, concurrency;
	const char *user, *password;
	struct sockaddr_in proxy;
} conf = {.count = 1000, .concurrency = 16, .user = "alice", .password = "pw"};

static _Atomic uint32_t begun, done, errors, nonce_count;
static uint32_t *times_us;
static char digest_challenge[HEAD_MAX], first_error[200];
static pthread_mutex_t error_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static bool fail(const char *what, const char *detail)
{
	pthread_mutex_lock(&error_lock);
	if (atomic_fetch_add(&errors, 1) == 0)
		snprintf(first_error, sizeof(first_error), "%s %.100s", what, detail);
	pthread_mutex_unlock(&error_lock);
	return false;
}

/* ---- one connection ---- */

static int dial(uint32_t number)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + number % CLIENTS)};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

	if (fd >= 0 && setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
	    bind(fd, (const struct sockaddr *)&own, sizeof(own)) == 0 &&
	    connect(fd, (const struct sockaddr *)&conf.proxy, sizeof(conf.proxy)) == 0)
		return fd;
	fail("cannot connect:", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Head and content of an answer; its status, or 0. */
static int read_answer(int fd, char head[static HEAD_MAX])
{
	size_t len = 0;

	for (;;) {
		ssize_t got = recv(fd, head + len, HEAD_MAX - 1 - len, 0);
		char *end, *length;
		size_t content;

		if (got <= 0)
			return 0;
		len += (size_t)got;
		head[len] = '\0';
		end = strstr(head, "\r\n\r\n");
		if (end == NULL)
			continue;
		length = strcasestr(head, "\r\nContent-Length:");
		content = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
		if (len >= (size_t)(end + 4 - head) + content)
			return atoi(head + strcspn(head, " "));
	}
}

static int ask(int fd, uint32_t number, struct span credentials, char head[static HEAD_MAX])
{
	static _Thread_local char text[CREDENTIALS_MAX + 400];
	unsigned host = 1 + number % CLIENTS;
	int len = snprintf(text, sizeof(text), "CONNECT 127.0.1.%u:%u HTTP/1.1\r\nHost: 127.0.1.%u:%u\r\n%s%.*s%s\r\n", host, conf.port,
			   host, conf.port, credentials.len ? "Proxy-Authorization: " : "", (int)credentials.len,
			   credentials.len ? (const char *)credentials.at : "", credentials.len ? "\r\n" : "");

	if (send(fd, text, (size_t)len, MSG_NOSIGNAL) != len)
		return 0;
	return read_answer(fd, head);
}

static bool echo(int fd)
{
	char text[ECHO_BYTES], back[ECHO_BYTES + 1];

	memset(text, 'x', sizeof(text));
	return send(fd, text, sizeof(text), MSG_NOSIGNAL) == sizeof(text) &&
	       recv(fd, back, ECHO_BYTES, MSG_WAITALL) == ECHO_BYTES && memcmp(text, back, ECHO_BYTES) == 0 &&
	       shutdown(fd, SHUT_WR) == 0 && recv(fd, back, 1, 0) == 0;
}

/* ---- credentials ---- */

static void add_token(const char *scheme, struct span token, struct buf *out)
{
	buf_printf(out, "%s ", scheme);
	base64_encode(token, out);
}

static void add_basic(uint32_t number, struct buf *out)
{
	char text[300];
	int len = conf.scheme == BASIC	     ? snprintf(text, sizeof(text), "%s:%s", conf.user, conf.password)
		  : conf.scheme == BASIC_FIRST ? snprintf(text, sizeof(text), "u%u:%s", number, conf.password)
					       : snprintf(text, sizeof(text), "%s:wrong-%u", conf.user, number);

	add_token("Basic", span_of(text, (size_t)len), out);
}

/* What a 407 has for a scheme: behind its name. */
static struct span challenge_in(const char *head, const char *name)
{
	char wanted[64];
	const char *at;

	snprintf(wanted, sizeof(wanted), "\r\nProxy-Authenticate: %s ", name);
	at = strcasestr(head, wanted);
	if (at == NULL)
		return SPAN("");
	at += strlen(wanted) - strlen(name) - 1;
	return span_of(at, strcspn(at, "\r"));
}

static bool add_digest(uint32_t number, struct buf *out)
{
	char user[32], uri[40];
	struct digest_client client = {.user = span_from(conf.user), .password = span_from(conf.password), .method = SPAN("CONNECT"),
				       .count = atomic_fetch_add(&nonce_count, 1) + 1};
	const char *why = "";

	snprintf(user, sizeof(user), "u%u", number);
	if (conf.scheme == DIGEST_FIRST)
		client.user = span_from(user);
	client.uri = span_of(uri, (size_t)snprintf(uri, sizeof(uri), "127.0.1.%u:%u", 1 + number % CLIENTS, conf.port));
	return digest_client_answer(span_from(digest_challenge), &client, out, &why) || fail("digest:", why);
}

/* A new token of each: a replay is refused. */
static bool add_kerberos(struct buf *out)
{
	gss_OID_desc krb5 = {9, (void *)(uintptr_t)"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"};
	gss_buffer_desc name = {14, (void *)(uintptr_t)"HTTP@localhost"}, token = GSS_C_EMPTY_BUFFER;
	gss_OID service = GSS_C_NT_HOSTBASED_SERVICE;
	gss_ctx_id_t context = GSS_C_NO_CONTEXT;
	gss_name_t target = GSS_C_NO_NAME;
	OM_uint32 minor, major = gss_import_name(&minor, &name, service, &target);

	if (!GSS_ERROR(major))
		major = gss_init_sec_context(&minor, GSS_C_NO_CREDENTIAL, &context, target, &krb5, 0, 0, GSS_C_NO_CHANNEL_BINDINGS,
					     GSS_C_NO_BUFFER, NULL, &token, NULL, NULL);
	if (!GSS_ERROR(major))
		add_token("Negotiate", span_of(token.value, token.length), out);
	gss_release_buffer(&minor, &token);
	gss_release_name(&minor, &target);
	if (context != GSS_C_NO_CONTEXT)
		gss_delete_sec_context(&minor, &context, GSS_C_NO_BUFFER);
	return !GSS_ERROR(major) || fail("GSSAPI gives no token", "");
}

/* The first leg, and what belongs into the second. */
static bool add_ntlm(int fd, uint32_t number, char head[static HEAD_MAX], struct buf *out)
{
	struct ntlm_client client = {.user = span_from(conf.user), .password = span_from(conf.password), .domain = SPAN(""),
				     .workstation = SPAN("BENCH"), .target = SPAN(""), .mic = true};
	struct buf first, second, third;
	uint8_t key[NTLM_HASH_BYTES];
	struct span challenge;
	bool well;

	buf_init(&first, 4096);
	buf_init(&second, 4096);
	buf_init(&third, 4096);
	ntlm_client_negotiate(&first);
	add_token("NTLM", buf_span(&first), out);
	well = ask(fd, number, buf_span(out), head) == 407;
	challenge = well ? challenge_in(head, "NTLM") : SPAN("");
	buf_reset(out);
	well = challenge.len && base64_decode(span_skip(challenge, 5), &second) &&
	       ntlm_client_authenticate(&client, buf_span(&first), buf_span(&second), &third, key);
	if (well)
		add_token("NTLM", buf_span(&third), out);
	else
		fail("the first leg of NTLM:", head);
	buf_fini(&first);
	buf_fini(&second);
	buf_fini(&third);
	return well;
}

static bool add_credentials(int fd, uint32_t number, char head[static HEAD_MAX], struct buf *out)
{
	switch (conf.scheme) {
	case BASIC:
	case BASIC_FIRST:
	case BASIC_WRONG:
		add_basic(number, out);
		return true;
	case DIGEST:
	case DIGEST_FIRST:
		return add_digest(number, out);
	case NTLM:
		return add_ntlm(fd, number, head, out);
	case KERBEROS:
		return add_kerberos(out);
	case NONE:
	case SCHEMES:
	default:
		return true;
	}
}

/* ---- the work ---- */

static void work_once(uint32_t number, char head[static HEAD_MAX])
{
	int wanted = conf.scheme == BASIC_WRONG ? 407 : 200, fd = dial(number), status;
	uint64_t since_ns = now_ns();
	struct buf credentials;

	if (fd < 0)
		return;
	buf_init(&credentials, CREDENTIALS_MAX);
	if (add_credentials(fd, number, head, &credentials)) {
		status = ask(fd, number, buf_span(&credentials), head);
		if (status != wanted)
			fail("the proxy answered", status ? head : "nothing");
		else if (wanted == 200 && !echo(fd))
			fail("the echo is another", "");
		else
			times_us[atomic_fetch_add(&done, 1)] = (uint32_t)((now_ns() - since_ns) / 1000);
	}
	buf_fini(&credentials);
	close(fd);
}

static void *work(void *nothing)
{
	char *head = malloc(HEAD_MAX);
	uint32_t number;

	while (head && errors < 100 && (number = atomic_fetch_add(&begun, 1)) < conf.count)
		work_once(number, head);
	free(head);
	return nothing;
}

/* Digest: one challenge for all, whose counts come out of order, as they do from a browser. */
static void get_challenge(void)
{
	static char head[HEAD_MAX];
	int fd = dial(0);

	if (fd < 0 || ask(fd, 0, SPAN(""), head) != 407)
		bench_die("the proxy asks nobody who it is");
	snprintf(digest_challenge, sizeof(digest_challenge), "%.*s", SPAN_ARG(challenge_in(head, "Digest")));
	close(fd);
}

/* ---- the command ---- */

static const char help[] = "usage: bench_login SCHEME --proxy ADDRESS:PORT --port PORT [--count N] [--concurrency N] [--user NAME] [--password TEXT]\n"
			   "  none, basic, digest, ntlm, kerberos (to HTTP@localhost); basic-first and digest-first: users u0, u1, ..;\n"
			   "  basic-wrong: another wrong password each time, and 407 is right\n";

static void parse(int count, char **args)
{
	static const struct option options[] = {{"proxy", required_argument, NULL, 'x'}, {"port", required_argument, NULL, 'p'},
						{"count", required_argument, NULL, 'n'}, {"concurrency", required_argument, NULL, 'c'},
						{"user", required_argument, NULL, 'u'}, {"password", required_argument, NULL, 'w'},
						{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	size_t scheme = 0;
	int option;

	while ((option = getopt_long(count, args, "h", options, NULL)) >= 0) {
		if (option == 'x' && !bench_address(optarg, '\0', &conf.proxy))
			bench_die("\"%s\" is no ADDRESS:PORT", optarg);
		else if (option == 'p')
			conf.port = (unsigned)strtoul(optarg, NULL, 10);
		else if (option == 'n')
			conf.count = (uint32_t)strtoul(optarg, NULL, 10);
		else if (option == 'c')
			conf.concurrency = (uint32_t)strtoul(optarg, NULL, 10);
		else if (option == 'u')
			conf.user = optarg;
		else if (option == 'w')
			conf.password = optarg;
		else if (option == 'h' || option == '?')
			bench_die("%s", help);
	}
	while (optind < count && scheme < SCHEMES && strcmp(args[optind], names[scheme]) != 0)
		scheme++;
	if (optind + 1 != count || scheme == SCHEMES || conf.port == 0 || conf.port > 65535 || conf.count == 0 || conf.concurrency == 0 ||
	    conf.concurrency > THREADS_MAX || conf.proxy.sin_port == 0)
		bench_die("%s", help);
	conf.scheme = (enum scheme)scheme;
}

static int compare(const void *a, const void *b)
{
	uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;

	return (first > second) - (first < second);
}

static void report(uint64_t took_ns)
{
	qsort(times_us, done, sizeof(*times_us), compare);
	first_error[strcspn(first_error, "\r\n\"\\")] = '\0';
	printf("{\"mode\": \"%s\", \"done\": %u, \"errors\": %u, \"seconds\": %.6f, \"p50_us\": %u, \"p99_us\": %u, \"first_error\": "
	       "\"%s\"}\n",
	       names[conf.scheme], done, errors, (double)took_ns / 1e9, done ? times_us[done / 2] : 0,
	       done ? times_us[(uint64_t)done * 99 / 100] : 0, first_error);
}

int main(int count, char **args)
{
	pthread_t threads[THREADS_MAX];
	const char *why = "";
	uint64_t began;

	bench_prepare();
	parse(count, args);
	if (!ntlm_init(&why))
		bench_die("%s", why);
	times_us = calloc(conf.count, sizeof(*times_us));
	if (times_us == NULL)
		bench_die("out of memory");
	if (conf.scheme == DIGEST || conf.scheme == DIGEST_FIRST)
		get_challenge();
	began = now_ns();
	for (uint32_t i = 0; i < conf.concurrency; i++)
		if (pthread_create(&threads[i], NULL, work, NULL))
			bench_die("no thread");
	for (uint32_t i = 0; i < conf.concurrency; i++)
		pthread_join(threads[i], NULL);
	report(now_ns() - began);
	return errors || done != conf.count ? 1 : 0;
}
