/* The monitor's commands, as client.h describes them. Short ones run on the loop's thread; what waits for the guest or
 * for a disk runs on a thread of its own and answers from there. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include "src/base/banned.h"
#include "src/base/io.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/autosnap.h"
#include "src/commands.h"
#include "src/copy.h"
#include "src/exec.h"
#include "src/install.h"
#include "src/monitor.h"
#include "src/park.h"

void answer(struct qmp_call *call, int rc, json_t *result, struct err *err)
{
    if (rc == 0) {
        qmp_return(call, result);
        return;
    }
    json_decref(result);
    if (!err->code)
        err->code = rc;
    qmp_fail(call, err);
}

/* ---- jobs */

struct job {
    struct monitor *m;
    struct qmp_call *call;
    void (*work)(struct monitor *m, struct qmp_call *call);
};

static void *job_main(void *opaque)
{
    struct job *j = opaque;

    j->work(j->m, j->call);
    atomic_fetch_sub(&j->m->jobs, 1);
    free(j);
    return NULL;
}

void start_job(struct monitor *m, struct qmp_call *call, void (*work)(struct monitor *m, struct qmp_call *call))
{
    struct job *j = calloc(1, sizeof *j);
    struct err err = {0};
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    if (m->state == RUN_SHUTDOWN) {
        free(j);
        err_set(&err, VT_GONE, "the machine is going down");
        qmp_fail(call, &err);
        return;
    }
    vt_assert(j);
    *j = (struct job){.m = m, .call = call, .work = work};
    atomic_fetch_add(&m->jobs, 1);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, job_main, j);
    pthread_attr_destroy(&attr);
    if (rc) {
        atomic_fetch_sub(&m->jobs, 1);
        free(j);
        err_set(&err, VT_FAIL, "cannot start a thread: %s", strerror(rc));
        qmp_fail(call, &err);
    }
}

/* A number of seconds; absent: *ret stays. */
int get_seconds(const json_t *args, const char *key, uint64_t *ret_ns, struct err *e)
{
    const json_t *v = json_object_get(args, key);
    double s = json_number_value(v);

    if (!v || json_is_null(v))
        return 0;
    if (!json_is_number(v) || !(s >= 0) || s > 1e9)
        return err_set(e, VT_USAGE, "\"%s\" is not a number of seconds", key);
    *ret_ns = (uint64_t)(s * (double)NS_PER_SEC);
    return 0;
}

json_t *json_seconds(uint64_t ns)
{
    return json_real((double)ns / (double)NS_PER_SEC);
}

/* ---- state */

static void cmd_query_status(void *opaque, struct qmp_call *call)
{
    struct monitor *m = opaque;

    qmp_return(call, json_pack("{s:s, s:b, s:b}", "status", run_state_name(m->state), "running",
                               m->state == RUN_RUNNING, "singlestep", 0));
}

static void cmd_stop(void *opaque, struct qmp_call *call)
{
    monitor_stop(opaque);
    qmp_return(call, NULL);
}

static void cmd_cont(void *opaque, struct qmp_call *call)
{
    struct err err = {0};

    answer(call, monitor_cont(opaque, &err), NULL, &err);
}

static void cmd_reset(void *opaque, struct qmp_call *call)
{
    struct err err = {0};

    answer(call, monitor_reset(opaque, &err), NULL, &err);
}

static int inject_nmi(struct monitor *m, struct err *e)
{
    bool taken;

    switch ((enum run_state)m->state) { /* clang wants the load apart */
    case RUN_RUNNING:
    case RUN_PAUSED:
    case RUN_IO_ERROR:
        vcpu_pause(m->machine->vcpu);
        taken = vm_nmi(m->machine->vm);
        vcpu_resume(m->machine->vcpu);
        return taken ? 0 : err_set(e, VT_BUSY, "the guest has NMI masked in its local APIC");
    default:
        return err_set(e, VT_BUSY, "the machine's state is %s", run_state_name(m->state));
    }
}

