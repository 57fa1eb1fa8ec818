/* See tree.h. Comparing nodes, walking two trees side by side, and the list of changes. */
#include "src/diff/tree_priv.h"

#include <stdio.h>
#include <string.h>

#include "src/base/util.h"
#include "src/diff/dev.h"

#define PERM_BITS  07777u
#define PATH_LIMIT 65536u /* longer paths than any real tree has; bounds memory on a crafted one */

void changes_clear(struct changes *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->change[i].path);
        free(c->change[i].from);
    }
    free(c->change);
    *c = (struct changes){0};
}

int add_change(struct compare *c, char kind, unsigned what, const char *path, const struct fsnode *a,
               const struct fsnode *b)
{
    struct changes *l = &c->out;
    struct change *x;

    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;

        x = realloc(l->change, cap * sizeof(*x));
        if (!x)
            return err_set(c->e, VT_FAIL, "out of memory");
        l->change = x;
        l->cap = cap;
    }
    x = &l->change[l->n];
    *x = (struct change){.kind = kind, .what = what, .path = strdup(*path ? path : "/")};
    if (!x->path)
        return err_set(c->e, VT_FAIL, "out of memory");
    if (a)
        x->a = *a;
    if (b)
        x->b = *b;
    l->n++;
    return 0;
}

static int targets_same(struct compare *c, const struct fsnode *a, const struct fsnode *b, bool *ret)
{
    cleanup(cleanup_free) char *ta = NULL, *tb = NULL;
    int r = extfs_readlink(c->fs[BEFORE], a, &ta, c->e);

    if (r == 0)
        r = extfs_readlink(c->fs[AFTER], b, &tb, c->e);
    if (r < 0)
        return r;
    *ret = !strcmp(ta, tb);
    return 0;
}

static int xattrs_same(struct compare *c, const struct fsnode *a, const struct fsnode *b, bool *ret)
{
    cleanup(xattrs_clear) struct xattrs xa = {0}, xb = {0};
    int r = extfs_xattrs(c->fs[BEFORE], a, &xa, c->e);

    if (r == 0)
        r = extfs_xattrs(c->fs[AFTER], b, &xb, c->e);
    if (r < 0)
        return r;
    *ret = xattrs_equal(&xa, &xb);
    return 0;
}

int compare_nodes(struct compare *c, const struct fsnode *a, const struct fsnode *b, unsigned *ret_what)
{
    unsigned what = 0;
    bool same = true;
    int r = 0;

    if ((a->mode ^ b->mode) & PERM_BITS)
        what |= WHAT_MODE;
    if (a->uid != b->uid || a->gid != b->gid)
        what |= WHAT_OWNER;
    if (c->opt.times && (a->mtime != b->mtime || a->mtime_ns != b->mtime_ns))
        what |= WHAT_TIMES;
    if (a->size != b->size && (S_ISREG(a->mode) || S_ISDIR(a->mode)))
        what |= WHAT_SIZE;
    if (S_ISREG(a->mode)) {
        if (a->links != b->links)
            what |= WHAT_LINKS;
        r = content_same(c, a, b, &same);
        if (!same)
            what |= WHAT_CONTENT;
    } else if (S_ISLNK(a->mode)) {
        r = targets_same(c, a, b, &same);
        if (!same)
            what |= WHAT_TARGET;
    } else if (a->rdev_major != b->rdev_major || a->rdev_minor != b->rdev_minor) {
        what |= WHAT_DEVICE;
    }
    if (r == 0)
        r = xattrs_same(c, a, b, &same);
    if (r < 0)
        return r;
    *ret_what = what | (same ? 0 : WHAT_XATTR);
    return 0;
}

int compare_at(struct compare *c, const char *path, uint32_t a, uint32_t b, struct fsnode *ret_a, struct fsnode *ret_b)
{
    unsigned what = 0;
    int r = 0;

    *ret_a = *ret_b = (struct fsnode){0};
    if (a)
        r = extfs_node(c->fs[BEFORE], a, ret_a, c->e);
    if (r == 0 && b)
        r = extfs_node(c->fs[AFTER], b, ret_b, c->e);
    if (r < 0)
        return err_prefix(c->e, r, "%s", *path ? path : "/");
    if (!a || !b)
        return add_change(c, a ? CHANGE_REMOVED : CHANGE_ADDED, 0, path, a ? ret_a : NULL, b ? ret_b : NULL);
    if ((ret_a->mode ^ ret_b->mode) & S_IFMT)
        return add_change(c, CHANGE_TYPE, 0, path, ret_a, ret_b);
    r = compare_nodes(c, ret_a, ret_b, &what);
    if (r < 0)
        return err_prefix(c->e, r, "%s", *path ? path : "/");
    return what ? add_change(c, CHANGE_MODIFIED, what, path, ret_a, ret_b) : 0;
}

