/* vmtest cp: copies between host and guest. ":PATH" or "MACHINE:PATH" is the guest's side. */
#include "cli/cmd.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include "cli/life.h"
#include "src/diff/spawn.h"

const struct opt cp_options[] = {OPT_END(struct no_opts)};

/* One of the two words: a path, and whose it is. */
struct side {
    bool guest;
    struct name_ref ref;
    const char *path;
};

static int parse_side(const char *word, struct side *s, struct err *e)
{
    const char *time = strstr(word, "@{"), *after = time ? strchr(time, '}') : NULL;
    const char *colon = strchr(after ? after : word, ':'), *slash = strchr(word, '/');
    cleanup(cleanup_free) char *name = NULL;
    int r;

    *s = (struct side){.path = word};
    /* "./a:b" and "/a:b" are the host's */
    if (!colon || (slash && slash < colon))
        return 0;
    name = strndup(word, (size_t)(colon - word));
    if (!name)
        return err_set(e, VT_FAIL, "out of memory");
    r = name_ref_parse(name, false, &s->ref, e);
    if (r)
        return r;
    s->guest = true;
    s->path = colon + 1;
    return *s->path ? 0 : err_set(e, VT_USAGE, "%s: the path in the guest is missing", word);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

static int copy_in(struct client *client, const char *host, const char *guest, json_t **ret, struct err *e)
{
    cleanup(cleanup_free) char *path = NULL;
    const int in = 0;
    int r;

    if (!strcmp(host, "-"))
        return client_call_fds(client, "vmtest-copy-in", json_pack("{s:s}", "guest", guest), &in, 1, ret, e);
    r = cli_abspath(host, &path, e);
    return r ? r : client_call(client, "vmtest-copy-in", json_pack("{s:s, s:s}", "host", path, "guest", guest), ret, e);
}

/* Where a file of the guest goes: an existing directory means "into it", as with cp. malloc'ed, absolute. */
static char *host_target(const char *guest, const char *host)
{
    char cwd[PATH_MAX] = "";
    struct stat st;

    if (host[0] != '/' && !getcwd(cwd, sizeof cwd))
        return NULL;
    if (stat(host, &st) == 0 && S_ISDIR(st.st_mode))
        return str_printf("%s%s%s/%s", cwd, *cwd ? "/" : "", host, base_name(guest));
    return str_printf("%s%s%s", cwd, *cwd ? "/" : "", host);
}

static int copy_out(struct client *client, const char *guest, const char *host, json_t **ret, struct err *e)
{
    cleanup(cleanup_free) char *path = NULL;
    const int out = 1;

    if (!strcmp(host, "-"))
        return client_call_fds(client, "vmtest-copy-out", json_pack("{s:s}", "guest", guest), &out, 1, ret, e);
    path = host_target(guest, host);
    if (!path)
        return err_set(e, VT_FAIL, "%s: %m", host);
    return client_call(client, "vmtest-copy-out", json_pack("{s:s, s:s}", "guest", guest, "host", path), ret, e);
}

/* From a snapshot, or from a machine that is off: read from its disk. The result is an exit status, or negative. */
static int read_disk(struct cli *c, const struct machine_info *m, const struct side *from, const char *host,
                     struct err *e)
{
    struct fs_disk d = {.store = store_dir(c->store), .id = m->id, .slot = "disk0", .head = true};
    cleanup(cleanup_free) char *path = NULL;
    int64_t id;
    int r;

    d.when = from->ref.when;
    if (from->ref.snap[0] && !d.when) {
        r = snapshot_find(c->store, m->id, from->ref.snap, false, &id, e);
        if (r)
            return r;
        d.id = id;
        d.head = false;
    }
    if (!strcmp(host, "-"))
        return fs_run_cat(&d, from->path, e);
    path = host_target(from->path, host);
    if (!path)
        return err_set(e, VT_FAIL, "%s: %m", host);
    r = fs_run_get(&d, from->path, path, e);
    if (r == 0)
        out_done(c, NULL, "copied %s to %s", c->words[0], c->words[1]);
    return r;
}

static void report(struct cli *c, const struct machine_info *m, const json_t *answer)
{
    cleanup(cleanup_free) char *detail = NULL;
    uint64_t files = answer_u64(answer, "files"), bytes = answer_u64(answer, "bytes");
    char size[UNITS_MAX];

    out_set(c, "machine", json_string(m->name));
    out_set(c, "files", json_integer((json_int_t)files));
    out_set(c, "bytes", json_integer((json_int_t)bytes));
    detail = str_printf("%llu file%s, %s", (unsigned long long)files, files == 1 ? "" : "s", size_format(size, bytes));
    out_done(c, detail, "copied %s to %s", c->words[0], c->words[1]);
}

int cmd_cp(struct cli *c, void *opts, struct err *e)
{
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_json) json_t *a = NULL;
    struct side from = {0}, to = {0};
    bool running = false;
    int r;

    r = parse_side(c->words[0], &from, e);
    if (!r)
        r = parse_side(c->words[1], &to, e);
    if (!r && from.guest == to.guest)
        r = err_set(e, VT_USAGE, "exactly one of the two is a guest's path, \":PATH\" or \"MACHINE:PATH\"");
    if (!r && to.guest && to.ref.snap[0])
        r = err_set(e, VT_USAGE, "%s: what is in a snapshot is not changed", c->words[1]);
    if (!r)
        r = cli_machine(c, from.guest ? from.ref.machine : to.ref.machine, false, &m, e);
    if (!r)
        r = machine_locked(c->store, m.id, &running, e);
    if (r)
        return r;
    if (from.guest && (from.ref.snap[0] || !running))
        return read_disk(c, &m, &from, to.path, e);
    r = cli_connect(c, &m, &client, e);
    if (r)
        return r;
    r = from.guest ? copy_out(client, from.path, to.path, &a, e) : copy_in(client, from.path, to.path, &a, e);
    if (r)
        return err_prefix(e, r, "%s", m.name);
    if (!from.guest || strcmp(to.path, "-") != 0) /* else standard output is the file's */
        report(c, &m, a);
    return 0;
}
