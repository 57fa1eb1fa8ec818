/* Proves the store: rows refer to rows that are there, maps to nodes and frames that are there, files have what rows
 * say, and, when deep, every page in them matches its hash. Also how pages that no map reaches stay findable: the
 * trailer of each pack says the same as the frame table. */
#include "snapshot/store.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "src/base/units.h"
#include "src/base/util.h"
#include "snapshot/frames.h"
#include "snapshot/head.h"
#include "snapshot/lock.h"
#include "snapshot/map.h"

struct check {
    struct store *s;
    bool deep;
    void (*report)(void *opaque, const char *line);
    void *opaque;
    struct store_report *out;
    struct pageidx nodes, frames; /* seen already; frames: slot holds the number of pages */
};

static void problem(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void problem(struct check *c, const char *fmt, ...)
{
    char line[1200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    c->out->problems++;
    if (c->report)
        c->report(c->opaque, line);
}

static int mark(struct pageidx *x, uint64_t num, uint32_t value, bool *ret_new, struct err *e)
{
    *ret_new = !pageidx_find(x, num);
    return !*ret_new || pageidx_set(x, num, NULL, value) ? 0 : err_set(e, VT_FAIL, "out of memory");
}

/* Failures of the host end the check; what the store has wrong is reported. */
static int judge(struct check *c, const char *who, int r, const struct err *mine, struct err *e)
{
    if (r != VT_CORRUPT && r != VT_NOENT)
        return r ? err_set(e, r, "%s", mine->msg) : 0;
    problem(c, "%s: %s", who, mine->msg);
    return 0;
}

static int check_node(struct check *c, uint64_t id, int level, const char *who, struct err *e)
{
    struct err mine = {0};
    struct node *n;
    bool fresh;
    int r = mark(&c->nodes, id, 0, &fresh, e);

    if (r || !fresh)
        return r;
    r = node_get(c->s, id, &n, &mine);
    if (r)
        return judge(c, who, r, &mine, e);
    c->out->nodes++;
    if (level >= 0 && (int)n->level != level)
        problem(c, "%s: map node %" PRIu64 " is not at the level where it hangs", who, id);
    for (unsigned i = 0; i < MAP_FANOUT && !REF_STORE(id) && !r; i++) { /* a base is proved by a check of its own */
        uint64_t entry = n->e[i];
        if (entry_kind(entry) == ENTRY_NODE) {
            r = check_node(c, entry_ref(entry), (int)n->level - 1, who, e);
        } else if (entry_kind(entry) == ENTRY_FRAME && !entry_store(entry)) {
            struct loc *f = pageidx_find(&c->frames, entry_num(entry));
            if (!f || entry_page(entry) >= f->slot)
                problem(c, "%s: map node %" PRIu64 " names page %u of frame %" PRIu64 ", which is missing", who, id,
                        entry_page(entry), entry_num(entry));
        }
    }
    node_put(c->s, n);
    return r;
}

static int check_root(struct check *c, uint64_t root, const char *who, struct err *e)
{
    struct err mine = {0};
    struct node *n;
    int r = root_get(c->s, root, &n, &mine);

    if (r)
        return judge(c, who, r, &mine, e);
    node_put(c->s, n);
    return check_node(c, entry_ref(root), -1, who, e);
}

static int check_roots(struct check *c, struct db *db, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_ROOTS, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0) {
        char who[160];
        snprintf(who, sizeof who, "%s %s", rows_text(&rows, 0), rows_text(&rows, 1));
        c->out->images++;
        r = 0;
        for (int col = 2; col <= 3 && !r; col++) {
            uint64_t root = (uint64_t)rows_int(&rows, col);
            if (entry_kind(root) == ENTRY_NODE)
                r = check_root(c, root, who, e);
            else if (entry_kind(root) > ENTRY_NODE || entry_kind(root) == ENTRY_FRAME)
                problem(c, "%s: %016" PRIx64 " is no root of a map", who, root);
        }
        if (!r && !rows_null(&rows, 4) && !pageidx_find(&c->frames, (uint64_t)rows_int(&rows, 4)))
            problem(c, "%s: its device state, frame %" PRId64 ", is missing", who, rows_int(&rows, 4));
    }
    return r;
}

static int check_frame(struct check *c, uint64_t num, const struct frame_ref *ref, struct err *e)
{
    void *raw cleanup(cleanup_free) = NULL;
    struct err mine = {0};
    bool fresh;
    int r = mark(&c->frames, num, ref->pages, &fresh, e);

    c->out->frames++;
    c->out->pages += ref->pages;
    if (r || !c->deep)
        return r;
    r = frames_load(c->s, ref, &raw, &mine);
    return judge(c, "data", r, &mine, e);
}

static int check_frames(struct check *c, struct db *db, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_FRAME_ALL, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0) {
        struct frame_ref ref = {rows_int(&rows, 1), (uint64_t)rows_int(&rows, 2), (uint32_t)rows_int(&rows, 3),
                                (uint32_t)rows_int(&rows, 4), (uint32_t)rows_int(&rows, 5)};
        r = check_frame(c, (uint64_t)rows_int(&rows, 0), &ref, e);
    }
    return r;
}

