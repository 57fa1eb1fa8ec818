/* Several processes do everything to one store at once: two machines that both want, trees that both change, machines
 * made and removed, gc, check. Each notes what it did and was told, in shared memory; in the end the store has just
 * that: nothing is lost, nothing is damaged, nobody hangs, and who loses a conflict is told so.
 *
 * test_store_many SECONDS */
#include "tests/store/fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MACHINES  2
#define WORKERS   3
#define PAGES     96u /* of each machine's disk */
#define ALIVE_MAX 12  /* snapshots of a machine */

static unsigned long seconds = 12 / SLOW;

/* What the disk of a machine has, and its snapshots. Written only under that machine's lock in the store, or about a
 * snapshot that only one worker deletes; so any two that disagree with the store show a lost update. */
struct note {
    atomic_int deleted; /* 0: it is there; 1: being deleted; 2: is gone */
    unsigned renames;   /* by the one worker that renames it */
    int64_t id;
    uint32_t tag[PAGES];
};
struct board {
    struct {
        atomic_int n;
        struct note note[100000];
        uint32_t now[PAGES]; /* as last flushed by who held the lock */
    } machine[MACHINES];
    atomic_ulong busy, starved, locked, taken, deleted, renamed, reverted, swept, checked, made, removed, read;
    atomic_bool failed;
};

struct worker {
    struct board *b;
    struct store *s;
    int number;
    struct rng r;
    int64_t ids[MACHINES];
};

