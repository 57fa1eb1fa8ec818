/* Writing a new generation of a map: the nodes on the way to a changed entry are copied in memory; at the end those
 * that really differ become rows. Keeps invariant 1: a node that was written is never changed. */
#include "snapshot/map.h"

#include <string.h>
#include <zstd.h>
#include "snapshot/store.h"

struct wnode {
    unsigned level;
    uint64_t origin; /* the entry that it was made from, or was last written as */
    bool dirty;
    unsigned tag;        /* of origin, where we wrote it */
    bool ours;           /* origin was written by us, in a transaction that others do not see yet */
    struct wnode **kids; /* of an inner node: those that were copied */
    uint64_t e[MAP_FANOUT];
};

struct mapw {
    struct store *s;
    uint64_t root, pages;
    struct wnode *top; /* NULL until something is put */
};

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

static void wnode_free(struct wnode *n)
{
    if (!n)
        return;
    for (unsigned i = 0; n->kids && i < MAP_FANOUT; i++)
        wnode_free(n->kids[i]);
    free(n->kids);
    free(n);
}

/* An entry, opened as a node of this level. */
static int wnode_new(struct store *s, uint64_t entry, unsigned level, struct wnode **ret, struct err *e)
{
    struct wnode *n = calloc(1, sizeof *n);
    struct node *old;
    int r;

    if (n && level)
        n->kids = calloc(MAP_FANOUT, sizeof *n->kids);
    if (!n || (level && !n->kids)) {
        free(n);
        return out_of_memory(e);
    }
    n->level = level;
    n->origin = entry;
    if (entry_kind(entry) == ENTRY_NODE) {
        r = node_get(s, entry_ref(entry), &old, e);
        if (!r && old->level != level)
            r = err_set(e, VT_CORRUPT, "store.db: map node %llu is not at the level where it hangs",
                        (unsigned long long)entry_num(entry));
        if (r) {
            wnode_free(n);
            return r;
        }
        memcpy(n->e, old->e, sizeof n->e);
        node_put(s, old);
    } else {
        for (unsigned i = 0; i < MAP_FANOUT; i++)
            n->e[i] = entry;
    }
    *ret = n;
    return 0;
}

int mapw_new(struct store *s, uint64_t root, uint64_t pages, struct mapw **ret, struct err *e)
{
    struct mapw *w = calloc(1, sizeof *w);

    if (!w)
        return out_of_memory(e);
    w->s = s;
    w->root = root;
    w->pages = pages;
    *ret = w;
    return 0;
}

/* As an entry of a node has it. */
static uint64_t untagged(uint64_t root)
{
    return root & ~UINT64_C(0xfff);
}

static int tag_root(struct mapw *w, const struct wnode *top, uint64_t *ret, struct err *e)
{
    struct node *n;
    int r;

    *ret = top->origin;
    if (entry_kind(top->origin) != ENTRY_NODE)
        return 0;
    if (top->ours) {
        *ret |= top->tag;
        return 0;
    }
    r = node_get(w->s, entry_ref(top->origin), &n, e);
    if (r)
        return r;
    *ret |= n->tag;
    node_put(w->s, n);
    return 0;
}

static int make_top(struct mapw *w, struct err *e)
{
    unsigned level = map_level(w->pages), have = level;
    struct node *n;
    int r;

    if (entry_kind(w->root) == ENTRY_NODE) {
        r = root_get(w->s, w->root, &n, e);
        if (r)
            return r;
        have = n->level;
        node_put(w->s, n);
    }
    r = wnode_new(w->s, untagged(w->root), have, &w->top, e);
    while (!r && have < level) { /* the image grew: what there is becomes the first child */
        struct wnode *up;
        r = wnode_new(w->s, ENTRY_ZERO_WORD, ++have, &up, e);
        if (r)
            break;
        up->e[0] = w->top->origin;
        up->kids[0] = w->top;
        up->dirty = true;
        w->top = up;
    }
    return r;
}

