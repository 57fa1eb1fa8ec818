/* In which order machines first touch a snapshot's memory: noted while the template is filled for the first time, kept
 * beside it as templates/ID.order, and followed by a thread of its own when the template has to be filled anew (after
 * the host's next boot), so that pages are there before they are asked for. Advice: a file that is missing, old or
 * wrong costs time at most. */
#ifndef VT_SNAPSHOT_TOUCH_H
#define VT_SNAPSHOT_TOUCH_H

#include <stdint.h>
#include "src/base/err.h"

struct store;
struct template_of;
struct touch;

/* For a template that was just made. fill(opaque, page) is called on the thread, where there is an order to follow;
 * not 0 ends it. NULL: out of memory. */
struct touch *touch_begin(struct store *s, const struct template_of *of, int (*fill)(void *opaque, uint64_t page),
                          void *opaque);
/* The page was asked for, and not there. Any thread. */
void touch_note(struct touch *t, uint64_t page);
/* Ends the thread; keeps what was noted, where there was no order yet. NULL is fine. */
void touch_end(struct touch *t);

#endif
