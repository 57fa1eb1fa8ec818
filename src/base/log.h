/* Messages of programs that have no caller to hand a struct err to: the monitor's life, a helper's warnings. A log is
 * a value that is handed around; there is no global one. One line is one write, so that processes may share a file. */
#ifndef VT_BASE_LOG_H
#define VT_BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log {
    int fd;               /* -1: nowhere */
    enum log_level level; /* what is above it is dropped */
    const char *prog;     /* printed before each line; NULL: an RFC 3339 time instead */
};

void log_msg(const struct log *l, enum log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* "error", "warning", "info", "debug", or 0 to 3. False, and nothing written, when it is none of them. */
bool log_level_parse(const char *s, enum log_level *ret_level);

#endif
