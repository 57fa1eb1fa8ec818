/* Results and messages. A function that can fail returns 0 or a negative enum vt_err; the message is filled once, where
 * the failure was found, with what and which. Only cli/ prints. The values are the CLI's exit statuses, negated. */
#ifndef VT_BASE_ERR_H
#define VT_BASE_ERR_H

#include <stdarg.h>

enum vt_err {
    VT_OK = 0,
    VT_FAIL = -2,      /* failed */
    VT_USAGE = -64,    /* bad argument */
    VT_CORRUPT = -65,  /* bytes that do not verify, or a malformed file */
    VT_NOENT = -66,    /* no such machine, snapshot or file */
    VT_GONE = -69,     /* guest gone or not answering */
    VT_EXISTS = -73,   /* exists already */
    VT_IO = -74,       /* I/O error, or no space */
    VT_BUSY = -75,     /* locked, or in the wrong state */
    VT_PERM = -77,     /* permission */
    VT_VERSION = -78,  /* newer store, or a file system that will not do */
    VT_TIMEOUT = -124, /* time-out */
};

struct err {
    int code;       /* enum vt_err of the first failure, 0 when none */
    char msg[1024]; /* one line, no trailing newline */
};

/* Fills *e (may be NULL) unless it already holds a message, and returns code. A '%m' in fmt is errno's text. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts "prefix: " before the message. Returns e->code, or code where e is NULL or empty. */
int err_prefix(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Maps an errno to the nearest enum vt_err (ENOENT, EEXIST, EACCES/EPERM, EAGAIN/EBUSY; all else VT_IO). */
int err_from_errno(int errnum);

/* Impossible states only, never guest- or file-controlled data; on in release builds; no side effects in c. */
void vt_assert_fail(const char *expr, const char *file, int line) __attribute__((noreturn));
#define vt_assert(c) ((c) ? (void)0 : vt_assert_fail(#c, __FILE__, __LINE__))

#endif
