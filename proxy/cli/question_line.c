/* SPDX-License-Identifier: Apache-2.0 */
/* One line of many questions: words as on the command line, or a JSON object. */
#include <jansson.h>
#include <string.h>

#include "cli/question.h"

/* The options of explain that are facts. */
static bool is_fact(int option)
{
	static const bool facts[OPTION_COUNT] = {
		[OPTION_from] = true, [OPTION_user] = true,    [OPTION_group] = true,    [OPTION_sni] = true,
		[OPTION_url] = true,  [OPTION_method] = true,  [OPTION_address] = true,  [OPTION_inner_host] = true,
		[OPTION_at] = true,   [OPTION_listener] = true, [OPTION_content_type] = true,
	};

	return option < OPTION_COUNT && facts[option];
}

static bool complain_of(struct question *question, const char *dashes, struct span text, const char *why)
{
	buf_printf(&question->complaint, "\"%s%.*s\" %s", dashes, SPAN_ARG(span_first(text, 200)), why);
	return false;
}

/* A copy that ends with NUL; a NUL inside would cut it. */
static const char *keep(struct question *question, struct span text)
{
	const char *copy = arena_string(&question->arena, text);

	if (copy == NULL)
		buf_add_string(&question->complaint, "there is no memory for so long a question");
	else if (span_find(text, 0) < text.len)
		copy = (complain_of(question, "", text, "has a zero byte in it"), NULL);
	return copy;
}

static bool set_option(struct question *question, int option, struct span value)
{
	struct command_line *line = &question->line;
	const char *text = keep(question, value);

	if (text == NULL)
		return false;
	if (option == OPTION_group) {
		if (line->group_count == COMMAND_GROUPS_MAX)
			return complain_of(question, "", value, "is one group too many");
		line->groups[line->group_count++] = text;
	} else if (line->options[option]) {
		return complain_of(question, "", value, "is given a second time");
	}
	line->options[option] = text;
	return true;
}

static bool set_host(struct question *question, struct span value)
{
	if (question->line.argument)
		return complain_of(question, "", value, "is a second host; one line asks about one");
	question->line.argument = keep(question, value);
	return question->line.argument != NULL;
}

/* ---- words ---- */

/* Cut a word off: up to a space, with what stands in quotes. False: there is none, or (complaint) a quote stays open. */
static bool next_word(struct question *question, struct span *rest, struct buf *word)
{
	uint8_t quote = 0;
	size_t at = 0;

	*rest = span_trim(*rest);
	buf_reset(word);
	if (rest->len == 0)
		return false;
	for (; at < rest->len; at++) {
		uint8_t byte = rest->at[at];

		if (quote == 0 && (byte == ' ' || byte == '\t'))
			break;
		if (byte == quote)
			quote = 0;
		else if (quote == 0 && (byte == '"' || byte == '\''))
			quote = byte;
		else if (quote != '\'' && byte == '\\' && at + 1 < rest->len)
			buf_add_byte(word, rest->at[++at]);
		else
			buf_add_byte(word, byte);
	}
	if (quote)
		return complain_of(question, "", *rest, "has a quote that does not end");
	*rest = span_skip(*rest, at);
	return true;
}

static bool read_option(struct question *question, struct span *rest, struct buf *word)
{
	struct span name = arena_copy(&question->arena, span_skip(buf_span(word), 2)), value;
	size_t equals = span_find(name, '=');
	int option = command_option(span_first(name, equals));

	if (!is_fact(option))
		return complain_of(question, "--", span_first(name, equals),
		                   "is no option of a question; see sallyport explain --help");
	value = span_skip(name, equals + 1);
	if (equals == name.len) {
		if (!next_word(question, rest, word))
			return buf_len(&question->complaint) == 0 && complain_of(question, "--", name, "needs a value");
		value = buf_span(word);
	}
	return set_option(question, option, value);
}

static bool read_words(struct question *question, struct span text)
{
	struct buf word;
	bool ok = true;

	buf_init(&word, text.len + 1);
	while (ok && next_word(question, &text, &word)) {
		if (span_starts_with(buf_span(&word), SPAN("--")))
			ok = read_option(question, &text, &word);
		else
			ok = set_host(question, buf_span(&word));
	}
	buf_fini(&word);
	return ok && buf_len(&question->complaint) == 0;
}

/* ---- JSON ---- */

static struct span text_of(const json_t *value)
{
	return span_of(json_string_value(value), json_string_length(value));
}

static bool read_groups(struct question *question, const json_t *value)
{
	for (size_t i = 0; i < json_array_size(value); i++) {
		const json_t *group = json_array_get(value, i);

		if (!json_is_string(group))
			return complain_of(question, "", SPAN("group"), "holds something that is no text");
		if (!set_option(question, OPTION_group, text_of(group)))
			return false;
	}
	return true;
}

static bool read_member(struct question *question, const char *key, const json_t *value)
{
	char name[32];
	size_t len = strlen(key);

	if (strcmp(key, "port") == 0)
		return json_is_integer(value) || complain_of(question, "", SPAN("port"), "is no number");
	if (strcmp(key, "host") == 0)
		return json_is_string(value) ? set_host(question, text_of(value))
		                             : complain_of(question, "", SPAN("host"), "is no text");
	for (size_t i = 0; i < len && i < sizeof(name); i++)
		name[i] = key[i] == '_' ? '-' : key[i];
	if (len >= sizeof(name) || !is_fact(command_option(span_of(name, len))))
		return complain_of(question, "", span_from(key), "is no key of a question; they are host, port, and the "
		                   "options of sallyport explain");
	if (json_is_array(value) && strcmp(key, "group") == 0)
		return read_groups(question, value);
	if (!json_is_string(value))
		return complain_of(question, "", span_from(key), "is no text");
	return set_option(question, command_option(span_of(name, len)), text_of(value));
}

/* "port" goes behind "host". */
static bool add_port(struct question *question, const json_t *root)
{
	const json_t *port = json_object_get(root, "port");
	const char *host = question->line.argument;
	bool brackets = host && strchr(host, ':') && host[0] != '[';

	if (port == NULL)
		return true;
	if (host == NULL || json_integer_value(port) < 1 || json_integer_value(port) > 65535) {
		buf_add_string(&question->complaint, host ? "port is no number from 1 to 65535" : "port needs a host");
		return false;
	}
	question->line.argument = arena_printf(&question->arena, "%s%s%s:%d", brackets ? "[" : "", host,
	                                       brackets ? "]" : "", (int)json_integer_value(port));
	if (question->line.argument == NULL)
		buf_add_string(&question->complaint, "there is no memory for so long a question");
	return question->line.argument != NULL;
}

static bool read_json(struct question *question, struct span text)
{
	json_error_t error;
	json_t *root = json_loadb((const char *)text.at, text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	const char *key;
	json_t *value;
	bool ok = json_is_object(root);

	if (root == NULL)
		buf_printf(&question->complaint, "this is no JSON: %s at column %d", error.text, error.column);
	json_object_foreach(root, key, value)
		ok = ok && read_member(question, key, value);
	ok = ok && add_port(question, root);
	json_decref(root);
	return ok;
}

bool question_read(struct question *question, struct span text)
{
	text = span_trim(text);
	if (text.len && text.at[0] == '{')
		return read_json(question, text);
	return read_words(question, text);
}
