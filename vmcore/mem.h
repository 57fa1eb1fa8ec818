/* The one door from guest-physical pages to host memory. Only mem.c turns a page into a host pointer; lazy loading,
 * versions for snapshots, sharing between forks and the detection of writes to code all hang on it.
 *
 * A backing page number (bpn) names a 4 KiB page that has memory behind it: RAM pages by their page frame number.
 *
 * Invariants:
 *  1. A host pointer got for reading may be used until the next door call that names the page.
 *  2. A host pointer for writing is handed out only after the page's content of an unfinished capture is kept.
 *  3. The CPU's TLB holds write permission only for pages that were got for writing in this epoch and hold no code. */
#ifndef VT_MEM_H
#define VT_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"
#include "src/base/pagesrc.h"

#define MEM_NONE UINT32_MAX

struct block;

struct code_page {          /* translations that were made from a page */
    struct block *blocks;   /* linked by page_next */
    struct block *straddle; /* blocks whose second page this is, linked by page2_next */
    uint64_t lines;         /* bitmap of 64-byte lines that hold translated code */
};

struct mem {
    struct pagetrack track; /* must be first */
    uint32_t pages;         /* RAM pages */
    int fd;
    uint8_t *guarded; /* ram with a guard region on each side */
    uint8_t *ram;     /* the memfd, pages * 4096 */
    uint8_t *shadow;  /* kept versions of the capture in flight, same layout */
    uint8_t **host;   /* a page's bytes; NULL: not loaded yet */
    uint32_t *born;   /* epoch in which the present content began; 0: at start or restore */
    uint32_t *shadow_born;
    uint8_t *ver; /* atomic, capture in flight: VER_* */
    struct code_page *code;
    uint32_t epoch;
    uint32_t capturing;  /* atomic: epoch of the capture in flight, 0 none */
    struct pagesrc *src; /* where unloaded pages come from; NULL: zero */
    void *opaque;        /* struct vm */
    /* The vCPU's hooks. drop: forget cached translations to this page, or all for MEM_NONE (writes_only: write
     * permission only). */
    void (*drop)(void *opaque, uint32_t bpn, bool writes_only);
    void (*code_write)(void *opaque, uint32_t bpn, uint32_t off, uint32_t len); /* invalidate what overlaps */
    void (*flush_writes)(void *opaque);
    int (*load)(void *opaque, struct pagesrc *src, uint32_t bpn,
                uint8_t *dst); /* calls src->fill outside of GPR-only land */
    uint64_t loads, versions, door_writes;
};

int mem_new(uint64_t ram_bytes, struct mem **ret, struct err *e);
void mem_free(struct mem *m);
void mem_track_init(struct mem *m);

/* Physical address to backing page, MEM_NONE where there is no memory. */
static inline uint32_t mem_bpn(const struct mem *m, uint64_t pa)
{
    uint64_t pfn = pa >> 12;
    if (pfn < m->pages && (pfn < 0xa0 || pfn >= 0xc0))
        return (uint32_t)pfn;
    return MEM_NONE;
}

uint8_t *mem_read_ptr(struct mem *m, uint32_t bpn);
/* Counts as a write to the whole page for versions; the caller still calls mem_wrote for code detection, or asks
 * mem_has_code first and stays out. */
uint8_t *mem_write_ptr(struct mem *m, uint32_t bpn);
static inline bool mem_has_code(const struct mem *m, uint32_t bpn)
{
    return m->code[bpn].lines != 0;
}
/* May a TLB write permission be given? (this epoch's version is kept, no code) */
static inline void mem_wrote(struct mem *m, uint32_t bpn, uint32_t off, uint32_t len)
{
    if (m->code[bpn].lines)
        m->code_write(m->opaque, bpn, off, len);
}

/* Restore: every page is src's from now on. */
void mem_restore(struct mem *m, struct pagesrc *src);
/* Revert: these pages are src's again. */
void mem_revert(struct mem *m, struct pagesrc *src, const uint64_t *list, size_t n);

#endif
