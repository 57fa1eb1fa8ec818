/* Directories and paths for the pruned comparison. See prune.c. */
#include "src/diff/prune_priv.h"

#include <stdio.h>
#include <string.h>

#include "src/base/util.h"

int prune_dir(struct prune *p, int side, uint32_t ino, struct dir_cache **ret)
{
    cleanup(cleanup_free) struct dir_cache *d = NULL;
    uint32_t twin;
    struct fsnode n;
    int r;

    if (!ino || ino > extfs_inodes(p->c->fs[side]))
        return err_set(p->c->e, VT_CORRUPT, "inode %u is out of range", ino);
    if (p->slot[side][ino]) {
        *ret = p->dir[side][p->slot[side][ino] - 1];
        return 0;
    }
    if (p->ndirs[side] == p->capdirs[side]) {
        size_t cap = p->capdirs[side] ? p->capdirs[side] * 2 : 64;
        struct dir_cache **q = realloc(p->dir[side], cap * sizeof(*q));

        if (!q)
            return err_set(p->c->e, VT_FAIL, "out of memory");
        p->dir[side] = q;
        p->capdirs[side] = cap;
    }
    d = calloc(1, sizeof(*d));
    if (!d)
        return err_set(p->c->e, VT_FAIL, "out of memory");
    d->ino = ino;
    d->list = &d->own;
    twin = bitset_test(&p->changed, ino) ? 0 : p->slot[!side][ino];
    if (twin) {
        /* An unchanged directory is the same on both sides: it is read once. Its path may still differ. */
        d->bad = p->dir[!side][twin - 1]->bad;
        d->list = p->dir[!side][twin - 1]->list;
    } else {
        r = extfs_node(p->c->fs[side], ino, &n, p->c->e);
        if (r < 0)
            return r;
        d->bad = !S_ISDIR(n.mode) || !n.links;
        if (!d->bad)
            r = extfs_list(p->c->fs[side], &n, &d->own, p->c->e);
        if (r < 0)
            return r;
    }
    *ret = d;
    p->dir[side][p->ndirs[side]++] = steal(&d);
    p->slot[side][ino] = (uint32_t)p->ndirs[side];
    return 0;
}

static const char *name_of(const struct dirlist *list, uint32_t ino)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->entry[i].ino == ino)
            return list->entry[i].name;
    return NULL;
}

int prune_path(struct prune *p, int side, uint32_t ino, const char **ret)
{
    struct dir_cache *d = NULL, *up = NULL;
    cleanup(cleanup_free) uint32_t *chain = NULL;
    size_t n = 0, cap = 0;
    int r;

    /* Up to a directory whose path is known, then down again. A loop ends at a directory that is pending. */
    for (uint32_t at = ino;; at = d->list->parent) {
        r = prune_dir(p, side, at, &d);
        if (r < 0)
            return r;
        if (at == EXTFS_ROOT && d->path_state == PATH_UNKNOWN) {
            d->path = strdup("");
            if (!d->path)
                return err_set(p->c->e, VT_FAIL, "out of memory");
            d->path_state = PATH_KNOWN;
        }
        if (d->path_state == PATH_PENDING || d->bad || !d->list->parent)
            d->path_state = PATH_NONE;
        if (d->path_state != PATH_UNKNOWN)
            break;
        if (n == cap) {
            uint32_t *q = realloc(chain, (cap = cap ? cap * 2 : 16) * sizeof(*q));

            if (!q)
                return err_set(p->c->e, VT_FAIL, "out of memory");
            chain = q;
        }
        chain[n++] = at;
        d->path_state = PATH_PENDING;
    }
    while (n) {
        const char *name;

        up = d;
        r = prune_dir(p, side, chain[--n], &d);
        if (r < 0)
            return r;
        name = up->path_state == PATH_KNOWN ? name_of(up->list, d->ino) : NULL;
        if (name && asprintf(&d->path, "%s/%s", up->path, name) < 0)
            return err_set(p->c->e, VT_FAIL, "out of memory");
        d->path_state = name ? PATH_KNOWN : PATH_NONE;
    }
    *ret = d->path_state == PATH_KNOWN ? d->path : NULL;
    return 0;
}

int prune_keep_name(struct prune *p, uint32_t dir, const char *name, uint32_t ino)
{
    char *copy;

    if (p->nkept == p->capkept) {
        size_t cap = p->capkept ? p->capkept * 2 : 64;
        struct kept_name *q = realloc(p->kept, cap * sizeof(*q));

        if (!q)
            return err_set(p->c->e, VT_FAIL, "out of memory");
        p->kept = q;
        p->capkept = cap;
    }
    copy = strdup(name);
    if (!copy)
        return err_set(p->c->e, VT_FAIL, "out of memory");
    p->kept[p->nkept++] = (struct kept_name){.dir = dir, .ino = ino, .name = copy};
    return 0;
}

void prune_names_clear(struct prune *p)
{
    for (int side = BEFORE; side <= AFTER; side++) {
        for (size_t i = 0; i < p->ndirs[side]; i++) {
            dirlist_clear(&p->dir[side][i]->own);
            free(p->dir[side][i]->path);
            free(p->dir[side][i]);
        }
        free(p->dir[side]);
        free(p->slot[side]);
    }
    for (size_t i = 0; i < p->nkept; i++)
        free(p->kept[i].name);
    free(p->kept);
}

