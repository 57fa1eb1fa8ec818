#include "src/base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "src/base/util.h"

uint64_t clock_mono_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

int64_t clock_wall_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * (int64_t)NS_PER_SEC + ts.tv_nsec;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A decimal number with an optional fraction, times unit(rest)'s factor: scanned exactly, in integers, so that "1.5G"
 * and "0.1s" do not depend on the locale or on rounding. Whole part in *whole, fraction as *num / *den. */
static bool scan_decimal(const char **ps, uint64_t *whole, uint64_t *num, uint64_t *den)
{
    const char *s = *ps;

    *whole = *num = 0;
    *den = 1;
    if (!is_digit(*s))
        return false;
    for (; is_digit(*s); s++)
        if (__builtin_mul_overflow(*whole, 10u, whole) || __builtin_add_overflow(*whole, (uint64_t)(*s - '0'), whole))
            return false;
    if (*s == '.') {
        s++;
        if (!is_digit(*s))
            return false;
        for (; is_digit(*s); s++)
            if (*den < NS_PER_SEC) { /* digits past the ninth cannot matter */
                *num = *num * 10 + (uint64_t)(*s - '0');
                *den *= 10;
            }
    }
    *ps = s;
    return true;
}

/* whole * factor + num/den * factor; false on overflow */
static bool scale(uint64_t whole, uint64_t num, uint64_t den, uint64_t factor, uint64_t *ret)
{
    uint64_t v;

    if (__builtin_mul_overflow(whole, factor, &v))
        return false;
    return !__builtin_add_overflow(v, (uint64_t)((unsigned __int128)num * factor / den), ret);
}

int size_parse(const char *s, uint64_t *ret_bytes, struct err *e)
{
    static const char letters[] = "KMGTPE";
    const char *p = s;
    uint64_t whole, num, den, factor = 1;

    if (!scan_decimal(&p, &whole, &num, &den))
        goto bad;
    if (*p) {
        const char *l = strchr(letters, *p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);

        if (l) {
            factor = 1ull << (10 * (unsigned)(l - letters + 1));
            p++;
            if (*p == 'i')
                p++;
        }
        if (*p == 'B')
            p++;
    }
    if (*p || !scale(whole, num, den, factor, ret_bytes))
        goto bad;
    return 0;
bad:
    return err_set(e, VT_USAGE, "\"%s\" is not a size (as in 4096, 512M, 4G)", s);
}

int duration_parse(const char *s, uint64_t *ret_ns, struct err *e)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } unit[] = {{"ns", 1},
                {"us", 1000},
                {"ms", NS_PER_MS},
                {"s", NS_PER_SEC},
                {"m", 60 * NS_PER_SEC},
                {"h", 3600 * NS_PER_SEC},
                {"d", 86400 * NS_PER_SEC}};
    const char *p = s;
    uint64_t total = 0;

    do {
        uint64_t whole, num, den, ns, factor = 0;

        if (!scan_decimal(&p, &whole, &num, &den))
            goto bad;
        for (size_t i = 0; i < ARRAY_LEN(unit) && !factor; i++) {
            size_t n = strlen(unit[i].name);

            if (!strncmp(p, unit[i].name, n) && (!p[n] || is_digit(p[n]))) {
                factor = unit[i].ns;
                p += n;
            }
        }
        if (!factor && !*p && total == 0)
            factor = NS_PER_SEC; /* a bare number */
        if (!factor || !scale(whole, num, den, factor, &ns) || __builtin_add_overflow(total, ns, &total))
            goto bad;
    } while (*p);
    *ret_ns = total;
    return 0;
bad:
    return err_set(e, VT_USAGE, "\"%s\" is not a duration (as in 500ms, 2s, 5m)", s);
}

int number_parse(const char *s, uint64_t min, uint64_t max, uint64_t *ret_n, struct err *e)
{
    const char *p = s;
    uint64_t v = 0;
    bool ok = is_digit(*p);

    for (; ok && is_digit(*p); p++)
        ok = !__builtin_mul_overflow(v, 10u, &v) && !__builtin_add_overflow(v, (uint64_t)(*p - '0'), &v);
    if (!ok || *p || v < min || v > max)
        return err_set(e, VT_USAGE, "\"%s\" is not a number from %" PRIu64 " to %" PRIu64, s, min, max);
    *ret_n = v;
    return 0;
}

/* Exactly n digits as a number within [min, max], or -1. */
static int fixed_digits(const char **ps, int n, int min, int max)
{
    int v = 0;

    for (int i = 0; i < n; i++, (*ps)++) {
        if (!is_digit(**ps))
            return -1;
        v = v * 10 + (**ps - '0');
    }
    return v >= min && v <= max ? v : -1;
}

static bool skip(const char **ps, char c)
{
    if (**ps != c)
        return false;
    (*ps)++;
    return true;
}

