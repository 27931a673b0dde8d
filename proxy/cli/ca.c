/* SPDX-License-Identifier: Apache-2.0 */
/* sallyport ca: the CA that signs for opened hosts. Nothing here overwrites a key: clients trust what is there. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "process/ca_files.h"
#include "process/folder.h"
#include "tls/ca_make.h"
#include "tls/ca_trust.h"

enum { DAYS_DEFAULT = 3650, DAYS_MAX = 36500, NAME_MAX_BYTES = 64, PEM_MAX_BYTES = 1 << 16, PATH_MAX_BYTES = 4096 };

struct ca_job {
	const struct command_line *line;
	const char *path;          /* of sallyport.yaml */
	struct settings settings;
	struct arena arena;
	struct problems problems;
	const char *certificate, *key; /* the files that are meant */
};

static int64_t now_s(void)
{
	return (int64_t)(clock_wall_ms() / 1000);
}

/* ---- configuration ---- */

static bool load(struct ca_job *job)
{
	const struct ca_conf *conf = &job->settings.inspection.ca;
	struct span text;
	char *absolute = realpath(job->path, NULL);
	bool well = yaml_read_file(absolute ? absolute : job->path, 4 << 20, &job->arena, &job->problems, &text) == ERR_NONE &&
	            settings_load(text, absolute, &job->arena, &job->problems, &job->settings) == ERR_NONE;

	free(absolute);
	if (!well) {
		command_print_problems(&job->problems);
		return false;
	}
	if (conf->certificate[0] == 0) {
		command_complain("%s names no CA; write\ninspection:\n  ca: {certificate: ca/ca.pem, key: ca/ca.key}", job->path);
		return false;
	}
	job->certificate = conf->certificate;
	job->key = conf->key;
	return true;
}

static const char *beside(struct ca_job *job, const char *path, const char *suffix)
{
	char *text = arena_printf(&job->arena, "%s%s", path, suffix);

	return text ? text : "";
}

static bool is_there(const char *path)
{
	struct stat stat;

	return lstat(path, &stat) == 0;
}

/* ---- making ---- */

static bool write_new(const char *path, mode_t mode, struct span content)
{
	int fd = folder_make_for(path) == ERR_NONE ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode) : -1;
	bool is_whole;

	if (fd < 0) {
		command_complain("cannot make %s: %s", path, strerror(errno));
		return false;
	}
	/* Whatever the umask says, clients' administrators copy the certificate. */
	is_whole = fchmod(fd, mode) == 0 && write(fd, content.at, content.len) == (ssize_t)content.len && fsync(fd) == 0;
	if (!is_whole)
		command_complain("cannot write %s: %s", path, strerror(errno));
	close(fd);
	if (!is_whole)
		unlink(path);
	return is_whole;
}

static bool fill_name(const struct ca_job *job, char name[static NAME_MAX_BYTES + 1])
{
	char host[NAME_MAX_BYTES + 1] = "";
	time_t now = (time_t)now_s();
	char day[16] = "";
	struct tm parts;

	if (job->line->options[OPTION_name]) {
		if (strlen(job->line->options[OPTION_name]) > NAME_MAX_BYTES || job->line->options[OPTION_name][0] == 0) {
			command_complain("--name: 1 to %d bytes", NAME_MAX_BYTES);
			return false;
		}
		snprintf(name, NAME_MAX_BYTES + 1, "%s", job->line->options[OPTION_name]);
		return true;
	}
	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = 0;
	if (gmtime_r(&now, &parts))
		strftime(day, sizeof(day), "%Y-%m-%d", &parts);
	snprintf(name, NAME_MAX_BYTES + 1, "Sallyport CA of %.30s, %s", host[0] ? host : "this host", day);
	return true;
}

static bool fill_wish(const struct ca_job *job, char name[static NAME_MAX_BYTES + 1], struct ca_wish *wish)
{
	const struct command_line *line = job->line;
	uint64_t days = DAYS_DEFAULT;
	bool is_network;

	if (line->options[OPTION_days] && (!span_to_uint(span_from(line->options[OPTION_days]), DAYS_MAX, &days) || days == 0)) {
		command_complain("--days: write a number from 1 to %d", DAYS_MAX);
		return false;
	}
	if (!fill_name(job, name))
		return false;
	*wish = (struct ca_wish){.name = span_from(name),
	                         .organization = span_from(job->settings.inspection.ca.organization),
	                         .days = (unsigned)days,
	                         .is_request = line->options[OPTION_csr] != NULL};
	for (size_t i = 0; i < line->exclude_count && i < CA_EXCLUDES_MAX; i++) {
		wish->excludes[wish->exclude_count++] = span_from(line->excludes[i]);
		if (!ca_is_exclude(span_from(line->excludes[i]), &is_network)) {
			command_complain("--exclude: \"%s\" is neither a zone such as corp.example nor a network such as 10.0.0.0/8 or fd00::/8",
			                 line->excludes[i]);
			return false;
		}
	}
	if (ca_excludes_addresses(wish))
		fprintf(stderr, "note: zones are excluded and no networks, so that https://10.1.2.3/ would be opened all the same: "
		                "all addresses are excluded, too; name networks (--exclude 10.0.0.0/8) to exclude those alone\n");
	return true;
}

