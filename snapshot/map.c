#include "snapshot/map.h"

#include <string.h>
#include <xxhash.h>
#include <zstd.h>
#include "snapshot/base.h"
#include "snapshot/store.h"

#define NODES_KEPT 2048 /* of 4 KiB */
#define LEVEL_MAX  4    /* 2^45 pages are more than a disk has */

static void free_node(struct lru_item *i)
{
    free(i);
}

bool map_cache_init(struct store *s)
{
    return lru_init(&s->nodes, NODES_KEPT, free_node);
}

uint64_t map_span(unsigned level)
{
    return UINT64_C(1) << (MAP_BITS * (level + 1));
}

unsigned map_level(uint64_t pages)
{
    unsigned level = 0;

    while (map_span(level) < pages)
        level++;
    return level;
}

uint64_t node_checksum(uint64_t id, unsigned level, const uint8_t body[MAP_FANOUT * 8])
{
    return XXH3_64bits_withSeed(body, MAP_FANOUT * 8, id << 8 | level); /* a row in another's place is found, too */
}

static int damaged(uint64_t id, const char *what, struct err *e)
{
    return err_set(e, VT_CORRUPT, "store.db: map node %llu %s", (unsigned long long)id, what);
}

static int load(struct store *s, uint64_t id, struct node *n, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    uint8_t raw[MAP_FANOUT * 8];
    const void *body;
    size_t len;
    int64_t level;
    uint64_t sum;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_NODE_GET, &rows, e, "i", (int64_t)id);
    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    if (!r)
        return damaged(id, "is missing", e);
    level = rows_int(&rows, 0);
    body = rows_blob(&rows, 1, &len);
    if (level < 0 || level > LEVEL_MAX)
        return damaged(id, "has no such level", e);
    if (len == sizeof raw)
        memcpy(raw, body, len);
    else if (ZSTD_decompress(raw, sizeof raw, body, len) != sizeof raw)
        return damaged(id, "cannot be unpacked", e);
    sum = node_checksum(id, (unsigned)level, raw);
    if (sum != (uint64_t)rows_int(&rows, 2))
        return damaged(id, "does not match its checksum", e);
    n->tag = root_tag(sum);
    n->level = (unsigned)level;
    for (unsigned i = 0; i < MAP_FANOUT; i++) {
        enum entry_kind k;
        n->e[i] = get64(raw + 8 * i);
        k = entry_kind(n->e[i]);
        if (k > (level ? ENTRY_NODE : ENTRY_FRAME) || (level && k == ENTRY_FRAME) ||
            (entry_store(n->e[i]) && (s->sealed || k < ENTRY_FRAME)))
            return damaged(id, "has an entry of no known kind", e);
    }
    return 0;
}

/* A node of a base, with the base's number in what it refers to. */
static int load_of_base(struct store *s, uint64_t ref, struct node *n, struct err *e)
{
    unsigned num = REF_STORE(ref);
    struct store *base;
    struct node *of;
    int r = store_base(s, num, &base, e);

    if (!r)
        r = node_get(base, REF_NUM(ref), &of, e);
    if (r)
        return r;
    n->level = of->level;
    n->tag = of->tag;
    for (unsigned i = 0; i < MAP_FANOUT; i++)
        n->e[i] = entry_kind(of->e[i]) < ENTRY_FRAME ? of->e[i] : of->e[i] | (uint64_t)num << 52;
    node_put(base, of);
    return 0;
}

int node_get(struct store *s, uint64_t ref, struct node **ret, struct err *e)
{
    struct node *n = (struct node *)lru_get(&s->nodes, ref);
    int r;

    if (n) {
        *ret = n;
        return 0;
    }
    n = malloc(sizeof *n);
    if (!n)
        return err_set(e, VT_FAIL, "out of memory");
    r = REF_STORE(ref) ? load_of_base(s, ref, n, e) : load(s, ref, n, e);
    if (r) {
        free(n);
        return r;
    }
    n->lru.key = ref;
    *ret = (struct node *)lru_add(&s->nodes, &n->lru);
    return 0;
}

