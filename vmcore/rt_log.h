/* A ring of log lines: one writer (the vCPU thread), one reader (any one other thread). A line that does not fit is
 * dropped and counted; the reader is told how many. */
#ifndef VT_RT_LOG_H
#define VT_RT_LOG_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define RT_LOG_SIZE 16384u /* a power of two */
#define RT_LOG_LINE 256u   /* longest line, its end included; longer ones are cut */

struct rt_log_ring {
    uint32_t head, tail; /* atomic: writer's, reader's */
    uint32_t dropped;    /* atomic */
    char buf[RT_LOG_SIZE];
};
void rt_log_init(struct rt_log_ring *r);
/* fmt knows %s %u %x %llx and %%. No newline at the end. */
void rt_log_vput(struct rt_log_ring *r, const char *fmt, va_list ap);
void rt_log_put(struct rt_log_ring *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The oldest line into dst (at least RT_LOG_LINE bytes), NUL-terminated, without its newline. False: none. */
int rt_log_take(struct rt_log_ring *r, char *dst);

#endif
