/* The exhaustive walk: opcode maps x prefixes x ModRM and SIB forms. Plain, 66-prefixed and REX.W opcodes get all 256
 * ModRM bytes and more SIB bytes; other prefixes and VEX a selection that still has every reg field, both kinds of rm
 * and the byte registers. Whatever does not decode is tried too: both sides must refuse it. */
#include "gen.h"

#include <string.h>

#include "setup.h"
#include "src/base/util.h"

#define INT3 0xcc

struct prefix {
    uint8_t n, byte[3];
};

/* The first FULL_OF(mode) get all forms; those from FIRST_64 on are 64-bit code's. */
static const struct prefix prefixes[] = {
    {0, {0}},          {1, {0x66}},       {1, {0xf2}},
    {1, {0xf3}},       {1, {0xf0}},       {1, {0x67}},
    {1, {0x26}},       {1, {0x2e}},       {1, {0x36}},
    {1, {0x3e}},       {1, {0x64}},       {1, {0x65}},
    {2, {0x66, 0xf2}}, {2, {0x66, 0xf3}}, {2, {0xf0, 0x66}},
    {2, {0x67, 0x66}}, {2, {0x67, 0xf3}}, {2, {0xf2, 0xf3}},
    {2, {0x66, 0x66}}, {2, {0xf3, 0x66}}, {3, {0x64, 0x67, 0xf3}},
};

static const struct prefix rex_prefixes[] = {
    {0, {0}},
    {1, {0x48}},
    {1, {0x66}},
    {1, {0x40}},
    {1, {0x41}},
    {1, {0x42}},
    {1, {0x44}},
    {1, {0x47}},
    {1, {0x49}},
    {1, {0x4a}},
    {1, {0x4c}},
    {1, {0x4d}},
    {1, {0x4f}},
    {1, {0xf2}},
    {1, {0xf3}},
    {1, {0xf0}},
    {1, {0x67}},
    {1, {0x2e}},
    {1, {0x64}},
    {1, {0x65}},
    {2, {0x66, 0xf2}},
    {2, {0x66, 0xf3}},
    {2, {0xf0, 0x66}},
    {2, {0x67, 0x66}},
    {2, {0xf2, 0xf3}},
    {2, {0x66, 0x41}},
    {2, {0x66, 0x44}},
    {2, {0x66, 0x48}},
    {2, {0x66, 0x4f}},
    {2, {0xf2, 0x45}},
    {2, {0xf2, 0x48}},
    {2, {0xf3, 0x45}},
    {2, {0xf3, 0x48}},
    {2, {0xf0, 0x48}},
    {2, {0xf0, 0x4d}},
    {2, {0x67, 0x47}},
    {2, {0x67, 0x48}},
    {2, {0x64, 0x48}},
    {2, {0x65, 0x4f}},
    {2, {0x48, 0x66}},
    {2, {0x48, 0x40}},
    {3, {0x65, 0x67, 0xf3}},
    {3, {0x67, 0xf3, 0x48}},
    {3, {0x66, 0xf3, 0x4c}},
};

/* Before a VEX prefix: none, and what makes it #UD or only changes addresses. */
static const struct prefix vex_prefixes[] = {{0, {0}},    {1, {0x67}}, {1, {0x65}}, {1, {0x66}},
                                             {1, {0xf3}}, {1, {0xf0}}, {1, {0x48}}};
#define VEX_VARIANTS 16 /* of W, L and pp */

static const uint8_t sibs[] = {0x24, 0x25, 0x6c, 0xb5, 0xdd, 0x1b, 0x44, 0xf6}; /* with and without base, index, EBP */
static const uint8_t narrow_rm[] = {0xc0, 0xc1, 0xc4, 0xc7, 0x03, 0x46, 0x8c, 0x06, 0x02, 0x87};
static const uint8_t few_rm[] = {0xc0, 0xc1, 0xc4, 0xc7, 0x03, 0x46, 0x8c, 0x05};

#define IMM_FORMS  6 /* cases for an encoding without ModRM */
#define BAD_FORMS  16
#define FULL_FORMS (256 + 8 * 3 * (unsigned)ARRAY_LEN(sibs))
#define VEX_MAP    4 /* walk.map of VEX map 1 */

/* ModRM and SIB of form f; false: no such form. */
static bool form_bytes(const struct mode *m, const struct walk *w, bool full, uint8_t *modrm, uint8_t *sib,
                       struct rng *r)
{
    uint32_t f = w->form;
    const uint8_t *few = m->mode == CPU_TEST_16 ? narrow_rm : few_rm;
    uint32_t n = m->mode == CPU_TEST_16 ? ARRAY_LEN(narrow_rm) : ARRAY_LEN(few_rm);
    *sib = (uint8_t)rng_u32(r);
    if (!full && m->mode == CPU_TEST_64) { /* there are many prefixes: half of the forms each */
        *modrm = (uint8_t)(few[(f / 8 * 2 + (w->prefix & 1)) % n] | (f % 8) << 3);
        return f < 4 * n;
    }
    if (!full) {
        *modrm = (uint8_t)(few[f / 8 % n] | (f % 8) << 3);
        return f < 8 * n;
    }
    if (f < 256) {
        *modrm = (uint8_t)f;
        return true;
    }
    f -= 256;
    *sib = sibs[f % ARRAY_LEN(sibs)];
    f /= ARRAY_LEN(sibs);
    *modrm = (uint8_t)(4 | (f & 7) << 3 | (f >> 3) << 6);
    return f < 24;
}

