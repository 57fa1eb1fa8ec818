/* Machines and snapshots as rows: names, trees, deletion, locks, versions, first images. */
#include "tests/store/fixture.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "snapshot/hostfs.h"

static void names_are_found(void **state)
{
    struct fixture *f = *state;
    int64_t clean, after, id = 0;

    clean = take(f->h, "clean", 0);
    after = take(f->h, "after-install", 0);
    take(f->h, "after-upgrade", 0);
    ok(snapshot_find(f->s, f->machine, "clean", true, &id, e));
    assert_int_equal(id, clean);
    ok(snapshot_find(f->s, f->machine, "cl", false, &id, e));
    assert_int_equal(id, clean);
    ok(snapshot_find(f->s, f->machine, "after-install~1", false, &id, e));
    assert_int_equal(id, clean);
    ok(snapshot_find(f->s, f->machine, "after-u~", false, &id, e));
    assert_int_equal(id, after);
    ok(snapshot_find(f->s, f->machine, "after-u~2", false, &id, e));
    assert_int_equal(id, clean);
    fails(VT_NOENT, "web@cleen: no such snapshot (did you mean \"clean\"?)",
          snapshot_find(f->s, f->machine, "cleen", false, &id, e));
    fails(VT_NOENT, "did you mean \"clean\"?", snapshot_find(f->s, f->machine, "cl", true, &id, e));
    fails(VT_USAGE, "after-install, after-upgrade", snapshot_find(f->s, f->machine, "after", false, &id, e));
    fails(VT_NOENT, "has no parent", snapshot_find(f->s, f->machine, "clean~1", false, &id, e));
    fails(VT_USAGE, "number", snapshot_find(f->s, f->machine, "clean~x", false, &id, e));
    fails(VT_NOENT, "no such snapshot", snapshot_find(f->s, f->machine, "", false, &id, e));
    ok(machine_find(f->s, "we", false, &id, e));
    assert_int_equal(id, f->machine);
    fails(VT_NOENT, "did you mean \"web\"?", machine_find(f->s, "wbe", false, &id, e));
}

static void machines_have_unlike_names(void **state)
{
    struct fixture *f = *state;
    struct slot_spec disk = {.slot = "disk0", .bytes = 1 << 20, .import_fd = -1};
    struct machine_info *list;
    int64_t id = 0, used = -1;
    size_t n;

    fails(VT_EXISTS, "web: there is a machine", machine_create(f->s, "web", "{}", &disk, 1, NULL, NULL, &id, e));
    fails(VT_USAGE, "no name for a machine", machine_create(f->s, "-x", "{}", &disk, 1, NULL, NULL, &id, e));
    fails(VT_USAGE, "no name for a machine", machine_create(f->s, "a/b", "{}", &disk, 1, NULL, NULL, &id, e));
    disk.bytes = 1000;
    fails(VT_USAGE, "no size", machine_create(f->s, "db", "{}", &disk, 1, NULL, NULL, &id, e));
    disk.bytes = 1 << 20;
    ok(machine_create(f->s, "db", "{\"mem\":1}", &disk, 1, NULL, NULL, &id, e));
    ok(store_use_get(f->s, &used, e));
    assert_int_equal(used, 0);
    ok(store_use_set(f->s, id, e));
    ok(store_use_get(f->s, &used, e));
    assert_int_equal(used, id);
    fails(VT_EXISTS, "web", machine_rename(f->s, id, "web", e));
    ok(machine_rename(f->s, id, "db2", e));
    ok(machine_set_config(f->s, id, "{\"mem\":2}", e));
    ok(machine_list(f->s, &list, &n, e));
    assert_int_equal(n, 2);
    assert_string_equal(list[0].name, "db2");
    assert_string_equal(list[0].config, "{\"mem\":2}");
    assert_string_equal(list[1].name, "web");
    machine_list_free(list, n);
    ok(machine_rm(f->s, id, e));
    fails(VT_NOENT, "no such machine", machine_find(f->s, "db2", true, &id, e));
    ok(store_use_get(f->s, &used, e));
    assert_int_equal(used, 0);
    ok(machine_create(f->s, "db2", "{}", &disk, 1, NULL, NULL, &id, e)); /* the name is free again */
}

