/* A machine from the members that move.h describes. They may come from anywhere: each number in them is looked at
 * before it is used. In this order:
 *
 *    pages go into a pack                      nothing refers to them yet
 *    the pack is synced
 *    its rows are committed, then nodes        reached from nowhere: killed here, they are gc's
 *    the machine, its snapshots and images     one durable transaction: from then on there is a machine
 *
 * A writers' lock keeps gc off from the first page to the last commit. Nodes of each image are committed before the
 * next one is begun, since that may share them. */
#include "snapshot/move.h"

#include <stdio.h>
#include <string.h>
#include "src/base/json.h"
#include "src/base/units.h"
#include "snapshot/head.h"
#include "snapshot/intake.h"
#include "snapshot/map.h"
#include "snapshot/names.h"

#define SNAPSHOTS_MAX 1000000

struct run {
    uint64_t page, index; /* MOVE_ZERO: zeros */
    uint32_t count;
};

struct in_image {
    struct run *runs;
    size_t n, cap;
    uint64_t root, own; /* own: bytes that it added */
    bool elsewhere;     /* root is of a base: nothing is to be written */
};

struct in_snap {
    const char *uuid, *name, *note, *hardware, *cpu_features; /* of the JSON */
    int64_t taken_at, vclock, power, id;
    int parent;
    bool has_state;
    uint64_t state; /* index of its frame in the pack */
    uint64_t own;
};

enum stage { WANT_MACHINE, WANT_MEMBERS, COMPLETE };

struct import {
    struct store *s;
    struct intake in;
    char *wanted; /* name, or NULL */
    const char *name, *config, *uuid;
    int64_t created_at;
    json_t *top;
    struct move_plan plan;
    struct in_image *images;
    struct in_snap *snaps;
    size_t n_snaps;
    int head_parent;
    enum stage stage;
    size_t image, state; /* the next to be read: all images, then all states */
    uint64_t next_page;  /* first page that the next run may have */
    uint64_t *entries;   /* by the number of a page's data */
    size_t n_entries, cap_entries;
    uint64_t members, pack_bytes;
    struct move_sum *sum;
    struct move_stats stats;
};

static const char where[] = "machine.json";

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

int import_begin(struct store *s, const char *name, struct import **ret, struct err *e)
{
    struct import *im;
    int r = name ? names_check("machine", name, e) : 0;

    if (r)
        return r;
    im = calloc(1, sizeof *im);
    if (!im)
        return out_of_memory(e);
    im->s = s;
    im->sum = move_sum_new();
    im->wanted = name ? strdup(name) : NULL;
    r = !im->sum || (name && !im->wanted) ? out_of_memory(e) : intake_init(&im->in, s, e);
    if (r) {
        move_sum_free(im->sum);
        free(im->wanted);
        free(im);
        return r;
    }
    *ret = im;
    return 0;
}

void import_abort(struct import *im)
{
    if (!im)
        return;
    intake_release(&im->in, im->in.in_doubt);
    for (size_t i = 0; i < im->plan.n && im->images; i++)
        free(im->images[i].runs);
    free(im->images);
    free(im->snaps);
    free(im->entries);
    free(im->wanted);
    move_plan_release(&im->plan);
    move_sum_free(im->sum);
    json_decref(im->top);
    free(im);
}

const char *import_name(const struct import *im)
{
    return im->wanted ? im->wanted : im->name;
}

const char *import_config(const struct import *im)
{
    return im->config;
}

/* ---- the first member ---- */

static int get_int(const json_t *j, const char *key, int64_t *ret, struct err *e)
{
    const json_t *v = json_object_get(j, key);

    if (!json_is_integer(v))
        return err_set(e, VT_CORRUPT, "%s: \"%s\" is no number", where, key);
    *ret = json_integer_value(v);
    return 0;
}

static int check_uuid(const char *uuid, struct err *e)
{
    size_t n = strspn(uuid, "0123456789abcdef-");

    return n == 36 && !uuid[n] ? 0 : err_set(e, VT_CORRUPT, "%s: \"%.40s\" is no uuid", where, uuid);
}

/* The number of a snapshot before `before`; MOVE_ORIGIN where there is none. */
static int get_parent(const json_t *j, size_t before, int *ret, struct err *e)
{
    uint64_t parent = UINT64_MAX;
    int r = json_get_u64(j, "parent", JSON_OPTIONAL, &parent, where, e);

    if (!r && parent != UINT64_MAX && parent >= before)
        r = err_set(e, VT_CORRUPT, "%s: a parent does not come before its child", where);
    if (!r)
        *ret = parent == UINT64_MAX ? MOVE_ORIGIN : (int)parent;
    return r;
}

