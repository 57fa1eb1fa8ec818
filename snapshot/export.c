/* A machine with its tree, written as the members that move.h describes. What a member has follows from the bytes of
 * the images alone, not from how this store happens to share pages: pages are told apart by their hash, and taken for
 * the same only when their bytes are. */
#include "snapshot/move.h"

#include <stdio.h>
#include <string.h>
#include "src/base/json.h"
#include "snapshot/frames.h"
#include "snapshot/head.h"
#include "snapshot/map.h"

#define OPEN_IMAGES 8 /* kept open to compare pages with */

struct seen_page {
    uint64_t hash, page;
    size_t image;
};

struct kept_image {
    size_t number;
    struct image *image;
};

struct exporter {
    struct store *s;
    const struct move_at *at; /* in place of the head, or NULL */
    int64_t machine, origin, head, parent;
    move_put_fn *put;
    void *opaque;
    struct move_plan plan;
    int64_t *snap_ids, *states; /* rows and frames by snapshot number */
    size_t n_snaps;
    struct move_sum *sum;
    uint64_t members;

    struct seen_page *seen; /* by the number of its data */
    size_t n_seen, cap_seen;
    uint64_t *table; /* number + 1, by hash */
    size_t table_size;
    struct kept_image kept[OPEN_IMAGES];
    size_t next_kept;

    uint8_t *pages; /* a member to be: header and pages */
    uint32_t n_pages;
    uint8_t *runs;
    uint32_t n_runs;
    uint64_t run_page, run_index, run_count; /* being made; count 0: none */
    size_t image;                            /* being written */
    struct move_stats stats;
};

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

static int put_member(struct exporter *x, const char *name, const void *data, size_t len, struct err *e)
{
    move_sum_add(x->sum, name, data, len);
    x->members++;
    x->stats.bytes += len;
    return x->put(x->opaque, name, data, len, e);
}

/* data begins with room for the header. */
static int put_numbered(struct exporter *x, const char *suffix, const struct move_head *h, uint8_t *data, size_t body,
                        struct err *e)
{
    char name[32];

    snprintf(name, sizeof name, "%08llu.%s", (unsigned long long)x->members, suffix);
    move_head_put(data, h, data + MOVE_HEADER, body);
    return put_member(x, name, data, MOVE_HEADER + body, e);
}

static int flush_pages(struct exporter *x, struct err *e)
{
    struct move_head h = {MOVE_PAGES_MAGIC, 0, x->n_seen - x->n_pages, x->n_pages};
    uint32_t n = x->n_pages;

    x->n_pages = 0;
    return n ? put_numbered(x, "pages", &h, x->pages, (size_t)n * VT_PAGE_SIZE, e) : 0;
}

static int flush_runs(struct exporter *x, unsigned flags, struct err *e)
{
    struct move_head h = {MOVE_MAP_MAGIC, flags, x->image, x->n_runs};
    int r = flush_pages(x, e); /* what the runs name comes before them */

    if (!r)
        r = put_numbered(x, "map", &h, x->runs, (size_t)x->n_runs * MOVE_RUN, e);
    x->n_runs = 0;
    return r;
}

static int end_run(struct exporter *x, struct err *e)
{
    uint8_t *p = x->runs + MOVE_HEADER + (size_t)x->n_runs * MOVE_RUN;

    if (!x->run_count)
        return 0;
    put64(p, x->run_page);
    put64(p + 8, x->run_index);
    put32(p + 16, (uint32_t)x->run_count);
    put32(p + 20, 0);
    x->run_count = 0;
    return ++x->n_runs == MOVE_RUNS ? flush_runs(x, 0, e) : 0;
}

/* The image being written has the data of this number (MOVE_ZERO: none) at page. */
static int add_run(struct exporter *x, uint64_t page, uint64_t index, struct err *e)
{
    bool zero = index == MOVE_ZERO;
    int r = 0;

    if (x->run_count && x->run_count < UINT32_MAX && page == x->run_page + x->run_count &&
        (zero ? x->run_index == MOVE_ZERO : x->run_index != MOVE_ZERO && index == x->run_index + x->run_count)) {
        x->run_count++;
        return 0;
    }
    r = end_run(x, e);
    x->run_page = page;
    x->run_index = index;
    x->run_count = 1;
    return r;
}

/* ---- images ---- */

