/* The monitor's commands that go back in the machine's snapshot tree, and that tell whether it got there. */
#include <string.h>
#include "src/base/banned.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/commands.h"
#include "src/hash.h"

struct revert {
    struct monitor *m;
    int rc;
    bool broken, paused; /* paused: it is to stand, whatever the snapshot's power state is */
    bool undo;           /* what it is now is kept */
    struct revert_result r;
    struct err err;
};

#define MAINTAIN_EVERY 64 /* reverts */

static void revert_begin(void *opaque)
{
    monitor_revert_begin(((struct revert *)opaque)->m);
}

static void revert_end(void *opaque)
{
    struct revert *v = opaque;

    monitor_revert_end(v->m, v->rc, v->broken, v->r.power, &v->err);
}

/* Nothing can stand paused on disks alone. */
static int check_memory(struct monitor *m, int64_t id, struct err *e)
{
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    int rc = snapshot_get(m->store, id, &s, e);

    if (rc == 0 && s.ram_bytes == 0)
        rc = err_set(e, VT_USAGE, "%s has no memory: a machine that is reverted to it is off, and cannot be paused",
                     s.name);
    return rc;
}

/* [vCPU paused] What never ran, came to an end or is in trouble is nothing to go back to, but for its disks. */
static enum leave what_to_leave(struct monitor *m, const struct revert *v)
{
    enum run_state state = m->state;

    if (!v->undo || !m->booted || atomic_load(&m->end_pending))
        return LEAVE_DISKS;
    return state == RUN_RUNNING ? LEAVE_RUNNING : state == RUN_PAUSED ? LEAVE_PAUSED : LEAVE_DISKS;
}

static void work_revert(struct monitor *m, struct qmp_call *call)
{
    struct revert v = {.m = m, .undo = true};
    uint64_t begin = clock_mono_ns();
    json_t *result = NULL;
    int64_t id = 0;

    v.rc = ephemeral(m, &v.err);
    if (v.rc == 0)
        v.rc = get_id(call, &id, &v.err);
    if (v.rc == 0)
        v.rc = check_ours(m, id, &v.err);
    if (v.rc == 0)
        v.rc = json_get_bool(call->args, "paused", JSON_OPTIONAL, &v.paused, WHERE, &v.err);
    if (v.rc == 0)
        v.rc = json_get_bool(call->args, "undo", JSON_OPTIONAL, &v.undo, WHERE, &v.err);
    if (v.rc == 0 && v.paused)
        v.rc = check_memory(m, id, &v.err);
    if (v.rc == 0) {
        pthread_mutex_lock(&m->change);
        capture_drain(m->capture); /* before the guest stands */
        loop_call_wait(m->loop, revert_begin, &v);
        v.rc = capture_revert(m->capture, id, what_to_leave(m, &v), &v.r, &v.broken, &v.err);
        if (v.rc == 0 && v.paused)
            v.r.power = POWER_PAUSED;
        if (v.rc == 0 && v.r.power != POWER_OFF)
            v.rc = monitor_keep_discs(m, &v.err);
        loop_call_wait(m->loop, revert_end, &v);
        pthread_mutex_unlock(&m->change);
    }
    if (v.rc == 0)
        result = json_pack("{s:o, s:I, s:I, s:s}", "seconds", json_seconds(clock_mono_ns() - begin), "pages",
                           (json_int_t)v.r.pages, "blocks", (json_int_t)v.r.blocks, "power", power_name(v.r.power));
    answer(call, v.rc, result, &v.err);
    if (++m->reverts % MAINTAIN_EVERY == 0) /* each leaves a head behind, that is kept for a time and then is not */
        store_maintain(m->store, NULL);
}

void cmd_revert(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_revert);
}

/* The revert's entry in the store, which must be what was done last. */
static int find_entry(struct monitor *m, int64_t id, int64_t *ret_head, struct err *e)
{
    struct undo_info *list = NULL;
    size_t n = 0;
    int rc = undo_list(m->store, m->id, &list, &n, e);

    if (rc == 0 && (n == 0 || list[0].id != id || strcmp(list[0].verb, "revert") != 0))
        rc = err_set(e, VT_NOENT, "this is no revert, or not what was done last");
    if (rc == 0)
        *ret_head = list[0].head;
    undo_list_free(list, n);
    return rc;
}

