/* What a debugger asks of a guest that stands. */
#include <stdio.h>
#include <string.h>
#include "src/base/banned.h"
#include "src/base/util.h"
#include "src/gdb_impl.h"
#include "src/gdbhex.h"
#include "src/gdbregs.h"

#define EFER_LMA 0x400u

/* ---- registers and memory */

void gdb_read_registers(struct gdb *g)
{
    cleanup(buf_release) struct buf b = {0};
    struct vm_debug_regs r;
    uint8_t v[GDBREG_BYTES];

    vm_debug_get_regs(g->machine->vm, &r);
    for (unsigned i = 0; i < gdbregs_count(g->amd64); i++)
        gdbhex_add(&b, v, gdbregs_get(g->amd64, i, &r, v));
    gdb_reply_buf(g, &b);
}

/* What cannot be set is left as it is: the debugger writes back all that it read. */
void gdb_write_registers(struct gdb *g, const char *p)
{
    uint8_t bytes[2048], v[GDBREG_BYTES];
    int n = gdbhex_bytes(p, bytes, sizeof bytes), at = 0;
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
        gdb_fail(g);
        return;
    }
    vm_debug_set_regs(g->machine->vm, &r);
    gdb_ok(g);
}

void gdb_one_register(struct gdb *g, const char *p, bool write)
{
    cleanup(buf_release) struct buf b = {0};
    struct vm_debug_regs r;
    uint8_t v[GDBREG_BYTES];
    unsigned size;
    uint64_t n;

    if (!gdbhex_number(&p, write ? '=' : 0, &n) || n >= gdbregs_count(g->amd64)) {
        gdb_fail(g);
        return;
    }
    vm_debug_get_regs(g->machine->vm, &r);
    size = gdbregs_get(g->amd64, (unsigned)n, &r, v);
    if (!write) {
        gdbhex_add(&b, v, size);
        gdb_reply_buf(g, &b);
    } else if (gdbhex_bytes(p, v, sizeof v) == (int)size && gdbregs_set(g->amd64, (unsigned)n, &r, v)) {
        vm_debug_set_regs(g->machine->vm, &r);
        gdb_ok(g);
    } else {
        gdb_fail(g);
    }
}

void gdb_read_memory(struct gdb *g, const char *p)
{
    cleanup(buf_release) struct buf b = {0};
    uint8_t bytes[GDBWIRE_MAX / 2];
    uint64_t addr, len;
    size_t n;

    if (!gdbhex_number(&p, ',', &addr) || !gdbhex_number(&p, 0, &len)) {
        gdb_fail(g);
        return;
    }
    n = vm_debug_read(g->machine->vm, addr, bytes, MIN(len, sizeof bytes));
    if (n == 0 && len) {
        gdb_fail(g);
        return;
    }
    gdbhex_add(&b, bytes, n);
    gdb_reply_buf(g, &b);
}

void gdb_write_memory(struct gdb *g, const char *p, const char *end, bool binary)
{
    uint8_t bytes[GDBWIRE_MAX];
    const uint8_t *from = bytes;
    uint64_t addr, len;
    bool good = gdbhex_number(&p, ',', &addr) && gdbhex_number(&p, ':', &len) && len <= sizeof bytes;

    if (good && binary) {
        from = (const uint8_t *)p;
        good = (uint64_t)(end - p) == len;
    } else if (good) {
        good = gdbhex_bytes(p, bytes, sizeof bytes) == (int)len;
    }
    if (good && vm_debug_write(g->machine->vm, addr, from, len) == len)
        gdb_ok(g);
    else
        gdb_fail(g);
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

void gdb_point(struct gdb *g, const char *p, bool add)
{
    char type = *p++;
    unsigned kinds = kinds_of(type);
    uint64_t addr, len;
    int i;

    if (type < '0' || type > '4') {
        gdb_reply(g, "");
        return;
    }
    if (*p++ != ',' || !gdbhex_number(&p, ',', &addr) || !gdbhex_number(&p, strchr(p, ';') ? ';' : 0, &len) ||
        len > VT_PAGE_SIZE) {
        gdb_fail(g);
        return;
    }
    i = find_point(g, kinds, type, addr, len);
    if (add && i < 0) {
        if (g->npoints == GDB_POINTS_MAX ||
            vm_debug_break(g->machine->vm, kinds, addr, (uint32_t)len, true, NULL) < 0) {
            gdb_fail(g);
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
    gdb_ok(g);
}

/* ---- monitor commands */

static void send_text(struct gdb *g, struct buf *text)
{
    for (size_t at = 0; at < text->len; at += 1024) {
        cleanup(buf_release) struct buf b = {0};

        buf_char(&b, 'O');
        gdbhex_add(&b, text->data + at, MIN(text->len - at, (size_t)1024));
        gdb_reply_buf(g, &b);
    }
}

void gdb_monitor(struct gdb *g, const char *hex)
{
    static const char help[] = "info registers  all registers, with segments and system registers\n"
                               "reset           reset the machine; it stands before its first instruction\n";
    cleanup(buf_release) struct buf text = {0};
    struct vm_debug_regs r;
    char line[128] = "";
    int n = gdbhex_bytes(hex, (uint8_t *)line, sizeof line - 1);

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
    gdb_ok(g);
}

/* Registers are described as they are now: a debugger that comes in long mode sees x86-64. So does one that debugs a
 * 64-bit kernel from its 32-bit start: gdb takes one description for good. */
void gdb_description(struct gdb *g, const char *p)
{
    cleanup(buf_release) struct buf xml = {0};
    cleanup(buf_release) struct buf b = {0};
    struct vm_debug_regs r;
    uint64_t off, len;

    if (!gdbhex_number(&p, ',', &off) || !gdbhex_number(&p, 0, &len)) {
        gdb_fail(g);
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
    gdb_reply_buf(g, &b);
}
