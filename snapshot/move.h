/* A machine on its way from one store to another, as a row of members:
 *
 *   machine.json       {"format": 1, "machine": {"name", "uuid", "config", "created_at"},
 *                       "origin": [IMAGE…] (as it was made), "snapshots": [{"uuid", "name", "parent"? (number),
 * "note"?, "taken_at", "vclock", "power", "hardware", "cpu_features", "state"? (true), "images"}…] (parents first),
 * "head": {"parent"?, "images"}};  IMAGE: {"slot", "bytes", "quiesced"? (true: two of it)} NNNNNNNN.pages     up to
 * MOVE_PAGES pages that no member before has; pages are numbered through all members NNNNNNNN.map       what an image
 * has other than its base, as runs of pages NNNNNNNN.state     the device state of a snapshot, after all images
 *   end.json           {"members", "pages", "sum": XXH3-128 over the names and bytes of all members before}
 *
 * The base of an image is that of the same slot in the snapshot's parent (where there is none: in the origin) unless it
 * is larger; where there is none, zeros; the base of a live image with a quiesced one is that. NNNNNNNN counts members
 * from 1. Binary members: magic, flags, number, count, XXH3-128 of what follows; all little-endian. */
#ifndef VT_SNAPSHOT_MOVE_H
#define VT_SNAPSHOT_MOVE_H

#include <jansson.h>
#include "snapshot/snapshot.h"

#define MOVE_FORMAT      1
#define MOVE_HEADER      48
#define MOVE_PAGES       256
#define MOVE_PAGES_MAGIC 0x5047504du /* "MPGP": number of the first page, how many */
#define MOVE_MAP_MAGIC   0x50414d4du /* "MMAP": number of the image, how many runs */
#define MOVE_STATE_MAGIC 0x4554534du /* "MSTE": number of the snapshot, bytes */
#define MOVE_LAST        1u          /* flag: the last part of the image's map */
#define MOVE_RUN         24          /* page, number of the first page's data (MOVE_ZERO: none), count, 0 */
#define MOVE_RUNS        4096        /* in one member */
#define MOVE_ZERO        UINT64_MAX

/* An image as the members have it. */
struct move_image {
    char slot[8];
    uint64_t bytes, pages;
    int owner;     /* snapshot's number; MOVE_ORIGIN or MOVE_HEAD */
    bool quiesced; /* the quiesced root; the live one is the next image */
    int base;      /* number of the image that it says the difference to, -1: none */
};
enum { MOVE_ORIGIN = -1, MOVE_HEAD = -2, MOVE_NONE = -3 };

struct move_plan {
    struct move_image *v;
    size_t n;
};
/* Adds an image (two where it has a quiesced root) of `owner`, whose parent is the owner `parent` (MOVE_NONE: none). */
int move_plan_add(struct move_plan *p, const char *slot, uint64_t bytes, bool quiesced, int owner, int parent,
                  struct err *e);
void move_plan_release(struct move_plan *p);

/* A header into h, over the len bytes of body; and what one says. VT_CORRUPT: not one of these, or the body is damaged.
 */
struct move_head {
    uint32_t magic, flags;
    uint64_t number, count;
};
void move_head_put(uint8_t h[MOVE_HEADER], const struct move_head *m, const void *body, size_t len);
int move_head_get(const char *name, const void *data, size_t len, struct move_head *ret, struct err *e);

/* What export knows before it reads any page: calls put with machine.json; then root with each image of the plan, in
 * order; then state with each device state. For a store where the images need not move. */
struct move_visit {
    move_put_fn *put;
    int (*root)(void *opaque, size_t image, uint64_t root, struct err *e);
    int (*state)(void *opaque, size_t snapshot, const void *data, size_t len, struct err *e);
    void *opaque;
};
int move_visit(struct store *s, int64_t machine, const struct move_visit *v, struct err *e);
/* The other end: in place of pages and maps. */
int import_put_root(struct import *im, size_t image, uint64_t root, struct err *e);
int import_put_state(struct import *im, size_t snapshot, const void *data, size_t len, struct err *e);
void import_put_end(struct import *im); /* no more comes */

/* The sum over all members. */
struct move_sum;
struct move_sum *move_sum_new(void); /* NULL: out of memory */
void move_sum_free(struct move_sum *m);
void move_sum_add(struct move_sum *m, const char *name, const void *data, size_t len);
void move_sum_text(const struct move_sum *m, char ret[33]);

#endif
