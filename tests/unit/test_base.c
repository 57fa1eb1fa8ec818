/* buf, strlist, io, json, log, err: the bottom layer. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "src/base/buf.h"
#include "src/base/io.h"
#include "src/base/json.h"
#include "src/base/log.h"

static void buf_grows_and_stays_terminated(void **state)
{
    cleanup(buf_release) struct buf b = {0};
    struct err e = {0};

    assert_string_equal(buf_cstr(&b), "");
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%d,", i);
    assert_int_equal(b.len, 3890);
    assert_int_equal(b.data[b.len], 0);
    buf_drop(&b, 3886);
    assert_string_equal(buf_cstr(&b), "999,");
    buf_add(&b, "\0x", 2);
    assert_int_equal(b.len, 6);
    assert_int_equal(buf_check(&b, &e), 0);
    buf_clear(&b);
    assert_string_equal(buf_cstr(&b), "");
}

static void buf_errors_stick(void **state)
{
    cleanup(buf_release) struct buf b = {0};
    struct err e = {0};

    buf_str(&b, "x");
    assert_null(buf_reserve(&b, SIZE_MAX - 1));
    buf_str(&b, "more");
    assert_int_equal(b.len, 1);
    assert_int_equal(buf_check(&b, &e), VT_FAIL);
    assert_string_equal(e.msg, "out of memory");
    assert_null(buf_steal(&b));
}

static void buf_steal_of_empty_is_empty_string(void **state)
{
    struct buf b = {0};
    cleanup(cleanup_free) char *s = buf_steal(&b);

    assert_string_equal(s, "");
}

static void strlist_is_null_terminated(void **state)
{
    cleanup(strlist_release) struct strlist l = {0};

    for (int i = 0; i < 20; i++)
        strlist_addf(&l, "%d", i);
    assert_int_equal(l.n, 20);
    assert_string_equal(l.items[19], "19");
    assert_null(l.items[20]);
    strlist_take(&l, NULL);
    assert_true(l.failed);
}

static void err_keeps_the_first_message(void **state)
{
    struct err e = {0};

    assert_int_equal(err_set(&e, VT_NOENT, "first %d", 1), VT_NOENT);
    assert_int_equal(err_set(&e, VT_IO, "second"), VT_IO);
    assert_string_equal(e.msg, "first 1");
    assert_int_equal(err_prefix(&e, VT_FAIL, "web"), VT_NOENT);
    assert_string_equal(e.msg, "web: first 1");
    assert_int_equal(err_set(NULL, VT_BUSY, "nobody listens"), VT_BUSY);
}

static void files_go_round(void **state)
{
    char dir[] = "vt-test-XXXXXX";
    cleanup(cleanup_close) int dfd = -1;
    cleanup(buf_release) struct buf b = {0};
    cleanup(cleanup_free) char *deep = NULL;
    struct err e = {0};
    char small[4];
    size_t got;
    int fd;

    assert_non_null(mkdtemp(dir));
    assert_int_equal(io_open(dir, O_RDONLY | O_DIRECTORY, 0, &dfd, &e), 0);
    assert_int_equal(io_replace_file(dfd, "f", "hello", 5, 0600, &e), 0);
    assert_int_equal(io_replace_file(dfd, "f", "hello again", 11, 0600, &e), 0);
    assert_int_equal(io_read_file(dfd, "f", 100, &b, &e), 0);
    assert_string_equal(buf_cstr(&b), "hello again");
    assert_int_equal(io_read_file(dfd, "f", 11, &b, &e), 0);
    assert_int_equal(b.len, 22);
    assert_int_equal(io_read_file(dfd, "f", 10, &b, &e), VT_CORRUPT);

    e = (struct err){0};
    assert_int_equal(io_read_file(dfd, "absent", 10, &b, &e), VT_NOENT);
    assert_string_equal(e.msg, "absent: No such file or directory");

    e = (struct err){0};
    assert_int_equal(io_openat(dfd, "f", O_RDWR, 0, &fd, &e), 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(io_pread_full(fd, small, 4, 6, NULL, "f", &e), 0);
    assert_memory_equal(small, "agai", 4);
    assert_int_equal(io_pread_full(fd, small, 4, 9, &got, "f", &e), 0);
    assert_int_equal(got, 2);
    assert_int_equal(io_pread_full(fd, small, 4, 9, NULL, "f", &e), VT_CORRUPT);
    assert_int_equal(io_pwrite_full(fd, "HELL", 4, 0, "f", &e), 0);
    close(fd);
    e = (struct err){0};
    assert_int_equal(io_write_full(-1, "x", 1, "nowhere", &e), VT_IO);
    assert_string_equal(e.msg, "cannot write nowhere: Bad file descriptor");

    e = (struct err){0};
    deep = str_printf("%s/a/b/c", dir);
    assert_int_equal(io_mkdirs(deep, 0700, &e), 0);
    assert_int_equal(io_mkdirs(deep, 0700, &e), 0);
    assert_int_equal(unlinkat(dfd, "a/b/c", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dfd, "a/b", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dfd, "a", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dfd, "f", 0), 0);
    /* nothing else was left behind */
    assert_int_equal(rmdir(dir), 0);
}

