#include "snapshot/pageidx.h"

#include "src/base/util.h"

static struct loc *probe(struct loc *v, size_t cap, uint64_t page)
{
    size_t i = (page * 0x9e3779b97f4a7c15ull >> 24) & (cap - 1);

    while (v[i].used && v[i].page != page)
        i = (i + 1) & (cap - 1);
    return &v[i];
}

struct loc *pageidx_find(const struct pageidx *x, uint64_t page)
{
    struct loc *l = x->cap ? probe(x->v, x->cap, page) : NULL;
    return l && l->used ? l : NULL;
}

bool pageidx_reserve(struct pageidx *x, size_t n)
{
    size_t cap = x->cap ? x->cap : 64;
    struct loc *v;

    while (cap < 2 * (x->n + n))
        cap *= 2;
    if (cap == x->cap)
        return true;
    v = calloc(cap, sizeof *v);
    if (!v)
        return false;
    for (size_t i = 0; i < x->cap; i++)
        if (x->v[i].used)
            *probe(v, cap, x->v[i].page) = x->v[i];
    free(x->v);
    x->v = v;
    x->cap = cap;
    return true;
}

bool pageidx_set(struct pageidx *x, uint64_t page, struct batch *batch, uint32_t slot)
{
    struct loc *l;

    if (!pageidx_reserve(x, 1))
        return false;
    l = probe(x->v, x->cap, page);
    x->n += !l->used;
    *l = (struct loc){page, batch, slot, true};
    return true;
}

void pageidx_release(struct pageidx *x)
{
    free(x->v);
    *x = (struct pageidx){0};
}
