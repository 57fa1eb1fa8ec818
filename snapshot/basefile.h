/* A raw file that lies under a disk's holes: used where it is, read-only, and never believed when it changed. */
#ifndef VT_SNAPSHOT_BASEFILE_H
#define VT_SNAPSHOT_BASEFILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include "src/base/err.h"

/* Those that are open, so that one is shared by all that lies over it, and is looked into once. */
struct basefiles {
    pthread_mutex_t lock;
    struct basefile *first;
};

struct basefile {
    int fd;
    uint64_t size;
    char *path;
    struct basefiles *set;
    struct basefile *next; /* under set->lock, as are the next three */
    unsigned users;
    char *json;
    struct stat seen; /* when it was found to be as described */
};

/* What the database keeps of the file at path: JSON with its absolute path, size, mtime, inode and a hash of samples;
 * malloc'd. VT_NOENT, VT_USAGE: no regular file or block device, or empty. */
int basefile_describe(const char *path, char **ret_json, uint64_t *ret_size, struct err *e);
/* Opens it again; VT_CORRUPT: it is gone or is not as it was. */
int basefile_open(struct basefiles *set, const char *json, struct basefile **ret, struct err *e);
void basefile_close(struct basefile *b);
/* Reads one page; past the end of the file is zero. */
int basefile_page(const struct basefile *b, uint64_t page, void *dst, struct err *e);
/* The first page from `page` on that the file may have other than zero, by what its file system says of holes in it;
 * UINT64_MAX: none. */
uint64_t basefile_next_data(const struct basefile *b, uint64_t page);
/* Are both the same file (or both none)? */
bool basefile_same(const struct basefile *a, const struct basefile *b);
/* The path in a description, malloc'd; NULL: none. */
char *basefile_path(const char *json);

#endif