static void a_pipe_is_read_whole(void **state)
{
    int p[2];
    char dst[6] = {0};
    struct err e = {0};

    assert_int_equal(pipe(p), 0);
    assert_int_equal(io_write_full(p[1], "abc", 3, "pipe", &e), 0);
    assert_int_equal(io_write_full(p[1], "def", 3, "pipe", &e), 0);
    close(p[1]);
    assert_int_equal(io_read_full(p[0], dst, 6, NULL, "pipe", &e), 0);
    assert_memory_equal(dst, "abcdef", 6);
    assert_int_equal(io_read_full(p[0], dst, 1, NULL, "pipe", &e), VT_CORRUPT);
    close(p[0]);
}

static void json_members_are_typed(void **state)
{
    static const char text[] = "{\"s\":\"x\",\"n\":7,\"b\":true,\"a\":[1],\"o\":{},\"neg\":-1,\"nil\":null}";
    cleanup(cleanup_json) json_t *j = NULL;
    const char *s = "kept";
    struct err e = {0};
    json_t *v = NULL;
    uint64_t n = 0;
    bool b = false;

    assert_int_equal(json_parse(text, sizeof text - 1, "doc", &j, &e), 0);
    assert_int_equal(json_get_str(j, "nil", JSON_OPTIONAL, &s, "doc", &e), 0);
    assert_string_equal(s, "kept");
    assert_int_equal(json_get_str(j, "s", JSON_REQUIRED, &s, "doc", &e), 0);
    assert_string_equal(s, "x");
    assert_int_equal(json_get_u64(j, "n", JSON_REQUIRED, &n, "doc", &e), 0);
    assert_int_equal(n, 7);
    assert_int_equal(json_get_bool(j, "b", JSON_REQUIRED, &b, "doc", &e), 0);
    assert_true(b);
    assert_int_equal(json_get_array(j, "a", JSON_REQUIRED, &v, "doc", &e), 0);
    assert_int_equal(json_get_object(j, "o", JSON_REQUIRED, &v, "doc", &e), 0);
    assert_int_equal(json_get_u64(j, "neg", JSON_OPTIONAL, &n, "doc", &e), VT_CORRUPT);
    assert_string_equal(e.msg, "doc: \"neg\" is not a number of 0 or more");
    e = (struct err){0};
    assert_int_equal(json_get_str(j, "absent", JSON_REQUIRED, &s, "doc", &e), VT_CORRUPT);
    assert_string_equal(e.msg, "doc: no \"absent\"");
    e = (struct err){0};
    assert_int_equal(json_parse("{\"a\":1,\"a\":2}", 13, "doc", &v, &e), VT_CORRUPT);
    assert_int_equal(json_parse("{} x", 4, "doc", &v, NULL), VT_CORRUPT);
}

static void bad_utf8_is_replaced(void **state)
{
    static const struct {
        const char *in, *out;
        size_t n;
    } row[] = {{"abc", "abc", 3},
               {"a\xffz", "a\xef\xbf\xbdz", 3},
               {"\xc3\xa9", "\xc3\xa9", 2},
               {"\xc3", "\xef\xbf\xbd", 1},
               {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 3},
               {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", 4},
               {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd", 2},
               {"\0", "\xef\xbf\xbd", 1}};

    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        cleanup(cleanup_json) json_t *j = json_string_lossy(row[i].in, row[i].n);
        assert_string_equal(json_string_value(j), row[i].out);
    }
}

static void a_log_line_is_one_line(void **state)
{
    int p[2];
    char text[64] = {0};
    struct log l = {.level = LOG_WARN, .prog = "vmtest"};
    enum log_level level;

    assert_int_equal(pipe(p), 0);
    l.fd = p[1];
    log_msg(&l, LOG_INFO, "dropped");
    log_msg(&l, LOG_WARN, "guest said \"a\nb\x1b\"");
    close(p[1]);
    assert_true(read(p[0], text, sizeof text - 1) > 0);
    assert_string_equal(text, "vmtest: warning: guest said \"a b \"\n");
    close(p[0]);
    assert_true(log_level_parse("debug", &level) && level == LOG_DEBUG);
    assert_true(log_level_parse("0", &level) && level == LOG_ERROR);
    assert_false(log_level_parse("4", &level));
    assert_false(log_level_parse("", &level));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_grows_and_stays_terminated),
        cmocka_unit_test(buf_errors_stick),
        cmocka_unit_test(buf_steal_of_empty_is_empty_string),
        cmocka_unit_test(strlist_is_null_terminated),
        cmocka_unit_test(err_keeps_the_first_message),
        cmocka_unit_test(files_go_round),
        cmocka_unit_test(a_pipe_is_read_whole),
        cmocka_unit_test(json_members_are_typed),
        cmocka_unit_test(bad_utf8_is_replaced),
        cmocka_unit_test(a_log_line_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
