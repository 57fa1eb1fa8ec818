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
/* In a transaction that moves the head on: what it was up to a position is kept, for undo.keep, and from
 * *ret_since on it is what it is to be. 0: nothing was written, and it is what it was. */
int head_keep_past(struct head *h, struct db *db, const struct head_pos *upto, int64_t *ret_since, struct err *e);
/* Writes what is buffered, without a sync: what is kept for undo is to have it. A disk that cannot loses that. */
void head_write_out(struct head *h);
/* In a transaction that gives the machine another head, `next`: this one is kept, for undo.keep. */
enum abandon {
    ABANDON_REVERT, /* noted, to be undone */
    ABANDON_RAN,    /* the same, of a machine that ran: its memory is another one then */
    ABANDON_UNDO,
    ABANDON_SAME, /* the next one begins with the very same disks: it stands for both */
};
int head_abandon(struct head *h, struct db *db, int64_t next, enum abandon why, struct err *e);
/* Has anything been written since the state that the row's images hold? */
bool head_written(struct head *h);
/* The row's logs as JSON, without spares and without those of disks that nothing was written to; upto (may be NULL): of
 * each disk those with something before that sequence. malloc'd. */
char *head_kept_json(struct head *h, const uint64_t *upto);
/* The row (id, logs) of what the machine stood on at a time. VT_NOENT: it is not kept. */
int past_find(struct db *db, int64_t machine, int64_t when, struct rows *ret, struct err *e);
/* The images of a snapshot, or of a head's row where snapshot is 0, as they are to become those of a head. */
struct images {
    struct mem_slot mem[MEM_SLOTS];
    size_t n_mem;
    struct disk *disks[STORE_DISKS_MAX];
};
void images_release(struct images *im);
int images_load(struct head *h, struct db *db, int64_t snapshot, int64_t head, struct images *im, struct err *e);
/* Which memory images of a head's row its snapshot has. */
int images_find_wholes(struct db *db, int64_t snapshot, struct images *im, struct err *e);
/* With what the row's logs hold, to be written on. */
int images_replay(struct head *h, const char *logs, struct images *im, struct err *e);
/* Gives each disk a new log, in the open transaction of db. */
int images_new_logs(struct head *h, struct db *db, struct images *im, struct err *e);
/* Takes the files of those away again, where nothing in the database names them. */
void images_unmake_logs(struct head *h, struct images *im);
/* Rows of a new head on a snapshot (0: none); it becomes the machine's. */
int images_insert(struct head *h, struct db *db, int64_t snapshot, struct images *im, int64_t *ret_id, struct err *e);
/* From here on the head is what im says; im has what it was. Cannot fail. */
void images_install(struct head *h, struct images *im);

/* Calls fn for each log id in a row's JSON. */
int logs_each(const char *json, int (*fn)(void *opaque, int64_t id, bool solid), void *opaque, struct err *e);
/* An image of a row, one of snapshot and head being 0; of a live head without what its logs have. */
int image_open_row(struct store *s, int64_t snapshot, int64_t head, const char *slot, enum root root,
                   struct image **ret, struct err *e);
/* An image of a head's row, with what its logs hold; when: as far as it had been flushed by then, NULL: all. */
int image_open_logs(struct store *s, int64_t head, const char *logs, const char *slot, const int64_t *when,
                    struct image **ret, struct err *e);
int disk_index(const char *slot); /* of "diskN"; -1: no disk */
bool slot_known(const char *slot);

#endif
