/* What each snapshot really costs: map nodes and frames that it alone reaches. Every tree is walked from its roots, and
 * what is met is marked with who came; met by a second, it is nobody's own, and all below it too. So a node is looked
 * at twice at most, however many snapshots share it. */
#include "snapshot/store.h"

#include <string.h>
#include "src/base/util.h"
#include "snapshot/map.h"
#include "snapshot/pageidx.h"

#define SHARED UINT32_MAX

struct costs {
    struct store *s;
    struct pageidx owners;        /* snapshot: its place from 1 on */
    struct pageidx nodes, frames; /* who reaches each, or SHARED */
    uint32_t n_owners;
};

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

static int owner_of(struct costs *c, int64_t snapshot, uint32_t *ret, struct err *e)
{
    struct loc *known = snapshot ? pageidx_find(&c->owners, (uint64_t)snapshot) : NULL;

    *ret = known ? known->slot : ++c->n_owners;
    return known || !snapshot || pageidx_set(&c->owners, (uint64_t)snapshot, NULL, *ret) ? 0 : out_of_memory(e);
}

/* *ret_again: it was known to be so already, and so is all below it. */
static int mark(struct pageidx *x, uint64_t num, uint32_t owner, bool *ret_again, struct err *e)
{
    struct loc *was = pageidx_find(x, num);

    *ret_again = was && (was->slot == owner || was->slot == SHARED);
    if (*ret_again)
        return 0;
    return pageidx_set(x, num, NULL, was ? SHARED : owner) ? 0 : out_of_memory(e);
}

static int walk(struct costs *c, uint64_t id, uint32_t owner, struct err *e)
{
    struct node *n;
    bool again;
    int r = mark(&c->nodes, id, owner, &again, e);

    if (r || again)
        return r;
    r = node_get(c->s, id, &n, e);
    if (r)
        return r;
    for (unsigned i = 0; i < MAP_FANOUT && !r; i++) {
        if (entry_kind(n->e[i]) == ENTRY_NODE)
            r = walk(c, entry_num(n->e[i]), owner, e);
        else if (entry_kind(n->e[i]) == ENTRY_FRAME)
            r = mark(&c->frames, entry_num(n->e[i]), owner, &again, e);
    }
    node_put(c->s, n);
    return r;
}

/* A machine's head reaches what the snapshot does that it stands on: that is no second one. */
static int walk_all(struct costs *c, struct db *db, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_COST_ROOTS, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0) {
        uint64_t v = (uint64_t)rows_int(&rows, 0);
        uint32_t owner = 0;
        bool again;
        r = owner_of(c, rows_int(&rows, 2), &owner, e);
        if (!r && rows_int(&rows, 1))
            r = mark(&c->frames, v, owner, &again, e);
        else if (!r && entry_kind(v) == ENTRY_NODE)
            r = walk(c, entry_num(v), owner, e);
    }
    return r;
}

static int add_up(struct costs *c, struct db *db, enum sql q, int id_col, int bytes_col, const struct pageidx *marks,
                  uint64_t *own, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, q, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0) {
        struct loc *x = pageidx_find(marks, (uint64_t)rows_int(&rows, id_col));
        if (x && x->slot != SHARED)
            own[x->slot] += (uint64_t)rows_int(&rows, bytes_col);
        r = 0;
    }
    return r;
}

int snapshot_costs(struct store *s, const struct snapshot_info *list, size_t n, uint64_t *ret_bytes, struct err *e)
{
    struct costs c = {.s = s};
    struct db *db cleanup(cleanup_db) = NULL;
    uint64_t *own cleanup(cleanup_free) = NULL;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_begin_read(db, e);
    if (!r)
        r = walk_all(&c, db, e);
    if (!r && !(own = calloc((size_t)c.n_owners + 1, sizeof *own)))
        r = out_of_memory(e);
    if (!r)
        r = add_up(&c, db, SQL_FRAME_ALL, 0, 3, &c.frames, own, e);
    if (!r)
        r = add_up(&c, db, SQL_NODE_SIZES, 0, 1, &c.nodes, own, e);
    for (size_t i = 0; i < n && !r; i++) {
        struct loc *x = pageidx_find(&c.owners, (uint64_t)list[i].id);
        ret_bytes[i] = x ? own[x->slot] : 0;
    }
    pageidx_release(&c.owners);
    pageidx_release(&c.nodes);
    pageidx_release(&c.frames);
    return r;
}
