/* What an open store is made of; for the files of this folder and their tests. */
#ifndef VT_SNAPSHOT_STORE_H
#define VT_SNAPSHOT_STORE_H

#include "snapshot/basefile.h"
#include "snapshot/db.h"
#include "snapshot/io.h"
#include "snapshot/lru.h"
#include "snapshot/snapshot.h"

struct vfs;
struct dedup;

struct store {
    char *dir;
    struct sio io;
    struct vfs *vfs;
    int lock_fd; /* holds LOCK_STORE shared */
    pthread_mutex_t marks;
    struct sfile mark; /* opened when first written, under marks */
    uint64_t marked;   /* what it was last given, under marks */
    uint64_t lost;     /* commits that the database lacks, durable ones among them (mark.h); only with STORE_DAMAGED */
    char uuid[37];
    uint8_t uuid_bytes[16];
    struct dbpool pool;
    struct lru nodes, frames, packs; /* map.c, frames.c */
    pthread_mutex_t batches;         /* hlog.h */
    int64_t sweeps;                  /* of gc, when dedup was last filled; under batches */
    uint64_t undo_bytes;             /* the most that is kept for undo; 0: a tenth of the file system */
    struct dedup *dedup;             /* page hashes of what is stored, filled when first needed */
    bool sealed;                     /* opened immutable: nothing is locked, nothing can be changed */
    struct basefiles files;
    pthread_mutex_t base_lock;
    struct store *bases[256]; /* sealed ones under this, by number; opened when first needed, under base_lock */
};

/* store_open with a hook under all I/O; NULL: none. */
int store_open_hooked(const char *dir, unsigned flags, const struct sio_hook *hook, struct store **ret, struct err *e);
/* Is something deleted that store_gc could take back? */
int gc_useful(struct store *s, bool *ret, struct err *e);
/* A fresh UUID as text. */
int uuid_make(char ret[37], struct err *e);

#endif
