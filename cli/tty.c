#include "cli/tty.h"

#include <unistd.h>

bool tty_raw(struct tty *t, int fd)
{
    struct termios raw;

    t->fd = -1;
    if (!isatty(fd) || tcgetattr(fd, &t->saved) < 0)
        return false;
    raw = t->saved;
    cfmakeraw(&raw);
    if (tcsetattr(fd, TCSADRAIN, &raw) < 0)
        return false;
    t->fd = fd;
    return true;
}

void tty_restore(struct tty *t)
{
    if (t->fd >= 0)
        tcsetattr(t->fd, TCSADRAIN, &t->saved);
    t->fd = -1;
}