static int open_image(struct exporter *x, size_t number, struct image **ret, struct err *e)
{
    const struct move_image *i = &x->plan.v[number];

    if (i->owner == MOVE_HEAD && x->at)
        return image_open(x->s, x->at->snapshot, i->slot, ROOT_LIVE, ret, e);
    if (i->owner == MOVE_HEAD)
        return image_open_flushed(x->s, x->machine, i->slot, ret, e);
    if (i->owner == MOVE_ORIGIN)
        return image_open_row(x->s, 0, x->origin, i->slot, ROOT_LIVE, ret, e);
    return image_open(x->s, x->snap_ids[i->owner], i->slot, i->quiesced ? ROOT_QUIESCED : ROOT_LIVE, ret, e);
}

/* Borrowed until the next call but OPEN_IMAGES - 1. */
static int keep_image(struct exporter *x, size_t number, struct image **ret, struct err *e)
{
    struct kept_image *k;
    int r;

    for (size_t i = 0; i < OPEN_IMAGES; i++)
        if (x->kept[i].image && x->kept[i].number == number) {
            *ret = x->kept[i].image;
            return 0;
        }
    k = &x->kept[x->next_kept++ % OPEN_IMAGES];
    image_close(k->image);
    k->image = NULL;
    k->number = number;
    r = open_image(x, number, &k->image, e);
    if (!r)
        *ret = k->image;
    return r;
}

static bool grow(struct exporter *x)
{
    size_t cap = x->cap_seen ? 2 * x->cap_seen : 4096;
    struct seen_page *seen;
    uint64_t *table;

    if (x->n_seen < x->cap_seen)
        return true;
    seen = realloc(x->seen, cap * sizeof *seen);
    x->seen = seen ? seen : x->seen;
    table = seen ? calloc(2 * cap, sizeof *table) : NULL;
    if (!table)
        return false;
    for (size_t i = 0; i < x->n_seen; i++) {
        size_t at = seen[i].hash & (2 * cap - 1);
        while (table[at])
            at = (at + 1) & (2 * cap - 1);
        table[at] = i + 1;
    }
    free(x->table);
    x->table = table;
    x->table_size = 2 * cap;
    x->cap_seen = cap;
    return true;
}

/* Has a member this page already? *ret is the number of its data, or MOVE_ZERO. */
static int find_seen(struct exporter *x, uint64_t hash, const void *page, uint64_t *ret, struct err *e)
{
    uint8_t other[VT_PAGE_SIZE];

    *ret = MOVE_ZERO;
    for (size_t at = hash & (x->table_size - 1); x->table_size && x->table[at]; at = (at + 1) & (x->table_size - 1)) {
        uint64_t i = x->table[at] - 1;
        struct image *image = NULL;
        int r;
        if (x->seen[i].hash != hash)
            continue;
        if (i >= x->n_seen - x->n_pages) {
            memcpy(other, x->pages + MOVE_HEADER + (i - (x->n_seen - x->n_pages)) * VT_PAGE_SIZE, VT_PAGE_SIZE);
        } else {
            r = keep_image(x, x->seen[i].image, &image, e);
            if (!r)
                r = image_read(image, x->seen[i].page, 1, other, e);
            if (r)
                return r;
        }
        if (!memcmp(page, other, VT_PAGE_SIZE)) {
            *ret = i;
            return 0;
        }
    }
    return 0;
}

/* A page of the image being written that is other than its base's; 8-byte aligned. */
static int put_page(struct exporter *x, uint64_t page, const void *data, struct err *e)
{
    uint64_t hash = page_hash(data, VT_PAGE_SIZE), index;
    size_t at;
    int r;

    if (page_is_zero(data))
        return add_run(x, page, MOVE_ZERO, e);
    r = find_seen(x, hash, data, &index, e);
    if (r)
        return r;
    if (index == MOVE_ZERO) {
        if (!grow(x))
            return out_of_memory(e);
        if (x->n_pages == MOVE_PAGES)
            r = flush_pages(x, e);
        if (r)
            return r;
        index = x->n_seen++;
        x->seen[index] = (struct seen_page){hash, page, x->image};
        for (at = hash & (x->table_size - 1); x->table[at];)
            at = (at + 1) & (x->table_size - 1);
        x->table[at] = index + 1;
        memcpy(x->pages + MOVE_HEADER + (size_t)x->n_pages++ * VT_PAGE_SIZE, data, VT_PAGE_SIZE);
        x->stats.pages++;
    }
    return add_run(x, page, index, e);
}

