/* A bit of everything that a store is asked for. */
#include "tests/store/world.h"

/* Enough on one page that folding the log is worth while. */
static void overwrite(struct world *w)
{
    for (int i = 0; i < 24; i++) {
        world_write(w, 10, false);
        world_flush(w);
    }
}

void world_tour(struct world *w)
{
    struct rng r = {77};

    for (int i = 0; i < 6; i++)
        world_write(w, (uint32_t)rng_below(&r, W_PAGES), false);
    world_flush(w);
    world_snapshot(w, true, true, W_DISK0 + 5);
    for (int i = 0; i < 6; i++)
        world_write(w, (uint32_t)rng_below(&r, W_PAGES), i == 3);
    world_prepare(w);
    world_flush(w);
    world_snapshot(w, false, false, 0);
    world_write(w, 3, false);
    world_undo_delete(w, 0, false);
    world_undo_reset(w, 0, 8);
    world_abort(w);
    overwrite(w);
    world_fold(w);
    world_write(w, 5, false);
    world_reset(w, 0);
    world_write(w, W_DISK0 + 4, false);
    world_flush(w);
    world_rename(w, 0, false);
    world_snapshot(w, true, false, 0);
    world_delete(w, 1, false);
    world_checkpoint(w);
    world_maintain(w, false);
    world_gc(w);
    world_write(w, 8, false);
    world_reopen(w);
    world_write(w, 9, false);
    world_flush(w);
}
