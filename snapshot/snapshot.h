/* The store: machines, their snapshot trees, and the bytes of RAM, video RAM and disks. Knows no x86.
 *
 * A store is one directory: store.db (SQLite), packs/ (compressed pages, never changed once written), heads/ (the logs
 * of the disks being written now), and `lock`. Several processes and several threads may use it at once: a struct store
 * may be used by any thread (each call borrows a database connection of its own from a pool inside), other objects say
 * what they allow. Open a store after fork, not before it.
 *
 * Units: sizes in bytes, pages of 4 KiB, times in nanoseconds since 1970 (real time). Slots are "ram", "vram",
 * "disk0" … "disk15". Every function that can fail returns 0 or a negative enum vt_err and fills *e (may be NULL);
 * ret_ parameters are written only on success. Strings inside a returned struct belong to it and go with its _free. */
#ifndef VT_SNAPSHOT_H
#define VT_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/blockdev.h"
#include "src/base/err.h"
#include "src/base/pagesrc.h"

#define STORE_NAME_MAX  63 /* machine and snapshot names: [A-Za-z0-9][A-Za-z0-9._+-]* */
#define STORE_DISKS_MAX 16
#define STORE_STATE_MAX (16u << 20) /* a device-state blob */

struct store;    /* an open store */
struct head;     /* the state of one machine that is being written now; one process at a time */
struct snap;     /* a snapshot being written */
struct image;    /* one image of a snapshot or of a head, to read */
struct snaplock; /* keeps a snapshot from being deleted or swept */

/* ---- store ---- */

enum store_flags {
    STORE_CREATE = 1,  /* make the directory and an empty store where there is none */
    STORE_DAMAGED = 2, /* open it although durable commits are missing, so that it can be checked and repaired */
};

/* Opens the store in directory dir. VT_NOENT: no store there (without STORE_CREATE); VT_VERSION: made by a newer
 * version, or on a network file system; VT_CORRUPT: not a store, or one that lost durable commits. */
int store_open(const char *dir, unsigned flags, struct store **ret, struct err *e);
/* Is it sealed? One that is may lie on any file system; whatever would change it is VT_PERM. */
bool store_is_sealed(const struct store *s);
/* Closes; all heads, snaps and images of it must be gone. NULL is fine. */
void store_close(struct store *s);
const char *store_dir(const struct store *s);
const char *store_uuid(const struct store *s); /* 36 characters */

/* The machine that verbs without a machine word mean. *ret_id is 0 when none was chosen (or it is gone). */
int store_use_get(struct store *s, int64_t *ret_id, struct err *e);
int store_use_set(struct store *s, int64_t machine, struct err *e); /* 0: none */

/* Folds the write-ahead log into the database when it has grown, removes abandoned head logs, takes back what was
 * deleted (store_gc), and packs and logs that a killed process left behind. Syncs; call it where nobody waits (after a
 * snapshot was reported, at close). */
int store_maintain(struct store *s, struct err *e);

/* Takes back the space of what was deleted and is no longer kept for undo: snapshots and machines, logs, and packs that
 * nothing reaches any more. Snapshots of a machine that runs, or that forks run from, are left for the next time.
 * VT_BUSY: a snapshot is being written. ret may be NULL. */
struct gc_stats {
    uint64_t snapshots, nodes, packs, logs, bytes; /* bytes: of packs and logs */
    uint64_t repacked; /* packs that were less than half alive, and gave way to a new one with that half */
};
int store_gc(struct store *s, struct gc_stats *ret, struct err *e);
/* What store_gc would take back just now; changes nothing. all: were nothing kept for undo. */
int store_gc_plan(struct store *s, bool all, struct gc_stats *ret, struct err *e);

struct store_report {
    uint64_t machines, snapshots, images, nodes, frames, pages, packs, pack_bytes, logs;
    uint64_t problems;
};
/* Proves every reference from machines down to frames, and with deep every checksum of every page. Each problem is one
 * call of report (one line; may be NULL). Returns 0 also where problems were found: look at ret->problems. */
