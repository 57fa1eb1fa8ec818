/* A debugger's session: shared by gdb.c (packets, the guest's going and standing) and gdbstate.c (registers, memory,
 * breakpoints). Private to them. */
#ifndef VT_GDB_IMPL_H
#define VT_GDB_IMPL_H

#include "src/base/buf.h"
#include "src/gdb.h"
#include "src/gdbwire.h"

#define GDB_POINTS_MAX 64

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
    } point[GDB_POINTS_MAX];
    unsigned npoints;
};

/* gdb.c */
void gdb_reply(struct gdb *g, const char *text);
void gdb_reply_buf(struct gdb *g, const struct buf *b);
void gdb_ok(struct gdb *g);
void gdb_fail(struct gdb *g);

/* gdbstate.c: each answers one packet, whose text after its letter is p. The vCPU is paused. */
void gdb_read_registers(struct gdb *g);
void gdb_write_registers(struct gdb *g, const char *p);
void gdb_one_register(struct gdb *g, const char *p, bool write);
void gdb_read_memory(struct gdb *g, const char *p);
void gdb_write_memory(struct gdb *g, const char *p, const char *end, bool binary);
void gdb_point(struct gdb *g, const char *p, bool add);
void gdb_monitor(struct gdb *g, const char *hex);
void gdb_description(struct gdb *g, const char *p);

#endif
