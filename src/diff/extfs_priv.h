/* What the files of extfs share. */
#ifndef VT_DIFF_EXTFS_PRIV_H
#define VT_DIFF_EXTFS_PRIV_H

#include <ext2fs/ext2fs.h>

#include "src/diff/extfs.h"
#include "src/diff/extio.h"

struct extfs {
    struct blockdev *disk;    /* as given */
    struct blockdev *overlay; /* disk with the journal replayed; NULL where there was nothing to replay */
    struct extio io;
    ext2_filsys fs;
    char *note;
};

/* Starts one operation: bounds what it may read and forgets the last failure. */
void extfs_begin(struct extfs *fs);
/* Turns a libext2fs code into ours; the message says what was being read. */
int extfs_fail(struct extfs *fs, long code, struct err *e, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Reads an inode with its checksum verified. */
int extfs_inode(struct extfs *fs, uint32_t ino, struct ext2_inode_large *ret, struct err *e);

#endif
