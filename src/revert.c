#include "src/capture_impl.h"

#include <string.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"

static void source_close(struct source *s)
{
    for (unsigned i = 0; i < IMAGES_MAX; i++)
        if (s->image[i])
            image_close(s->image[i]);
    if (s->hold)
        snapshot_release(s->hold);
    *s = (struct source){0};
}

void capture_close_sources(struct capture *c, unsigned keep)
{
    unsigned gone = c->nsources - keep;

    for (unsigned i = 0; i < gone; i++)
        source_close(&c->source[i]);
    memmove(c->source, c->source + gone, keep * sizeof c->source[0]);
    c->nsources = keep;
}

int capture_open_source(struct capture *c, const struct snapshot_info *of, struct source **ret, struct err *e)
{
    int64_t snapshot = of->id;
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
    if (rc == 0)
        image_share(s->image[0], of, NULL); /* RAM; where it cannot be, memory is the machine's own */
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

    if (!l->n)
        return;
    qsort(l->pages, l->n, sizeof *l->pages, by_number);
    for (size_t i = 0; i < l->n; i++)
        if (kept == 0 || l->pages[i] != l->pages[kept - 1])
            l->pages[kept++] = l->pages[i];
    l->n = kept;
}

/* The pages that changed since base, or ever. */
static int changed(const struct capture *c, struct tracked *t, struct page_list *l, struct err *e)
{
    uint64_t epoch = t->track->capture(t->track), page = 0;

    while (t->track->next_changed(t->track, c->base ? t->base_epoch : 0, epoch, &page))
        list_add(l, page++);
    t->track->done(t->track, epoch);
    return l->failed ? err_set(e, VT_FAIL, "out of memory") : 0;
}

/* And those in which base differs from `target`: there the machine, as it stands, may. */
static int differing(struct capture *c, struct tracked *t, struct image *target, int64_t snapshot, struct page_list *l,
                     struct err *e)
{
    struct image *base = NULL;
    int rc = 0;

    if (c->base != snapshot) {
        rc = image_open(c->store, c->base, t->slot, ROOT_LIVE, &base, e);
        if (rc == 0)
            rc = image_compare(base, target, note_difference, l, e);
        if (base)
            image_close(base);
    }
    if (rc == 0)
        rc = changed(c, t, l, e);
    if (rc == 0 && c->base != snapshot)
        sort_unique(l);
    return rc;
}

/* Makes one image of the machine the snapshot's. */
static int restore_image(struct capture *c, unsigned n, struct source *from, bool afresh, bool leave,
                         uint64_t *ret_pages, struct err *e)
{
    struct tracked *t = &c->image[n];
    cleanup(cleanup_free) uint64_t *pages = NULL;
    struct vm *vm = c->machine->vm;
    struct page_list list = {0};
    int rc = 0;

    if (!afresh && c->retained != from->snapshot)
        t->track->forget(t->track);
    if (!afresh)
        rc = differing(c, t, from->image[n], from->snapshot, &list, e);
    else if (leave)
        rc = changed(c, t, &list, e);
    pages = list.pages;
    *ret_pages += afresh ? t->track->pages : list.n;
    if (rc == 0 && leave && !vm_image_leave(vm, n, list.pages, list.n, c->left_most))
        capture_drop_left(c, "there was no memory for it");
    if (rc < 0)
        return rc;
    return afresh ? vm_image_restore(vm, n, image_pagesrc(from->image[n]), e)
                  : vm_image_revert(vm, n, image_pagesrc(from->image[n]), list.pages, list.n, e);
}

static bool afresh(const struct capture *c)
{
    return c->base == 0 || c->nsources > SOURCES_MAX;
}

int capture_restore_images(struct capture *c, struct source *from, bool leave, uint64_t *ret_pages, struct err *e)
{
    bool all = afresh(c);
    int rc = 0;

    for (unsigned i = 0; i < c->nimages && rc == 0; i++)
        rc = restore_image(c, i, from, all, leave && c->left.head, ret_pages, e);
    if (all || c->retained != from->snapshot || rc < 0)
        c->retained = 0;
    if (rc < 0)
        c->base = 0;
    return rc;
}

