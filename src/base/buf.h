/* A growable byte buffer, always followed by a NUL that is not counted. Errors are sticky: an append that finds no
 * memory sets `failed` and later appends do nothing, so that a caller checks once, at the end. Zero-initialised is
 * empty and ready. */
#ifndef VT_BASE_BUF_H
#define VT_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"

struct buf {
    char *data; /* NULL while nothing was ever added; else data[len] == 0 */
    size_t len, cap;
    bool failed;
};

/* Room for n more bytes after len (and the NUL), without changing len. NULL: no memory, and b is failed. */
void *buf_reserve(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *src, size_t n);
void buf_str(struct buf *b, const char *s);
void buf_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Forgets the first n bytes (n <= len). */
void buf_drop(struct buf *b, size_t n);
void buf_clear(struct buf *b); /* empty, memory kept, failed reset */
void buf_release(struct buf *b);
/* "" while empty; valid until the next change. */
const char *buf_cstr(const struct buf *b);
/* Hands the malloc'ed string over, b is empty after. NULL: it had failed (released then). */
char *buf_steal(struct buf *b);
/* 0, or VT_FAIL with "out of memory" when an append failed. */
int buf_check(const struct buf *b, struct err *e);

/* A malloc'ed formatted string, or NULL when out of memory. */
char *str_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A growable array of strings that it owns, NULL-terminated at items[n]; sticky like buf. */
struct strlist {
    char **items;
    size_t n, cap;
    bool failed;
};
void strlist_add(struct strlist *l, const char *s);
void strlist_addf(struct strlist *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strlist_take(struct strlist *l, char *s); /* s is malloc'ed and owned from now on; NULL fails the list */
void strlist_release(struct strlist *l);

#endif
