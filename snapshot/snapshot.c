/* The snapshots of a machine as rows: list, find, rename, delete. */
#include "snapshot/snapshot.h"

#include <stdio.h>
#include <string.h>
#include "src/base/units.h"
#include "src/base/util.h"
#include "snapshot/ballast.h"
#include "snapshot/basefile.h"
#include "snapshot/frames.h"
#include "snapshot/lock.h"
#include "snapshot/names.h"
#include "snapshot/store.h"
#include "snapshot/undo.h"

const char *power_name(enum power p)
{
    static const char *const names[] = {"off", "running", "paused"};
    return names[p];
}

void snapshot_info_release(struct snapshot_info *i)
{
    free(i->name);
    free(i->note);
    free(i->parent_name);
    free(i->hardware);
    free(i->cpu_features);
    *i = (struct snapshot_info){0};
}

void snapshot_list_free(struct snapshot_info *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snapshot_info_release(&list[i]);
    free(list);
}

static int read_info(struct rows *q, struct snapshot_info *ret, struct err *e)
{
    bool oom = false;
    int64_t power = rows_int(q, 7);

    *ret = (struct snapshot_info){
        .id = rows_int(q, 0),
        .name = rows_dup(q, 1, &oom),
        .note = rows_dup(q, 2, &oom),
        .parent = rows_int(q, 3),
        .parent_name = rows_dup(q, 4, &oom),
        .taken_at = rows_int(q, 5),
        .vclock = rows_int(q, 6),
        .power = (enum power)power,
        .current = rows_int(q, 8),
        .own_bytes = (uint64_t)rows_int(q, 9),
        .ram_bytes = (uint64_t)rows_int(q, 10),
        .hardware = rows_dup(q, 11, &oom),
        .cpu_features = rows_dup(q, 12, &oom),
        .state_bytes = (uint64_t)rows_int(q, 13),
        .machine = rows_int(q, 14),
    };
    if (!oom && power >= POWER_OFF && power <= POWER_PAUSED)
        return 0;
    snapshot_info_release(ret);
    return oom ? err_set(e, VT_FAIL, "out of memory")
               : err_set(e, VT_CORRUPT, "store.db: a snapshot has no known state");
}

/* machine or id, the other 0. */
static int list(struct store *s, int64_t machine, int64_t id, struct snapshot_info **ret, size_t *ret_n, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    struct snapshot_info *v = NULL, *more;
    size_t n = 0;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_SNAP_LIST, &rows, e, "zz", machine, id);
    while (!r && (r = rows_next(&rows, e)) > 0) {
        more = realloc(v, (n + 1) * sizeof *v);
        if (!more) {
            r = err_set(e, VT_FAIL, "out of memory");
            break;
        }
        v = more;
        r = read_info(&rows, &v[n], e);
        n += !r;
    }
    if (r) {
        snapshot_list_free(v, n);
        return r;
    }
    *ret = v;
    *ret_n = n;
    return 0;
}

int snapshot_list(struct store *s, int64_t machine, struct snapshot_info **ret, size_t *ret_n, struct err *e)
{
    return list(s, machine, 0, ret, ret_n, e);
}

int snapshot_get(struct store *s, int64_t id, struct snapshot_info *ret, struct err *e)
{
    struct snapshot_info *v;
    size_t n;
    int r = id ? list(s, 0, id, &v, &n, e) : err_set(e, VT_NOENT, "no such snapshot");

    if (r)
        return r;
    if (!n)
        return err_set(e, VT_NOENT, "no such snapshot (it was deleted)");
    *ret = v[0];
    free(v);
    return 0;
}

static int load_names(struct store *s, int64_t machine, struct names *ret, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_SNAP_NAMES, &rows, e, "i", machine);
    while (!r && (r = rows_next(&rows, e)) > 0)
        r = names_add(ret, rows_int(&rows, 0), rows_text(&rows, 1), rows_int(&rows, 2), e);
    return r;
}

int snapshot_find(struct store *s, int64_t machine, const char *word, bool exact, int64_t *ret_id, struct err *e)
{
    struct names names cleanup(names_release) = {0};
    struct machine_info m cleanup(machine_info_release) = {0};
    const struct named *found = NULL;
    const char *tilde = strchr(word, '~');
    char prefix[STORE_NAME_MAX + 2], *end;
    unsigned long up = 0;
    int r = machine_get(s, machine, &m, e);

    if (tilde) {
        up = tilde[1] ? strtoul(tilde + 1, &end, 10) : 1;
        if (tilde[1] && (*end || tilde[1] < '0' || tilde[1] > '9'))
            return err_set(e, VT_USAGE, "\"%s\": a number must follow the ~", word);
    }
    if (!r)
        r = load_names(s, machine, &names, e);
    if (r)
        return r;
    snprintf(prefix, sizeof prefix, "%s@", m.name);
    r = names_resolve(&names, word, tilde ? (size_t)(tilde - word) : strlen(word), exact, prefix, "snapshot", &found,
                      e);
    for (; !r && up; up--) {
        const struct named *above = names_by_id(&names, found->parent);
        if (!above)
            return err_set(e, VT_NOENT, "%s%s: no such snapshot (%s has no parent)", prefix, word, found->name);
        found = above;
    }
    if (!r)
        *ret_id = found->id;
    return r;
}

