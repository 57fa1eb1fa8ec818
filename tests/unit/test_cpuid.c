/* CPU models: what CPUID answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "vmcore/cpuid.h"
#include "vmcore/vm.h"

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

static uint32_t bits(const struct cpu_model *m, uint32_t leaf, unsigned reg)
{
    uint32_t v[4];

    cpuid_query(m, leaf, 0, v);
    return v[reg];
}

/* The x86-64 psABI, table 3.1: what a level adds to the one below. */
static void test_levels(void **state)
{
    const struct cpu_model *v2 = cpu_model_find("x86-64-v2"), *v3 = cpu_model_find("x86-64-v3");
    const uint32_t ecx1 = 1u << 12 | 1u << 22 | 1u << 26 | 1u << 28 | 1u << 29, ebx7 = 1u << 3 | 1u << 5 | 1u << 8;

    assert_int_equal(bits(v3, 1, 2) & ~bits(v2, 1, 2), ecx1);
    assert_int_equal(bits(v3, 7, 1) & ~bits(v2, 7, 1), ebx7);
    assert_int_equal(bits(v3, 0x80000001u, 2) & ~bits(v2, 0x80000001u, 2), 1u << 5);
    assert_int_equal(bits(v2, 1, 2) & ~bits(v3, 1, 2), 0);
    assert_true(bits(v3, 0, 0) >= 0xd);
    assert_true(cpuid_cr4(v3) & 1u << 18);
    assert_false(cpuid_cr4(v2) & 1u << 18);
}

static void test_states_of_xsave(void **state)
{
    const struct cpu_model *v2 = cpu_model_find("x86-64-v2"), *v3 = cpu_model_find("x86-64-v3");
    uint32_t v[4], none[4] = {0};

    cpuid_query(v3, 0xd, 0, v);
    assert_int_equal(v[0], 7);
    assert_int_equal(v[2], 832);
    cpuid_query(v3, 0xd, 2, v);
    assert_int_equal(v[0], 256);
    assert_int_equal(v[1], 576);
    cpuid_query(v3, 0xd, 3, v);
    assert_memory_equal(v, none, sizeof v);
    cpuid_query(v2, 0xd, 0, v);
    assert_memory_equal(v, none, sizeof v);
}

static void test_features_by_name(void **state)
{
    char text[256], small[8];

    cpu_features_text(FEATURES_ALL, text, sizeof text);
    cpu_features_missing(text, FEATURES_ALL, text + 200, 56);
    assert_string_equal(text + 200, "");
    for (unsigned i = 0; i < FEAT_COUNT; i++) {
        char one[256];
        cpu_features_missing(text, FEATURES_ALL & ~(1u << i), one, sizeof one);
        assert_string_equal(one, cpu_feature_name(i));
    }
    cpu_features_text(FEAT(AVX) | FEAT(BMI1), text, sizeof text);
    assert_string_equal(text, "avx bmi1");
    cpu_features_missing("host fma avx2 tomorrow", FEAT(FMA), text, sizeof text);
    assert_string_equal(text, "avx2 tomorrow");
    cpu_features_missing("", 0, text, sizeof text);
    assert_string_equal(text, "");
    cpu_features_missing("x86-64-v2", 0, text, sizeof text);
    assert_string_equal(text, "");
    cpu_features_text(FEATURES_ALL, small, sizeof small);
    assert_true(strlen(small) < sizeof small);
    assert_null(cpu_feature_name(FEAT_COUNT));
}

/* A processor that has all but what `lacking` is set to. */
static uint32_t lacking;
static void some_host(uint32_t leaf, uint32_t v[4])
{
    memset(v, 0xff, 16);
    if (cpuid_leaf_of(lacking) == leaf)
        v[lacking >> 8 & 3] &= ~(1u << (lacking & 31));
}

static void test_a_model_shows_no_instruction_that_the_host_has_not(void **state)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } flags[] = {{CPUID_BIT(1u, 2u, 0u), "sse3"},
                 {CPUID_BIT(1u, 2u, 9u), "ssse3"},
                 {CPUID_BIT(1u, 2u, 13u), "cx16"},
                 {CPUID_BIT(1u, 2u, 19u), "sse4_1"},
                 {CPUID_BIT(1u, 2u, 20u), "sse4_2"},
                 {CPUID_BIT(1u, 2u, 23u), "popcnt"},
                 {CPUID_LAHF, "lahf_lm"}};
    const struct cpu_model *m;

    for (unsigned i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        lacking = flags[i].flag;
        for (unsigned k = 0; (m = cpu_model_at(k)); k++) {
            char one[64] = "", text[128], named[64] = "";
            cpu_model_lacks(m, some_host, one, sizeof one);
            assert_string_equal(one, cpuid_has(m, lacking) ? flags[i].name : "");
            snprintf(text, sizeof text, "fma %s", m->name);
            cpu_models_lack(text, some_host, named, sizeof named);
            assert_string_equal(named, one);
        }
    }
    lacking = CPUID_BIT(7u, 3u, 31u);
    for (unsigned k = 0; (m = cpu_model_at(k)); k++) {
        char text[64] = "";
        cpu_model_lacks(m, some_host, text, sizeof text);
        cpu_models_lack(m->name, cpu_host_cpuid, text, sizeof text); /* the test's own host */
        assert_string_equal(text, "");
    }
}

