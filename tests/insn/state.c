#include "state.h"

#include <string.h>

#define EFLAGS_STATUS 0x8d5u
#define EFLAGS_DF     0x400u
#define EFLAGS_ID     0x200000u

uint32_t random_u32(struct rng *r)
{
    static const uint32_t border[] = {0,          1,          2,          0x7f,      0x80,    0xff,
                                      0x100,      0x7fff,     0x8000,     0xffff,    0x10000, 0x7fffffff,
                                      0x80000000, 0xfffffffe, 0xffffffff, 0x55555555};
    switch (rng_below(r, 8)) {
    case 0:
    case 1:
        return border[rng_below(r, sizeof(border) / sizeof(border[0]))];
    case 2:
        return 1u << rng_below(r, 32);
    case 3:
        return rng_below(r, 256);
    case 4:
        return ~rng_below(r, 256);
    case 5: /* packed decimal digits */
        return rng_below(r, 10) | rng_below(r, 10) << 4 | rng_below(r, 10) << 8 | rng_below(r, 10) << 12;
    default:
        return rng_u32(r);
    }
}

uint64_t random_u64(struct rng *r)
{
    static const uint64_t border[] = {0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffffffe, 0xffffffff80000000,
                                      0x100000000,        0xffffffff,         0x800000000000,     0x5555555555555555};
    switch (rng_below(r, 8)) {
    case 0:
        return border[rng_below(r, sizeof(border) / sizeof(border[0]))];
    case 1:
        return 1ull << rng_below(r, 64);
    case 2:
        return (uint64_t)(int64_t)(int32_t)random_u32(r);
    case 3:
        return random_u32(r);
    case 4:
        return (uint64_t)random_u32(r) << 32 | random_u32(r);
    default:
        return rng_next(r);
    }
}

uint64_t random_gpr(struct rng *r, uint64_t mask)
{
    return mask >> 32 ? random_u64(r) : random_u32(r);
}

static uint32_t random_float(struct rng *r)
{
    static const uint32_t special[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
                                       0x7fc00000, 0xffc00001, 0x7fa00000, 1,          0x807fffff, 0x00800000,
                                       0x7f7fffff, 0x4f000000, 0xcf000000, 0x4effffff, 0x3f000000, 0x3fc00000};
    if (rng_chance(r, 45))
        return special[rng_below(r, sizeof(special) / sizeof(special[0]))];
    if (rng_chance(r, 70)) /* of moderate size, so that sums round */
        return (rng_u32(r) & 0x807fffff) | (110 + rng_below(r, 40)) << 23;
    return rng_u32(r);
}

static uint64_t random_double(struct rng *r)
{
    static const uint64_t special[] = {0,
                                       1ull << 63,
                                       0x3ff0000000000000,
                                       0xbff0000000000000,
                                       0x7ff0000000000000,
                                       0xfff0000000000000,
                                       0x7ff8000000000000,
                                       0x7ff4000000000000,
                                       1,
                                       0x800fffffffffffff,
                                       0x0010000000000000,
                                       0x7fefffffffffffff,
                                       0x41dfffffffc00000,
                                       0xc1e0000000000000,
                                       0x43e0000000000000,
                                       0x3fe0000000000000};
    if (rng_chance(r, 45))
        return special[rng_below(r, sizeof(special) / sizeof(special[0]))];
    if (rng_chance(r, 70))
        return (rng_next(r) & 0x800fffffffffffff) | (uint64_t)(1000 + rng_below(r, 60)) << 52;
    return rng_next(r);
}

static void random_extended(struct rng *r, uint8_t out[10])
{
    uint64_t man = rng_next(r) | 1ull << 63;
    uint16_t exp = (uint16_t)(0x3fff - 40 + rng_below(r, 80));
    switch (rng_below(r, 14)) {
    case 0:
        man = 0, exp = 0;
        break;
    case 1:
        man = 1ull << 63, exp = 0x3fff; /* 1 */
        break;
    case 2:
        man = 1ull << 63, exp = 0x7fff; /* infinity */
        break;
    case 3:
        man |= 1ull << 62, exp = 0x7fff; /* quiet NaN */
        break;
    case 4:
        man &= ~(1ull << 62), man |= 1, exp = 0x7fff; /* signalling NaN */
        break;
    case 5:
        man &= ~(1ull << 63), exp = 0; /* denormal */
        break;
    case 6:
        man &= ~(1ull << 63); /* unnormal: an invalid operand today */
        break;
    case 7:
        exp = (uint16_t)rng_below(r, 0x8000);
        break;
    case 8: /* a small integer */
        man = (uint64_t)(128 + rng_below(r, 128)) << 56, exp = (uint16_t)(0x3fff + rng_below(r, 8));
        break;
    default:
        break;
    }
    exp |= (uint16_t)(rng_below(r, 2) << 15);
    memcpy(out, &man, 8);
    memcpy(out + 8, &exp, 2);
}