void node_put(struct store *s, struct node *n)
{
    if (n)
        lru_put(&s->nodes, &n->lru);
}

/* The child of n under an inner entry: checks that it is one level below. */
static int child_get(struct store *s, uint64_t entry, unsigned level, struct node **ret, struct err *e)
{
    struct node *n;
    int r = node_get(s, entry_ref(entry), &n, e);

    if (r)
        return r;
    if (n->level != level) {
        node_put(s, n);
        return damaged(entry_num(entry), "is not at the level where it hangs", e);
    }
    *ret = n;
    return 0;
}

int root_get(struct store *s, uint64_t root, struct node **ret, struct err *e)
{
    struct node *n;
    int r = node_get(s, entry_ref(root), &n, e);

    if (r)
        return r;
    if (entry_page(root) && entry_page(root) != n->tag) {
        node_put(s, n);
        return damaged(entry_num(root), "is another than the one that its root means", e);
    }
    *ret = n;
    return 0;
}

static int check_root(uint64_t root, struct err *e)
{
    enum entry_kind k = entry_kind(root);

    if (k == ENTRY_HOLE || k == ENTRY_ZERO || k == ENTRY_NODE)
        return 0;
    return err_set(e, VT_CORRUPT, "store.db: %016llx is no root of a map", (unsigned long long)root);
}

/* Finds the leaf of a page, or, where the tree ends before, the hole or zero entry that stands for its range;
 * *ret_end is the first page past what the answer covers. */
static int find_leaf(struct store *s, uint64_t root, uint64_t page, struct node **ret_leaf, uint64_t *ret_entry,
                     uint64_t *ret_end, struct err *e)
{
    struct node *n = NULL;
    uint64_t entry = root;
    int r = check_root(root, e);

    *ret_leaf = NULL;
    *ret_end = UINT64_MAX;
    if (r || entry_kind(root) != ENTRY_NODE) {
        *ret_entry = root;
        return r;
    }
    r = root_get(s, root, &n, e);
    if (r)
        return r;
    if (page >= map_span(n->level)) { /* the image grew */
        node_put(s, n);
        *ret_entry = ENTRY_ZERO_WORD;
        return 0;
    }
    while (n->level) {
        unsigned level = n->level - 1;
        entry = n->e[page / map_span(level) % MAP_FANOUT];
        *ret_end = (page / map_span(level) + 1) * map_span(level);
        node_put(s, n);
        if (entry_kind(entry) != ENTRY_NODE) {
            *ret_entry = entry;
            return 0;
        }
        r = child_get(s, entry, level, &n, e);
        if (r)
            return r;
    }
    *ret_end = (page / MAP_FANOUT + 1) * MAP_FANOUT;
    *ret_leaf = n;
    return 0;
}

int map_lookup(struct store *s, uint64_t root, uint64_t page, uint32_t n, uint64_t *ret, struct err *e)
{
    while (n) {
        struct node *leaf;
        uint64_t entry = 0, end;
        int r = find_leaf(s, root, page, &leaf, &entry, &end, e);
        if (r)
            return r;
        for (; n && page < end; n--, page++)
            *ret++ = leaf ? leaf->e[page % MAP_FANOUT] : entry;
        node_put(s, leaf);
    }
    return 0;
}

int map_next(struct store *s, uint64_t root, bool hole_is_zero, uint64_t *page, uint64_t end, bool *ret_found,
             struct err *e)
{
    uint64_t p = *page;

    *ret_found = false;
    while (p < end && !*ret_found) {
        struct node *leaf;
        uint64_t entry = 0, stop;
        int r = find_leaf(s, root, p, &leaf, &entry, &stop, e);
        if (r)
            return r;
        for (stop = MIN(stop, end); p < stop && !*ret_found; p++) {
            enum entry_kind k = entry_kind(leaf ? leaf->e[p % MAP_FANOUT] : entry);
            if (k != ENTRY_ZERO && !(k == ENTRY_HOLE && hole_is_zero)) {
                *ret_found = true;
                *page = p;
            } else if (!leaf) { /* all of it is the same */
                p = stop;
                break;
            }
        }
        node_put(s, leaf);
    }
    return 0;
}

