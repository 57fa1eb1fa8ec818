/* vmtest cp: copies between host and guest. ":PATH" or "MACHINE:PATH" is the guest's side. */
#include "cli/cmd.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include "cli/resolve.h"

const struct opt cp_options[] = {OPT_END(struct no_opts)};

/* One of the two words: a path, and whose it is. */
struct side {
    bool guest;
    char machine[NAME_MAX_LEN + 1];
    const char *path;
};

static int parse_side(const char *word, struct side *s, struct err *e)
{
    const char *colon = strchr(word, ':'), *slash = strchr(word, '/');
    cleanup(cleanup_free) char *name = NULL;
    struct name_ref ref;
    int r;

    *s = (struct side){.path = word};
    /* "./a:b" and "/a:b" are the host's */
    if (!colon || (slash && slash < colon))
        return 0;
    name = strndup(word, (size_t)(colon - word));
    if (!name)
        return err_set(e, VT_FAIL, "out of memory");
    r = name_ref_parse(name, false, &ref, e);
    if (r)
        return r;
    if (ref.snap[0])
        return err_set(e, VT_USAGE, "%s: files are copied from running machines only; fork one with vmtest run --from",
                       word);
    memcpy(s->machine, ref.machine, sizeof s->machine);
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

/* An existing directory means "into it", as with cp. */
static int copy_out(struct client *client, const char *guest, const char *host, json_t **ret, struct err *e)
{
    cleanup(cleanup_free) char *path = NULL;
    char cwd[PATH_MAX] = "";
    struct stat st;
    const int out = 1;

    if (!strcmp(host, "-"))
        return client_call_fds(client, "vmtest-copy-out", json_pack("{s:s}", "guest", guest), &out, 1, ret, e);
    if (host[0] != '/' && !getcwd(cwd, sizeof cwd))
        return err_set(e, VT_FAIL, "the current directory: %m");
    if (stat(host, &st) == 0 && S_ISDIR(st.st_mode))
        path = str_printf("%s%s%s/%s", cwd, *cwd ? "/" : "", host, base_name(guest));
    else
        path = str_printf("%s%s%s", cwd, *cwd ? "/" : "", host);
    if (!path)
        return err_set(e, VT_FAIL, "out of memory");
    return client_call(client, "vmtest-copy-out", json_pack("{s:s, s:s}", "guest", guest, "host", path), ret, e);
}

int cmd_cp(struct cli *c, void *opts, struct err *e)
{
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_json) json_t *a = NULL;
    cleanup(cleanup_free) char *detail = NULL;
    struct side from, to;
    char size[UNITS_MAX];
    uint64_t files = 0, bytes = 0;
    int r;

    r = parse_side(c->words[0], &from, e);
    if (!r)
        r = parse_side(c->words[1], &to, e);
    if (!r && from.guest == to.guest)
        r = err_set(e, VT_USAGE, "exactly one of the two is a guest's path, \":PATH\" or \"MACHINE:PATH\"");
    if (!r)
        r = cli_machine(c, from.guest ? from.machine : to.machine, false, &m, e);
    if (!r)
        r = cli_connect(c, &m, &client, e);
    if (r)
        return r;
    r = from.guest ? copy_out(client, from.path, to.path, &a, e) : copy_in(client, from.path, to.path, &a, e);
    if (r)
        return err_prefix(e, r, "%s", m.name);
    json_get_u64(a, "files", JSON_OPTIONAL, &files, "answer", NULL);
    json_get_u64(a, "bytes", JSON_OPTIONAL, &bytes, "answer", NULL);
    if (from.guest && !strcmp(to.path, "-"))
        return 0; /* standard output is the file's */
    out_set(c, "machine", json_string(m.name));
    out_set(c, "files", json_integer((json_int_t)files));
    out_set(c, "bytes", json_integer((json_int_t)bytes));
    detail = str_printf("%llu file%s, %s", (unsigned long long)files, files == 1 ? "" : "s", size_format(size, bytes));
    out_done(c, detail, "copied %s to %s", c->words[0], c->words[1]);
    return 0;
}