void capture_settle(struct capture *c, struct source *from)
{
    struct source keep = *from;

    if (afresh(c)) { /* nothing is read from the older ones any more */
        *from = (struct source){0};
        capture_close_sources(c, 0);
        c->source[c->nsources++] = keep;
    }
    for (unsigned i = 0; i < c->nimages; i++) {
        struct pagetrack *t = c->image[i].track;
        c->image[i].base_epoch = t->capture(t);
        t->done(t, c->image[i].base_epoch);
    }
    c->base = keep.snapshot;
}

static int restore_memory(struct capture *c, struct source *from, bool leave, uint64_t *ret_pages, struct err *e)
{
    cleanup(cleanup_free) void *state = NULL;
    size_t len = 0;
    int rc = snapshot_state(c->store, from->snapshot, &state, &len, e);

    if (rc == 0)
        rc = capture_restore_images(c, from, leave, ret_pages, e);
    if (rc == 0)
        rc = vm_state_load(c->machine->vm, state, len, e);
    if (rc < 0) {
        c->base = c->retained = 0;
        return rc;
    }
    capture_settle(c, from);
    return 0;
}

void discs_release(struct discs *d)
{
    free(d->cdrom);
    for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
        free(d->floppy[i]);
}

/* Takes *theirs and puts a copy of ours there. */
static bool take_disc(char **theirs, const char *ours, char **ret)
{
    *ret = *theirs;
    *theirs = ours ? strdup(ours) : NULL;
    return !ours || *theirs;
}

/* *ret_discs: what a snapshot has in its drives, which may be other than what is there now. */
static int check_hardware(const struct capture *c, const struct snapshot_info *s, struct discs *ret_discs,
                          struct err *e)
{
    const struct machine_config *here = c->machine->config;
    cleanup(cleanup_free) char *ours = config_hardware(here);
    cleanup(config_release) struct machine_config theirs = {0};
    cleanup(cleanup_free) char *theirs_text = NULL;
    bool copied = true;
    int rc;

    if (!ours)
        return err_set(e, VT_FAIL, "out of memory");
    config_init(&theirs);
    rc = config_set_hardware(&theirs, s->hardware, e);
    if (rc == 0 && theirs.cdrom && here->cdrom)
        copied = take_disc(&theirs.cdrom, here->cdrom, &ret_discs->cdrom);
    if (rc == 0 && config_floppy_drives(&theirs) == config_floppy_drives(here))
        for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
            copied &= take_disc(&theirs.floppy[i], here->floppy[i], &ret_discs->floppy[i]);
    if (rc == 0 && copied)
        theirs_text = config_hardware(&theirs);
    if (rc == 0 && (!theirs_text || strcmp(ours, theirs_text) != 0))
        rc = err_set(e, VT_BUSY, "%s has other hardware than the running machine: stop it first", s->name);
    return rc;
}

int discs_change(struct machine *m, const struct discs *d, struct err *e)
{
    int rc = 0;

    if (d->cdrom && strcmp(d->cdrom, m->disc.path) != 0)
        rc = machine_change_disc(m, d->cdrom, e);
    for (unsigned i = 0; i < config_floppy_drives(m->config) && rc == 0; i++) {
        const char *now = machine_floppy(m, i);

        if (now != d->floppy[i] && (!now || !d->floppy[i] || strcmp(now, d->floppy[i]) != 0))
            rc = machine_change_floppy(m, i, d->floppy[i], e);
    }
    return rc;
}

static int count_one(void *opaque, const struct image_diff *d, struct err *e)
{
    (void)d;
    (void)e;
    ++*(uint64_t *)opaque;
    return 0;
}

/* The disk pages that the revert changes: what was written since, and what the snapshots differ in. A guest that goes
 * on cannot have a disk change its size. */
static int count_blocks(struct capture *c, int64_t snapshot, bool goes_on, uint64_t *ret_blocks, struct err *e)
{
    const struct machine_config *config = c->machine->config;
    int rc = 0;

    for (unsigned i = 0; i < config->ndisks && rc == 0; i++) {
        struct image *now = NULL, *then = NULL;

        rc = head_image(c->head, config->disk[i].slot, &now, e);
        if (rc == 0)
            rc = image_open(c->store, snapshot, config->disk[i].slot, ROOT_LIVE, &then, e);
        if (rc == 0 && goes_on && image_bytes(now) != image_bytes(then))
            rc = err_set(e, VT_BUSY, "the snapshot's %s has another size than the running machine's: stop it first",
                         config->disk[i].slot);
        if (rc == 0)
            rc = image_compare(now, then, count_one, ret_blocks, e);
        if (now)
            image_close(now);
        if (then)
            image_close(then);
    }
    return rc;
}

