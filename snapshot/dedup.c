#include "snapshot/dedup.h"

#include <pthread.h>
#include <stdbool.h>
#include "snapshot/format.h"
#include "snapshot/frames.h"
#include "snapshot/store.h"

#define HASHES_MAX (1u << 20) /* 4 GiB of pages, 32 MiB of table */

struct slot {
    uint64_t hash, entry; /* entry 0: free */
};

struct dedup {
    pthread_mutex_t lock;
    struct slot *slots;
    size_t n, cap; /* cap is a power of two, at least 2 n */
    int64_t newest_pack;
};

struct dedup *dedup_new(void)
{
    struct dedup *d = calloc(1, sizeof *d);

    if (d)
        pthread_mutex_init(&d->lock, NULL);
    return d;
}

void dedup_free(struct dedup *d)
{
    if (!d)
        return;
    pthread_mutex_destroy(&d->lock);
    free(d->slots);
    free(d);
}

void dedup_clear(struct dedup *d)
{
    pthread_mutex_lock(&d->lock);
    free(d->slots);
    d->slots = NULL;
    d->n = d->cap = 0;
    d->newest_pack = 0;
    pthread_mutex_unlock(&d->lock);
}

static struct slot *probe(struct slot *slots, size_t cap, uint64_t hash)
{
    size_t i = hash & (cap - 1);

    while (slots[i].entry && slots[i].hash != hash)
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

static bool grow(struct dedup *d)
{
    size_t cap = d->cap ? 2 * d->cap : 1024;
    struct slot *slots = calloc(cap, sizeof *slots);

    if (!slots)
        return false;
    for (size_t i = 0; i < d->cap; i++)
        if (d->slots[i].entry)
            *probe(slots, cap, d->slots[i].hash) = d->slots[i];
    free(d->slots);
    d->slots = slots;
    d->cap = cap;
    return true;
}

static void add(struct dedup *d, uint64_t hash, uint64_t entry)
{
    struct slot *s;

    if (d->n >= HASHES_MAX || (2 * (d->n + 1) > d->cap && !grow(d)))
        return;
    s = probe(d->slots, d->cap, hash);
    if (s->entry)
        return;
    *s = (struct slot){hash, entry};
    d->n++;
}

void dedup_add(struct dedup *d, uint64_t hash, uint64_t entry)
{
    pthread_mutex_lock(&d->lock);
    add(d, hash, entry);
    pthread_mutex_unlock(&d->lock);
}

uint64_t dedup_find(struct dedup *d, uint64_t hash)
{
    uint64_t entry = 0;

    pthread_mutex_lock(&d->lock);
    if (d->cap)
        entry = probe(d->slots, d->cap, hash)->entry;
    pthread_mutex_unlock(&d->lock);
    return entry;
}

struct load {
    struct dedup *d;
    int64_t first_frame;
};

static int load_frame(void *opaque, uint64_t index, const struct trailer_frame *f)
{
    struct load *l = opaque;
    uint64_t num = f->num ? f->num : (uint64_t)l->first_frame + index;

    if (f->ref.pages > FRAME_PAGES) /* a blob */
        return 0;
    for (uint32_t i = 0; i < f->ref.pages; i++)
        add(l->d, get64(f->hashes + 8 * i), entry_make(ENTRY_FRAME, num, i));
    return 0;
}

int dedup_refresh(struct dedup *d, struct store *s, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int64_t newest = 0;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_PACK_LIST, &rows, e, "");
    if (r)
        return r;
    pthread_mutex_lock(&d->lock);
    while ((r = rows_next(&rows, e)) > 0 && d->n < HASHES_MAX) {
        struct load l = {d, rows_int(&rows, 2)};
        int64_t id = rows_int(&rows, 0);
        if (id <= d->newest_pack)
            break;
        if (!newest)
            newest = id;
        pack_trailer(s, id, load_frame, &l, NULL);
    }
    if (newest)
        d->newest_pack = newest;
    pthread_mutex_unlock(&d->lock);
    return r < 0 ? r : 0;
}