static void wipe(struct buf *bytes)
{
	if (bytes->at)
		explicit_bzero(bytes->at, bytes->capacity);
	buf_fini(bytes);
}

/* Both files, or none. */
static bool make(const struct ca_wish *wish, const char *certificate_path, const char *key_path)
{
	struct buf certificate, key;
	bool well;

	buf_init(&certificate, PEM_MAX_BYTES);
	buf_init(&key, PEM_MAX_BYTES);
	well = buf_reserve(&key, PEM_MAX_BYTES) && ca_make(wish, now_s(), &certificate, &key) == ERR_NONE;
	if (!well)
		command_complain("the CA cannot be made");
	well = well && write_new(key_path, 0600, buf_span(&key));
	if (well && !write_new(certificate_path, 0644, buf_span(&certificate))) {
		unlink(key_path);
		well = false;
	}
	wipe(&key);
	buf_fini(&certificate);
	return well;
}

/* ---- saying ---- */

static void say_trust(const struct ca_job *job, const char *certificate)
{
	const struct http_host *url = &job->settings.public.url;
	const struct ca_trust_row *row;
	struct buf text;

	buf_init(&text, 1 << 16);
	buf_add_string(&text, "\nClients must trust the certificate (never give the key away). How:\n");
	for (size_t i = 0; (row = ca_trust_row(i)) != NULL; i++) {
		struct buf commands;

		buf_init(&commands, 8192);
		ca_trust_add(row, span_from(certificate), &commands);
		buf_printf(&text, "\n  %s\n", row->where);
		for (struct span rest = buf_span(&commands), line; rest.len && span_split(&rest, '\n', &line);)
			buf_printf(&text, "      %.*s\n", SPAN_ARG(line));
		buf_fini(&commands);
	}
	if (job->settings.public.address.family && url->name.len)
		buf_printf(&text, "\nThe running proxy serves the CA in force at http://%.*s:%u/ca (with these instructions), /ca.pem, "
		                  "/ca.crt and /ca.crl.\n", SPAN_ARG(url->name), url->port);
	else
		buf_add_string(&text, "\nWith public: {address: ..., url: \"http://proxy.example.com:8080\"} in the configuration, the running "
		                      "proxy serves it to clients, and its revocation list, which clients of Windows want.\n");
	printf("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

struct constraint_text {
	struct buf *out;
	const char *before;
	bool excluded, as_json;
};

static void add_constraint(void *context, bool excluded, struct span text, const struct address *base)
{
	struct constraint_text *to = context;

	(void)base;
	if (excluded != to->excluded)
		return;
	buf_add_string(to->out, to->before);
	to->before = to->as_json ? "," : ", ";
	if (to->as_json)
		buf_add_json(to->out, text);
	else
		buf_add(to->out, text);
}

static void add_constraints(const struct ca *ca, bool excluded, bool as_json, struct buf *out)
{
	struct constraint_text to = {out, "", excluded, as_json};

	ca_each_constraint(ca, add_constraint, &to);
}

static void add_serial(const struct ca *ca, struct buf *out)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(ca->certificate);

	ca_add_hex(span_of(ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial)), out);
}

static void add_key(const struct ca *ca, struct buf *out)
{
	EVP_PKEY *key = X509_get0_pubkey(ca->certificate);

	buf_printf(out, "%s with %d bits", EVP_PKEY_get0_type_name(key), EVP_PKEY_get_bits(key));
}

static void add_facts(const struct ca *ca, struct buf *out)
{
	buf_add_string(out, "subject      ");
	ca_add_name(X509_get_subject_name(ca->certificate), out);
	buf_add_string(out, "\nissuer       ");
	ca_add_name(X509_get_issuer_name(ca->certificate), out);
	buf_add_string(out, "\nserial       ");
	add_serial(ca, out);
	buf_add_string(out, "\nsha256       ");
	ca_add_hex(span_of(ca->id, sizeof(ca->id)), out);
	buf_add_string(out, "\nvalid        ");
	clock_add_rfc3339(out, (uint64_t)ca->not_before * 1000);
	buf_add_string(out, " to ");
	clock_add_rfc3339(out, (uint64_t)ca->not_after * 1000);
	buf_add_string(out, "\nkey          ");
	add_key(ca, out);
	buf_add_string(out, "\nexcluded     ");
	add_constraints(ca, true, false, out);
	buf_add_string(out, ca->is_constrained ? "\npermitted    " : "nothing\npermitted    ");
	add_constraints(ca, false, false, out);
	buf_printf(out, "\nsent         %d certificate%s behind that of the host\n", sk_X509_num(ca->chain),
	           sk_X509_num(ca->chain) == 1 ? "" : "s");
}