/* Walking. The stack holds what is yet to be compared. */

struct pending {
    char *path;
    uint32_t ino[2];
};

struct stack {
    size_t n, cap;
    struct pending *item;
};

static void stack_clear(struct stack *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->item[i].path);
    free(s->item);
}

static int push(struct compare *c, struct stack *s, const char *dir, const char *name, uint32_t a, uint32_t b)
{
    char *path = NULL;

    if (strlen(dir) + strlen(name) > PATH_LIMIT)
        return err_set(c->e, VT_CORRUPT, "a path is longer than %u bytes", PATH_LIMIT);
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct pending *p = realloc(s->item, cap * sizeof(*p));

        if (!p)
            return err_set(c->e, VT_FAIL, "out of memory");
        s->item = p;
        s->cap = cap;
    }
    if (asprintf(&path, "%s%s%s", dir, *name ? "/" : "", name) < 0)
        return err_set(c->e, VT_FAIL, "out of memory");
    s->item[s->n++] = (struct pending){.path = path, .ino = {a, b}};
    return 0;
}

/* Enters a directory on one side. A second time means two names for one directory, which no sound tree has. */
static int enter(struct compare *c, int side, const struct fsnode *dir, bool *ret_again)
{
    bool isdir = S_ISDIR(dir->mode) && dir->ino;

    *ret_again = isdir && bitset_test(&c->visited[side], dir->ino);
    if (isdir)
        bitset_set(&c->visited[side], dir->ino);
    return isdir;
}

static int push_children(struct compare *c, struct stack *s, const char *path, const struct fsnode *a,
                         const struct fsnode *b)
{
    cleanup(dirlist_clear) struct dirlist la = {0}, lb = {0};
    size_t i = 0, k = 0;
    int r = 0;

    if (S_ISDIR(a->mode))
        r = extfs_list(c->fs[BEFORE], a, &la, c->e);
    if (r == 0 && S_ISDIR(b->mode))
        r = extfs_list(c->fs[AFTER], b, &lb, c->e);
    if (r < 0)
        return err_prefix(c->e, r, "%s", *path ? path : "/");
    while (r == 0 && (i < la.n || k < lb.n)) {
        int order = i == la.n ? 1 : k == lb.n ? -1 : strcmp(la.entry[i].name, lb.entry[k].name);
        const char *name = order <= 0 ? la.entry[i].name : lb.entry[k].name;

        r = push(c, s, path, name, order <= 0 ? la.entry[i].ino : 0, order >= 0 ? lb.entry[k].ino : 0);
        i += order <= 0;
        k += order >= 0;
    }
    return r;
}

int compare_subtree(struct compare *c, const char *path, uint32_t a, uint32_t b)
{
    cleanup(stack_clear) struct stack s = {0};
    int r = push(c, &s, path, "", a, b);

    while (r == 0 && s.n) {
        struct pending p = s.item[--s.n];
        cleanup(cleanup_free) char *at = p.path;
        struct fsnode na, nb;
        bool again[2];
        int dirs;

        r = compare_at(c, at, p.ino[BEFORE], p.ino[AFTER], &na, &nb);
        if (r < 0)
            break;
        dirs = enter(c, BEFORE, &na, &again[BEFORE]);
        dirs += enter(c, AFTER, &nb, &again[AFTER]);
        if (again[BEFORE] + again[AFTER] == dirs && dirs && c->differ)
            continue; /* compared already, from another of the changed directories */
        if (again[BEFORE] || again[AFTER])
            return err_set(c->e, VT_CORRUPT, "%s: a directory with two names", at);
        if (dirs)
            r = push_children(c, &s, at, &na, &nb);
    }
    return r;
}

/* The list. */

static int change_cmp(const void *a, const void *b)
{
    return strcmp(((const struct change *)a)->path, ((const struct change *)b)->path);
}

static void sort_unique(struct changes *l)
{
    size_t n = 0;

    if (l->n)
        qsort(l->change, l->n, sizeof(*l->change), change_cmp);
    for (size_t i = 0; i < l->n; i++) {
        if (n && !strcmp(l->change[n - 1].path, l->change[i].path)) {
            free(l->change[i].path);
            continue;
        }
        l->change[n++] = l->change[i];
    }
    l->n = n;
}

