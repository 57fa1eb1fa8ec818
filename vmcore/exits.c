/* How a block ends: direct jumps (chained), jumps to other pages (chained under two checks), indirect ones (looked up
 * inline), and the poll. Every cycle of blocks passes a poll: at backward jumps, page changes and indirect jumps. */
#include "vmcore/tb.h"

static uint8_t *stub_site(struct tb *t, struct em *e, struct site *s)
{
    uint8_t *at = e_stub(e), *site = e->p;

    e_patch32(e, at, site);
    put_site(e, s);
    return site;
}

static void poll(struct tb *t, int32_t toff, uint8_t live)
{
    struct em *h = &t->hot, *c = &t->cold;
    struct site s;
    uint8_t *at;

    e8(h, 0x65); /* cmp dword gs:[attn], 0 */
    e8(h, 0x83);
    e_modrm_mem(h, 7, H_NONE, H_NONE, 0, CPU_ATTN);
    e8(h, 0);
    at = e_jcc32(h, CC_NE);
    e_patch32(h, at, c->p);
    site_init(t, &s, K_POLL);
    s.arg = (uint32_t)toff;
    s.live = live;
    stub_site(t, c, &s);
}

static void add_link(struct tb *t, uint8_t *jump, uint8_t *cold, uint8_t *check)
{
    if (t->nlinks == TB_MAX_LINKS) {
        t->too_big = true;
        return;
    }
    t->links[t->nlinks].jump = jump;
    t->links[t->nlinks].cold = cold;
    t->links[t->nlinks++].check = check;
}

/* A jump inside the page whose displacement is at `at`: flags in RFLAGS. The site's arg2 is the link's number. */
static void chain(struct tb *t, uint8_t *at, int32_t toff, uint8_t live)
{
    struct em *c = &t->cold;
    struct site s;
    uint8_t *cold = c->p;

    e_patch32(&t->hot, at, cold);
    site_init(t, &s, K_CHAIN);
    s.arg = (uint32_t)toff;
    s.arg2 = t->nlinks;
    s.live = live;
    stub_site(t, c, &s);
    add_link(t, at, cold, NULL);
}

static void xpage(struct tb *t, int32_t toff, uint8_t live)
{
    struct em *h = &t->hot, *c = &t->cold;
    int user = (t->mode & M_CPL) == 3;
    uint8_t *check, *miss, *jump, *cold;
    struct site s;

    if (live)
        fl_save(t);
    poll(t, toff, live);
    if (toff & ~0xfff)
        e_lea(h, H_R15, H_R15, toff & ~0xfff);
    e_mov(h, H_R8, H_R15);
    e_shift(h, 5, H_R8, 12);
    e8(h, 0x65); /* cmp dword gs:[code + r8*4], imm32 */
    e8(h, 0x42);
    e8(h, 0x81);
    e_modrm_mem(h, 7, H_NONE, H_R8, 2, TLB_CODE(user));
    e32(h, 0xffffffffu);
    check = h->p - 4;
    miss = e_jcc32(h, CC_NE);
    jump = e_jmp32(h);
    cold = c->p;
    e_patch32(h, miss, cold);
    e_patch32(h, jump, cold);
    site_init(t, &s, K_XPAGE);
    s.arg = (uint32_t)toff & 0xfff;
    s.arg2 = t->nlinks;
    s.live = live;
    stub_site(t, c, &s);
    add_link(t, jump, cold, check);
}

static bool in_page(const struct tb *t, int32_t toff)
{
    return toff >= 0 && toff < 4096;
}

void exit_next(struct tb *t, int32_t off, uint8_t live)
{
    struct site s;
    uint8_t *at;

    if (live)
        fl_save(t);
    at = e_stub(&t->hot);
    e_patch32(&t->hot, at, t->cold.p);
    site_init(t, &s, K_NEXT);
    s.arg = (uint32_t)off;
    s.live = live;
    put_site(&t->cold, &s);
}