/* Each flag of each model: every x86-64 processor's, done here, or asked of the host. */
static void test_each_flag_is_accounted_for(void **state)
{
    static const struct {
        uint32_t leaf;
        unsigned reg;
        uint32_t everywhere, done_here, asked;
    } regs[] = {
        {1, 3, 0x078bfbff, 0, 0},
        {1, 2, 0, 1u << 31 | 1u << 24 | 1u << 17 /* PCID */, 0x00982201},
        /* FSGSBASE, TSC_ADJUST, FDP and no FCS (help_fxsave), SMEP, ERMS (a hint), INVPCID, SMAP */
        {7, 1, 0, 1u << 0 | 1u << 1 | 1u << 6 | 1u << 13 | 1u << 7 | 1u << 9 | 1u << 10 | 1u << 20, 0},
        {7, 2, 0, 1u << 2 | 1u << 22, 0}, /* UMIP, RDPID */
        {7, 3, 0, 1u << 4, 0},            /* FSRM, a hint */
        {0x80000001, 3, 0x2193fbff, 1u << 26 | 1u << 27, 0},
        {0x80000001, 2, 0, 1u << 8 /* PREFETCHW, which does nothing */, 1},
        {0x80000007, 3, 0, 1u << 8, 0},
    };
    const struct cpu_model *m;

    for (unsigned k = 0; (m = cpu_model_at(k)); k++)
        for (unsigned i = 0; i < sizeof regs / sizeof regs[0]; i++) {
            struct cpu_model base = *m;
            base.features = 0; /* those are asked of the host by name */
            uint32_t open =
                bits(&base, regs[i].leaf, regs[i].reg) & ~(regs[i].everywhere | regs[i].done_here | regs[i].asked);
            if (open)
                fail_msg("%s: leaf %x, register %u: %x", m->name, regs[i].leaf, regs[i].reg, open);
        }
}

/* A machine as on another host: its state names what it has, and a load says what is lacking. */
static struct vm *machine(const char *model)
{
    const struct vm_config config = {.board = VM_BOARD_BARE, .ram_bytes = 1 << 20, .cpu_model = model};
    struct vm *vm = NULL;

    assert_int_equal(vm_new(&config, &vm, NULL), 0);
    return vm;
}

static void test_features_of_a_state(void **state)
{
    struct vm *vm = machine("host");
    struct cpu_model *m = &vm->cpu->own_model;
    uint32_t have = m->features;
    struct err e = {0};
    uint8_t *data;
    char text[256];
    size_t len;

    assert_int_equal(have, cpu_features_of_host());
    vm_cpu_features(vm, text, sizeof text);
    assert_int_equal(vm_cpu_check(text, &e), 0);
    assert_true(strncmp(text, "host", 4) == 0);
    m->features = have & ~FEAT(XSAVE); /* of a host that has less */
    assert_int_equal(vm_state_save(vm, &data, &len, &e), 0);
    m->features = have;
    assert_int_equal(vm_state_load(vm, data, len, &e), 0);
    assert_int_equal(m->features, have & ~FEAT(XSAVE));
    free(data);
    m->features = have | 1u << FEAT_COUNT;
    assert_int_equal(vm_state_save(vm, &data, &len, &e), 0);
    assert_int_equal(vm_state_load(vm, data, len, &e), VT_CORRUPT);
    free(data);
    e = (struct err){0};
    m->as_host = false; /* a model with other features than the state's */
    m->features = FEAT(MOVBE);
    assert_int_equal(vm_state_save(vm, &data, &len, &e), 0);
    m->features = 0;
    assert_int_equal(vm_state_load(vm, data, len, &e), VT_CORRUPT);
    assert_non_null(strstr(e.msg, "lacks movbe"));
    free(data);
    vm_free(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ecx_means_nothing_without_subleaves),
        cmocka_unit_test(test_vendor_and_maxima),
        cmocka_unit_test(test_no_such_model),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_states_of_xsave),
        cmocka_unit_test(test_features_by_name),
        cmocka_unit_test(test_a_model_shows_no_instruction_that_the_host_has_not),
        cmocka_unit_test(test_each_flag_is_accounted_for),
        cmocka_unit_test(test_features_of_a_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
