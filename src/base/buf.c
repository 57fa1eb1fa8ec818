#include "src/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "src/base/util.h"

void *buf_reserve(struct buf *b, size_t n)
{
    size_t need, cap;
    char *p;

    if (b->failed)
        return NULL;
    if (__builtin_add_overflow(b->len, n, &need) || __builtin_add_overflow(need, (size_t)1, &need)) {
        b->failed = true;
        return NULL;
    }
    if (need > b->cap) {
        cap = MAX(need, b->cap < SIZE_MAX / 2 ? b->cap * 2 : need);
        cap = MAX(cap, (size_t)64);
        p = realloc(b->data, cap);
        if (!p) {
            b->failed = true;
            return NULL;
        }
        b->data = p;
        b->cap = cap;
        b->data[b->len] = 0;
    }
    return b->data + b->len;
}

void buf_add(struct buf *b, const void *src, size_t n)
{
    char *p = buf_reserve(b, n);

    if (!p)
        return;
    if (n)
        memcpy(p, src, n);
    b->len += n;
    b->data[b->len] = 0;
}

void buf_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0 || !buf_reserve(b, (size_t)n)) {
        b->failed = true;
        return;
    }
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    b->len += (size_t)n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_drop(struct buf *b, size_t n)
{
    vt_assert(n <= b->len);
    if (!n)
        return;
    b->len -= n;
    memmove(b->data, b->data + n, b->len + 1);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = 0;
}

void buf_release(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

const char *buf_cstr(const struct buf *b)
{
    return b->data ? b->data : "";
}

char *buf_steal(struct buf *b)
{
    char *s;

    if (!buf_reserve(b, 0)) {
        buf_release(b);
        return NULL;
    }
    s = b->data;
    *b = (struct buf){0};
    return s;
}

int buf_check(const struct buf *b, struct err *e)
{
    return b->failed ? err_set(e, VT_FAIL, "out of memory") : 0;
}

char *str_printf(const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    return buf_steal(&b);
}

void strlist_take(struct strlist *l, char *s)
{
    size_t cap;
    char **p;

    if (!s)
        l->failed = true;
    if (l->failed) {
        free(s);
        return;
    }
    if (l->n + 2 > l->cap) {
        cap = l->cap ? l->cap * 2 : 8;
        p = reallocarray(l->items, cap, sizeof *p);
        if (!p) {
            l->failed = true;
            free(s);
            return;
        }
        l->items = p;
        l->cap = cap;
    }
    l->items[l->n++] = s;
    l->items[l->n] = NULL;
}

void strlist_add(struct strlist *l, const char *s)
{
    strlist_take(l, strdup(s));
}

void strlist_addf(struct strlist *l, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    strlist_take(l, buf_steal(&b));
}

void strlist_release(struct strlist *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    *l = (struct strlist){0};
}
