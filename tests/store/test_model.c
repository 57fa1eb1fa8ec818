/* Random operations on the store and on the model beside it, crashes and a second handle among them: all bytes agree,
 * at the end and along the way. VMTEST_SEED repeats a seed, VMTEST_STEPS sets how many steps are made in all. A round
 * that fails is made shorter, and printed with its steps and the call that repeats it:
 *
 *   test_store_model SEED STEP,STEP,…      makes just these steps, telling each */
#include "tests/store/shrink.h"
#include "tests/store/world.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUND_STEPS  500u
#define SHRINK_TRIES 300

static uint64_t seed;
static unsigned *chosen; /* steps, in order; NULL: all of a round */
static size_t n_chosen;

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *v = getenv(name);
    return v ? strtoull(v, NULL, 0) : otherwise;
}

/* A step's choices follow from the seed and its number alone, so that it stays what it is when others are left out. */
static void make_step(struct world *w, unsigned number)
{
    struct rng r = {seed * 1000003 + number};

    rng_next(&r);
    world_step(w, &r);
    if (number % 10 == 9)
        world_compare_head(w);
    if (number % 50 == 49) {
        world_compare(w);
        check_sound(w->s);
    }
}

static void one_round(void **state)
{
    struct record rec = {0};
    struct sio_hook hook = {record_hook, &rec};
    char *dir = tmpdir_new();
    struct world w;

    world_open(&w, dir, &hook, &rec);
    w.tell = chosen;
    for (size_t i = 0; i < (chosen ? n_chosen : ROUND_STEPS); i++)
        make_step(&w, chosen ? chosen[i] : (unsigned)i);
    world_reopen(&w);
    world_compare(&w);
    check_sound(w.s);
    assert_int_equal(w.retries, 0);
    print_message("%u steps, %u crashes, %u snapshots\n", (unsigned)w.steps, (unsigned)w.crashes, (unsigned)w.n_snaps);
    world_close(&w);
    world_release(&w);
    record_release(&rec);
    rmtree(dir);
    free(dir);
}

/* ---- a round in a process of its own ---- */

static char *list(const unsigned *steps, size_t n)
{
    size_t size = n * 12 + 1, len = 0;
    char *text = malloc(size);

    *text = 0;
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%u", i ? "," : "", steps[i]);
    return text;
}

/* Runs this program for one round in TMPDIR dir; its output is dropped unless loud. */
static int run(uint64_t s, const char *steps, const char *dir, bool loud)
{
    char number[24];
    int status = -1;
    pid_t pid;

    snprintf(number, sizeof number, "%llu", (unsigned long long)s);
    fflush(NULL);
    pid = fork();
    if (!pid) {
        int null = open("/dev/null", O_RDWR);
        if (!loud) {
            dup2(null, 1);
            dup2(null, 2);
        }
        setenv("TMPDIR", dir, 1);
        execl("/proc/self/exe", "test_store_model", number, steps, (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    waitpid(pid, &status, 0);
    return status;
}

/* The same, and nothing is left of its files, even where it failed. */
static int run_alone(uint64_t s, const char *steps, bool loud)
{
    char *dir = tmpdir_new();
    int status = run(s, steps, dir, loud);

    rmtree(dir);
    free(dir);
    return status;
}

static bool round_fails(void *opaque, const unsigned *steps, size_t n)
{
    char *text = list(steps, n);
    bool bad = run_alone(*(uint64_t *)opaque, text, false) != 0;

    free(text);
    return bad;
}

static void make_shorter(uint64_t s)
{
    unsigned steps[ROUND_STEPS];
    char *text;
    size_t n;

    for (unsigned i = 0; i < ROUND_STEPS; i++)
        steps[i] = i;
    n = shrink(steps, ROUND_STEPS, round_fails, &s, SHRINK_TRIES);
    text = list(steps, n);
    print_message("seed %llu fails; %zu of its %u steps are enough: test_store_model %llu %s\n", (unsigned long long)s,
                  n, ROUND_STEPS, (unsigned long long)s, text);
    run_alone(s, text, true);
    free(text);
    fail();
}

static void store_and_model_agree(void **state)
{
    uint64_t first = from_environment("VMTEST_SEED", (uint64_t)time(NULL) << 12),
             steps = from_environment("VMTEST_STEPS", 20000 / SLOW);

    for (uint64_t i = 0; i < (steps + ROUND_STEPS - 1) / ROUND_STEPS; i++) {
        print_message("seed %llu: ", (unsigned long long)(first + i));
        if (run_alone(first + i, "all", true))
            make_shorter(first + i);
    }
}

/* ---- the shrinking itself ---- */

struct rule {
    unsigned calls;
};

static bool needs_three(void *opaque, const unsigned *steps, size_t n)
{
    static const unsigned needed[] = {17, 93, 411};
    unsigned found = 0;

    ((struct rule *)opaque)->calls++;
    for (size_t i = 0; i < n && found < 3; i++) /* in this order */
        found += steps[i] == needed[found];
    return found == 3;
}

static void a_failing_list_is_made_short(void **state)
{
    unsigned steps[ROUND_STEPS];
    struct rule rule = {0};
    size_t n;

    for (unsigned i = 0; i < ROUND_STEPS; i++)
        steps[i] = i;
    assert_int_equal(shrink(steps, ROUND_STEPS, needs_three, &rule, SHRINK_TRIES), 3);
    assert_int_equal(steps[0], 17);
    assert_int_equal(steps[1], 93);
    assert_int_equal(steps[2], 411);
    assert_true(rule.calls < SHRINK_TRIES);
    for (unsigned i = 0; i < ROUND_STEPS; i++)
        steps[i] = i;
    n = shrink(steps, ROUND_STEPS, needs_three, &rule, 5);
    assert_true(n < ROUND_STEPS);
    assert_true(needs_three(&rule, steps, n)); /* what is left fails, however few tries there were */
}

static void choose(const char *text)
{
    chosen = calloc(strlen(text) + 1, sizeof *chosen);
    while (chosen && *text) {
        char *end;
        chosen[n_chosen++] = (unsigned)strtoul(text, &end, 10);
        text = *end ? end + 1 : end;
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failing_list_is_made_short),
        cmocka_unit_test(store_and_model_agree),
    };
    const struct CMUnitTest single[] = {cmocka_unit_test(one_round)};
    int r;

    if (argc != 3)
        return cmocka_run_group_tests(tests, NULL, NULL);
    seed = strtoull(argv[1], NULL, 10);
    if (strcmp(argv[2], "all") != 0)
        choose(argv[2]);
    r = cmocka_run_group_tests(single, NULL, NULL);
    free(chosen);
    return r;
}
