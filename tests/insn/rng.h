/* Random numbers that depend only on (seed, case number): any case can be made again alone. */
#ifndef INSN_RNG_H
#define INSN_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t s;
};

static inline uint64_t rng_next(struct rng *r) /* splitmix64 */
{
    uint64_t z = (r->s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline struct rng rng_for(uint64_t seed, uint64_t stream, uint64_t n)
{
    struct rng r = {seed * 0xd1342543de82ef95u + stream};
    r.s = rng_next(&r) ^ n * 0xda942042e4dd58b5u;
    rng_next(&r);
    return r;
}

static inline uint32_t rng_u32(struct rng *r)
{
    return (uint32_t)(rng_next(r) >> 32);
}

/* 0 .. n-1 */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
    return (uint32_t)((uint64_t)rng_u32(r) * n >> 32);
}

/* True in `percent` of the cases. */
static inline bool rng_chance(struct rng *r, uint32_t percent)
{
    return rng_below(r, 100) < percent;
}

#endif
