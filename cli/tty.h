/* The user's terminal while a guest has it: raw, and always given back. */
#ifndef VT_CLI_TTY_H
#define VT_CLI_TTY_H

#include <stdbool.h>
#include <termios.h>

struct tty {
    int fd; /* -1: nothing to restore */
    struct termios saved;
};

/* Makes fd raw, so that Ctrl-C goes to the guest; false: it is no terminal, and nothing is done. */
bool tty_raw(struct tty *t, int fd);
void tty_restore(struct tty *t);

#endif
