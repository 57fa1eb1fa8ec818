/* Loads of DS, ES, FS and GS in 32-bit code. Kernels reload what is there already at each entry and exit, and FS or GS
 * with theirs: where selector and descriptor are those of the last load, nothing changes; where they are those of the
 * load before, the two are exchanged. The descriptor is compared in the cache. All else goes to C. Intel SDM vol. 2,
 * MOV and POP. */
#include "vmcore/tb.h"

bool seg_load_inline(const struct tb *t, unsigned seg)
{
    return !t->m64 && (t->mode & M_CODE32) && stack32(t) && !(t->mode & M_STEP) && seg != S_SS && seg != S_CS;
}

/* Through the helper: the jumps in miss[] go to it, and it goes on at the present place. */
void cold_helper(struct tb *t, uint8_t *const *miss, unsigned n, unsigned helper, uint32_t arg, uint32_t arg2)
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

/* The jumps that leave for the helper. */
struct misses {
    uint8_t *at[16];
    unsigned n;
};

static void miss(struct misses *m, uint8_t *at)
{
    m->at[m->n++] = at;
}

/* cmp word gs:[disp], rv */
static void cmp_selector(struct tb *t, int disp)
{
    e8(&t->hot, 0x66); /* the operand-size prefix comes first */
    e_gs(&t->hot, 0, 0x39, t->rv, H_NONE, 0, disp + (int)offsetof(struct cpu_seg, sel));
}

/* Leaves unless the descriptor that rv (not null) selects in the GDT is the one that the segment at `base` was loaded
 * from. Long mode's GDT may be beyond the reach of 32-bit code, the local table is C's. */
static void same_descriptor(struct tb *t, int base, struct misses *m)
{
    struct em *h = &t->hot;

    e8(h, 0x65); /* test dword gs:[efer], LMA */
    e8(h, 0xf7);
    e_modrm_mem(h, 0, H_NONE, H_NONE, 0, (int)offsetof(struct cpu, efer));
    e32(h, EFER_LMA);
    miss(m, e_jcc32(h, CC_NE));
    e_rr(h, 0, 0xf7, 0, t->rv); /* test rv, 4 */
    e32(h, 4);
    miss(m, e_jcc32(h, CC_NE));
    e_mov(h, t->ra, t->rv);
    e_alu_i8(h, 1, t->ra, 7);
    e_gs(h, 0, 0x3b, t->ra, H_NONE, 0, (int)offsetof(struct cpu, gdt) + 8);
    miss(m, e_jcc32(h, CC_A));
    e_alu_i8(h, 5, t->ra, 7);
    e_alu_i32(h, 4, t->ra, 0xfff8);
    e_gs(h, 0, 0x03, t->ra, H_NONE, 0, (int)offsetof(struct cpu, gdt));
    miss(m, tlb_check_as(t, h, 8, 1, tlb_set_implicit(t->mode)));
    e_mem(h, 1, 0x8b, t->rx, t->ra, t->rb, 0, 0);
    e_gs(h, 1, 0x3b, t->rx, H_NONE, 0, base + (int)offsetof(struct cpu_seg, raw));
    miss(m, e_jcc32(h, CC_NE));
}

/* Is the segment at `base` what loading rv gives? A null one has to be one that was loaded as null. */
static void is_that(struct tb *t, int base, struct misses *m)
{
    struct em *h = &t->hot;
    uint8_t *null, *done;

    e_rr(h, 0, 0xf7, 0, t->rv); /* test rv, fffch */
    e32(h, 0xfffc);
    null = e_jcc32(h, CC_E);
    same_descriptor(t, base, m);
    done = e_jmp32(h);
    e_patch32(h, null, h->p);
    e8(h, 0x65); /* cmp dword gs:[valid], 0 */
    e8(h, 0x83);
    e_modrm_mem(h, 7, H_NONE, H_NONE, 0, base + (int)offsetof(struct cpu_seg, valid));
    e8(h, 0);
    miss(m, e_jcc32(h, CC_NE));
    e_patch32(h, done, h->p);
}

static void exchange(struct tb *t, int a, int b)
{
    struct em *h = &t->hot;

    for (int i = 0; i < CPU_SEG_SIZE; i += 8) {
        e_gs(h, 1, 0x8b, t->rx, H_NONE, 0, a + i);
        e_gs(h, 1, 0x8b, t->rb, H_NONE, 0, b + i);
        e_gs(h, 1, 0x89, t->rb, H_NONE, 0, a + i);
        e_gs(h, 1, 0x89, t->rx, H_NONE, 0, b + i);
    }
}

/* rv holds the selector, zero-extended. Leaves by m where the load is not of what is there, nor, for FS and GS, of what
 * was there before: kernels go back and forth between theirs and the program's. What one of any privilege could load
 * the kernel can; so the exchange is for CPL 0. Flags are saved. */
static void compare(struct tb *t, unsigned seg, struct misses *m)
{
    struct em *h = &t->hot;
    int base = CPU_SEG + (int)seg * CPU_SEG_SIZE;
    bool two = seg >= S_FS && (t->mode & M_CPL) == 0;
    int before = (int)offsetof(struct cpu, seg_before) + (int)(seg - S_FS) * CPU_SEG_SIZE;
    uint8_t *other, *done;

    cmp_selector(t, base);
    if (!two) {
        miss(m, e_jcc32(h, CC_NE));
        is_that(t, base, m);
        return;
    }
    other = e_jcc32(h, CC_NE);
    is_that(t, base, m);
    done = e_jmp32(h);
    e_patch32(h, other, h->p);
    cmp_selector(t, before);
    miss(m, e_jcc32(h, CC_NE));
    is_that(t, before, m);
    exchange(t, base, before);
    e_patch32(h, done, h->p);
}

void emit_mov_to_seg(struct tb *t, unsigned seg, int reg)
{
    struct misses m = {.n = 0};

    if (t->cur->before)
        fl_save(t);
    t->loc = LOC_SAVED;
    e_movzx16(&t->hot, t->rv, reg);
    compare(t, seg, &m);
    cold_helper(t, m.at, m.n, HELPER_mov_to_seg, seg, (uint32_t)reg);
}

static void load_selector(struct tb *t, struct em *e)
{
    e_mem(e, 0, 0x0fb7, t->rv, t->base, t->index, 0, t->disp);
}

void emit_load_seg(struct tb *t, unsigned seg, const ZydisDecodedOperand *from)
{
    struct misses m = {.n = 0};

    ea_for_access(t, from, 0);
    emit_access(t, seg_index(from->mem.segment), 2, 1, load_selector);
    t->loc = LOC_SAVED;
    compare(t, seg, &m);
    cold_helper(t, m.at, m.n, HELPER_load_seg, seg, 0);
}

void emit_pop_seg(struct tb *t, unsigned seg, unsigned size)
{
    struct misses m = {.n = 0};

    stack_ea(t, H_RSP, 0);
    emit_access(t, S_SS, 2, 1, load_selector);
    t->loc = LOC_SAVED;
    compare(t, seg, &m);
    t_lea(t, &t->hot, H_RSP, H_RSP, (int32_t)size);
    cold_helper(t, m.at, m.n, HELPER_pop_seg, seg, size);
}
