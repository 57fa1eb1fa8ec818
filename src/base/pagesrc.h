/* How page images cross between the machine and the store. `pagesrc` fills a run of pages of one image (the store's
 * side). `pagetrack` is the way back (the machine's side): which pages changed since an epoch, and their bytes. */
#ifndef VT_BASE_PAGESRC_H
#define VT_BASE_PAGESRC_H

#include <stdbool.h>
#include <stdint.h>
#include "src/base/err.h"

struct pagesrc;
struct pagesrc {
    uint64_t pages; /* of 4 KiB */
    /* Fills n pages from page on into dst (n * 4096 bytes), verified. Any thread; may block. */
    int (*fill)(struct pagesrc *s, uint64_t page, uint32_t n, void *dst, struct err *e);
    /* Is this page known to be all zero, without reading it? */
    bool (*is_zero)(struct pagesrc *s, uint64_t page);
    /* The template, where share is set: a file that may be mapped read-only and shared, page n's bytes at template_at +
     * n * 4096; they are to be read only once share(n) has said that they are there, and then stay. False: they cannot
     * be had there, and fill() must serve. Any thread; may block. */
    bool (*share)(struct pagesrc *s, uint64_t page);
    int template_fd;
    uint64_t template_at;
};

#define PAGETRACK_CAPTURES 8 /* in flight at a time: begun, and not done */

struct pagetrack;
struct pagetrack {
    uint64_t pages;
    /* May one more capture begin? Always while none is in flight. By the thread that calls capture, where what it takes
     * is to be stored. */
    bool (*room)(struct pagetrack *t);
    /* Ends the epoch: returns the number e of the state that is captured now; only with the vCPUs stopped, and where
     * there is room. */
    uint64_t (*capture)(struct pagetrack *t);
    /* The first page >= *page whose content in capture e differs in origin from that in capture `since` (0: from all
     * zero); false when there is none. Any thread. */
    bool (*next_changed)(struct pagetrack *t, uint64_t since, uint64_t e, uint64_t *page);
    /* Copies the page as it was at capture e into dst (4096 bytes). Any thread. */
    int (*copy)(struct pagetrack *t, uint64_t e, uint64_t page, void *dst, struct err *err);
    /* The capture's pages are durable (or given up): versions that no other one needs may go. In any order; any thread.
     */
    void (*done)(struct pagetrack *t, uint64_t e);
    /* The same; but versions of it, the first so many that are written over, stay in memory for a revert, up to the
     * next time that room is asked for, or that this is called, or forget. */
    void (*retain)(struct pagetrack *t, uint64_t e);
    /* Before memory becomes any other than that capture's. */
    void (*forget)(struct pagetrack *t);
};

#endif
