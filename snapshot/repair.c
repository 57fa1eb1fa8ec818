/* What can be made good again, because the same is said twice: rows of frames stand in the trailers of packs as well,
 * SQLite's indexes follow from its tables, a parent from the one above it. And what a killed process left, which is no
 * damage: files that nothing names, ends of logs that were never flushed. Nothing that cannot be proved is invented. */
#include "snapshot/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "src/base/util.h"
#include "snapshot/format.h"
#include "snapshot/frames.h"
#include "snapshot/head.h"
#include "snapshot/lock.h"
#include "snapshot/mark.h"

struct repair {
    struct store *s;
    struct db *db;
    void (*report)(void *opaque, const char *line);
    void *opaque;
    uint64_t done;
};

static void did(struct repair *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void did(struct repair *p, const char *fmt, ...)
{
    char line[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    p->done++;
    if (p->report)
        p->report(p->opaque, line);
}

/* ---- rows */

/* From now on the database is what is left of it. */
static int forget_lost(struct repair *p, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    struct db *db cleanup(cleanup_db) = NULL;
    int r = db_get(p->s, &db, e);

    if (!r)
        r = db_query(db, SQL_STORE_GET, &rows, e, "");
    if (!r)
        r = rows_next(&rows, e);
    if (r > 0)
        r = mark_back(p->s, (uint64_t)rows_int(&rows, 2), e);
    if (r)
        return r;
    did(p, "store.db: gave up its last %" PRIu64 " commits, which are missing", p->s->lost);
    p->s->lost = 0;
    return 0;
}

static int reindex(struct repair *p, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    bool sound = true;
    int r = db_query(p->db, SQL_INTEGRITY, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0) {
        sound = sound && !strcmp(rows_text(&rows, 0), "ok");
        r = 0;
    }
    rows_done(&rows);
    if (r || sound)
        return r;
    r = db_run(p->db, SQL_REINDEX, e, "");
    if (!r)
        did(p, "store.db: made its indexes anew");
    return r;
}

struct lost {
    struct repair *p;
    int64_t pack, first;
    struct err *e;
    uint64_t added;
};

/* What its header says when unpacked, which the trailer does not. */
static int raw_len(struct lost *l, const struct frame_ref *ref, uint32_t *ret)
{
    uint8_t head[FRAME_HEADER];
    struct pack_file *f;
    int r = pack_open(l->p->s, l->pack, &f, NULL);

    if (r)
        return r;
    r = sio_pread(pack_sfile(f), head, sizeof head, ref->off, NULL);
    pack_close(l->p->s, f);
    *ret = get32(head + 8);
    return r;
}

static int find_lost(void *opaque, uint64_t index, const struct trailer_frame *f)
{
    struct lost *l = opaque;
    struct rows rows cleanup(rows_done) = {0};
    int64_t num = f->num ? (int64_t)f->num : l->first + (int64_t)index;
    struct frame_ref ref = f->ref;
    void *raw cleanup(cleanup_free) = NULL;
    int r = db_query(l->p->db, SQL_FRAME_GET, &rows, l->e, "i", num);

    if (!r)
        r = rows_next(&rows, l->e);
    if (r)
        return r < 0 ? r : 0;
    if (raw_len(l, &ref, &ref.raw_len) || frames_load(l->p->s, &ref, &raw, NULL)) /* check has said what is wrong */
        return 0;
    r = db_run(l->p->db, SQL_FRAME_NEW, l->e, "iiiiii", num, ref.pack, (int64_t)ref.off, (int64_t)ref.len,
               (int64_t)ref.pages, (int64_t)ref.raw_len);
    l->added += !r;
    return r;
}

static int find_frames(struct repair *p, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(p->db, SQL_PACK_LIST, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0) {
        struct lost l = {p, rows_int(&rows, 0), rows_int(&rows, 2), e, 0};
        struct err mine = {0};
        r = pack_trailer(p->s, l.pack, find_lost, &l, &mine);
        if (l.added)
            did(p, "packs/%" PRId64 ".pack: entered %" PRIu64 " of its frames into the database again", l.pack,
                l.added);
        if (r == VT_CORRUPT || r == VT_NOENT) /* not its rows' fault */
            r = 0;
        else if (r && e && !e->code)
            *e = mine;
    }
    return r;
}

static int mend_rows(struct repair *p, struct err *e)
{
    static const struct {
        enum sql q;
        const char *what;
    } mends[] = {
        {SQL_MEND_PARENTS, "store.db: hung snapshots below deleted ones on what is above those"},
        {SQL_MEND_HEADS, "store.db: hung heads on deleted snapshots on what is above those"},
        {SQL_MEND_COUNTERS, "store.db: set the next numbers past those that are in use"},
    };
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(mends) && !r; i++) {
        int changed = 1;
        for (int round = 0; round < 1000 && changed && !r; round++) { /* a row at a time goes up by one */
            r = db_run(p->db, mends[i].q, e, "");
            changed = r ? 0 : db_changes(p->db);
            if (changed && !round)
                did(p, "%s", mends[i].what);
        }
    }
    return r;
}

static int mend_database(struct repair *p, struct err *e)
{
    int r = db_get(p->s, &p->db, e);

    if (!r)
        r = db_begin(p->db, DB_FULL, e);
    if (!r)
        r = reindex(p, e);
    if (!r)
        r = find_frames(p, e);
    if (!r)
        r = mend_rows(p, e);
    if (!r)
        r = db_commit(p->db, e);
    db_put(p->db);
    p->db = NULL;
    return r;
}

/* ---- files */

struct names_of {
    char (*v)[40];
    size_t n;
};

static int list(struct store *s, const char *folder, struct names_of *ret, struct err *e)
{
    int fd = openat(s->io.dirfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *f;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return err_set(e, err_from_errno(errno), "%s/%s: %m", s->dir, folder);
    }
    while (!r && (f = readdir(d))) {
        char(*more)[40];
        if (f->d_name[0] == '.')
            continue;
        more = realloc(ret->v, (ret->n + 1) * sizeof *more);
        if (!more) {
            r = err_set(e, VT_FAIL, "out of memory");
            continue;
        }
        ret->v = more;
        snprintf(ret->v[ret->n++], sizeof *ret->v, "%s/%.30s", folder, f->d_name);
    }
    closedir(d);
    return r;
}

static int sweep(struct repair *p, struct err *e)
{
    struct names_of was = {0};
    int r = list(p->s, "packs", &was, e);

    if (!r)
        r = list(p->s, "heads", &was, e);
    if (!r)
        r = store_maintain(p->s, e);
    for (size_t i = 0; i < was.n && !r; i++)
        if (faccessat(p->s->io.dirfd, was.v[i], F_OK, 0))
            did(p, "%s: removed, since nothing needs it", was.v[i]);
    free(was.v);
    return r;
}

struct sizes {
    struct repair *p;
    struct err *e;
    struct {
        int64_t id;
        uint64_t size;
    } v[64];
    size_t n;
};

static int note_size(void *opaque, int64_t id, bool solid)
{
    struct sizes *z = opaque;
    struct stat st;
    char path[40];

    hlog_path(id, path);
    if (z->n < ARRAY_LEN(z->v) && !fstatat(z->p->s->io.dirfd, path, &st, 0)) {
        z->v[z->n].id = id;
        z->v[z->n++].size = (uint64_t)st.st_size;
    }
    return 0;
}

static int head_sizes(struct sizes *z, int64_t machine, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = db_get(z->p->s, &db, e);

    if (!r)
        r = db_query(db, SQL_HEAD_GET, &rows, e, "i", machine);
    if (!r)
        r = rows_next(&rows, e);
    return r > 0 ? logs_each(rows_text(&rows, 2), note_size, z, e) : r;
}

/* Opening a head cuts what a killed writer left half done. One that runs looks after itself. */
static int cut_tails(struct repair *p, const struct machine_info *m, struct err *e)
{
    struct sizes z = {.p = p, .e = e};
    int lock cleanup(cleanup_close) = -1;
    struct head *h = NULL;
    int r = machine_lock(p->s, m->id, &lock, NULL);

    if (r)
        return 0;
    r = head_sizes(&z, m->id, e);
    if (!r && head_open(p->s, m->id, 0, &h, NULL) == 0) /* where that fails, check says why */
        r = head_close(h, e);
    for (size_t i = 0; i < z.n && !r; i++) {
        struct stat st;
        char path[40];
        hlog_path(z.v[i].id, path);
        if (!fstatat(p->s->io.dirfd, path, &st, 0) && (uint64_t)st.st_size < z.v[i].size)
            did(p, "%s: cut %" PRIu64 " bytes of a torn end, which were never flushed", path,
                z.v[i].size - (uint64_t)st.st_size);
    }
    return r;
}

int store_repair(struct store *s, void (*report)(void *opaque, const char *line), void *opaque, uint64_t *ret_done,
                 struct err *e)
{
    struct repair p = {.s = s, .report = report, .opaque = opaque};
    struct machine_info *list = NULL;
    size_t n = 0;
    int fd cleanup(cleanup_close) = -1, r = lock_open(s, &fd, e);

    if (!r)
        r = lock_byte(fd, LOCK_WRITERS, LOCK_EXCLUSIVE, false, e);
    if (r)
        return err_prefix(e, r, "%s: a snapshot is being written", s->dir);
    if (s->lost)
        r = forget_lost(&p, e);
    if (!r)
        r = mend_database(&p, e);
    close(steal_fd(&fd)); /* gc wants it */
    if (!r)
        r = machine_list(s, &list, &n, e);
    for (size_t i = 0; i < n && !r; i++)
        r = cut_tails(&p, &list[i], e);
    machine_list_free(list, n);
    if (!r)
        r = sweep(&p, e);
    if (!r)
        *ret_done = p.done;
    return r;
}

/* ---- all that can be read */

struct look {
    struct store *s;
    void (*report)(void *opaque, const char *line);
    void *opaque;
    struct store_report *out;
};

static void trouble(struct look *l, const char *who, const char *slot, const struct err *why)
{
    char line[1200];

    snprintf(line, sizeof line, "%s %s: %s", who, slot, why->msg);
    l->out->problems++;
    if (l->report)
        l->report(l->opaque, line);
}

/* Every page that is not known to be zero, as a restore would read it. */
static int read_image(struct image *i, struct store_report *out, struct err *e)
{
    uint8_t buf[16 * VT_PAGE_SIZE];
    bool found = true;
    int r = 0;

    for (uint64_t p = 0; !r; p += 16) {
        r = image_next_data(i, &p, &found, e);
        if (r || !found)
            break;
        out->pages += MIN((uint64_t)16, image_pages(i) - p);
        r = image_read(i, p, (uint32_t)MIN((uint64_t)16, image_pages(i) - p), buf, e);
    }
    return r;
}

static int look_at(struct look *l, const struct snapshot_info *snap, const char *who, struct err *e)
{
    struct slot_info *slots = NULL;
    size_t n = 0;
    int r = slots_list(l->s, snap->machine, snap->id, &slots, &n, e);

    for (size_t i = 0; i < n && !r; i++)
        for (int root = ROOT_LIVE; root <= ROOT_QUIESCED && !r; root++) { /* often the same: told once */
            struct image *image = NULL;
            struct err why = {0};
            r = image_open(l->s, snap->id, slots[i].slot, (enum root)root, &image, &why);
            if (!r)
                r = read_image(image, l->out, &why);
            image_close(image);
            l->out->images++;
            if (r == VT_CORRUPT || r == VT_NOENT) {
                trouble(l, who, slots[i].slot, &why);
                r = 0;
                break;
            }
            if (r)
                err_set(e, r, "%s", why.msg);
        }
    slots_list_free(slots, n);
    return r;
}

int store_check_images(struct store *s, void (*report)(void *opaque, const char *line), void *opaque,
                       struct store_report *ret, struct err *e)
{
    struct store_report out = {0};
    struct look l = {s, report, opaque, &out};
    struct machine_info *machines = NULL;
    size_t n = 0;
    int r = machine_list(s, &machines, &n, e);

    for (size_t i = 0; i < n && !r; i++) {
        struct snapshot_info *snaps = NULL;
        size_t count = 0;
        r = snapshot_list(s, machines[i].id, &snaps, &count, e);
        out.machines++;
        for (size_t k = 0; k < count && !r; k++) {
            struct err why = {0};
            void *state cleanup(cleanup_free) = NULL;
            char who[160];
            size_t len = 0;
            snprintf(who, sizeof who, "%s@%s", machines[i].name, snaps[k].name);
            out.snapshots++;
            if (snapshot_state(s, snaps[k].id, &state, &len, &why))
                trouble(&l, who, "device state", &why);
            r = look_at(&l, &snaps[k], who, e);
        }
        snapshot_list_free(snaps, count);
    }
    machine_list_free(machines, n);
    if (!r)
        *ret = out;
    return r;
}
