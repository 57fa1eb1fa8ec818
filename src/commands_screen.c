/* The monitor's commands for what can be seen: screenshots, the screen's text, and waiting for text. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <regex.h>
#include <string.h>
#include <sys/eventfd.h>
#include "src/base/banned.h"
#include "src/base/io.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/commands.h"
#include "src/screen.h"

/* ---- pictures */

/* A revert changes video RAM under the guest: `change` keeps it away. */
static int take_picture(struct monitor *m, struct picture *ret, struct err *e)
{
    int rc;

    pthread_mutex_lock(&m->change);
    rc = screen_picture(m->machine, ret, e);
    pthread_mutex_unlock(&m->change);
    return rc;
}

static void picture_ppm(const struct picture *p, struct buf *b)
{
    buf_printf(b, "P6\n%u %u\n255\n", p->width, p->height);
    buf_add(b, p->rgb, (size_t)p->width * p->height * 3);
}

static int screendump(struct monitor *m, const struct qmp_call *call, struct err *e)
{
    cleanup(picture_release) struct picture p = {0};
    cleanup(buf_release) struct buf b = {0};
    const char *file = NULL, *format = "ppm";
    int rc = json_get_str(call->args, "filename", JSON_REQUIRED, &file, WHERE, e);

    if (rc == 0)
        rc = json_get_str(call->args, "format", JSON_OPTIONAL, &format, WHERE, e);
    if (rc == 0 && file[0] != '/')
        rc = err_set(e, VT_USAGE, "%s: not an absolute path", file);
    if (rc == 0 && strcmp(format, "ppm") && strcmp(format, "png"))
        rc = err_set(e, VT_USAGE, "\"format\" is ppm or png");
    if (rc == 0)
        rc = take_picture(m, &p, e);
    if (rc == 0 && !strcmp(format, "png"))
        rc = picture_png(&p, &b, e);
    else if (rc == 0)
        picture_ppm(&p, &b);
    if (rc == 0)
        rc = buf_check(&b, e);
    return rc < 0 ? rc : io_replace_file(AT_FDCWD, file, b.data, b.len, 0666, e);
}

static void work_screendump(struct monitor *m, struct qmp_call *call)
{
    struct err err = {0};
    int rc = screendump(m, call, &err);

    answer(call, rc, NULL, &err);
}

void cmd_screendump(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_screendump);
}

static void work_screenshot(struct monitor *m, struct qmp_call *call)
{
    cleanup(picture_release) struct picture p = {0};
    cleanup(buf_release) struct buf b = {0};
    struct err err = {0};
    int rc = 0;

    if (call->nfds != 1)
        rc = err_set(&err, VT_USAGE, "vmtest-screenshot needs one descriptor, got %u", call->nfds);
    if (rc == 0)
        rc = take_picture(m, &p, &err);
    if (rc == 0)
        rc = picture_png(&p, &b, &err);
    if (rc == 0)
        rc = io_write_full(call->fds[0], b.data, b.len, "screenshot", &err);
    answer(call, rc, rc == 0 ? json_pack("{s:i, s:i}", "width", (int)p.width, "height", (int)p.height) : NULL, &err);
}

void cmd_screenshot(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_screenshot);
}

/* ---- text */

static void work_screen(struct monitor *m, struct qmp_call *call)
{
    cleanup(screen_text_release) struct screen_text t = {0};
    json_t *result = NULL;
    struct err err = {0};
    int rc;

    pthread_mutex_lock(&m->change);
    rc = screen_text(m->machine, &t, &err);
    pthread_mutex_unlock(&m->change);
    if (rc == 0)
        result = json_pack("{s:s, s:i, s:i, s:o}", "text", t.text, "rows", (int)t.rows, "cols", (int)t.cols, "cursor",
                           t.cursor ? json_pack("{s:i, s:i}", "row", (int)t.cursor_row, "col", (int)t.cursor_col)
                                    : json_null());
    answer(call, rc, result, &err);
}

void cmd_screen(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_screen);
}

/* ---- waiting for text */

#define SCREEN_EVERY_MS 50
#define SERIAL_KEEP     65536u

/* A fixed string or a regular expression, looked for within lines. */
struct pattern {
    const char *text;
    bool is_regex, compiled;
    regex_t regex;
};

static void pattern_release(struct pattern *p)
{
    if (p->compiled)
        regfree(&p->regex);
}

static int pattern_init(struct pattern *p, const char *text, bool is_regex, struct err *e)
{
    char why[256];
    int rc;

    *p = (struct pattern){.text = text, .is_regex = is_regex};
    if (!*text)
        return err_set(e, VT_USAGE, "an empty text is everywhere");
    if (!is_regex)
        return 0;
    rc = regcomp(&p->regex, text, REG_EXTENDED | REG_NEWLINE | REG_NOSUB);
    if (rc) {
        regerror(rc, &p->regex, why, sizeof why);
        return err_set(e, VT_USAGE, "\"%s\" is no regular expression: %s", text, why);
    }
    p->compiled = true;
    return 0;
}

static bool found(const struct pattern *p, const char *in)
{
    return p->is_regex ? regexec(&p->regex, in, 0, NULL, 0) == 0 : strstr(in, p->text) != NULL;
}

/* The serial console's bytes on their way from the loop's thread to the job that waits. */
struct listener {
    struct chrhost *host;
    struct chrhost_tap tap;
    pthread_mutex_t lock;
    struct buf fresh;
    int event; /* readable when fresh has something */
};

