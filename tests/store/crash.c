#include "tests/store/crash.h"

#include <stdio.h>

static struct lineage *newest(struct expect *x)
{
    return &x->of[x->n - 1];
}

/* From here on nothing older can come back. */
static void only(struct expect *x)
{
    newest(x)->n_wrote = 0;
    if (x->n > 1)
        x->of[0] = *newest(x);
    x->n = 1;
}

static void flushed(struct expect *x)
{
    struct lineage *l = newest(x);

    for (int k = 0; k < l->n_wrote; k++)
        l->base.tag[l->wrote[k][0]] = l->wrote[k][1];
    only(x);
}

static void see(const struct world *w, const struct event *ev, struct expect *x)
{
    struct lineage *l = newest(x);
    struct snap_expect *s = &x->snap[ev->index < 0 ? 0 : ev->index];

    switch (ev->kind) {
    case EV_MACHINE:
        x->machine = true;
        break;
    case EV_START:
        l->base = w->start;
        break;
    case EV_WRITE:
        assert_true(l->n_wrote < (int)ARRAY_LEN(l->wrote));
        l->wrote[l->n_wrote][0] = ev->page;
        l->wrote[l->n_wrote++][1] = ev->tag;
        break;
    case EV_FLUSH:
        flushed(x);
        break;
    case EV_SNAP_BEGIN:
        s->begun = true;
        break;
    case EV_SNAP: /* its commit made everything durable, the head's place too: the disks are as it has them */
        s->reported = true;
        l->base = w->snaps[ev->index].disk;
        only(x);
        break;
    case EV_DELETE_BEGIN:
        s->deleting = true;
        break;
    case EV_DELETE:
        s->deleted = s->deleting = true;
        break;
    case EV_UNDELETE:
        s->deleted = false;
        break;
    case EV_UNDELETED:
        s->deleted = s->deleting = false;
        break;
    case EV_RENAME_BEGIN:
        s->renaming = ev->tag;
        break;
    case EV_RENAME:
        s->renaming = s->renamed = ev->tag;
        break;
    case EV_RESET_BEGIN:
        assert_true(x->n < CRASH_LINEAGES);
        x->between = true;
        x->n++;
        l = newest(x);
        l->n_wrote = 0;
        l->base = ev->index < 0 ? w->origin : w->snaps[ev->index].disk;
        break;
    case EV_UNDO_BEGIN:
        assert_in_range(x->n, 2, CRASH_LINEAGES - 1);
        x->between = true;
        x->n++;
        *newest(x) = x->of[x->n - 3];
        break;
    case EV_RESET:
    case EV_UNDO:
        x->between = false;
        break;
    case EV_OTHER:
        x->other = true;
        break;
    case EV_OTHER_RM_BEGIN:
        x->other_going = true;
        break;
    case EV_OTHER_RM:
        x->other_gone = true;
        break;
    }
}

void expect_at(const struct world *w, size_t n, struct expect *x)
{
    memset(x, 0, sizeof *x);
    x->n = 1;
    x->of[0].base = w->start; /* also before the machine is reported as made */
    for (size_t i = 0; i < w->n_events && w->events[i].at <= n; i++)
        see(w, &w->events[i], x);
}

void crash_wrong(const struct crash *c, const char *what)
{
    fail_msg("%s after operation %zu (crash kind %d, operation %zu)", what, c->n, (int)c->kind, c->which);
}

static void look_at_name(const char *name, int index, const struct snap_expect *x, const struct crash *c)
{
    unsigned n = 0;
    char want[sizeof(((struct model_snap *)0)->name)];

    sscanf(name, "s%*d.%u", &n);
    snprintf(want, sizeof want, n ? "s%d.%u" : "s%d", index, n);
    if (strcmp(name, want) || n < x->renamed || n > x->renaming)
        crash_wrong(c, "a snapshot has not the name that it was given");
}

