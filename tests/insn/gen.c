/* What both generators share, and the random one. */
#include "gen.h"

#include <stdlib.h>
#include <string.h>

#include "setup.h"
#include "src/base/err.h"
#include "src/base/util.h"

#define EXIT_ROOM 16 /* bytes kept behind a case for its end and its branch targets */

void gen_place(const struct gen *g, struct rng *r, unsigned slot, struct insn_case *c)
{
    const struct mode *m = g->dec->mode;
    uint64_t place = g->pages.edge && m->code2 && rng_chance(r, 12) ? m->code2 : m->code;
    c->code_va = place + slot * SLOT_BYTES + rng_below(r, SLOT_BYTES - EXIT_ROOM - c->len + 1u);
}

/* Three bytes, or two where they say the same and a random bit wants them. Outside of 64-bit code the inverted bits
 * must be set: C4 and C5 are LES and LDS there otherwise. */
static unsigned put_vex(const struct mode *m, const struct stem *st, uint32_t extra, uint8_t *out)
{
    bool narrow = m->mode != CPU_TEST_64;
    uint8_t rxb = narrow ? 0 : extra & 7, vvvv = st->vex_operand ? (uint8_t)(extra >> 3 & (narrow ? 7 : 15)) : 0;
    uint8_t last = (uint8_t)((~vvvv & 15) << 3 | (st->vex_bits & 7));
    bool w = st->vex_bits & 8;
    if (st->map == 1 && !w && !(rxb & 3) && extra & 0x80) {
        out[0] = 0xc5;
        out[1] = (uint8_t)((rxb & 4 ? 0 : 0x80) | last);
        return 2;
    }
    out[0] = 0xc4;
    out[1] = (uint8_t)((~rxb & 7) << 5 | st->map);
    out[2] = (uint8_t)((w ? 0x80 : 0) | last);
    return 3;
}

unsigned put_stem(const struct mode *m, const struct stem *st, uint32_t extra, uint8_t *out)
{
    unsigned n = st->n_prefix;
    memcpy(out, st->prefix, n);
    if (st->vex) {
        n += put_vex(m, st, extra, out + n);
    } else {
        if (m->mode == CPU_TEST_64 && (st->rex_w || extra & 0x80))
            out[n++] = (uint8_t)(0x40 | (st->rex_w ? 8 : 0) | (extra & 7));
        if (st->map > 0)
            out[n++] = 0x0f;
        if (st->map > 1)
            out[n++] = st->map == 2 ? 0x38 : 0x3a;
    }
    out[n++] = st->opcode;
    return n;
}

static bool is_prefix_byte(const struct mode *m, uint8_t b)
{
    if (m->mode == CPU_TEST_64 && b >> 4 == 4)
        return true;
    return b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || (b >= 0x64 && b <= 0x67) || b == 0xf0 || b == 0xf2 ||
           b == 0xf3;
}

static int by_mnemonic(const void *a, const void *b)
{
    const struct stem *x = a, *y = b;
    return (int)x->mnemonic - (int)y->mnemonic;
}

static int add_stem(struct stems *s, size_t *room, const struct stem *one)
{
    if (s->n == *room) {
        *room = *room ? *room * 2 : 4096;
        void *p = realloc(s->v, *room * sizeof(*s->v));
        if (!p)
            return VT_FAIL;
        s->v = p;
    }
    s->v[s->n++] = *one;
    return 0;
}

static bool is_general(ZydisISASet set)
{
    switch (set) {
    case ZYDIS_ISA_SET_I86:
    case ZYDIS_ISA_SET_I186:
    case ZYDIS_ISA_SET_I386:
    case ZYDIS_ISA_SET_I486REAL:
    case ZYDIS_ISA_SET_PENTIUMREAL:
    case ZYDIS_ISA_SET_CMOV:
    case ZYDIS_ISA_SET_POPCNT:
    case ZYDIS_ISA_SET_LONGMODE:
    case ZYDIS_ISA_SET_CMPXCHG16B:
        return true;
    default:
        return false;
    }
}