static void cmd_inject_nmi(void *opaque, struct qmp_call *call)
{
    struct err err = {0};

    answer(call, inject_nmi(opaque, &err), NULL, &err);
}

static void cmd_quit(void *opaque, struct qmp_call *call)
{
    qmp_return(call, NULL);
    monitor_shut(opaque, "host-qmp-quit");
}

static void work_powerdown(struct monitor *m, struct qmp_call *call)
{
    struct err err = {0};
    int rc = 0;

    if (machine_agent_open(m->machine))
        rc = agent_shutdown(m->machine->agent, "powerdown", &err);
    else
        vm_power_button(m->machine->vm);

    answer(call, rc, NULL, &err);
}

static void cmd_powerdown(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_powerdown);
}

static void cmd_info(void *opaque, struct qmp_call *call)
{
    struct monitor *m = opaque;
    json_t *r = json_pack("{s:I, s:o, s:s, s:b, s:i, s:I, s:I, s:i, s:i, s:b}", "id", (json_int_t)m->id, "name",
                          json_string_lossy(m->name, strlen(m->name)), "status", run_state_name(m->state), "running",
                          m->state == RUN_RUNNING, "pid", (int)getpid(), "mem", (json_int_t)m->config.mem, "parent",
                          (json_int_t)head_parent(m->head), "disks", (int)m->config.ndisks, "nics",
                          (int)m->config.nnics, "agent", machine_agent_open(m->machine));

    if (r && m->failure.code)
        json_object_set_new(r, "failure", json_string_lossy(m->failure.msg, strlen(m->failure.msg)));
    qmp_return(call, r);
}

static void cmd_stats(void *opaque, struct qmp_call *call)
{
    struct monitor *m = opaque;
    cleanup(cleanup_free) char *text = vm_stats(m->machine->vm);

    qmp_return(call, json_pack("{s:o}", "text", json_string_lossy(text ? text : "", text ? strlen(text) : 0)));
}

static int wait_off(struct monitor *m, const struct qmp_call *call, uint64_t timeout, struct err *e)
{
    uint64_t until = clock_mono_ns() + timeout;

    for (;;) {
        struct pollfd p[2] = {{.fd = m->end_fd, .events = POLLIN}, {.fd = qmp_call_gone_fd(call), .events = POLLIN}};
        uint64_t now = clock_mono_ns();

        if (now >= until)
            return err_set(e, VT_TIMEOUT, "the machine is still on");
        if (poll(p, 2, (int)MIN((until - now) / NS_PER_MS + 1, (uint64_t)3600000)) < 0 && errno != EINTR)
            return err_set(e, VT_FAIL, "poll: %m");
        if (p[0].revents)
            return 0;
        if (p[1].revents)
            return err_set(e, VT_GONE, "given up");
    }
}

static void work_wait(struct monitor *m, struct qmp_call *call)
{
    uint64_t timeout = 3600 * 24 * 365 * NS_PER_SEC;
    struct err err = {0};
    const char *what = NULL;
    int rc = json_get_str(call->args, "for", JSON_REQUIRED, &what, WHERE, &err);

    if (rc == 0)
        rc = get_seconds(call->args, "timeout", &timeout, &err);
    if (rc == 0 && strcmp(what, "agent") == 0)
        rc = agent_wait(m->machine->agent, (int)MIN(timeout / NS_PER_MS, (uint64_t)INT32_MAX), qmp_call_gone_fd(call),
                        &err);
    else if (rc == 0 && strcmp(what, "off") == 0)
        rc = wait_off(m, call, timeout, &err);
    else if (rc == 0 && strcmp(what, "text") == 0)
        rc = wait_text(m, call, timeout, &err);
    else if (rc == 0)
        rc = err_set(&err, VT_USAGE, "\"%s\": can wait for agent, off or text", what);
    answer(call, rc, NULL, &err);
}

static void cmd_wait(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_wait);
}

/* ---- the snapshot tree */

