/* Running vmtest-fs from the command line's side; needs none of the file-system libraries. */
#ifndef VT_DIFF_SPAWN_H
#define VT_DIFF_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include "src/base/err.h"

/* One disk: of snapshot `id`, or where head or when is set of machine `id`. */
struct fs_disk {
    const char *store; /* directory of the store */
    int64_t id;
    const char *slot; /* "disk0" */
    bool head;
    int64_t when; /* as it was at this time, ns since 1970; 0: not so */
    bool live;    /* the live root of a snapshot, not the quiesced one */
};

enum fs_form { FS_LIST, FS_STAT, FS_PATCH, FS_JSON };

struct fs_diff {
    struct fs_disk a, b;
    enum fs_form form;
    bool all, times;
};

/* Each runs `vmtest-fs` to its end, with this process's stdout and stderr, and returns its exit status (0 same or done,
 * 1 different, else an error that it has told of on stderr), or a negative enum vt_err with e filled: it is not
 * installed, could not be started, or was killed (VT_CORRUPT: file-system reader crashed). */
int fs_run_diff(const struct fs_diff *d, struct err *e);
int fs_run_ls(const struct fs_disk *d, const char *path, bool json, struct err *e);
int fs_run_cat(const struct fs_disk *d, const char *path, struct err *e);
int fs_run_get(const struct fs_disk *d, const char *path, const char *to, struct err *e);

#endif