struct pair {
    struct exporter *x;
    struct image *base, *image;
};

static int differs(void *opaque, const struct image_diff *d, struct err *e)
{
    uint64_t a[VT_PAGE_SIZE / 8] = {0}, b[VT_PAGE_SIZE / 8] = {0};
    struct pair *p = opaque;
    int r = 0;

    if (d->page >= image_pages(p->image))
        return 0;
    if (!d->a_zero)
        r = image_read(p->base, d->page, 1, a, e);
    if (!r && !d->b_zero)
        r = image_read(p->image, d->page, 1, b, e);
    return r || !memcmp(a, b, sizeof a) ? r : put_page(p->x, d->page, b, e);
}

static int put_whole(struct exporter *x, struct image *i, struct err *e)
{
    uint64_t page[VT_PAGE_SIZE / 8];
    bool found = true;
    int r = 0;

    for (uint64_t p = 0; !r; p++) {
        r = image_next_data(i, &p, &found, e);
        if (r || !found)
            break;
        r = image_read(i, p, 1, page, e);
        if (!r && !page_is_zero(page))
            r = put_page(x, p, page, e);
    }
    return r;
}

static int put_image(struct exporter *x, size_t number, struct err *e)
{
    const struct move_image *i = &x->plan.v[number];
    struct pair p = {.x = x};
    int r = open_image(x, number, &p.image, e);

    x->image = number;
    if (!r && i->base >= 0)
        r = open_image(x, (size_t)i->base, &p.base, e);
    if (!r)
        r = p.base ? image_compare(p.base, p.image, differs, &p, e) : put_whole(x, p.image, e);
    if (!r)
        r = end_run(x, e);
    if (!r)
        r = flush_runs(x, MOVE_LAST, e);
    image_close(p.base);
    image_close(p.image);
    return r;
}

static int put_state(struct exporter *x, size_t snap, struct err *e)
{
    uint8_t *data cleanup(cleanup_free) = NULL;
    void *state cleanup(cleanup_free) = NULL;
    struct move_head h = {MOVE_STATE_MAGIC, 0, snap, 0};
    size_t len = 0;
    int r = frames_blob(x->s, (uint64_t)x->states[snap], &state, &len, e);

    if (r)
        return r;
    data = malloc(MOVE_HEADER + len);
    if (!data)
        return out_of_memory(e);
    memcpy(data + MOVE_HEADER, state, len);
    h.count = len;
    return put_numbered(x, "state", &h, data, len, e);
}

/* ---- the first member ---- */

/* Adds the images of a row to the plan; *ret is the JSON of them. */
static int plan_images(struct exporter *x, struct db *db, int64_t snapshot, int64_t head, int owner, int parent,
                       json_t **ret, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    json_t *list cleanup(cleanup_json) = json_array();
    int r = db_query(db, SQL_MOVE_IMAGES, &rows, e, "zz", snapshot, head);

    while (!r && (r = rows_next(&rows, e)) > 0) {
        const char *slot = rows_text(&rows, 0);
        bool quiesced = !rows_null(&rows, 2) && owner != MOVE_HEAD;
        json_t *j;
        if (!slot_known(slot))
            return err_set(e, VT_CORRUPT, "store.db: an image has no known slot (\"%.20s\")", slot);
        j = json_pack("{s:s, s:I}", "slot", slot, "bytes", (json_int_t)rows_int(&rows, 1));
        if (quiesced)
            json_object_set_new(j, "quiesced", json_true());
        if (json_array_append_new(list, j))
            return out_of_memory(e);
        r = move_plan_add(&x->plan, slot, (uint64_t)rows_int(&rows, 1), quiesced, owner, parent, e);
    }
    if (!r)
        *ret = steal(&list);
    return r;
}

/* The number of the snapshot with this row; MOVE_ORIGIN for 0. */
static int number_of(const struct exporter *x, int64_t id)
{
    for (size_t i = x->n_snaps; id && i-- > 0;)
        if (x->snap_ids[i] == id)
            return (int)i;
    return MOVE_ORIGIN;
}

