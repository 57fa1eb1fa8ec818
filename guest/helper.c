/* The monitor's helper in the guest: runs commands with their streams apart, terminals and signals, as the monitor asks
 * for over a virtio port (wire.h). One process, one thread, no C library and no memory but its own; it never waits but
 * in poll. It lives until the guest goes down, and in every snapshot of the guest's memory. */
#include "guest/identity.h"
#include "guest/session.h"
#include "guest/wire.h"

enum { DRAINS = 128, PORT_DOWN_MS = 50 };

struct helper {
    struct port port;
    struct session session[EW_SESSIONS];
    /* Outputs of what a command left running: read away, so that it never dies of a broken pipe. */
    int drain[DRAINS];
    unsigned next_drain;
    int signals;
    uint32_t then; /* sys_ms of the last turn */
    struct command command;
    uint32_t words_len;
    char words[EW_WORDS_MAX];
    uint8_t scrap[4096];
    bool hello_due, identity_due;
    uint8_t nonce[EW_NONCE];
    uint32_t identity_done;
    struct renew renew;
};

void helper_main(long *stack) __attribute__((noreturn));

#ifdef __x86_64__
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall helper_main\n");
#else
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %esp, %eax\n\tand $-16, %esp\n\tsub $12, %esp\n\tpush %eax\n"
        "\tcall helper_main\n");
#endif

/* ---- sessions */

static struct session *find(struct helper *h, uint32_t id)
{
    for (unsigned i = 0; i < EW_SESSIONS; i++)
        if (h->session[i].used && h->session[i].id == id)
            return &h->session[i];
    return NULL;
}

static void drain_later(struct helper *h, int *fd)
{
    int *slot = &h->drain[h->next_drain];

    if (*fd < 0)
        return;
    for (unsigned i = 0; i < DRAINS; i++)
        if (h->drain[i] < 0)
            slot = &h->drain[i];
    if (*slot >= 0)
        h->next_drain = (h->next_drain + 1) % DRAINS;
    sys_close(slot);
    *slot = *fd;
    *fd = -1;
}

/* The command goes on, if it has not ended; a terminal hangs up. */
static void forget(struct helper *h, struct session *s)
{
    sys_close(&s->child.in);
    sys_close(&s->child.status);
    if (s->tty) {
        sys_close(&s->child.out);
    } else {
        drain_later(h, &s->child.out);
        drain_later(h, &s->child.err);
    }
    s->used = false;
}

static void drain(struct helper *h, int *fd)
{
    long n;
    unsigned turns = 16;

    while (*fd >= 0 && turns-- && (n = sys_read(*fd, h->scrap, sizeof h->scrap)) != -EAGAIN)
        if (n <= 0)
            sys_close(fd);
}

static void reap(struct helper *h)
{
    int status = 0, pid;

    while (sys_read(h->signals, h->scrap, sizeof h->scrap) > 0)
        ;
    while ((pid = (int)sys4(SYS_wait4, -1, (long)&status, WNOHANG, 0)) > 0) {
        if (h->renew.pid == pid)
            h->renew.left = 0;
        for (unsigned i = 0; i < EW_SESSIONS; i++) {
            struct session *s = &h->session[i];
            if (s->used && s->child.pid == pid) {
                s->ended = true;
                s->wait_status = status;
            }
        }
    }
}

/* It has been seen to, or takes too long to be waited for. */
static void serve_renew(struct helper *h, uint32_t passed)
{
    struct renew *r = &h->renew;

    r->left -= r->left < passed ? r->left : passed;
    if (!r->pid || r->left)
        return;
    r->pid = 0;
    h->identity_done = EW_RENEW;
    h->identity_due = true;
}

/* The words lie in h->words, each with its NUL; false: there are fewer than it says. */
static bool take_words(struct helper *h, const struct ew_start *start)
{
    struct command *c = &h->command;
    uint32_t at = 0, total = 2 + start->nargs + start->nenv;

    if (start->nargs > SPAWN_WORDS || start->nenv > SPAWN_WORDS)
        return false;
    for (uint32_t i = 0; i < total; i++) {
        char *word = h->words + at;
        while (at < h->words_len && h->words[at])
            at++;
        if (at++ >= h->words_len)
            return false;
        if (i == 0)
            c->dir = word;
        else if (i == 1)
            c->user = word;
        else if (i - 2 < start->nargs)
            c->args[i - 2] = word;
        else
            c->env[i - 2 - start->nargs] = word;
    }
    c->args[start->nargs] = NULL;
    c->nargs = start->nargs;
    c->nenv = start->nenv;
    c->tty = start->flags & EW_TTY;
    c->has_input = start->flags & EW_STDIN;
    c->rows = start->rows;
    c->cols = start->cols;
    return true;
}

