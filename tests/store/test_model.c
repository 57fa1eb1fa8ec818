/* Random operations on the store and on the model beside it: all bytes agree, at the end and along the way. The seed is
 * printed; VMTEST_SEED repeats one, VMTEST_ROUNDS makes it longer. */
#include "tests/store/world.h"

#include <stdio.h>
#include <time.h>

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *v = getenv(name);
    return v ? strtoull(v, NULL, 0) : otherwise;
}

static void one_round(uint64_t seed)
{
    struct rng r = {seed};
    char *dir = tmpdir_new();
    struct world w;

    print_message("seed %llu\n", (unsigned long long)seed);
    world_open(&w, dir, NULL, NULL);
    for (int i = 0; i < 150; i++) {
        world_step(&w, &r);
        if (i % 50 == 49) {
            world_compare(&w);
            check_sound(w.s);
        }
    }
    world_reopen(&w);
    world_compare(&w);
    assert_int_equal(w.retries, 0);
    world_close(&w);
    world_release(&w);
    rmtree(dir);
    free(dir);
}

static void store_and_model_agree(void **state)
{
    uint64_t seed = from_environment("VMTEST_SEED", (uint64_t)time(NULL) << 8),
             rounds = from_environment("VMTEST_ROUNDS", 12);

    for (uint64_t i = 0; i < rounds; i++)
        one_round(seed + i);
}

/* Seeds that found something once. */
static void old_findings_stay_found(void **state)
{
    static const uint64_t seeds[] = {1, 2, 3};

    for (size_t i = 0; i < ARRAY_LEN(seeds); i++)
        one_round(seeds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_findings_stay_found),
        cmocka_unit_test(store_and_model_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
