/* vmtest install: installs packages in a running guest with the guest's own installer. */
#include "cli/cmd.h"

#include <string.h>
#include "cli/resolve.h"

const struct opt install_options[] = {OPT_END(struct no_opts)};

/* What the installer says goes to standard error: it is progress, not a result. */
static int install_one(struct client *client, const char *word, struct err *e)
{
    static const char suffix[] = ".deb";
    cleanup(cleanup_free) char *path = NULL;
    cleanup(cleanup_json) json_t *a = NULL;
    const int fds[2] = {2, 2};
    uint64_t status = 0;
    size_t len = strlen(word);
    int r;

    if (len <= strlen(suffix) || strcmp(word + len - strlen(suffix), suffix) != 0)
        return err_set(e, VT_USAGE, "%s: is not a Debian package (.deb), the one kind that can be installed", word);
    r = cli_abspath(word, &path, e);
    if (!r)
        r = client_call_fds(client, "vmtest-install", json_pack("{s:s}", "path", path), fds, 2, &a, e);
    if (!r)
        r = json_get_u64(a, "status", JSON_REQUIRED, &status, "monitor's answer", e);
    if (!r && status)
        r = err_set(e, VT_FAIL, "%s: the guest's installer ended with status %llu", word, (unsigned long long)status);
    return r;
}

int cmd_install(struct cli *c, void *opts, struct err *e)
{
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    json_t *names = json_array();
    int r;

    r = cli_machine(c, NULL, false, &m, e);
    if (!r)
        r = cli_connect(c, &m, &client, e);
    for (int i = 0; i < c->nwords && !r; i++) {
        r = install_one(client, c->words[i], e);
        if (!r)
            json_array_append_new(names, json_string(c->words[i]));
    }
    out_set(c, "installed", names);
    if (r)
        return r;
    out_set(c, "machine", json_string(m.name));
    out_done(c, NULL, "installed %s%s in %s", c->words[0], c->nwords > 1 ? " and more" : "", m.name);
    return 0;
}
