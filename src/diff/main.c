/* vmtest-fs: reads the file systems of snapshots offline, one request a process, in a sandbox. `vmtest diff` and
 * `vmtest cp` run it; it is no command for people, but each form works by hand:
 *
 *   vmtest-fs diff --a SPEC --b SPEC [--all] [--times] [--json | --stat | --patch]
 *   vmtest-fs ls|cat --a SPEC PATH [--json]
 *   vmtest-fs get --a SPEC PATH --to HOSTPATH
 *
 * SPEC is described in disk.h. With --report FD, an error's text goes there instead of to standard error. Exit status:
 * 0 the same or done, 1 different, else as everywhere (src/base/err.h). */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "src/base/units.h"
#include "src/base/util.h"
#include "src/diff/dev.h"
#include "src/diff/files.h"
#include "src/diff/report.h"
#include "src/diff/sandbox.h"

#define MEMORY_DEFAULT  (UINT64_C(2) << 30)
#define SECONDS_DEFAULT 300

struct request {
    const char *verb, *spec[2], *path, *to;
    bool all, times, json, stat, patch;
    uint64_t memory, seconds, report; /* report 0: standard error */
};

static int usage(struct err *e, const char *what)
{
    return err_set(e, VT_USAGE, "%s (vmtest-fs diff --a SPEC --b SPEC | ls|cat|get --a SPEC PATH [--to PATH])", what);
}

static int parse(int argc, char **argv, struct request *q, struct err *e)
{
    enum { A = 256, B, ALL, TIMES, JSON, STAT, TO, MEMORY, SECONDS, REPORT };
    static const struct option options[] = {
        {"a", required_argument, NULL, A},
        {"b", required_argument, NULL, B},
        {"all", no_argument, NULL, ALL},
        {"times", no_argument, NULL, TIMES},
        {"json", no_argument, NULL, JSON},
        {"stat", no_argument, NULL, STAT},
        {"patch", no_argument, NULL, 'p'},
        {"to", required_argument, NULL, TO},
        {"memory", required_argument, NULL, MEMORY},
        {"seconds", required_argument, NULL, SECONDS},
        {"report", required_argument, NULL, REPORT},
        {NULL, 0, NULL, 0},
    };
    bool diff;
    int c, r = 0;

    *q = (struct request){.memory = MEMORY_DEFAULT, .seconds = SECONDS_DEFAULT};
    opterr = 0;
    while (r == 0 && (c = getopt_long(argc, argv, "p", options, NULL)) != -1) {
        switch (c) {
        case A:
            q->spec[0] = optarg;
            break;
        case B:
            q->spec[1] = optarg;
            break;
        case ALL:
            q->all = true;
            break;
        case TIMES:
            q->times = true;
            break;
        case JSON:
            q->json = true;
            break;
        case STAT:
            q->stat = true;
            break;
        case 'p':
            q->patch = true;
            break;
        case TO:
            q->to = optarg;
            break;
        case MEMORY:
            r = size_parse(optarg, &q->memory, e);
            break;
        case SECONDS:
            r = number_parse(optarg, 0, 86400, &q->seconds, e);
            break;
        case REPORT:
            r = number_parse(optarg, 3, 1023, &q->report, e);
            break;
        default:
            return usage(e, "an option that does not exist, or lacks its value");
        }
    }
    if (r < 0)
        return r;
    q->verb = optind < argc ? argv[optind++] : "";
    diff = !strcmp(q->verb, "diff");
    if (!diff && strcmp(q->verb, "ls") && strcmp(q->verb, "cat") && strcmp(q->verb, "get"))
        return usage(e, "no such request");
    if (!diff && optind < argc)
        q->path = argv[optind++];
    if (optind < argc)
        return usage(e, "too many words");
    if (!q->spec[0] || (diff && !q->spec[1]) || (!diff && !q->path) || (!strcmp(q->verb, "get") && !q->to))
        return usage(e, "something is missing");
    if (q->json + q->stat + q->patch > 1)
        return usage(e, "only one of --json, --stat and --patch");
    return 0;
}