/* The search. */

struct wanted {
    size_t n, left;
    uint32_t *ino; /* sorted */
};

/* Does anything show about this file, other than names? What does not show needs no name. */
static int shows(struct prune *p, const struct inode_pair *x, bool *ret)
{
    unsigned what = 0;
    int r = 0;

    *ret = true;
    if (!((x->node[BEFORE].mode ^ x->node[AFTER].mode) & S_IFMT)) {
        r = compare_nodes(p->c, &x->node[BEFORE], &x->node[AFTER], &what);
        *ret = what != 0;
    }
    return r;
}

static int collect_wanted(struct prune *p, struct wanted *w)
{
    w->ino = calloc(p->n + 1, sizeof(*w->ino));
    if (!w->ino)
        return err_set(p->c->e, VT_FAIL, "out of memory");
    for (size_t i = 0; i < p->n; i++) {
        const struct inode_pair *x = &p->pair[i];
        bool show = false;
        int r;

        if (!x->live[BEFORE] || !x->live[AFTER] || S_ISDIR(x->node[AFTER].mode) || x->named >= x->node[AFTER].links)
            continue;
        r = shows(p, x, &show);
        if (r < 0)
            return r;
        if (show)
            w->ino[w->n++] = x->node[AFTER].ino;
    }
    w->left = w->n;
    return 0;
}

static uint32_t distance(const struct wanted *w, uint32_t from, uint32_t scale)
{
    uint32_t best = UINT32_MAX;

    for (size_t i = 0; i < w->n; i++) {
        uint32_t at = (w->ino[i] - 1) / scale;

        best = MIN(best, at > from ? at - from : from - at);
    }
    return best;
}

struct candidate {
    uint32_t number, distance;
};

static int candidate_cmp(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    return x->distance < y->distance ? -1 : x->distance > y->distance;
}

static int search_dir(struct prune *p, struct wanted *w, uint32_t dir)
{
    struct dir_cache *d = NULL;
    int r = prune_dir(p, AFTER, dir, &d);

    for (size_t i = 0; r == 0 && i < d->list->n; i++) {
        struct inode_pair *x = prune_pair(p, d->list->entry[i].ino);

        if (!x)
            continue;
        r = prune_keep_name(p, dir, d->list->entry[i].name, d->list->entry[i].ino);
        if (++x->named == x->node[AFTER].links)
            for (size_t k = 0; k < w->n; k++)
                w->left -= w->ino[k] == d->list->entry[i].ino;
    }
    return r;
}

/* Lists the directories of one group that did not change, nearest to a wanted inode first. */
static int search_group(struct prune *p, struct wanted *w, dgrp_t g)
{
    uint32_t per_block = p->block_size / p->inode_size, used = prune_used(p, AFTER, g);
    cleanup(cleanup_free) struct candidate *dirs = NULL;
    cleanup(cleanup_free) unsigned char *buf = NULL;
    uint64_t blocks = (used + per_block - 1) / per_block;
    size_t n = 0;
    int r;

    if (!used || !ext2fs_bg_used_dirs_count(p->fs[AFTER], g))
        return 0;
    dirs = calloc(used, sizeof(*dirs));
    buf = malloc(blocks * p->block_size);
    if (!dirs || !buf)
        return err_set(p->c->e, VT_FAIL, "out of memory");
    r = prune_read_table(p, AFTER, g, 0, blocks, buf);
    for (uint32_t i = 0; r == 0 && i < used; i++) {
        const struct ext2_inode *in = (const void *)(buf + (size_t)i * p->inode_size);
        uint32_t ino = g * p->per_group + i + 1;

        if (S_ISDIR(in->i_mode) && in->i_links_count && !bitset_test(&p->changed, ino))
            dirs[n++] = (struct candidate){.number = ino, .distance = distance(w, ino - 1, 1)};
    }
    qsort(dirs, n, sizeof(*dirs), candidate_cmp);
    for (size_t i = 0; r == 0 && i < n && w->left; i++)
        r = search_dir(p, w, dirs[i].number);
    return r;
}

int prune_find_names(struct prune *p)
{
    dgrp_t groups = p->fs[AFTER]->group_desc_count;
    cleanup(cleanup_free) struct candidate *order = NULL;
    struct wanted w = {0};
    cleanup(cleanup_free) uint32_t *inos = NULL;
    int r = collect_wanted(p, &w);

    inos = w.ino;
    if (r < 0 || !w.left)
        return r;
    order = calloc(groups, sizeof(*order));
    if (!order)
        return err_set(p->c->e, VT_FAIL, "out of memory");
    for (dgrp_t g = 0; g < groups; g++)
        order[g] = (struct candidate){.number = g, .distance = distance(&w, g, p->per_group)};
    qsort(order, groups, sizeof(*order), candidate_cmp);
    for (dgrp_t g = 0; r == 0 && g < groups && w.left; g++)
        r = search_group(p, &w, order[g].number);
    return r;
}