/* One statement on one snapshot that must be there. */
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
        return r == VT_EXISTS ? err_set(e, r, "%s: there is a snapshot of this name already", text)
                              : err_set(e, r, "%s", mine.msg);
    if (!db_changes(db))
        return err_set(e, VT_NOENT, "no such snapshot (it was deleted)");
    return db_commit(db, e);
}

int snapshot_rename(struct store *s, int64_t id, const char *name, struct err *e)
{
    int r = names_check("snapshot", name, e);
    return r ? r : change(s, id, SQL_SNAP_NAME, name, e);
}

int snapshot_set_note(struct store *s, int64_t id, const char *note, struct err *e)
{
    return change(s, id, SQL_SNAP_NOTE, note, e);
}

/* Its children and heads that stand on it hang on its parent. They keep every byte, since no map refers to a snapshot.
 */
static int delete_once(struct store *s, int64_t id, bool undo, struct err *e)
{
    struct snapshot_info i cleanup(snapshot_info_release) = {0};
    struct db *db cleanup(cleanup_db) = NULL;
    int lock cleanup(cleanup_close) = -1;
    int64_t now = clock_wall_ns(), keep = 0;
    int r = snapshot_get(s, id, &i, e);

    if (!r)
        r = lock_snapshot_alone(s, id, &lock, e);
    if (r)
        return err_prefix(e, r, "%s", i.name ? i.name : "snapshot");
    r = db_get(s, &db, e);
    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (!r && undo)
        r = undo_keep(db, &keep, e);
    if (!r && keep) /* before it is so: it notes what hangs on it */
        r = db_run(db, SQL_OPLOG_DELETE, e, "iiii", now, i.machine, id, now + keep);
    if (!r)
        r = db_run(db, SQL_SNAP_DELETE, e, "ii", now, id);
    if (!r && !db_changes(db))
        return err_set(e, VT_NOENT, "no such snapshot (it was deleted)");
    if (!r) /* its parent now: another delete may have changed it since it was read */
        r = db_run(db, SQL_SNAP_HANG, e, "i", id);
    if (!r)
        r = db_run(db, SQL_HEAD_HANG, e, "i", id);
    return r ? r : db_commit(db, e);
}

int snapshot_delete(struct store *s, int64_t id, struct err *e)
{
    int r = delete_once(s, id, true, e);

    return ballast_spend(s, r, e) ? delete_once(s, id, true, e) : r;
}

int snapshot_drop(struct store *s, int64_t id, struct err *e)
{
    int r = delete_once(s, id, false, e);

    return ballast_spend(s, r, e) ? delete_once(s, id, false, e) : r;
}

int snapshot_state(struct store *s, int64_t id, void **ret, size_t *ret_len, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_SNAP_MACHINE, &rows, e, "i", id);
    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    if (!r)
        return err_set(e, VT_NOENT, "no such snapshot");
    if (rows_null(&rows, 1)) {
        *ret = NULL;
        *ret_len = 0;
        return 0;
    }
    return frames_blob(s, (uint64_t)rows_int(&rows, 1), ret, ret_len, e);
}

void slots_list_free(struct slot_info *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(list[i].base_path);
    free(list);
}

static int read_slots(struct rows *q, struct slot_info **ret, size_t *ret_n, struct err *e)
{
    struct slot_info *v = NULL, *more;
    size_t n = 0;
    int r;

    while ((r = rows_next(q, e)) > 0) {
        more = realloc(v, (n + 1) * sizeof *v);
        if (!more) {
            r = err_set(e, VT_FAIL, "out of memory");
            break;
        }
        v = more;
        v[n] = (struct slot_info){.bytes = (uint64_t)rows_int(q, 1), .base_path = basefile_path(rows_text(q, 4))};
        snprintf(v[n++].slot, sizeof v->slot, "%s", rows_text(q, 0));
    }
    if (r) {
        slots_list_free(v, n);
        return r;
    }
    *ret = v;
    *ret_n = n;
    return 0;
}

int slots_list(struct store *s, int64_t machine, int64_t snapshot, struct slot_info **ret, size_t *ret_n, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows head cleanup(rows_done) = {0}, rows cleanup(rows_done) = {0};
    int64_t id = 0;
    int r = db_get(s, &db, e);

    if (!r && !snapshot) {
        r = db_query(db, SQL_HEAD_GET, &head, e, "i", machine);
        if (!r)
            r = rows_next(&head, e);
        if (!r)
            r = err_set(e, VT_NOENT, "no such machine");
        if (r < 0)
            return r;
        id = rows_int(&head, 0);
        r = 0;
    }
    if (!r)
        r = db_query(db, SQL_IMAGE_LIST, &rows, e, "zz", snapshot, id);
    return r ? r : read_slots(&rows, ret, ret_n, e);
}
