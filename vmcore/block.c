/* What goes into a block: decoding from a backing page, rows, liveness, and putting the block together. A block runs on
 * over conditional jumps that are not taken, ends at other jumps, at what may change mode, at its page's end, or at its
 * limits. An instruction that crosses into the next page is a block of its own. */
#include "vmcore/tb.h"

#include "src/base/util.h"
#include "vmcore/cpuid.h"
#include "vmcore/debug.h"
#include "vmcore/mem.h"
#include "vmcore/verify.h"
#include "vmcore/vm.h"

/* ---- rows */

static const struct row rows[] = {
#define COPY(m)      {#m, ZYDIS_MNEMONIC_##m, ROW_COPY, 0, 0, emit_copy},
#define COPY_SSE2(m) {#m "_SSE2", ZYDIS_MNEMONIC_##m, ROW_COPY, 1, 0, emit_copy},
#define SPEC(m, way) {#m, ZYDIS_MNEMONIC_##m, ROW_SPEC, 0, 0, emit_##way},
#define HELP(m, h)   {#m, ZYDIS_MNEMONIC_##m, ROW_HELP, 0, HELPER_##h, NULL},
#define END(m, h)    {#m, ZYDIS_MNEMONIC_##m, ROW_END, 0, HELPER_##h, NULL},
#include "vmcore/insn.def"
#undef COPY
#undef COPY_SSE2
#undef SPEC
#undef HELP
#undef END
};

unsigned row_count(void)
{
    return ARRAY_LEN(rows);
}

const struct row *row_get(unsigned i)
{
    return &rows[i];
}

/* An index by mnemonic, made by the compiler's designated initialisers: row number + 1. */
static const uint16_t row_by_mnemonic[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define COPY(m) [ZYDIS_MNEMONIC_##m] = ROWNO_##m + 1,
#define COPY_SSE2(m)
#define SPEC(m, way) [ZYDIS_MNEMONIC_##m] = ROWNO_##m + 1,
#define HELP(m, h)   [ZYDIS_MNEMONIC_##m] = ROWNO_##m + 1,
#define END(m, h)    [ZYDIS_MNEMONIC_##m] = ROWNO_##m + 1,
#include "vmcore/insn.def"
#undef COPY
#undef COPY_SSE2
#undef SPEC
#undef HELP
#undef END
};

const struct row *row_find(const ZydisDecodedInstruction *z)
{
    unsigned i = row_by_mnemonic[z->mnemonic];

    if (z->meta.isa_set == ZYDIS_ISA_SET_SSE2) {
        if (z->mnemonic == ZYDIS_MNEMONIC_MOVSD)
            i = ROWNO_SSE2_MOVSD + 1;
        else if (z->mnemonic == ZYDIS_MNEMONIC_CMPSD)
            i = ROWNO_SSE2_CMPSD + 1;
    }
    return i ? &rows[i - 1] : NULL;
}

_Static_assert(ROW_COUNT <= sizeof((struct cpu *)0)->row_hits / sizeof(uint64_t), "a counter for every row");

/* ---- decoding */

enum { USES_X87 = 1, USES_SSE = 2 };

static unsigned vector_use(const struct ginsn *g)
{
    unsigned u = 0;

    if (g->z.meta.category == ZYDIS_CATEGORY_X87_ALU || g->z.meta.isa_set == ZYDIS_ISA_SET_X87 ||
        g->z.meta.isa_set == ZYDIS_ISA_SET_FCMOV || g->z.meta.isa_set == ZYDIS_ISA_SET_FXSAVE)
        u |= USES_X87;
    switch (g->z.meta.isa_set) {
    case ZYDIS_ISA_SET_SSE:
    case ZYDIS_ISA_SET_SSEMXCSR:
    case ZYDIS_ISA_SET_SSE2:
    case ZYDIS_ISA_SET_SSE3:
    case ZYDIS_ISA_SET_SSSE3:
    case ZYDIS_ISA_SET_SSE4:
    case ZYDIS_ISA_SET_SSE42:
    case ZYDIS_ISA_SET_AVX:
        if (g->z.mnemonic != ZYDIS_MNEMONIC_MOVNTI && g->z.mnemonic != ZYDIS_MNEMONIC_LFENCE &&
            g->z.mnemonic != ZYDIS_MNEMONIC_MFENCE && g->z.mnemonic != ZYDIS_MNEMONIC_SFENCE &&
            g->z.mnemonic != ZYDIS_MNEMONIC_CRC32)
            u |= USES_SSE;
        break;
    default:
        break;
    }
    for (unsigned i = 0; i < g->z.operand_count; i++)
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER) {
            ZydisRegisterClass c = ZydisRegisterGetClass(g->op[i].reg.value);
            if (c == ZYDIS_REGCLASS_XMM || c == ZYDIS_REGCLASS_YMM)
                u |= USES_SSE;
            else if (c == ZYDIS_REGCLASS_MMX || c == ZYDIS_REGCLASS_X87)
                u |= USES_X87;
        }
    if (g->z.mnemonic == ZYDIS_MNEMONIC_EMMS)
        u |= USES_X87;
    return u;
}

