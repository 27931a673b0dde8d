/* SPDX-License-Identifier: Apache-2.0 */
/* list show, list stale, list blame: what a list says of itself, and what the running proxy has counted of it. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/list.h"
#include "http/target.h"

enum { DAY_MS = 86400000, DAYS_DEFAULT = 90, SOON_DAYS = 14, TEXT_MAX_BYTES = 4 << 20, FLUSH_BYTES = 65536 };

struct showing {
	struct list *list;
	struct list_hits *hits; /* NULL: nobody counts */
	const char *why_no_hits;
	uint64_t now_ms;
	bool json;
	struct buf out;
	size_t count; /* shown */
	/* stale */
	uint64_t days;
	size_t stale, expired, soon;
	/* blame */
	bool has_history;
	struct span wanted;
	bool is_covered; /* by one that has not expired */
};

static void flush_if_full(struct buf *out, size_t full)
{
	if (buf_len(out) < full)
		return;
	fwrite(buf_span(out).at, 1, buf_len(out), stdout);
	buf_reset(out);
}

static void showing_init(struct showing *showing, struct list *list)
{
	*showing = (struct showing){.list = list, .now_ms = clock_wall_ms(), .why_no_hits = ""};
	showing->json = list->line->options[OPTION_json] != NULL;
	showing->hits = list_hits_ask(list, &showing->why_no_hits);
	buf_init(&showing->out, TEXT_MAX_BYTES);
}

static void showing_fini(struct showing *showing)
{
	flush_if_full(&showing->out, 0);
	buf_fini(&showing->out);
	list_hits_free(showing->hits);
}

/* ---- history ---- */

static struct span text_of(const json_t *note, const char *key)
{
	return span_from(json_string_value(json_object_get(note, key)));
}

/* Which lines of a history are meant: those about a pattern, or those that tell of a removed one which covers it. */
enum notes { NOTES_ABOUT, NOTES_REMOVED };

static bool is_meant(const json_t *note, enum notes which, struct span pattern)
{
	struct span text = text_of(note, "pattern");

	if (which == NOTES_ABOUT)
		return text.len && span_equal(text, pattern);
	return text.len && span_equal(text_of(note, "action"), SPAN("remove")) && list_line_covers(text, pattern);
}

/* Call `add` for those lines of a list's history; the first has the index `count`. Returns that of the next. */
static size_t each_note(struct showing *showing, const struct list_place *place, enum notes which, struct span pattern,
                        size_t count, void (*add)(struct buf *out, const json_t *note, size_t index))
{
	char *target = realpath(place->path, NULL), *line = NULL;
	char *path = arena_printf(&showing->list->arena, "%s.history", target ? target : place->path);
	FILE *file = path ? fopen(path, "re") : NULL;
	size_t size = 0;

	while (file && getline(&line, &size, file) > 0) {
		json_t *note = json_loads(line, 0, NULL);

		if (is_meant(note, which, pattern))
			add(&showing->out, note, count++);
		json_decref(note);
	}
	free(line);
	free(target);
	if (file)
		fclose(file);
	return count;
}

static void add_who(struct buf *out, const json_t *note)
{
	struct span reason = text_of(note, "reason"), ticket = text_of(note, "ticket");

	buf_printf(out, "     %.*s  %s by %.*s", SPAN_ARG(text_of(note, "when")),
	           span_equal(text_of(note, "action"), SPAN("add")) ? "added" : "removed",
	           SPAN_ARG(text_of(note, "who")));
	if (ticket.len)
		buf_printf(out, ", %.*s", SPAN_ARG(ticket));
	if (reason.len)
		buf_printf(out, ", \"%.*s\"", SPAN_ARG(reason));
}

static void add_note(struct buf *out, const json_t *note, size_t index)
{
	(void)index;
	add_who(out, note);
	buf_add_byte(out, '\n');
}

/* With the line as it was: it is nowhere else now. */
static void add_removed(struct buf *out, const json_t *note, size_t index)
{
	(void)index;
	add_who(out, note);
	buf_printf(out, "\n     - %.*s\n", SPAN_ARG(text_of(note, "line")));
}

static void add_note_json(struct buf *out, const json_t *note, size_t index)
{
	char *text = json_dumps(note, JSON_COMPACT);

	buf_add_string(out, index ? "," : "");
	buf_add_string(out, text ? text : "{}");
	free(text);
}

