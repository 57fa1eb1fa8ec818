/* vmtest-archive: writes a machine with its snapshots into one file, and reads it back. `vmtest export` and `vmtest
 * import` run it, since the command itself does without libarchive:
 *
 *   vmtest-archive export --store DIR --machine ID [--at SNAPSHOT] [--report FD] FILE
 *   vmtest-archive import --store DIR [--name NAME] [--report FD] FILE
 *
 * FILE "-" is standard output or input. What was done, or went wrong, is one JSON object on the descriptor FD: {"id",
 * "snapshots", "images", "pages", "bytes"} or {"code", "error"}. Who exports holds the machine's lock, or
 * names the snapshot that the machine is to stand on in the file. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include "snapshot/snapshot.h"
#include "src/archive/moveat.h"
#include "src/archive/newfile.h"
#include "src/archive/tar.h"
#include "src/base/io.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/config.h"

struct request {
    const char *verb, *store, *name, *file;
    uint64_t machine, at, report;
};

static int usage(struct err *e)
{
    return err_set(e, VT_USAGE,
                   "usage: vmtest-archive export --store DIR --machine ID [--at SNAPSHOT] FILE | "
                   "import --store DIR [--name NAME] FILE");
}

static int parse(int argc, char **argv, struct request *q, struct err *e)
{
    static const struct option options[] = {
        {"store", required_argument, NULL, 's'},  {"machine", required_argument, NULL, 'm'},
        {"at", required_argument, NULL, 'a'},     {"name", required_argument, NULL, 'n'},
        {"report", required_argument, NULL, 'r'}, {NULL, 0, NULL, 0},
    };
    int c, r = 0;

    *q = (struct request){.report = STDERR_FILENO};
    opterr = 0;
    while (!r && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's')
            q->store = optarg;
        else if (c == 'm')
            r = number_parse(optarg, 1, INT64_MAX, &q->machine, e);
        else if (c == 'a')
            r = number_parse(optarg, 1, INT64_MAX, &q->at, e);
        else if (c == 'n')
            q->name = optarg;
        else if (c == 'r')
            r = number_parse(optarg, 0, 1023, &q->report, e);
        else
            return usage(e);
    }
    if (r)
        return r;
    if (argc - optind != 2 || !q->store)
        return usage(e);
    q->verb = argv[optind];
    q->file = argv[optind + 1];
    return !strcmp(q->verb, "import") || (!strcmp(q->verb, "export") && q->machine) ? 0 : usage(e);
}

static void cleanup_store(struct store **s)
{
    store_close(*s);
}

static void cleanup_tar(struct tar_out **t)
{
    tar_out_free(*t);
}

static int put_member(void *opaque, const char *name, const void *data, size_t len, struct err *e)
{
    return tar_out_put(opaque, name, data, len, e);
}

static int do_export(const struct request *q, struct move_stats *stats, struct err *e)
{
    bool std = !strcmp(q->file, "-");
    cleanup(newfile_release) struct newfile f = {.fd = -1};
    cleanup(cleanup_store) struct store *s = NULL;
    cleanup(cleanup_tar) struct tar_out *t = NULL;
    cleanup(moveat_release) struct moveat at = {0};
    int r = store_open(q->store, 0, &s, e);

    if (!r && q->at)
        r = moveat_begin(s, (int64_t)q->machine, (int64_t)q->at, &at, e);
    if (!r && !std)
        r = newfile_begin(q->file, false, &f, e);
    if (!r)
        r = tar_out_begin(std ? STDOUT_FILENO : f.fd, std ? "standard output" : q->file, &t, e);
    if (!r)
        r = machine_export(s, (int64_t)q->machine, q->at ? &at.at : NULL, put_member, t, stats, e);
    if (!r)
        r = tar_out_end(t, e);
    return r || std ? r : newfile_commit(&f, e);
}

struct input {
    struct import *im;
    bool checked;
};

static int take_member(void *opaque, const char *name, const void *data, size_t len, struct err *e)
{
    cleanup(config_release) struct machine_config config = {0};
    struct input *in = opaque;
    int r = import_put(in->im, name, data, len, e);

    if (r || in->checked)
        return r;
    in->checked = true;
    return config_parse(import_config(in->im), &config, e);
}

static int do_import(const struct request *q, struct move_stats *stats, int64_t *ret_id, struct err *e)
{
    const char *name = strcmp(q->file, "-") ? q->file : "standard input";
    cleanup(cleanup_store) struct store *s = NULL;
    cleanup(cleanup_close) int fd = -1;
    struct input in = {0};
    struct err mine = {0};
    int r = strcmp(q->file, "-") ? io_open(q->file, O_RDONLY, 0, &fd, e) : 0;

    if (!r)
        r = store_open(q->store, STORE_CREATE, &s, e);
    if (!r)
        r = import_begin(s, q->name, &in.im, e);
    if (r)
        return r;
    r = tar_in(fd >= 0 ? fd : STDIN_FILENO, name, MOVE_MEMBER_MAX, take_member, &in, &mine);
    if (r)
        import_abort(in.im);
    else
        r = import_commit(in.im, ret_id, stats, &mine);
    if (r) /* a damaged file's name goes before what is wrong with it */
        return strstr(mine.msg, name) || (r != VT_CORRUPT && r != VT_VERSION) ? err_set(e, r, "%s", mine.msg)
                                                                              : err_set(e, r, "%s: %s", name, mine.msg);
    return store_maintain(s, e); /* much was written to the database */
}

static void report(int fd, json_t *j)
{
    char *text = json_text(j);

    if (text) {
        size_t n = strlen(text);
        text[n] = '\n';
        io_write_full(fd, text, n + 1, "report", NULL);
    }
    free(text);
    json_decref(j);
}

int main(int argc, char **argv)
{
    struct move_stats stats = {0};
    struct err e = {0};
    struct request q;
    int64_t id = 0;
    int r = parse(argc, argv, &q, &e);

    if (!r)
        r = !strcmp(q.verb, "export") ? do_export(&q, &stats, &e) : do_import(&q, &stats, &id, &e);
    if (r)
        report((int)q.report, json_pack("{s:i, s:o}", "code", r, "error", json_string_lossy(e.msg, strlen(e.msg))));
    else
        report((int)q.report, json_pack("{s:I, s:I, s:I, s:I, s:I}", "id", (json_int_t)id, "snapshots",
                                        (json_int_t)stats.snapshots, "images", (json_int_t)stats.images, "pages",
                                        (json_int_t)stats.pages, "bytes", (json_int_t)stats.bytes));
    return r ? -r : 0;
}
