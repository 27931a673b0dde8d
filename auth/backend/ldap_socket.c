/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/ldap_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <openldap.h>

#include "base/clock.h"

enum { HOST_MAX_BYTES = 256, MESSAGE_MAX_BYTES = 4 << 20, KEEPALIVE_S = 60, PROBES_S = 15,
       CHANNEL_OF = 0x5a11 }; /* an option of ours for ber_sockbuf_ctrl() */

/* Below libldap. It never waits: libldap polls, with time-outs that then hold. */
struct channel {
	int fd;
	SSL *ssl;                  /* NULL: in clear */
	char host[HOST_MAX_BYTES]; /* in the certificate */
};

/* ---- what libldap calls ---- */

static int on_setup(Sockbuf_IO_Desc *layer, void *channel)
{
	layer->sbiod_pvt = channel;
	return 0;
}

static int on_remove(Sockbuf_IO_Desc *layer)
{
	struct channel *channel = layer->sbiod_pvt;

	SSL_free(channel->ssl);
	free(channel);
	layer->sbiod_pvt = NULL;
	return 0;
}

static int on_control(Sockbuf_IO_Desc *layer, int option, void *argument)
{
	struct channel *channel = layer->sbiod_pvt;

	if (option == CHANNEL_OF) {
		*(struct channel **)argument = channel;
		return 1;
	}
	return option == LBER_SB_OPT_DATA_READY && channel->ssl && SSL_pending(channel->ssl) > 0;
}

/* The result of a call of OpenSSL as that of read() or write(). */
static ber_slen_t as_system(const struct channel *channel, int result)
{
	int error_number = errno;

	if (result > 0)
		return result;
	switch (SSL_get_error(channel->ssl, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		errno = EWOULDBLOCK;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		errno = error_number ? error_number : ECONNRESET;
		return -1;
	default:
		errno = EPROTO;
		return -1;
	}
}

static int size_of(ber_len_t len)
{
	return len > INT32_MAX ? INT32_MAX : (int)len;
}

static ber_slen_t on_read(Sockbuf_IO_Desc *layer, void *bytes, ber_len_t len)
{
	struct channel *channel = layer->sbiod_pvt;

	if (channel->ssl == NULL)
		return recv(channel->fd, bytes, len, MSG_DONTWAIT);
	ERR_clear_error();
	errno = 0;
	return as_system(channel, SSL_read(channel->ssl, bytes, size_of(len)));
}

static ber_slen_t on_write(Sockbuf_IO_Desc *layer, void *bytes, ber_len_t len)
{
	struct channel *channel = layer->sbiod_pvt;

	if (channel->ssl == NULL)
		return send(channel->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	ERR_clear_error();
	errno = 0;
	return as_system(channel, SSL_write(channel->ssl, bytes, size_of(len)));
}

static int on_close(Sockbuf_IO_Desc *layer)
{
	struct channel *channel = layer->sbiod_pvt;

	if (channel->ssl)
		SSL_shutdown(channel->ssl);
	ERR_clear_error();
	return close(channel->fd);
}

static Sockbuf_IO layer_io = {
	.sbi_setup = on_setup,
	.sbi_remove = on_remove,
	.sbi_ctrl = on_control,
	.sbi_read = on_read,
	.sbi_write = on_write,
	.sbi_close = on_close,
};

/* ---- TCP ---- */

static bool wait_for(int fd, short events, uint64_t due_ms)
{
	for (;;) {
		struct pollfd one = {.fd = fd, .events = events};
		uint64_t now_ms = clock_monotonic_ms();
		int ready;

		if (now_ms >= due_ms) {
			errno = ETIMEDOUT;
			return false;
		}
		ready = poll(&one, 1, (int)(due_ms - now_ms > INT32_MAX ? INT32_MAX : due_ms - now_ms));
		if (ready > 0 || (ready < 0 && errno != EINTR))
			return ready > 0;
	}
}

static void set_up_tcp(int fd)
{
	const struct {
		int level, name, value;
	} options[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
	               {IPPROTO_TCP, TCP_NODELAY, 1},
	               {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_S},
	               {IPPROTO_TCP, TCP_KEEPINTVL, PROBES_S}};

	/* Each is good to have, none is needed. */
	for (size_t i = 0; i < COUNT_OF(options); i++)
		if (setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int)) < 0)
			errno = 0;
}

