/* The one door from guest-physical pages to host memory. Only mem.c turns a page into a host pointer; lazy loading,
 * versions for snapshots, sharing between forks and the detection of writes to code all hang on it.
 *
 * A backing page number (bpn) names a 4 KiB page that has memory behind it: RAM's pages first (those of a PC's low 3
 * GiB by their page frame number), then video RAM's, then the firmware ROM's. Two images for snapshots: RAM, and the
 * rest.
 *
 * RAM's bytes are in the machine's own memfd, or, until a page's first write after a restore, in the snapshot's
 * template, which all machines on that snapshot map read-only.
 *
 * Invariants:
 *  1. A host pointer got for reading may be used until the next door call that names the page.
 *  2. A host pointer for writing is handed out only after the page's content of unfinished captures is kept.
 *  3. The CPU's TLB holds write permission only for pages that were got for writing in this epoch and hold no code.
 *  4. A pointer for writing is one into the memfd. Where the page was in the template, or is the one zero page that
 *     stands for all discarded ones, it is copied first, and the TLB has forgotten that address before the copy is
 *     written to. */
#ifndef VT_MEM_H
#define VT_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"
#include "src/base/pagesrc.h"
#include "src/base/util.h"

#define MEM_NONE UINT32_MAX

struct block;

#define MEM_MIXED 64 /* so many, and the page's blocks are made anew for them */
#define MEM_TWINS 16

struct code_page {          /* translations that were made from a page */
    struct block *blocks;   /* linked by page_next */
    struct block *straddle; /* blocks whose second page this is, linked by page2_next */
    uint64_t lines;         /* bitmap of 64-byte lines that hold translated code */
    uint16_t beside;        /* writes by code of this page to pages with code, up to MEM_MIXED */
    uint16_t lone; /* accesses by code of this page that lacked a twin, up to MEM_TWINS: then its blocks have them */
};

struct mem_kept { /* of a capture in flight: contents that were written over after it, and before the next one */
    uint32_t epoch;
    uint32_t n;      /* how many */
    uint32_t held;   /* atomic: of them, those that no capture has stored yet; meaningless once it is over */
    bool used, over; /* over: it is done, but an older one looks through it */
    uint8_t *shadow; /* NULL: not mapped yet; what follows lies behind it */
    uint32_t *born;
    uint8_t *state; /* atomic, of each page */
};

struct mem_left { /* what a revert left */
    bool on;
    bool afresh;    /* all of the image was restored, and what was in the memfd stayed there */
    uint32_t *at;   /* of each page, where what was left is; NULL: not mapped yet; what follows lies behind the pool */
    uint32_t *list; /* the n pages of which there is something */
    uint8_t *pool;  /* copies; of `most` pages, `used` are taken; `touched` may be memory of the host's */
    uint32_t n, used, most, touched;
};

struct mem_image {          /* what is captured and restored as one */
    struct pagetrack track; /* must be first */
    struct mem *m;
    uint32_t first, pages; /* backing pages */
    uint32_t epoch;
    uint32_t taken, gone;              /* atomic: captures begun and over; those in flight lie between */
    uint8_t order[PAGETRACK_CAPTURES]; /* the nth one's place in kept, at n modulo that many */
    struct mem_kept kept[PAGETRACK_CAPTURES];
    struct mem_kept *retained; /* atomic: what the last stored capture had and was written over since; NULL: none */
    uint32_t held_most; /* pages that captures in flight may hold: past it, first writes wait for who stores them */
    uint32_t let_go;    /* atomic: counts what they let go, for a futex */
    uint32_t waits;     /* atomic: one waits for that */
    uint8_t guard;      /* of the two above; who reads what is retained holds it */
    struct mem_left left;
    struct pagesrc *src; /* where unloaded pages come from; NULL: zero */
    bool used;           /* a page was asked for since it was made or restored */
};
enum { MEM_IMAGE_RAM, MEM_IMAGE_VRAM, MEM_IMAGES };

enum { MEM_SLOT_LFB, MEM_SLOT_VGA, MEM_SLOTS };
struct mem_slot { /* backing pages at a physical address of the guest's or a device's choice */
    uint64_t pfn;
    uint32_t pages, bpn;
};

