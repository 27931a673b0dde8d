/* SPDX-License-Identifier: Apache-2.0 */
/* sallyport auth test: asks the configured backends as the proxy would, in this process, and says which leg failed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/backend/backend.h"
#include "auth/backend/gss.h"
#include "auth/backend/kerberos_client.h"
#include "auth/backend/ldap.h"
#include "auth/backend/users.h"
#include "auth/backend/winbind.h"
#include "auth/scheme/digest_proof.h"
#include "auth/scheme/ntlm.h"
#include "base/clock.h"
#include "cli/command.h"
#include "cli/password.h"
#include "process/auth_files.h"

enum { FILE_MAX_BYTES = 256 << 20, NAMES = 4, NAME_MAX_BYTES = 1024, TOKEN_MAX_BYTES = 65536 };
#define FILETIME_OF_1970 UINT64_C(116444736000000000)

struct auth_job {
	const struct command_line *line;
	struct settings settings;
	struct arena arena;
	struct backend_env env;
	struct users *users;
	struct secret password, ldap_password;
	struct span user;
	char keytab[4200];
};

/* ---- what is asked with ---- */

static bool load(struct auth_job *job, const char *path)
{
	const struct auth_conf *conf = &job->settings.auth;
	struct users_source *sources;
	struct auth_files files;
	struct problems problems;
	struct span text;
	bool well;

	problems_init(&problems);
	well = yaml_read_file(path, 4 << 20, &job->arena, &problems, &text) == ERR_NONE &&
	       settings_load(text, path, &job->arena, &problems, &job->settings) == ERR_NONE &&
	       auth_files_read(conf, path, &problems, &files) == ERR_NONE;
	if (well)
		auth_files_close(&files);
	sources = well ? arena_alloc(&job->arena, (conf->users.count + 1) * sizeof(*sources)) : NULL;
	well = sources != NULL;
	for (size_t i = 0; well && i < conf->users.count && access(conf->users.at[i], F_OK) == 0; i++) {
		sources[i].path = conf->users.at[i];
		well = yaml_read_file(conf->users.at[i], FILE_MAX_BYTES, &job->arena, &problems, &sources[i].text) == ERR_NONE;
	}
	if (well && auth_conf_uses_users(conf))
		well = users_load(sources, conf->users.count, span_from(conf->realm), &problems, &job->users) == ERR_NONE;
	if (well && conf->ldap.password_file[0]) {
		well = yaml_read_file(conf->ldap.password_file, 4096, &job->arena, &problems, &text) == ERR_NONE &&
		       secret_init(&job->ldap_password, span_first(text, span_find(text, '\n')));
		job->env.ldap_password = &job->ldap_password;
	}
	command_print_problems(&problems);
	problems_fini(&problems);
	return well;
}

/* ---- legs ---- */

static bool say(const char *leg, bool well, const char *format, ...) PRINTF_LIKE(3, 4);
static bool say(const char *leg, bool well, const char *format, ...)
{
	va_list args;

	printf("  %-6s %s", well ? "ok" : "FAILED", leg);
	if (format[0]) {
		printf(": ");
		va_start(args, format);
		vprintf(format, args);
		va_end(args);
	}
	printf("\n");
	return well;
}

static void say_identity(const struct auth_job *job, const struct answer *answer)
{
	struct span rest = buf_span(&answer->groups), group;
	struct buf name;
	int count = 0;

	buf_init(&name, TOKEN_MAX_BYTES * 2);
	auth_conf_map_name(&job->settings.auth, buf_span(&answer->user), &name);
	printf("user      %.*s", SPAN_ARG(buf_span(&name)));
	if (!span_equal(buf_span(&name), buf_span(&answer->user)))
		printf(" (the backend says %.*s; authentication.domains)", SPAN_ARG(buf_span(&answer->user)));
	printf("\ngroups    ");
	while (rest.len && span_split(&rest, 0, &group)) {
		if (group.len == 0)
			continue;
		buf_reset(&name);
		auth_conf_map_name(&job->settings.auth, group, &name);
		printf("%s%.*s", count++ ? ", " : "", SPAN_ARG(buf_span(&name)));
	}
	printf("%s\n", count ? "" : "none");
	buf_fini(&name);
}

