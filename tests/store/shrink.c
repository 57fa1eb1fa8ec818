#include "tests/store/shrink.h"

#include <stdlib.h>
#include <string.h>

/* Tries without each run of `len` steps in turn, from the last on: later steps seldom matter to earlier ones. */
static size_t drop_runs(unsigned *steps, size_t n, size_t len, bool (*fails)(void *, const unsigned *, size_t),
                        void *opaque, unsigned *tries)
{
    unsigned *without = malloc((n ? n : 1) * sizeof *without);

    for (size_t end = n; without && end > 0 && *tries; end -= end < len ? end : len) {
        size_t from = end < len ? 0 : end - len;
        memcpy(without, steps, from * sizeof *steps);
        memcpy(without + from, steps + end, (n - end) * sizeof *steps);
        --*tries;
        if (!fails(opaque, without, n - (end - from)))
            continue;
        n -= end - from;
        memcpy(steps, without, n * sizeof *steps);
    }
    free(without);
    return n;
}

size_t shrink(unsigned *steps, size_t n, bool (*fails)(void *opaque, const unsigned *steps, size_t n), void *opaque,
              unsigned tries)
{
    for (size_t len = n / 2 ? n / 2 : 1; tries; len /= 2) {
        size_t before = n;
        n = drop_runs(steps, n, len, fails, opaque, &tries);
        if (len == 1) {
            if (n == before)
                break;
            len = 2; /* once more: what was needed may not be any longer */
        }
    }
    return n;
}
