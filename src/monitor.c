/* The life of the process that runs one machine. It holds the machine's lock, inherited from who started it; it
 * says over the ready descriptor that its machine stands, or why not; it ends when the guest powers off, on "quit" or
 * SIGTERM, and, for an ephemeral machine, with the connection it was started with. */
#include "src/autosnap.h"
#include "src/gdb.h"
#include "src/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include "src/base/banned.h"
#include "src/base/io.h"
#include "src/base/json.h"
#include "src/base/lastwords.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/client.h"
#include "src/park.h"

#define LOG_EVERY (2 * NS_PER_SEC)

struct start {
    const char *store;
    int64_t machine, fork_of, restore;
    uint64_t park, snapshot_memory;
    int lock_fd, ready_fd, client_fd;
    bool paused, cache_unsafe, frozen, keep_clock;
    const char *gdb; /* where to listen for a debugger; NULL: none */
    const char *pcap;
};

static int int_option(const char *name, uint64_t max, uint64_t *ret, struct err *e)
{
    int rc = number_parse(optarg, 0, max, ret, e);

    return rc < 0 ? err_prefix(e, rc, "%s", name) : 0;
}

static int parse(int argc, char **argv, struct start *s, struct err *e)
{
    static const struct option words[] = {
        {"store", required_argument, NULL, 's'},
        {"machine", required_argument, NULL, 'm'},
        {"fork", required_argument, NULL, 'f'},
        {"lock-fd", required_argument, NULL, 'l'},
        {"ready-fd", required_argument, NULL, 'r'},
        {"client-fd", required_argument, NULL, 'c'},
        {"restore", required_argument, NULL, 'R'},
        {"park", required_argument, NULL, 'P'},
        {"snapshot-memory", required_argument, NULL, 'M'},
        {"gdb", required_argument, NULL, 'g'},
        {"pcap", required_argument, NULL, 'w'},
        {"paused", no_argument, NULL, 'p'},
        {"cache-unsafe", no_argument, NULL, 'u'},
        {"frozen", no_argument, NULL, 'z'},
        {"keep-clock", no_argument, NULL, 'k'},
        {0},
    };
    int c, rc = 0;

    *s = (struct start){.lock_fd = -1, .ready_fd = -1, .client_fd = -1};
    opterr = 0;
    while (rc == 0 && (c = getopt_long(argc, argv, ":", words, NULL)) != -1) {
        uint64_t n = 0;
        if (c == ':' || c == '?')
            return err_set(e, VT_USAGE, "vmtest-monitor: bad option %s", argv[optind - 1]);
        if (strchr("mfRPM", c))
            rc = int_option(argv[optind - 2], INT64_MAX, &n, e);
        else if (strchr("lrc", c))
            rc = int_option(argv[optind - 2], 1u << 20, &n, e);
        switch (c) {
        case 's':
            s->store = optarg;
            break;
        case 'm':
            s->machine = (int64_t)n;
            break;
        case 'f':
            s->fork_of = (int64_t)n;
            break;
        case 'P':
            s->park = n;
            break;
        case 'M':
            s->snapshot_memory = n;
            break;
        case 'R':
            s->restore = (int64_t)n;
            break;
        case 'l':
            s->lock_fd = (int)n;
            break;
        case 'r':
            s->ready_fd = (int)n;
            break;
        case 'c':
            s->client_fd = (int)n;
            break;
        case 'g':
            s->gdb = optarg;
            break;
        case 'w':
            s->pcap = optarg;
            break;
        case 'p':
            s->paused = true;
            break;
        case 'z':
            s->frozen = true;
            break;
        case 'k':
            s->keep_clock = true;
            break;
        default:
            s->cache_unsafe = true;
            break;
        }
    }
    if (rc == 0 && (!s->store || !s->machine == !s->fork_of || optind < argc))
        return err_set(e, VT_USAGE, "vmtest-monitor: it is started by vmtest, not by hand");
    return rc;
}

