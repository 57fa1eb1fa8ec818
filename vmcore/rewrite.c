/* How an instruction crosses from guest to host: addresses, the checked access, copies. Host registers in translated
 * 32-bit code: 0..7 the guest's, r8 address, r9 addend, r10 scratch, r11 value across accesses, r12 saved flags, r13
 * and r14 the stack's page, r15 EIP minus page offset. In 64-bit code all are the guest's but four (see plan.c), and
 * what r12 to r15 hold is in struct cpu. Each access is one native host instruction at [ra + rb]; nothing of the
 * guest's state changes before the last access of an instruction has passed its check. */
#include "vmcore/tb.h"

int host_gpr(ZydisRegister r)
{
    if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
        return r - ZYDIS_REGISTER_RAX;
    if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D)
        return r - ZYDIS_REGISTER_EAX;
    if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15W)
        return r - ZYDIS_REGISTER_AX;
    if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
        return r - ZYDIS_REGISTER_AL;
    if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
        return r - ZYDIS_REGISTER_AH + 4;
    if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
        return r - ZYDIS_REGISTER_SPL + 4;
    return H_NONE;
}

unsigned seg_index(ZydisRegister r)
{
    switch (r) {
    case ZYDIS_REGISTER_ES:
        return S_ES;
    case ZYDIS_REGISTER_CS:
        return S_CS;
    case ZYDIS_REGISTER_SS:
        return S_SS;
    case ZYDIS_REGISTER_FS:
        return S_FS;
    case ZYDIS_REGISTER_GS:
        return S_GS;
    default:
        return S_DS;
    }
}

bool seg_is_flat(const struct tb *t, unsigned seg)
{
    switch (seg) {
    case S_ES:
        return t->mode & M_ES_FLAT;
    case S_SS:
        return t->mode & M_SS_FLAT;
    case S_DS:
        return t->mode & M_DS_FLAT;
    default:
        return t->m64 && seg == S_CS; /* CS as data, FS, GS: by their fast limit */
    }
}

bool stack32(const struct tb *t)
{
    return t->mode & M_STACK32;
}

/* ---- flags */

static void save_seq(struct tb *t, struct em *e)
{
    e_mov64(e, t->rx, H_RAX);
    e8(e, 0x9f); /* lahf */
    e8(e, 0x0f); /* seto al */
    e8(e, 0x90);
    e8(e, 0xc0);
    flags_set(t, e, H_RAX);
    e_mov64(e, H_RAX, t->rx);
}

void flags_word(struct tb *t, struct em *e, int dst)
{
    if (t->m64)
        e_gs(e, 0, 0x8b, dst, H_NONE, 0, CPU_R12);
    else
        e_mov(e, dst, H_R12);
}

void flags_set(struct tb *t, struct em *e, int src)
{
    if (t->m64)
        e_gs(e, 0, 0x89, src, H_NONE, 0, CPU_R12);
    else
        e_mov(e, H_R12, src);
}

void fl_save(struct tb *t)
{
    if (t->loc == LOC_HOST) {
        save_seq(t, &t->hot);
        t->loc = LOC_BOTH;
    }
}

void fl_restore(struct tb *t, struct em *e)
{
    if (t->loc != LOC_SAVED)
        return;
    e_mov64(e, t->rx, H_RAX);
    flags_word(t, e, H_RAX);
    e8(e, 0x04); /* add al, 127: OF again */
    e8(e, 0x7f);
    e8(e, 0x9e); /* sahf */
    e_mov64(e, H_RAX, t->rx);
    t->loc = LOC_BOTH;
}

/* ---- sites */

void put_site(struct em *e, const struct site *s)
{
    if (e->p + sizeof *s <= e->limit) {
        memcpy(e->p, s, sizeof *s);
        e->p += sizeof *s;
    } else
        e->full = true;
}

uint8_t *e_stub_at(struct tb *t, struct em *e)
{
    uint8_t *at, *jump, *leave;

    if (!t->m64)
        return e_stub(e);
    leave = plan_leave(t);
    e8(e, 0x48 | (t->rx & 8 ? 4u : 0)); /* lea rx, [rip + site] */
    e8(e, 0x8d);
    e8(e, 0x05 | (unsigned)(t->rx & 7) << 3);
    e32(e, 0);
    at = e->p - 4;
    jump = e_jmp32(e);
    e_patch32(e, jump, leave);
    return at;
}