struct mem {
    struct mem_image image[MEM_IMAGES];
    uint32_t pages;     /* backing pages in all */
    uint32_t ram_pages; /* RAM */
    uint32_t low_pages; /* of them, those below the PCI hole; the others begin at 4 GiB */
    uint32_t vram_bpn, vram_pages, rom_bpn, rom_pages;
    uint64_t a20; /* mask of physical addresses: bit 20 is clear while the gate is closed */
    struct mem_slot slot[MEM_SLOTS];
    uint16_t pam_read, pam_write; /* 16 KiB areas from C0000h on, a bit each, that are RAM; else ROM */
    int fd;
    uint8_t *guarded; /* guard region, ram, guard region, shared, guard region, zero, guard region */
    size_t guarded_bytes;
    uint8_t *ram;          /* the memfd, pages * 4096 */
    const uint8_t *shared; /* RAM's template, the same layout; without access where there is none */
    bool has_template;
    const uint8_t *zero; /* the page that all discarded ones of RAM are: read-only, behind shared */
    uint8_t **host;      /* a page's bytes; NULL: not loaded yet */
    uint32_t *born;      /* epoch in which the present content began; 0: at start or restore */
    uint8_t *claim;      /* atomic: 1 while a page's content is copied for a capture */
    struct code_page *code;
    void *opaque; /* struct vm */
    /* The vCPU's hooks. drop: forget cached translations to this page, or all for MEM_NONE (writes_only: write
     * permission only). */
    void (*drop)(void *opaque, uint32_t bpn, bool writes_only);
    void (*code_write)(void *opaque, uint32_t bpn, uint32_t off, uint32_t len); /* invalidate what overlaps */
    void (*flush_writes)(void *opaque);
    /* Calls src->fill outside of GPR-only land; dst NULL: src->share, and not 0 where that says no. */
    int (*load)(void *opaque, struct pagesrc *src, uint32_t page, uint8_t *dst);
    bool (*hurried)(void *opaque); /* is the thread that writes to memory to go on whatever it costs? NULL: always */
    uint64_t loads, versions, door_writes;
    uint64_t stalls;      /* first writes that waited */
    uint32_t held_peak;   /* pages that captures in flight have held at a time */
    uint64_t discarded;   /* pages that the guest gave back, and that had bytes */
    uint64_t left_copies; /* pages of what a revert left that were copied */
    uint64_t copies;      /* pages that left the template: a pointer for reading that was got before may be old */
};

/* vram_pages and rom_pages may be 0. */
int mem_new(uint64_t ram_bytes, uint32_t vram_pages, uint32_t rom_pages, struct mem **ret, struct err *e);
void mem_free(struct mem *m);
bool mem_track_init(struct mem *m); /* false: no address space */
void mem_track_release(struct mem *m);
/* First write in this epoch, p being the page's content: what captures in flight still need is put aside; where they
 * hold too much already, this waits until some of it is stored, unless the thread is hurried. */
void mem_keep(struct mem_image *i, uint32_t bpn, const uint8_t *p);
/* Fills the place of a page that a revert took back with what the retained capture has; false where it has it not. */
bool mem_take_retained(struct mem_image *i, uint32_t bpn);
/* How far from ram host addresses of the guest's memory reach. */
static inline uint64_t mem_reach(const struct mem *m)
{
    return (uint64_t)(m->zero - m->ram) + VT_PAGE_SIZE;
}
static inline struct mem_image *mem_image_of(struct mem *m, uint32_t bpn)
{
    return &m->image[bpn < m->ram_pages ? MEM_IMAGE_RAM : MEM_IMAGE_VRAM];
}

uint32_t mem_bpn_slow(const struct mem *m, uint64_t pfn, bool write);

