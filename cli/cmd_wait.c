/* vmtest wait: until the guest's screen, or its serial console, has a text. */
#include "cli/cmd.h"

#include "cli/resolve.h"
#include "src/client.h"

struct wait_opts {
    const char *text;
    bool regex, serial;
    uint64_t timeout;
};

const struct opt wait_options[] = {
    {"text", "TEXT", "what a line is to contain", offsetof(struct wait_opts, text), OPT_STR, 0},
    {"regex", NULL, "the text is an extended regular expression", offsetof(struct wait_opts, regex), OPT_FLAG, 0},
    {"serial", NULL, "look at the first serial port instead of the screen", offsetof(struct wait_opts, serial),
     OPT_FLAG, 0},
    {"timeout", "TIME", "give up after this long (never unless given)", offsetof(struct wait_opts, timeout),
     OPT_DURATION, 0},
    OPT_END(struct wait_opts),
};

int cmd_wait(struct cli *c, void *opts, struct err *e)
{
    const struct wait_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    json_t *args;
    int r;

    if (!o->text)
        return err_set(e, VT_USAGE, "no --text; see vmtest wait --help");
    r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        r = cli_connect(c, &m, &client, e);
    if (r)
        return r;
    args = json_pack("{s:s, s:s, s:b, s:b}", "for", "text", "text", o->text, "regex", o->regex, "serial", o->serial);
    if (!args)
        return err_set(e, VT_USAGE, "--text is not UTF-8");
    if (o->timeout)
        json_object_set_new(args, "timeout", json_real((double)o->timeout / (double)NS_PER_SEC));
    r = client_call(client, "vmtest-wait", args, NULL, e);
    out_set(c, "machine", json_string(m.name));
    out_set(c, "seen", json_boolean(r == 0));
    if (r == VT_GONE) { /* an answer, not a failure */
        out_note(c, "%s: %s", m.name, e->msg);
        return 1;
    }
    return r ? err_prefix(e, r, "%s", m.name) : 0;
}