int mapw_put(struct mapw *w, uint64_t page, uint64_t entry, struct err *e)
{
    struct wnode *n;
    int r = w->top ? 0 : make_top(w, e);

    if (r)
        return r;
    vt_assert(page < map_span(w->top->level));
    for (n = w->top; n->level;) {
        unsigned i = page / map_span(n->level - 1) % MAP_FANOUT;
        n->dirty = true;
        if (!n->kids[i]) {
            r = wnode_new(w->s, n->e[i], n->level - 1, &n->kids[i], e);
            if (r)
                return r;
        }
        n = n->kids[i];
    }
    n->dirty = true;
    n->e[page % MAP_FANOUT] = entry;
    return 0;
}

/* Does the node say the same as the entry that it came from? */
static int unchanged(struct mapw *w, const struct wnode *n, bool *ret, struct err *e)
{
    struct node *old;
    int r;

    *ret = false;
    if (entry_kind(n->origin) != ENTRY_NODE || n->ours)
        return 0;
    r = node_get(w->s, entry_ref(n->origin), &old, e);
    if (r)
        return r;
    *ret = old->level == n->level && !memcmp(old->e, n->e, sizeof n->e);
    node_put(w->s, old);
    return 0;
}

static int insert(struct wnode *n, struct db *db, int64_t id, uint64_t *bytes, struct err *e)
{
    uint8_t raw[MAP_FANOUT * 8], packed[sizeof raw];
    uint64_t sum;
    size_t len;

    for (unsigned i = 0; i < MAP_FANOUT; i++)
        put64(raw + 8 * i, n->e[i]);
    len = ZSTD_compress(packed, sizeof packed - 1, raw, sizeof raw, 1);
    if (ZSTD_isError(len)) { /* no smaller */
        memcpy(packed, raw, sizeof raw);
        len = sizeof raw;
    }
    *bytes += len;
    sum = node_checksum((uint64_t)id, n->level, raw);
    n->tag = root_tag(sum);
    return db_run(db, SQL_NODE_NEW, e, "iibi", id, (int64_t)n->level, packed, len, (int64_t)sum);
}

struct writer {
    struct mapw *w;
    struct db *db;
    uint64_t first_frame;
    int64_t *next_node;
    uint64_t *bytes;
};

static int write_node(struct writer *x, struct wnode *n, struct err *e)
{
    bool alike = true, old = false;
    int r = 0;

    if (!n->dirty)
        return 0;
    for (unsigned i = 0; i < MAP_FANOUT && !r; i++) {
        if (n->kids && n->kids[i]) {
            r = write_node(x, n->kids[i], e);
            n->e[i] = n->kids[i]->origin;
        } else if (entry_kind(n->e[i]) == ENTRY_NEW) {
            n->e[i] = entry_make(ENTRY_FRAME, x->first_frame + entry_num(n->e[i]), entry_page(n->e[i]));
        }
        alike &= n->e[i] == n->e[0];
    }
    if (r)
        return r;
    if (alike && (entry_kind(n->e[0]) == ENTRY_ZERO || entry_kind(n->e[0]) == ENTRY_HOLE)) {
        n->origin = n->e[0];
    } else {
        r = unchanged(x->w, n, &old, e);
        if (!r && !old) {
            r = insert(n, x->db, *x->next_node, x->bytes, e);
            n->origin = entry_make(ENTRY_NODE, (uint64_t)*x->next_node, 0);
            n->ours = true;
            ++*x->next_node;
        }
    }
    n->dirty = false;
    return r;
}

int mapw_write(struct mapw *w, struct db *db, uint64_t first_frame, int64_t *next_node, uint64_t *bytes,
               uint64_t *ret_root, struct err *e)
{
    struct writer x = {w, db, first_frame, next_node, bytes};
    int r = 0;

    if (w->top) {
        r = write_node(&x, w->top, e);
        if (!r)
            r = tag_root(w, w->top, &w->root, e);
    }
    if (!r)
        *ret_root = w->root;
    return r;
}

void mapw_free(struct mapw *w)
{
    if (!w)
        return;
    wnode_free(w->top);
    free(w);
}
