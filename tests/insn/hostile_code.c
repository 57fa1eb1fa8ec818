/* Random code with the odds turned to what a monitor gets wrong: system instructions, writes to the machine's tables
 * and to code, odd addresses, ports. The bytes that follow each other need not make sense: a jump may go into the
 * middle. */
#include "hostile_world.h"

#include "src/base/util.h"
#include "vmcore/cpu_regs.h"

struct code {
    struct rng *r;
    unsigned bits;
    uint8_t *p, *end;
};

static void put(struct code *c, unsigned byte)
{
    if (c->p < c->end)
        *c->p++ = (uint8_t)byte;
}

static void put_n(struct code *c, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        put(c, (unsigned)(v >> (8 * i)) & 0xff);
}

static unsigned below(struct code *c, unsigned n)
{
    return rng_below(c->r, n);
}

uint64_t pick_address(struct rng *r)
{
    static const uint64_t devices[] = {0xa0000,     0xb8000,     0xc0000,     0xf0000,     0xe0000000u,
                                       0xfd000000u, 0xfec00000u, 0xfed00000u, 0xfee00000u, 0xfffc0000u};
    static const uint64_t edges[] = {
        0xffff,     0x100000,       0x1000000,         0x7ffffffc,        0xfffffffc,
        0xffffffff, 0x100000000ull, 0x7fffffffffffull, 0x800000000000ull, 0xffff800000000000ull,
        ~0ull};

    switch (rng_below(r, 8)) {
    case 0:
        return rng_below(r, 0x4000);
    case 1:
        return W_DIR + rng_below(r, W_DATA - W_DIR);
    case 2:
    case 3:
        return W_CODE + rng_below(r, W_CODE_END - W_CODE);
    case 4:
        return devices[rng_below(r, ARRAY_LEN(devices))] + rng_below(r, 0x4000);
    case 5:
        return edges[rng_below(r, ARRAY_LEN(edges))] - rng_below(r, 20) + 4;
    case 6:
        return ((uint64_t)rng_below(r, W_END >> 12) << 12) - rng_below(r, 16) + 4;
    default:
        return W_DATA + rng_below(r, W_CODE - W_DATA);
    }
}

uint64_t pick_value(struct rng *r)
{
    switch (rng_below(r, 6)) {
    case 0:
        return 1ull << rng_below(r, 64);
    case 1:
        return rng_below(r, 256);
    case 2: /* an entry of a page table */
        return ((uint64_t)rng_below(r, 0x41) << 12) | rng_below(r, 512) | (rng_chance(r, 10) ? 1ull << 63 : 0);
    case 3:
        return pick_address(r);
    case 4:
        return ~(uint64_t)rng_below(r, 256);
    default:
        return rng_next(r);
    }
}

static unsigned pick_port(struct rng *r)
{
    static const uint16_t ports[] = {0x00,  0x20,  0x40,  0x60,  0x70,  0x80,  0x92,  0xa0,   0xb2,   0xc0,   0xd0,
                                     0xf0,  0x170, 0x1ce, 0x1f0, 0x2f8, 0x376, 0x3b0, 0x3c0,  0x3d0,  0x3f0,  0x3f8,
                                     0x4d0, 0x510, 0x600, 0x700, 0xcd8, 0xcf8, 0xcfc, 0xc000, 0xc040, 0xc080, 0xfff8};

    return rng_chance(r, 90) ? ports[rng_below(r, ARRAY_LEN(ports))] + rng_below(r, 8) : rng_u32(r) & 0xffff;
}

static uint32_t pick_msr(struct rng *r)
{
    static const uint32_t msrs[] = {0x10,       0x1b,       0x3b,       0x48,       0x174,      0x175,      0x176,
                                    0x17a,      0x1a0,      0x200,      0x250,      0x268,      0x277,      0x2ff,
                                    0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101,
                                    0xc0000102, 0xc0000103, 0xc0010010, 0xc0010015, 0x6e0,      0x800,      0x808};

    return rng_chance(r, 90) ? msrs[rng_below(r, ARRAY_LEN(msrs))] + (rng_chance(r, 10) ? rng_below(r, 16) : 0)
                             : rng_u32(r);
}

