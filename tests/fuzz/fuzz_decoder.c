/* Guest code bytes through decoding, liveness and emission, in all the modes that are part of a block's key. Nothing is
 * run: each block that comes out is decoded again as host code, and must hold no instruction that could leave the
 * translated world, and no memory access but through the checked address (r8, r9, a borrowed RDI) or the context (GS).
 *
 * Input: a byte of mode bits (MODE_*), two of offset in the page, then code. */
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/util.h"
#include "vmcore/verify.h"
#include "vmcore/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
    MODE_CODE16 = 1,
    MODE_STACK16 = 2,
    MODE_KERNEL = 4,
    MODE_DF = 8,
    MODE_NOT_FLAT = 16,
    MODE_STEP = 32,
    MODE_NO_SSE = 64
};
enum { PAGE = 16, RAM = 2 << 20, MAX_BLOCKS = 256 };

static void __attribute__((noreturn)) bad(const char *what, const uint8_t *at)
{
    fprintf(stderr, "fuzz_decoder: %s:", what);
    for (unsigned i = 0; i < 15; i++)
        fprintf(stderr, " %02x", at[i]);
    fprintf(stderr, "\n");
    abort();
}

static void set_mode(struct cpu *c, unsigned mode)
{
    unsigned dpl = mode & MODE_KERNEL ? 0 : 3;
    unsigned code = 0x809b | dpl << 5, data = 0x8093 | dpl << 5;

    c->cpl = (uint8_t)dpl;
    c->cr0 = CR0_PE | CR0_NE | CR0_ET;
    c->cr4 = mode & MODE_NO_SSE ? 0 : CR4_OSFXSR | CR4_OSXMMEXCPT;
    seg_set_flat(c, S_CS, (uint16_t)(0x20 | dpl), code | (mode & MODE_CODE16 ? 0 : 0x4000));
    seg_set_flat(c, S_SS, (uint16_t)(0x28 | dpl), data | (mode & MODE_STACK16 ? 0 : 0x4000));
    for (unsigned s = 0; s <= S_GS; s++) {
        if (s == S_CS || s == S_SS)
            continue;
        seg_set_flat(c, s, (uint16_t)(0x28 | dpl), data | 0x4000);
        if (mode & MODE_NOT_FLAT) {
            c->seg[s].base = 0x1000;
            seg_update(c, s);
        }
    }
    c->eflags = EF_IF | (mode & MODE_DF ? EF_DF : 0);
    c->single = (mode & MODE_STEP) != 0;
    c->exc_pending = 0;
    cpu_update_mode(c);
}

static struct vm *machine(void)
{
    struct vm_config config = {.board = VM_BOARD_BARE, .ram_bytes = RAM};
    struct err e = {0};
    struct vm *vm;

    if (vm_new(&config, &vm, &e)) {
        fprintf(stderr, "fuzz_decoder: %s\n", e.msg);
        exit(1);
    }
    return vm;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct vm *vm;
    struct cpu *c;
    uint32_t off;

    if (len < 4)
        return 0;
    vm = machine();
    c = vm->cpu;
    set_mode(c, data[0]);
    off = (uint32_t)(data[1] | data[2] << 8) & 0xfff;
    data += 3;
    len -= 3;
    for (uint32_t i = 0; i < 2 * VT_PAGE_SIZE - off; i++)
        mem_write_ptr(vm->mem, PAGE + (off + i) / VT_PAGE_SIZE)[(off + i) % VT_PAGE_SIZE] = i < len ? data[i] : 0xcc;
    for (unsigned n = 0; n < MAX_BLOCKS && off < VT_PAGE_SIZE; n++) {
        c->eip = PAGE * VT_PAGE_SIZE + off;
        struct block *b = block_translate(c, PAGE, off);
        if (!b)
            bad("no block", mem_read_ptr(vm->mem, PAGE) + MIN(off, VT_PAGE_SIZE - 15));
        if (b->off != off || b->glen == 0 || b->ninsn == 0 || (off + b->glen > VT_PAGE_SIZE && b->ninsn != 1))
            bad("a block that is not where it was asked for", mem_read_ptr(vm->mem, PAGE));
        struct verify_result r;
        verify_block(vm->cache->tb, b, &r);
        if (r.why)
            bad(r.why, r.at);
        off += b->glen;
    }
    vm_free(vm);
    return 0;
}
