/* How a block ends: direct jumps (chained), jumps to other pages (chained under two checks), indirect ones (looked up
 * inline), and the poll. Every cycle of blocks passes a poll: at backward jumps, page changes and indirect jumps. */
#include "vmcore/tb.h"

bool exit_chained(const struct tb *t)
{
    return !(t->mode & M_STEP) && (t->mode & M_CS_FLAT) && (t->mode & M_CODE32);
}

/* To another block of the same page? */
static bool chained_here(const struct tb *t)
{
    return exit_chained(t) || (t->mode & (M_STEP | M_CS_PAGE)) == M_CS_PAGE;
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
    e_site(t, c, &s);
}

void tb_link(struct tb *t, uint8_t *jump, uint8_t *cold, uint8_t *site, uint8_t *check)
{
    if (t->nlinks == TB_MAX_LINKS) {
        t->too_big = true;
        return;
    }
    t->links[t->nlinks].cold = cold;
    t->links[t->nlinks].site = site;
    t->links[t->nlinks].jump = jump;
    t->links[t->nlinks].way = NULL;
    t->links[t->nlinks++].check = check;
}

/* The cold side of a jump to another block that stands at `at`: its site, whose arg2 becomes the link's place, once it
 * has one. */
static void add_link(struct tb *t, uint8_t *at, struct site *s, uint8_t *check)
{
    struct em *c = &t->cold;
    uint8_t *cold = c->p;

    e_site(t, c, s);
    e_patch32(&t->hot, at, cold);
    tb_link(t, at, cold, c->p - sizeof *s, check);
}

/* Between blocks of two plans: behind 64-bit code there is room for each link's way. */
void exit_ways(struct tb *t)
{
    for (unsigned i = 0; t->m64 && i < t->nlinks; i++) {
        uint8_t *jump;
        t->links[i].way = t->hot.p;
        plan_restore(t, &t->hot);
        jump = e_jmp32(&t->hot);
        e_patch32(&t->hot, jump, t->links[i].way);
    }
}

/* A jump inside the page whose displacement is at `at`: flags in RFLAGS. */
static void chain(struct tb *t, uint8_t *at, int32_t toff, uint8_t live)
{
    struct site s;

    site_init(t, &s, K_CHAIN);
    s.arg = (uint32_t)toff;
    s.live = live;
    add_link(t, at, &s, NULL);
}

/* Is the page at vbase in the code TLB, with a backing page to be filled in? Gives back where, and the jumps to take
 * where not. */
static uint8_t *code_check(struct tb *t, uint8_t *miss[2])
{
    struct em *h = &t->hot;
    int user = (t->mode & M_CPL) == 3;

    if (!t->m64) {
        e_mov(h, t->ra, H_R15);
        e_shift(h, 5, t->ra, 12);
        e8(h, 0x65); /* cmp dword gs:[code + ra*4], imm32 */
        e8(h, 0x42);
        e8(h, 0x81);
        e_modrm_mem(h, 7, H_NONE, t->ra, 2, TLB_CODE(user));
        e32(h, 0xffffffffu);
        miss[0] = miss[1] = e_jcc32(h, CC_NE);
        return miss[0] - 6;
    }
    e_mov64(h, t->ra, t->rx);
    e_shift64(h, 5, t->ra, 12 - 4);
    e_alu_i32(h, 4, t->ra, (TLB64_SIZE - 1) << 4);
    e_gs(h, 1, 0x3b, t->rx, t->ra, 0, TLB64_CODE(user));
    miss[0] = e_jcc32(h, CC_NE);
    e8(h, 0x65); /* cmp dword gs:[code + 8 + ra], imm32 */
    if (t->ra & 8)
        e8(h, 0x42);
    e8(h, 0x81);
    e_modrm_mem(h, 7, H_NONE, t->ra, 0, TLB64_CODE(user) + 8);
    e32(h, 0xffffffffu);
    miss[1] = e_jcc32(h, CC_NE);
    return miss[1] - 6;
}

/* Does the block leave for toff by a branch, not by running on? */
static bool is_branch_to(const struct ginsn *g, int32_t toff)
{
    return g->z.raw.imm[0].is_relative && toff != g->off + g->len;
}

