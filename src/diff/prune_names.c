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
