#include "src/oneshot.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include "src/base/banned.h"
#include "src/base/io.h"
#include "src/base/lastwords.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/gdb.h"
#include "src/loop.h"
#include "src/machine.h"
#include "src/rawdisk.h"
#include "src/screen.h"

#define STATUS_TIMEOUT 124
#define STATUS_OURS    125
#define FLAG_IF        0x200u

struct options {
    uint64_t timeout; /* ns, 0: none */
    bool no_reboot, log, stats;
    const char *gdb;        /* where to listen for a debugger; NULL: none */
    const char *screenshot; /* file to write at the end; NULL: none */
    const char *disk[CONFIG_MAX_DISKS];
    bool disk_write[CONFIG_MAX_DISKS];
};

struct oneshot {
    struct options opt;
    struct machine_config config;
    struct loop *loop;
    struct blockdev *disk[CONFIG_MAX_DISKS];
    struct machine *machine;
    struct gdb *gdb;
    bool triple; /* the guest stands after a triple fault, for its debugger */
    struct loop_timer timer, log_timer;
    struct loop_fd signals;
    struct vcpu_end end;
    int status; /* -1: still running */
};

static int set_text(char **field, const char *value, struct err *e)
{
    free(*field);
    *field = strdup(value);
    return *field ? 0 : err_set(e, VT_FAIL, "out of memory");
}

static int add_disk(struct oneshot *s, const char *file, bool write, struct err *e)
{
    struct machine_config *c = &s->config;

    if (c->ndisks == CONFIG_MAX_DISKS)
        return err_set(e, VT_USAGE, "more than %d disks", CONFIG_MAX_DISKS);
    s->opt.disk[c->ndisks] = file;
    s->opt.disk_write[c->ndisks] = write;
    snprintf(c->disk[c->ndisks].slot, sizeof c->disk[0].slot, "disk%u", c->ndisks);
    c->ndisks++;
    return 0;
}

static int add_floppy(struct oneshot *s, const char *file, struct err *e)
{
    unsigned n = s->config.ndisks;
    int rc = config_floppy_add_file(&s->config, file, e);

    if (rc == 0)
        s->opt.disk[n] = file;
    return rc;
}

static int option(struct oneshot *s, int c, struct err *e)
{
    switch (c) {
    case 'k':
        s->config.testdev = true;
        return set_text(&s->config.kernel, optarg, e);
    case 'i':
        return set_text(&s->config.initrd, optarg, e);
    case 'a':
        return set_text(&s->config.append, optarg, e);
    case 'c':
        return config_set_cpu(&s->config, optarg, e);
    case 'b':
        return config_set_bios(&s->config, optarg, NULL, e);
    case 'o':
        if (strstr(optarg, config_boot_name(CONFIG_BOOT_NET)))
            s->config.nnics = 1;
        return config_set_bios(&s->config, NULL, optarg, e);
    case 'm':
        return size_parse(optarg, &s->config.mem, e);
    case 'd':
        return add_disk(s, optarg, false, e);
    case 'w':
        return add_disk(s, optarg, true, e);
    case 'D':
        return config_set_disk_bus(&s->config, optarg, e);
    case 'C':
        return config_set_cdrom(&s->config, optarg, e);
    case 'f':
        return add_floppy(s, optarg, e);
    case 'M':
        s->config.nnics = 1;
        return config_set_nic(&s->config, optarg, e);
    case 'h':
        s->config.hpet = true;
        return 0;
    case 'N':
        s->config.nnics = 1;
        return 0;
    case 't':
        return duration_parse(optarg, &s->opt.timeout, e);
    case 'n':
        s->opt.no_reboot = true;
        return 0;
    case 'S':
        s->opt.screenshot = optarg;
        return 0;
    case 'g':
        s->opt.gdb = optarg;
        return 0;
    case 'l':
        s->opt.log = true;
        return 0;
    default:
        s->opt.stats = true;
        return 0;
    }
}

static int parse(struct oneshot *s, int argc, char **argv, struct err *e)
{
    static const struct option words[] = {
        {"kernel", required_argument, NULL, 'k'},
        {"initrd", required_argument, NULL, 'i'},
        {"append", required_argument, NULL, 'a'},
        {"bios", required_argument, NULL, 'b'},
        {"boot", required_argument, NULL, 'o'},
        {"mem", required_argument, NULL, 'm'},
        {"cpu", required_argument, NULL, 'c'},
        {"disk", required_argument, NULL, 'd'},
        {"disk-bus", required_argument, NULL, 'D'},
        {"cdrom", required_argument, NULL, 'C'},
        {"floppy", required_argument, NULL, 'f'},
        {"hpet", no_argument, NULL, 'h'},
        {"net", no_argument, NULL, 'N'},
        {"nic", required_argument, NULL, 'M'},
        {"disk-write", required_argument, NULL, 'w'},
        {"timeout", required_argument, NULL, 't'},
        {"no-reboot", no_argument, NULL, 'n'},
        {"screenshot", required_argument, NULL, 'S'},
        {"gdb", required_argument, NULL, 'g'},
        {"log", no_argument, NULL, 'l'},
        {"stats", no_argument, NULL, 's'},
        {0},
    };
    int c, rc = 0;

    config_init(&s->config);
    s->config.nnics = 0; /* the card has its address; --net plugs it in */
    opterr = 0;
    optind = 1;
    while (rc == 0 && (c = getopt_long(argc, argv, ":", words, NULL)) != -1) {
        if (c == ':')
            return err_set(e, VT_USAGE, "%s needs a value", argv[optind - 1]);
        if (c == '?')
            return err_set(e, VT_USAGE, "unknown option %s", argv[optind - 1]);
        rc = option(s, c, e);
    }
    if (rc == 0 && optind < argc)
        return err_set(e, VT_USAGE, "unexpected word \"%s\"", argv[optind]);
    if (rc == 0)
        rc = config_disks_check(&s->config, e);
    return rc < 0 ? rc : config_mem_check(s->config.mem, e);
}