static int plan_snapshot(struct exporter *x, struct db *db, struct rows *row, json_t *list, struct err *e)
{
    json_t *images = NULL, *j;
    int64_t *ids = realloc(x->snap_ids, (x->n_snaps + 1) * sizeof *ids), *states;
    int parent, r;

    x->snap_ids = ids ? ids : x->snap_ids;
    states = realloc(x->states, (x->n_snaps + 1) * sizeof *states);
    x->states = states ? states : x->states;
    if (!ids || !states)
        return out_of_memory(e);
    parent = number_of(x, rows_int(row, 3));
    ids[x->n_snaps] = rows_int(row, 0);
    states[x->n_snaps] = rows_int(row, 10);
    r = plan_images(x, db, ids[x->n_snaps], 0, (int)x->n_snaps, parent, &images, e);
    if (r)
        return r;
    j = json_pack("{s:s, s:s, s:s*, s:I, s:I, s:I, s:s, s:s, s:o}", "uuid", rows_text(row, 1), "name",
                  rows_text(row, 2), "note", rows_text(row, 4), "taken_at", (json_int_t)rows_int(row, 5), "vclock",
                  (json_int_t)rows_int(row, 6), "power", (json_int_t)rows_int(row, 7), "hardware", rows_text(row, 8),
                  "cpu_features", rows_text(row, 9), "images", images);
    if (j && parent >= 0)
        json_object_set_new(j, "parent", json_integer(parent));
    if (j && states[x->n_snaps])
        json_object_set_new(j, "state", json_true());
    x->n_snaps++;
    return j && !json_array_append_new(list, j) ? 0
                                                : err_set(e, VT_CORRUPT, "store.db: a snapshot's text is not UTF-8");
}

static int plan_origin(struct exporter *x, struct db *db, json_t *top, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    json_t *images = NULL;
    int r = db_query(db, SQL_HEAD_FIRST, &rows, e, "i", x->machine);

    if (!r)
        r = rows_next(&rows, e);
    if (r <= 0)
        return r < 0 ? r : err_set(e, VT_CORRUPT, "store.db: what the machine was made from is missing");
    x->origin = rows_int(&rows, 0);
    r = plan_images(x, db, 0, x->origin, MOVE_ORIGIN, MOVE_NONE, &images, e);
    if (!r)
        json_object_set_new(top, "origin", images);
    return r;
}

static int plan_head(struct exporter *x, struct db *db, int64_t head, json_t *top, struct err *e)
{
    int64_t snapshot = x->at ? x->at->snapshot : 0;
    int parent = number_of(x, x->at ? snapshot : x->parent), r;
    json_t *images = NULL, *j;

    if (x->at && parent < 0)
        return err_set(e, VT_NOENT, "the snapshot that the export was to end at is gone");
    r = plan_images(x, db, snapshot, x->at ? 0 : head, MOVE_HEAD, parent, &images, e);
    if (r)
        return r;
    j = json_pack("{s:o}", "images", images);
    if (j && parent >= 0)
        json_object_set_new(j, "parent", json_integer(parent));
    return j && !json_object_set_new(top, "head", j) ? 0 : out_of_memory(e);
}

static int plan_rows(struct exporter *x, struct db *db, json_t *top, struct err *e)
{
    struct rows machine cleanup(rows_done) = {0}, snaps cleanup(rows_done) = {0};
    json_t *list = json_array();
    int r = db_query(db, SQL_MOVE_MACHINE, &machine, e, "i", x->machine);

    json_object_set_new(top, "format", json_integer(MOVE_FORMAT));
    json_object_set_new(top, "snapshots", list);
    if (!r)
        r = rows_next(&machine, e);
    if (r <= 0)
        return r < 0 ? r : err_set(e, VT_NOENT, "no such machine (it was removed)");
    if (json_object_set_new(top, "machine",
                            json_pack("{s:s, s:s, s:s, s:I}", "uuid", rows_text(&machine, 0), "name",
                                      rows_text(&machine, 1), "config", x->at ? x->at->config : rows_text(&machine, 2),
                                      "created_at", (json_int_t)rows_int(&machine, 3))))
        return err_set(e, VT_CORRUPT, "store.db: the machine's configuration is not UTF-8");
    x->head = rows_int(&machine, 4);
    x->parent = rows_int(&machine, 5);
    r = plan_origin(x, db, top, e);
    if (!r)
        r = db_query(db, SQL_MOVE_SNAPS, &snaps, e, "i", x->machine);
    while (!r && (r = rows_next(&snaps, e)) > 0)
        r = plan_snapshot(x, db, &snaps, list, e);
    return r ? r : plan_head(x, db, x->head, top, e);
}

