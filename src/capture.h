/* Where machine and store meet: snapshots of a running machine, its start from one, and its revert to one.
 *
 * 1. The quiesced position is marked while the guest's file systems are frozen, and they are thawed before anything
 * else.
 * 2. vCPU, disk workers and devices stand at one instant when the live position, the device state and the memory's
 * epoch are taken; no I/O is waited for meanwhile. Pages are written after the guest goes on, as they were at that
 * epoch.
 * 3. `base` names what memory is known to differ from: the snapshot that the head stands on, as of an epoch. A capture
 *    that fails leaves it, so that its pages fold into the next one.
 * 4. What a revert left can be gone back to until the next revert, as long as this process lives and little of it was
 *    written over since: it is kept where it was, and copied only where the guest's first writes would destroy it.
 * 5. Snapshots that were taken are stored in that order, one at a time; the guest runs on, and more may be taken
 *    meanwhile. What moves the machine in its tree waits until all of them are.
 *
 * Calls block and come from one thread at a time, never from the loop's own; capture_store, from any. */
#ifndef VT_CAPTURE_H
#define VT_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>
#include "snapshot/snapshot.h"
#include "src/base/err.h"
#include "src/machine.h"

struct capture;

/* All borrowed, and outlive it. */
int capture_new(struct store *store, struct head *head, struct machine *m, struct capture **ret_capture, struct err *e);
/* How many bytes of memory, of RAM and as many of video RAM, it may hold for snapshots that are being stored, and as
 * many for what a revert left. A quarter of RAM unless told. */
void capture_bound(struct capture *c, uint64_t bytes);
/* After the machine is gone: it closes what the machine's memory was read from. */
/* The snapshot that memory stands on; 0: none. */
int64_t capture_base(const struct capture *c);
void capture_free(struct capture *c);

enum quiesce { QUIESCE_AUTO, QUIESCE_REQUIRE, QUIESCE_NO };
bool quiesce_parse(const char *word, enum quiesce *ret);

struct capture_result {
    int64_t id;
    uint64_t pages, blocks; /* memory pages put, disk pages packed */
    uint64_t stopped, took; /* ns */
    char warning[1200];     /* empty: none */
};
/* Who wants to hear how far it is; on the caller's thread. Both may be NULL. */
struct capture_watch {
    void (*taken)(void *opaque, const struct capture_result *so_far); /* the guest goes on; all is to be written yet */
    void (*progress)(void *opaque, uint64_t pages, uint64_t of);      /* memory pages put; often */
    void *opaque;
};
struct capture_spec {
    const char *name, *note; /* note may be NULL */
    enum quiesce quiesce;
    uint64_t quiesce_timeout; /* ns */
    bool paused;              /* the user has it paused: what the snapshot's power state says */
    struct capture_watch watch;
};
/* A snapshot that was taken, and is not stored yet. */
struct taken;
/* Takes a snapshot; the guest stands for that alone. *spec is borrowed until it is stored. Where as many as there may
 * be are being stored, it waits. VT_BUSY: a disk is in trouble; VT_EXISTS: one of this name is being stored. */
int capture_take(struct capture *c, const struct capture_spec *spec, struct taken **ret, struct err *e);
/* Stores it, after those that were taken before it. It is gone afterwards, also on error; each one that was taken must
 * come to this. ret is filled in any case. */
int capture_store(struct taken *t, struct capture_result *ret, struct err *e);
/* Waits until all that were taken are stored. */
void capture_drain(struct capture *c);
/* Is any being stored just now? */
bool capture_busy(struct capture *c);

struct revert_result {
    uint64_t pages, blocks, took;
    enum power power; /* what the machine is to be now */
};
/* What is to become of what a machine is when a revert leaves it. */
enum leave {
    LEAVE_DISKS,   /* the store keeps them */
    LEAVE_PAUSED,  /* and this process memory and devices, for capture_undo; the guest stands then */
    LEAVE_RUNNING, /* or goes on */
};
/* Puts the machine into the state of a snapshot: disks, and for one with memory also memory and devices. The vCPU must
 * have been paused by the caller, once, and stays so. *ret_broken: the machine is unusable (only on error). */
int capture_revert(struct capture *c, int64_t snapshot, enum leave leave, struct revert_result *ret, bool *ret_broken,
                   struct err *e);
/* Takes back the last revert, with memory and devices; entry and head are of its entry in the store. As capture_revert
 * otherwise. VT_NOENT: what that left is here no longer, and nothing has changed. */
int capture_undo(struct capture *c, int64_t entry, int64_t head, struct revert_result *ret, bool *ret_broken,
                 struct err *e);
/* The same for a machine that was just made on a head that stands on the snapshot already (a fork): disks stay. */
int capture_restore(struct capture *c, int64_t snapshot, enum power *ret_power, struct err *e);

/* The machine no longer needs the snapshot's bytes in the store: before its deletion. */
int capture_detach(struct capture *c, int64_t snapshot, struct err *e);

#endif
