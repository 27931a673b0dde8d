/* SPDX-License-Identifier: Apache-2.0 */
/* Modes of backend_try for Kerberos. */
#include <fcntl.h>
#include <gssapi/gssapi_ext.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "auth/backend/gss.h"
#include "auth/backend/gss_status.h"
#include "auth/backend/users.h"
#include "auth/fold.h"
#include "try.h"

enum { SERVICES_MAX = 8, TOKEN_MAX_BYTES = 65536, THREADS = 4 };

/* ---- the client ---- */

static const uint8_t mech_kerberos[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02};
static const uint8_t mech_ms_kerberos[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x82, 0xf7, 0x12, 0x01, 0x02, 0x02};
static const uint8_t mech_negoex[] = {0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x1e};
static const uint8_t mech_ntlm[] = {0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a};
static const uint8_t mech_spnego[] = {0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02};

#define BYTES(array) span_of(array, sizeof(array))

struct client {
	gss_ctx_id_t context;
	gss_name_t service;
	const char *form;
	struct buf mech_types;     /* with the tag: what the MIC is over */
	bool is_complete;
};

static void must(OM_uint32 major, const OM_uint32 *minor, const char *what)
{
	struct buf text;

	if (!GSS_ERROR(major))
		return;
	buf_init(&text, 1000);
	buf_printf(&text, "%s: ", what);
	gss_status_text(major, *minor, &gss_mech_kerberos, &text);
	try_die(buf_to_string(&text));
}

/* One element of DER around `content`. */
static void add_der(struct buf *out, uint8_t tag, struct span content)
{
	buf_add_byte(out, tag);
	if (content.len >= 0x100) {
		buf_add_byte(out, 0x82);
		buf_add_byte(out, (uint8_t)(content.len >> 8));
	} else if (content.len >= 0x80) {
		buf_add_byte(out, 0x81);
	}
	buf_add_byte(out, (uint8_t)content.len);
	buf_add(out, content);
}

/* The same, in place. */
static void wrap_der(struct buf *bytes, uint8_t tag)
{
	struct buf wrapped;

	buf_init(&wrapped, TOKEN_MAX_BYTES);
	add_der(&wrapped, tag, buf_span(bytes));
	buf_reset(bytes);
	buf_add(bytes, buf_span(&wrapped));
	buf_fini(&wrapped);
}

/* [tag] OCTET STRING */
static void add_octets(struct buf *out, uint8_t tag, struct span content)
{
	struct buf octets;

	buf_init(&octets, TOKEN_MAX_BYTES);
	add_der(&octets, 0x04, content);
	add_der(out, tag, buf_span(&octets));
	buf_fini(&octets);
}

/* NegTokenInit (RFC 4178 section 4.2.1) with the list that Windows sends. */
static void wrap_init(struct client *client, bool is_negoex_first, struct span token, struct buf *out)
{
	struct buf list;

	buf_init(&list, TOKEN_MAX_BYTES);
	buf_init(&client->mech_types, TOKEN_MAX_BYTES);
	if (is_negoex_first)
		buf_add(&list, BYTES(mech_negoex));
	buf_add(&list, BYTES(mech_ms_kerberos));
	buf_add(&list, BYTES(mech_kerberos));
	if (!is_negoex_first)
		buf_add(&list, BYTES(mech_negoex));
	buf_add(&list, BYTES(mech_ntlm));
	add_der(&client->mech_types, 0x30, buf_span(&list));
	add_der(out, 0xa0, buf_span(&client->mech_types));
	add_octets(out, 0xa2, token);
	wrap_der(out, 0x30);
	wrap_der(out, 0xa0);
	buf_reset(&list);
	buf_add(&list, BYTES(mech_spnego));
	buf_add(&list, buf_span(out));
	buf_reset(out);
	add_der(out, 0x60, buf_span(&list));
	buf_fini(&list);
}

/* NegTokenResp: a token, or the MIC. */
static void wrap_response(uint8_t tag, struct span token, struct buf *out)
{
	add_octets(out, tag, token);
	wrap_der(out, 0x30);
	wrap_der(out, 0xa1);
}

static void step(struct client *client, const gss_OID_desc *mech, OM_uint32 flags, struct span in, struct buf *out)
{
	gss_buffer_desc input = {in.len, (void *)(uintptr_t)in.at}, token = GSS_C_EMPTY_BUFFER;
	gss_OID_desc copy = *mech;
	OM_uint32 major, minor;

	major = gss_init_sec_context(&minor, GSS_C_NO_CREDENTIAL, &client->context, client->service, &copy, flags, 0,
	                             GSS_C_NO_CHANNEL_BINDINGS, &input, NULL, &token, NULL, NULL);
	must(major, &minor, "the client");
	client->is_complete = major == GSS_S_COMPLETE;
	buf_add(out, span_of(token.value, token.length));
	gss_release_buffer(&minor, &token);
}

