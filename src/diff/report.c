/* See report.h: the list, and what all forms share. */
#include "src/diff/report.h"

#include <string.h>

#include "src/base/util.h"
#include "src/diff/sha256.h"

#define HASHED_HOLE_MAX (UINT64_C(1) << 30) /* some seconds of hashing zeros */

const char *report_type(const struct fsnode *n)
{
    switch (n->mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "dir";
    case S_IFLNK:
        return "symlink";
    case S_IFCHR:
        return "char";
    case S_IFBLK:
        return "block";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    default:
        return "unknown";
    }
}

const char *report_what(unsigned what, unsigned *at)
{
    static const char *const words[] = {"content", "size",  "mode",   "owner", "times",
                                        "xattr",   "links", "target", "device"};

    while (*at < ARRAY_LEN(words)) {
        unsigned i = (*at)++;

        if (what >> i & 1)
            return words[i];
    }
    return NULL;
}

void report_path(struct buf *out, const char *prefix, const char *path)
{
    bool plain = true;

    for (const char *p = path; *p; p++)
        plain &= (unsigned char)*p >= 0x20 && *p != 0x7f && *p != '"' && *p != '\\';
    if (plain) {
        buf_str(out, prefix);
        buf_str(out, path);
        return;
    }
    buf_char(out, '"');
    buf_str(out, prefix);
    for (const unsigned char *p = (const unsigned char *)path; *p; p++) {
        if (*p == '\n')
            buf_str(out, "\\n");
        else if (*p == '\t')
            buf_str(out, "\\t");
        else if (*p < 0x20 || *p == 0x7f)
            buf_printf(out, "\\%03o", *p);
        else {
            if (*p == '"' || *p == '\\')
                buf_char(out, '\\');
            buf_char(out, (char)*p);
        }
    }
    buf_char(out, '"');
}

static void put_what(struct buf *out, const struct change *c, bool all)
{
    unsigned what = c->what, at = 0;
    const char *word, *sep = "";

    /* A size that follows from the content says nothing more. */
    if (!all && what & WHAT_CONTENT)
        what &= ~(unsigned)WHAT_SIZE;
    while ((word = report_what(what, &at))) {
        buf_printf(out, "%s%s", sep, word);
        sep = ", ";
        switch (1u << (at - 1)) {
        case WHAT_SIZE:
            buf_printf(out, " %llu -> %llu", (unsigned long long)c->a.size, (unsigned long long)c->b.size);
            break;
        case WHAT_MODE:
            buf_printf(out, " %04o -> %04o", c->a.mode & 07777, c->b.mode & 07777);
            break;
        case WHAT_OWNER:
            buf_printf(out, " %u:%u -> %u:%u", c->a.uid, c->a.gid, c->b.uid, c->b.gid);
            break;
        case WHAT_LINKS:
            buf_printf(out, " %u -> %u", c->a.links, c->b.links);
            break;
        default:
            break;
        }
    }
}

static int put_package(void *opaque, const struct package_change *c)
{
    struct buf *out = opaque;

    buf_printf(out, "P\t%s\t%s ", c->name, c->status);
    if (c->old && c->new)
        buf_printf(out, "%s -> %s\n", c->old, c->new);
    else
        buf_printf(out, "%s\n", c->old ? c->old : c->new);
    return 0;
}

int report_list(const struct result *r, bool all, struct buf *out, struct err *e)
{
    for (size_t i = 0; i < r->npairs; i++) {
        const struct fs_pair *p = &r->pair[i];

        for (size_t k = 0; k < p->changes.n; k++) {
            const struct change *c = &p->changes.change[k];

            buf_char(out, c->kind);
            buf_char(out, '\t');
            if (c->from) {
                report_path(out, p->prefix, c->from);
                buf_char(out, '\t');
            }
            report_path(out, p->prefix, c->path);
            if (c->kind == CHANGE_TYPE)
                buf_printf(out, "\t%s -> %s", report_type(&c->a), report_type(&c->b));
            if (c->what) {
                buf_char(out, '\t');
                put_what(out, c, all);
            }
            buf_char(out, '\n');
        }
    }
    if (!all) {
        packages_compare(&r->pkg[0], &r->pkg[1], put_package, out);
        for (size_t i = 0; i < r->nunits; i++)
            buf_printf(out, "U\t%s\t%s in %s\n", r->unit[i].unit, r->unit[i].enabled ? "enabled" : "disabled",
                       r->unit[i].target);
    }
    return buf_check(out, e);
}

int report_content(struct extfs *fs, const struct fsnode *n, size_t max, struct buf *ret, bool *ret_whole,
                   struct err *e)
{
    cleanup(runs_clear) struct runs runs = {0};
    cleanup(cleanup_free) char *target = NULL;
    int r;

    *ret_whole = true;
    if (S_ISLNK(n->mode)) {
        r = extfs_readlink(fs, n, &target, e);
        if (r == 0)
            buf_printf(ret, "%s\n", target);
        return r < 0 ? r : buf_check(ret, e);
    }
    if (!S_ISREG(n->mode) || !n->size)
        return 0;
    if (n->size > max) {
        *ret_whole = false;
        return 0;
    }
    r = extfs_runs(fs, n, &runs, e);
    if (r < 0)
        return r;
    if (!buf_reserve(ret, n->size))
        return buf_check(ret, e);
    r = extfs_read(fs, n, &runs, 0, ret->data + ret->len, n->size, e);
    if (r == 0) {
        ret->len += n->size;
        ret->data[ret->len] = 0;
    }
    return r;
}

int report_sha256(struct extfs *fs, const struct fsnode *n, char dst[SHA256_HEX], struct err *e)
{
    enum { CHUNK = 256 * 1024 };
    cleanup(cleanup_free) unsigned char *buf = malloc(CHUNK);
    cleanup(runs_clear) struct runs runs = {0};
    uint64_t mapped = 0;
    struct sha256 s;
    int r = extfs_runs(fs, n, &runs, e);

    if (!buf)
        return err_set(e, VT_FAIL, "out of memory");
    for (size_t i = 0; r == 0 && i < runs.n; i++)
        mapped += runs.run[i].len * extfs_block_size(fs);
    if (n->size > mapped && n->size - mapped > HASHED_HOLE_MAX) {
        dst[0] = 0;
        return r;
    }
    sha256_init(&s);
    for (uint64_t at = 0; r == 0 && at < n->size; at += CHUNK) {
        size_t len = (size_t)MIN((uint64_t)CHUNK, n->size - at);

        r = extfs_read(fs, n, &runs, at, buf, len, e);
        if (r == 0)
            sha256_add(&s, buf, len);
    }
    if (r == 0)
        sha256_hex(&s, dst);
    return r;
}