static int read_images(struct import *im, const json_t *of, const char *key, int owner, int parent, struct err *e)
{
    json_t *list, *j;
    size_t n, first = im->plan.n;
    int r = json_get_array(of, key, JSON_REQUIRED, &list, where, e);

    if (r)
        return r;
    json_array_foreach(list, n, j)
    {
        const char *slot = NULL;
        uint64_t bytes = 0;
        bool quiesced = false, disk;
        r = json_get_str(j, "slot", JSON_REQUIRED, &slot, where, e);
        if (!r)
            r = json_get_u64(j, "bytes", JSON_REQUIRED, &bytes, where, e);
        if (!r)
            r = json_get_bool(j, "quiesced", JSON_OPTIONAL, &quiesced, where, e);
        if (r)
            return r;
        disk = disk_index(slot) >= 0;
        if (!slot_known(slot) || !bytes || bytes % (disk ? 512 : VT_PAGE_SIZE) || bytes > UINT64_C(1) << 56)
            return err_set(e, VT_CORRUPT, "%s: \"%.20s\" of %llu bytes is no image", where, slot,
                           (unsigned long long)bytes);
        for (size_t i = first; i < im->plan.n; i++)
            if (!strcmp(im->plan.v[i].slot, slot))
                return err_set(e, VT_CORRUPT, "%s: %s is there twice", where, slot);
        r = move_plan_add(&im->plan, slot, bytes, quiesced, owner, parent, e);
        if (r)
            return r;
    }
    return 0;
}

static int read_snapshot(struct import *im, const json_t *j, struct in_snap *s, struct err *e)
{
    int r = json_get_str(j, "uuid", JSON_REQUIRED, &s->uuid, where, e);

    if (!r)
        r = check_uuid(s->uuid, e);
    if (!r)
        r = json_get_str(j, "name", JSON_REQUIRED, &s->name, where, e);
    if (!r && names_check("snapshot", s->name, NULL))
        r = err_set(e, VT_CORRUPT, "%s: \"%.80s\" is no name of a snapshot", where, s->name);
    for (size_t i = 0; i < im->n_snaps && !r; i++)
        if (!strcmp(im->snaps[i].name, s->name))
            r = err_set(e, VT_CORRUPT, "%s: two snapshots are called %s", where, s->name);
    if (!r)
        r = json_get_str(j, "note", JSON_OPTIONAL, &s->note, where, e);
    if (!r)
        r = json_get_str(j, "hardware", JSON_REQUIRED, &s->hardware, where, e);
    if (!r)
        r = json_get_str(j, "cpu_features", JSON_REQUIRED, &s->cpu_features, where, e);
    if (!r)
        r = get_int(j, "taken_at", &s->taken_at, e);
    if (!r)
        r = get_int(j, "vclock", &s->vclock, e);
    if (!r)
        r = get_int(j, "power", &s->power, e);
    if (!r && (s->power < POWER_OFF || s->power > POWER_PAUSED))
        r = err_set(e, VT_CORRUPT, "%s: a snapshot has no such power state", where);
    if (!r)
        r = json_get_bool(j, "state", JSON_OPTIONAL, &s->has_state, where, e);
    if (!r)
        r = get_parent(j, im->n_snaps, &s->parent, e);
    return r ? r : read_images(im, j, "images", (int)im->n_snaps, s->parent, e);
}

static int read_snapshots(struct import *im, struct err *e)
{
    json_t *list, *j;
    size_t n;
    int r = json_get_array(im->top, "snapshots", JSON_REQUIRED, &list, where, e);

    if (!r && json_array_size(list) > SNAPSHOTS_MAX)
        r = err_set(e, VT_CORRUPT, "%s: has too many snapshots", where);
    if (r)
        return r;
    im->snaps = calloc(json_array_size(list) + 1, sizeof *im->snaps);
    if (!im->snaps)
        return out_of_memory(e);
    json_array_foreach(list, n, j)
    {
        r = read_snapshot(im, j, &im->snaps[n], e);
        if (r)
            return r;
        im->n_snaps++;
    }
    return 0;
}

