/* Exporting a machine and importing it: every image the same by its bytes, rows too, whatever the other store has
 * already; and members that were damaged, left out, or written by somebody else. */
#include "tests/store/fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <xxhash.h>
#include "snapshot/store.h"

struct member {
    char name[32];
    uint8_t *data;
    size_t len;
};

struct members {
    struct member v[256];
    size_t n;
};

static int keep(void *opaque, const char *name, const void *data, size_t len, struct err *e)
{
    struct members *m = opaque;
    struct member *to = &m->v[m->n++];

    assert_true(m->n < ARRAY_LEN(m->v));
    assert_true(len <= MOVE_MEMBER_MAX);
    snprintf(to->name, sizeof to->name, "%s", name);
    to->data = malloc(len + 1);
    memcpy(to->data, data, len);
    to->len = len;
    return 0;
}

static int drop(void *opaque, const char *name, const void *data, size_t len, struct err *e)
{
    return 0;
}

static void forget(struct members *m)
{
    while (m->n)
        free(m->v[--m->n].data);
}

static void export_all(struct store *s, int64_t machine, struct members *ret)
{
    *ret = (struct members){0};
    ok(machine_export(s, machine, NULL, keep, ret, NULL, e));
}

static int import_some(struct store *s, const struct members *m, size_t n, const char *name, int64_t *ret,
                       struct err *e)
{
    struct import *im;
    int r = import_begin(s, name, &im, e);

    if (r)
        return r;
    for (size_t i = 0; i < n && !r; i++)
        r = import_put(im, m->v[i].name, m->v[i].data, m->v[i].len, e);
    if (!r)
        return import_commit(im, ret, NULL, e);
    import_abort(im);
    return r;
}

static int import_all(struct store *s, const struct members *m, const char *name, int64_t *ret, struct err *e)
{
    return import_some(s, m, m->n, name, ret, e);
}

static uint64_t image_sum(struct image *i)
{
    XXH3_state_t *x = XXH3_createState();
    uint8_t page[PAGE];
    uint64_t sum;

    XXH3_64bits_reset(x);
    for (uint64_t p = 0; p < image_pages(i); p++) {
        ok(image_read(i, p, 1, page, e));
        XXH3_64bits_update(x, page, PAGE);
    }
    sum = XXH3_64bits_digest(x);
    XXH3_freeState(x);
    image_close(i);
    return sum;
}

static void same_images(struct store *a, int64_t ma, int64_t sa, struct store *b, int64_t mb, int64_t sb)
{
    struct slot_info *la, *lb;
    size_t na, nb;

    ok(slots_list(a, ma, sa, &la, &na, e));
    ok(slots_list(b, mb, sb, &lb, &nb, e));
    assert_int_equal(na, nb);
    for (size_t i = 0; i < na; i++) {
        for (int root = ROOT_LIVE; root <= ROOT_QUIESCED; root++) {
            struct image *x, *y;
            if (sa) {
                ok(image_open(a, sa, la[i].slot, root, &x, e));
                ok(image_open(b, sb, la[i].slot, root, &y, e));
            } else {
                ok(image_open_flushed(a, ma, la[i].slot, &x, e));
                ok(image_open_flushed(b, mb, la[i].slot, &y, e));
            }
            assert_int_equal(image_bytes(x), image_bytes(y));
            assert_int_equal(image_sum(x), image_sum(y));
        }
        assert_null(lb[i].base_path);
    }
    slots_list_free(la, na);
    slots_list_free(lb, nb);
}

static void same_text(const char *a, const char *b)
{
    if (a || b)
        assert_string_equal(a, b);
}

