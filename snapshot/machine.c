/* Machines as rows, and their first images. */
#include "snapshot/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include "src/base/io.h"
#include "src/base/units.h"
#include "snapshot/ballast.h"
#include "snapshot/basefile.h"
#include "snapshot/head.h"
#include "snapshot/intake.h"
#include "snapshot/lock.h"
#include "snapshot/map.h"
#include "snapshot/names.h"
#include "snapshot/undo.h"

#define CHUNK (1u << 20)

void machine_info_release(struct machine_info *m)
{
    free(m->name);
    free(m->uuid);
    free(m->config);
    free(m->parent_name);
    *m = (struct machine_info){0};
}

void machine_list_free(struct machine_info *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        machine_info_release(&list[i]);
    free(list);
}

static int list(struct store *s, int64_t id, struct machine_info **ret, size_t *ret_n, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    struct machine_info *v = NULL, *more;
    bool oom = false;
    size_t n = 0;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_MACHINE_LIST, &rows, e, "z", id);
    while (!r && (r = rows_next(&rows, e)) > 0) {
        more = realloc(v, (n + 1) * sizeof *v);
        v = more ? more : v;
        if (more)
            v[n++] = (struct machine_info){
                .id = rows_int(&rows, 0),
                .name = rows_dup(&rows, 1, &oom),
                .uuid = rows_dup(&rows, 2, &oom),
                .config = rows_dup(&rows, 3, &oom),
                .parent = rows_int(&rows, 4),
                .parent_name = rows_dup(&rows, 5, &oom),
                .created_at = rows_int(&rows, 6),
                .snapshots = (uint64_t)rows_int(&rows, 7),
                .own_bytes = (uint64_t)rows_int(&rows, 8),
            };
        r = !more || oom ? err_set(e, VT_FAIL, "out of memory") : 0;
    }
    if (r) {
        machine_list_free(v, n);
        return r;
    }
    *ret = v;
    *ret_n = n;
    return 0;
}

int machine_list(struct store *s, struct machine_info **ret, size_t *ret_n, struct err *e)
{
    return list(s, 0, ret, ret_n, e);
}

int machine_get(struct store *s, int64_t id, struct machine_info *ret, struct err *e)
{
    struct machine_info *v;
    size_t n;
    int r = id ? list(s, id, &v, &n, e) : err_set(e, VT_NOENT, "no such machine");

    if (r)
        return r;
    if (!n)
        return err_set(e, VT_NOENT, "no such machine (it was removed)");
    *ret = v[0];
    free(v);
    return 0;
}

int machine_find(struct store *s, const char *word, bool exact, int64_t *ret_id, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    struct names names cleanup(names_release) = {0};
    const struct named *found = NULL;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_MACHINE_NAMES, &rows, e, "");
    while (!r && (r = rows_next(&rows, e)) > 0)
        r = names_add(&names, rows_int(&rows, 0), rows_text(&rows, 1), 0, e);
    if (!r)
        r = names_resolve(&names, word, strlen(word), exact, "", "machine", &found, e);
    if (!r)
        *ret_id = found->id;
    return r;
}

static int change(struct store *s, int64_t id, enum sql q, const char *text, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct err mine = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (r)
        return r;
    r = db_run(db, q, &mine, "ti", text, id);
    if (r)
        return r == VT_EXISTS ? err_set(e, r, "%s: there is a machine of this name already", text)
                              : err_set(e, r, "%s", mine.msg);
    if (!db_changes(db))
        return err_set(e, VT_NOENT, "no such machine (it was removed)");
    return db_commit(db, e);
}

int machine_set_config(struct store *s, int64_t id, const char *config, struct err *e)
{
    return change(s, id, SQL_MACHINE_CONFIG, config, e);
}

int machine_rename(struct store *s, int64_t id, const char *name, struct err *e)
{
    int r = names_check("machine", name, e);
    return r ? r : change(s, id, SQL_MACHINE_NAME, name, e);
}

/* ---- first images ---- */

/* An image of a new machine, on its way. */
struct first {
    const struct slot_spec *spec;
    uint64_t bytes, root;
    char *base_json;
    struct mapw *map; /* of what is copied in; NULL: nothing is */
};

static void first_release(struct first *f)
{
    free(f->base_json);
    mapw_free(f->map);
}

static int fd_size(int fd, uint64_t *ret, struct err *e)
{
    struct stat st;

    if (fstat(fd, &st))
        return err_set(e, VT_IO, "the image to copy: %m");
    *ret = (uint64_t)st.st_size;
    if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, ret))
        return err_set(e, VT_IO, "the image to copy: %m");
    return S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)
               ? 0
               : err_set(e, VT_USAGE, "the image to copy is neither a file nor a block device");
}

