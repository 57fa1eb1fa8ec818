/* Memory and processor of a hostile guest. Tables are sound for the most part, so that the guest gets somewhere, and
 * random for the rest. */
#include "hostile_world.h"

#include <string.h>
#include "src/base/util.h"
#include "vmcore/vm.h"

/* Selectors' indices in the descriptor table; from D_RANDOM on anything may be there. */
enum {
    D_CODE32 = 1,
    D_DATA,
    D_CODE32U,
    D_DATAU,
    D_CODE64,
    D_CODE64U,
    D_CODE16,
    D_DATA16,
    D_CODE16U,
    D_DATA16U,
    D_TSS,
    D_LDT = 13,
    D_TSS16 = 15,
    D_RANDOM,
    D_COUNT = 64
};

struct world {
    struct vm *vm;
    struct rng *r;
    enum start start;
    uint8_t mem[W_END];
};

const char *start_name(enum start start)
{
    static const char *const names[START_COUNT] = {"real", "v86", "prot16", "prot32", "pae", "compat", "long"};

    return names[start];
}

static bool is_long(const struct world *w)
{
    return w->start == START_COMPAT || w->start == START_LONG;
}

static void put64(struct world *w, uint32_t at, uint64_t v)
{
    memcpy(w->mem + at, &v, sizeof v);
}

static void put32(struct world *w, uint32_t at, uint32_t v)
{
    memcpy(w->mem + at, &v, sizeof v);
}

static uint64_t descriptor(uint32_t base, uint32_t limit, uint16_t attr)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)attr << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(base >> 24) << 56;
}

/* A handler in one of the last page's slots, for code of a segment. */
static uint32_t make_stub(struct world *w, unsigned code)
{
    unsigned bits = code == D_CODE64 ? 64 : code == D_CODE16 ? 16 : 32;
    enum { SLOTS = (W_CODE_END - W_STUBS) / STUB_MAX / 3 };
    unsigned slot = bits / 32 * SLOTS + rng_below(w->r, SLOTS);
    bool user = w->start != START_REAL && rng_chance(w->r, 40);
    unsigned user_data = bits == 16 ? D_DATA16U : D_DATAU;
    unsigned user_code = bits == 64   ? (rng_chance(w->r, 80) ? D_CODE64U : D_CODE32U)
                         : bits == 16 ? D_CODE16U
                                      : D_CODE32U;
    uint8_t *at = w->mem + W_STUBS + slot * STUB_MAX;

    code_stub(w->r, bits, user ? user_data << 3 | 3 : 0, user ? user_code << 3 | 3 : 0, at);
    return (uint32_t)(at - w->mem);
}

static uint64_t gate(struct world *w, unsigned type)
{
    static const uint8_t codes[] = {D_CODE32, D_CODE32, D_CODE16, D_CODE64, D_CODE64, D_CODE32U};
    unsigned code = is_long(w) && rng_chance(w->r, 90) ? D_CODE64 : codes[rng_below(w->r, ARRAY_LEN(codes))];
    uint32_t to = rng_chance(w->r, 90) ? make_stub(w, code) : W_CODE + rng_below(w->r, W_CODE_END - W_CODE);
    unsigned dpl = rng_chance(w->r, 70) ? 3 : 0;

    if (code == D_CODE16)
        to -= W_CODE;

    return (to & 0xffff) | (uint64_t)code << 19 | (uint64_t)(0x80 | dpl << 5 | type) << 40 | (uint64_t)(to >> 16) << 48;
}