/* -1: errno. */
static int connect_to(const struct sockaddr *address, socklen_t len, uint64_t due_ms)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
	socklen_t error_len = sizeof(error);

	if (fd < 0)
		return -1;
	if (address->sa_family != AF_UNIX)
		set_up_tcp(fd);
	if (connect(fd, address, len) == 0)
		return fd;
	if (errno == EINPROGRESS && wait_for(fd, POLLOUT, due_ms) &&
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len) == 0) {
		if (error == 0)
			return fd;
		errno = error;
	}
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static int connect_by_name(const LDAPURLDesc *url, uint64_t due_ms, struct buf *why)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV};
	struct addrinfo *all = NULL;
	char port[16] = "";
	int fd = -1, result;
	struct buf text;

	buf_init(&text, sizeof(port));
	buf_printf(&text, "%u", (unsigned)url->lud_port);
	memcpy(port, buf_span(&text).at, buf_len(&text));
	buf_fini(&text);
	result = getaddrinfo(url->lud_host, port, &hints, &all);
	if (result) {
		buf_printf(why, "its name cannot be resolved: %s", gai_strerror(result));
		return -1;
	}
	for (const struct addrinfo *one = all; one && fd < 0 && clock_monotonic_ms() < due_ms; one = one->ai_next)
		fd = connect_to(one->ai_addr, one->ai_addrlen, due_ms);
	if (fd < 0)
		buf_printf(why, "no connection: %s", errno ? strerrordesc_np(errno) : "timed out");
	freeaddrinfo(all);
	return fd;
}

static int connect_by_path(const LDAPURLDesc *url, uint64_t due_ms, struct buf *why)
{
	const char *path = url->lud_host && url->lud_host[0] ? url->lud_host : "/var/run/slapd/ldapi";
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		buf_add_string(why, "the path is too long");
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	fd = connect_to((const struct sockaddr *)(const void *)&address, sizeof(address), due_ms);
	if (fd < 0)
		buf_printf(why, "no connection: %s", strerrordesc_np(errno));
	return fd;
}

/* ---- TLS ---- */

static void say_tls(const SSL *ssl, struct buf *why)
{
	long verified = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
	unsigned long error = ERR_peek_last_error();
	const char *text = ERR_reason_error_string(error);

	if (verified != X509_V_OK)
		buf_printf(why, "TLS: the certificate is not accepted: %s", X509_verify_cert_error_string(verified));
	else
		buf_printf(why, "TLS: %s", error && text ? text : errno ? strerrordesc_np(errno) : "the connection was closed");
	ERR_clear_error();
}

SSL_CTX *ldap_socket_new_tls(const char *ca, struct buf *why)
{
	SSL_CTX *tls;

	ERR_clear_error();
	tls = SSL_CTX_new(TLS_client_method());
	if (tls && SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1 &&
	    (ca[0] ? SSL_CTX_load_verify_file(tls, ca) : SSL_CTX_set_default_verify_paths(tls)) == 1) {
		SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
		SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
		return tls;
	}
	buf_printf(why, "authorities cannot be read from %s: ", ca[0] ? ca : "the system");
	say_tls(NULL, why);
	SSL_CTX_free(tls);
	return NULL;
}

void ldap_socket_free_tls(SSL_CTX *tls)
{
	SSL_CTX_free(tls);
}

