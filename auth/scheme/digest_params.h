/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of challenges and credentials (RFC 9110 section 11.2), one after the other, as Digest has them. */
#ifndef AUTH_DIGEST_PARAMS_H
#define AUTH_DIGEST_PARAMS_H

#include "base/buf.h"

struct digest_param {
	struct span name;
	struct span value;    /* borrowed; of a quoted string what is between the quotes, as it was sent */
	bool has_escapes;     /* there are backslashes in it */
};

enum digest_param_step { DIGEST_PARAM_BROKEN, DIGEST_PARAM_ONE, DIGEST_PARAM_END };

/* Cut the next `name=value` or `name="value"` off `rest`, and the comma behind it. White space around '=' and ','
 * and empty elements are nothing. A value without quotes may have what a token may not, but no white space, comma or
 * quote. */
enum digest_param_step digest_param_next(struct span *rest, struct digest_param *out);

/* The value without its quoted-pairs. Only \" and \\ are some: nobody escapes anything else, and Java escapes
 * nothing, so that a user DOMAIN\name comes from it as it is. Borrowed from the parameter, or, where there are any,
 * from `text`, to which it is appended. `text` has room for it already, so that what was given out earlier stays
 * where it is. */
struct span digest_param_value(const struct digest_param *param, struct buf *text);

/* Append a quoted string (RFC 9110 section 5.6.4); control characters are left out. */
void digest_param_quote(struct span value, struct buf *out);

#endif