/* Physical address to the backing page that reads see, MEM_NONE where there is no memory. */
static inline uint32_t mem_bpn(const struct mem *m, uint64_t pa)
{
    uint64_t pfn = pa >> 12;
    if (pfn < m->low_pages && (pfn < 0xa0 || pfn >= 0x100))
        return (uint32_t)pfn;
    return mem_bpn_slow(m, pfn, false);
}
/* The same for writes: MEM_NONE for ROM as well; another page than mem_bpn()'s where RAM is hidden behind ROM. */
static inline uint32_t mem_wbpn(const struct mem *m, uint64_t pa)
{
    uint64_t pfn = pa >> 12;
    if (pfn < m->low_pages && (pfn < 0xa0 || pfn >= 0x100))
        return (uint32_t)pfn;
    return mem_bpn_slow(m, pfn, true);
}
/* A slot's pages appear at pa (page-aligned), or nowhere where pages is 0. */
void mem_map(struct mem *m, unsigned slot, uint64_t pa, uint32_t pages, uint32_t bpn);
/* The i440FX's PAM0..6 (configuration 59h..5Fh; 82441FX datasheet, 3.2.11): what C0000h..FFFFFh is. */
void mem_pam(struct mem *m, const uint8_t pam[7]);
void mem_a20(struct mem *m, bool open);
/* [vCPU thread stopped, or on it] Video RAM as one piece, all of it loaded. */
const uint8_t *mem_vram(struct mem *m);

uint8_t *mem_read_ptr(struct mem *m, uint32_t bpn);
/* Counts as a write to the whole page for versions; the caller still calls mem_wrote for code detection, or asks
 * mem_has_code first and stays out. */
uint8_t *mem_write_ptr(struct mem *m, uint32_t bpn);
/* Was the page written in this epoch? Then a further write asks nothing of mem_write_ptr(). */
bool mem_is_written(struct mem *m, uint32_t bpn);
static inline bool mem_has_code(const struct mem *m, uint32_t bpn)
{
    return m->code[bpn].lines != 0;
}
/* The 64-byte lines of [off, off + len) in a page, as in struct code_page. */
static inline uint64_t mem_lines(uint32_t off, uint32_t len)
{
    uint32_t first = off >> 6, last = (off + len - 1 < 4095 ? off + len - 1 : 4095) >> 6;
    return (last == 63 ? ~0ull : (1ull << (last + 1)) - 1) & ~((1ull << first) - 1);
}
/* May a TLB write permission be given? (this epoch's version is kept, no code) */
static inline void mem_wrote(struct mem *m, uint32_t bpn, uint32_t off, uint32_t len)
{
    if (m->code[bpn].lines)
        m->code_write(m->opaque, bpn, off, len);
}
/* n pages of RAM are zero from now on, as after a write, and take no memory of the host's until they are written to. */
void mem_discard(struct mem *m, uint32_t bpn, uint32_t n);

/* Restore: every page of the image is src's from now on. */
void mem_restore(struct mem_image *i, struct pagesrc *src);
/* Revert: these pages of the image are src's again. A capture that is retained must be what src has. */
void mem_revert(struct mem_image *i, struct pagesrc *src, const uint64_t *list, size_t n);

/* Before a revert or restore: of these pages, in which the image may differ from what src was until now (from zero,
 * where there was none), what they hold is kept, until the next time. At most so many are copied for it; where that
 * does not do, it is lost. False: no address space. */
bool mem_leave(struct mem_image *i, const uint64_t *list, size_t n, uint32_t most);
/* After the image was made what src was then: these pages are as they were left, written in this epoch. i->left.on: it
 * was not lost. A capture that is retained was forgotten before. */
void mem_left_back(struct mem_image *i);
void mem_left_drop(struct mem_image *i);
void mem_left_release(struct mem_image *i);
/* Is what was left in the page's place in the memfd, where it is not the page's own? */
bool mem_left_is(const struct mem_image *i, uint32_t bpn);
void mem_left_keep(struct mem_image *i, uint32_t bpn);
/* Other bytes are about to be put in the page's place. */
static inline void mem_overwrite(struct mem_image *i, uint32_t bpn)
{
    if (i->left.on)
        mem_left_keep(i, bpn);
}
/* n pages' places are given back to the host, but for those with what was left. */
void mem_punch(struct mem_image *i, uint32_t bpn, uint32_t n);

#endif
