#include "guest/session.h"

/* A command is over when its main process is and its outputs have been quiet for a while: what a filter behind it has
 * still to say comes, and a daemon that keeps them open keeps nobody waiting. One that goes on writing ends too. */
enum { QUIET_MS = 50, OPEN_MS = 2000, TICK_MS = 10, CREDIT_STEP = EW_WINDOW / 4 };

void session_init(struct session *s, uint32_t id)
{
    memset(s, 0, sizeof *s - sizeof s->input);
    s->used = true;
    s->id = id;
    s->child = (struct child){0, -1, -1, -1, -1};
}

static int input_fd(const struct session *s)
{
    return s->tty ? s->child.out : s->child.in;
}

static void close_input(struct session *s)
{
    s->closed_due |= !s->input_ended && s->child.in >= 0;
    s->tail = s->head;
    sys_close(&s->child.in);
}

void session_input(struct session *s, const uint8_t *data, uint32_t len)
{
    if (input_fd(s) < 0 || s->input_ended || len > EW_WINDOW - (s->head - s->tail))
        return;
    for (uint32_t i = 0; i < len; i++)
        s->input[s->head++ % EW_WINDOW] = data[i];
}

/* The end of a terminal's input is a character. */
void session_end_input(struct session *s)
{
    static const uint8_t end[2] = {4, 4};
    char last = s->head ? (char)s->input[(s->head - 1) % EW_WINDOW] : '\n';

    if (s->tty)
        session_input(s, end, last == '\n' || last == '\r' ? 1 : 2);
    s->input_ended = true;
}

void session_signal(struct session *s, uint32_t number)
{
    if (s->child.pid <= 0 || number > NSIG)
        return;
    if (sys(SYS_kill, -s->child.pid, number, 0) < 0 && !s->ended)
        sys(SYS_kill, s->child.pid, number, 0); /* not a session of its own yet */
}

void session_resize(struct session *s, uint16_t rows, uint16_t cols)
{
    uint16_t size[4] = {rows, cols, 0, 0};

    if (s->tty && s->child.out >= 0)
        sys(SYS_ioctl, s->child.out, TIOCSWINSZ, size);
}

/* ---- polling */

static void add(struct pollfd *fds, unsigned *n, int fd, int events)
{
    if (fd >= 0)
        fds[(*n)++] = (struct pollfd){fd, (short)events, 0};
}

unsigned session_poll(struct session *s, const struct port *p, struct pollfd fds[SESSION_FDS])
{
    bool output = s->credit > 0 && port_room(p) > 0;
    unsigned n = 0;

    add(fds, &n, s->child.status, POLLIN);
    if (!s->tty)
        add(fds, &n, s->child.in, s->head != s->tail ? POLLOUT : 0);
    if (output)
        add(fds, &n, s->child.err, POLLIN);
    if (output || (s->tty && s->head != s->tail))
        add(fds, &n, s->child.out, (output ? POLLIN : 0) | (s->tty && s->head != s->tail ? POLLOUT : 0));
    return n;
}

int session_timeout(const struct session *s)
{
    return s->ended ? TICK_MS : -1;
}

/* ---- moving */

static void serve_input(struct session *s)
{
    int fd = input_fd(s);

    while (fd >= 0 && s->head != s->tail) {
        uint32_t at = s->tail % EW_WINDOW, n = s->head - s->tail;
        long put = sys_write(fd, s->input + at, n < EW_WINDOW - at ? n : EW_WINDOW - at);

        if (put > 0) {
            s->tail += (uint32_t)put;
            s->room_due += (uint32_t)put;
        } else if (put == -EAGAIN) {
            return;
        } else {
            close_input(s);
            return;
        }
    }
    if (fd >= 0 && s->input_ended && !s->tty)
        sys_close(&s->child.in);
}

/* The reader of a pipe may be gone without a byte to tell it by. */
static void look_at_input(struct session *s)
{
    struct pollfd f = {s->child.in, 0, 0};

    if (s->child.in >= 0 && sys(SYS_poll, &f, 1, 0) > 0 && (f.revents & POLLERR))
        close_input(s);
}

static bool serve_output(struct session *s, struct port *p, int *fd, uint8_t type)
{
    int32_t room = port_room(p);
    long n;

    if (*fd < 0 || s->credit == 0 || room <= 0)
        return false;
    n = sys_read(*fd, port_payload(p), (uint32_t)room < s->credit ? (uint32_t)room : s->credit);
    if (n > 0) {
        s->credit -= (uint32_t)n;
        port_send(p, type, s->id, (uint32_t)n);
        return true;
    }
    if (n != -EAGAIN)
        sys_close(fd); /* the end; a terminal without a user says EIO */
    return false;
}

static void serve_status(struct session *s)
{
    long n;

    if (s->child.status < 0)
        return;
    n = sys_read(s->child.status, s->why, sizeof s->why - 1);
    if (n == -EAGAIN)
        return;
    s->has_failed |= n > 0;
    sys_close(&s->child.status);
}

/* Bytes that the command wrote before it ended, and that must go before the end is told. */
static bool owes(const struct session *s, int fd)
{
    int n = 0;

    return !s->tty && fd >= 0 && sys(SYS_ioctl, fd, FIONREAD, &n) == 0 && n > 0;
}

static bool is_over(struct session *s, bool moved, uint32_t passed_ms, bool could)
{
    const struct child *c = &s->child;

    if (!s->ended || c->status >= 0)
        return false;
    if (c->out < 0 && c->err < 0)
        return true;
    if (!s->lingering)
        passed_ms = 0;
    s->lingering = true;
    s->quiet = moved || !could ? 0 : s->quiet + passed_ms;
    s->open += could ? passed_ms : 0;
    if (s->quiet >= QUIET_MS)
        return !owes(s, c->out) && !owes(s, c->err);
    return s->open >= OPEN_MS;
}

static void tell_end(struct session *s, struct port *p)
{
    uint32_t sig = (uint32_t)s->wait_status & 0x7f, kind[2] = {EW_EXITED, ((uint32_t)s->wait_status >> 8) & 0xff};
    uint32_t len = (uint32_t)strlen(s->why);

    if (s->has_failed) {
        kind[0] = EW_FAILED;
    } else if (sig) {
        kind[0] = EW_KILLED;
        kind[1] = sig;
    }
    memcpy(port_payload(p), kind, sizeof kind);
    memcpy(port_payload(p) + sizeof kind, s->why, len);
    port_send(p, EW_EXIT, s->id, (uint32_t)sizeof kind + len);
}

bool session_serve(struct session *s, struct port *p, uint32_t passed_ms)
{
    bool could = s->credit > 0 && port_room(p) > 0, moved;

    serve_status(s);
    serve_input(s);
    look_at_input(s);
    moved = serve_output(s, p, &s->child.out, EW_OUT);
    moved |= serve_output(s, p, &s->child.err, EW_ERR);
    if (s->room_due >= CREDIT_STEP && port_room(p) >= 4) {
        port_send_u32(p, EW_CREDIT, s->id, s->room_due);
        s->room_due = 0;
    }
    if (s->closed_due && port_room(p) >= 0) {
        port_send(p, EW_CLOSED, s->id, 0);
        s->closed_due = false;
    }
    if (!is_over(s, moved, passed_ms, could) || port_room(p) < (int32_t)sizeof s->why + 8)
        return false;
    tell_end(s, p);
    return true;
}