static void a_deleted_snapshot_leaves_its_children_whole(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info *list, one;
    struct image *i;
    int64_t a, b, c;
    size_t n;

    disk_put(f->h, "disk0", 1, 1);
    a = take(f->h, "a", 100);
    disk_put(f->h, "disk0", 2, 2);
    b = take(f->h, "b", 200);
    disk_put(f->h, "disk0", 3, 3);
    c = take(f->h, "c", 300);
    ok(head_reset(f->h, b, e));
    ok(snapshot_delete(f->s, b, e));
    assert_int_equal(head_parent(f->h), a);
    ok(snapshot_list(f->s, f->machine, &list, &n, e));
    assert_int_equal(n, 2);
    assert_string_equal(list[0].name, "a");
    assert_true(list[0].current);
    assert_string_equal(list[1].name, "c");
    assert_int_equal(list[1].parent, a);
    assert_string_equal(list[1].parent_name, "a");
    assert_int_equal(list[1].ram_bytes, RAM_PAGES * PAGE);
    assert_int_equal(list[1].state_bytes, 12);
    assert_int_equal(list[1].power, POWER_RUNNING);
    assert_true(list[1].own_bytes > 4096);
    snapshot_list_free(list, n);
    ok(image_open(f->s, c, "disk0", ROOT_LIVE, &i, e));
    for (uint64_t p = 1; p <= 3; p++)
        assert_int_equal(image_tag(i, p), p);
    image_close(i);
    assert_int_equal(disk_tag(f->h, "disk0", 2), 2); /* the head stood on it, and has its bytes */
    take(f->h, "b", 0);                              /* the name is free */
    fails(VT_NOENT, "deleted", snapshot_get(f->s, b, &one, e));
    fails(VT_NOENT, "deleted", head_reset(f->h, b, e));
    fails(VT_EXISTS, "c: there is a snapshot", snapshot_rename(f->s, a, "c", e));
    ok(snapshot_rename(f->s, a, "first", e));
    ok(snapshot_set_note(f->s, a, "before all", e));
    ok(snapshot_get(f->s, a, &one, e));
    assert_string_equal(one.name, "first");
    assert_string_equal(one.note, "before all");
    snapshot_info_release(&one);
}

static void a_taken_name_costs_nothing(void **state)
{
    struct fixture *f = *state;
    struct snap_meta meta = {.name = "a"};
    struct head_pos live;
    struct snap *p;
    int64_t id;

    take(f->h, "a", 0);
    disk_put(f->h, "disk0", 9, 9);
    ok(head_seal(f->h, &live, e));
    ok(snap_begin(f->h, NULL, &live, &p, e));
    fails(VT_EXISTS, "a: there is a snapshot", snap_commit(p, &meta, &id, NULL, e));
    meta.name = "no/good";
    ok(head_seal(f->h, &live, e));
    ok(snap_begin(f->h, NULL, &live, &p, e));
    fails(VT_USAGE, "no name for a snapshot", snap_commit(p, &meta, &id, NULL, e));
    take(f->h, "b", 0);
    assert_int_equal(disk_tag(f->h, "disk0", 9), 9);
}

static void the_device_state_comes_back(void **state)
{
    struct fixture *f = *state;
    size_t len = 3 * PAGE + 77, got = 0;
    uint8_t *blob = malloc(len);
    struct snap_meta meta = {.name = "s", .note = "n", .hardware = "{\"mem\":1}", .cpu_features = "sse2", .vclock = -5};
    struct snapshot_info info;
    struct head_pos live;
    struct snap *p;
    void *back;
    int64_t id;

    for (size_t i = 0; i < len; i++)
        blob[i] = (uint8_t)(i * 7 + i / 256);
    ok(head_seal(f->h, &live, e));
    ok(snap_begin(f->h, NULL, &live, &p, e));
    ok(snap_put_state(p, blob, len, e));
    ok(snap_commit(p, &meta, &id, NULL, e));
    ok(snapshot_state(f->s, id, &back, &got, e));
    assert_int_equal(got, len);
    assert_memory_equal(back, blob, len);
    free(back);
    free(blob);
    ok(snapshot_get(f->s, id, &info, e));
    assert_int_equal(info.state_bytes, len);
    assert_int_equal(info.vclock, -5);
    assert_string_equal(info.hardware, "{\"mem\":1}");
    assert_string_equal(info.cpu_features, "sse2");
    assert_true(info.current);
    snapshot_info_release(&info);
    id = take(f->h, "none", 0);
    ok(snapshot_state(f->s, id, &back, &got, e));
    assert_null(back);
    assert_int_equal(got, 0);
}

