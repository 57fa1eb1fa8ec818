/* The state format: what is malformed is refused, older versions load, differences are named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/dev/board_rig.h"

struct thing {
    uint32_t a;
    uint16_t b[3];
    bool flag;
    uint8_t bytes[5];
    uint64_t late;
};
static int thing_loaded(void *dev, const char **why)
{
    struct thing *t = dev;
    *why = "a is odd";
    return t->a & 1 ? -1 : 0;
}
static const struct field fields_v1[] = {FIELD(struct thing, a, F_U32), FIELD_ARRAY(struct thing, b, F_U16),
                                         FIELD(struct thing, flag, F_BOOL), FIELD_BYTES(struct thing, bytes),
                                         FIELD_END};
static const struct field fields_v2[] = {FIELD(struct thing, a, F_U32), FIELD_ARRAY(struct thing, b, F_U16),
                                         FIELD(struct thing, flag, F_BOOL), FIELD_SINCE(struct thing, late, F_U64, 2),
                                         FIELD_END};
static const struct state_table v1 = {"thing", 1, fields_v1, thing_loaded, NULL};
static const struct state_table v2 = {"thing", 2, fields_v2, thing_loaded, NULL};

struct one {
    struct state_list list;
    struct state_entry entry;
    struct thing t;
};
static void one_init(struct one *o, const struct state_table *table)
{
    memset(o, 0, sizeof *o);
    state_list_init(&o->list);
    state_add(&o->list, &o->entry, "t0", table, &o->t);
}

static void test_versions(void **state)
{
    struct one old, new;
    uint8_t *data;
    size_t len;
    struct err e = {0};
    one_init(&old, &v1);
    one_init(&new, &v2);
    old.t = (struct thing){.a = 0x12345678, .b = {1, 2, 0xffff}, .flag = true, .bytes = "abcd"};
    new.t.late = 99;
    assert_int_equal(state_save(&old.list, &data, &len, &e), 0);
    assert_int_equal(state_load(&new.list, data, len, &e), 0); /* `bytes` was dropped, `late` keeps its reset value */
    assert_int_equal(new.t.a, 0x12345678);
    assert_int_equal(new.t.b[2], 0xffff);
    assert_true(new.t.flag);
    assert_int_equal(new.t.late, 99);
    free(data);
    assert_int_equal(state_save(&new.list, &data, &len, &e), 0);
    assert_int_equal(state_load(&old.list, data, len, &e), VT_VERSION);
    assert_non_null(strstr(e.msg, "t0: version 2"));
    free(data);
}

static void test_dump_and_compare(void **state)
{
    struct one a, b;
    uint8_t *da, *db;
    size_t la, lb;
    char *text;
    one_init(&a, &v1);
    one_init(&b, &v1);
    a.t = (struct thing){.a = 2, .b = {1, 2, 3}, .bytes = {0xde, 0xad}};
    b.t = a.t;
    b.t.b[1] = 9;
    text = state_dump(&a.list);
    assert_string_equal(text, "t0 thing 1\nt0.a 2\nt0.b 1 2 3\nt0.flag 0\nt0.bytes dead000000\n");
    free(text);
    assert_int_equal(state_save(&a.list, &da, &la, NULL), 0);
    assert_int_equal(state_save(&b.list, &db, &lb, NULL), 0);
    assert_int_equal(state_compare(da, la, db, lb, &text, NULL), 0);
    assert_string_equal(text, "-t0.b 1 2 3\n+t0.b 1 9 3\n");
    free(text);
    free(da);
    free(db);
}

static void refuse(struct one *o, const uint8_t *data, size_t len, const char *say)
{
    struct err e = {0};
    int r = state_load(&o->list, data, len, &e);
    assert_true(r == VT_CORRUPT || r == VT_VERSION);
    assert_non_null(strstr(e.msg, say));
}

static void test_malformed(void **state)
{
    struct one o;
    uint8_t *data;
    size_t len;
    one_init(&o, &v1);
    assert_int_equal(state_save(&o.list, &data, &len, NULL), 0);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *part = malloc(cut ? cut : 1); /* exactly as long, so that a sanitizer sees a read behind it */
        memcpy(part, data, cut);
        refuse(&o, part, cut, "state");
        free(part);
    }
    uint8_t *more = malloc(len + 1);
    memcpy(more, data, len);
    more[len] = 0;
    refuse(&o, more, len + 1, "too many");
    memcpy(more, data, len);
    uint8_t *flag = (uint8_t *)memmem(more, len, "\4flag", 5) + 5;
    flag[5] = 2;
    refuse(&o, more, len, "truth value");
    flag[5] = 0;
    flag[1] = 2; /* count */
    refuse(&o, more, len, "");
    memcpy(more, data, len);
    ((uint8_t *)memmem(more, len, "\1a", 2))[7] = 1;
    refuse(&o, more, len, "a is odd");
    memcpy(more, data, len);
    memcpy((uint8_t *)memmem(more, len, "\1b", 2) + 1, "a", 1); /* repeated */
    refuse(&o, more, len, "repeated");
    memcpy(more, data, len);
    memcpy((uint8_t *)memmem(more, len, "\5thing", 6) + 1, "thong", 5);
    refuse(&o, more, len, "thong");
    memcpy(more, data, len);
    memcpy((uint8_t *)memmem(more, len, "\2t0", 3) + 1, "t1", 2);
    refuse(&o, more, len, "t1");
    free(more);
    free(data);
}

/* Any single byte of a whole board's state may be anything: the load says no, or gives a board that works and saves. */
static void test_every_byte_of_a_board(void **state)
{
    struct rig *r = rig_new();
    uint8_t *data, *again;
    size_t len, again_len;
    board_direct_boot(&r->board);
    assert_int_equal(state_save(&r->states, &data, &len, NULL), 0);
    unsigned refused = 0;
    for (size_t i = 0; i < len; i += 3) {
        uint8_t was = data[i];
        struct rig *fresh = rig_new();
        data[i] ^= (uint8_t)(i * 37 | 0x80);
        if (state_load(&fresh->states, data, len, NULL)) {
            refused++;
        } else {
            vclock_advance(&fresh->clock, 3 * MS);
            board_ack_irq(&fresh->board);
            assert_int_equal(state_save(&fresh->states, &again, &again_len, NULL), 0);
            assert_int_equal(again_len, len);
            free(again);
        }
        rig_free(fresh);
        data[i] = was;
    }
    assert_true(refused > 500);
    free(data);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_dump_and_compare),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_every_byte_of_a_board),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