static int read_head(struct import *im, struct err *e)
{
    json_t *head;
    int r = json_get_object(im->top, "head", JSON_REQUIRED, &head, where, e);

    if (!r)
        r = get_parent(head, im->n_snaps, &im->head_parent, e);
    return r ? r : read_images(im, head, "images", MOVE_HEAD, im->head_parent, e);
}

static int name_free(struct import *im, struct err *e)
{
    int64_t id;

    return machine_find(im->s, import_name(im), true, &id, NULL)
               ? 0
               : err_set(e, VT_EXISTS, "%s: there is a machine of this name already", import_name(im));
}

static int read_machine(struct import *im, const void *data, size_t len, struct err *e)
{
    uint64_t format = 0;
    json_t *m;
    int r = json_parse(data, len, where, &im->top, e);

    if (!r)
        r = json_get_u64(im->top, "format", JSON_REQUIRED, &format, where, e);
    if (!r && format != MOVE_FORMAT)
        r = err_set(e, VT_VERSION, "was made by a newer vmtest (format %llu, this one knows %d)",
                    (unsigned long long)format, MOVE_FORMAT);
    if (!r)
        r = json_get_object(im->top, "machine", JSON_REQUIRED, &m, where, e);
    if (!r)
        r = json_get_str(m, "uuid", JSON_REQUIRED, &im->uuid, where, e);
    if (!r)
        r = check_uuid(im->uuid, e);
    if (!r)
        r = json_get_str(m, "name", JSON_REQUIRED, &im->name, where, e);
    if (!r && names_check("machine", im->name, NULL))
        r = err_set(e, VT_CORRUPT, "%s: \"%.80s\" is no name of a machine", where, im->name);
    if (!r)
        r = json_get_str(m, "config", JSON_REQUIRED, &im->config, where, e);
    if (!r)
        r = get_int(m, "created_at", &im->created_at, e);
    if (!r)
        r = name_free(im, e);
    if (!r)
        r = read_images(im, im->top, "origin", MOVE_ORIGIN, MOVE_NONE, e);
    if (!r)
        r = read_snapshots(im, e);
    if (!r)
        r = read_head(im, e);
    for (size_t i = 0; i < im->plan.n && !r; i++)
        if (im->plan.v[i].owner < 0 && im->plan.v[i].quiesced)
            r = err_set(e, VT_CORRUPT, "%s: only a snapshot has quiesced images", where);
    if (!r && !(im->images = calloc(im->plan.n + 1, sizeof *im->images)))
        r = out_of_memory(e);
    im->stage = WANT_MEMBERS;
    return r;
}

/* ---- the others ---- */

static int read_pages(struct import *im, const char *name, const struct move_head *h, const uint8_t *body, size_t len,
                      struct err *e)
{
    uint64_t page[VT_PAGE_SIZE / 8];
    int r = 0;

    if (!h->count || h->count > MOVE_PAGES || len != h->count * VT_PAGE_SIZE || h->number != im->n_entries ||
        im->image == im->plan.n)
        return err_set(e, VT_CORRUPT, "%s: these pages do not belong here", name);
    if (im->n_entries + h->count > im->cap_entries) {
        size_t cap = im->cap_entries ? 2 * im->cap_entries : 4096;
        uint64_t *v = realloc(im->entries, cap * sizeof *v);
        if (!v)
            return out_of_memory(e);
        im->entries = v;
        im->cap_entries = cap;
    }
    for (uint64_t i = 0; i < h->count && !r; i++) {
        memcpy(page, body + i * VT_PAGE_SIZE, sizeof page);
        r = intake_page(&im->in, page, &im->entries[im->n_entries], e);
        im->n_entries += !r;
    }
    im->stats.pages += h->count;
    return r;
}

static int end_image(struct import *im, struct err *e)
{
    int r = packw_break(im->in.pack, e); /* pages of different images do not share a frame */

    im->images[im->image].own = packw_bytes(im->in.pack) - im->pack_bytes;
    im->pack_bytes = packw_bytes(im->in.pack);
    im->image++;
    im->next_page = 0;
    return r;
}

static int read_map(struct import *im, const char *name, const struct move_head *h, const uint8_t *body, size_t len,
                    struct err *e)
{
    struct in_image *i = &im->images[im->image];