void e_site(struct tb *t, struct em *e, const struct site *s)
{
    uint8_t *at = e_stub_at(t, e);

    e_patch32(e, at, e->p);
    put_site(e, s);
}

void site_init(struct tb *t, struct site *s, unsigned kind)
{
    memset(s, 0, sizeof *s);
    s->kind = (uint8_t)kind;
    if (t->cur) {
        s->off = t->cur->off;
        s->len = t->cur->len;
        s->live = t->cur->before;
    }
}

void fault_here(struct tb *t, struct em *e, unsigned fix)
{
    struct fault_entry *f;

    if (!t->cur->hw_fault)
        return;
    if (t->nfaults == TB_MAX_FAULTS) {
        t->too_big = true;
        return;
    }
    f = &t->faults[t->nfaults++];
    f->host = (uint32_t)(e->p - t->cache->w);
    f->off = t->cur->off;
    f->len = t->cur->len;
    f->live = t->cur->before;
    f->loc = t->loc == LOC_SAVED;
    f->fix = (uint8_t)fix;
}

/* ---- addresses */

/* The effective address (offset in its segment) of an explicit memory operand into ra, plus extra. Flags stay. */
void ea_to_ra(struct tb *t, const ZydisDecodedOperand *op, int32_t extra)
{
    struct em *e = &t->hot;
    int index = op->mem.index == ZYDIS_REGISTER_NONE ? H_NONE : host_gpr(op->mem.index),
        w = t->cur->z.address_width == 64;
    int base = op->mem.base == ZYDIS_REGISTER_NONE ? H_NONE : host_gpr(op->mem.base);
    int64_t disp = (op->mem.disp.has_displacement ? op->mem.disp.value : 0) + extra;
    int scale = op->mem.scale == 8 ? 3 : op->mem.scale == 4 ? 2 : op->mem.scale == 2 ? 1 : 0;

    if (op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP) {
        t_vbase(t, e, t->ra, t->cur->off + t->cur->len);
        e_mem(e, w, 0x8d, t->ra, t->ra, H_NONE, 0, (int32_t)disp);
        return;
    }
    if (base == H_NONE && index == H_NONE) {
        if (t->cur->z.address_width == 16)
            disp = (uint16_t)disp;
        if (w)
            e_mov_imm64(e, t->ra, (uint64_t)disp);
        else
            e_mov_imm(e, t->ra, (uint32_t)disp);
        return;
    }
    if (index == H_NONE && !disp)
        e_rr(e, w, 0x89, base, t->ra);
    else
        e_mem(e, w, 0x8d, t->ra, base, index, scale, (int32_t)disp);
    if (t->cur->z.address_width == 16)
        e_movzx16(e, t->ra, t->ra);
}

static bool by_page(const struct tb *t)
{
    return stack32(t) && seg_is_flat(t, S_SS);
}

/* Is the operand in the stack's segment, off ESP or off an EBP that holds a frame's address? */
static bool off_stack(const struct tb *t, const ZydisDecodedOperand *op, int *ret_base)
{
    *ret_base = op->mem.base == ZYDIS_REGISTER_NONE ? H_NONE : host_gpr(op->mem.base);
    return (*ret_base == H_RSP || (*ret_base == H_RBP && t->frame)) && t->cur->z.address_width == (t->m64 ? 64 : 32) &&
           op->mem.segment == ZYDIS_REGISTER_SS && by_page(t);
}

void ea_for_access(struct tb *t, const ZydisDecodedOperand *op, int32_t extra)
{
    int base;
    bool stack = off_stack(t, op, &base);

    if (t->cur->span >= 0) /* span_access() sees to it */
        return;
    if (stack && base == H_RSP && op->mem.index == ZYDIS_REGISTER_NONE) {
        t->near_stack = true;
        t->near_disp = (int32_t)(op->mem.disp.has_displacement ? op->mem.disp.value : 0) + extra;
        return;
    }
    ea_to_ra(t, op, extra);
    t->near_frame = stack;
}