static void begin(struct client *client, const char *service, const char *form, struct buf *out)
{
	gss_buffer_desc name = {strlen(service), (void *)(uintptr_t)service};
	bool is_spnego = strcmp(form, "spnego") == 0, is_one_way = strcmp(form, "raw-one-way") == 0;
	OM_uint32 minor;
	struct buf token;

	*client = (struct client){.context = GSS_C_NO_CONTEXT, .form = form};
	must(gss_import_name(&minor, &name, GSS_C_NT_HOSTBASED_SERVICE, &client->service), &minor, service);
	buf_init(&token, TOKEN_MAX_BYTES);
	if (strcmp(form, "negoex") == 0) {
		wrap_init(client, true, SPAN("NEGOEXTS and what it says"), out);
	} else {
		step(client, is_spnego ? &gss_mech_negotiate : &gss_mech_kerberos, is_one_way ? 0 : GSS_C_MUTUAL_FLAG,
		     SPAN(""), &token);
		if (strcmp(form, "ms") == 0)
			wrap_init(client, false, buf_span(&token), out);
		else
			buf_add(out, buf_span(&token));
	}
	buf_fini(&token);
}

static void add_mic(struct client *client, struct buf *out)
{
	struct span list = buf_span(&client->mech_types);
	gss_buffer_desc message = {list.len, (void *)(uintptr_t)list.at}, mic = GSS_C_EMPTY_BUFFER;
	OM_uint32 minor;

	must(gss_get_mic(&minor, client->context, GSS_C_QOP_DEFAULT, &message, &mic), &minor, "the MIC");
	wrap_response(0xa3, span_of(mic.value, mic.length), out);
	gss_release_buffer(&minor, &mic);
}

/* What the client answers to the acceptor's token. */
static void go_on(struct client *client, struct span in, struct buf *out)
{
	struct buf token;

	buf_init(&token, TOKEN_MAX_BYTES);
	if (strcmp(client->form, "negoex") == 0) {
		step(client, &gss_mech_kerberos, GSS_C_MUTUAL_FLAG, gss_status_inner(in), &token);
		if (client->is_complete)
			add_mic(client, out);
		else
			wrap_response(0xa2, buf_span(&token), out);
	} else {
		step(client, &gss_mech_negotiate, GSS_C_MUTUAL_FLAG, in, out);
	}
	buf_fini(&token);
}

static void end(struct client *client)
{
	OM_uint32 minor;

	if (client->context)
		gss_delete_sec_context(&minor, &client->context, GSS_C_NO_BUFFER);
	gss_release_name(&minor, &client->service);
	buf_fini(&client->mech_types);
}

int try_token(int count, char **args)
{
	struct client client;
	struct buf token;

	if (count != 3)
		return 2;
	buf_init(&token, TOKEN_MAX_BYTES);
	begin(&client, args[0], args[1], &token);
	try_write(args[2], buf_span(&token));
	buf_fini(&token);
	end(&client);
	return 0;
}

/* ---- the proxy ---- */

struct acceptor {
	struct auth_conf conf;
	struct backend_env env;
	void *thread;
	const char *path;          /* of the keytab that is in force */
	int fd;
	char keytab[64];
	const char *services[SERVICES_MAX];
	struct users *users;
};

/* Groups of the file's users; the realm of the KDC is ours. */
static void use_users(struct acceptor *acceptor, const char *path)
{
	static const struct conf_text_pair domains[] = {{"PROXY.TEST", "", 1}};
	struct buf text = try_read(path);
	struct users_source source = {path, buf_span(&text)};
	struct problems problems;

	fold_init();
	problems_init(&problems);
	if (users_load(&source, 1, SPAN("Test"), &problems, &acceptor->users))
		try_die(path);
	problems_fini(&problems);
	buf_fini(&text);
	acceptor->conf.negotiate.groups = NEGOTIATE_GROUPS_USERS;
	acceptor->conf.domains = (struct conf_text_map){domains, 1};
	acceptor->conf.default_domain = "";
	acceptor->env.users = acceptor->users;
}

static void open_acceptor(struct acceptor *acceptor, const char *cache, char *services)
{
	const char *why;
	char *rest = services, *name;

	*acceptor = (struct acceptor){.fd = -1, .path = ""};
	if (!gss_backend_init(strcmp(cache, "-") ? cache : "", &why))
		try_die(why);
	acceptor->env = (struct backend_env){.conf = &acceptor->conf, .pam_fd = -1};
	acceptor->conf.negotiate.services.at = acceptor->services;
	while (strcmp(services, "-") && (name = strsep(&rest, ",")) && acceptor->conf.negotiate.services.count < SERVICES_MAX)
		if (strncmp(name, "users=", 6) == 0)
			use_users(acceptor, name + 6);
		else
			acceptor->services[acceptor->conf.negotiate.services.count++] = name;
	acceptor->thread = backend_gss.open();
	if (acceptor->thread == NULL)
		try_die("the backend does not open");
}