static void mov_imm(struct code *c, unsigned reg, uint64_t v)
{
    bool wide = c->bits == 64 && v >> 32;

    if (c->bits == 16)
        put(c, 0x66);
    if (wide)
        put(c, 0x48);
    put(c, 0xb8 + reg);
    put_n(c, v, wide ? 8 : 4);
}

/* [ebx] is the address, whatever the code's size. */
static void addr_prefix(struct code *c)
{
    if (c->bits == 16)
        put(c, 0x67);
}

static void control_write(struct code *c)
{
    static const uint32_t cr0[] = {CR0_PE, CR0_PG, CR0_WP, CR0_TS, CR0_EM, CR0_MP, CR0_AM, CR0_NE, CR0_NW | CR0_CD};
    static const uint8_t crs[] = {0, 0, 2, 3, 3, 4, 4, 8};
    unsigned cr = crs[below(c, ARRAY_LEN(crs))];
    bool debug = rng_chance(c->r, 25);
    uint64_t v = pick_value(c->r);

    if (!debug && cr == 0) { /* one bit of what is there */
        put_n(c, 0xc0200f, 3);
        if (c->bits == 16)
            put(c, 0x66);
        put(c, 0x35);
        put_n(c, cr0[below(c, ARRAY_LEN(cr0))], 4);
        put_n(c, 0xc0220f, 3);
        return;
    }
    if (!debug && cr == 4) {
        put_n(c, 0xe0200f, 3);
        if (c->bits == 16)
            put(c, 0x66);
        put_n(c, 0xf8ba0f, 3);
        put(c, below(c, 24));
        put_n(c, 0xe0220f, 3);
        return;
    }
    if (cr == 3 && rng_chance(c->r, 80))
        v = (const uint32_t[]){W_DIR, W_PAE_PDPT, W_PML4, W_DATA, W_CODE}[below(c, 5)] |
            (rng_chance(c->r, 20) ? 0x18 : 0);
    mov_imm(c, 0, v);
    put(c, 0x0f);
    put(c, debug ? 0x23 : 0x22);
    put(c, 0xc0 | (debug ? below(c, 8) : cr) << 3);
}

static void msr_access(struct code *c)
{
    mov_imm(c, 1, pick_msr(c->r));
    if (rng_chance(c->r, 70)) {
        uint64_t v = pick_value(c->r);
        mov_imm(c, 0, (uint32_t)v);
        mov_imm(c, 2, v >> 32);
    }
    put(c, 0x0f);
    put(c, rng_chance(c->r, 70) ? 0x30 : 0x32);
}

/* Windows and command registers of the PCI devices. */
static void pci_access(struct code *c)
{
    static const uint8_t regs[] = {4, 4, 0x10, 0x14, 0x18, 0x20, 0x24, 0x30, 0x3c, 0x40};
    uint32_t reg = rng_chance(c->r, 80) ? regs[below(c, ARRAY_LEN(regs))] : below(c, 256) & ~3u;
    uint32_t v = reg == 4 ? 7 : rng_chance(c->r, 50) ? 0xc000 + below(c, 64) * 64 : 0xe0000000u + below(c, 4) * 0x1000;

    mov_imm(c, 2, 0xcf8);
    mov_imm(c, 0, 0x80000000u | below(c, 10) << 11 | (rng_chance(c->r, 40) ? below(c, 4) << 8 : 0) | reg);
    if (c->bits == 16)
        put(c, 0x66);
    put(c, 0xef);
    mov_imm(c, 2, 0xcfc);
    mov_imm(c, 0, rng_chance(c->r, 80) ? v : pick_value(c->r));
    if (c->bits == 16)
        put(c, 0x66);
    put(c, 0xef);
}