/* COPY and SPEC rows take only plain register operands; the emitters of MOV, PUSH and POP handle segments themselves.
 */
static bool operands_ok(const struct ginsn *g)
{
    for (unsigned i = 0; i < g->z.operand_count_visible; i++) {
        if (g->op[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        switch (ZydisRegisterGetClass(g->op[i].reg.value)) {
        case ZYDIS_REGCLASS_GPR8:
        case ZYDIS_REGCLASS_GPR16:
        case ZYDIS_REGCLASS_GPR32:
        case ZYDIS_REGCLASS_GPR64:
        case ZYDIS_REGCLASS_X87:
        case ZYDIS_REGCLASS_MMX:
        case ZYDIS_REGCLASS_XMM:
        case ZYDIS_REGCLASS_YMM:
            break;
        default:
            return false;
        }
    }
    return true;
}

static bool offered(const struct cpu_model *m, const struct ginsn *g)
{
    if (g->z.mnemonic == ZYDIS_MNEMONIC_VPCLMULQDQ && !cpuid_offers(m, ZYDIS_ISA_SET_PCLMULQDQ))
        return false; /* the decoder has its narrow form with AVX */
    return cpuid_offers(m, g->z.meta.isa_set);
}

static void classify(struct tb *t, struct ginsn *g)
{
    const struct row *r = row_find(&g->z);
    unsigned use;

    g->row = NULL;
    g->vector = X_UD;
    if (!r || !offered(t->cpu->model, g) || (g->z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && !is_vex(g)))
        return;
    if (r->kind == ROW_COPY && !operands_ok(g))
        return;
    use = vector_use(g);
    if (is_vex(g)) { /* what rules SSE does not rule it, but for TS */
        if ((t->mode & M_REAL) || ((use & USES_SSE) && !(t->mode & M_AVX)))
            return;
    } else if ((use & USES_SSE) && (t->mode & (M_EM | M_NOSSE)))
        return;
    if ((use && (t->mode & (is_vex(g) ? M_TS : M_TS | M_EM))) && g->z.mnemonic != ZYDIS_MNEMONIC_FWAIT) {
        g->vector = X_NM;
        return;
    }
    if (g->z.mnemonic == ZYDIS_MNEMONIC_FWAIT && (t->mode & M_TS) && (t->mode & M_MP)) {
        g->vector = X_NM;
        return;
    }
    if ((g->z.mnemonic == ZYDIS_MNEMONIC_CLD && !(t->mode & M_DF)) ||
        (g->z.mnemonic == ZYDIS_MNEMONIC_STD && (t->mode & M_DF)))
        r = &rows[ROWNO_NOP]; /* DF is in the block's key */
    if (r->emit == emit_AC && (t->mode & (M_SMAP | M_CPL)) == M_SMAP &&
        (g->z.mnemonic == ZYDIS_MNEMONIC_STAC) == ((t->mode & M_LIFT) != 0))
        r = &rows[ROWNO_NOP]; /* and so is AC under SMAP */
    g->sse = use & USES_SSE;
    g->x87_waits = (use & USES_X87) && g->z.mnemonic != ZYDIS_MNEMONIC_FNSTCW && g->z.mnemonic != ZYDIS_MNEMONIC_FNSTSW;
    g->mmx = false;
    for (unsigned i = 0; i < g->z.operand_count_visible; i++)
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(g->op[i].reg.value) == ZYDIS_REGCLASS_MMX)
            g->mmx = true;
    g->hw_fault = use || g->z.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B || g->z.mnemonic == ZYDIS_MNEMONIC_DIV ||
                  g->z.mnemonic == ZYDIS_MNEMONIC_IDIV;
    g->row = r;
}

/* With 32-bit addresses in 64-bit code the decoder takes SIB base 5 without displacement for R13D where REX.B is set;
 * there is no base. */
static void drop_false_base(struct ginsn *g)
{
    if (g->z.address_width != 32 || !(g->z.attributes & ZYDIS_ATTRIB_HAS_SIB) || g->z.raw.modrm.mod != 0 ||
        g->z.raw.sib.base != 5)
        return;
    for (unsigned i = 0; i < g->z.operand_count; i++)
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && g->op[i].mem.base == ZYDIS_REGISTER_R13D) {
            g->op[i].mem.base = ZYDIS_REGISTER_NONE;
            g->op[i].mem.disp.has_displacement = ZYAN_TRUE;
            g->op[i].mem.disp.value = g->z.raw.disp.value;
        }
}