/* 0, or busy with a sentence that says by what; anything else fails. */
#define may_lose(b, call)                                    \
    ({                                                       \
        struct err l_e = {0}, *e = &l_e;                     \
        int l_r = (call);                                    \
        if (l_r && (l_r != VT_BUSY || strlen(l_e.msg) < 10)) \
            fail_msg("%s: %d: \"%s\"", #call, l_r, l_e.msg); \
        (b)->busy += l_r != 0;                               \
        l_r;                                                 \
    })

/* The same where there is no conflict but for the database: who did not get it for five seconds, on a busy host, is
 * told so, nothing was done, and the call can be made again. */
#define again(b, call)                                                                            \
    do {                                                                                          \
        struct err a_e = {0}, *e = &a_e;                                                          \
        int a_r, a_n = 0;                                                                         \
        while ((a_r = (call)) == VT_BUSY && strstr(a_e.msg, "the store is busy") && ++a_n < 20) { \
            a_e = (struct err){0};                                                                \
            (b)->starved++;                                                                       \
        }                                                                                         \
        if (a_r)                                                                                  \
            fail_msg("%s: %d: %s", #call, a_r, a_e.msg);                                          \
        (void)e;                                                                                  \
    } while (0)

static void compare_snapshot(struct worker *w, const struct note *n)
{
    struct image *i;

    again(w->b, image_open(w->s, n->id, "disk0", ROOT_LIVE, &i, e));
    for (uint32_t p = 0; p < PAGES; p++)
        assert_int_equal(image_tag(i, p), n->tag[p]);
    image_close(i);
    w->b->read++;
}

static int alive(struct worker *w, int m)
{
    int n = 0;

    for (int i = 0; i < w->b->machine[m].n; i++)
        n += !w->b->machine[m].note[i].deleted;
    return n;
}

/* One that is there and that this worker alone deletes and renames; -1: none. */
static int own(struct worker *w, int m)
{
    int n = w->b->machine[m].n, from = n ? (int)rng_below(&w->r, (uint64_t)n) : 0;

    for (int k = 0; k < n; k++) {
        int i = (from + k) % n;
        if (i % WORKERS == w->number && !w->b->machine[m].note[i].deleted)
            return i;
    }
    return -1;
}

static void name_of(int index, unsigned renames, char ret[32])
{
    snprintf(ret, 32, renames ? "s%d.%u" : "s%d", index, renames);
}

/* ---- what a worker does ---- */

static void flush(struct worker *w, struct head *h)
{
    struct blockdev *d = head_disk(h, "disk0");

    again(w->b, d->ops->flush(d, e));
}

static void write_some(struct worker *w, struct head *h, int m)
{
    uint32_t *now = w->b->machine[m].now;

    for (uint64_t k = 1 + rng_below(&w->r, 30); k; k--) {
        uint32_t p = (uint32_t)rng_below(&w->r, PAGES), tag = 1 + (uint32_t)rng_below(&w->r, 400);
        disk_put(h, "disk0", p, tag); /* few tags: much is shared */
        now[p] = tag;
    }
    flush(w, h);
}

static int snap_now(struct head *h, const char *name, int64_t *ret_id, struct err *e)
{
    struct snap_meta meta = {.name = name};
    struct head_pos live;
    struct snap *p;
    int r = head_seal(h, &live, e);

    if (!r && (r = snap_begin(h, NULL, &live, &p, e)))
        head_unmark(h, &live);
    return r ? r : snap_commit(p, &meta, ret_id, NULL, e);
}

static void take_one(struct worker *w, struct head *h, int m)
{
    int index = w->b->machine[m].n;
    struct note *n = &w->b->machine[m].note[index];
    char name[32];

    if (alive(w, m) >= ALIVE_MAX || index == (int)ARRAY_LEN(w->b->machine[m].note))
        return;
    name_of(index, 0, name);
    if (may_lose(w->b, snap_now(h, name, &n->id, e)))
        return;
    memcpy(n->tag, w->b->machine[m].now, sizeof n->tag);
    w->b->machine[m].n = index + 1; /* from here on others see it */
    w->b->taken++;
}

static void revert(struct worker *w, struct head *h, int m)
{
    int i = own(w, m); /* nobody else deletes it meanwhile */

    if (i < 0)
        return;
    again(w->b, head_reset(h, w->b->machine[m].note[i].id, e));
    memcpy(w->b->machine[m].now, w->b->machine[m].note[i].tag, sizeof w->b->machine[m].now);
    disk_put(h, "disk0", 0, 77);
    w->b->machine[m].now[0] = 77;
    flush(w, h);
    w->b->reverted++;
}

static void run_machine(struct worker *w, int m)
{
    struct head *h;
    int lock;

    if (may_lose(w->b, machine_lock(w->s, w->ids[m], &lock, e)))
        return;
    w->b->locked++;
    again(w->b, head_open(w->s, w->ids[m], 0, &h, e));
    for (uint32_t p = 0; p < PAGES; p++) /* what who held it before flushed */
        assert_int_equal(disk_tag(h, "disk0", p), w->b->machine[m].now[p]);
    for (uint64_t k = rng_below(&w->r, 4); k; k--) {
        write_some(w, h, m);
        if (rng_below(&w->r, 3))
            take_one(w, h, m);
        else
            revert(w, h, m);
    }
    ok(head_close(h, e)); /* all is flushed */
    close(lock);
}

static void delete_one(struct worker *w, int m)
{
    int i = own(w, m);
    struct note *n = &w->b->machine[m].note[i < 0 ? 0 : i];

    if (i < 0 || alive(w, m) < 3)
        return;
    n->deleted = 1;
    if (may_lose(w->b, snapshot_delete(w->s, n->id, e))) {
        n->deleted = 0;
        return;
    }
    n->deleted = 2;
    w->b->deleted++;
}

static void rename_one(struct worker *w, int m)
{
    int i = own(w, m);
    struct note *n = &w->b->machine[m].note[i < 0 ? 0 : i];
    char name[32];

    if (i < 0)
        return;
    name_of(i, n->renames + 1, name);
    if (may_lose(w->b, snapshot_rename(w->s, n->id, name, e)))
        return;
    n->renames++;
    w->b->renamed++;
}

/* While a fork of it is at work, who deletes a snapshot is told so. */
static void fork_one(struct worker *w, int m)
{
    int i = own(w, m);
    struct head *h;

    if (i < 0)
        return;
    again(w->b, head_fork(w->s, w->b->machine[m].note[i].id, &h, e));
    disk_put(h, "disk0", 3, 12345);
    fails(VT_BUSY, "in use", snapshot_delete(w->s, w->b->machine[m].note[i].id, e));
    assert_int_equal(disk_tag(h, "disk0", 4), w->b->machine[m].note[i].tag[4]);
    ok(head_close(h, e)); /* all is flushed */
}

/* A machine of its own comes, is told from others of the same name, and goes. */
static void passing_machine(struct worker *w)
{
    struct slot_spec disk = {.slot = "disk0", .bytes = 8 * PAGE, .import_fd = -1};
    struct err err = {0};
    int64_t id;
    int lock, r = machine_create(w->s, "passing", "{}", &disk, 1, NULL, NULL, &id, &err);

    if ((r == VT_EXISTS && strstr(err.msg, "passing")) || r == VT_BUSY) {
        w->b->busy++;
        return;
    }
    assert_int_equal(r, 0);
    w->b->made++;
    if (may_lose(w->b, machine_lock(w->s, id, &lock, e)))
        return;
    again(w->b, machine_rm(w->s, id, e));
    close(lock);
    w->b->removed++;
}

static void count_line(void *opaque, const char *line)
{
    print_message("check: %s\n", line);
    ++*(unsigned *)opaque;
}

static void check_all(struct worker *w)
{
    struct store_report rep;
    unsigned lines = 0;

    again(w->b, store_check(w->s, rng_below(&w->r, 2), count_line, &lines, &rep, e));
    assert_int_equal(lines, 0);
    w->b->checked++;
}

static void one_act(struct worker *w)
{
    uint64_t dice = rng_below(&w->r, 100);
    int m = (int)rng_below(&w->r, MACHINES), i;

    if (dice < 40) {
        run_machine(w, m);
    } else if (dice < 52) {
        delete_one(w, m);
    } else if (dice < 62) {
        rename_one(w, m);
    } else if (dice < 72) {
        fork_one(w, m);
    } else if (dice < 80) {
        passing_machine(w);
    } else if (dice < 86) {
        w->b->swept += !may_lose(w->b, store_gc(w->s, NULL, e));
    } else if (dice < 90) {
        again(w->b, store_maintain(w->s, e));
    } else if (dice < 91) {
        check_all(w);
    } else if ((i = own(w, m)) >= 0) {
        compare_snapshot(w, &w->b->machine[m].note[i]);
    }
}

static void work(struct worker *w, const char *dir)
{
    time_t end = time(NULL) + (time_t)seconds;

    again(w->b, store_open(dir, 0, &w->s, e));
    for (int m = 0; m < MACHINES; m++) {
        char name[8];
        snprintf(name, sizeof name, "m%d", m);
        again(w->b, machine_find(w->s, name, true, &w->ids[m], e));
    }
    while (time(NULL) < end && !w->b->failed) {
        one_act(w);
        if (!rng_below(&w->r, 50)) { /* as another process would */
            store_close(w->s);
            again(w->b, store_open(dir, 0, &w->s, e));
        }
    }
    store_close(w->s);
}

/* ---- the whole ---- */

static void look_at_machine(struct worker *w, int m)
{
    struct snapshot_info *list;
    size_t n, there = 0;
    struct head *h;
    int lock;

    ok(snapshot_list(w->s, w->ids[m], &list, &n, e));
    for (int i = 0; i < w->b->machine[m].n; i++) {
        struct note *note = &w->b->machine[m].note[i];
        struct snapshot_info info;
        char name[32];
        if (note->deleted) {
            fails(VT_NOENT, "deleted", snapshot_get(w->s, note->id, &info, e));
            continue;
        }
        name_of(i, note->renames, name);
        ok(snapshot_get(w->s, note->id, &info, e));
        assert_string_equal(info.name, name);
        snapshot_info_release(&info);
        compare_snapshot(w, note);
        there++;
    }
    assert_int_equal(n, there);
    snapshot_list_free(list, n);
    ok(machine_lock(w->s, w->ids[m], &lock, e));
    ok(head_open(w->s, w->ids[m], 0, &h, e));
    for (uint32_t p = 0; p < PAGES; p++)
        assert_int_equal(disk_tag(h, "disk0", p), w->b->machine[m].now[p]);
    ok(head_close(h, e));
    close(lock);
}

static void make_machines(const char *dir)
{
    struct slot_spec disk = {.slot = "disk0", .bytes = PAGES * PAGE, .import_fd = -1};
    struct store *s;
    int64_t id;

    ok(store_open(dir, STORE_CREATE, &s, e));
    for (int m = 0; m < MACHINES; m++) {
        char name[8];
        snprintf(name, sizeof name, "m%d", m);
        ok(machine_create(s, name, "{}", &disk, 1, NULL, NULL, &id, e));
    }
    store_close(s);
}

static void summary(const struct board *b)
{
    print_message(
        "%lu times a machine was held, %lu snapshots taken, %lu deleted, %lu renamed, %lu read, %lu reverts, "
        "%lu machines made, %lu removed, %lu sweeps, %lu checks; %lu conflicts, %lu of them for the database\n",
        b->locked, b->taken, b->deleted, b->renamed, b->read, b->reverted, b->made, b->removed, b->swept, b->checked,
        b->busy + b->starved, b->starved);
    assert_true(b->taken && b->deleted && b->renamed && b->reverted && b->made && b->removed && b->swept && b->busy);
}

static void processes_share_a_store(void **state)
{
    struct board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct worker w = {.b = b, .r = {(uint64_t)time(NULL)}};
    char *dir = tmpdir_new();
    pid_t pids[WORKERS];

    assert_true(b != MAP_FAILED);
    make_machines(dir);
    for (w.number = 0; w.number < WORKERS; w.number++) {
        fflush(NULL);
        pids[w.number] = fork();
        assert_true(pids[w.number] >= 0);
        rng_next(&w.r);
        if (pids[w.number])
            continue;
        alarm((unsigned)seconds + 120); /* a deadlock ends, and is a failure */
        work(&w, dir);
        _exit(0);
    }
    for (int i = 0; i < WORKERS; i++) {
        int status;
        waitpid(pids[i], &status, 0);
        if (status)
            b->failed = true; /* the others end soon */
    }
    assert_false(b->failed);
    ok(store_open(dir, 0, &w.s, e));
    for (int m = 0; m < MACHINES; m++) {
        char name[8];
        snprintf(name, sizeof name, "m%d", m);
        ok(machine_find(w.s, name, true, &w.ids[m], e));
        look_at_machine(&w, m);
    }
    ok(store_maintain(w.s, e));
    check_sound(w.s);
    store_close(w.s);
    summary(b);
    munmap(b, sizeof *b);
    rmtree(dir);
    free(dir);
}

/* ---- a store made by several at once ---- */

static void make_together(const char *dir, int number)
{
    struct slot_spec disk = {.slot = "disk0", .bytes = 64 * PAGE, .import_fd = -1};
    struct store *s;
    char name[16];
    int64_t id;

    snprintf(name, sizeof name, "m%d", number);
    ok(store_open(dir, STORE_CREATE, &s, e)); /* all may find no store, and make it */
    ok(machine_create(s, name, "{}", &disk, 1, NULL, NULL, &id, e));
    store_close(s);
}

static void a_store_is_made_once(void **state)
{
    for (int round = 0; round < 10; round++) {
        char *dir = tmpdir_new();
        struct machine_info *list;
        struct store *s;
        pid_t pids[3];
        size_t n;
        for (int i = 0; i < 3; i++) {
            fflush(NULL);
            pids[i] = fork();
            assert_true(pids[i] >= 0);
            if (!pids[i]) {
                make_together(dir, i);
                _exit(0);
            }
        }
        for (int i = 0; i < 3; i++) {
            int status;
            waitpid(pids[i], &status, 0);
            assert_int_equal(status, 0);
        }
        ok(store_open(dir, 0, &s, e));
        check_sound(s);
        ok(machine_list(s, &list, &n, e));
        assert_int_equal(n, 3);
        machine_list_free(list, n);
        store_close(s);
        rmtree(dir);
        free(dir);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_is_made_once),
        cmocka_unit_test(processes_share_a_store),
    };

    if (argc == 2)
        seconds = strtoul(argv[1], NULL, 10);
    if (argc > 2 || !seconds) {
        fprintf(stderr, "usage: %s [SECONDS]\n", argv[0]);
        return 64;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
