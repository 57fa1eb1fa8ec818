#include "cli/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "cli/settings.h"
#include "src/base/io.h"
#include "src/config.h"
#include "src/nets.h"

/* $VAR/vmtest or $HOME/fallback/vmtest, malloc'ed; NULL: out of memory or no $HOME */
static char *xdg_dir(const char *var, const char *fallback)
{
    const char *dir = getenv(var), *home = getenv("HOME");

    if (dir && dir[0] == '/')
        return str_printf("%s/vmtest", dir);
    return home ? str_printf("%s/%s/vmtest", home, fallback) : NULL;
}

int cli_store(struct cli *c, unsigned flags, struct err *e)
{
    struct setting_value given = {.text = c->store_dir};
    cleanup(cleanup_free) char *dir = NULL;
    struct err why = {0};
    int r;

    if (c->store)
        return 0;
    r = given.text ? 0 : settings_get(c, "store", &given, e);
    if (r)
        return r;
    dir = given.text && *given.text ? strdup(given.text) : xdg_dir("XDG_DATA_HOME", ".local/share");
    if (!dir)
        return err_set(e, VT_USAGE, "no store: give --store DIR, or set VMTEST_HOME or HOME");
    r = store_open(dir, flags, &c->store, &why);
    if (r == VT_NOENT)
        return err_set(e, r, "there is no store in %s; vmtest create makes one", dir);
    return r ? err_set(e, r, "%s", why.msg) : 0;
}

/* Exactly one machine in the store. */
static int only_machine(struct cli *c, int64_t *ret_id, struct err *e)
{
    struct machine_info *list;
    size_t n;
    int r = machine_list(c->store, &list, &n, e);

    if (r)
        return r;
    if (n == 1)
        *ret_id = list[0].id;
    else if (n == 0)
        r = err_set(e, VT_NOENT, "there is no machine yet; vmtest create makes one");
    else
        r = err_set(e, VT_USAGE, "which of the %zu machines? name it, give -m, or choose one with vmtest use", n);
    machine_list_free(list, n);
    return r;
}

int cli_machine(struct cli *c, const char *word, bool exact, struct machine_info *ret, struct err *e)
{
    struct setting_value set = {0};
    struct err why = {0};
    int64_t id = 0;
    int r = 0;

    if (word && !*word)
        word = NULL;
    if (word && c->machine && strcmp(word, c->machine))
        return err_set(e, VT_USAGE, "the machine is given twice: \"%s\" and -m %s", word, c->machine);
    if (!word)
        word = c->machine;
    if (!word)
        r = settings_get(c, "machine", &set, e);
    if (!r)
        r = cli_store(c, 0, e);
    if (!r && (word || set.text)) {
        r = machine_find(c->store, word ? word : set.text, exact, &id, &why);
        if (r)
            r = word ? err_set(e, r, "%s", why.msg) : err_set(e, r, "%s (from %s)", why.msg, set.origin);
    } else if (!r) {
        r = store_use_get(c->store, &id, e);
        if (!r && !id)
            r = only_machine(c, &id, e);
    }
    return r ? r : machine_get(c->store, id, ret, e);
}

void target_release(struct target *t)
{
    machine_info_release(&t->machine);
}

int cli_target(struct cli *c, char **words, int n, bool exact, struct target *ret, struct err *e)
{
    struct name_ref ref;
    int r = name_ref_parse(words[n - 1], true, &ref, e);

    if (r)
        return r;
    if (n == 2 && ref.machine[0])
        return err_set(e, VT_USAGE, "the machine is given twice: \"%s\" and \"%s\"", words[0], words[1]);
    r = cli_machine(c, n == 2 ? words[0] : ref.machine, exact, &ret->machine, e);
    if (!r)
        ret->ref = ref;
    return r;
}

int cli_snapshot(struct cli *c, const struct target *t, bool exact, struct snapshot_info *ret, struct err *e)
{
    int64_t id;
    int r = t->ref.when ? err_set(e, VT_USAGE, "%s@%s: is a time, and no snapshot: this takes a snapshot's name",
                                  t->machine.name, t->ref.snap)
                        : snapshot_find(c->store, t->machine.id, t->ref.snap, exact, &id, e);

    return r ? r : snapshot_get(c->store, id, ret, e);
}

