/* Taking back what nothing reaches. Marks from all images and device states, then removes nodes that were not met, and
 * packs of whose frames none was; what is left in a sparse pack moves to another (repack.c). Nothing is ever punched or
 * cut: descriptors of readers stay good. Rows are gone, durably, before the files are. Writers hold a shared lock from
 * the moment when they look for pages to share until their commit, gc an exclusive one: what a writer found stays. */
#include "snapshot/gc.h"
#include "snapshot/template.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "src/base/units.h"
#include "src/base/util.h"
#include "snapshot/ballast.h"
#include "snapshot/head.h"
#include "snapshot/lock.h"
#include "snapshot/map.h"

struct gc {
    struct store *s;
    struct db *db;
    struct pageidx nodes, frames;          /* reached */
    struct pageidx snapshots, heads, logs; /* of a plan: what would be gone, and the logs that others need */
    int64_t *packs;                        /* dead */
    size_t n_packs;
    int *held; /* locks on what is purged, until the commit */
    size_t n_held;
    struct gc_stats stats;
};

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

static bool push(void **array, size_t *n, size_t size, const void *item)
{
    void *p = realloc(*array, (*n + 1) * size);

    if (!p)
        return false;
    *array = p;
    memcpy((char *)p + *n * size, item, size);
    ++*n;
    return true;
}

/* May a deleted snapshot go? Not while its machine runs, which may still read memory from it, nor while a fork does. */
static int may_go(struct gc *g, int64_t snapshot, int64_t machine, bool *ret, struct err *e)
{
    int fd = -1, r = machine_locked(g->s, machine, ret, e);

    if (r)
        return r;
    *ret = !*ret && !lock_snapshot_alone(g->s, snapshot, &fd, NULL);
    if (*ret && !push((void **)&g->held, &g->n_held, sizeof fd, &fd)) {
        close(fd);
        return out_of_memory(e);
    }
    return 0;
}

/* Removes the rows of deleted snapshots, then those of removed machines that have none left. */
static int purge(struct gc *g, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int64_t *ids cleanup(cleanup_free) = NULL;
    size_t n = 0;
    int r = db_query(g->db, SQL_GC_SNAPSHOTS, &rows, e, "i", clock_wall_ns());

    while (!r && (r = rows_next(&rows, e)) > 0) {
        int64_t id = rows_int(&rows, 0);
        bool good = false;
        r = may_go(g, id, rows_int(&rows, 1), &good, e);
        if (!r && good && !push((void **)&ids, &n, sizeof id, &id))
            r = out_of_memory(e);
    }
    for (size_t i = 0; i < n && !r; i++) {
        r = db_run(g->db, SQL_GC_UNHANG, e, "i", ids[i]);
        if (!r)
            r = db_run(g->db, SQL_HEAD_HANG, e, "i", ids[i]); /* abandoned ones of a removed machine */
        if (!r)
            r = db_run(g->db, SQL_GC_IMAGES, e, "i", ids[i]);
        if (!r)
            r = db_run(g->db, SQL_GC_SNAPSHOT, e, "i", ids[i]);
        template_drop(g->s, ids[i]);
    }
    g->stats.snapshots = n;
    if (!r)
        r = db_run(g->db, SQL_GC_ORIGIN_IMAGES, e, "");
    if (!r)
        r = db_run(g->db, SQL_GC_ORIGINS, e, "");
    if (!r)
        r = db_run(g->db, SQL_GC_OPLOG, e, "i", clock_wall_ns());
    return r ? r : db_run(g->db, SQL_GC_MACHINES, e, "");
}

static int mark_frame(struct gc *g, uint64_t num, struct err *e)
{
    return pageidx_set(&g->frames, num, NULL, 0) ? 0 : out_of_memory(e);
}

static int mark_node(struct gc *g, uint64_t id, struct err *e)
{
    struct node *n;
    int r;

    if (pageidx_find(&g->nodes, id))
        return 0;
    if (!pageidx_set(&g->nodes, id, NULL, 0))
        return out_of_memory(e);
    r = node_get(g->s, id, &n, e);
    if (r) /* damage: what hangs below cannot be known, so nothing may go */
        return r;
    for (unsigned i = 0; i < MAP_FANOUT && !r; i++) {
        if (entry_store(n->e[i])) /* of a base, where nothing ever goes */
            continue;
        if (entry_kind(n->e[i]) == ENTRY_NODE)
            r = mark_node(g, entry_num(n->e[i]), e);
        else if (entry_kind(n->e[i]) == ENTRY_FRAME)
            r = mark_frame(g, entry_num(n->e[i]), e);
    }
    node_put(g->s, n);
    return r;
}

static int mark(struct gc *g, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(g->db, SQL_GC_ROOTS, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0) {
        uint64_t v = (uint64_t)rows_int(&rows, 0);
        if (pageidx_find(&g->snapshots, (uint64_t)rows_int(&rows, 2)) ||
            pageidx_find(&g->heads, (uint64_t)rows_int(&rows, 3)))
            r = 0;
        else
            r = rows_int(&rows, 1)                               ? mark_frame(g, v, e)
                : entry_kind(v) == ENTRY_NODE && !entry_store(v) ? mark_node(g, entry_num(v), e)
                                                                 : 0;
    }
    return r;
}

