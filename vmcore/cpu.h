/* The virtual CPU: the one struct that emitted code, helpers and the dispatcher share. GS points at it in translated
 * code. Guest registers are in host registers there and in gpr[] while C runs. Private to vmcore. */
#ifndef VT_CPU_H
#define VT_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "vmcore/cpu_offsets.h"
#include "vmcore/cpu_regs.h"
#include "vmcore/cpu_tables.h"
#include "vmcore/cpuid.h"
#include "vmcore/port.h"
#include "vmcore/vector.h"

struct mem;
struct block;
struct cache;
struct vm;
struct debug;

struct cpu_seg {
    uint64_t base;
    uint32_t limit; /* bytes, scaled */
    uint32_t pad;
    int64_t fast_lim; /* see CPU_SEG_LIM */
    uint16_t sel;
    uint16_t attr;   /* descriptor bits 55:40 as one word: type, S, DPL, P at 7:0; AVL, L, DB, G at 15:12 */
    uint32_t raw[2]; /* the descriptor's 8 bytes as loaded; [1] is 0 where base or rights came from elsewhere */
    uint32_t valid;  /* 0: null or unusable */
};

/* What a place in translated code tells the C side; laid out in the cold code right after its jump. Offsets are
 * relative to the site itself, so that code memory holds no addresses. */
struct site {
    uint16_t off; /* of the guest instruction in its page */
    uint8_t len;  /* of the guest instruction */
    uint8_t live; /* FL_ mask of flags that are live before it: in R12 */
    uint8_t size; /* of the access in bytes; for exits: see block.c */
    uint8_t rw;   /* 1 read, 2 write, 3 both */
    uint8_t helper;
    uint8_t kind; /* enum site_kind; SITE_KIND */
    int32_t retry, cont;
    uint32_t arg, arg2;
};

enum site_kind {
    K_MEM,      /* TLB miss: r8 = linear address */
    K_SPAN,     /* the same for all accesses of a span; arg2 = the link to a block without */
    K_SEG,      /* segment limit or type needs a closer look: r8 = offset; arg = segment */
    K_POST,     /* after a twin that wrote */
    K_HELPER,   /* C function helper_table[helper] */
    K_CHAIN,    /* direct jump inside the page, not linked yet; arg = offset of the target */
    K_XPAGE,    /* direct jump to another page: r15 is the new vbase; arg = offset of the target */
    K_INDIRECT, /* r11 = target EIP */
    K_POLL,     /* attn was set at an exit: r15 + arg = EIP; arg2: FL_ mask; flags in HFL */
    K_NEXT,     /* leave to the instruction at r15 + arg */
    K_COUNT
};

/* arg2 of K_MEM and K_SEG: what comes before a page fault (SITE_XM: an exception of the conversion that a store holds);
 * SITE_STACK: the check is by r13; SITE_SS: not canonical is #SS; SITE_TWIN: its twin
 * follows */
enum {
    SITE_ALIGN = 1,
    SITE_X87 = 2,
    SITE_MMX = 4,
    SITE_STACK = 8,
    SITE_SS = 16,
    SITE_AC = 32,
    SITE_XM = 64,
    SITE_TWIN = 128
};

/* r13 where the stack's page is not known: whatever ESP is, the sum is no offset in a page. A 64-bit RSP can be
 * anything: the one page of not canonical addresses that is "known" then has `no_stack` behind it. */
#define CPU_NO_STACK 0x6b5a3c0000000000ull

/* cpu->inhibit */
enum { INHIBIT_NONE, INHIBIT_STI, INHIBIT_SS };

#define ATTN_INTR  1u  /* the board's INTR line is up and IF is set */
#define ATTN_EVENT 2u  /* events were posted */
#define ATTN_TIMER 4u  /* a timer is due */
#define ATTN_STOP  8u  /* vm_kick */
#define ATTN_EXIT  16u /* reset, power off, debug exit: the vCPU thread's own request */
#define ATTN_NMI   32u
#define ATTN_FLUSH 64u /* the code cache is full */

/* IA32_MISC_ENABLE: what software cannot change: performance monitoring, BTS and PEBS, whether they are there. */
#define MISC_ENABLE_FIXED 0x1880u

struct cpu {
    struct cpu *self;
    uint64_t host_rsp;
    void (*stub)(void);
    uint32_t attn; /* atomic */
    uint32_t hfl;
    const void *kinds;
    void (*stub64)(void);
    uint64_t go;
    uint32_t mode, pad0;
    uint64_t gpr[16];
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    struct cpu_seg seg[8];
    uint8_t bounce[128];