int cli_connect(struct cli *c, const struct machine_info *m, struct client **ret, struct err *e)
{
    struct err why = {0};
    int r = client_open(store_uuid(c->store), m->id, ret, &why);

    if (r == VT_BUSY)
        return err_set(e, r, "%s: is not running (vmtest start %s)", m->name, m->name);
    if (!r)
        c->connected = m->id;
    return r ? err_set(e, r, "%s: %s", m->name, why.msg) : 0;
}

/* One try; VT_BUSY: the machine is locked, and nobody listens, or hangs up. */
static int try_lock_or_connect(struct cli *c, const struct machine_info *m, int *ret_fd, struct client **ret,
                               struct err *e)
{
    struct err why = {0};
    int r = machine_lock(c->store, m->id, ret_fd, &why);

    if (r == VT_BUSY) {
        why = (struct err){0};
        r = client_open(store_uuid(c->store), m->id, ret, &why);
        if (!r)
            c->connected = m->id;
    }
    if (r == VT_BUSY || r == VT_GONE)
        return err_set(e, VT_BUSY, "%s: another command is at work on it; try again later", m->name);
    return r ? err_set(e, r, "%s: %s", m->name, why.msg) : 0;
}

int cli_lock_or_connect(struct cli *c, const struct machine_info *m, int *ret_fd, struct client **ret, struct err *e)
{
    const uint64_t until = clock_mono_ns() + 10 * NS_PER_SEC;
    struct err why = {0};
    int r;

    *ret_fd = -1;
    *ret = NULL;
    /* another command, or a monitor that starts or ends: these are short */
    while ((r = try_lock_or_connect(c, m, ret_fd, ret, &why)) == VT_BUSY && clock_mono_ns() < until) {
        why = (struct err){0};
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return r ? err_set(e, r, "%s", why.msg) : 0;
}

int cli_log_path(struct cli *c, int64_t machine, char **ret, struct err *e)
{
    cleanup(cleanup_free) char *base = xdg_dir("XDG_STATE_HOME", ".local/state");
    cleanup(cleanup_free) char *dir = base ? str_printf("%s/log", base) : str_printf("%s/log", store_dir(c->store));
    int r;

    if (!dir)
        return err_set(e, VT_FAIL, "out of memory");
    r = io_mkdirs(dir, 0700, e);
    if (r)
        return r;
    *ret = str_printf("%s/%s-%lld.log", dir, store_uuid(c->store), (long long)machine);
    return *ret ? 0 : err_set(e, VT_FAIL, "out of memory");
}

int cli_last_words(struct cli *c, int r, struct err *e)
{
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_free) char *path = NULL;
    cleanup(cleanup_close) int fd = -1;
    char text[1024], *last;
    struct err was;
    struct stat st;
    ssize_t n = 0;

    if (!c->connected || client_open(store_uuid(c->store), c->connected, &client, NULL) == 0 ||
        cli_log_path(c, c->connected, &path, NULL) < 0)
        return r;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0)
        n = pread(fd, text, sizeof text - 1, st.st_size < (off_t)sizeof text ? 0 : st.st_size - (off_t)sizeof text + 1);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    if (n <= 0)
        return r;
    text[n] = 0;
    last = memrchr(text, '\n', (size_t)n);
    last = last ? last + 1 : text;
    for (char *p = last; *p; p++) /* whoever wrote it, it does not act on the terminal */
        if ((unsigned char)*p < 32 || *p == 127)
            *p = ' ';
    was = *e;
    *e = (struct err){0};
    return err_set(e, r, "%s; the last line of its log: %s", was.msg, last);
}

int cli_abspath(const char *path, char **ret, struct err *e)
{
    char *p = realpath(path, NULL);

    if (!p)
        return err_set(e, err_from_errno(errno), "%s: %s", path, strerror(errno));
    *ret = p;
    return 0;
}

int cli_nets(struct cli *c, const struct machine_config *cfg, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; i < cfg->nnics && !r; i++) {
        const char *net = cfg->nic[i].net;

        r = *net ? cli_store(c, 0, e) : 0;
        if (!r && *net && !nets_exists(store_dir(c->store), net))
            r = err_set(e, VT_NOENT, "%s: no such network; vmtest net create makes one", net);
    }
    return r;
}