static void add_facts_json(const struct ca *ca, struct buf *out)
{
	struct buf text;

	buf_init(&text, 8192);
	ca_add_name(X509_get_subject_name(ca->certificate), &text);
	buf_add_string(out, "\"subject\":");
	buf_add_json(out, buf_span(&text));
	buf_reset(&text);
	ca_add_name(X509_get_issuer_name(ca->certificate), &text);
	buf_add_string(out, ",\"issuer\":");
	buf_add_json(out, buf_span(&text));
	buf_add_string(out, ",\"serial\":\"");
	add_serial(ca, out);
	buf_add_string(out, "\",\"sha256\":\"");
	ca_add_hex(span_of(ca->id, sizeof(ca->id)), out);
	buf_add_string(out, "\",\"not_before\":\"");
	clock_add_rfc3339(out, (uint64_t)ca->not_before * 1000);
	buf_add_string(out, "\",\"not_after\":\"");
	clock_add_rfc3339(out, (uint64_t)ca->not_after * 1000);
	buf_add_string(out, "\",\"key\":\"");
	add_key(ca, out);
	buf_add_string(out, "\",\"excluded\":[");
	add_constraints(ca, true, true, out);
	buf_add_string(out, "],\"permitted\":[");
	add_constraints(ca, false, true, out);
	buf_printf(out, "],\"sent\":%d,", sk_X509_num(ca->chain));
	buf_fini(&text);
}

/* ---- init ---- */

static bool refuse_force(const struct ca_job *job)
{
	if (job->line->options[OPTION_force] == NULL)
		return false;
	command_complain("there is no --force for a CA: clients trust the one that is there, and its key cannot be had again. "
	                 "sallyport ca rotate makes the next one beside it; or move the files away yourself");
	return true;
}

static bool is_free(const char *path)
{
	if (!is_there(path))
		return true;
	command_complain("%s is there already, and nothing was changed: clients may trust it. sallyport ca show says what it is, "
	                 "sallyport ca rotate makes the next one", path);
	return false;
}

static int init(struct ca_job *job)
{
	char name[NAME_MAX_BYTES + 1];
	bool is_request = job->line->options[OPTION_csr] != NULL;
	const char *made = is_request ? beside(job, job->certificate, ".csr") : job->certificate;
	struct ca_wish wish;

	if (refuse_force(job) || !is_free(job->certificate) || !is_free(job->key) || !is_free(made) || !fill_wish(job, name, &wish) ||
	    !make(&wish, made, job->key))
		return EXIT_USAGE;
	printf("made %s (%s) and %s (mode 600)\n", made, is_request ? "the request" : "the certificate", job->key);
	if (is_request)
		printf("\nHave your CA sign the request as a subordinate CA with what it asks for (CA:TRUE, pathlen 0, keyCertSign,\n"
		       "cRLSign). Then write its certificate, and behind it those of the CAs above it up to the root, into\n    %s\n"
		       "sallyport check says whether strict clients will take what it signs.\n", job->certificate);
	else
		say_trust(job, job->certificate);
	return EXIT_WELL;
}

/* ---- show ---- */

static int show_one(struct ca_job *job, const char *certificate, const char *key, const char *what, bool is_json,
                    struct buf *out)
{
	struct ca_files files;
	struct problems problems;
	enum err err;

	problems_init(&problems);
	err = ca_files_read_at(certificate, key, false, &problems, &files);
	if (is_json) {
		buf_printf(out, "%s{\"which\":\"%s\",\"certificate\":", buf_len(out) > 1 ? "," : "", what);
		buf_add_json(out, span_from(certificate));
		buf_add_byte(out, ',');
		if (files.ca)
			add_facts_json(files.ca, out);
		buf_printf(out, "\"ok\":%s,\"problems\":", err ? "false" : "true");
		problems_format_json(&problems, out);
		buf_add_byte(out, '}');
	} else {
		buf_printf(out, "%s%s: %s\n", buf_len(out) ? "\n" : "", what, certificate);
		if (files.ca)
			add_facts(files.ca, out);
		buf_printf(out, "strict checks: %s\n", err ? "refused" : problems.warning_count ? "passed, with warnings" : "passed");
		problems_format(&problems, out);
	}
	ca_files_close(&files);
	problems_fini(&problems);
	(void)job;
	return err ? EXIT_USAGE : EXIT_WELL;
}

