/* What the parts of capture.h share: capture.c takes snapshots, revert.c goes to them, left.c back
 * from there. */
#ifndef VT_CAPTURE_IMPL_H
#define VT_CAPTURE_IMPL_H

#include <pthread.h>
#include "src/capture.h"

#define IMAGES_MAX  4  /* ram, vram and room */
#define SOURCES_MAX 16 /* snapshots that memory may be read from lazily; past it everything is read anew */

/* One image of the machine (ram, vram) against the store. */
struct tracked {
    const char *slot;
    struct pagetrack *track;
    uint64_t base_epoch; /* as the snapshot `base` has it; meaningless while base is 0 */
};

/* A snapshot that the machine's memory may still be read from, lazily. */
struct source {
    int64_t snapshot;
    struct snaplock *hold; /* NULL: the snapshot is deleted, and every page was read before that */
    struct image *image[IMAGES_MAX];
};

/* What is in the drives. */
struct discs {
    char *cdrom, *floppy[FLOPPY_DRIVES]; /* as in the configuration */
};
void discs_release(struct discs *d);
/* Changes each one that is another. */
int discs_change(struct machine *m, const struct discs *d, struct err *e);

/* What the last revert left. The pages are with the machine, as long as it can keep them. */
struct left {
    int64_t head; /* as head_row had it; 0: nothing was left */
    int64_t base; /* as below */
    bool running;
    struct discs discs;
    uint8_t *state;
    size_t state_len;
    const char *why; /* there is nothing, where it is not that it was lost */
};

struct capture {
    struct store *store;
    struct head *head;
    struct machine *machine;
    pthread_mutex_t lock; /* what follows */
    pthread_cond_t next;  /* `first` is another */
    struct taken *first;  /* being stored, and behind it those that wait for that; in order */
    unsigned nimages;     /* from here on: whoever stores the first, or, where there is none, who changes the machine */
    struct tracked image[IMAGES_MAX];
    int64_t base; /* the snapshot whose memory equals each image at base_epoch; 0: none, all pages count as changed */
    int64_t retained;                      /* the snapshot that each image retains the capture of, 0: none */
    struct source source[SOURCES_MAX + 1]; /* one more while all is read anew */
    unsigned nsources;
    struct left left;
    uint64_t left_most; /* pages that may be copied for it */
};

/* Closes all sources but the last `keep` ones. */
void capture_close_sources(struct capture *c, unsigned keep);
/* The snapshot's images, kept open and from deletion while the machine may read them. */
int capture_open_source(struct capture *c, const struct snapshot_info *of, struct source **ret, struct err *e);
/* Makes the machine's images the snapshot's. leave: what they were stays with the machine. Where it fails, base is 0.
 */
int capture_restore_images(struct capture *c, struct source *from, bool leave, uint64_t *ret_pages, struct err *e);
/* The images are the snapshot's now: from here on, changes count. */
void capture_settle(struct capture *c, struct source *from);
/* The disks of the head, which has moved, are the machine's. */
int capture_switch_disks(struct capture *c, struct err *e);

/* [vCPU paused, disks quiesced] Before a revert: what is left of the machine but for its memory. bare: no snapshot was
 * ever under that. Where it cannot be had, left.why says so. */
void capture_leave(struct capture *c, bool running, bool bare);
/* Lets go of what was left; why may be NULL. */
void capture_drop_left(struct capture *c, const char *why);

#endif
