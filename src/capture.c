#include "src/capture_impl.h"

#include <stdio.h>
#include <string.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"

#define RUN_PAGES 16 /* pages put in one call: a frame's worth */

int capture_new(struct store *store, struct head *head, struct machine *m, struct capture **ret_capture, struct err *e)
{
    struct capture *c = calloc(1, sizeof *c);

    if (!c)
        return err_set(e, VT_FAIL, "out of memory");
    c->store = store;
    c->head = head;
    c->machine = m;
    c->nimages = vm_images(m->vm);
    vt_assert(c->nimages <= IMAGES_MAX);
    for (unsigned i = 0; i < c->nimages; i++) {
        c->image[i].slot = vm_image_name(m->vm, i);
        c->image[i].track = vm_image_track(m->vm, i);
    }
    *ret_capture = c;
    return 0;
}

void capture_free(struct capture *c)
{
    if (!c)
        return;
    capture_close_sources(c, 0);
    free(c);
}

bool quiesce_parse(const char *word, enum quiesce *ret)
{
    static const char *const words[] = {"auto", "require", "no"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(word, words[i]) == 0) {
            *ret = (enum quiesce)i;
            return true;
        }
    return false;
}

/* ---- taking a snapshot */

/* Freezes, marks, thaws. *ret_marked: pos is a quiesced position. Whatever happens, the guest is asked to thaw. */
static int quiesce(struct capture *c, const struct capture_spec *spec, struct head_pos *pos, bool *ret_marked,
                   char *warning, size_t size, struct err *e)
{
    struct agent *a = c->machine->agent;
    int timeout_ms = (int)MIN(spec->quiesce_timeout / NS_PER_MS, (uint64_t)3600000), rc;
    struct err why = {0}, thaw_why = {0};
    unsigned frozen = 0, thawed = 0;

    *ret_marked = false;
    if (spec->quiesce == QUIESCE_NO)
        return 0;
    if (spec->paused)
        rc = err_set(&why, VT_BUSY, "the machine is paused");
    else if (!machine_agent_open(c->machine))
        rc = err_set(&why, VT_GONE, "no guest agent runs in the guest");
    else {
        agent_hold(a); /* a frozen guest refuses every other command: they wait */
        rc = agent_freeze(a, timeout_ms, &frozen, &why);
        if (rc == 0)
            rc = head_mark(c->head, pos, &why);
        *ret_marked = rc == 0;
        if (agent_thaw(a, AGENT_TIMEOUT_MS, &thawed, &thaw_why) < 0 && (rc == 0 || rc == VT_GONE))
            snprintf(warning, size, "the guest's file systems may still be frozen: %s", thaw_why.msg);
        agent_release(a);
    }
    if (rc == 0)
        return 0;
    if (spec->quiesce == QUIESCE_REQUIRE)
        return err_set(e, rc, "the guest's file systems could not be frozen: %s", why.msg);
    if (!*warning)
        snprintf(warning, size, "the guest's file systems were not frozen: %s", why.msg);
    return 0;
}

/* What is taken while the machine stands. */
struct instant {
    struct head_pos live;
    uint8_t *state;
    size_t state_len;
    uint64_t epoch[IMAGES_MAX];
    int64_t vclock;
    bool sealed, tracked;
};

static int take_instant(struct capture *c, struct instant *now, struct err *e)
{
    struct vm *vm = c->machine->vm;
    int rc = machine_quiesce_disks(c->machine, e);

    if (rc == 0)
        rc = vm_state_save(vm, &now->state, &now->state_len, e);
    if (rc == 0)
        rc = head_seal(c->head, &now->live, e);
    if (rc < 0)
        return rc;
    now->sealed = true;
    for (unsigned i = 0; i < c->nimages; i++)
        now->epoch[i] = c->image[i].track->capture(c->image[i].track);
    now->tracked = true;
    now->vclock = (int64_t)vm_clock_ns(vm);
    return 0;
}

static void end_instant(struct capture *c, struct instant *now)
{
    for (unsigned i = 0; i < c->nimages && now->tracked; i++)
        c->image[i].track->done(c->image[i].track, now->epoch[i]);
    now->tracked = false;
    free(now->state);
    now->state = NULL;
}

struct put { /* how far it is */
    const struct capture_watch *watch;
    uint64_t *pages, of;
};

static uint64_t count_changed(const struct tracked *t, uint64_t since, uint64_t epoch)
{
    uint64_t n = 0;

    for (uint64_t page = 0; t->track->next_changed(t->track, since, epoch, &page); page++)
        n++;
    return n;
}

