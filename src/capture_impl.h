/* What the two halves of capture.h share: capture.c takes snapshots, revert.c goes to them. */
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
};

/* Closes all sources but the last `keep` ones. */
void capture_close_sources(struct capture *c, unsigned keep);

#endif
