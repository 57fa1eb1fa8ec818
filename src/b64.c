#include "src/b64.h"

#include <stdint.h>
#include <stdlib.h>
#include "src/base/banned.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *b64_encode(const void *src, size_t len)
{
    const uint8_t *s = src;
    char *text = malloc((len + 2) / 3 * 4 + 1), *d = text;

    if (!text)
        return NULL;
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t v = (uint32_t)s[i] << 16 | (left > 1 ? (uint32_t)s[i + 1] << 8 : 0) | (left > 2 ? s[i + 2] : 0);

        *d++ = digits[v >> 18];
        *d++ = digits[v >> 12 & 63];
        *d++ = left > 1 ? digits[v >> 6 & 63] : '=';
        *d++ = left > 2 ? digits[v & 63] : '=';
    }
    *d = 0;
    return text;
}

static int value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool b64_decode(const char *text, size_t len, struct buf *out)
{
    size_t pad = len >= 1 && text[len - 1] == '=' ? (len >= 2 && text[len - 2] == '=' ? 2 : 1) : 0;
    uint8_t *d;

    if (len % 4)
        return false;
    d = buf_reserve(out, len / 4 * 3);
    if (!d)
        return false;
    for (size_t i = 0; i < len; i += 4) {
        size_t n = i + 4 == len ? 4 - pad : 4;
        uint32_t v = 0;

        for (size_t k = 0; k < 4; k++) {
            int digit = k < n ? value(text[i + k]) : 0;
            if (digit < 0)
                return false;
            v = v << 6 | (uint32_t)digit;
        }
        *d++ = (uint8_t)(v >> 16);
        if (n > 2)
            *d++ = (uint8_t)(v >> 8);
        if (n > 3)
            *d++ = (uint8_t)v;
    }
    out->len += len / 4 * 3 - pad;
    out->data[out->len] = 0;
    return true;
}