/* Checks a spec, and finds out how large the image is and what it is made from. */
static int plan(const struct slot_spec *spec, struct first *f, uint64_t *ret_import, struct err *e)
{
    bool disk = disk_index(spec->slot) >= 0;
    uint64_t have = 0;
    int r = 0;

    *f = (struct first){.spec = spec, .root = ENTRY_ZERO_WORD};
    *ret_import = 0;
    if (!slot_known(spec->slot))
        return err_set(e, VT_USAGE, "\"%s\" is no slot of a machine", spec->slot);
    if (spec->base_path) {
        r = basefile_describe(spec->base_path, &f->base_json, &have, e);
        f->root = 0; /* all holes */
    } else if (spec->import) {
        *ret_import = have = spec->import->size;
    } else if (spec->import_fd >= 0) {
        r = fd_size(spec->import_fd, &have, e);
        *ret_import = have;
    }
    if (r)
        return r;
    f->bytes = spec->bytes ? spec->bytes : ALIGN_UP(have, (uint64_t)512);
    if (have > f->bytes)
        return err_set(e, VT_USAGE, "%s: %" PRIu64 " bytes are less than the %" PRIu64 " of what it is made from",
                       spec->slot, f->bytes, have);
    if (!f->bytes || f->bytes % (disk ? 512 : VT_PAGE_SIZE) || f->bytes > UINT64_C(1) << 56)
        return err_set(e, VT_USAGE, "%s: %" PRIu64 " bytes are no size for it", spec->slot, f->bytes);
    return 0;
}

struct progress {
    void (*fn)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
    uint64_t done, total;
};

/* Reads up to CHUNK bytes at off; for a file it first skips holes. *ret_len 0: the end. */
static int read_chunk(const struct slot_spec *spec, uint64_t size, uint64_t *off, void *buf, size_t *ret_len,
                      struct err *e)
{
    *ret_len = 0;
    if (!spec->import) {
        off_t data = lseek(spec->import_fd, (off_t)*off, SEEK_DATA);
        if (data < 0 && errno == ENXIO) /* only a hole is left */
            *off = size;
        else if (data > (off_t)*off) /* no data, or a file system that knows no holes: read on */
            *off = (uint64_t)data & ~(uint64_t)(VT_PAGE_SIZE - 1);
    }
    if (*off >= size)
        return 0;
    *ret_len = MIN(CHUNK, size - *off);
    if (spec->import)
        return spec->import->ops->pread(spec->import, buf, *ret_len, *off, e);
    return io_pread_full(spec->import_fd, buf, *ret_len, *off, NULL, "the image to copy", e);
}

static int copy_in(struct store *s, struct intake *in, struct first *f, uint64_t size, struct progress *p,
                   struct err *e)
{
    uint8_t *buf cleanup(cleanup_free) = malloc(CHUNK);
    uint64_t before = p->done;
    int r = buf ? mapw_new(s, ENTRY_ZERO_WORD, (f->bytes + VT_PAGE_SIZE - 1) / VT_PAGE_SIZE, &f->map, e)
                : err_set(e, VT_FAIL, "out of memory");

    if (!r)
        r = packw_break(in->pack, e);
    for (uint64_t off = 0; !r;) {
        size_t len;
        r = read_chunk(f->spec, size, &off, buf, &len, e);
        if (r || !len)
            break;
        if (len % VT_PAGE_SIZE)
            memset(buf + len, 0, VT_PAGE_SIZE - len % VT_PAGE_SIZE);
        for (size_t at = 0; at < len && !r; at += VT_PAGE_SIZE) {
            uint64_t entry;
            r = intake_page(in, buf + at, &entry, e);
            if (!r && entry != ENTRY_ZERO_WORD)
                r = mapw_put(f->map, (off + at) / VT_PAGE_SIZE, entry, e);
        }
        off += len;
        p->done = before + off;
        if (p->fn)
            p->fn(p->opaque, p->done, p->total);
    }
    return r;
}

static int insert_images(struct db *db, struct intake *in, struct first *f, size_t n, int64_t head, bool write_maps,
                         int64_t *next_node, struct err *e)
{
    uint64_t bytes = 0;
    int r = 0;

    for (size_t i = 0; i < n && !r; i++) {
        if (f[i].map && write_maps)
            r = mapw_write(f[i].map, db, in->first_frame, next_node, &bytes, &f[i].root, e);
        if (!r)
            r = db_run(db, SQL_IMAGE_NEW, e, "zztiiiit", (int64_t)0, head, f[i].spec->slot, (int64_t)f[i].bytes,
                       (int64_t)f[i].root, (int64_t)0, (int64_t)0, f[i].base_json);
    }
    return r;
}

