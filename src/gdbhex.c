#include "src/gdbhex.h"

#include "src/base/banned.h"

int gdbhex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool gdbhex_number(const char **p, char then, uint64_t *ret)
{
    const char *s = *p;
    uint64_t v = 0;

    for (; gdbhex_digit(*s) >= 0; s++) {
        if (v >> 60)
            return false;
        v = v << 4 | (unsigned)gdbhex_digit(*s);
    }
    if (s == *p || *s != then)
        return false;
    *p = s + (then != 0);
    *ret = v;
    return true;
}

int gdbhex_bytes(const char *s, uint8_t *dst, size_t max)
{
    size_t n = 0;

    for (; *s; s += 2) {
        if (n == max || gdbhex_digit(s[0]) < 0 || gdbhex_digit(s[1]) < 0)
            return -1;
        dst[n++] = (uint8_t)(gdbhex_digit(s[0]) << 4 | gdbhex_digit(s[1]));
    }
    return (int)n;
}

void gdbhex_add(struct buf *b, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++)
        buf_printf(b, "%02x", p[i]);
}
