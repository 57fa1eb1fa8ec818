#include "src/base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "src/base/buf.h"
#include "src/base/units.h"
#include "src/base/util.h"

static const char *const level_name[] = {"error", "warning", "info", "debug"};

void log_msg(const struct log *l, enum log_level level, const char *fmt, ...)
{
    cleanup(buf_release) struct buf b = {0};
    char when[UNITS_MAX];
    va_list ap;

    if (!l || l->fd < 0 || level > l->level)
        return;
    if (l->prog)
        buf_printf(&b, "%s: ", l->prog);
    else
        buf_printf(&b, "%s ", time_format(when, clock_wall_ns()));
    if (level != LOG_INFO)
        buf_printf(&b, "%s: ", level_name[level]);
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    /* a guest's or a file's bytes may be in the text: one line stays one line */
    for (size_t i = 0; i < b.len; i++)
        if ((unsigned char)b.data[i] < 32 && b.data[i] != '\t')
            b.data[i] = ' ';
    buf_char(&b, '\n');
    if (!b.failed && write(l->fd, b.data, b.len) < 0)
        return; /* nobody is left to tell */
}

bool log_level_parse(const char *s, enum log_level *ret_level)
{
    for (unsigned i = 0; i < ARRAY_LEN(level_name); i++) {
        if (!strcmp(s, level_name[i]) || (s[0] == (char)('0' + i) && !s[1])) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}