    /* what is not in the emitted code's reach */
    uint64_t eip;             /* valid outside of translated code */
    uint64_t next_eip;        /* in helpers */
    uint32_t model_signature; /* EDX at reset */
    uint64_t saved_tsc;       /* state tables only */
    uint32_t saved_features;  /* and this */
    char why[200];            /* a load was refused */
    uint32_t eflags;          /* IF, IOPL, TF, NT, RF, VM, AC, VIF, VIP, ID; arithmetic flags are in r12, DF in mode */
    uint32_t cr0, cr4;
    uint64_t cr2, cr3, cr8, xcr0;
    uint64_t dr[8];
    uint64_t debugctl; /* MSR_DEBUGCTL */
    uint64_t untaken;  /* under DEBUGCTL_BTF: where control stands if the conditional jump that runs now is not taken */
    uint64_t tsc_hz;   /* the host's counter */
    uint64_t efer, pat, apic_base, tsc_offset, tsc_adjust, tsc_aux, spec_ctrl, misc_enable, mcg_status;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip, star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t p6_select[2], p6_counter[2]; /* performance counters of that family */
    uint64_t mtrr_def, mtrr_fix[11], mtrr_var[16], vm_hsave, hwcr, syscfg;
    uint64_t pdpte[4];
    struct {
        uint64_t base;
        uint32_t limit;
    } gdt, idt;
    uint8_t cpl, halted, nmi_masked, intr_level;
    uint8_t exc_pending, exc_has_error, exc_soft, in_delivery;
    uint8_t plain;      /* the next block has no spans */
    uint8_t single;     /* the next block is one instruction: see cpu_slow */
    uint8_t trap_after; /* #DB after the instruction that runs now */
    uint32_t exc_vector, exc_error;
    uint64_t exc_cr2;
    uint64_t rf_eip;      /* the instruction that runs under RF, while DR7 has breakpoints on */
    uint64_t inhibit_eip; /* no interrupt at this EIP (after STI, MOV SS); valid if inhibit */
    uint8_t inhibit, nmi_pending, stop, triple;
    uint64_t fdp;         /* operand offset of the last x87 instruction that had one in memory */
    uint8_t ferr;         /* FERR# is to be told */
    uint8_t task_entered; /* a task switch got past the point where its failures are the old task's */
    uint8_t dr_active;    /* DR7 has a breakpoint on: every block is one instruction */
    uint8_t dr_hit;       /* data breakpoints that the instruction met */
    uint64_t bounce_lin;
    uint32_t bounce_len;
    uint64_t bounce_pa[2];
    uint8_t beside_code; /* the twin of a write runs on the page itself */
    uint8_t store_probe; /* the twin of a store runs to see whether it stores at all */
    uint32_t probe_vector, probe_error;
    uint64_t probe_cr2;
    void *bounce_host[2];

    uint64_t ram_base, ram_last; /* checked builds: host addresses that accesses may name */
    struct mixed_page mixed[TLB_SETS];
    struct near_list near_filled[NEAR_SETS];
    uint8_t near_local;                    /* the code TLB may have a supervisor's page that is not global */
    uint64_t near_pages[2][NEAR_MAP / 64]; /* pages that near[] may know, by near_page(); [1] global ones */
    uint64_t span_addend[32];              /* within a block: see span.c */
    uint64_t drops;                        /* how often TLB entries or the stack's page were taken back */
    struct cpu_seg seg_before[2];          /* what FS and GS were before the last load that changed them */
    const struct link *from;               /* the exit that is on its way to a block */
    struct cpu_model own_model;            /* with the features that this machine has of it */
    const struct cpu_model *model;
    struct mem *mem;
    struct cache *cache;
    struct vm *vm;
    struct bus *bus;
    struct debug *debug; /* NULL: no debugger; see debug.h */
    /* board hooks */
    int (*ack_irq)(void *board);
    void *board;
    uint64_t (*read_tsc)(struct cpu *cpu);
    void (*exc_hook)(struct cpu *cpu); /* tests: called instead of delivery */
    void (*apic_base_hook)(void *board, uint64_t v);
    void (*ferr_hook)(void *board);      /* FERR# */
    int (*tpr_hook)(void *board, int v); /* the local APIC's priority class: set, or for -1 read */
    uint64_t (*deadline_hook)(void *board, const uint64_t *tsc); /* its TSC deadline: set, or for NULL read */
    void (*tsc_hook)(void *board);                               /* the TSC was written */

