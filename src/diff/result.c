/* See result.h. Which partitions to compare, and what the changes say about packages and units. */
#include "src/diff/result.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "src/base/util.h"
#include "src/diff/dev.h"
#include "src/diff/noise.h"
#include "src/diff/part.h"

#define STATUS_MAX (64u << 20) /* a package database larger than this is not one */

static void pair_clear(struct fs_pair *p)
{
    changes_clear(&p->changes);
    for (int i = 0; i < 2; i++) {
        extfs_close(p->fs[i]);
        dev_close(p->slice[i]);
    }
    *p = (struct fs_pair){0};
}

void result_clear(struct result *r)
{
    for (size_t i = 0; i < r->npairs; i++)
        pair_clear(&r->pair[i]);
    free(r->pair);
    packages_clear(&r->pkg[0]);
    packages_clear(&r->pkg[1]);
    for (size_t i = 0; i < r->nunits; i++) {
        free(r->unit[i].unit);
        free(r->unit[i].target);
    }
    free(r->unit);
    strlist_release(&r->warnings);
    *r = (struct result){0};
}

bool result_differs(const struct result *r)
{
    for (size_t i = 0; i < r->npairs; i++)
        if (r->pair[i].changes.n)
            return true;
    return r->unread;
}

static const struct part *find_part(const struct part_table *t, int number)
{
    for (int i = 0; i < t->n; i++)
        if (t->part[i].number == number)
            return &t->part[i];
    return NULL;
}

static void where(char dst[32], int number)
{
    if (number)
        snprintf(dst, 32, "partition %d", number);
    else
        snprintf(dst, 32, "the disk");
}

/* The bit of each block of a file system at `off` from those of the disk's pages. */
static int block_bits(const struct bitset *pages, uint64_t off, uint64_t len, uint32_t bs, struct bitset *ret,
                      struct err *e)
{
    int r = bitset_init(ret, len / bs, e);

    if (r < 0)
        return r;
    for (uint64_t p = bitset_next(pages, off / VT_PAGE_SIZE); p < pages->n; p = bitset_next(pages, p + 1)) {
        uint64_t from = p * VT_PAGE_SIZE, to = from + VT_PAGE_SIZE;

        if (from >= off + len)
            break;
        from = from > off ? from - off : 0;
        to -= off;
        for (uint64_t b = from / bs; b * bs < to; b++)
            bitset_set(ret, b);
    }
    return 0;
}

static int compare_ext(struct fs_pair *p, const struct part *at, const struct bitset *pages,
                       const struct result_options *opt, struct result *res, struct err *e)
{
    cleanup(bitset_clear) struct bitset blocks = {0};
    const struct tree_options tree = {.times = opt->times};
    int r;

    for (int i = 0; i < 2; i++) {
        r = extfs_open(p->slice[i], &p->fs[i], e);
        if (r < 0)
            return err_prefix(e, r, i ? "after" : "before");
        if (extfs_note(p->fs[i])) {
            strlist_addf(&res->warnings, "%s: %s", i ? "after" : "before", extfs_note(p->fs[i]));
            res->unread = true;
        }
    }
    if (pages) {
        r = block_bits(pages, at->off, at->len, extfs_block_size(p->fs[0]), &blocks, e);
        if (r < 0)
            return r;
    }
    return tree_compare(p->fs[0], p->fs[1], pages ? &blocks : NULL, &tree, &p->changes, e);
}

/* Something on a partition that has no reader here. It is an answer only where the pages are known to be the same. */
static void skip_kind(struct result *res, int number, const char *kind, bool same)
{
    char at[32];

    where(at, number);
    if (same || (kind && !strcmp(kind, "swap")))
        return;
    strlist_addf(&res->warnings, "%s: %s is not read; its contents differ, or may differ", at, kind ? kind : "unknown");
    res->unread = true;
}

static bool range_same(const struct bitset *pages, const struct part *p)
{
    return pages &&
           !bitset_any(pages, p->off / VT_PAGE_SIZE, (p->off + p->len - 1) / VT_PAGE_SIZE - p->off / VT_PAGE_SIZE + 1);
}