/* Descriptors that were inherited must not go on to children of ours. */
static void keep_fd(int fd)
{
    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void tell_ready(int fd, int rc, const struct err *err)
{
    cleanup(cleanup_json) json_t *msg = NULL;
    cleanup(cleanup_free) char *text = NULL;

    if (fd < 0)
        return;
    msg = rc == 0
              ? json_pack("{s:b}", "ready", 1)
              : json_pack("{s:{s:i, s:o}}", "error", "code", rc, "desc", json_string_lossy(err->msg, strlen(err->msg)));
    text = json_text(msg);
    if (text) {
        io_write_full(fd, text, strlen(text), "ready", NULL);
        io_write_full(fd, "\n", 1, "ready", NULL);
    }
    close(fd);
}

/* ---- what the guest and the host tell us */

static void drain_log(struct monitor *m)
{
    char *line;

    while (m->machine && (line = vm_log_line(m->machine->vm)) != NULL) {
        log_msg(&m->log, LOG_INFO, "machine: %s", line);
        free(line);
    }
}

static void on_log_timer(void *opaque)
{
    struct monitor *m = opaque;

    drain_log(m);
    if (m->pcap)
        pcap_flush(m->pcap);
    m->log_timer.deadline = loop_now() + LOG_EVERY;
}

static void on_signal(void *opaque, short re)
{
    struct monitor *m = opaque;
    struct signalfd_siginfo si;

    (void)re;
    if (read(m->signals.fd, &si, sizeof si) != sizeof si)
        return;
    log_msg(&m->log, LOG_WARN, "ended by signal %u", si.ssi_signo);
    monitor_shut(m, "host-signal");
}

static void on_end(void *opaque)
{
    struct monitor *m = opaque;

    drain_log(m);
    monitor_ended(m);
}

static void vcpu_ended(void *opaque, const struct vcpu_end *end)
{
    struct monitor *m = opaque;

    m->end = *end; /* the vCPU stands now, until the loop has seen it */
    atomic_store(&m->end_pending, true);
    loop_call(m->loop, on_end, m);
}

struct trouble {
    struct monitor *m;
    enum blk_op op;
    bool held;
    struct err why;
};

/* Loop's thread. A guest that is told of a failed write gives up its file system: it stands instead, until somebody has
 * made room and says "cont". */
static void on_trouble(void *opaque)
{
    cleanup(cleanup_free) struct trouble *t = opaque;
    struct monitor *m = t->m;

    log_msg(&m->log, LOG_ERROR, "disk: %s", t->why.msg);
    qmp_event(m->qmp, "BLOCK_IO_ERROR",
              json_pack("{s:s, s:s, s:s#}", "operation", t->op == BLK_READ ? "read" : "write", "action",
                        t->held ? "stop" : "report", "reason", t->why.msg,
                        (int)strnlen(t->why.msg, sizeof t->why.msg)));
    m->failure = t->why;
    if (t->held && m->state == RUN_RUNNING) {
        vcpu_pause(m->machine->vcpu);
        m->state = RUN_IO_ERROR;
        qmp_event(m->qmp, "STOP", NULL);
    }
}

/* Worker's thread. */
static void disk_trouble(void *opaque, enum blk_op op, bool held, const struct err *why)
{
    struct monitor *m = opaque;
    struct trouble *t = calloc(1, sizeof *t);

    vt_assert(t);
    *t = (struct trouble){.m = m, .op = op, .held = held, .why = *why};
    loop_call(m->loop, on_trouble, t);
}

static void on_owner_gone(void *opaque)
{
    struct monitor *m = opaque;

    if (m->park)
        park_back(m->park);
    else
        monitor_shut(m, "owner-gone");
}

/* ---- start and end */

static int watch_signals(struct monitor *m, struct err *e)
{
    sigset_t set;

    ending_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error like a full disk */
    m->signals =
        (struct loop_fd){.fd = signalfd(-1, &set, SFD_CLOEXEC), .events = POLLIN, .fn = on_signal, .opaque = m};
    if (m->signals.fd < 0)
        return err_set(e, VT_FAIL, "signalfd: %m");
    loop_add(m->loop, &m->signals);
    return 0;
}

static int open_machine(struct monitor *m, const struct start *s, struct err *e)
{
    cleanup(machine_info_release) struct machine_info info = {0};
    int rc;

    if (s->lock_fd >= 0) {
        m->lock_fd = s->lock_fd;
        rc = machine_lock_adopt(m->store, s->machine, s->lock_fd, e);
    } else {
        rc = machine_lock(m->store, s->machine, &m->lock_fd, e);
    }
    if (rc == 0)
        rc = machine_get(m->store, s->machine, &info, e);
    if (rc == 0)
        rc = config_parse(info.config, &m->config, e);
    if (rc < 0)
        return rc;
    m->name = strdup(info.name);
    rc = head_open(m->store, s->machine, s->cache_unsafe ? HEAD_UNSAFE : 0, &m->head, e);
    if (rc == 0)
        head_prepare(m->head, NULL); /* now, and not when the first snapshot is waited for */
    return rc;
}

static int open_fork(struct monitor *m, const struct start *s, struct err *e)
{
    cleanup(snapshot_info_release) struct snapshot_info snap = {0};
    cleanup(machine_info_release) struct machine_info info = {0};
    int rc = snapshot_get(m->store, s->fork_of, &snap, e);

    if (rc == 0)
        rc = machine_get(m->store, snap.machine, &info, e);
    if (rc == 0)
        rc = config_parse(info.config, &m->config, e);
    if (rc == 0)
        rc = config_set_hardware(&m->config, snap.hardware, e);
    if (rc < 0)
        return rc;
    m->config.nforwards = 0; /* they are the machine's, not its forks': a port has one listener */
    m->name = strdup(info.name);
    return head_fork(m->store, s->fork_of, &m->head, e);
}

/* Is *field what is there now? Else it is made so. */
static int keep_disc(char **field, const char *path, bool *ret_changed, struct err *e)
{
    char *copy;

    if (*field == path || (*field && path && strcmp(*field, path) == 0))
        return 0;
    copy = path ? strdup(path) : NULL;
    if (path && !copy)
        return err_set(e, VT_FAIL, "out of memory");
    free(*field);
    *field = copy;
    *ret_changed = true;
    return 0;
}

int monitor_keep_discs(struct monitor *m, struct err *e)
{
    cleanup(cleanup_free) char *text = NULL;
    bool changed = false;
    int rc = keep_disc(&m->config.cdrom, m->machine->disc.path, &changed, e);

    for (unsigned i = 0; i < FLOPPY_DRIVES && rc == 0; i++)
        rc = keep_disc(&m->config.floppy[i], machine_floppy(m->machine, i), &changed, e);
    if (rc < 0 || !changed)
        return rc;
    text = config_text(&m->config);
    if (!text)
        return err_set(e, VT_USAGE, "the disc's path is not UTF-8");
    return m->fork_of ? 0 : machine_set_config(m->store, m->id, text, e);
}

static int make_machine(struct monitor *m, struct err *e)
{
    struct machine_spec spec = {.config = &m->config,
                                .store_uuid = store_uuid(m->store),
                                .alone = m->fork_of != 0,
                                .hostname = m->name,
                                .ended = vcpu_ended,
                                .trouble = disk_trouble,
                                .opaque = m};
    int rc;

    for (unsigned i = 0; i < m->config.ndisks; i++) {
        spec.disk[i] = head_disk(m->head, m->config.disk[i].slot);
        if (!spec.disk[i])
            return err_set(e, VT_CORRUPT, "the machine's store has no %s", m->config.disk[i].slot);
    }
    rc = machine_new(m->loop, &spec, &m->machine, e);
    return rc < 0 ? rc : capture_new(m->store, m->head, m->machine, &m->capture, e);
}

/* Goes on where its snapshot was, or boots, now or at the first "cont". */
static int first_state(struct monitor *m, const struct start *s, struct err *e)
{
    int64_t from = s->fork_of ? s->fork_of : s->restore;
    enum power power = POWER_OFF;
    int rc = 0;

    if (from)
        rc = capture_restore(m->capture, from, &power, e);
    if (rc == 0 && power != POWER_OFF) {
        m->booted = true;
        atomic_store(&m->stale, true);
        if (!s->gdb) /* translations for a debugger are others */
            warm_begin(&m->warm, m->store, m->machine, from);
        if (!m->keep_clock)
            vm_set_wall(m->machine->vm, clock_wall_ns() / (int64_t)NS_PER_SEC);
    } else if (rc == 0 && (!s->paused || s->gdb)) { /* a debugger sees the first instruction */
        rc = machine_boot(m->machine, e);
        m->booted = rc == 0;
    }
    return rc;
}

static int serve(struct monitor *m, const struct start *s, struct err *e)
{
    char path[108];
    int rc = qmp_new(m->loop, monitor_commands, m, &m->qmp, e);

    if (rc == 0 && s->machine)
        rc = client_socket_path(store_uuid(m->store), s->machine, true, path, sizeof path, e);
    if (rc == 0 && s->machine)
        rc = qmp_listen(m->qmp, path, e);
    if (rc == 0 && s->fork_of && s->park)
        rc = park_new(m, s->park, &m->park, e);
    if (rc == 0 && s->client_fd >= 0)
        rc = qmp_serve(m->qmp, s->client_fd, s->fork_of ? on_owner_gone : NULL, m, e);
    return rc;
}

/* ---- the debugger */

static void debugger_runs(void *opaque)
{
    struct monitor *m = opaque;
    struct err err = {0};

    if ((m->state == RUN_PRELAUNCH || m->state == RUN_PAUSED) && monitor_cont(m, &err) < 0)
        log_msg(&m->log, LOG_ERROR, "%s", err.msg);
}

static void debugger_resets(void *opaque)
{
    struct monitor *m = opaque;
    struct err err = {0};

    if (monitor_reset(m, &err) < 0)
        log_msg(&m->log, LOG_ERROR, "%s", err.msg);
}

static void debugger_kills(void *opaque)
{
    monitor_shut(opaque, "debugger");
}

static int let_debugger_in(struct monitor *m, const struct start *s, struct err *e)
{
    struct gdb_hooks hooks = {debugger_runs, debugger_resets, debugger_kills, m};

    return s->gdb ? gdb_new(m->loop, m->machine, s->gdb, false, &hooks, &m->gdb, e) : 0;
}

static int set_up(struct monitor *m, const struct start *s, struct err *e)
{
    int rc = loop_new(&m->loop, e);

    if (rc == 0)
        rc = watch_signals(m, e);
    m->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (rc == 0 && m->end_fd < 0)
        rc = err_set(e, VT_FAIL, "eventfd: %m");
    if (rc == 0)
        rc = store_open(s->store, 0, &m->store, e);
    if (rc == 0)
        rc = s->machine ? open_machine(m, s, e) : open_fork(m, s, e);
    if (rc == 0)
        rc = make_machine(m, e);
    if (rc == 0 && s->snapshot_memory)
        capture_bound(m->capture, s->snapshot_memory);
    if (rc == 0)
        rc = s->pcap ? pcap_open(s->pcap, &m->pcap, e) : 0;
    if (rc == 0 && m->pcap)
        machine_capture(m->machine, m->pcap);
    if (rc == 0)
        rc = first_state(m, s, e);
    if (rc == 0)
        rc = let_debugger_in(m, s, e);
    if (rc == 0)
        rc = serve(m, s, e);
    return rc;
}

static void tear_down(struct monitor *m)
{
    struct err err = {0};

    if (m->machine) {
        agent_shut(m->machine->agent);
        execport_shut(m->machine->exec);
    }
    while (atomic_load(&m->jobs))
        loop_turn(m->loop, 10);
    if (m->qmp)
        qmp_flush(m->qmp, 2000);
    drain_log(m);
    park_free(m->park);
    gdb_free(m->gdb);
    warm_end(&m->warm, m->capture, m->machine);
    machine_free(m->machine);
    m->machine = NULL;
    if (pcap_close(m->pcap, &err) < 0)
        log_msg(&m->log, LOG_ERROR, "%s", err.msg);
    capture_free(m->capture);
    if (head_close(m->head, &err) < 0)
        log_msg(&m->log, LOG_ERROR, "%s", err.msg);
    if (m->store && !m->fork_of && store_maintain(m->store, &err) < 0)
        log_msg(&m->log, LOG_WARN, "%s", err.msg);
    store_close(m->store);
    qmp_free(m->qmp);
    loop_free(m->loop);
    config_release(&m->config);
    free(m->name);
}

int monitor_main(int argc, char **argv)
{
    struct monitor m = {.log = {.fd = STDERR_FILENO, .level = LOG_INFO}, .lock_fd = -1, .end_fd = -1};
    struct err err = {0};
    struct start s;
    int rc = parse(argc, argv, &s, &err);

    if (rc < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return -rc;
    }
    keep_fd(s.lock_fd);
    keep_fd(s.ready_fd);
    keep_fd(s.client_fd);
    pthread_mutex_init(&m.change, NULL);
    pthread_mutex_init(&m.readying, NULL);
    m.frozen = s.frozen;
    m.keep_clock = s.keep_clock || s.frozen;
    m.id = s.machine;
    m.fork_of = s.fork_of;
    rc = set_up(&m, &s, &err);
    if (rc == 0) {
        log_msg(&m.log, LOG_INFO, "%s: started%s", m.name, s.fork_of || s.restore ? " from a snapshot" : "");
        m.log_timer = (struct loop_timer){.fn = on_log_timer, .opaque = &m, .deadline = loop_now() + LOG_EVERY};
        loop_timer_add(m.loop, &m.log_timer);
        autosnap_arm(&m);
        if (!s.paused)
            rc = monitor_cont(&m, &err);
    }
    tell_ready(s.ready_fd, rc, &err);
    if (rc == 0)
        loop_run(m.loop);
    else
        log_msg(&m.log, LOG_ERROR, "%s", err.msg);
    tear_down(&m);
    return rc == 0 ? 0 : -rc;
}