static void finish(struct oneshot *s, int status)
{
    if (s->status < 0)
        s->status = status;
    gdb_exited(s->gdb, status);
    loop_stop(s->loop);
}

static void fail(struct oneshot *s, const struct err *err)
{
    fprintf(stderr, "vmtest: run: %s\n", err->msg);
    finish(s, STATUS_OURS);
}

static void reboot(void *opaque)
{
    struct oneshot *s = opaque;
    struct err err = {0};

    s->triple = false;
    vcpu_pause(s->machine->vcpu);
    vm_reset(s->machine->vm);
    if (machine_boot(s->machine, &err) < 0)
        fail(s, &err);
    else
        vcpu_restart(s->machine->vcpu);
    vcpu_resume(s->machine->vcpu);
}

/* Loop thread: the guest has come to its end. */
static void on_end(void *opaque)
{
    struct oneshot *s = opaque;

    s->triple = s->end.stop == VM_STOP_TRIPLE;
    if (s->triple)
        fprintf(stderr, "vmtest: run: the virtual CPU panicked (triple fault)\n");
    if (gdb_stopped(s->gdb, &s->end))
        return;
    switch (s->end.stop) {
    case VM_STOP_POWEROFF:
        finish(s, 0);
        break;
    case VM_STOP_RESET:
        if (s->opt.no_reboot)
            finish(s, 0);
        else
            reboot(s);
        break;
    case VM_STOP_EXIT:
        finish(s, (2 * s->end.exit_code + 1) & 0xff);
        break;
    case VM_STOP_TRIPLE:
        finish(s, 1);
        break;
    case VM_STOP_FAIL:
    case VM_STOP_DEBUG: /* the debugger's, above */
    case VM_STOP_KICK:
        fail(s, &s->end.err);
        break;
    }
}

static void vcpu_ended(void *opaque, const struct vcpu_end *end)
{
    struct oneshot *s = opaque;

    s->end = *end;
    loop_call(s->loop, on_end, s);
}

struct trouble {
    struct oneshot *s;
    struct err err;
};

static void on_trouble(void *opaque)
{
    struct trouble *t = opaque;

    fail(t->s, &t->err);
    free(t);
}

/* Worker thread. A guest without a store has nobody who could make room and say go on. */
static void disk_trouble(void *opaque, enum blk_op op, bool held, const struct err *why)
{
    struct oneshot *s = opaque;
    struct trouble *t = calloc(1, sizeof *t);

    vt_assert(t);
    *t = (struct trouble){.s = s, .err = *why};
    loop_call(s->loop, on_trouble, t);
}

static void on_timeout(void *opaque)
{
    struct oneshot *s = opaque;
    struct vm_debug_regs regs;

    vcpu_pause(s->machine->vcpu);
    vm_debug_get_regs(s->machine->vm, &regs);
    fprintf(stderr, "vmtest: run: timed out after %g s", (double)s->opt.timeout / 1e9);
    if (regs.halted && !(regs.rflags & FLAG_IF)) /* it waited for an NMI: a kernel that gave up, as a rule */
        fprintf(stderr, "; the guest has halted with interrupts off, at %04x:%08" PRIx64, regs.seg[VM_SEG_CS].sel,
                regs.rip);
    fputc('\n', stderr);
    finish(s, STATUS_TIMEOUT);
}

static void on_signal(void *opaque, short re)
{
    struct oneshot *s = opaque;
    struct signalfd_siginfo si;

    if (read(s->signals.fd, &si, sizeof si) == sizeof si)
        finish(s, 128 + (int)si.ssi_signo);
}

static int watch_signals(struct oneshot *s, struct err *e)
{
    sigset_t set;

    ending_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error like a full disk */
    s->signals =
        (struct loop_fd){.fd = signalfd(-1, &set, SFD_CLOEXEC), .events = POLLIN, .fn = on_signal, .opaque = s};
    if (s->signals.fd < 0)
        return err_set(e, VT_FAIL, "signalfd: %m");
    loop_add(s->loop, &s->signals);
    return 0;
}

static void on_kill(void *opaque)
{
    struct oneshot *s = opaque;

    finish(s, s->triple ? 1 : 128 + SIGKILL);
}

