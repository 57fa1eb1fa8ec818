#include "snapshot/lru.h"

#include "src/base/err.h"
#include "src/base/util.h"

bool lru_init(struct lru *l, size_t cap, void (*free_item)(struct lru_item *))
{
    *l = (struct lru){.cap = cap, .free_item = free_item, .n_buckets = 64};
    while (l->n_buckets < cap)
        l->n_buckets *= 2;
    l->buckets = calloc(l->n_buckets, sizeof *l->buckets);
    l->unused.prev = l->unused.next = &l->unused;
    pthread_mutex_init(&l->lock, NULL);
    return l->buckets;
}

static struct lru_item **bucket(struct lru *l, uint64_t key)
{
    return &l->buckets[(key * 0x9e3779b97f4a7c15ull >> 32) & (l->n_buckets - 1)];
}

static void unlink_unused(struct lru_item *i)
{
    i->prev->next = i->next;
    i->next->prev = i->prev;
}

static void evict(struct lru *l, struct lru_item *i)
{
    struct lru_item **p = bucket(l, i->key);

    while (*p != i)
        p = &(*p)->chain;
    *p = i->chain;
    unlink_unused(i);
    l->n--;
    l->free_item(i);
}

static struct lru_item *find(struct lru *l, uint64_t key)
{
    struct lru_item *i = *bucket(l, key);

    while (i && i->key != key)
        i = i->chain;
    if (i && !i->refs++)
        unlink_unused(i);
    return i;
}

struct lru_item *lru_get(struct lru *l, uint64_t key)
{
    struct lru_item *i;

    pthread_mutex_lock(&l->lock);
    i = find(l, key);
    pthread_mutex_unlock(&l->lock);
    return i;
}

struct lru_item *lru_add(struct lru *l, struct lru_item *item)
{
    struct lru_item *other, **b;

    pthread_mutex_lock(&l->lock);
    other = find(l, item->key);
    if (other) {
        l->free_item(item);
        item = other;
    } else {
        while (l->n >= l->cap && l->unused.prev != &l->unused)
            evict(l, l->unused.prev);
        b = bucket(l, item->key);
        item->refs = 1;
        item->chain = *b;
        *b = item;
        l->n++;
    }
    pthread_mutex_unlock(&l->lock);
    return item;
}

void lru_put(struct lru *l, struct lru_item *item)
{
    if (!item)
        return;
    pthread_mutex_lock(&l->lock);
    if (!--item->refs) {
        item->next = l->unused.next;
        item->prev = &l->unused;
        item->next->prev = item;
        l->unused.next = item;
        if (l->n > l->cap)
            evict(l, l->unused.prev);
    }
    pthread_mutex_unlock(&l->lock);
}

void lru_drop_unused(struct lru *l)
{
    pthread_mutex_lock(&l->lock);
    while (l->unused.prev != &l->unused)
        evict(l, l->unused.prev);
    pthread_mutex_unlock(&l->lock);
}

void lru_release(struct lru *l)
{
    if (!l->buckets)
        return;
    lru_drop_unused(l);
    vt_assert(!l->n);
    free(l->buckets);
    l->buckets = NULL;
    pthread_mutex_destroy(&l->lock);
}
