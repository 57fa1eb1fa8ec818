/* What export and import agree on: move.h. */
#include "snapshot/move.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include "snapshot/format.h"

void move_plan_release(struct move_plan *p)
{
    free(p->v);
    *p = (struct move_plan){0};
}

/* The live image of a slot of an owner. */
static int find(const struct move_plan *p, const char *slot, int owner)
{
    for (size_t i = p->n; owner != MOVE_NONE && i-- > 0;)
        if (p->v[i].owner == owner && !p->v[i].quiesced && !strcmp(p->v[i].slot, slot))
            return (int)i;
    return -1;
}

int move_plan_add(struct move_plan *p, const char *slot, uint64_t bytes, bool quiesced, int owner, int parent,
                  struct err *e)
{
    struct move_image i = {
        .bytes = bytes,
        .pages = bytes / VT_PAGE_SIZE + (bytes % VT_PAGE_SIZE != 0),
        .owner = owner,
        .quiesced = quiesced,
        .base = find(p, slot, parent),
    };
    struct move_image *v = realloc(p->v, (p->n + 2) * sizeof *v);

    if (!v || p->n > INT32_MAX - 2)
        return err_set(e, VT_FAIL, "out of memory");
    p->v = v;
    snprintf(i.slot, sizeof i.slot, "%s", slot);
    if (i.base >= 0 && v[i.base].pages > i.pages)
        i.base = -1;
    v[p->n++] = i;
    if (quiesced) {
        i.base = (int)p->n - 1;
        i.quiesced = false;
        v[p->n++] = i;
    }
    return 0;
}

void move_head_put(uint8_t h[MOVE_HEADER], const struct move_head *m, const void *body, size_t len)
{
    XXH128_hash_t sum = XXH3_128bits(body, len);

    memset(h, 0, MOVE_HEADER);
    put32(h, m->magic);
    put32(h + 4, m->flags);
    put64(h + 8, m->number);
    put64(h + 16, m->count);
    put64(h + 24, sum.low64);
    put64(h + 32, sum.high64);
}

int move_head_get(const char *name, const void *data, size_t len, struct move_head *ret, struct err *e)
{
    const uint8_t *h = data;
    XXH128_hash_t sum;

    if (len < MOVE_HEADER)
        return err_set(e, VT_CORRUPT, "%s: is cut short", name);
    sum = XXH3_128bits(h + MOVE_HEADER, len - MOVE_HEADER);
    if (get64(h + 24) != sum.low64 || get64(h + 32) != sum.high64 || get64(h + 40))
        return err_set(e, VT_CORRUPT, "%s: does not match its checksum", name);
    *ret = (struct move_head){get32(h), get32(h + 4), get64(h + 8), get64(h + 16)};
    return 0;
}

struct move_sum {
    XXH3_state_t *x;
};

struct move_sum *move_sum_new(void)
{
    struct move_sum *m = malloc(sizeof *m);

    if (m && (!(m->x = XXH3_createState()) || XXH3_128bits_reset(m->x) == XXH_ERROR)) {
        move_sum_free(m);
        return NULL;
    }
    return m;
}

void move_sum_free(struct move_sum *m)
{
    if (!m)
        return;
    XXH3_freeState(m->x);
    free(m);
}

void move_sum_add(struct move_sum *m, const char *name, const void *data, size_t len)
{
    uint8_t length[8];

    put64(length, len);
    XXH3_128bits_update(m->x, name, strlen(name) + 1);
    XXH3_128bits_update(m->x, length, sizeof length);
    XXH3_128bits_update(m->x, data, len);
}

void move_sum_text(const struct move_sum *m, char ret[33])
{
    XXH128_hash_t h = XXH3_128bits_digest(m->x);

    snprintf(ret, 33, "%016" PRIx64 "%016" PRIx64, h.high64, h.low64);
}