int ephemeral(const struct monitor *m, struct err *e)
{
    return m->fork_of ? err_set(e, VT_BUSY, "a machine that is thrown away keeps no snapshots") : 0;
}

static int parse_snapshot(const struct qmp_call *call, struct capture_spec *spec, struct err *e)
{
    const char *how = "auto";
    int rc = json_get_str(call->args, "name", JSON_REQUIRED, &spec->name, WHERE, e);

    spec->quiesce_timeout = 10 * NS_PER_SEC;
    if (rc == 0)
        rc = json_get_str(call->args, "note", JSON_OPTIONAL, &spec->note, WHERE, e);
    if (rc == 0)
        rc = json_get_str(call->args, "quiesce", JSON_OPTIONAL, &how, WHERE, e);
    if (rc == 0)
        rc = get_seconds(call->args, "quiesce-timeout", &spec->quiesce_timeout, e);
    if (rc == 0 && !quiesce_parse(how, &spec->quiesce))
        rc = err_set(e, VT_USAGE, "\"quiesce\" is auto, require or no");
    return rc;
}

/* A machine that is not whole, or not there, cannot be kept. */
static int may_snapshot(const struct monitor *m, struct err *e)
{
    switch ((enum run_state)m->state) { /* clang wants the load apart */
    case RUN_RUNNING:
    case RUN_PAUSED:
    case RUN_PANICKED:
        return 0;
    case RUN_IO_ERROR:
        return err_set(e, VT_BUSY, "a disk is in trouble (%s): resume the machine first", m->failure.msg);
    default:
        return err_set(e, VT_BUSY, "the machine's state is %s", run_state_name(m->state));
    }
}

/* What the next snapshot would have to sync for itself: it comes to the three that it promises. */
static void prepare_next(struct monitor *m)
{
    store_maintain(m->store, NULL);
    pthread_mutex_lock(&m->change);
    head_prepare(m->head, NULL); /* an error comes again, and is told, when a snapshot needs it */
    pthread_mutex_unlock(&m->change);
}

/* A snapshot under way, as its watchers see it. */
struct snapshotting {
    struct monitor *m;
    struct qmp_call *call; /* NULL: answered */
    struct capture_spec spec;
    uint64_t told; /* when its progress was, last */
    bool async;
};

#define PROGRESS_EVERY (100 * NS_PER_MS)

static void on_progress(void *opaque, uint64_t pages, uint64_t of)
{
    struct snapshotting *s = opaque;
    uint64_t now = clock_mono_ns();

    if (now - s->told < PROGRESS_EVERY)
        return;
    s->told = now;
    qmp_event(s->m->qmp, "VMTEST_SNAPSHOT_PROGRESS",
              json_pack("{s:s, s:I, s:I}", "name", s->spec.name, "pages", (json_int_t)pages, "of", (json_int_t)of));
}

static void add_warning(json_t *result, const struct capture_result *r)
{
    if (*r->warning)
        json_object_set_new(result, "warning", json_string_lossy(r->warning, strlen(r->warning)));
}

/* The guest goes on: that is all that an asynchronous one waits for. */
static void on_taken(void *opaque, const struct capture_result *r)
{
    struct snapshotting *s = opaque;
    json_t *result;

    s->told = clock_mono_ns();
    if (!s->async)
        return;
    result = json_pack("{s:o, s:b}", "stopped_seconds", json_seconds(r->stopped), "ram", 1);
    add_warning(result, r);
    qmp_return(s->call, result);
    s->call = NULL;
}

static int take_snapshot(struct snapshotting *s, struct capture_result *r, struct err *e)
{
    struct monitor *m = s->m;
    struct taken *taken;
    int64_t there;
    int rc;

    pthread_mutex_lock(&m->change);
    rc = may_snapshot(m, e);
    if (rc == 0 && snapshot_find(m->store, m->id, s->spec.name, true, &there, NULL) == 0)
        rc = err_set(e, VT_EXISTS, "%s: there is a snapshot of this name", s->spec.name);
    s->spec.paused = m->state != RUN_RUNNING;
    if (rc == 0)
        rc = capture_take(m->capture, &s->spec, &taken, e);
    pthread_mutex_unlock(&m->change);
    return rc == 0 ? capture_store(taken, r, e) : rc;
}

