#include "src/archive/moveat.h"

#include <stdlib.h>
#include <sys/resource.h>
#include "src/base/util.h"
#include "src/config.h"

/* Each lock is a descriptor. */
static void raise_limit(size_t want)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur >= want + 64)
        return;
    l.rlim_cur = MIN((rlim_t)want + 64, l.rlim_max);
    setrlimit(RLIMIT_NOFILE, &l);
}

static int hold_all(struct store *s, int64_t machine, struct moveat *m, struct err *e)
{
    struct snapshot_info *list = NULL;
    size_t n = 0;
    int r = snapshot_list(s, machine, &list, &n, e);

    raise_limit(n);
    if (!r && !(m->hold = calloc(n ? n : 1, sizeof *m->hold)))
        r = err_set(e, VT_FAIL, "out of memory");
    for (size_t i = 0; i < n && !r; i++) {
        struct err why = {0};

        r = snapshot_hold(s, list[i].id, &m->hold[m->n], &why);
        if (r == 0)
            m->n++;
        else if (r == VT_NOENT && list[i].id != m->at.snapshot) /* deleted just now: it will not be in the file */
            r = 0;
        else
            err_set(e, r, "%s: %s", list[i].name, why.msg);
    }
    snapshot_list_free(list, n);
    return r;
}

int moveat_begin(struct store *s, int64_t machine, int64_t snapshot, struct moveat *ret, struct err *e)
{
    cleanup(machine_info_release) struct machine_info info = {0};
    cleanup(snapshot_info_release) struct snapshot_info snap = {0};
    cleanup(config_release) struct machine_config cfg = {0};
    cleanup(moveat_release) struct moveat m = {.at.snapshot = snapshot};
    int r = hold_all(s, machine, &m, e);

    if (!r)
        r = machine_get(s, machine, &info, e);
    if (!r)
        r = snapshot_get(s, snapshot, &snap, e);
    if (!r)
        r = config_parse(info.config, &cfg, e);
    if (!r)
        r = config_set_hardware(&cfg, snap.hardware, e);
    if (!r && !(m.config = config_text(&cfg)))
        r = err_set(e, VT_FAIL, "out of memory");
    if (r)
        return r;
    m.at.config = m.config;
    *ret = m;
    m = (struct moveat){0};
    return 0;
}

void moveat_release(struct moveat *m)
{
    for (size_t i = 0; i < m->n; i++)
        snapshot_release(m->hold[i]);
    free(m->hold);
    free(m->config);
}
