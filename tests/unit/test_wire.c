/* Objects off a hostile stream: cut anywhere, mixed with rubbish, too long. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include "src/wire.h"

/* Feeds text in pieces of n bytes and writes down what comes out: objects as JSON, "!" for an error. */
static void run(const char *text, size_t len, size_t n, size_t max, char *out, size_t size)
{
    struct wire w = {.max = max};
    size_t used = 0;

    out[0] = 0;
    for (size_t at = 0; at < len; at += n) {
        json_t *obj = NULL;
        int rc;

        assert_int_equal(wire_feed(&w, text + at, len - at < n ? len - at : n, NULL), 0);
        while ((rc = wire_next(&w, &obj, NULL)) != 0) {
            char *json = rc > 0 ? json_dumps(obj, JSON_COMPACT) : NULL;
            used += (size_t)snprintf(out + used, size - used, "%s ", rc > 0 ? json : "!");
            free(json);
            if (rc > 0)
                json_decref(obj);
        }
    }
    wire_release(&w);
}

static void test_streams(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"{\"a\":1}", "{\"a\":1} "},
        {" \r\n{\"a\":1}{\"b\":[{}]}\n", "{\"a\":1} {\"b\":[{}]} "},
        {"{\"a\":\"}{\\\"\"}", "{\"a\":\"}{\\\"\"} "},
        {"{\"a\":\"\\\\\"} {}", "{\"a\":\"\\\\\"} {} "},
        {"nonsense\n{\"a\":1}", "! {\"a\":1} "},
        {"{\"a\":]\n{\"b\":2}", "! {\"b\":2} "},
        {"{\"a\":1,\"a\":2}\n{}", "! {} "}, /* which of the two is meant? neither */
        {"{\"a\":\xff{\"b\":2}", "{\"b\":2} "},
        {"rubbish\xff{\"b\":2}", "! {\"b\":2} "},
        {"[1]\n{}", "! {} "},
        {"}\n{}", "! {} "},
        {"{\"a\"", ""},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t n = 1; n <= 8; n++) {
            char out[200];
            run(cases[i].in, strlen(cases[i].in), n, 1000, out, sizeof out);
            assert_string_equal(out, cases[i].out);
        }
}

/* Past the bound it is an error, once; the stream goes on after the end of the line. */
static void test_too_long(void **state)
{
    char text[500], out[200];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"a\":\"%0300d\"}\n{\"b\":2}", 0);

    (void)state;
    run(text, n, 7, 100, out, sizeof out);
    assert_string_equal(out, "! {\"b\":2} ");
}

/* Depth is bounded by the parser, not by our stack. */
static void test_deep(void **state)
{
    static char text[100000];
    char out[200];

    (void)state;
    memset(text, '[', sizeof text);
    memcpy(text, "{\"a\":", 5);
    memset(text + 50000, ']', 50000);
    text[99995] = '}';
    memcpy(text + 99996, "\n{}", 3);
    run(text, 99999, 4096, sizeof text, out, sizeof out);
    assert_string_equal(out, "! {} ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_deep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