    uint64_t exits[K_COUNT], fills, fast_fills, walks, page_faults, interrupts, exceptions, code_writes, blocks_made,
        plain_blocks, invalidations, flushes, cr3_writes, helper_calls[256], twins, verified;
    uint64_t row_hits[1280];

    union { /* guest vector state while vm_run is not running */
        struct xarea x;
        uint8_t fx[512];
    };
    union { /* scratch, and around calls that leave general registers */
        struct xarea x_tmp;
        uint8_t fx_tmp[512];
    };
    struct xarea x_host;
    uint8_t fx_probe[512] __attribute__((aligned(16)));
    uint8_t tlb_large[1024];           /* by 4 MiB of linear space: slots were filled from a large page */
    struct tlb_list list[TLB_SETS][2]; /* [set][global]: filled data slots */
    struct tlb_list code_list[2][2];
    struct tlb64_list list64[TLB_SETS][2], code_list64[2][2];
    uint64_t large64[LARGE_SIZE]; /* pieces of 2 MiB that slots were filled from as part of a large page: see tlb.c */
    bool large_over;              /* more than there is room for: any may be */
    uint32_t huge[64];            /* GiBs of linear space that slots were filled from as one page */
    struct kept_pcid kept[TLB_PCIDS];
    uint32_t kept_next;
    uint32_t nhuge; /* more than there is room for: any may be */
    uint8_t no_stack[4096 + 64] __attribute__((aligned(64)));
    struct jump_near near[3][NEAR_SIZE] __attribute__((aligned(64)));
    struct jump_hash jh[1 << JH_BITS] __attribute__((aligned(64)));
};

void cpu_forget_mixed(struct cpu *cpu);              /* where pages are */
void cpu_forget_room(struct cpu *cpu, uint32_t bpn); /* more code on a page */
/* After any change of the code TLB, of the mode beyond its privilege, or of what the jump hash says of a block. */
void cpu_forget_near(struct cpu *cpu);
void cpu_forget_target(struct cpu *cpu, uint64_t eip); /* what near[] has for this mode */
void cpu_forget_near_local(struct cpu *cpu);           /* all but what is of global pages */

/* ---- enter.S */
void vcpu_enter(struct cpu *cpu, const void *code);
void vcpu_stub(void);
void vcpu_stub64(void);
void vcpu_leave(void);
void vcpu_restore(void);

/* ---- tables: `user` of a data table is its set */
static inline uint32_t *cpu_tags(struct cpu *c, int user, uint32_t page)
{
    return (uint32_t *)((char *)c + TLB_TAGS(user)) + 2 * (size_t)page; /* [0] read, [1] write */
}
static inline uint64_t *cpu_addend(struct cpu *c, int user, uint32_t page)
{
    return (uint64_t *)((char *)c + TLB_ADDEND(user)) + page;
}
static inline uint32_t *cpu_code_tab(struct cpu *c, int user, uint32_t page)
{
    return (uint32_t *)((char *)c + TLB_CODE(user)) + page;
}
static inline struct tlb64 *cpu_tlb64(struct cpu *c, int user, int write, uint64_t lin)
{
    return (struct tlb64 *)((char *)c + TLB64(user, write)) + ((lin >> 12) & (TLB64_SIZE - 1));
}
static inline struct tlb64 *cpu_code64(struct cpu *c, int user, uint64_t lin)
{
    return (struct tlb64 *)((char *)c + TLB64_CODE(user)) + ((lin >> 12) & (TLB64_SIZE - 1));
}
/* A tag that no access through the slot compares equal to: those are the page's address, and the next page's (mod 4
 * GiB) for an access that crosses. 0 wherever possible, so that fresh memory is invalid. */
static inline uint32_t tlb_invalid(uint32_t page)
{
    return page == 0 || page == 0xfffff ? 0x80000000u : 0;
}

/* ---- cpu.c */
void cpu_reset(struct cpu *c);
void cpu_update_mode(struct cpu *c);
uint32_t cpu_get_eflags(struct cpu *c, uint32_t live);
/* Sets arithmetic flags, DF and system flags named in mask. Updates mode and attn. */
void cpu_set_eflags(struct cpu *c, uint32_t v, uint32_t mask);
void cpu_set_attn(struct cpu *c, uint32_t bits);
void cpu_update_intr(struct cpu *c);

