/* See report.h: contents as unified text, and their sums. */
#include <string.h>

#include "src/base/util.h"
#include "src/diff/report.h"
#include "src/diff/udiff.h"

#define TEXT_MAX (8u << 20) /* larger files are not shown line by line */

static bool has_content(const struct fsnode *n)
{
    return n->ino && (S_ISREG(n->mode) || S_ISLNK(n->mode));
}

struct sides {
    struct buf text[2];
    bool binary;
};

static void sides_clear(struct sides *s)
{
    buf_release(&s->text[0]);
    buf_release(&s->text[1]);
}

static int read_sides(const struct fs_pair *p, const struct change *c, struct sides *s, struct err *e)
{
    const struct fsnode *n[2] = {&c->a, &c->b};

    for (int i = 0; i < 2; i++) {
        bool whole = true;
        int r = has_content(n[i]) ? report_content(p->fs[i], n[i], TEXT_MAX, &s->text[i], &whole, e) : 0;

        if (r < 0)
            return err_prefix(e, r, "%s", c->path);
        s->binary |= !whole || !udiff_is_text(buf_cstr(&s->text[i]), s->text[i].len);
    }
    return 0;
}

/* Does the change show in contents at all? */
static bool shows_content(const struct change *c)
{
    if (c->kind == CHANGE_MODIFIED || c->kind == CHANGE_RENAMED)
        return c->what & (WHAT_CONTENT | WHAT_TARGET);
    return has_content(&c->a) || has_content(&c->b);
}

static void put_meta(struct buf *out, const struct change *c)
{
    if (!c->a.ino)
        buf_printf(out, "new %s mode %06o\n", report_type(&c->b), c->b.mode);
    else if (!c->b.ino)
        buf_printf(out, "deleted %s mode %06o\n", report_type(&c->a), c->a.mode);
    else if (c->a.mode != c->b.mode)
        buf_printf(out, "old mode %06o\nnew mode %06o\n", c->a.mode, c->b.mode);
    if (c->from) {
        buf_str(out, "rename from ");
        report_path(out, "", c->from);
        buf_str(out, "\nrename to ");
        report_path(out, "", c->path);
        buf_char(out, '\n');
    }
    if (c->what & WHAT_OWNER)
        buf_printf(out, "old owner %u:%u\nnew owner %u:%u\n", c->a.uid, c->a.gid, c->b.uid, c->b.gid);
    if (c->what & WHAT_XATTR)
        buf_str(out, "extended attributes differ\n");
}

static void put_side(struct buf *out, const char *sign, const char *side, const struct fs_pair *p, const char *path,
                     bool exists)
{
    char prefix[32];

    buf_str(out, sign);
    if (exists) {
        snprintf(prefix, sizeof(prefix), "%s%s%s", side, p->prefix, p->prefix[0] ? "/" : "");
        report_path(out, prefix, path);
    } else {
        buf_str(out, "/dev/null");
    }
    buf_char(out, '\n');
}

static int put_change(const struct fs_pair *p, const struct change *c, struct buf *out, struct err *e)
{
    cleanup(sides_clear) struct sides s = {0};
    const char *old = c->from ? c->from : c->path;
    int r;

    buf_str(out, "diff ");
    report_path(out, p->prefix, c->path);
    buf_char(out, '\n');
    put_meta(out, c);
    if (!shows_content(c))
        return 0;
    r = read_sides(p, c, &s, e);
    if (r < 0)
        return r;
    if (s.binary) {
        buf_printf(out, "Binary files differ (%llu -> %llu bytes)\n", (unsigned long long)c->a.size,
                   (unsigned long long)c->b.size);
        return 0;
    }
    if (s.text[0].len == s.text[1].len && !memcmp(buf_cstr(&s.text[0]), buf_cstr(&s.text[1]), s.text[0].len))
        return 0; /* an empty file that came or went */
    put_side(out, "--- ", "a", p, old, has_content(&c->a));
    put_side(out, "+++ ", "b", p, c->path, has_content(&c->b));
    return udiff(buf_cstr(&s.text[0]), s.text[0].len, buf_cstr(&s.text[1]), s.text[1].len, out, NULL, NULL, e);
}

int report_patch(const struct result *r, FILE *f, struct err *e)
{
    for (size_t i = 0; i < r->npairs; i++) {
        const struct fs_pair *p = &r->pair[i];

        for (size_t k = 0; k < p->changes.n; k++) {
            cleanup(buf_release) struct buf out = {0};
            int q = put_change(p, &p->changes.change[k], &out, e);

            if (q == 0)
                q = buf_check(&out, e);
            if (q < 0)
                return q;
            if (fwrite(out.data, 1, out.len, f) != out.len)
                return err_set(e, VT_IO, "cannot write: %m");
        }
    }
    return 0;
}

static int stat_change(const struct fs_pair *p, const struct change *c, struct buf *out, uint64_t total[2],
                       struct err *e)
{
    cleanup(sides_clear) struct sides s = {0};
    cleanup(buf_release) struct buf hunks = {0};
    size_t added = 0, removed = 0;
    int r = 0;

    buf_printf(out, " %c ", c->kind);
    report_path(out, p->prefix, c->path);
    buf_str(out, " | ");
    if (shows_content(c))
        r = read_sides(p, c, &s, e);
    if (r < 0)
        return r;
    if (!shows_content(c)) {
        buf_printf(out, "%s\n", report_type(c->b.ino ? &c->b : &c->a));
    } else if (s.binary) {
        buf_printf(out, "%llu -> %llu bytes\n", (unsigned long long)c->a.size, (unsigned long long)c->b.size);
    } else {
        r = udiff(buf_cstr(&s.text[0]), s.text[0].len, buf_cstr(&s.text[1]), s.text[1].len, &hunks, &added, &removed,
                  e);
        buf_printf(out, "+%zu -%zu\n", added, removed);
        total[0] += added;
        total[1] += removed;
    }
    return r;
}

int report_stat(const struct result *r, struct buf *out, struct err *e)
{
    uint64_t lines[2] = {0}, files = 0;

    for (size_t i = 0; i < r->npairs; i++) {
        const struct fs_pair *p = &r->pair[i];

        for (size_t k = 0; k < p->changes.n; k++) {
            int q = stat_change(p, &p->changes.change[k], out, lines, e);

            if (q < 0)
                return q;
        }
        files += p->changes.n;
    }
    if (files)
        buf_printf(out, " %llu changed, %llu lines added, %llu lines removed\n", (unsigned long long)files,
                   (unsigned long long)lines[0], (unsigned long long)lines[1]);
    return buf_check(out, e);
}
