#include "src/execsession.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/execcontrol.h"

#define CREDIT_STEP  (EXECPORT_WINDOW / 4)
#define FILE_PIECE   (1u << 20)
#define KILL_NS      (1 * NS_PER_SEC) /* from SIGTERM to SIGKILL */
#define GIVE_UP_NS   (5 * NS_PER_SEC) /* and from there to going without it */
#define CONTROLS_MAX 64

struct output {
    int fd;          /* -1: dropped */
    bool file;       /* a regular file takes any piece at once */
    struct buf data; /* arrived, not written yet */
};

struct session {
    struct execport *port;
    struct execlink *link;
    const struct exec_spec *spec;
    int in, control;
    bool end_told;
    struct output out[2];
    uint32_t owed; /* output bytes written that the guest was not given credit for */
    struct execlink_state state;
    uint64_t begin, killed_at;
    bool kill_hard;
    int why; /* the reason for killing it: VT_TIMEOUT, VT_GONE (nobody waits) or an output's error */
    struct err why_err;
};

/* ---- start */

static bool add_word(struct buf *b, const char *s)
{
    buf_add(b, s ? s : "", s ? strlen(s) + 1 : 1);
    return b->len <= EW_WORDS_MAX;
}

static int start(struct session *s, struct err *e)
{
    const struct exec_spec *x = s->spec;
    struct ew_start how = {.rows = x->rows, .cols = x->cols, .credit = EXECPORT_WINDOW};
    cleanup(buf_release) struct buf words = {0};
    bool fits = add_word(&words, x->dir) && add_word(&words, x->user);

    how.flags = (x->tty ? EW_TTY : 0u) | (s->in >= 0 ? EW_STDIN : 0u);
    for (; x->argv[how.nargs] && fits; how.nargs++)
        fits = add_word(&words, x->argv[how.nargs]);
    for (; x->env && x->env[how.nenv] && fits; how.nenv++)
        fits = add_word(&words, x->env[how.nenv]);
    if (!fits || how.nargs > EXEC_WORDS_MAX || how.nenv > EXEC_WORDS_MAX)
        return err_set(e, VT_USAGE, "a command of more than %u words or %u bytes", EXEC_WORDS_MAX, EW_WORDS_MAX);
    if (buf_check(&words, e) < 0)
        return VT_FAIL;
    execlink_start(s->port, s->link, &how, &words);
    return 0;
}

/* ---- killing */

static void send_signal(struct session *s, int number)
{
    uint32_t n = (uint32_t)number;

    execlink_send(s->port, s->link, EW_SIGNAL, &n, sizeof n);
}

/* why_err is filled by the caller, or empty. */
static void kill_it(struct session *s, int why)
{
    if (s->killed_at)
        return;
    s->killed_at = clock_mono_ns();
    s->why = why;
    send_signal(s, s->spec->tty ? SIGHUP : SIGTERM);
    send_signal(s, SIGCONT);
}

/* Returns false when there is nothing more to wait for. */
static bool keep_killing(struct session *s, uint64_t now)
{
    if (s->killed_at && !s->kill_hard && now - s->killed_at >= KILL_NS) {
        send_signal(s, SIGKILL);
        s->kill_hard = true;
    }
    return !s->killed_at || now - s->killed_at < KILL_NS + GIVE_UP_NS;
}

/* ---- streams */

static void read_input(struct session *s)
{
    char data[EW_PAYLOAD];
    ssize_t n = read(s->in, data, MIN((size_t)s->state.room, sizeof data));

    if (n > 0) {
        execlink_send(s->port, s->link, EW_DATA, data, (size_t)n);
        s->state.room -= (uint32_t)n;
    } else if (n == 0) {
        execlink_send(s->port, s->link, EW_END, NULL, 0);
        s->end_told = true;
    } else if (errno != EAGAIN && errno != EINTR) {
        err_set(&s->why_err, VT_IO, "standard input: %m");
        kill_it(s, VT_IO);
    }
}

static bool wants_input(const struct session *s)
{
    return s->in >= 0 && !s->end_told && !s->state.closed && s->state.room > 0 && !s->killed_at;
}