int time_parse(const char *s, int64_t *ret_ns, struct err *e)
{
    const char *p = s;
    struct tm tm = {0}, back;
    int64_t secs, frac = 0, unit = (int64_t)NS_PER_SEC;
    int oh = 0, om = 0, sign = 0;

    if ((tm.tm_year = fixed_digits(&p, 4, 1900, 2200)) < 0 || !skip(&p, '-') ||
        (tm.tm_mon = fixed_digits(&p, 2, 1, 12)) < 0 || !skip(&p, '-') ||
        (tm.tm_mday = fixed_digits(&p, 2, 1, 31)) < 0 || (!skip(&p, 'T') && !skip(&p, ' ')) ||
        (tm.tm_hour = fixed_digits(&p, 2, 0, 23)) < 0 || !skip(&p, ':') ||
        (tm.tm_min = fixed_digits(&p, 2, 0, 59)) < 0 || !skip(&p, ':') || (tm.tm_sec = fixed_digits(&p, 2, 0, 60)) < 0)
        goto bad;
    if (skip(&p, '.')) {
        if (!is_digit(*p))
            goto bad;
        for (; is_digit(*p); p++) {
            unit /= 10;
            frac += (*p - '0') * unit;
        }
    }
    if (!skip(&p, 'Z')) {
        sign = *p == '+' ? 1 : *p == '-' ? -1 : 0;
        p++;
        if (!sign || (oh = fixed_digits(&p, 2, 0, 23)) < 0 || !skip(&p, ':') || (om = fixed_digits(&p, 2, 0, 59)) < 0)
            goto bad;
    }
    if (*p)
        goto bad;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    back = tm;
    secs = timegm(&back);
    if (back.tm_mday != tm.tm_mday) /* the 31st of a shorter month */
        goto bad;
    *ret_ns = (secs - sign * (oh * 3600 + om * 60)) * (int64_t)NS_PER_SEC + frac;
    return 0;
bad:
    return err_set(e, VT_USAGE, "\"%s\" is not a time (as in 2026-01-31T12:00:00Z)", s);
}

/* "value unit" with as many decimals as give three digits, none where they would be zeros */
static void three_digits(char dst[UNITS_MAX], double v, const char *unit)
{
    int decimals = v < 9.995 ? 2 : v < 99.95 ? 1 : 0;
    char *end;

    snprintf(dst, UNITS_MAX, "%.*f", decimals, v);
    if (decimals) {
        for (end = dst + strlen(dst); end[-1] == '0'; end--)
            end[-1] = 0;
        if (end[-1] == '.')
            end[-1] = 0;
    }
    snprintf(dst + strlen(dst), UNITS_MAX - strlen(dst), " %s", unit);
}

char *size_format(char dst[UNITS_MAX], uint64_t bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    unsigned u = 0;

    for (; v >= 1023.5 && u + 1 < ARRAY_LEN(unit); u++)
        v /= 1024;
    three_digits(dst, v, unit[u]);
    return dst;
}

char *duration_format(char dst[UNITS_MAX], uint64_t ns)
{
    uint64_t s = ns / NS_PER_SEC;

    if (ns < 1000)
        snprintf(dst, UNITS_MAX, "%" PRIu64 " ns", ns);
    else if (ns < NS_PER_MS)
        snprintf(dst, UNITS_MAX, "%" PRIu64 " us", ns / 1000);
    else if (ns < 10 * NS_PER_MS)
        snprintf(dst, UNITS_MAX, "%.1f ms", (double)ns / NS_PER_MS);
    else if (ns < NS_PER_SEC)
        snprintf(dst, UNITS_MAX, "%" PRIu64 " ms", ns / NS_PER_MS);
    else if (s < 60)
        snprintf(dst, UNITS_MAX, "%.1f s", (double)(ns / (NS_PER_SEC / 10)) / 10);
    else if (s < 3600)
        snprintf(dst, UNITS_MAX, "%" PRIu64 " m %" PRIu64 " s", s / 60, s % 60);
    else
        snprintf(dst, UNITS_MAX, "%" PRIu64 " h %" PRIu64 " m", s / 3600, s / 60 % 60);
    return dst;
}

char *time_format(char dst[UNITS_MAX], int64_t ns)
{
    const int64_t per = (int64_t)NS_PER_SEC;
    time_t s = (time_t)(ns / per - (ns % per < 0));
    int ms = (int)((ns - (int64_t)s * per) / (int64_t)NS_PER_MS);
    struct tm tm;
    size_t n;

    gmtime_r(&s, &tm);
    n = strftime(dst, UNITS_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    if (ms)
        snprintf(dst + n, UNITS_MAX - n, ".%03dZ", ms);
    else
        snprintf(dst + n, UNITS_MAX - n, "Z");
    return dst;
}
