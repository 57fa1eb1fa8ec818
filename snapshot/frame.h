/* A frame: pages of an image, or a blob, compressed together. Pure: bytes in, bytes out. */
#ifndef VT_SNAPSHOT_FRAME_H
#define VT_SNAPSHOT_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <zstd.h>
#include "src/base/err.h"

/* Where a frame is, as its row says. */
struct frame_ref {
    int64_t pack;
    uint64_t off;
    uint32_t len;     /* stored, without padding */
    uint32_t pages;   /* hashes in it */
    uint32_t raw_len; /* bytes when unpacked; less than pages * 4096 only for a blob */
};

uint64_t page_hash(const void *data, size_t len);
/* Room that frame_encode may need. */
size_t frame_bound(uint32_t raw_len);
/* Packs raw_len bytes with their page hashes (one for each begun 4 KiB) into out; returns the stored length. */
size_t frame_encode(ZSTD_CCtx *z, const void *raw, uint32_t raw_len, const uint64_t *hashes, uint8_t *out);
/* Verifies a stored frame (stored is changed) and unpacks it into raw, ref->raw_len bytes. `file` is for messages. */
int frame_decode(uint8_t *stored, const struct frame_ref *ref, void *raw, const char *file, struct err *e);

#endif
