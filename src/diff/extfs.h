/* ext2, ext3 and ext4, read-only, from a struct blockdev: nodes, directories, block runs, contents, xattrs. A dirty
 * journal is replayed into memory first (jbd2.h); the device is never written. Everything read is hostile input:
 * what does not verify is VT_CORRUPT, a feature that cannot be read is VT_VERSION. */
#ifndef VT_DIFF_EXTFS_H
#define VT_DIFF_EXTFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "src/base/blockdev.h"

struct extfs;

#define EXTFS_ROOT 2u

#define FSNODE_INLINE 0x10000000u /* in fsnode.flags: the content is in the inode, not in blocks */

/* What a file is, as its inode says. */
struct fsnode {
    uint32_t ino;
    uint32_t generation;
    uint32_t mode; /* type and permissions, as in stat */
    uint32_t uid, gid;
    uint32_t links;
    uint32_t flags; /* as stored: EXT4_EXTENTS_FL, EXT4_INLINE_DATA_FL, ... */
    uint32_t rdev_major, rdev_minor;
    uint64_t size;
    int64_t mtime;
    uint32_t mtime_ns;
    uint64_t acl_block;
};

struct dirent_name {
    char *name; /* no '/', not "." or ".." */
    uint32_t ino;
};

/* A directory's entries, sorted by name (bytewise). */
struct dirlist {
    size_t n, cap;
    struct dirent_name *entry;
    uint32_t parent; /* the inode of "..", 0 when it has none */
};

/* Blocks [lblk, lblk + len) of a file lie at pblk. Holes and unwritten extents have no run. */
struct run {
    uint64_t lblk, pblk, len;
};

/* A file's blocks, in logical order, and the blocks that hold its map. */
struct runs {
    size_t n, cap;
    struct run *run;
    size_t nmeta, capmeta;
    uint64_t *meta;
};

struct xattr {
    char *name;
    unsigned char *value;
    size_t len;
};

struct xattrs { /* sorted by name */
    size_t n, cap;
    struct xattr *attr;
};

/* Opens the file system on dev, which must outlive it. Replays its journal into memory. */
int extfs_open(struct blockdev *dev, struct extfs **ret, struct err *e);
void extfs_close(struct extfs *fs); /* NULL is fine */
static inline void cleanup_extfs(struct extfs **fs)
{
    extfs_close(*fs);
}

/* What the journal held that could not be replayed; NULL when all is well. Belongs to fs. */
const char *extfs_note(const struct extfs *fs);
/* How many blocks the replay put over the device, and which. */
size_t extfs_replayed(const struct extfs *fs);
uint64_t extfs_replayed_block(const struct extfs *fs, size_t index);
uint32_t extfs_inodes(const struct extfs *fs); /* inode numbers are 1 to this */
uint32_t extfs_block_size(const struct extfs *fs);
/* The device as the file system sees it: with the journal replayed. */
struct blockdev *extfs_dev(struct extfs *fs);
/* The library's handle, for the code that compares inode tables. */
void *extfs_handle(struct extfs *fs);

/* The node with number ino. VT_CORRUPT where ino is out of range or its checksum is wrong. */
int extfs_node(struct extfs *fs, uint32_t ino, struct fsnode *ret, struct err *e);
/* Fills *ret from an inode as it is stored (inode_size bytes). */
void extfs_decode(const void *raw, size_t inode_size, uint32_t ino, struct fsnode *ret);
/* The entries of a directory. */
int extfs_list(struct extfs *fs, const struct fsnode *dir, struct dirlist *ret, struct err *e);
/* The block map of a file or directory. Files with inline data have no runs. */
int extfs_runs(struct extfs *fs, const struct fsnode *n, struct runs *ret, struct err *e);
/* Bytes [off, off + len) of a file's content, which must lie within its size; holes are zeros. runs is extfs_runs()'s.
 */
int extfs_read(struct extfs *fs, const struct fsnode *n, const struct runs *runs, uint64_t off, void *dst, size_t len,
               struct err *e);
/* The target of a symbolic link, NUL-terminated; the caller frees it. */
int extfs_readlink(struct extfs *fs, const struct fsnode *n, char **ret, struct err *e);
/* All extended attributes, in the form the kernel's system calls give. */
int extfs_xattrs(struct extfs *fs, const struct fsnode *n, struct xattrs *ret, struct err *e);
/* The node at an absolute path; symbolic links on the way are followed, a last one only if follow says so. VT_NOENT. */
int extfs_lookup(struct extfs *fs, const char *path, bool follow, struct fsnode *ret, struct err *e);

/* The position of name in list, or -1. */
long dirlist_find(const struct dirlist *list, const char *name);
void dirlist_clear(struct dirlist *l);
void runs_clear(struct runs *r);
void xattrs_clear(struct xattrs *x);
bool xattrs_equal(const struct xattrs *a, const struct xattrs *b);

#endif