static int enter_sandbox(const struct request *q, struct err *e)
{
    const struct sandbox_limits l = {
        .memory = q->memory,
        .seconds = (unsigned)q->seconds,
        .open_files = !strncmp(q->spec[0], "store:", 6) || (q->spec[1] && !strncmp(q->spec[1], "store:", 6)),
        .make_files = !strcmp(q->verb, "get"),
    };

    return sandbox_enter(&l, e);
}

static int show(const struct request *q, const struct result *res, struct disk *a, struct disk *b, struct err *e)
{
    cleanup(buf_release) struct buf out = {0};
    int r;

    if (q->patch)
        return report_patch(res, stdout, e);
    if (q->json)
        r = report_json(res, a, b, &out, e);
    else if (q->stat)
        r = report_stat(res, &out, e);
    else
        r = report_list(res, q->all, &out, e);
    if (r == 0 && out.len && fwrite(out.data, 1, out.len, stdout) != out.len)
        r = err_set(e, VT_IO, "cannot write: %m");
    return r;
}

/* Returns 0, 1 where the disks differ, or a negative error. */
static int do_diff(const struct request *q, struct err *e)
{
    cleanup(cleanup_disk) struct disk *a = NULL, *b = NULL;
    cleanup(result_clear) struct result res = {0};
    const struct result_options opt = {.all = q->all, .times = q->times};
    int r = disk_open(q->spec[0], NULL, &a, e);

    if (r == 0)
        r = disk_open(q->spec[1], a, &b, e);
    if (r == 0)
        r = enter_sandbox(q, e);
    if (r == 0)
        r = result_make(a, b, &opt, &res, e);
    if (r == 0)
        r = show(q, &res, a, b, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < res.warnings.n && !q->json; i++)
        fprintf(stderr, "vmtest-fs: warning: %s\n", res.warnings.items[i]);
    if (res.left_out && !q->json)
        fprintf(stderr, "%zu changes that any running system makes are left out; --all shows them\n", res.left_out);
    return result_differs(&res);
}

static int do_files(const struct request *q, struct err *e)
{
    cleanup(cleanup_disk) struct disk *d = NULL;
    cleanup(cleanup_dev) struct blockdev *slice = NULL;
    cleanup(cleanup_extfs) struct extfs *fs = NULL;
    cleanup(strlist_release) struct strlist warnings = {0};
    int r = disk_open(q->spec[0], NULL, &d, e);

    if (r == 0)
        r = enter_sandbox(q, e);
    if (r == 0)
        r = result_open_root(d, &slice, &fs, e);
    if (r < 0)
        return r;
    if (extfs_note(fs))
        fprintf(stderr, "vmtest-fs: warning: %s\n", extfs_note(fs));
    if (!strcmp(q->verb, "ls"))
        return files_ls(fs, q->path, q->json, stdout, e);
    if (!strcmp(q->verb, "cat"))
        return files_cat(fs, q->path, stdout, e);
    r = files_get(fs, q->path, q->to, &warnings, e);
    for (size_t i = 0; i < warnings.n; i++)
        fprintf(stderr, "vmtest-fs: warning: %s\n", warnings.items[i]);
    return r;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    struct request q;
    int r = parse(argc, argv, &q, &e);

    if (r == 0)
        r = !strcmp(q.verb, "diff") ? do_diff(&q, &e) : do_files(&q, &e);
    if (fflush(stdout) != 0 && r >= 0)
        r = err_set(&e, VT_IO, "cannot write: %m");
    if (r < 0 && (!q.report || dprintf((int)q.report, "%s", e.msg) < 0))
        fprintf(stderr, "vmtest-fs: %s\n", e.msg);
    return r < 0 ? -r : r;
}
