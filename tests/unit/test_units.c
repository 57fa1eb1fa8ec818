/* Sizes, durations, times: text to number, number to text, and what is refused. */
#include "tests/unit/unit.h"
#include "src/base/units.h"

static void sizes_are_parsed(void **state)
{
    static const struct {
        const char *s;
        uint64_t n;
    } good[] = {{"0", 0},           {"4096", 4096},       {"1K", 1024},         {"512M", 512ull << 20},
                {"4G", 4ull << 30}, {"4GiB", 4ull << 30}, {"4GB", 4ull << 30},  {"1.5G", 3ull << 29},
                {"0.5k", 512},      {"10B", 10},          {"15E", 15ull << 60}, {"18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {
        "", "M", "-1", "1X", "1 M", "1MiBs", "1.", ".5G", "16E", "18446744073709551616", "0x10", "1e3", "1Mi B"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t n = 1;
        assert_int_equal(size_parse(good[i].s, &n, NULL), 0);
        assert_true(n == good[i].n);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};
        uint64_t n = 77;
        assert_int_equal(size_parse(bad[i], &n, &e), VT_USAGE);
        assert_true(n == 77);
        assert_non_null(strstr(e.msg, "is not a size"));
    }
}

static void durations_are_parsed(void **state)
{
    static const struct {
        const char *s;
        uint64_t ns;
    } good[] = {{"500ms", 500000000},
                {"2s", 2000000000},
                {"5m", 300ull * NS_PER_SEC},
                {"1h", 3600ull * NS_PER_SEC},
                {"1m30s", 90ull * NS_PER_SEC},
                {"10", 10ull * NS_PER_SEC},
                {"0.25", 250000000},
                {"1.5s", 1500000000},
                {"7ns", 7},
                {"3us", 3000},
                {"0", 0},
                {"1d", 86400ull * NS_PER_SEC}};
    static const char *const bad[] = {"", "s", "5x", "5 s", "1s5", "-1s", "1mm", "99999999999999999999s", "300000000h"};

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t ns = 1;
        assert_int_equal(duration_parse(good[i].s, &ns, NULL), 0);
        assert_true(ns == good[i].ns);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};
        uint64_t ns = 77;
        assert_int_equal(duration_parse(bad[i], &ns, &e), VT_USAGE);
        assert_true(ns == 77);
    }
}

static void times_go_round(void **state)
{
    char text[UNITS_MAX];
    int64_t ns;

    assert_int_equal(time_parse("1970-01-01T00:00:00Z", &ns, NULL), 0);
    assert_true(ns == 0);
    assert_int_equal(time_parse("2026-01-31T12:00:00.250Z", &ns, NULL), 0);
    assert_string_equal(time_format(text, ns), "2026-01-31T12:00:00.250Z");
    assert_int_equal(time_parse("2026-01-31T12:00:00+01:30", &ns, NULL), 0);
    assert_string_equal(time_format(text, ns), "2026-01-31T10:30:00Z");
    assert_int_equal(time_parse("1969-12-31T23:59:59.999Z", &ns, NULL), 0);
    assert_true(ns == -1000000);
    assert_string_equal(time_format(text, ns), "1969-12-31T23:59:59.999Z");
    assert_int_equal(time_parse("2026-02-31T12:00:00Z", &ns, NULL), VT_USAGE);
    assert_int_equal(time_parse("2026-01-31T12:00:00", &ns, NULL), VT_USAGE);
    assert_int_equal(time_parse("2026-1-31T12:00:00Z", &ns, NULL), VT_USAGE);
    assert_int_equal(time_parse("2026-01-31T25:00:00Z", &ns, NULL), VT_USAGE);
    assert_int_equal(time_parse("2026-01-31T12:00:00Zx", &ns, NULL), VT_USAGE);
}

static void people_get_three_digits(void **state)
{
    char t[UNITS_MAX];

    assert_string_equal(size_format(t, 0), "0 B");
    assert_string_equal(size_format(t, 412), "412 B");
    assert_string_equal(size_format(t, 1536), "1.5 KiB");
    assert_string_equal(size_format(t, 4ull << 30), "4 GiB");
    assert_string_equal(size_format(t, 1048575), "1 MiB");
    assert_string_equal(size_format(t, UINT64_MAX), "16 EiB");
    assert_string_equal(duration_format(t, 900), "900 ns");
    assert_string_equal(duration_format(t, 850000), "850 us");
    assert_string_equal(duration_format(t, 1800000), "1.8 ms");
    assert_string_equal(duration_format(t, 12000000), "12 ms");
    assert_string_equal(duration_format(t, 2400000000), "2.4 s");
    assert_string_equal(duration_format(t, 192ull * NS_PER_SEC), "3 m 12 s");
    assert_string_equal(duration_format(t, 7500ull * NS_PER_SEC), "2 h 5 m");
}

static void numbers_have_bounds(void **state)
{
    uint64_t n = 0;

    assert_int_equal(number_parse("65535", 1, 65535, &n, NULL), 0);
    assert_true(n == 65535);
    assert_int_equal(number_parse("65536", 1, 65535, &n, NULL), VT_USAGE);
    assert_int_equal(number_parse("0", 1, 65535, &n, NULL), VT_USAGE);
    assert_int_equal(number_parse("", 0, 9, &n, NULL), VT_USAGE);
    assert_int_equal(number_parse("5a", 0, 9, &n, NULL), VT_USAGE);
    assert_int_equal(number_parse("18446744073709551616", 0, UINT64_MAX, &n, NULL), VT_USAGE);
}

static void the_clock_goes_forward(void **state)
{
    uint64_t a = clock_mono_ns(), b = clock_mono_ns();

    assert_true(b >= a);
    assert_true(clock_wall_ns() > 1600000000 * (int64_t)NS_PER_SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_parsed),    cmocka_unit_test(durations_are_parsed),
        cmocka_unit_test(times_go_round),      cmocka_unit_test(people_get_three_digits),
        cmocka_unit_test(numbers_have_bounds), cmocka_unit_test(the_clock_goes_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
