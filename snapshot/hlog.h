/* The log files of a disk's head, and the batches in them. Each batch is written whole, once; its header has a checksum
 * over itself and the entries, which hold a checksum of each page, and repeats the checksum of the batch before it. */
#ifndef VT_SNAPSHOT_HLOG_H
#define VT_SNAPSHOT_HLOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include "snapshot/format.h"
#include "snapshot/io.h"

struct store;

/* s->batches guards the references of logs and batches, and a batch's data and place. */
struct hlog {
    struct store *s;
    unsigned refs;
    struct sfile f;
    int64_t id;            /* 0: unnamed */
    uint64_t nonce;        /* tells this log's batches from what was on the host's disk before */
    uint64_t end;          /* where the next batch goes; the owning disk's lock keeps it */
    uint64_t next_seq;     /* past the last batch put in, 0: none */
    bool solid;            /* its row says that it is there for certain; the head's row lock keeps it */
    atomic_bool synced;    /* its header is durable */
    bool dirty;            /* batches were written since the last sync; disk worker only */
    atomic_bool condemned; /* a sync failed: never written or synced again */
};

struct batch_entry {
    uint64_t page;
    uint32_t count;
    enum batch_kind kind;
    uint64_t sum; /* of the page, for data */
};

struct batch {
    struct store *s;
    unsigned refs;
    struct hlog *log;  /* holds a reference; NULL while it is open */
    uint64_t seq, off; /* off: of the header */
    uint64_t data_off;
    uint64_t checksum; /* of the header; what the next one repeats */
    uint32_t n_entries, cap_entries, n_pages, cap_pages;
    int64_t time;                /* when it was written, ns since 1970; 0: its writer knew no times */
    uint64_t synced;             /* its header's: batches before this sequence were known to be durable */
    unsigned flags;              /* its header's */
    bool written;                /* disk worker only */
    struct batch_entry *entries; /* in order: later ones win */
    uint64_t *sums;              /* of each data page, once closed */
    uint8_t *data;               /* NULL once written */
    struct batch *next;          /* of the pending */
};

int hlog_create(struct store *s, int64_t id, struct hlog **ret, struct err *e); /* VT_EXISTS: the name is taken */
int hlog_create_unnamed(struct store *s, struct hlog **ret, struct err *e);
/* VT_NOENT: no such file; VT_CORRUPT: no log of this store. */
int hlog_open(struct store *s, int64_t id, bool write, struct hlog **ret, struct err *e);
struct hlog *hlog_ref(struct hlog *l);
void hlog_unref(struct hlog *l); /* NULL is fine */
/* Makes it durable; a failure condemns it. */
int hlog_sync(struct hlog *l, struct err *e);
void hlog_path(int64_t id, char ret[40]);

/* A batch being filled; it has no place in a log yet. */
struct batch *batch_new(struct store *s, uint64_t seq);
/* Appends an entry; page data only for BATCH_DATA, its slot is then *ret_slot. False: no memory. */
bool batch_add(struct batch *b, uint64_t page, uint32_t count, enum batch_kind kind, const void *data,
               uint32_t *ret_slot);
bool batch_full(const struct batch *b);
/* Ends it: hashes its pages and gives it its place at the end of the log. */
bool batch_close(struct batch *b, struct hlog *l);
/* Takes a closed batch back out of a log that is not to be trusted, and to the end of another, to be written again. */
int batch_move(struct batch *b, struct hlog *to, struct err *e);
/* Writes a closed batch. prev: the checksum of the one before; synced: the first sequence not known to be durable. */
enum batch_flags {
    BATCH_CLEAN = 1,   /* nothing follows: closed on purpose */
    BATCH_RESTART = 2, /* batches from this sequence on in earlier logs do not count */
    BATCH_FLUSHED = 4  /* the guest asked for a flush after it */
};
int batch_write(struct batch *b, uint64_t prev, uint64_t synced, unsigned flags, struct err *e);
/* Copies one data page, verified. Any thread, once closed; also while it is open, for the thread that fills it. */
int batch_page(struct batch *b, uint32_t slot, void *dst, struct err *e);
struct batch *batch_ref(struct batch *b);
void batch_unref(struct batch *b);
static inline void cleanup_batch(struct batch **b)
{
    batch_unref(*b);
}
uint64_t batch_size(const struct batch *b); /* in the file */

/* What a log's header or a batch's says, when read back. */
struct batch_head {
    uint64_t seq, prev, synced;
    unsigned flags;
};
/* The batch at off. *ret is NULL where there is none that is whole (headers only: pages are not read). */
int hlog_read_batch(struct hlog *l, uint64_t off, uint64_t size, struct batch **ret, struct batch_head *ret_head,
                    struct err *e);

#endif
