/* The parts of src/diff that stand alone: sets, hashes, text differences, packages, noise, overlays. */
#include <stdio.h>
#include <stdlib.h>
#include "tests/unit/unit.h"
#include "src/diff/bitset.h"
#include "src/diff/dev.h"
#include "src/diff/noise.h"
#include "src/diff/packages.h"
#include "src/diff/sha256.h"
#include "src/diff/udiff.h"

static void test_bitset(void **state)
{
    struct bitset s;

    assert_int_equal(bitset_init(&s, 200, NULL), 0);
    assert_int_equal(bitset_next(&s, 0), 200);
    for (int i = 60; i < 140; i++)
        bitset_set(&s, (uint64_t)i);
    bitset_set(&s, 199);
    bitset_set(&s, 200); /* out of range: nothing */
    assert_int_equal(bitset_next(&s, 0), 60);
    assert_int_equal(bitset_next(&s, 140), 199);
    assert_int_equal(bitset_next_below(&s, 140, 150), 150);
    assert_true(bitset_any(&s, 130, 100));
    assert_false(bitset_any(&s, 140, 59));
    assert_false(bitset_any(&s, 500, 10));
    bitset_unset_range(&s, 62, 77);
    assert_int_equal(bitset_next(&s, 62), 139);
    bitset_unset_range(&s, 100, UINT64_MAX);
    assert_int_equal(bitset_next(&s, 62), 200);
    bitset_clear(&s);
}