static int put_image(struct snap *snap, const struct tracked *t, uint64_t since, uint64_t epoch, bool from_parent,
                     const struct put *put, struct err *e)
{
    cleanup(cleanup_free) uint8_t *run = malloc(RUN_PAGES * VT_PAGE_SIZE);
    uint64_t page = 0, first = 0;
    uint32_t n = 0;
    int rc = run ? snap_image(snap, t->slot, t->track->pages, from_parent, e) : err_set(e, VT_FAIL, "out of memory");

    while (rc == 0) {
        bool more = t->track->next_changed(t->track, since, epoch, &page);

        if (n && (!more || n == RUN_PAGES || page != first + n)) {
            rc = snap_put_pages(snap, t->slot, first, n, run, e);
            *put->pages += n;
            n = 0;
            if (rc == 0 && put->watch->progress)
                put->watch->progress(put->watch->opaque, *put->pages, put->of);
        }
        if (!more || rc < 0)
            break;
        if (n == 0)
            first = page;
        rc = t->track->copy(t->track, epoch, page, run + (size_t)n * VT_PAGE_SIZE, e);
        n++;
        page++;
    }
    return rc;
}

/* Is the head's snapshot the one that base_epoch speaks of? */
static bool base_known(const struct capture *c)
{
    return c->base != 0 && c->base == head_parent(c->head);
}

/* The positions that no snapshot was begun with. */
static void give_up(struct capture *c, const struct head_pos *quiesced, const struct instant *now)
{
    if (quiesced)
        head_unmark(c->head, quiesced);
    if (now->sealed)
        head_unmark(c->head, &now->live);
}

static int write_snapshot(struct capture *c, const struct capture_spec *spec, const struct head_pos *quiesced,
                          const struct instant *now, struct capture_result *ret, struct err *e)
{
    cleanup(cleanup_free) char *hardware = config_hardware(c->machine->config);
    char features[256];
    struct snap_meta meta = {.name = spec->name,
                             .note = spec->note,
                             .power = spec->paused ? POWER_PAUSED : POWER_RUNNING,
                             .vclock = now->vclock,
                             .hardware = hardware,
                             .cpu_features = features};
    bool from_parent = base_known(c);
    struct put put = {.watch = &spec->watch, .pages = &ret->pages};
    struct snap_stats stats = {0};
    struct snap *snap = NULL;
    int rc;

    vm_cpu_features(c->machine->vm, features, sizeof features);
    rc = hardware ? snap_begin(c->head, quiesced, &now->live, &snap, e) : err_set(e, VT_FAIL, "out of memory");

    if (rc < 0) {
        give_up(c, quiesced, now);
        return rc;
    }
    for (unsigned i = 0; i < c->nimages && spec->watch.progress; i++)
        put.of += count_changed(&c->image[i], from_parent ? c->image[i].base_epoch : 0, now->epoch[i]);
    for (unsigned i = 0; i < c->nimages && rc == 0; i++)
        rc = put_image(snap, &c->image[i], from_parent ? c->image[i].base_epoch : 0, now->epoch[i], from_parent, &put,
                       e);
    if (rc == 0)
        rc = snap_put_state(snap, now->state, now->state_len, e);
    if (rc < 0) {
        snap_abort(snap);
        return rc;
    }
    rc = snap_commit(snap, &meta, &ret->id, &stats, e);
    if (rc < 0)
        return rc;
    ret->blocks = stats.pages > ret->pages ? stats.pages - ret->pages : 0;
    c->base = ret->id;
    for (unsigned i = 0; i < c->nimages; i++)
        c->image[i].base_epoch = now->epoch[i];
    return 0;
}

int capture_snapshot(struct capture *c, const struct capture_spec *spec, struct capture_result *ret, struct err *e)
{
    struct vcpu *vcpu = c->machine->vcpu;
    uint64_t begin = clock_mono_ns(), stopped;
    struct instant now = {0};
    struct head_pos quiesced;
    bool marked;
    int rc;

    *ret = (struct capture_result){0};
    rc = head_spare(c->head, e); /* so that the seal, with the guest stopped, makes no files */
    if (rc < 0)
        return rc;
    rc = quiesce(c, spec, &quiesced, &marked, ret->warning, sizeof ret->warning, e);
    if (rc < 0)
        return rc;
    stopped = clock_mono_ns();
    vcpu_pause(vcpu);
    rc = take_instant(c, &now, e);
    vcpu_resume(vcpu);
    ret->stopped = clock_mono_ns() - stopped;
    if (rc == 0 && spec->watch.taken)
        spec->watch.taken(spec->watch.opaque, ret);
    if (rc == 0)
        rc = write_snapshot(c, spec, marked ? &quiesced : NULL, &now, ret, e);
    else
        give_up(c, marked ? &quiesced : NULL, &now);
    end_instant(c, &now);
    ret->took = clock_mono_ns() - begin;
    return rc;
}