static void port_access(struct code *c)
{
    static const uint8_t ops[] = {0xec, 0xed, 0xee, 0xef, 0xee, 0xef, 0x6c, 0x6d, 0x6e, 0x6f};
    unsigned op = ops[below(c, ARRAY_LEN(ops))];

    mov_imm(c, 2, pick_port(c->r));
    if (rng_chance(c->r, 70))
        mov_imm(c, 0, pick_value(c->r));
    if ((op & 0xfc) == 0x6c && rng_chance(c->r, 60)) {
        mov_imm(c, 1, rng_chance(c->r, 90) ? below(c, 0x4000) : pick_value(c->r));
        mov_imm(c, op < 0x6e ? 7 : 6, pick_address(c->r));
        put(c, 0xf3);
    }
    if (rng_chance(c->r, 30))
        put(c, 0x66);
    put(c, op);
}

/* A store, a load, or a read-modify-write at a chosen address. */
static void memory_access(struct code *c)
{
    static const uint8_t ops[] = {0x89, 0x89, 0x88, 0x8b, 0x01, 0x87, 0x31, 0x8f, 0xff, 0xfe, 0x8e, 0x8c, 0xd9, 0xdd};
    unsigned op = ops[below(c, ARRAY_LEN(ops))];

    mov_imm(c, 3, pick_address(c->r));
    mov_imm(c, 0, pick_value(c->r));
    if (rng_chance(c->r, 10))
        put(c, 0x64 + below(c, 2));
    addr_prefix(c);
    if (rng_chance(c->r, 20))
        put(c, 0x66);
    if (rng_chance(c->r, 10) && (op == 0x01 || op == 0x31 || op == 0xff))
        put(c, 0xf0);
    if (c->bits == 64 && rng_chance(c->r, 50))
        put(c, 0x48);
    put(c, op);
    put(c, 3 | (rng_chance(c->r, 60) ? 0 : below(c, 8) << 3));
}

/* Groups 6, 7, 9 and 15: descriptor tables, INVLPG, SWAPGS, FXSAVE, fences and their neighbours. */
static void table_access(struct code *c)
{
    static const uint8_t ops[] = {0x00, 0x01, 0x01, 0xae, 0xc7, 0x02, 0x03, 0x18, 0x1f};
    unsigned op = ops[below(c, ARRAY_LEN(ops))];

    mov_imm(c, 3, pick_address(c->r));
    mov_imm(c, 0, rng_chance(c->r, 70) ? below(c, 0x200) : pick_value(c->r));
    addr_prefix(c);
    if (c->bits == 64 && rng_chance(c->r, 30))
        put(c, 0x48);
    put(c, 0x0f);
    put(c, op);
    put(c, rng_chance(c->r, 50) ? 3 | below(c, 8) << 3 : 0xc0 | below(c, 64));
}

/* VEX: moves, masked moves and gathers at a chosen address, or any other. */
static void vex(struct code *c)
{
    static const uint8_t ops[] = {0x10, 0x11, 0x1d, 0x28, 0x29, 0x2c, 0x2d, 0x2e, 0x2f, 0x6f, 0x77,
                                  0x7f, 0x8c, 0x8e, 0x90, 0x91, 0x92, 0x93, 0xae, 0xf2, 0xf5, 0xf7};
    bool wide = c->bits == 64;

    mov_imm(c, 3, pick_address(c->r));
    addr_prefix(c);
    put(c, 0xc4);
    put(c, (wide ? 0xa0 | below(c, 4) << 5 : 0xe0) | (1 + below(c, 3)));
    put(c, below(c, 256));
    put(c, rng_chance(c->r, 70) ? ops[below(c, ARRAY_LEN(ops))] : below(c, 256));
    if (rng_chance(c->r, 30))
        put(c, 0xc0 | below(c, 64));
    else if (rng_chance(c->r, 50))
        put(c, 3 | below(c, 8) << 3);
    else {
        put(c, 4 | below(c, 8) << 3);
        put(c, below(c, 32) << 3 | 3); /* base (E)BX */
    }
    put(c, below(c, 256));
}