/* What is not here any more is no error: the caller has the disks to go back to. */
static void work_undo(struct monitor *m, struct qmp_call *call)
{
    struct revert v = {.m = m};
    uint64_t begin = clock_mono_ns(), entry = 0;
    json_t *result = NULL;
    int64_t head = 0;
    bool gone;

    v.rc = ephemeral(m, &v.err);
    if (v.rc == 0)
        v.rc = json_get_u64(call->args, "entry", JSON_REQUIRED, &entry, WHERE, &v.err);
    if (v.rc == 0) {
        pthread_mutex_lock(&m->change);
        v.rc = find_entry(m, (int64_t)entry, &head, &v.err);
        gone = v.rc < 0;
        if (v.rc == 0) {
            capture_drain(m->capture); /* before the guest stands */
            loop_call_wait(m->loop, revert_begin, &v);
            v.rc = capture_undo(m->capture, (int64_t)entry, head, &v.r, &v.broken, &v.err);
            gone = v.rc == VT_NOENT && !v.broken;
            if (v.rc == 0)
                v.rc = monitor_keep_discs(m, &v.err);
            loop_call_wait(m->loop, revert_end, &v);
        }
        pthread_mutex_unlock(&m->change);
        if (gone && v.rc == VT_NOENT) {
            result = json_pack("{s:b, s:o}", "memory", 0, "why", json_string_lossy(v.err.msg, strlen(v.err.msg)));
            v.rc = 0;
        } else if (v.rc == 0) {
            result = json_pack("{s:b, s:o, s:I, s:s}", "memory", 1, "seconds", json_seconds(clock_mono_ns() - begin),
                               "pages", (json_int_t)v.r.pages, "power", power_name(v.r.power));
        }
    }
    answer(call, v.rc, result, &v.err);
}

void cmd_undo(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_undo);
}

/* ---- hashes */

static int add_disks(struct monitor *m, struct hashes *h, struct err *e)
{
    int rc = 0;

    for (unsigned i = 0; i < m->config.ndisks && rc == 0; i++) {
        struct image *image = NULL;

        rc = head_image(m->head, m->config.disk[i].slot, &image, e);
        if (rc == 0)
            rc = hashes_add_disk(h, m->config.disk[i].slot, image, e);
        image_close(image);
    }
    return rc;
}

/* [change held, nothing being stored, vCPU paused] */
static int add_all(struct monitor *m, struct hashes *h, struct err *e)
{
    struct vm *vm = m->machine->vm;
    cleanup(cleanup_free) char *state = NULL;
    int rc = machine_quiesce_disks(m->machine, e);

    for (unsigned i = 0; i < vm_images(vm) && rc == 0; i++)
        rc = hashes_add_memory(h, vm_image_name(vm, i), vm_image_track(vm, i), e);
    if (rc == 0)
        rc = add_disks(m, h, e);
    if (rc == 0 && !(state = vm_state_dump(vm)))
        rc = err_set(e, VT_FAIL, "out of memory");
    return rc < 0 ? rc : hashes_add_state(h, state, e);
}

/* What a machine holds that has come to nothing says nothing. */
static int may_hash(const struct monitor *m, struct err *e)
{
    switch ((enum run_state)m->state) { /* clang wants the load apart */
    case RUN_FAILED:
        return err_set(e, VT_BUSY, "the machine has failed (%s): revert or stop it", m->failure.msg);
    case RUN_SHUTDOWN:
        return err_set(e, VT_GONE, "the machine is going down");
    default:
        return 0;
    }
}

static void work_hash(struct monitor *m, struct qmp_call *call)
{
    cleanup(cleanup_hashes) struct hashes *h = NULL;
    struct err err = {0};
    json_t *found = NULL;
    int rc = hashes_new(&h, &err);

    if (rc == 0) {
        pthread_mutex_lock(&m->change);
        capture_drain(m->capture); /* before the guest stands */
        rc = may_hash(m, &err);
        vcpu_pause(m->machine->vcpu);
        if (rc == 0)
            rc = add_all(m, h, &err);
        vcpu_resume(m->machine->vcpu);
        pthread_mutex_unlock(&m->change);
    }
    if (rc == 0)
        rc = hashes_end(h, &found, &err);
    answer(call, rc, rc == 0 ? json_pack("{s:o}", "hash", found) : NULL, &err);
}

void cmd_hash(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_hash);
}