int store_check(struct store *s, bool deep, void (*report)(void *opaque, const char *line), void *opaque,
                struct store_report *ret, struct err *e);
/* Reads every page of every snapshot through its maps, as a restore does, the raw files under them too. Fills images,
 * pages, snapshots and problems. */
int store_check_images(struct store *s, void (*report)(void *opaque, const char *line), void *opaque,
                       struct store_report *ret, struct err *e);
/* Mends what can be: rows that the files prove, indexes, parents; cuts torn ends of logs; removes files that nothing
 * names. Each deed is one call of report; *ret_done counts them. Says nothing of what it cannot mend: store_check does.
 * VT_BUSY: a snapshot is being written. */
int store_repair(struct store *s, void (*report)(void *opaque, const char *line), void *opaque, uint64_t *ret_done,
                 struct err *e);

/* Calls made so far by this handle, SQLite's own included: what the promises on syncs are counted with. */
struct store_counts {
    uint64_t writes, syncs, creates, unlinks, renames;
};
void store_counts(const struct store *s, struct store_counts *ret);

/* ---- machines ---- */

/* One image of a new machine. Its first content, at most one of: zero (all below unset), a raw file used in place
 * (never written; must not change from now on), or data copied in now. */
struct slot_spec {
    const char *slot;
    uint64_t bytes;          /* size; a multiple of 512, for ram and vram of 4096. 0: that of the base or import */
    const char *base_path;   /* raw file in place, or NULL */
    struct blockdev *import; /* copied in, borrowed for the call, or NULL */
    int import_fd;           /* copied in (a regular file or a block device; holes are skipped), or -1 */
};

struct machine_info {
    int64_t id;
    char *name, *uuid, *config;
    int64_t parent;    /* the snapshot under the head; 0: none */
    char *parent_name; /* NULL when parent is 0 */
    int64_t created_at;
    uint64_t snapshots, own_bytes; /* how many, and what they take together */
};

/* Creates a machine with its images and an empty head; config is kept verbatim. VT_EXISTS, VT_USAGE (name, size, slot),
 * VT_NOENT (base). progress may be NULL; done and total in bytes of what is copied in. */
int machine_create(struct store *s, const char *name, const char *config, const struct slot_spec *slots, size_t n,
                   void (*progress)(void *opaque, uint64_t done, uint64_t total), void *opaque, int64_t *ret_id,
                   struct err *e);
/* All machines by name; *ret is an array of *ret_n, freed by machine_list_free. */
int machine_list(struct store *s, struct machine_info **ret, size_t *ret_n, struct err *e);
void machine_list_free(struct machine_info *list, size_t n);
/* By name, or where !exact by unique prefix. VT_NOENT (with a did-you-mean), VT_USAGE (ambiguous, with candidates). */
int machine_find(struct store *s, const char *word, bool exact, int64_t *ret_id, struct err *e);
int machine_get(struct store *s, int64_t id, struct machine_info *ret, struct err *e);
void machine_info_release(struct machine_info *m);
int machine_set_config(struct store *s, int64_t id, const char *config, struct err *e);
int machine_rename(struct store *s, int64_t id, const char *name, struct err *e);
/* Adds an image to the head of a machine, grows a disk, or takes one away (bytes 0); lock held, no open head. */
int machine_set_slot(struct store *s, int64_t id, const struct slot_spec *slot, struct err *e);
/* Removes the machine, its head and its snapshots; lock held. VT_BUSY when a fork runs from one of them. */
int machine_rm(struct store *s, int64_t id, struct err *e);

/* The machine lock: held by who runs or changes the head. *ret_fd holds it until it is closed by its last holder, and
 * goes through fork and exec (clear FD_CLOEXEC to hand it on). VT_BUSY: another process has it. */
int machine_lock(struct store *s, int64_t id, int *ret_fd, struct err *e);
/* After exec: checks that fd, got from the parent, holds the lock of this machine in this store. */
int machine_lock_adopt(struct store *s, int64_t id, int fd, struct err *e);
/* Is the machine locked by anyone (this process included)? */
int machine_locked(struct store *s, int64_t id, bool *ret, struct err *e);

/* ---- snapshots ---- */

