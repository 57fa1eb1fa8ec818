/* Loads of DS, ES, FS and GS in 32-bit code. Kernels reload what is there already at each entry and exit: where
 * selector and descriptor are those of the last load, nothing changes, and the descriptor is compared in the cache. All
 * else goes to C. Intel SDM vol. 2, MOV and POP. */
#include "vmcore/tb.h"

bool seg_load_inline(const struct tb *t, unsigned seg)
{
    return !t->m64 && (t->mode & M_CODE32) && stack32(t) && !(t->mode & M_STEP) && seg != S_SS && seg != S_CS;
}

/* Through the helper: the jumps in miss[] go to it, and it goes on at the present place. */
static void by_helper(struct tb *t, uint8_t *const *miss, unsigned n, unsigned helper, uint32_t arg, uint32_t arg2)
{
    struct em *c = &t->cold;
    struct site s;
    uint8_t *at, *site;

    for (unsigned i = 0; i < n; i++)
        e_patch32(&t->hot, miss[i], c->p);
    at = e_stub_at(t, c);
    site = c->p;
    e_patch32(c, at, site);
    site_init(t, &s, K_HELPER);
    s.helper = (uint8_t)helper;
    s.cont = (int32_t)(t->hot.p - site);
    s.arg = arg;
    s.arg2 = arg2;
    put_site(c, &s);
}

/* rv holds the selector, zero-extended. Leaves by miss[] (5 of them) where the load is not of what is there. Flags are
 * saved. */
static void compare(struct tb *t, unsigned seg, uint8_t *miss[5])
{
    struct em *h = &t->hot;
    int base = CPU_SEG + (int)seg * CPU_SEG_SIZE;
    uint8_t *null;

    e8(h, 0x66); /* cmp gs:[sel], rv16: the operand-size prefix comes first */
    e_gs(h, 0, 0x39, t->rv, H_NONE, 0, base + (int)offsetof(struct cpu_seg, sel));
    miss[0] = e_jcc32(h, CC_NE);
    e_rr(h, 0, 0xf7, 0, t->rv); /* test rv, fffch: a null one is there already */
    e32(h, 0xfffc);
    null = e_jcc32(h, CC_E);
    e_rr(h, 0, 0xf7, 0, t->rv); /* test rv, 4: the local table is C's */
    e32(h, 4);
    miss[1] = e_jcc32(h, CC_NE);
    e_mov(h, t->ra, t->rv);
    e_alu_i8(h, 1, t->ra, 7);
    e_gs(h, 0, 0x3b, t->ra, H_NONE, 0, (int)offsetof(struct cpu, gdt) + 8);
    miss[2] = e_jcc32(h, CC_A);
    e_alu_i8(h, 5, t->ra, 7);
    e_alu_i32(h, 4, t->ra, 0xfff8);
    e_gs(h, 0, 0x03, t->ra, H_NONE, 0, (int)offsetof(struct cpu, gdt));
    miss[3] = tlb_check_as(t, h, 8, 1, 0);
    e_mem(h, 1, 0x8b, t->rx, t->ra, t->rb, 0, 0);
    e_gs(h, 1, 0x3b, t->rx, H_NONE, 0, base + (int)offsetof(struct cpu_seg, raw));
    miss[4] = e_jcc32(h, CC_NE);
    e_patch32(h, null, h->p);
}

void emit_mov_to_seg(struct tb *t, unsigned seg, int reg)
{
    uint8_t *miss[5];

    if (t->cur->before)
        fl_save(t);
    t->loc = LOC_SAVED;
    e_movzx16(&t->hot, t->rv, reg);
    compare(t, seg, miss);
    by_helper(t, miss, 5, HELPER_mov_to_seg, seg, (uint32_t)reg);
}

static void load_selector(struct tb *t, struct em *e)
{
    e_mem(e, 0, 0x0fb7, t->rv, t->base, t->index, 0, t->disp);
}

void emit_pop_seg(struct tb *t, unsigned seg, unsigned size)
{
    uint8_t *miss[5];

    stack_ea(t, H_RSP, 0);
    emit_access(t, S_SS, 2, 1, load_selector);
    t->loc = LOC_SAVED;
    compare(t, seg, miss);
    t_lea(t, &t->hot, H_RSP, H_RSP, (int32_t)size);
    by_helper(t, miss, 5, HELPER_pop_seg, seg, size);
}