/* Decodes the stem, with VEX.vvvv 2 if it names a register (gathers want different ones). */
static enum dec_class decode_stem(const struct gen *g, const struct stem *st, struct dec *d)
{
    uint8_t code[MAX_CODE] = {0};
    unsigned n = put_stem(g->dec->mode, st, 2 << 3, code);
    code[n] = st->modrm;
    code[n + 1] = 0x20; /* SIB: a third register as index */
    return decode(g->dec, code, 15, d);
}

static int add_stems(struct stems *s, size_t *room, const struct gen *g, struct stem one)
{
    bool rm_fixed = !one.vex && one.map == 0 && one.opcode >= 0xd8 && one.opcode <= 0xdf;
    rm_fixed = rm_fixed || (one.map == 1 && (one.opcode == 0x01 || one.opcode == 0xae || one.opcode == 0xc7));
    bool narrow = g->dec->mode->mode == CPU_TEST_16;
    for (unsigned modrm = 0; modrm < 256; modrm++) {
        unsigned mod = modrm >> 6, rm = modrm & 7;
        bool vsib = one.vex && one.map == 2 && rm == 4 && !narrow;
        if (mod == 1 || mod == 2 || (mod == 0 && rm != 3 && !vsib) || (mod == 3 && rm != 0 && !rm_fixed))
            continue;
        struct dec d, probe;
        one.modrm = (uint8_t)modrm;
        one.vex_operand = false;
        enum dec_class cls = decode_stem(g, &one, &d);
        if (one.vex) {
            one.vex_operand = true;
            enum dec_class with = decode_stem(g, &one, &probe);
            one.vex_operand = with != DEC_BAD;
            if (cls == DEC_BAD) {
                cls = with;
                d = probe;
            }
        }
        one.has_modrm = cls != DEC_BAD && (d.i.attributes & ZYDIS_ATTRIB_HAS_MODRM);
        one.rm_fixed = (mod == 3 && rm_fixed) || (mod == 0 && rm == 4 && vsib);
        one.mnemonic = d.i.mnemonic;
        one.general = is_general(d.i.meta.isa_set);
        if (cls == DEC_COMPARE && (!g->only || g->only == d.i.mnemonic)) {
            int r = add_stem(s, room, &one);
            if (r)
                return r;
        }
        if (cls != DEC_BAD && !one.has_modrm)
            return 0;
    }
    return 0;
}

static int legacy_stems(struct stems *ret, size_t *room, const struct gen *g)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf2, 0xf3, 0xf0};
    const struct mode *m = g->dec->mode;
    unsigned variants = ARRAY_LEN(prefixes) * (m->mode == CPU_TEST_64 ? 2 : 1);
    for (unsigned map = 0; map < 4; map++)
        for (unsigned opcode = 0; opcode < 256; opcode++)
            for (unsigned v = 0; v < variants; v++) {
                unsigned p = v % ARRAY_LEN(prefixes);
                struct stem one = {.map = (uint8_t)map, .opcode = (uint8_t)opcode, .n_prefix = p > 0};
                one.prefix[0] = prefixes[p];
                one.rex_w = v >= ARRAY_LEN(prefixes);
                if (map == 0 && (is_prefix_byte(m, one.opcode) || opcode == 0x0f))
                    continue;
                if (map == 0 && m->mode == CPU_TEST_64 && (opcode == 0xc4 || opcode == 0xc5))
                    continue; /* VEX */
                if (map == 1 && (opcode == 0x38 || opcode == 0x3a))
                    continue;
                int r = add_stems(ret, room, g, one);
                if (r)
                    return r;
            }
    return 0;
}

static int vex_stems(struct stems *ret, size_t *room, const struct gen *g)
{
    for (unsigned map = 1; map < 4; map++)
        for (unsigned opcode = 0; opcode < 256; opcode++)
            for (unsigned bits = 0; bits < 16; bits++) {
                struct stem one = {
                    .map = (uint8_t)map, .opcode = (uint8_t)opcode, .vex = true, .vex_bits = (uint8_t)bits};
                int r = add_stems(ret, room, g, one);
                if (r)
                    return r;
            }
    return 0;
}