enum power { POWER_OFF, POWER_RUNNING, POWER_PAUSED };
const char *power_name(enum power p);

struct snapshot_info {
    int64_t id, machine;
    char *name, *note; /* note: NULL when there is none */
    int64_t parent;    /* 0: none */
    char *parent_name; /* NULL: none */
    int64_t taken_at, vclock;
    enum power power;
    bool current;         /* the head of its machine stands on it */
    uint64_t own_bytes;   /* what it added to the store */
    uint64_t ram_bytes;   /* 0: no memory in it */
    char *hardware;       /* JSON, verbatim */
    char *cpu_features;   /* verbatim */
    uint64_t state_bytes; /* size of the device-state blob, 0: none */
};

/* All snapshots of a machine, parents before children, oldest first. */
int snapshot_list(struct store *s, int64_t machine, struct snapshot_info **ret, size_t *ret_n, struct err *e);
void snapshot_list_free(struct snapshot_info *list, size_t n);
/* "NAME" or, where !exact, a unique prefix; both with "~N" for the Nth ancestor ("~" is "~1"). VT_NOENT, VT_USAGE. */
int snapshot_find(struct store *s, int64_t machine, const char *word, bool exact, int64_t *ret_id, struct err *e);
int snapshot_get(struct store *s, int64_t id, struct snapshot_info *ret, struct err *e);
void snapshot_info_release(struct snapshot_info *i);
/* What each of list[0..n) costs: the bytes in the store that nothing else reaches, save what is kept for undo and the
 * head that stands on it; as good as what would be free without it. Reads all maps, so it takes a while. */
int snapshot_costs(struct store *s, const struct snapshot_info *list, size_t n, uint64_t *ret_bytes, struct err *e);
int snapshot_rename(struct store *s, int64_t id, const char *name, struct err *e);
int snapshot_set_note(struct store *s, int64_t id, const char *note, struct err *e); /* NULL: none */
/* Deletes: its children hang on its parent from now on and keep every byte. VT_BUSY: a fork runs from it. */
int snapshot_delete(struct store *s, int64_t id, struct err *e);
/* The same, and nothing of it is kept for undo. */
int snapshot_drop(struct store *s, int64_t id, struct err *e);
/* The device-state blob: *ret is malloc'd, state_bytes long; NULL and 0 when there is none. */
int snapshot_state(struct store *s, int64_t id, void **ret, size_t *ret_len, struct err *e);
/* The slots of a snapshot or (snapshot 0) of a machine's head, with their sizes. */
struct slot_info {
    char slot[8];
    uint64_t bytes;
    char *base_path; /* raw file in place under it, or NULL */
};
int slots_list(struct store *s, int64_t machine, int64_t snapshot, struct slot_info **ret, size_t *ret_n,
               struct err *e);
void slots_list_free(struct slot_info *list, size_t n);

/* Keeps the snapshot alive (a shared lock) until released or the process ends. */
int snapshot_hold(struct store *s, int64_t id, struct snaplock **ret, struct err *e);
void snapshot_release(struct snaplock *l);

/* ---- images, to read ---- */

enum root { ROOT_LIVE, ROOT_QUIESCED }; /* quiesced: as the guest's file systems were held; live where there is none */

/* Opens an image of a snapshot. Any thread, several at once. VT_NOENT: no such slot in it; VT_CORRUPT: its raw base
 * file changed or is gone. */
int image_open(struct store *s, int64_t snapshot, const char *slot, enum root root, struct image **ret, struct err *e);
/* The same of the head of a machine as its last flush left it, seen from any process; sees no later write. */
int image_open_flushed(struct store *s, int64_t machine, const char *slot, struct image **ret, struct err *e);
/* The same as it was at a time (ns since 1970): as the last flush before it left that disk. VT_NOENT: nothing of that
 * time is kept, by undo_keep. */
int image_open_past(struct store *s, int64_t machine, const char *slot, int64_t when, struct image **ret,
                    struct err *e);