static void start(struct helper *h, uint32_t id, const uint8_t *data)
{
    struct session *s = NULL;
    struct ew_start how;
    struct text why;

    memcpy(&how, data, sizeof how);
    for (unsigned i = 0; i < EW_SESSIONS && !s; i++)
        if (!h->session[i].used)
            s = &h->session[i];
    if (!s || find(h, id))
        return; /* the monitor counts its sessions */
    session_init(s, id);
    s->credit = how.credit;
    s->tty = how.flags & EW_TTY;
    why = TEXT(s->why);
    if (!take_words(h, &how)) {
        text_add(&why, "a command that is not whole");
        s->has_failed = s->ended = true;
    } else if (!spawn(&h->command, &s->child, &why)) {
        s->has_failed = s->ended = true;
    }
    h->words_len = 0;
}

/* ---- frames */

static void hello(struct helper *h, const struct frame *f)
{
    for (unsigned i = 0; i < EW_SESSIONS; i++)
        if (h->session[i].used)
            forget(h, &h->session[i]);
    memcpy(h->nonce, f->data, EW_NONCE);
    h->port.out_len = 0;
    h->words_len = 0;
    h->hello_due = true;
    h->identity_due = false;
    h->renew.pid = 0; /* nobody waits for that any more */
}

static void words(struct helper *h, const struct frame *f)
{
    if (f->len > sizeof h->words - h->words_len)
        return; /* START finds that some are missing */
    memcpy(h->words + h->words_len, f->data, f->len);
    h->words_len += f->len;
}

static void identity(struct helper *h, const struct frame *f)
{
    struct ew_identity id;

    memcpy(&id, f->data, sizeof id);
    if ((id.flags & EW_RENEW) && renew_start(&h->renew))
        return; /* serve_renew answers */
    h->identity_done = identity_set(&id, &h->renew);
    h->identity_due = true;
}

static uint32_t first_u32(const struct frame *f)
{
    uint32_t v;

    memcpy(&v, f->data, sizeof v);
    return v;
}

static void session_frame(struct helper *h, const struct frame *f)
{
    struct session *s = find(h, f->session);

    if (!s)
        return;
    if (f->type == EW_DATA)
        session_input(s, f->data, f->len);
    else if (f->type == EW_END)
        session_end_input(s);
    else if (f->type == EW_DROP)
        forget(h, s);
    else if (f->len < 4)
        return;
    else if (f->type == EW_CREDIT)
        s->credit += first_u32(f);
    else if (f->type == EW_SIGNAL)
        session_signal(s, first_u32(f));
    else if (f->type == EW_RESIZE)
        session_resize(s, (uint16_t)first_u32(f), (uint16_t)(first_u32(f) >> 16));
}

static void take_frame(struct helper *h, const struct frame *f)
{
    if (f->type == EW_HELLO && f->len == EW_NONCE)
        hello(h, f);
    else if (f->type == EW_IDENTITY && f->len == sizeof(struct ew_identity))
        identity(h, f);
    else if (f->type == EW_QUIT)
        sys_exit(0);
    else if (f->type == EW_WORDS)
        words(h, f);
    else if (f->type == EW_START && f->len == sizeof(struct ew_start))
        start(h, f->session, f->data);
    else
        session_frame(h, f);
}

/* A frame for a session waits in the port until the one before has been dealt with: input has room by its credit. */
static void take_input(struct helper *h)
{
    struct frame f;
    uint32_t used = 0;

    if (!port_read(&h->port))
        sys_exit(0);
    while (port_next(&h->port, &used, &f))
        take_frame(h, &f);
}

/* ---- turns */

