/* See udiff.h. The shortest edit script after E. Myers, "An O(ND) Difference Algorithm and Its Variations" (1986), the
 * greedy form, on what is left between the common head and tail. Where the two have little in common the search is cut
 * off and the middle is replaced whole. */
#include "src/diff/udiff.h"

#include <stdint.h>
#include <string.h>

#include "src/base/util.h"

#define CONTEXT   3
#define EDITS_MAX 2000 /* the search keeps EDITS_MAX^2 / 2 numbers */

struct line {
    const char *s;
    size_t len; /* with its newline */
};

struct text {
    size_t n;
    struct line *line;
};

/* What becomes of a line: kept lines pair up in order. */
struct edit {
    bool *gone;  /* of a */
    bool *fresh; /* of b */
};

bool udiff_is_text(const char *data, size_t len)
{
    return !memchr(data, 0, MIN(len, (size_t)8000));
}

static int split(const char *s, size_t len, struct text *t, struct err *e)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += s[i] == '\n';
    t->n = 0;
    t->line = calloc(n + 1, sizeof(*t->line));
    if (!t->line)
        return err_set(e, VT_FAIL, "out of memory");
    while (len) {
        const char *nl = memchr(s, '\n', len);
        size_t k = nl ? (size_t)(nl - s) + 1 : len;

        t->line[t->n++] = (struct line){s, k};
        s += k;
        len -= k;
    }
    return 0;
}

static bool same_line(const struct line *a, const struct line *b)
{
    return a->len == b->len && !memcmp(a->s, b->s, a->len);
}

/* The furthest x on each diagonal k in [-d, d] after d edits, for all d, one after the other: row d starts at d * d. */
static int search(const struct line *a, int n, const struct line *b, int m, int32_t **ret, int *ret_d)
{
    int max = MIN(n + m, EDITS_MAX);
    int32_t *rows = NULL;
    size_t cap = 0;

    for (int d = 0; d <= max; d++) {
        size_t base = (size_t)d * (size_t)d;
        const int32_t *prev;

        if (base + 2 * (size_t)d + 1 > cap) {
            int32_t *q = realloc(rows, (cap = 2 * (base + 2 * (size_t)d + 64)) * sizeof(*q));

            if (!q) {
                free(rows);
                return VT_FAIL;
            }
            rows = q;
        }
        prev = d ? rows + (size_t)(d - 1) * (size_t)(d - 1) + (d - 1) : NULL;
        for (int k = -d; k <= d; k += 2) {
            int x, y;

            if (!d)
                x = 0;
            else if (k == -d || (k != d && prev[k - 1] < prev[k + 1]))
                x = prev[k + 1];
            else
                x = prev[k - 1] + 1;
            y = x - k;
            while (x < n && y < m && x >= 0 && y >= 0 && same_line(&a[x], &b[y]))
                x++, y++;
            rows[base + (size_t)(d + k)] = x;
            if (x >= n && y >= m) {
                *ret = rows;
                *ret_d = d;
                return 1;
            }
        }
    }
    free(rows);
    return 0;
}

/* Marks what goes and what comes in the middle parts a[0..n) and b[0..m). */
static int mark(const struct line *a, int n, const struct line *b, int m, bool *gone, bool *fresh)
{
    int32_t *rows = NULL;
    int d = 0, r = search(a, n, b, m, &rows, &d), x = n, y = m;

    if (r < 0)
        return r;
    if (!r) {
        memset(gone, 1, (size_t)n);
        memset(fresh, 1, (size_t)m);
        return 0;
    }
    for (; d > 0; d--) {
        const int32_t *prev = rows + (size_t)(d - 1) * (size_t)(d - 1) + (d - 1);
        int k = x - y;
        bool down = k == -d || (k != d && prev[k - 1] < prev[k + 1]);
        int px = prev[down ? k + 1 : k - 1], py = px - (down ? k + 1 : k - 1);

        if (down)
            fresh[py] = true;
        else
            gone[px] = true;
        x = px;
        y = py;
    }
    free(rows);
    return 0;
}