void image_close(struct image *i);
uint64_t image_bytes(const struct image *i);
uint64_t image_pages(const struct image *i);
/* Gives the pagesrc of a snapshot's memory its template (pagesrc.h), so that all processes that do hold its pages once.
 * Without it everything works as well; errors only say why there is none. */
int image_share(struct image *i, const struct snapshot_info *of, struct err *e);
/* Both borrow the image and last as long as it does. The blockdev is read-only; its close does nothing. */
struct pagesrc *image_pagesrc(struct image *i);
struct blockdev *image_blockdev(struct image *i);
int image_read(struct image *i, uint64_t page, uint32_t n, void *dst, struct err *e); /* n pages; past the end: zero */
/* The first page >= *page that may be other than zero; false when there is none. */
int image_next_data(struct image *i, uint64_t *page, bool *ret_found, struct err *e);
/* The same, of the pages that the store itself holds: what falls through to a raw base file is left out. */
int image_next_own(struct image *i, uint64_t *page, bool *ret_found, struct err *e);

struct image_diff {
    uint64_t page;
    bool a_zero, b_zero; /* known to be all zero without reading */
};
/* Calls fn, in page order, for each page that a and b do not share (its bytes may still be equal). Equal subtrees cost
 * nothing. A fn that returns non-zero ends the walk, and that is returned. Past the end of the shorter all is zero. */
int image_compare(struct image *a, struct image *b, int (*fn)(void *opaque, const struct image_diff *d, struct err *e),
                  void *opaque, struct err *e);

/* ---- the head ---- */

enum head_flags {
    HEAD_UNSAFE = 1, /* flushes return at once: what was flushed survives a kill, not a power failure */
};

/* Opens the head of a machine to write; the caller holds the machine lock. A torn tail of a log is cut, damage in what
 * was flushed is VT_CORRUPT. One thread at a time writes each disk; the other head_ calls may come from others. */
int head_open(struct store *s, int64_t machine, unsigned flags, struct head **ret, struct err *e);
/* A private head on a snapshot, for a machine that is thrown away: unlinked logs, flush does nothing, no rows. Holds
 * the snapshot. Only disks, images and head_reset work on it. */
int head_fork(struct store *s, int64_t snapshot, struct head **ret, struct err *e);
/* Writes out what is buffered, marks the logs as cleanly closed, closes. NULL is fine. */
int head_close(struct head *h, struct err *e);
int64_t head_row(const struct head *h); /* its number; another one after it was moved */
int64_t head_parent(struct head *h);    /* the snapshot that it stands on, 0: none */
/* The writable block device of a disk, owned by the head (its close does nothing); NULL: no such slot. A write is
 * complete once buffered; flush is one write and one fdatasync. VT_IO (no space, I/O error): nothing is lost, the same
 * call may be made again. */
struct blockdev *head_disk(struct head *h, const char *slot);
/* An image of the head as it is now, unflushed writes included; later writes do not show. For RAM slots: as the parent
 * has it. Valid until the head is reset or closed. */
int head_image(struct head *h, const char *slot, struct image **ret, struct err *e);

struct head_pos {
    uint64_t seq[STORE_DISKS_MAX]; /* all that came before is in */
};
/* Marks the present position of all disks. Does no I/O and waits for none. No write may be under way in another thread
 * that is meant to be on one side of the mark: the caller orders that. */
int head_mark(struct head *h, struct head_pos *ret, struct err *e);
/* The same, and later writes go to a fresh log: the live position of a capture. */
int head_seal(struct head *h, struct head_pos *ret, struct err *e);
/* Gives up a position that no snapshot will be made of. */
void head_unmark(struct head *h, const struct head_pos *pos);
/* Makes the spare logs that head_seal switches to, where they are not there. Syncs nothing: a snapshot needs no more,
 * as its pack has what the logs had, and its commit makes the head's row durable. Their names are not yet, and the row
 * says so: the next flush of the guest would pay for that. */
int head_spare(struct head *h, struct err *e);
/* The same, durably; call it where nobody waits. */
int head_prepare(struct head *h, struct err *e);