static void tell(struct helper *h)
{
    static const uint32_t version = EW_VERSION;

    if (h->hello_due && port_room(&h->port) >= (int32_t)(EW_NONCE + sizeof version)) {
        memcpy(port_payload(&h->port), h->nonce, EW_NONCE);
        memcpy(port_payload(&h->port) + EW_NONCE, &version, sizeof version);
        port_send(&h->port, EW_HELLO, 0, EW_NONCE + sizeof version);
        h->hello_due = false;
    }
    if (h->identity_due && port_room(&h->port) >= 4) {
        port_send_u32(&h->port, EW_IDENTITY, 0, h->identity_done);
        h->identity_due = false;
    }
}

/* True: there is more to do at once. */
static bool serve(struct helper *h)
{
    uint32_t now = sys_ms(), passed = now - h->then, before;

    h->then = now;
    serve_renew(h, passed);
    tell(h);
    before = h->port.out_len;
    for (unsigned i = 0; i < EW_SESSIONS; i++) {
        struct session *s = &h->session[i];
        if (s->used && session_serve(s, &h->port, passed))
            forget(h, s);
    }
    for (unsigned i = 0; i < DRAINS; i++)
        drain(h, &h->drain[i]);
    now = h->port.out_len;
    if (!port_flush(&h->port))
        sys_exit(0);
    return now > before && h->port.out_len < now;
}

static void wait(struct helper *h)
{
    static struct pollfd fds[2 + EW_SESSIONS * SESSION_FDS + DRAINS];
    unsigned n = 0;
    int timeout = -1;

    /* A port that nobody is at says so all the time, and is looked at again after a while. */
    if (h->port.hung_up)
        timeout = PORT_DOWN_MS;
    else
        fds[n++] = (struct pollfd){h->port.fd, (short)(POLLIN | (h->port.out_len ? POLLOUT : 0)), 0};
    fds[n++] = (struct pollfd){h->signals, POLLIN, 0};
    if (h->renew.pid && (timeout < 0 || (int)h->renew.left < timeout))
        timeout = (int)h->renew.left;
    for (unsigned i = 0; i < EW_SESSIONS; i++)
        if (h->session[i].used) {
            int t = session_timeout(&h->session[i]);
            n += session_poll(&h->session[i], &h->port, fds + n);
            if (t >= 0 && (timeout < 0 || t < timeout))
                timeout = t;
        }
    for (unsigned i = 0; i < DRAINS; i++)
        if (h->drain[i] >= 0)
            fds[n++] = (struct pollfd){h->drain[i], POLLIN, 0};
    sys(SYS_poll, fds, n, timeout);
}

static int watch_children(void)
{
    static const uint64_t children = 1ull << (SIGCHLD - 1);
    static const struct {
        long handler, flags, restorer;
        uint64_t mask;
    } ignore = {1, 0, 0, 0};

    sys4(SYS_rt_sigaction, SIGPIPE, (long)&ignore, 0, sizeof children);
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&children, 0, sizeof children);
    return (int)sys4(SYS_signalfd4, -1, (long)&children, sizeof children, O_CLOEXEC | O_NONBLOCK);
}

/* The first words: a port to use instead of the guest's, or --check, which only shows that programs run from here. */
void helper_main(long *stack)
{
    static struct helper h; /* some megabytes, of which only what is used is there */
    char **argv = (char **)(stack + 1);
    int null;

    if (stack[0] > 1 && strcmp(argv[1], "--check") == 0)
        sys_exit(0);
    while ((null = (int)sys(SYS_open, "/dev/null", O_RDWR, 0)) >= 0 && null <= 2)
        ;
    sys_close(&null);
    for (unsigned i = 0; i < DRAINS; i++)
        h.drain[i] = -1;
    if (port_open(&h.port, stack[0] > 1 ? argv[1] : NULL) < 0)
        sys_exit(1);
    h.signals = watch_children();
    if (h.signals < 0)
        sys_exit(1);
    if (h.port.is_port) {
        sys(SYS_unlink, argv[0], 0, 0); /* it needs no name any more */
        if (sys(SYS_fork, 0, 0, 0) != 0)
            sys_exit(0); /* who started it need not wait; where it cannot fork, the port falls silent */
        null = sys_open("/dev/null", O_RDWR);
        for (int fd = 0; fd <= 2; fd++)
            sys(SYS_dup2, null, fd, 0);
        sys_close(&null);
    }
    sys(SYS_setsid, 0, 0, 0);
    h.then = sys_ms();
    for (;;) {
        reap(&h);
        take_input(&h);
        while (serve(&h))
            ;
        wait(&h);
    }
}
