/* SPDX-License-Identifier: Apache-2.0 */
#include "process/signer_children.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

enum { SIGNER_MAX_BYTES = 8192, URL_MAX_BYTES = 512 };

enum err signer_children_load(struct loaded *next, struct problems *problems)
{
	return ca_files_read(&next->settings.inspection.ca, true, problems, &next->ca_files);
}

/* ---- what they are sent ---- */

/* Where clients find the revocation list; empty where they can find none. */
static void add_crl_url(const struct settings *settings, struct buf *out)
{
	const struct http_host *url = &settings->public.url;
	bool is_v6 = url->address.family == AF_INET6;

	if (settings->public.address.family == 0 || url->name.len == 0)
		return;
	buf_printf(out, "http://%s%.*s%s", is_v6 ? "[" : "", SPAN_ARG(url->name), is_v6 ? "]" : "");
	if (url->port != 80)
		buf_printf(out, ":%u", url->port);
	buf_add_string(out, "/ca.crl");
}

static void send_signer(struct child *signer)
{
	const struct loaded *loaded = signer->parent->current;
	const struct inspection_conf *conf = &loaded->settings.inspection;
	struct ipc_signer head = {.generation = loaded->number,
	                          .leaf_ms = conf->leaf_ms,
	                          .leaf_count = conf->leaf_count,
	                          .organization_bytes = (uint32_t)strlen(conf->ca.organization),
	                          .certificate_bytes = (uint32_t)loaded->ca_files.certificate_bytes,
	                          .key_bytes = (uint32_t)loaded->ca_files.key_bytes};
	int fds[2] = {loaded->ca_files.certificate_fd, loaded->ca_files.key_fd};
	struct buf url, payload;

	buf_init(&url, URL_MAX_BYTES);
	buf_init(&payload, SIGNER_MAX_BYTES);
	add_crl_url(&loaded->settings, &url);
	head.url_bytes = (uint32_t)buf_len(&url);
	buf_add(&payload, span_of(&head, sizeof(head)));
	buf_add_string(&payload, conf->ca.organization);
	buf_add(&payload, buf_span(&url));
	if (buf_is_whole(&payload) && buf_is_whole(&url))
		children_send(signer, IPC_SIGNER, loaded->number, buf_span(&payload), fds, COUNT_OF(fds));
	else
		log_event(EV_SYSTEM, "what=signer errno=%d", ENOMEM);
	buf_fini(&url);
	buf_fini(&payload);
}

void signer_children_connect(struct parent *parent, unsigned worker)
{
	children_connect(&parent->signer, worker);
}

void signer_children_send(struct child *signer)
{
	struct parent *parent = signer->parent;

	send_signer(signer);
	for (unsigned i = 0; i < parent->worker_count; i++)
		children_connect(signer, i);
}

/* The list belongs to the CA that it was sent with: another CA's signer sends its own. */
void signer_children_send_ca(struct child *public)
{
	struct parent *parent = public->parent;
	const struct ca *ca = parent->current->ca_files.ca;
	struct ipc_ca head = {0};
	uint8_t *der = NULL;
	int len = ca ? i2d_X509(ca->trusted, &der) : 0;
	struct buf payload;

	buf_init(&payload, IPC_BYTES_MAX);
	if (len > 0) {
		head.certificate_bytes = (uint32_t)len;
		head.crl_bytes = (uint32_t)buf_len(&parent->crl);
	}
	buf_add(&payload, span_of(&head, sizeof(head)));
	if (len > 0) {
		buf_add(&payload, span_of(der, (size_t)len));
		buf_add(&payload, buf_span(&parent->crl));
	}
	OPENSSL_free(der);
	if (buf_is_whole(&payload))
		children_send(public, IPC_CA, parent->current->number, buf_span(&payload), NULL, 0);
	buf_fini(&payload);
}

void signer_children_take_crl(struct parent *parent)
{
	buf_reset(&parent->crl);
	buf_add(&parent->crl, parent->message.payload);
	signer_children_send_ca(&parent->public);
}

/* ---- running or not ---- */

void signer_children_update(struct parent *parent)
{
	struct child *signer = &parent->signer;
	const struct ca *ca = parent->current->ca_files.ca;
	bool is_wanted = ca != NULL;

	if (ca == NULL || memcmp(ca->id, parent->crl_ca_id, sizeof(ca->id)) != 0)
		buf_reset(&parent->crl);
	if (ca)
		memcpy(parent->crl_ca_id, ca->id, sizeof(ca->id));
	signer_children_send_ca(&parent->public);
	signer->is_unwanted = !is_wanted;
	loop_timer_clear(parent->loop, &signer->restart);
	if (!is_wanted && signer->pid)
		children_send(signer, IPC_STOP, 0, SPAN(""), NULL, 0);
	else if (is_wanted && signer->pid == 0)
		children_start(signer);
	else if (is_wanted)
		send_signer(signer);
}

bool signer_children_are(const struct parent *parent, bool (*is)(const struct child *child))
{
	return parent->signer.is_unwanted || is(&parent->signer);
}

bool signer_children_stop(struct parent *parent)
{
	struct child *signer = &parent->signer;

	signer->is_unwanted = true;
	loop_timer_clear(parent->loop, &signer->restart);
	children_send(signer, IPC_STOP, 0, SPAN(""), NULL, 0);
	return signer->pid != 0;
}