static unsigned pick_selector(struct rng *r)
{
    return rng_chance(r, 80) ? rng_below(r, 17) << 3 | (rng_chance(r, 50) ? 3 : 0) : rng_below(r, 0x208);
}

static void push_imm(struct code *c, uint32_t v)
{
    put(c, 0x68);
    put_n(c, v, c->bits == 16 ? 2 : 4);
}

/* IRET and far returns with a frame of our own, far jumps and calls, software interrupts, system calls. */
static void transfer(struct code *c)
{
    uint32_t to = W_CODE + below(c, W_CODE_END - W_CODE);

    if (c->bits == 16)
        to &= 0xffff;
    switch (below(c, 8)) {
    case 0:
    case 1:
        if (c->bits == 64 || rng_chance(c->r, 60)) {
            push_imm(c, pick_selector(c->r));
            push_imm(c, (uint32_t)pick_address(c->r));
        }
        push_imm(c, (2 | (rng_u32(c->r) & 0x3f7fd7)) ^ (rng_chance(c->r, 70) ? 0 : 0x20000));
        push_imm(c, pick_selector(c->r));
        push_imm(c, to);
        if (c->bits == 64)
            put(c, 0x48);
        put(c, 0xcf);
        break;
    case 2:
        push_imm(c, pick_selector(c->r));
        push_imm(c, to);
        put(c, 0xcb);
        break;
    case 3:
        put(c, rng_chance(c->r, 50) ? 0xea : 0x9a); /* #UD in 64-bit code */
        put_n(c, to, c->bits == 16 ? 2 : 4);
        put_n(c, pick_selector(c->r), 2);
        break;
    case 4:
        mov_imm(c, 3, W_DATA + below(c, 0x3000));
        addr_prefix(c);
        if (c->bits == 64 && rng_chance(c->r, 30))
            put(c, 0x48);
        put(c, 0xff);
        put(c, rng_chance(c->r, 50) ? 0x2b : 0x1b);
        break;
    case 5:
        put(c, 0xcd);
        put(c, below(c, 256));
        break;
    case 6:
        put(c, 0x0f);
        put(c, (const uint8_t[]){0x05, 0x07, 0x34, 0x35}[below(c, 4)]);
        break;
    default:
        mov_imm(c, 0, pick_selector(c->r));
        put(c, 0x8e);
        put(c, 0xc0 | below(c, 6) << 3); /* MOV Sreg, AX */
    }
}

static void string_op(struct code *c)
{
    static const uint8_t ops[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};

    mov_imm(c, 1, rng_chance(c->r, 80) ? below(c, 0x4000) : pick_value(c->r));
    mov_imm(c, 6, pick_address(c->r));
    mov_imm(c, 7, pick_address(c->r));
    put(c, rng_chance(c->r, 80) ? 0xf3 : 0xf2);
    if (rng_chance(c->r, 15))
        put(c, 0x67);
    if (c->bits == 64 && rng_chance(c->r, 30))
        put(c, 0x48);
    put(c, ops[below(c, ARRAY_LEN(ops))]);
}

/* Any row of the opcode maps, with prefixes. */
static void any(struct code *c)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};

    while (rng_chance(c->r, 25))
        put(c, prefixes[below(c, ARRAY_LEN(prefixes))]);
    if (c->bits == 64 && rng_chance(c->r, 40))
        put(c, 0x40 + below(c, 16));
    switch (below(c, 5)) {
    case 0:
    case 1:
        break;
    case 2:
    case 3:
        put(c, 0x0f);
        break;
    default:
        put(c, 0x0f);
        put(c, rng_chance(c->r, 50) ? 0x38 : 0x3a);
    }
    put(c, below(c, 256));
    for (unsigned n = below(c, 8); n > 0; n--)
        put(c, below(c, 256));
}