/* One question to one backend, with a thread of its own as the verifier's have one. */
static enum ask_verdict ask_backend(const struct auth_job *job, const struct backend *backend, const struct ask *ask,
                                    struct answer *answer)
{
	/* As in the verifier: a directory that hangs up is an answer, not an end. */
	void (*before)(int) = signal(SIGPIPE, SIG_IGN);
	void *thread = backend->open ? backend->open() : NULL;
	uint64_t before_ms = clock_monotonic_ms();
	enum ask_verdict verdict = backend->verify(thread, &job->env, ask, answer);
	unsigned long long took_ms = clock_monotonic_ms() - before_ms;

	if (backend->close)
		backend->close(thread);
	signal(SIGPIPE, before);
	if (verdict == VERDICT_VALID)
		say(backend->name, true, "valid, in %llu ms", took_ms);
	else
		say(backend->name, verdict == VERDICT_CONTINUE, "%.*s, in %llu ms", SPAN_ARG(buf_span(&answer->why)), took_ms);
	return verdict;
}

static int finish(const struct auth_job *job, enum ask_verdict verdict, struct answer *answer)
{
	if (verdict == VERDICT_VALID)
		say_identity(job, answer);
	answer_fini(answer);
	return verdict == VERDICT_VALID ? EXIT_WELL : EXIT_FINDING;
}

static int test_basic(struct auth_job *job)
{
	static const struct backend *const backends[BASIC_BACKEND_COUNT] = {&backend_users, &backend_ldap, &backend_pam};
	const struct basic_conf *conf = &job->settings.auth.basic;
	struct ask ask = {.kind = ASK_PASSWORD,
	                  .user = job->user,
	                  .password = span_of(job->password.at, job->password.len)};
	enum ask_verdict verdict = VERDICT_UNKNOWN_USER;
	struct answer answer;

	answer_init(&answer);
	for (size_t i = 0; i < conf->backend_count && verdict == VERDICT_UNKNOWN_USER; i++) {
		answer_fini(&answer);
		answer_init(&answer);
		verdict = ask_backend(job, backends[conf->backends[i]], &ask, &answer);
	}
	return finish(job, verdict, &answer);
}

/* Each algorithm that is offered: a user may have verifiers for some of them. */
static int test_digest(struct auth_job *job)
{
	const struct digest_conf *conf = &job->settings.auth.digest;
	struct span realm = span_from(job->settings.auth.realm), password = span_of(job->password.at, job->password.len);
	enum ask_verdict verdict = VERDICT_INVALID, worst = VERDICT_VALID;
	struct answer answer;
	uint8_t ha1[DIGEST_MAX_BYTES];

	answer_init(&answer);
	for (size_t i = 0; i < conf->algorithm_count; i++) {
		struct ask ask = {.kind = ASK_DIGEST, .user = job->user, .realm = realm, .nonce = SPAN("n"), .cnonce = SPAN("c"),
		                  .nc = SPAN("00000001"), .method = SPAN("CONNECT"), .uri = SPAN("test:443"),
		                  .algorithm = (enum digest_algorithm)(conf->algorithms[i] & ~DIGEST_SESSION),
		                  .is_session = conf->algorithms[i] & DIGEST_SESSION};

		answer_fini(&answer);
		answer_init(&answer);
		if (!digest_ha1(ask.algorithm, ask.user, realm, password, ha1) ||
		    !digest_proof(ask.algorithm, ask.is_session, ha1, ask.nonce, ask.nc, ask.cnonce, ask.method, ask.uri,
		                  ask.response))
			return command_complain("OpenSSL cannot hash");
		printf("%s%s\n", ask.algorithm == DIGEST_SHA256 ? "SHA-256" : "MD5", ask.is_session ? "-sess" : "");
		verdict = ask_backend(job, &backend_users, &ask, &answer);
		worst = verdict == VERDICT_VALID ? worst : verdict;
	}
	return finish(job, worst, &answer);
}