void crash_look_at_snapshots(struct world *w, struct store *s, int64_t machine, const struct expect *x,
                             const struct crash *c)
{
    for (int i = 0; i < W_SNAPSHOTS; i++) {
        const struct snap_expect *sx = &x->snap[i];
        struct snapshot_info info;
        char name[24];
        int64_t id = w->snaps[i].id;
        int r = 0;
        if (!sx->begun)
            continue;
        snprintf(name, sizeof name, "s%d", i);
        if (!sx->reported)
            r = snapshot_find(s, machine, name, true, &id, NULL);
        if (!r)
            r = snapshot_get(s, id, &info, NULL);
        if (r && sx->reported && !sx->deleting)
            crash_wrong(c, "a reported snapshot is missing");
        if (!r && sx->deleted)
            crash_wrong(c, "a deleted snapshot is back");
        if (r)
            continue;
        look_at_name(info.name, i, sx, c);
        snapshot_info_release(&info);
        world_compare_snap(w, s, i, id);
    }
}

void crash_look_at_other(struct store *s, const struct expect *x, const struct crash *c)
{
    int64_t id, snap;
    struct image *i;
    int r = machine_find(s, "other", true, &id, NULL);

    if (!r && x->other_gone)
        crash_wrong(c, "a removed machine is back");
    if (r && x->other && !x->other_going)
        crash_wrong(c, "the second machine is missing");
    if (r || !x->other)
        return;
    ok(snapshot_find(s, id, "o", true, &snap, e));
    ok(image_open(s, snap, "disk0", ROOT_LIVE, &i, e));
    for (uint32_t p = 0; p < W_OTHER; p++)
        assert_int_equal(image_tag(i, p), world_other_tag(p));
    image_close(i);
}

static bool fits(const struct lineage *l, const struct model_disk *has)
{
    for (uint32_t p = 0; p < W_PAGES; p++) {
        bool good = has->tag[p] == l->base.tag[p];
        for (int k = 0; k < l->n_wrote && !good; k++)
            good = l->wrote[k][0] == p && l->wrote[k][1] == has->tag[p];
        if (!good)
            return false;
    }
    return true;
}

void crash_look_at_head(struct head *h, const struct expect *x, const struct crash *c, struct model_disk *ret)
{
    /* A kill undoes no reported revert. */
    int from = c->kind == CRASH_KILL ? x->n - 1 - x->between : 0;
    bool good = false;

    for (uint32_t p = 0; p < W_PAGES; p++)
        ret->tag[p] = world_tag(h, p);
    for (int i = MAX(from, 0); i < x->n; i++)
        good |= fits(&x->of[i], ret);
    if (!good)
        crash_wrong(c, "the head has not what was flushed");
}

/* The model becomes what the crash, within what it may do, left. */
static void take_over(struct world *w, const struct expect *x)
{
    w->n_alive = 0;
    for (int i = 0; i < w->n_snaps; i++) {
        struct model_snap *m = &w->snaps[i];
        struct snapshot_info info;
        int64_t id;
        char name[sizeof m->name];
        int r = 0;
        snprintf(name, sizeof name, "s%d", i);
        if (!x->snap[i].reported && !snapshot_find(w->s, w->machine, name, true, &id, NULL))
            m->id = id;
        else if (!x->snap[i].reported)
            m->id = -1;
        r = snapshot_get(w->s, m->id, &info, NULL);
        m->deleted = r;
        if (r)
            continue;
        w->n_alive++;
        memcpy(m->name, info.name, strlen(info.name) + 1);
        m->renames = 0;
        sscanf(m->name, "s%*d.%u", &m->renames);
        snapshot_info_release(&info);
    }
    w->parent = -1;
    for (int i = 0; i < w->n_snaps; i++)
        if (!w->snaps[i].deleted && w->snaps[i].id == head_parent(w->h))
            w->parent = i;
}

void crash_resume(struct world *w, const struct crash *c)
{
    struct expect *x = malloc(sizeof *x);

    expect_at(w, c->n, x);
    world_open_again(w);
    crash_look_at_snapshots(w, w->s, w->machine, x, c);
    crash_look_at_head(w->h, x, c, &w->now);
    take_over(w, x);
    free(x);
}
