/* CPU models: what CPUID answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "vmcore/cpuid.h"

/* A PAE kernel asks for leaf 1 with whatever is in ECX. */
static void test_ecx_means_nothing_without_subleaves(void **state)
{
    static const uint32_t leaves[] = {0, 1, 6, 0x80000000u, 0x80000001u, 0x80000002u, 0x80000008u, 0x80000021u};
    const struct cpu_model *m = cpu_model_find(NULL);
    uint32_t a[4], b[4];

    for (unsigned i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        cpuid_query(m, leaves[i], 0, a);
        cpuid_query(m, leaves[i], 0x200000, b);
        assert_memory_equal(a, b, sizeof a);
        assert_true(a[0] | a[1] | a[2] | a[3]);
    }
    cpuid_query(m, 7, 1, b);
    assert_int_equal(b[0] | b[1] | b[2] | b[3], 0);
}

static void test_vendor_and_maxima(void **state)
{
    const struct cpu_model *m = cpu_model_find(NULL);
    uint32_t v[4];

    cpuid_query(m, 0, 0, v);
    assert_int_equal(v[0], m->max_basic);
    assert_memory_equal(&v[1], "Auth", 4);
    assert_memory_equal(&v[3], "enti", 4);
    assert_memory_equal(&v[2], "cAMD", 4);
    cpuid_query(m, 0x80000000u, 0, v);
    assert_int_equal(v[0], m->max_ext);
}

static void test_no_such_model(void **state)
{
    assert_null(cpu_model_find("i486sx2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ecx_means_nothing_without_subleaves),
        cmocka_unit_test(test_vendor_and_maxima),
        cmocka_unit_test(test_no_such_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
