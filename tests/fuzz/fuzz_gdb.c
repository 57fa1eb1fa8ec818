/* Hostile bytes on a debugger's socket: whatever came, the stub lives, and a debugger that comes later is served. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/util.h"
#include "tests/unit/gdb_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void come_again(struct gdb_rig *r)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    close(r->fd);
    memcpy(addr.sun_path, r->path, sizeof r->path);
    r->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    vt_assert(r->fd >= 0 && connect(r->fd, (struct sockaddr *)&addr, sizeof addr) == 0);
    for (int i = 0; i < 4; i++)
        loop_turn(r->loop, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct gdb_rig r;
    char reply[64];

    gdb_rig_init(&r, "poke 1 1\nreset\n");
    gdb_rig_send(&r, data, len < 8192 ? len : 8192);
    come_again(&r);
    gdb_rig_send(&r, "$qC#b4", 6);
    vt_assert(gdb_rig_receive(&r, reply, sizeof reply) && strcmp(reply, "QC1") == 0);
    gdb_rig_release(&r);
    return 0;
}