/* SYSCALL and SYSRET outside of 64-bit code, which the decoder takes for Intel's: not there. */
static bool legacy_syscall(struct tb *t, uint32_t off, struct ginsn *g)
{
    uint8_t op = off + 1 < t->avail ? t->code[off + 1] : 0;

    if (t->m64 || t->code[off] != 0x0f || (op != 0x05 && op != 0x07))
        return false;
    memset(&g->z, 0, sizeof g->z);
    g->z.mnemonic = op == 0x05 ? ZYDIS_MNEMONIC_SYSCALL : ZYDIS_MNEMONIC_SYSRET;
    g->z.length = g->len = 2;
    g->z.operand_width = g->z.address_width = 32;
    g->z.meta.isa_set = ZYDIS_ISA_SET_LONGMODE;
    g->off = (uint16_t)off;
    g->bytes = t->code + off;
    classify(t, g);
    live_decode(g);
    g->ends = true;
    return true;
}

bool tb_decode(struct tb *t, uint32_t off, struct ginsn *g)
{
    ZyanStatus st;

    if (off >= t->avail)
        return false;
    if (legacy_syscall(t, off, g))
        return true;
    st = ZydisDecoderDecodeFull(&t->dec, t->code + off, MIN(t->avail - off, 15u), &g->z, g->op);
    g->off = (uint16_t)off;
    g->bytes = t->code + off;
    g->hw_fault = g->sse = g->x87_waits = false;
    if (ZYAN_FAILED(st) && t->avail == 4096 && t->avail - off < 15) /* the next page first, whatever it says */
        return false;
    if (ZYAN_FAILED(st)) {
        memset(&g->z, 0, sizeof g->z);
        g->row = NULL;
        g->len = 1;
        g->vector = st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG || st == ZYDIS_STATUS_NO_MORE_DATA ? X_GP : X_UD;
    } else {
        g->len = g->z.length;
        drop_false_base(g);
        classify(t, g);
    }
    live_decode(g);
    g->ends = insn_ends_block(g);
    return true;
}

bool insn_ends_block(const struct ginsn *g)
{
    if (!g->row || g->row->kind == ROW_END)
        return true;
    return g->row->emit == emit_JMP || g->row->emit == emit_CALL || g->row->emit == emit_RET ||
           g->row->emit == emit_SYSENTER || g->row->emit == emit_SYSEXIT || g->row->emit == emit_AC;
}

