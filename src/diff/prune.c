/* The comparison whose cost follows what changed.
 *
 * 1. Blocks of the inode tables that differ give the inodes that changed (prune_inodes.c).
 * 2. Differing blocks that are neither metadata nor belong to a changed inode, and are in use on both sides, belong to
 *    inodes that are the same: content written without a trace in the inode. All inodes are looked at to find them.
 * 3. Changed directories that have one path on both sides give the names that came, went, or mean another inode: those
 *    are compared as whole subtrees, by the same code as a full walk. Any other difference between the two sets of
 * paths lies below such a name.
 * 4. Names of a changed file that did not change themselves come from the changed directories too, and where those do
 *    not hold as many as the file has links, from a search (prune_search.c). */
#include "src/diff/prune_priv.h"

#include <stdio.h>
#include <string.h>

#include "src/base/util.h"

bool prune_possible(const struct compare *c)
{
    ext2_filsys a = extfs_handle(c->fs[BEFORE]), b = extfs_handle(c->fs[AFTER]);
    const struct ext2_super_block *x = a->super, *y = b->super;
    const uint32_t soft = EXT3_FEATURE_INCOMPAT_RECOVER;

    if (x->s_blocks_count != y->s_blocks_count || x->s_blocks_count_hi != y->s_blocks_count_hi ||
        x->s_inodes_count != y->s_inodes_count || x->s_log_block_size != y->s_log_block_size ||
        x->s_blocks_per_group != y->s_blocks_per_group || x->s_inodes_per_group != y->s_inodes_per_group ||
        x->s_first_data_block != y->s_first_data_block || EXT2_INODE_SIZE(x) != EXT2_INODE_SIZE(y) ||
        ((x->s_feature_incompat ^ y->s_feature_incompat) & ~soft) || a->group_desc_count != b->group_desc_count ||
        x->s_feature_incompat & EXT4_FEATURE_INCOMPAT_EA_INODE ||
        x->s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_BIGALLOC)
        return false;
    for (dgrp_t g = 0; g < a->group_desc_count; g++)
        if (ext2fs_inode_table_loc(a, g) != ext2fs_inode_table_loc(b, g) ||
            ext2fs_block_bitmap_loc(a, g) != ext2fs_block_bitmap_loc(b, g) ||
            ext2fs_inode_bitmap_loc(a, g) != ext2fs_inode_bitmap_loc(b, g))
            return false;
    return true;
}

static int pair_key_cmp(const void *key, const void *item)
{
    uint32_t k = *(const uint32_t *)key, ino = ((const struct inode_pair *)item)->node[BEFORE].ino;

    return k < ino ? -1 : k > ino;
}

struct inode_pair *prune_pair(struct prune *p, uint32_t ino)
{
    return bitset_test(&p->changed, ino) ? bsearch(&ino, p->pair, p->n, sizeof(*p->pair), pair_key_cmp) : NULL;
}

int prune_add_pair(struct prune *p, uint32_t ino, const void *raw_a, const void *raw_b, bool live_a, bool live_b)
{
    struct inode_pair *x;

    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 128;

        x = realloc(p->pair, cap * sizeof(*x));
        if (!x)
            return err_set(p->c->e, VT_FAIL, "out of memory");
        p->pair = x;
        p->cap = cap;
    }
    x = &p->pair[p->n++];
    *x = (struct inode_pair){.live = {live_a, live_b}};
    extfs_decode(raw_a, p->inode_size, ino, &x->node[BEFORE]);
    extfs_decode(raw_b, p->inode_size, ino, &x->node[AFTER]);
    bitset_set(&p->changed, ino);
    return 0;
}

static bool live_dir(const struct inode_pair *x, int side)
{
    return x->live[side] && S_ISDIR(x->node[side].mode);
}

/* Both paths of a directory that is one on both sides, or NULL when they differ. */
static int common_path(struct prune *p, uint32_t dir, const char **ret)
{
    const char *a = NULL, *b = NULL;
    int r = prune_path(p, BEFORE, dir, &a);

    if (r == 0)
        r = prune_path(p, AFTER, dir, &b);
    if (r < 0)
        return r;
    *ret = a && b && !strcmp(a, b) ? a : NULL;
    return 0;
}

