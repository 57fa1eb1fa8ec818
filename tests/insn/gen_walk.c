/* The exhaustive walk: opcode maps x prefixes x ModRM and SIB forms. Plain and 66-prefixed opcodes get all 256 ModRM
 * bytes and more SIB bytes; other prefixes a selection that still has every reg field, both kinds of rm and the byte
 * registers. Whatever does not decode is tried too: both sides must refuse it. */
#include "gen.h"

#include <string.h>

#include "setup.h"
#include "src/base/util.h"

static const struct {
    uint8_t n, byte[3];
} prefixes[] = {
    {0, {0}},          {1, {0x66}},       {1, {0xf2}},
    {1, {0xf3}},       {1, {0xf0}},       {1, {0x67}},
    {1, {0x26}},       {1, {0x2e}},       {1, {0x36}},
    {1, {0x3e}},       {1, {0x64}},       {1, {0x65}},
    {2, {0x66, 0xf2}}, {2, {0x66, 0xf3}}, {2, {0xf0, 0x66}},
    {2, {0x67, 0x66}}, {2, {0x67, 0xf3}}, {2, {0xf2, 0xf3}},
    {2, {0x66, 0x66}}, {2, {0xf3, 0x66}}, {3, {0x64, 0x67, 0xf3}},
};

static const uint8_t sibs[] = {0x24, 0x25, 0x6c, 0xb5, 0xdd, 0x1b, 0x44, 0xf6}; /* with and without base, index, EBP */
static const uint8_t few_rm[] = {0xc0, 0xc1, 0xc4, 0xc7, 0x03, 0x46, 0x8c, 0x05};

#define IMM_FORMS  6 /* cases for an encoding without ModRM */
#define FULL_FORMS (256 + 8 * 3 * (unsigned)ARRAY_LEN(sibs))
#define FEW_FORMS  (8 * (unsigned)ARRAY_LEN(few_rm))

/* ModRM and SIB of form f; false: no such form. */
static bool form_bytes(uint32_t f, bool full, uint8_t *modrm, uint8_t *sib, struct rng *r)
{
    *sib = (uint8_t)rng_u32(r);
    if (!full) {
        *modrm = (uint8_t)(few_rm[f % ARRAY_LEN(few_rm)] | f / ARRAY_LEN(few_rm) << 3);
        return f < FEW_FORMS;
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

static bool skip_opcode(const struct walk *w)
{
    static const uint8_t not_opcodes[] = {0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
    if (w->map == 1)
        return w->opcode == 0x38 || w->opcode == 0x3a;
    return w->map == 0 && memchr(not_opcodes, (int)w->opcode, sizeof(not_opcodes));
}

static void next_prefix(struct walk *w)
{
    w->form = 0;
    if (++w->prefix < ARRAY_LEN(prefixes))
        return;
    w->prefix = 0;
    if (++w->opcode < 256)
        return;
    w->opcode = 0;
    w->map++;
}

/* The encoding at the cursor: 15 bytes at code. */
static bool encoding(struct walk *w, struct rng *r, uint8_t code[16])
{
    unsigned n = 0;
    uint8_t modrm, sib;
    if (!form_bytes(w->form, w->prefix < 2, &modrm, &sib, r))
        return false;
    for (unsigned i = 0; i < prefixes[w->prefix].n; i++)
        code[n++] = prefixes[w->prefix].byte[i];
    if (w->map > 0)
        code[n++] = 0x0f;
    if (w->map > 1)
        code[n++] = w->map == 2 ? 0x38 : 0x3a;
    code[n++] = (uint8_t)w->opcode;
    code[n++] = modrm;
    code[n++] = sib;
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
                      const uint8_t code[16], struct insn_case *c)
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
    gen_place(r, slot, c);
    setup_case(g->dec, r, c, d, g->low);
}

bool gen_walk(const struct gen *g, struct walk *w, uint64_t id, unsigned slot, struct insn_case *c)
{
    while (w->map < 4) {
        struct rng r = rng_for(g->seed, 2, ((uint64_t)w->map << 24 | w->opcode << 16 | w->prefix << 10) + w->form);
        uint8_t code[16];
        struct dec d;
        if (skip_opcode(w) || !encoding(w, &r, code)) {
            next_prefix(w);
            continue;
        }
        enum dec_class cls = decode(g->dec, code, 15, &d);
        w->form++;
        if (cls != DEC_BAD && !(d.i.attributes & ZYDIS_ATTRIB_HAS_MODRM) && w->form >= IMM_FORMS)
            next_prefix(w);
        if (cls == DEC_SKIP || (g->only && (cls == DEC_BAD || d.i.mnemonic != g->only)))
            continue;
        make_case(g, &r, id, slot, cls, &d, code, c);
        return true;
    }
    return false;
}
