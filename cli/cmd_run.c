/* vmtest run: a machine that is thrown away: forked from a snapshot to run one command, or booted from a kernel with
 * a disk with its serial port on our standard streams. */
#include "cli/cmd.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cli/guestcmd.h"
#include "cli/jobs.h"
#include "cli/life.h"
#include "cli/resolve.h"
#include "cli/settings.h"
#include "src/base/floppyformat.h"
#include "src/config.h"
#include "src/imagefile.h"

struct run_opts {
    struct guest_opts guest;
    const char *from, *image, *kernel, *initrd, *append, *cpu, *bios, *boot, *screenshot, *disk_bus, *cdrom, *nic, *gdb;
    struct strlist copy_in, copy_out, disks, floppies;
    const char *clock, *jobs;
    uint64_t mem, njobs;
    bool frozen, warm, no_reboot, hpet, log;
};

const struct opt run_options[] = {
    {"from", "SNAP", "fork from this snapshot", offsetof(struct run_opts, from), OPT_STR, 0},
    {"jobs", "N", "fork as often, all at once; {} in the command is the job's number, 1 to N",
     offsetof(struct run_opts, jobs), OPT_STR, 'j'},
    {"warm", NULL, "keep the fork, put back and paused, for the next run --warm", offsetof(struct run_opts, warm),
     OPT_FLAG, 0},
    {"copy-in", "PATH", "copy a file or directory to where the command runs; may be repeated",
     offsetof(struct run_opts, copy_in), OPT_LIST, 0},
    {"copy-out", "GUEST[:HOST]", "copy out afterwards, whatever the status; may be repeated",
     offsetof(struct run_opts, copy_out), OPT_LIST, 0},
    GUEST_OPTIONS(struct run_opts, guest),
    {"clock", "WHICH", "the fork's time of day: host (unless given), or snapshot", offsetof(struct run_opts, clock),
     OPT_STR, 0},
    {"frozen", NULL, "the fork goes on with the snapshot's clock and random numbers", offsetof(struct run_opts, frozen),
     OPT_FLAG, 0},
    {"kernel", "FILE", "boot this kernel (bzImage, Multiboot 1 or PVH) instead; needs no store",
     offsetof(struct run_opts, kernel), OPT_STR, 'k'},
    {"initrd", "FILE", "its initial RAM disk; not Linux: its modules, FILE [ARGS][,FILE [ARGS]]...",
     offsetof(struct run_opts, initrd), OPT_STR, 0},
    {"append", "TEXT", "its command line", offsetof(struct run_opts, append), OPT_STR, 0},
    {"bios", "FILE", "the BIOS, where there is no kernel (unless given: SeaBIOS)", offsetof(struct run_opts, bios),
     OPT_STR, 0},
    {"boot", "ORDER", "what the BIOS boots from: disk,cdrom,floppy,net in this order unless given",
     offsetof(struct run_opts, boot), OPT_STR, 0},
    {"mem", "SIZE", "its memory (512M unless given)", offsetof(struct run_opts, mem), OPT_SIZE, 0},
    {"cpu", "MODEL", "the CPU that it sees", offsetof(struct run_opts, cpu), OPT_STR, 0},
    {"image", "FILE", "boot this raw disk, CD or floppy by its BIOS: --disk, --cdrom or --floppy, by what it is",
     offsetof(struct run_opts, image), OPT_STR, 0},
    {"disk", "FILE", "a raw disk; what the machine writes to it is thrown away; may be repeated",
     offsetof(struct run_opts, disks), OPT_LIST, 0},
    {"disk-bus", "BUS", "what its disks are on: virtio (unless given) or ide", offsetof(struct run_opts, disk_bus),
     OPT_STR, 0},
    {"cdrom", "FILE", "an IDE CD drive with this disc (\"none\": empty)", offsetof(struct run_opts, cdrom), OPT_STR, 0},
    {"floppy", "FILE", "a floppy drive with this disk; twice for two", offsetof(struct run_opts, floppies), OPT_LIST,
     0},
    {"nic", "MODEL", "a network card behind NAT: virtio or ne2k_pci", offsetof(struct run_opts, nic), OPT_STR, 0},
    {"screenshot", "FILE", "write what the display shows at the end, as PNG", offsetof(struct run_opts, screenshot),
     OPT_STR, 0},
    {"gdb", "WHERE", "wait for gdb there (a socket's path, or tcp::PORT) before the first instruction",
     offsetof(struct run_opts, gdb), OPT_STR, 0},
    {"hpet", NULL, "the board has high precision event timers", offsetof(struct run_opts, hpet), OPT_FLAG, 0},
    {"no-reboot", NULL, "a reset ends the machine", offsetof(struct run_opts, no_reboot), OPT_FLAG, 0},
    {"log", NULL, "print the machine's log, debug ports E9h and 402h included", offsetof(struct run_opts, log),
     OPT_FLAG, 0},
    OPT_END(struct run_opts),
};

