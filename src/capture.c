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
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->next, NULL);
    c->nimages = vm_images(m->vm);
    vt_assert(c->nimages <= IMAGES_MAX);
    for (unsigned i = 0; i < c->nimages; i++) {
        c->image[i].slot = vm_image_name(m->vm, i);
        c->image[i].track = vm_image_track(m->vm, i);
    }
    capture_bound(c, c->image[0].track->pages / 4 * VT_PAGE_SIZE);
    *ret_capture = c;
    return 0;
}

void capture_bound(struct capture *c, uint64_t bytes)
{
    c->left_most = bytes / VT_PAGE_SIZE;
    for (unsigned i = 0; i < c->nimages; i++)
        vm_image_bound(c->machine->vm, i, c->left_most);
}

int64_t capture_base(const struct capture *c)
{
    return c->base;
}

void capture_free(struct capture *c)
{
    if (!c)
        return;
    vt_assert(!c->first);
    capture_close_sources(c, 0);
    discs_release(&c->left.discs);
    free(c->left.state);
    pthread_cond_destroy(&c->next);
    pthread_mutex_destroy(&c->lock);
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

/* What is taken while the machine stands, and what it was then. */
struct taken {
    struct capture *c;
    const struct capture_spec *spec;
    struct taken *behind;
    struct capture_result result; /* so far */
    uint64_t begin;
    struct head_pos quiesced, live;
    bool marked, sealed, tracked; /* quiesced, live, epoch */
    bool stored;
    uint8_t *state;
    size_t state_len;
    uint64_t epoch[IMAGES_MAX];
    int64_t vclock;
    char *hardware, features[256];
};

static int take_instant(struct taken *t, struct err *e)
{
    struct capture *c = t->c;
    struct vm *vm = c->machine->vm;
    int rc = machine_quiesce_disks(c->machine, e);

    if (rc == 0)
        rc = vm_state_save(vm, &t->state, &t->state_len, e);
    if (rc == 0)
        rc = head_seal(c->head, &t->live, e);
    if (rc < 0)
        return rc;
    t->sealed = true;
    for (unsigned i = 0; i < c->nimages; i++)
        t->epoch[i] = c->image[i].track->capture(c->image[i].track);
    t->tracked = true;
    t->vclock = (int64_t)vm_clock_ns(vm);
    return 0;
}

/* The positions that no snapshot was begun with. */
static void give_up(struct taken *t)
{
    if (t->marked)
        head_unmark(t->c->head, &t->quiesced);
    if (t->sealed)
        head_unmark(t->c->head, &t->live);
}

static void taken_free(struct taken *t)
{
    for (unsigned i = 0; i < t->c->nimages && t->tracked; i++) {
        struct pagetrack *track = t->c->image[i].track;
        (t->stored ? track->retain : track->done)(track, t->epoch[i]);
    }
    free(t->state);
    free(t->hardware);
    free(t);
}

/* [c->lock] */
static bool room(struct capture *c)
{
    bool all = true;

    for (unsigned i = 0; i < c->nimages; i++)
        all &= c->image[i].track->room(c->image[i].track);
    return all;
}

/* Until one more may be taken under this name. */
static int wait_for_room(struct capture *c, const char *name, struct err *e)
{
    int rc = 0;

    pthread_mutex_lock(&c->lock);
    for (struct taken *t = c->first; t && rc == 0; t = t->behind)
        if (strcmp(t->spec->name, name) == 0)
            rc = err_set(e, VT_EXISTS, "%s: a snapshot of this name is being stored", name);
    while (rc == 0 && !room(c) && c->first)
        pthread_cond_wait(&c->next, &c->lock);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int take(struct taken *t, struct err *e)
{
    struct vcpu *vcpu = t->c->machine->vcpu;
    uint64_t stopped;
    int rc;

    t->hardware = config_hardware(t->c->machine->config);
    if (!t->hardware)
        return err_set(e, VT_FAIL, "out of memory");
    rc = head_spare(t->c->head, e); /* so that the seal, with the guest stopped, makes no files */
    if (rc == 0)
        rc = quiesce(t->c, t->spec, &t->quiesced, &t->marked, t->result.warning, sizeof t->result.warning, e);
    if (rc < 0)
        return rc;
    stopped = clock_mono_ns();
    vcpu_pause(vcpu);
    rc = take_instant(t, e);
    vcpu_resume(vcpu);
    t->result.stopped = clock_mono_ns() - stopped;
    vm_cpu_features(t->c->machine->vm, t->features, sizeof t->features);
    return rc;
}

int capture_take(struct capture *c, const struct capture_spec *spec, struct taken **ret, struct err *e)
{
    struct taken *t = calloc(1, sizeof *t), **end = &c->first;
    int rc = t ? wait_for_room(c, spec->name, e) : err_set(e, VT_FAIL, "out of memory");

    if (rc < 0) {
        free(t);
        return rc;
    }
    *t = (struct taken){.c = c, .spec = spec, .begin = clock_mono_ns()};
    rc = take(t, e);
    if (rc < 0) {
        give_up(t);
        taken_free(t);
        return rc;
    }
    pthread_mutex_lock(&c->lock);
    while (*end)
        end = &(*end)->behind;
    *end = t;
    pthread_mutex_unlock(&c->lock);
    if (spec->watch.taken)
        spec->watch.taken(spec->watch.opaque, &t->result);
    *ret = t;
    return 0;
}

/* ---- storing it */

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

static int write_snapshot(struct taken *now, struct capture_result *ret, struct err *e)
{
    struct capture *c = now->c;
    const struct capture_spec *spec = now->spec;
    struct snap_meta meta = {.name = spec->name,
                             .note = spec->note,
                             .power = spec->paused ? POWER_PAUSED : POWER_RUNNING,
                             .vclock = now->vclock,
                             .hardware = now->hardware,
                             .cpu_features = now->features};
    bool from_parent = base_known(c);
    struct put put = {.watch = &spec->watch, .pages = &ret->pages};
    struct snap_stats stats = {0};
    struct snap *snap = NULL;
    int rc = snap_begin(c->head, now->marked ? &now->quiesced : NULL, &now->live, &snap, e);

    if (rc < 0) {
        give_up(now);
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
    now->stored = true;
    c->base = c->retained = ret->id;
    for (unsigned i = 0; i < c->nimages; i++)
        c->image[i].base_epoch = now->epoch[i];
    return 0;
}

int capture_store(struct taken *t, struct capture_result *ret, struct err *e)
{
    struct capture *c = t->c;
    uint64_t begin = t->begin;
    int rc;

    pthread_mutex_lock(&c->lock);
    while (c->first != t)
        pthread_cond_wait(&c->next, &c->lock);
    pthread_mutex_unlock(&c->lock);
    *ret = t->result;
    rc = write_snapshot(t, ret, e);
    pthread_mutex_lock(&c->lock);
    c->first = t->behind;
    taken_free(t);
    pthread_cond_broadcast(&c->next);
    pthread_mutex_unlock(&c->lock);
    ret->took = clock_mono_ns() - begin;
    return rc;
}

bool capture_busy(struct capture *c)
{
    bool busy;

    pthread_mutex_lock(&c->lock);
    busy = c->first;
    pthread_mutex_unlock(&c->lock);
    return busy;
}

void capture_drain(struct capture *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->first)
        pthread_cond_wait(&c->next, &c->lock);
    pthread_mutex_unlock(&c->lock);
}
