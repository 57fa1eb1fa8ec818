/* See extfs.h. Block maps, contents, symbolic links and extended attributes. */
#include "src/diff/extfs_priv.h"

#include <string.h>

#include "src/base/util.h"
#include "src/diff/dev.h"

void runs_clear(struct runs *r)
{
    free(r->run);
    free(r->meta);
    *r = (struct runs){0};
}

static int add_run(struct runs *r, uint64_t lblk, uint64_t pblk, uint64_t len)
{
    struct run *last = r->n ? &r->run[r->n - 1] : NULL;

    if (last && last->lblk + last->len == lblk && last->pblk + last->len == pblk) {
        last->len += len;
        return 0;
    }
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 4;
        struct run *p = realloc(r->run, cap * sizeof(*p));

        if (!p)
            return VT_FAIL;
        r->run = p;
        r->cap = cap;
    }
    r->run[r->n++] = (struct run){.lblk = lblk, .pblk = pblk, .len = len};
    return 0;
}

static int add_meta(struct runs *r, uint64_t block)
{
    if (r->nmeta == r->capmeta) {
        size_t cap = r->capmeta ? r->capmeta * 2 : 4;
        uint64_t *p = realloc(r->meta, cap * sizeof(*p));

        if (!p)
            return VT_FAIL;
        r->meta = p;
        r->capmeta = cap;
    }
    r->meta[r->nmeta++] = block;
    return 0;
}

static int bad_map(const struct fsnode *n, struct err *e)
{
    return err_set(e, VT_CORRUPT, "inode %u: its block map does not make sense", n->ino);
}

static void free_extents(ext2_extent_handle_t *h)
{
    if (*h)
        ext2fs_extent_free(*h);
}

/* No block of a sound file system belongs to a file twice, which bounds what a map may hold. */
static int extent_runs(struct extfs *fs, const struct fsnode *n, struct runs *runs, struct err *e)
{
    cleanup(free_extents) ext2_extent_handle_t h = NULL;
    uint64_t total = ext2fs_blocks_count(fs->fs->super), mapped = 0, next = 0, steps = 0;
    struct ext2_inode_large in;
    struct ext2fs_extent x;
    errcode_t code;
    int r = extfs_inode(fs, n->ino, &in, e);

    if (r < 0)
        return r;
    code = ext2fs_extent_open2(fs->fs, n->ino, (struct ext2_inode *)&in, &h);
    if (!code)
        code = ext2fs_extent_get(h, EXT2_EXTENT_ROOT, &x);
    for (; !code; code = ext2fs_extent_get(h, EXT2_EXTENT_NEXT, &x)) {
        if (++steps > 2 * total)
            return bad_map(n, e);
        if (x.e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT)
            continue;
        if (!(x.e_flags & EXT2_EXTENT_FLAGS_LEAF)) {
            if (add_meta(runs, x.e_pblk) < 0)
                return err_set(e, VT_FAIL, "out of memory");
            continue;
        }
        if (x.e_lblk < next || x.e_pblk >= total || x.e_len > total - x.e_pblk || !x.e_len)
            return bad_map(n, e);
        next = x.e_lblk + x.e_len;
        mapped += x.e_len;
        if (mapped > total)
            return bad_map(n, e);
        if (!(x.e_flags & EXT2_EXTENT_FLAGS_UNINIT) && add_run(runs, x.e_lblk, x.e_pblk, x.e_len) < 0)
            return err_set(e, VT_FAIL, "out of memory");
    }
    if (code != EXT2_ET_EXTENT_NO_NEXT && code != EXT2_ET_NO_CURRENT_NODE)
        return extfs_fail(fs, code, e, "inode %u", n->ino);
    return 0;
}

struct indirect_ctx {
    struct runs *runs;
    uint64_t total, mapped;
    int code;
};

static int take_block(ext2_filsys fs, blk64_t *block, e2_blkcnt_t lblk, blk64_t ref, int ref_off, void *opaque)
{
    struct indirect_ctx *c = opaque;

    if (*block >= c->total || ++c->mapped > c->total)
        c->code = VT_CORRUPT;
    else
        c->code = lblk < 0 ? add_meta(c->runs, *block) : add_run(c->runs, (uint64_t)lblk, *block, 1);
    return c->code ? BLOCK_ABORT : 0;
}

