/* What a user does to a command in a guest beside its streams: signals that we get become its own, and its terminal
 * follows the size of ours. */
#ifndef VT_CLI_FORWARD_H
#define VT_CLI_FORWARD_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include "cli/tty.h"
#include "src/base/err.h"

struct forward {
    int stream;          /* for struct client_exec's control */
    unsigned rows, cols; /* of our terminal; 0: there is none */
    int ours, signals, stop;
    pthread_t thread;
    sigset_t before;
    struct tty term;
};

/* From here on SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 go to the guest's command; a second one that asks
 * us to end does end us. raw: the terminal at standard input, if there is one, is the command's. */
int forward_begin(struct forward *f, bool raw, struct err *e);
void forward_end(struct forward *f);

#endif
