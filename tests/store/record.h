/* A recorder of all that the store does to its folder, and a model of the host's disk that can say what a folder holds
 * after a crash: every operation up to a point (a kill), or only what was synced, with later ones lost or torn (a power
 * failure). */
#ifndef TEST_STORE_RECORD_H
#define TEST_STORE_RECORD_H

#include "snapshot/io.h"
#include "tests/store/fixture.h"

struct rec_op {
    enum sio_kind kind;
    char path[40];
    uint64_t off;
    uint8_t *data;
    size_t len;
};

/* The files of a store's folder, in memory. */
struct memfile {
    char path[40];
    uint8_t *data;
    size_t len, cap;
};
struct memfs {
    struct memfile *v;
    size_t n;
};

/* Memory that another process sees, too: a child that is killed leaves in it what it did. */
struct arena {
    size_t used, size;
    _Alignas(16) uint8_t mem[];
};
struct arena *arena_new(size_t size);
void arena_free(struct arena *a);
void *arena_get(struct arena *a, size_t size); /* zeroed; fails the test where it is full */

struct record {
    struct memfs base; /* what was there, durably, before the first operation */
    struct rec_op *v;
    size_t n, cap;
    struct arena *arena; /* of operations; NULL: they are malloc'd */
};

int record_hook(void *opaque, const struct sio_op *op); /* opaque: struct record */
void record_release(struct record *r);

enum crash_kind {
    CRASH_KILL,      /* all of them are in the host's cache */
    CRASH_POWER,     /* nothing that was not synced survived */
    CRASH_LOST_ONE,  /* all did, but for operation `which` */
    CRASH_TORN_ONE,  /* all did, but of write `which` only some 512-byte blocks */
    CRASH_FIRST_ONE, /* all did, but of write `which` only the first 512-byte block */
    CRASH_ONLY_ONE,  /* of what was not synced, only operation `which` did: it overtook the others */
    CRASH_KINDS
};
struct crash {
    size_t n; /* after so many operations */
    enum crash_kind kind;
    size_t which; /* unless it is CRASH_KILL or CRASH_POWER: one of record_unsynced's */
};
/* Makes dir hold what the crash leaves. */
void record_replay(const struct record *r, const struct crash *c, const char *dir);
/* The same, and the record begins anew from there. */
void record_restart(struct record *r, const struct crash *c, const char *dir);
/* It begins anew from what dir holds, as a kill of the process alone leaves it. */
void record_restart_here(struct record *r, const char *dir);
/* Operations before n that were not durable by then; *ret is malloc'd. */
size_t record_unsynced(const struct record *r, size_t n, size_t **ret);

#endif
