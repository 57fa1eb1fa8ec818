#include "snapshot/names.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "src/base/buf.h"
#include "src/base/util.h"
#include "snapshot/snapshot.h"

void names_release(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i].name);
    free(l->v);
    *l = (struct names){0};
}

int names_add(struct names *l, int64_t id, const char *name, int64_t parent, struct err *e)
{
    struct named *v = realloc(l->v, (l->n + 1) * sizeof *v);
    char *copy = strdup(name);

    if (v)
        l->v = v;
    if (!v || !copy) {
        free(copy);
        return err_set(e, VT_FAIL, "out of memory");
    }
    v[l->n].id = id;
    v[l->n].parent = parent;
    v[l->n++].name = copy;
    return 0;
}

const struct named *names_by_id(const struct names *l, int64_t id)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].id == id)
            return &l->v[i];
    return NULL;
}

static bool plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int names_check(const char *what, const char *name, struct err *e)
{
    size_t len = strlen(name);
    bool good = len && len <= STORE_NAME_MAX && plain(name[0]);

    for (size_t i = 0; i < len && good; i++)
        good = plain(name[i]) || strchr("._+-", name[i]);
    if (good)
        return 0;
    return err_set(
        e, VT_USAGE,
        "\"%.80s\" is no name for a %s: letters, digits and . _ + - are allowed, a letter or digit first, at "
        "most %d",
        name, what, STORE_NAME_MAX);
}

/* Levenshtein's distance, letters' case aside. */
static size_t distance(const char *a, size_t la, const char *b, size_t lb)
{
    size_t row[STORE_NAME_MAX + 1];

    if (la > STORE_NAME_MAX || lb > STORE_NAME_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t change = diagonal + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
            diagonal = row[j];
            row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[lb];
}

static const char *nearest(const struct names *l, const char *word, size_t len)
{
    const char *best = NULL;
    size_t least = len / 3 + 2;

    for (size_t i = 0; i < l->n; i++) {
        size_t d = distance(word, len, l->v[i].name, strlen(l->v[i].name));
        if (d < least) {
            least = d;
            best = l->v[i].name;
        }
    }
    return best;
}

static int ambiguous(const struct names *l, const char *word, size_t len, const char *prefix, const char *what,
                     struct err *e)
{
    struct buf b cleanup(buf_release) = {0};
    size_t n = 0;

    for (size_t i = 0; i < l->n; i++) {
        if (strncmp(l->v[i].name, word, len))
            continue;
        if (n++ < 8)
            buf_printf(&b, "%s%s", n > 1 ? ", " : "", l->v[i].name);
    }
    return err_set(e, VT_USAGE, "%s%.*s: more than one %s begins so: %s%s", prefix, (int)len, word, what, buf_cstr(&b),
                   n > 8 ? ", …" : "");
}

int names_resolve(const struct names *l, const char *word, size_t len, bool exact, const char *prefix, const char *what,
                  const struct named **ret, struct err *e)
{
    const struct named *found = NULL;
    const char *near;
    size_t n = 0;

    for (size_t i = 0; i < l->n && len; i++) {
        if (strncmp(l->v[i].name, word, len))
            continue;
        if (!l->v[i].name[len]) { /* the whole name wins over longer ones */
            *ret = &l->v[i];
            return 0;
        }
        found = &l->v[i];
        n++;
    }
    if (n == 1 && !exact) {
        *ret = found;
        return 0;
    }
    if (n > 1 && !exact)
        return ambiguous(l, word, len, prefix, what, e);
    near = n == 1 ? found->name : nearest(l, word, len);
    if (near)
        return err_set(e, VT_NOENT, "%s%.*s: no such %s (did you mean \"%s\"?)", prefix, (int)len, word, what, near);
    return err_set(e, VT_NOENT, "%s%.*s: no such %s", prefix, (int)len, word, what);
}
