/* The differences of two disks, file system by file system, with the file systems still open for who prints contents.
 */
#ifndef VT_DIFF_RESULT_H
#define VT_DIFF_RESULT_H

#include "src/base/buf.h"
#include "src/diff/disk.h"
#include "src/diff/packages.h"
#include "src/diff/tree.h"

/* One file system that both disks have in the same partition. */
struct fs_pair {
    int part;        /* the partition's number, 0 for a disk without a table */
    bool root;       /* it is the guest's root file system, as far as can be told */
    char prefix[16]; /* put before its paths: "" for the root, else "pN:" */
    struct blockdev *slice[2];
    struct extfs *fs[2];
    struct changes changes;
};

struct unit_change {
    const char *path; /* of the link, belongs to the change */
    char *unit;       /* "ssh.service" */
    char *target;     /* "multi-user.target" */
    bool enabled;     /* else disabled */
};

struct result {
    size_t npairs;
    struct fs_pair *pair;
    struct packages pkg[2];
    size_t nunits;
    struct unit_change *unit;
    size_t left_out;         /* changes that are noise */
    struct strlist warnings; /* what could not be compared, or was not whole */
    bool unread;             /* a partition that differs, or may differ, could not be read */
};

struct result_options {
    bool all;   /* keep what is noise, and do not look for renames */
    bool times; /* a different mtime is a change */
};

/* Compares two disks, which must outlive the result. VT_VERSION where there is nothing on them that can be read. */
int result_make(struct disk *a, struct disk *b, const struct result_options *opt, struct result *ret, struct err *e);
void result_clear(struct result *r);
/* Is there any difference? */
bool result_differs(const struct result *r);

/* Opens the file system to use for single files of a disk: the root, else the first that can be read. */
int result_open_root(struct disk *d, struct blockdev **ret_slice, struct extfs **ret, struct err *e);

#endif