void exit_direct(struct tb *t, int32_t toff, uint8_t live)
{
    struct em *h = &t->hot;

    if ((t->mode & M_STEP) || !(t->mode & M_CS_FLAT) || !(t->mode & M_CODE32)) {
        exit_next(t, toff, live);
        return;
    }
    if (!in_page(t, toff)) {
        xpage(t, toff, live);
        return;
    }
    if (toff <= t->cur->off) {
        if (live)
            fl_save(t);
        poll(t, toff, live);
        if (live) {
            t->loc = LOC_SAVED; /* the poll's compare took them */
            fl_restore(t, h);
        }
    } else if (live)
        fl_restore(t, h);
    chain(t, e_jmp32(h), toff, live);
}

/* The lookup in the jump hash: r11d = EIP, flags in r12. Stands at each indirect jump, so that the host predicts each
 * by itself; gives back the jumps to take on a miss. */
static void lookup(struct tb *t, struct em *c, uint8_t *miss[4])
{
    int user = (t->mode & M_CPL) == 3, jh = (int)offsetof(struct cpu, jh);

    e8(c, 0x65); /* cmp dword gs:[attn], 0 */
    e8(c, 0x83);
    e_modrm_mem(c, 7, H_NONE, H_NONE, 0, CPU_ATTN);
    e8(c, 0);
    miss[0] = e_jcc32(c, CC_NE);
    e_mov(c, H_R8, H_R11);
    e_shift(c, 5, H_R8, 10);
    e_rr(c, 0, 0x31, H_R11, H_R8); /* xor r8d, r11d */
    e_alu_i32(c, 4, H_R8, (1u << JH_BITS) - 1);
    e_shift(c, 4, H_R8, 5);
    _Static_assert(sizeof(struct jump_hash) == 32, "the shift above");
    e_gs(c, 0, 0x3b, H_R11, H_R8, 0, jh + (int)offsetof(struct jump_hash, eip));
    miss[1] = e_jcc32(c, CC_NE);
    e8(c, 0x65); /* cmp dword gs:[r8 + mode], imm32 */
    e8(c, 0x42);
    e8(c, 0x81);
    e_modrm_mem(c, 7, H_NONE, H_R8, 0, jh + (int)offsetof(struct jump_hash, mode));
    e32(c, t->mode);
    miss[2] = e_jcc32(c, CC_NE);
    e_mov(c, H_R9, H_R11);
    e_shift(c, 5, H_R9, 12);
    e_gs(c, 0, 0x8b, H_R9, H_R9, 2, TLB_CODE(user));
    e_gs(c, 0, 0x3b, H_R9, H_R8, 0, jh + (int)offsetof(struct jump_hash, backing));
    miss[3] = e_jcc32(c, CC_NE);
    e_gs(c, 0, 0x8b, H_R15, H_R8, 0, jh + (int)offsetof(struct jump_hash, vbase));
    e_gs(c, 0, 0xff, 4, H_R8, 0, jh + (int)offsetof(struct jump_hash, code));
}

/* Where a lookup's misses go: to C. One a mode. */
static uint8_t *lookup_missed(struct tb *t)
{
    struct em *c = &t->cold;
    struct cache *k = t->cache;
    uint8_t *start;
    struct site s;

    for (uint32_t i = 0; i < k->nibl; i++)
        if (k->ibl_mode[i] == t->mode)
            return k->w + k->ibl[i];
    start = c->p;
    struct ginsn *cur = t->cur;
    t->cur = NULL;
    site_init(t, &s, K_INDIRECT);
    t->cur = cur;
    s.live = FL_ALL;
    stub_site(t, c, &s);
    if (k->nibl < 64 && !c->full) {
        k->ibl_mode[k->nibl] = t->mode;
        k->ibl[k->nibl++] = (uint32_t)(start - k->w);
    }
    return start;
}

