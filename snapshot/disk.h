/* One disk of a head: a log on top of a map, seen as a block device. One thread (the disk worker) reads, writes and
 * flushes; marks, collecting and rebasing may come from others, and never wait for I/O of that thread. */
#ifndef VT_SNAPSHOT_DISK_H
#define VT_SNAPSHOT_DISK_H

#include <pthread.h>
#include "snapshot/basefile.h"
#include "snapshot/hlog.h"
#include "snapshot/pageidx.h"

struct head;

/* The pages written between two marks. */
struct layer {
    uint64_t start; /* sequence of its first batch */
    unsigned marks; /* that are set on its start */
    struct pageidx idx;
    struct batch **batches; /* references */
    size_t n_batches;
    struct layer *older;
};

struct disk {
    struct blockdev dev; /* first: what head_disk hands out */
    struct head *h;
    struct store *s;
    char slot[8];
    pthread_mutex_t lock; /* what follows, but for the last part */

    uint64_t pages; /* from here on: what disk_swap exchanges */
    char *base_json;
    struct basefile *base; /* NULL: holes are zero */
    bool gone;             /* the head was reset to a snapshot without it */
    uint64_t root;         /* of the map under the log */
    uint64_t from;         /* the first sequence that is not in it */
    struct layer *top;
    struct batch *open;                   /* being filled; NULL: none */
    struct batch *pending, **pending_end; /* closed, to be written, in order */
    struct hlog **logs;                   /* in order; those past `current` are spares */
    size_t n_logs, current;
    uint64_t next_seq;

    /* the disk worker's own */
    uint64_t prev;        /* checksum of the last batch written */
    uint64_t synced;      /* first sequence not known to be durable */
    uint64_t synced_prev; /* checksum of the batch before it */
    uint64_t clean_seq;   /* where it was opened or cleanly closed */
    bool restart;         /* the next batch written takes the place of those that a failed sync lost */
};

int disk_new(struct head *h, const char *slot, uint64_t bytes, uint64_t root, const char *base_json, struct disk **ret,
             struct err *e);
void disk_free(struct disk *d);
/* Gives d the content of fresh, and fresh that of d; d stays where users of its block device know it. */
void disk_swap(struct disk *d, struct disk *fresh);
/* Takes the logs and what they hold, cutting what is torn off. */
int disk_replay(struct disk *d, struct hlog **logs, size_t n, uint64_t from, bool cut, struct err *e);
/* The same, only to be read: what had been flushed by a time (ns since 1970). */
int disk_replay_past(struct disk *d, struct hlog **logs, size_t n, uint64_t from, int64_t when, struct err *e);
/* Appends a log (a reference); the first becomes the current one. */
int disk_add_log(struct disk *d, struct hlog *l, struct err *e);

/* Ends the batch being filled, if there is one; gives it its place. Under d->lock. */
int disk_close_open(struct disk *d, struct err *e);
/* Adds a batch, whose reference it takes. False: no memory. */
bool disk_layer_add(struct layer *l, struct batch *b);

/* Marks the present position. seal: later batches go to a spare log, where there is one. */
int disk_mark(struct disk *d, bool seal, uint64_t *ret_seq, struct err *e);
void disk_unmark(struct disk *d, uint64_t seq);

/* The newest version of each page within [from, to), both of which are marked; sorted. */
struct pagelist {
    struct loc *v; /* each with a batch reference, or NULL for zero */
    size_t n;
};
int disk_collect(struct disk *d, uint64_t from, uint64_t to, struct pagelist *ret, struct err *e);
void pagelist_release(struct pagelist *l);

/* A snapshot has all before seq, which is marked: stands on its root; frees both. Logs that nothing needs any more are
 * handed over in ret_logs (references); where there are more, the rest stays for the next time. */
#define REBASE_LOGS 16
void disk_rebase(struct disk *d, uint64_t seq, uint64_t root, struct hlog **ret_logs, size_t *ret_n);
/* Which logs will be needed from seq on: the same decision as disk_rebase makes. Caller holds d->lock. */
bool disk_needs_log(const struct disk *d, size_t i, uint64_t seq);

/* Have its logs grown over `bytes`, with half of that overwritten since? */
bool disk_wants_fold(struct disk *d, uint64_t bytes);

/* Writes out what is pending, without a sync. flush: for a flush of the guest's, which its last batch is to say. */
int disk_write_out(struct disk *d, bool flush, struct err *e);
/* Is this page zero, by what is known without reading it? */
int disk_known_zero(struct disk *d, uint64_t page, bool *ret, struct err *e);
/* The same with the open batch, then makes it durable. */
int disk_flush(struct disk *d, struct err *e);
/* Reads one page as it is now. */
int disk_read_page(struct disk *d, uint64_t page, void *dst, struct err *e);
/* Reads a page of a map over a base file. */
int base_read_page(struct store *s, uint64_t root, const struct basefile *base, uint64_t page, void *dst,
                   struct err *e);

extern const struct blockdev_ops disk_ops;

#endif
