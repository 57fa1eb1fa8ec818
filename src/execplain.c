#include "src/execplain.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include "src/base/banned.h"
#include "src/base/io.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/guestexec.h"
#include "src/guestfile.h"

#define POLL_FIRST_NS (1 * NS_PER_MS)
#define POLL_LAST_NS  (50 * NS_PER_MS)
#define INPUT_WAIT_MS 50 /* input that ends within it goes along with the command */
#define INPUT_PIECE   (256u << 10)
#define LIVE_AFTER_NS (200 * NS_PER_MS) /* a command that runs longer has its outputs read while it does */
#define KILL_WAIT_NS  (5 * NS_PER_SEC)

/* Around it: $1 name of our directory, $2 how input comes (none, data: ours, pipe: a FIFO that others feed), then
 * the launch script and its words. Short outputs are given back at the end and the directory goes; long ones stay for
 * us to read. The FIFO is held open by a sleep: the end of input is its end. A session of its own, so that all of it
 * can be killed.
 */
static const char keeper[] =
    "name=$1 in=$2 launch=$3; shift 3\n"
    "for b in /dev/shm /run /tmp; do mkdir -m 700 \"$b/$name\" 2>/dev/null && t=$b/$name && break; done\n"
    "[ -n \"$t\" ] || { echo 'no place for a temporary directory' >&2; exit 125; }\n"
    "case $in in\n"
    "data) exec 3<&0;;\n"
    "pipe) mkfifo \"$t/in\"; sleep 2147483647 >\"$t/in\" 2>/dev/null & echo $! >\"$t/hold\"; exec 3<\"$t/in\";;\n"
    "*) exec 3</dev/null;;\n"
    "esac\n"
    "run=; command -v setsid >/dev/null 2>&1 && run=setsid\n"
    "$run /bin/sh -c \"$launch\" sh \"$launch\" \"$@\" <&3 3<&- >\"$t/out\" 2>\"$t/err\" &\n"
    "p=$!\n"
    "echo $p >\"$t/pid\"\n"
    "exec 3<&-\n"
    "{ wait $p; } 2>/dev/null; s=$?\n" /* the shell would say how it ended, among the command's own words */
    "[ $in = pipe ] && kill \"$(cat \"$t/hold\")\" 2>/dev/null\n"
    "if [ -s \"$t/out\" ] || [ -s \"$t/err\" ]; then\n"
    "  [ \"$(cat \"$t/out\" \"$t/err\" | wc -c)\" -le 4194304 ] || { echo \"$name long\" >&2; exit $s; }\n"
    "  cat \"$t/out\"; cat \"$t/err\" >&2\n"
    "fi\n"
    "rm -rf \"$t\"\n"
    "exit $s\n";

/* $1 name: ends the command and what it started. */
static const char killer[] = "for b in /dev/shm /run /tmp; do [ -f \"$b/$1/pid\" ] && p=$(cat \"$b/$1/pid\"); done\n"
                             "[ -n \"$p\" ] || exit 0\n"
                             "kill -TERM -$p 2>/dev/null || kill -TERM $p 2>/dev/null\n"
                             "for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 -$p 2>/dev/null || exit 0; sleep 0.1; done\n"
                             "kill -KILL -$p 2>/dev/null || kill -KILL $p 2>/dev/null\n";
/* Both may come before the keeper has made what they need. $1 name: feeds standard input to the command. */
static const char feeder[] = "for i in 1 2 3 4 5 6 7 8 9 10; do\n"
                             "  for b in /dev/shm /run /tmp; do [ -s \"$b/$1/hold\" ] && exec cat >\"$b/$1/in\"; done\n"
                             "  sleep 0.1\n"
                             "done\n"
                             "exit 1\n";
/* $1 name: no more input. */
static const char ender[] =
    "for i in 1 2 3 4 5 6 7 8 9 10; do\n"
    "  for b in /dev/shm /run /tmp; do [ -s \"$b/$1/hold\" ] && kill \"$(cat \"$b/$1/hold\")\" && exit 0; done\n"
    "  sleep 0.1\n"
    "done\n";
static const char remover[] = "for b in /dev/shm /run /tmp; do rm -rf \"${b:?}/$1\"; done\n";

struct stream {
    const char *file; /* "out", "err": in our directory in the guest */
    int fd;           /* -1: dropped */
    struct guestfile guest;
    bool open;
    uint64_t sent; /* bytes of the file that fd has */
};

