/* SPDX-License-Identifier: Apache-2.0 */
#include "web/admin_pages.h"

#include "http/target.h"
#include "session/media_networks.h"

enum { METRICS_MAX_BYTES = 16 << 20, HOST_MEMORY_BYTES = 4096, CALLS_MAX_BYTES = 4096 };

bool admin_pages_is_host(struct span names, struct span host)
{
	struct http_host parsed;
	struct arena arena;
	struct span name;
	bool is = host.len == 0;

	arena_init(&arena, HOST_MEMORY_BYTES);
	if (!is && http_host_parse(host, 80, &arena, &parsed) == ERR_NONE) {
		is = parsed.address.family != 0 || span_equal(parsed.name, SPAN("localhost"));
		while (!is && span_split(&names, '\n', &name))
			is = name.len && span_equal(parsed.name, name);
	}
	arena_fini(&arena);
	return is;
}

static bool is_allowed(const struct admin_pages *pages, const struct web_request *request)
{
	struct span token;

	return pages->token.len && web_bearer_parse(request->authorization, &token) &&
	       secret_equal(&pages->token, token);
}

static void refuse(struct web_reply *out)
{
	web_reply_with(out, 401, "this wants the token: Authorization: Bearer TOKEN\n");
	if (out->page)
		web_page_add(out->page, "WWW-Authenticate", "Bearer realm=\"sallyport\"");
}

static void answer_metrics(const struct admin_pages *pages, struct web_reply *out)
{
	struct buf text;

	buf_init(&text, METRICS_MAX_BYTES);
	prometheus_write(&pages->source, &text);
	*out = (struct web_reply){.status = 200, .is_for_once = true};
	if (buf_is_whole(&text))
		out->page = web_page_new(buf_span(&text), "text/plain; version=0.0.4; charset=utf-8");
	buf_fini(&text);
	if (out->page)
		web_page_add(out->page, "Cache-Control", "no-store");
	else
		web_reply_with(out, 500, "there is no memory for the metrics\n");
}

/* What the network's own people should know, in one sentence. */
static void answer_calls(const struct admin_pages *pages, struct web_reply *out)
{
	struct media_networks_sum sum;
	struct buf text;

	buf_init(&text, CALLS_MAX_BYTES);
	media_networks_sum(pages->source.workers, pages->source.worker_count, &sum);
	media_networks_say(&sum, &text);
	if (buf_len(&text) == 0)
		buf_add_string(&text, "no call has gone through this proxy since it was started");
	buf_add_byte(&text, '\n');
	*out = (struct web_reply){.status = 200, .is_for_once = true};
	if (buf_is_whole(&text))
		out->page = web_page_new(buf_span(&text), "text/plain; charset=utf-8");
	buf_fini(&text);
	if (out->page)
		web_page_add(out->page, "Cache-Control", "no-store");
	else
		web_reply_with(out, 500, "there is no memory for it\n");
}

void admin_pages_answer(void *context, const struct web_request *request, struct web_reply *out)
{
	struct admin_pages *pages = context;

	if (!admin_pages_is_host(pages->names, request->host)) {
		web_reply_with(out, 421,
		               "this is for a name that admin does not have; ask by IP address, or add the name to admin.names\n");
	} else if (span_equal(request->path, SPAN("/healthz"))) {
		web_reply_with(out, 200, "ok\n");
	} else if (span_equal(request->path, SPAN("/readyz"))) {
		bool is_ready = prometheus_is_ready(pages->source.board);

		web_reply_with(out, is_ready ? 200 : 503, is_ready ? "ok\n" : "not ready\n");
	} else if (!span_equal(request->path, SPAN("/metrics")) && !span_equal(request->path, SPAN("/calls"))) {
		web_reply_with(out, 404, "there are /healthz, /readyz, /metrics and /calls\n");
	} else if (!is_allowed(pages, request)) {
		refuse(out);
	} else if (span_equal(request->path, SPAN("/calls"))) {
		answer_calls(pages, out);
	} else {
		answer_metrics(pages, out);
	}
}