/* Where the log of a disk has grown over `bytes` (HEAD_FOLD_BYTES is a good number), half of it overwritten since,
 * packs what all logs have into a map of the head's own, in three syncs, and lets the logs go. As a snap does: from the
 * thread that writes snapshots, in turn with them (VT_BUSY while one is under way); the head goes on meanwhile. */
#define HEAD_FOLD_BYTES (UINT64_C(256) << 20)
int head_fold(struct head *h, uint64_t bytes, bool *ret_folded, struct err *e);

/* Moves the head to a snapshot of its machine (0: as it was created): its disks are that one's live roots, all written
 * since is abandoned. Makes no sync; the move survives a kill, and becomes durable before the first flush on the new
 * head returns. No snap of this head may be under way, no write, and images of it must be closed. */
int head_reset(struct head *h, int64_t snapshot, struct err *e);
/* The same of a machine that runs: there is something to take back even where its disks are as before. */
int head_reset_ran(struct head *h, int64_t snapshot, struct err *e);
/* Moves the head to what its machine's disks held at a time, as image_open_past has them; durable on return. */
int head_reset_past(struct head *h, int64_t when, struct err *e);
/* Takes back a revert (undo_list): the machine stands again on the head that it was moved away from, with all that had
 * been written to it. As head_reset otherwise. */
int head_undo(struct head *h, int64_t entry, struct err *e);

/* ---- undo ---- */

/* What a revert, a delete and a removal replace is kept for a time, by default a day, and not more of it than a tenth
 * of the file system, the oldest going first. So are the states that a disk had before each snapshot. */
#define UNDO_KEEP_NS (INT64_C(86400) * 1000000000)
int undo_keep_get(struct store *s, int64_t *ret_ns, struct err *e);
int undo_keep_set(struct store *s, int64_t ns, struct err *e); /* for what comes; 0: nothing is kept */
struct undo_info {
    int64_t id, machine, at, until;
    int64_t head;       /* of a revert: the one that was left, as head_row had it */
    bool ran;           /* of a revert: of a machine that ran */
    char *verb;         /* "revert", "delete" or "rm" */
    char *machine_name; /* as it is now */
    char *snapshot;     /* the one deleted; or on which the head stood that was reverted away from; or NULL */
    char *config;       /* of the machine before a revert; else NULL */
};
/* What can be taken back of a machine (0: of all), the last first. */
int undo_list(struct store *s, int64_t machine, struct undo_info **ret, size_t *ret_n, struct err *e);
void undo_list_free(struct undo_info *list, size_t n);
/* A removed machine by the whole name that it had. VT_NOENT. */
int undo_find_removed(struct store *s, const char *name, int64_t *ret_machine, struct err *e);
/* Takes back a delete or a removal. VT_EXISTS: the name is taken by now; VT_NOENT: it is kept no longer. */
int undo_apply(struct store *s, int64_t entry, struct err *e);
/* Keeps no longer what reverts, deletes and removals of the machine replaced since a time. */
int undo_forget(struct store *s, int64_t machine, int64_t since, struct err *e);
/* Keeps nothing of what was replaced until now: gc takes it back. */
int undo_forget_all(struct store *s, struct err *e);

/* ---- taking a snapshot ---- */

/* Begins to write a snapshot of h as it was at live; quiesced (may be NULL) is a position marked before it. One snap of
 * a head at a time, in the order of their seals; a later seal waits meanwhile. Used by one thread. The head goes on.
 * A snap that fails or is given up loses nothing: the next one contains what it would have had. The positions are the
 * snap's from here on; where this fails they are still the caller's (head_unmark). */
int snap_begin(struct head *h, const struct head_pos *quiesced, const struct head_pos *live, struct snap **ret,
               struct err *e);
/* Adds the memory image `slot` (ram, vram), of `pages` pages. from_parent: pages not put are as in the snapshot that
 * the head stands on (which must have the slot in this size, else VT_USAGE); otherwise they are zero. A snap without
 * these has no memory. */
int snap_image(struct snap *p, const char *slot, uint64_t pages, bool from_parent, struct err *e);
/* Puts n pages of data; ascending order within a slot packs best, any order works. Zero pages are recognised. */
int snap_put_pages(struct snap *p, const char *slot, uint64_t page, uint32_t n, const void *data, struct err *e);
/* The device state, at most STORE_STATE_MAX bytes, kept as it is. At most once. */
int snap_put_state(struct snap *p, const void *data, size_t len, struct err *e);

