/* A head row's JSON: which logs each disk has. */
#include "snapshot/head.h"

#include <stdio.h>
#include <string.h>
#include "src/base/json.h"
#include "snapshot/store.h"

int disk_index(const char *slot)
{
    char canonical[8];
    unsigned n;

    if (sscanf(slot, "disk%2u", &n) != 1 || n >= STORE_DISKS_MAX)
        return -1;
    snprintf(canonical, sizeof canonical, "disk%u", n);
    return strcmp(slot, canonical) ? -1 : (int)n;
}

bool slot_known(const char *slot)
{
    return disk_index(slot) >= 0 || !strcmp(slot, "ram") || !strcmp(slot, "vram");
}

static bool append_log(json_t *all, json_t *fresh, const struct hlog *l)
{
    return !json_array_append_new(all, json_integer((json_int_t)l->id)) &&
           (l->solid || !json_array_append_new(fresh, json_integer((json_int_t)l->id)));
}

static bool append_disk(json_t *all, struct disk *d, const uint64_t *from, struct hlog *const *add, unsigned n_add)
{
    json_t *logs = json_array(), *fresh = json_array(), *one;
    bool good = logs && fresh;

    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->n_logs && good; i++)
        if (!from || disk_needs_log(d, i, *from))
            good = append_log(logs, fresh, d->logs[i]);
    one = json_pack("{s:I, s:o, s:o}", "from", (json_int_t)(from ? *from : d->from), "logs", logs, "new", fresh);
    pthread_mutex_unlock(&d->lock);
    for (unsigned i = 0; i < n_add && good && one; i++)
        good = append_log(logs, fresh, add[i]);
    return one && !json_object_set_new(all, d->slot, one) && good;
}

char *head_logs_json(struct head *h, const uint64_t *from, const struct newlogs *add)
{
    json_t *all cleanup(cleanup_json) = json_object();
    bool good = all;

    for (size_t i = 0; i < STORE_DISKS_MAX && good; i++)
        if (head_disk_at(h, i))
            good = append_disk(all, h->disks[i], from ? &from[i] : NULL, add ? add->v[i] : NULL, add ? add->n[i] : 0);
    return good ? json_text(all) : NULL;
}

bool head_written(struct head *h)
{
    bool any = false;

    for (size_t i = 0; i < STORE_DISKS_MAX && !any; i++) {
        struct disk *d = head_disk_at(h, i);
        if (!d)
            continue;
        pthread_mutex_lock(&d->lock);
        any = d->open || d->next_seq > d->from;
        pthread_mutex_unlock(&d->lock);
    }
    return any;
}

/* Only logs that have something before `upto`. Past it, what was never flushed may be missing from the end of one, and
 * what follows in the next would then look like damage. */
static bool append_kept(json_t *all, struct disk *d, uint64_t upto)
{
    json_t *logs = json_array(), *fresh = json_array(), *one;
    uint64_t begin = d->from;
    bool good = logs && fresh;

    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i <= d->current && i < d->n_logs && good; i++) {
        uint64_t end = i == d->current ? d->next_seq : d->logs[i]->next_seq;
        if (begin < upto && begin < end)
            good = append_log(logs, fresh, d->logs[i]);
        begin = MAX(begin, end);
    }
    one = json_pack("{s:I, s:o, s:o}", "from", (json_int_t)d->from, "logs", logs, "new", fresh);
    pthread_mutex_unlock(&d->lock);
    return one && !json_object_set_new(all, d->slot, one) && good;
}

char *head_kept_json(struct head *h, const uint64_t *upto)
{
    json_t *all cleanup(cleanup_json) = json_object();
    bool good = all;

    for (size_t i = 0; i < STORE_DISKS_MAX && good; i++)
        if (head_disk_at(h, i))
            good = append_kept(all, h->disks[i], upto ? upto[i] : UINT64_MAX);
    return good ? json_text(all) : NULL;
}

static const char where[] = "store.db: a head's logs";

static bool has(const json_t *list, json_int_t id)
{
    json_t *one;
    size_t i;

    json_array_foreach(list, i, one)
    {
        if (json_is_integer(one) && json_integer_value(one) == id)
            return true;
    }
    return false;
}

static int each_of(const json_t *disk, int (*fn)(void *, int64_t, bool), void *opaque, struct err *e)
{
    json_t *logs = NULL, *fresh = NULL, *one;
    size_t i;
    int r = json_get_array(disk, "logs", JSON_REQUIRED, &logs, where, e);

    if (!r)
        r = json_get_array(disk, "new", JSON_OPTIONAL, &fresh, where, e);
    if (r)
        return r;
    json_array_foreach(logs, i, one)
    {
        if (!json_is_integer(one))
            return err_set(e, VT_CORRUPT, "%s: \"logs\" holds what is no number", where);
        r = fn(opaque, json_integer_value(one), !fresh || !has(fresh, json_integer_value(one)));
        if (r)
            return r;
    }
    return 0;
}

int logs_each(const char *text, int (*fn)(void *opaque, int64_t id, bool solid), void *opaque, struct err *e)
{
    json_t *all cleanup(cleanup_json) = NULL, *disk;
    const char *slot;
    int r = json_parse(text, strlen(text), where, &all, e);

    if (r)
        return r;
    if (!json_is_object(all))
        return err_set(e, VT_CORRUPT, "%s: not an object", where);
    json_object_foreach(all, slot, disk)
    {
        r = each_of(disk, fn, opaque, e);
        if (r)
            return r;
    }
    return 0;
}

struct opener {
    struct store *s;
    bool write;
    struct logset *set;
    struct err *e;
};

static int open_one(void *opaque, int64_t id, bool solid)
{
    struct opener *o = opaque;
    struct hlog **v = realloc(o->set->v, (o->set->n + 1) * sizeof(struct hlog *)), *l;
    struct err mine = {0};
    int r;

    if (!v)
        return err_set(o->e, VT_FAIL, "out of memory");
    o->set->v = v;
    r = hlog_open(o->s, id, o->write, &l, &mine);
    if (r && !solid &&
        (r == VT_NOENT || r == VT_CORRUPT)) /* made just before a power failure, nothing flushed into it */
        return 0;
    if (r)
        return err_set(o->e, r == VT_NOENT ? VT_CORRUPT : r, "%s", mine.msg);
    l->solid = solid;
    l->synced = solid;
    v[o->set->n++] = l;
    return 0;
}

int logset_open(struct store *s, const char *text, const char *slot, bool write, struct logset *ret, struct err *e)
{
    json_t *all cleanup(cleanup_json) = NULL, *disk = NULL;
    struct logset set = {0};
    struct opener o = {s, write, &set, e};
    int r = json_parse(text, strlen(text), where, &all, e);

    if (!r && !json_is_object(all))
        r = err_set(e, VT_CORRUPT, "%s: not an object", where);
    if (!r)
        r = json_get_object(all, slot, JSON_OPTIONAL, &disk, where, e);
    if (!r && disk)
        r = json_get_u64(disk, "from", JSON_REQUIRED, &set.from, where, e);
    if (!r && disk)
        r = each_of(disk, open_one, &o, e);
    if (r) {
        logset_release(&set);
        return r;
    }
    *ret = set;
    return 0;
}

void logset_release(struct logset *l)
{
    for (size_t i = 0; i < l->n; i++)
        hlog_unref(l->v[i]);
    free(l->v);
    *l = (struct logset){0};
}