static void the_machine_lock_holds_in_other_processes(void **state)
{
    struct fixture *f = *state;
    bool taken = false;
    int status, fd;
    pid_t pid;

    fails(VT_BUSY, "in use by another process", machine_lock(f->s, f->machine, &fd, e));
    ok(machine_locked(f->s, f->machine, &taken, e));
    assert_true(taken);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) { /* inherits the descriptor: it is the same lock */
        int r = machine_lock_adopt(f->s, f->machine, f->lock, NULL);
        _exit(r ? 1 : machine_lock(f->s, f->machine, &fd, NULL) == VT_BUSY ? 0 : 2);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    fails(VT_USAGE, "not the lock file", machine_lock_adopt(f->s, f->machine, 0, e));
    close(f->lock);
    ok(machine_locked(f->s, f->machine, &taken, e));
    assert_false(taken);
    ok(machine_lock(f->s, f->machine, &f->lock, e));
}

static void run_sql(const char *dir, const char *sql)
{
    char *path;
    sqlite3 *db;

    assert_true(asprintf(&path, "%s/store.db", dir) > 0);
    assert_int_equal(sqlite3_open(path, &db), 0);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), 0);
    sqlite3_close(db);
    free(path);
}

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

static void other_stores_are_refused(void **state)
{
    static const char text[] = "this is no database, but a text that is long enough to be looked at as one; here is "
                               "some more of it, and more.";
    char *dir = tmpdir_new(), *none, *path;
    struct store *s;

    assert_true(asprintf(&none, "%s/none", dir) > 0);
    fails(VT_NOENT, "none", store_open(none, 0, &s, e));
    fails(VT_NOENT, "no store here", store_open(dir, 0, &s, e));
    ok(store_open(dir, STORE_CREATE, &s, e));
    assert_int_equal(strlen(store_uuid(s)), 36);
    store_close(s);
    ok(store_open(dir, 0, &s, e));
    store_close(s);
    run_sql(dir, "PRAGMA user_version = 99");
    fails(VT_VERSION, "newer vmtest", store_open(dir, STORE_CREATE, &s, e));
    fails(VT_VERSION, "newer vmtest", store_open(dir, 0, &s, e));
    run_sql(dir, "PRAGMA user_version = 0");
    fails(VT_CORRUPT, "not a store's", store_open(dir, STORE_CREATE, &s, e));
    assert_true(asprintf(&path, "%s/store.db", dir) > 0);
    write_file(path, text, sizeof text);
    fails(VT_CORRUPT, "store.db", store_open(dir, 0, &s, e));
    free(path);
    free(none);
    rmtree(dir);
    free(dir);
}

static void network_file_systems_are_known(void **state)
{
    assert_string_equal(hostfs_network_magic(0x6969), "nfs");
    assert_string_equal(hostfs_network_magic(0xff534d42), "cifs");
    assert_null(hostfs_network_magic(0xef53));     /* ext4 */
    assert_null(hostfs_network_magic(0x01021994)); /* tmpfs */
    assert_true(hostfs_network_type("fuse.sshfs"));
    assert_false(hostfs_network_type("fuse.fuse-overlayfs"));
}