/* Where --copy-in puts things, and where the command then runs. */
#define WORK_DIR "/var/tmp/vmtest-run"

/* ---- a kernel or a disk: the monitor takes our place, so that nothing stands between the guest and our streams */

/* The option that takes an image: by what is in it, then by its size. */
static const char *image_option(const char *path)
{
    struct stat st;

    if (imagefile_is_iso(path))
        return "cdrom";
    return stat(path, &st) == 0 && st.st_size > 0 && floppy_format((uint64_t)st.st_size) ? "floppy" : "disk";
}

static int boot_machine(struct cli *c, const struct run_opts *o, struct err *e)
{
    cleanup(strlist_release) struct strlist argv = {0};
    cleanup(config_release) struct machine_config checked = {0};
    char path[PATH_MAX];
    bool is_linux = false;
    int r;

    if (o->clock || o->frozen || o->jobs || o->warm)
        return err_set(e, VT_USAGE, "--clock, --frozen, --jobs and --warm go with --from");
    if (c->has_guest || o->copy_in.n || o->copy_out.n || o->guest.dir || o->guest.user || o->guest.env.n)
        return err_set(e, VT_USAGE, "a command and its options go with --from, not with a machine of your own");
    if (c->json)
        return err_set(e, VT_USAGE, "--json goes with --from only: standard output is the guest's serial port");
    if (!o->kernel && (o->initrd || o->append))
        return err_set(e, VT_USAGE, "--initrd and --append go with --kernel");
    r = config_set_bios(&checked, o->bios, o->boot, e);
    if (!r && o->cpu)
        r = opt_named(config_set_cpu(&checked, o->cpu, e), "cpu", e);
    if (!r && o->kernel)
        r = imagefile_check_kernel(o->kernel, &is_linux, e);
    if (!r && o->initrd && is_linux) /* the others take a list of modules */
        r = imagefile_check_initrd(o->initrd, e);
    for (size_t i = 0; i < o->floppies.n && !r; i++)
        r = config_floppy_add_file(&checked, o->floppies.items[i], e);
    if (!r && o->nic)
        r = opt_named(config_set_nic(&checked, o->nic, e), "nic", e);
    if (!r && o->disk_bus)
        r = opt_named(config_set_disk_bus(&checked, o->disk_bus, e), "disk-bus", e);
    if (!r && o->cdrom)
        r = config_set_cdrom(&checked, o->cdrom, e);
    if (!r)
        r = libexec_path("vmtest-monitor", path, sizeof path, e);
    if (r)
        return r;
    strlist_add(&argv, "vmtest-monitor");
    strlist_add(&argv, "--oneshot");
    if (o->kernel)
        strlist_addf(&argv, "--kernel=%s", o->kernel);
    if (o->bios)
        strlist_addf(&argv, "--bios=%s", o->bios);
    if (o->boot)
        strlist_addf(&argv, "--boot=%s", o->boot);
    if (o->initrd)
        strlist_addf(&argv, "--initrd=%s", o->initrd);
    if (o->append)
        strlist_addf(&argv, "--append=%s", o->append);
    if (o->mem)
        strlist_addf(&argv, "--mem=%llu", (unsigned long long)o->mem);
    if (o->cpu)
        strlist_addf(&argv, "--cpu=%s", o->cpu);
    if (o->image)
        strlist_addf(&argv, "--%s=%s", image_option(o->image), o->image);
    for (size_t i = 0; i < o->disks.n; i++)
        strlist_addf(&argv, "--disk=%s", o->disks.items[i]);
    if (o->disk_bus)
        strlist_addf(&argv, "--disk-bus=%s", o->disk_bus);
    if (o->cdrom)
        strlist_addf(&argv, "--cdrom=%s", o->cdrom);
    for (size_t i = 0; i < o->floppies.n; i++)
        strlist_addf(&argv, "--floppy=%s", o->floppies.items[i]);
    if (o->nic)
        strlist_addf(&argv, "--nic=%s", o->nic);
    if (o->guest.timeout)
        strlist_addf(&argv, "--timeout=%lluns", (unsigned long long)o->guest.timeout);
    if (o->screenshot)
        strlist_addf(&argv, "--screenshot=%s", o->screenshot);
    if (o->gdb)
        strlist_addf(&argv, "--gdb=%s", o->gdb);
    if (o->hpet)
        strlist_add(&argv, "--hpet");
    if (o->no_reboot)
        strlist_add(&argv, "--no-reboot");
    if (o->log)
        strlist_add(&argv, "--log");
    if (argv.failed)
        return err_set(e, VT_FAIL, "out of memory");
    execv(path, argv.items);
    return err_set(e, VT_FAIL, "cannot start %s: %m", path);
}

