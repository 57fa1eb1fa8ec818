/* The door: see mem.h. Runs on the vCPU thread. */
#include "vmcore/mem.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "src/base/util.h"
#include "vmcore/dev/dev.h"
#include "vmcore/rt.h"

#define PUNCH 3 /* fallocate's: a hole, and the size stays */

/* Or the zero page: not the page's own, and not to be written to. */
static bool in_template(const struct mem *m, const uint8_t *p)
{
    return p >= m->shared;
}

uint8_t *mem_read_ptr(struct mem *m, uint32_t bpn)
{
    uint8_t *p = m->host[bpn];

    if (p)
        return p;
    p = m->ram + ((size_t)bpn << VT_PAGE_SHIFT);
    struct mem_image *i = mem_image_of(m, bpn);
    i->used = true;
    if (mem_take_retained(i, bpn)) {
        __atomic_store_n(&m->host[bpn], p, __ATOMIC_RELEASE);
        return p;
    }
    if (i->src) {
        m->loads++;
        if (m->has_template && bpn < m->ram_pages && m->load(m->opaque, i->src, bpn - i->first, NULL) == 0) {
            p = (uint8_t *)m->shared + ((size_t)bpn << VT_PAGE_SHIFT);
            __atomic_store_n(&m->host[bpn], p, __ATOMIC_RELEASE);
            return p;
        }
        mem_overwrite(i, bpn);
        if (m->load(m->opaque, i->src, bpn - i->first, p) != 0)
            memset(p, 0, VT_PAGE_SIZE); /* load() has stopped the machine: the guest never sees this */
    }
    __atomic_store_n(&m->host[bpn], p, __ATOMIC_RELEASE);
    return p;
}

/* Invariant 4: the page's own copy. The capture's thread may read either meanwhile. */
static uint8_t *leave_template(struct mem *m, uint32_t bpn, const uint8_t *p, bool seen)
{
    uint8_t *own = m->ram + ((size_t)bpn << VT_PAGE_SHIFT);

    mem_overwrite(mem_image_of(m, bpn), bpn);
    memcpy(own, p, VT_PAGE_SIZE);
    if (seen)
        m->drop(m->opaque, bpn, false);
    __atomic_store_n(&m->host[bpn], own, __ATOMIC_RELEASE);
    m->copies++;
    return own;
}

uint8_t *mem_write_ptr(struct mem *m, uint32_t bpn)
{
    bool seen = m->host[bpn]; /* else nobody can have its address */
    uint8_t *p = mem_read_ptr(m, bpn);

    struct mem_image *i = mem_image_of(m, bpn);
    if (in_template(m, p))
        p = leave_template(m, bpn, p, seen);
    if (m->born[bpn] != i->epoch) {
        mem_keep(i, bpn, p);
        __atomic_store_n(&m->born[bpn], i->epoch, __ATOMIC_RELEASE);
        m->door_writes++;
    }
    return p;
}

bool mem_is_written(struct mem *m, uint32_t bpn)
{
    const uint8_t *p = m->host[bpn];

    return p && !in_template(m, p) && m->born[bpn] == mem_image_of(m, bpn)->epoch;
}

bool dma_read(struct mem *m, uint64_t pa, void *dst, uint64_t len)
{
    uint8_t *d = dst;

    while (len) {
        uint32_t bpn = mem_bpn(m, pa), off = pa & 0xfff;
        uint64_t n = MIN(len, VT_PAGE_SIZE - off);
        if (bpn == MEM_NONE)
            return false;
        memcpy(d, mem_read_ptr(m, bpn) + off, n);
        d += n, pa += n, len -= n;
    }
    return true;
}

bool dma_write(struct mem *m, uint64_t pa, const void *src, uint64_t len)
{
    const uint8_t *s = src;

    while (len) {
        uint32_t bpn = mem_wbpn(m, pa), off = pa & 0xfff;
        uint64_t n = MIN(len, VT_PAGE_SIZE - off);
        if (bpn == MEM_NONE)
            return false;
        memcpy(mem_write_ptr(m, bpn) + off, s, n);
        mem_wrote(m, bpn, off, (uint32_t)n);
        s += n, pa += n, len -= n;
    }
    return true;
}

/* ---- pages that the guest has no use for */