struct session {
    struct agent *agent;
    const struct exec_spec *spec;
    char name[40]; /* of the directory */
    struct stream out[2];
    int in;           /* the input that is still to be fed, -1: none */
    struct buf piece; /* read from it, not handed on yet */
    bool in_ended, feeding, end_told;
    struct guestexec feeder;
};

static int stream_open(struct session *s, struct stream *o)
{
    static const char *const bases[] = {"/dev/shm", "/run", "/tmp"};

    for (size_t i = 0; i < ARRAY_LEN(bases) && !o->open; i++) {
        char path[96];
        snprintf(path, sizeof path, "%s/%s/%s", bases[i], s->name, o->file);
        o->open = guestfile_open(s->agent, path, "r", &o->guest, NULL) == 0;
    }
    return o->open ? 0 : VT_NOENT;
}

/* Hands on what the file holds beyond `sent`, in at most `chunks` reads. */
static int stream_read(struct session *s, struct stream *o, unsigned chunks, struct err *e)
{
    cleanup(buf_release) struct buf data = {0};
    bool eof = false;
    int rc = 0;

    if (!o->open && stream_open(s, o) < 0)
        return 0; /* not there yet */
    while (rc == 0 && !eof && chunks-- > 0) {
        buf_clear(&data);
        rc = guestfile_read(&o->guest, &data, &eof, e);
        if (rc == 0 && data.len && o->fd >= 0)
            rc = io_write_full(o->fd, data.data, data.len, "the command's output", e);
        o->sent += data.len;
    }
    return rc;
}

/* The end: what came back inline, or else what the files hold. */
static int stream_finish(struct session *s, struct stream *o, const struct buf *inline_data, bool is_inline,
                         struct err *e)
{
    int rc = 0;

    if (!is_inline)
        rc = stream_read(s, o, UINT_MAX, e);
    else if (inline_data->len > o->sent && o->fd >= 0)
        rc = io_write_full(o->fd, inline_data->data + o->sent, inline_data->len - o->sent, "the command's output", e);
    return rc;
}

/* Reads input for at most ms (0: only what is there). */
static int input_read(struct session *s, int ms, struct err *e)
{
    uint64_t until = clock_mono_ns() + (uint64_t)ms * NS_PER_MS;

    while (s->in >= 0 && !s->in_ended && s->piece.len < INPUT_PIECE) {
        struct pollfd p = {.fd = s->in, .events = POLLIN};
        uint64_t now = clock_mono_ns();
        char *room = buf_reserve(&s->piece, INPUT_PIECE);
        ssize_t n;

        if (!room)
            return err_set(e, VT_FAIL, "out of memory");
        if (poll(&p, 1, now < until ? (int)((until - now) / NS_PER_MS) + 1 : 0) <= 0)
            return 0;
        n = read(s->in, room, INPUT_PIECE - s->piece.len);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return err_set(e, VT_IO, "standard input: %m");
        s->in_ended = n == 0;
        s->piece.len += (size_t)n;
    }
    return 0;
}

/* Feeds the guest's pipe: one piece at a time, and then the word that it was the last. */
static int input_feed(struct session *s, struct err *e)
{
    const char *words[] = {s->name, NULL};
    struct guestexec end;
    int rc = 0;

    if (s->in < 0 || s->end_told)
        return 0;
    if (s->feeding) {
        cleanup(exec_result_release) struct exec_result r = {0};
        bool ended = false;
        rc = guestexec_poll(&s->feeder, &ended, &r, e);
        s->feeding = rc == 0 && !ended;
        if (rc < 0 || !ended)
            return rc;
        s->end_told = r.status != 0; /* the command takes no more input: as a broken pipe */
        if (s->end_told)
            return 0;
    }
    rc = input_read(s, 0, e);
    if (rc == 0 && s->piece.len) {
        rc = guestexec_start(s->agent, feeder, words, s->piece.data, s->piece.len, &s->feeder, e);
        buf_clear(&s->piece);
        s->feeding = rc == 0;
    } else if (rc == 0 && s->in_ended) {
        rc = guestexec_start(s->agent, ender, words, NULL, 0, &end, e);
        s->end_told = true;
    }
    return rc;
}

static int session_kill(struct session *s, struct err *e)
{
    struct guestexec k;

    return guestexec_start(s->agent, killer, (const char *[]){s->name, NULL}, NULL, 0, &k, e);
}

/* While it runs: input, and the outputs of one that takes its time. A reader of the outputs that is gone ends it, as a
 * broken pipe would. */
