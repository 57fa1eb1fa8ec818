/* A process that writes, flushes, takes snapshots and reports each is killed at a random moment, and the host with it:
 * what was not synced is lost, or some of it. What was reported is there afterwards; then it goes on from there. Some
 * rounds kill the process alone, and look at the files as they are.
 *
 * test_store_power ROUNDS      (VMTEST_SEED repeats the choices, not the host's timing) */
#include "tests/store/crash.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARENA       ((size_t)2 << 30) /* of which what is touched is taken */
#define MAX_MS      30u
#define STORE_LIVES 40u /* rounds, then another is begun */

static unsigned long rounds = 500 / SLOW;

struct shared {
    struct world w;
    struct record rec;
    uint64_t steps, flushes;
};

/* Until it is killed. */
static void live(struct shared *sh, uint64_t seed)
{
    struct rng r = {seed};

    world_open_again(&sh->w);
    for (;;) {
        world_step(&sh->w, &r);
        sh->steps++;
        world_write(&sh->w, (uint32_t)rng_below(&r, W_PAGES), false);
        world_flush(&sh->w);
        sh->flushes++;
    }
}

static void run_and_kill(struct shared *sh, uint64_t seed, uint64_t us)
{
    struct timespec t = {.tv_nsec = (long)us * 1000};
    int status;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        live(sh, seed);
    nanosleep(&t, NULL); /* the moment is the choice here; nothing is waited for */
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* else a step failed */
}

static struct crash choose(const struct record *rec, struct rng *r)
{
    struct crash c = {.n = rec->n, .kind = (enum crash_kind)rng_below(r, CRASH_KINDS)};
    size_t *loose, n = record_unsynced(rec, c.n, &loose);

    if (c.kind > CRASH_POWER && n)
        c.which = loose[rng_below(r, n)];
    else if (c.kind > CRASH_POWER)
        c.kind = CRASH_POWER;
    free(loose);
    return c;
}

static void one_round(struct shared *sh, struct rng *r)
{
    struct crash c;

    run_and_kill(sh, rng_next(r), rng_below(r, MAX_MS * 1000));
    c = choose(&sh->rec, r);
    if (c.kind == CRASH_KILL) {
        record_restart_here(&sh->rec, sh->w.dir);
    } else {
        rmtree(sh->w.dir);
        record_restart(&sh->rec, &c, sh->w.dir);
    }
    sh->w.second = NULL;      /* the dead process's */
    crash_resume(&sh->w, &c); /* is recorded, too: the next crash begins with it */
    check_sound(sh->w.s);
    world_compare(&sh->w);
    world_begin_anew(&sh->w);
    world_close(&sh->w);
    assert_int_equal(sh->w.retries, 0);
}

static void one_store(struct rng *r, unsigned long n, uint64_t *flushes)
{
    struct arena *a = arena_new(ARENA);
    struct shared *sh = arena_get(a, sizeof *sh);
    struct sio_hook hook = {record_hook, &sh->rec};
    char *dir = tmpdir_new();

    sh->rec.arena = a;
    world_open(&sh->w, dir, &hook, &sh->rec);
    sh->w.steady = true;
    world_close(&sh->w);
    for (unsigned long i = 0; i < n; i++)
        one_round(sh, r);
    *flushes += sh->flushes;
    world_release(&sh->w);
    record_release(&sh->rec);
    rmtree(dir);
    free(dir);
    arena_free(a);
}

static void what_was_reported_as_flushed_is_there(void **state)
{
    const char *given = getenv("VMTEST_SEED");
    struct rng r = {given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL)};
    uint64_t flushes = 0;

    print_message("seed %llu\n", (unsigned long long)r.x);
    for (unsigned long i = 0; i < rounds; i += STORE_LIVES)
        one_store(&r, MIN(rounds - i, (unsigned long)STORE_LIVES), &flushes);
    print_message("%lu rounds, %llu flushes reported\n", rounds, (unsigned long long)flushes);
    assert_true(flushes > rounds);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_reported_as_flushed_is_there),
    };

    if (argc == 2)
        rounds = strtoul(argv[1], NULL, 10);
    if (argc > 2 || !rounds) {
        fprintf(stderr, "usage: %s [ROUNDS]\n", argv[0]);
        return 64;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