static void xpage(struct tb *t, int32_t toff, uint8_t live)
{
    struct em *h = &t->hot;
    uint8_t *check, *miss[2], *jump;
    struct site s;

    if (live)
        fl_save(t);
    poll(t, toff, live);
    if (t->m64) {
        t_vbase(t, h, t->rx, toff & ~0xfff);
        if (toff & ~0xfff)
            e_gs(h, 1, 0x89, t->rx, H_NONE, 0, CPU_R15);
    } else if (toff & ~0xfff)
        e_lea(h, H_R15, H_R15, toff & ~0xfff);
    check = code_check(t, miss);
    jump = e_jmp32(h);
    site_init(t, &s, K_XPAGE);
    s.arg = (uint32_t)toff & 0xfff;
    s.rw = is_branch_to(t->cur, toff);
    s.retry = toff & ~0xfff; /* how far vbase has moved */
    s.cont = t->cur->row->emit == emit_CALL ? -(int32_t)(t->cur->z.operand_width / 8) : 0;
    s.live = live;
    e_patch32(h, miss[0], t->cold.p);
    e_patch32(h, miss[1], t->cold.p);
    add_link(t, jump, &s, check);
}

static bool in_page(const struct tb *t, int32_t toff)
{
    return toff >= 0 && toff < 4096;
}

void exit_next(struct tb *t, int32_t off, uint8_t live)
{
    const struct ginsn *g = t->cur;
    struct site s;
    uint8_t *at;

    if (live)
        fl_save(t);
    at = e_stub_at(t, &t->hot);
    e_patch32(&t->hot, at, t->cold.p);
    site_init(t, &s, K_NEXT);
    s.arg = (uint32_t)off;
    s.live = live;
    if (is_branch_to(g, off)) { /* it faults itself: see on_next() */
        s.rw = 1;
        s.arg2 = g->row->emit == emit_CALL ? 0u - g->z.operand_width / 8u : 0;
    }
    put_site(&t->cold, &s);
}