static void images_are_imported_or_used_in_place(void **state)
{
    struct fixture *f = *state;
    uint8_t data[10 * PAGE + 512];
    struct slot_spec slots[2] = {{.slot = "disk0", .import_fd = -1}, {.slot = "disk1", .bytes = 16 * PAGE}};
    struct slot_info *list;
    struct image *i, *again;
    struct stat st;
    struct head *h;
    char *path;
    int64_t id, other;
    size_t n;
    int lock;

    for (unsigned p = 0; p < 11; p++) {
        uint8_t page[PAGE];
        page_make(page, p % 3 ? 70 + p : 0);
        memcpy(data + p * PAGE, page, p < 10 ? PAGE : 512);
    }
    assert_true(asprintf(&path, "%s/base.raw", f->dir) > 0);
    write_file(path, data, sizeof data);
    slots[0].base_path = path;
    slots[1].import_fd = open(path, O_RDONLY | O_CLOEXEC);
    ok(machine_create(f->s, "both", "{}", slots, 2, NULL, NULL, &id, e));
    close(slots[1].import_fd);
    ok(machine_lock(f->s, id, &lock, e));
    ok(head_open(f->s, id, 0, &h, e));
    assert_int_equal(head_disk(h, "disk0")->size, sizeof data);
    assert_int_equal(head_disk(h, "disk1")->size, 16 * PAGE);
    for (unsigned p = 0; p < 10; p++) {
        assert_int_equal(disk_tag(h, "disk0", p), p % 3 ? 70 + p : 0);
        assert_int_equal(disk_tag(h, "disk1", p), p % 3 ? 70 + p : 0);
    }
    disk_put(h, "disk0", 4, 5000);
    disk_put(h, "disk0", 5, 0); /* zero over the file's data */
    ok(slots_list(f->s, id, take(h, "s", 0), &list, &n, e));
    assert_int_equal(n, 2);
    assert_string_equal(list[0].slot, "disk0");
    assert_string_equal(list[0].base_path, path);
    assert_null(list[1].base_path);
    slots_list_free(list, n);
    ok(head_image(h, "disk0", &i, e));
    assert_int_equal(image_tag(i, 4), 5000);
    assert_int_equal(image_tag(i, 5), 0);
    assert_int_equal(image_tag(i, 7), 77);
    /* that it is open already is no reason to believe it */
    assert_int_equal(stat(path, &st), 0);
    data[PAGE + 100] ^= 1;
    write_file(path, data, sizeof data);
    fails(VT_CORRUPT, "changed since", head_image(h, "disk0", &again, e));
    data[PAGE + 100] ^= 1;
    write_file(path, data, sizeof data);
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){st.st_atim, st.st_mtim}, 0), 0);
    ok(head_image(h, "disk0", &again, e));
    assert_int_equal(image_tag(again, 7), 77);
    image_close(i);
    assert_int_equal(image_tag(again, 8), 78);
    image_close(again);
    ok(head_close(h, e));
    data[PAGE + 100] ^= 1;
    write_file(path, data, sizeof data);
    fails(VT_CORRUPT, "changed since", head_open(f->s, id, 0, &h, e));
    unlink(path);
    fails(VT_CORRUPT, "cannot be opened", head_open(f->s, id, 0, &h, e));
    close(lock);
    slots[0].base_path = "/nonexistent/x";
    fails(VT_NOENT, "/nonexistent/x", machine_create(f->s, "m", "{}", slots, 1, NULL, NULL, &other, e));
    ok(machine_rm(f->s, id, e)); /* the check at the end would rightly miss the file */
    free(path);
}

/* These pages of it may have data, and no others. */
static void expect_data(struct image *i, const uint64_t *want, size_t n)
{
    uint64_t page = 0;
    bool found;

    for (size_t k = 0; k < n; k++, page++) {
        ok(image_next_data(i, &page, &found, e));
        assert_true(found);
        assert_int_equal(page, want[k]);
    }
    ok(image_next_data(i, &page, &found, e));
    assert_false(found);
}

static void holes_of_a_base_file_are_not_read(void **state)
{
    const uint64_t far = (UINT64_C(1) << 40) / PAGE; /* 1 TiB on */
    struct fixture *f = *state;
    struct slot_spec slot = {.slot = "disk0", .import_fd = -1, .bytes = (far + 4096) * PAGE};
    uint8_t page[PAGE];
    struct image *i;
    struct head *h;
    char *path;
    int64_t id;
    int lock, fd;

    assert_true(asprintf(&path, "%s/sparse.raw", f->dir) > 0);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    page_make(page, 9);
    assert_int_equal(ftruncate(fd, (off_t)(far + 2048) * PAGE), 0);
    for (unsigned k = 0; k < 3; k++)
        assert_int_equal(pwrite(fd, page, PAGE, (off_t)(far * k / 2 + 700) * PAGE), PAGE);
    if (lseek(fd, 0, SEEK_DATA) != 700 * PAGE)
        skip(); /* this file system has no holes */
    close(fd);
    slot.base_path = path;
    ok(machine_create(f->s, "sparse", "{}", &slot, 1, NULL, NULL, &id, e));
    ok(machine_lock(f->s, id, &lock, e));
    ok(head_open(f->s, id, 0, &h, e));
    ok(head_image(h, "disk0", &i, e));
    expect_data(i, (uint64_t[]){700, far / 2 + 700, far + 700}, 3);
    image_close(i);
    disk_put(h, "disk0", 5, 5);
    disk_put(h, "disk0", far / 2 + 700, 0);
    disk_put(h, "disk0", far / 2 + 701, 7);
    disk_put(h, "disk0", far + 3000, 8);           /* past the end of the file */
    for (unsigned round = 0; round < 2; round++) { /* in the log, then in the map */
        ok(head_image(h, "disk0", &i, e));
        expect_data(i, (uint64_t[]){5, 700, far / 2 + 701, far + 700, far + 3000}, 5);
        assert_int_equal(image_tag(i, 700), 9);
        image_close(i);
        if (!round)
            take(h, "s", 0);
    }
    ok(head_close(h, e));
    close(lock);
    ok(machine_rm(f->s, id, e));
    free(path);
}