static int start_gdb(struct oneshot *s, struct err *e)
{
    struct gdb_hooks hooks = {.reset = reboot, .kill = on_kill, .opaque = s};
    int rc = s->opt.gdb ? gdb_new(s->loop, s->machine, s->opt.gdb, true, &hooks, &s->gdb, e) : 0;

    if (rc == 0 && s->gdb)
        fprintf(stderr, "vmtest: run: the guest waits for a debugger: target remote %s\n", s->opt.gdb);
    return rc;
}

static int set_up(struct oneshot *s, struct err *e)
{
    struct machine_spec spec = {.config = &s->config, .ended = vcpu_ended, .trouble = disk_trouble, .opaque = s};
    int rc = loop_new(&s->loop, e);

    if (rc == 0)
        rc = watch_signals(s, e);
    for (unsigned i = 0; i < s->config.ndisks && rc == 0; i++) {
        rc = rawdisk_open(s->opt.disk[i], s->opt.disk_write[i] ? RAWDISK_WRITE : RAWDISK_PRIVATE, &s->disk[i], e);
        spec.disk[i] = s->disk[i];
    }
    if (rc == 0)
        rc = machine_new(s->loop, &spec, &s->machine, e);
    if (rc == 0)
        rc = machine_boot(s->machine, e);
    if (rc == 0)
        rc = chrhost_attach(s->machine->serial_host, STDIN_FILENO, STDOUT_FILENO, false, NULL, NULL, NULL, e);
    if (rc == 0)
        rc = start_gdb(s, e);
    return rc;
}

/* Keys go to the guest as they are typed; Ctrl-C still ends us. */
static bool terminal_raw(struct termios *old)
{
    struct termios t;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, old) < 0)
        return false;
    t = *old;
    t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    t.c_iflag &= ~(tcflag_t)ICRNL;
    return tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

static void print_log(struct oneshot *s)
{
    char *line;

    while ((line = vm_log_line(s->machine->vm)) != NULL) {
        fprintf(stderr, "vmtest: log: %s\n", line);
        free(line);
    }
}

/* What the display shows at the end, however that came. A picture that cannot be written is a failure of ours. */
static void take_screenshot(struct oneshot *s)
{
    cleanup(picture_release) struct picture p = {0};
    cleanup(buf_release) struct buf png = {0};
    struct err err = {0};
    int rc = screen_picture(s->machine, &p, &err);

    if (rc == 0)
        rc = picture_png(&p, &png, &err);
    if (rc == 0)
        rc = io_replace_file(AT_FDCWD, s->opt.screenshot, png.data, png.len, 0666, &err);
    if (rc == 0)
        return;
    fprintf(stderr, "vmtest: run: --screenshot: %s\n", err.msg);
    s->status = STATUS_OURS;
}

/* While it runs, a glance at the log now and then: its ring is small. */
#define LOG_NS (100 * NS_PER_MS)

static void on_log_timer(void *opaque)
{
    struct oneshot *s = opaque;

    print_log(s);
    s->log_timer.deadline = loop_now() + LOG_NS; /* it is in the loop's list already */
}

static void tear_down(struct oneshot *s)
{
    if (s->machine) {
        vcpu_pause(s->machine->vcpu);
        if (s->opt.screenshot)
            take_screenshot(s);
        if (s->opt.log || s->status == STATUS_OURS)
            print_log(s);
        if (s->opt.stats) {
            cleanup(cleanup_free) char *text = vm_stats(s->machine->vm);
            fputs(text ? text : "", stderr);
        }
    }
    gdb_free(s->gdb);
    machine_free(s->machine);
    for (unsigned i = 0; i < s->config.ndisks; i++)
        if (s->disk[i])
            s->disk[i]->ops->close(s->disk[i]);
    if (s->signals.fd > 0)
        close(s->signals.fd);
    loop_free(s->loop);
    config_release(&s->config);
}

int oneshot_main(int argc, char **argv)
{
    struct oneshot s = {.status = -1};
    struct termios old;
    struct err err = {0};
    bool raw = false;
    int rc = parse(&s, argc, argv, &err);

    if (rc < 0) {
        fprintf(stderr, "vmtest: run: %s\n", err.msg);
        config_release(&s.config);
        return rc == VT_USAGE ? -VT_USAGE : STATUS_OURS;
    }
    rc = set_up(&s, &err);
    if (rc < 0) {
        fprintf(stderr, "vmtest: run: %s\n", err.msg);
        s.status = STATUS_OURS;
    } else {
        raw = terminal_raw(&old);
        s.timer = (struct loop_timer){.fn = on_timeout, .opaque = &s};
        if (s.opt.timeout)
            s.timer.deadline = loop_now() + s.opt.timeout;
        loop_timer_add(s.loop, &s.timer);
        if (s.opt.log) {
            s.log_timer = (struct loop_timer){.fn = on_log_timer, .opaque = &s, .deadline = loop_now() + LOG_NS};
            loop_timer_add(s.loop, &s.log_timer);
        }
        machine_go(s.machine);
        loop_run(s.loop);
    }
    tear_down(&s);
    if (raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &old);
    return s.status;
}