void stack_ea(struct tb *t, int base, int32_t disp)
{
    if (t->cur->span >= 0)
        return;
    if (base == H_RSP && by_page(t)) {
        t->near_stack = true;
        t->near_disp = disp;
        return;
    }
    if (disp)
        t_lea(t, &t->hot, t->ra, base, disp);
    else
        t_mov(t, &t->hot, t->ra, base);
    if (!stack32(t))
        e_movzx16(&t->hot, t->ra, t->ra);
}

/* ---- the checked access */

/* Faults that rank before a page fault. */
static uint32_t first_checks(const struct ginsn *g, unsigned size)
{
    uint32_t v = (g->x87_waits ? SITE_X87 : 0) | (g->mmx ? SITE_MMX : 0);

    if (g->z.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
        return v | SITE_ALIGN;
    if (is_vex(g))
        return v | (vex_aligned(g) ? SITE_ALIGN : 0) | (g->z.mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH ? SITE_XM : 0);
    if (!g->sse || size != 16)
        return v;
    switch (g->z.mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
        return v;
    default:
        return v | SITE_ALIGN;
    }
}

/* Is the operand at an address of guest memory? The access itself may reach 15 bytes further, into the guard region. */
void range_check(struct tb *t, struct em *e)
{
    struct site s;
    uint8_t *bad, *good = NULL;

    e_mem(e, 1, 0x8d, t->rx, t->base, t->index, 0, t->disp);
    e_gs(e, 1, 0x2b, t->rx, H_NONE, 0, (int)offsetof(struct cpu, ram_base));
    e_gs(e, 1, 0x3b, t->rx, H_NONE, 0, (int)offsetof(struct cpu, ram_last));
    bad = e_jcc32(e, CC_A);
    if (e == &t->cold)
        good = e_jmp32(e);
    e_patch32(e, bad, t->cold.p);
    site_init(t, &s, K_HELPER);
    s.helper = HELPER_escape;
    s.rw = 1;
    e_site(t, &t->cold, &s);
    if (good)
        e_patch32(e, good, e->p);
}

uint8_t *tlb_check_to(struct tb *t, struct em *h, unsigned rw, int set)
{
    uint8_t *miss;

    t_mov(t, h, t->rb, t->ra);
    if (t->m64) {
        e_shift64(h, 5, t->rb, 12 - 4);
        e_alu_i32(h, 4, t->rb, (TLB64_SIZE - 1) << 4);
    } else
        e_shift(h, 5, t->rb, 12);
    e_rr(h, t->m64, 0x81, 4, t->rx); /* and rx, ~0xfff */
    e32(h, 0xfffff000u);
    if (t->m64) {
        e_gs(h, 1, 0x3b, t->rx, t->rb, 0, TLB64(set, rw >> 1));
        miss = e_jcc32(h, CC_NE);
        e_gs(h, 1, 0x8b, t->rb, t->rb, 0, TLB64(set, rw >> 1) + 8);
    } else {
        e_gs(h, 0, 0x3b, t->rx, t->rb, 3, TLB_TAGS(set) + (rw & 2 ? 4 : 0));
        miss = e_jcc32(h, CC_NE);
        e_gs(h, 1, 0x8b, t->rb, t->rb, 3, TLB_ADDEND(set));
    }
    return miss;
}

/* Against the TLB: rb becomes the addend. Leaves ra alone and gives back the jump to take on a miss. */
uint8_t *tlb_check_as(struct tb *t, struct em *h, unsigned size, unsigned rw, int set)
{
    if (size > 1)
        t_lea(t, h, t->rx, t->ra, (int32_t)size - 1);
    else
        t_mov(t, h, t->rx, t->ra);
    return tlb_check_to(t, h, rw, set);
}

/* rx: the distance from the stack's page. */
static uint8_t *within_page(struct tb *t, struct em *h, unsigned size)
{
    uint8_t *miss;

    e_rr(h, 1, 0x81, 7, t->rx); /* cmp rx, 4096 - size */
    e32(h, 4096 - size);
    miss = e_jcc32(h, CC_A);
    if (t->m64)
        e_gs(h, 1, 0x8b, t->rb, H_NONE, 0, CPU_R14);
    return miss;
}

uint8_t *stack_check(struct tb *t, struct em *h, unsigned size, int32_t disp)
{
    if (t->m64) {
        e_mem(h, 1, 0x8d, t->rx, H_RSP, H_NONE, 0, disp);
        e_gs(h, 1, 0x03, t->rx, H_NONE, 0, CPU_R13);
    } else
        e_mem(h, 1, 0x8d, t->rx, H_RSP, H_R13, 0, disp);
    return within_page(t, h, size);
}

/* The same for an address in ra that is thought to be in that page: where it is not, the TLB is asked. */
static uint8_t *frame_check(struct tb *t, struct em *h, unsigned size)
{
    if (t->m64) {
        e_mov64(h, t->rx, t->ra);
        e_gs(h, 1, 0x03, t->rx, H_NONE, 0, CPU_R13);
    } else
        e_mem(h, 1, 0x8d, t->rx, t->ra, H_R13, 0, 0);
    return within_page(t, h, size);
}

/* For blocks whose page is written by its own code: is ra in the page of code that was written last, at bytes that
 * hold none? */
static void mixed_check(struct tb *t, struct em *h, unsigned size, uint8_t *miss[2])
{
    int at = (int)offsetof(struct cpu, mixed) + tlb_set(t->mode) * (int)sizeof(struct mixed_page);

    e_mov64(h, t->rx, t->ra);
    e_gs(h, 1, 0x03, t->rx, H_NONE, 0, at + (int)offsetof(struct mixed_page, minus_lin));
    e_rr(h, 1, 0x81, 7, t->rx); /* cmp rx, 4096 - size */
    e32(h, 4096 - size);
    miss[0] = e_jcc32(h, CC_A);
    e_gs(h, 0, 0x80, 7, t->rx, 0, at + (int)offsetof(struct mixed_page, room)); /* cmp byte gs:[...], size */
    e8(h, size);
    miss[1] = e_jcc32(h, CC_B);
    e_gs(h, 1, 0x8b, t->rb, H_NONE, 0, at + (int)offsetof(struct mixed_page, addend));
}

static void operand_at(struct tb *t, int base, int index, int32_t disp)
{
    t->base = base;
    t->index = index;
    t->disp = disp;
}

/* The segment's base, and its limit outside of 64-bit code. Gives back the jump to a closer look, or NULL. */
static uint8_t *segment_check(struct tb *t, struct em *h, unsigned seg, unsigned size)
{
    uint8_t *fail;

    if (seg_is_flat(t, seg))
        return NULL;
    if (t->m64) {
        e_gs(h, 1, 0x03, t->ra, H_NONE, 0, CPU_SEG + (int)seg * CPU_SEG_SIZE + CPU_SEG_BASE);
        return NULL;
    }
    e_mem(h, 1, 0x8d, t->rx, t->ra, H_NONE, 0, (int32_t)size - 1);
    e_gs(h, 1, 0x3b, t->rx, H_NONE, 0, CPU_SEG + (int)seg * CPU_SEG_SIZE + CPU_SEG_LIM);
    fail = e_jcc32(h, CC_G);
    e_gs(h, 0, 0x03, t->ra, H_NONE, 0, CPU_SEG + (int)seg * CPU_SEG_SIZE + CPU_SEG_BASE);
    return fail;
}

/* In 64-bit code what C hands back is in struct cpu. */
static void reload(struct tb *t, struct em *c, int reg, int from)
{
    if (t->m64)
        e_gs(c, 1, 0x8b, reg, H_NONE, 0, from);
}

uint8_t *way_back(struct tb *t, struct em *c, uint8_t *hot)
{
    uint8_t *start = c->p, *at;

    if (!t->m64)
        return hot;
    reload(t, c, t->ra, CPU_R8);
    reload(t, c, t->rv, CPU_R11);
    at = e_jmp32(c);
    e_patch32(c, at, hot);
    return start;
}

void emit_access(struct tb *t, unsigned seg, unsigned size, unsigned rw, access_op op)
{
    struct em *h = &t->hot, *c = &t->cold;
    uint8_t *seg_fail, *miss = NULL, *retry, *twin, *cont, *seg_jmp = NULL, *at, *site;
    bool near = t->near_stack, frame = t->near_frame, mixed = t->mixed && (near || rw & 2) && size <= 64;
    bool aligned = (t->mode & M_AC) && (size == 2 || size == 4 || size == 8); /* must be, or #AC */
    uint32_t checks = first_checks(t->cur, size) | (aligned ? SITE_AC : 0);
    int set = tlb_set(t->mode);
    enum flags_loc loc, after;
    struct site s;
    uint8_t *odd = NULL, *other[2] = {NULL, NULL};

    if (t->cur->span >= 0) {
        span_access(t, op);
        return;
    }
    if (near && (aligned || mixed)) {
        t_lea(t, h, t->ra, H_RSP, t->near_disp);
        near = false;
    }
    mixed = mixed && !aligned;
    frame = frame && !aligned && !near && !mixed;
    t->near_stack = t->near_frame = false;
    if (t->cur->before)
        fl_save(t);
    seg_fail = near ? NULL : segment_check(t, h, seg, size);
    retry = h->p;
    if (near)
        operand_at(t, H_RSP, t->m64 ? t->rb : H_R14, t->near_disp);
    else
        operand_at(t, t->ra, frame && !t->m64 ? H_R14 : t->rb, 0);
    if (aligned) {
        e_rr(h, 0, 0xf7, 0, t->ra); /* test ra, size - 1 */
        e32(h, size - 1);
        odd = e_jcc32(h, CC_NE);
    }
    if (mixed)
        mixed_check(t, h, size, other);
    else if (frame)
        other[0] = other[1] = frame_check(t, h, size);
    else
        miss = near ? stack_check(t, h, size, t->near_disp) : tlb_check_as(t, h, size, rw, set);
    if (CHECKED)
        range_check(t, h);
    if (t->loc == LOC_BOTH || !t->cur->before)
        t->loc = LOC_SAVED; /* or dead */
    loc = t->loc;
    op(t, h);
    cont = h->p;
    after = t->loc;

    /* cold: the closer look at the segment, the miss, the twin */
    t->loc = loc;
    operand_at(t, t->ra, t->rb, 0);
    if (seg_fail) {
        e_patch32(h, seg_fail, c->p);
        site_init(t, &s, K_SEG);
        s.size = (uint8_t)size;
        s.rw = (uint8_t)rw;
        s.arg = seg;
        s.arg2 = checks;
        e_site(t, c, &s);
        seg_jmp = e_jmp32(c);
    }
    if (frame || mixed) { /* not where it was thought to be */
        e_patch32(h, other[0], c->p);
        e_patch32(h, other[1], c->p);
        retry = c->p;
        miss = tlb_check_as(t, c, size, rw, set);
        if (CHECKED)
            range_check(t, c);
        op(t, c);
        at = e_jmp32(c);
        e_patch32(c, at, cont);
        t->loc = loc;
    }
    bool twins = t->twins || seg_fail || (checks & (SITE_X87 | SITE_MMX | SITE_XM)) || (near && rw == 1);
    uint8_t *refill = near ? stack_routine(t) : NULL;
    uint8_t *again = way_back(t, c, retry);
    e_patch32(h, miss, c->p);
    if (odd)
        e_patch32(h, odd, c->p);
    if (near)
        t_lea(t, c, t->ra, H_RSP, t->near_disp);
    at = near ? e_stub_to(c, t->rx, refill) : e_stub_at(t, c);
    site = c->p;
    e_patch32(c, at, site);
    site_init(t, &s, K_MEM);
    s.size = (uint8_t)size;
    s.rw = (uint8_t)rw;
    s.retry = (int32_t)(again - site);
    s.arg2 = checks | (near ? SITE_STACK : 0) | (t->m64 && seg == S_SS ? SITE_SS : 0) | (twins ? SITE_TWIN : 0);
    put_site(c, &s);
    t->loc = twins ? loc : after;
    if (!twins)
        return;
    twin = c->p;
    if (seg_jmp)
        e_patch32(c, seg_jmp, twin);
    reload(t, c, t->ra, CPU_R8);
    reload(t, c, t->rb, CPU_R9);
    reload(t, c, t->rv, CPU_R11);
    op(t, c);
    if (rw & 2) {
        at = e_stub_at(t, c);
        site = c->p;
        e_patch32(c, at, site);
        site_init(t, &s, K_POST);
        s.size = (uint8_t)size;
        s.rw = (uint8_t)rw;
        put_site(c, &s);
        cont = way_back(t, c, cont);
        s.cont = (int32_t)(cont - site);
        if (!c->full)
            memcpy(site, &s, sizeof s);
    } else {
        at = e_jmp32(c);
        e_patch32(c, at, cont);
    }
}

/* ---- copies */

/* After an operation that may write flags: where they are now. */
void flags_after(struct tb *t)
{
    if (t->cur->writes)
        t->loc = LOC_HOST;
}

void flags_before(struct tb *t, struct em *e)
{
    const struct ginsn *g = t->cur;

    if (g->reads || (g->writes && (g->after & ~g->kills)))
        fl_restore(t, e);
}

const ZydisDecodedOperand *mem_operand(const struct ginsn *g)
{
    for (unsigned i = 0; i < g->z.operand_count_visible; i++)
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            return &g->op[i];
    return NULL;
}

/* Is the ModRM.reg operand one of AH, CH, DH, BH? Their encoding excludes REX. */
static bool high_byte_reg(const struct ginsn *g)
{
    for (unsigned i = 0; i < g->z.operand_count_visible; i++)
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && g->op[i].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG &&
            g->op[i].reg.value >= ZYDIS_REGISTER_AH && g->op[i].reg.value <= ZYDIS_REGISTER_BH)
            return true;
    return false;
}