static int put_json(struct exporter *x, const char *name, const json_t *j, struct err *e)
{
    char *text cleanup(cleanup_free) = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

    if (!text)
        return out_of_memory(e);
    if (strlen(text) > MOVE_MEMBER_MAX)
        return err_set(e, VT_FAIL, "the machine has too many snapshots to be exported");
    return put_member(x, name, text, strlen(text), e);
}

static int put_machine(struct exporter *x, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    json_t *top cleanup(cleanup_json) = json_object();
    int r = db_get(x->s, &db, e);

    if (!r)
        r = db_begin_read(db, e);
    if (!r)
        r = plan_rows(x, db, top, e);
    return r ? r : put_json(x, "machine.json", top, e);
}

static int put_end(struct exporter *x, struct err *e)
{
    json_t *j cleanup(cleanup_json) = NULL;
    char sum[33];

    move_sum_text(x->sum, sum);
    j = json_pack("{s:I, s:I, s:s}", "members", (json_int_t)x->members, "pages", (json_int_t)x->n_seen, "sum", sum);
    return put_json(x, "end.json", j, e);
}

static void release(struct exporter *x)
{
    for (size_t i = 0; i < OPEN_IMAGES; i++)
        image_close(x->kept[i].image);
    move_plan_release(&x->plan);
    move_sum_free(x->sum);
    free(x->snap_ids);
    free(x->states);
    free(x->seen);
    free(x->table);
    free(x->pages);
    free(x->runs);
}

/* The root of an image of the plan, as its row has it. */
static int visit_root(struct exporter *x, struct db *db, size_t number, const struct move_visit *v, struct err *e)
{
    const struct move_image *i = &x->plan.v[number];
    struct rows rows cleanup(rows_done) = {0};
    int64_t snapshot = i->owner >= 0 ? x->snap_ids[i->owner] : 0;
    int64_t head = i->owner == MOVE_HEAD ? x->head : i->owner == MOVE_ORIGIN ? x->origin : 0;
    uint64_t root;
    int r = db_query(db, SQL_IMAGE_GET, &rows, e, "zzt", snapshot, head, i->slot);

    if (!r)
        r = rows_next(&rows, e);
    if (r <= 0)
        return r < 0 ? r : err_set(e, VT_CORRUPT, "store.db: an image is missing");
    root = (uint64_t)rows_int(&rows, i->quiesced ? 2 : 1);
    rows_done(&rows);
    return v->root(v->opaque, number, root, e);
}

int move_visit(struct store *s, int64_t machine, const struct move_visit *v, struct err *e)
{
    struct exporter x = {.s = s, .machine = machine, .put = v->put, .opaque = v->opaque, .sum = move_sum_new()};
    struct db *db cleanup(cleanup_db) = NULL;
    int r = x.sum ? put_machine(&x, e) : out_of_memory(e);

    if (!r)
        r = db_get(s, &db, e);
    for (size_t i = 0; i < x.plan.n && !r; i++)
        r = visit_root(&x, db, i, v, e);
    for (size_t i = 0; i < x.n_snaps && !r; i++) {
        void *state cleanup(cleanup_free) = NULL;
        size_t len = 0;
        if (!x.states[i])
            continue;
        r = frames_blob(s, (uint64_t)x.states[i], &state, &len, e);
        if (!r)
            r = v->state(v->opaque, i, state, len, e);
    }
    release(&x);
    return r;
}

int machine_export(struct store *s, int64_t machine, const struct move_at *at, move_put_fn *put, void *opaque,
                   struct move_stats *ret, struct err *e)
{
    struct exporter x = {.s = s, .at = at, .machine = machine, .put = put, .opaque = opaque, .sum = move_sum_new()};
    int r;

    x.pages = malloc(MOVE_HEADER + MOVE_PAGES * VT_PAGE_SIZE);
    x.runs = malloc(MOVE_HEADER + MOVE_RUNS * MOVE_RUN);
    r = x.pages && x.runs && x.sum ? put_machine(&x, e) : out_of_memory(e);
    for (size_t i = 0; i < x.plan.n && !r; i++)
        r = put_image(&x, i, e);
    for (size_t i = 0; i < x.n_snaps && !r; i++)
        r = x.states[i] ? put_state(&x, i, e) : 0;
    if (!r)
        r = put_end(&x, e);
    x.stats.snapshots = x.n_snaps;
    x.stats.images = x.plan.n;
    if (!r && ret)
        *ret = x.stats;
    release(&x);
    return r;
}