struct diff {
    struct store *s;
    uint64_t pages;
    bool holes_differ;
    map_diff_fn *fn;
    void *opaque;
};

static bool same(const struct diff *d, uint64_t a, uint64_t b)
{
    /* A node may hold holes, which differ although the node is the same. */
    return a == b && (!d->holes_differ || entry_kind(a) == ENTRY_ZERO || entry_kind(a) == ENTRY_FRAME);
}

/* a and b stand for the map_span(level) pages from `page` on (level -1: for one page). */
static int diff_entry(struct diff *d, uint64_t a, uint64_t b, int level, uint64_t page, struct err *e)
{
    struct node *na = NULL, *nb = NULL;
    int r = 0;

    if (page >= d->pages || same(d, a, b))
        return 0;
    if (level < 0)
        return d->fn(d->opaque, page, a, b, e);
    if (entry_kind(a) == ENTRY_NODE)
        r = child_get(d->s, a, (unsigned)level, &na, e);
    if (!r && entry_kind(b) == ENTRY_NODE)
        r = child_get(d->s, b, (unsigned)level, &nb, e);
    for (unsigned i = 0; i < MAP_FANOUT && !r; i++)
        r = diff_entry(d, na ? na->e[i] : a, nb ? nb->e[i] : b, level - 1,
                       page + i * (level ? map_span((unsigned)level - 1) : 1), e);
    node_put(d->s, na);
    node_put(d->s, nb);
    return r;
}

/* The level of a root, -1 for a root that is no node. */
static int root_level(struct store *s, uint64_t root, int *ret, struct err *e)
{
    struct node *n;
    int r = check_root(root, e);

    *ret = -1;
    if (r || entry_kind(root) != ENTRY_NODE)
        return r;
    r = root_get(s, root, &n, e);
    if (r)
        return r;
    *ret = (int)n->level;
    node_put(s, n);
    return 0;
}

/* The same for roots, which may be of different levels where an image grew: the shorter map is zero past its end. */
static int diff_roots(struct diff *d, uint64_t a, int la, uint64_t b, int lb, int level, struct err *e)
{
    struct node *n = NULL;
    int r;

    if (la == lb ? la < 0 || la == level : (la < 0 && lb == level) || (lb < 0 && la == level))
        return diff_entry(d, a, b, level, 0, e);
    if (la < level && lb < level)
        return diff_roots(d, a, la, b, lb, level - 1, e);
    r = node_get(d->s, entry_ref(la == level ? a : b), &n, e);
    for (unsigned i = 0; i < MAP_FANOUT && !r; i++) {
        uint64_t rest = i             ? ENTRY_ZERO_WORD
                        : la == level ? b
                                      : a,
                 ea = la == level ? n->e[i] : rest, eb = la == level ? rest : n->e[i];
        int kid = entry_kind(n->e[i]) == ENTRY_NODE ? level - 1 : -1;
        r = i ? diff_entry(d, ea, eb, level - 1, i * map_span((unsigned)level - 1), e)
              : diff_roots(d, ea, la == level ? kid : la, eb, la == level ? lb : kid, level - 1, e);
    }
    if (n)
        node_put(d->s, n);
    return r;
}

int map_diff(struct store *s, uint64_t a, uint64_t b, uint64_t pages, bool holes_differ, map_diff_fn *fn, void *opaque,
             struct err *e)
{
    struct diff d = {s, pages, holes_differ, fn, opaque};
    int la, lb, r = root_level(s, a, &la, e);

    if (!r)
        r = root_level(s, b, &lb, e);
    if (r || !pages)
        return r;
    return diff_roots(&d, a, la, b, lb, MAX((int)map_level(pages), MAX(la, lb)), e);
}