/* ---- a fork */

/* A fresh WORK_DIR, or none: a directory that is copied first becomes it. */
static int prepare(struct client *client, bool make, struct err *e)
{
    const char *const argv[] = {"/bin/sh", "-c", make ? "rm -rf " WORK_DIR " && mkdir " WORK_DIR : "rm -rf " WORK_DIR,
                                NULL};
    const struct client_exec x = {.argv = argv, .in = -1, .out = 2, .err = 2};
    int status, r = client_exec(client, &x, &status, e);

    return !r && status ? err_set(e, VT_FAIL, "cannot make " WORK_DIR " in the guest") : r;
}

static int copy_in(struct client *client, const struct strlist *paths, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < paths->n && !r; i++) {
        cleanup(cleanup_free) char *path = NULL;
        struct stat st = {0};

        r = cli_abspath(paths->items[i], &path, e);
        if (!r && i == 0 && stat(path, &st) == 0)
            r = prepare(client, !S_ISDIR(st.st_mode), e);
        if (!r)
            r = client_call(client, "vmtest-copy-in", json_pack("{s:s, s:s}", "host", path, "guest", WORK_DIR), NULL,
                            e);
        if (r)
            err_prefix(e, r, "--copy-in %s", paths->items[i]);
    }
    return r;
}

/* GUEST[:HOST], a relative GUEST being in the command's directory */
static int copy_out(struct client *client, const char *dir, const char *spec, struct err *e)
{
    const char *colon = strrchr(spec, ':'), *base;
    cleanup(cleanup_free) char *guest = strndup(spec, colon ? (size_t)(colon - spec) : strlen(spec));
    cleanup(cleanup_free) char *from = NULL;
    cleanup(cleanup_free) char *to = NULL;
    char cwd[PATH_MAX];
    int r;

    if (!guest || !getcwd(cwd, sizeof cwd))
        return err_set(e, VT_FAIL, "--copy-out %s: %m", spec);
    base = strrchr(guest, '/') ? strrchr(guest, '/') + 1 : guest;
    from = guest[0] == '/' ? strdup(guest) : str_printf("%s/%s", dir, guest);
    if (colon && colon[1] == '/')
        to = strdup(colon + 1);
    else
        to = str_printf("%s/%s", cwd, colon && colon[1] ? colon + 1 : base);
    if (!from || !to)
        return err_set(e, VT_FAIL, "out of memory");
    r = client_call(client, "vmtest-copy-out", json_pack("{s:s, s:s}", "guest", from, "host", to), NULL, e);
    return r ? err_prefix(e, r, "--copy-out %s", spec) : 0;
}

static int in_fork(struct cli *c, struct run_opts *o, struct client *client, struct err *e)
{
    int r = copy_in(client, &o->copy_in, e), status;

    if (r)
        return r;
    if (o->copy_in.n && !o->guest.dir)
        o->guest.dir = WORK_DIR;
    status = guest_command(c, client, &o->guest, (const char *const *)c->guest, false, e);
    if (status < 0)
        return status;
    for (size_t i = 0; i < o->copy_out.n && !r; i++)
        r = copy_out(client, o->guest.dir ? o->guest.dir : "/", o->copy_out.items[i], e);
    return r ? r : status;
}

/* The command and --copy-out as this job has them. */
static int become_job(struct cli *c, struct run_opts *o, unsigned job, struct strlist *words, struct err *e)
{
    for (int i = 0; i < c->nguest; i++)
        strlist_take(words, jobs_word(c->guest[i], job));
    for (size_t i = 0; i < o->copy_out.n; i++) {
        char *spec = jobs_word(o->copy_out.items[i], job);
        if (!spec)
            return err_set(e, VT_FAIL, "out of memory");
        free(o->copy_out.items[i]);
        o->copy_out.items[i] = spec;
    }
    strlist_addf(&o->guest.env, "VMTEST_JOB=%u", job);
    strlist_addf(&o->guest.env, "VMTEST_JOBS=%llu", (unsigned long long)o->njobs);
    if (words->failed || o->guest.env.failed)
        return err_set(e, VT_FAIL, "out of memory");
    c->guest = words->items;
    return 0;
}

/* How long a parked fork waits: the setting, else five minutes. */
static int read_warm(struct cli *c, const struct run_opts *o, uint64_t *ret, struct err *e)
{
    struct setting_value v;
    int r;

    *ret = 0;
    if (!o->warm)
        return 0;
    if (o->jobs)
        return err_set(e, VT_USAGE, "--warm: one is parked at a time; it does not go with --jobs");
    *ret = 300 * NS_PER_SEC;
    r = settings_get(c, "warm-idle", &v, e);
    if (r || !v.text)
        return r;
    r = duration_parse(v.text, ret, e);
    return r ? err_prefix(e, r, "%s", v.origin) : 0;
}