void cpu_unmask_nmi(struct cpu *c);           /* by IRET */
uint64_t cpu_tsc(const struct cpu *c);        /* what RDTSC reads, while the guest runs */
int cpu_write_cr0(struct cpu *c, uint64_t v); /* 0, or 1 with #GP raised; and so */
int cpu_load_cr3(struct cpu *c, uint64_t v);  /* 0, or 1 with #GP raised */
void cpu_debug_changed(struct cpu *c);        /* after dr[7] changed */

/* Raises an exception at the current instruction: state must be as before it. Returns 1 (leave), so that a helper may
 * `return cpu_raise(...)`. error < 0: none. */
int cpu_raise(struct cpu *c, unsigned vector, int64_t error);
int cpu_raise_pf(struct cpu *c, uint64_t lin, uint32_t error);
int cpu_raise_mf(
    struct cpu *c); /* an x87 exception is pending: #MF, or with CR0.NE clear FERR# and the instruction again */

/* ---- mmu.c: accesses of C code by linear address; 0, or 1 with an exception raised. `sup`: as supervisor whatever the
 * CPL (descriptor tables, TSS). */
enum { ACC_READ = 1, ACC_WRITE = 2, ACC_EXEC = 4, ACC_SUP = 8, ACC_PROBE = 16, ACC_NO_SMAP = 32 /* a debugger's */ };
int mmu_translate(struct cpu *c, uint64_t lin, unsigned acc, uint64_t *ret_pa, uint32_t *ret_flags);
int mmu_read(struct cpu *c, uint64_t lin, void *dst, unsigned len, unsigned acc);
int mmu_write(struct cpu *c, uint64_t lin, const void *src, unsigned len, unsigned acc);
int mmu_probe(struct cpu *c, uint64_t lin, unsigned len, unsigned acc); /* check rights only */
void mmu_flush_all(struct cpu *c);                                      /* everything, global pages too */
void mmu_flush_nonglobal(struct cpu *c);
/* MOV CR3 in long mode under CR4.PCIDE, v without bit 63. keep: what is known of the new PCID. */
void mmu_switch_pcid(struct cpu *c, uint64_t v, bool keep);
void mmu_invlpg(struct cpu *c, uint64_t lin);
void mmu_flush_writes(struct cpu *c);                                   /* write permission only: a capture began */
void mmu_drop_host_page(struct cpu *c, uint32_t bpn, bool writes_only); /* a backing page moved, or has code now */
/* Fills the current CPL's slot after mmu_translate gave bpn and flags. */
void mmu_fill(struct cpu *c, uint64_t lin, uint32_t bpn, bool write, uint32_t flags);
/* K_MEM and K_SEG; returns the host address to go on at, or 0 to leave. */
uint64_t mmu_slow(struct cpu *c, const struct site *s, uint64_t lin);
/* K_SPAN; 0: the block cannot go on. */
uint64_t mmu_span(struct cpu *c, const struct site *s, uint64_t lin);
uint64_t mmu_seg_slow(struct cpu *c, const struct site *s, uint64_t off);
uint64_t mmu_post(struct cpu *c, const struct site *s, uint64_t unused);
/* Backing page of code at lin for the current CPL: 0 and *ret_bpn, or 1 with an exception raised. */
int mmu_code_page(struct cpu *c, uint64_t lin, uint32_t *ret_bpn);
/* The same for a page that may be needed: 1 and nothing raised where it is not there. */
int mmu_code_probe(struct cpu *c, uint64_t lin, uint32_t *ret_bpn);

/* vm.c: the machine cannot go on; vm_run() returns VM_STOP_FAIL with `what`, the address and the EIP. */
void vm_fail(struct vm *vm, const char *what, uint64_t addr);

/* ---- dispatch.c */
uint64_t cpu_resume(struct cpu *c); /* deliver what is pending, find the block at eip; 0: leave */
extern const void *const site_kind_table[K_COUNT];

/* ---- help_fpu.c, xsave.c */
/* An image that FXSAVE64 just stored, at a site: what it says of the last x87 instruction as the guest sees it. */
void fpu_guest_view(struct cpu *c, const struct site *s, uint8_t f[512]);
bool cpu_xcr0_ok(const struct cpu *c, uint64_t v);

