/* Crashes while things are reverted, deleted, removed and taken back: named snapshots stay, the head has what was
 * flushed, and what the store then says can be taken back, can be. */
#include "tests/store/record.h"

#include <stdio.h>
#include <unistd.h>
#include "src/base/units.h"
#include "snapshot/store.h"

#define TAGS 3

/* From operation `at` on (and until the next one's) page 1 of the head has one of these tags. */
struct phase {
    size_t at;
    uint64_t tags[TAGS];
};
struct script {
    struct record rec;
    struct fixture f;
    struct phase phases[16];
    size_t n_phases;
    size_t made, a, b;                     /* operations after which each is there */
    size_t b_going, b_back, going, m_back; /* between these it need not be */
};

static void phase(struct script *c, uint64_t x, uint64_t y, uint64_t z)
{
    c->phases[c->n_phases++] = (struct phase){c->rec.n, {x, y, z}};
}

static void open_head(struct fixture *f)
{
    ok(machine_lock(f->s, f->machine, &f->lock, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
}

static void close_head(struct fixture *f)
{
    ok(head_close(steal(&f->h), e));
    close(steal_fd(&f->lock));
}

static void write_flushed(struct script *c, uint64_t tag)
{
    disk_put(c->f.h, "disk0", 1, tag);
    disk_sync(c->f.h, "disk0");
}

static int64_t last_entry(struct store *s, int64_t machine, char verb[8])
{
    struct undo_info *list = NULL;
    int64_t id = 0;
    size_t n = 0;

    ok(undo_list(s, machine, &list, &n, e));
    if (n) {
        id = list[0].id;
        snprintf(verb, 8, "%s", list[0].verb);
    }
    undo_list_free(list, n);
    return id;
}

static void undo_revert(struct fixture *f)
{
    char verb[8] = "";
    int64_t id = last_entry(f->s, f->machine, verb);

    assert_string_equal(verb, "revert");
    ok(head_undo(f->h, id, e));
}

static void undo_row(struct fixture *f, const char *want)
{
    char verb[8] = "";
    int64_t id = last_entry(f->s, f->machine, verb);

    assert_string_equal(verb, want);
    ok(undo_apply(f->s, id, e));
}

static void run(struct script *c)
{
    struct slot_spec disk = {.slot = "disk0", .bytes = 700 * PAGE, .import_fd = -1};
    struct sio_hook hook = {record_hook, &c->rec};
    struct fixture *f = &c->f;
    int64_t a, when;

    f->dir = tmpdir_new();
    phase(c, 0, 10, 0);
    ok(store_open_hooked(f->dir, STORE_CREATE, &hook, &f->s, e));
    ok(machine_create(f->s, "web", "{}", &disk, 1, NULL, NULL, &f->machine, e));
    c->made = c->rec.n;
    open_head(f);
    write_flushed(c, 10);
    a = take(f->h, "a", 0);
    c->a = c->rec.n;
    phase(c, 10, 20, 20);
    ok(head_prepare(f->h, e));
    write_flushed(c, 20);
    when = clock_wall_ns();
    phase(c, 20, 30, 30);
    take(f->h, "b", 500);
    c->b = c->rec.n;
    write_flushed(c, 30);
    phase(c, 30, 10, 40);
    ok(head_reset(f->h, a, e));
    write_flushed(c, 40);
    phase(c, 40, 30, 50);
    undo_revert(f);
    write_flushed(c, 50);
    phase(c, 50, 20, 20);
    ok(head_reset_past(f->h, when, e));
    phase(c, 20, 20, 20);
    ok(store_maintain(f->s, e));
    close_head(f);
    c->b_going = c->rec.n;
    {
        int64_t b = 0;
        ok(snapshot_find(f->s, f->machine, "b", true, &b, e));
        ok(snapshot_delete(f->s, b, e));
    }
    ok(store_maintain(f->s, e));
    undo_row(f, "delete");
    c->b_back = c->rec.n;
    c->going = c->rec.n;
    ok(machine_rm(f->s, f->machine, e));
    ok(store_maintain(f->s, e));
    undo_row(f, "rm");
    c->m_back = c->rec.n;
    ok(undo_forget_all(f->s, e));
    ok(store_gc(f->s, NULL, e));
    store_close(f->s);
}

static bool within(size_t n, size_t from, size_t to)
{
    return n >= from && n < to;
}

static void wrong(const struct crash *c, const char *what)
{
    fail_msg("%s after operation %zu (crash kind %d, operation %zu)", what, c->n, (int)c->kind, c->which);
}

static void look_at_snapshot(struct store *s, int64_t machine, const char *name, uint64_t tag, bool must,
                             const struct crash *c)
{
    struct image *i;
    int64_t id = 0;
    int r = snapshot_find(s, machine, name, true, &id, NULL);

    if (r && must)
        wrong(c, "a snapshot is missing");
    if (r)
        return;
    ok(image_open(s, id, "disk0", ROOT_LIVE, &i, e));
    assert_int_equal(image_tag(i, 1), tag);
    image_close(i);
}

/* Whatever the store offers to take back works, and leaves it sound. */
static void take_all_back(struct fixture *f)
{
    char verb[8] = "";
    int64_t id;

    for (int i = 0; i < 9 && (id = last_entry(f->s, f->machine, verb)); i++) {
        if (strcmp(verb, "revert") != 0) {
            ok(undo_apply(f->s, id, e));
            continue;
        }
        open_head(f);
        ok(head_undo(f->h, id, e));
        disk_put(f->h, "disk0", 5, 77);
        disk_sync(f->h, "disk0");
        close_head(f);
    }
    check_sound(f->s);
}

static void look_at_machine(struct script *c, struct fixture *f, const struct crash *st)
{
    bool gone = within(st->n, c->b_going, c->b_back);
    size_t p = 0;
    uint64_t tag;
    bool good = false;

    while (p + 1 < c->n_phases && c->phases[p + 1].at <= st->n)
        p++;
    look_at_snapshot(f->s, f->machine, "a", 10, st->n >= c->a, st);
    look_at_snapshot(f->s, f->machine, "b", 20, st->n >= c->b && !gone, st);
    open_head(f);
    tag = disk_tag(f->h, "disk0", 1);
    for (int i = 0; i < TAGS; i++)
        good = good || tag == c->phases[p].tags[i];
    if (!good)
        print_message("page 1 has %llu in phase %zu (from %zu)\n", (unsigned long long)tag, p, c->phases[p].at);
    if (!good)
        wrong(st, "the head has not what was flushed");
    close_head(f);
    take_all_back(f);
    look_at_snapshot(f->s, f->machine, "a", 10, st->n >= c->a, st);
    look_at_snapshot(f->s, f->machine, "b", 20, st->n >= c->b && st->n < c->m_back, st);
}

static void look(struct script *c, struct crash st)
{
    struct fixture f = {.dir = tmpdir_new(), .lock = -1};
    int r;

    record_replay(&c->rec, &st, f.dir);
    ok(store_open(f.dir, STORE_CREATE, &f.s, e));
    check_sound(f.s);
    r = machine_find(f.s, "web", true, &f.machine, NULL);
    if (r && undo_find_removed(f.s, "web", &f.machine, NULL) == 0 && within(st.n, c->going, c->m_back))
        take_all_back(&f);
    else if (r && st.n >= c->made)
        wrong(&st, "the machine is missing");
    else if (!r)
        look_at_machine(c, &f, &st);
    store_close(f.s);
    rmtree(f.dir);
    free(f.dir);
}

static void undoing_bears_crashes(void **state)
{
    struct script c = {.f.lock = -1};
    size_t states = 0, *loose;

    run(&c);
    for (size_t n = 0; n <= c.rec.n; n++) {
        size_t k = record_unsynced(&c.rec, n, &loose);
        look(&c, (struct crash){n, CRASH_KILL, 0});
        states++;
        if (n == c.rec.n || c.rec.v[n].kind == SIO_SYNC || c.rec.v[n].kind == SIO_DIRSYNC) {
            look(&c, (struct crash){n, CRASH_POWER, 0});
            states++;
            for (size_t i = k > 4 ? k - 4 : 0; i < k; i++, states += 2) {
                look(&c, (struct crash){n, CRASH_LOST_ONE, loose[i]});
                look(&c, (struct crash){n, CRASH_ONLY_ONE, loose[i]});
            }
        }
        free(loose);
    }
    print_message("%zu operations, %zu states\n", c.rec.n, states);
    assert_true(states > 300);
    record_release(&c.rec);
    rmtree(c.f.dir);
    free(c.f.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(undoing_bears_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