static void tell_snapshot(struct snapshotting *s, int rc, const struct capture_result *r, struct err *err)
{
    json_t *result = NULL;

    if (rc == 0) {
        result = json_pack("{s:I, s:o, s:o, s:I, s:I, s:b}", "id", (json_int_t)r->id, "seconds", json_seconds(r->took),
                           "stopped_seconds", json_seconds(r->stopped), "pages", (json_int_t)r->pages, "blocks",
                           (json_int_t)r->blocks, "ram", 1);
        add_warning(result, r);
    }
    if (s->call) {
        answer(s->call, rc, result, err);
        return;
    }
    if (rc < 0)
        result = json_pack("{s:i, s:o}", "code", rc, "desc", json_string_lossy(err->msg, strlen(err->msg)));
    json_object_set_new(result, "name", json_string(s->spec.name));
    qmp_event(s->m->qmp, rc == 0 ? "VMTEST_SNAPSHOT" : "VMTEST_SNAPSHOT_FAILED", result);
}

static void work_snapshot(struct monitor *m, struct qmp_call *call)
{
    struct snapshotting s = {.m = m, .call = call, .async = json_is_true(json_object_get(call->args, "async"))};
    json_t *args = json_incref(call->args); /* the specification's words are theirs: they outlive the answer */
    struct capture_result r = {0};
    struct err err = {0};
    int rc = ephemeral(m, &err);

    if (rc == 0)
        rc = parse_snapshot(call, &s.spec, &err);
    s.spec.watch = (struct capture_watch){on_taken, on_progress, &s};
    if (rc == 0)
        rc = take_snapshot(&s, &r, &err);
    if (rc == 0)
        log_msg(&m->log, LOG_INFO, "snapshot %s: %llu pages, stopped for %llu us", s.spec.name,
                (unsigned long long)r.pages, (unsigned long long)r.stopped / 1000);
    else
        log_msg(&m->log, LOG_ERROR, "snapshot failed: %s", err.msg);
    tell_snapshot(&s, rc, &r, &err);
    json_decref(args);
    if (rc == 0 && !capture_busy(m->capture)) /* else the last one does */
        prepare_next(m);                      /* the snapshot is reported: nobody waits */
}

static void cmd_snapshot(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_snapshot);
}

int get_id(const struct qmp_call *call, int64_t *ret, struct err *e)
{
    uint64_t id = 0;
    int rc = json_get_u64(call->args, "id", JSON_REQUIRED, &id, WHERE, e);

    *ret = (int64_t)id;
    return rc;
}

/* Snapshots of other machines are none of ours. */
int check_ours(struct monitor *m, int64_t id, struct err *e)
{
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    int rc = snapshot_get(m->store, id, &s, e);

    if (rc == 0 && s.machine != m->id)
        rc = err_set(e, VT_NOENT, "snapshot %lld is of another machine", (long long)id);
    return rc;
}

static int change_disc(struct monitor *m, const struct qmp_call *call, bool floppy, struct err *e)
{
    const char *path = NULL;
    uint64_t drive = 0;
    int rc = json_get_str(call->args, "path", floppy ? JSON_OPTIONAL : JSON_REQUIRED, &path, WHERE, e);

    if (rc == 0 && floppy)
        rc = json_get_u64(call->args, "drive", JSON_OPTIONAL, &drive, WHERE, e);
    if (rc == 0 && path && *path && *path != '/')
        rc = err_set(e, VT_USAGE, "\"%s\" is not an absolute path", path);
    if (rc == 0 && drive >= FLOPPY_DRIVES)
        rc = err_set(e, VT_USAGE, "there is no floppy drive %llu", (unsigned long long)drive);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&m->change);
    vcpu_pause(m->machine->vcpu);
    rc =
        floppy ? machine_change_floppy(m->machine, (unsigned)drive, path, e) : machine_change_disc(m->machine, path, e);
    vcpu_resume(m->machine->vcpu);
    if (rc == 0)
        rc = monitor_keep_discs(m, e);
    pthread_mutex_unlock(&m->change);
    return rc;
}