static int find_dead_nodes(struct gc *g, int64_t **ret, size_t *ret_n, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(g->db, SQL_NODE_ALL, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0) {
        int64_t id = rows_int(&rows, 0);
        r = 0;
        if (!pageidx_find(&g->nodes, (uint64_t)id) && !push((void **)ret, ret_n, sizeof id, &id))
            r = out_of_memory(e);
    }
    g->stats.nodes = *ret_n;
    return r;
}

static int sweep_nodes(struct gc *g, struct err *e)
{
    int64_t *dead cleanup(cleanup_free) = NULL;
    size_t n = 0;
    int r = find_dead_nodes(g, &dead, &n, e);

    for (size_t i = 0; i < n && !r; i++)
        r = db_run(g->db, SQL_GC_NODE, e, "i", dead[i]);
    return r;
}

/* Rows come pack by pack: one that ends without a live frame is dead. */
static int find_dead_packs(struct gc *g, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int64_t pack = 0;
    bool alive = true;
    int r = db_query(g->db, SQL_FRAME_ALL, &rows, e, "");

    while (!r) {
        r = rows_next(&rows, e);
        if (r < 0)
            return r;
        if (!r || rows_int(&rows, 1) != pack) {
            if (!alive && !push((void **)&g->packs, &g->n_packs, sizeof pack, &pack))
                return out_of_memory(e);
            alive = false;
            pack = r ? rows_int(&rows, 1) : 0;
        }
        if (!r)
            return 0;
        alive = alive || pageidx_find(&g->frames, (uint64_t)rows_int(&rows, 0));
        r = 0;
    }
    return r;
}

static int drop_packs(struct gc *g, bool plan, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < g->n_packs && !r; i++) {
        struct rows rows cleanup(rows_done) = {0};
        r = db_query(g->db, SQL_PACK_HAS, &rows, e, "i", g->packs[i]);
        if (!r)
            r = rows_next(&rows, e);
        if (r < 0)
            return r;
        g->stats.bytes += r ? (uint64_t)rows_int(&rows, 0) : 0;
        rows_done(&rows);
        r = plan ? 0 : db_run(g->db, SQL_GC_FRAMES, e, "i", g->packs[i]);
        if (!r && !plan)
            r = db_run(g->db, SQL_GC_PACK, e, "i", g->packs[i]);
    }
    g->stats.packs = g->n_packs;
    return r;
}

static int purge_rows(struct gc *g, struct err *e)
{
    int r = db_begin(g->db, DB_NORMAL, e);

    if (!r)
        r = db_run(g->db, SQL_GC_COUNT, e, ""); /* what others keep in memory of pages to share is old */
    if (!r)
        r = purge(g, e);
    return r ? r : db_commit(g->db, e);
}

static int sweep_rows(struct gc *g, struct err *e)
{
    int r = db_begin(g->db, DB_FULL, e);

    if (!r)
        r = sweep_nodes(g, e);
    if (!r)
        r = find_dead_packs(g, e);
    if (!r)
        r = drop_packs(g, false, e);
    return r ? r : db_commit(g->db, e);
}

int unlink_pack(struct store *s, int64_t id, struct err *e)
{
    char path[40];

    snprintf(path, sizeof path, "packs/%" PRId64 ".pack", id);
    return sio_unlink(&s->io, path, e); /* where it fails: an orphan, which the next store_maintain removes */
}

static void drop_held(struct gc *g)
{
    while (g->n_held)
        close(g->held[--g->n_held]);
    free(g->held);
    g->held = NULL;
}

int gc_useful(struct store *s, bool *ret, struct err *e)
{
    struct gc g = {.s = s};
    struct rows rows cleanup(rows_done) = {0};
    struct db *db = NULL;
    int r = db_get(s, &db, e);

    *ret = false;
    if (!r)
        r = db_query(db, SQL_GC_SNAPSHOTS, &rows, e, "i", clock_wall_ns());
    while (!r && !*ret && (r = rows_next(&rows, e)) > 0)
        r = may_go(&g, rows_int(&rows, 0), rows_int(&rows, 1), ret, e);
    rows_done(&rows);
    db_put(db);
    drop_held(&g);
    return r;
}

static int gc_once(struct store *s, struct gc_stats *ret, struct err *e)
{
    struct gc g = {.s = s};
    int fd cleanup(cleanup_close) = -1, r = lock_open(s, &fd, e);

    if (!r)
        r = lock_byte(fd, LOCK_WRITERS, LOCK_EXCLUSIVE, false, e);
    if (r)
        return err_prefix(e, r, "%s: a snapshot is being written", s->dir);
    r = db_get(s, &g.db, e);
    if (!r) /* heads first: they may be the last to hold a pack */
        r = sweep_logs(s, g.db, &g.stats, e);
    if (!r)
        r = purge_rows(&g, e);
    if (!r) /* in no transaction: nobody who could add a reference to what has none is at work */
        r = mark(&g, e);
    if (!r)
        r = sweep_rows(&g, e);
    drop_held(&g);
    for (size_t i = 0; i < g.n_packs && !r; i++)
        r = unlink_pack(s, g.packs[i], e);
    if (!r) /* now, since it needs room itself */
        r = repack(s, g.db, &g.frames, false, &g.stats, e);
    db_put(g.db);
    pageidx_release(&g.nodes);
    pageidx_release(&g.frames);
    free(g.packs);
    if (!r && ret)
        *ret = g.stats;
    return r;
}

