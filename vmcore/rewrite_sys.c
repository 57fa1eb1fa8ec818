/* Privileged and flag instructions that kernels run all the time, as sequences in the cache: CLI, STI, PUSHF, POPF,
 * RDTSC, for CPL 0; other levels, and whatever is out of the ordinary, go to their helpers. */
#include "vmcore/tb.h"

static bool kernel(const struct tb *t)
{
    return (t->mode & M_CPL) == 0 && (t->mode & M_CODE32) && stack32(t) && !(t->mode & M_STEP);
}

static void by_helper(struct tb *t, unsigned helper, bool ends)
{
    emit_helper(t, helper, NULL, t->cur->z.operand_width / 8u, 0, ends);
}

/* op dword gs:[eflags], imm32: and 4, or 1 */
static void eflags_op(struct em *e, int ext, uint32_t imm)
{
    e8(e, 0x65);
    e8(e, 0x81);
    e_modrm_mem(e, ext, H_NONE, H_NONE, 0, (int)offsetof(struct cpu, eflags));
    e32(e, imm);
}

static uint8_t *jump_if_intr(struct em *e)
{
    e8(e, 0x65); /* cmp byte gs:[intr_level], 0 */
    e8(e, 0x80);
    e_modrm_mem(e, 7, H_NONE, H_NONE, 0, (int)offsetof(struct cpu, intr_level));
    e8(e, 0);
    return e_jcc32(e, CC_NE);
}

/* Cold: the helper does the whole instruction, and the way goes on by lookup. Flags are in r12 where live. */
static void cold_helper(struct tb *t, uint8_t *jump, unsigned helper)
{
    struct em *c = &t->cold;
    struct site s;

    e_patch32(&t->hot, jump, c->p);
    site_init(t, &s, K_HELPER);
    s.helper = (uint8_t)helper;
    s.rw = 1;
    s.arg = t->cur->z.operand_width / 8u;
    e_site(t, c, &s);
}

/* Flags into r12 where they live; host flags are free to use after. */
static void free_flags(struct tb *t)
{
    if (t->cur->before)
        fl_save(t);
    t->loc = LOC_SAVED;
}

void emit_CLI(struct tb *t)
{
    if (!kernel(t)) {
        by_helper(t, HELPER_cli, false);
        return;
    }
    free_flags(t);
    eflags_op(&t->hot, 4, ~EF_IF);
}

void emit_STI(struct tb *t)
{
    uint8_t *intr;

    if (!kernel(t)) {
        by_helper(t, HELPER_sti, true);
        return;
    }
    free_flags(t);
    intr = jump_if_intr(&t->hot); /* the instruction after STI comes before the interrupt */
    cold_helper(t, intr, HELPER_sti);
    eflags_op(&t->hot, 1, EF_IF);
}

static void store_rv(struct tb *t, struct em *e)
{
    e_mem(e, t->m64, 0x89, t->rv, t->base, t->index, 0, t->disp);
}

static void load_rv(struct tb *t, struct em *e)
{
    e_mem(e, t->m64, 0x8b, t->rv, t->base, t->index, 0, t->disp);
}

/* The size that these do inline: what is usual in the mode. */
static bool usual_size(const struct tb *t)
{
    return t->cur->z.operand_width == (t->m64 ? 64 : 32);
}

void emit_PUSHF(struct tb *t)
{
    struct em *h = &t->hot;
    int size = t->m64 ? 8 : 4;

    if (!kernel(t) || !usual_size(t)) {
        by_helper(t, HELPER_pushf, false);
        return;
    }
    free_flags(t);
    flags_word(t, h, t->rv);
    e_mov(h, t->rx, t->rv);
    e_shift(h, 5, t->rv, 8);
    e_alu_i32(h, 4, t->rv, 0xd5);
    e_alu_i8(h, 4, t->rx, 1);
    e_shift(h, 4, t->rx, 11);
    e_rr(h, 0, 0x09, t->rx, t->rv);
    e_gs(h, 0, 0x0b, t->rv, H_NONE, 0, (int)offsetof(struct cpu, eflags));
    e_alu_i8(h, 1, t->rv, 2);
    stack_ea(t, H_RSP, -size);
    emit_access(t, S_SS, (unsigned)size, 2, store_rv);
    t_lea(t, h, H_RSP, H_RSP, -size);
}