static void make_descriptors(struct world *w)
{
    static const uint16_t attr[] = {
        [D_CODE32] = 0xc09b,  [D_DATA] = 0xc093,   [D_CODE32U] = 0xc0fb, [D_DATAU] = 0xc0f3,   [D_CODE64] = 0xa09b,
        [D_CODE64U] = 0xa0fb, [D_CODE16] = 0x009b, [D_DATA16] = 0x0093,  [D_CODE16U] = 0x00fb, [D_DATA16U] = 0x00f3};

    for (unsigned i = D_CODE32; i <= D_DATA16U; i++) {
        bool small = !(attr[i] & 0x8000);
        bool code = attr[i] & 8;
        put64(w, W_GDT + 8 * i, descriptor(small && code ? W_CODE : 0, small ? 0xffff : 0xfffff, attr[i]));
    }
    put64(w, W_GDT + 8 * D_TSS, descriptor(W_TSS, 0xdff, 0x89));
    put64(w, W_GDT + 8 * D_LDT, descriptor(W_LDT, 0x7ff, 0x82));
    put64(w, W_GDT + 8 * D_TSS16, descriptor(W_TSS16, 0x2b, 0x81));
    for (unsigned i = D_RANDOM; i < D_COUNT; i++) {
        uint32_t base = (uint32_t)pick_address(w->r), limit = rng_u32(w->r) & 0xfffff;
        uint64_t d = rng_chance(w->r, 50) ? gate(w, (const uint8_t[]){4, 5, 6, 7, 12, 14}[rng_below(w->r, 6)])
                                          : descriptor(base, limit, (uint16_t)(rng_u32(w->r) | 0x80));
        put64(w, W_GDT + 8 * i, d);
    }
    for (unsigned i = 0; i < 32; i++)
        put64(w, W_LDT + 8 * i,
              rng_chance(w->r, 50) ? rng_next(w->r) : descriptor(0, 0xfffff, (uint16_t)(0xc093 | rng_u32(w->r))));
}

static void make_vectors(struct world *w)
{
    for (unsigned v = 0; v < 256; v++) {
        static const uint8_t types[] = {14, 14, 14, 15, 6, 7, 5};
        unsigned type = types[rng_below(w->r, is_long(w) ? 4 : ARRAY_LEN(types))];
        uint64_t g = gate(w, type);
        if (type == 5)
            g = (uint64_t)(rng_chance(w->r, 50) ? D_TSS : D_TSS16) << 19 | 0xe5ull << 40;
        if (rng_chance(w->r, 5))
            g ^= 1ull << rng_below(w->r, 64);
        if (is_long(w)) {
            put64(w, W_IDT + 16 * v, g | (uint64_t)(rng_chance(w->r, 20) ? rng_below(w->r, 8) : 0) << 32);
            put64(w, W_IDT + 16 * v + 8, rng_chance(w->r, 95) ? 0 : rng_next(w->r));
        } else
            put64(w, W_IDT + 8 * v, g);
        if (w->start == START_REAL || w->start == START_V86) /* the vectors of real mode are at 0 */
            put32(w, 4 * v, (uint32_t)W_CODE << 12 | (make_stub(w, D_CODE16) - W_CODE));
    }
}

static void make_tss(struct world *w)
{
    for (unsigned i = 0; i < 0x68; i += 4)
        put32(w, W_TSS + i, 0);
    if (is_long(w)) {
        for (unsigned i = 4; i < 0x5c; i += 8)
            put64(w, W_TSS + i, W_DATA + 0x100 + (rng_below(w->r, 0x3000) & ~15u));
    } else {
        for (unsigned i = 0; i < 3; i++) {
            put32(w, W_TSS + 4 + 8 * i, W_DATA + 0x100 + rng_below(w->r, 0x3000));
            put32(w, W_TSS + 8 + 8 * i, (D_DATA << 3) | i);
        }
    }
    put32(w, W_TSS + 0x64, 0x68u << 16);
    for (unsigned i = 0; i < 11; i++)
        w->mem[W_TSS16 + 2 * i] = (uint8_t)rng_u32(w->r);
}

/* Present, writable and for users in the most cases. */
static uint64_t flags(struct world *w, unsigned extra)
{
    uint64_t f = 7 | extra;

    if (rng_chance(w->r, 8))
        f ^= 1ull << rng_below(w->r, 12);
    if (rng_chance(w->r, 1))
        f |= 1ull << (32 + rng_below(w->r, 32));
    return f;
}