static void same_machines(struct store *a, int64_t ma, struct store *b, int64_t mb)
{
    struct machine_info ia, ib;
    struct snapshot_info *la, *lb;
    size_t na, nb;

    ok(machine_get(a, ma, &ia, e));
    ok(machine_get(b, mb, &ib, e));
    assert_string_equal(ia.config, ib.config);
    assert_int_equal(ia.created_at, ib.created_at);
    same_text(ia.parent_name, ib.parent_name);
    ok(snapshot_list(a, ma, &la, &na, e));
    ok(snapshot_list(b, mb, &lb, &nb, e));
    assert_int_equal(na, nb);
    for (size_t i = 0; i < na; i++) {
        void *sa, *sb;
        size_t len_a, len_b;
        assert_string_equal(la[i].name, lb[i].name);
        same_text(la[i].note, lb[i].note);
        same_text(la[i].parent_name, lb[i].parent_name);
        assert_int_equal(la[i].taken_at, lb[i].taken_at);
        assert_int_equal(la[i].vclock, lb[i].vclock);
        assert_int_equal(la[i].power, lb[i].power);
        assert_int_equal(la[i].current, lb[i].current);
        assert_int_equal(la[i].ram_bytes, lb[i].ram_bytes);
        assert_string_equal(la[i].hardware, lb[i].hardware);
        assert_string_equal(la[i].cpu_features, lb[i].cpu_features);
        ok(snapshot_state(a, la[i].id, &sa, &len_a, e));
        ok(snapshot_state(b, lb[i].id, &sb, &len_b, e));
        assert_int_equal(len_a, len_b);
        if (len_a)
            assert_memory_equal(sa, sb, len_a);
        free(sa);
        free(sb);
        same_images(a, ma, la[i].id, b, mb, lb[i].id);
    }
    same_images(a, ma, 0, b, mb, 0);
    snapshot_list_free(la, na);
    snapshot_list_free(lb, nb);
    machine_info_release(&ia);
    machine_info_release(&ib);
}