static uint8_t insn_jump(const struct ginsn *g)
{
    switch (g->z.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
        return JUMP_MAYBE;
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
        return JUMP_ALWAYS;
    default:
        return JUMP_NONE;
    }
}

static bool has_direct_target(const struct ginsn *g)
{
    return g->row && g->z.raw.imm[0].is_relative;
}

/* ---- emission */

static ZydisRegister lxs_segment(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_LES:
        return ZYDIS_REGISTER_ES;
    case ZYDIS_MNEMONIC_LSS:
        return ZYDIS_REGISTER_SS;
    case ZYDIS_MNEMONIC_LFS:
        return ZYDIS_REGISTER_FS;
    case ZYDIS_MNEMONIC_LGS:
        return ZYDIS_REGISTER_GS;
    default:
        return ZYDIS_REGISTER_DS;
    }
}

static uint32_t reg_number(const struct ginsn *g, bool reg)
{
    bool rex = g->z.attributes & ZYDIS_ATTRIB_HAS_REX;

    if (reg)
        return g->z.raw.modrm.reg | (rex ? (uint32_t)g->z.raw.rex.R << 3 : 0u);
    return (g->z.raw.modrm.rm & 7u) | (rex ? (uint32_t)g->z.raw.rex.B << 3 : 0u);
}

static void emit_one(struct tb *t, struct ginsn *g)
{
    t->cur = g;
    t->near_stack = t->near_frame = false;
    if (g->row && g->row->emit == emit_LEA)
        t->ra_span = -1;
    if (!g->row) {
        emit_raise(t, g->vector);
        return;
    }
    t->cpu->row_hits[g->row - rows]++;
    if (g->row->emit) {
        g->row->emit(t);
        return;
    }
    const ZydisDecodedOperand *m = NULL;
    uint32_t arg = g->z.operand_width / 8u, arg2 = 0;
    for (unsigned i = 0; i < g->z.operand_count_visible; i++) {
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && g->op[i].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT) {
            m = &g->op[i];
            arg |= HELP_MEM | seg_index(m->mem.segment) << 16;
        }
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            arg2 = arg2 << 16 | (uint16_t)g->op[i].imm.value.u;
    }
    if (g->z.attributes & ZYDIS_ATTRIB_HAS_MODRM)
        arg |= reg_number(g, true) << 24 | reg_number(g, false) << 28;
    if (g->row->helper == HELPER_fsgsbase)
        arg2 = g->z.raw.modrm.reg & 3u; /* bit 0 GS, bit 1 write */
    if (g->row->helper == HELPER_lxs)
        arg2 = seg_index(lxs_segment(g->z.mnemonic));
    if (g->row->helper == HELPER_ins || g->row->helper == HELPER_outs) {
        arg2 =
            (g->z.address_width == 16   ? HELP_A16
             : g->z.address_width == 64 ? HELP_A64
                                        : 0) |
            (g->z.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE) ? HELP_REP : 0);
        arg = (g->z.opcode & 1 ? (g->z.operand_width == 16 ? 2u : 4u) : 1u) | S_DS << 16;
        for (unsigned i = 0; i < g->z.operand_count; i++)
            if (g->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
                arg = (arg & 0xff) | seg_index(g->op[i].mem.segment) << 16;
        m = NULL;
    }
    if (g->row->helper == HELPER_in || g->row->helper == HELPER_out)
        arg = (g->z.opcode & 1 ? (g->z.operand_width == 16 ? 2u : 4u) : 1u) | (g->z.opcode & 8 ? HELP_DX : 0);
    emit_helper(t, g->row->helper, m, arg, arg2, g->row->kind == ROW_END);
}