    if (im->image == im->plan.n || h->number != im->image || h->count > MOVE_RUNS || len != h->count * MOVE_RUN)
        return err_set(e, VT_CORRUPT, "%s: this map does not belong here", name);
    if (i->n + h->count > i->cap) {
        size_t cap = h->flags & MOVE_LAST ? i->n + h->count : 2 * (i->n + h->count);
        struct run *v = realloc(i->runs, cap * sizeof *v);
        if (!v)
            return out_of_memory(e);
        i->runs = v;
        i->cap = cap;
    }
    for (uint64_t k = 0; k < h->count; k++, body += MOVE_RUN) {
        struct run run = {get64(body), get64(body + 8), get32(body + 16)};
        uint64_t pages = im->plan.v[im->image].pages;
        if (!run.count || run.page < im->next_page || run.page >= pages || run.count > pages - run.page ||
            (run.index != MOVE_ZERO && (run.index >= im->n_entries || run.count > im->n_entries - run.index)))
            return err_set(e, VT_CORRUPT, "%s: run %llu is out of bounds", name, (unsigned long long)k);
        im->next_page = run.page + run.count;
        i->runs[i->n++] = run;
    }
    return h->flags & MOVE_LAST ? end_image(im, e) : 0;
}

/* The next snapshot that has a device state, from `state` on. */
static size_t next_state(const struct import *im)
{
    size_t i = im->state;

    while (i < im->n_snaps && !im->snaps[i].has_state)
        i++;
    return i;
}

static int read_state(struct import *im, const char *name, const struct move_head *h, const uint8_t *body, size_t len,
                      struct err *e)
{
    struct in_snap *s;
    int r;

    im->state = next_state(im);
    if (im->image != im->plan.n || im->state == im->n_snaps || h->number != im->state || h->count != len ||
        len > STORE_STATE_MAX)
        return err_set(e, VT_CORRUPT, "%s: this device state does not belong here", name);
    s = &im->snaps[im->state++];
    r = packw_blob(im->in.pack, body, (uint32_t)len, &s->state, e);
    s->own = packw_bytes(im->in.pack) - im->pack_bytes;
    im->pack_bytes = packw_bytes(im->in.pack);
    return r;
}

static int read_end(struct import *im, const void *data, size_t len, struct err *e)
{
    json_t *j cleanup(cleanup_json) = NULL;
    uint64_t members = 0, pages = 0;
    const char *sum = NULL;
    char ours[33];
    int r = json_parse(data, len, "end.json", &j, e);

    if (!r)
        r = json_get_u64(j, "members", JSON_REQUIRED, &members, "end.json", e);
    if (!r)
        r = json_get_u64(j, "pages", JSON_REQUIRED, &pages, "end.json", e);
    if (!r)
        r = json_get_str(j, "sum", JSON_REQUIRED, &sum, "end.json", e);
    if (r)
        return r;
    move_sum_text(im->sum, ours);
    im->state = next_state(im);
    if (im->image != im->plan.n || im->state != im->n_snaps || members != im->members || pages != im->n_entries)
        return err_set(e, VT_CORRUPT, "end.json: members are missing before it");
    if (strcmp(sum, ours))
        return err_set(e, VT_CORRUPT, "end.json: the sum over all members is wrong");
    im->stage = COMPLETE;
    return 0;
}

static int read_binary(struct import *im, const char *name, const void *data, size_t len, struct err *e)
{
    const uint8_t *body = (const uint8_t *)data + MOVE_HEADER;
    struct move_head h;
    char want[32];
    int r = move_head_get(name, data, len, &h, e);

    if (r)
        return r;
    snprintf(want, sizeof want, "%08llu.%s", (unsigned long long)im->members,
             h.magic == MOVE_PAGES_MAGIC ? "pages"
             : h.magic == MOVE_MAP_MAGIC ? "map"
                                         : "state");
    if (strcmp(name, want))
        return err_set(e, VT_CORRUPT, "%.40s: is not the member that is next", name);
    len -= MOVE_HEADER;
    if (h.magic == MOVE_PAGES_MAGIC)
        return read_pages(im, name, &h, body, len, e);
    if (h.magic == MOVE_MAP_MAGIC)
        return read_map(im, name, &h, body, len, e);
    if (h.magic == MOVE_STATE_MAGIC)
        return read_state(im, name, &h, body, len, e);
    return err_set(e, VT_CORRUPT, "%.40s: is of no known kind", name);
}

