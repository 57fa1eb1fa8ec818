#include "vmcore/verify.h"

#include <stdio.h>
#include "src/base/util.h"

static void bad(struct verify_result *r, const char *what, const uint8_t *at)
{
    size_t n = 0;

    if (r->why)
        return;
    r->why = what;
    r->at = at;
    for (unsigned i = 0; i < 15; i++)
        n += (size_t)snprintf(r->text + n, sizeof r->text - n, " %02x", at[i]);
}

static bool forbidden(const ZydisDecodedInstruction *i)
{
    switch (i->mnemonic) {
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_XGETBV:
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE:
    case ZYDIS_MNEMONIC_RDFSBASE:
    case ZYDIS_MNEMONIC_RDGSBASE:
    case ZYDIS_MNEMONIC_SWAPGS:
    case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR:
    case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_STD:
    case ZYDIS_MNEMONIC_RET:
    case ZYDIS_MNEMONIC_LEAVE:
    case ZYDIS_MNEMONIC_ENTER:
        return true;
    default:
        return i->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || (i->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED);
    }
}

static bool is_host(ZydisRegister r, int n)
{
    return (int)r == ZYDIS_REGISTER_RAX + n;
}

static bool rep_string(const ZydisDecodedInstruction *i)
{
    switch (i->mnemonic) {
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSD:
    case ZYDIS_MNEMONIC_MOVSQ:
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ:
        return i->attributes & ZYDIS_ATTRIB_HAS_REP;
    default:
        return false;
    }
}

static void check_operand(struct verify_result *r, const struct tb *t, const ZydisDecodedInstruction *i,
                          const ZydisDecodedOperand *op, const uint8_t *at)
{
    if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
        ZydisRegisterClass c = ZydisRegisterGetClass(op->reg.value);
        if (c == ZYDIS_REGCLASS_SEGMENT || c == ZYDIS_REGCLASS_CONTROL || c == ZYDIS_REGCLASS_DEBUG)
            bad(r, "segment, control or debug register", at);
    }
    if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->mem.type != ZYDIS_MEMOP_TYPE_MEM ||
        i->mnemonic == ZYDIS_MNEMONIC_NOP || op->mem.segment == ZYDIS_REGISTER_GS)
        return;
    if (op->mem.segment == ZYDIS_REGISTER_FS)
        bad(r, "FS", at);
    if (is_host(op->mem.base, t->ra) && is_host(op->mem.index, t->rb) && op->mem.scale <= 1 && !op->mem.disp.value)
        return;
    if (t->m64 && is_host(op->mem.index, t->rb) && op->mem.scale <= 1 && op->mem.base != ZYDIS_REGISTER_NONE)
        return; /* one of a span: see span.c */
    if (is_host(op->mem.base, t->ra) && is_host(op->mem.index, t->rb) && op->mem.scale <= 1)
        return;
    if ((op->mem.base == ZYDIS_REGISTER_RSP || is_host(op->mem.base, t->ra)) &&
        is_host(op->mem.index, t->m64 ? t->rb : H_R14) && op->mem.scale <= 1)
        return; /* the stack's page, checked through r13 */
    if (is_host(op->mem.base, t->rx) && op->mem.index == ZYDIS_REGISTER_NONE &&
        !(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) && i->mnemonic != ZYDIS_MNEMONIC_JMP)
        return; /* the site itself, read by the stack's routine */
    if (rep_string(i) && (op->mem.base == ZYDIS_REGISTER_RSI || op->mem.base == ZYDIS_REGISTER_RDI))
        return; /* checked as a whole */
    if (op->mem.base == ZYDIS_REGISTER_RDI && op->mem.index == ZYDIS_REGISTER_NONE && !op->mem.disp.has_displacement)
        return; /* borrowed: AH..BH take no REX; MASKMOV */
    bad(r, "memory not through the checked address", at);
}

/* Places of struct site among the cold code: every RIP-relative LEA into rx names one. */
struct sites {
    const uint8_t *at[512];
    unsigned n;
};

static bool is_site(const struct sites *s, const uint8_t *p)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->at[i] == p)
            return true;
    return false;
}

/* The copies of a block, in order: each must come out with its mnemonic and operand size. */
struct copies {
    const struct tb *tb;
    unsigned next;
};

static void skip_to_copy(struct copies *c)
{
    while (c->next < c->tb->n && (!c->tb->in[c->next].row || c->tb->in[c->next].row->kind != ROW_COPY))
        c->next++;
}

static void see_copy(struct copies *c, const ZydisDecodedInstruction *i, const ZydisDecodedOperand *op)
{
    const struct ginsn *g = &c->tb->in[c->next];

    if (c->next >= c->tb->n || g->z.mnemonic != i->mnemonic)
        return;
    if (g->z.operand_count_visible && g->op[0].size != op[0].size)
        return;
    c->next++;
    skip_to_copy(c);
}

/* Decodes emitted code, collecting the sites that it names and stepping over those that lie in it. */
static void verify(struct verify_result *r, const struct tb *t, const struct cache *k, uint32_t from, uint32_t n,
                   struct sites *s, struct copies *c)
{
    ZydisDecoder dec;
    const uint8_t *p = k->w + from, *end = p + n;

    ZydisDecoderInit(&dec, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    while (p < end && !r->why) {
        ZydisDecodedInstruction i;
        ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
        if (is_site(s, p)) {
            p += sizeof(struct site);
            continue;
        }
        if (ZYAN_FAILED(ZydisDecoderDecodeFull(&dec, p, (size_t)(end - p), &i, op))) {
            bad(r, "bytes that do not decode", p);
            return;
        }
        if (forbidden(&i))
            bad(r, "forbidden instruction", p);
        if (c)
            see_copy(c, &i, op);
        for (unsigned o = 0; o < i.operand_count; o++)
            check_operand(r, t, &i, &op[o], p);
        if (i.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            const uint8_t *to = p + i.length + op[0].imm.value.s;
            if (to < k->w || to >= k->w + k->size)
                bad(r, "jump out of the cache", p);
        }
        if (i.mnemonic == ZYDIS_MNEMONIC_LEA && is_host(op[0].reg.value, t->rx) &&
            op[1].mem.base == ZYDIS_REGISTER_RIP && s->n < ARRAY_LEN(s->at))
            s->at[s->n++] = p + i.length + op[1].mem.disp.value;
        p += i.length;
    }
}

void verify_block(const struct tb *t, const struct block *b, struct verify_result *r)
{
    struct sites sites = {.n = 0};
    struct copies copies = {.tb = t};

    *r = (struct verify_result){NULL, NULL, ""};
    skip_to_copy(&copies);
    verify(r, t, t->cache, b->hot, b->hot_len, &sites, &copies);
    if (copies.next < t->n)
        bad(r, "a copy that is not the instruction it should be", t->in[copies.next].bytes);
    verify(r, t, t->cache, b->cold, b->cold_len, &sites, NULL);
}