/* Whom the certificate must be for. */
static bool set_host(SSL *ssl, char *host)
{
	X509_VERIFY_PARAM *wanted = SSL_get0_param(ssl);

	if (X509_VERIFY_PARAM_set1_ip_asc(wanted, host) == 1)
		return true;
	X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(wanted, host, 0) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static bool begin_tls(struct channel *channel, SSL_CTX *tls, uint64_t due_ms, struct buf *why)
{
	SSL *ssl = SSL_new(tls);
	int result = -1;

	ERR_clear_error();
	if (ssl == NULL || !set_host(ssl, channel->host) || SSL_set_fd(ssl, channel->fd) != 1) {
		say_tls(NULL, why);
		SSL_free(ssl);
		return false;
	}
	for (;;) {
		int error;

		errno = 0;
		result = SSL_connect(ssl);
		error = SSL_get_error(ssl, result);
		if (result == 1 || (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) ||
		    !wait_for(channel->fd, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, due_ms))
			break;
	}
	if (result == 1 && SSL_get_verify_result(ssl) == X509_V_OK) {
		channel->ssl = ssl;
		return true;
	}
	say_tls(ssl, why);
	SSL_free(ssl);
	return false;
}

/* ---- libldap on top ---- */

/* The channel is libldap's from here on. */
static LDAP *put_on_top(struct channel *channel, struct buf *why)
{
	/* A place where nobody listens: libldap must never connect again by itself. */
	static const char nowhere[] = "ldapi://%2Fnonexistent%2Fsallyport";
	ber_len_t most = MESSAGE_MAX_BYTES;
	Sockbuf *socket = NULL;
	LDAP *ldap = NULL;

	if (ldap_init_fd(channel->fd, LDAP_PROTO_EXT, nowhere, &ldap) == LDAP_SUCCESS &&
	    ldap_get_option(ldap, LDAP_OPT_SOCKBUF, &socket) == LDAP_OPT_SUCCESS &&
	    ber_sockbuf_add_io(socket, &layer_io, LBER_SBIOD_LEVEL_PROVIDER, channel) == 0) {
		ber_sockbuf_ctrl(socket, LBER_SB_OPT_SET_MAX_INCOMING, &most);
		return ldap;
	}
	buf_add_string(why, "libldap does not take the connection");
	if (ldap)
		ldap_unbind_ext_s(ldap, NULL, NULL);
	SSL_free(channel->ssl);
	close(channel->fd);
	free(channel);
	return NULL;
}

LDAP *ldap_socket_open(const char *server, SSL_CTX *tls, uint64_t due_ms, struct buf *why)
{
	struct channel *channel = calloc(1, sizeof(*channel));
	bool is_secure, is_local, well = false;
	LDAPURLDesc *url = NULL;

	if (channel == NULL || ldap_url_parse(server, &url) != LDAP_URL_SUCCESS || url->lud_host == NULL ||
	    strlen(url->lud_host) >= sizeof(channel->host)) {
		buf_add_string(why, "the address is none");
		ldap_free_urldesc(url);
		free(channel);
		return NULL;
	}
	errno = 0;
	is_secure = strcmp(url->lud_scheme, "ldaps") == 0;
	is_local = strcmp(url->lud_scheme, "ldapi") == 0;
	memcpy(channel->host, url->lud_host, strlen(url->lud_host));
	channel->fd = is_local ? connect_by_path(url, due_ms, why) : connect_by_name(url, due_ms, why);
	if (channel->fd >= 0)
		well = !is_secure || begin_tls(channel, tls, due_ms, why);
	ldap_free_urldesc(url);
	if (well)
		return put_on_top(channel, why);
	if (channel->fd >= 0)
		close(channel->fd);
	free(channel);
	return NULL;
}

bool ldap_socket_begin_tls(LDAP *ldap, SSL_CTX *tls, uint64_t due_ms, struct buf *why)
{
	Sockbuf *socket = NULL;
	struct channel *channel = NULL;

	if (ldap_get_option(ldap, LDAP_OPT_SOCKBUF, &socket) != LDAP_OPT_SUCCESS ||
	    ber_sockbuf_ctrl(socket, CHANNEL_OF, &channel) != 1 || channel == NULL || channel->ssl) {
		buf_add_string(why, "TLS cannot begin now");
		return false;
	}
	return begin_tls(channel, tls, due_ms, why);
}