int import_put(struct import *im, const char *name, const void *data, size_t len, struct err *e)
{
    int r;

    if (im->stage == COMPLETE)
        return err_set(e, VT_CORRUPT, "%.40s: comes after the end", name);
    if (im->stage == WANT_MACHINE && strcmp(name, where))
        return err_set(e, VT_CORRUPT, "is no exported machine (it begins with \"%.40s\")", name);
    if (im->stage == WANT_MACHINE)
        r = read_machine(im, data, len, e);
    else if (!strcmp(name, "end.json"))
        r = read_end(im, data, len, e);
    else
        r = read_binary(im, name, data, len, e);
    move_sum_add(im->sum, name, data, len);
    im->members++;
    im->stats.bytes += len;
    return r;
}

/* ---- images that need not move ---- */

int import_put_root(struct import *im, size_t image, uint64_t root, struct err *e)
{
    if (image != im->image || image == im->plan.n)
        return err_set(e, VT_CORRUPT, "an image does not belong here");
    im->images[im->image++] = (struct in_image){.root = root, .elsewhere = true};
    return 0;
}

int import_put_state(struct import *im, size_t snapshot, const void *data, size_t len, struct err *e)
{
    struct move_head h = {MOVE_STATE_MAGIC, 0, snapshot, len};

    return read_state(im, "a device state", &h, data, len, e);
}

void import_put_end(struct import *im)
{
    im->state = next_state(im);
    if (im->image == im->plan.n && im->state == im->n_snaps)
        im->stage = COMPLETE;
}

/* ---- committing ---- */

static int commit_pack(struct import *im, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    int64_t next_node;
    int r = db_get(im->s, &db, e);

    if (!r)
        r = db_begin(db, DB_NORMAL, e);
    if (!r)
        r = intake_commit(&im->in, db, &next_node, e);
    if (!r)
        r = intake_done(&im->in, db, next_node, e);
    if (r)
        return r;
    im->in.in_doubt = true;
    return db_commit(db, e);
}

/* Zeros, where the base has something else: a run may be as long as the image. */
static int put_zeros(struct import *im, uint64_t base, const struct run *run, struct mapw *w, struct err *e)
{
    uint64_t p = run->page, end = run->page + run->count;
    bool found = true;
    int r = 0;

    for (; !r; p++) {
        r = map_next(im->s, base, true, &p, end, &found, e);
        if (r || !found)
            break;
        r = mapw_put(w, p, ENTRY_ZERO_WORD, e);
    }
    return r;
}

static int put_runs(struct import *im, const struct in_image *i, struct mapw *w, struct err *e)
{
    int r = 0;

    for (size_t k = 0; k < i->n && !r; k++) {
        const struct run *run = &i->runs[k];
        if (run->index == MOVE_ZERO)
            r = put_zeros(im, i->root, run, w, e);
        for (uint32_t p = 0; run->index != MOVE_ZERO && p < run->count && !r; p++)
            r = mapw_put(w, run->page + p, im->entries[run->index + p], e);
    }
    return r;
}

static int commit_map(struct import *im, size_t number, struct err *e)
{
    const struct move_image *p = &im->plan.v[number];
    struct in_image *i = &im->images[number];
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    struct mapw *w;
    int64_t next_node, next_frame;
    int r;

    if (i->elsewhere)
        return 0;
    i->root = p->base >= 0 ? im->images[p->base].root : ENTRY_ZERO_WORD;
    if (!i->n)
        return 0;
    r = mapw_new(im->s, i->root, p->pages, &w, e);
    if (r)
        return r;
    r = put_runs(im, i, w, e);
    if (!r)
        r = db_get(im->s, &db, e);
    if (!r)
        r = db_begin(db, DB_NORMAL, e);
    if (!r)
        r = db_query(db, SQL_COUNTERS, &rows, e, "");
    if (!r && (r = rows_next(&rows, e)) > 0) {
        next_node = rows_int(&rows, 0);
        next_frame = rows_int(&rows, 1);
        rows_done(&rows);
        r = mapw_write(w, db, im->in.first_frame, &next_node, &i->own, &i->root, e);
        if (!r)
            r = db_run(db, SQL_COUNTERS_SET, e, "iii", next_node, next_frame, (int64_t)0);
        if (!r)
            r = db_commit(db, e);
    }
    mapw_free(w);
    free(i->runs);
    *i = (struct in_image){.root = i->root, .own = i->own};
    return r;
}

/* The uuid where it is free (in `ret`), else a fresh one. */
static int pick_uuid(struct db *db, const char *uuid, char ret[37], struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_MOVE_TAKEN, &rows, e, "t", uuid);

    if (!r)
        r = rows_next(&rows, e);
    if (!r)
        snprintf(ret, 37, "%s", uuid);
    return r > 0 ? uuid_make(ret, e) : r;
}