static int compare_part(struct disk *const d[2], const struct part *a, const struct part *b, const struct bitset *pages,
                        const struct result_options *opt, struct result *res, struct err *e)
{
    cleanup(pair_clear) struct fs_pair p = {.part = a->number};
    const struct part *at[2] = {a, b};
    const char *kind[2] = {NULL, NULL};
    bool placed = a->off == b->off && a->len == b->len;
    char text[32];
    int r = 0;

    for (int i = 0; r == 0 && i < 2; i++) {
        r = dev_slice(disk_dev(d[i]), at[i]->off, at[i]->len, &p.slice[i], e);
        if (r == 0)
            r = part_probe(p.slice[i], &kind[i], e);
    }
    if (r < 0)
        return r;
    where(text, a->number);
    if (!kind[0] != !kind[1] || (kind[0] && strcmp(kind[0], kind[1]))) {
        strlist_addf(&res->warnings, "%s: %s before, %s after", text, kind[0] ? kind[0] : "nothing known",
                     kind[1] ? kind[1] : "nothing known");
        res->unread = true;
        return 0;
    }
    if (!kind[0] || strcmp(kind[0], "ext")) {
        skip_kind(res, a->number, kind[0], placed && range_same(pages, a));
        return 0;
    }
    r = compare_ext(&p, a, placed ? pages : NULL, opt, res, e);
    if (r < 0)
        return err_prefix(e, r, "%s", text);
    res->pair[res->npairs++] = p;
    p = (struct fs_pair){0};
    return 0;
}

static bool looks_like_root(struct extfs *fs)
{
    struct fsnode n;

    return extfs_lookup(fs, "/etc", true, &n, NULL) == 0 && extfs_lookup(fs, "/usr", true, &n, NULL) == 0;
}

static void choose_root(struct result *res)
{
    struct fs_pair *root = res->npairs == 1 ? &res->pair[0] : NULL;

    for (size_t i = 0; i < res->npairs && !root; i++)
        if (looks_like_root(res->pair[i].fs[1]))
            root = &res->pair[i];
    for (size_t i = 0; i < res->npairs; i++) {
        struct fs_pair *p = &res->pair[i];

        p->root = p == root;
        if (!p->root)
            snprintf(p->prefix, sizeof(p->prefix), "p%d:", p->part);
    }
}

/* Packages and units. */

static int read_small(struct extfs *fs, const char *path, struct buf *ret, struct err *e)
{
    cleanup(runs_clear) struct runs runs = {0};
    struct fsnode n;
    int r = extfs_lookup(fs, path, true, &n, e);

    if (r == 0)
        r = extfs_runs(fs, &n, &runs, e);
    if (r < 0)
        return r;
    if (!S_ISREG(n.mode) || n.size > STATUS_MAX)
        return err_set(e, VT_CORRUPT, "%s: not a package database", path);
    if (!buf_reserve(ret, n.size))
        return buf_check(ret, e);
    r = extfs_read(fs, &n, &runs, 0, ret->data, n.size, e);
    if (r == 0)
        ret->len = n.size;
    return r;
}

static bool changed_path(const struct changes *c, const char *path)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->change[i].path, path) || (c->change[i].from && !strcmp(c->change[i].from, path)))
            return true;
    return false;
}

static int find_packages(struct result *res, const struct fs_pair *root, struct err *e)
{
    for (int kind = PACKAGES_DPKG; kind <= PACKAGES_APK; kind++) {
        if (!changed_path(&root->changes, packages_path(kind)))
            continue;
        for (int i = 0; i < 2; i++) {
            cleanup(buf_release) struct buf text = {0};
            struct err why = {0};
            int r = read_small(root->fs[i], packages_path(kind), &text, &why);

            if (r == VT_NOENT)
                continue;
            if (r == 0) {
                packages_clear(&res->pkg[i]);
                r = packages_parse(kind, text.data ? text.data : "", text.len, &res->pkg[i], &why);
            }
            if (r < 0)
                return err_set(e, r, "%s", why.msg);
        }
        return 0;
    }
    return 0;
}

static int find_units(struct result *res, const struct fs_pair *root, struct err *e)
{
    for (size_t i = 0; i < root->changes.n; i++) {
        const struct change *c = &root->changes.change[i];
        const char *name = strrchr(c->path, '/') + 1, *dir;
        struct unit_change *u;
        bool now = S_ISLNK(c->b.mode), was = S_ISLNK(c->a.mode);
        size_t len;

        if (now == was || c->kind == CHANGE_RENAMED ||
            (fnmatch("/etc/systemd/*.wants/*", c->path, 0) && fnmatch("/etc/systemd/*.requires/*", c->path, 0)))
            continue;
        for (dir = name - 1; dir[-1] != '/'; dir--)
            ;
        u = realloc(res->unit, (res->nunits + 1) * sizeof(*u));
        if (!u)
            return err_set(e, VT_FAIL, "out of memory");
        res->unit = u;
        u += res->nunits++;
        len = (size_t)(name - 1 - dir);
        while (len && dir[len] != '.')
            len--;
        *u = (struct unit_change){.path = c->path, .unit = strdup(name), .target = strndup(dir, len), .enabled = now};
        if (!u->unit || !u->target)
            return err_set(e, VT_FAIL, "out of memory");
    }
    return 0;
}

