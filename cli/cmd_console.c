/* vmtest console: the guest's serial port on our terminal, until Ctrl-] or either end closes. */
#include "cli/cmd.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include "cli/resolve.h"
#include "cli/tty.h"
#include "src/base/io.h"

struct console_opts {
    const char *port;
};

const struct opt console_options[] = {
    {"port", "NAME", "serial0 unless given", offsetof(struct console_opts, port), OPT_STR, 0},
    OPT_END(struct console_opts),
};

#define DETACH 0x1d /* Ctrl-] */

/* Moves what is there from in to out; *ret_end: in has come to its end, or, from a terminal, Ctrl-] was typed. */
static int move(int in, int out, bool terminal, bool *ret_end, struct err *e)
{
    char data[4096];
    ssize_t n = read(in, data, sizeof data);
    char *typed;

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0) {
        *ret_end = true;
        return 0;
    }
    typed = terminal ? memchr(data, DETACH, (size_t)n) : NULL;
    if (typed) {
        *ret_end = true;
        n = typed - data;
    }
    return io_write_full(out, data, (size_t)n, "console", e);
}

static int attach(int sock, bool terminal, struct err *e)
{
    /* standard output is watched for its reader's end only */
    struct pollfd p[3] = {{.fd = sock, .events = POLLIN}, {.fd = 0, .events = POLLIN}, {.fd = 1}};
    bool guest_end = false, our_end = false;
    int r = 0;

    while (!r && !guest_end && !(our_end && terminal)) {
        if (poll(p, ARRAY_LEN(p), -1) < 0) {
            if (errno != EINTR)
                return err_set(e, VT_FAIL, "poll: %m");
            continue;
        }
        if (p[2].revents & POLLERR)
            break;
        if (p[0].revents)
            r = move(sock, 1, false, &guest_end, e);
        if (!r && p[1].revents)
            r = move(0, sock, terminal, &our_end, e);
        if (our_end)
            p[1].fd = -1; /* input from a file is over; what the guest says is still wanted */
    }
    return r;
}

int cmd_console(struct cli *c, void *opts, struct err *e)
{
    struct console_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int ours = -1;
    struct tty term = {.fd = -1};
    bool terminal;
    int pair[2], r;

    if (c->json)
        return err_set(e, VT_USAGE, "--json: standard output is the guest's serial port");
    r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        r = cli_connect(c, &m, &client, e);
    if (r)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(e, VT_FAIL, "cannot make a socket: %m");
    ours = pair[0];
    r = client_call_fds(client, "vmtest-console", json_pack("{s:s*}", "port", o->port), &pair[1], 1, NULL, e);
    close(pair[1]);
    if (r)
        return err_prefix(e, r, "%s", m.name);
    terminal = tty_raw(&term, 0);
    if (terminal)
        out_note(c, "%s: Ctrl-] leaves the console\r", m.name);
    r = attach(ours, terminal, e);
    tty_restore(&term);
    return r;
}
