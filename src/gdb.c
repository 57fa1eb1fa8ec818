#include "src/gdb.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "src/base/banned.h"
#include "src/base/buf.h"
#include "src/base/util.h"
#include "src/gdb_impl.h"
#include "src/gdbhex.h"

enum { SIG_INT = 2, SIG_TRAP = 5, SIG_SEGV = 11 };

/* ---- replies */

void gdb_reply(struct gdb *g, const char *text)
{
    gdbwire_send(g->wire, text, strlen(text));
}

void gdb_ok(struct gdb *g)
{
    gdb_reply(g, "OK");
}

void gdb_fail(struct gdb *g)
{
    gdb_reply(g, "E01");
}

void gdb_reply_buf(struct gdb *g, const struct buf *b)
{
    if (b->failed)
        gdb_fail(g);
    else
        gdbwire_send(g->wire, b->data, b->len);
}

static void reply_stop(struct gdb *g)
{
    g->running = false;
    gdb_reply(g, g->stop);
}

/* ---- the guest's going and standing */

static void hold(struct gdb *g)
{
    if (!g->held)
        vcpu_pause(g->machine->vcpu);
    g->held = true;
}

static void let_go(struct gdb *g)
{
    if (g->held)
        vcpu_resume(g->machine->vcpu);
    g->held = false;
}

static void run(struct gdb *g, bool step)
{
    if (g->dead) { /* it cannot go on: this is its end */
        g->dead = false;
        g->hooks.kill(g->hooks.opaque);
        return;
    }
    g->running = true;
    if (step)
        vm_debug_step(g->machine->vm);
    if (g->hooks.run)
        g->hooks.run(g->hooks.opaque);
    let_go(g);
}

static void detach(struct gdb *g)
{
    bool over = g->dead;

    g->attached = g->running = g->dead = false;
    g->npoints = 0;
    vcpu_pause(g->machine->vcpu);
    vm_debug_clear(g->machine->vm);
    vcpu_resume(g->machine->vcpu);
    if (over)
        g->hooks.kill(g->hooks.opaque);
    else if (g->hooks.run && g->held)
        g->hooks.run(g->hooks.opaque);
    let_go(g);
}

static void on_attached(void *opaque)
{
    struct gdb *g = opaque;

    g->attached = true;
    hold(g);
    snprintf(g->stop, sizeof g->stop, "T%02xthread:1;", SIG_TRAP);
}

static void on_gone(void *opaque)
{
    struct gdb *g = opaque;

    if (g->attached)
        detach(g);
}

static void on_interrupt(void *opaque)
{
    struct gdb *g = opaque;

    if (!g->running)
        return;
    hold(g);
    snprintf(g->stop, sizeof g->stop, "T%02xthread:1;", SIG_INT);
    reply_stop(g);
}

/* Which of the debugger's own points this is, for its stop reply. */
static char type_of(const struct gdb *g, const struct vm_debug_stop *why)
{
    for (unsigned i = 0; i < g->npoints; i++)
        if (g->point[i].addr == why->lin && (g->point[i].type <= '1') == (why->kinds == VM_BREAK_EXEC))
            return g->point[i].type;
    return 0;
}

static void describe(struct gdb *g, const struct vm_debug_stop *why)
{
    static const char *const reason[] = {"swbreak", "hwbreak", "watch", "rwatch", "awatch"};
    char type = why->kinds ? type_of(g, why) : 0, what[40] = "";

    if (type >= '2')
        snprintf(what, sizeof what, "%s:%" PRIx64 ";", reason[type - '0'], why->lin);
    else if (type)
        snprintf(what, sizeof what, "%s:;", reason[type - '0']);
    snprintf(g->stop, sizeof g->stop, "T%02xthread:1;%s", SIG_TRAP, what);
}

bool gdb_stopped(struct gdb *g, const struct vcpu_end *end)
{
    struct vm_debug_stop why;

    if (!g || (end->stop != VM_STOP_DEBUG && !(end->stop == VM_STOP_TRIPLE && g->attached)))
        return false;
    vcpu_pause(g->machine->vcpu);
    if (end->stop == VM_STOP_DEBUG)
        vcpu_restart(g->machine->vcpu);
    g->dead = end->stop == VM_STOP_TRIPLE;
    if (!g->running) { /* it left, or Ctrl-C came first and was answered */
        vcpu_resume(g->machine->vcpu);
        return true;
    }
    hold(g);
    vcpu_resume(g->machine->vcpu);
    if (g->dead) {
        snprintf(g->stop, sizeof g->stop, "T%02xthread:1;", SIG_SEGV);
    } else {
        why = vm_debug_why(g->machine->vm);
        describe(g, &why);
    }
    reply_stop(g);
    return true;
}

void gdb_exited(struct gdb *g, int status)
{
    char text[8];

    if (!g || !g->attached)
        return;
    snprintf(text, sizeof text, "W%02x", status & 0xff);
    gdb_reply(g, text);
    g->running = g->attached = false;
    gdbwire_close(g->wire);
}

/* ---- packets */

static bool starts(const char **p, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(*p, word, n) != 0)
        return false;
    *p += n;
    return true;
}