void exit_direct(struct tb *t, int32_t toff, uint8_t live)
{
    struct em *h = &t->hot;

    if (!(in_page(t, toff) ? chained_here(t) : exit_chained(t))) {
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

static void attn_check(struct em *c, uint8_t **miss)
{
    e8(c, 0x65); /* cmp dword gs:[attn], 0 */
    e8(c, 0x83);
    e_modrm_mem(c, 7, H_NONE, H_NONE, 0, CPU_ATTN);
    e8(c, 0);
    *miss = e_jcc32(c, CC_NE);
}

/* cmp dword gs:[ra + at], imm32 */
static void cmp_imm(struct tb *t, struct em *c, int32_t at, uint32_t imm)
{
    e8(c, 0x65);
    if (t->ra & 8)
        e8(c, 0x42);
    e8(c, 0x81);
    e_modrm_mem(c, 7, H_NONE, t->ra, 0, at);
    e32(c, imm);
}

/* The page of the EIP in rv by the code TLB, as the jump hash has it, into rb. Takes rx. */
static uint8_t *page_of(struct tb *t, struct em *c)
{
    int user = (t->mode & M_CPL) == 3;
    uint8_t *miss;

    if (!t->m64) {
        e_mov(c, t->rb, t->rv);
        e_shift(c, 5, t->rb, 12);
        e_gs(c, 0, 0x8b, t->rb, t->rb, 2, TLB_CODE(user));
        return NULL; /* no entry is of page 0 */
    }
    e_mov64(c, t->rx, t->rv);
    e_rr(c, 1, 0x81, 4, t->rx); /* and rx, ~0xfff */
    e32(c, 0xfffff000u);
    e_mov64(c, t->rb, t->rx);
    e_shift64(c, 5, t->rb, 12 - 4);
    e_alu_i32(c, 4, t->rb, (TLB64_SIZE - 1) << 4);
    e_gs(c, 1, 0x3b, t->rx, t->rb, 0, TLB64_CODE(user));
    miss = e_jcc32(c, CC_NE);
    e_gs(c, 0, 0x8b, t->rb, t->rb, 0, TLB64_CODE(user) + 8);
    return miss;
}

/* The entry of the jump hash for that page and EIP, as an offset in ra; and is it theirs? Takes rx. */
static void hash_check(struct tb *t, struct em *c, uint8_t *miss[3])
{
    int jh = (int)offsetof(struct cpu, jh);

    e_mov(c, t->rx, t->rv);
    e_alu_i32(c, 4, t->rx, 0xfff);
    e_rr(c, 0, 0x69, t->ra, t->rb); /* imul ra, rb, JH_FACTOR */
    e32(c, JH_FACTOR);
    e_shift(c, 5, t->ra, 32 - JH_BITS);
    e_rr(c, 0, 0x31, t->rx, t->ra); /* xor ra, rx */
    e_shift(c, 4, t->ra, 5);
    _Static_assert(sizeof(struct jump_hash) == 32, "the shift above");
    e_gs(c, 0, 0x3b, t->rb, t->ra, 0, jh + (int)offsetof(struct jump_hash, backing));
    miss[0] = e_jcc32(c, CC_NE);
    e_gs(c, 0, 0x3b, t->rx, t->ra, 0, jh + (int)offsetof(struct jump_hash, off));
    miss[1] = e_jcc32(c, CC_NE);
    cmp_imm(t, c, jh + (int)offsetof(struct jump_hash, mode), t->mode);
    miss[2] = e_jcc32(c, CC_NE);
}

static int near_table(const struct tb *t)
{
    return (int)offsetof(struct cpu, near) + near_set(t->mode) * (int)sizeof((struct cpu *)0)->near[0];
}

/* The entry of the near table for EIP in rv, as an offset in reg: near_slot(). */
static void near_index(struct tb *t, struct em *c, int reg)
{
    e_mov(c, reg, t->rv);
    e_alu_i32(c, 4, reg, (NEAR_SIZE - 1) << 3);
    e_shift(c, 4, reg, 2);
    _Static_assert(sizeof(struct jump_near) == 32, "the shift above");
}

/* Copies 8 bytes of the hash's entry at ra to the near table's at rx. */
static void near_copy(struct tb *t, struct em *c, size_t from, size_t to)
{
    e_gs(c, 1, 0x8b, t->rb, t->ra, 0, (int)(offsetof(struct cpu, jh) + from));
    e_gs(c, 1, 0x89, t->rb, t->rx, 0, near_table(t) + (int)to);
}

/* On to the EIP in rv by the near table's entry at ra. */
static void near_jump(struct tb *t, struct em *c)
{
    int at = near_table(t);
    uint8_t *other;

    if (!t->m64) {
        e_mov(c, H_R15, t->rv);
        e_alu_i32(c, 4, H_R15, 0xfffff000u);
        e_gs(c, 0, 0xff, 4, t->ra, 0, at + (int)offsetof(struct jump_near, code));
        return;
    }
    e_mov64(c, t->rx, t->rv);
    e_rr(c, 1, 0x81, 4, t->rx); /* and rx, ~0xfff */
    e32(c, 0xfffff000u);
    e_gs(c, 1, 0x89, t->rx, H_NONE, 0, CPU_R15);
    cmp_imm(t, c, at + (int)offsetof(struct jump_near, plan), t->plan); /* then what is spilled may stay so */
    other = e_jcc8(c, 0x75);
    e_gs(c, 0, 0xff, 4, t->ra, 0, at + (int)offsetof(struct jump_near, spilled));
    e_patch8(c, other, c->p);
    e_gs(c, 1, 0x8b, t->rb, t->ra, 0, at + (int)offsetof(struct jump_near, code));
    e_gs(c, 1, 0x89, t->rb, H_NONE, 0, CPU_GO);
    plan_restore(t, c);
    e_gs(c, 0, 0xff, 4, H_NONE, 0, CPU_GO);
}

/* Where the near table has nothing: from the jump hash into it; else to the stub. rx = the site, rv = EIP. */
static uint8_t *jump_routine(struct tb *t)
{
    struct em *c = &t->cold;
    uint64_t key = SHARED_JUMP | t->plan | (uint64_t)t->mode << 16;
    uint32_t at = cache_shared(t->cache, key);
    uint8_t *start, *miss[5], *leave = t->m64 ? plan_leave(t) : NULL, *jump;
    int filled =
        (int)offsetof(struct cpu, near_filled) + near_set(t->mode) * (int)sizeof((struct cpu *)0)->near_filled[0];

    if (at)
        return t->cache->w + at;
    start = c->p;
    e_gs(c, 1, 0x89, t->rx, H_NONE, 0, CPU_R10);
    attn_check(c, &miss[0]);
    miss[1] = page_of(t, c);
    hash_check(t, c, miss + 2);
    near_index(t, c, t->rx);
    e_gs(c, 1, 0x89, t->rv, t->rx, 0, near_table(t) + (int)offsetof(struct jump_near, eip));
    near_copy(t, c, offsetof(struct jump_hash, plan), offsetof(struct jump_near, plan));
    near_copy(t, c, offsetof(struct jump_hash, code), offsetof(struct jump_near, code));
    if (t->m64) { /* rb: the same code */
        e_gs(c, 1, 0x63, t->ra, t->ra, 0, (int)(offsetof(struct cpu, jh) + offsetof(struct jump_hash, spilled)));
        e_rr(c, 1, 0x01, t->ra, t->rb);
        e_gs(c, 1, 0x89, t->rb, t->rx, 0, near_table(t) + (int)offsetof(struct jump_near, spilled));
    }
    e_gs(c, 0, 0x8b, t->rb, H_NONE, 0, filled + (int)offsetof(struct near_list, n));
    e_gs(c, 0, 0x89, t->rx, t->rb, 2, filled + (int)offsetof(struct near_list, at));
    e_alu_i32(c, 7, t->rb, NEAR_LIST); /* cmp */
    e_alu_i8(c, 2, t->rb, 0);          /* adc: stays at NEAR_LIST */
    e_gs(c, 0, 0x89, t->rb, H_NONE, 0, filled + (int)offsetof(struct near_list, n));
    t_mov(t, c, t->ra, t->rx);
    near_jump(t, c);
    for (unsigned i = 0; i < 5; i++)
        if (miss[i])
            e_patch32(c, miss[i], c->p);
    e_gs(c, 1, 0x8b, t->rx, H_NONE, 0, CPU_R10);
    if (t->m64) {
        jump = e_jmp32(c);
        e_patch32(c, jump, leave);
    } else
        e_gs(c, 0, 0xff, 4, H_NONE, 0, CPU_STUB);
    if (!c->full)
        cache_share(t->cache, key, (uint32_t)(start - t->cache->w));
    return start;
}

/* The lookup of rv = EIP in the near table, flags saved. Stands at each indirect jump, so that the host predicts each
 * by itself; gives back the jumps to take on a miss. */
static void lookup(struct tb *t, struct em *h, uint8_t *miss[2])
{
    attn_check(h, &miss[0]);
    near_index(t, h, t->ra);
    e_gs(h, t->m64, 0x3b, t->rv, t->ra, 0, near_table(t) + (int)offsetof(struct jump_near, eip));
    miss[1] = e_jcc32(h, CC_NE);
    near_jump(t, h);
}

/* Finds the page of an access off ESP in the TLB, if it may be written, and keeps it for the next; else, and where the
 * access crosses pages, to the stub. ra = address, rx = the site. */
uint8_t *stack_routine(struct tb *t)
{
    struct em *c = &t->cold;
    int set = tlb_set(t->mode), size_at = (int)offsetof(struct site, size);
    uint64_t key = SHARED_STACK | t->plan | (uint64_t)set << 16 | (uint64_t)t->m64 << 18;
    uint32_t at = cache_shared(t->cache, key);
    uint8_t *start, *cross, *miss, *wraps = NULL, *leave = t->m64 ? plan_leave(t) : NULL, *jump;

    if (at)
        return t->cache->w + at;
    start = c->p;
    e_mem(c, 0, 0x0fb6, t->rb, t->rx, H_NONE, 0, size_at);
    e_mem(c, t->m64, 0x8d, t->rb, t->rb, t->ra, 0, -1);
    e_rr(c, t->m64, 0x31, t->ra, t->rb);
    e_rr(c, t->m64, 0xf7, 0, t->rb); /* test rb, ~0xfff */
    e32(c, 0xfffff000u);
    cross = e_jcc32(c, CC_NE);
    t_mov(t, c, t->rb, t->ra);
    if (t->m64) {
        e_gs(c, 1, 0x89, t->rv, H_NONE, 0, CPU_R11);
        e_shift64(c, 5, t->rb, 12 - 4);
        e_alu_i32(c, 4, t->rb, (TLB64_SIZE - 1) << 4);
        e_mov64(c, t->rv, t->ra);
        e_rr(c, 1, 0x81, 4, t->rv);
        e32(c, 0xfffff000u);
        e_gs(c, 1, 0x3b, t->rv, t->rb, 0, TLB64(set, 1));
        miss = e_jcc32(c, CC_NE);
        e_rr(c, 1, 0xf7, 3, t->rv); /* neg */
        e_gs(c, 1, 0x89, t->rv, H_NONE, 0, CPU_R13);
        e_gs(c, 1, 0x8b, t->rb, t->rb, 0, TLB64(set, 1) + 8);
        e_gs(c, 1, 0x89, t->rb, H_NONE, 0, CPU_R14);
        e_gs(c, 1, 0x8b, t->rv, H_NONE, 0, CPU_R11);
        e_mem(c, 1, 0x63, t->rb, t->rx, H_NONE, 0, (int)offsetof(struct site, retry)); /* movsxd */
        e_rr(c, 1, 0x01, t->rx, t->rb);
        e_gs(c, 1, 0x89, t->ra, H_NONE, 0, CPU_R8); /* the way back loads it again */
        e_rr(c, 0, 0xff, 4, t->rb);
        e_patch32(c, miss, c->p);
        e_gs(c, 1, 0x8b, t->rv, H_NONE, 0, CPU_R11);
        e_patch32(c, cross, c->p);
        jump = e_jmp32(c);
        e_patch32(c, jump, leave);
    } else {
        e_alu_i32(c, 4, t->rb, 0xfffff000u);
        e_rr(c, 1, 0xf7, 3, t->rb); /* neg rb */
        e_rr(c, 1, 0x39, H_R13, t->rb);
        wraps = e_jcc32(c, CC_E);
        e_mov(c, t->rb, t->ra);
        e_shift(c, 5, t->rb, 12);
        e_mov(c, H_R13, t->ra);
        e_alu_i32(c, 4, H_R13, 0xfffff000u);
        e_gs(c, 0, 0x3b, H_R13, t->rb, 3, TLB_TAGS(set) + 4);
        miss = e_jcc32(c, CC_NE);
        e_gs(c, 1, 0x8b, H_R14, t->rb, 3, TLB_ADDEND(set));
        e_rr(c, 1, 0xf7, 3, H_R13);                                                    /* neg r13 */
        e_mem(c, 1, 0x63, t->rb, t->rx, H_NONE, 0, (int)offsetof(struct site, retry)); /* movsxd */
        e_rr(c, 1, 0x01, t->rb, t->rx);
        e_rr(c, 0, 0xff, 4, t->rx);
        e_patch32(c, miss, c->p);
        e8(c, 0x49); /* mov r13, CPU_NO_STACK */
        e8(c, 0xbd);
        e32(c, (uint32_t)CPU_NO_STACK);
        e32(c, CPU_NO_STACK >> 32);
        e_patch32(c, cross, c->p);
        e_patch32(c, wraps, c->p); /* r13 tells C of it: see wraps() in mmu.c */
        e_gs(c, 0, 0xff, 4, H_NONE, 0, CPU_STUB);
    }
    if (!c->full)
        cache_share(t->cache, key, (uint32_t)(start - t->cache->w));
    return start;
}

/* undo: how far ESP moved already, should the target be out of bounds: then the branch itself faults. */
void exit_indirect(struct tb *t, int32_t undo)
{
    struct em *h = &t->hot, *c = &t->cold;
    uint8_t *miss[2], *at, *routine;
    struct site s;

    fl_save(t);
    site_init(t, &s, K_INDIRECT);
    s.live = FL_ALL;
    s.arg2 = (uint32_t)undo;
    if (!exit_chained(t)) {
        at = e_stub_at(t, h);
        e_patch32(h, at, t->cold.p);
        put_site(&t->cold, &s);
    } else {
        routine = jump_routine(t);
        lookup(t, h, miss);
        for (int i = 0; i < 2; i++)
            e_patch32(h, miss[i], c->p);
        at = e_stub_to(c, t->rx, routine);
        e_patch32(c, at, c->p);
        put_site(c, &s);
    }
    t->open = false;
}

/* A word of struct cpu by an immediate: ext is the operation's number in opcode 81h. */
static void gs_imm(struct em *h, unsigned ext, size_t off, uint32_t imm)
{
    e8(h, 0x65);
    e8(h, 0x81);
    e_modrm_mem(h, (int)ext, H_NONE, H_NONE, 0, (int32_t)off);
    e32(h, imm);
}

/* The stack's page is not known any more. */
static void forget_stack(struct tb *t)
{
    struct em *h = &t->hot;

    if (!t->m64) {
        e_mov_imm64(h, H_R13, CPU_NO_STACK);
        return;
    }
    e_mov_imm64(h, t->rb, CPU_NO_STACK);
    e_gs(h, 1, 0x8b, t->ra, H_NONE, 0, CPU_SELF);
    e_mem(h, 1, 0x8d, t->ra, t->ra, t->rb, 0, (int32_t)offsetof(struct cpu, no_stack));
    e_gs(h, 1, 0x89, t->rb, H_NONE, 0, CPU_R13);
    e_gs(h, 1, 0x89, t->ra, H_NONE, 0, CPU_R14);
}

/* STAC and CLAC, which under SMAP change the mode: on to the next instruction's block of the other one. Where they
 * change nothing they are NOPs (block.c). Kernels have a pair at every copy from and to users. */
void emit_AC(struct tb *t)
{
    struct em *h = &t->hot, *c = &t->cold;
    bool on = t->cur->z.mnemonic == ZYDIS_MNEMONIC_STAC;
    int32_t next = t->cur->off + t->cur->len;
    uint8_t *miss[2], *routine, *at;
    struct site s;

    if (!exit_chained(t) || !(t->mode & M_SMAP) || (t->mode & M_CPL)) {
        emit_helper(t, on ? HELPER_stac : HELPER_clac, NULL, 0, 0, true);
        return;
    }
    fl_save(t);
    gs_imm(h, on ? 1 : 4, offsetof(struct cpu, eflags), on ? EF_AC : ~EF_AC);
    gs_imm(h, 6, CPU_MODE, M_LIFT);
    if (!on) /* it may be one of a user's */
        forget_stack(t);
    t_vbase(t, h, t->rv, next);
    t->mode ^= M_LIFT;
    routine = jump_routine(t);
    lookup(t, h, miss);
    t->mode ^= M_LIFT;
    for (int i = 0; i < 2; i++)
        e_patch32(h, miss[i], c->p);
    site_init(t, &s, K_NEXT);
    s.arg = (uint32_t)next;
    s.live = FL_ALL;
    at = e_stub_to(c, t->rx, routine);
    e_patch32(c, at, c->p);
    put_site(c, &s);
    t->open = false;
}

/* A conditional side exit: jcc taken to toff. The flags are in RFLAGS and stay there on the way that goes on. */
static void side_exit(struct tb *t, unsigned cc, int32_t toff)
{
    struct em *h = &t->hot;
    uint8_t live = t->cur->taken_live;

    fl_restore(t, h);
    if (chained_here(t) && in_page(t, toff) && toff > t->cur->off) {
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

/* With a 16-bit operand size EIP is cut to 16 bits: through the indirect way, where it may have to be. */
static bool short_eip(const struct ginsn *g)
{
    return g->z.operand_width == 16;
}

static void exit_short(struct tb *t, int32_t toff)
{
    if ((t->mode & M_CS_PAGE) && in_page(t, toff)) { /* there is nothing to cut */
        exit_direct(t, toff, t->cur->taken_live);
        return;
    }
    t_vbase(t, &t->hot, t->rv, toff);
    e_movzx16(&t->hot, t->rv, t->rv);
    exit_indirect(t, 0);
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

/* JCXZ and LOOP test a count without flags: JRCXZ over a copy where it is narrower than the host's. */
static bool narrow_count(const struct tb *t)
{
    return t->cur->z.address_width == 16 || (t->m64 && t->cur->z.address_width == 32);
}

static void count_back(struct tb *t)
{
    if (narrow_count(t))
        e_mov64(&t->hot, H_RCX, t->rx);
}

static void count_branch(struct tb *t, uint8_t **ret_zero)
{
    struct em *h = &t->hot;

    if (narrow_count(t)) {
        e_mov64(h, t->rx, H_RCX);
        if (t->cur->z.address_width == 16)
            e_movzx16(h, H_RCX, H_RCX);
        else
            e_mov(h, H_RCX, H_RCX);
    }
    *ret_zero = e_jcc8(h, 0xe3);
    count_back(t);
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
    count_back(t);
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
        e_lea(h, t->rx, H_RCX, -1);
        e_mov_size(h, 2, H_RCX, t->rx);
    } else
        e_mem(h, t->cur->z.address_width == 64, 0x8d, H_RCX, H_RCX, H_NONE, 0, -1);
    if (t->cur->z.mnemonic != ZYDIS_MNEMONIC_LOOP)
        cond = e_jcc32(h, t->cur->z.mnemonic == ZYDIS_MNEMONIC_LOOPE ? CC_NE : CC_E);
    count_branch(t, &zero);
    over = e_jmp32(h);
    e_patch8(h, zero, h->p);
    count_back(t);
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

static void load_target(struct tb *t, struct em *e)
{
    if (t->acc_size == 2)
        e_mem(e, 0, 0x0fb7, t->rv, t->base, t->index, 0, t->disp);
    else
        e_mem(e, t->acc_size == 8, 0x8b, t->rv, t->base, t->index, 0, t->disp);
}

/* The target of a near indirect JMP or CALL into rv. */
static void target_to_rv(struct tb *t)
{
    const ZydisDecodedOperand *o = &t->cur->op[0];

    t->acc_size = t->cur->z.operand_width / 8u;
    if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
        ea_for_access(t, o, 0);
        emit_access(t, seg_index(o->mem.segment), t->acc_size, 1, load_target);
    } else if (t->acc_size == 2)
        e_movzx16(&t->hot, t->rv, host_gpr(o->reg.value));
    else
        t_mov(t, &t->hot, t->rv, host_gpr(o->reg.value));
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
        target_to_rv(t);
        exit_indirect(t, 0);
    }
    t->open = false;
}

static void store_return(struct tb *t, struct em *e)
{
    t_vbase(t, e, t->rx, t->cur->off + t->cur->len);
    if (t->acc_size == 2)
        e8(e, 0x66);
    e_mem(e, t->acc_size == 8, 0x89, t->rx, t->base, t->index, 0, t->disp);
}

static void stack_commit(struct tb *t, int32_t disp)
{
    if (stack32(t)) {
        t_lea(t, &t->hot, H_RSP, H_RSP, disp);
        return;
    }
    e_lea(&t->hot, t->rx, H_RSP, disp);
    e_mov_size(&t->hot, 2, H_RSP, t->rx);
}

void emit_CALL(struct tb *t)
{
    const struct ginsn *g = t->cur;
    int size = g->z.operand_width / 8;

    if (is_far(g)) {
        far_transfer(t, "call_far");
        t->open = false;
        return;
    }
    if (g->op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
        target_to_rv(t);
    t->acc_size = (unsigned)size;
    stack_ea(t, H_RSP, -size);
    emit_access(t, S_SS, (unsigned)size, 2, store_return);
    stack_commit(t, -size);
    if (g->op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
        exit_indirect(t, -size);
    else if (short_eip(g))
        exit_short(t, target(t));
    else
        exit_direct(t, target(t), g->taken_live);
    t->open = false;
}

void emit_RET(struct tb *t)
{
    const struct ginsn *g = t->cur;
    int32_t size = g->z.operand_width / 8;
    int32_t drop = g->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? (int32_t)(g->op[0].imm.value.u & 0xffff) : 0;

    if (is_far(g)) {
        emit_helper(t, (unsigned)helper_index("ret_far"), NULL, (uint32_t)size, (uint32_t)drop, true);
        return;
    }
    t->acc_size = (unsigned)size;
    stack_ea(t, H_RSP, 0);
    emit_access(t, S_SS, (unsigned)size, 1, load_target);
    stack_commit(t, size + drop);
    exit_indirect(t, size + drop);
}
