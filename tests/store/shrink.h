/* Makes a list of steps that fails shorter, as long as it still fails. */
#ifndef TEST_STORE_SHRINK_H
#define TEST_STORE_SHRINK_H

#include <stdbool.h>
#include <stddef.h>

/* fails: does the run of just these steps, in this order, fail? Leaves in steps the shortest list that was found with
 * at most `tries` calls, and returns its length. */
size_t shrink(unsigned *steps, size_t n, bool (*fails)(void *opaque, const unsigned *steps, size_t n), void *opaque,
              unsigned tries);

#endif