/* ---- one entry ---- */

static void add_member(struct buf *out, const char *key, struct span value)
{
	if (value.len == 0)
		return;
	buf_printf(out, ",\"%s\":", key);
	buf_add_json(out, value);
}

static void add_date_member(struct buf *out, const char *key, uint64_t wall_ms)
{
	char date[LIST_DATE_BYTES];

	list_format_date(wall_ms, date);
	add_member(out, key, span_from(date));
}

/* The day of a hit. */
static void format_day(uint32_t day, char date[static LIST_DATE_BYTES])
{
	list_format_date(((uint64_t)day + 1) * DAY_MS, date);
}

static void add_json_item(struct showing *showing, const struct list_item *item, const char *state)
{
	const struct list_line *line = &item->line;
	struct buf *out = &showing->out;
	uint32_t day = 0;

	buf_printf(out, "%s\n{\"line\":%u", showing->count ? "," : "", item->number);
	add_member(out, "file", span_from(item->file->shown));
	add_member(out, "pattern", list_line_pattern(line));
	add_member(out, "ports", span_from(line->ports));
	add_member(out, "owner", line->owner);
	add_member(out, "ticket", line->ticket);
	add_member(out, "reason", line->reason);
	add_member(out, "added", line->added);
	add_member(out, "note", line->note);
	if (line->expires_ms)
		add_date_member(out, "expires", line->expires_ms);
	if (list_is_expired(item, showing->now_ms))
		buf_add_string(out, ",\"expired\":true");
	if (showing->hits)
		buf_printf(out, ",\"hits\":%llu", (unsigned long long)list_hits_count(showing->hits, item, &day));
	if (day)
		add_date_member(out, "last_hit", ((uint64_t)day + 1) * DAY_MS);
	add_member(out, "state", span_from(state));
	if (showing->has_history) {
		buf_add_string(out, ",\"history\":[");
		each_note(showing, item->file, NOTES_ABOUT, list_line_pattern(line), 0, add_note_json);
		buf_add_byte(out, ']');
	}
	buf_add_byte(out, '}');
}

static void add_field(struct buf *out, const char *key, struct span value)
{
	if (value.len)
		buf_printf(out, "  %s %.*s", key, SPAN_ARG(value));
}

static void add_hits(struct showing *showing, const struct list_item *item)
{
	char date[LIST_DATE_BYTES];
	uint64_t count;
	uint32_t day;

	if (showing->hits == NULL)
		return;
	count = list_hits_count(showing->hits, item, &day);
	buf_printf(&showing->out, "  hits %llu%s", (unsigned long long)count,
	           count >= POLICY_HITS_MAX ? " or more" : "");
	if (day) {
		format_day(day, date);
		buf_printf(&showing->out, ", the last on %s", date);
	}
}

static bool has_fields(const struct showing *showing, const struct list_line *line)
{
	return showing->hits || line->ports[0] || line->owner.len || line->ticket.len || line->added.len ||
	       line->expires_ms;
}

static void add_item(struct showing *showing, const struct list_item *item, const char *state)
{
	const struct list_line *line = &item->line;
	struct buf *out = &showing->out;
	char date[LIST_DATE_BYTES];

	buf_printf(out, "%s:%u  %s", item->file->shown, item->number, line->text);
	if (state[0])
		buf_printf(out, "  (%s)", state);
	buf_add_string(out, has_fields(showing, line) ? "\n   " : "");
	add_field(out, "ports", span_from(line->ports));
	add_field(out, "owner", line->owner);
	add_field(out, "ticket", line->ticket);
	add_field(out, "added", line->added);
	if (line->expires_ms) {
		list_format_date(line->expires_ms, date);
		buf_printf(out, "  %s %s", list_is_expired(item, showing->now_ms) ? "expired" : "expires", date);
	}
	add_hits(showing, item);
	if (line->reason.len)
		buf_printf(out, "\n     \"%.*s\"", SPAN_ARG(line->reason));
	if (line->note.len)
		buf_printf(out, "\n     # %.*s", SPAN_ARG(line->note));
	buf_add_byte(out, '\n');
	if (showing->has_history)
		each_note(showing, item->file, NOTES_ABOUT, list_line_pattern(line), 0, add_note);
}

static void show_item(struct showing *showing, const struct list_item *item, const char *state)
{
	if (showing->json)
		add_json_item(showing, item, state);
	else
		add_item(showing, item, state);
	showing->count++;
	flush_if_full(&showing->out, FLUSH_BYTES);
}

