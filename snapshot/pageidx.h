/* Where the newest version of a page is, for the pages that a head's log has. Not locked. */
#ifndef VT_SNAPSHOT_PAGEIDX_H
#define VT_SNAPSHOT_PAGEIDX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;

struct loc {
    uint64_t page;
    struct batch *batch; /* NULL: zero */
    uint32_t slot;
    bool used;
};

struct pageidx {
    struct loc *v;
    size_t n, cap; /* cap: a power of two, or 0 */
};

struct loc *pageidx_find(const struct pageidx *x, uint64_t page); /* NULL: not there */
/* Sets or replaces. False: no memory. */
bool pageidx_set(struct pageidx *x, uint64_t page, struct batch *batch, uint32_t slot);
/* Room for n more, so that as many sets cannot fail. */
bool pageidx_reserve(struct pageidx *x, size_t n);
void pageidx_release(struct pageidx *x);

#endif
