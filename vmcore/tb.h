/* The translation of one block in the making: shared by block.c (what goes into it), liveness.c and rewrite*.c (how an
 * instruction is emitted). Runs outside of general-registers-only land. */
#ifndef VT_TB_H
#define VT_TB_H

#include <Zydis/Zydis.h>
#include "vmcore/cache.h"
#include "vmcore/emit.h"
#include "vmcore/helpers.h"

#ifdef VMTEST_CHECKED
enum { CHECKED = 1 }; /* verify every block, range-check every access */
#else
enum { CHECKED = 0 };
#endif

#define TB_MAX_INSN   32
#define TB_MAX_SIDE   4
#define TB_MAX_LINKS  24
#define TB_MAX_FAULTS 96
#define TB_MAX_LOOKS  12

/* Row numbers, in the order of insn.def. */
enum {
#define COPY(m)      ROWNO_##m,
#define COPY_SSE2(m) ROWNO_SSE2_##m,
#define SPEC(m, way) ROWNO_##m,
#define HELP(m, h)   ROWNO_##m,
#define END(m, h)    ROWNO_##m,
#include "vmcore/insn.def"
#undef COPY
#undef COPY_SSE2
#undef SPEC
#undef HELP
#undef END
    ROW_COUNT
};

enum row_kind { ROW_COPY, ROW_SPEC, ROW_HELP, ROW_END };
struct tb;
struct row {
    const char *name;
    uint16_t mnemonic;
    uint8_t kind;
    uint8_t sse2; /* the SSE2 instruction that shares its mnemonic with a string instruction */
    uint8_t helper;
    void (*emit)(struct tb *t);
};
/* NULL: not granted, #UD. */
const struct row *row_find(const ZydisDecodedInstruction *z);
unsigned row_count(void);
const struct row *row_get(unsigned i);

struct ginsn {
    ZydisDecodedInstruction z;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    const struct row *row; /* NULL: raises `vector` */
    const uint8_t *bytes;
    uint16_t off;
    uint8_t len;
    uint8_t vector;               /* X_UD, X_NM or X_GP where row is NULL */
    uint8_t reads, kills, writes; /* FL_ masks; kills: written whatever happens */
    uint8_t before, after;        /* live flags */
    uint8_t taken_live;           /* live at a direct jump's target */
    bool hw_fault;                /* the host may fault on it: DIV, x87, SSE */
    bool sse, x87_waits, mmx;
    bool ends;
    uint32_t names, sets; /* general registers, by number: operands and addresses; written */
    int8_t span;          /* its access belongs to this one of tb.spans; -1: to none */
};

struct span {           /* accesses off the same registers that are checked together: see span.c */
    int8_t base, index; /* BASE_ or a host register; H_NONE */
    uint8_t scale, rw, first, last, n;
    bool stack; /* by the stack's page, not by the TLB */
    bool open, branched, kept, ready;
    int32_t lo, hi; /* bytes from base + index << scale; for the stack's, from RSP at the block's entry */
    int32_t moved;  /* how far from there RSP is at the first access */
};

enum flags_loc { LOC_HOST, LOC_SAVED, LOC_BOTH };

struct tb {
    struct cpu *cpu;
    struct cache *cache;
    ZydisDecoder dec;
    uint32_t mode, bpn, bpn2;
    const uint8_t *code;     /* the page, or `pair` */
    uint8_t pair[4096 + 16]; /* the page and what an instruction needs of the one after, where it crosses */
    uint32_t avail;          /* bytes of code[] that may be read */
    struct ginsn in[TB_MAX_INSN];
    unsigned n;
    struct ginsn *cur;
    struct em hot, cold;
    enum flags_loc loc;
    bool open; /* the hot code does not end in an exit yet */
    struct {
        uint8_t *jump, *cold, *check, *way, *site;
    } links[TB_MAX_LINKS];
    unsigned nlinks;
    uint32_t nshared; /* the cache's, when the block was begun */
    struct fault_entry faults[TB_MAX_FAULTS];
    unsigned nfaults;
    struct look look[TB_MAX_LOOKS];
    unsigned nlook;
    bool too_big;
    bool m64;
    /* Scratch registers: address, addend, scratch, value across accesses. r8 to r11 for 32-bit code; in 64-bit code
     * four that no instruction of the block names, spilled to their places in struct cpu at its entry (its plan). */
    int ra, rb, rx, rv;
    uint16_t plan;   /* ra | rb << 4 | rx << 8 | rv << 12; 0 for 32-bit code */
    int base, index; /* where an access's operand is: ra + rb, or rsp + addend + disp where the stack's page is known */
    int32_t disp;
    struct span spans[TB_MAX_INSN];
    unsigned nspans;
    int8_t rb_span, ra_span; /* whose addend is in rb, whose address in ra */
    bool plain;              /* no spans: what was checked together did not pass */
    bool mixed;              /* the page is written by code of its own */
    bool twins;              /* each access has one */
    bool frame;              /* EBP is thought to be near ESP: a guess, which costs time where it is wrong */
    bool near_stack;         /* the address is ESP + near_disp and was not put into r8 */
    int32_t near_disp;
    bool near_frame; /* the address, in r8, is thought to be in the stack's page */
    int acc_reg;     /* parameter of small access operations */
    unsigned acc_size;
};

