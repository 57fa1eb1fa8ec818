/* vmtest screen: the text of a text mode, as it stands on the guest's screen. */
#include "cli/cmd.h"

#include <stdio.h>
#include "cli/resolve.h"
#include "src/client.h"

const struct opt screen_options[] = {OPT_END(struct no_opts)};

int cmd_screen(struct cli *c, void *opts, struct err *e)
{
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_json) json_t *answer = NULL;
    static const char *const keys[] = {"rows", "cols", "cursor", "text"};
    const char *text;
    int r;

    r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        r = cli_connect(c, &m, &client, e);
    if (r)
        return r;
    r = client_call(client, "vmtest-screen", NULL, &answer, e);
    if (!r)
        r = json_get_str(answer, "text", JSON_REQUIRED, &text, "the monitor's answer", e);
    if (r)
        return err_prefix(e, r, "%s", m.name);
    if (!c->json)
        fputs(text, stdout);
    out_set(c, "machine", json_string(m.name));
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++)
        out_set(c, keys[i], json_incref(json_object_get(answer, keys[i])));
    return 0;
}
