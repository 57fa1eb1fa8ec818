#include "src/gdb.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "src/base/banned.h"
#include "src/base/buf.h"
#include "src/base/util.h"
#include "src/gdbregs.h"
#include "src/gdbwire.h"

#define POINTS_MAX 64
#define EFER_LMA   0x400u
enum { SIG_INT = 2, SIG_TRAP = 5, SIG_SEGV = 11 };

struct gdb {
    struct machine *machine;
    struct gdbwire *wire;
    struct gdb_hooks hooks;
    bool attached;
    bool held;          /* the vCPU is paused on our account */
    bool running;       /* the debugger waits for a stop reply */
    bool dead;          /* the guest stands after a triple fault: it can be looked at, no more */
    bool amd64, code16; /* the registers' description that the debugger got */
    char stop[64];
    struct {       /* as the debugger set them: two of a kind share the machine's one */
        char type; /* '0' to '4' */
        uint64_t addr;
        uint32_t len;
    } point[POINTS_MAX];
    unsigned npoints;
};

/* ---- replies */

static void reply(struct gdb *g, const char *text)
{
    gdbwire_send(g->wire, text, strlen(text));
}

static void ok(struct gdb *g)
{
    reply(g, "OK");
}

static void fail(struct gdb *g)
{
    reply(g, "E01");
}

static void add_hex(struct buf *b, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++)
        buf_printf(b, "%02x", p[i]);
}

static void reply_buf(struct gdb *g, const struct buf *b)
{
    if (b->failed)
        fail(g);
    else
        gdbwire_send(g->wire, b->data, b->len);
}

static void reply_stop(struct gdb *g)
{
    g->running = false;
    reply(g, g->stop);
}

/* ---- reading packets */

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* A hexadecimal number, and the character after it. */
static bool number(const char **p, char then, uint64_t *ret)
{
    const char *s = *p;
    uint64_t v = 0;

    for (; digit(*s) >= 0; s++) {
        if (v >> 60)
            return false;
        v = v << 4 | (unsigned)digit(*s);
    }
    if (s == *p || *s != then)
        return false;
    *p = s + (then != 0);
    *ret = v;
    return true;
}

/* Two digits a byte, up to max; returns how many bytes, -1: not hexadecimal or too long. */
static int hex_bytes(const char *s, uint8_t *dst, size_t max)
{
    size_t n = 0;

    for (; *s; s += 2) {
        if (n == max || digit(s[0]) < 0 || digit(s[1]) < 0)
            return -1;
        dst[n++] = (uint8_t)(digit(s[0]) << 4 | digit(s[1]));
    }
    return (int)n;
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
    reply(g, text);
    g->running = g->attached = false;
    gdbwire_close(g->wire);
}

/* ---- registers and memory */

static void read_registers(struct gdb *g)
{
    cleanup(buf_release) struct buf b = {0};
    struct vm_debug_regs r;
    uint8_t v[GDBREG_BYTES];

    vm_debug_get_regs(g->machine->vm, &r);
    for (unsigned i = 0; i < gdbregs_count(g->amd64); i++)
        add_hex(&b, v, gdbregs_get(g->amd64, i, &r, v));
    reply_buf(g, &b);
}

/* What cannot be set is left as it is: the debugger writes back all that it read. */
static void write_registers(struct gdb *g, const char *p)
{
    uint8_t bytes[2048], v[GDBREG_BYTES];
    int n = hex_bytes(p, bytes, sizeof bytes), at = 0;
    struct vm_debug_regs r;

    vm_debug_get_regs(g->machine->vm, &r);
    for (unsigned i = 0; i < gdbregs_count(g->amd64); i++) {
        int size = (int)gdbregs_get(g->amd64, i, &r, v);

        if (at + size > n)
            break;
        memcpy(v, bytes + at, (size_t)size);
        at += size;
        gdbregs_set(g->amd64, i, &r, v);
    }
    if (n <= 0 || at == 0) {
        fail(g);
        return;
    }
    vm_debug_set_regs(g->machine->vm, &r);
    ok(g);
}