/* liveness.c */
void live_decode(struct ginsn *g);              /* fills reads, kills, writes */
uint8_t live_ahead(struct tb *t, uint32_t off); /* flags live at an offset of this page */
bool insn_ends_block(const struct ginsn *g);
bool tb_decode(struct tb *t, uint32_t off, struct ginsn *g); /* false: bytes of the next page are needed */

/* rewrite.c: pieces */
void fl_save(struct tb *t);
void fl_restore(struct tb *t, struct em *e);
void ea_to_ra(struct tb *t, const ZydisDecodedOperand *op, int32_t extra);
void ea_for_access(struct tb *t, const ZydisDecodedOperand *op, int32_t extra); /* the same, right before emit_access */
void stack_ea(struct tb *t, int base, int32_t disp);                            /* right before emit_access on SS */
typedef void (*access_op)(struct tb *t, struct em *e);
/* ra holds the offset in the segment; checks, then op with the operand at [base + index + disp]. */
void emit_access(struct tb *t, unsigned seg, unsigned size, unsigned rw, access_op op);
void emit_copy(struct tb *t);
void copy_op(struct tb *t, struct em *e);
const ZydisDecodedOperand *mem_operand(const struct ginsn *g);
void flags_before(struct tb *t, struct em *e); /* around an operation: back in the host's flags where it needs them */
void flags_after(struct tb *t);
void imm_bytes(struct em *e, const struct ginsn *g);
void put_site(struct em *e, const struct site *s);
void site_init(struct tb *t, struct site *s, unsigned kind);
void emit_helper(struct tb *t, unsigned helper, const ZydisDecodedOperand *mem, uint32_t arg, uint32_t arg2, bool ends);
void emit_raise(struct tb *t, unsigned vector);
int host_gpr(ZydisRegister r); /* 0..15 from any general register name */
unsigned seg_index(ZydisRegister r);
bool seg_is_flat(const struct tb *t, unsigned seg);
bool stack32(const struct tb *t);
void fault_here(struct tb *t, struct em *e, unsigned fix);

void e_site(struct tb *t, struct em *e, const struct site *s); /* a jump to C, and its site behind it */
uint8_t *e_stub_at(struct tb *t, struct em *e);       /* the jump alone: where the displacement to its site goes */
void flags_word(struct tb *t, struct em *e, int dst); /* saved flags into a register; and back */
void flags_set(struct tb *t, struct em *e, int src);

/* Minus the linear address of a page that may be written, for accesses off ESP. Gives back the jump to take on a miss.
 */
uint8_t *stack_check(struct tb *t, struct em *h, unsigned size, int32_t disp);
/* Where C goes on at `hot` with the block's address and value loaded again. */
uint8_t *way_back(struct tb *t, struct em *c, uint8_t *hot);

/* span.c */
void span_find(struct tb *t);
void span_access(struct tb *t, access_op op); /* emit_access() of an instruction that has a span */

/* rewrite_vex.c */
void vex_op(struct tb *t, struct em *e);
bool vex_aligned(const struct ginsn *g); /* must its operand be? */
/* The prefix in three bytes and the opcode; mem: with X and B for the operand's place. */
void vex_head(const struct tb *t, struct em *e, bool mem);
static inline bool is_vex(const struct ginsn *g)
{
    return g->z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}

/* rewrite_seg.c */
/* Through a helper out of the way: the jumps in miss[] go to it, and it goes on at the present place. Flags saved. */
void cold_helper(struct tb *t, uint8_t *const *miss, unsigned n, unsigned helper, uint32_t arg, uint32_t arg2);
bool seg_load_inline(const struct tb *t, unsigned seg);
void emit_mov_to_seg(struct tb *t, unsigned seg, int reg);
void emit_load_seg(struct tb *t, unsigned seg, const ZydisDecodedOperand *from);
void emit_pop_seg(struct tb *t, unsigned seg, unsigned size);
void range_check(struct tb *t,
                 struct em *e); /* checked builds: is the operand at [base + index + disp] in guest memory? */