/* Finds the page of an access off ESP in the TLB, if it may be written, and puts it into r13 and r14; else, and where
 * the access crosses pages, to the stub. r8 = address, r10 = the site. */
uint8_t *stack_routine(struct tb *t)
{
    struct em *c = &t->cold;
    struct cache *k = t->cache;
    int user = (t->mode & M_CPL) == 3;
    uint8_t *start, *cross, *miss;

    if (k->stack_refill[user])
        return k->w + k->stack_refill[user];
    start = c->p;
    e_mem(c, 0, 0x0fb6, H_R9, H_R10, H_NONE, 0, (int)offsetof(struct site, size));
    e_mem(c, 0, 0x8d, H_R9, H_R9, H_R8, 0, -1);
    e_rr(c, 0, 0x31, H_R8, H_R9);
    e_rr(c, 0, 0xf7, 0, H_R9); /* test r9d, ~0xfff */
    e32(c, 0xfffff000u);
    cross = e_jcc32(c, CC_NE);
    e_mov(c, H_R9, H_R8);
    e_shift(c, 5, H_R9, 12);
    e_mov(c, H_R13, H_R8);
    e_alu_i32(c, 4, H_R13, 0xfffff000u);
    e_gs(c, 0, 0x3b, H_R13, H_R9, 3, TLB_TAGS(user) + 4);
    miss = e_jcc32(c, CC_NE);
    e_gs(c, 1, 0x8b, H_R14, H_R9, 3, TLB_ADDEND(user));
    e_rr(c, 1, 0xf7, 3, H_R13);                                                   /* neg r13 */
    e_mem(c, 1, 0x63, H_R9, H_R10, H_NONE, 0, (int)offsetof(struct site, retry)); /* movsxd */
    e_rr(c, 1, 0x01, H_R9, H_R10);
    e_rr(c, 0, 0xff, 4, H_R10);
    e_patch32(c, miss, c->p);
    e8(c, 0x49); /* mov r13, CPU_NO_STACK */
    e8(c, 0xbd);
    e32(c, 0);
    e32(c, CPU_NO_STACK >> 32);
    e_patch32(c, cross, c->p);
    e_gs(c, 0, 0xff, 4, H_NONE, 0, CPU_STUB);
    if (!c->full)
        k->stack_refill[user] = (uint32_t)(start - k->w);
    return start;
}

void exit_indirect(struct tb *t)
{
    struct em *h = &t->hot;
    struct site s;
    uint8_t *at;

    fl_save(t);
    if ((t->mode & M_STEP) || !(t->mode & M_CS_FLAT) || !(t->mode & M_CODE32)) {
        at = e_stub(h);
        e_patch32(h, at, t->cold.p);
        site_init(t, &s, K_INDIRECT);
        s.live = FL_ALL;
        put_site(&t->cold, &s);
    } else {
        uint8_t *missed = lookup_missed(t), *miss[4];
        lookup(t, h, miss);
        for (int i = 0; i < 4; i++)
            e_patch32(h, miss[i], missed);
    }
    t->open = false;
}

/* A conditional side exit: jcc taken to toff. The flags are in RFLAGS and stay there on the way that goes on. */
static void side_exit(struct tb *t, unsigned cc, int32_t toff)
{
    struct em *h = &t->hot;
    uint8_t live = t->cur->taken_live;

    fl_restore(t, h);
    if (!(t->mode & M_STEP) && (t->mode & M_CS_FLAT) && (t->mode & M_CODE32) && in_page(t, toff) &&
        toff > t->cur->off) {
        chain(t, e_jcc32(h, cc), toff, live);
        return;
    }
    enum flags_loc loc = t->loc;
    uint8_t *skip = e_jcc32(h, cc ^ 1);
    exit_direct(t, toff, live);
    e_patch32(h, skip, h->p);
    t->loc = loc;
}

static int32_t target(const struct tb *t)
{
    const struct ginsn *g = t->cur;

    return (int32_t)(g->off + g->len + (uint32_t)g->z.raw.imm[0].value.s);
}