static void one_register(struct gdb *g, const char *p, bool write)
{
    cleanup(buf_release) struct buf b = {0};
    struct vm_debug_regs r;
    uint8_t v[GDBREG_BYTES];
    unsigned size;
    uint64_t n;

    if (!number(&p, write ? '=' : 0, &n) || n >= gdbregs_count(g->amd64)) {
        fail(g);
        return;
    }
    vm_debug_get_regs(g->machine->vm, &r);
    size = gdbregs_get(g->amd64, (unsigned)n, &r, v);
    if (!write) {
        add_hex(&b, v, size);
        reply_buf(g, &b);
    } else if (hex_bytes(p, v, sizeof v) == (int)size && gdbregs_set(g->amd64, (unsigned)n, &r, v)) {
        vm_debug_set_regs(g->machine->vm, &r);
        ok(g);
    } else {
        fail(g);
    }
}

static void read_memory(struct gdb *g, const char *p)
{
    cleanup(buf_release) struct buf b = {0};
    uint8_t bytes[GDBWIRE_MAX / 2];
    uint64_t addr, len;
    size_t n;

    if (!number(&p, ',', &addr) || !number(&p, 0, &len)) {
        fail(g);
        return;
    }
    n = vm_debug_read(g->machine->vm, addr, bytes, MIN(len, sizeof bytes));
    if (n == 0 && len) {
        fail(g);
        return;
    }
    add_hex(&b, bytes, n);
    reply_buf(g, &b);
}

static void write_memory(struct gdb *g, const char *p, const char *end, bool binary)
{
    uint8_t bytes[GDBWIRE_MAX];
    const uint8_t *from = bytes;
    uint64_t addr, len;
    bool good = number(&p, ',', &addr) && number(&p, ':', &len) && len <= sizeof bytes;

    if (good && binary) {
        from = (const uint8_t *)p;
        good = (uint64_t)(end - p) == len;
    } else if (good) {
        good = hex_bytes(p, bytes, sizeof bytes) == (int)len;
    }
    if (good && vm_debug_write(g->machine->vm, addr, from, len) == len)
        ok(g);
    else
        fail(g);
}

/* ---- breakpoints and watchpoints */

static unsigned kinds_of(char type)
{
    switch (type) {
    case '2':
        return VM_WATCH_WRITE;
    case '3':
        return VM_WATCH_READ;
    case '4':
        return VM_WATCH_READ | VM_WATCH_WRITE;
    default:
        return VM_BREAK_EXEC;
    }
}

static int find_point(const struct gdb *g, unsigned kinds, char type, uint64_t addr, uint64_t len)
{
    for (unsigned i = 0; i < g->npoints; i++)
        if ((type ? g->point[i].type == type : kinds_of(g->point[i].type) == kinds) && g->point[i].addr == addr &&
            (kinds == VM_BREAK_EXEC || g->point[i].len == len))
            return (int)i;
    return -1;
}

static void point(struct gdb *g, const char *p, bool add)
{
    char type = *p++;
    unsigned kinds = kinds_of(type);
    uint64_t addr, len;
    int i;

    if (type < '0' || type > '4') {
        reply(g, "");
        return;
    }
    if (*p++ != ',' || !number(&p, ',', &addr) || !number(&p, strchr(p, ';') ? ';' : 0, &len) || len > VT_PAGE_SIZE) {
        fail(g);
        return;
    }
    i = find_point(g, kinds, type, addr, len);
    if (add && i < 0) {
        if (g->npoints == POINTS_MAX || vm_debug_break(g->machine->vm, kinds, addr, (uint32_t)len, true, NULL) < 0) {
            fail(g);
            return;
        }
        g->point[g->npoints].type = type;
        g->point[g->npoints].addr = addr;
        g->point[g->npoints++].len = (uint32_t)len;
    } else if (!add && i >= 0) {
        g->point[i] = g->point[--g->npoints];
        if (find_point(g, kinds, 0, addr, len) < 0)
            vm_debug_break(g->machine->vm, kinds, addr, (uint32_t)len, false, NULL);
    }
    ok(g);
}

/* ---- monitor commands */

static void send_text(struct gdb *g, struct buf *text)
{
    for (size_t at = 0; at < text->len; at += 1024) {
        cleanup(buf_release) struct buf b = {0};

        buf_char(&b, 'O');
        add_hex(&b, text->data + at, MIN(text->len - at, (size_t)1024));
        reply_buf(g, &b);
    }
}