static void put_line(struct buf *out, char sign, const struct line *l)
{
    buf_char(out, sign);
    buf_add(out, l->s, l->len);
    if (l->s[l->len - 1] != '\n')
        buf_str(out, "\n\\ No newline at end of file\n");
}

static void put_range(struct buf *out, char sign, size_t from, size_t n)
{
    buf_printf(out, n == 1 ? " %c%zu" : " %c%zu,%zu", sign, n ? from + 1 : from, n);
}

/* One hunk: a[ai..ae) against b[bi..be). */
static void put_hunk(const struct text *a, const struct text *b, const struct edit *ed, size_t ai, size_t ae, size_t bi,
                     size_t be, struct buf *out)
{
    buf_str(out, "@@");
    put_range(out, '-', ai, ae - ai);
    put_range(out, '+', bi, be - bi);
    buf_str(out, " @@\n");
    while (ai < ae || bi < be) {
        if (ai < ae && ed->gone[ai])
            put_line(out, '-', &a->line[ai++]);
        else if (bi < be && ed->fresh[bi])
            put_line(out, '+', &b->line[bi++]);
        else {
            put_line(out, ' ', &a->line[ai++]);
            bi++;
        }
    }
}

static void put_hunks(const struct text *a, const struct text *b, const struct edit *ed, struct buf *out)
{
    size_t i = 0, k = 0;

    while (i < a->n || k < b->n) {
        size_t ai, bi, ae, be, same = 0;

        if (i < a->n && k < b->n && !ed->gone[i] && !ed->fresh[k]) {
            i++, k++;
            continue;
        }
        ai = i - MIN(i, (size_t)CONTEXT);
        bi = k - (i - ai);
        ae = i;
        be = k;
        /* Goes on until more than twice the context is the same. */
        while ((i < a->n || k < b->n) && same <= 2 * CONTEXT) {
            if (i < a->n && ed->gone[i])
                i++, same = 0;
            else if (k < b->n && ed->fresh[k])
                k++, same = 0;
            else
                i++, k++, same++;
            if (!same)
                ae = i, be = k;
        }
        i = ae;
        k = be;
        same = MIN((size_t)CONTEXT, a->n - ae);
        put_hunk(a, b, ed, ai, ae + same, bi, be + same, out);
        i += same;
        k += same;
    }
}

int udiff(const char *a, size_t alen, const char *b, size_t blen, struct buf *out, size_t *ret_added,
          size_t *ret_removed, struct err *e)
{
    struct text ta = {0}, tb = {0};
    cleanup(cleanup_free) struct line *la = NULL, *lb = NULL;
    cleanup(cleanup_free) bool *gone = NULL, *fresh = NULL;
    size_t head = 0, tail = 0, added = 0, removed = 0;
    int r = split(a, alen, &ta, e);

    la = ta.line;
    if (r == 0)
        r = split(b, blen, &tb, e);
    lb = tb.line;
    if (r < 0)
        return r;
    gone = calloc(ta.n + 1, 1);
    fresh = calloc(tb.n + 1, 1);
    if (!gone || !fresh)
        return err_set(e, VT_FAIL, "out of memory");
    while (head < ta.n && head < tb.n && same_line(&la[head], &lb[head]))
        head++;
    while (tail < ta.n - head && tail < tb.n - head && same_line(&la[ta.n - 1 - tail], &lb[tb.n - 1 - tail]))
        tail++;
    if (mark(la + head, (int)(ta.n - head - tail), lb + head, (int)(tb.n - head - tail), gone + head, fresh + head) < 0)
        return err_set(e, VT_FAIL, "out of memory");
    put_hunks(&ta, &tb, &(struct edit){gone, fresh}, out);
    for (size_t i = 0; i < ta.n; i++)
        removed += gone[i];
    for (size_t i = 0; i < tb.n; i++)
        added += fresh[i];
    if (ret_added)
        *ret_added = added;
    if (ret_removed)
        *ret_removed = removed;
    return buf_check(out, e);
}
