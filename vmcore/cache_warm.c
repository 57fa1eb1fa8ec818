/* Translations that outlive their process: each block's code and what is known of it, as they are, with addresses as
 * offsets. Emitted code has no host addresses, so it runs wherever it is mapped. What it was made from is not in here:
 * whoever saves and loads says that it is the same. Both outside of translated code, the vCPU standing. */
#include "vmcore/cache.h"

#include <string.h>
#include "src/base/util.h"
#include "vmcore/mem.h"

#define WARM_MAGIC 0x32304d5257545600ull

struct warm_head {
    uint64_t magic;
    uint64_t size, hot, cold, arena; /* of code memory; what was in use of it, and of the blocks' memory */
    uint32_t block_size, link_size, pages, n;
};

struct warm_piece { /* a block; without `arena_len`: cold code alone, that others share. Then the bytes of each */
    uint32_t arena, arena_len, hot, hot_len, cold, cold_len;
};

/* ---- saving */

/* Is the page's content still what it was after the restore? */
static bool as_restored(const struct mem *m, uint32_t bpn)
{
    return bpn == MEM_NONE || m->born[bpn] == 0;
}

/* Blocks of other pages are of no use to anybody else, and are taken out of all links. */
static void drop_changed(struct cache *c)
{
    const struct mem *m = c->cpu->mem;

    for (uint32_t i = 0; i < c->nblocks; i++) {
        const struct block *b = c->order[i];
        if (!b->dead && !as_restored(m, b->bpn))
            cache_write(c, b->bpn, 0, VT_PAGE_SIZE);
        if (!b->dead && !as_restored(m, b->bpn2))
            cache_write(c, b->bpn2, 0, VT_PAGE_SIZE);
    }
}

static uint64_t offset(const struct cache *c, const void *p)
{
    return p ? (uint64_t)((const uint8_t *)p - c->arena) + 1 : 0;
}

#define AS_OFFSET(c, p) ((p) = (void *)offset(c, (p)))

/* A block, its links, fault map and looks lie behind each other: see block.c. */
static uint32_t arena_len(const struct block *b)
{
    return (uint32_t)((const uint8_t *)(b->look + b->nlook) - (const uint8_t *)b);
}

static void add_piece(struct cache *c, struct buf *out, const struct block *b)
{
    struct warm_piece p = {(uint32_t)(offset(c, b) - 1),
                           b->dead ? 0 : arena_len(b),
                           b->hot,
                           b->dead ? 0 : b->hot_len,
                           b->cold,
                           b->cold_len};
    uint8_t *at;

    buf_add(out, &p, sizeof p);
    at = buf_reserve(out, p.arena_len);
    if (!at)
        return;
    memcpy(at, b, p.arena_len);
    if (p.arena_len) {
        struct block *copy = (struct block *)at;
        struct link *l = (struct link *)(at + ((const uint8_t *)b->links - (const uint8_t *)b));
        for (unsigned k = 0; k < b->nlinks; k++) {
            AS_OFFSET(c, l[k].next_in);
            AS_OFFSET(c, l[k].to);
            AS_OFFSET(c, l[k].from);
        }
        AS_OFFSET(c, copy->in);
        AS_OFFSET(c, copy->links);
        AS_OFFSET(c, copy->faults);
        AS_OFFSET(c, copy->look);
        copy->hash_next = copy->page_next = copy->page2_next = NULL;
    }
    out->len += p.arena_len;
    buf_add(out, c->w + p.hot, p.hot_len);
    buf_add(out, c->w + p.cold, p.cold_len);
}

int cache_save(struct cache *c, struct buf *out, struct err *e)
{
    struct warm_head h = {.magic = WARM_MAGIC,
                          .size = c->size,
                          .hot = c->hot,
                          .cold = c->cold,
                          .arena = c->arena_used,
                          .block_size = sizeof(struct block),
                          .link_size = sizeof(struct link),
                          .pages = c->cpu->mem->pages};
    size_t at = out->len;

    drop_changed(c);
    buf_add(out, &h, sizeof h);
    buf_add(out, c->shared, sizeof c->shared);
    for (uint32_t i = 0; i < c->nblocks && !out->failed; i++)
        if (!c->order[i]->dead || c->order[i]->shares) {
            add_piece(c, out, c->order[i]);
            h.n++;
        }
    if (!out->failed)
        memcpy(out->data + at, &h, sizeof h);
    return buf_check(out, e);
}

/* ---- loading */

static void *address(const struct cache *c, const void *p)
{
    return p ? c->arena + ((uint64_t)p - 1) : NULL;
}

#define AS_ADDRESS(c, p) ((p) = address(c, (p)))

static void settle(struct cache *c, struct block *b)
{
    AS_ADDRESS(c, b->in);
    AS_ADDRESS(c, b->links);
    AS_ADDRESS(c, b->faults);
    AS_ADDRESS(c, b->look);
    for (unsigned k = 0; k < b->nlinks; k++) {
        AS_ADDRESS(c, b->links[k].next_in);
        AS_ADDRESS(c, b->links[k].to);
        AS_ADDRESS(c, b->links[k].from);
    }
    cache_add(c, b);
}

struct reader {
    const uint8_t *p, *end;
};

static bool take(struct reader *r, void *dst, size_t n)
{
    if ((size_t)(r->end - r->p) < n)
        return false;
    memcpy(dst, r->p, n);
    r->p += n;
    return true;
}

static bool take_piece(struct cache *c, const struct warm_head *h, struct reader *r)
{
    struct warm_piece p;

    if (!take(r, &p, sizeof p) || p.arena + (uint64_t)p.arena_len > h->arena || p.hot + (uint64_t)p.hot_len > h->hot ||
        p.cold < c->base_cold || p.cold + (uint64_t)p.cold_len > h->cold || !take(r, c->arena + p.arena, p.arena_len) ||
        !take(r, c->w + p.hot, p.hot_len) || !take(r, c->w + p.cold, p.cold_len))
        return false;
    if (p.arena_len)
        settle(c, (struct block *)(c->arena + p.arena));
    return true;
}

bool cache_load(struct cache *c, const void *data, size_t len)
{
    struct reader r = {data, (const uint8_t *)data + len};
    struct warm_head h;

    if (c->nblocks || !take(&r, &h, sizeof h) || h.magic != WARM_MAGIC || h.size != c->size ||
        h.block_size != sizeof(struct block) || h.link_size != sizeof(struct link) || h.pages != c->cpu->mem->pages ||
        h.hot > c->hot_end || h.cold < c->base_cold || h.cold > c->cold_end || h.arena > c->arena_size ||
        h.n > c->max_blocks)
        return false;
    c->hot = h.hot;
    c->cold = h.cold;
    c->arena_used = h.arena;
    for (bool good = take(&r, c->shared, sizeof c->shared); good && h.n; h.n--)
        good = take_piece(c, &h, &r);
    if (h.n || r.p != r.end) { /* cut off: what is there may lead to what is not */
        cache_flush(c);
        return false;
    }
    return true;
}