static char *join(const char *dir, const char *name)
{
    char *path = NULL;

    return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

/* One name of a changed directory. at is its path on both sides, or NULL. */
static int take_name(struct prune *p, uint32_t dir, const char *at, const char *name, uint32_t a, uint32_t b)
{
    struct inode_pair *x = b ? prune_pair(p, b) : NULL;
    cleanup(cleanup_free) char *path = NULL;

    if (x)
        x->named++;
    if (a == b)
        return x && at ? prune_keep_name(p, dir, name, b) : 0;
    if (!at)
        return 0;
    path = join(at, name);
    return path ? compare_subtree(p->c, path, a, b) : err_set(p->c->e, VT_FAIL, "out of memory");
}

static int compare_dir(struct prune *p, const struct inode_pair *x)
{
    static const struct dirlist none;
    uint32_t ino = x->node[BEFORE].ino;
    const struct dirlist *la = &none, *lb = &none;
    struct dir_cache *d = NULL;
    const char *at = NULL;
    size_t i = 0, k = 0;
    int r = 0;

    if (live_dir(x, BEFORE) && (r = prune_dir(p, BEFORE, ino, &d)) == 0)
        la = d->list;
    if (r == 0 && live_dir(x, AFTER) && (r = prune_dir(p, AFTER, ino, &d)) == 0)
        lb = d->list;
    if (r == 0 && live_dir(x, BEFORE) && live_dir(x, AFTER))
        r = common_path(p, ino, &at);
    while (r == 0 && (i < la->n || k < lb->n)) {
        int order = i == la->n ? 1 : k == lb->n ? -1 : strcmp(la->entry[i].name, lb->entry[k].name);
        const char *name = order <= 0 ? la->entry[i].name : lb->entry[k].name;

        r = take_name(p, ino, at, name, order <= 0 ? la->entry[i].ino : 0, order >= 0 ? lb->entry[k].ino : 0);
        i += order <= 0;
        k += order >= 0;
    }
    return r;
}

/* What changed in the directory's own inode. */
static int compare_dir_node(struct prune *p, const struct inode_pair *x)
{
    const char *at = NULL;
    struct fsnode a, b;
    int r = common_path(p, x->node[BEFORE].ino, &at);

    if (r < 0 || !at)
        return r;
    return compare_at(p->c, at, x->node[BEFORE].ino, x->node[AFTER].ino, &a, &b);
}

static int compare_kept(struct prune *p)
{
    for (size_t i = 0; i < p->nkept; i++) {
        const struct kept_name *k = &p->kept[i];
        cleanup(cleanup_free) char *path = NULL;
        const char *at = NULL;
        struct fsnode a, b;
        int r = common_path(p, k->dir, &at);

        if (r < 0)
            return r;
        if (!at)
            continue;
        path = join(at, k->name);
        if (!path)
            return err_set(p->c->e, VT_FAIL, "out of memory");
        r = compare_at(p->c, path, k->ino, k->ino, &a, &b);
        if (r < 0)
            return r;
    }
    return 0;
}

static void prune_clear(struct prune *p)
{
    prune_names_clear(p);
    free(p->pair);
    bitset_clear(&p->changed);
    bitset_clear(&p->searched);
    bitset_clear(&p->rest);
}

int prune_compare(struct compare *c)
{
    cleanup(prune_clear) struct prune p = {.c = c};
    uint64_t inodes = (uint64_t)extfs_inodes(c->fs[BEFORE]) + 1;
    int r;

    for (int side = BEFORE; side <= AFTER; side++) {
        p.fs[side] = extfs_handle(c->fs[side]);
        p.slot[side] = calloc(inodes, sizeof(*p.slot[side]));
        if (!p.slot[side])
            return err_set(c->e, VT_FAIL, "out of memory");
    }
    p.inode_size = EXT2_INODE_SIZE(p.fs[BEFORE]->super);
    p.block_size = p.fs[BEFORE]->blocksize;
    p.per_group = p.fs[BEFORE]->super->s_inodes_per_group;
    r = bitset_init(&p.changed, inodes, c->e);
    if (r == 0)
        r = bitset_init(&p.searched, inodes, c->e);
    if (r == 0)
        r = bitset_copy(&p.rest, c->differ, c->e);
    if (r == 0)
        r = prune_find_inodes(&p);
    if (r == 0)
        r = prune_find_owners(&p);
    for (size_t i = 0; r == 0 && i < p.n; i++)
        if (live_dir(&p.pair[i], BEFORE) || live_dir(&p.pair[i], AFTER))
            r = compare_dir(&p, &p.pair[i]);
    for (size_t i = 0; r == 0 && i < p.n; i++)
        if (live_dir(&p.pair[i], BEFORE) && live_dir(&p.pair[i], AFTER))
            r = compare_dir_node(&p, &p.pair[i]);
    if (r == 0)
        r = prune_find_names(&p);
    if (r == 0)
        r = compare_kept(&p);
    return r;
}
