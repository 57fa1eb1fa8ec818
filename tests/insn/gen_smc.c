/* Code that changes itself: a store into an instruction that comes later, or has run already and comes again by a loop.
 * What a store changes must be seen by the very next instruction, across pages and for stores of any width. */
#include "gen.h"

#include <string.h>

#include "setup.h"
#include "src/base/util.h"

enum { INC = 0x40, MOV_IMM = 0xb8 };

/* An instruction that a store can change in one bit or in its immediate, working on EAX, EDX or EBX. */
static void append_victim(const struct gen *g, struct rng *r, struct insn_case *c, struct dec *d)
{
    static const uint8_t regs[] = {0, 2, 3};
    uint8_t reg = regs[rng_below(r, ARRAY_LEN(regs))];
    uint8_t inc[] = {(uint8_t)(INC + reg)};
    uint8_t mov[] = {(uint8_t)(MOV_IMM + reg), 1, 2, 3, 4};
    uint8_t add[] = {0x83, (uint8_t)(0xc0 + reg), 5};
    switch (rng_below(r, 3)) {
    case 0:
        gen_append(g, c, d, inc, sizeof(inc));
        break;
    case 1:
        gen_append(g, c, d, mov, sizeof(mov));
        break;
    default:
        gen_append(g, c, d, add, sizeof(add));
        break;
    }
}

/* A store that turns the victim at va into another harmless instruction. */
static void append_store(const struct gen *g, struct rng *r, struct insn_case *c, struct dec *d, const uint8_t *victim,
                         uint32_t va)
{
    uint8_t flip[] = {0x80, 0x35, 0, 0, 0, 0, 0x08};         /* xor byte [va], 8: INC and DEC, MOV and another MOV */
    uint8_t imm8[] = {0xc6, 0x05, 0, 0, 0, 0, 0};            /* mov byte [va], imm8 */
    uint8_t imm32[] = {0xc7, 0x05, 0, 0, 0, 0, 0, 0, 0, 0};  /* mov dword [va], imm32 */
    uint8_t locked[] = {0xf0, 0x83, 0x05, 0, 0, 0, 0, 0x11}; /* lock add dword [va], 11h */
    uint32_t at = va + (victim[0] >= 0xb8 ? 1 : 2), value = rng_u32(r);
    if (victim[0] < 0x50) {
        memcpy(flip + 2, &va, 4);
        gen_append(g, c, d, flip, sizeof(flip));
    } else if (victim[0] == 0x83 || rng_chance(r, 40)) {
        memcpy(imm8 + 2, &at, 4);
        imm8[6] = (uint8_t)value;
        gen_append(g, c, d, imm8, sizeof(imm8));
    } else if (rng_chance(r, 50)) {
        memcpy(imm32 + 2, &at, 4);
        memcpy(imm32 + 6, &value, 4);
        gen_append(g, c, d, imm32, sizeof(imm32));
    } else {
        memcpy(locked + 3, &at, 4);
        gen_append(g, c, d, locked, sizeof(locked));
    }
}

static unsigned store_length(const uint8_t *victim, struct rng r, const struct gen *g, struct insn_case c,
                             struct dec *d)
{
    unsigned before = c.len;
    append_store(g, &r, &c, d, victim, 0);
    return c.len - before;
}

void gen_smc(const struct gen *g, const struct stems *s, struct rng *r, struct insn_case *c, struct dec *d)
{
    c->code_va = SMC_VA + (rng_chance(r, 60) ? rng_below(r, 2 * INSN_PAGE - 80) : INSN_PAGE - rng_below(r, 40));
    if (rng_chance(r, 40)) { /* the victim first, then the store, then again */
        append_victim(g, r, c, d);
        append_store(g, r, c, d, c->code, c->code_va);
        uint8_t loop[] = {0xe2, (uint8_t) - (c->len + 2)};
        gen_append(g, c, d, loop, sizeof(loop));
        return;
    }
    /* the store, perhaps something else, then the victim: lay the victim out first to know its bytes */
    struct insn_case probe = {.len = 0};
    struct rng again;
    uint8_t filler[16];
    struct dec one = {0};
    bool fill = rng_chance(r, 50);
    if (fill) {
        do {
        } while (random_insn(g, s, r, filler, &one) != DEC_COMPARE || dec_is_branch(&one) || dec_is_rep_string(&one) ||
                 one.i.mnemonic == ZYDIS_MNEMONIC_BSF || one.i.mnemonic == ZYDIS_MNEMONIC_BSR ||
                 dec_gprs_written(&one) & 0x12);
    }
    append_victim(g, r, &probe, d);
    again = *r;
    unsigned len = store_length(probe.code, again, g, probe, d);
    append_store(g, r, c, d, probe.code, c->code_va + len + (fill ? one.i.length : 0u));
    if (fill)
        gen_append(g, c, d, filler, one.i.length);
    gen_append(g, c, d, probe.code, probe.len);
    if (rng_chance(r, 30)) {
        uint8_t loop[] = {0xe2, (uint8_t) - (c->len + 2)};
        gen_append(g, c, d, loop, sizeof(loop));
    }
}