static int insert_images(struct import *im, struct db *db, int owner, int64_t snapshot, int64_t head, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < im->plan.n && !r; i++) {
        const struct move_image *p = &im->plan.v[i];
        bool two = i && im->plan.v[i - 1].quiesced;
        if (p->owner == owner && !p->quiesced)
            r = db_run(db, SQL_IMAGE_NEW, e, "zztiiiit", snapshot, head, p->slot, (int64_t)p->bytes,
                       (int64_t)im->images[i].root, (int64_t)two, two ? (int64_t)im->images[i - 1].root : (int64_t)0,
                       (char *)NULL);
    }
    return r;
}

static int insert_snapshot(struct import *im, struct db *db, int64_t machine, size_t number, struct err *e)
{
    struct in_snap *s = &im->snaps[number];
    int64_t state = s->has_state ? (int64_t)(im->in.first_frame + s->state) : 0;
    int64_t parent = s->parent >= 0 ? im->snaps[s->parent].id : 0;
    char uuid[37];
    int r = pick_uuid(db, s->uuid, uuid, e);

    for (size_t i = 0; i < im->plan.n; i++)
        if (im->plan.v[i].owner == (int)number)
            s->own += im->images[i].own;
    if (!r)
        r = db_run(db, SQL_SNAP_NEW, e, "titztiiittzi", uuid, machine, s->name, parent, s->note, s->taken_at, s->vclock,
                   s->power, s->hardware, s->cpu_features, state, (int64_t)s->own);
    s->id = db_last_id(db);
    return r ? r : insert_images(im, db, (int)number, s->id, 0, e);
}

static int insert_head(struct import *im, struct db *db, int64_t machine, bool origin, int64_t *ret, struct err *e)
{
    int64_t parent = !origin && im->head_parent >= 0 ? im->snaps[im->head_parent].id : 0;
    int r = db_run(db, SQL_HEAD_NEW, e, "izti", machine, parent, "{}", clock_wall_ns());

    *ret = db_last_id(db);
    if (!r && origin)
        r = db_run(db, SQL_HEAD_ABANDON, e, "zzi", (int64_t)0, (int64_t)0, *ret);
    return r ? r : insert_images(im, db, origin ? MOVE_ORIGIN : MOVE_HEAD, 0, *ret, e);
}

static int insert_machine(struct import *im, struct db *db, int64_t *ret, struct err *e)
{
    struct err mine = {0};
    int64_t head = 0;
    char uuid[37];
    int r = pick_uuid(db, im->uuid, uuid, e);

    if (r)
        return r;
    r = db_run(db, SQL_MACHINE_NEW, &mine, "ttti", uuid, import_name(im), im->config, im->created_at);
    if (r)
        return r == VT_EXISTS ? err_set(e, r, "%s: there is a machine of this name already", import_name(im))
                              : err_set(e, r, "%s", mine.msg);
    *ret = db_last_id(db);
    r = insert_head(im, db, *ret, true, &head, e);
    for (size_t i = 0; i < im->n_snaps && !r; i++)
        r = insert_snapshot(im, db, *ret, i, e);
    if (!r)
        r = insert_head(im, db, *ret, false, &head, e);
    return r ? r : db_run(db, SQL_MACHINE_HEAD, e, "ii", head, *ret);
}

static int commit(struct import *im, int64_t *ret_id, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    int64_t id = 0;
    int r = im->stage == COMPLETE ? 0 : err_set(e, VT_CORRUPT, "is cut short: members are missing");

    if (!r)
        r = intake_finish(&im->in, e);
    if (!r)
        r = commit_pack(im, e);
    for (size_t i = 0; i < im->plan.n && !r; i++)
        r = commit_map(im, i, e);
    if (!r)
        r = db_get(im->s, &db, e);
    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (!r)
        r = insert_machine(im, db, &id, e);
    if (!r)
        r = db_commit(db, e);
    if (!r)
        *ret_id = id;
    return r;
}

int import_commit(struct import *im, int64_t *ret_id, struct move_stats *ret_stats, struct err *e)
{
    int r = commit(im, ret_id, e);

    if (!r && ret_stats) {
        im->stats.snapshots = im->n_snaps;
        im->stats.images = im->plan.n;
        *ret_stats = im->stats;
    }
    import_abort(im);
    return r;
}