/* As the verifier has it: a descriptor of sealed memory. */
static void use_keytab(struct acceptor *acceptor, const char *path)
{
	struct buf bytes;

	if (strcmp(acceptor->path, path) == 0)
		return;
	if (acceptor->fd >= 0)
		close(acceptor->fd);
	acceptor->path = path;
	acceptor->fd = -1;
	acceptor->env.generation++;
	acceptor->env.keytab = NULL;
	if (strcmp(path, "-") == 0)
		return;
	bytes = try_read(path);
	acceptor->fd = memfd_create("keytab", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (acceptor->fd < 0 || write(acceptor->fd, bytes.at + bytes.start, buf_len(&bytes)) != (ssize_t)buf_len(&bytes) ||
	    fcntl(acceptor->fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) < 0)
		try_die("no memory for the keytab");
	buf_fini(&bytes);
	snprintf(acceptor->keytab, sizeof(acceptor->keytab), "FILE:/proc/self/fd/%d", acceptor->fd);
	acceptor->env.keytab = acceptor->keytab;
}

static enum ask_verdict ask_gss(struct acceptor *acceptor, struct span token, uint64_t context, struct answer *answer)
{
	struct ask ask = {.kind = ASK_GSS, .token = token, .context = context};

	answer_init(answer);
	return backend_gss.verify(acceptor->thread, &acceptor->env, &ask, answer);
}

static void close_acceptor(struct acceptor *acceptor)
{
	backend_gss.close(acceptor->thread);
	gss_backend_fini();
	users_free(acceptor->users);
	if (acceptor->fd >= 0)
		close(acceptor->fd);
}

/* "KEYTAB=FILE": take the keytab, read the token. */
static struct buf take_pair(struct acceptor *acceptor, char *pair)
{
	const char *keytab = strsep(&pair, "=");

	if (pair == NULL)
		try_die("KEYTAB=FILE is wanted");
	use_keytab(acceptor, keytab);
	return try_read(pair);
}

int try_gss(int count, char **args)
{
	struct acceptor acceptor;
	struct answer answer;

	if (count < 3)
		return 2;
	open_acceptor(&acceptor, args[0], args[1]);
	for (int i = 2; i < count; i++) {
		struct buf token = take_pair(&acceptor, args[i]);

		ask_gss(&acceptor, buf_span(&token), 0, &answer);
		try_print(&answer, 1);
		answer_fini(&answer);
		buf_fini(&token);
	}
	close_acceptor(&acceptor);
	return 0;
}

/* What each thread does: every token, in the same order. */
struct asking {
	pthread_t thread;
	struct acceptor acceptor;  /* a copy, with its own opened backend */
	const struct buf *tokens;
	size_t count;
	unsigned verdicts[VERDICT_COUNT];
};

static void *ask_all(void *context)
{
	struct asking *asking = context;

	asking->acceptor.thread = backend_gss.open();
	for (size_t i = 0; i < asking->count; i++) {
		struct answer answer;

		asking->verdicts[ask_gss(&asking->acceptor, buf_span(&asking->tokens[i]), 0, &answer)]++;
		answer_fini(&answer);
	}
	backend_gss.close(asking->acceptor.thread);
	return NULL;
}

int try_threads(int count, char **args)
{
	struct asking asking[THREADS];
	struct acceptor acceptor;
	unsigned verdicts[VERDICT_COUNT] = {0};
	char none[] = "-";
	struct buf *tokens;

	if (count < 2 || (tokens = calloc((size_t)count, sizeof(*tokens))) == NULL)
		return 2;
	open_acceptor(&acceptor, args[0], none);
	for (int i = 1; i < count; i++)
		tokens[i - 1] = take_pair(&acceptor, args[i]);
	for (size_t i = 0; i < THREADS; i++) {
		asking[i] = (struct asking){.acceptor = acceptor, .tokens = tokens, .count = (size_t)count - 1};
		asking[i].acceptor.env.conf = &acceptor.conf;
		asking[i].acceptor.env.keytab = acceptor.keytab;
		if (pthread_create(&asking[i].thread, NULL, ask_all, &asking[i]))
			try_die("no thread");
	}
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(asking[i].thread, NULL);
		for (size_t j = 0; j < VERDICT_COUNT; j++)
			verdicts[j] += asking[i].verdicts[j];
	}
	printf("{\"valid\": %u, \"invalid\": %u, \"continue\": %u}\n", verdicts[VERDICT_VALID], verdicts[VERDICT_INVALID],
	       verdicts[VERDICT_CONTINUE]);
	for (int i = 1; i < count; i++)
		buf_fini(&tokens[i - 1]);
	free(tokens);
	close_acceptor(&acceptor);
	return 0;
}

