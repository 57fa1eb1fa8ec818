#include "cli/name.h"

#include <stdio.h>
#include <string.h>
#include "src/base/buf.h"
#include "src/base/units.h"
#include "src/base/util.h"

static bool first_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

int name_valid(const char *name, struct err *e)
{
    size_t n = strlen(name);
    bool ok = first_char(name[0]) && n <= NAME_MAX_LEN;

    for (size_t i = 1; ok && i < n; i++)
        ok = first_char(name[i]) || strchr("._+-", name[i]);
    if (ok)
        return 0;
    return err_set(e, VT_USAGE,
                   "\"%.80s\" is not a name (letters, digits and . _ + -, a letter or digit first, at most %d)", name,
                   NAME_MAX_LEN);
}

static int take_part(const char *text, size_t len, char dst[NAME_MAX_LEN + 1], const char *whole, struct err *e)
{
    if (len > NAME_MAX_LEN)
        return err_set(e, VT_USAGE, "\"%.80s\": a name has at most %d characters", whole, NAME_MAX_LEN);
    memcpy(dst, text, len);
    dst[len] = 0;
    return len ? name_valid(dst, e) : 0;
}

/* SNAP or SNAP~N */
static int take_snap(const char *snap, const char *whole, char *dst, size_t size, struct err *e)
{
    const char *tilde = strchr(snap, '~');
    size_t len = tilde ? (size_t)(tilde - snap) : strlen(snap);
    uint64_t up;
    int r;

    if (!len)
        return err_set(e, VT_USAGE, "\"%.80s\": the snapshot's name is missing", whole);
    if (tilde && strlen(tilde) > 10)
        return err_set(e, VT_USAGE, "\"%.80s\": too many generations", whole);
    r = take_part(snap, len, dst, whole, e);
    if (!r && tilde && tilde[1])
        r = number_parse(tilde + 1, 0, 999999999, &up, e);
    if (!r && tilde)
        snprintf(dst + len, size - len, "%s", tilde);
    return r;
}

/* "{5m}": so long ago; "{2026-01-31T12:00:00Z}": then. */
static int take_time(const char *word, const char *whole, struct name_ref *ref, struct err *e)
{
    size_t len = strlen(word);
    char inner[sizeof ref->snap];
    uint64_t ago = 0;
    int r;

    if (word[len - 1] != '}' || len < 3 || len >= sizeof inner)
        return err_set(e, VT_USAGE, "\"%.80s\": a time is {5m}, so long ago, or {2026-01-31T12:00:00Z}", whole);
    snprintf(inner, sizeof inner, "%.*s", (int)(len - 2), word + 1);
    if (strchr(inner, 'T')) {
        r = time_parse(inner, &ref->when, e);
    } else {
        r = duration_parse(inner, &ago, e);
        ref->when = clock_wall_ns() - (int64_t)MIN(ago, (uint64_t)clock_wall_ns() - 1);
    }
    snprintf(ref->snap, sizeof ref->snap, "%s", word);
    return r ? err_prefix(e, r, "\"%.80s\"", whole) : 0;
}

int name_ref_parse(const char *text, bool word_is_snap, struct name_ref *ret, struct err *e)
{
    const char *at = strchr(text, '@'), *snap = at ? at + 1 : word_is_snap ? text : NULL;
    struct name_ref ref = {0};
    int r = 0;

    if (at || !word_is_snap)
        r = take_part(text, at ? (size_t)(at - text) : strlen(text), ref.machine, text, e);
    if (!r && snap && snap[0] == '{')
        r = take_time(snap, text, &ref, e);
    else if (!r && snap)
        r = take_snap(snap, text, ref.snap, sizeof ref.snap, e);
    if (r)
        return r;
    *ret = ref;
    return 0;
}

/* Edit distance with swaps of neighbours (optimal string alignment) between words of at most NAME_MAX_LEN letters. */
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[3][NAME_MAX_LEN + 2];
    size_t n = strlen(a), m = strlen(b);
    unsigned *before = row[0], *prev = row[1], *cur = row[2];

    for (size_t j = 0; j <= m; j++)
        prev[j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *t;

        cur[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned d = prev[j - 1] + (a[i - 1] != b[j - 1]);

            d = MIN(d, MIN(prev[j], cur[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d = MIN(d, before[j - 2] + 1);
            cur[j] = d;
        }
        t = before;
        before = prev;
        prev = cur;
        cur = t;
    }
    return prev[m];
}

void near_offer(struct near *n, const char *candidate)
{
    size_t len = strlen(n->word);
    unsigned d;

    if (!len || len > NAME_MAX_LEN || strlen(candidate) > NAME_MAX_LEN)
        return;
    d = edit_distance(n->word, candidate);
    if (d * 3 > MAX(len, strlen(candidate)) + 1)
        return;
    if (!n->best || d < n->distance) {
        n->best = candidate;
        n->distance = d;
    }
}