int store_gc(struct store *s, struct gc_stats *ret, struct err *e)
{
    int r;

    template_evict(s);
    r = gc_once(s, ret, e);
    if (ballast_spend(s, r, e))
        r = gc_once(s, ret, e);
    ballast_restore(s);
    return r;
}

/* ---- what it would do */

static int count_log(void *opaque, int64_t id, bool solid)
{
    struct gc *g = opaque;
    struct stat st;
    char path[40];

    if (pageidx_find(&g->logs, (uint64_t)id))
        return 0;
    if (!pageidx_set(&g->logs, (uint64_t)id, NULL, 0))
        return VT_FAIL;
    hlog_path(id, path);
    if (!fstatat(g->s->io.dirfd, path, &st, 0)) {
        g->stats.logs++;
        g->stats.bytes += (uint64_t)st.st_blocks * 512;
    }
    return 0;
}

static int need_log(void *opaque, int64_t id, bool solid)
{
    return pageidx_set(&((struct gc *)opaque)->logs, (uint64_t)id, NULL, 0) ? 0 : VT_FAIL;
}

/* Logs of the heads that would go, unless another names them, too. */
static int plan_logs(struct gc *g, int64_t now, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0}, old cleanup(rows_done) = {0};
    int r = db_query(g->db, SQL_HEAD_LOGS, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0)
        r = pageidx_find(&g->heads, (uint64_t)rows_int(&rows, 0)) ? 0 : logs_each(rows_text(&rows, 1), need_log, g, e);
    if (!r)
        r = db_query(g->db, SQL_HEAD_EXPIRED, &old, e, "i", now);
    while (!r && (r = rows_next(&old, e)) > 0)
        r = logs_each(rows_text(&old, 1), count_log, g, e);
    return r == VT_FAIL ? out_of_memory(e) : r;
}

/* As may_go, but leaves no lock that a fork could run into. */
static int plan_snapshots(struct gc *g, int64_t now, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int fd cleanup(cleanup_close) = -1, r = lock_open(g->s, &fd, e);

    if (!r)
        r = db_query(g->db, SQL_GC_SNAPSHOTS, &rows, e, "i", now);
    while (!r && (r = rows_next(&rows, e)) > 0) {
        bool running = false, held = false;
        r = lock_test(fd, LOCK_MACHINE(rows_int(&rows, 1)), &running, e);
        if (!r)
            r = lock_test(fd, LOCK_SNAPSHOT(rows_int(&rows, 0)), &held, e);
        if (!r && !running && !held)
            r = pageidx_set(&g->snapshots, (uint64_t)rows_int(&rows, 0), NULL, 0) ? 0 : out_of_memory(e);
    }
    g->stats.snapshots = g->snapshots.n;
    return r;
}

static int plan_heads(struct gc *g, int64_t now, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(g->db, SQL_HEAD_EXPIRED, &rows, e, "i", now);

    while (!r && (r = rows_next(&rows, e)) > 0)
        r = pageidx_set(&g->heads, (uint64_t)rows_int(&rows, 0), NULL, 0) ? 0 : out_of_memory(e);
    return r;
}

static int plan(struct gc *g, int64_t now, struct err *e)
{
    int64_t *nodes cleanup(cleanup_free) = NULL;
    size_t n = 0;
    int r = db_begin_read(g->db, e);

    if (!r)
        r = plan_snapshots(g, now, e);
    if (!r)
        r = plan_heads(g, now, e);
    if (!r)
        r = plan_logs(g, now, e);
    if (!r)
        r = mark(g, e);
    if (!r)
        r = find_dead_nodes(g, &nodes, &n, e);
    if (!r)
        r = find_dead_packs(g, e);
    if (!r)
        r = drop_packs(g, true, e);
    return r ? r : repack(g->s, g->db, &g->frames, true, &g->stats, e);
}

int store_gc_plan(struct store *s, bool all, struct gc_stats *ret, struct err *e)
{
    struct gc g = {.s = s};
    int fd cleanup(cleanup_close) = -1, r = lock_open(s, &fd, e);

    if (!r)
        r = lock_byte(fd, LOCK_WRITERS, LOCK_SHARED, true, e);
    if (!r)
        r = db_get(s, &g.db, e);
    if (!r)
        r = plan(&g, all ? INT64_MAX : clock_wall_ns(), e);
    db_put(g.db);
    pageidx_release(&g.nodes);
    pageidx_release(&g.frames);
    pageidx_release(&g.snapshots);
    pageidx_release(&g.heads);
    pageidx_release(&g.logs);
    free(g.packs);
    if (!r)
        *ret = g.stats;
    return r;
}
