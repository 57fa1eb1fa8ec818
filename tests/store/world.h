/* A store and, beside it, what must be in it: a small model with full copies. Steps do the same to both; where a step
 * fails because a test made the host fail, it is made once more, and must then succeed. What was promised when is kept
 * as events, for tests that look at the store as a crash left it. */
#ifndef TEST_STORE_WORLD_H
#define TEST_STORE_WORLD_H

#include "snapshot/store.h"
#include "tests/store/fixture.h"

#define W_PAGES     700u /* of the disk: two leaves */
#define W_RAM       40u
#define W_SNAPSHOTS 64

struct model_disk {
    uint32_t tag[W_PAGES];
};

struct model_snap {
    char name[16];
    int64_t id;
    struct model_disk disk;
    uint32_t ram; /* page i has tag ram + i; 0: no memory */
    bool deleted;
};

enum event_kind {
    EV_MACHINE,    /* made */
    EV_WRITE,      /* page gets tag, not flushed */
    EV_FLUSH,      /* answered */
    EV_SNAP_BEGIN, /* what it will have */
    EV_SNAP,       /* reported as made */
    EV_DELETE_BEGIN,
    EV_RESET_BEGIN, /* to snapshot `index`, -1: as made */
    EV_RESET,       /* reported */
};

struct event {
    size_t at; /* operations recorded before it */
    enum event_kind kind;
    uint32_t page, tag;
    int index; /* of a snapshot */
};

struct world {
    char *dir;
    struct sio_hook hook;
    struct store *s;
    struct head *h;
    int64_t machine;
    int lock;
    struct model_disk now;
    struct model_snap snaps[W_SNAPSHOTS];
    int n_snaps;
    uint32_t next_tag;
    uint64_t retries; /* steps that had to be made again */
    struct event *events;
    size_t n_events;
    const size_t *ops; /* counts recorded operations; NULL: none are */
};

/* Makes a store in dir (borrowed) with a machine, its head open. */
void world_open(struct world *w, char *dir, const struct sio_hook *hook, const size_t *ops);
void world_close(struct world *w); /* cleanly */
void world_release(struct world *w);
void world_reopen(struct world *w);
void world_write(struct world *w, uint32_t page, bool zero);
void world_flush(struct world *w);
void world_snapshot(struct world *w, bool with_ram);
void world_abort(struct world *w); /* begins a snapshot and gives it up */
void world_reset(struct world *w, int index);
void world_delete(struct world *w, int index);
void world_maintain(struct world *w);
void world_prepare(struct world *w);
void world_fold(struct world *w);
void world_gc(struct world *w);
int world_pick(struct world *w, struct rng *r); /* a snapshot that is not deleted, -1: none */
/* One random step. */
void world_step(struct world *w, struct rng *r);
/* Every byte of head and snapshots is as the model has it. */
void world_compare(struct world *w);
/* The same of one snapshot in another handle's store. */
void world_compare_snap(struct world *w, struct store *s, int index, int64_t id);

#endif
