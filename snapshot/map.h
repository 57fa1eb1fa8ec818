/* Persistent page maps: a radix tree of nodes of 512 entries (format.h), each node written once and shared by all maps
 * that agree below it. A map is its root entry. Level 0 are leaves; a node of level L covers 512^(L+1) pages. */
#ifndef VT_SNAPSHOT_MAP_H
#define VT_SNAPSHOT_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include "snapshot/db.h"
#include "snapshot/format.h"
#include "snapshot/lru.h"

struct store;

struct node {
    struct lru_item lru;
    unsigned level;
    unsigned tag; /* of its checksum: in roots of this node */
    uint64_t e[MAP_FANOUT];
};

bool map_cache_init(struct store *s);
/* Reads and verifies a node, named by entry_ref; give it back with node_put. What is in one of a base names that. */
int node_get(struct store *s, uint64_t ref, struct node **ret, struct err *e);
void node_put(struct store *s, struct node *n);
uint64_t node_checksum(uint64_t id, unsigned level, const uint8_t body[MAP_FANOUT * 8]);
/* A root's row has no checksum of its own. Where a frame's entry has its page, a root has 12 bits of its node's
 * checksum, never 0, so that a wrong number does not make it another map's; 0 in stores of before. */
static inline unsigned root_tag(uint64_t checksum)
{
    return checksum & 0xfff ? checksum & 0xfff : 1;
}
/* The node of a root that is one, which must be the one that it means. */
int root_get(struct store *s, uint64_t root, struct node **ret, struct err *e);
/* Pages that a tree with a root of this level covers; and the least level that covers so many. */
uint64_t map_span(unsigned level);
unsigned map_level(uint64_t pages);

/* The entries of n pages from page on: kinds hole, zero and frame. */
int map_lookup(struct store *s, uint64_t root, uint64_t page, uint32_t n, uint64_t *ret, struct err *e);
/* The first page in [*page, end) that is not zero, nor, where hole_is_zero, a hole. */
int map_next(struct store *s, uint64_t root, bool hole_is_zero, uint64_t *page, uint64_t end, bool *ret_found,
             struct err *e);
/* Calls fn for each page below `pages` whose entry differs; holes_differ: two holes do too. Equal subtrees are skipped
 * unread. A fn that returns non-zero ends it. */
typedef int map_diff_fn(void *opaque, uint64_t page, uint64_t a, uint64_t b, struct err *e);
int map_diff(struct store *s, uint64_t a, uint64_t b, uint64_t pages, bool holes_differ, map_diff_fn *fn, void *opaque,
             struct err *e);

/* A new generation of a map. One thread. */
struct mapw;
int mapw_new(struct store *s, uint64_t root, uint64_t pages, struct mapw **ret, struct err *e);
int mapw_put(struct mapw *w, uint64_t page, uint64_t entry, struct err *e);
/* Writes the changed nodes in db's open transaction. Entries of kind ENTRY_NEW become frames from first_frame on.
 * next_node counts on; *bytes grows by what was written. May be called again after more puts. */
int mapw_write(struct mapw *w, struct db *db, uint64_t first_frame, int64_t *next_node, uint64_t *bytes,
               uint64_t *ret_root, struct err *e);
void mapw_free(struct mapw *w);

#endif