static void work_disc(struct monitor *m, struct qmp_call *call)
{
    struct err err = {0};
    int rc = change_disc(m, call, strcmp(call->command, "vmtest-floppy") == 0, &err);

    answer(call, rc, NULL, &err);
}

static void cmd_disc(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_disc);
}

static void work_delete(struct monitor *m, struct qmp_call *call)
{
    struct err err = {0};
    int64_t id = 0;
    int rc = get_id(call, &id, &err);

    if (rc == 0)
        rc = check_ours(m, id, &err);
    pthread_mutex_lock(&m->change);
    if (rc == 0)
        rc = capture_detach(m->capture, id, &err);
    if (rc == 0)
        rc = snapshot_delete(m->store, id, &err);
    pthread_mutex_unlock(&m->change);
    answer(call, rc, NULL, &err);
}

static void cmd_delete(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_delete);
}

static void work_auto(struct monitor *m, struct qmp_call *call)
{
    struct err err = {0};
    uint64_t every = 0, keep = 0;
    int rc = ephemeral(m, &err);

    if (rc == 0)
        rc = json_get_u64(call->args, "every_ms", JSON_REQUIRED, &every, WHERE, &err);
    if (rc == 0)
        rc = json_get_u64(call->args, "keep", JSON_REQUIRED, &keep, WHERE, &err);
    if (rc == 0 && every && (every < 1000 || !keep || keep > CONFIG_MAX_AUTO))
        rc = err_set(&err, VT_USAGE, "\"every_ms\" or \"keep\" is out of range");
    if (rc == 0)
        rc = autosnap_set(m, every, (unsigned)keep, &err);
    answer(call, rc, NULL, &err);
}

static void cmd_auto(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_auto);
}

static void work_rename(struct monitor *m, struct qmp_call *call)
{
    struct err err = {0};
    const char *name = NULL;
    int64_t id = 0;
    int rc = get_id(call, &id, &err);

    if (rc == 0)
        rc = json_get_str(call->args, "name", JSON_REQUIRED, &name, WHERE, &err);
    if (rc == 0)
        rc = check_ours(m, id, &err);
    if (rc == 0)
        rc = snapshot_rename(m->store, id, name, &err);
    answer(call, rc, NULL, &err);
}

static void cmd_rename(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_rename);
}

/* ---- in the guest */

/* Text words of a JSON array, ended by NULL; strings stay the array's. */
static int get_words(const json_t *array, const char **words, size_t max, struct err *e)
{
    size_t i;
    json_t *v;

    if (json_array_size(array) >= max)
        return err_set(e, VT_USAGE, "more than %zu words", max - 1);
    json_array_foreach(array, i, v)
    {
        if (!json_is_string(v))
            return err_set(e, VT_USAGE, "a word that is not a string");
        words[i] = json_string_value(v);
    }
    words[json_array_size(array)] = NULL;
    return 0;
}

static int get_env(const json_t *object, struct strlist *ret, struct err *e)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)object, key, v)
    {
        if (!json_is_string(v))
            return err_set(e, VT_USAGE, "environment: %s is not a string", key);
        strlist_addf(ret, "%s=%s", key, json_string_value(v));
    }
    return ret->failed ? err_set(e, VT_FAIL, "out of memory") : 0;
}