/* ---- seg.c, gate.c */
int seg_load(struct cpu *c, unsigned seg, uint16_t sel, unsigned vector_on_fault);
void seg_set_real(struct cpu *c, unsigned seg, uint16_t sel);
void seg_set_flat(struct cpu *c, unsigned seg, uint16_t sel, unsigned attr);
int seg_descriptor(struct cpu *c, uint16_t sel, unsigned vector, uint32_t raw[2], uint64_t *ret_addr);
void seg_from_raw(struct cpu *c, unsigned seg, uint16_t sel, const uint32_t raw[2]);
int seg_set_accessed(struct cpu *c, uint64_t addr, uint32_t raw[2]);
void seg_update(struct cpu *c, unsigned seg); /* after base, limit, attr, valid changed */
/* Offset to linear with all checks of the segment; 0 or 1 with #GP/#SS raised. acc: ACC_READ and ACC_WRITE bits. */
int seg_check(struct cpu *c, unsigned seg, uint64_t off, unsigned len, unsigned acc, uint64_t *ret_lin);
int gate_interrupt(struct cpu *c, unsigned vector, bool soft, bool has_error, uint32_t error);
void cpu_deliver_exception(struct cpu *c);

/* ---- helpers */
typedef int (*helper_fn)(struct cpu *c, const struct site *s, uint64_t addr);
extern const helper_fn helper_table[256];
int helper_index(const char *name);

/* The r12 form of flags (AH of LAHF in bits 15:8, OF in bit 0) cut to a liveness mask. */
static inline uint64_t cpu_mask_flags(uint64_t r12, uint32_t live)
{
    uint32_t m = (live & FL_CF ? 0x100 : 0) | (live & FL_PF ? 0x400 : 0) | (live & FL_AF ? 0x1000 : 0) |
                 (live & FL_ZF ? 0x4000 : 0) | (live & FL_SF ? 0x8000 : 0) | (live & FL_OF ? 1 : 0);
    return r12 & m;
}
static inline uint32_t cpu_flags_to_ef(uint64_t r12)
{
    return ((uint32_t)(r12 >> 8) & (EF_CF | EF_PF | EF_AF | EF_ZF | EF_SF)) | (r12 & 1 ? EF_OF : 0);
}
static inline uint64_t cpu_flags_from_ef(uint32_t ef)
{
    return ((uint64_t)(ef & (EF_CF | EF_PF | EF_AF | EF_ZF | EF_SF)) << 8) | (ef & EF_OF ? 1 : 0);
}

/* Current and next EIP at a site. */
static inline uint64_t cpu_wrap(const struct cpu *c, uint64_t eip)
{
    return c->mode & M_CODE64 ? eip : (uint32_t)eip;
}
/* The mode of a block at the linear address lin, which is eip's. Where code is 16-bit or not flat, M_CS_PAGE says that
 * its page lies in the segment and below IP 10000h as a whole: jumps inside of it need neither limit nor wrap. */
static inline uint32_t cpu_block_mode(const struct cpu *c, uint64_t lin)
{
    uint64_t off = lin & 0xfff, limit = c->seg[S_CS].limit < 0xffff ? c->seg[S_CS].limit : 0xffff;
    uint32_t mode = c->mode | (c->single ? M_STEP : c->plain ? M_PLAIN : 0);

    if ((mode & (M_CODE32 | M_CS_FLAT)) != (M_CODE32 | M_CS_FLAT) && c->eip >= off && c->eip - off + 0xfff <= limit)
        mode |= M_CS_PAGE;
    return mode;
}
static inline uint64_t site_eip(const struct cpu *c, const struct site *s)
{
    return cpu_wrap(c, c->r15 + s->off);
}
static inline uint64_t site_next(const struct cpu *c, const struct site *s)
{
    return cpu_wrap(c, c->r15 + s->off + s->len);
}
static inline bool cpu_long(const struct cpu *c)
{
    return c->efer & EFER_LMA;
}
/* Linear addresses are 32 bits wide outside of long mode. */
static inline uint64_t cpu_lin_wrap(const struct cpu *c, uint64_t lin)
{
    return cpu_long(c) ? lin : (uint32_t)lin;
}
static inline bool cpu_canonical(uint64_t lin)
{
    return (uint64_t)((int64_t)(lin << 16) >> 16) == lin;
}
/* Stack pointer arithmetic as the stack segment's size says. */
static inline uint64_t cpu_sp_mask(const struct cpu *c)
{
    return c->mode & M_CODE64 ? ~0ull : c->seg[S_SS].attr & 0x4000 ? 0xffffffffull : 0xffff;
}
static inline void cpu_set_sp(struct cpu *c, uint64_t v)
{
    uint64_t m = cpu_sp_mask(c);

    c->gpr[R_ESP] = m == 0xffff ? (c->gpr[R_ESP] & ~m) | (v & m) : v & m;
}

#endif