static void query(struct gdb *g, const char *p)
{
    cleanup(buf_release) struct buf b = {0};
    struct vm_debug_regs r;

    if (starts(&p, "qSupported")) {
        buf_printf(&b, "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;swbreak+;hwbreak+;vContSupported+",
                   GDBWIRE_MAX);
        gdb_reply_buf(g, &b);
    } else if (starts(&p, "qXfer:features:read:target.xml:")) {
        gdb_description(g, p);
    } else if (starts(&p, "qAttached")) {
        gdb_reply(g, "1");
    } else if (strcmp(p, "qfThreadInfo") == 0) {
        gdb_reply(g, "m1");
    } else if (strcmp(p, "qsThreadInfo") == 0) {
        gdb_reply(g, "l");
    } else if (strcmp(p, "qC") == 0) {
        gdb_reply(g, "QC1");
    } else if (starts(&p, "qThreadExtraInfo,")) {
        const char *text;
        vm_debug_get_regs(g->machine->vm, &r);
        text = r.halted ? "CPU 0 [halted]" : "CPU 0";
        gdbhex_add(&b, text, strlen(text));
        gdb_reply_buf(g, &b);
    } else if (starts(&p, "qRcmd,")) {
        gdb_monitor(g, p);
    } else if (strcmp(p, "QStartNoAckMode") == 0) {
        gdbwire_no_ack(g->wire);
        gdb_ok(g);
    } else {
        gdb_reply(g, "");
    }
}

/* c, s and their kin with a signal, which no processor takes: "C05;ADDR". */
static void resume(struct gdb *g, const char *p, bool step)
{
    bool has_signal = *p == 'C' || *p == 'S';
    struct vm_debug_regs r;
    uint64_t v;

    p++;
    if (has_signal) {
        p += strcspn(p, ";");
        p += *p == ';';
    }
    if (*p) {
        if (!gdbhex_number(&p, 0, &v)) {
            gdb_fail(g);
            return;
        }
        vm_debug_get_regs(g->machine->vm, &r);
        r.rip = r.code_bits == 64 ? v : (uint32_t)(v - r.seg[VM_SEG_CS].base);
        vm_debug_set_regs(g->machine->vm, &r);
    }
    run(g, step);
}

static void v_packet(struct gdb *g, const char *p)
{
    if (strcmp(p, "vCont?") == 0) {
        gdb_reply(g, "vCont;c;C;s;S");
    } else if (starts(&p, "vCont;")) {
        if (*p == 'c' || *p == 'C' || *p == 's' || *p == 'S') /* one thread: the first action is its */
            run(g, *p == 's' || *p == 'S');
        else
            gdb_fail(g);
    } else if (starts(&p, "vKill")) {
        gdb_ok(g);
        g->hooks.kill(g->hooks.opaque);
    } else {
        gdb_reply(g, "");
    }
}

static void thread(struct gdb *g, const char *p)
{
    if (strcmp(p, "0") == 0 || strcmp(p, "1") == 0 || strcmp(p, "-1") == 0)
        gdb_ok(g);
    else
        gdb_fail(g);
}

static void command(struct gdb *g, char *p, size_t len)
{
    switch (*p) {
    case '?':
        reply_stop(g);
        break;
    case 'g':
        gdb_read_registers(g);
        break;
    case 'G':
        gdb_write_registers(g, p + 1);
        break;
    case 'p':
    case 'P':
        gdb_one_register(g, p + 1, *p == 'P');
        break;
    case 'm':
        gdb_read_memory(g, p + 1);
        break;
    case 'M':
    case 'X':
        gdb_write_memory(g, p + 1, p + len, *p == 'X');
        break;
    case 'Z':
    case 'z':
        gdb_point(g, p + 1, *p == 'Z');
        break;
    case 'c':
    case 'C':
    case 's':
    case 'S':
        resume(g, p, *p == 's' || *p == 'S');
        break;
    case 'v':
        v_packet(g, p);
        break;
    case 'q':
    case 'Q':
        query(g, p);
        break;
    case 'H':
        thread(g, p[1] ? p + 2 : p + 1);
        break;
    case 'T':
        thread(g, p + 1);
        break;
    case 'D':
        gdb_ok(g);
        detach(g);
        break;
    case 'k':
        g->hooks.kill(g->hooks.opaque);
        break;
    default:
        gdb_reply(g, "");
        break;
    }
}

/* A debugger asks while the guest stands, but for Ctrl-C; the pause is for one that does not keep to it. */
static void on_packet(void *opaque, char *data, size_t len)
{
    struct gdb *g = opaque;

    if (!g->attached)
        return;
    vcpu_pause(g->machine->vcpu);
    command(g, data, len);
    vcpu_resume(g->machine->vcpu);
}

/* ---- life */

int gdb_where_check(const char *where, struct err *e)
{
    return gdbwire_where_check(where, e);
}

int gdb_new(struct loop *l, struct machine *m, const char *where, bool wait, const struct gdb_hooks *hooks,
            struct gdb **ret_gdb, struct err *e)
{
    struct gdb *g = calloc(1, sizeof *g);
    struct gdbwire_hooks wire = {on_attached, on_packet, on_interrupt, on_gone, g};
    int r;

    if (!g)
        return err_set(e, VT_FAIL, "out of memory");
    g->machine = m;
    g->hooks = *hooks;
    r = gdbwire_new(l, where, &wire, &g->wire, e);
    if (r) {
        free(g);
        return r;
    }
    if (wait)
        hold(g);
    *ret_gdb = g;
    return 0;
}

void gdb_free(struct gdb *g)
{
    if (!g)
        return;
    gdb_exited(g, 0);
    g->attached = false;
    gdbwire_free(g->wire);
    let_go(g);
    free(g);
}