static int exec_call(struct monitor *m, struct qmp_call *call, int *ret_status, struct err *e)
{
    cleanup(strlist_release) struct strlist env = {0};
    cleanup(cleanup_free) const char **argv = calloc((EXEC_WORDS_MAX + 1), sizeof *argv);
    struct exec_spec x = {.argv = argv, .cancel_fd = qmp_call_gone_fd(call)};
    json_t *words = NULL, *object = NULL;
    uint64_t rows = 0, cols = 0;
    struct exec_way way;
    bool with_in = true;
    unsigned nfds;
    int rc = argv ? json_get_array(call->args, "argv", JSON_REQUIRED, &words, WHERE, e) : VT_FAIL;

    if (rc == 0)
        rc = get_words(words, argv, (EXEC_WORDS_MAX + 1), e);
    if (rc == 0)
        rc = json_get_object(call->args, "env", JSON_OPTIONAL, &object, WHERE, e);
    if (rc == 0 && object)
        rc = get_env(object, &env, e);
    if (rc == 0)
        rc = json_get_str(call->args, "dir", JSON_OPTIONAL, &x.dir, WHERE, e);
    if (rc == 0)
        rc = json_get_str(call->args, "user", JSON_OPTIONAL, &x.user, WHERE, e);
    if (rc == 0)
        rc = json_get_bool(call->args, "tty", JSON_OPTIONAL, &x.tty, WHERE, e);
    if (rc == 0)
        rc = json_get_u64(call->args, "rows", JSON_OPTIONAL, &rows, WHERE, e);
    if (rc == 0)
        rc = json_get_u64(call->args, "cols", JSON_OPTIONAL, &cols, WHERE, e);
    if (rc == 0)
        rc = json_get_bool(call->args, "control", JSON_OPTIONAL, &x.has_control, WHERE, e);
    if (rc == 0)
        rc = json_get_bool(call->args, "stdin", JSON_OPTIONAL, &with_in, WHERE, e);
    if (rc == 0)
        rc = get_seconds(call->args, "timeout", &x.timeout, e);
    nfds = with_in ? 3 : 2;
    if (rc == 0 && call->nfds != nfds + x.has_control)
        rc = err_set(e, VT_USAGE, "vmtest-exec needs %u descriptors, got %u", nfds + x.has_control, call->nfds);
    if (rc == 0)
        rc = monitor_ready(m, call, READY_COMMAND, &way, e);
    if (rc < 0)
        return rc;
    x.env = (const char *const *)env.items;
    x.rows = (uint16_t)MIN(rows, (uint64_t)UINT16_MAX);
    x.cols = (uint16_t)MIN(cols, (uint64_t)UINT16_MAX);
    if (x.has_control)
        x.control_fd = call->fds[nfds];
    return exec_streams(&way, &x, with_in ? call->fds[0] : -1, call->fds[nfds - 2], call->fds[nfds - 1], ret_status, e);
}

static void work_exec(struct monitor *m, struct qmp_call *call)
{
    struct err err = {0};
    int status = 0, rc = exec_call(m, call, &status, &err);

    answer(call, rc, rc == 0 ? json_pack("{s:i}", "status", status) : NULL, &err);
}

static void cmd_exec(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_exec);
}

/* Both ways: a tree at a host path, or one file's bytes over a descriptor. */
static int copy_call(struct monitor *m, struct qmp_call *call, bool in, struct copy_count *ret, struct err *e)
{
    const char *guest = NULL, *host = NULL;
    struct exec_way way;
    struct agent *a;
    int rc = json_get_str(call->args, "guest", JSON_REQUIRED, &guest, WHERE, e);

    if (rc == 0)
        rc = json_get_str(call->args, "host", JSON_OPTIONAL, &host, WHERE, e);
    if (rc == 0 && host && host[0] != '/')
        rc = err_set(e, VT_USAGE, "%s: not an absolute path", host);
    if (rc == 0 && !host && call->nfds != 1)
        rc = err_set(e, VT_USAGE, "a copy needs a host path or one descriptor");
    if (rc == 0)
        rc = monitor_ready(m, call, READY_AGENT, &way, e);
    if (rc < 0)
        return rc;
    a = way.agent;
    if (host)
        return in ? copy_in(a, host, guest, ret, e) : copy_out(a, guest, host, ret, e);
    return in ? copy_in_fd(a, call->fds[0], guest, ret, e) : copy_out_fd(a, guest, call->fds[0], ret, e);
}

