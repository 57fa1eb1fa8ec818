/* The door: see mem.h. Runs on the vCPU thread, except the pagetrack functions that say otherwise in pagesrc.h. */
#include "vmcore/mem.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "src/base/util.h"
#include "vmcore/dev/dev.h"
#include "vmcore/rt.h"

enum { VER_CLEAN, VER_BUSY, VER_KEPT, VER_SAVED };

uint8_t *mem_read_ptr(struct mem *m, uint32_t bpn)
{
    uint8_t *p = m->host[bpn];

    if (p)
        return p;
    p = m->ram + ((size_t)bpn << VT_PAGE_SHIFT);
    if (m->src) {
        m->loads++;
        if (m->load(m->opaque, m->src, bpn, p) != 0)
            memset(p, 0, VT_PAGE_SIZE); /* load() has stopped the machine: the guest never sees this */
    }
    __atomic_store_n(&m->host[bpn], p, __ATOMIC_RELEASE);
    return p;
}

/* First write in this epoch: what the capture in flight still needs is put aside. */
static void keep_version(struct mem *m, uint32_t bpn, const uint8_t *p)
{
    uint8_t clean = VER_CLEAN;

    m->shadow_born[bpn] = m->born[bpn];
    if (__atomic_compare_exchange_n(&m->ver[bpn], &clean, VER_BUSY, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        memcpy(m->shadow + ((size_t)bpn << VT_PAGE_SHIFT), p, VT_PAGE_SIZE);
        m->versions++;
        __atomic_store_n(&m->ver[bpn], VER_KEPT, __ATOMIC_RELEASE);
    } else {
        while (__atomic_load_n(&m->ver[bpn], __ATOMIC_ACQUIRE) == VER_BUSY)
            __builtin_ia32_pause();
    }
}

uint8_t *mem_write_ptr(struct mem *m, uint32_t bpn)
{
    uint8_t *p = mem_read_ptr(m, bpn);

    if (m->born[bpn] != m->epoch) {
        if (__atomic_load_n(&m->capturing, __ATOMIC_ACQUIRE))
            keep_version(m, bpn, p);
        __atomic_store_n(&m->born[bpn], m->epoch, __ATOMIC_RELEASE);
        m->door_writes++;
    }
    return p;
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
        uint32_t bpn = mem_bpn(m, pa), off = pa & 0xfff;
        uint64_t n = MIN(len, VT_PAGE_SIZE - off);
        if (bpn == MEM_NONE)
            return false;
        memcpy(mem_write_ptr(m, bpn) + off, s, n);
        mem_wrote(m, bpn, off, (uint32_t)n);
        s += n, pa += n, len -= n;
    }
    return true;
}

/* ---- pagetrack */

static uint64_t track_capture(struct pagetrack *t)
{
    struct mem *m = (struct mem *)t;
    uint32_t e = m->epoch;

    memset(m->ver, VER_CLEAN, m->pages);
    m->epoch++;
    __atomic_store_n(&m->capturing, e, __ATOMIC_RELEASE);
    m->flush_writes(m->opaque);
    return e;
}

/* The epoch in which the content that capture e owns was born. */
static uint32_t born_at(struct mem *m, uint64_t e, uint32_t p)
{
    uint32_t b = __atomic_load_n(&m->born[p], __ATOMIC_ACQUIRE);
    return b > e ? m->shadow_born[p] : b;
}

static bool track_next(struct pagetrack *t, uint64_t since, uint64_t e, uint64_t *page)
{
    struct mem *m = (struct mem *)t;

    for (uint64_t p = *page; p < m->pages; p++) {
        if (born_at(m, e, (uint32_t)p) > since) {
            *page = p;
            return true;
        }
    }
    return false;
}

static int track_copy(struct pagetrack *t, uint64_t e, uint64_t page, void *dst, struct err *err)
{
    struct mem *m = (struct mem *)t;
    uint8_t clean = VER_CLEAN;

    vt_assert(page < m->pages && m->capturing == e);
    if (__atomic_compare_exchange_n(&m->ver[page], &clean, VER_BUSY, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        uint8_t *p = __atomic_load_n(&m->host[page], __ATOMIC_ACQUIRE);
        if (p)
            memcpy(dst, p, VT_PAGE_SIZE);
        else if (m->src) {
            int r = m->src->fill(m->src, page, 1, dst, err);
            if (r) {
                __atomic_store_n(&m->ver[page], VER_CLEAN, __ATOMIC_RELEASE);
                return r;
            }
        } else
            memset(dst, 0, VT_PAGE_SIZE);
        __atomic_store_n(&m->ver[page], VER_SAVED, __ATOMIC_RELEASE);
        return 0;
    }
    while (clean == VER_BUSY) {
        __builtin_ia32_pause();
        clean = __atomic_load_n(&m->ver[page], __ATOMIC_ACQUIRE);
    }
    if (clean == VER_KEPT)
        memcpy(dst, m->shadow + (page << VT_PAGE_SHIFT), VT_PAGE_SIZE);
    else /* saved before and asked for again: still unchanged unless it was written since */
        return err_set(err, VT_FAIL, "page %llu of RAM was captured twice", (unsigned long long)page);
    return 0;
}

static void track_done(struct pagetrack *t, uint64_t e)
{
    struct mem *m = (struct mem *)t;

    if (m->capturing == e) {
        __atomic_store_n(&m->capturing, 0, __ATOMIC_RELEASE);
        rt_syscall3(SYS_madvise, (long)m->shadow, (long)m->pages << VT_PAGE_SHIFT, MADV_DONTNEED);
    }
}

/* ---- restore and revert: only while the vCPU is stopped */

void mem_restore(struct mem *m, struct pagesrc *src)
{
    m->src = src;
    for (uint32_t p = 0; p < m->pages; p++) {
        if (m->code[p].lines)
            m->code_write(m->opaque, p, 0, VT_PAGE_SIZE);
        m->host[p] = NULL;
        m->born[p] = 0;
    }
    m->drop(m->opaque, MEM_NONE, false);
    rt_syscall6(SYS_fallocate, m->fd, 3 /* punch hole, keep size */, 0, (long)m->pages << VT_PAGE_SHIFT, 0, 0);
    m->epoch++;
}

void mem_revert(struct mem *m, struct pagesrc *src, const uint64_t *list, size_t n)
{
    m->src = src;
    for (size_t i = 0; i < n; i++) {
        uint32_t p = (uint32_t)list[i];
        uint8_t *ram = m->ram + ((size_t)p << VT_PAGE_SHIFT);
        if (p >= m->pages)
            continue;
        if (m->code[p].lines)
            m->code_write(m->opaque, p, 0, VT_PAGE_SIZE);
        m->host[p] = NULL;
        if (!src || src->is_zero(src, p)) {
            memset(ram, 0, VT_PAGE_SIZE);
            m->host[p] = ram;
        }
    }
    m->drop(m->opaque, MEM_NONE, false);
    m->epoch++;
}

void mem_track_init(struct mem *m)
{
    m->track = (struct pagetrack){m->pages, track_capture, track_next, track_copy, track_done};
}