static bool skip_opcode(const struct mode *m, const struct walk *w)
{
    static const uint8_t not_opcodes[] = {0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
    if (w->map == 1)
        return w->opcode == 0x38 || w->opcode == 0x3a;
    if (w->map != 0)
        return false;
    if (m->mode == CPU_TEST_64 && (w->opcode >> 4 == 4 || w->opcode == 0xc4 || w->opcode == 0xc5))
        return true; /* REX, VEX */
    return memchr(not_opcodes, (int)w->opcode, sizeof(not_opcodes));
}

static uint32_t n_prefixes(const struct mode *m, const struct walk *w)
{
    if (w->map >= VEX_MAP)
        return VEX_VARIANTS + (uint32_t)ARRAY_LEN(vex_prefixes);
    return m->mode == CPU_TEST_64 ? ARRAY_LEN(rex_prefixes) : ARRAY_LEN(prefixes);
}

static void next_prefix(const struct mode *m, struct walk *w)
{
    w->form = 0;
    if (++w->prefix < n_prefixes(m, w))
        return;
    w->prefix = 0;
    if (++w->opcode < 256)
        return;
    w->opcode = 0;
    w->map++;
}

/* Prefixes, map and opcode at the cursor. */
static unsigned leading_bytes(const struct mode *m, const struct walk *w, struct rng *r, uint8_t *code)
{
    struct stem st = {.map = (uint8_t)w->map, .opcode = (uint8_t)w->opcode};
    const struct prefix *p = m->mode == CPU_TEST_64 ? &rex_prefixes[w->prefix] : &prefixes[w->prefix];
    uint32_t extra = 0;
    if (w->map >= VEX_MAP) {
        st.map = (uint8_t)(w->map - VEX_MAP + 1);
        st.vex = true;
        st.vex_bits = (uint8_t)(w->prefix < VEX_VARIANTS ? w->prefix : rng_below(r, VEX_VARIANTS));
        st.vex_operand = rng_chance(r, 60);
        extra = rng_u32(r);
        p = &vex_prefixes[w->prefix < VEX_VARIANTS ? 0 : w->prefix - VEX_VARIANTS];
    }
    memcpy(code, p->byte, p->n);
    return p->n + put_stem(m, &st, extra, code + p->n);
}

/* The encoding at the cursor: 15 bytes at code, those behind *ret_head are operands. */
static bool encoding(const struct mode *m, const struct walk *w, struct rng *r, uint8_t code[MAX_CODE],
                     unsigned *ret_head)
{
    bool full = w->map < VEX_MAP && w->prefix < (m->mode == CPU_TEST_64 ? 3 : 2);
    uint8_t modrm, sib;
    if (!form_bytes(m, w, full, &modrm, &sib, r))
        return false;
    unsigned n = leading_bytes(m, w, r, code);
    code[n++] = modrm;
    code[n++] = sib;
    *ret_head = n;
    if (w->map == 0 && (w->opcode == 0x62 || w->opcode == 0xc4 || w->opcode == 0xc5)) /* VEX, EVEX: longer */
        *ret_head += 4;
    while (n < 15)
        code[n++] = (uint8_t)rng_u32(r);
    return true;
}

static bool system_group(const uint8_t code[16])
{
    unsigned n = 0;
    while (n < 4 && code[n] != 0x0f)
        n++;
    return code[n] == 0x0f && code[n + 1] == 0x01 && code[n + 2] >= 0xc0;
}

static void make_case(const struct gen *g, struct rng *r, uint64_t id, unsigned slot, enum dec_class cls, struct dec *d,
                      const uint8_t code[MAX_CODE], unsigned head, struct insn_case *c)
{
    c->id = id;
    c->n_insn = cls == DEC_BAD ? 0 : 1;
    c->len = cls == DEC_BAD ? 8 : d->i.length;
    c->off[0] = 0;
    c->off[1] = c->len;
    c->open_end = false;
    c->shape = SHAPE_LINE;
    /* 0F 01 with mod 3 holds hypervisor calls and what is newer than the decoder */
    c->skip_native = cls == DEC_NOT_OFFERED || (cls == DEC_BAD && system_group(code));
    memcpy(c->code, code, c->len);
    if (cls == DEC_BAD) /* a host with more than the decoder knows must not run on into something wild */
        memset(c->code + head, INT3, head < c->len ? c->len - head : 0);
    gen_place(g, r, slot, c);
    setup_case(g->dec, r, c, d, &g->pages);
}

bool gen_walk(const struct gen *g, struct walk *w, uint64_t id, unsigned slot, struct insn_case *c)
{
    const struct mode *m = g->dec->mode;
    while (w->map < VEX_MAP + 3) {
        struct rng r = rng_for(g->seed, 2, ((uint64_t)w->map << 24 | w->opcode << 16 | w->prefix << 10) + w->form);
        uint8_t code[MAX_CODE];
        struct dec d;
        unsigned head;
        if (skip_opcode(m, w) || !encoding(m, w, &r, code, &head)) {
            next_prefix(m, w);
            continue;
        }
        enum dec_class cls = decode(g->dec, code, 15, &d);
        w->form++;
        if (cls != DEC_BAD && !(d.i.attributes & ZYDIS_ATTRIB_HAS_MODRM) && w->form >= IMM_FORMS)
            next_prefix(m, w);
        bool refused = cls == DEC_BAD || (cls == DEC_NOT_OFFERED && w->map >= VEX_MAP);
        if (w->map >= 2 && refused && w->form > BAD_FORMS && !rng_chance(&r, 4))
            continue;
        if (cls == DEC_SKIP || (g->only && (cls == DEC_BAD || d.i.mnemonic != g->only)))
            continue;
        make_case(g, &r, id, slot, cls, &d, code, head, c);
        return true;
    }
    return false;
}