static void prefixes(struct em *e, const struct ginsn *g, bool op16)
{
    const ZydisDecodedInstruction *z = &g->z;

    if (z->attributes & ZYDIS_ATTRIB_HAS_LOCK)
        e8(e, 0xf0);
    for (unsigned i = 0; i < z->raw.prefix_count; i++) {
        unsigned v = z->raw.prefixes[i].value;
        if ((v == 0xf2 || v == 0xf3) && z->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
            e8(e, v);
        if (v == 0x66 && z->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
            op16 = true;
    }
    if (op16)
        e8(e, 0x66);
}

static void opcode_bytes(struct em *e, const struct ginsn *g, unsigned rex)
{
    if (rex)
        e8(e, rex);
    switch (g->z.opcode_map) {
    case ZYDIS_OPCODE_MAP_0F:
        e8(e, 0x0f);
        break;
    case ZYDIS_OPCODE_MAP_0F38:
        e8(e, 0x0f);
        e8(e, 0x38);
        break;
    case ZYDIS_OPCODE_MAP_0F3A:
        e8(e, 0x0f);
        e8(e, 0x3a);
        break;
    default:
        break;
    }
    /* 82h is an alias of 80h that long mode does not have */
    e8(e, g->z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && g->z.opcode == 0x82 ? 0x80 : g->z.opcode);
}

/* Does the operand size come from a 66 prefix in host code? In 16-bit guest code the sense is inverted. */
static bool wants_66(const struct tb *t, const struct ginsn *g)
{
    bool has66 = false;

    for (unsigned i = 0; i < g->z.raw.prefix_count; i++)
        if (g->z.raw.prefixes[i].value == 0x66 && g->z.raw.prefixes[i].type != ZYDIS_PREFIX_TYPE_MANDATORY)
            has66 = true;
    if (!(t->mode & M_CODE32)) {
        if (g->sse || g->mmx || g->z.operand_width != 16)
            return false;
        for (unsigned i = 0; i < g->z.operand_count; i++) /* CBW and CWD name theirs only implicitly */
            if (g->op[i].size == 16 && g->op[i].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
                return g->z.meta.category != ZYDIS_CATEGORY_X87_ALU;
        return false;
    }
    return has66 && g->z.operand_width == 16;
}

void imm_bytes(struct em *e, const struct ginsn *g)
{
    for (unsigned i = 0; i < 2; i++)
        for (unsigned k = 0; k < g->z.raw.imm[i].size / 8u; k++)
            e8(e, g->bytes[g->z.raw.imm[i].offset + k]);
}

/* The instruction itself, its memory operand where base, index and disp say. */
void copy_op(struct tb *t, struct em *e)
{
    const struct ginsn *g = t->cur;
    const ZydisDecodedOperand *m = mem_operand(g);
    bool borrow = m && high_byte_reg(g), moffs = !(g->z.attributes & ZYDIS_ATTRIB_HAS_MODRM);
    unsigned rex = g->z.attributes & ZYDIS_ATTRIB_HAS_REX
                       ? 0x40u | g->z.raw.rex.W << 3 | g->z.raw.rex.R << 2 | g->z.raw.rex.X << 1 | g->z.raw.rex.B
                       : 0;

    if (is_vex(g)) {
        vex_op(t, e);
        return;
    }
    flags_before(t, e);
    if (borrow) {
        e_mov64(e, t->rx, H_RDI);
        e_mem(e, 1, 0x8d, H_RDI, t->base, t->index, 0, t->disp);
    }
    fault_here(t, e, borrow ? FIX_RDI : FIX_NONE);
    prefixes(e, g, wants_66(t, g));
    if (!m) {
        if (!t->m64 && g->z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && g->z.opcode >= 0x40 && g->z.opcode <= 0x4f) {
            e8(e, 0xff); /* INC and DEC: their short forms are REX here */
            e8(e, 0xc0 | (g->z.opcode & 15));
        } else {
            opcode_bytes(e, g, rex);
            if (g->z.attributes & ZYDIS_ATTRIB_HAS_MODRM)
                e8(e, g->bytes[g->z.raw.modrm.offset]);
            imm_bytes(e, g);
        }
    } else if (moffs && g->z.mnemonic == ZYDIS_MNEMONIC_MOV) { /* A0..A3: accumulator and an offset */
        e_mem(e, g->z.operand_width == 64, (g->z.opcode & 1) | (g->z.opcode & 2 ? 0x88 : 0x8a), H_RAX, t->base,
              t->index, 0, t->disp);
    } else {
        opcode_bytes(e, g, borrow ? 0 : (rex & 0x4c) | 0x40 | e_rex_mem(0, 0, t->base, t->index));
        if (borrow)
            e8(e, (unsigned)g->z.raw.modrm.reg << 3 | 7);
        else
            e_modrm_mem(e, (int)(g->z.raw.modrm.reg & 7), t->base, t->index, 0, t->disp);
        imm_bytes(e, g);
    }
    if (borrow)
        e_mov64(e, H_RDI, t->rx);
    flags_after(t);
}

/* The x87's data pointer is the operand's offset: never the host's address. */
static void note_operand(struct tb *t)
{
    if (t->near_stack)
        t_lea(t, &t->hot, t->ra, H_RSP, t->near_disp);
    e_gs(&t->hot, 1, 0x89, t->ra, H_NONE, 0, (int)offsetof(struct cpu, fdp));
}

void emit_copy(struct tb *t)
{
    const ZydisDecodedOperand *m = mem_operand(t->cur);

    if (!m || m->mem.type == ZYDIS_MEMOP_TYPE_AGEN) {
        copy_op(t, &t->hot);
        return;
    }
    unsigned rw =
        (m->actions & ZYDIS_OPERAND_ACTION_MASK_READ ? 1 : 0) | (m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? 2 : 0);
    unsigned size = m->size / 8;
    if (t->cur->z.mnemonic == ZYDIS_MNEMONIC_CLFLUSH || t->cur->z.mnemonic == ZYDIS_MNEMONIC_CLFLUSHOPT ||
        t->cur->z.mnemonic == ZYDIS_MNEMONIC_CLWB)
        size = 1, rw = 1;
    ea_for_access(t, m, 0);
    if (t->cur->x87_waits && !t->cur->sse && !t->cur->mmx && t->cur->z.mnemonic != ZYDIS_MNEMONIC_FLDCW)
        note_operand(t);
    emit_access(t, seg_index(m->mem.segment), size ? size : 1, rw ? rw : 1, copy_op);
}

/* ---- helpers */

void emit_helper(struct tb *t, unsigned helper, const ZydisDecodedOperand *mem, uint32_t arg, uint32_t arg2, bool ends)
{
    struct em *h = &t->hot, *c = &t->cold;
    struct site s;
    uint8_t *at;

    if (t->cur->before)
        fl_save(t);
    if (mem)
        ea_to_ra(t, mem, 0);
    at = e_stub_at(t, h);
    e_patch32(h, at, c->p);
    site_init(t, &s, K_HELPER);
    s.helper = (uint8_t)helper;
    s.rw = ends;
    s.cont = (int32_t)(h->p - c->p);
    s.arg = arg;
    s.arg2 = arg2;
    put_site(c, &s);
    t->loc = LOC_SAVED;
    if (ends)
        t->open = false;
}

void emit_raise(struct tb *t, unsigned vector)
{
    emit_helper(t, (unsigned)helper_index("raise"), NULL, vector, 0, true);
}