/* With a 16-bit operand size EIP is cut to 16 bits: through the indirect way. */
static bool short_eip(const struct ginsn *g)
{
    return g->z.operand_width == 16;
}

static void exit_short(struct tb *t, int32_t toff)
{
    e_lea(&t->hot, H_R11, H_R15, toff);
    e_movzx16(&t->hot, H_R11, H_R11);
    exit_indirect(t);
}

void emit_JCC(struct tb *t)
{
    struct ginsn *g = t->cur;
    unsigned cc = g->z.opcode & 15;

    if (short_eip(g)) {
        fl_restore(t, &t->hot);
        enum flags_loc loc = t->loc;
        uint8_t *skip = e_jcc32(&t->hot, cc ^ 1);
        exit_short(t, target(t));
        e_patch32(&t->hot, skip, t->hot.p);
        t->loc = loc;
        t->open = true;
        return;
    }
    side_exit(t, cc, target(t));
}

/* JCXZ and LOOP test a count without flags: JRCXZ over a copy where it is 16 bits wide. */
static void count_branch(struct tb *t, uint8_t **ret_zero)
{
    struct em *h = &t->hot;

    if (t->cur->z.address_width == 16) {
        e_mov64(h, H_R10, H_RCX);
        e_movzx16(h, H_RCX, H_RCX);
    }
    *ret_zero = e_jcc8(h, 0xe3);
    if (t->cur->z.address_width == 16)
        e_mov64(h, H_RCX, H_R10);
}

static void leave_to(struct tb *t, int32_t toff)
{
    bool open = t->open;

    if (short_eip(t->cur))
        exit_short(t, toff);
    else
        exit_direct(t, toff, t->cur->taken_live);
    t->open = open;
}

void emit_JCXZ(struct tb *t)
{
    struct em *h = &t->hot;
    uint8_t *zero, *skip;
    enum flags_loc loc = t->loc;

    count_branch(t, &zero);
    skip = e_jmp32(h);
    e_patch8(h, zero, h->p);
    if (t->cur->z.address_width == 16)
        e_mov64(h, H_RCX, H_R10);
    leave_to(t, target(t));
    e_patch32(h, skip, h->p);
    t->loc = loc;
}

void emit_LOOP(struct tb *t)
{
    struct em *h = &t->hot;
    uint8_t *zero, *skip, *cond = NULL, *over;
    enum flags_loc loc;

    if (t->cur->z.mnemonic != ZYDIS_MNEMONIC_LOOP)
        fl_restore(t, h);
    loc = t->loc;
    if (t->cur->z.address_width == 16) {
        e_lea(h, H_R10, H_RCX, -1);
        e8(h, 0x66);
        e_rr(h, 0, 0x89, H_R10, H_RCX);
    } else
        e_lea(h, H_RCX, H_RCX, -1);
    if (t->cur->z.mnemonic != ZYDIS_MNEMONIC_LOOP)
        cond = e_jcc32(h, t->cur->z.mnemonic == ZYDIS_MNEMONIC_LOOPE ? CC_NE : CC_E);
    count_branch(t, &zero);
    over = e_jmp32(h);
    e_patch8(h, zero, h->p);
    if (t->cur->z.address_width == 16)
        e_mov64(h, H_RCX, H_R10);
    skip = e_jmp32(h);
    e_patch32(h, over, h->p);
    leave_to(t, target(t));
    e_patch32(h, skip, h->p);
    if (cond)
        e_patch32(h, cond, h->p);
    t->loc = loc;
}

static bool is_far(const struct ginsn *g)
{
    return g->z.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || g->op[0].type == ZYDIS_OPERAND_TYPE_POINTER;
}

