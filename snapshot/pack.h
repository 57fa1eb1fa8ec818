/* A pack being written: frames of pages and blobs go in, one file comes out, made durable by two syncs (its bytes, its
 * name). One thread. Nothing is made where nothing is put. */
#ifndef VT_SNAPSHOT_PACK_H
#define VT_SNAPSHOT_PACK_H

#include <stdbool.h>
#include "snapshot/frame.h"

struct store;
struct packw;

int packw_new(struct store *s, struct packw **ret, struct err *e);
/* Adds a page with its hash; *ret_entry is of kind ENTRY_NEW. */
int packw_page(struct packw *w, const void *page, uint64_t hash, uint64_t *ret_entry, struct err *e);
/* Ends the frame begun, so that pages of different images do not share one. */
int packw_break(struct packw *w, struct err *e);
/* A blob of up to FRAME_PAGES_MAX pages in a frame of its own; *ret_index is the frame's. */
int packw_blob(struct packw *w, const void *data, uint32_t len, uint64_t *ret_index, struct err *e);
/* A frame as it is stored elsewhere, with the number that it has; then all frames of the pack are such. */
int packw_stored(struct packw *w, const void *stored, const struct frame_ref *ref, uint64_t num, struct err *e);
/* Copies back a page put before. */
int packw_read(struct packw *w, uint64_t entry, void *dst, struct err *e);
/* Writes the trailer and makes the pack durable. */
int packw_finish(struct packw *w, struct err *e);
int64_t packw_id(const struct packw *w);     /* 0: nothing was put */
uint64_t packw_bytes(const struct packw *w); /* so far, or of the whole */
uint64_t packw_frames(const struct packw *w);
const struct frame_ref *packw_frame(const struct packw *w, uint64_t index);
/* Closes; !keep: removes the file. */
void packw_free(struct packw *w, bool keep);

#endif