int stems_init(struct stems *ret, const struct gen *g)
{
    size_t room = 0;
    *ret = (struct stems){0};
    int r = legacy_stems(ret, &room, g);
    if (r == 0)
        r = vex_stems(ret, &room, g);
    if (r)
        return r;
    if (ret->n == 0)
        return VT_NOENT;
    qsort(ret->v, ret->n, sizeof(*ret->v), by_mnemonic);
    ret->first = calloc(ret->n + 1u, sizeof(*ret->first));
    ret->general = calloc(ret->n + 1u, sizeof(*ret->general));
    if (!ret->first || !ret->general)
        return VT_FAIL;
    for (uint32_t i = 0; i < ret->n; i++) {
        if (i > 0 && ret->v[i].mnemonic == ret->v[i - 1].mnemonic)
            continue;
        if (ret->v[i].general)
            ret->general[ret->n_general++] = ret->n_mnemonics;
        ret->first[ret->n_mnemonics++] = i;
    }
    ret->first[ret->n_mnemonics] = ret->n;
    return 0;
}

void stems_release(struct stems *s)
{
    free(s->v);
    free(s->first);
    free(s->general);
    *s = (struct stems){0};
}

enum dec_class random_insn(const struct gen *g, const struct stems *s, struct rng *r, uint8_t *out, struct dec *d)
{
    uint32_t m = rng_below(r, s->n_mnemonics);
    if (s->n_general && rng_chance(r, 50))
        m = s->general[rng_below(r, s->n_general)];
    const struct stem *st = &s->v[s->first[m] + rng_below(r, s->first[m + 1] - s->first[m])];
    uint8_t code[MAX_CODE + 8];
    unsigned n = 0;
    static const uint8_t segment[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    if (rng_chance(r, 6))
        code[n++] = 0x67;
    if (rng_chance(r, 5))
        code[n++] = segment[rng_below(r, ARRAY_LEN(segment))];
    n += put_stem(g->dec->mode, st, rng_u32(r), code + n);
    for (unsigned i = n; i < sizeof(code); i++)
        code[i] = (uint8_t)rng_u32(r);
    if (st->has_modrm) {
        if (st->rm_fixed || st->modrm >> 6 == 3)
            code[n] = st->rm_fixed ? st->modrm : (uint8_t)((st->modrm & 0xf8) | rng_below(r, 8));
        else
            code[n] = (uint8_t)((st->modrm & 0x38) | rng_below(r, 3) << 6 | rng_below(r, 8));
    }
    enum dec_class cls = decode(g->dec, code, 15, d);
    if (cls != DEC_BAD)
        memcpy(out, code, d->i.length);
    return cls;
}

/* Would an undefined flag become visible in something else? Then the sequence is of no use. */
static bool reads_undefined(const struct insn_case *c, const struct dec *d, unsigned n)
{
    uint32_t undefined = 0;
    bool jumped = false; /* what comes behind a branch may be left out */
    for (unsigned k = 0; k < n && c->shape != SHAPE_LINE; k++)
        undefined |= dec_flags_undefined(&d[k]);
    for (unsigned k = 0; k < n; k++) {
        if (dec_flags_read(&d[k]) & undefined)
            return true;
        if (c->shape == SHAPE_LINE)
            undefined = (undefined & ~(jumped ? 0 : dec_flags_killed(&d[k]))) | dec_flags_undefined(&d[k]);
        jumped |= dec_is_branch(&d[k]);
    }
    return false;
}

static bool takes_selector(const struct dec *d)
{
    switch (d->i.mnemonic) {
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
        return true;
    default:
        return d->i.mnemonic == ZYDIS_MNEMONIC_MOV && d->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
               ZydisRegisterGetClass(d->op[0].reg.value) == ZYDIS_REGCLASS_SEGMENT;
    }
}

/* A selector that is computed may be one of the host kernel's own. */
static bool computes_selector(const struct dec *d, unsigned n)
{
    uint32_t written = 0;
    for (unsigned k = 0; k < n; k++) {
        const ZydisDecodedOperand *op = &d[k].op[d[k].i.operand_count_visible ? d[k].i.operand_count_visible - 1 : 0];
        int reg = op->type == ZYDIS_OPERAND_TYPE_REGISTER ? dec_gpr(op->reg.value) : -1;
        if (takes_selector(&d[k]) && reg >= 0 && written >> reg & 1)
            return true;
        written |= dec_gprs_written(&d[k]);
    }
    return false;
}

void gen_append(const struct gen *g, struct insn_case *c, struct dec *d, const uint8_t *bytes, unsigned len)
{
    memcpy(c->code + c->len, bytes, len);
    decode(g->dec, bytes, len, &d[c->n_insn]);
    c->off[c->n_insn++] = c->len;
    c->len = (uint8_t)(c->len + len);
    c->off[c->n_insn] = c->len;
}

void gen_append_random(const struct gen *g, const struct stems *s, struct rng *r, struct insn_case *c, struct dec *d,
                       unsigned n, bool straight, uint32_t keep)
{
    unsigned end = c->n_insn + n;
    while (c->n_insn < end) {
        struct dec one;
        uint8_t bytes[16];
        if (random_insn(g, s, r, bytes, &one) != DEC_COMPARE)
            continue;
        if (straight && (dec_is_branch(&one) || dec_is_rep_string(&one) || dec_gprs_written(&one) & keep))
            continue;
        gen_append(g, c, d, bytes, one.i.length);
    }
}

static void random_code(const struct gen *g, const struct stems *s, struct rng *r, struct insn_case *c, struct dec *d)
{
    uint8_t loop[] = {0xe2, 0}, call[] = {0xe8, 2, 0, 0, 0}, jump[] = {0xeb, 0}, ret[] = {0xc3};
    unsigned call_len = g->dec->mode->mode == CPU_TEST_16 ? 3 : sizeof(call);
    uint32_t pick = rng_below(r, 100);
    c->len = 0;
    c->n_insn = 0;
    c->off[0] = 0;
    c->shape = g->only || pick < 90 ? SHAPE_LINE : pick < 94 ? SHAPE_LOOP : pick < 98 ? SHAPE_CALL : SHAPE_SMC;
    if (c->shape == SHAPE_SMC && !g->pages.smc)
        c->shape = SHAPE_LINE;
    switch (c->shape) {
    case SHAPE_SMC:
        gen_smc(g, s, r, c, d);
        break;
    case SHAPE_LOOP:
        gen_append_random(g, s, r, c, d, 1 + rng_below(r, 3), true, 1u << 1);
        loop[1] = (uint8_t)(c->off[rng_below(r, c->n_insn)] - (c->len + 2u));
        gen_append(g, c, d, loop, sizeof(loop));
        break;
    case SHAPE_CALL:
        gen_append(g, c, d, call, call_len);
        gen_append(g, c, d, jump, sizeof(jump));
        gen_append_random(g, s, r, c, d, 1 + rng_below(r, 3), true, 0);
        gen_append(g, c, d, ret, sizeof(ret));
        c->code[call_len + 1] = (uint8_t)(c->len - (call_len + 2));
        break;
    default:
        gen_append_random(g, s, r, c, d, rng_chance(r, 40) ? 1 : 1 + rng_below(r, 4), false, 0);
        break;
    }
}

void gen_random(const struct gen *g, const struct stems *s, uint64_t n, unsigned slot, struct insn_case *c)
{
    struct rng r = rng_for(g->seed, 1, n);
    const struct mode *m = g->dec->mode;
    const uint64_t code_end = m->code + CODE_PAGES * INSN_PAGE;
    struct dec d[MAX_SEQ];
    do {
        random_code(g, s, &r, c, d);
    } while (reads_undefined(c, d, c->n_insn) || computes_selector(d, c->n_insn));
    c->id = n;
    c->skip_native = false;
    c->open_end = false;
    if (c->shape != SHAPE_SMC)
        gen_place(g, &r, slot, c);
    if (c->shape != SHAPE_SMC && slot == BATCH - 1 && rng_chance(&r, 60)) {
        c->open_end = true;
        c->code_va = code_end - 1 - rng_below(&r, c->len);
    }
    setup_case(g->dec, &r, c, d, &g->pages);
    if (c->open_end)
        c->len = (uint8_t)(code_end - c->code_va);
}
