/* SPDX-License-Identifier: Apache-2.0 */
#include "web/ca_pages.h"

#include <openssl/pem.h>

#include "base/clock.h"
#include "tls/ca.h"
#include "tls/ca_trust.h"

enum { PAGE_MAX_BYTES = 1 << 18 };

/* Clients look again after an hour: a list that is a week old is of no use. */
static struct web_page *make_page(struct span content, const char *type)
{
	struct web_page *page = web_page_new(content, type);

	if (page)
		web_page_add(page, "Cache-Control", "public, max-age=3600");
	return page;
}

static struct web_page *make_pem(X509 *certificate)
{
	BIO *bio = BIO_new(BIO_s_mem());
	struct web_page *page = NULL;
	char *at;

	if (bio && PEM_write_bio_X509(bio, certificate) == 1) {
		long len = BIO_get_mem_data(bio, &at);

		page = make_page(span_of(at, (size_t)len), "application/x-pem-file");
	}
	BIO_free(bio);
	return page;
}

static void add_facts(X509 *certificate, struct buf *out)
{
	struct buf name;
	uint8_t digest[32];

	buf_init(&name, 4096);
	ca_add_name(X509_get_subject_name(certificate), &name);
	buf_add_string(out, "<table><tr><th>Name<td>");
	buf_add_html(out, buf_span(&name));
	buf_add_string(out, "<tr><th>Valid until<td>");
	clock_add_rfc3339(out, (uint64_t)ca_time(X509_get0_notAfter(certificate)) * 1000);
	buf_add_string(out, "<tr><th>SHA-256<td><code>");
	ca_digest(certificate, digest);
	ca_add_hex(span_of(digest, sizeof(digest)), out);
	buf_add_string(out, "</code></table>\n");
	buf_fini(&name);
}

static struct web_page *make_help(X509 *certificate)
{
	const struct ca_trust_row *row;
	struct web_page *page = NULL;
	struct buf html, commands;

	buf_init(&html, PAGE_MAX_BYTES);
	buf_init(&commands, 8192);
	buf_add_string(&html,
	               "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>The CA of this proxy</title>\n"
	               "<style>body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}"
	               "pre{background:#8882;padding:.5em;overflow:auto}th{text-align:left;padding-right:1em}"
	               ":root{color-scheme:light dark}</style>\n"
	               "<h1>The CA of this proxy</h1>\n<p>This proxy opens TLS sessions that its policy wants inspected. Clients see "
	               "certificates that this CA has signed, and must trust it for that.\n");
	add_facts(certificate, &html);
	buf_add_string(&html, "<p>Compare the SHA-256 with what your IT department says, for this page came over a connection that "
	                      "anybody may have changed. Then: <a href=\"/ca.pem\">PEM</a>, <a href=\"/ca.crt\">DER</a>, "
	                      "<a href=\"/ca.crl\">revocation list</a>.\n");
	for (size_t i = 0; (row = ca_trust_row(i)) != NULL; i++) {
		buf_reset(&commands);
		ca_trust_add(row, SPAN("ca.pem"), &commands);
		buf_add_string(&html, "<h2>");
		buf_add_html(&html, span_from(row->where));
		buf_add_string(&html, "</h2>\n<pre>");
		for (struct span rest = buf_span(&commands), line; rest.len && span_split(&rest, '\n', &line);) {
			buf_add_html(&html, line);
			buf_add_byte(&html, '\n');
		}
		buf_add_string(&html, "</pre>\n");
	}
	if (buf_is_whole(&html))
		page = make_page(buf_span(&html), "text/html; charset=utf-8");
	buf_fini(&html);
	buf_fini(&commands);
	return page;
}

void ca_pages_fini(struct ca_pages *pages)
{
	web_page_free(pages->help);
	web_page_free(pages->pem);
	web_page_free(pages->der);
	web_page_free(pages->crl);
	*pages = (struct ca_pages){.help = NULL};
}

enum err ca_pages_use(struct ca_pages *pages, struct span der, struct span crl)
{
	const uint8_t *at = der.at;
	X509 *certificate = der.len ? d2i_X509(NULL, &at, (long)der.len) : NULL;
	bool is_well = true;

	ca_pages_fini(pages);
	if (crl.len)
		is_well = (pages->crl = make_page(crl, "application/pkix-crl")) != NULL;
	if (certificate) {
		pages->der = make_page(der, "application/x-x509-ca-cert");
		pages->pem = make_pem(certificate);
		pages->help = make_help(certificate);
		is_well &= pages->der && pages->pem && pages->help;
	}
	X509_free(certificate);
	return is_well && (certificate || der.len == 0) ? ERR_NONE : ERR_MEMORY;
}

bool ca_pages_answer(const struct ca_pages *pages, struct span path, struct web_reply *out)
{
	const struct {
		const char *path;
		struct web_page *page;
	} rows[] = {{"/ca", pages->help}, {"/ca.pem", pages->pem}, {"/ca.crt", pages->der}, {"/ca.crl", pages->crl}};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (!span_equal(path, span_from(rows[i].path)))
			continue;
		if (rows[i].page)
			*out = (struct web_reply){.status = 200, .page = rows[i].page};
		else
			web_reply_with(out, 404, "this proxy has no CA: it opens no TLS\n");
		return true;
	}
	return false;
}
