#include "cover.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/err.h"

#define COVER_SLOTS (1u << 18)

int cover_init(struct cover *v)
{
    memset(v, 0, sizeof(*v));
    v->key = calloc(COVER_SLOTS, sizeof(*v->key));
    v->completed = calloc(COVER_SLOTS, sizeof(*v->completed));
    if (v->key && v->completed)
        return 0;
    cover_release(v);
    return VT_FAIL;
}

void cover_release(struct cover *v)
{
    free(v->key);
    free(v->completed);
    v->key = NULL;
    v->completed = NULL;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    return (h ^ v) * 0x100000001b3u;
}

static uint64_t form_key(const struct dec *d)
{
    const uint64_t prefixes = ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
                              ZYDIS_ATTRIB_HAS_REPNE | ZYDIS_ATTRIB_HAS_SEGMENT;
    uint64_t h = mix(0xcbf29ce484222325u, d->i.mnemonic);
    h = mix(h, d->i.operand_width | (uint64_t)d->i.address_width << 8);
    h = mix(h, d->i.attributes & prefixes);
    for (unsigned i = 0; i < d->i.operand_count_visible; i++) {
        h = mix(h, (uint64_t)d->op[i].type << 16 | d->op[i].size);
        if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
            h = mix(h, ZydisRegisterGetClass(d->op[i].reg.value));
        h = mix(h, d->op[i].encoding);
    }
    return h | 1;
}

void cover_add(struct cover *v, const struct dec *d, bool completed)
{
    uint64_t key = form_key(d);
    uint32_t at = (uint32_t)(key >> 20) & (COVER_SLOTS - 1);
    v->seen[d->i.mnemonic] = true;
    v->finished[d->i.mnemonic] |= completed;
    while (v->key[at] && v->key[at] != key)
        at = (at + 1) & (COVER_SLOTS - 1);
    if (!v->key[at]) {
        if (v->n >= COVER_SLOTS / 2)
            return;
        v->key[at] = key;
        v->n++;
    }
    if (completed && !v->completed[at]) {
        v->completed[at] = true;
        v->n_completed++;
    }
}
