#include "src/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e && !e->code) {
        va_list ap;
        e->code = code;
        va_start(ap, fmt);
        vsnprintf(e->msg, sizeof e->msg, fmt, ap);
        va_end(ap);
    }
    return code;
}

int err_prefix(struct err *e, int code, const char *fmt, ...)
{
    char old[sizeof e->msg];
    va_list ap;
    int n;

    if (!e)
        return code;
    memcpy(old, e->msg, sizeof old);
    va_start(ap, fmt);
    n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    if (e->code && n >= 0 && (size_t)n < sizeof e->msg)
        snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %s", old);
    if (!e->code)
        e->code = code;
    return e->code;
}

int err_from_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return VT_NOENT;
    case EEXIST:
        return VT_EXISTS;
    case EACCES:
    case EPERM:
        return VT_PERM;
    case EAGAIN:
    case EBUSY:
        return VT_BUSY;
    case EINVAL:
        return VT_USAGE;
    default:
        return VT_IO;
    }
}

void vt_assert_fail(const char *expr, const char *file, int line)
{
    fprintf(stderr, "vmtest: internal error: %s:%d: %s\n", file, line, expr);
    abort();
}