static void liveness(struct tb *t, uint32_t end)
{
    struct ginsn *last = &t->in[t->n - 1];
    uint8_t live = FL_ALL;

    if (!last->ends && !(t->mode & M_STEP) && t->bpn2 == MEM_NONE && end < 4096)
        live = live_ahead(t, end);
    for (unsigned i = t->n; i-- > 0;) {
        struct ginsn *g = &t->in[i];
        g->taken_live = FL_ALL;
        if (has_direct_target(g)) {
            int32_t to = (int32_t)(g->off + g->len + (uint32_t)g->z.raw.imm[0].value.s);
            if (!(t->mode & M_STEP) && t->bpn2 == MEM_NONE && to >= 0 && to < 4096 && g->z.operand_width != 16)
                g->taken_live = live_ahead(t, (uint32_t)to);
            live = g->ends ? g->taken_live : (uint8_t)(live | g->taken_live);
        } else if (g->ends)
            live = FL_ALL;
        g->after = live;
        live = (uint8_t)((live & ~g->kills) | g->reads);
        g->before = live;
    }
}

/* The thunks that a dead block's entries are patched to. */
enum thunk { THUNK_HOST, THUNK_SAVED, THUNK_SPILLED };
static uint8_t *thunk(struct tb *t, enum thunk kind)
{
    struct em *c = &t->cold;
    uint8_t *start = c->p;
    struct site s;

    t->cur = &t->in[0];
    site_init(t, &s,
              kind == THUNK_HOST ? K_CHAIN : K_NEXT); /* behind the spills only the jump hash leads, flags saved */
    s.arg = t->in[0].off;
    s.arg2 = UINT32_MAX;
    s.live = FL_ALL; /* whoever comes here knew nothing of this block's needs */
    if (t->m64 && kind != THUNK_SPILLED)
        plan_spill(t, c);
    e_site(t, c, &s);
    return start;
}

/* A block whose instruction crosses checks at its entry what its second page is; flags are saved. */
static void second_page_check(struct tb *t)
{
    struct em *h = &t->hot, *c = &t->cold;
    int user = (t->mode & M_CPL) == 3;
    struct site s;
    uint8_t *miss, *other = NULL;

    t_vbase(t, h, t->ra, 0x1000);
    if (t->m64) {
        e_mov64(h, t->rx, t->ra);
        e_shift64(h, 5, t->ra, 12 - 4);
        e_alu_i32(h, 4, t->ra, (TLB64_SIZE - 1) << 4);
        e_gs(h, 1, 0x3b, t->rx, t->ra, 0, TLB64_CODE(user));
        other = e_jcc32(h, CC_NE);
    } else {
        e_gs(h, 0, 0x03, t->ra, H_NONE, 0, CPU_SEG + S_CS * CPU_SEG_SIZE + CPU_SEG_BASE);
        e_shift(h, 5, t->ra, 12);
    }
    e8(h, 0x65); /* cmp dword gs:[code + ...], imm32 */
    if (t->ra & 8)
        e8(h, 0x42);
    e8(h, 0x81);
    e_modrm_mem(h, 7, H_NONE, t->ra, t->m64 ? 0 : 2, t->m64 ? TLB64_CODE(user) + 8 : TLB_CODE(user));
    e32(h, t->bpn2 + 1);
    miss = e_jcc32(h, CC_NE);
    site_init(t, &s, K_NEXT);
    s.arg = t->in[0].off;
    s.arg2 = UINT32_MAX;
    s.live = FL_ALL;
    e_patch32(h, miss, c->p);
    if (other)
        e_patch32(h, other, c->p);
    e_site(t, c, &s);
}

struct entries {
    uint8_t *saved, *host, *spilled; /* spilled: NULL in 32-bit code */
};

