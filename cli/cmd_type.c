/* vmtest type: presses keys of the guest's keyboard. */
#include "cli/cmd.h"

#include <fcntl.h>
#include <string.h>
#include "cli/resolve.h"
#include "src/base/io.h"
#include "src/client.h"

#define TEXT_MAX (256u << 10)

struct type_opts {
    const char *file;
    struct strlist keys;
    uint64_t timeout;
};

const struct opt type_options[] = {
    {"file", "FILE", "type what is in the file (\"-\": standard input)", offsetof(struct type_opts, file), OPT_STR, 0},
    {"key", "KEYS", "then press these together, as in ctrl-alt-delete; may be repeated",
     offsetof(struct type_opts, keys), OPT_LIST, 0},
    {"timeout", "TIME", "give up when the guest has read no key for so long (10s unless given)",
     offsetof(struct type_opts, timeout), OPT_DURATION, 0},
    OPT_END(struct type_opts),
};

static int read_text(const struct cli *c, const struct type_opts *o, struct buf *text, struct err *e)
{
    int r = 0;

    if (o->file && !strcmp(o->file, "-"))
        r = io_read_file(AT_FDCWD, "/dev/stdin", TEXT_MAX + 1, text, e);
    else if (o->file)
        r = io_read_file(AT_FDCWD, o->file, TEXT_MAX + 1, text, e);
    for (int i = 0; i < c->nwords; i++) {
        if (i)
            buf_str(text, " ");
        buf_str(text, c->words[i]);
    }
    if (!r)
        r = buf_check(text, e);
    if (!r && text->len > TEXT_MAX)
        r = err_set(e, VT_USAGE, "at most %u KiB can be typed at once", TEXT_MAX >> 10);
    if (!r && memchr(buf_cstr(text), 0, text->len))
        r = err_set(e, VT_USAGE, "the text has a zero byte, which no key types");
    return r;
}

static int send(struct cli *c, struct client *client, const struct type_opts *o, const struct buf *text, struct err *e)
{
    json_t *args = json_pack("{s:s, s:[]}", "text", buf_cstr(text), "keys"), *list;

    if (!args)
        return err_set(e, VT_USAGE, "the text is not UTF-8, let alone of a US keyboard");
    list = json_object_get(args, "keys");
    for (size_t i = 0; i < o->keys.n; i++)
        json_array_append_new(list, json_string(o->keys.items[i]));
    if (o->timeout)
        json_object_set_new(args, "timeout", json_real((double)o->timeout / (double)NS_PER_SEC));
    return client_call(client, "vmtest-type", args, NULL, e);
}

int cmd_type(struct cli *c, void *opts, struct err *e)
{
    const struct type_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(buf_release) struct buf text = {0};
    int r;

    if (!c->nwords && !o->file && !o->keys.n)
        return err_set(e, VT_USAGE, "nothing to type; see vmtest type --help");
    if (c->nwords && o->file)
        return err_set(e, VT_USAGE, "text and --file do not go together");
    r = read_text(c, o, &text, e);
    if (!r)
        r = cli_machine(c, NULL, false, &m, e);
    if (!r)
        r = cli_connect(c, &m, &client, e);
    if (r)
        return r;
    r = send(c, client, o, &text, e);
    if (r)
        return err_prefix(e, r, "%s", m.name);
    out_set(c, "machine", json_string(m.name));
    out_set(c, "characters", json_integer((json_int_t)text.len));
    out_set(c, "keys", json_integer((json_int_t)o->keys.n));
    if (o->keys.n && !text.len)
        out_done(c, NULL, "pressed %zu key%s of %s", o->keys.n, o->keys.n == 1 ? "" : "s", m.name);
    else
        out_done(c, NULL, "typed %zu character%s to %s", text.len, text.len == 1 ? "" : "s", m.name);
    return 0;
}
