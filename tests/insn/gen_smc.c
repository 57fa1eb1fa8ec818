/* Code that changes itself: a store into an instruction that comes later, or has run already and comes again by a loop.
 * What a store changes must be seen by the very next instruction, across pages and for stores of any width. */
#include "gen.h"

#include <string.h>

#include "setup.h"
#include "src/base/util.h"

enum { INC = 0x40, WIDE_INC = 0xff, MOV_IMM = 0xb8, ADD_IMM = 0x83 };

/* An instruction that a store can change in one bit or in its immediate, working on EAX, EDX or EBX. */
static void append_victim(const struct gen *g, struct rng *r, struct insn_case *c, struct dec *d)
{
    static const uint8_t regs[] = {0, 2, 3};
    uint8_t reg = regs[rng_below(r, ARRAY_LEN(regs))];
    uint8_t inc[] = {(uint8_t)(INC + reg)}, wide_inc[] = {WIDE_INC, (uint8_t)(0xc0 + reg)};
    uint8_t mov[] = {(uint8_t)(MOV_IMM + reg), 1, 2, 3, 4};
    uint8_t add[] = {ADD_IMM, (uint8_t)(0xc0 + reg), 5};
    enum cpu_test_mode mode = g->dec->mode->mode;
    switch (rng_below(r, 3)) {
    case 0:
        if (mode == CPU_TEST_64)
            gen_append(g, c, d, wide_inc, sizeof(wide_inc));
        else
            gen_append(g, c, d, inc, sizeof(inc));
        break;
    case 1:
        gen_append(g, c, d, mov, mode == CPU_TEST_16 ? 3 : sizeof(mov));
        break;
    default:
        gen_append(g, c, d, add, sizeof(add));
        break;
    }
}

/* Adds "op [va], immediate": by a displacement alone in 32-bit code, relative to RIP in 64-bit code, through ES and
 * with a 32-bit address in 16-bit code. */
static void append_to(const struct gen *g, struct insn_case *c, struct dec *d, bool lock, uint8_t opcode, uint8_t modrm,
                      uint64_t va, uint32_t imm, unsigned imm_len)
{
    enum cpu_test_mode mode = g->dec->mode->mode;
    uint8_t code[16];
    unsigned n = 0;
    if (lock)
        code[n++] = 0xf0;
    if (mode == CPU_TEST_16) {
        code[n++] = 0x26;
        code[n++] = 0x67;
    }
    code[n++] = opcode;
    code[n++] = modrm;
    uint32_t disp = (uint32_t)va;
    if (mode == CPU_TEST_64)
        disp = (uint32_t)(va - (c->code_va + c->len + n + 4 + imm_len));
    memcpy(code + n, &disp, 4);
    memcpy(code + n + 4, &imm, imm_len);
    gen_append(g, c, d, code, n + 4 + imm_len);
}

/* A store that turns the victim at va into another harmless instruction. */
static void append_store(const struct gen *g, struct rng *r, struct insn_case *c, struct dec *d, const uint8_t *victim,
                         uint64_t va)
{
    bool is_mov = victim[0] >= MOV_IMM && victim[0] < MOV_IMM + 8;
    uint64_t at = va + (is_mov ? 1 : 2);
    uint32_t value = rng_u32(r);
    if (victim[0] == WIDE_INC || victim[0] < 0x50) /* xor byte [va], 8: INC and DEC */
        append_to(g, c, d, false, 0x80, 0x35, va + (victim[0] == WIDE_INC), 8, 1);
    else if (victim[0] == ADD_IMM || rng_chance(r, 40)) /* mov byte [at], value */
        append_to(g, c, d, false, 0xc6, 0x05, at, value, 1);
    else if (rng_chance(r, 50)) /* mov [at], value */
        append_to(g, c, d, false, 0xc7, 0x05, at, value, g->dec->mode->mode == CPU_TEST_16 ? 2 : 4);
    else /* lock add [at], 11h */
        append_to(g, c, d, true, 0x83, 0x05, at, 0x11, 1);
}

static unsigned store_length(const uint8_t *victim, struct rng r, const struct gen *g, struct insn_case c,
                             struct dec *d)
{
    unsigned before = c.len;
    append_store(g, &r, &c, d, victim, c.code_va);
    return c.len - before;
}

void gen_smc(const struct gen *g, const struct stems *s, struct rng *r, struct insn_case *c, struct dec *d)
{
    const struct mode *m = g->dec->mode;
    c->code_va = m->smc + (rng_chance(r, 60) ? rng_below(r, 2 * INSN_PAGE - 80) : INSN_PAGE - rng_below(r, 40));
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
                 dec_gprs_written(&one) & (1u << 4 | 1u << 1));
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