/* Two heads: the origin, which stays as it is for head_reset to 0, and the live one. */
static int insert_machine(struct store *s, const char *name, const char *config, struct intake *in, struct first *f,
                          size_t n, int64_t *ret_id, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct err mine = {0};
    int64_t next_node = 0, id = 0, head = 0;
    char uuid[37];
    int r = uuid_make(uuid, e);

    if (!r)
        r = db_get(s, &db, e);
    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (!r)
        r = intake_commit(in, db, &next_node, e);
    if (r)
        return r;
    r = db_run(db, SQL_MACHINE_NEW, &mine, "ttti", uuid, name, config, clock_wall_ns());
    if (r)
        return r == VT_EXISTS ? err_set(e, r, "%s: there is a machine of this name already", name)
                              : err_set(e, r, "%s", mine.msg);
    id = db_last_id(db);
    for (int origin = 1; origin >= 0 && !r; origin--) {
        r = db_run(db, SQL_HEAD_NEW, e, "izti", id, (int64_t)0, "{}", clock_wall_ns());
        head = db_last_id(db);
        if (!r && origin)
            r = db_run(db, SQL_HEAD_ABANDON, e, "zzi", (int64_t)0, (int64_t)0, head);
        if (!r)
            r = insert_images(db, in, f, n, head, origin, &next_node, e);
    }
    if (!r)
        r = db_run(db, SQL_MACHINE_HEAD, e, "ii", head, id);
    if (!r)
        r = intake_done(in, db, next_node, e);
    if (r)
        return r;
    in->in_doubt = true;
    r = db_commit(db, e);
    if (!r)
        *ret_id = id;
    return r;
}

static int check_new(struct store *s, const char *name, const struct slot_spec *slots, size_t n, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = names_check("machine", name, e);

    for (size_t i = 0; i < n && !r; i++)
        for (size_t k = 0; k < i && !r; k++)
            if (!strcmp(slots[i].slot, slots[k].slot))
                r = err_set(e, VT_USAGE, "slot %s is given twice", slots[i].slot);
    if (!r)
        r = db_get(s, &db, e);
    if (!r)
        r = db_query(db, SQL_MACHINE_NAMES, &rows, e, "");
    while (!r && (r = rows_next(&rows, e)) > 0)
        r = strcmp(rows_text(&rows, 1), name)
                ? 0
                : err_set(e, VT_EXISTS, "%s: there is a machine of this name already", name);
    return r;
}

int machine_create(struct store *s, const char *name, const char *config, const struct slot_spec *slots, size_t n,
                   void (*progress)(void *opaque, uint64_t done, uint64_t total), void *opaque, int64_t *ret_id,
                   struct err *e)
{
    struct first f[STORE_DISKS_MAX + MEM_SLOTS] = {0};
    uint64_t import[ARRAY_LEN(f)] = {0};
    struct progress p = {.fn = progress, .opaque = opaque};
    struct intake in;
    int r = n <= ARRAY_LEN(f) ? check_new(s, name, slots, n, e) : err_set(e, VT_USAGE, "too many slots");

    if (r)
        return r;
    for (size_t i = 0; i < n && !r; i++) {
        r = plan(&slots[i], &f[i], &import[i], e);
        p.total += import[i];
    }
    if (!r)
        r = intake_init(&in, s, e);
    if (!r) {
        for (size_t i = 0; i < n && !r; i++)
            if (import[i])
                r = copy_in(s, &in, &f[i], import[i], &p, e);
        if (!r)
            r = intake_finish(&in, e);
        if (!r)
            r = insert_machine(s, name, config, &in, f, n, ret_id, e);
        intake_release(&in, in.in_doubt);
    }
    for (size_t i = 0; i < n; i++)
        first_release(&f[i]);
    return r;
}

/* ---- later changes ---- */

