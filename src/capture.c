#include "src/capture.h"

#include <stdio.h>
#include <string.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"

#define IMAGES_MAX  4  /* ram, vram and room */
#define SOURCES_MAX 16 /* snapshots that memory may be read from lazily; past it everything is read anew */
#define RUN_PAGES   16 /* pages put in one call: a frame's worth */

/* One image of the machine (ram, vram) against the store. */
struct tracked {
    const char *slot;
    struct pagetrack *track;
    uint64_t base_epoch; /* as the snapshot `base` has it; meaningless while base is 0 */
};

/* A snapshot that the machine's memory may still be read from, lazily. */
struct source {
    int64_t snapshot;
    struct snaplock *hold; /* NULL: the snapshot is deleted, and every page was read before that */
    struct image *image[IMAGES_MAX];
};

struct capture {
    struct store *store;
    struct head *head;
    struct machine *machine;
    unsigned nimages;
    struct tracked image[IMAGES_MAX];
    int64_t base; /* the snapshot whose memory equals each image at base_epoch; 0: none, all pages count as changed */
    struct source source[SOURCES_MAX + 1]; /* one more while all is read anew */
    unsigned nsources;
};

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

static void source_close(struct source *s)
{
    for (unsigned i = 0; i < IMAGES_MAX; i++)
        if (s->image[i])
            image_close(s->image[i]);
    if (s->hold)
        snapshot_release(s->hold);
    *s = (struct source){0};
}

/* Closes all but the last `keep` ones. */
static void close_sources(struct capture *c, unsigned keep)
{
    unsigned gone = c->nsources - keep;

    for (unsigned i = 0; i < gone; i++)
        source_close(&c->source[i]);
    memmove(c->source, c->source + gone, keep * sizeof c->source[0]);
    c->nsources = keep;
}

