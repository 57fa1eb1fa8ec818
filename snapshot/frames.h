/* Frames of the store by number: found, read, verified, unpacked, and kept for a while. Any thread. */
#ifndef VT_SNAPSHOT_FRAMES_H
#define VT_SNAPSHOT_FRAMES_H

#include <stdbool.h>
#include "snapshot/frame.h"
#include "snapshot/lru.h"

struct store;
struct sfile;

struct frame_data {
    struct lru_item lru;
    uint32_t raw_len;
    uint8_t data[];
};

bool frames_cache_init(struct store *s);
/* Borrows the frame; give it back with frames_put. VT_CORRUPT also where it is missing. */
int frames_get(struct store *s, uint64_t num, struct frame_data **ret, struct err *e);
void frames_put(struct store *s, struct frame_data *f);
/* Copies the page that a leaf's entry of kind ENTRY_FRAME names. */
int frames_page(struct store *s, uint64_t entry, void *dst, struct err *e);
/* A blob: malloc'd. */
int frames_blob(struct store *s, uint64_t num, void **ret, size_t *ret_len, struct err *e);
/* Reads and verifies a frame that is where ref says, past all caches, into a malloc'd *ret. */
int frames_load(struct store *s, const struct frame_ref *ref, void **ret, struct err *e);

/* A pack's file, opened and its header verified; close it with pack_close. */
struct pack_file;
int pack_open(struct store *s, int64_t id, struct pack_file **ret, struct err *e);
void pack_close(struct store *s, struct pack_file *p);
const struct sfile *pack_sfile(const struct pack_file *p);

/* The page hashes of a pack, from its trailer. Calls fn for each frame. */
struct trailer_frame {
    uint64_t num;          /* 0: first_frame of the pack's row + index */
    struct frame_ref ref;  /* without raw_len */
    const uint8_t *hashes; /* 8 bytes each, little-endian */
};
int pack_trailer(struct store *s, int64_t id, int (*fn)(void *opaque, uint64_t index, const struct trailer_frame *f),
                 void *opaque, struct err *e);

#endif
