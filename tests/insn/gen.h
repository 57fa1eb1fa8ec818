/* The two generators. Case n of a generator depends on (seed, n) only. */
#ifndef INSN_GEN_H
#define INSN_GEN_H

#include "decode.h"
#include "rng.h"
#include "setup.h"

struct gen {
    const struct decoder *dec;
    uint64_t seed;
    struct optional_pages pages;
    ZydisMnemonic only; /* 0: all */
};

/* One instruction's worth of leading bytes that decodes; the rest (operands, immediates) is free. */
struct stem {
    uint8_t prefix[2];
    uint8_t n_prefix;
    uint8_t map;      /* 0: one byte; 1: 0F; 2: 0F 38; 3: 0F 3A */
    bool vex;         /* the map is the VEX prefix's, vex_bits its W, L and pp */
    bool vex_operand; /* VEX.vvvv is a register's number; else it must be 0 */
    uint8_t vex_bits;
    bool rex_w;
    uint8_t opcode;
    uint8_t modrm;
    bool has_modrm;
    bool rm_fixed; /* ModRM.rm chooses the instruction */
    bool general;  /* neither x87 nor MMX nor SSE */
    ZydisMnemonic mnemonic;
};

struct stems {
    struct stem *v;
    uint32_t n;
    uint32_t *first; /* v[first[m]] is the first stem of the m-th mnemonic; one more entry ends the last */
    uint32_t n_mnemonics;
    uint32_t *general; /* numbers of the mnemonics that work on general registers */
    uint32_t n_general;
};

/* Fills *ret with all stems of offered instructions, grouped by mnemonic; stems_release() frees. */
int stems_init(struct stems *ret, const struct gen *g);
void stems_release(struct stems *s);

/* Random case n: 1 to 4 instructions. */
void gen_random(const struct gen *g, const struct stems *s, uint64_t n, unsigned slot, struct insn_case *c);

#define MAX_CODE 16 /* bytes that a generator fills for one instruction */

/* Puts prefix, REX or VEX, map and opcode at out; extra: random bits for REX.RXB or VEX.RXB and vvvv. Returns how many
 * bytes. */
unsigned put_stem(const struct mode *m, const struct stem *st, uint32_t extra, uint8_t *out);

/* The exhaustive walk: a cursor over all encodings. */
struct walk {
    uint32_t map, opcode, prefix, form;
};
/* Makes the case at the cursor and moves on; false: the walk has ended. id is the number of the case. */
bool gen_walk(const struct gen *g, struct walk *w, uint64_t id, unsigned slot, struct insn_case *c);

/* Bytes of one random instruction at out (MAX_CODE free) and its decoded form; its class. */
enum dec_class random_insn(const struct gen *g, const struct stems *s, struct rng *r, uint8_t *out, struct dec *d);
/* Adds an instruction to a case. */
void gen_append(const struct gen *g, struct insn_case *c, struct dec *d, const uint8_t *bytes, unsigned len);
/* Adds n random instructions; straight: none that branches or repeats, none that writes a register of `keep`. */
void gen_append_random(const struct gen *g, const struct stems *s, struct rng *r, struct insn_case *c, struct dec *d,
                       unsigned n, bool straight, uint32_t keep);
/* Code that changes itself, with its place. */
void gen_smc(const struct gen *g, const struct stems *s, struct rng *r, struct insn_case *c, struct dec *d);

/* Sets code_va for a case of c->len bytes in its slot. */
void gen_place(const struct gen *g, struct rng *r, unsigned slot, struct insn_case *c);

#endif