/* One 16-byte chunk. */
static void random_chunk(struct rng *r, uint8_t out[16])
{
    uint32_t w[4];
    uint64_t q[2];
    switch (rng_below(r, 5)) {
    case 0:
        for (unsigned i = 0; i < 4; i++)
            w[i] = random_float(r);
        memcpy(out, w, 16);
        return;
    case 1:
        q[0] = random_double(r);
        q[1] = random_double(r);
        memcpy(out, q, 16);
        return;
    case 2:
        for (unsigned i = 0; i < 4; i++)
            w[i] = random_u32(r);
        memcpy(out, w, 16);
        return;
    case 3:
        memset(out, 0, 16);
        random_extended(r, out);
        w[0] = rng_u32(r);
        memcpy(out + 10, w, 4);
        return;
    default:
        q[0] = rng_next(r);
        q[1] = rng_next(r);
        memcpy(out, q, 16);
        return;
    }
}

void random_memory(struct rng *r, uint8_t *mem, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t run = 16;
        if (rng_chance(r, 6)) { /* long equal runs for CMPS and SCAS */
            run = 16 + 16 * rng_below(r, 40);
            if (run > n - at)
                run = n - at;
            memset(mem + at, rng_chance(r, 50) ? 0 : (int)rng_below(r, 256), run);
        } else {
            random_chunk(r, mem + at);
        }
        at += run;
    }
}

uint16_t random_fcw(struct rng *r)
{
    uint16_t fcw = 0x37f;
    if (rng_chance(r, 50))
        fcw = (uint16_t)(0x7f | rng_below(r, 4) << 10 | rng_below(r, 4) << 8 | rng_below(r, 2) << 12);
    if (rng_chance(r, 8))
        fcw &= (uint16_t)~rng_below(r, 64);
    return fcw;
}

uint32_t random_mxcsr(struct rng *r)
{
    uint32_t m = 0x1f80;
    if (rng_chance(r, 40))
        m |= rng_below(r, 4) << 13 | rng_below(r, 2) << 15 | rng_below(r, 2) << 6;
    if (rng_chance(r, 30))
        m |= rng_below(r, 64);
    if (rng_chance(r, 6))
        m &= ~(rng_below(r, 64) << 7);
    return m;
}

uint32_t random_eflags(struct rng *r)
{
    uint32_t f = 0x202 | (rng_u32(r) & EFLAGS_STATUS);
    if (rng_chance(r, 20))
        f |= EFLAGS_DF;
    if (rng_chance(r, 10))
        f |= EFLAGS_ID;
    return f;
}

void random_fx(struct rng *r, unsigned n_xmm, uint8_t fx[512])
{
    memset(fx, 0, 512);
    uint16_t fcw = random_fcw(r), fsw = (uint16_t)(rng_below(r, 8) << 11);
    if (rng_chance(r, 50))
        fsw |= (uint16_t)(rng_u32(r) & 0x4700); /* condition bits */
    if (rng_chance(r, 20))
        fsw |= (uint16_t)rng_below(r, 128);
    if (fsw & ~fcw & 0x3f)
        fsw |= 0x8080; /* an unmasked exception is pending */
    uint8_t ftw = rng_chance(r, 50) ? 0xff : rng_chance(r, 30) ? 0 : (uint8_t)rng_u32(r);
    uint32_t mxcsr = random_mxcsr(r);
    memcpy(fx, &fcw, 2);
    memcpy(fx + 2, &fsw, 2);
    fx[4] = ftw;
    memcpy(fx + 24, &mxcsr, 4);
    for (unsigned i = 0; i < 8; i++) {
        random_extended(r, fx + 32 + 16 * i);
        if (rng_chance(r, 15)) { /* as MMX leaves it */
            uint64_t q = rng_next(r);
            memcpy(fx + 32 + 16 * i, &q, 8);
            memset(fx + 40 + 16 * i, 0xff, 2);
        }
    }
    for (unsigned i = 0; i < n_xmm; i++)
        random_chunk(r, fx + 160 + 16 * i);
}

void random_ymm(struct rng *r, unsigned n, uint8_t ymmh[16][16])
{
    memset(ymmh, 0, 16 * 16);
    for (unsigned i = 0; i < n; i++)
        random_chunk(r, ymmh[i]);
}