struct trailer_check {
    struct check *c;
    int64_t pack, first;
    uint64_t seen;
};

static int trailer_frame(void *opaque, uint64_t index, const struct trailer_frame *f)
{
    struct trailer_check *t = opaque;
    uint64_t num = f->num ? f->num : (uint64_t)t->first + index;

    t->seen++;
    if (!pageidx_find(&t->c->frames, num))
        problem(t->c, "pack %" PRId64 ": frame %" PRIu64 " of its trailer is not in the database", t->pack, num);
    return 0;
}

static int check_packs(struct check *c, struct db *db, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_PACK_LIST, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0) {
        struct trailer_check t = {c, rows_int(&rows, 0), rows_int(&rows, 2), 0};
        struct err mine = {0};
        c->out->packs++;
        c->out->pack_bytes += (uint64_t)rows_int(&rows, 1);
        r = pack_trailer(c->s, t.pack, trailer_frame, &t, &mine);
        if (!r && t.seen != (uint64_t)rows_int(&rows, 3))
            problem(c, "pack %" PRId64 ": has %" PRIu64 " frames, not %" PRId64, t.pack, t.seen, rows_int(&rows, 3));
        r = judge(c, "data", r, &mine, e);
    }
    return r;
}

static int check_disk(struct check *c, int64_t machine, const char *slot, struct err *e)
{
    struct image *image = NULL;
    uint8_t page[VT_PAGE_SIZE];
    bool found = true;
    int r = image_open_flushed(c->s, machine, slot, &image, e);

    for (uint64_t p = 0; !r && c->deep && found; p++) {
        r = image_next_own(image, &p, &found, e);
        if (!r && found)
            r = image_read(image, p, 1, page, e);
    }
    image_close(image);
    return r;
}

/* May a head be looked at still? Not where another process removed its machine, or runs it, by now. */
static bool at_rest(struct check *c, int64_t machine)
{
    struct machine_info m;
    bool locked = false;
    int r = machine_get(c->s, machine, &m, NULL);

    if (!r)
        machine_info_release(&m);
    return r != VT_NOENT && (machine_locked(c->s, machine, &locked, NULL) || !locked);
}

/* The head of a machine: its logs replay, and when deep its pages verify. One that is being written is left alone; one
 * that was, for a moment, while we looked is looked at again. */
static int check_head(struct check *c, int64_t machine, const char *name, struct err *e)
{
    struct slot_info *slots = NULL;
    struct err mine = {0};
    size_t n = 0;
    int r = slots_list(c->s, machine, 0, &slots, &n, &mine);

    if (r) /* it may have been removed since it was listed */
        return r == VT_NOENT ? 0 : err_set(e, r, "%s", mine.msg);
    for (size_t i = 0; i < n && !r; i++) {
        if (disk_index(slots[i].slot) < 0)
            continue;
        c->out->logs++;
        r = check_disk(c, machine, slots[i].slot, &mine);
        for (int again = 0; r && again < 2 && at_rest(c, machine); again++) {
            mine = (struct err){0};
            r = check_disk(c, machine, slots[i].slot, &mine);
        }
        r = r && !at_rest(c, machine) ? 0 : judge(c, name, r, &mine, e);
    }
    slots_list_free(slots, n);
    return r;
}

static int check_machines(struct check *c, struct err *e)
{
    struct machine_info *list = NULL;
    size_t n = 0;
    int r = machine_list(c->s, &list, &n, e);

    for (size_t i = 0; i < n && !r; i++) {
        bool locked = false;
        c->out->machines++;
        c->out->snapshots += list[i].snapshots;
        r = machine_locked(c->s, list[i].id, &locked, e);
        if (!r && !locked)
            r = check_head(c, list[i].id, list[i].name, e);
    }
    machine_list_free(list, n);
    return r;
}

/* A head that is kept for undo, and for going back to. */
struct kept {
    int64_t id, machine;
    char *logs;
};