/* The parked fork, where there is one, else a new one. */
static int get_fork(struct cli *c, const struct run_opts *o, const struct monitor_spec *spec, struct client **ret,
                    struct err *e)
{
    struct client *client = NULL;

    if (o->warm && client_open(store_uuid(c->store), CLIENT_PARKED(spec->snapshot), &client, NULL) == 0) {
        if (client_call(client, "vmtest-take",
                        json_pack("{s:b, s:b}", "frozen", spec->frozen, "keep-clock", spec->keep_clock), NULL,
                        NULL) == 0) {
            *ret = client;
            return 0;
        }
        client_close(client); /* another was faster, or it has just ended */
    }
    return monitor_spawn(spec, ret, e);
}

static int check_jobs(struct run_opts *o, struct err *e)
{
    int r = o->jobs ? number_parse(o->jobs, 1, JOBS_MAX, &o->njobs, e) : 0;

    if (r)
        return err_prefix(e, r, "--jobs");
    for (size_t i = 0; i < o->copy_out.n && o->njobs > 1; i++)
        if (!strstr(o->copy_out.items[i], "{}"))
            return err_set(e, VT_USAGE, "--copy-out %s: every job would write there; put {}, its number, into the name",
                           o->copy_out.items[i]);
    return 0;
}

static int from_snapshot(struct cli *c, struct run_opts *o, struct err *e)
{
    cleanup(strlist_release) struct strlist words = {0};
    cleanup(target_release) struct target t = {0};
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_free) char *log = NULL;
    cleanup(cleanup_free) char *store = NULL;
    struct monitor_spec spec = {.lock_fd = -1, .cache_unsafe = true};
    char *word = (char *)o->from;
    unsigned job = 0;
    int r;

    if (o->kernel || o->image || o->initrd || o->append || o->cpu || o->mem || o->disks.n || o->no_reboot || o->bios ||
        o->boot || o->log || o->screenshot || o->disk_bus || o->cdrom || o->floppies.n || o->nic || o->hpet || o->gdb)
        return err_set(e, VT_USAGE,
                       "--from takes its hardware from the snapshot: no --kernel, --mem, --disk and the like");
    r = life_clock(o->clock, &spec.keep_clock, e);
    if (!r && !c->nguest)
        r = err_set(e, VT_USAGE, "no command; see vmtest run --help");
    if (!r)
        r = guest_opts_check(&o->guest, e);
    if (!r)
        r = read_warm(c, o, &spec.park, e);
    if (!r)
        r = check_jobs(o, e);
    if (!r)
        r = cli_target(c, &word, 1, false, &t, e);
    if (!r && t.ref.when)
        r = err_set(e, VT_USAGE,
                    "--from %s: a fork is of a snapshot, not of a time: vmtest revert takes the machine there, and "
                    "vmtest snapshot makes it one",
                    o->from);
    if (!r)
        r = cli_snapshot(c, &t, false, &s, e);
    if (!r)
        r = cli_log_path(c, t.machine.id, &log, e);
    if (!r && o->warm && !s.ram_bytes)
        r = err_set(e, VT_USAGE, "--warm: %s@%s has no memory that a machine could be put back to", t.machine.name,
                    s.name);
    if (!r && !(store = strdup(store_dir(c->store))))
        r = err_set(e, VT_FAIL, "out of memory");
    if (!r && o->jobs) { /* before they fork: an open store is one process's */
        store_close(steal(&c->store));
        r = jobs_run(c, (unsigned)o->njobs, &job, e);
        if (r || !job)
            return r;
        r = become_job(c, o, job, &words, e);
    }
    if (r)
        return r;
    spec.store = store;
    spec.snapshot = s.id;
    spec.log = log;
    spec.frozen = o->frozen;
    r = get_fork(c, o, &spec, &client, e);
    if (!r)
        r = in_fork(c, o, client, e);
    return r < 0 ? err_prefix(e, r, "fork of %s@%s", t.machine.name, s.name) : r;
}

int cmd_run(struct cli *c, void *opts, struct err *e)
{
    struct run_opts *o = opts;

    if (o->from)
        return from_snapshot(c, o, e);
    if (o->kernel || o->image || o->disks.n || o->floppies.n || o->cdrom || o->bios || o->boot)
        return boot_machine(c, o, e);
    return err_set(e, VT_USAGE, "neither --from, --kernel, --disk, --cdrom nor --floppy; see vmtest run --help");
}
