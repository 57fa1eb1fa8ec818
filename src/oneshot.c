#include "src/oneshot.h"

#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include "src/base/banned.h"
#include "src/base/io.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/chrhost.h"
#include "src/loop.h"
#include "src/vcpu.h"
#include "vmcore/vmcore.h"

#define STATUS_TIMEOUT 124
#define STATUS_OURS    125
#define KERNEL_MAX     (256u << 20)
#define INITRD_MAX     (2048u << 20)

struct options {
    const char *kernel, *initrd, *append, *cpu;
    uint64_t mem;
    uint64_t timeout; /* ns, 0: none */
    bool no_reboot, log, stats;
};

struct oneshot {
    struct options opt;
    struct loop *loop;
    struct vm *vm;
    struct vcpu *vcpu;
    struct chrport serial;
    struct chrhost *serial_host;
    struct loop_timer timer;
    struct loop_fd signals;
    struct vcpu_end end;
    int status; /* -1: still running */
};

static const char usage[] =
    "usage: vmtest run --kernel FILE [--initrd FILE] [--append STRING] [--mem SIZE] [--cpu MODEL]\n"
    "                  [--timeout DURATION] [--no-reboot] [--log] [--stats]\n";

static int parse(int argc, char **argv, struct options *o, struct err *e)
{
    static const struct option words[] = {
        {"kernel", required_argument, NULL, 'k'}, {"initrd", required_argument, NULL, 'i'},
        {"append", required_argument, NULL, 'a'}, {"mem", required_argument, NULL, 'm'},
        {"cpu", required_argument, NULL, 'c'},    {"timeout", required_argument, NULL, 't'},
        {"no-reboot", no_argument, NULL, 'n'},    {"log", no_argument, NULL, 'l'},
        {"stats", no_argument, NULL, 's'},        {0},
    };
    int c, rc = 0;

    *o = (struct options){.append = "", .mem = 512u << 20};
    opterr = 0;
    optind = 1;
    while (rc == 0 && (c = getopt_long(argc, argv, ":", words, NULL)) != -1) {
        switch (c) {
        case 'k':
            o->kernel = optarg;
            break;
        case 'i':
            o->initrd = optarg;
            break;
        case 'a':
            o->append = optarg;
            break;
        case 'm':
            rc = size_parse(optarg, &o->mem, e);
            break;
        case 'c':
            o->cpu = optarg;
            break;
        case 't':
            rc = duration_parse(optarg, &o->timeout, e);
            break;
        case 'n':
            o->no_reboot = true;
            break;
        case 'l':
            o->log = true;
            break;
        case 's':
            o->stats = true;
            break;
        case ':':
            return err_set(e, VT_USAGE, "%s needs a value", argv[optind - 1]);
        default:
            return err_set(e, VT_USAGE, "unknown option %s", argv[optind - 1]);
        }
    }
    if (rc == 0 && optind < argc)
        return err_set(e, VT_USAGE, "unexpected word \"%s\"", argv[optind]);
    if (rc == 0 && !o->kernel)
        return err_set(e, VT_USAGE, "no --kernel");
    if (rc == 0 && (o->mem < 1u << 20 || o->mem > 3ull << 30 || o->mem % (1u << 20)))
        return err_set(e, VT_USAGE, "--mem: from 1M to 3G, in whole MiB");
    return rc;
}

static void finish(struct oneshot *s, int status)
{
    if (s->status < 0)
        s->status = status;
    loop_stop(s->loop);
}

/* Loop thread: the guest has come to its end. */
static void on_end(void *opaque)
{
    struct oneshot *s = opaque;

    switch (s->end.stop) {
    case VM_STOP_POWEROFF:
    case VM_STOP_RESET:
        finish(s, 0);
        break;
    case VM_STOP_EXIT:
        finish(s, (2 * s->end.exit_code + 1) & 0xff);
        break;
    case VM_STOP_TRIPLE:
        fprintf(stderr, "vmtest: run: the virtual CPU panicked (triple fault)\n");
        finish(s, 1);
        break;
    case VM_STOP_FAIL:
    case VM_STOP_KICK:
        fprintf(stderr, "vmtest: run: %s\n", s->end.err.msg);
        finish(s, STATUS_OURS);
        break;
    }
}

static void vcpu_ended(void *opaque, const struct vcpu_end *end)
{
    struct oneshot *s = opaque;

    s->end = *end;
    loop_call(s->loop, on_end, s);
}