static void give_back(struct mem *m, uint32_t bpn, uint32_t n)
{
    if (n)
        rt_syscall6(SYS_fallocate, m->fd, PUNCH, (long)bpn << VT_PAGE_SHIFT, (long)n << VT_PAGE_SHIFT, 0, 0);
}

void mem_punch(struct mem_image *i, uint32_t bpn, uint32_t n)
{
    uint32_t end = bpn + n;

    for (uint32_t p = bpn; i->left.on && p < end; p++)
        if (mem_left_is(i, p)) {
            give_back(i->m, bpn, p - bpn);
            bpn = p + 1;
        }
    give_back(i->m, bpn, end - bpn);
}

/* Was there anything to take away? What is nowhere but in the snapshot costs nothing as it is. */
static bool discard(struct mem_image *i, uint32_t bpn)
{
    struct mem *m = i->m;
    const uint8_t *p = m->host[bpn];

    if (!p || p == m->zero)
        return false;
    if (m->code[bpn].lines)
        m->code_write(m->opaque, bpn, 0, VT_PAGE_SIZE);
    if (m->born[bpn] != i->epoch) {
        mem_keep(i, bpn, p);
        __atomic_store_n(&m->born[bpn], i->epoch, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&m->host[bpn], (uint8_t *)m->zero, __ATOMIC_RELEASE);
    m->discarded++;
    return true;
}

void mem_discard(struct mem *m, uint32_t bpn, uint32_t n)
{
    struct mem_image *i = &m->image[MEM_IMAGE_RAM];
    bool any = false;

    vt_assert(bpn <= m->ram_pages && n <= m->ram_pages - bpn);
    for (uint32_t p = bpn; p < bpn + n; p++)
        any |= discard(i, p);
    if (!any)
        return;
    i->used = true;
    m->copies++; /* addresses for reading are old now */
    m->drop(m->opaque, MEM_NONE, false);
    mem_punch(i, bpn, n);
}

/* What of [first, last) is in the `pages` page frames from pfn on, which have backing pages from bpn on. */
static void discard_in(struct mem *m, uint64_t first, uint64_t last, uint64_t pfn, uint64_t pages, uint32_t bpn)
{
    uint64_t from = MAX(first, pfn), to = MIN(last, pfn + pages);

    if (from < to)
        mem_discard(m, bpn + (uint32_t)(from - pfn), (uint32_t)(to - from));
}

void dma_discard(struct mem *m, uint64_t pa, uint64_t len)
{
    uint64_t end = len > UINT64_MAX - pa ? UINT64_MAX : pa + len;
    uint64_t first = (pa >> VT_PAGE_SHIFT) + ((pa & (VT_PAGE_SIZE - 1)) != 0), last = end >> VT_PAGE_SHIFT;

    discard_in(m, first, last, 0, MIN(m->low_pages, 0xa0), 0);
    if (m->low_pages > 0x100)
        discard_in(m, first, last, 0x100, m->low_pages - 0x100, 0x100);
    discard_in(m, first, last, 0x100000, m->ram_pages - m->low_pages, m->low_pages);
}

/* ---- restore and revert: only while the vCPU is stopped */

/* RAM is src's from now on: its template, where it has one, is mapped in place of the one before. Pages that are in
 * that one still are loaded anew: they are the same in src. */
static void use_source(struct mem_image *i, struct pagesrc *src)
{
    struct mem *m = i->m;
    long at = (long)m->shared, bytes = (long)m->ram_pages << VT_PAGE_SHIFT;

    i->src = src;
    if (i != &m->image[MEM_IMAGE_RAM])
        return;
    for (uint32_t p = 0; p < m->ram_pages && m->has_template; p++)
        if (in_template(m, m->host[p]))
            m->host[p] = NULL;
    m->has_template = src && src->share &&
                      rt_syscall6(SYS_mmap, at, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, src->template_fd,
                                  (long)src->template_at) == at;
    if (m->has_template) /* what is not there is not to be read ahead */
        rt_syscall3(SYS_madvise, at, bytes, MADV_RANDOM);
    else
        rt_syscall6(SYS_mmap, at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

void mem_restore(struct mem_image *i, struct pagesrc *src)
{
    struct mem *m = i->m;

    i->track.forget(&i->track);
    use_source(i, src);
    i->epoch++;
    if (!i->used) /* a machine that was just made: its tables need not be there yet */
        return;
    for (uint32_t p = i->first; p < i->first + i->pages; p++) {
        if (m->code[p].lines)
            m->code_write(m->opaque, p, 0, VT_PAGE_SIZE);
        m->host[p] = NULL;
        m->born[p] = 0;
    }
    m->drop(m->opaque, MEM_NONE, false);
    if (i->left.on && src)
        i->left.afresh = true; /* given back when that is dropped */
    else
        mem_punch(i, i->first, i->pages);
    i->used = false;
}

void mem_revert(struct mem_image *i, struct pagesrc *src, const uint64_t *list, size_t n)
{
    struct mem *m = i->m;

    if (src != i->src)
        use_source(i, src);
    for (size_t k = 0; k < n; k++) {
        uint32_t p = i->first + (uint32_t)list[k];
        uint8_t *ram = m->ram + ((size_t)p << VT_PAGE_SHIFT);
        if (list[k] >= i->pages)
            continue;
        if (m->code[p].lines)
            m->code_write(m->opaque, p, 0, VT_PAGE_SIZE);
        m->host[p] = NULL;
        if (src)
            continue;
        mem_overwrite(i, p);
        memset(ram, 0, VT_PAGE_SIZE);
    }
    m->drop(m->opaque, MEM_NONE, false);
    i->epoch++;
}

/* ---- where backing pages are in the guest's physical address space */

uint32_t mem_bpn_slow(const struct mem *m, uint64_t pfn, bool write)
{
    for (unsigned n = 0; n < MEM_SLOTS; n++)
        if (pfn - m->slot[n].pfn < m->slot[n].pages)
            return m->slot[n].bpn + (uint32_t)(pfn - m->slot[n].pfn);
    if (pfn >= 0xc0 && pfn < 0x100) {
        unsigned area = (unsigned)(pfn - 0xc0) >> 2;
        if ((write ? m->pam_write : m->pam_read) >> area & 1)
            return pfn < m->low_pages ? (uint32_t)pfn : MEM_NONE;
        return !write && pfn >= 0xe0 && m->rom_pages >= 32 ? m->rom_bpn + m->rom_pages - 0x100 + (uint32_t)pfn
                                                           : MEM_NONE;
    }
    if (pfn >= 0x100000)
        return pfn - 0x100000 < m->ram_pages - m->low_pages ? m->low_pages + (uint32_t)(pfn - 0x100000) : MEM_NONE;
    if (!write && pfn >= 0x100000u - m->rom_pages)
        return m->rom_bpn + (uint32_t)(pfn - (0x100000u - m->rom_pages));
    return MEM_NONE;
}

void mem_map(struct mem *m, unsigned slot, uint64_t pa, uint32_t pages, uint32_t bpn)
{
    struct mem_slot s = {pa >> VT_PAGE_SHIFT, pages, bpn};

    vt_assert(slot < MEM_SLOTS && (!pages || (bpn < m->pages && pages <= m->pages - bpn)));
    if (m->slot[slot].pfn == s.pfn && m->slot[slot].pages == pages && m->slot[slot].bpn == bpn)
        return;
    m->slot[slot] = s;
    m->drop(m->opaque, MEM_NONE, false);
}

void mem_pam(struct mem *m, const uint8_t pam[7])
{
    uint16_t r = 0, w = 0;

    for (unsigned area = 0; area < 16; area++) {
        unsigned v = area >= 12 ? pam[0] >> 4 : area & 1 ? pam[1 + area / 2] >> 4 : pam[1 + area / 2];
        r |= (uint16_t)((v & 1) << area);
        w |= (uint16_t)((v >> 1 & 1) << area);
    }
    if (r == m->pam_read && w == m->pam_write)
        return;
    m->pam_read = r;
    m->pam_write = w;
    m->drop(m->opaque, MEM_NONE, false);
}

void mem_a20(struct mem *m, bool open)
{
    uint64_t mask = open ? UINT64_MAX : ~(1ull << 20);

    if (mask == m->a20)
        return;
    m->a20 = mask;
    m->drop(m->opaque, MEM_NONE, false);
}

const uint8_t *mem_vram(struct mem *m)
{
    for (uint32_t p = 0; p < m->vram_pages; p++)
        mem_read_ptr(m, m->vram_bpn + p);
    return m->ram + ((size_t)m->vram_bpn << VT_PAGE_SHIFT);
}
