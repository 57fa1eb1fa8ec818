/* Line differences of two texts, in unified form. */
#ifndef VT_DIFF_UDIFF_H
#define VT_DIFF_UDIFF_H

#include <stdbool.h>
#include <stddef.h>
#include "src/base/buf.h"

/* Is it text, as far as its first bytes say? */
bool udiff_is_text(const char *data, size_t len);
/* Appends the hunks that turn a into b, three lines of context each, to out. Nothing where they are equal. Added and
 * removed lines are counted into *ret_added and *ret_removed (may be NULL). */
int udiff(const char *a, size_t alen, const char *b, size_t blen, struct buf *out, size_t *ret_added,
          size_t *ret_removed, struct err *e);

#endif