static int session_serve(struct session *s, uint64_t ran, struct err *e)
{
    int rc = input_feed(s, e);

    for (size_t i = 0; i < ARRAY_LEN(s->out) && rc == 0 && ran >= LIVE_AFTER_NS; i++)
        rc = stream_read(s, &s->out[i], 4, e);
    if (rc < 0 && rc != VT_GONE)
        session_kill(s, NULL);
    return rc;
}

/* Until the command has ended (*ret_ended), or was killed and does not end either: VT_GONE (nobody waits) and
 * VT_TIMEOUT come without a message. */
static int session_loop(struct session *s, struct guestexec *g, bool *ret_ended, struct exec_result *r, struct err *e)
{
    const struct exec_spec *x = s->spec;
    uint64_t begin = clock_mono_ns(), wait = POLL_FIRST_NS, killed_at = 0;
    int why = 0;

    for (;;) {
        bool given_up = guestexec_pause(killed_at ? -1 : x->cancel_fd, wait);
        uint64_t now = clock_mono_ns();
        int rc = guestexec_poll(g, ret_ended, r, e);

        if (rc == 0 && !*ret_ended && !killed_at)
            rc = session_serve(s, now - begin, e);
        if (rc < 0 || *ret_ended)
            return rc < 0 ? rc : why;
        if (killed_at && now - killed_at >= KILL_WAIT_NS)
            return why;
        if (!killed_at && (given_up || (x->timeout && now - begin >= x->timeout))) {
            why = given_up ? VT_GONE : VT_TIMEOUT;
            killed_at = now;
            rc = session_kill(s, e);
            if (rc < 0)
                return rc;
        }
        wait = MIN(wait + wait / 2, POLL_LAST_NS);
    }
}

/* Starts the command with as much of the input as comes at once. */
static int session_start(struct session *s, struct guestexec *ret, struct err *e)
{
    cleanup(strlist_release) struct strlist words = {0};
    bool whole;
    int rc = input_read(s, INPUT_WAIT_MS, e);

    whole = s->in < 0 || s->in_ended;
    strlist_add(&words, s->name);
    strlist_add(&words, !whole ? "pipe" : s->piece.len ? "data" : "none");
    if (rc == 0)
        rc = exec_launch_words(s->spec, &words, e);
    if (rc == 0)
        rc = guestexec_start(s->agent, keeper, (const char *const *)words.items, whole ? s->piece.data : NULL,
                             whole ? s->piece.len : 0, ret, e);
    if (whole)
        s->in = -1;
    return rc;
}

/* Was the output too long to come back by itself? */
static bool is_long(const struct session *s, const struct exec_result *r)
{
    char mark[64];
    int n = snprintf(mark, sizeof mark, "%s long\n", s->name);

    return r->out.len == 0 && r->err.len == (size_t)n && memcmp(r->err.data, mark, (size_t)n) == 0;
}

static int session_run(struct session *s, int *ret_status, struct err *e)
{
    cleanup(exec_result_release) struct exec_result r = {0}, removed = {0};
    bool ended = false, files;
    struct guestexec g;
    int rc = session_start(s, &g, e), done = 0;

    if (rc == 0)
        rc = session_loop(s, &g, &ended, &r, e);
    files = rc == VT_TIMEOUT || rc == VT_GONE ? !ended || is_long(s, &r) : is_long(s, &r);
    for (size_t i = 0; i < ARRAY_LEN(s->out); i++) {
        const struct buf *data = i ? &r.err : &r.out;
        if ((rc == 0 || rc == VT_TIMEOUT) && done == 0)
            done = stream_finish(s, &s->out[i], data, !files, rc == 0 ? e : NULL);
        if (s->out[i].open)
            guestfile_close(&s->out[i].guest, NULL);
    }
    if (files)
        exec_script(s->agent, remover, (const char *[]){s->name, NULL}, &removed, NULL);
    if (rc == VT_TIMEOUT)
        return err_set(e, rc, "timed out after %g s", (double)s->spec->timeout / (double)NS_PER_SEC);
    if (rc < 0)
        return err_set(e, rc, "given up");
    *ret_status = r.status;
    return done;
}

int execplain_run(struct agent *a, const struct exec_spec *x, int in, int out, int err, int *ret_status, struct err *e)
{
    struct session s = {
        .agent = a, .spec = x, .in = in, .out = {{.file = "out", .fd = out}, {.file = "err", .fd = err}}};
    uint64_t number;
    int rc;

    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return err_set(e, VT_FAIL, "getrandom: %m");
    snprintf(s.name, sizeof s.name, "vmtest-%016llx", (unsigned long long)number);
    rc = session_run(&s, ret_status, e);
    buf_release(&s.piece);
    return rc;
}