static int tidy(struct result *res, const struct result_options *opt, struct err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < res->npairs; i++) {
        struct fs_pair *p = &res->pair[i];

        if (p->root)
            r = find_packages(res, p, e);
        if (r == 0 && !opt->all) {
            res->left_out += noise_filter(&p->changes, p->root);
            r = changes_find_renames(&p->changes, e);
        }
        if (r == 0 && p->root)
            r = find_units(res, p, e);
    }
    if (r == 0 && res->warnings.failed)
        r = err_set(e, VT_FAIL, "out of memory");
    return r;
}

static int no_file_system(const struct result *res, struct err *e)
{
    return err_set(e, VT_VERSION, "no file system that can be read (ext2, ext3 or ext4)%s%s",
                   res->warnings.n ? ": " : "", res->warnings.n ? res->warnings.items[0] : "");
}

int result_make(struct disk *a, struct disk *b, const struct result_options *opt, struct result *ret, struct err *e)
{
    cleanup(result_clear) struct result res = {0};
    cleanup(bitset_clear) struct bitset pages = {0};
    struct disk *const d[2] = {a, b};
    struct part_table ta, tb;
    bool known = false;
    int r = part_read(disk_dev(a), &ta, e);

    if (r == 0)
        r = part_read(disk_dev(b), &tb, e);
    if (r == 0)
        r = disk_differ(a, b, &pages, &known, e);
    if (r < 0)
        return r;
    res.pair = calloc(PART_MAX, sizeof(*res.pair));
    if (!res.pair)
        return err_set(e, VT_FAIL, "out of memory");
    for (int i = 0; r == 0 && i < ta.n; i++) {
        const struct part *q = find_part(&tb, ta.part[i].number);

        if (q) {
            r = compare_part(d, &ta.part[i], q, known ? &pages : NULL, opt, &res, e);
        } else {
            strlist_addf(&res.warnings, "partition %d is only in the first disk", ta.part[i].number);
            res.unread = true;
        }
    }
    for (int i = 0; r == 0 && i < tb.n; i++) {
        if (!find_part(&ta, tb.part[i].number)) {
            strlist_addf(&res.warnings, "partition %d is only in the second disk", tb.part[i].number);
            res.unread = true;
        }
    }
    if (r == 0 && !res.npairs)
        r = no_file_system(&res, e);
    if (r < 0)
        return r;
    choose_root(&res);
    r = tidy(&res, opt, e);
    if (r < 0)
        return r;
    *ret = res;
    res = (struct result){0};
    return 0;
}

int result_open_root(struct disk *d, struct blockdev **ret_slice, struct extfs **ret, struct err *e)
{
    cleanup(cleanup_extfs) struct extfs *first = NULL;
    cleanup(cleanup_dev) struct blockdev *first_slice = NULL;
    struct part_table t;
    const char *kind = NULL, *seen = NULL;
    int r = part_read(disk_dev(d), &t, e);

    for (int i = 0; r == 0 && i < t.n; i++) {
        cleanup(cleanup_extfs) struct extfs *fs = NULL;
        cleanup(cleanup_dev) struct blockdev *slice = NULL;

        r = dev_slice(disk_dev(d), t.part[i].off, t.part[i].len, &slice, e);
        if (r == 0)
            r = part_probe(slice, &kind, e);
        if (r < 0)
            return r;
        seen = kind ? kind : seen;
        if (!kind || strcmp(kind, "ext"))
            continue;
        r = extfs_open(slice, &fs, e);
        if (r == 0 && looks_like_root(fs)) {
            *ret = steal(&fs);
            *ret_slice = steal(&slice);
            return 0;
        }
        if (r == 0 && !first) {
            first = steal(&fs);
            first_slice = steal(&slice);
        }
    }
    if (r < 0)
        return r;
    if (!first)
        return err_set(e, VT_VERSION, "no file system that can be read (ext2, ext3 or ext4)%s%s",
                       seen ? "; it holds " : "", seen ? seen : "");
    *ret = steal(&first);
    *ret_slice = steal(&first_slice);
    return 0;
}