static void monitor_command(struct gdb *g, const char *hex)
{
    static const char help[] = "info registers  all registers, with segments and system registers\n"
                               "reset           reset the machine; it stands before its first instruction\n";
    cleanup(buf_release) struct buf text = {0};
    struct vm_debug_regs r;
    char line[128] = "";
    int n = hex_bytes(hex, (uint8_t *)line, sizeof line - 1);

    line[n > 0 ? n : 0] = 0;
    if (strcmp(line, "info registers") == 0) {
        vm_debug_get_regs(g->machine->vm, &r);
        gdbregs_print(&r, &text);
    } else if (strcmp(line, "reset") == 0) {
        g->dead = false;
        g->hooks.reset(g->hooks.opaque);
        buf_str(&text, "the machine is reset\n");
    } else if (strcmp(line, "help") == 0) {
        buf_str(&text, help);
    } else {
        buf_printf(&text, "no such command: %s\n%s", line, help);
    }
    send_text(g, &text);
    ok(g);
}

/* ---- packets */

/* Registers are described as they are now: a debugger that comes in long mode sees x86-64. So does one that debugs a
 * 64-bit kernel from its 32-bit start: gdb takes one description for good. */
static void description(struct gdb *g, const char *p)
{
    cleanup(buf_release) struct buf xml = {0};
    cleanup(buf_release) struct buf b = {0};
    struct vm_debug_regs r;
    uint64_t off, len;

    if (!number(&p, ',', &off) || !number(&p, 0, &len)) {
        fail(g);
        return;
    }
    if (off == 0) {
        vm_debug_get_regs(g->machine->vm, &r);
        g->code16 = r.code_bits == 16;
        g->amd64 = (r.efer & EFER_LMA) || vm_kernel_64(g->machine->vm);
    }
    gdbregs_xml(g->amd64, g->code16, &xml);
    if (off > xml.len)
        off = xml.len;
    len = MIN(len, (uint64_t)GDBWIRE_MAX / 2);
    buf_char(&b, len < xml.len - off ? 'm' : 'l');
    buf_add(&b, xml.data + off, MIN((size_t)len, xml.len - off));
    reply_buf(g, &b);
}

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
        reply_buf(g, &b);
    } else if (starts(&p, "qXfer:features:read:target.xml:")) {
        description(g, p);
    } else if (starts(&p, "qAttached")) {
        reply(g, "1");
    } else if (strcmp(p, "qfThreadInfo") == 0) {
        reply(g, "m1");
    } else if (strcmp(p, "qsThreadInfo") == 0) {
        reply(g, "l");
    } else if (strcmp(p, "qC") == 0) {
        reply(g, "QC1");
    } else if (starts(&p, "qThreadExtraInfo,")) {
        const char *text;
        vm_debug_get_regs(g->machine->vm, &r);
        text = r.halted ? "CPU 0 [halted]" : "CPU 0";
        add_hex(&b, text, strlen(text));
        reply_buf(g, &b);
    } else if (starts(&p, "qRcmd,")) {
        monitor_command(g, p);
    } else if (strcmp(p, "QStartNoAckMode") == 0) {
        gdbwire_no_ack(g->wire);
        ok(g);
    } else {
        reply(g, "");
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
        if (!number(&p, 0, &v)) {
            fail(g);
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
        reply(g, "vCont;c;C;s;S");
    } else if (starts(&p, "vCont;")) {
        if (*p == 'c' || *p == 'C' || *p == 's' || *p == 'S') /* one thread: the first action is its */
            run(g, *p == 's' || *p == 'S');
        else
            fail(g);
    } else if (starts(&p, "vKill")) {
        ok(g);
        g->hooks.kill(g->hooks.opaque);
    } else {
        reply(g, "");
    }
}

static void thread(struct gdb *g, const char *p)
{
    if (strcmp(p, "0") == 0 || strcmp(p, "1") == 0 || strcmp(p, "-1") == 0)
        ok(g);
    else
        fail(g);
}

static void command(struct gdb *g, char *p, size_t len)
{
    switch (*p) {
    case '?':
        reply_stop(g);
        break;
    case 'g':
        read_registers(g);
        break;
    case 'G':
        write_registers(g, p + 1);
        break;
    case 'p':
    case 'P':
        one_register(g, p + 1, *p == 'P');
        break;
    case 'm':
        read_memory(g, p + 1);
        break;
    case 'M':
    case 'X':
        write_memory(g, p + 1, p + len, *p == 'X');
        break;
    case 'Z':
    case 'z':
        point(g, p + 1, *p == 'Z');
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
        ok(g);
        detach(g);
        break;
    case 'k':
        g->hooks.kill(g->hooks.opaque);
        break;
    default:
        reply(g, "");
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