void emit_POPF(struct tb *t)
{
    struct em *h = &t->hot;
    uint8_t *odd, *intr, *off, *done;
    int size = t->m64 ? 8 : 4;

    if (!kernel(t) || !usual_size(t)) {
        by_helper(t, HELPER_popf, false);
        return;
    }
    stack_ea(t, H_RSP, 0);
    emit_access(t, S_SS, (unsigned)size, 1, load_rv);
    e_mov(h, t->rx, t->rv);
    e_gs(h, 0, 0x33, t->rx, H_NONE, 0, (int)offsetof(struct cpu, eflags));
    e_alu_i32(h, 4, t->rx, EF_TF | EF_DF | EF_IOPL | EF_NT | EF_RF | EF_VM | EF_AC | EF_VIF | EF_VIP | EF_ID);
    odd = e_jcc32(h, CC_NE);
    cold_helper(t, odd, HELPER_popf);
    e_rr(h, 0, 0xf7, 0, t->rv); /* test rv, IF */
    e32(h, EF_IF);
    off = e_jcc8(h, 0x74);
    intr = jump_if_intr(h);
    cold_helper(t, intr, HELPER_popf);
    eflags_op(h, 1, EF_IF);
    done = e_jcc8(h, 0xeb);
    e_patch8(h, off, h->p);
    eflags_op(h, 4, ~EF_IF);
    e_patch8(h, done, h->p);
    e_mov(h, t->rx, t->rv);
    e_alu_i32(h, 4, t->rx, 0xd5);
    e_shift(h, 4, t->rx, 8);
    e_shift(h, 5, t->rv, 11);
    e_alu_i8(h, 4, t->rv, 1);
    e_rr(h, 0, 0x09, t->rv, t->rx);
    flags_set(t, h, t->rx);
    t_lea(t, h, H_RSP, H_RSP, size);
    t->loc = LOC_SAVED;
}

void emit_RDTSC(struct tb *t)
{
    struct em *h = &t->hot;

    if (!kernel(t) || t->cpu->read_tsc) {
        by_helper(t, HELPER_rdtsc, false);
        return;
    }
    free_flags(t);
    e8(h, 0x0f);
    e8(h, 0x31);
    e_rr(h, 1, 0xc1, 4, H_RDX); /* shl rdx, 32 */
    e8(h, 32);
    e_rr(h, 1, 0x09, H_RDX, H_RAX);
    e_gs(h, 1, 0x03, H_RAX, H_NONE, 0, (int)offsetof(struct cpu, tsc_offset));
    e_mov64(h, H_RDX, H_RAX);
    e_rr(h, 1, 0xc1, 5, H_RDX); /* shr rdx, 32 */
    e8(h, 32);
    e_mov(h, H_RAX, H_RAX);
}

void emit_SWAPGS(struct tb *t)
{
    struct em *h = &t->hot;
    int base = CPU_SEG + S_GS * CPU_SEG_SIZE + CPU_SEG_BASE, other = (int)offsetof(struct cpu, kernel_gs_base);

    if (!kernel(t)) {
        by_helper(t, HELPER_swapgs, false);
        return;
    }
    e_gs(h, 1, 0x8b, t->ra, H_NONE, 0, base);
    e_gs(h, 1, 0x8b, t->rb, H_NONE, 0, other);
    e_gs(h, 1, 0x89, t->rb, H_NONE, 0, base);
    e_gs(h, 1, 0x89, t->ra, H_NONE, 0, other);
}
