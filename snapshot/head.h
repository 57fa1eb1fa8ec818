/* A head: the disks of a machine that are being written, and the row that says so. */
#ifndef VT_SNAPSHOT_HEAD_H
#define VT_SNAPSHOT_HEAD_H

#include <pthread.h>
#include <stdatomic.h>
#include "snapshot/disk.h"
#include "snapshot/store.h"

#define MEM_SLOTS 2

struct mem_slot {
    char slot[8];
    uint64_t bytes, root;
    bool whole; /* the snapshot under the head has it: later ones may say what changed since */
};

struct head {
    struct store *s;
    int64_t machine;
    bool throwaway; /* head_fork */
    unsigned flags;
    struct snaplock *hold; /* of a throw-away head */

    pthread_mutex_t row; /* what follows, and all changes of the row; never held while a vCPU could wait */
    int64_t id, parent;
    struct mem_slot mem[MEM_SLOTS];
    size_t n_mem;
    struct disk *disks[STORE_DISKS_MAX]; /* in order of slots; NULL: none */
    atomic_bool durable;                 /* the row is, and so are the names of all logs in use */
    struct snap *snap;                   /* under way */
};

/* Logs that were made, but are not of a disk yet. */
struct newlogs {
    struct hlog *v[STORE_DISKS_MAX][2];
    unsigned n[STORE_DISKS_MAX];
};
/* The row's logs as JSON, malloc'd. from (may be NULL): of each disk as after disk_rebase there; add (may be NULL):
 * with these. Caller holds h->row. */
char *head_logs_json(struct head *h, const uint64_t *from, const struct newlogs *add);
/* A new log in the open transaction of db (NULL for a throw-away head). */
int head_make_log(struct head *h, struct db *db, struct hlog **ret, struct err *e);
/* Gives each disk at least n logs from its current one on, in the row too. Caller holds h->row. */
int head_make_logs(struct head *h, size_t n, struct err *e);
/* Before a flush of d is answered: the row and the names of logs are durable. */
int head_solidify(struct head *h, struct err *e);
/* A log to take over from one whose sync failed: added to d, and in the row. */
int head_replace_log(struct head *h, struct disk *d, struct err *e);
struct disk *head_find(struct head *h, const char *slot); /* NULL: none, or gone */
struct disk *head_disk_at(struct head *h, size_t i);
/* Opens the logs that a row names. write: new ones that are missing are left out; else nothing is changed. */
struct logset {
    struct hlog **v;
    size_t n;
    uint64_t from;
};
int logset_open(struct store *s, const char *json, const char *slot, bool write, struct logset *ret, struct err *e);
void logset_release(struct logset *l);
/* Calls fn for each log id in a row's JSON. */
int logs_each(const char *json, int (*fn)(void *opaque, int64_t id, bool solid), void *opaque, struct err *e);
/* An image of a row, one of snapshot and head being 0; of a live head without what its logs have. */
int image_open_row(struct store *s, int64_t snapshot, int64_t head, const char *slot, enum root root,
                   struct image **ret, struct err *e);
int disk_index(const char *slot); /* of "diskN"; -1: no disk */
bool slot_known(const char *slot);

#endif