int capture_switch_disks(struct capture *c, struct err *e)
{
    struct machine *m = c->machine;

    for (unsigned i = 0; i < m->config->ndisks; i++) {
        struct blockdev *dev = head_disk(c->head, m->config->disk[i].slot);
        if (!dev)
            return err_set(e, VT_CORRUPT, "the snapshot has no %s", m->config->disk[i].slot);
        blkworker_switch(m->disk[i], dev);
    }
    return 0;
}

/* Before anything is changed: a machine that has begun to be another cannot go back. What runs here runs here: the host
 * is asked only for more, as each CPUID is slow where it is a virtual machine itself. */
static int check_processor(const struct machine *m, const struct snapshot_info *s, struct err *e)
{
    struct err why = {0};
    char now[256];
    int rc;

    vm_cpu_features(m->vm, now, sizeof now);
    if (!strcmp(now, s->cpu_features))
        return 0;
    rc = vm_cpu_check(s->cpu_features, &why);
    return rc < 0 ? err_set(e, rc, "%s: %s", s->name, why.msg) : 0;
}

int capture_revert(struct capture *c, int64_t snapshot, enum leave leave, struct revert_result *ret, bool *ret_broken,
                   struct err *e)
{
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    uint64_t begin = clock_mono_ns();
    cleanup(discs_release) struct discs discs = {0};
    bool memory, trouble, bare = c->nsources == 0;
    struct source *from = NULL;
    struct err why = {0};
    int rc;

    capture_drain(c);
    rc = snapshot_get(c->store, snapshot, &s, e);
    memory = rc == 0 && s.ram_bytes > 0;

    *ret = (struct revert_result){0};
    *ret_broken = false;
    if (rc == 0 && memory)
        rc = check_processor(c->machine, &s, e);
    if (rc == 0 && memory)
        rc = check_hardware(c, &s, &discs, e);
    if (rc == 0 && memory)
        rc = capture_open_source(c, &s, &from, e);
    if (rc < 0)
        return rc;
    rc = machine_quiesce_disks(c->machine, &why);
    trouble = rc == VT_BUSY;
    if (rc < 0 && !trouble) /* one in trouble stands as well, and what it holds is given up */
        return err_set(e, rc, "%s", why.msg);
    rc = count_blocks(c, snapshot, memory, &ret->blocks, e);
    if (rc < 0)
        return rc;
    capture_drop_left(c, trouble ? "a disk was in trouble" : NULL);
    if (memory && !trouble && leave >= LEAVE_PAUSED)
        capture_leave(c, leave == LEAVE_RUNNING, bare);
    if (memory)
        rc = discs_change(c->machine, &discs, e);
    if (rc < 0)
        return rc;
    *ret_broken = true;
    rc = leave >= LEAVE_PAUSED ? head_reset_ran(c->head, snapshot, e) : head_reset(c->head, snapshot, e);
    if (rc == 0)
        rc = capture_switch_disks(c, e);
    if (rc == 0 && memory)
        rc = restore_memory(c, from, leave >= LEAVE_PAUSED, &ret->pages, e);
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
        rc = check_processor(c->machine, &s, e);
    if (rc == 0 && s.ram_bytes > 0)
        rc = capture_open_source(c, &s, &from, e);
    if (rc == 0 && s.ram_bytes > 0)
        rc = restore_memory(c, from, false, &pages, e);
    if (rc == 0)
        *ret_power = s.ram_bytes > 0 ? s.power : POWER_OFF;
    return rc;
}

int capture_detach(struct capture *c, int64_t snapshot, struct err *e)
{
    struct source *from = NULL;

    capture_drain(c);
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
    if (c->retained == snapshot) {
        c->retained = 0;
        for (unsigned i = 0; i < c->nimages; i++)
            c->image[i].track->forget(c->image[i].track);
    }
    if (c->left.base == snapshot)
        capture_drop_left(c, "the snapshot on which it stood was deleted");
    if (c->base == snapshot)
        c->base = 0; /* the next capture writes everything once more: simple, and rare */
    return 0;
}