static void one_byte(struct code *c)
{
    static const uint8_t ops[] = {0xfa, 0xfb, 0xfc, 0xfd, 0xf4, 0x9c, 0x9d, 0x9b, 0x50, 0x58, 0xc3, 0xcf, 0xf1,
                                  0xcc, 0xce, 0xc9, 0x60, 0x61, 0x06, 0x07, 0x1f, 0x17, 0xcb, 0xd7, 0x9e, 0x9f};

    put(c, ops[below(c, ARRAY_LEN(ops))]);
}

static void jump(struct code *c)
{
    if (rng_chance(c->r, 50)) {
        put(c, (const uint8_t[]){0x70 + 5, 0xe2, 0xeb, 0xe3}[below(c, 4)]);
        put(c, below(c, 256));
    } else {
        put(c, rng_chance(c->r, 50) ? 0xe8 : 0xe9);
        put_n(c, (uint64_t)(int64_t)((int)below(c, 0x4000) - 0x2000), c->bits == 16 ? 2 : 4);
    }
}

void code_fill(struct rng *r, unsigned bits, uint8_t *buf, unsigned len)
{
    static void (*const kinds[])(struct code *) = {
        any,         any,           any,           any,           control_write, msr_access, port_access,
        port_access, memory_access, memory_access, memory_access, table_access,  transfer,   string_op,
        pci_access,  one_byte,      one_byte,      jump,          vex,           vex};
    struct code c = {r, bits, buf, buf + len};

    while (c.p < c.end)
        kinds[rng_below(r, ARRAY_LEN(kinds))](&c);
}

/* The place comes from a linear congruential generator in memory, by SS: all else may be unusable. */
unsigned code_stub(struct rng *r, unsigned bits, unsigned ss, unsigned cs, uint8_t *buf)
{
    struct code c = {r, bits, buf, buf + STUB_MAX};
    uint32_t at = bits == 16 ? 0x3ff0 : W_DATA + 0x3ff0;

    put_n(&c, bits == 16 ? 0x250469666736 : 0x25046936, bits == 16 ? 6 : 4); /* IMUL EAX, SS:[at], n */
    put_n(&c, at, 4);
    put_n(&c, 1103515245, 4);
    if (bits == 16)
        put(&c, 0x66);
    put(&c, 0x05); /* ADD EAX, n */
    put_n(&c, 12345 + (rng_u32(r) & ~1u), 4);
    put_n(&c, bits == 16 ? 0x250489666736 : 0x25048936, bits == 16 ? 6 : 4); /* MOV SS:[at], EAX */
    put_n(&c, at, 4);
    if (bits == 16)
        put(&c, 0x66);
    put_n(&c, 0x0ce8c1, 3); /* SHR EAX, 12 */
    put(&c, 0x25);          /* AND EAX, FFFFh */
    put_n(&c, 0xffff, bits == 16 ? 2 : 4);
    if (bits != 16) {
        put(&c, 0x05);
        put_n(&c, W_CODE, 4);
    }
    put(&c, 0xbc); /* MOV ESP, n */
    put_n(&c, bits == 16 ? 0x2000 : W_DATA + 0x2000, bits == 16 ? 2 : 4);
    if (!ss && !cs) {
        put_n(&c, 0xe0ff, 2); /* JMP EAX */
        return (unsigned)(c.p - buf);
    }
    push_imm(&c, ss);
    push_imm(&c, bits == 16 ? 0xf000 : W_DATA + 0x3000);
    push_imm(&c, 2 | (rng_u32(r) & 0x47fd7));
    push_imm(&c, cs);
    put(&c, 0x50);
    if (bits == 64)
        put(&c, 0x48);
    put(&c, 0xcf);
    return (unsigned)(c.p - buf);
}
