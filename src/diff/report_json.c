/* See report.h: the JSON form. */
#include <stdio.h>
#include <string.h>

#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/diff/report.h"

static const char *status_word(char kind)
{
    switch (kind) {
    case CHANGE_ADDED:
        return "added";
    case CHANGE_REMOVED:
        return "removed";
    case CHANGE_TYPE:
        return "type";
    case CHANGE_RENAMED:
        return "renamed";
    default:
        return "modified";
    }
}

static json_t *text(const char *s)
{
    return json_string_lossy(s, strlen(s));
}

static void set_path(json_t *obj, const char *key, const char *prefix, const char *path)
{
    cleanup(buf_release) struct buf b = {0};

    buf_str(&b, prefix);
    buf_str(&b, path);
    json_object_set_new(obj, key, b.failed ? NULL : json_string_lossy(buf_cstr(&b), b.len));
}

/* ext4 can hold years that nanoseconds in 64 bits cannot (after 2262). */
static int64_t mtime_ns(const struct fsnode *n)
{
    int64_t last = INT64_MAX / (int64_t)NS_PER_SEC - 1;

    return MIN(n->mtime, last) * (int64_t)NS_PER_SEC + (int64_t)MIN(n->mtime_ns, (uint32_t)NS_PER_SEC - 1);
}

static int put_node(json_t *obj, const char *key, struct extfs *fs, const struct fsnode *n, struct err *e)
{
    json_t *o = json_object();
    char mode[16], when[UNITS_MAX], hash[65];
    int r = 0;

    snprintf(mode, sizeof(mode), "%04o", n->mode & 07777);
    json_object_set_new(o, "type", json_string(report_type(n)));
    json_object_set_new(o, "mode", json_string(mode));
    json_object_set_new(o, "uid", json_integer(n->uid));
    json_object_set_new(o, "gid", json_integer(n->gid));
    json_object_set_new(o, "size", json_integer((json_int_t)n->size));
    json_object_set_new(o, "links", json_integer(n->links));
    json_object_set_new(o, "mtime", json_string(time_format(when, mtime_ns(n))));
    if (S_ISREG(n->mode)) {
        r = report_sha256(fs, n, hash, e);
        if (r == 0)
            json_object_set_new(o, "sha256", hash[0] ? json_string(hash) : json_null());
    } else if (S_ISLNK(n->mode)) {
        cleanup(cleanup_free) char *target = NULL;

        r = extfs_readlink(fs, n, &target, e);
        if (r == 0)
            json_object_set_new(o, "target", text(target));
    } else if (S_ISCHR(n->mode) || S_ISBLK(n->mode)) {
        snprintf(when, sizeof(when), "%u:%u", n->rdev_major, n->rdev_minor);
        json_object_set_new(o, "device", json_string(when));
    }
    json_object_set_new(obj, key, o);
    return r;
}

static int put_change(json_t *list, const struct fs_pair *p, const struct change *c, struct err *e)
{
    json_t *o = json_object(), *what = json_array();
    unsigned at = 0;
    const char *word;
    int r = 0;

    json_array_append_new(list, o);
    set_path(o, "path", p->prefix, c->path);
    if (c->from)
        set_path(o, "from", p->prefix, c->from);
    json_object_set_new(o, "status", json_string(status_word(c->kind)));
    json_object_set_new(o, "type", json_string(report_type(c->b.ino ? &c->b : &c->a)));
    while ((word = report_what(c->what, &at)))
        json_array_append_new(what, json_string(word));
    json_object_set_new(o, "what", what);
    if (c->a.ino)
        r = put_node(o, "old", p->fs[0], &c->a, e);
    if (r == 0 && c->b.ino)
        r = put_node(o, "new", p->fs[1], &c->b, e);
    return r < 0 ? err_prefix(e, r, "%s", c->path) : 0;
}

static int put_package(void *opaque, const struct package_change *c)
{
    json_t *o = json_object();

    json_array_append_new(opaque, o);
    json_object_set_new(o, "name", text(c->name));
    json_object_set_new(o, "arch", text(c->arch));
    json_object_set_new(o, "status", json_string(c->status));
    json_object_set_new(o, "old", c->old ? text(c->old) : json_null());
    json_object_set_new(o, "new", c->new ? text(c->new) : json_null());
    return 0;
}

static json_t *units(const struct result *r)
{
    json_t *list = json_array();

    for (size_t i = 0; i < r->nunits; i++) {
        json_t *o = json_object();

        json_array_append_new(list, o);
        json_object_set_new(o, "unit", text(r->unit[i].unit));
        json_object_set_new(o, "target", text(r->unit[i].target));
        json_object_set_new(o, "status", json_string(r->unit[i].enabled ? "enabled" : "disabled"));
        json_object_set_new(o, "path", text(r->unit[i].path));
    }
    return list;
}

int report_json(const struct result *r, struct disk *a, struct disk *b, struct buf *out, struct err *e)
{
    cleanup(cleanup_json) json_t *top = json_object();
    cleanup(cleanup_free) char *s = NULL;
    json_t *list = json_array(), *packages = json_array(), *warnings = json_array();
    int q = 0;

    json_object_set_new(top, "same", json_boolean(!result_differs(r)));
    json_object_set_new(top, "complete", json_boolean(!r->unread));
    json_object_set_new(top, "changes", list);
    for (size_t i = 0; q == 0 && i < r->npairs; i++)
        for (size_t k = 0; q == 0 && k < r->pair[i].changes.n; k++)
            q = put_change(list, &r->pair[i], &r->pair[i].changes.change[k], e);
    if (q < 0)
        return q;
    packages_compare(&r->pkg[0], &r->pkg[1], put_package, packages);
    json_object_set_new(top, "packages", packages);
    json_object_set_new(top, "units", units(r));
    json_object_set_new(top, "left_out", json_integer((json_int_t)r->left_out));
    for (size_t i = 0; i < r->warnings.n; i++)
        json_array_append_new(warnings, text(r->warnings.items[i]));
    json_object_set_new(top, "warnings", warnings);
    json_object_set_new(top, "bytes_read", json_integer((json_int_t)(disk_read_bytes(a) + disk_read_bytes(b))));
    s = json_text(top);
    if (!s)
        return err_set(e, VT_FAIL, "out of memory");
    buf_str(out, s);
    buf_char(out, '\n');
    return buf_check(out, e);
}
