/* Whether two files hold the same bytes, reading only what may differ. */
#include "src/diff/tree_priv.h"

#include <string.h>

#include "src/base/util.h"

#define CHUNK (256u * 1024)

/* What of [lblk, end) is known to be the same: the number of blocks from lblk on that are holes in both, or the same
 * block of both devices, which does not differ. */
static uint64_t same_blocks(const struct compare *c, const struct run *a, const struct run *b, uint64_t lblk,
                            uint64_t end)
{
    bool in_a = a && a->lblk <= lblk, in_b = b && b->lblk <= lblk;
    uint64_t stop = end, at;

    if (a)
        stop = MIN(stop, in_a ? a->lblk + a->len : a->lblk);
    if (b)
        stop = MIN(stop, in_b ? b->lblk + b->len : b->lblk);
    if (!in_a && !in_b)
        return stop - lblk;
    if (!in_a || !in_b || !c->differ || a->pblk + (lblk - a->lblk) != b->pblk + (lblk - b->lblk))
        return 0;
    at = a->pblk + (lblk - a->lblk);
    return bitset_next_below(c->differ, at, at + (stop - lblk)) - at;
}

/* The first block from lblk on at which same_blocks() could say more than 0. */
static uint64_t unknown_end(const struct compare *c, const struct run *a, const struct run *b, uint64_t lblk,
                            uint64_t end)
{
    uint64_t max = MIN(end, lblk + CHUNK / extfs_block_size(c->fs[BEFORE]));

    for (uint64_t k = lblk + 1; k < max; k++)
        if ((a && a->lblk + a->len == k) || (b && b->lblk + b->len == k) || same_blocks(c, a, b, k, max))
            return k;
    return max;
}

int content_same(struct compare *c, const struct fsnode *a, const struct fsnode *b, bool *ret_same)
{
    cleanup(runs_clear) struct runs ra = {0}, rb = {0};
    cleanup(cleanup_free) unsigned char *buf = NULL;
    uint32_t bs = extfs_block_size(c->fs[BEFORE]);
    uint64_t lblk = 0, end = (a->size + bs - 1) / bs;
    bool by_block = bs == extfs_block_size(c->fs[AFTER]) && !((a->flags | b->flags) & FSNODE_INLINE);
    size_t ia = 0, ib = 0;
    int r;

    *ret_same = a->size == b->size;
    if (!*ret_same || !a->size)
        return 0;
    r = extfs_runs(c->fs[BEFORE], a, &ra, c->e);
    if (r == 0)
        r = extfs_runs(c->fs[AFTER], b, &rb, c->e);
    if (r < 0)
        return r;
    while (lblk < end) {
        const struct run *pa, *pb;
        uint64_t n, off;
        size_t len;

        while (ia < ra.n && ra.run[ia].lblk + ra.run[ia].len <= lblk)
            ia++;
        while (ib < rb.n && rb.run[ib].lblk + rb.run[ib].len <= lblk)
            ib++;
        pa = ia < ra.n ? &ra.run[ia] : NULL;
        pb = ib < rb.n ? &rb.run[ib] : NULL;
        n = by_block ? same_blocks(c, pa, pb, lblk, end) : 0;
        if (n) {
            lblk += n;
            continue;
        }
        n = by_block ? unknown_end(c, pa, pb, lblk, end) - lblk : MIN(end - lblk, CHUNK / bs);
        off = lblk * bs;
        len = (size_t)MIN(n * bs, a->size - off);
        if (!buf && !(buf = malloc(2 * CHUNK)))
            return err_set(c->e, VT_FAIL, "out of memory");
        r = extfs_read(c->fs[BEFORE], a, &ra, off, buf, len, c->e);
        if (r == 0)
            r = extfs_read(c->fs[AFTER], b, &rb, off, buf + CHUNK, len, c->e);
        if (r < 0)
            return r;
        if (memcmp(buf, buf + CHUNK, len)) {
            *ret_same = false;
            return 0;
        }
        lblk += n;
    }
    return 0;
}