static void on_timeout(void *opaque)
{
    struct oneshot *s = opaque;

    fprintf(stderr, "vmtest: run: timed out after %g s\n", (double)s->opt.timeout / 1e9);
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

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    s->signals =
        (struct loop_fd){.fd = signalfd(-1, &set, SFD_CLOEXEC), .events = POLLIN, .fn = on_signal, .opaque = s};
    if (s->signals.fd < 0)
        return err_set(e, VT_FAIL, "signalfd: %m");
    loop_add(s->loop, &s->signals);
    return 0;
}

static int load(struct oneshot *s, struct err *e)
{
    cleanup(buf_release) struct buf kernel = {0}, initrd = {0};
    int rc = io_read_file(AT_FDCWD, s->opt.kernel, KERNEL_MAX, &kernel, e);

    if (rc == 0 && s->opt.initrd)
        rc = io_read_file(AT_FDCWD, s->opt.initrd, INITRD_MAX, &initrd, e);
    if (rc < 0)
        return rc;
    rc = vm_load_linux(s->vm, kernel.data, kernel.len, initrd.data, initrd.len, s->opt.append, e);
    return rc < 0 ? err_prefix(e, rc, "%s", s->opt.kernel) : 0;
}

static int set_up(struct oneshot *s, struct err *e)
{
    struct vm_config config = {
        .board = VM_BOARD_PC,
        .ram_bytes = s->opt.mem,
        .cpu_model = s->opt.cpu,
        .no_reboot = s->opt.no_reboot,
        .wall_start = (uint64_t)time(NULL),
    };
    int rc = loop_new(&s->loop, e);

    if (rc == 0)
        rc = watch_signals(s, e);
    if (rc == 0 && chrport_init(&s->serial, "serial0", 1u << 16, 1u << 12) < 0)
        rc = err_set(e, VT_FAIL, "out of memory");
    if (rc == 0)
        rc = chrhost_new(s->loop, &s->serial, &s->serial_host, e);
    config.serial[0] = &s->serial;
    if (rc == 0)
        rc = vm_new(&config, &s->vm, e);
    if (rc == 0)
        rc = load(s, e);
    if (rc == 0)
        rc = chrhost_attach(s->serial_host, STDIN_FILENO, STDOUT_FILENO, false, NULL, NULL, NULL, e);
    if (rc == 0)
        rc = vcpu_new(s->vm, vcpu_ended, s, &s->vcpu, e);
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

    while (s->vm && (line = vm_log_line(s->vm)) != NULL) {
        fprintf(stderr, "vmtest: log: %s\n", line);
        free(line);
    }
}

static void tear_down(struct oneshot *s)
{
    vcpu_free(s->vcpu);
    if (s->serial_host) {
        chrhost_drain(s->serial_host, 5000);
        chrhost_set_vm(s->serial_host, NULL);
    }
    if (s->opt.log || s->status == STATUS_OURS)
        print_log(s);
    if (s->opt.stats && s->vm) {
        cleanup(cleanup_free) char *text = vm_stats(s->vm);
        fputs(text ? text : "", stderr);
    }
    vm_free(s->vm);
    chrhost_free(s->serial_host);
    chrport_release(&s->serial);
    if (s->signals.fd > 0)
        close(s->signals.fd);
    loop_free(s->loop);
}

int oneshot_main(int argc, char **argv)
{
    struct oneshot s = {.status = -1};
    struct termios old;
    struct err err = {0};
    bool raw = false;
    int rc = parse(argc, argv, &s.opt, &err);

    if (rc < 0) {
        fprintf(stderr, "vmtest: run: %s\n%s", err.msg, usage);
        return -VT_USAGE;
    }
    rc = set_up(&s, &err);
    if (rc < 0) {
        fprintf(stderr, "vmtest: run: %s\n", err.msg);
        s.status = STATUS_OURS;
    } else {
        raw = terminal_raw(&old);
        chrhost_set_vm(s.serial_host, s.vm);
        s.timer = (struct loop_timer){.fn = on_timeout, .opaque = &s};
        if (s.opt.timeout)
            s.timer.deadline = loop_now() + s.opt.timeout;
        loop_timer_add(s.loop, &s.timer);
        vcpu_resume(s.vcpu);
        loop_run(s.loop);
    }
    tear_down(&s);
    if (raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &old);
    return s.status;
}
