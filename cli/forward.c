#include "cli/forward.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "src/base/banned.h"
#include "src/base/util.h"
#include "src/execcontrol.h"

static void send_control(struct forward *f, struct exec_control c)
{
    (void)send(f->ours, &c, sizeof c, MSG_DONTWAIT | MSG_NOSIGNAL); /* where it is full, nobody has read the others */
}

static bool window_size(struct winsize *w)
{
    return (ioctl(STDIN_FILENO, TIOCGWINSZ, w) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, w) == 0) && w->ws_row;
}

static bool ends_us(uint32_t number)
{
    return number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT;
}

/* The monitor sees us go and ends the command. */
static void die(struct forward *f, int number)
{
    sigset_t set;

    tty_restore(&f->term);
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(number);
}

static void *thread_main(void *opaque)
{
    struct forward *f = opaque;
    bool asked = false;

    for (;;) {
        struct pollfd p[2] = {{.fd = f->signals, .events = POLLIN}, {.fd = f->stop, .events = POLLIN}};
        struct signalfd_siginfo si;
        struct winsize w;

        if (poll(p, 2, -1) < 0)
            continue;
        if (p[1].revents)
            return NULL;
        if (read(f->signals, &si, sizeof si) != sizeof si)
            continue;
        if (si.ssi_signo != SIGWINCH) {
            if (ends_us(si.ssi_signo) && asked)
                die(f, (int)si.ssi_signo);
            asked |= ends_us(si.ssi_signo);
            send_control(f, (struct exec_control){.what = EXEC_SIGNAL, .number = (uint8_t)si.ssi_signo});
        } else if (window_size(&w)) {
            send_control(f, (struct exec_control){.what = EXEC_RESIZE, .rows = w.ws_row, .cols = w.ws_col});
        }
    }
}

static int take_signals(struct forward *f, struct err *e)
{
    static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(forwarded); i++) {
        struct sigaction was;
        if (sigaction(forwarded[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN) /* nohup stays what it is */
            sigaddset(&set, forwarded[i]);
    }
    pthread_sigmask(SIG_BLOCK, &set, &f->before);
    f->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    f->stop = eventfd(0, EFD_CLOEXEC);
    return f->signals < 0 || f->stop < 0 ? err_set(e, VT_FAIL, "cannot watch signals: %m") : 0;
}

static void close_all(struct forward *f)
{
    int *fds[] = {&f->stream, &f->ours, &f->signals, &f->stop};

    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (*fds[i] >= 0)
            close(steal_fd(fds[i]));
    pthread_sigmask(SIG_SETMASK, &f->before, NULL);
    tty_restore(&f->term);
}

int forward_begin(struct forward *f, bool raw, struct err *e)
{
    struct winsize w;
    int pair[2], rc;

    *f = (struct forward){.stream = -1, .ours = -1, .signals = -1, .stop = -1, .term = {.fd = -1}};
    pthread_sigmask(SIG_BLOCK, NULL, &f->before);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(e, VT_FAIL, "socketpair: %m");
    f->stream = pair[0];
    f->ours = pair[1];
    if (raw && window_size(&w)) {
        f->rows = w.ws_row;
        f->cols = w.ws_col;
    }
    rc = take_signals(f, e);
    if (rc == 0 && raw)
        tty_raw(&f->term, STDIN_FILENO);
    if (rc == 0 && pthread_create(&f->thread, NULL, thread_main, f) != 0)
        rc = err_set(e, VT_FAIL, "cannot start a thread");
    if (rc < 0)
        close_all(f);
    return rc;
}

void forward_end(struct forward *f)
{
    uint64_t one = 1;

    if (f->stop < 0)
        return; /* it never began */
    if (write(f->stop, &one, sizeof one) == sizeof one)
        pthread_join(f->thread, NULL);
    close_all(f);
}