/* A tree with two branches, memory, a quiesced root, a grown disk and a head that has more. */
static void grow_tree(struct fixture *f)
{
    struct slot_spec bigger = {.slot = "disk0", .bytes = (UINT64_C(2) << 30), .import_fd = -1};
    struct snap_meta meta = {
        .name = "held", .note = "two roots", .power = POWER_OFF, .hardware = "{\"mem\":1}", .cpu_features = "sse avx"};
    struct head_pos quiesced, live;
    struct snap *p;
    int64_t a, id;

    for (uint64_t i = 0; i < 600; i++)
        disk_put(f->h, "disk0", i, 1 + i % 300); /* each page twice */
    a = take(f->h, "a", 5000);
    disk_put(f->h, "disk0", 1, 0);
    disk_put(f->h, "disk0", 4000, 5003); /* a page of RAM's */
    take(f->h, "b", 5008);
    disk_put(f->h, "disk0", 7, 777);
    ok(head_mark(f->h, &quiesced, e));
    disk_put(f->h, "disk0", 8, 888);
    ok(head_seal(f->h, &live, e));
    ok(snap_begin(f->h, &quiesced, &live, &p, e));
    ok(snap_commit(p, &meta, &id, NULL, e));
    ok(head_reset(f->h, a, e));
    disk_put(f->h, "disk0", 9, 999);
    take(f->h, "c", 0);
    ok(head_close(f->h, e));
    ok(machine_set_slot(f->s, f->machine, &bigger, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
    disk_put(f->h, "disk0", 500000, 50);
    take(f->h, "grown", 0);
    disk_put(f->h, "disk0", 500001, 51);
    disk_put(f->h, "disk0", 0, 0);
    disk_sync(f->h, "disk0");
}

static struct store *other_store(char **ret_dir)
{
    struct store *s = NULL;

    *ret_dir = tmpdir_new();
    ok(store_open(*ret_dir, STORE_CREATE, &s, e));
    return s;
}

static void drop_store(struct store *s, char *dir)
{
    check_sound(s);
    store_close(s);
    rmtree(dir);
    free(dir);
}

static unsigned files_in(const char *dir, const char *folder)
{
    char *path;
    unsigned n = 0;
    DIR *d;

    assert_true(asprintf(&path, "%s/%s", dir, folder) > 0);
    d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    free(path);
    return n - 2;
}

static void a_machine_moves_whole(void **state)
{
    struct fixture *f = *state;
    struct members out, again;
    struct head *h;
    char *dir;
    struct store *s = other_store(&dir);
    struct store_report before, after;
    int64_t id = 0, twin = 0, snap;
    unsigned packs;
    int lock;

    grow_tree(f);
    export_all(f->s, f->machine, &out);
    ok(import_all(s, &out, NULL, &id, e));
    same_machines(f->s, f->machine, s, id);
    export_all(s, id, &again); /* nothing in it depends on the store */
    assert_int_equal(out.n, again.n);
    for (size_t i = 0; i < out.n; i++) {
        assert_string_equal(out.v[i].name, again.v[i].name);
        assert_int_equal(out.v[i].len, again.v[i].len);
        assert_memory_equal(out.v[i].data, again.v[i].data, out.v[i].len);
    }
    forget(&again);

    /* once more into the same store: its pages are there, only device states are written */
    packs = files_in(dir, "packs");
    fails(VT_EXISTS, "of this name already", import_all(s, &out, NULL, &twin, e));
    assert_int_equal(files_in(dir, "packs"), packs);
    ok(store_check(s, true, NULL, NULL, &before, e));
    ok(import_all(s, &out, "twin", &twin, e));
    ok(store_check(s, true, NULL, NULL, &after, e));
    assert_int_equal(after.pages, before.pages + 2);
    same_machines(f->s, f->machine, s, twin);
    ok(machine_rm(s, twin, e));
    ok(store_maintain(s, e));
    check_sound(s);

    /* it lives: a head that writes, a return to what it was made as, and to a snapshot */
    ok(machine_lock(s, id, &lock, e));
    ok(head_open(s, id, 0, &h, e));
    assert_int_equal(disk_tag(h, "disk0", 500001), 51);
    disk_put(h, "disk0", 2, 22);
    take(h, "more", 9000);
    ok(snapshot_find(s, id, "a", true, &snap, e));
    ok(head_reset(h, snap, e));
    assert_int_equal(disk_tag(h, "disk0", 1), 2);
    ok(head_reset(h, 0, e));
    assert_int_equal(disk_tag(h, "disk0", 1), 0);
    ok(head_close(h, e));
    close(lock);
    forget(&out);
    drop_store(s, dir);
}

static void a_base_file_goes_along(void **state)
{
    struct fixture *f = *state;
    struct slot_spec slot = {.slot = "disk0", .import_fd = -1};
    struct members out;
    char *dir, *path;
    struct store *s = other_store(&dir);
    int64_t from, id = 0;
    uint8_t page[PAGE];
    FILE *file;

    assert_true(asprintf(&path, "%s/base.raw", f->dir) > 0);
    file = fopen(path, "w");
    for (unsigned i = 0; i < 40; i++) {
        page_make(page, i % 7 ? i : 0);
        fwrite(page, 1, PAGE, file);
    }
    fclose(file);
    slot.base_path = path;
    ok(machine_create(f->s, "on-a-file", "{}", &slot, 1, NULL, NULL, &from, e));
    export_all(f->s, from, &out);
    ok(import_all(s, &out, NULL, &id, e));
    same_machines(f->s, from, s, id);
    forget(&out);
    drop_store(s, dir);
    free(path);
}

static void refused(int r)
{
    assert_true(r == VT_CORRUPT || r == VT_VERSION); /* a changed "format" is a newer one */
}

static void damage_is_seen(void **state)
{
    struct fixture *f = *state;
    struct members out;
    char *dir;
    struct store *s = other_store(&dir);
    struct machine_info *list;
    struct gc_stats gc;
    int64_t id;
    size_t n;

    disk_put(f->h, "disk0", 3, 3);
    take(f->h, "a", 100);
    disk_sync(f->h, "disk0");
    export_all(f->s, f->machine, &out);
    for (size_t i = 0; i < out.n; i++) {
        struct member whole = out.v[i], gone;
        struct rng r = {i};
        for (unsigned k = 0; k < 40; k++) { /* a bit somewhere */
            size_t at = k < 8 && whole.len > 64 ? 6 * k : rng_below(&r, whole.len);
            out.v[i].data[at] ^= 1u << k % 8;
            if (i + 1 < out.n) /* in the last one a changed space of the JSON would be no damage */
                refused(import_all(s, &out, "m", &id, NULL));
            out.v[i].data[at] ^= 1u << k % 8;
        }
        out.v[i].len /= 2;
        fails(VT_CORRUPT, "", import_all(s, &out, "m", &id, e));
        out.v[i].len = whole.len;
        fails(VT_CORRUPT, i ? "is cut short: members are missing" : "", import_some(s, &out, i, "m", &id, e));
        gone = out.v[i];
        memmove(&out.v[i], &out.v[i + 1], (out.n - i - 1) * sizeof gone);
        out.n--;
        fails(VT_CORRUPT, "", import_all(s, &out, "m", &id, e));
        memmove(&out.v[i + 1], &out.v[i], (out.n - i) * sizeof gone);
        out.v[i] = gone;
        out.n++;
    }
    ok(machine_list(s, &list, &n, e));
    assert_int_equal(n, 0);
    machine_list_free(list, n);
    ok(store_gc(s, &gc, e));
    assert_int_equal(files_in(dir, "packs"), 0);
    ok(import_all(s, &out, "m", &id, e));
    forget(&out);
    drop_store(s, dir);
}

struct failing {
    uint64_t left;
    bool hit;
};

static int fail_later(void *opaque, const struct sio_op *op)
{
    struct failing *x = opaque;

    if (x->left && --x->left)
        return 0;
    x->left = 0; /* and everything from then on, as after a kill */
    x->hit = true;
    return -EIO;
}

/* Ended at any write: a machine, or nothing but what gc takes. */
static void an_import_that_ends_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct members out;
    bool hit = true;

    for (uint64_t i = 0; i < 40; i++)
        disk_put(f->h, "disk0", i * 100, i + 1);
    take(f->h, "a", 100);
    disk_sync(f->h, "disk0");
    export_all(f->s, f->machine, &out);
    for (uint64_t at = 1; hit; at++) {
        struct failing x = {UINT64_MAX, false};
        struct sio_hook hook = {fail_later, &x};
        struct machine_info *list;
        struct store *s;
        char *dir = tmpdir_new();
        int64_t id;
        size_t n;
        ok(store_open_hooked(dir, STORE_CREATE, &hook, &s, e));
        x.left = at;
        if (import_all(s, &out, NULL, &id, NULL) && at > 200)
            fail_msg("the import fails with no write failing");
        hit = x.hit;
        x.left = UINT64_MAX;
        store_close(s);
        ok(store_open(dir, 0, &s, e));
        ok(machine_list(s, &list, &n, e));
        if (n) {
            same_machines(f->s, f->machine, s, list[0].id);
        } else {
            struct store_report rep;
            ok(store_maintain(s, e));
            ok(store_gc(s, NULL, e));
            assert_int_equal(files_in(dir, "packs"), 0);
            ok(store_check(s, true, NULL, NULL, &rep, e));
            assert_int_equal(rep.frames + rep.nodes + rep.packs, 0);
        }
        machine_list_free(list, n);
        drop_store(s, dir);
    }
    forget(&out);
}

/* A machine on a sealed store: nothing is copied, it lives and grows, and the base stays as it is. */
static void a_machine_stands_on_a_base(void **state)
{
    struct fixture *f = *state;
    char *dir, *base = NULL, *moved = NULL;
    struct store *s = other_store(&dir), *sealed;
    struct store_report rep;
    struct gc_stats gc;
    struct head *h;
    int64_t id = 0, twin = 0, own, a;
    int lock;

    assert_true(asprintf(&base, "%s/base", dir) > 0);
    assert_true(asprintf(&moved, "%s/moved?#%%", dir) > 0);
    grow_tree(f);
    ok(base_export(f->s, f->machine, NULL, base, NULL, e));
    fails(VT_EXISTS, "is there already", base_export(f->s, f->machine, NULL, base, NULL, e));

    /* sealed: it can be read, and nothing else */
    ok(store_open(base, 0, &sealed, e));
    assert_true(store_is_sealed(sealed));
    ok(machine_find(sealed, "web", true, &own, e));
    same_machines(f->s, f->machine, sealed, own);
    fails(VT_PERM, "", machine_lock(sealed, own, &lock, e));
    fails(VT_PERM, "", machine_rename(sealed, own, "x", e));
    fails(VT_PERM, "", machine_create(sealed, "x", "{}", NULL, 0, NULL, NULL, &twin, e));
    fails(VT_PERM, "", store_gc(sealed, NULL, e));
    check_sound(sealed);
    store_close(sealed);

    fails(VT_USAGE, "is not sealed", base_import(s, f->dir, NULL, NULL, &id, NULL, e));
    fails(VT_NOENT, "", base_import(s, base, "nosuch", NULL, &id, NULL, e));
    ok(base_import(s, base, NULL, NULL, &id, NULL, e));
    fails(VT_EXISTS, "of this name already", base_import(s, base, NULL, NULL, &twin, NULL, e));
    ok(base_import(s, base, "web", "twin", &twin, NULL, e));
    same_machines(f->s, f->machine, s, id);
    same_machines(f->s, f->machine, s, twin);
    check_sound(s);
    ok(store_check(s, true, NULL, NULL, &rep, e));
    assert_true(rep.pages <= 4); /* device states */

    /* it lives */
    ok(machine_lock(s, id, &lock, e));
    ok(head_open(s, id, 0, &h, e));
    disk_put(h, "disk0", 2, 22);
    take(h, "more", 9000);
    ok(snapshot_find(s, id, "a", true, &a, e));
    ok(head_reset(h, a, e));
    disk_put(h, "disk0", 3, 33);
    take(h, "branch", 0);
    assert_int_equal(disk_tag(h, "disk0", 4), 5);
    ok(head_close(h, e));
    close(lock);
    ok(snapshot_delete(s, a, e));
    ok(machine_rm(s, twin, e));
    ok(store_maintain(s, e));
    ok(store_gc(s, &gc, e));
    check_sound(s);
    ok(machine_lock(s, id, &lock, e));
    ok(head_open(s, id, 0, &h, e));
    assert_int_equal(disk_tag(h, "disk0", 3), 33);
    assert_int_equal(disk_tag(h, "disk0", 5), 6);
    ok(head_close(h, e));
    close(lock);

    ok(machine_export(s, id, NULL, drop, NULL, NULL, e));

    /* gone, another in its place, and moved */
    store_close(s);
    assert_int_equal(rename(base, moved), 0);
    ok(store_open(dir, 0, &s, e));
    fails(VT_CORRUPT, "the base of this machine", machine_export(s, id, NULL, drop, NULL, NULL, e));
    store_close(s);
    ok(base_export(f->s, f->machine, NULL, base, NULL, e));
    ok(store_open(dir, 0, &s, e));
    fails(VT_CORRUPT, "is another store", machine_export(s, id, NULL, drop, NULL, NULL, e));
    fails(VT_EXISTS, "", base_import(s, moved, NULL, NULL, &twin, NULL, e)); /* that is where it is now */
    ok(machine_export(s, id, NULL, drop, NULL, NULL, e));
    drop_store(s, dir);
    free(base);
    free(moved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_machine_moves_whole, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_base_file_goes_along, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(damage_is_seen, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(an_import_that_ends_leaves_nothing, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_machine_stands_on_a_base, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
