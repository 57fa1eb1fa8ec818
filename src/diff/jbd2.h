/* Replay of an ext3/ext4 journal into an overlay. Source: the format described in the Linux kernel's documentation,
 * filesystems/ext4/journal.rst. */
#ifndef VT_DIFF_JBD2_H
#define VT_DIFF_JBD2_H

#include "src/base/blockdev.h"

/* Where the journal's own blocks are, and what it belongs to. */
struct jbd2_source {
    struct blockdev *dev; /* the file system, not replayed */
    uint32_t block_size;  /* of the file system */
    uint64_t fs_blocks;   /* size of the file system */
    const uint64_t *map;  /* journal block -> file-system block, 0 for a hole */
    uint32_t map_len;
};

struct jbd2_result {
    uint32_t transactions; /* complete ones that were replayed */
    uint32_t skipped;      /* blocks whose checksum was wrong, and which were left as they are on the disk */
    bool fast_commits;     /* fast commits follow the last full one; they are not replayed */
};

/* Puts every block of the journal's complete transactions into overlay (dev_overlay with the same block size), except
 * those revoked later. VT_CORRUPT where the journal's superblock does not make sense, VT_VERSION for a feature that is
 * not known. */
int jbd2_replay(const struct jbd2_source *src, struct blockdev *overlay, struct jbd2_result *ret, struct err *e);

#endif
