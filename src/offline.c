#include "src/offline.h"

#include <stdlib.h>
#include "src/base/util.h"
#include "src/config.h"

/* Closing is where the last bytes are written: its failure is the operation's, unless that failed before. */
static int close_head(struct head *h, int r, struct err *e)
{
    int closed = head_close(h, r ? NULL : e);

    return r ? r : closed;
}

static int write_snapshot(struct head *h, const struct snap_meta *meta, int64_t *ret_id, struct snap_stats *ret_stats,
                          struct err *e)
{
    struct head_pos live;
    struct snap *snap;
    int r;

    r = head_seal(h, &live, e);
    if (r)
        return r;
    r = snap_begin(h, NULL, &live, &snap, e);
    if (r) {
        head_unmark(h, &live);
        return r;
    }
    return snap_commit(snap, meta, ret_id, ret_stats, e);
}

int offline_snapshot(struct store *s, const struct machine_info *m, const char *name, const char *note, int64_t *ret_id,
                     struct snap_stats *ret_stats, struct err *e)
{
    cleanup(config_release) struct machine_config cfg = {0};
    cleanup(cleanup_free) char *hardware = NULL;
    struct snap_meta meta = {.name = name, .note = note, .power = POWER_OFF};
    struct head *h;
    int r;

    r = config_parse(m->config, &cfg, e);
    if (r)
        return r;
    hardware = config_hardware(&cfg);
    if (!hardware)
        return err_set(e, VT_FAIL, "out of memory");
    meta.hardware = hardware;
    r = head_open(s, m->id, 0, &h, e);
    if (r)
        return r;
    return close_head(h, write_snapshot(h, &meta, ret_id, ret_stats, e), e);
}

int offline_revert(struct store *s, const struct machine_info *m, const struct snapshot_info *snap, struct err *e)
{
    cleanup(config_release) struct machine_config cfg = {0};
    cleanup(cleanup_free) char *text = NULL;
    struct head *h;
    int r;

    r = config_parse(m->config, &cfg, e);
    if (!r)
        r = config_set_hardware(&cfg, snap->hardware, e);
    if (r)
        return r;
    text = config_text(&cfg);
    if (!text)
        return err_set(e, VT_FAIL, "out of memory");
    r = head_open(s, m->id, 0, &h, e);
    if (r)
        return r;
    r = close_head(h, head_reset(h, snap->id, e), e);
    return r ? r : machine_set_config(s, m->id, text, e);
}

int offline_revert_past(struct store *s, const struct machine_info *m, int64_t when, struct err *e)
{
    struct head *h;
    int r = head_open(s, m->id, 0, &h, e);

    return r ? r : close_head(h, head_reset_past(h, when, e), e);
}

/* The present configuration with the hardware of another; malloc'ed. */
static int with_hardware(const char *config, const char *other, char **ret, struct err *e)
{
    cleanup(config_release) struct machine_config now = {0}, then = {0};
    cleanup(cleanup_free) char *hardware = NULL;
    int r = config_parse(config, &now, e);

    if (!r)
        r = config_parse(other, &then, e);
    if (r)
        return r;
    hardware = config_hardware(&then);
    r = hardware ? config_set_hardware(&now, hardware, e) : err_set(e, VT_FAIL, "out of memory");
    if (r)
        return r;
    *ret = config_text(&now);
    return *ret ? 0 : err_set(e, VT_FAIL, "out of memory");
}

int offline_undo(struct store *s, const struct machine_info *m, const struct undo_info *entry, struct err *e)
{
    cleanup(cleanup_free) char *text = NULL;
    struct head *h;
    int r = 0;

    if (entry->config)
        r = with_hardware(m->config, entry->config, &text, e);
    if (r)
        return r;
    r = head_open(s, m->id, 0, &h, e);
    if (r)
        return r;
    r = close_head(h, head_undo(h, entry->id, e), e);
    return r || !text ? r : machine_set_config(s, m->id, text, e);
}