/* The block's ways in: see struct block. */
static void prologue(struct tb *t, struct entries *en)
{
    struct em *h = &t->hot;

    en->spilled = NULL;
    if (t->bpn2 != MEM_NONE) {
        uint8_t *over = NULL;
        t->loc = LOC_HOST;
        en->host = h->p;
        plan_spill(t, h);
        fl_save(t);
        if (t->m64)
            over = e_jmp32(h);
        en->saved = h->p;
        plan_spill(t, h);
        if (over)
            e_patch32(h, over, h->p);
        second_page_check(t);
        t->loc = LOC_SAVED;
        return;
    }
    en->saved = h->p;
    t->loc = LOC_SAVED;
    if (t->plain) { /* only where flags are saved does anything lead here */
        en->host = h->p;
        plan_spill(t, h);
        en->spilled = t->m64 ? h->p : NULL;
        return;
    }
    if (!t->cur->before) /* both entries are one */
        ;
    else if (t->m64) {
        e_gs(h, 1, 0x89, H_RAX, H_NONE, 0, CPU_R9);
        flags_word(t, h, H_RAX);
        e8(h, 0x04); /* add al, 127; sahf */
        e8(h, 0x7f);
        e8(h, 0x9e);
        e_gs(h, 1, 0x8b, H_RAX, H_NONE, 0, CPU_R9);
    } else
        fl_restore(t, h);
    en->host = h->p;
    t->loc = LOC_HOST;
    if (t->m64) {
        plan_spill(t, h);
        en->spilled = h->p;
    }
}

static struct block *finish(struct tb *t, uint8_t *hot0, uint8_t *cold0, const struct entries *en,
                            const struct entries *thunks)
{
    struct cache *k = t->cache;
    struct ginsn *last = &t->in[t->n - 1];
    struct block *b = cache_alloc(k, sizeof *b);
    struct link *l = b ? cache_alloc(k, t->nlinks * sizeof *l + 1) : NULL;
    struct fault_entry *f = l ? cache_alloc(k, t->nfaults * sizeof *f + 1) : NULL;
    struct look *look = f ? cache_alloc(k, t->nlook * sizeof *look + 1) : NULL;

    if (!look || k->nblocks >= k->max_blocks)
        return NULL;
    memset(b, 0, sizeof *b);
    b->bpn = t->bpn;
    b->bpn2 = t->bpn2;
    b->off = t->in[0].off;
    b->glen = (uint16_t)(last->off + last->len - b->off);
    b->ninsn = (uint16_t)t->n;
    b->mode = t->mode | (t->plain ? M_PLAIN : 0);
    b->live_in = t->in[0].before;
    b->jump = insn_jump(last);
    b->hot = (uint32_t)(hot0 - k->w);
    b->hot_len = (uint32_t)(t->hot.p - hot0);
    b->cold = (uint32_t)(cold0 - k->w);
    b->cold_len = (uint32_t)(t->cold.p - cold0);
    b->plan = t->plan;
    b->entry_host = (uint32_t)(en->host - k->w);
    b->entry_saved = (uint32_t)(en->saved - k->w);
    b->entry_spilled = en->spilled ? (uint32_t)(en->spilled - k->w) : 0;
    b->thunk_host = (uint32_t)(thunks->host - k->w);
    b->thunk_saved = (uint32_t)(thunks->saved - k->w);
    b->thunk_spilled = en->spilled ? (uint32_t)(thunks->spilled - k->w) : 0;
    b->shares = k->nshared != t->nshared;
    b->links = l;
    b->nlinks = (uint16_t)t->nlinks;
    for (unsigned i = 0; i < t->nlinks; i++)
        l[i] = (struct link){NULL,
                             NULL,
                             (uint32_t)(t->links[i].jump - k->w),
                             (uint32_t)(t->links[i].cold - k->w),
                             t->links[i].check ? (uint32_t)(t->links[i].check - k->w) : 0,
                             t->links[i].way ? (uint32_t)(t->links[i].way - k->w) : 0,
                             b};
    for (unsigned i = 0; i < t->nlinks; i++)
        memcpy(t->links[i].site + offsetof(struct site, arg2), &(uint32_t){cache_link_at(k, &l[i])}, 4);
    b->faults = f;
    b->nfaults = (uint16_t)t->nfaults;
    memcpy(f, t->faults, t->nfaults * sizeof *f);
    b->look = look;
    b->nlook = (uint16_t)t->nlook;
    memcpy(look, t->look, t->nlook * sizeof *look);
    k->hot = ALIGN_UP((size_t)(t->hot.p - k->w), 16);
    k->cold = (size_t)(t->cold.p - k->w);
    return b;
}

