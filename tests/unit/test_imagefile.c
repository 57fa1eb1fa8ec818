/* Files that a machine is made of: which kernels are whole, which are cut short, and which are none. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <unistd.h>
#include "src/imagefile.h"

/* A bzImage as the Linux/x86 boot protocol has it: a boot sector, setup sectors, then the protected-mode code, whose
 * size is given in paragraphs of 16 bytes. */
enum { SETUP_SECTS = 3, PARAGRAPHS = 1000, WHOLE = (SETUP_SECTS + 1) * 512 + PARAGRAPHS * 16 };

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v & 0xffff);
    put16(p + 2, v >> 16);
}

static void make_kernel(uint8_t *k)
{
    memset(k, 0, WHOLE);
    k[0x1f1] = SETUP_SECTS;
    put32(k + 0x1f4, PARAGRAPHS);
    put16(k + 0x1fe, 0xaa55);
    memcpy(k + 0x202, "HdrS", 4);
    put16(k + 0x206, 0x20f);
    k[0x211] = 1; /* LOADED_HIGH */
}

/* What imagefile_check_kernel() says of a file with these bytes. */
static int check(const void *data, size_t len, bool *ret_linux, struct err *e)
{
    char path[] = "/tmp/vmtest-kernel-XXXXXX";
    int fd = mkstemp(path), r;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
    r = imagefile_check_kernel(path, ret_linux, e);
    unlink(path);
    return r;
}

static void a_kernel_may_lack_what_rounding_up_added(void **state)
{
    uint8_t k[WHOLE + 512];
    struct err e = {0};

    make_kernel(k);
    memset(k + WHOLE, 0x5a, 512);
    for (int cut = -512; cut <= 15; cut++) { /* more may follow: a signature, for one */
        bool is_linux = false;
        assert_int_equal(check(k, (size_t)(WHOLE - cut), &is_linux, &e), 0);
        assert_true(is_linux);
    }
}

static void a_kernel_cut_short_is_refused(void **state)
{
    static const int cuts[] = {16, 17, 32, 512, PARAGRAPHS * 16, WHOLE - 0x212};
    uint8_t k[WHOLE];

    make_kernel(k);
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        char expect[100];
        struct err e = {0};
        bool is_linux;

        snprintf(expect, sizeof expect, "cut short: the kernel has %d bytes, the file has %d", WHOLE, WHOLE - cuts[i]);
        assert_int_equal(check(k, (size_t)(WHOLE - cuts[i]), &is_linux, &e), VT_CORRUPT);
        assert_non_null(strstr(e.msg, expect));
    }
}

static void no_setup_sectors_are_four(void **state)
{
    uint8_t k[WHOLE + 512];
    struct err e = {0};
    bool is_linux;

    memset(k, 0, sizeof k);
    make_kernel(k);
    k[0x1f1] = 0;
    assert_int_equal(check(k, WHOLE + 512, &is_linux, &e), 0);
    assert_int_equal(check(k, WHOLE + 512 - 15, &is_linux, &e), 0);
    assert_int_equal(check(k, WHOLE + 512 - 16, &is_linux, &e), VT_CORRUPT);
    assert_non_null(strstr(e.msg, "cut short"));
}

static void a_size_of_4_gib_and_more_does_not_wrap(void **state)
{
    uint8_t k[WHOLE];
    struct err e = {0};
    bool is_linux;

    make_kernel(k);
    put32(k + 0x1f4, 0xffffffff);
    assert_int_equal(check(k, WHOLE, &is_linux, &e), VT_CORRUPT);
    assert_non_null(strstr(e.msg, "the kernel has 68719478768 bytes"));
    put32(k + 0x1f4, 0x10000000); /* 0 in 32 bits of bytes */
    assert_int_equal(check(k, WHOLE, &is_linux, &e), VT_CORRUPT);
}

static void a_kernel_too_old_is_refused(void **state)
{
    uint8_t k[WHOLE];
    struct err old = {0}, low = {0};
    bool is_linux;

    make_kernel(k);
    put16(k + 0x206, 0x201);
    assert_int_equal(check(k, WHOLE, &is_linux, &old), VT_CORRUPT);
    assert_non_null(strstr(old.msg, "too old"));
    make_kernel(k);
    k[0x211] = 0; /* a zImage, which is loaded low */
    assert_int_equal(check(k, WHOLE, &is_linux, &low), VT_CORRUPT);
    assert_non_null(strstr(low.msg, "too old"));
}

static void other_kernels_are_known_by_their_headers(void **state)
{
    struct err none = {0}, empty = {0}, wrong_sum = {0}, missing = {0};
    uint8_t k[9000] = {0};
    bool is_linux = true;

    assert_int_equal(check(k, sizeof k, &is_linux, &none), VT_CORRUPT);
    assert_non_null(strstr(none.msg, "is not a kernel"));
    assert_false(is_linux);
    put32(k + 8180, 0x1badb002); /* the last place where a Multiboot header fits into 8 KiB */
    put32(k + 8184, 3);
    put32(k + 8188, 0u - 0x1badb002u - 3);
    assert_int_equal(check(k, sizeof k, &is_linux, NULL), 0);
    assert_false(is_linux);
    put32(k + 8188, 0u - 0x1badb002u);
    assert_int_equal(check(k, sizeof k, &is_linux, &wrong_sum), VT_CORRUPT);
    assert_non_null(strstr(wrong_sum.msg, "is not a kernel"));
    memcpy(k, "\177ELF", 4);
    assert_int_equal(check(k, sizeof k, &is_linux, NULL), 0);
    assert_false(is_linux);
    assert_int_equal(check(k, 0, &is_linux, &empty), VT_CORRUPT);
    assert_non_null(strstr(empty.msg, "is empty"));
    assert_int_equal(imagefile_check_kernel("/no/such/kernel", &is_linux, &missing), VT_NOENT);
    assert_non_null(strstr(missing.msg, "/no/such/kernel"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_may_lack_what_rounding_up_added),
        cmocka_unit_test(a_kernel_cut_short_is_refused),
        cmocka_unit_test(no_setup_sectors_are_four),
        cmocka_unit_test(a_size_of_4_gib_and_more_does_not_wrap),
        cmocka_unit_test(a_kernel_too_old_is_refused),
        cmocka_unit_test(other_kernels_are_known_by_their_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