/* A copy of exactly that size, so that a read behind its end is seen. */
static enum ask_verdict ask_copy(struct acceptor *acceptor, struct span token, size_t change, uint8_t by)
{
	uint8_t *copy = malloc(token.len ? token.len : 1);
	enum ask_verdict verdict;
	struct answer answer;

	if (copy == NULL)
		try_die("no memory");
	memcpy(copy, token.at, token.len);
	if (change < token.len)
		copy[change] ^= by;
	verdict = ask_gss(acceptor, span_of(copy, token.len), 0, &answer);
	if (verdict != VERDICT_VALID && verdict != VERDICT_CONTINUE && buf_len(&answer.why) == 0)
		try_die("a refusal does not say why");
	answer_fini(&answer);
	free(copy);
	return verdict;
}

int try_mangle(int count, char **args)
{
	unsigned cut[VERDICT_COUNT] = {0}, changed[VERDICT_COUNT] = {0};
	struct acceptor acceptor;
	char none[] = "-";
	struct buf bytes;
	struct span token;

	if (count != 2)
		return 2;
	open_acceptor(&acceptor, args[0], none);
	bytes = take_pair(&acceptor, args[1]);
	token = buf_span(&bytes);
	if (ask_copy(&acceptor, token, token.len, 0) != VERDICT_VALID)
		try_die("the whole token is not valid");
	for (size_t len = 0; len < token.len; len++)
		cut[ask_copy(&acceptor, span_first(token, len), token.len, 0)]++;
	for (size_t at = 0; at < token.len; at++)
		for (unsigned by = 1; by < 0x100; by = by * 3 + 1)
			changed[ask_copy(&acceptor, token, at, (uint8_t)by)]++;
	printf("{\"tried\": %zu, \"cut_valid\": %u, \"changed_valid\": %u, \"unavailable\": %u}\n", token.len,
	       cut[VERDICT_VALID] + cut[VERDICT_CONTINUE], changed[VERDICT_VALID],
	       cut[VERDICT_UNAVAILABLE] + changed[VERDICT_UNAVAILABLE]);
	buf_fini(&bytes);
	close_acceptor(&acceptor);
	return 0;
}

int try_talk(int count, char **args)
{
	struct acceptor acceptor;
	struct client client;
	struct answer answer;
	char none[] = "-";
	struct buf token;
	unsigned legs = 1;

	if (count != 4)
		return 2;
	buf_init(&token, TOKEN_MAX_BYTES);
	open_acceptor(&acceptor, args[0], none);
	use_keytab(&acceptor, args[1]);
	begin(&client, args[2], args[3], &token);
	while (ask_gss(&acceptor, buf_span(&token), legs == 1 ? 0 : answer.context, &answer) == VERDICT_CONTINUE &&
	       legs < 5) {
		buf_reset(&token);
		go_on(&client, buf_span(&answer.token), &token);
		answer_fini(&answer);
		legs++;
	}
	try_print(&answer, legs);
	answer_fini(&answer);
	buf_fini(&token);
	end(&client);
	close_acceptor(&acceptor);
	return 0;
}

/* The bytes that pac_read_groups() gets: for the corpus of its fuzz target. */
int try_pac(int count, char **args)
{
	static char logon_info[] = "urn:mspac:logon-info";
	gss_buffer_desc attribute = {sizeof(logon_info) - 1, logon_info}, value = GSS_C_EMPTY_BUFFER, input;
	gss_key_value_element_desc element = {"keytab", NULL};
	gss_key_value_set_desc store = {1, &element};
	gss_OID_desc mech = gss_mech_kerberos;
	gss_OID_set_desc mechs = {1, &mech};
	gss_cred_id_t credential = GSS_C_NO_CREDENTIAL;
	gss_ctx_id_t context = GSS_C_NO_CONTEXT;
	gss_buffer_desc output = GSS_C_EMPTY_BUFFER;
	gss_name_t name = GSS_C_NO_NAME;
	int more = -1;
	struct buf token;
	OM_uint32 minor;

	if (count != 3)
		return 2;
	element.value = args[0];
	token = try_read(args[1]);
	input = (gss_buffer_desc){buf_len(&token), token.at + token.start};
	must(gss_acquire_cred_from(&minor, GSS_C_NO_NAME, 0, &mechs, GSS_C_ACCEPT, &store, &credential, NULL, NULL), &minor,
	     "keytab");
	must(gss_accept_sec_context(&minor, &context, credential, &input, NULL, &name, NULL, &output, NULL, NULL, NULL), &minor,
	     "token");
	must(gss_get_name_attribute(&minor, name, &attribute, NULL, NULL, &value, NULL, &more), &minor, "PAC");
	try_write(args[2], span_of(value.value, value.length));
	return 0;
}
