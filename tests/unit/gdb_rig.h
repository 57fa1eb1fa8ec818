/* A debugger's end of src/gdb.c over a machine without a CPU, all in one process. */
#ifndef VT_TESTS_GDB_RIG_H
#define VT_TESTS_GDB_RIG_H

#include "src/gdb.h"

struct gdb_rig {
    struct loop *loop;
    struct machine machine;
    struct gdb *gdb;
    struct vcpu_end end;
    char dir[32], path[40];
    int fd;
    unsigned runs, resets, kills;
};

/* text: the fake machine's, without its first line. The guest waits for the debugger, which is connected. */
void gdb_rig_init(struct gdb_rig *r, const char *text);
void gdb_rig_release(struct gdb_rig *r);
/* Sends bytes, and lets the loop see them. */
void gdb_rig_send(struct gdb_rig *r, const void *data, size_t len);
/* A packet from the stub, unescaped, acknowledged; waits for it for ten seconds at most. False: none came. */
bool gdb_rig_receive(struct gdb_rig *r, char *dst, size_t size);

#endif