static void test_sha256(void **state)
{
    static const struct {
        const char *text;
        int times;
        const char *sum;
    } known[] = {
        /* FIPS 180-2, appendix B, and the empty message */
        {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        struct sha256 s;
        char hex[SHA256_HEX];

        sha256_init(&s);
        for (int k = 0; k < known[i].times; k++)
            sha256_add(&s, known[i].text, strlen(known[i].text));
        sha256_hex(&s, hex);
        assert_string_equal(hex, known[i].sum);
    }
}

/* Applies hunks as patch(1) does, believing only what they say; the result must be b. */
static void apply(const char *a, const char *hunks, struct buf *out)
{
    size_t line = 1;

    while (*hunks) {
        size_t from, n = 1, len;

        assert_int_equal(*hunks, '@');
        assert_true(sscanf(hunks, "@@ -%zu", &from) == 1);
        if (sscanf(hunks, "@@ -%*u,%zu", &n) == 1 && n == 0)
            from++;
        hunks = strchr(hunks, '\n') + 1;
        for (; line < from; line++) {
            len = strcspn(a, "\n") + 1;
            buf_add(out, a, len);
            a += len;
        }
        for (; *hunks && *hunks != '@'; hunks += len) {
            len = strcspn(hunks, "\n") + 1;
            if (*hunks != '+') {
                assert_memory_equal(a, hunks + 1, len - 1);
                a += len - 1;
                line++;
            }
            if (*hunks != '-')
                buf_add(out, hunks + 1, len - 1);
        }
    }
    buf_str(out, a);
}

static void random_text(struct buf *b, unsigned *seed, int lines)
{
    for (int i = 0; i < lines; i++)
        buf_printf(b, "line %d\n", rand_r(seed) % 12);
}

static void test_udiff_random(void **state)
{
    unsigned seed = 1;

    for (int i = 0; i < 3000; i++) {
        cleanup(buf_release) struct buf a = {0}, b = {0}, hunks = {0}, got = {0};
        size_t added = 0, removed = 0, minus = 0, plus = 0;

        random_text(&a, &seed, rand_r(&seed) % 40);
        random_text(&b, &seed, rand_r(&seed) % 40);
        assert_int_equal(udiff(buf_cstr(&a), a.len, buf_cstr(&b), b.len, &hunks, &added, &removed, NULL), 0);
        apply(buf_cstr(&a), buf_cstr(&hunks), &got);
        assert_string_equal(buf_cstr(&got), buf_cstr(&b));
        for (const char *p = buf_cstr(&hunks); *p; p += strcspn(p, "\n") + 1) {
            plus += *p == '+';
            minus += *p == '-';
        }
        assert_int_equal(plus, added);
        assert_int_equal(minus, removed);
    }
}

static void test_udiff_is_shortest(void **state)
{
    cleanup(buf_release) struct buf hunks = {0};
    size_t added, removed;

    assert_int_equal(udiff("a\nb\nc\na\nb\nb\na\n", 14, "c\nb\na\nb\na\nc\n", 12, &hunks, &added, &removed, NULL), 0);
    assert_int_equal(added + removed, 5); /* the example of the paper */
}

static void test_udiff_of_unlike_texts(void **state)
{
    cleanup(buf_release) struct buf a = {0}, b = {0}, hunks = {0}, got = {0};

    for (int i = 0; i < 9000; i++) {
        buf_printf(&a, "old %d\n", i);
        buf_printf(&b, "new %d\n", i);
    }
    assert_int_equal(udiff(a.data, a.len, b.data, b.len, &hunks, NULL, NULL, NULL), 0);
    apply(a.data, hunks.data, &got);
    assert_string_equal(got.data, b.data);
}

static void test_versions(void **state)
{
    /* Each is newer than the one before. */
    static const char *const rising[] = {"1.0~~", "1.0~beta1", "1.0", "1.0-1", "1.0-1+b1", "1.0-1.1", "1.0-10",
                                         "1.0a",  "1.0+x",     "1.2", "1.10",  "1:0.1",    "2:0",     "10:0"};

    for (size_t i = 0; i < ARRAY_LEN(rising); i++)
        for (size_t k = 0; k < ARRAY_LEN(rising); k++) {
            int r = deb_version_cmp(rising[i], rising[k]);

            assert_int_equal((r > 0) - (r < 0), (i > k) - (i < k));
        }
    assert_int_equal(deb_version_cmp("0:1.00", "1.0-0"), 0);
}

static void test_packages(void **state)
{
    static const char text[] = "Package: half\nStatus: install ok half-configured\nVersion: 1\nArchitecture: all\n\n"
                               "Package: libx\nStatus: install ok installed\nArchitecture: i386\nVersion: 2\n"
                               "Description: Package: fake\n Version: 9\n\n"
                               "Package: libx\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2";
    struct packages p;

    assert_int_equal(packages_parse(PACKAGES_DPKG, text, sizeof(text) - 1, &p, NULL), 0);
    assert_int_equal(p.n, 2);
    assert_string_equal(p.pkg[0].arch, "amd64");
    assert_string_equal(p.pkg[1].arch, "i386");
    assert_string_equal(p.pkg[1].version, "2");
    packages_clear(&p);
    assert_int_equal(packages_parse(PACKAGES_APK, "P:musl\nV:1.2-r0\nA:x86\n\nP:zlib\nV:1\nA:x86\n\n", 39, &p, NULL),
                     0);
    assert_int_equal(p.n, 2);
    assert_string_equal(p.pkg[0].version, "1.2-r0");
    packages_clear(&p);
    assert_int_equal(packages_parse(PACKAGES_DPKG, "", 0, &p, NULL), 0);
    assert_int_equal(p.n, 0);
    packages_clear(&p);
}

static void test_noise(void **state)
{
    static const char *const noise[] = {
        "/run/x/y",         "/var/log/journal/1/system.journal",  "/tmp/a",
        "/etc/ld.so.cache", "/usr/lib/python3/__pycache__/a.pyc", "/var/lib/dpkg/status-old"};
    static const char *const news[] = {"/runner", "/var/log/dpkg.log",    "/etc/tmp/a",  "/usr/run/x",
                                       "/",       "/var/lib/dpkg/status", "/srv/cache/x"};

    for (size_t i = 0; i < ARRAY_LEN(noise); i++)
        assert_true(noise_path(noise[i]));
    for (size_t i = 0; i < ARRAY_LEN(news); i++)
        assert_false(noise_path(news[i]));
}

static void test_overlay(void **state)
{
    char path[] = "/tmp/vmtest-overlay-XXXXXX";
    int fd = mkstemp(path);
    struct blockdev *file, *cache, *over;
    unsigned char block[1024], got[4096];
    struct err e = {0};

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    close(fd);
    assert_int_equal(dev_open_file(path, &file, NULL), 0);
    unlink(path);
    assert_int_equal(dev_cache(file, &cache, NULL), 0);
    assert_int_equal(dev_overlay(cache, sizeof(block), &over, NULL), 0);
    for (uint64_t i = 0; i < 1024; i += 3) {
        memset(block, (int)(i % 251) + 1, sizeof(block));
        assert_int_equal(dev_overlay_put(over, i, block, NULL), 0);
        assert_int_equal(dev_overlay_put(over, i, block, NULL), 0);
    }
    assert_int_equal(dev_overlay_count(over), 342);
    assert_int_equal(dev_overlay_put(over, 1024, block, &e), VT_CORRUPT);
    for (uint64_t at = 0; at + sizeof(got) <= 1 << 20; at += 777) {
        assert_int_equal(dev_read(over, got, sizeof(got), at, NULL), 0);
        for (size_t i = 0; i < sizeof(got); i++) {
            uint64_t b = (at + i) / 1024;

            assert_int_equal(got[i], b % 3 ? 0 : b % 251 + 1);
        }
    }
    assert_int_equal(dev_read(over, got, 2, (1 << 20) - 1, NULL), VT_CORRUPT);
    assert_int_equal(dev_read(over, got, 1, UINT64_MAX, NULL), VT_CORRUPT);
    dev_close(over);
    dev_close(cache);
    dev_close(file);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bitset),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_udiff_random),
        cmocka_unit_test(test_udiff_is_shortest),
        cmocka_unit_test(test_udiff_of_unlike_texts),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_packages),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_overlay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
