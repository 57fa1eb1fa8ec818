/* What the display shows, taken from a machine that stands. */
#include <string.h>

#include "src/base/util.h"
#include "vmcore/vm.h"

void display_release(struct display *d)
{
    free(steal(&d->vram));
}

int vm_display(struct vm *vm, struct display *ret, struct err *e)
{
    struct display d = {0};

    if (!vm->board)
        return err_set(e, VT_BUSY, "the machine has no display");
    d.regs = vm->board->vga.regs;
    d.vram_len = MIN((size_t)display_extent(&d.regs), (size_t)vram_pages(vm->mem) << VT_PAGE_SHIFT);
    d.vram = malloc(d.vram_len);
    if (!d.vram)
        return err_set(e, VT_FAIL, "out of memory");
    for (size_t at = 0; at < d.vram_len; at += VT_PAGE_SIZE)
        memcpy(d.vram + at, vram_read(vm->mem, (uint32_t)(at >> VT_PAGE_SHIFT)), MIN(d.vram_len - at, VT_PAGE_SIZE));
    *ret = d;
    return 0;
}
