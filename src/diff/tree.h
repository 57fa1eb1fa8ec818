/* What differs between two file systems. The result is the same whichever way it is found: by a walk of both trees, or,
 * where the caller knows which pages of the disks differ, from the inodes and directories that those pages hold. */
#ifndef VT_DIFF_TREE_H
#define VT_DIFF_TREE_H

#include "src/diff/bitset.h"
#include "src/diff/extfs.h"

enum { CHANGE_ADDED = 'A', CHANGE_REMOVED = 'D', CHANGE_MODIFIED = 'M', CHANGE_TYPE = 'T', CHANGE_RENAMED = 'R' };

/* What is different about a file that both have. */
enum {
    WHAT_CONTENT = 1,
    WHAT_SIZE = 2,
    WHAT_MODE = 4,
    WHAT_OWNER = 8,
    WHAT_TIMES = 16,
    WHAT_XATTR = 32,
    WHAT_LINKS = 64,   /* the number of hard links of a regular file */
    WHAT_TARGET = 128, /* of a symbolic link */
    WHAT_DEVICE = 256, /* the numbers of a device node */
};

struct change {
    char kind;
    unsigned what;
    char *path;         /* absolute; the new one of a rename */
    char *from;         /* the old path of a rename, else NULL */
    struct fsnode a, b; /* a.ino is 0 for an added file, b.ino for a removed one */
};

struct changes { /* sorted by path, each path once */
    size_t n, cap;
    struct change *change;
};

struct tree_options {
    bool times; /* a different mtime is a change */
};

/* Compares a and b. differ, which may be NULL, has a bit for each block of the file system that may differ between the
 * two devices as they are on the disk (journals not replayed); all others are the same bytes. It is used only where
 * both have the same layout. */
int tree_compare(struct extfs *a, struct extfs *b, const struct bitset *differ, const struct tree_options *opt,
                 struct changes *ret, struct err *e);
void changes_clear(struct changes *c);
/* Joins a removed and an added path that are the same inode into one rename. */
int changes_find_renames(struct changes *c, struct err *e);

#endif
