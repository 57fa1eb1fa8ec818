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

static void store_imm(struct em *e, int32_t at, uint32_t v)
{
    e8(e, 0x65); /* mov dword gs:[at], imm32 */
    e8(e, 0xc7);
    e_modrm_mem(e, 0, H_NONE, H_NONE, 0, at);
    e32(e, v);
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
static void cold_end(struct tb *t, uint8_t *jump, unsigned helper)
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
    cold_end(t, intr, HELPER_sti);
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
    cold_end(t, odd, HELPER_popf);
    e_rr(h, 0, 0xf7, 0, t->rv); /* test rv, IF */
    e32(h, EF_IF);
    off = e_jcc8(h, 0x74);
    intr = jump_if_intr(h);
    cold_end(t, intr, HELPER_popf);
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
    store_imm(h, CPU_SEG + S_GS * CPU_SEG_SIZE + (int)offsetof(struct cpu_seg, raw) + 4, 0);
}

/* Is everything but privilege as SYSENTER and SYSEXIT leave it? Then they change the selectors and little else. */
static bool flat32(const struct tb *t)
{
    const uint32_t want = M_CODE32 | M_STACK32 | M_CS_FLAT | M_SS_FLAT;

    return !t->m64 && (t->mode & want) == want && !(t->mode & M_STEP);
}

/* CS or SS becomes rv + add with these rights; base, limit and `valid` stay as they are. */
static void set_selector(struct tb *t, unsigned seg, int32_t add, uint32_t attr)
{
    struct em *h = &t->hot;
    int at = CPU_SEG + (int)seg * CPU_SEG_SIZE;

    _Static_assert(offsetof(struct cpu_seg, attr) == offsetof(struct cpu_seg, sel) + 2 &&
                       offsetof(struct cpu_seg, raw) == offsetof(struct cpu_seg, sel) + 4,
                   "the three written as one");
    e_lea(h, t->rx, t->rv, (int32_t)(attr << 16) + add);
    e_gs(h, 1, 0x89, t->rx, H_NONE, 0, at + (int)offsetof(struct cpu_seg, sel));
    store_imm(h, at + (int)offsetof(struct cpu_seg, raw) + 4, 0);
    _Static_assert(sizeof(struct cpu_seg) == CPU_SEG_SIZE, "no more than that");
}

/* The part that both have in common; rv: IA32_SYSENTER_CS. Long mode and a null selector are the helper's. */
static void fast_system_call(struct tb *t, unsigned cpl, unsigned helper)
{
    struct em *h = &t->hot;
    uint8_t *lma, *null;

    e8(h, 0x65); /* test dword gs:[efer], LMA */
    e8(h, 0xf7);
    e_modrm_mem(h, 0, H_NONE, H_NONE, 0, (int)offsetof(struct cpu, efer));
    e32(h, EFER_LMA);
    lma = e_jcc32(h, CC_NE);
    cold_end(t, lma, helper);
    e_gs(h, 0, 0x8b, t->rv, H_NONE, 0, (int)offsetof(struct cpu, sysenter_cs));
    e_alu_i32(h, 4, t->rv, 0xfffc);
    null = e_jcc32(h, CC_E);
    cold_end(t, null, helper);
    e8(h, 0x65); /* mov byte gs:[cpl], imm8 */
    e8(h, 0xc6);
    e_modrm_mem(h, 0, H_NONE, H_NONE, 0, (int)offsetof(struct cpu, cpl));
    e8(h, cpl);
}

/* On to rv in another mode: the stack's page is not known there. */
static void go_in_mode(struct tb *t, uint32_t mode)
{
    uint32_t old = t->mode;

    store_imm(&t->hot, CPU_MODE, mode);
    e_mov_imm64(&t->hot, H_R13, CPU_NO_STACK);
    t->mode = mode;
    exit_indirect(t, 0);
    t->mode = old;
}

/* Intel SDM vol. 2, SYSENTER: from user mode; EFLAGS.VM, IF and RF are cleared. */
void emit_SYSENTER(struct tb *t)
{
    struct em *h = &t->hot;

    if (!flat32(t) || (t->mode & (M_CPL | M_AC | M_SMAP)) != 3) {
        by_helper(t, HELPER_sysenter, true);
        return;
    }
    free_flags(t);
    fast_system_call(t, 0, HELPER_sysenter);
    eflags_op(h, 4, ~(uint32_t)(EF_VM | EF_IF | EF_RF));
    set_selector(t, S_CS, 0, 0xc09b);
    set_selector(t, S_SS, 8, 0xc093);
    e_gs(h, 0, 0x8b, H_RSP, H_NONE, 0, (int)offsetof(struct cpu, sysenter_esp));
    e_gs(h, 0, 0x8b, t->rv, H_NONE, 0, (int)offsetof(struct cpu, sysenter_eip));
    go_in_mode(t, t->mode & ~(uint32_t)M_CPL);
}

/* Intel SDM vol. 2, SYSEXIT: from the kernel to EDX with ECX for a stack. */
void emit_SYSEXIT(struct tb *t)
{
    struct em *h = &t->hot;
    uint8_t *ac;

    if (!flat32(t) || (t->mode & M_CPL) != 0 || t->cur->z.operand_width == 64) {
        by_helper(t, HELPER_sysexit, true);
        return;
    }
    free_flags(t);
    e8(h, 0x65); /* test dword gs:[eflags], AC: another mode in user code */
    e8(h, 0xf7);
    e_modrm_mem(h, 0, H_NONE, H_NONE, 0, (int)offsetof(struct cpu, eflags));
    e32(h, EF_AC);
    ac = e_jcc32(h, CC_NE);
    cold_end(t, ac, HELPER_sysexit);
    fast_system_call(t, 3, HELPER_sysexit);
    set_selector(t, S_CS, 16 | 3, 0xc0fb);
    set_selector(t, S_SS, 24 | 3, 0xc0f3);
    e_mov(h, H_RSP, H_RCX);
    e_mov(h, t->rv, H_RDX);
    go_in_mode(t, t->mode | 3);
}