static int indirect_runs(struct extfs *fs, const struct fsnode *n, struct runs *runs, struct err *e)
{
    struct indirect_ctx c = {.runs = runs, .total = ext2fs_blocks_count(fs->fs->super)};
    errcode_t code;

    extfs_begin(fs);
    code = ext2fs_block_iterate3(fs->fs, n->ino, BLOCK_FLAG_READ_ONLY, NULL, take_block, &c);
    if (c.code == VT_FAIL)
        return err_set(e, VT_FAIL, "out of memory");
    if (c.code)
        return bad_map(n, e);
    return code ? extfs_fail(fs, code, e, "inode %u", n->ino) : 0;
}

static bool is_fast_symlink(const struct extfs *fs, const struct fsnode *n)
{
    return S_ISLNK(n->mode) && n->size < sizeof(((struct ext2_inode *)0)->i_block) && !(n->flags & EXT4_EXTENTS_FL);
}

int extfs_runs(struct extfs *fs, const struct fsnode *n, struct runs *ret, struct err *e)
{
    cleanup(runs_clear) struct runs runs = {0};
    int r;

    if ((S_ISREG(n->mode) || S_ISDIR(n->mode) || S_ISLNK(n->mode)) && !(n->flags & EXT4_INLINE_DATA_FL) &&
        !is_fast_symlink(fs, n)) {
        r = n->flags & EXT4_EXTENTS_FL ? extent_runs(fs, n, &runs, e) : indirect_runs(fs, n, &runs, e);
        if (r < 0)
            return r;
    }
    *ret = runs;
    runs = (struct runs){0};
    return 0;
}

