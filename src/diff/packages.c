#include "src/diff/packages.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/util.h"

/* Both kinds of database are stanzas of "KEY VALUE" lines with a blank line between. */
static const struct layout {
    const char *path, *name, *arch, *version, *status;
} layouts[] = {
    [PACKAGES_DPKG] = {"/var/lib/dpkg/status", "Package: ", "Architecture: ", "Version: ", "Status: "},
    [PACKAGES_APK] = {"/lib/apk/db/installed", "P:", "A:", "V:", NULL},
};

const char *packages_path(enum package_db kind)
{
    return layouts[kind].path;
}

static void package_clear(struct package *p)
{
    free(p->name);
    free(p->arch);
    free(p->version);
    *p = (struct package){0};
}

void packages_clear(struct packages *p)
{
    for (size_t i = 0; i < p->n; i++)
        package_clear(&p->pkg[i]);
    free(p->pkg);
    *p = (struct packages){0};
}

static bool take_field(const char *line, size_t len, const char *key, char **dst)
{
    size_t k = strlen(key);

    if (len < k || memcmp(line, key, k))
        return true;
    free(*dst);
    *dst = strndup(line + k, len - k);
    return *dst != NULL;
}

static bool installed(const char *status)
{
    static const char word[] = " installed";
    size_t n = status ? strlen(status) : 0;

    return n >= sizeof(word) - 1 && !strcmp(status + n - (sizeof(word) - 1), word);
}

static int package_cmp(const void *a, const void *b)
{
    const struct package *x = a, *y = b;
    int r = strcmp(x->name, y->name);

    return r ? r : strcmp(x->arch, y->arch);
}

static bool keep(struct packages *all, struct package *p)
{
    if (all->n == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 256;
        struct package *q = realloc(all->pkg, cap * sizeof(*q));

        if (!q)
            return false;
        all->pkg = q;
        all->cap = cap;
    }
    all->pkg[all->n++] = *p;
    *p = (struct package){0};
    return true;
}

int packages_parse(enum package_db kind, const char *text, size_t len, struct packages *ret, struct err *e)
{
    cleanup(packages_clear) struct packages all = {0};
    cleanup(package_clear) struct package p = {0};
    cleanup(cleanup_free) char *status = NULL;
    const struct layout *l = &layouts[kind];

    for (const char *end = text + len; text <= end;) {
        const char *nl = text < end ? memchr(text, '\n', (size_t)(end - text)) : NULL;
        size_t n = nl ? (size_t)(nl - text) : (size_t)(end - text);
        bool ok = true;

        if (n) {
            ok = take_field(text, n, l->name, &p.name) && take_field(text, n, l->arch, &p.arch) &&
                 take_field(text, n, l->version, &p.version) && (!l->status || take_field(text, n, l->status, &status));
        } else {
            if (p.name && p.version && (!l->status || installed(status))) {
                if (!p.arch)
                    p.arch = strdup("");
                ok = p.arch && keep(&all, &p);
            }
            package_clear(&p);
            free(steal(&status));
        }
        if (!ok)
            return err_set(e, VT_FAIL, "out of memory");
        text += n + 1;
    }
    if (p.name && p.version && p.arch && (!l->status || installed(status)) && !keep(&all, &p))
        return err_set(e, VT_FAIL, "out of memory");
    if (all.n)
        qsort(all.pkg, all.n, sizeof(*all.pkg), package_cmp);
    *ret = all;
    all = (struct packages){0};
    return 0;
}

/* Debian versions. */

static int order(char c)
{
    if (c == '~')
        return -1;
    if (!c || isdigit((unsigned char)c))
        return 0;
    return isalpha((unsigned char)c) ? (unsigned char)c : (unsigned char)c + 256;
}

static int part_cmp(const char *a, const char *a_end, const char *b, const char *b_end)
{
    while (a < a_end || b < b_end) {
        int first = 0;

        while ((a < a_end && !isdigit((unsigned char)*a)) || (b < b_end && !isdigit((unsigned char)*b))) {
            int x = order(a < a_end ? *a : 0), y = order(b < b_end ? *b : 0);

            if (x != y)
                return x - y;
            a += a < a_end;
            b += b < b_end;
        }
        while (a < a_end && *a == '0')
            a++;
        while (b < b_end && *b == '0')
            b++;
        while (a < a_end && b < b_end && isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            if (!first)
                first = *a - *b;
            a++;
            b++;
        }
        if (a < a_end && isdigit((unsigned char)*a))
            return 1;
        if (b < b_end && isdigit((unsigned char)*b))
            return -1;
        if (first)
            return first;
    }
    return 0;
}

int deb_version_cmp(const char *a, const char *b)
{
    const char *colon_a = strchr(a, ':'), *colon_b = strchr(b, ':'), *dash_a, *dash_b, *end_a, *end_b;
    static const char zero[] = "0";
    int r =
        part_cmp(colon_a ? a : zero, colon_a ? colon_a : zero + 1, colon_b ? b : zero, colon_b ? colon_b : zero + 1);

    if (r)
        return r;
    a = colon_a ? colon_a + 1 : a;
    b = colon_b ? colon_b + 1 : b;
    end_a = a + strlen(a);
    end_b = b + strlen(b);
    dash_a = strrchr(a, '-');
    dash_b = strrchr(b, '-');
    r = part_cmp(a, dash_a ? dash_a : end_a, b, dash_b ? dash_b : end_b);
    if (r)
        return r;
    return part_cmp(dash_a ? dash_a + 1 : zero, dash_a ? end_a : zero + 1, dash_b ? dash_b + 1 : zero,
                    dash_b ? end_b : zero + 1);
}

int packages_compare(const struct packages *a, const struct packages *b,
                     int (*fn)(void *opaque, const struct package_change *c), void *opaque)
{
    size_t i = 0, k = 0;
    int r = 0;

    while (r == 0 && (i < a->n || k < b->n)) {
        int o = i == a->n ? 1 : k == b->n ? -1 : package_cmp(&a->pkg[i], &b->pkg[k]);
        const struct package *x = o <= 0 ? &a->pkg[i] : NULL, *y = o >= 0 ? &b->pkg[k] : NULL, *any = x ? x : y;
        struct package_change c = {any->name, any->arch, x ? "removed" : "added", x ? x->version : NULL,
                                   y ? y->version : NULL};

        i += o <= 0;
        k += o >= 0;
        if (x && y) {
            if (!strcmp(c.old, c.new))
                continue;
            c.status = deb_version_cmp(c.old, c.new) < 0 ? "upgraded" : "downgraded";
        }
        r = fn(opaque, &c);
    }
    return r;
}
