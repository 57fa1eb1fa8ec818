/* What a revert left, and going back to it. Nothing of it is stored: the disks are the store's, which keeps the head
 * that was left; memory is where it was, see vm_image_leave; devices are a few KiB. So a revert takes no longer for it,
 * and it ends with the process. */
#include "src/capture_impl.h"

#include <string.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"

void capture_drop_left(struct capture *c, const char *why)
{
    struct left *l = &c->left;

    for (unsigned i = 0; i < c->nimages && l->head; i++)
        vm_image_drop_left(c->machine->vm, i);
    discs_release(&l->discs);
    free(l->state);
    *l = (struct left){.why = why};
}

/* Copies what is in the drives. */
static bool note_discs(const struct machine *m, struct discs *ret)
{
    bool good = true;

    if (m->disc.worker)
        good = (ret->cdrom = strdup(m->disc.path)) != NULL;
    for (unsigned i = 0; i < config_floppy_drives(m->config) && good; i++) {
        const char *path = machine_floppy(m, i);
        good = !path || (ret->floppy[i] = strdup(path)) != NULL;
    }
    return good;
}

void capture_leave(struct capture *c, bool running, bool bare)
{
    struct left *l = &c->left;

    if (!c->base && !bare) { /* its pages may be anywhere */
        capture_drop_left(c, "the snapshot on which it stood was deleted");
        return;
    }
    l->running = running;
    l->base = c->base;
    if (!note_discs(c->machine, &l->discs) || vm_state_save(c->machine->vm, &l->state, &l->state_len, NULL) < 0) {
        capture_drop_left(c, "there was no memory for it");
        return;
    }
    l->head = head_row(c->head);
}

static int check(struct capture *c, int64_t head, struct err *e)
{
    const struct left *l = &c->left;
    bool all = l->head == head;

    for (unsigned i = 0; i < c->nimages; i++)
        all &= vm_image_left(c->machine->vm, i);
    if (all)
        return 0;
    if (!l->head)
        return err_set(e, VT_NOENT, "%s", l->why ? l->why : "memory was not kept");
    if (l->head != head)
        return err_set(e, VT_NOENT, "only the last revert's is kept");
    return err_set(e, VT_NOENT, "the guest has written over more of it since than is kept");
}

/* from NULL: no snapshot was under it. */
static int bring_back(struct capture *c, struct source *from, uint64_t *ret_pages, struct err *e)
{
    struct vm *vm = c->machine->vm;
    int rc = 0;

    for (unsigned i = 0; i < c->nimages; i++) /* what is put back is no write that it could see */
        c->image[i].track->forget(c->image[i].track);
    c->retained = 0;
    if (from) {
        rc = capture_restore_images(c, from, false, ret_pages, e);
        if (rc == 0)
            capture_settle(c, from);
    } else {
        for (unsigned i = 0; i < c->nimages && rc == 0; i++)
            rc = vm_image_restore(vm, i, NULL, e);
        capture_close_sources(c, 0);
        c->base = 0;
    }
    for (unsigned i = 0; i < c->nimages && rc == 0; i++)
        vm_image_back(vm, i);
    if (rc == 0)
        rc = vm_state_load(vm, c->left.state, c->left.state_len, e);
    if (rc < 0)
        c->base = 0;
    return rc;
}

int capture_undo(struct capture *c, int64_t entry, int64_t head, struct revert_result *ret, bool *ret_broken,
                 struct err *e)
{
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    uint64_t begin = clock_mono_ns();
    struct source *from = NULL;
    struct err trouble = {0};
    int rc;

    *ret = (struct revert_result){0};
    *ret_broken = false;
    capture_drain(c);
    rc = check(c, head, e);
    if (rc == 0 && c->left.base)
        rc = snapshot_get(c->store, c->left.base, &s, e);
    if (rc == 0 && c->left.base)
        rc = capture_open_source(c, &s, &from, e);
    if (rc < 0)
        return rc;
    rc = machine_quiesce_disks(c->machine, &trouble);
    if (rc < 0 && rc != VT_BUSY)
        return err_set(e, rc, "%s", trouble.msg);
    rc = discs_change(c->machine, &c->left.discs, e);
    if (rc == 0)
        rc = head_undo(c->head, entry, e);
    if (rc < 0)
        return rc;
    *ret_broken = true;
    rc = capture_switch_disks(c, e);
    if (rc == 0)
        rc = bring_back(c, from, &ret->pages, e);
    ret->power = c->left.running ? POWER_RUNNING : POWER_PAUSED;
    capture_drop_left(c, NULL);
    if (rc < 0)
        return rc;
    *ret_broken = false;
    ret->took = clock_mono_ns() - begin;
    return 0;
}
