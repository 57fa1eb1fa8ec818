/* Files that are there whole or not at all. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "src/archive/newfile.h"

static unsigned entries(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void check(const char *dir, bool named)
{
    char path[80], missing[90];
    struct newfile f = {.fd = -1}, late = {.fd = -1};
    struct err e = {0};
    struct stat st;

    snprintf(path, sizeof path, "%s/file", dir);
    assert_int_equal(newfile_begin(path, named, &f, NULL), 0);
    assert_int_equal(write(f.fd, "some", 4), 4);
    assert_int_not_equal(stat(path, &st), 0); /* not before it is whole */
    newfile_release(&f);
    assert_int_equal(entries(dir), 0); /* given up: nothing is left */
    newfile_release(&f);

    assert_int_equal(newfile_begin(path, named, &f, NULL), 0);
    assert_int_equal(newfile_begin(path, named, &late, NULL), 0);
    assert_int_equal(write(f.fd, "whole", 5), 5);
    assert_int_equal(newfile_commit(&f, NULL), 0);
    newfile_release(&f);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_int_equal(newfile_commit(&late, &e), VT_EXISTS); /* another was there first */
    assert_non_null(strstr(e.msg, "is there already"));
    newfile_release(&late);
    assert_int_equal(newfile_begin(path, named, &f, NULL), VT_EXISTS);
    assert_int_equal(entries(dir), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 5);
    unlink(path);

    snprintf(missing, sizeof missing, "%s/nowhere/file", dir);
    assert_int_equal(newfile_begin(missing, named, &f, NULL), VT_NOENT);
    assert_int_equal(newfile_begin(dir, named, &f, NULL), VT_EXISTS);
    snprintf(missing, sizeof missing, "%s/", dir);
    assert_int_equal(newfile_begin(missing, named, &f, NULL), VT_USAGE);
    assert_int_equal(entries(dir), 0);
}

static void whole_or_not_at_all(void **state)
{
    char dir[] = "/tmp/vmtest-newfile-XXXXXX";

    assert_non_null(mkdtemp(dir));
    check(dir, false);
    check(dir, true);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_or_not_at_all)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