static void on_bytes(void *opaque, const void *data, size_t n)
{
    struct listener *l = opaque;
    uint64_t one = 1;

    pthread_mutex_lock(&l->lock);
    buf_add(&l->fresh, data, n);
    if (l->fresh.len > 16 * SERIAL_KEEP) /* the job cannot keep up: it would not have found it in time anyway */
        buf_drop(&l->fresh, l->fresh.len - SERIAL_KEEP);
    pthread_mutex_unlock(&l->lock);
    if (write(l->event, &one, sizeof one) < 0) {
        /* the counter is full: it is readable */
    }
}

static void listen_begin(void *opaque)
{
    struct listener *l = opaque;
    chrhost_tap(l->host, &l->tap);
}

static void listen_drain(void *opaque)
{
    struct listener *l = opaque;
    chrhost_drain(l->host, 0);
}

static void listen_end(void *opaque)
{
    struct listener *l = opaque;
    chrhost_untap(l->host, &l->tap);
}

/* Moves what is fresh behind what is kept, without what terminals do not show. */
static void take_fresh(struct listener *l, struct buf *kept)
{
    uint64_t n;

    if (read(l->event, &n, sizeof n) < 0 && errno != EAGAIN)
        return;
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < l->fresh.len; i++)
        if (l->fresh.data[i] && l->fresh.data[i] != '\r')
            buf_char(kept, l->fresh.data[i]);
    buf_clear(&l->fresh);
    pthread_mutex_unlock(&l->lock);
}

/* Lines that are whole and did not have the text never will. */
static void drop_lines(struct buf *b)
{
    const char *last = b->len ? memrchr(b->data, '\n', b->len) : NULL;

    if (last)
        buf_drop(b, (size_t)(last + 1 - b->data));
    if (b->len > SERIAL_KEEP)
        buf_drop(b, b->len - SERIAL_KEEP);
}

/* Is it there? What was looked through and is not needed again is dropped. *why: there is no text to look at. */
static bool look(struct monitor *m, struct listener *l, struct buf *kept, const struct pattern *p, struct err *why)
{
    bool yes = false;

    if (l) {
        take_fresh(l, kept);
        yes = found(p, buf_cstr(kept));
        drop_lines(kept);
    } else if (pthread_mutex_trylock(&m->change) == 0) { /* else a snapshot or revert is under way: next time */
        cleanup(screen_text_release) struct screen_text t = {0};
        *why = (struct err){0};
        yes = screen_text(m->machine, &t, why) == 0 && found(p, t.text);
        pthread_mutex_unlock(&m->change);
    }
    return yes;
}

/* The screen is looked at again and again: nothing tells when it changes. The console tells. */
static int wait_loop(struct monitor *m, const struct qmp_call *call, struct listener *l, const struct pattern *p,
                     uint64_t timeout, struct err *e)
{
    cleanup(buf_release) struct buf kept = {0};
    uint64_t until = clock_mono_ns() + timeout;
    struct err why = {0};

    for (;;) {
        struct pollfd fd[3] = {{.fd = m->end_fd, .events = POLLIN},
                               {.fd = qmp_call_gone_fd(call), .events = POLLIN},
                               {.fd = l ? l->event : -1, .events = POLLIN}};
        bool ended = poll(fd, 1, 0) > 0; /* before the look: what came last counts */
        uint64_t now, ms;

        if (ended && l)
            loop_call_wait(m->loop, listen_drain, l);
        if (look(m, l, &kept, p, &why))
            return 0;
        now = clock_mono_ns();
        if (ended)
            return err_set(e, VT_GONE, "the machine ended, and \"%s\" was not seen", p->text);
        if (now >= until)
            return err_set(e, VT_TIMEOUT, "\"%s\" was not seen%s%s", p->text, why.code ? ": " : "", why.msg);
        ms = (until - now) / NS_PER_MS + 1;
        if (poll(fd, 3, (int)MIN(ms, (uint64_t)(l ? 3600000 : SCREEN_EVERY_MS))) < 0 && errno != EINTR)
            return err_set(e, VT_FAIL, "poll: %m");
        if (fd[1].revents)
            return err_set(e, VT_GONE, "given up");
    }
}

static int wait_serial(struct monitor *m, const struct qmp_call *call, const struct pattern *p, uint64_t timeout,
                       struct err *e)
{
    struct listener l = {.host = m->machine->serial_host, .event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    int rc;

    if (l.event < 0)
        return err_set(e, VT_FAIL, "eventfd: %m");
    l.tap.fn = on_bytes;
    l.tap.opaque = &l;
    pthread_mutex_init(&l.lock, NULL);
    loop_call_wait(m->loop, listen_begin, &l);
    rc = wait_loop(m, call, &l, p, timeout, e);
    loop_call_wait(m->loop, listen_end, &l);
    pthread_mutex_destroy(&l.lock);
    buf_release(&l.fresh);
    close(l.event);
    return rc;
}

int wait_text(struct monitor *m, const struct qmp_call *call, uint64_t timeout, struct err *e)
{
    cleanup(pattern_release) struct pattern p = {0};
    bool regex = false, serial = false;
    const char *text = NULL;
    int rc = json_get_str(call->args, "text", JSON_REQUIRED, &text, WHERE, e);

    if (rc == 0)
        rc = json_get_bool(call->args, "regex", JSON_OPTIONAL, &regex, WHERE, e);
    if (rc == 0)
        rc = json_get_bool(call->args, "serial", JSON_OPTIONAL, &serial, WHERE, e);
    if (rc == 0)
        rc = pattern_init(&p, text, regex, e);
    if (rc < 0)
        return rc;
    return serial ? wait_serial(m, call, &p, timeout, e) : wait_loop(m, call, NULL, &p, timeout, e);
}
