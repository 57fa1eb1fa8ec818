/* vmtest serve: offers the disk of a snapshot over NBD, read-only, until it is told to end. */
#include "cli/cmd.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include "cli/resolve.h"
#include "src/archive/diskout.h"
#include "src/wire.h"

struct serve_opts {
    const char *disk, *socket, *port;
    bool once;
};

const struct opt serve_options[] = {
    {"disk", "SLOT", "offer this disk (disk0 unless given)", offsetof(struct serve_opts, disk), OPT_STR, 0},
    {"socket", "PATH", "listen on this Unix socket", offsetof(struct serve_opts, socket), OPT_STR, 0},
    {"port", "PORT", "listen on this TCP port of 127.0.0.1 (0: any that is free)", offsetof(struct serve_opts, port),
     OPT_STR, 0},
    {"once", NULL, "end when the last client has gone", offsetof(struct serve_opts, once), OPT_FLAG, 0},
    OPT_END(struct serve_opts),
};

static void cleanup_hold(struct snaplock **l)
{
    snapshot_release(*l);
}

static void cleanup_image(struct image **i)
{
    image_close(*i);
}

/* "nbd+unix:///?socket=PATH", with what is no plain character of a path as %XX; malloc'ed, NULL: out of memory. */
static char *unix_uri(const char *path)
{
    struct buf b = {0};

    buf_str(&b, "nbd+unix:///?socket=");
    for (const char *p = path; *p; p++)
        if (isalnum((unsigned char)*p) || strchr("/-._~", *p))
            buf_char(&b, *p);
        else
            buf_printf(&b, "%%%02X", (unsigned char)*p);
    return buf_steal(&b);
}

/* A listening socket; *ret_path is of a Unix one, to be removed at the end, else NULL. */
static int listen_where(struct cli *c, const struct serve_opts *o, const struct snapshot_info *s, int *ret_fd,
                        char **ret_path, char **ret_uri, struct err *e)
{
    cleanup(cleanup_free) char *path = NULL;
    uint64_t port = 0;
    uint16_t got = 0;
    int r;

    if (o->port) {
        r = number_parse(o->port, 0, 65535, &port, e);
        if (!r)
            r = nbd_listen_tcp((uint16_t)port, ret_fd, &got, e);
        if (!r)
            *ret_uri = str_printf("nbd://127.0.0.1:%u/", got);
        return r;
    }
    if (o->socket) {
        path = strdup(o->socket);
    } else { /* beside the monitors' */
        char dir[256], *slash;
        r = client_socket_path(store_uuid(c->store), s->id, true, dir, sizeof dir, e);
        if (r)
            return r;
        slash = strrchr(dir, '/');
        *slash = 0;
        path = str_printf("%s/nbd-%lld-%d", dir, (long long)s->id, (int)getpid());
    }
    if (!path)
        return err_set(e, VT_FAIL, "out of memory");
    r = nbd_listen_unix(path, ret_fd, e);
    if (r)
        return r;
    *ret_uri = unix_uri(path);
    *ret_path = steal(&path);
    return 0;
}

static void announce(struct cli *c, const struct target *t, const struct snapshot_info *s, const char *disk,
                     uint64_t bytes, const char *uri)
{
    char size[UNITS_MAX];

    if (c->json) {
        cleanup(cleanup_json) json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:s}", "machine", t->machine.name, "snapshot",
                                                    s->name, "disk", disk, "bytes", (json_int_t)bytes, "uri", uri);
        cleanup(cleanup_free) char *text = json_text(j);
        puts(text ? text : "{}");
    } else {
        printf("serving %s of %s@%s (%s) at %s\n", disk, t->machine.name, s->name, size_format(size, bytes), uri);
    }
    fflush(stdout); /* who reads this connects next */
}

/* Serves until SIGINT, SIGTERM or SIGHUP. */
static int serve(const struct nbd_export *x, int listener, bool once, struct err *e)
{
    cleanup(cleanup_close) int stop = -1;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    stop = signalfd(-1, &set, SFD_CLOEXEC);
    return stop < 0 ? err_set(e, VT_FAIL, "signalfd: %m") : nbd_serve(x, listener, -1, stop, once, e);
}

int cmd_serve(struct cli *c, void *opts, struct err *e)
{
    struct serve_opts *o = opts;
    const char *disk = o->disk ? o->disk : "disk0";
    cleanup(target_release) struct target t = {0};
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    cleanup(cleanup_hold) struct snaplock *hold = NULL;
    cleanup(cleanup_image) struct image *image = NULL;
    cleanup(cleanup_free) char *path = NULL;
    cleanup(cleanup_free) char *uri = NULL;
    cleanup(cleanup_close) int listener = -1;
    struct nbd_export x;
    int r;

    if (o->socket && o->port)
        return err_set(e, VT_USAGE, "--socket or --port, not both");
    r = cli_target(c, c->words, c->nwords, false, &t, e);
    if (!r && t.ref.when)
        r = err_set(e, VT_USAGE,
                    "%s@%s: a time cannot be kept from gc while it is served; vmtest export --disk makes a file of it",
                    t.machine.name, t.ref.snap);
    if (!r)
        r = cli_snapshot(c, &t, false, &s, e);
    if (r)
        return r;
    r = snapshot_hold(c->store, s.id, &hold, e); /* neither deleted nor swept while clients read it */
    if (!r)
        r = image_open(c->store, s.id, disk, ROOT_QUIESCED, &image, e);
    if (r)
        return err_prefix(e, r, "%s@%s", t.machine.name, t.ref.snap);
    r = listen_where(c, o, &s, &listener, &path, &uri, e);
    if (r)
        return r;
    diskout_nbd(image, disk, &x);
    announce(c, &t, &s, disk, image_bytes(image), uri ? uri : "");
    r = serve(&x, listener, o->once, e);
    if (path)
        unlink(path);
    return r;
}