void capture_free(struct capture *c)
{
    if (!c)
        return;
    close_sources(c, 0);
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

static int put_image(struct snap *snap, const struct tracked *t, uint64_t since, uint64_t epoch, bool from_parent,
                     uint64_t *ret_pages, struct err *e)
{
    cleanup(cleanup_free) uint8_t *run = malloc(RUN_PAGES * VT_PAGE_SIZE);
    uint64_t page = 0, first = 0;
    uint32_t n = 0;
    int rc = run ? snap_image(snap, t->slot, t->track->pages, from_parent, e) : err_set(e, VT_FAIL, "out of memory");

    while (rc == 0) {
        bool more = t->track->next_changed(t->track, since, epoch, &page);

        if (n && (!more || n == RUN_PAGES || page != first + n)) {
            rc = snap_put_pages(snap, t->slot, first, n, run, e);
            *ret_pages += n;
            n = 0;
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
    struct snap_meta meta = {.name = spec->name,
                             .note = spec->note,
                             .power = spec->paused ? POWER_PAUSED : POWER_RUNNING,
                             .vclock = now->vclock,
                             .hardware = hardware,
                             .cpu_features = c->machine->config->cpu};
    bool from_parent = base_known(c);
    struct snap_stats stats = {0};
    struct snap *snap = NULL;
    int rc = hardware ? snap_begin(c->head, quiesced, &now->live, &snap, e) : err_set(e, VT_FAIL, "out of memory");

    if (rc < 0) {
        give_up(c, quiesced, now);
        return rc;
    }
    for (unsigned i = 0; i < c->nimages && rc == 0; i++)
        rc = put_image(snap, &c->image[i], from_parent ? c->image[i].base_epoch : 0, now->epoch[i], from_parent,
                       &ret->pages, e);
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
    rc = head_prepare(c->head, e); /* so that the seal, with the guest stopped, makes no files */
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
    if (rc == 0)
        rc = write_snapshot(c, spec, marked ? &quiesced : NULL, &now, ret, e);
    else
        give_up(c, marked ? &quiesced : NULL, &now);
    end_instant(c, &now);
    ret->took = clock_mono_ns() - begin;
    return rc;
}

/* ---- going to a snapshot */

/* The snapshot's images, kept open and from deletion while the machine may read them. */
static int open_source(struct capture *c, int64_t snapshot, struct source **ret, struct err *e)
{
    struct source *s = &c->source[c->nsources];
    int rc;

    for (unsigned i = 0; i < c->nsources; i++)
        if (c->source[i].snapshot == snapshot && c->source[i].hold) {
            *ret = &c->source[i];
            return 0;
        }
    s->snapshot = snapshot;
    rc = snapshot_hold(c->store, snapshot, &s->hold, e);
    for (unsigned i = 0; i < c->nimages && rc == 0; i++) {
        rc = image_open(c->store, snapshot, c->image[i].slot, ROOT_LIVE, &s->image[i], e);
        if (rc == 0 && image_pages(s->image[i]) != c->image[i].track->pages)
            rc = err_set(e, VT_CORRUPT, "%s of the snapshot has another size than the machine's", c->image[i].slot);
    }
    if (rc < 0) {
        source_close(s);
        return rc;
    }
    c->nsources++;
    *ret = s;
    return 0;
}

struct page_list {
    uint64_t *pages;
    size_t n, cap;
    bool failed;
};

static void list_add(struct page_list *l, uint64_t page)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 1024;
        uint64_t *bigger = realloc(l->pages, cap * sizeof *bigger);
        if (!bigger) {
            l->failed = true;
            return;
        }
        l->pages = bigger;
        l->cap = cap;
    }
    l->pages[l->n++] = page;
}

static int note_difference(void *opaque, const struct image_diff *d, struct err *e)
{
    struct page_list *l = opaque;

    list_add(l, d->page);
    return l->failed ? err_set(e, VT_FAIL, "out of memory") : 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void sort_unique(struct page_list *l)
{
    size_t kept = 0;

    qsort(l->pages, l->n, sizeof *l->pages, by_number);
    for (size_t i = 0; i < l->n; i++)
        if (kept == 0 || l->pages[i] != l->pages[kept - 1])
            l->pages[kept++] = l->pages[i];
    l->n = kept;
}

/* The pages in which the machine, as it stands, may differ from `target`: changed since base, or base differs. */
static int differing(struct capture *c, struct tracked *t, struct image *target, int64_t snapshot, struct page_list *l,
                     struct err *e)
{
    struct image *base = NULL;
    uint64_t epoch, page = 0;
    int rc = 0;

    if (c->base != snapshot) {
        rc = image_open(c->store, c->base, t->slot, ROOT_LIVE, &base, e);
        if (rc == 0)
            rc = image_compare(base, target, note_difference, l, e);
        if (base)
            image_close(base);
    }
    if (rc < 0)
        return rc;
    epoch = t->track->capture(t->track);
    while (t->track->next_changed(t->track, t->base_epoch, epoch, &page))
        list_add(l, page++);
    t->track->done(t->track, epoch);
    sort_unique(l);
    return l->failed ? err_set(e, VT_FAIL, "out of memory") : 0;
}

/* Makes one image of the machine the snapshot's. */
static int restore_image(struct capture *c, unsigned n, struct source *from, bool afresh, uint64_t *ret_pages,
                         struct err *e)
{
    struct tracked *t = &c->image[n];
    cleanup(cleanup_free) uint64_t *pages = NULL;
    struct page_list list = {0};
    int rc;

    if (afresh) {
        *ret_pages += t->track->pages;
        return vm_image_restore(c->machine->vm, n, image_pagesrc(from->image[n]), e);
    }
    rc = differing(c, t, from->image[n], from->snapshot, &list, e);
    pages = list.pages;
    *ret_pages += list.n;
    return rc < 0 ? rc : vm_image_revert(c->machine->vm, n, image_pagesrc(from->image[n]), list.pages, list.n, e);
}

static int restore_memory(struct capture *c, struct source *from, uint64_t *ret_pages, struct err *e)
{
    bool afresh = c->base == 0 || c->nsources > SOURCES_MAX;
    cleanup(cleanup_free) void *state = NULL;
    int64_t snapshot = from->snapshot;
    size_t len = 0;
    int rc = snapshot_state(c->store, snapshot, &state, &len, e);

    for (unsigned i = 0; i < c->nimages && rc == 0; i++)
        rc = restore_image(c, i, from, afresh, ret_pages, e);
    if (rc == 0)
        rc = vm_state_load(c->machine->vm, state, len, e);
    if (rc < 0) {
        c->base = 0;
        return rc;
    }
    if (afresh) { /* nothing is read from the older ones any more */
        struct source keep = *from;
        *from = (struct source){0};
        close_sources(c, 0);
        c->source[c->nsources++] = keep;
    }
    for (unsigned i = 0; i < c->nimages; i++) {
        struct pagetrack *t = c->image[i].track;
        c->image[i].base_epoch = t->capture(t);
        t->done(t, c->image[i].base_epoch);
    }
    c->base = snapshot;
    return 0;
}

static int check_hardware(const struct capture *c, const struct snapshot_info *s, struct err *e)
{
    cleanup(cleanup_free) char *ours = config_hardware(c->machine->config);
    struct machine_config theirs;
    cleanup(cleanup_free) char *theirs_text = NULL;
    int rc;

    if (!ours)
        return err_set(e, VT_FAIL, "out of memory");
    config_init(&theirs);
    rc = config_set_hardware(&theirs, s->hardware, e);
    if (rc == 0)
        theirs_text = config_hardware(&theirs);
    config_release(&theirs);
    if (rc == 0 && (!theirs_text || strcmp(ours, theirs_text) != 0))
        rc = err_set(e, VT_BUSY, "%s has other hardware than the running machine: stop it first", s->name);
    return rc;
}

static int reset_disks(struct capture *c, int64_t snapshot, struct err *e)
{
    struct machine *m = c->machine;
    int rc = machine_quiesce_disks(m, NULL); /* one in trouble stands as well: what it holds is given up below */

    if (rc == VT_BUSY)
        rc = 0;
    if (rc == 0)
        rc = head_reset(c->head, snapshot, e);
    for (unsigned i = 0; i < m->config->ndisks && rc == 0; i++) {
        struct blockdev *dev = head_disk(c->head, m->config->disk[i].slot);
        if (!dev)
            return err_set(e, VT_CORRUPT, "the snapshot has no %s", m->config->disk[i].slot);
        blkworker_switch(m->disk[i], dev);
    }
    return rc;
}

int capture_revert(struct capture *c, int64_t snapshot, struct revert_result *ret, bool *ret_broken, struct err *e)
{
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    uint64_t begin = clock_mono_ns();
    struct source *from = NULL;
    int rc = snapshot_get(c->store, snapshot, &s, e);
    bool memory = rc == 0 && s.ram_bytes > 0;

    *ret = (struct revert_result){0};
    *ret_broken = false;
    if (rc == 0 && memory)
        rc = check_hardware(c, &s, e);
    if (rc == 0 && memory)
        rc = open_source(c, snapshot, &from, e);
    if (rc < 0)
        return rc;
    *ret_broken = true;
    rc = reset_disks(c, snapshot, e);
    if (rc == 0 && memory)
        rc = restore_memory(c, from, &ret->pages, e);
    if (rc < 0)
        return rc;
    *ret_broken = false;
    ret->power = memory ? s.power : POWER_OFF;
    ret->took = clock_mono_ns() - begin;
    return 0;
}

int capture_restore(struct capture *c, int64_t snapshot, enum power *ret_power, struct err *e)
{
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    struct source *from = NULL;
    uint64_t pages = 0;
    int rc = snapshot_get(c->store, snapshot, &s, e);

    if (rc == 0 && s.ram_bytes > 0)
        rc = open_source(c, snapshot, &from, e);
    if (rc == 0 && s.ram_bytes > 0)
        rc = restore_memory(c, from, &pages, e);
    if (rc == 0)
        *ret_power = s.ram_bytes > 0 ? s.power : POWER_OFF;
    return rc;
}

int capture_detach(struct capture *c, int64_t snapshot, struct err *e)
{
    struct source *from = NULL;

    for (unsigned i = 0; i < c->nsources; i++)
        if (c->source[i].snapshot == snapshot && c->source[i].hold)
            from = &c->source[i];
    if (from) {
        /* Touching a page makes it the machine's own, or its template's: the store is not read for it again. */
        vcpu_pause(c->machine->vcpu);
        for (uint64_t page = 0; page < c->image[0].track->pages; page++) {
            uint8_t byte;
            if (!vm_phys_read(c->machine->vm, page * VT_PAGE_SIZE, &byte, 1))
                break;
        }
        vcpu_resume(c->machine->vcpu);
        snapshot_release(from->hold);
        from->hold = NULL;
    }
    if (c->base == snapshot)
        c->base = 0; /* the next capture writes everything once more: simple, and rare */
    return 0;
}
