/* Bases. A base is a store that was sealed when it was made: one database file without a log, packs, and no file
 * `lock`. It is opened immutable, by any number of processes and from any file system, and refers to no other store.
 * Its uuid, not its place, says which it is. */
#include "snapshot/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "src/base/buf.h"
#include "src/base/util.h"
#include "snapshot/format.h"
#include "snapshot/move.h"

static void cleanup_store(struct store **s)
{
    store_close(*s);
}

bool store_is_sealed(const struct store *s)
{
    return s->sealed;
}

/* Opens the sealed store in dir. */
static int open_sealed(const char *dir, struct store **ret, struct err *e)
{
    cleanup(cleanup_store) struct store *s = NULL;
    int r = store_open(dir, 0, &s, e);

    if (r)
        return r;
    if (!s->sealed)
        return err_set(e, VT_USAGE, "%s: is not sealed; vmtest export --base makes a store that is", dir);
    *ret = steal(&s);
    return 0;
}

static int open_base(struct store *s, unsigned num, struct store **ret, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    cleanup(cleanup_store) struct store *base = NULL;
    struct err mine = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_BASE_GET, &rows, e, "i", (int64_t)num);
    if (!r)
        r = rows_next(&rows, e);
    if (r <= 0)
        return r < 0 ? r : err_set(e, VT_CORRUPT, "store.db: there is no base %u", num);
    r = open_sealed(rows_text(&rows, 1), &base, &mine);
    if (!r && strcmp(base->uuid, rows_text(&rows, 0)))
        r = err_set(&mine, VT_CORRUPT, "%s: is another store than the one that was put under this",
                    rows_text(&rows, 1));
    if (r)
        return err_set(e, VT_CORRUPT, "the base of this machine: %s (vmtest import --base says where it is now)",
                       mine.msg);
    *ret = steal(&base);
    return 0;
}

int store_base(struct store *s, unsigned num, struct store **ret, struct err *e)
{
    int r = 0;

    if (!num || num >= ARRAY_LEN(s->bases) || s->sealed)
        return err_set(e, VT_CORRUPT, "store.db: a map entry names base %u", num);
    pthread_mutex_lock(&s->base_lock);
    if (!s->bases[num])
        r = open_base(s, num, &s->bases[num], e);
    *ret = s->bases[num];
    pthread_mutex_unlock(&s->base_lock);
    return r;
}

/* ---- putting one under a store ---- */

/* The number of a base in s; it gets one where it has none, and its place is written down. */
static int register_base(struct store *s, const struct store *base, unsigned *ret, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int64_t num;
    bool known;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (!r)
        r = db_query(db, SQL_BASE_FIND, &rows, e, "t", base->uuid);
    if (!r)
        r = rows_next(&rows, e);
    if (r <= 0)
        return r < 0 ? r : err_set(e, VT_CORRUPT, "store.db: bases cannot be counted");
    num = rows_int(&rows, 0);
    known = rows_text(&rows, 1) && !strcmp(rows_text(&rows, 1), base->dir);
    rows_done(&rows);
    if (num >= (int64_t)ARRAY_LEN(s->bases))
        return err_set(e, VT_FAIL, "%s: has as many bases as it can have", s->dir);
    *ret = (unsigned)num;
    if (known)
        return 0;
    r = db_run(db, SQL_BASE_SET, e, "itt", num, base->uuid, base->dir);
    return r ? r : db_commit(db, e);
}

struct linking {
    struct import *im;
    unsigned num;
};

static int link_machine(void *opaque, const char *name, const void *data, size_t len, struct err *e)
{
    return import_put(((struct linking *)opaque)->im, name, data, len, e);
}

static int link_root(void *opaque, size_t image, uint64_t root, struct err *e)
{
    const struct linking *l = opaque;

    if (entry_kind(root) == ENTRY_NODE)
        root |= (uint64_t)l->num << 52;
    return import_put_root(l->im, image, root, e);
}

static int link_state(void *opaque, size_t snapshot, const void *data, size_t len, struct err *e)
{
    return import_put_state(((struct linking *)opaque)->im, snapshot, data, len, e);
}