static void slots_come_grow_and_go(void **state)
{
    struct fixture *f = *state;
    struct slot_spec disk1 = {.slot = "disk1", .bytes = 3 * PAGE, .import_fd = -1};
    int64_t a;

    disk_put(f->h, "disk0", 9, 9);
    a = take(f->h, "a", 0);
    ok(head_close(f->h, e));
    ok(machine_set_slot(f->s, f->machine, &disk1, e));
    disk1.bytes = 2 * PAGE;
    fails(VT_USAGE, "not shrink", machine_set_slot(f->s, f->machine, &disk1, e));
    disk1.bytes = (UINT64_C(3) << 30) + 512; /* another level of the map */
    ok(machine_set_slot(f->s, f->machine, &disk1, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
    disk_put(f->h, "disk1", 1, 1);
    disk_put(f->h, "disk1", 700000, 7);
    take(f->h, "b", 0);
    assert_int_equal(disk_tag(f->h, "disk1", 700000), 7);
    ok(head_reset(f->h, a, e));
    assert_null(head_disk(f->h, "disk1"));
    assert_int_equal(disk_tag(f->h, "disk0", 9), 9);
    ok(head_close(f->h, e));
    disk1 = (struct slot_spec){.slot = "disk0", .bytes = (UINT64_C(2) << 30), .import_fd = -1};
    ok(machine_set_slot(f->s, f->machine, &disk1, e)); /* a map of one level grows to two */
    ok(head_open(f->s, f->machine, 0, &f->h, e));
    disk_put(f->h, "disk0", 500000, 5);
    take(f->h, "c", 0);
    assert_int_equal(disk_tag(f->h, "disk0", 9), 9);
    assert_int_equal(disk_tag(f->h, "disk0", 500000), 5);
    assert_int_equal(disk_tag(f->h, "disk0", DISK_PAGES), 0);
    ok(head_close(f->h, e));
    disk1.slot = "disk7";
    disk1.bytes = 0;
    fails(VT_NOENT, "no disk7", machine_set_slot(f->s, f->machine, &disk1, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
}

/* What was deleted goes, what is left stays whole, and what a running machine or a fork may read waits. */
static void space_is_taken_back(void **state)
{
    struct fixture *f = *state;
    struct slot_spec disk = {.slot = "disk0", .bytes = DISK_PAGES * PAGE, .import_fd = -1};
    struct gc_stats st;
    struct image *i;
    struct head *fork_head, *h;
    int64_t a, b, other;
    int lock;

    ok(undo_keep_set(f->s, 0, e));
    for (uint64_t p = 0; p < 100; p++)
        disk_put(f->h, "disk0", p, 1 + p);
    a = take(f->h, "a", 9000);
    for (uint64_t p = 50; p < 100; p++)
        disk_put(f->h, "disk0", p, 1000 + p);
    b = take(f->h, "b", 9500);
    ok(snapshot_delete(f->s, a, e));
    ok(store_gc(f->s, &st, e));
    assert_int_equal(st.snapshots, 0); /* its machine is locked */
    ok(head_fork(f->s, b, &fork_head, e));
    ok(head_close(f->h, e));
    close(f->lock);
    ok(store_gc(f->s, &st, e));
    assert_int_equal(st.snapshots, 1);
    assert_true(st.nodes > 0);
    assert_int_equal(st.packs, 0); /* b shares half of the disk's pages, in the same pack */
    check_sound(f->s);
    assert_int_equal(disk_tag(fork_head, "disk0", 10), 11);
    ok(head_close(fork_head, e));
    ok(image_open(f->s, b, "disk0", ROOT_LIVE, &i, e));
    for (uint64_t p = 0; p < 100; p++)
        assert_int_equal(image_tag(i, p), p < 50 ? 1 + p : 1000 + p);
    image_close(i);

    ok(machine_create(f->s, "other", "{}", &disk, 1, NULL, NULL, &other, e));
    ok(machine_lock(f->s, other, &lock, e));
    ok(head_open(f->s, other, 0, &h, e));
    for (uint64_t p = 0; p < 200; p++)
        disk_put(h, "disk0", p, 70000 + p);
    b = take(h, "only", 80000);
    for (uint64_t p = 0; p < 200; p++)
        disk_put(h, "disk0", p, 0);
    take(h, "empty", 0);
    ok(snapshot_delete(f->s, b, e));
    ok(head_close(h, e));
    close(lock);
    ok(store_maintain(f->s, e)); /* the same, by itself */
    ok(store_gc(f->s, &st, e));
    assert_int_equal(st.snapshots + st.packs, 0);
    ok(machine_rm(f->s, other, e));
    ok(store_maintain(f->s, e));
    ok(machine_lock(f->s, f->machine, &f->lock, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
    for (uint64_t p = 0; p < 200; p++) /* pages that were stored once, and went: they must not be found again */
        disk_put(f->h, "disk0", p, 70000 + p);
    take(f->h, "again", 80000);
    for (uint64_t p = 0; p < 200; p++)
        assert_int_equal(disk_tag(f->h, "disk0", p), 70000 + p);
}

static void gc_waits_for_writers(void **state)
{
    struct fixture *f = *state;
    struct head_pos live;
    struct snap *p;

    ok(head_seal(f->h, &live, e));
    ok(snap_begin(f->h, NULL, &live, &p, e));
    fails(VT_BUSY, "being written", store_gc(f->s, NULL, e));
    ok(store_maintain(f->s, e));
    snap_abort(p);
    ok(store_gc(f->s, NULL, e));
}

struct seen {
    uint64_t pages[16];
    size_t n;
};

static int note(void *opaque, const struct image_diff *d, struct err *e)
{
    struct seen *s = opaque;

    assert_true(s->n < ARRAY_LEN(s->pages));
    s->pages[s->n++] = d->page << 2 | (uint64_t)d->a_zero << 1 | d->b_zero;
    return 0;
}

static void comparing_finds_what_differs(void **state)
{
    struct fixture *f = *state;
    struct image *a, *b, *head;
    struct seen s = {0};
    int64_t ia, ib;

    disk_put(f->h, "disk0", 1, 1);
    disk_put(f->h, "disk0", 2, 2);
    ia = take(f->h, "a", 0);
    disk_put(f->h, "disk0", 2, 22);
    disk_put(f->h, "disk0", 3000, 3);
    disk_put(f->h, "disk0", 1, 0);
    ib = take(f->h, "b", 0);
    disk_put(f->h, "disk0", 3001, 4);
    disk_put(f->h, "disk0", 0, 5);
    ok(image_open(f->s, ia, "disk0", ROOT_LIVE, &a, e));
    ok(image_open(f->s, ib, "disk0", ROOT_LIVE, &b, e));
    ok(head_image(f->h, "disk0", &head, e));
    ok(image_compare(a, b, note, &s, e));
    assert_int_equal(s.n, 3);
    assert_int_equal(s.pages[0], 1 << 2 | 1);
    assert_int_equal(s.pages[1], 2 << 2);
    assert_int_equal(s.pages[2], 3000 << 2 | 2);
    s.n = 0;
    ok(image_compare(a, head, note, &s, e));
    assert_int_equal(s.n, 5);
    assert_int_equal(s.pages[0], 0 << 2 | 2);
    assert_int_equal(s.pages[4], 3001 << 2 | 2);
    s.n = 0;
    ok(image_compare(a, a, note, &s, e));
    assert_int_equal(s.n, 0);
    image_close(a);
    image_close(b);
    image_close(head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_are_found, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(machines_have_unlike_names, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_deleted_snapshot_leaves_its_children_whole, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_taken_name_costs_nothing, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(the_device_state_comes_back, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(the_machine_lock_holds_in_other_processes, fixture_setup, fixture_teardown),
        cmocka_unit_test(other_stores_are_refused),
        cmocka_unit_test(network_file_systems_are_known),
        cmocka_unit_test_setup_teardown(images_are_imported_or_used_in_place, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(holes_of_a_base_file_are_not_read, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(slots_come_grow_and_go, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(space_is_taken_back, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(gc_waits_for_writers, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(comparing_finds_what_differs, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