static bool find_names(const struct auth_job *job, struct buf names[static NAMES])
{
	const struct ntlm_conf *conf = &job->settings.auth.ntlm;
	const char *why = "";
	char host[256] = "PROXY";

	if (conf->backend == NTLM_BACKEND_WINBIND) {
		bool well = winbind_names(names, &why);

		return well ? say("what winbind calls this machine", true, "%.*s in %.*s", SPAN_ARG(buf_span(&names[1])),
		                  SPAN_ARG(buf_span(&names[0])))
		            : say("what winbind calls this machine", false, "%s", why);
	}
	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = 'P';
	for (size_t i = 0; i < NAMES; i++)
		buf_add(&names[i], span_first(span_from(host), 15));
	return true;
}

/* As a client would: three messages. */
static bool make_ntlm(const struct auth_job *job, struct buf messages[static 3])
{
	size_t slash = span_find(job->user, '\\');
	struct ntlm_client client = {.user = slash < job->user.len ? span_skip(job->user, slash + 1) : job->user,
	                             .domain = slash < job->user.len ? span_first(job->user, slash) : SPAN(""),
	                             .password = span_of(job->password.at, job->password.len),
	                             .workstation = SPAN("SALLYPORT"),
	                             .v1 = job->line->options[OPTION_v1]};
	uint8_t challenge[NTLM_CHALLENGE_BYTES], key[NTLM_HASH_BYTES];
	struct ntlm_negotiate negotiate;
	struct ntlm_names names;
	struct buf texts[NAMES];
	const char *why = "";
	bool well;

	client.mic = !client.v1;
	for (size_t i = 0; i < NAMES; i++)
		buf_init(&texts[i], NAME_MAX_BYTES);
	well = find_names(job, texts);
	names = (struct ntlm_names){buf_span(&texts[0]), buf_span(&texts[1]), buf_span(&texts[2]), buf_span(&texts[3])};
	ntlm_client_negotiate(&messages[0]);
	secret_random(challenge, sizeof(challenge));
	well = well && ntlm_parse_negotiate(buf_span(&messages[0]), &negotiate, &why);
	if (well)
		ntlm_write_challenge(&negotiate, challenge, &names, FILETIME_OF_1970 + clock_wall_ms() * 10000, &messages[1]);
	well = well && ntlm_client_authenticate(&client, buf_span(&messages[0]), buf_span(&messages[1]), &messages[2], key);
	explicit_bzero(key, sizeof(key));
	for (size_t i = 0; i < NAMES; i++)
		buf_fini(&texts[i]);
	return well;
}

static int test_ntlm(struct auth_job *job)
{
	const struct auth_conf *conf = &job->settings.auth;
	struct buf messages[3];
	struct answer answer;
	const char *why = "";
	int status = EXIT_FINDING;

	answer_init(&answer);
	for (size_t i = 0; i < COUNT_OF(messages); i++)
		buf_init(&messages[i], ASK_NTLM_MAX_BYTES);
	if (!ntlm_init(&why)) {
		say("OpenSSL", false, "%s", why);
	} else if (make_ntlm(job, messages)) {
		struct ask ask = {.kind = ASK_NTLM, .negotiate = buf_span(&messages[0]), .challenge = buf_span(&messages[1]),
		                  .authenticate = buf_span(&messages[2]), .allow_v1 = conf->ntlm.allow_v1,
		                  .require_mic = conf->ntlm.require_mic};

		status = finish(job, ask_backend(job, conf->ntlm.backend == NTLM_BACKEND_WINBIND ? &backend_winbind : &backend_users,
		                                 &ask, &answer), &answer);
	}
	for (size_t i = 0; i < COUNT_OF(messages); i++)
		buf_fini(&messages[i]);
	return status;
}

