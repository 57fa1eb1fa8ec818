#include "vmcore/rt.h"

#include "vmcore/rt_log.h"

/* Up to 16 bytes by two moves that may overlap: starting a string instruction costs more than they do. */
static inline void copy_small(void *dst, const void *src, size_t n)
{
    char *d = dst;
    const char *s = src;

    if (n >= 8) {
        uint64_t a, b;
        __builtin_memcpy(&a, s, 8);
        __builtin_memcpy(&b, s + n - 8, 8);
        __builtin_memcpy(d, &a, 8);
        __builtin_memcpy(d + n - 8, &b, 8);
    } else if (n >= 4) {
        uint32_t a, b;
        __builtin_memcpy(&a, s, 4);
        __builtin_memcpy(&b, s + n - 4, 4);
        __builtin_memcpy(d, &a, 4);
        __builtin_memcpy(d + n - 4, &b, 4);
    } else if (n) {
        char a = s[0], b = s[n / 2], c = s[n - 1];
        d[0] = a;
        d[n / 2] = b;
        d[n - 1] = c;
    }
}

void *rt_memcpy(void *dst, const void *src, size_t n)
{
    void *d = dst;

    if (n <= 16) {
        copy_small(dst, src, n);
        return dst;
    }
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n) : : "memory");
    return dst;
}

void *rt_memset(void *dst, int c, size_t n)
{
    void *d = dst;
    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
    return dst;
}

void *rt_memmove(void *dst, const void *src, size_t n)
{
    char *d = dst;
    const char *s = src;

    if ((uintptr_t)d - (uintptr_t)s >= n)
        return rt_memcpy(dst, src, n);
    while (n >= 8) {
        uint64_t v;
        n -= 8;
        __builtin_memcpy(&v, s + n, 8);
        __builtin_memcpy(d + n, &v, 8);
    }
    while (n--)
        *(volatile char *)(d + n) = s[n]; /* volatile: else it is recognised as a memmove */
    return dst;
}

int rt_memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *p = a, *q = b;
    for (size_t i = 0; i < n; i++)
        if (p[i] != q[i])
            return p[i] < q[i] ? -1 : 1;
    return 0;
}

/* ---- log */

void rt_log_init(struct rt_log_ring *r)
{
    memset(r, 0, sizeof *r);
}

struct line {
    uint32_t len;
    char text[RT_LOG_LINE];
};

static void put_char(struct line *l, char c)
{
    if (l->len < RT_LOG_LINE - 1)
        l->text[l->len++] = c == '\n' ? ' ' : c;
}

static void put_number(struct line *l, uint64_t v, unsigned base)
{
    char digits[24];
    unsigned n = 0;
    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    while (n)
        put_char(l, digits[--n]);
}

static void format(struct line *l, const char *fmt, va_list ap)
{
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put_char(l, *fmt);
            continue;
        }
        fmt++;
        if (*fmt == 's') {
            const char *s = va_arg(ap, const char *);
            for (s = s ? s : "(null)"; *s; s++)
                put_char(l, *s);
        } else if (*fmt == 'u' || *fmt == 'x') {
            put_number(l, va_arg(ap, unsigned), *fmt == 'u' ? 10 : 16);
        } else if (fmt[0] == 'l' && fmt[1] == 'l' && fmt[2] == 'x') {
            put_number(l, va_arg(ap, unsigned long long), 16);
            fmt += 2;
        } else if (*fmt == '%') {
            put_char(l, '%');
        } else {
            break; /* also the end after a lone '%' */
        }
    }
    l->text[l->len++] = '\n';
}

void rt_log_vput(struct rt_log_ring *r, const char *fmt, va_list ap)
{
    struct line l;
    l.len = 0;
    format(&l, fmt, ap);

    uint32_t head = r->head, tail = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
    if (RT_LOG_SIZE - (head - tail) < l.len) {
        __atomic_fetch_add(&r->dropped, 1, __ATOMIC_RELAXED);
        return;
    }
    for (uint32_t i = 0; i < l.len; i++)
        r->buf[(head + i) & (RT_LOG_SIZE - 1)] = l.text[i];
    __atomic_store_n(&r->head, head + l.len, __ATOMIC_RELEASE);
}

void rt_log_put(struct rt_log_ring *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    rt_log_vput(r, fmt, ap);
    va_end(ap);
}

int rt_log_take(struct rt_log_ring *r, char *dst)
{
    uint32_t head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE), tail = r->tail, n = 0;

    if (head == tail) {
        uint32_t dropped = __atomic_exchange_n(&r->dropped, 0, __ATOMIC_RELAXED);
        if (!dropped)
            return 0;
        struct line l = {.len = 0};
        put_number(&l, dropped, 10);
        for (const char *s = " log lines dropped"; *s; s++)
            put_char(&l, *s);
        memcpy(dst, l.text, l.len);
        dst[l.len] = 0;
        return 1;
    }
    while (tail != head) {
        char c = r->buf[tail++ & (RT_LOG_SIZE - 1)];
        if (c == '\n')
            break;
        dst[n++] = c;
    }
    dst[n] = 0;
    __atomic_store_n(&r->tail, tail, __ATOMIC_RELEASE);
    return 1;
}
