/* Starts a command: its user, directory, environment, pipes or terminal. */
#ifndef GUEST_SPAWN_H
#define GUEST_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include "guest/lib.h"

enum { SPAWN_WORDS = 4096 };

struct command {
    const char *dir, *user; /* "": the usual */
    char *args[SPAWN_WORDS + 1], *env[SPAWN_WORDS + 1];
    unsigned nargs, nenv; /* no arguments: the user's login shell */
    bool tty, has_input;
    uint16_t rows, cols;
};
struct child {
    int pid;
    int in, out, err; /* our ends, not blocking; a terminal is `out` alone, for both directions */
    int status;       /* reads the end once the command runs, or before that why it cannot */
};

/* False: it was not started, and `why` says why. */
bool spawn(struct command *c, struct child *ret, struct text *why);

#endif
