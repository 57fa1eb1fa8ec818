/* What both generators share, and the random one. */
#include "gen.h"

#include <stdlib.h>
#include <string.h>

#include "setup.h"
#include "src/base/err.h"
#include "src/base/util.h"

#define CODE_END  (CODE_VA + CODE_PAGES * INSN_PAGE)
#define EXIT_ROOM 16 /* bytes kept behind a case for its end and its branch targets */

void gen_place(struct rng *r, unsigned slot, struct insn_case *c)
{
    c->code_va = CODE_VA + slot * SLOT_BYTES + rng_below(r, SLOT_BYTES - EXIT_ROOM - c->len + 1u);
}

static unsigned put_opcode(uint8_t *out, const uint8_t *prefix, unsigned n_prefix, unsigned map, uint8_t opcode)
{
    unsigned n = 0;
    while (n < n_prefix) {
        out[n] = prefix[n];
        n++;
    }
    if (map > 0)
        out[n++] = 0x0f;
    if (map > 1)
        out[n++] = map == 2 ? 0x38 : 0x3a;
    out[n++] = opcode;
    return n;
}

static bool is_prefix_byte(uint8_t b)
{
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
        return true;
    default:
        return false;
    }
}

static int add_stems(struct stems *s, size_t *room, const struct gen *g, struct stem one)
{
    bool rm_fixed = one.map == 0 && one.opcode >= 0xd8 && one.opcode <= 0xdf;
    rm_fixed = rm_fixed || (one.map == 1 && (one.opcode == 0x01 || one.opcode == 0xae || one.opcode == 0xc7));
    for (unsigned modrm = 0; modrm < 256; modrm++) {
        unsigned mod = modrm >> 6, rm = modrm & 7;
        if (mod == 1 || mod == 2 || (mod == 0 && rm != 3) || (mod == 3 && rm != 0 && !rm_fixed))
            continue;
        uint8_t code[16] = {0};
        unsigned n = put_opcode(code, one.prefix, one.n_prefix, one.map, one.opcode);
        code[n] = (uint8_t)modrm;
        struct dec d;
        enum dec_class cls = decode(g->dec, code, 15, &d);
        one.modrm = (uint8_t)modrm;
        one.has_modrm = cls != DEC_BAD && (d.i.attributes & ZYDIS_ATTRIB_HAS_MODRM);
        one.rm_fixed = mod == 3 && rm_fixed;
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

int stems_init(struct stems *ret, const struct gen *g)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf2, 0xf3, 0xf0};
    size_t room = 0;
    *ret = (struct stems){0};
    for (unsigned map = 0; map < 4; map++)
        for (unsigned opcode = 0; opcode < 256; opcode++)
            for (unsigned p = 0; p < ARRAY_LEN(prefixes); p++) {
                struct stem one = {.map = (uint8_t)map, .opcode = (uint8_t)opcode, .n_prefix = p > 0};
                one.prefix[0] = prefixes[p];
                if (map == 0 && (is_prefix_byte(one.opcode) || opcode == 0x0f))
                    continue;
                if (map == 1 && (opcode == 0x38 || opcode == 0x3a))
                    continue;
                int r = add_stems(ret, &room, g, one);
                if (r)
                    return r;
            }
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
    uint8_t code[32];
    unsigned n = 0;
    static const uint8_t segment[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    if (rng_chance(r, 6))
        code[n++] = 0x67;
    if (rng_chance(r, 5))
        code[n++] = segment[rng_below(r, ARRAY_LEN(segment))];
    n += put_opcode(code + n, st->prefix, st->n_prefix, st->map, st->opcode);
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
    for (unsigned k = 0; k < n && c->shape != SHAPE_LINE; k++)
        undefined |= dec_flags_undefined(&d[k]);
    for (unsigned k = 0; k < n; k++) {
        if (dec_flags_read(&d[k]) & undefined)
            return true;
        if (c->shape == SHAPE_LINE)
            undefined = (undefined & ~dec_flags_killed(&d[k])) | dec_flags_undefined(&d[k]);
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
    uint32_t pick = rng_below(r, 100);
    c->len = 0;
    c->n_insn = 0;
    c->off[0] = 0;
    c->shape = g->only || pick < 90 ? SHAPE_LINE : pick < 94 ? SHAPE_LOOP : pick < 98 ? SHAPE_CALL : SHAPE_SMC;
    if (c->shape == SHAPE_SMC && !g->smc)
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
        gen_append(g, c, d, call, sizeof(call));
        gen_append(g, c, d, jump, sizeof(jump));
        gen_append_random(g, s, r, c, d, 1 + rng_below(r, 3), true, 0);
        gen_append(g, c, d, ret, sizeof(ret));
        c->code[6] = (uint8_t)(c->len - 7);
        break;
    default:
        gen_append_random(g, s, r, c, d, rng_chance(r, 40) ? 1 : 1 + rng_below(r, 4), false, 0);
        break;
    }
}

void gen_random(const struct gen *g, const struct stems *s, uint64_t n, unsigned slot, struct insn_case *c)
{
    struct rng r = rng_for(g->seed, 1, n);
    struct dec d[MAX_SEQ];
    do {
        random_code(g, s, &r, c, d);
    } while (reads_undefined(c, d, c->n_insn));
    c->id = n;
    c->skip_native = false;
    c->open_end = false;
    if (c->shape != SHAPE_SMC)
        gen_place(&r, slot, c);
    if (c->shape != SHAPE_SMC && slot == BATCH - 1 && rng_chance(&r, 60)) {
        c->open_end = true;
        c->code_va = CODE_END - 1 - rng_below(&r, c->len);
    }
    setup_case(g->dec, &r, c, d, g->low);
    if (c->open_end)
        c->len = (uint8_t)(CODE_END - c->code_va);
}