static int show(struct ca_job *job)
{
	bool is_json = job->line->options[OPTION_json] != NULL;
	const char *next = beside(job, job->certificate, ".next");
	struct buf out;
	int status;

	buf_init(&out, 1 << 20);
	if (is_json)
		buf_add_byte(&out, '[');
	status = show_one(job, job->certificate, job->key, "in force", is_json, &out);
	if (is_there(next)) {
		int second = show_one(job, next, beside(job, job->key, ".next"), "next", is_json, &out);

		status = status ? status : second;
	}
	if (is_json)
		buf_add_string(&out, "]\n");
	printf("%.*s", SPAN_ARG(buf_span(&out)));
	buf_fini(&out);
	return status;
}

/* ---- rotate ---- */

static int make_next(struct ca_job *job, const char *certificate, const char *key)
{
	char name[NAME_MAX_BYTES + 1];
	struct ca_wish wish;

	if (!is_there(job->certificate))
		return command_complain("there is no %s yet: sallyport ca init makes it", job->certificate);
	if (job->line->options[OPTION_csr])
		return command_complain("rotate: a CA that another one signs is changed by hand: make a key and a request as for the "
		                        "first, then write both files and reload");
	if (is_there(certificate) || is_there(key))
		return command_complain("the next CA is there already (%s): have clients trust it, then sallyport ca rotate --activate; or "
		                        "remove it", certificate);
	if (!fill_wish(job, name, &wish) || !make(&wish, certificate, key))
		return EXIT_USAGE;
	printf("made the next CA: %s and %s (mode 600). The one in force stays.\n", certificate, key);
	say_trust(job, certificate);
	printf("\nOnce clients trust it: sallyport ca rotate --activate\n");
	return EXIT_WELL;
}

/* What is in force stays reachable as .previous; a name never leads to nothing. */
static bool swap(const char *path, const char *next, const char *previous)
{
	unlink(previous);
	if (link(path, previous) < 0 && errno != ENOENT) {
		command_complain("cannot keep %s as %s: %s", path, previous, strerror(errno));
		return false;
	}
	if (rename(next, path) == 0)
		return true;
	command_complain("cannot rename %s to %s: %s", next, path, strerror(errno));
	return false;
}

/* A proxy that loads between the two finds files that do not belong together, and keeps what it has. */
static int activate(struct ca_job *job, const char *certificate, const char *key)
{
	const char *old_key = beside(job, job->key, ".previous"), *old = beside(job, job->certificate, ".previous");
	struct ca_files files;

	if (!is_there(certificate) || !is_there(key))
		return command_complain("there is no next CA (%s): sallyport ca rotate makes it", certificate);
	if (ca_files_read_at(certificate, key, false, &job->problems, &files)) {
		command_print_problems(&job->problems);
		return command_complain("the next CA cannot be used, and nothing was changed");
	}
	ca_files_close(&files);
	if (!swap(job->key, key, old_key))
		return EXIT_USAGE;
	if (!swap(job->certificate, certificate, old)) {
		if (rename(job->key, key) < 0 || rename(old_key, job->key) < 0)
			command_complain("and %s is not as it was: %s has the key before", job->key, old_key);
		return EXIT_USAGE;
	}
	printf("%s is the next CA now; the one before it is kept as %s (and its key).\nNow: sallyport reload\n", job->certificate, old);
	return EXIT_WELL;
}

static int rotate(struct ca_job *job)
{
	const char *certificate = beside(job, job->certificate, ".next"), *key = beside(job, job->key, ".next");

	if (refuse_force(job))
		return EXIT_USAGE;
	return job->line->options[OPTION_activate] ? activate(job, certificate, key) : make_next(job, certificate, key);
}

/* ---- the command ---- */

int ca_command(const struct command_line *line)
{
	static const struct {
		const char *name;
		int (*run)(struct ca_job *job);
	} verbs[] = {{"init", init}, {"show", show}, {"rotate", rotate}};
	struct ca_job job = {.line = line, .path = command_config(line)};
	int status = EXIT_USAGE;

	if (job.path == NULL)
		return EXIT_USAGE;
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		if (line->argument == NULL || strcmp(line->argument, verbs[i].name) != 0)
			continue;
		arena_init(&job.arena, 64 << 20);
		problems_init(&job.problems);
		if (load(&job))
			status = verbs[i].run(&job);
		problems_fini(&job.problems);
		arena_fini(&job.arena);
		return status;
	}
	return command_complain("ca: write init, show or rotate");
}
