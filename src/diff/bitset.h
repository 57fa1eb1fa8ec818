/* A fixed-size set of numbers below n. */
#ifndef VT_DIFF_BITSET_H
#define VT_DIFF_BITSET_H

#include <stdbool.h>
#include <stdint.h>
#include "src/base/err.h"

struct bitset {
    uint64_t n;
    uint64_t *word;
};

int bitset_init(struct bitset *s, uint64_t n, struct err *e); /* empty */
int bitset_copy(struct bitset *s, const struct bitset *from, struct err *e);
void bitset_clear(struct bitset *s); /* frees */

static inline bool bitset_test(const struct bitset *s, uint64_t i)
{
    return i < s->n && (s->word[i / 64] >> (i % 64) & 1);
}
static inline void bitset_set(struct bitset *s, uint64_t i)
{
    if (i < s->n)
        s->word[i / 64] |= 1ull << (i % 64);
}
static inline void bitset_unset(struct bitset *s, uint64_t i)
{
    if (i < s->n)
        s->word[i / 64] &= ~(1ull << (i % 64));
}
void bitset_unset_range(struct bitset *s, uint64_t from, uint64_t len);
/* The first member of [from, end), or end (or s->n where that is less) when there is none. */
uint64_t bitset_next_below(const struct bitset *s, uint64_t from, uint64_t end);
/* The first member >= from, or s->n when there is none. */
static inline uint64_t bitset_next(const struct bitset *s, uint64_t from)
{
    return bitset_next_below(s, from, s->n);
}
/* Is any of [from, from + len) a member? */
static inline bool bitset_any(const struct bitset *s, uint64_t from, uint64_t len)
{
    uint64_t end = from < s->n && len < s->n - from ? from + len : s->n;

    return bitset_next_below(s, from, end) < end;
}

#endif
