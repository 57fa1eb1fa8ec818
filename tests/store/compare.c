/* Comparing a world's store with its model, byte for byte. */
#include "tests/store/world.h"

#include <stdio.h>

static void compare_disks(struct store *s, int64_t id, enum root root, const struct model_disk *want)
{
    for (uint32_t p = 0; p < W_PAGES; p += W_DISK0) {
        struct image *i;
        ok(image_open(s, id, p ? "disk1" : "disk0", root, &i, e));
        for (uint32_t k = 0; k < (p ? W_DISK1 : W_DISK0); k++)
            assert_int_equal(image_tag(i, k), want->tag[p + k]);
        image_close(i);
    }
}

void world_compare_snap(struct world *w, struct store *s, int index, int64_t id)
{
    const struct model_snap *m = &w->snaps[index];
    struct image *i;
    char name[sizeof m->name];
    size_t len = 0;
    void *state;

    compare_disks(s, id, ROOT_LIVE, &m->disk);
    if (memcmp(&m->disk, &m->quiesced, sizeof m->disk) != 0)
        compare_disks(s, id, ROOT_QUIESCED, &m->quiesced);
    if (!m->ram) {
        fails(VT_NOENT, "no ram", image_open(s, id, "ram", ROOT_LIVE, &i, e));
        return;
    }
    ok(image_open(s, id, "ram", ROOT_LIVE, &i, e));
    for (uint32_t p = 0; p < W_RAM; p++)
        assert_int_equal(image_tag(i, p), m->ram + p);
    image_close(i);
    ok(snapshot_state(s, id, &state, &len, e));
    snprintf(name, sizeof name, "s%d", index); /* its name when it was taken */
    assert_int_equal(len, strlen(name));
    assert_memory_equal(state, name, len);
    free(state);
}

void world_compare_head(struct world *w)
{
    for (uint32_t p = 0; p < W_PAGES; p++)
        assert_int_equal(world_tag(w->h, p), w->now.tag[p]);
}

static int64_t id_of(const struct world *w, int index)
{
    index = world_parent(w, index);
    return index < 0 ? 0 : w->snaps[index].id;
}

static void compare_tree(struct world *w)
{
    struct snapshot_info *list;
    int64_t under = id_of(w, w->parent);
    size_t n;

    ok(snapshot_list(w->s, w->machine, &list, &n, e));
    assert_int_equal(n, w->n_alive);
    for (size_t k = 0; k < n; k++) {
        int i = 0;
        while (i < w->n_snaps && w->snaps[i].id != list[k].id)
            i++;
        assert_true(i < w->n_snaps);
        assert_string_equal(list[k].name, w->snaps[i].name);
        assert_int_equal(list[k].parent, id_of(w, w->snaps[i].parent));
        assert_int_equal(list[k].current, list[k].id == under);
    }
    snapshot_list_free(list, n);
    assert_int_equal(head_parent(w->h), under);
}

void world_compare(struct world *w)
{
    world_compare_head(w);
    compare_tree(w);
    for (int i = 0; i < w->n_snaps; i++)
        if (!w->snaps[i].deleted)
            world_compare_snap(w, w->s, i, w->snaps[i].id);
}
