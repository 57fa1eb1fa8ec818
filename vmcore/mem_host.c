/* Guest memory: made and freed on the host side. See mem.h. */
#include "vmcore/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "src/base/util.h"

#define GUARD (1u << 20) /* bytes without access on both sides of RAM, of its template, and of the zero page */

void mem_free(struct mem *m)
{
    if (!m)
        return;
    if (m->guarded)
        munmap(m->guarded, m->guarded_bytes);
    mem_track_release(m);
    if (m->fd >= 0)
        close(m->fd);
    free(m->host);
    free(m->born);
    free(m->claim);
    free(m->code);
    free(m);
}

#define LOW_PAGES (0xc0000000u >> VT_PAGE_SHIFT) /* RAM below the PCI hole, at most */

int mem_new(uint64_t ram_bytes, uint32_t vram_pages, uint32_t rom_pages, struct mem **ret, struct err *e)
{
    struct mem *m = calloc(1, sizeof *m);
    size_t n = (ram_bytes >> VT_PAGE_SHIFT) + vram_pages + rom_pages, bytes = n << VT_PAGE_SHIFT;

    if (!m)
        return err_set(e, VT_FAIL, "out of memory");
    m->fd = -1;
    m->pages = (uint32_t)n;
    m->ram_pages = (uint32_t)(ram_bytes >> VT_PAGE_SHIFT);
    m->low_pages = MIN(m->ram_pages, LOW_PAGES);
    m->vram_bpn = m->ram_pages;
    m->vram_pages = vram_pages;
    m->rom_bpn = m->vram_bpn + vram_pages;
    m->rom_pages = rom_pages;
    m->a20 = UINT64_MAX;
    m->image[MEM_IMAGE_RAM].pages = m->ram_pages;
    m->image[MEM_IMAGE_VRAM].first = m->vram_bpn;
    m->image[MEM_IMAGE_VRAM].pages = vram_pages + rom_pages;
    m->host = calloc(n, sizeof *m->host);
    m->born = calloc(n, sizeof *m->born);
    m->claim = calloc(n, 1);
    m->code = calloc(n, sizeof *m->code);
    m->fd = memfd_create("guest-ram", MFD_CLOEXEC);
    if (!m->host || !m->born || !m->claim || !m->code || m->fd < 0 || ftruncate(m->fd, (off_t)bytes) != 0) {
        mem_free(m);
        return err_set(e, VT_FAIL, "no memory for %llu MiB of guest RAM", (unsigned long long)(ram_bytes >> 20));
    }
    m->guarded_bytes = bytes + ram_bytes + VT_PAGE_SIZE + 4 * GUARD;
    m->guarded = mmap(NULL, m->guarded_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m->guarded == MAP_FAILED)
        m->guarded = NULL;
    else
        m->ram =
            mmap(m->guarded + GUARD, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, m->fd, 0);
    if (m->ram == MAP_FAILED)
        m->ram = NULL;
    if (!m->ram || !mem_track_init(m)) {
        mem_free(m);
        return err_set(e, VT_FAIL, "cannot map %llu MiB of guest RAM", (unsigned long long)(ram_bytes >> 20));
    }
    m->shared = m->ram + bytes + GUARD;
    m->zero = m->shared + ram_bytes + GUARD;
    if (mprotect((void *)m->zero, VT_PAGE_SIZE, PROT_READ) != 0) {
        mem_free(m);
        return err_set(e, VT_FAIL, "cannot map guest RAM: %s", strerror(errno));
    }
    *ret = m;
    return 0;
}
