/* What check --repair mends, each damage made by hand, and what it must leave as it is. */
#include "tests/store/fixture.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void sql(struct fixture *f, const char *text)
{
    char *path, *why = NULL;
    sqlite3 *h;

    assert_true(asprintf(&path, "%s/store.db", f->dir) > 0);
    assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
    if (sqlite3_exec(h, text, NULL, NULL, &why))
        fail_msg("%s: %s", text, why);
    sqlite3_close(h);
    free(path);
}

struct lines {
    char text[2000];
};

static void add_line(void *opaque, const char *line)
{
    struct lines *l = opaque;
    size_t n = strlen(l->text);

    snprintf(l->text + n, sizeof l->text - n, "%s\n", line);
}

static struct lines repair(struct fixture *f, uint64_t want)
{
    struct lines l = {""};
    uint64_t done = 99;

    ok(store_repair(f->s, add_line, &l, &done, e));
    if (done != want)
        fail_msg("%llu repairs, not %llu:\n%s", (unsigned long long)done, (unsigned long long)want, l.text);
    return l;
}

static uint64_t problems(struct fixture *f, struct lines *l)
{
    struct store_report rep;

    *l = (struct lines){""};
    ok(store_check(f->s, true, add_line, l, &rep, e));
    return rep.problems;
}

static void must_say(const struct lines *l, const char *words)
{
    if (!strstr(l->text, words))
        fail_msg("\"%s\" is not in:\n%s", words, l->text);
}

/* Closes all, does it to the database, and opens the store again. */
static void damage(struct fixture *f, const char *text)
{
    ok(head_close(steal(&f->h), e));
    close(steal_fd(&f->lock));
    store_close(f->s);
    sql(f, text);
    ok(store_open(f->dir, 0, &f->s, e));
}

static void go_on(struct fixture *f)
{
    ok(machine_lock(f->s, f->machine, &f->lock, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
}

static void lost_rows_are_found_in_trailers(void **state)
{
    struct fixture *f = *state;
    struct image *i;
    struct lines l;
    int64_t a;

    for (uint64_t p = 0; p < 100; p++)
        disk_put(f->h, "disk0", p, 10 + p);
    a = take(f->h, "a", 500);
    damage(f, "DELETE FROM frame WHERE id IN (2, 3)");
    assert_true(problems(f, &l) > 0);
    must_say(&l, "web@a disk0");
    l = repair(f, 1);
    must_say(&l, "packs/1.pack: entered 2 of its frames");
    assert_int_equal(problems(f, &l), 0);
    ok(image_open(f->s, a, "disk0", ROOT_LIVE, &i, e));
    for (uint64_t p = 0; p < 100; p++)
        assert_int_equal(image_tag(i, p), 10 + p);
    image_close(i);
    repair(f, 0);
    go_on(f);
}

static void trees_are_mended(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info;
    struct lines l;
    int64_t c;

    take(f->h, "a", 0);
    take(f->h, "b", 0);
    c = take(f->h, "c", 0);
    damage(f, "UPDATE snapshot SET deleted_at = 1 WHERE name IN ('b', 'c'); UPDATE snapshot SET deleted_at = NULL "
              "WHERE name = 'c'");
    assert_true(problems(f, &l) >= 1);
    must_say(&l, "its parent was deleted");
    l = repair(f, 1);
    must_say(&l, "hung snapshots below deleted ones");
    assert_int_equal(problems(f, &l), 0);
    ok(snapshot_get(f->s, c, &info, e));
    assert_string_equal(info.parent_name, "a");
    snapshot_info_release(&info);
    go_on(f);
}

static void numbers_in_use_are_not_given_again(void **state)
{
    struct fixture *f = *state;
    struct lines l;

    disk_put(f->h, "disk0", 1, 1);
    take(f->h, "a", 0);
    damage(f, "UPDATE store SET next_frame = 1");
    assert_int_equal(problems(f, &l), 1);
    must_say(&l, "is in use");
    l = repair(f, 1);
    must_say(&l, "set the next numbers");
    assert_int_equal(problems(f, &l), 0);
    go_on(f);
    disk_put(f->h, "disk0", 1, 2);
    take(f->h, "b", 0);
}

/* Takes the index of frames out of the schema while a row changes. */
static void an_index_is_made_anew(void **state)
{
    struct fixture *f = *state;
    struct lines l;

    disk_put(f->h, "disk0", 1, 1);
    take(f->h, "a", 0);
    disk_put(f->h, "disk0", 1, 2);
    take(f->h, "b", 0);
    damage(f, "CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'snapshot_parent'; "
              "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'snapshot_parent'; "
              "PRAGMA writable_schema = RESET");
    store_close(f->s);
    sql(f, "UPDATE snapshot SET parent = NULL WHERE name = 'b'");
    sql(f, "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema SELECT * FROM kept; "
           "PRAGMA writable_schema = RESET");
    sql(f, "DROP TABLE kept");
    ok(store_open(f->dir, 0, &f->s, e));
    assert_true(problems(f, &l) > 0);
    l = repair(f, 1);
    must_say(&l, "indexes");
    assert_int_equal(problems(f, &l), 0);
    go_on(f);
}

static void append(struct fixture *f, const char *name, size_t n)
{
    char path[300], dirt[1000];
    int fd;

    memset(dirt, 0x5a, sizeof dirt);
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, dirt, n), n);
    close(fd);
}