/* The user gets a ticket from the KDC with the password, and shows it to the keytab. */
static int test_negotiate(struct auth_job *job)
{
	struct buf token, service, why;
	struct ask ask = {.kind = ASK_GSS};
	struct answer answer;
	const char *trouble = "";
	int status = EXIT_FINDING;

	if (job->env.keytab == NULL) {
		say("the keytab", false, "negotiate.keytab names none; NTLM inside Negotiate is tried by sallyport auth test ntlm");
		return EXIT_FINDING;
	}
	answer_init(&answer);
	buf_init(&token, TOKEN_MAX_BYTES);
	buf_init(&service, NAME_MAX_BYTES);
	buf_init(&why, NAME_MAX_BYTES);
	if (!gss_backend_init("", &trouble))
		say("GSSAPI", false, "%s", trouble);
	else if (!kerberos_client_service(job->settings.auth.negotiate.keytab, &service, &why))
		say("the keytab", false, "%.*s", SPAN_ARG(buf_span(&why)));
	else if (say("the keytab", true, "its first key is that of %.*s", SPAN_ARG(buf_span(&service))) &&
	         !kerberos_client_token(job->user, span_of(job->password.at, job->password.len), buf_span(&service), &token, &why))
		say("a ticket from the KDC", false, "%.*s", SPAN_ARG(buf_span(&why)));
	else if (say("a ticket from the KDC", true, "%s", "")) {
		ask.token = buf_span(&token);
		status = finish(job, ask_backend(job, &backend_gss, &ask, &answer), &answer);
	}
	buf_fini(&token);
	buf_fini(&service);
	buf_fini(&why);
	return status;
}

/* ---- the command ---- */

static const struct {
	const char *name;
	int (*run)(struct auth_job *job);
} schemes[] = {{"basic", test_basic}, {"digest", test_digest}, {"ntlm", test_ntlm}, {"negotiate", test_negotiate}};

static int run(struct auth_job *job, const char *path, size_t scheme)
{
	const char *trouble = "";

	if (!ldap_backend_init(&trouble))
		return command_complain("%s", trouble);
	if (!load(job, path) || !password_read(job->line->options[OPTION_user], false, &job->password))
		return EXIT_USAGE;
	if (!auth_conf_uses(&job->settings.auth, (enum auth_scheme)(AUTH_BASIC - scheme)) && scheme != 2)
		printf("note: authentication.schemes does not offer %s\n", schemes[scheme].name);
	job->env.conf = &job->settings.auth;
	job->env.users = job->users;
	job->env.pam_fd = -1;
	job->env.generation = 1;
	snprintf(job->keytab, sizeof(job->keytab), "FILE:%s", job->settings.auth.negotiate.keytab);
	job->env.keytab = job->settings.auth.negotiate.keytab[0] ? job->keytab : NULL;
	return schemes[scheme].run(job);
}

int auth_command(const struct command_line *line)
{
	struct auth_job job = {.line = line};
	const char *path = command_config(line);
	size_t scheme = 0;
	int status;

	if (line->argument == NULL || strcmp(line->argument, "test") != 0 || line->argument_count < 2)
		return command_complain("auth: write auth test basic|digest|ntlm|negotiate --user NAME");
	while (scheme < COUNT_OF(schemes) && strcmp(line->arguments[1], schemes[scheme].name) != 0)
		scheme++;
	if (scheme == COUNT_OF(schemes))
		return command_complain("auth test: there is no scheme \"%s\"; write basic, digest, ntlm or negotiate", line->arguments[1]);
	if (line->argument_count > 2)
		return command_complain("auth test: the password is asked for, or read from standard input, and never given here");
	if (line->options[OPTION_user] == NULL)
		return command_complain("auth test: whose? --user NAME");
	if (path == NULL)
		return EXIT_USAGE;
	job.user = span_from(line->options[OPTION_user]);
	arena_init(&job.arena, (size_t)FILE_MAX_BYTES * 2);
	status = run(&job, path, scheme);
	users_free(job.users);
	secret_fini(&job.password);
	secret_fini(&job.ldap_password);
	arena_fini(&job.arena);
	return status;
}
