/* The names of changed files that no changed directory holds, as after a write or chmod in place. See prune.c.
 *
 * A file tells its inode, not its directory. Allocators put a file near its directory, and certain files change all the
 * time; so the likely directories are read first, and all others only when names are still missing. Wherever a name is
 * found, the result is the same. */
#include "src/diff/prune_priv.h"

#include <stdio.h>
#include <string.h>

#include "src/base/util.h"

#define NEAR_BEFORE 8 /* directories that are tried with their parents, below an inode's number and above it */
#define NEAR_AFTER  3

/* Where running systems write in place. */
static const char *const busy[] = {"/etc",  "/var/log",     "/var/lib/dpkg", "/var/lib/systemd",
                                   "/root", "/var/lib/apt", "/var/log/apt",  "/var/lib"};

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

/* How many groups lie between a group and the nearest file whose names are missing. */
static uint32_t distance(struct prune *p, const struct wanted *w, dgrp_t group)
{
    uint32_t best = UINT32_MAX;

    for (size_t i = 0; i < w->n; i++) {
        dgrp_t at = (w->ino[i] - 1) / p->per_group;
        const struct inode_pair *x = prune_pair(p, w->ino[i]);

        if (x->named < x->node[AFTER].links)
            best = MIN(best, at > group ? at - group : group - at);
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

static bool satisfied(struct prune *p, uint32_t ino)
{
    const struct inode_pair *x = prune_pair(p, ino);

    return x->named >= x->node[AFTER].links;
}

/* Looks at the names of one directory, once; changed ones were looked at before the search. */
static int search_dir(struct prune *p, struct wanted *w, uint32_t dir, uint32_t *ret_parent)
{
    struct dir_cache *d = NULL;
    int r = prune_dir(p, AFTER, dir, &d);

    if (r < 0)
        return r;
    if (ret_parent)
        *ret_parent = d->list->parent;
    if (bitset_test(&p->changed, dir) || bitset_test(&p->searched, dir))
        return 0;
    bitset_set(&p->searched, dir);
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

static int search_busy(struct prune *p, struct wanted *w)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_LEN(busy) && w->left; i++) {
        struct fsnode n;

        if (extfs_lookup(p->c->fs[AFTER], busy[i], true, &n, NULL) == 0 && S_ISDIR(n.mode))
            r = search_dir(p, w, n.ino, NULL);
    }
    return r;
}

/* The directories of one group, by inode. */
struct group_dirs {
    dgrp_t group;
    size_t n;
    uint32_t *ino;
};

static void group_dirs_clear(struct group_dirs *l)
{
    free(l->ino);
    *l = (struct group_dirs){0};
}

static int list_group(struct prune *p, dgrp_t g, struct group_dirs *l)
{
    uint32_t per_block = p->block_size / p->inode_size, used = prune_used(p, AFTER, g);
    uint64_t blocks = (used + per_block - 1) / per_block;
    cleanup(cleanup_free) unsigned char *buf = NULL;
    int r;

    if (l->ino && l->group == g)
        return 0;
    group_dirs_clear(l);
    l->group = g;
    l->ino = calloc((size_t)used + 1, sizeof(*l->ino));
    buf = malloc(blocks * p->block_size + 1);
    if (!l->ino || !buf)
        return err_set(p->c->e, VT_FAIL, "out of memory");
    if (!used || !ext2fs_bg_used_dirs_count(p->fs[AFTER], g))
        return 0;
    r = prune_read_table(p, AFTER, g, 0, blocks, buf);
    for (uint32_t i = 0; r == 0 && i < used; i++) {
        const struct ext2_inode *in = (const void *)(buf + (size_t)i * p->inode_size);

        if (S_ISDIR(in->i_mode) && in->i_links_count)
            l->ino[l->n++] = g * p->per_group + i + 1;
    }
    return r;
}

/* A directory and those above it, until one that was searched before. */
static int search_up(struct prune *p, struct wanted *w, uint32_t dir, uint32_t ino)
{
    while (dir && !bitset_test(&p->searched, dir) && !satisfied(p, ino)) {
        bool root = dir == EXTFS_ROOT, known = bitset_test(&p->changed, dir);
        int r = search_dir(p, w, dir, &dir);

        if (r < 0 || root || known)
            return r;
    }
    return 0;
}

static int search_near(struct prune *p, struct wanted *w)
{
    cleanup(group_dirs_clear) struct group_dirs l = {0};

    for (size_t i = 0; i < w->n && w->left; i++) {
        uint32_t ino = w->ino[i];
        size_t at = 0;
        int r = satisfied(p, ino) ? 0 : list_group(p, (ino - 1) / p->per_group, &l);

        while (at < l.n && l.ino[at] < ino)
            at++;
        for (size_t k = 0; r == 0 && k < NEAR_BEFORE && k < at && !satisfied(p, ino); k++)
            r = search_up(p, w, l.ino[at - 1 - k], ino);
        for (size_t k = 0; r == 0 && k < NEAR_AFTER && at + k < l.n && !satisfied(p, ino); k++)
            r = search_up(p, w, l.ino[at + k], ino);
        if (r < 0)
            return r;
    }
    return 0;
}

/* All directories, nearest group first. */
static int search_all(struct prune *p, struct wanted *w)
{
    cleanup(group_dirs_clear) struct group_dirs l = {0};
    dgrp_t groups = p->fs[AFTER]->group_desc_count;
    cleanup(cleanup_free) struct candidate *order = calloc(groups, sizeof(*order));
    int r = 0;

    if (!order)
        return err_set(p->c->e, VT_FAIL, "out of memory");
    for (dgrp_t g = 0; g < groups; g++)
        order[g] = (struct candidate){.number = g, .distance = distance(p, w, g)};
    qsort(order, groups, sizeof(*order), candidate_cmp);
    for (dgrp_t g = 0; r == 0 && g < groups && w->left; g++) {
        r = list_group(p, order[g].number, &l);
        for (size_t i = 0; r == 0 && i < l.n && w->left; i++)
            r = search_dir(p, w, l.ino[i], NULL);
    }
    return r;
}

static void wanted_clear(struct wanted *w)
{
    free(w->ino);
}

int prune_find_names(struct prune *p)
{
    cleanup(wanted_clear) struct wanted w = {0};
    int r = collect_wanted(p, &w);

    if (r == 0 && w.left)
        r = search_busy(p, &w);
    if (r == 0 && w.left)
        r = search_near(p, &w);
    if (r == 0 && w.left)
        r = search_all(p, &w);
    return r;
}