static void work_copy(struct monitor *m, struct qmp_call *call)
{
    bool in = strcmp(call->command, "vmtest-copy-in") == 0;
    struct copy_count n = {0};
    struct err err = {0};
    int rc = copy_call(m, call, in, &n, &err);

    answer(call, rc,
           rc == 0 ? json_pack("{s:I, s:I}", "files", (json_int_t)n.files, "bytes", (json_int_t)n.bytes) : NULL, &err);
}

static void cmd_copy(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_copy);
}

static void work_install(struct monitor *m, struct qmp_call *call)
{
    const char *path = NULL;
    struct err err = {0};
    struct exec_way way;
    int status = 0, rc = json_get_str(call->args, "path", JSON_REQUIRED, &path, WHERE, &err);

    if (rc == 0 && call->nfds != 2)
        rc = err_set(&err, VT_USAGE, "vmtest-install needs 2 descriptors, got %u", call->nfds);
    if (rc == 0)
        rc = install_check(path, &err);
    if (rc == 0)
        rc = monitor_ready(m, call, READY_AGENT | READY_COMMAND, &way, &err);
    if (rc == 0)
        rc = install_package(&way, path, call->fds[0], call->fds[1], qmp_call_gone_fd(call), &status, &err);
    answer(call, rc, rc == 0 ? json_pack("{s:i}", "status", status) : NULL, &err);
}

static void cmd_install(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_install);
}

static void cmd_console(void *opaque, struct qmp_call *call)
{
    struct monitor *m = opaque;
    const char *port = "serial0";
    struct err err = {0};
    int rc = json_get_str(call->args, "port", JSON_OPTIONAL, &port, WHERE, &err), fd;

    if (rc == 0 && strcmp(port, "serial0") != 0)
        rc = err_set(&err, VT_NOENT, "no port %s (there is serial0)", port);
    if (rc == 0 && call->nfds != 1)
        rc = err_set(&err, VT_USAGE, "vmtest-console needs one descriptor, got %u", call->nfds);
    if (rc == 0) {
        fd = qmp_take_fd(call, 0);
        rc = chrhost_attach(m->machine->serial_host, fd, fd, true, NULL, NULL, NULL, &err);
        if (rc < 0)
            close(fd);
    }
    answer(call, rc, NULL, &err);
}

const struct qmp_command monitor_commands[] = {
    {"query-status", cmd_query_status},
    {"stop", cmd_stop},
    {"cont", cmd_cont},
    {"system_reset", cmd_reset},
    {"system_powerdown", cmd_powerdown},
    {"inject-nmi", cmd_inject_nmi},
    {"quit", cmd_quit},
    {"vmtest-info", cmd_info},
    {"vmtest-stats", cmd_stats},
    {"vmtest-hash", cmd_hash},
    {"vmtest-wait", cmd_wait},
    {"vmtest-snapshot", cmd_snapshot},
    {"vmtest-revert", cmd_revert},
    {"vmtest-undo", cmd_undo},
    {"vmtest-cdrom", cmd_disc},
    {"vmtest-floppy", cmd_disc},
    {"vmtest-delete", cmd_delete},
    {"vmtest-rename", cmd_rename},
    {"vmtest-auto", cmd_auto},
    {"vmtest-exec", cmd_exec},
    {"vmtest-copy-in", cmd_copy},
    {"vmtest-copy-out", cmd_copy},
    {"vmtest-install", cmd_install},
    {"vmtest-console", cmd_console},
    {"vmtest-take", cmd_take},
    {"vmtest-type", cmd_type},
    {"send-key", cmd_send_key},
    {"input-send-event", cmd_input_send_event},
    {"screendump", cmd_screendump},
    {"vmtest-screenshot", cmd_screenshot},
    {"vmtest-screen", cmd_screen},
    {NULL, NULL},
};
