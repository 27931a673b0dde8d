/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/auth_conf.h"

#include <string.h>

#include "auth/fold.h"

enum { SCHEMES_MAX = AUTH_SCHEME_COUNT, PATHS_MAX = 64 };

#define WRONG(loading, node, ...) conf_problem(loading, PROBLEM_ERROR, node, __VA_ARGS__)
#define ROW(struct_, key, type_, member, ...) \
	{.name = key, .type = type_, .offset = CONF_AT(struct_, member), __VA_ARGS__}

/* ---- lists of words ---- */

static const struct yaml_node *first_of(const struct yaml_node *node)
{
	return node == NULL || node->kind == YAML_NULL ? NULL : node->kind == YAML_SEQUENCE ? node->first : node;
}

static const struct yaml_node *next_of(const struct yaml_node *list, const struct yaml_node *node)
{
	return list->kind == YAML_SEQUENCE ? node->next : NULL;
}

/* Words of `names` in the order written, each once; as their numbers. */
static size_t parse_words(struct conf_loading *loading, const struct yaml_node *node, const char *key,
                          const char *const *names, size_t name_count, uint8_t *out)
{
	size_t count = 0;

	for (const struct yaml_node *n = first_of(node); n; n = next_of(node, n)) {
		const char *near = conf_nearest(n->text, names, name_count);
		size_t at = 0;

		while (at < name_count && !span_equal_nocase(n->text, span_from(names[at])))
			at++;
		if (n->kind != YAML_SCALAR || at == name_count)
			WRONG(loading, n, "%s: there is no \"%.*s\"%s%s%s", key, SPAN_ARG(n->text),
			      near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
		else if (memchr(out, (int)at, count))
			WRONG(loading, n, "%s: %s stands there twice", key, names[at]);
		else
			out[count++] = (uint8_t)at;
	}
	return count;
}

static void parse_offer(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	static const char *const names[AUTH_SCHEME_COUNT] = {
#define SCHEME_KEY(id, key, wire) [AUTH_##id] = key,
		AUTH_SCHEMES(SCHEME_KEY)
#undef SCHEME_KEY
	};
	struct auth_offer *offer = at;

	*offer = (struct auth_offer){.is_set = node != NULL};
	offer->count = (uint8_t)parse_words(loading, node, "schemes", names, COUNT_OF(names), offer->schemes);
}

static const char *const algorithm_names[] = {"MD5", "SHA-256", "MD5-sess", "SHA-256-sess"};
static const uint8_t algorithm_values[] = {DIGEST_MD5, DIGEST_SHA256, DIGEST_MD5 | DIGEST_SESSION,
                                           DIGEST_SHA256 | DIGEST_SESSION};

static void parse_algorithms(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	struct digest_conf *digest = (void *)((uint8_t *)at - offsetof(struct digest_conf, algorithms));

	if (node == NULL) {
		digest->algorithms[0] = DIGEST_SHA256;
		digest->algorithms[1] = DIGEST_MD5;
		digest->algorithm_count = 2;
		return;
	}
	digest->algorithm_count = (uint8_t)parse_words(loading, node, "algorithms", algorithm_names,
	                                               COUNT_OF(algorithm_names), digest->algorithms);
	for (size_t i = 0; i < digest->algorithm_count; i++)
		digest->algorithms[i] = algorithm_values[digest->algorithms[i]];
	if (digest->algorithm_count == 0)
		WRONG(loading, node, "algorithms: at least one is needed, such as [SHA-256, MD5]");
}

static const char *const basic_names[BASIC_BACKEND_COUNT] = {"users", "ldap", "pam"};

static void parse_basic_backends(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	struct basic_conf *basic = (void *)((uint8_t *)at - offsetof(struct basic_conf, backends));

	basic->backends[0] = BASIC_BACKEND_USERS;
	basic->backend_count = 1;
	if (node == NULL)
		return;
	basic->backend_count = (uint8_t)parse_words(loading, node, "backends", basic_names, BASIC_BACKEND_COUNT,
	                                            basic->backends);
	if (basic->backend_count == 0)
		WRONG(loading, node, "backends: at least one is needed: users, ldap, pam");
}

static void parse_paths(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	struct conf_texts *paths = at;
	const char **items = arena_alloc(conf_arena(loading), PATHS_MAX * sizeof(*items));

	*paths = (struct conf_texts){items, 0};
	if (items == NULL) {
		WRONG(loading, node, "the configuration is too large");
		return;
	}
	for (const struct yaml_node *n = first_of(node); n; n = next_of(node, n)) {
		const char *path = n->kind == YAML_SCALAR && n->text.len ? conf_path(loading, n->text) : NULL;

		if (path == NULL)
			WRONG(loading, n, "users: write the path of a file, or a list of them");
		else if (paths->count == PATHS_MAX)
			WRONG(loading, n, "users: more than %d files", PATHS_MAX);
		else
			items[paths->count++] = path;
	}
}

/* ---- groups ---- */

static const struct conf_choice switch_choices[] = {
	{"inherit", AUTH_SWITCH_INHERIT}, {"off", AUTH_SWITCH_OFF}, {"no", AUTH_SWITCH_OFF}, {"false", AUTH_SWITCH_OFF},
	{"on", AUTH_SWITCH_ON}, {"yes", AUTH_SWITCH_ON}, {"true", AUTH_SWITCH_ON}, {NULL, 0}};

#define NETWORK(key, type_, member, ...) ROW(struct auth_network_conf, key, type_, member, .reload = CONF_LIVE, __VA_ARGS__)
static const struct conf_option network_options[] = {
	NETWORK("from", CONF_NETWORKS, from, .preset = "[]", .manual = "Addresses of these clients; none: all."),
	NETWORK("listener", CONF_TEXTS, listeners, .preset = "[]",
	        .manual = "Names of the listeners where they come in; none: all."),
	NETWORK("schemes", CONF_PARSED, offer, .preset = "", .parse = parse_offer,
	        .type_text = "list of negotiate, ntlm, digest, basic",
	        .manual = "What these are offered, in this order; left out: as authentication.schemes says."),
	NETWORK("require_mic", CONF_CHOICE, require_mic, .preset = "inherit", .choices = switch_choices,
	        .manual = "As authentication.ntlm.require_mic, for these."),
	NETWORK("allow_v1", CONF_CHOICE, allow_v1, .preset = "inherit", .choices = switch_choices,
	        .manual = "As authentication.ntlm.allow_v1, for these."),
	CONF_END};

#define DIGEST(key, type_, member, ...) ROW(struct digest_conf, key, type_, member, .reload = CONF_LIVE, __VA_ARGS__)
static const struct conf_option digest_options[] = {
	DIGEST("algorithms", CONF_PARSED, algorithms, .preset = "[SHA-256, MD5]", .parse = parse_algorithms,
	       .type_text = "list of SHA-256, MD5, SHA-256-sess, MD5-sess",
	       .manual = "In the order in which they are offered. curl and Chromium take the first that they know, Java the last, Firefox "
	                 "the strongest; Java 25 refuses MD5, and old WinHTTP knows nothing else. [MD5, SHA-256] is what all of them can do."),
	DIGEST("userhash", CONF_BOOL, userhash, .preset = "false",
	       .manual = "Offer that clients hash the user's name (RFC 7616 section 3.4.4). Answers with one are understood in any case."),
	DIGEST("nonce_time", CONF_TIME_MS, nonce_ms, .min = 10000, .max = 86400000, .preset = "30m",
	       .manual = "How long a nonce may be used; then clients are given a new one without asking people (stale)."),
	ROW(struct digest_conf, "key", CONF_PATH, key, .preset = "", .reload = CONF_RESTART,
	    .manual = "File with a secret of at least 32 bytes that signs nonces. Several nodes with the same file take each other's nonces; "
	              "without one a key is made at each start. Each node counts uses on its own."),
	CONF_END};

static const struct conf_choice ntlm_backends[] = {
	{"users", NTLM_BACKEND_USERS}, {"winbind", NTLM_BACKEND_WINBIND}, {NULL, 0}};

#define NTLM(key, type_, member, ...) ROW(struct ntlm_conf, key, type_, member, .reload = CONF_LIVE, __VA_ARGS__)
static const struct conf_option ntlm_options[] = {
	NTLM("backend", CONF_CHOICE, backend, .preset = "users", .choices = ntlm_backends,
	     .manual = "users: NT hashes in the user file. winbind: the domain that this machine has joined (Samba's winbindd)."),
	NTLM("allow_v1", CONF_BOOL, allow_v1, .preset = "false",
	     .manual = "Accept NTLMv1, too. One answer of it is enough to find the password: only for devices that can do nothing else, and then by "
	               "network (authentication.networks)."),
	NTLM("require_mic", CONF_BOOL, require_mic, .preset = "false",
	     .manual = "Refuse clients that do not protect the three messages by a MIC: curl, Java, Firefox and cntlm do not, Windows, Chromium and Edge do."),
	NTLM("domain", CONF_TEXT, domain, .max = 15, .preset = "",
	     .manual = "NetBIOS name of the domain that clients are told; empty: that of the joined machine, or the host's name."),
	NTLM("computer", CONF_TEXT, computer, .max = 15, .preset = "",
	     .manual = "NetBIOS name of this machine that clients are told; empty: as with domain. With winbind it must be the joined machine's."),
	NTLM("skew", CONF_TIME_MS, skew_ms, .min = 1000, .max = 129600000, .preset = "30m",
	     .manual = "How far the time in a client's answer may be from ours."),
	CONF_END};

static const struct conf_choice negotiate_group_choices[] = {
	{"pac", NEGOTIATE_GROUPS_PAC}, {"users", NEGOTIATE_GROUPS_USERS}, {"ldap", NEGOTIATE_GROUPS_LDAP}, {NULL, 0}};

#define NEGOTIATE(key, type_, member, ...) ROW(struct negotiate_conf, key, type_, member, .reload = CONF_LIVE, __VA_ARGS__)
static const struct conf_option negotiate_options[] = {
	NEGOTIATE("keytab", CONF_PATH, keytab, .preset = "",
	          .manual = "Keys of the service HTTP/name-of-the-proxy, for Kerberos; read again when the file changes. Empty: no Kerberos."),
	NEGOTIATE("ntlm", CONF_BOOL, ntlm, .preset = "true",
	          .manual = "Accept NTLM inside Negotiate, wrapped in SPNEGO or raw, as authentication.ntlm says; also where a ticket cannot be for us."),
	NEGOTIATE("services", CONF_TEXTS, services, .preset = "[]",
	          .manual = "Services whose tickets are accepted, as HTTP@proxy.example.com; none: every key of the keytab."),
	NEGOTIATE("groups", CONF_CHOICE, groups, .preset = "pac", .choices = negotiate_group_choices,
	          .manual = "Where groups of users with a ticket come from: the ticket itself (Active Directory's PAC; names by winbind where it runs, else "
	                    "S-1-5-..), the user file, or LDAP."),
	CONF_END};

static const struct conf_option basic_options[] = {
	ROW(struct basic_conf, "backends", CONF_PARSED, backends, .preset = "[users]", .reload = CONF_LIVE,
	    .parse = parse_basic_backends, .type_text = "list of users, ldap, pam",
	    .manual = "Where passwords are checked, in this order: the next is asked where one does not know the user."),
	CONF_END};

static const struct conf_choice ldap_group_choices[] = {
	{"none", LDAP_GROUPS_NONE}, {"member-of", LDAP_GROUPS_MEMBER_OF}, {"nested", LDAP_GROUPS_NESTED},
	{"member", LDAP_GROUPS_MEMBER}, {NULL, 0}};

static bool is_local(struct span server)
{
	struct span host = span_skip(server, 7);

	return span_starts_with(host, SPAN("127.")) || span_starts_with(host, SPAN("localhost")) ||
	       span_starts_with(host, SPAN("[::1]"));
}

static void check_ldap(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const struct ldap_conf *ldap = at;

	for (size_t i = 0; i < ldap->servers.count; i++) {
		struct span server = span_from(ldap->servers.at[i]);
		bool clear = span_starts_with(server, SPAN("ldap://"));

		if (!clear && !span_starts_with(server, SPAN("ldaps://")) && !span_starts_with(server, SPAN("ldapi://")))
			WRONG(loading, node, "servers: write %s as ldaps://HOST[:PORT], or ldap:// with starttls: true",
			      ldap->servers.at[i]);
		else if (clear && !ldap->starttls && !is_local(server))
			WRONG(loading, node, "servers: passwords would go to %s in clear; write ldaps://, or starttls: true",
			      ldap->servers.at[i]);
	}
	if (ldap->servers.count && ldap->template[0] == 0 && ldap->base[0] == 0)
		WRONG(loading, node, "ldap: say how users are found: base: dc=ad,dc=test with a filter, or template: \"{user}@ad.test\"");
	if (ldap->groups != LDAP_GROUPS_NONE && ldap->servers.count && ldap->base[0] == 0)
		WRONG(loading, node, "ldap: groups need a base to search them under, such as dc=ad,dc=test");
}

#define LDAP(key, type_, member, ...) ROW(struct ldap_conf, key, type_, member, .reload = CONF_LIVE, __VA_ARGS__)
static const struct conf_option ldap_options[] = {
	LDAP("servers", CONF_TEXTS, servers, .preset = "[]",
	     .manual = "Directories, such as ldaps://dc1.ad.test; the next one is asked where one does not answer."),
	LDAP("starttls", CONF_BOOL, starttls, .preset = "false", .manual = "Begin TLS on ldap:// connections, and send nothing without it."),
	LDAP("ca", CONF_PATH, ca, .preset = "", .manual = "Authorities that sign the directories' certificates; empty: those of the system."),
	LDAP("template", CONF_TEXT, template, .preset = "",
	     .manual = "Bind as this: {user}@ad.test, or uid={user},ou=people,dc=example. {user} is the name without its domain, {name} the "
	               "whole. Empty: search for the user with base and filter, and bind as what is found."),
	LDAP("bind_dn", CONF_TEXT, bind_dn, .preset = "", .manual = "Who searches; empty: nobody in particular."),
	LDAP("password_file", CONF_PATH, password_file, .preset = "", .manual = "File with the password of bind_dn, in its first line."),
	LDAP("base", CONF_TEXT, base, .preset = "", .manual = "Where users and groups are searched, such as dc=ad,dc=test."),
	LDAP("filter", CONF_TEXT, filter, .preset = "(sAMAccountName={user})", .manual = "How a user is found; {user} and {name} as in template."),
	LDAP("groups", CONF_CHOICE, groups, .preset = "none", .choices = ldap_group_choices,
	     .manual = "Groups of users: member-of reads the user's memberOf; nested asks Active Directory for groups in groups, too; member "
	               "searches groups that name the user, as OpenLDAP has them, and the groups that name these."),
	LDAP("timeout", CONF_TIME_MS, timeout_ms, .min = 100, .max = 60000, .preset = "3s",
	     .manual = "For each step: to connect, to bind, to search."),
	CONF_END};

#define PAM(key, type_, member, ...) ROW(struct pam_conf, key, type_, member, .reload = CONF_LIVE, __VA_ARGS__)
static const struct conf_option pam_options[] = {
	PAM("service", CONF_TEXT, service, .min = 1, .max = 64, .preset = "sallyport", .manual = "The stack in /etc/pam.d that is asked."),
	PAM("folder", CONF_PATH, folder, .preset = "", .manual = "Another folder of stacks; empty: /etc/pam.d."),
	PAM("timeout", CONF_TIME_MS, timeout_ms, .min = 100, .max = 60000, .preset = "5s", .manual = "For the whole stack."),
	CONF_END};

#define FAILURES(key, type_, member, ...) ROW(struct failures_conf, key, type_, member, .reload = CONF_LIVE, __VA_ARGS__)
static const struct conf_option failures_options[] = {
	FAILURES("per_client", CONF_COUNT, per_client, .min = 0, .max = 1000000, .preset = "100",
	         .manual = "So many failures of one address (of IPv6: one /64) at once; then its further attempts are answered with 429 until some of "
	                   "them are forgotten. Who was verified from there lately goes on. 0 is no limit."),
	FAILURES("per_user", CONF_COUNT, per_user, .min = 0, .max = 1000000, .preset = "20",
	         .manual = "The same for one user from one address, so that nobody can lock out others."),
	FAILURES("every", CONF_TIME_MS, every_ms, .min = 10, .max = 3600000, .preset = "3s",
	         .manual = "One failure is forgotten after each such time."),
	CONF_END};

void auth_conf_check(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const struct auth_conf *auth = at;

	fold_init();
	if (span_find(span_from(auth->realm), '"') < strlen(auth->realm) ||
	    span_find(span_from(auth->realm), '\\') < strlen(auth->realm) || span_find(span_from(auth->realm), ':') < strlen(auth->realm))
		WRONG(loading, node, "realm: write it without \", \\ and :");
	if (auth_conf_uses_basic(auth, BASIC_BACKEND_LDAP) && auth->ldap.servers.count == 0)
		WRONG(loading, node, "basic.backends: ldap needs ldap.servers, such as [ldaps://dc1.example.com]");
	if (auth->negotiate.groups == NEGOTIATE_GROUPS_LDAP && auth->ldap.servers.count == 0)
		WRONG(loading, node, "negotiate.groups: ldap needs ldap.servers");
	if (auth_conf_uses(auth, AUTH_NEGOTIATE) && auth->negotiate.keytab[0] == 0 && !auth->negotiate.ntlm)
		WRONG(loading, node, "schemes: negotiate has neither Kerberos (negotiate.keytab) nor NTLM (negotiate.ntlm) inside");
	if (auth->users.count == 0 && auth_conf_uses_users(auth))
		WRONG(loading, node, "users: name the user file (sallyport user add writes it): %s", "users: users");
}

#define AUTH(key, type_, member, ...) ROW(struct auth_conf, key, type_, member, .reload = CONF_LIVE, __VA_ARGS__)
#define AUTH_GROUP(key, member, group_, ...) \
	{.name = key, .type = CONF_GROUP, .offset = CONF_AT(struct auth_conf, member), .group = group_, __VA_ARGS__}

const struct conf_option auth_options[] = {
	AUTH("realm", CONF_TEXT, realm, .min = 1, .max = 128, .preset = "Sallyport",
	     .manual = "What people are told that they log on to. HA1s of Digest are made for one realm: change it, and passwords must be set again."),
	AUTH("schemes", CONF_PARSED, offer, .preset = "[]", .parse = parse_offer, .type_text = "list of negotiate, ntlm, digest, basic",
	     .manual = "How clients are asked who they are, in the order in which it is offered, strongest first; []: nobody is asked. Where "
	               "clients have no ticket, curl --proxy-anyauth and git fail if negotiate is offered."),
	AUTH("networks", CONF_GROUPS, networks, .preset = "[]", .group = network_options,
	     .item_bytes = sizeof(struct auth_network_conf),
	     .manual = "Classes of devices that can do less, or must do more; the first that matches a client holds."),
	AUTH("users", CONF_PARSED, users, .preset = "", .parse = parse_paths, .type_text = "file, or a list of files",
	     .manual = "User files: of sallyport user, htpasswd and htdigest. Read again when they change."),
	AUTH("domains", CONF_TEXT_MAP, domains, .preset = "",
	     .manual = "What stands for a domain or realm in names: {ADTEST: \"\", AD.TEST: \"\"} makes ADTEST\\alice and alice@AD.TEST alice; {ADTEST: "
	               "ad.test} makes it alice@ad.test. Names of these domains are in lower case. Others stay: alice@other."),
	AUTH("default_domain", CONF_TEXT, default_domain, .max = 255, .preset = "",
	     .manual = "The domain of names that come without one."),
	AUTH("cache_time", CONF_TIME_MS, cache_ms, .min = 0, .max = 3600000, .preset = "60s",
	     .manual = "How long a worker takes a password or an HA1 for good without asking again; 0 asks each time."),
	AUTH("threads", CONF_COUNT, threads, .min = 1, .max = 64, .preset = "8", .manual = "Verifications at once, for each backend."),
	AUTH("queue", CONF_COUNT, queue, .min = 1, .max = 100000, .preset = "1000",
	     .manual = "Verifications that wait for one backend; more are answered with 503."),
	AUTH_GROUP("digest", digest, digest_options, .manual = "Digest (RFC 7616)."),
	AUTH_GROUP("ntlm", ntlm, ntlm_options, .manual = "NTLM, as a scheme and inside Negotiate."),
	AUTH_GROUP("negotiate", negotiate, negotiate_options, .manual = "Negotiate (RFC 4559)."),
	AUTH_GROUP("basic", basic, basic_options, .manual = "Basic (RFC 7617)."),
	AUTH_GROUP("ldap", ldap, ldap_options, .manual = "Directories that check passwords and know groups.", .check = check_ldap),
	AUTH_GROUP("pam", pam, pam_options, .manual = "PAM, for passwords."),
	AUTH_GROUP("failures", failures, failures_options, .manual = "Guessing of passwords."),
	CONF_END};

/* ---- questions ---- */

bool auth_offer_has(const struct auth_offer *offer, enum auth_scheme scheme)
{
	for (size_t i = 0; i < offer->count; i++)
		if (offer->schemes[i] == scheme)
			return true;
	return false;
}

static bool matches(const struct auth_network_conf *network, const struct address *client, struct span listener)
{
	bool from = network->from.count == 0, at = network->listeners.count == 0;

	for (size_t i = 0; i < network->from.count && !from; i++)
		from = network_has(&network->from.at[i], client);
	for (size_t i = 0; i < network->listeners.count && !at; i++)
		at = span_equal(span_from(network->listeners.at[i]), listener);
	return from && at;
}

const struct auth_offer *auth_conf_offer(const struct auth_conf *conf, const struct address *client,
                                         struct span listener, const struct auth_network_conf **network)
{
	const struct auth_network_conf *networks = conf->networks.at;

	*network = NULL;
	for (size_t i = 0; i < conf->networks.count; i++) {
		if (!matches(&networks[i], client, listener))
			continue;
		*network = &networks[i];
		return networks[i].offer.is_set ? &networks[i].offer : &conf->offer;
	}
	return &conf->offer;
}

static bool is_on(bool general, int own)
{
	return own == AUTH_SWITCH_INHERIT ? general : own == AUTH_SWITCH_ON;
}

bool auth_conf_allow_v1(const struct auth_conf *conf, const struct auth_network_conf *network)
{
	return is_on(conf->ntlm.allow_v1, network ? network->allow_v1 : AUTH_SWITCH_INHERIT);
}

bool auth_conf_require_mic(const struct auth_conf *conf, const struct auth_network_conf *network)
{
	return is_on(conf->ntlm.require_mic, network ? network->require_mic : AUTH_SWITCH_INHERIT);
}

bool auth_conf_uses(const struct auth_conf *conf, enum auth_scheme scheme)
{
	const struct auth_network_conf *networks = conf->networks.at;

	for (size_t i = 0; i < conf->networks.count; i++)
		if (networks[i].offer.is_set && auth_offer_has(&networks[i].offer, scheme))
			return true;
	return auth_offer_has(&conf->offer, scheme);
}

bool auth_conf_uses_basic(const struct auth_conf *conf, enum basic_backend backend)
{
	return auth_conf_uses(conf, AUTH_BASIC) && memchr(conf->basic.backends, (int)backend, conf->basic.backend_count);
}

bool auth_conf_uses_ntlm(const struct auth_conf *conf, enum ntlm_backend backend)
{
	return conf->ntlm.backend == (int)backend &&
	       (auth_conf_uses(conf, AUTH_NTLM) || (auth_conf_uses(conf, AUTH_NEGOTIATE) && conf->negotiate.ntlm));
}

bool auth_conf_uses_users(const struct auth_conf *conf)
{
	return auth_conf_uses(conf, AUTH_DIGEST) || auth_conf_uses_basic(conf, BASIC_BACKEND_USERS) ||
	       auth_conf_uses_ntlm(conf, NTLM_BACKEND_USERS);
}

bool auth_conf_is_on(const struct auth_conf *conf)
{
	for (enum auth_scheme scheme = 0; scheme < AUTH_SCHEME_COUNT; scheme++)
		if (auth_conf_uses(conf, scheme))
			return true;
	return false;
}

/* ---- names ---- */

static const char *find_domain(const struct auth_conf *conf, struct span domain)
{
	for (size_t i = 0; i < conf->domains.count; i++)
		if (span_equal_nocase(span_from(conf->domains.at[i].name), domain))
			return conf->domains.at[i].text;
	return NULL;
}

void auth_conf_map_name(const struct auth_conf *conf, struct span name, struct buf *out)
{
	size_t slash = span_find(name, '\\'), at = span_find_last(name, '@');
	struct span user = name, domain = span_from(conf->default_domain);
	const char *mapped;

	if (slash < name.len) {
		user = span_skip(name, slash + 1);
		domain = span_first(name, slash);
	} else if (at < name.len && at > 0) {
		user = span_first(name, at);
		domain = span_skip(name, at + 1);
	}
	mapped = domain.len ? find_domain(conf, domain) : "";
	if (domain.len && mapped)
		fold_lower(user, out);
	else
		buf_add(out, user);
	if (mapped == NULL || mapped[0]) {
		buf_add_byte(out, '@');
		if (mapped)
			buf_add_string(out, mapped);
		else
			fold_lower(domain, out);
	}
}
