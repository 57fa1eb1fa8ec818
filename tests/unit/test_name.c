/* Names and references as words, and the nearest candidate. */
#include "tests/unit/unit.h"
#include "cli/name.h"
#include "src/base/units.h"

static void names(void **state)
{
    static const char *const good[] = {"a", "web", "Web-1.2_x+y", "0", "9front"};
    static const char *const bad[] = {"", "-x", ".x", "a b", "a/b", "a@b", "a~", "\xc3\xa9", "a\n"};
    char longest[65];

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(name_valid(good[i], NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(name_valid(bad[i], NULL), VT_USAGE);
    memset(longest, 'x', 64);
    longest[64] = 0;
    assert_int_equal(name_valid(longest, NULL), VT_USAGE);
    longest[63] = 0;
    assert_int_equal(name_valid(longest, NULL), 0);
}

static void references(void **state)
{
    static const struct {
        const char *text;
        bool word_is_snap;
        const char *machine, *snap;
    } good[] = {
        {"web@clean", true, "web", "clean"},
        {"web@clean~2", false, "web", "clean~2"},
        {"clean", true, "", "clean"},
        {"clean~", true, "", "clean~"},
        {"web", false, "web", ""},
        {"@clean", false, "", "clean"},
        {"clean~999999999", true, "", "clean~999999999"},
        {"web@{5m}", true, "web", "{5m}"},
        {"@{1h30m}", false, "", "{1h30m}"},
        {"{2s}", true, "", "{2s}"},
        {"", false, "", ""},
    };
    static const char *const bad[] = {"web@",
                                      "@",
                                      "~2",
                                      "web@~2",
                                      "clean~x",
                                      "clean~~",
                                      "clean~1~2",
                                      "a b@c",
                                      "web@{5m",
                                      "web@{}",
                                      "web@{x}",
                                      "web@{5m}~1",
                                      "web@{2026-13-01T00:00:00Z}",
                                      "a@b@c",
                                      "clean~1000000000",
                                      ""};

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct name_ref r;
        assert_int_equal(name_ref_parse(good[i].text, good[i].word_is_snap, &r, NULL), 0);
        assert_string_equal(r.machine, good[i].machine);
        assert_string_equal(r.snap, good[i].snap);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct name_ref r;
        assert_int_equal(name_ref_parse(bad[i], true, &r, NULL), VT_USAGE);
    }
}

static void times(void **state)
{
    int64_t before = clock_wall_ns(), then;
    struct name_ref r;

    assert_int_equal(name_ref_parse("web@clean", true, &r, NULL), 0);
    assert_int_equal(r.when, 0);
    assert_int_equal(name_ref_parse("web@{5m}", true, &r, NULL), 0);
    assert_true(r.when >= before - 300 * (int64_t)NS_PER_SEC);
    assert_true(r.when <= clock_wall_ns() - 300 * (int64_t)NS_PER_SEC);
    assert_int_equal(time_parse("2026-01-31T12:00:00Z", &then, NULL), 0);
    assert_int_equal(name_ref_parse("web@{2026-01-31T12:00:00Z}", true, &r, NULL), 0);
    assert_int_equal(r.when, then);
}

static void nearest(void **state)
{
    static const struct {
        const char *word, *candidates[4], *best;
    } row[] = {
        {"cleen", {"clean", "after", "queen"}, "clean"},
        {"snapsoht", {"snapshot", "snapshots"}, "snapshot"},
        {"xyz", {"clean", "after"}, NULL},
        {"lsit", {"list", "log"}, "list"},
        {"a", {"b"}, NULL},
        {"", {"a"}, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct near n = {.word = row[i].word};
        for (size_t k = 0; row[i].candidates[k]; k++)
            near_offer(&n, row[i].candidates[k]);
        if (row[i].best)
            assert_string_equal(n.best, row[i].best);
        else
            assert_null(n.best);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(references),
        cmocka_unit_test(times),
        cmocka_unit_test(nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