/* An entry for a small page: what the processor and the handlers need is sound. */
static uint64_t page(struct world *w, unsigned i)
{
    bool needed = i < W_DIR >> 12 || (i >= W_DATA >> 12 && i < W_CODE >> 12) || i == W_STUBS >> 12;

    return (needed ? 7 : flags(w, 0)) | (uint64_t)i << 12;
}

static void make_pages(struct world *w)
{
    for (unsigned i = 0; i < 1024; i++) { /* two levels */
        put32(w, W_DIR + 4 * i, i == 0 ? W_TABLE | 7 : (uint32_t)(flags(w, rng_chance(w->r, 50) ? 0x80 : 0) | i << 22));
        put32(w, W_TABLE + 4 * i, (uint32_t)page(w, i));
    }
    for (unsigned i = 0; i < 512; i++) {
        uint64_t wild = (uint64_t)rng_below(w->r, W_END >> 12) << 12;
        put64(w, W_PML4 + 8 * i, i == 0 || rng_chance(w->r, 60) ? W_PDPT | 7 : flags(w, 0) | wild);
        put64(w, W_PDPT + 8 * i, i == 0 || rng_chance(w->r, 60) ? W_PD | 7 : flags(w, 0) | wild);
        put64(w, W_PD + 8 * i,
              i == 0                 ? W_PT | 7
              : rng_chance(w->r, 30) ? flags(w, 0) | wild
                                     : flags(w, 0x80) | (uint64_t)i << 21);
        put64(w, W_PT + 8 * i, page(w, i));
    }
    for (unsigned i = 0; i < 4; i++)
        put64(w, W_PAE_PDPT + 8 * i, W_PD | 1);
}

static void load_segment(struct world *w, unsigned seg, unsigned sel)
{
    uint32_t raw[2];

    memcpy(raw, w->mem + W_GDT + (sel & ~7u), sizeof raw);
    seg_from_raw(w->vm->cpu, seg, (uint16_t)sel, raw);
}

static void load_segments(struct world *w, bool user)
{
    struct cpu *c = w->vm->cpu;
    unsigned code = w->start == START_LONG ? D_CODE64 : w->start == START_PROT16 ? D_CODE16 : D_CODE32;
    unsigned data = w->start == START_PROT16 && rng_chance(w->r, 70) ? D_DATA16 : D_DATA;
    unsigned rpl = user ? 3 : 0;

    if (user) {
        code = code == D_CODE64 ? D_CODE64U : code == D_CODE16 ? D_CODE16U : D_CODE32U;
        data = data == D_DATA16 ? D_DATA16U : D_DATAU;
    }
    if (w->start == START_REAL || w->start == START_V86) {
        for (unsigned i = 0; i < 6; i++) {
            seg_set_real(c, i,
                         i == S_CS   ? W_CODE >> 4
                         : i == S_SS ? W_DATA >> 4
                                     : (uint16_t)rng_below(w->r, W_END >> 4));
            if (w->start == START_V86)
                c->seg[i].attr = 0xf3;
            seg_update(c, i);
        }
        return;
    }
    for (unsigned i = 0; i < 6; i++)
        load_segment(w, i, (i == S_CS ? code : data) << 3 | rpl);
}

static void load_tables(struct world *w)
{
    struct cpu *c = w->vm->cpu;

    c->gdt.base = W_GDT;
    c->gdt.limit = 8 * D_COUNT - 1;
    c->idt.base = w->start == START_REAL ? 0 : W_IDT;
    c->idt.limit = w->start == START_REAL ? 0x3ff : is_long(w) ? 0xfff : 0x7ff;
    load_segment(w, S_LDTR, D_LDT << 3);
    load_segment(w, S_TR, D_TSS << 3);
    c->seg[S_TR].attr |= 2; /* busy */
    w->mem[W_GDT + 8 * D_TSS + 5] |= 2;
}