static bool decode_run(struct tb *t, uint32_t off, uint32_t end, unsigned max)
{
    unsigned side = 0;

    t->n = 0;
    while (t->n < max) {
        struct ginsn *g = &t->in[t->n];
        if (t->n && off >= end)
            break;
        if (t->n && t->cpu->debug && debug_splits(t->cpu->debug, off))
            break;
        if (!tb_decode(t, off, g))
            break;
        if (t->n && off + g->len > 4096)
            break;
        plan_note(g);
        t->n++;
        off += g->len;
        if (g->ends || off >= 4096)
            break;
        if (g->row->emit == emit_JCC || g->row->emit == emit_JCXZ || g->row->emit == emit_LOOP)
            if (++side >= TB_MAX_SIDE)
                break;
    }
    return t->n > 0;
}

/* Is EBP, as it is now, an address in the stack's page? */
static bool frame_at_entry(const struct tb *t)
{
    uint64_t ahead = t->cpu->gpr[R_EBP] - t->cpu->gpr[R_ESP];

    return (t->m64 ? ahead : (uint32_t)ahead) < 4096;
}

static bool is_reg(const ZydisDecodedOperand *o, int reg)
{
    return o->type == ZYDIS_OPERAND_TYPE_REGISTER && host_gpr(o->reg.value) == reg &&
           !(o->reg.value >= ZYDIS_REGISTER_AH && o->reg.value <= ZYDIS_REGISTER_BH);
}

/* And after this instruction? POP and LEAVE bring back the caller's. */
static bool frame_after(const struct ginsn *g, bool before)
{
    if (!g->row || g->row->emit == emit_POP || g->row->emit == emit_LEAVE)
        return before;
    if (!(g->sets & 1u << H_RBP))
        return before;
    return g->z.mnemonic == ZYDIS_MNEMONIC_MOV && is_reg(&g->op[0], H_RBP) && is_reg(&g->op[1], H_RSP);
}

static struct block *emit_block(struct tb *t)
{
    struct cache *k = t->cache;
    struct ginsn *last = &t->in[t->n - 1];
    uint32_t end = (uint32_t)last->off + last->len;
    uint8_t *hot0 = k->w + k->hot, *cold0 = k->w + k->cold;
    struct entries en, thunks = {NULL, NULL, NULL};
    struct block *b = NULL;
    unsigned n;

    t->hot = (struct em){hot0, k->w + k->hot_end, false};
    t->cold = (struct em){cold0, k->w + k->cold_end, false};
    t->nlinks = t->nfaults = t->nlook = 0;
    t->nshared = k->nshared;
    t->too_big = false;
    t->open = true;
    t->near_stack = t->near_frame = false;
    liveness(t, end);
    t->cur = &t->in[0];
    prologue(t, &en);
    t->frame = frame_at_entry(t);
    t->mixed = t->cpu->mem->code[t->bpn].beside >= MEM_MIXED;
    t->twins = !exit_chained(t) || t->cpu->mem->code[t->bpn].lone >= MEM_TWINS;
    span_find(t);
    for (n = 0; n < t->n && t->open; n++) {
        emit_one(t, &t->in[n]);
        t->frame = frame_after(&t->in[n], t->frame);
    }
    t->n = n; /* a helper that ends the block may stand anywhere */
    if (t->open)
        exit_direct(t, (int32_t)end, last->after);
    exit_ways(t);
    thunks.host = thunk(t, THUNK_HOST);
    thunks.saved = thunk(t, THUNK_SAVED);
    if (t->m64)
        thunks.spilled = thunk(t, THUNK_SPILLED);
    if (!t->hot.full && !t->cold.full && !t->too_big)
        b = finish(t, hot0, cold0, &en, &thunks);
    if (!b) { /* shared routines that were made in this block's memory are gone with it */
        cache_unshare(k, (uint32_t)(cold0 - k->w));
        k->flush_wanted |= !t->too_big;
    }
    return b;
}

