#include "src/diff/bitset.h"

#include <stdlib.h>
#include <string.h>

int bitset_init(struct bitset *s, uint64_t n, struct err *e)
{
    *s = (struct bitset){.n = n, .word = calloc(n / 64 + 1, sizeof(uint64_t))};
    return s->word ? 0 : err_set(e, VT_FAIL, "out of memory");
}

int bitset_copy(struct bitset *s, const struct bitset *from, struct err *e)
{
    int r = bitset_init(s, from->n, e);

    if (r == 0)
        memcpy(s->word, from->word, (from->n / 64 + 1) * sizeof(uint64_t));
    return r;
}

void bitset_clear(struct bitset *s)
{
    free(s->word);
    *s = (struct bitset){0};
}

void bitset_unset_range(struct bitset *s, uint64_t from, uint64_t len)
{
    uint64_t end = from < s->n && len < s->n - from ? from + len : s->n;

    while (from < end) {
        if (from % 64 == 0 && end - from >= 64) {
            s->word[from / 64] = 0;
            from += 64;
        } else {
            bitset_unset(s, from++);
        }
    }
}

uint64_t bitset_next_below(const struct bitset *s, uint64_t from, uint64_t end)
{
    uint64_t w;

    if (end > s->n)
        end = s->n;
    if (from >= end)
        return end;
    w = s->word[from / 64] & (~0ull << (from % 64));
    for (uint64_t i = from / 64;; w = s->word[i]) {
        if (w) {
            uint64_t at = i * 64 + (uint64_t)__builtin_ctzll(w);

            return at < end ? at : end;
        }
        if (++i > (end - 1) / 64)
            return end;
    }
}