static bool is_kept_still(struct check *c, const struct kept *k)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};

    return db_get(c->s, &db, NULL) || db_query(db, SQL_HEAD_ROW, &rows, NULL, "i", k->id) || rows_next(&rows, NULL);
}

/* Its logs replay. Those of a machine that runs may be written to just now. */
static int check_kept(struct check *c, const struct kept *k, struct err *e)
{
    char slot[STORE_DISKS_MAX][8] = {""};
    size_t n = 0;
    int r;
    {
        struct db *db cleanup(cleanup_db) = NULL;
        struct rows rows cleanup(rows_done) = {0};
        r = db_get(c->s, &db, e);
        if (!r)
            r = db_query(db, SQL_IMAGE_LIST, &rows, e, "zz", (int64_t)0, k->id);
        while (!r && (r = rows_next(&rows, e)) > 0) {
            if (disk_index(rows_text(&rows, 0)) >= 0 && n < STORE_DISKS_MAX)
                snprintf(slot[n++], sizeof slot[0], "%s", rows_text(&rows, 0));
            r = 0;
        }
    }
    for (size_t i = 0; i < n && !r; i++) {
        struct err mine = {0};
        struct image *image = NULL;
        char who[80];
        r = image_open_logs(c->s, k->id, k->logs, slot[i], NULL, &image, &mine);
        image_close(image);
        snprintf(who, sizeof who, "head %" PRId64 ", kept for undo, %s", k->id, slot[i]);
        r = r && (!at_rest(c, k->machine) || !is_kept_still(c, k)) ? 0 : judge(c, who, r, &mine, e);
    }
    return r;
}

static int check_all_kept(struct check *c, struct err *e)
{
    struct kept *v = NULL;
    size_t n = 0;
    bool oom = false;
    int r;
    {
        struct db *db cleanup(cleanup_db) = NULL;
        struct rows rows cleanup(rows_done) = {0};
        r = db_get(c->s, &db, e);
        if (!r)
            r = db_query(db, SQL_HEAD_KEPT, &rows, e, "");
        while (!r && (r = rows_next(&rows, e)) > 0) {
            struct kept *more = realloc(v, (n + 1) * sizeof *v);
            v = more ? more : v;
            if (more)
                v[n++] = (struct kept){rows_int(&rows, 0), rows_int(&rows, 1), rows_dup(&rows, 3, &oom)};
            r = !more || oom ? err_set(e, VT_FAIL, "out of memory") : 0;
        }
    }
    for (size_t i = 0; i < n && !r; i++)
        if (at_rest(c, v[i].machine))
            r = check_kept(c, &v[i], e);
    for (size_t i = 0; i < n; i++)
        free(v[i].logs);
    free(v);
    return r;
}

static int check_lines(struct check *c, struct db *db, enum sql q, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, q, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0) {
        if (strcmp(rows_text(&rows, 0), "ok"))
            problem(c, "store.db: %s", rows_text(&rows, 0));
        r = 0;
    }
    return r;
}

int store_check(struct store *s, bool deep, void (*report)(void *opaque, const char *line), void *opaque,
                struct store_report *ret, struct err *e)
{
    struct store_report out = {0};
    struct check c = {.s = s, .deep = deep, .report = report, .opaque = opaque, .out = &out};
    struct db *db cleanup(cleanup_db) = NULL;
    int fd cleanup(cleanup_close) = -1, r = s->sealed ? 0 : lock_open(s, &fd, e);

    if (!r && !s->sealed) /* machines run on meanwhile; only gc waits */
        r = lock_byte(fd, LOCK_WRITERS, LOCK_SHARED, true, e);
    if (!r)
        r = db_get(s, &db, e);
    lru_drop_unused(&s->nodes); /* what is in memory proves nothing of what is on disk */
    lru_drop_unused(&s->frames);
    if (!r)
        r = db_begin_read(db, e);
    if (!r && s->lost)
        problem(&c, "store.db: its last %" PRIu64 " commits are missing, which were durable", s->lost);
    if (!r)
        r = check_lines(&c, db, SQL_INTEGRITY, e);
    if (!r)
        r = check_lines(&c, db, SQL_PARENTS_CHECK, e);
    if (!r)
        r = check_frames(&c, db, e);
    if (!r)
        r = check_packs(&c, db, e);
    if (!r)
        r = check_roots(&c, db, e);
    cleanup_db(&db);
    db = NULL;
    if (!r)
        r = check_machines(&c, e);
    if (!r)
        r = check_all_kept(&c, e);
    pageidx_release(&c.nodes);
    pageidx_release(&c.frames);
    if (!r)
        *ret = out;
    return r;
}