struct snap_meta {
    const char *name;
    const char *note; /* or NULL */
    enum power power;
    int64_t vclock;           /* the guest's virtual clock, ns */
    const char *hardware;     /* JSON; NULL: "{}" */
    const char *cpu_features; /* NULL: "" */
};
struct snap_stats {
    uint64_t pages, zero_pages, shared_pages; /* put; of them zero; found in the store already */
    uint64_t new_pages, new_bytes;            /* written, and what they took */
};
/* Packs the disks, makes all of it durable (three syncs: pack, its folder, commit) and names it: from its return on the
 * snapshot exists, and the head stands on it. The snap is gone afterwards, also on error. VT_EXISTS: the name is taken;
 * VT_IO: no space or an I/O error; VT_USAGE: bad name. ret_stats may be NULL. */
int snap_commit(struct snap *p, const struct snap_meta *meta, int64_t *ret_id, struct snap_stats *ret_stats,
                struct err *e);
/* Gives it up; NULL is fine. */
void snap_abort(struct snap *p);

/* ---- moving a machine to another store ---- */

/* A machine with its whole tree is a row of members (move.h), each with a name and at most MOVE_MEMBER_MAX bytes, in an
 * order that counts. They hold no number of their store: exporting what was imported gives the same bytes. */
#define MOVE_MEMBER_MAX (STORE_STATE_MAX + 64)

typedef int move_put_fn(void *opaque, const char *name, const void *data, size_t len, struct err *e);
struct move_stats {
    uint64_t snapshots, images, pages, bytes; /* pages and bytes: of what is in the members */
};
/* Instead of the head, which a machine that runs goes on changing: a snapshot, and the configuration with its hardware.
 */
struct move_at {
    int64_t snapshot;
    const char *config;
};
/* Calls put for each member; one that returns non-zero ends it. The caller holds the machine lock; or it gives `at`,
 * else NULL, and holds the snapshots. ret may be NULL. */
int machine_export(struct store *s, int64_t machine, const struct move_at *at, move_put_fn *put, void *opaque,
                   struct move_stats *ret, struct err *e);

/* An import under way: members go in as they came out, then it is committed; there is no machine before. gc waits until
 * it is over. One thread. */
struct import;
/* name: of the machine, NULL: as it was. VT_EXISTS (then, or with the first member): it is taken. */
int import_begin(struct store *s, const char *name, struct import **ret, struct err *e);
/* VT_CORRUPT: not what machine_export makes, or damaged; VT_VERSION: of a newer version. */
int import_put(struct import *im, const char *name, const void *data, size_t len, struct err *e);
/* The machine's name-to-be and its configuration, once the first member is in; NULL before. */
const char *import_name(const struct import *im);
const char *import_config(const struct import *im);
/* VT_CORRUPT: members are missing. Ends the import, also on error. ret_stats may be NULL. */
int import_commit(struct import *im, int64_t *ret_id, struct move_stats *ret_stats, struct err *e);
void import_abort(struct import *im); /* NULL is fine */

/* ---- bases: sealed stores under others ---- */

/* Makes a new sealed store in dir, of nothing but one machine with its tree, as machine_export does; whole or not at
 * all. VT_EXISTS: dir is there, and not empty. ret may be NULL. */
int base_export(struct store *s, int64_t machine, const struct move_at *at, const char *dir, struct move_stats *ret,
                struct err *e);
/* Puts the sealed store in dir under s, and machine, a name in it (NULL: its only one), into s as name (NULL: as it
 * is): images are referred to, not copied, so dir must stay. Where a base has moved, this says so. VT_USAGE: dir is
 * not sealed, or there are several machines; VT_EXISTS. ret_stats may be NULL. */
int base_import(struct store *s, const char *dir, const char *machine, const char *name, int64_t *ret_id,
                struct move_stats *ret_stats, struct err *e);

#endif