static void begin(struct showing *showing)
{
	struct list *list = showing->list;
	struct buf *out = &showing->out;

	if (!showing->json)
		return;
	buf_add_string(out, "{\"list\":");
	buf_add_json(out, span_from(list->name));
	buf_add_string(out, ",\"files\":[");
	for (size_t i = 0; i < list->file_count; i++) {
		buf_add_string(out, i ? "," : "");
		buf_add_json(out, span_from(list->files[i].path));
	}
	buf_add_byte(out, ']');
	if (showing->hits) {
		buf_add_string(out, ",\"counting_since\":\"");
		clock_add_rfc3339(out, list_hits_since_ms(showing->hits));
		buf_add_byte(out, '"');
	} else {
		add_member(out, "no_hits", span_from(showing->why_no_hits));
	}
	buf_add_string(out, ",\"entries\":[");
}

/* Whether hits are known, in a line. */
static void say_counting(struct showing *showing)
{
	if (showing->hits == NULL) {
		buf_printf(&showing->out, "hits are not known: %s\n", showing->why_no_hits);
		return;
	}
	buf_add_string(&showing->out, "hits are counted since ");
	clock_add_rfc3339(&showing->out, list_hits_since_ms(showing->hits));
	buf_add_byte(&showing->out, '\n');
}

/* ---- show ---- */

static const char *state_of(const struct showing *showing, const struct list_item *item)
{
	uint64_t soon_ms = showing->now_ms + (uint64_t)SOON_DAYS * DAY_MS;

	if (list_is_expired(item, showing->now_ms))
		return "expired: it matches nothing";
	return item->line.expires_ms && item->line.expires_ms <= soon_ms ? "expires soon" : "";
}

static void take_show(void *context, const struct list_item *item)
{
	show_item(context, item, state_of(context, item));
}

int list_show(struct list *list)
{
	struct showing showing;
	int status = EXIT_WELL;

	showing_init(&showing, list);
	begin(&showing);
	if (list_each(list, take_show, &showing))
		status = EXIT_USAGE;
	if (showing.json) {
		buf_add_string(&showing.out, "]}\n");
	} else {
		buf_printf(&showing.out, "%s: %zu entr%s in %zu file%s; ", list->name, showing.count,
		           showing.count == 1 ? "y" : "ies", list->file_count, list->file_count == 1 ? "" : "s");
		say_counting(&showing);
	}
	showing_fini(&showing);
	return status;
}

/* ---- stale ---- */

/* Has it had the chance to be hit for so long? By the proxy's clock, and by when it came into the list. */
static bool is_stale(const struct showing *showing, const struct list_item *item)
{
	uint64_t limit_ms = showing->now_ms - showing->days * DAY_MS, added_ms = 0;
	uint32_t day;

	if (showing->hits == NULL)
		return false;
	if (item->line.added.len && !list_line_date(item->line.added, &added_ms))
		added_ms = 0;
	if (list_hits_count(showing->hits, item, &day) && day)
		return ((uint64_t)day + 1) * DAY_MS <= limit_ms;
	return list_hits_since_ms(showing->hits) <= limit_ms && added_ms <= limit_ms;
}

static void take_stale(void *context, const struct list_item *item)
{
	struct showing *showing = context;
	const char *state = state_of(showing, item);

	if (list_is_expired(item, showing->now_ms))
		showing->expired++;
	else if (state[0])
		showing->soon++;
	else if (!is_stale(showing, item))
		return;
	else
		showing->stale++;
	show_item(showing, item, state[0] ? state : "stale: no hit for so long");
}

static void end_stale(struct showing *showing)
{
	struct buf *out = &showing->out;
	uint64_t counted_days = showing->hits ? (showing->now_ms - list_hits_since_ms(showing->hits)) / DAY_MS : 0;

	if (showing->json) {
		buf_printf(out, "],\"stale\":%zu,\"expired\":%zu,\"expire_soon\":%zu,\"days\":%llu}\n", showing->stale,
		           showing->expired, showing->soon, (unsigned long long)showing->days);
		return;
	}
	buf_printf(out, "%s: %zu without a hit for %llu days, %zu expired, %zu expire within %d days; ",
	           showing->list->name, showing->stale, (unsigned long long)showing->days, showing->expired,
	           showing->soon, SOON_DAYS);
	say_counting(showing);
	if (showing->hits && counted_days < showing->days)
		buf_printf(out, "that is %llu days: what was never hit cannot be told stale yet; --days %llu would\n",
		           (unsigned long long)counted_days, (unsigned long long)counted_days);
}

