/* Video RAM as the display adapter sees it: some of the machine's backing pages. */
#include "src/base/err.h"
#include "vmcore/dev/dev.h"
#include "vmcore/mem.h"

uint32_t vram_pages(const struct mem *m)
{
    return m->vram_pages;
}

const uint8_t *vram_read(struct mem *m, uint32_t page)
{
    vt_assert(page < m->vram_pages);
    return mem_read_ptr(m, m->vram_bpn + page);
}

uint8_t *vram_write(struct mem *m, uint32_t page, uint32_t off, uint32_t len)
{
    vt_assert(page < m->vram_pages);
    uint8_t *p = mem_write_ptr(m, m->vram_bpn + page);
    mem_wrote(m, m->vram_bpn + page, off, len);
    return p;
}

void vram_map(struct mem *m, enum vram_slot slot, uint64_t pa, uint32_t pages, uint32_t first)
{
    vt_assert(first <= m->vram_pages && pages <= m->vram_pages - first);
    mem_map(m, slot == VRAM_FRAME_BUFFER ? MEM_SLOT_LFB : MEM_SLOT_VGA, pa, pages, m->vram_bpn + first);
}
