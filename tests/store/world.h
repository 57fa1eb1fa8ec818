/* A store and, beside it, what must be in it: a small model with full copies. Steps do the same to both; where a step
 * fails because a test made the host fail, it is made once more, and must then succeed. What was promised when is kept
 * as events, for tests that look at the store as a crash left it. */
#ifndef TEST_STORE_WORLD_H
#define TEST_STORE_WORLD_H

#include "snapshot/store.h"
#include "tests/store/fixture.h"
#include "tests/store/record.h"

#define W_DISK0     700u /* pages: two leaves */
#define W_DISK1     72u  /* over a raw file of W_BASE pages */
#define W_BASE      40u
#define W_PAGES     (W_DISK0 + W_DISK1) /* of both disks, disk1's after disk0's */
#define W_RAM       40u
#define W_SNAPSHOTS 1024
#define W_OTHER     32u /* pages of the second machine's disk */

struct model_disk { /* both of them */
    uint32_t tag[W_PAGES];
};

struct model_snap {
    char name[24];
    unsigned renames;
    int64_t id;
    int parent; /* index, -1: none; of deleted ones too: see world_parent */
    struct model_disk disk, quiesced;
    uint32_t ram; /* page i has tag ram + i; 0: no memory */
    bool deleted;
};

#define W_PAST 8
struct model_past { /* what the disks held, all of it flushed */
    int64_t when;
    size_t at; /* operations recorded by then */
    struct model_disk disk;
};

enum event_kind {
    EV_MACHINE,    /* made */
    EV_START,      /* what follows began with the head as `start` has it */
    EV_WRITE,      /* page gets tag, not flushed */
    EV_FLUSH,      /* answered */
    EV_SNAP_BEGIN, /* what it will have */
    EV_SNAP,       /* reported as made */
    EV_DELETE_BEGIN,
    EV_DELETE,
    EV_UNDELETE, /* is being taken back */
    EV_UNDELETED,
    EV_RENAME_BEGIN, /* tag: how often it was then renamed */
    EV_RENAME,
    EV_RESET_BEGIN, /* to snapshot `index`, -1: as made */
    EV_RESET,       /* reported */
    EV_UNDO_BEGIN,  /* of the reset before, which came right after a flush */
    EV_UNDO,
    EV_OTHER, /* the second machine has its snapshot */
    EV_OTHER_RM_BEGIN,
    EV_OTHER_RM,
};

struct event {
    size_t at; /* operations recorded before it */
    enum event_kind kind;
    uint32_t page, tag;
    int index; /* of a snapshot */
};

struct world {
    char *dir, *base; /* base: the raw file under disk1 */
    struct sio_hook hook;
    struct record *rec; /* NULL: not recorded */
    size_t step_began;  /* recorded operations then */
    struct store *s;
    struct store *second; /* another handle on the same store, NULL: not open */
    struct head *h;
    int64_t machine;
    int lock;
    struct model_disk origin, start, now;
    int parent; /* the snapshot under the head, -1: none */
    struct model_snap *snaps;
    int n_snaps, n_alive;
    uint32_t next_tag;
    struct model_past past[W_PAST]; /* the last flushes, in no order */
    unsigned n_past;                /* so many there were since what was kept was last forgotten */
    int resets;                     /* since the last flush or snapshot */
    uint64_t retries;               /* steps that had to be made again */
    uint64_t steps, crashes;
    bool tell;    /* print each step */
    bool steady;  /* no step is a crash */
    bool *inside; /* set while the store is called; may be NULL */
    struct event *events;
    size_t n_events, cap_events;
};

/* Makes a store in dir (borrowed) with a machine, its head open. rec: hook's record, or NULL. */
void world_open(struct world *w, char *dir, const struct sio_hook *hook, struct record *rec);
/* The same in a folder of its own; and, after world_close, its end with all that is in it. */
void world_own(struct world *w, const struct sio_hook *hook);
void world_remove(struct world *w);
/* All is as it must be, and the store sound; then world_close and world_remove. */
void world_end(struct world *w);
void world_close(struct world *w); /* cleanly */
void world_release(struct world *w);
/* The same store again, after world_close. */
void world_open_again(struct world *w);
void world_reopen(struct world *w);
void world_write(struct world *w, uint32_t page, bool zero);
/* Writes a few whole pages' worth of zeroes by discard. */
void world_discard(struct world *w, uint32_t page, uint32_t n);
void world_flush(struct world *w);
/* quiesced: with a position marked before `page` is written, as of the disks while the guest held them still. */
void world_snapshot(struct world *w, bool with_ram, bool quiesced, uint32_t page);
/* Two are taken before the first is stored, with writes of `page` and the next between and after; and a flush before
 * the second is stored. */
void world_two_snapshots(struct world *w, uint32_t page);
void world_abort(struct world *w); /* begins a snapshot and gives it up */
void world_reset(struct world *w, int index);
void world_delete(struct world *w, int index, bool second);
/* Deletes and takes it back. */
void world_undo_delete(struct world *w, int index, bool second);
/* Flushes, moves to a snapshot, writes there, and takes the move back. */
void world_undo_reset(struct world *w, int index, uint32_t page);
void world_rename(struct world *w, int index, bool second);
void world_maintain(struct world *w, bool second);
void world_prepare(struct world *w);
void world_spare(struct world *w); /* the same, without a sync */
void world_fold(struct world *w);
void world_gc(struct world *w); /* with the machine stopped */
void world_gc_beside(struct world *w);
/* The write-ahead log is folded into the database. */
void world_checkpoint(struct world *w);
/* Writes to both disks and flushes, and notes what they have. (A flush that finds nothing left to write is not a point
 * to go back to as long as nothing follows.) */
void world_remember(struct world *w, uint32_t page);
/* What was noted some time ago is still to be had. */
void world_look_back(struct world *w, unsigned which);
/* A throw-away head on a snapshot: written, read, moved, closed. */
void world_fork(struct world *w, int index, bool second);
/* A second machine that shares pages with the first, with a snapshot "o"; and its end. */
void world_other(struct world *w);
void world_other_rm(struct world *w);
uint32_t world_other_tag(uint32_t page);
int world_pick(struct world *w, struct rng *r); /* a snapshot that is not deleted, -1: none */
/* A bit of everything, for tests in which each call may fail once. */
void world_tour(struct world *w);
/* One random step; with a record, some are a crash, which leaves any of the states that one can. */
void world_step(struct world *w, struct rng *r);
/* Every byte of head and snapshots is as the model has it, and so is the tree. */
void world_compare(struct world *w);
/* The head's disks alone. */
void world_compare_head(struct world *w);
/* The events so far become what the next ones start from. */
void world_begin_anew(struct world *w);
/* One snapshot, in any handle's store. */
void world_compare_snap(struct world *w, struct store *s, int index, int64_t id);
/* The nearest that is not deleted of index and those before it in the tree; -1: none. */
int world_parent(const struct world *w, int index);
uint32_t world_tag(struct head *h, uint32_t page);

#endif
