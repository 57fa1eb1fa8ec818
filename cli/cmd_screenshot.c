/* vmtest screenshot: what the guest's display shows, as a PNG file. */
#include "cli/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "cli/life.h"
#include "src/base/io.h"
#include "src/client.h"

const struct opt screenshot_options[] = {OPT_END(struct no_opts)};

#define PNG_MAX (256u << 20)

/* The monitor writes into memory of ours, so that a failure leaves the file as it was. */
static int get_png(struct client *client, struct buf *png, json_t **ret_answer, struct err *e)
{
    cleanup(cleanup_close) int fd = memfd_create("screenshot", MFD_CLOEXEC);
    char path[40];
    int r;

    if (fd < 0)
        return err_set(e, VT_FAIL, "memfd_create: %m");
    r = client_call_fds(client, "vmtest-screenshot", NULL, &fd, 1, ret_answer, e);
    if (r)
        return r;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return io_read_file(AT_FDCWD, path, PNG_MAX, png, e);
}

int cmd_screenshot(struct cli *c, void *opts, struct err *e)
{
    const char *file = c->words[c->nwords - 1];
    bool to_stdout = !strcmp(file, "-");
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_json) json_t *answer = NULL;
    cleanup(buf_release) struct buf png = {0};
    unsigned long long width, height;
    char size[64];
    int r;

    if (c->json && to_stdout)
        return err_set(e, VT_USAGE, "--json: standard output is the picture");
    r = cli_machine(c, c->nwords == 2 ? c->words[0] : NULL, false, &m, e);
    if (!r)
        r = cli_connect(c, &m, &client, e);
    if (r)
        return r;
    r = get_png(client, &png, &answer, e);
    if (r)
        return err_prefix(e, r, "%s", m.name);
    if (to_stdout)
        return io_write_full(STDOUT_FILENO, png.data, png.len, "standard output", e);
    r = io_replace_file(AT_FDCWD, file, png.data, png.len, 0666, e);
    if (r)
        return r;
    width = answer_u64(answer, "width");
    height = answer_u64(answer, "height");
    out_set(c, "machine", json_string(m.name));
    out_set(c, "file", json_string(file));
    out_set(c, "width", json_integer((json_int_t)width));
    out_set(c, "height", json_integer((json_int_t)height));
    snprintf(size, sizeof size, "%llux%llu", width, height);
    out_done(c, size, "wrote %s", file);
    return 0;
}