static int pick_machine(struct store *base, const char *machine, int64_t *ret, struct err *e)
{
    struct machine_info *list;
    size_t n;
    int r;

    if (machine)
        return machine_find(base, machine, true, ret, e);
    r = machine_list(base, &list, &n, e);
    if (r)
        return r;
    if (n == 1)
        *ret = list[0].id;
    else
        r = err_set(e, VT_USAGE, "%s: has %zu machines; name one", base->dir, n);
    machine_list_free(list, n);
    return r;
}

int base_import(struct store *s, const char *dir, const char *machine, const char *name, int64_t *ret_id,
                struct move_stats *ret_stats, struct err *e)
{
    cleanup(cleanup_store) struct store *base = NULL;
    struct linking l = {0};
    struct move_visit v = {link_machine, link_root, link_state, &l};
    int64_t id = 0;
    int r = open_sealed(dir, &base, e);

    if (!r && s->sealed)
        r = err_set(e, VT_PERM, "%s: is sealed", s->dir);
    if (!r)
        r = pick_machine(base, machine, &id, e);
    if (!r)
        r = register_base(s, base, &l.num, e);
    if (!r)
        r = import_begin(s, name, &l.im, e);
    if (r)
        return r;
    r = move_visit(base, id, &v, e);
    import_put_end(l.im);
    if (!r)
        return import_commit(l.im, ret_id, ret_stats, e);
    import_abort(l.im);
    return r;
}

/* ---- making one ---- */

static int take_member(void *opaque, const char *name, const void *data, size_t len, struct err *e)
{
    return import_put(opaque, name, data, len, e);
}

static int fill(struct store *from, int64_t machine, const struct move_at *at, struct store *to, struct move_stats *ret,
                struct err *e)
{
    struct import *im;
    int64_t id;
    int r = import_begin(to, NULL, &im, e);

    if (r)
        return r;
    r = machine_export(from, machine, at, take_member, im, NULL, e);
    if (!r)
        return import_commit(im, &id, ret, e);
    import_abort(im);
    return r;
}

/* All of it into the database's one file; without `lock` it is no store that can be changed any more. */
static int seal(struct store *s, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_seal(db, e);
    if (!r && (unlinkat(s->io.dirfd, "lock", 0) || fchmodat(s->io.dirfd, "store.db", 0444, 0)))
        r = err_set(e, VT_IO, "%s: %m", s->dir);
    return r ? r : sio_dirsync(&s->io, ".", e);
}

/* A folder of a store that was not finished. */
static void drop_store(const char *dir)
{
    static const char *const files[] = {
        "lock", "store.db", "store.db-wal", "store.db-shm", "store.db-mark", "packs/1.pack", "packs", "heads", ""};
    char path[4096];

    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, files[i]) < sizeof path)
            remove(path);
}

int base_export(struct store *s, int64_t machine, const struct move_at *at, const char *dir, struct move_stats *ret,
                struct err *e)
{
    cleanup(cleanup_free) char *tmp = NULL;
    struct store *to = NULL;
    size_t n = strlen(dir);
    int r;

    while (n > 1 && dir[n - 1] == '/')
        n--;
    tmp = str_printf("%.*s.XXXXXX", (int)n, dir);
    if (!tmp)
        return err_set(e, VT_FAIL, "out of memory");
    if (!mkdtemp(tmp))
        return err_set(e, err_from_errno(errno), "%s: cannot be made: %m", dir);
    r = store_open(tmp, STORE_CREATE, &to, e);
    if (!r)
        r = fill(s, machine, at, to, ret, e);
    if (!r)
        r = seal(to, e);
    store_close(to);
    if (!r && (chmod(tmp, 0755) || rename(tmp, dir)))
        r = errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR
                ? err_set(e, VT_EXISTS, "%s: is there already", dir)
                : err_set(e, err_from_errno(errno), "%s: %m", dir);
    if (r)
        drop_store(tmp);
    return r;
}
