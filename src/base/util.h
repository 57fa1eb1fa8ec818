/* Cleanup attributes and small helpers. */
#ifndef VT_BASE_UTIL_H
#define VT_BASE_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include "src/base/banned.h"

#define cleanup(fn)                   __attribute__((cleanup(fn)))
#define ARRAY_LEN(a)                  (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                     ((a) < (b) ? (a) : (b))
#define MAX(a, b)                     ((a) > (b) ? (a) : (b))
#define ALIGN_UP(x, a)                (((x) + (a)-1) & ~((__typeof__(x))(a)-1))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

/* Takes a pointer out of a cleanup variable: return steal(&p); */
#define steal(pp)                          \
    ({                                     \
        __typeof__(*(pp)) steal_v = *(pp); \
        *(pp) = NULL;                      \
        steal_v;                           \
    })
static inline int steal_fd(int *fd)
{
    int v = *fd;
    *fd = -1;
    return v;
}

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}
static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define VT_PAGE_SHIFT 12
#define VT_PAGE_SIZE  4096u

#endif