/* The descriptor said that it takes something, and may be blocking: no more than what must fit. */
static void write_output(struct session *s, struct output *o)
{
    size_t n = MIN(o->data.len, o->file ? (size_t)FILE_PIECE : (size_t)PIPE_BUF);
    ssize_t put = send(o->fd, o->data.data, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (put < 0 && errno == ENOTSOCK)
        put = write(o->fd, o->data.data, n);
    if (put > 0) {
        buf_drop(&o->data, (size_t)put);
        s->owed += (uint32_t)put;
    } else if (put < 0 && errno != EAGAIN && errno != EINTR) {
        err_set(&s->why_err, VT_IO, "the command's output: %m");
        kill_it(s, VT_IO);
        o->fd = -1;
    }
}

/* What nobody takes any more is as good as written. */
static void drop_output(struct session *s)
{
    for (unsigned i = 0; i < 2; i++)
        if (s->out[i].fd < 0 || s->why == VT_GONE || s->why == VT_IO) {
            s->owed += (uint32_t)s->out[i].data.len;
            buf_clear(&s->out[i].data);
        }
}

static void give_credit(struct session *s)
{
    bool empty = !s->out[0].data.len && !s->out[1].data.len;

    if (s->owed < CREDIT_STEP && !(empty && s->owed))
        return;
    execlink_send(s->port, s->link, EW_CREDIT, &s->owed, sizeof s->owed);
    s->owed = 0;
}

static void read_control(struct session *s)
{
    struct exec_control c[CONTROLS_MAX];
    ssize_t n = recv(s->control, c, sizeof c, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || n % (ssize_t)sizeof *c) {
        s->control = -1;
        return;
    }
    for (size_t i = 0; i < (size_t)n / sizeof *c; i++) {
        uint16_t size[2] = {c[i].rows, c[i].cols};
        if (c[i].what == EXEC_SIGNAL && c[i].number > 0 && c[i].number <= 64)
            send_signal(s, c[i].number);
        else if (c[i].what == EXEC_RESIZE && s->spec->tty)
            execlink_send(s->port, s->link, EW_RESIZE, size, sizeof size);
    }
}

/* ---- the loop */

static int wait_ms(const struct session *s)
{
    uint64_t now = clock_mono_ns(), until = UINT64_MAX;

    if (s->killed_at)
        until = s->killed_at + KILL_NS + (s->kill_hard ? GIVE_UP_NS : 0);
    else if (s->spec->timeout)
        until = s->begin + s->spec->timeout;
    if (until == UINT64_MAX)
        return -1;
    return now >= until ? 0 : (int)MIN((until - now) / NS_PER_MS + 1, (uint64_t)INT_MAX);
}

enum { AT_LINK, AT_CANCEL, AT_CONTROL, AT_IN, AT_OUT, AT_ERR, NFDS };

static void turn(struct session *s)
{
    struct pollfd f[NFDS] = {
        [AT_LINK] = {.fd = execlink_fd(s->link), .events = POLLIN},
        [AT_CANCEL] = {.fd = s->killed_at ? -1 : s->spec->cancel_fd, .events = POLLIN},
        [AT_CONTROL] = {.fd = s->control, .events = POLLIN},
        [AT_IN] = {.fd = wants_input(s) ? s->in : -1, .events = POLLIN},
        [AT_OUT] = {.fd = s->out[0].data.len ? s->out[0].fd : -1, .events = POLLOUT},
        [AT_ERR] = {.fd = s->out[1].data.len ? s->out[1].fd : -1, .events = POLLOUT},
    };

    if (poll(f, NFDS, wait_ms(s)) < 0)
        return;
    if (f[AT_CANCEL].revents)
        kill_it(s, VT_GONE);
    if (f[AT_CONTROL].revents)
        read_control(s);
    if (f[AT_IN].revents && wants_input(s))
        read_input(s);
    for (unsigned i = 0; i < 2; i++)
        if (f[AT_OUT + i].revents && s->out[i].fd >= 0)
            write_output(s, &s->out[i]);
    if (!s->killed_at && s->spec->timeout && clock_mono_ns() - s->begin >= s->spec->timeout)
        kill_it(s, VT_TIMEOUT);
}

static int serve(struct session *s, struct err *e)
{
    for (;;) {
        struct buf arrived[2] = {s->out[0].data, s->out[1].data};

        execlink_take(s->port, s->link, &s->state, arrived);
        s->out[0].data = arrived[0];
        s->out[1].data = arrived[1];
        drop_output(s);
        give_credit(s);
        if (s->state.lost)
            return err_set(e, s->state.lost, "%s", s->state.lost_err.msg);
        if (s->state.ended && !s->out[0].data.len && !s->out[1].data.len)
            return 0;
        if (!keep_killing(s, clock_mono_ns()))
            return 0;
        turn(s);
    }
}

static int result(const struct session *s, int *ret_status, struct err *e)
{
    const struct execlink_state *st = &s->state;

    if (s->why == VT_TIMEOUT)
        return err_set(e, s->why, "timed out after %g s", (double)s->spec->timeout / (double)NS_PER_SEC);
    if (s->why)
        return err_set(e, s->why, "%s", s->why_err.code ? s->why_err.msg : "given up");
    if (st->how == EW_FAILED)
        return err_set(e, VT_FAIL, "%s", *st->why ? st->why : "the command could not be started");
    *ret_status = (int)(st->how == EW_KILLED ? 128 + st->number : st->number);
    return 0;
}

static bool is_file(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

int execsession_run(struct execport *p, const struct exec_spec *x, int in, int out, int err, int *ret_status,
                    struct err *e)
{
    struct session s = {.port = p,
                        .spec = x,
                        .in = in,
                        .control = x->has_control ? x->control_fd : -1,
                        .out = {{.fd = out, .file = is_file(out)}, {.fd = err, .file = is_file(err)}},
                        .begin = clock_mono_ns()};
    int rc = execport_link(p, &s.link, e);

    if (rc == 0)
        rc = start(&s, e);
    if (rc == 0)
        rc = serve(&s, e);
    if (rc == 0)
        rc = result(&s, ret_status, e);
    execport_unlink(p, s.link);
    buf_release(&s.out[0].data);
    buf_release(&s.out[1].data);
    return rc;
}