static bool get_days(const struct command_line *line, uint64_t *days)
{
	const char *given = line->options[OPTION_days];

	*days = DAYS_DEFAULT;
	if (given == NULL || span_to_uint(span_from(given), 10000, days))
		return true;
	command_complain("list stale: --days %s is no number of days from 0 to 10000", given);
	return false;
}

int list_stale(struct list *list)
{
	struct showing showing;
	int status = EXIT_WELL;
	uint64_t days;

	if (!get_days(list->line, &days))
		return EXIT_USAGE;
	showing_init(&showing, list);
	showing.days = days;
	begin(&showing);
	if (list_each(list, take_stale, &showing))
		status = EXIT_USAGE;
	else if (showing.count)
		status = EXIT_FINDING;
	end_stale(&showing);
	showing_fini(&showing);
	return status;
}

/* ---- blame ---- */

static void take_blame(void *context, const struct list_item *item)
{
	struct showing *showing = context;

	if (showing->wanted.len && !list_line_covers(list_line_pattern(&item->line), showing->wanted))
		return;
	showing->is_covered |= !list_is_expired(item, showing->now_ms);
	show_item(showing, item, state_of(showing, item));
}

/* ENTRY is a pattern, or a host as it is asked for: with a port, or a URL. In the arena; {NULL, 0}, and said, if it is
 * neither. */
static struct span wanted_of(struct list *list)
{
	struct span entry = span_from(list->entry);
	struct list_line parsed;
	struct http_host host;
	const char *why = "";
	size_t at;

	if (list_line_parse(entry, &parsed, &why, &at) && !parsed.is_empty)
		return arena_copy(&list->arena, list_line_pattern(&parsed));
	at = span_find_span(entry, SPAN("://"));
	if (at < entry.len)
		entry = span_skip(entry, at + 3);
	entry = span_first(entry, span_find(entry, '/'));
	if (http_host_parse(entry, 443, &list->arena, &host) == ERR_NONE)
		return host.name;
	command_complain("list blame: \"%s\" is neither an entry nor a host: %s", list->entry, why);
	return (struct span){NULL, 0};
}

/* What covers the host no more, and did: why something that worked has ended. */
static void add_removals(struct showing *showing, const struct list *list)
{
	size_t count = 0;

	if (list->entry == NULL || showing->is_covered)
		return;
	if (showing->json)
		buf_add_string(&showing->out, ",\"removed\":[");
	for (size_t i = 0; i < list->file_count; i++)
		count = each_note(showing, &list->files[i], NOTES_REMOVED, showing->wanted, count,
		                  showing->json ? add_note_json : add_removed);
	if (showing->json)
		buf_add_byte(&showing->out, ']');
}

int list_blame(struct list *list)
{
	struct showing showing;
	struct span wanted = list->entry ? wanted_of(list) : SPAN("");
	int status = EXIT_WELL;

	if (wanted.at == NULL)
		return EXIT_USAGE;
	showing_init(&showing, list);
	showing.wanted = wanted;
	showing.has_history = true;
	begin(&showing);
	if (list_each(list, take_blame, &showing))
		status = EXIT_USAGE;
	if (status == EXIT_WELL && list->entry)
		status = showing.is_covered ? EXIT_WELL : EXIT_FINDING;
	if (showing.json) {
		buf_printf(&showing.out, "],\"covered\":%s", showing.is_covered ? "true" : "false");
		add_removals(&showing, list);
		buf_add_string(&showing.out, "}\n");
	} else {
		if (list->entry && !showing.is_covered)
			buf_printf(&showing.out, "%s: no entry %s%.*s\n", list->name,
			           showing.count ? "that is in force covers " : "covers ", SPAN_ARG(wanted));
		else if (list->entry)
			buf_printf(&showing.out, "%s: %zu entr%s; sallyport explain %.*s says which rule asks this list\n",
			           list->name, showing.count, showing.count == 1 ? "y" : "ies", SPAN_ARG(wanted));
		add_removals(&showing, list);
		say_counting(&showing);
	}
	showing_fini(&showing);
	return status;
}