/* The first run that ends behind lblk. */
static size_t find_run(const struct runs *runs, uint64_t lblk)
{
    size_t lo = 0, hi = runs->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (runs->run[mid].lblk + runs->run[mid].len <= lblk)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int read_inline(struct extfs *fs, const struct fsnode *n, uint64_t off, void *dst, size_t len, struct err *e)
{
    cleanup(cleanup_free) unsigned char *buf = NULL;
    size_t have = 0;
    errcode_t code;

    extfs_begin(fs);
    code = ext2fs_inline_data_size(fs->fs, n->ino, &have);
    if (code)
        return extfs_fail(fs, code, e, "inode %u", n->ino);
    buf = calloc(1, have + 1);
    if (!buf)
        return err_set(e, VT_FAIL, "out of memory");
    code = ext2fs_inline_data_get(fs->fs, n->ino, NULL, buf, &have);
    if (code)
        return extfs_fail(fs, code, e, "inode %u", n->ino);
    if (off > have || len > have - off)
        return err_set(e, VT_CORRUPT, "inode %u: its inline data is shorter than its size", n->ino);
    memcpy(dst, buf + off, len);
    return 0;
}

int extfs_read(struct extfs *fs, const struct fsnode *n, const struct runs *runs, uint64_t off, void *dst, size_t len,
               struct err *e)
{
    uint32_t bs = fs->fs->blocksize;
    unsigned char *out = dst;
    size_t i;
    int r;

    if (off > n->size || len > n->size - off)
        return err_set(e, VT_CORRUPT, "inode %u is shorter than expected", n->ino);
    if (n->flags & EXT4_INLINE_DATA_FL)
        return len ? read_inline(fs, n, off, dst, len, e) : 0;
    for (i = find_run(runs, off / bs); len; i++) {
        uint64_t start = i < runs->n ? runs->run[i].lblk * bs : UINT64_MAX;
        uint64_t stop = i < runs->n ? start + runs->run[i].len * bs : UINT64_MAX;
        size_t hole, part;

        hole = start > off ? (size_t)MIN((uint64_t)len, start - off) : 0;
        memset(out, 0, hole);
        out += hole;
        off += hole;
        len -= hole;
        part = (size_t)MIN((uint64_t)len, stop - off);
        if (!part)
            continue;
        r = dev_read(fs->io.dev, out, part, runs->run[i].pblk * bs + (off - start), e);
        if (r < 0)
            return err_prefix(e, r, "inode %u", n->ino);
        out += part;
        off += part;
        len -= part;
    }
    return 0;
}

int extfs_readlink(struct extfs *fs, const struct fsnode *n, char **ret, struct err *e)
{
    cleanup(cleanup_free) char *target = NULL;
    cleanup(runs_clear) struct runs runs = {0};
    struct ext2_inode_large in;
    int r;

    if (!S_ISLNK(n->mode) || !n->size || n->size > 4096)
        return err_set(e, VT_CORRUPT, "inode %u: not a proper symbolic link", n->ino);
    target = calloc(1, n->size + 1);
    if (!target)
        return err_set(e, VT_FAIL, "out of memory");
    if (is_fast_symlink(fs, n) && !(n->flags & EXT4_INLINE_DATA_FL)) {
        r = extfs_inode(fs, n->ino, &in, e);
        if (r < 0)
            return r;
        memcpy(target, in.i_block, n->size);
    } else {
        r = extfs_runs(fs, n, &runs, e);
        if (r == 0)
            r = extfs_read(fs, n, &runs, 0, target, n->size, e);
        if (r < 0)
            return r;
    }
    *ret = steal(&target);
    return 0;
}

/* Extended attributes. */

void xattrs_clear(struct xattrs *x)
{
    for (size_t i = 0; i < x->n; i++) {
        free(x->attr[i].name);
        free(x->attr[i].value);
    }
    free(x->attr);
    *x = (struct xattrs){0};
}

static int take_xattr(char *name, char *value, size_t len, void *opaque)
{
    struct xattrs *x = opaque;
    struct xattr *a;

    if (!strcmp(name, "system.data")) /* the tail of inline data, not an attribute of the user's */
        return 0;
    if (x->n == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 4;
        struct xattr *p = realloc(x->attr, cap * sizeof(*p));

        if (!p)
            return XATTR_ABORT;
        x->attr = p;
        x->cap = cap;
    }
    a = &x->attr[x->n];
    *a = (struct xattr){.name = strdup(name), .value = malloc(len + 1), .len = len};
    x->n++;
    if (!a->name || !a->value)
        return XATTR_ABORT;
    memcpy(a->value, value, len);
    return 0;
}

static int xattr_cmp(const void *a, const void *b)
{
    return strcmp(((const struct xattr *)a)->name, ((const struct xattr *)b)->name);
}

static void close_xattrs(struct ext2_xattr_handle **h)
{
    if (*h)
        ext2fs_xattrs_close(h);
}

int extfs_xattrs(struct extfs *fs, const struct fsnode *n, struct xattrs *ret, struct err *e)
{
    cleanup(close_xattrs) struct ext2_xattr_handle *h = NULL;
    cleanup(xattrs_clear) struct xattrs x = {0};
    size_t count = 0;
    errcode_t code;

    extfs_begin(fs);
    code = ext2fs_xattrs_open(fs->fs, n->ino, &h);
    if (!code)
        code = ext2fs_xattrs_read(h);
    if (!code)
        code = ext2fs_xattrs_count(h, &count);
    if (!code)
        code = ext2fs_xattrs_iterate(h, take_xattr, &x);
    if (code)
        return extfs_fail(fs, code, e, "attributes of inode %u", n->ino);
    for (size_t i = 0; i < x.n; i++)
        if (!x.attr[i].name || !x.attr[i].value)
            return err_set(e, VT_FAIL, "out of memory");
    if (x.n)
        qsort(x.attr, x.n, sizeof(*x.attr), xattr_cmp);
    *ret = x;
    x = (struct xattrs){0};
    return 0;
}

bool xattrs_equal(const struct xattrs *a, const struct xattrs *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->attr[i].name, b->attr[i].name) || a->attr[i].len != b->attr[i].len ||
            memcmp(a->attr[i].value, b->attr[i].value, a->attr[i].len))
            return false;
    return true;
}