/* A block that was replayed on either side differs as its replayed bytes say, whatever is on the disk. */
static int settle_replayed(struct compare *c, struct bitset *differ)
{
    uint32_t bs = extfs_block_size(c->fs[BEFORE]);
    cleanup(cleanup_free) unsigned char *buf = malloc(2 * (size_t)bs);
    int r = 0;

    if (!buf)
        return err_set(c->e, VT_FAIL, "out of memory");
    for (int side = BEFORE; side <= AFTER; side++) {
        for (size_t i = 0; r == 0 && i < extfs_replayed(c->fs[side]); i++) {
            uint64_t block = extfs_replayed_block(c->fs[side], i);

            r = dev_read(extfs_dev(c->fs[BEFORE]), buf, bs, block * bs, c->e);
            if (r == 0)
                r = dev_read(extfs_dev(c->fs[AFTER]), buf + bs, bs, block * bs, c->e);
            if (r == 0 && memcmp(buf, buf + bs, bs))
                bitset_set(differ, block);
            else
                bitset_unset(differ, block);
        }
    }
    return r;
}

static void compare_clear(struct compare *c)
{
    bitset_clear(&c->visited[BEFORE]);
    bitset_clear(&c->visited[AFTER]);
    changes_clear(&c->out);
}

int tree_compare(struct extfs *a, struct extfs *b, const struct bitset *differ, const struct tree_options *opt,
                 struct changes *ret, struct err *e)
{
    cleanup(compare_clear) struct compare c = {.fs = {a, b}, .opt = *opt, .e = e};
    cleanup(bitset_clear) struct bitset settled = {0};
    int r = 0;

    for (int side = BEFORE; r == 0 && side <= AFTER; side++)
        r = bitset_init(&c.visited[side], (uint64_t)extfs_inodes(c.fs[side]) + 1, e);
    if (r == 0 && differ && prune_possible(&c)) {
        r = bitset_copy(&settled, differ, e);
        if (r == 0)
            r = settle_replayed(&c, &settled);
        c.differ = &settled;
        if (r == 0)
            r = prune_compare(&c);
    } else if (r == 0) {
        r = compare_subtree(&c, "", EXTFS_ROOT, EXTFS_ROOT);
    }
    if (r < 0)
        return r;
    sort_unique(&c.out);
    *ret = c.out;
    c.out = (struct changes){0};
    return 0;
}

/* Renames. */

struct by_inode {
    const struct fsnode *node;
    struct change *change;
};

static int by_inode_cmp(const void *a, const void *b)
{
    const struct by_inode *x = a, *y = b;

    return x->node->ino < y->node->ino ? -1 : x->node->ino > y->node->ino;
}

static bool same_file(const struct fsnode *a, const struct fsnode *b)
{
    return a->generation == b->generation && !((a->mode ^ b->mode) & S_IFMT) && a->size == b->size &&
           a->mtime == b->mtime && a->mtime_ns == b->mtime_ns && a->links == b->links;
}

int changes_find_renames(struct changes *c, struct err *e)
{
    cleanup(cleanup_free) struct by_inode *gone = calloc(c->n + 1, sizeof(*gone));
    size_t n = 0, kept = 0;

    if (!gone)
        return err_set(e, VT_FAIL, "out of memory");
    for (size_t i = 0; i < c->n; i++)
        if (c->change[i].kind == CHANGE_REMOVED)
            gone[n++] = (struct by_inode){.node = &c->change[i].a, .change = &c->change[i]};
    qsort(gone, n, sizeof(*gone), by_inode_cmp);
    for (size_t i = 0; i < c->n && n; i++) {
        struct change *x = &c->change[i];
        struct by_inode key = {.node = &x->b}, *hit;

        if (x->kind != CHANGE_ADDED)
            continue;
        hit = bsearch(&key, gone, n, sizeof(key), by_inode_cmp);
        /* Only where it is plain: one name before, one name after, untouched between. */
        if (!hit || !hit->change->path || x->b.links > (S_ISDIR(x->b.mode) ? UINT32_MAX : 1) ||
            !same_file(hit->node, &x->b))
            continue;
        x->kind = CHANGE_RENAMED;
        x->a = *hit->node;
        x->from = steal(&hit->change->path);
    }
    for (size_t i = 0; i < c->n; i++)
        if (c->change[i].path)
            c->change[kept++] = c->change[i];
    c->n = kept;
    return 0;
}