static void what_a_killed_process_left_goes(void **state)
{
    struct fixture *f = *state;
    struct lines l;

    disk_put(f->h, "disk0", 1, 1);
    disk_sync(f->h, "disk0");
    damage(f, "SELECT 1");
    append(f, "heads/1.log", 700);
    append(f, "heads/77.log", 100);
    append(f, "packs/88.pack", 200);
    l = repair(f, 3);
    must_say(&l, "heads/1.log: cut 700 bytes");
    must_say(&l, "heads/77.log: removed");
    must_say(&l, "packs/88.pack: removed");
    repair(f, 0);
    go_on(f);
    assert_int_equal(disk_tag(f->h, "disk0", 1), 1);
}

/* Damage that nothing says twice stays, and is told; what is sound beside it stays, too. */
static void damage_is_not_painted_over(void **state)
{
    struct fixture *f = *state;
    struct store_report rep = {0};
    struct lines l = {""};
    struct image *i;
    int64_t a, b;
    char path[300];
    int fd;

    for (uint64_t p = 0; p < 16; p++)
        disk_put(f->h, "disk0", p, 10 + p);
    a = take(f->h, "a", 0);
    for (uint64_t p = 100; p < 116; p++)
        disk_put(f->h, "disk0", p, 10 + p);
    b = take(f->h, "b", 0);
    ok(store_check_images(f->s, NULL, NULL, &rep, e));
    assert_int_equal(rep.problems, 0);
    assert_true(rep.pages >= 16 + 32);
    snprintf(path, sizeof path, "%s/packs/2.pack", f->dir);
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\x5a\xa5", 2, 300), 2);
    close(fd);
    fixture_reopen(f);
    repair(f, 0);
    assert_int_equal(problems(f, &l), 1);
    must_say(&l, "packs/2.pack");
    l = (struct lines){""};
    ok(store_check_images(f->s, add_line, &l, &rep, e));
    assert_true(rep.problems >= 1);
    must_say(&l, "web@b disk0"); /* and says whose it is */
    assert_null(strstr(l.text, "web@a"));
    ok(image_open(f->s, a, "disk0", ROOT_LIVE, &i, e));
    assert_int_equal(image_tag(i, 3), 13);
    image_close(i);
    ok(undo_keep_set(f->s, 0, e)); /* away with it, for the teardown's check */
    ok(head_reset(f->h, a, e));
    ok(snapshot_delete(f->s, b, e));
    ok(head_close(steal(&f->h), e));
    close(steal_fd(&f->lock));
    ok(store_maintain(f->s, e));
    go_on(f);
}

/* What is kept of the past is proved, too. */
static void logs_of_the_past_are_checked(void **state)
{
    struct fixture *f = *state;
    struct lines l;
    char path[300];
    int64_t a;
    int fd;

    a = take(f->h, "a", 0);
    for (int i = 0; i < 4; i++) {
        disk_put(f->h, "disk0", 1, 10);
        disk_sync(f->h, "disk0");
    }
    ok(head_reset(f->h, a, e));
    disk_put(f->h, "disk0", 1, 20);
    damage(f, "SELECT 1");
    assert_int_equal(problems(f, &l), 0);
    snprintf(path, sizeof path, "%s/heads/1.log", f->dir);
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\x5a\xa5", 2, 64 + 16), 2); /* the first batch's header */
    close(fd);
    assert_int_equal(problems(f, &l), 1);
    must_say(&l, "kept for undo, disk0: heads/1.log: offset 64");
    ok(undo_forget_all(f->s, e));
    ok(store_maintain(f->s, e));
    assert_int_equal(problems(f, &l), 0);
    go_on(f);
    assert_int_equal(disk_tag(f->h, "disk0", 1), 20);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(lost_rows_are_found_in_trailers),    T(trees_are_mended),
        T(numbers_in_use_are_not_given_again), T(an_index_is_made_anew),
        T(what_a_killed_process_left_goes),    T(damage_is_not_painted_over),
        T(logs_of_the_past_are_checked),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