static void load_processor(struct world *w)
{
    struct cpu *c = w->vm->cpu;
    bool user = w->start == START_V86 || w->start == START_COMPAT || (w->start != START_REAL && rng_chance(w->r, 30));
    uint32_t ef = rng_u32(w->r) & (EF_ARITH | EF_DF | EF_IF | EF_IOPL | EF_AC | EF_ID);

    if (w->start != START_REAL)
        c->cr0 = CR0_PE | CR0_ET | (rng_chance(w->r, 70) ? CR0_NE : 0) | (rng_chance(w->r, 30) ? CR0_AM : 0) |
                 (rng_chance(w->r, 60) ? CR0_WP : 0);
    c->cr4 = (rng_chance(w->r, 80) ? CR4_OSFXSR | CR4_OSXMMEXCPT : 0) | (rng_chance(w->r, 50) ? CR4_PSE | CR4_PGE : 0) |
             (rng_chance(w->r, 30) ? CR4_VME | CR4_PVI | CR4_DE : 0);
    if (rng_chance(w->r, 70)) { /* as far as the host has it */
        c->cr4 |= CR4_OSXSAVE & cpuid_cr4(c->model);
        c->xcr0 = rng_chance(w->r, 80) ? cpuid_xcr0(c->model) : XCR0_X87;
    }
    if (is_long(w)) {
        c->efer = EFER_LME | EFER_LMA | EFER_SCE | (rng_chance(w->r, 60) ? EFER_NXE : 0);
        c->star = 0x0018000800000000ull;
        c->lstar = c->cstar = W_CODE + rng_below(w->r, W_CODE_END - W_CODE);
    }
    if (is_long(w) || w->start == START_PAE)
        c->cr4 |= CR4_PAE;
    if (is_long(w) || w->start == START_PAE || (w->start != START_REAL && rng_chance(w->r, 60)))
        c->cr0 |= CR0_PG;
    load_tables(w);
    load_segments(w, user);
    c->cpl = user ? 3 : 0;
    for (unsigned i = 0; i < (w->start == START_LONG ? 16u : 8u); i++)
        c->gpr[i] = w->start == START_LONG ? pick_value(w->r) : (uint32_t)pick_value(w->r);
    c->gpr[R_ESP] = w->start == START_REAL || w->start == START_V86 ? 0x2000 : W_DATA + 0x2000;
    c->eip = w->start == START_LONG || w->start == START_COMPAT || w->start == START_PROT32 || w->start == START_PAE
                 ? W_CODE
                 : 0;
    vm_phys_write(w->vm, 0, w->mem, sizeof w->mem);
    c->cr3 = is_long(w) ? W_PML4 : w->start == START_PAE ? W_PAE_PDPT : W_DIR;
    cpu_load_cr3(c, c->cr3);
    mmu_flush_all(c);
    cpu_set_eflags(c, ef | (w->start == START_V86 ? EF_VM : 0), ~0u);
    c->exc_pending = 0;
    cpu_update_mode(c);
}

void world_make(struct vm *vm, struct rng *r, enum start start)
{
    unsigned bits = start == START_LONG                                                    ? 64
                    : start == START_PROT32 || start == START_PAE || start == START_COMPAT ? 32
                                                                                           : 16;
    cleanup(cleanup_free) struct world *w = calloc(1, sizeof *w);

    vt_assert(w);
    w->vm = vm;
    w->r = r;
    w->start = start;
    for (unsigned i = 0; i < sizeof w->mem; i += 8)
        put64(w, i, i >= W_DATA && i < W_CODE ? pick_value(r) : rng_next(r));
    make_descriptors(w);
    make_vectors(w);
    make_tss(w);
    make_pages(w);
    code_fill(r, bits, w->mem + W_CODE, 0xc000);
    code_fill(r,
              start == START_LONG     ? 32
              : start == START_COMPAT ? 64
              : bits == 16            ? 32
                                      : 16,
              w->mem + W_CODE + 0xc000, 0x3000);
    vm_reset(vm);
    load_processor(w);
}
