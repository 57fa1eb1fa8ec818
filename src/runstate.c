/* What state the machine is in, and how it goes from one to another. All on the loop's thread. */
#include <errno.h>
#include <string.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/gdb.h"
#include "src/monitor.h"

const char *run_state_name(enum run_state s)
{
    static const char *const names[] = {
        [RUN_PRELAUNCH] = "prelaunch", [RUN_RUNNING] = "running",         [RUN_PAUSED] = "paused",
        [RUN_IO_ERROR] = "io-error",   [RUN_PANICKED] = "guest-panicked", [RUN_FAILED] = "internal-error",
        [RUN_SHUTDOWN] = "shutdown"};
    return names[s];
}

static void enter(struct monitor *m, enum run_state to)
{
    bool was_running = m->state == RUN_RUNNING, is_running = to == RUN_RUNNING;

    m->state = to;
    if (was_running && !is_running) {
        vcpu_pause(m->machine->vcpu);
        qmp_event(m->qmp, "STOP", NULL);
    } else if (!was_running && is_running) {
        m->failure = (struct err){0};
        machine_go(m->machine);
        qmp_event(m->qmp, "RESUME", NULL);
    }
}

int monitor_cont(struct monitor *m, struct err *e)
{
    int rc = 0;

    switch ((enum run_state)m->state) { /* clang wants the load apart */
    case RUN_RUNNING:
        return 0;
    case RUN_PRELAUNCH:
        if (!m->booted)
            rc = machine_boot(m->machine, e);
        m->booted = true;
        break;
    case RUN_PAUSED:
        break;
    case RUN_IO_ERROR:
        machine_retry_disks(m->machine);
        break;
    case RUN_PANICKED:
        return err_set(e, VT_BUSY, "the guest has panicked: reset it or revert");
    case RUN_FAILED:
        return err_set(e, VT_BUSY, "the machine has failed (%s): revert or stop it", m->failure.msg);
    case RUN_SHUTDOWN:
        return err_set(e, VT_GONE, "the machine is going down");
    }
    if (rc == 0)
        enter(m, RUN_RUNNING);
    return rc;
}

void monitor_stop(struct monitor *m)
{
    if (m->state == RUN_RUNNING)
        enter(m, RUN_PAUSED);
}

int monitor_reset(struct monitor *m, struct err *e)
{
    struct vcpu *vcpu = m->machine->vcpu;
    int rc;

    if (m->state == RUN_SHUTDOWN)
        return err_set(e, VT_GONE, "the machine is going down");
    vcpu_pause(vcpu);
    vm_reset(m->machine->vm);
    agent_reset(m->machine->agent);
    execport_reset(m->machine->exec);
    rc = machine_boot(m->machine, e);
    if (rc == 0) {
        m->booted = true;
        atomic_store(&m->end_pending, false);
        vcpu_restart(vcpu);
        qmp_event(m->qmp, "RESET", NULL);
        if (m->state == RUN_PANICKED || m->state == RUN_FAILED)
            enter(m, RUN_RUNNING);
    }
    vcpu_resume(vcpu);
    return rc;
}

void monitor_shut(struct monitor *m, const char *reason)
{
    uint64_t one = 1;

    if (m->state == RUN_SHUTDOWN)
        return;
    if (m->state == RUN_RUNNING)
        vcpu_pause(m->machine->vcpu);
    m->state = RUN_SHUTDOWN;
    log_msg(&m->log, LOG_INFO, "%s: ends: %s", m->name, reason);
    qmp_event(m->qmp, "SHUTDOWN",
              json_pack("{s:b, s:s}", "guest", strcmp(reason, "guest-shutdown") == 0, "reason", reason));
    agent_shut(m->machine->agent);
    execport_shut(m->machine->exec);
    gdb_exited(m->gdb, 0);
    if (write(m->end_fd, &one, sizeof one) < 0)
        vt_assert(errno == EAGAIN || errno == EINTR);
    loop_stop(m->loop);
}

void monitor_broken(struct monitor *m, const struct err *why)
{
    struct err kept = *why;

    log_msg(&m->log, LOG_ERROR, "the machine has failed: %s", kept.msg);
    enter(m, RUN_FAILED);
    m->failure = kept;
}

void monitor_ended(struct monitor *m)
{
    struct err err = {0};

    if (m->state == RUN_SHUTDOWN || m->reverting || !atomic_exchange(&m->end_pending, false))
        return;
    if (gdb_stopped(m->gdb, &m->end))
        return;
    switch (m->end.stop) {
    case VM_STOP_POWEROFF:
    case VM_STOP_EXIT:
        monitor_shut(m, "guest-shutdown");
        break;
    case VM_STOP_RESET:
        if (monitor_reset(m, &err) < 0)
            monitor_broken(m, &err);
        break;
    case VM_STOP_TRIPLE:
        log_msg(&m->log, LOG_WARN, "the virtual CPU panicked (triple fault)");
        enter(m, RUN_PANICKED);
        err_set(&m->failure, VT_FAIL, "the virtual CPU panicked (triple fault)");
        qmp_event(m->qmp, "GUEST_PANICKED", json_pack("{s:s}", "action", "pause"));
        break;
    case VM_STOP_FAIL:
    case VM_STOP_DEBUG: /* the debugger's, above */
    case VM_STOP_KICK:
        monitor_broken(m, &m->end.err);
        break;
    }
}

void monitor_revert_begin(struct monitor *m)
{
    m->reverting = true;
    vcpu_pause(m->machine->vcpu);
}

void monitor_revert_end(struct monitor *m, int rc, bool broken, enum power power, const struct err *why)
{
    struct err err = {0};

    m->reverting = false;
    if (rc == 0) {
        atomic_store(&m->end_pending, false);
        vcpu_restart(m->machine->vcpu);
        m->booted = true;
        m->failure = (struct err){0};
        atomic_store(&m->stale, true);
        if (!m->keep_clock)
            vm_set_wall(m->machine->vm, clock_wall_ns() / (int64_t)NS_PER_SEC);
        if (machine_drop_connections(m->machine, &err) < 0)
            log_msg(&m->log, LOG_WARN, "%s", err.msg);
        qmp_event(m->qmp, "VMTEST_REVERTED", NULL);
        if (m->state != RUN_SHUTDOWN && power != POWER_OFF)
            enter(m, power == POWER_RUNNING ? RUN_RUNNING : RUN_PAUSED);
    } else if (broken) {
        atomic_store(&m->end_pending, false);
        monitor_broken(m, why);
    }
    vcpu_resume(m->machine->vcpu);
    if (rc == 0 && power == POWER_OFF)
        monitor_shut(m, "revert");
    else
        monitor_ended(m); /* where the revert did not happen, what the guest did meanwhile counts */
}