static int set_slot(struct db *db, struct intake *in, struct first *f, int64_t machine, struct err *e)
{
    struct rows head cleanup(rows_done) = {0}, image cleanup(rows_done) = {0};
    const char *slot = f->spec->slot;
    int64_t next_node = 0, id;
    bool had;
    int r = intake_commit(in, db, &next_node, e);

    if (!r)
        r = db_query(db, SQL_HEAD_GET, &head, e, "i", machine);
    if (!r)
        r = rows_next(&head, e);
    if (r <= 0)
        return r < 0 ? r : err_set(e, VT_NOENT, "no such machine");
    id = rows_int(&head, 0);
    r = db_query(db, SQL_IMAGE_GET, &image, e, "zzt", (int64_t)0, id, slot);
    if (!r)
        r = rows_next(&image, e);
    if (r < 0)
        return r;
    had = r;
    if (!f->bytes)
        r = had ? db_run(db, SQL_IMAGE_RM_SLOT, e, "it", id, slot) : err_set(e, VT_NOENT, "there is no %s", slot);
    else if (!had)
        r = insert_images(db, in, f, 1, id, true, &next_node, e);
    else if (f->map || f->base_json)
        r = err_set(e, VT_EXISTS, "there is a %s already", slot);
    else if (disk_index(slot) >= 0 && f->bytes < (uint64_t)rows_int(&image, 0))
        r = err_set(e, VT_USAGE, "%s: a disk can grow, but not shrink", slot);
    else
        r = db_run(db, SQL_IMAGE_SET_HEAD, e, "iiti", (int64_t)f->bytes,
                   disk_index(slot) >= 0 ? rows_int(&image, 1) : (int64_t)ENTRY_ZERO_WORD, slot, id);
    return r ? r : intake_done(in, db, next_node, e);
}

int machine_set_slot(struct store *s, int64_t id, const struct slot_spec *slot, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct progress p = {0};
    struct first f = {.spec = slot};
    struct intake in;
    uint64_t import = 0;
    bool remove = !slot->bytes && !slot->base_path && !slot->import && slot->import_fd < 0;
    int r = 0;

    if (remove && !slot_known(slot->slot))
        return err_set(e, VT_USAGE, "\"%s\" is no slot of a machine", slot->slot);
    if (!remove)
        r = plan(slot, &f, &import, e);
    if (!r)
        r = intake_init(&in, s, e);
    if (r) {
        first_release(&f);
        return r;
    }
    if (import)
        r = copy_in(s, &in, &f, import, &p, e);
    if (!r)
        r = intake_finish(&in, e);
    if (!r)
        r = db_get(s, &db, e);
    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (!r)
        r = set_slot(db, &in, &f, id, e);
    in.in_doubt = !r;
    if (!r)
        r = db_commit(db, e);
    intake_release(&in, in.in_doubt);
    first_release(&f);
    return r;
}

static int remove_rows(struct db *db, int64_t id, const char *name, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int64_t now = clock_wall_ns(), keep = 0;
    char undo[64];
    int r = db_begin(db, DB_FULL, e);

    if (!r)
        r = db_query(db, SQL_HEAD_GET, &rows, e, "i", id);
    if (!r)
        r = rows_next(&rows, e);
    if (r <= 0)
        return r < 0 ? r : err_set(e, VT_NOENT, "%s: no such machine (it was removed)", name);
    r = undo_keep(db, &keep, e);
    if (!r)
        r = db_run(db, SQL_HEAD_ABANDON_ALL, e, "iii", now + keep, now, id);
    if (!r)
        r = db_run(db, SQL_MACHINE_HEAD, e, "zi", (int64_t)0, id);
    if (!r)
        r = db_run(db, SQL_SNAP_DELETE_ALL, e, "ii", now, id);
    if (!r)
        r = db_run(db, SQL_MACHINE_RM, e, "ii", now, id);
    snprintf(undo, sizeof undo, "{\"head\":%" PRId64 "}", rows_int(&rows, 0));
    if (!r && keep)
        r = db_run(db, SQL_OPLOG_NEW, e, "ititi", now, "rm", id, undo, now + keep);
    return r ? r : db_commit(db, e);
}

int machine_rm(struct store *s, int64_t id, struct err *e)
{
    struct machine_info m cleanup(machine_info_release) = {0};
    struct snapshot_info *snaps = NULL;
    struct db *db cleanup(cleanup_db) = NULL;
    size_t n = 0, held = 0;
    int *locks cleanup(cleanup_free) = NULL;
    int r = machine_get(s, id, &m, e);

    if (!r)
        r = snapshot_list(s, id, &snaps, &n, e);
    if (r)
        return r;
    locks = calloc(n ? n : 1, sizeof *locks);
    if (!locks)
        r = err_set(e, VT_FAIL, "out of memory");
    while (!r && held < n) { /* no fork runs from any of them, and none can begin */
        r = lock_snapshot_alone(s, snaps[held].id, &locks[held], e);
        if (r)
            err_prefix(e, r, "%s@%s", m.name, snaps[held].name);
        held += !r;
    }
    if (!r)
        r = db_get(s, &db, e);
    if (!r)
        r = remove_rows(db, id, m.name, e);
    if (ballast_spend(s, r, e)) {
        db_put(steal(&db)); /* with what it had begun */
        r = db_get(s, &db, e);
        if (!r)
            r = remove_rows(db, id, m.name, e);
    }
    while (held)
        close(locks[--held]);
    snapshot_list_free(snaps, n);
    return r;
}
