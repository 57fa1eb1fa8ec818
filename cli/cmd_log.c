/* vmtest log: what the machine's monitor wrote, oldest first. */
#include "cli/cmd.h"

#include <fcntl.h>
#include <unistd.h>
#include "cli/resolve.h"
#include "src/base/io.h"

const struct opt log_options[] = {OPT_END(struct no_opts)};

#define LOG_MAX (64u << 20)

int cmd_log(struct cli *c, void *opts, struct err *e)
{
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_free) char *path = NULL;
    cleanup(buf_release) struct buf text = {0};
    int r;

    r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        r = cli_log_path(c, m.id, &path, e);
    if (r)
        return r;
    if (access(path, F_OK) != 0)
        return err_set(e, VT_NOENT, "%s: has no log yet", m.name);
    r = io_read_file(AT_FDCWD, path, LOG_MAX, &text, e);
    if (r)
        return r;
    out_set(c, "machine", json_string(m.name));
    out_set(c, "path", json_string(path));
    out_set(c, "text", json_string_lossy(buf_cstr(&text), text.len));
    return c->json ? 0 : io_write_full(STDOUT_FILENO, buf_cstr(&text), text.len, "standard output", e);
}
