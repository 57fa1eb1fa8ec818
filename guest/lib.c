#include "guest/lib.h"
#include "guest/sys.h"

void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
    void *to = dst;

    __asm__ volatile("rep movsb" : "+D"(to), "+S"(src), "+c"(n) : : "memory");
    return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
    char *d = dst;
    const char *s = src;

    if (d <= s)
        return memcpy(dst, src, n);
    while (n--)
        d[n] = s[n];
    return dst;
}

void *memset(void *dst, int c, size_t n)
{
    void *to = dst;

    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;

    for (; n; n--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

size_t strlen(const char *s)
{
    const char *p = s;

    while (*p)
        p++;
    return (size_t)(p - s);
}

int strcmp(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return (unsigned char)*a - (unsigned char)*b;
}

char *strchr(const char *s, int c)
{
    for (;; s++) {
        if (*s == (char)c)
            return (char *)s;
        if (!*s)
            return NULL;
    }
}

void text_addn(struct text *t, const char *s, size_t n)
{
    while (n-- && t->at < t->end)
        *t->at++ = *s++;
    *t->at = 0;
}

void text_add(struct text *t, const char *s)
{
    text_addn(t, s, strlen(s));
}

void text_number(struct text *t, uint32_t n)
{
    char digits[11], *p = digits + sizeof digits;

    *--p = 0;
    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    text_add(t, p);
}

void text_errno(struct text *t, long err)
{
    switch (-err) {
    case ENOENT:
        text_add(t, "No such file or directory");
        break;
    case EACCES:
        text_add(t, "Permission denied");
        break;
    case ENOTDIR:
        text_add(t, "Not a directory");
        break;
    case ENOMEM:
        text_add(t, "Cannot allocate memory");
        break;
    case ENOEXEC:
        text_add(t, "Exec format error");
        break;
    case EAGAIN:
        text_add(t, "Resource temporarily unavailable");
        break;
    default:
        text_add(t, "error ");
        text_number(t, (uint32_t)-err);
    }
}

bool number(const char *s, uint32_t *ret)
{
    uint32_t n = 0;
    const char *p = s;

    for (; *p >= '0' && *p <= '9'; p++) {
        if (n > (UINT32_MAX - 9) / 10)
            return false;
        n = n * 10 + (uint32_t)(*p - '0');
    }
    *ret = n;
    return p > s && !*p;
}

long read_file(const char *path, char *dst, size_t max)
{
    int fd = sys_open(path, O_RDONLY);
    size_t len = 0;
    long n = fd;

    while (fd >= 0 && len < max - 1 && (n = sys_read(fd, dst + len, max - 1 - len)) > 0)
        len += (size_t)n;
    sys_close(&fd);
    dst[len] = 0;
    return n < 0 ? n : (long)len;
}

/* ---- system calls */

void sys_exit(int status)
{
    for (;;)
        sys(SYS_exit_group, status, 0, 0);
}

long sys_read(int fd, void *dst, size_t len)
{
    long n;

    do
        n = sys(SYS_read, fd, dst, len);
    while (n == -EINTR);
    return n;
}

long sys_write(int fd, const void *src, size_t len)
{
    long n;

    do
        n = sys(SYS_write, fd, src, len);
    while (n == -EINTR);
    return n;
}

int sys_open(const char *path, int flags)
{
    return (int)sys(SYS_open, path, flags | O_CLOEXEC, 0);
}

void sys_close(int *fd)
{
    if (*fd >= 0)
        sys(SYS_close, *fd, 0, 0);
    *fd = -1;
}

void sys_nonblock(int fd)
{
    sys(SYS_fcntl, fd, F_SETFL, sys(SYS_fcntl, fd, F_GETFL, 0) | O_NONBLOCK);
}

uint32_t sys_ms(void)
{
    struct timespec t = {0, 0};

    sys(SYS_clock_gettime, 1, &t, 0);
    return (uint32_t)t.sec * 1000u + (uint32_t)t.nsec / 1000000u;
}