/* A block that does not verify ends the machine before it runs. */
static void check_block(struct tb *t, struct block *b)
{
    struct verify_result r;

    verify_block(t, b, &r);
    t->cpu->verified++;
    if (!r.why)
        return;
    err_set(&t->cpu->vm->failure, VT_FAIL, "verifier: %s:%s", r.why, r.text);
    t->cpu->vm->failed = true;
    cpu_set_attn(t->cpu, ATTN_EXIT);
}

/* The plan of the block that led here. */
static uint16_t plan_hint(struct cpu *cpu)
{
    return cpu->from ? cpu->from->from->plan : 0;
}

struct block *block_translate(struct cpu *cpu, uint32_t bpn, uint32_t off)
{
    struct cache *k = cpu->cache;
    struct tb *t = k->tb;
    struct block *b = NULL;
    uint32_t end = 4096;
    uint64_t lin = cpu->mode & M_CODE64 ? cpu->eip : (uint32_t)(cpu->eip + cpu->seg[S_CS].base);

    t->cpu = cpu;
    t->cache = k;
    t->mode = cpu_block_mode(cpu, lin);
    t->plain = t->mode & M_PLAIN;
    t->mode &= ~(uint32_t)M_PLAIN;
    if (t->plain && cpu->from) /* it stands in for a block's rest, and names no more registers */
        end = (uint32_t)cpu->from->from->off + cpu->from->from->glen;
    t->bpn = bpn;
    t->bpn2 = MEM_NONE;
    t->m64 = t->mode & M_CODE64;
    if (t->m64)
        ZydisDecoderInit(&t->dec, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    else
        ZydisDecoderInit(&t->dec, (t->mode & M_CODE32) ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LEGACY_16,
                         (t->mode & M_STACK32) ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_16);
    ZydisDecoderEnableMode(&t->dec, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    ZydisDecoderEnableMode(&t->dec, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
    ZydisDecoderEnableMode(&t->dec, ZYDIS_DECODER_MODE_LZCNT, cpuid_offers(cpu->model, ZYDIS_ISA_SET_LZCNT));
    ZydisDecoderEnableMode(&t->dec, ZYDIS_DECODER_MODE_TZCNT, cpuid_offers(cpu->model, ZYDIS_ISA_SET_BMI1));
    ZydisDecoderEnableMode(&t->dec, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
    ZydisDecoderEnableMode(&t->dec, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
    t->code = mem_read_ptr(cpu->mem, bpn);
    t->avail = 4096;
    if (!decode_run(t, off, end, (t->mode & M_STEP) ? 1 : TB_MAX_INSN)) {
        if (mmu_code_page(cpu, cpu_lin_wrap(cpu, (lin & ~0xfffull) + 0x1000), &t->bpn2))
            return NULL;
        memcpy(t->pair, t->code, 4096);
        memcpy(t->pair + 4096, mem_read_ptr(cpu->mem, t->bpn2), 16);
        t->code = t->pair;
        t->avail = 4096 + 16;
        decode_run(t, off, end, 1);
        if (!t->n)
            return NULL;
    } else if (t->in[0].off + t->in[0].len <= 4096)
        t->avail = 4096;
    for (unsigned max = t->m64 ? MAX(plan_longest(t), 1u) : t->n;; max = max / 2) {
        t->n = max;
        t->too_big = !plan_make(t, plan_hint(cpu));
        if (!t->too_big)
            b = emit_block(t);
        if (b || !t->too_big || max <= 1)
            break;
    }
    if (b && CHECKED)
        check_block(t, b);
    if (b) {
        cache_add(k, b);
        cpu->blocks_made++;
        cpu->plain_blocks += t->plain;
    }
    return b;
}