/* ra against a set of the TLB: rb becomes the addend. Gives back the jump to take on a miss. */
uint8_t *tlb_check_as(struct tb *t, struct em *h, unsigned size, unsigned rw, int set);
/* The same for the bytes from ra to rx, at most a page of them. Takes rx. */
uint8_t *tlb_check_to(struct tb *t, struct em *h, unsigned rw, int set);

/* rewrite_string.c */
bool emit_rep_inline(struct tb *t, unsigned seg, uint32_t arg, uint32_t arg2);

/* plan.c: scratch registers of 64-bit code */
void plan_note(struct ginsn *g);             /* fills names and sets */
bool plan_make(struct tb *t, uint16_t hint); /* false: the block names too many registers */
unsigned plan_longest(const struct tb *t);   /* how many of its instructions a plan can be made for */
void plan_spill(struct tb *t, struct em *e);
void plan_restore(struct tb *t, struct em *e);
uint8_t *plan_leave(struct tb *t); /* code that completes the guest's registers and goes to the stub; rx: the site */

/* Address arithmetic: 64 bits wide in 64-bit code. */
static inline void t_mov(const struct tb *t, struct em *e, int dst, int src)
{
    e_rr(e, t->m64, 0x89, src, dst);
}
static inline void t_lea(const struct tb *t, struct em *e, int dst, int base, int32_t disp)
{
    e_mem(e, t->m64, 0x8d, dst, base, H_NONE, 0, disp);
}
/* vbase + disp */
static inline void t_vbase(const struct tb *t, struct em *e, int dst, int32_t disp)
{
    if (!t->m64) {
        e_lea(e, dst, H_R15, disp);
        return;
    }
    e_gs(e, 1, 0x8b, dst, H_NONE, 0, CPU_R15);
    if (disp)
        e_mem(e, 1, 0x8d, dst, dst, H_NONE, 0, disp);
}
/* A register's move of 2, 4 or 8 bytes. */
static inline void e_mov_size(struct em *e, unsigned size, int dst, int src)
{
    if (size == 2)
        e8(e, 0x66);
    e_rr(e, size == 8, 0x89, src, dst);
}

/* exits.c */
uint8_t *stack_routine(struct tb *t);
/* May blocks of this mode be chained? Others go from one to the next through C. */
bool exit_chained(const struct tb *t);
/* A jump to another block that stands at `jump`; cold: where it goes as long as it is not linked, and its site. */
void tb_link(struct tb *t, uint8_t *jump, uint8_t *cold, uint8_t *site, uint8_t *check);
void exit_ways(struct tb *t);                               /* behind the block */
void exit_direct(struct tb *t, int32_t toff, uint8_t live); /* ends the hot path */
void exit_indirect(struct tb *t, int32_t undo);             /* rv = EIP */
void exit_next(struct tb *t, int32_t off, uint8_t live);    /* through C, always */

void emit_LEA(struct tb *t);
void emit_CALL(struct tb *t);
void emit_RET(struct tb *t);
void emit_JMP(struct tb *t);
void emit_JCC(struct tb *t);
void emit_JCXZ(struct tb *t);
void emit_LOOP(struct tb *t);
void emit_PUSH(struct tb *t);
void emit_POP(struct tb *t);
void emit_LEAVE(struct tb *t);
void emit_XLAT(struct tb *t);
void emit_BT(struct tb *t);
void emit_MASKMOV(struct tb *t);
void emit_NOP(struct tb *t);
void emit_MOV(struct tb *t);
void emit_LODS(struct tb *t);
void emit_STOS(struct tb *t);
void emit_SCAS(struct tb *t);
void emit_MOVS(struct tb *t);
void emit_CMPS(struct tb *t);
void emit_CLI(struct tb *t);
void emit_STI(struct tb *t);
void emit_PUSHF(struct tb *t);
void emit_POPF(struct tb *t);
void emit_RDTSC(struct tb *t);
void emit_SWAPGS(struct tb *t);
void emit_SYSENTER(struct tb *t);
void emit_SYSEXIT(struct tb *t);
void emit_VGATHER(struct tb *t);
void emit_VMASKMOV(struct tb *t);
void emit_VZERO(struct tb *t);
void emit_AC(struct tb *t);

#endif
