#include "tests/unit/gdb_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "src/base/units.h"
#include "src/base/util.h"

static void on_end(void *opaque)
{
    struct gdb_rig *r = opaque;

    if (!gdb_stopped(r->gdb, &r->end))
        gdb_exited(r->gdb, r->end.stop == VM_STOP_EXIT ? 2 * r->end.exit_code + 1 : 0);
}

static void ended(void *opaque, const struct vcpu_end *end)
{
    struct gdb_rig *r = opaque;

    r->end = *end;
    loop_call(r->loop, on_end, r);
}

static void on_run(void *opaque)
{
    ((struct gdb_rig *)opaque)->runs++;
}

static void on_reset(void *opaque)
{
    struct gdb_rig *r = opaque;

    r->resets++;
    vm_reset(r->machine.vm);
    vcpu_restart(r->machine.vcpu);
}

static void on_kill(void *opaque)
{
    ((struct gdb_rig *)opaque)->kills++;
}

void gdb_rig_init(struct gdb_rig *r, const char *text)
{
    struct vm_config config = {.ram_bytes = 1 << 20};
    struct gdb_hooks hooks = {on_run, on_reset, on_kill, r};
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char kernel[4096];

    memset(r, 0, sizeof *r);
    snprintf(kernel, sizeof kernel, "fakevm\n%s", text);
    snprintf(r->dir, sizeof r->dir, "/tmp/vmtest-gdb-XXXXXX");
    vt_assert(mkdtemp(r->dir) && loop_new(&r->loop, NULL) == 0 && vm_new(&config, &r->machine.vm, NULL) == 0);
    vt_assert(vm_load_kernel(r->machine.vm, kernel, strlen(kernel), NULL, 0, "", NULL) == 0);
    vt_assert(vcpu_new(r->machine.vm, ended, r, &r->machine.vcpu, NULL) == 0);
    snprintf(r->path, sizeof r->path, "%s/gdb", r->dir);
    vt_assert(gdb_new(r->loop, &r->machine, r->path, true, &hooks, &r->gdb, NULL) == 0);
    vcpu_resume(r->machine.vcpu); /* the debugger's hold is left */
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", r->path);
    r->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    vt_assert(r->fd >= 0 && connect(r->fd, (struct sockaddr *)&addr, sizeof addr) == 0);
    loop_turn(r->loop, 0);
}

void gdb_rig_release(struct gdb_rig *r)
{
    close(r->fd);
    loop_turn(r->loop, 0);
    gdb_free(r->gdb);
    vcpu_free(r->machine.vcpu);
    loop_turn(r->loop, 0); /* an end that it came to meanwhile */
    vm_free(r->machine.vm);
    loop_free(r->loop);
    rmdir(r->dir);
}

void gdb_rig_send(struct gdb_rig *r, const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len) {
        ssize_t n = send(r->fd, p, len < 4096 ? len : 4096, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN)
            return;
        loop_turn(r->loop, 0);
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    loop_turn(r->loop, 0);
}

static bool next(struct gdb_rig *r, char *ret)
{
    uint64_t until = clock_mono_ns() + 10 * NS_PER_SEC;

    while (recv(r->fd, ret, 1, MSG_DONTWAIT) != 1) {
        if ((errno != EAGAIN && errno != 0) || clock_mono_ns() > until)
            return false;
        loop_turn(r->loop, 100);
    }
    return true;
}

bool gdb_rig_receive(struct gdb_rig *r, char *dst, size_t size)
{
    uint8_t sum = 0;
    char c = 0, check[3] = "";
    size_t n = 0;

    while (c != '$')
        if (!next(r, &c))
            return false;
    while (next(r, &c) && c != '#') {
        bool escaped = c == '}';

        sum = (uint8_t)(sum + (uint8_t)c);
        if (escaped && next(r, &c)) {
            sum = (uint8_t)(sum + (uint8_t)c);
            c ^= 0x20;
        }
        if (n + 1 < size)
            dst[n++] = c;
    }
    dst[n] = 0;
    if (!next(r, &check[0]) || !next(r, &check[1]) || strtoul(check, NULL, 16) != sum)
        return false;
    gdb_rig_send(r, "+", 1);
    return true;
}