/* Far transfers: arg = operand size | 1 << 8 where the pointer is in memory | segment << 16. */
static void far_transfer(struct tb *t, const char *helper)
{
    const struct ginsn *g = t->cur;
    const ZydisDecodedOperand *m = g->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY ? &g->op[0] : NULL;
    uint32_t size = g->z.operand_width / 8u;

    if (m)
        emit_helper(t, (unsigned)helper_index(helper), m, size | 1u << 8 | seg_index(m->mem.segment) << 16, 0, true);
    else
        emit_helper(t, (unsigned)helper_index(helper), NULL, size | (uint32_t)g->op[0].ptr.segment << 16,
                    (uint32_t)g->op[0].ptr.offset, true);
}

static void load_r11(struct tb *t, struct em *e)
{
    if (t->acc_size == 2)
        e_mem(e, 0, 0x0fb7, H_R11, t->base, t->index, 0, t->disp);
    else
        e_mem(e, 0, 0x8b, H_R11, t->base, t->index, 0, t->disp);
}

/* The target of a near indirect JMP or CALL into r11d. */
static void target_to_r11(struct tb *t)
{
    const ZydisDecodedOperand *o = &t->cur->op[0];

    t->acc_size = t->cur->z.operand_width == 16 ? 2 : 4;
    if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
        ea_for_access(t, o, 0);
        emit_access(t, seg_index(o->mem.segment), t->acc_size, 1, load_r11);
    } else if (t->acc_size == 2)
        e_movzx16(&t->hot, H_R11, host_gpr(o->reg.value));
    else
        e_mov(&t->hot, H_R11, host_gpr(o->reg.value));
}

void emit_JMP(struct tb *t)
{
    const struct ginsn *g = t->cur;

    if (is_far(g)) {
        far_transfer(t, "jmp_far");
    } else if (g->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        if (short_eip(g))
            exit_short(t, target(t));
        else
            exit_direct(t, target(t), g->taken_live);
    } else {
        target_to_r11(t);
        exit_indirect(t);
    }
    t->open = false;
}

static void store_return(struct tb *t, struct em *e)
{
    e_lea(e, H_R10, H_R15, t->cur->off + t->cur->len);
    if (t->acc_size == 2)
        e8(e, 0x66);
    e_mem(e, 0, 0x89, H_R10, t->base, t->index, 0, t->disp);
}

static void stack_commit(struct tb *t, int32_t disp)
{
    if (stack32(t)) {
        e_lea(&t->hot, H_RSP, H_RSP, disp);
        return;
    }
    e_lea(&t->hot, H_R10, H_RSP, disp);
    e8(&t->hot, 0x66);
    e_rr(&t->hot, 0, 0x89, H_R10, H_RSP);
}

void emit_CALL(struct tb *t)
{
    const struct ginsn *g = t->cur;
    int size = g->z.operand_width == 16 ? 2 : 4;

    if (is_far(g)) {
        far_transfer(t, "call_far");
        t->open = false;
        return;
    }
    if (g->op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
        target_to_r11(t);
    t->acc_size = (unsigned)size;
    stack_ea(t, H_RSP, -size);
    emit_access(t, S_SS, (unsigned)size, 2, store_return);
    stack_commit(t, -size);
    if (g->op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
        exit_indirect(t);
    else if (short_eip(g))
        exit_short(t, target(t));
    else
        exit_direct(t, target(t), g->taken_live);
    t->open = false;
}

void emit_RET(struct tb *t)
{
    const struct ginsn *g = t->cur;
    int32_t size = g->z.operand_width == 16 ? 2 : 4;
    int32_t drop = g->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? (int32_t)(g->op[0].imm.value.u & 0xffff) : 0;

    if (is_far(g)) {
        emit_helper(t, (unsigned)helper_index("ret_far"), NULL, (uint32_t)size, (uint32_t)drop, true);
        return;
    }
    t->acc_size = (unsigned)size;
    stack_ea(t, H_RSP, 0);
    emit_access(t, S_SS, (unsigned)size, 1, load_r11);
    stack_commit(t, size + drop);
    exit_indirect(t);
}
