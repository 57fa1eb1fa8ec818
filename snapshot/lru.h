/* A cache of counted items by 64-bit key: those in use stay, of the others the longest unused go first. Used for map
 * nodes, decompressed frames and open packs. Any thread. */
#ifndef VT_SNAPSHOT_LRU_H
#define VT_SNAPSHOT_LRU_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lru_item { /* stands first in what is cached */
    uint64_t key;
    uint32_t refs;
    struct lru_item *chain;       /* of one hash bucket */
    struct lru_item *prev, *next; /* of the unused, newest first */
};

struct lru {
    pthread_mutex_t lock;
    struct lru_item **buckets;
    size_t n_buckets; /* a power of two */
    size_t n, cap;    /* items, used ones too; cap bounds them where it can */
    struct lru_item unused;
    void (*free_item)(struct lru_item *);
};

/* False: out of memory. */
bool lru_init(struct lru *l, size_t cap, void (*free_item)(struct lru_item *));
void lru_release(struct lru *l); /* nothing may be in use */
/* The item, one use added; NULL: not there. */
struct lru_item *lru_get(struct lru *l, uint64_t key);
/* Adds item (its key set) with one use. Where another thread was faster, frees item and returns that one. */
struct lru_item *lru_add(struct lru *l, struct lru_item *item);
void lru_put(struct lru *l, struct lru_item *item); /* one use less */
void lru_drop_unused(struct lru *l);

#endif
