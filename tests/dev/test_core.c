/* What devices stand on: bus, clock, queues, and the little libc. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/util.h"
#include "vmcore/bus.h"
#include "vmcore/clock.h"
#include "vmcore/port.h"
#define VT_RT_NO_RENAME
#include "vmcore/rt.h"
#include "vmcore/rt_log.h"

/* ---- bus: a device that logs what it is asked */

struct probe {
    struct bus_window win;
    char log[256];
};
static uint32_t probe_read(void *dev, uint32_t off, unsigned size)
{
    struct probe *p = dev;
    snprintf(p->log + strlen(p->log), sizeof p->log - strlen(p->log), "r%u.%u ", off, size);
    return 0x44332211u >> off % 4 * 8;
}
static void probe_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct probe *p = dev;
    snprintf(p->log + strlen(p->log), sizeof p->log - strlen(p->log), "w%u.%u=%x ", off, size, val);
}
static const struct bus_ops any = {probe_read, probe_write, 1, 4};
static const struct bus_ops bytes_only = {probe_read, probe_write, 1, 1};
static const struct bus_ops words_only = {probe_read, probe_write, 4, 4};

static void assert_log(struct probe *p, const char *want)
{
    assert_string_equal(p->log, want);
    p->log[0] = 0;
}

static void test_bus_sizes(void **state)
{
    static struct bus b; /* large */
    struct probe p = {0}, q = {0};
    bus_init(&b);
    bus_map(&b, &p.win, false, 0x100, 8, &bytes_only, &p, "p");
    assert_int_equal(bus_io_read(&b, 0x100, 4), 0x44332211);
    assert_log(&p, "r0.1 r1.1 r2.1 r3.1 ");
    bus_io_write(&b, 0x102, 0xbbaa, 2);
    assert_log(&p, "w2.1=aa w3.1=bb ");
    assert_int_equal(bus_io_read(&b, 0x107, 2), 0xff44); /* half in, half out */
    assert_log(&p, "r7.1 ");
    assert_int_equal(bus_io_read(&b, 0xff, 1), 0xff);
    assert_int_equal(bus_io_read(&b, 0x108, 4), 0xffffffff);
    bus_io_write(&b, 0x106, 0x44332211, 4);
    assert_log(&p, "w6.1=11 w7.1=22 ");

    bus_map(&b, &q.win, true, 0xf0000000, 0x100, &words_only, &q, "q");
    assert_int_equal(bus_mmio_read(&b, 0xf0000002, 2), 0x4433);
    assert_log(&q, "r0.4 ");
    bus_mmio_write(&b, 0xf0000005, 0xab, 1);
    assert_log(&q, "w4.4=ab00 ");
    bus_mmio_write(&b, 0xf0000008, 0x1122334455667788, 8);
    assert_log(&q, "w8.4=55667788 w12.4=11223344 ");
    assert_int_equal(bus_mmio_read(&b, 0xf00000fc, 8), 0xffffffff44332211);
}

static void test_bus_overlap_and_moves(void **state)
{
    static struct bus b;
    struct probe low = {0}, high = {0}, io = {0};
    bus_init(&b);
    bus_map(&b, &low.win, true, 0xf0000000, 0x1000, &any, &low, "low");
    bus_mmio_read(&b, 0xf0000010, 4);
    assert_log(&low, "r16.4 ");
    bus_map(&b, &high.win, true, 0xf0000010, 4, &any, &high, "high"); /* newest wins, and not only for new addresses */
    bus_mmio_read(&b, 0xf0000010, 4);
    assert_log(&high, "r0.4 ");
    bus_mmio_read(&b, 0xf0000014, 4);
    assert_log(&low, "r20.4 ");
    bus_mmio_read(&b, 0xf0000010, 4);
    assert_log(&high, "r0.4 ");
    bus_unmap(&b, &high.win);
    bus_mmio_read(&b, 0xf0000010, 4);
    assert_log(&low, "r16.4 ");
    uint64_t generation = b.generation;
    bus_map(&b, &low.win, true, 0xe0000000, 0x1000, &any, &low, "low"); /* moves */
    assert_true(b.generation > generation);
    assert_int_equal(bus_mmio_read(&b, 0xf0000010, 4), 0xffffffff);
    assert_true(bus_mmio_claimed(&b, 0xe0000fff, 2));
    assert_false(bus_mmio_claimed(&b, 0xe0001000, 0x1000));
    bus_unmap(&b, &low.win);
    bus_unmap(&b, &low.win);
    assert_false(bus_mmio_claimed(&b, 0xe0000000, 0x1000));

    bus_map(&b, &io.win, false, 0xcf8, 4, &any, &io, "address");
    bus_map(&b, &high.win, false, 0xcf9, 1, &any, &high, "reset");
    bus_io_write(&b, 0xcf8, 5, 4);
    assert_log(&io, "w0.4=5 ");
    bus_io_write(&b, 0xcf9, 6, 1);
    assert_log(&high, "w0.1=6 ");
}

/* ---- clock */

static void add_state(struct devctx *c, struct state_entry *e, const char *instance, const struct state_table *t,
                      void *dev)
{
}

struct beat {
    struct vclock *c;
    struct vtimer t;
    uint64_t at[8];
    unsigned n;
};
static void beat(void *opaque)
{
    struct beat *b = opaque;
    b->at[b->n++] = vclock_now(b->c);
    if (b->n < 3)
        vtimer_set(b->c, &b->t, vclock_now(b->c) + 100);
}

static void test_clock(void **state)
{
    struct vclock c;
    struct devctx ctx = {.clock = &c, .add_state = add_state};
    struct beat a = {.c = &c}, b = {.c = &c, .n = 3};
    vclock_init(&c, &ctx, 1000);
    vtimer_init(&c, &a.t, beat, &a);
    vtimer_init(&c, &b.t, beat, &b);
    assert_int_equal(vclock_next_deadline(&c), UINT64_MAX);
    vtimer_set(&c, &b.t, 250);
    vtimer_set(&c, &a.t, 50);
    assert_int_equal(vclock_next_deadline(&c), 50);
    vclock_advance(&c, 200);
    assert_int_equal(a.n, 2);
    assert_int_equal(a.at[0], 50);
    assert_int_equal(a.at[1], 150);
    vtimer_set(&c, &a.t, UINT64_MAX);
    vtimer_set(&c, &a.t, UINT64_MAX); /* twice is no harm */
    vclock_advance(&c, 1000);
    assert_int_equal(a.n, 2);
    assert_int_equal(b.at[3], 250);
    assert_int_equal(vclock_wall(&c), 1000);
    vclock_set_wall(&c, 5000);
    vclock_advance(&c, 2 * NS_PER_S);
    assert_int_equal(vclock_wall(&c), 5002);

    uint64_t stopped = vclock_now(&c);
    vclock_start(&c);
    while (vclock_now(&c) < stopped + 1000)
        ; /* the host's clock runs */
    vclock_stop(&c);
    uint64_t then = vclock_now(&c);
    assert_true(then >= stopped + 1000);
    assert_int_equal(vclock_now(&c), then);
    assert_int_equal(mul_div(1ull << 40, 1ull << 40, 1ull << 41), 1ull << 39);
    assert_int_equal(mul_div(UINT64_MAX, 16, 2), UINT64_MAX);
}

/* ---- queues */

static void test_byte_queue(void **state)
{
    struct chrport p;
    char buf[32];
    assert_int_equal(chrport_init(&p, "p", 16, 16), 0);
    for (unsigned round = 0; round < 10; round++) {
        assert_int_equal(byteq_put(&p.to_host, "0123456789", 10), 10);
        assert_int_equal(byteq_put(&p.to_host, "abcdefghij", 10), 6);
        assert_int_equal(byteq_space(&p.to_host), 0);
        assert_int_equal(byteq_peek(&p.to_host, buf, 32), 16);
        assert_memory_equal(buf, "0123456789abcdef", 16);
        byteq_drop(&p.to_host, 3);
        assert_int_equal(byteq_peek(&p.to_host, buf, 4), 4);
        assert_memory_equal(buf, "3456", 4);
        byteq_drop(&p.to_host, 100);
        assert_int_equal(byteq_used(&p.to_host), 0);
        byteq_put(&p.to_host, "x", 1); /* shifts the next round */
        byteq_drop(&p.to_host, 1);
    }
    p.to_host.head = p.to_host.tail = UINT32_MAX - 4; /* counters wrap */
    assert_int_equal(byteq_put(&p.to_host, "0123456789", 10), 10);
    assert_int_equal(byteq_peek(&p.to_host, buf, 32), 10);
    assert_memory_equal(buf, "0123456789", 10);
    chrport_release(&p);
}

static void test_frames_and_requests(void **state)
{
    struct netport p;
    struct reqlist l = {0};
    struct blk_req r[3];
    char buf[32];
    assert_int_equal(netport_init(&p, 32), 0);
    assert_true(netq_put(&p.to_guest, "hello", 5));
    assert_true(netq_put(&p.to_guest, "longer frame", 12));
    assert_false(netq_put(&p.to_guest, "12345", 5)); /* whole or not at all */
    assert_int_equal(netq_get(&p.to_guest, buf, 32), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(netq_get(&p.to_guest, buf, 6), 6); /* cut */
    assert_memory_equal(buf, "longer", 6);
    assert_int_equal(netq_get(&p.to_guest, buf, 32), 0);
    netport_release(&p);

    for (unsigned i = 0; i < 3; i++)
        reqlist_push(&l, &r[i]);
    struct blk_req *q = reqlist_take_all(&l);
    for (unsigned i = 0; i < 3; i++, q = q->next)
        assert_ptr_equal(q, &r[i]);
    assert_null(q);
    assert_null(reqlist_take_all(&l));
}

/* ---- libc and log */

static void test_memory_functions(void **state)
{
    char a[40], b[40];
    for (unsigned dst = 0; dst < 16; dst++)
        for (unsigned src = 0; src < 16; src++)
            for (unsigned n = 0; n < 24; n++) {
                for (unsigned i = 0; i < sizeof a; i++)
                    a[i] = b[i] = (char)(i * 7);
                rt_memmove(a + dst, a + src, n);
                memmove(b + dst, b + src, n);
                assert_memory_equal(a, b, sizeof a);
            }
    rt_memset(a, 0x5a, 20);
    assert_int_equal(a[19], 0x5a);
    assert_int_equal(rt_memcmp("abc", "abd", 3), -1);
    assert_int_equal(rt_memcmp("ab\xff", "ab\x01", 3), 1);
    assert_int_equal(rt_memcmp("abc", "abd", 2), 0);
    rt_memcpy(b, "copy", 5);
    assert_string_equal(b, "copy");
}

static void test_log(void **state)
{
    cleanup(cleanup_free) struct rt_log_ring *r = calloc(1, sizeof *r);
    char line[RT_LOG_LINE], longest[600];
    rt_log_init(r);
    assert_false(rt_log_take(r, line));
    rt_log_put(r, "%s is %u, %x, %llx, 100%%", "it", 42u, 0xabcu, 0x123456789abcdefull);
    memset(longest, 'z', sizeof longest);
    longest[599] = 0;
    rt_log_put(r, "%s", longest);
    assert_true(rt_log_take(r, line));
    assert_string_equal(line, "it is 42, abc, 123456789abcdef, 100%");
    assert_true(rt_log_take(r, line));
    assert_int_equal(strlen(line), RT_LOG_LINE - 1);
    for (unsigned i = 0; i < 2000; i++)
        rt_log_put(r, "line %u of many", i);
    unsigned n = 0;
    while (rt_log_take(r, line)) {
        if (strstr(line, "dropped"))
            break;
        n++;
    }
    unsigned dropped = (unsigned)strtoul(line, NULL, 10);
    assert_int_equal(n + dropped, 2000);
    assert_true(n > 500);
    assert_false(rt_log_take(r, line));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bus_sizes),
        cmocka_unit_test(test_bus_overlap_and_moves),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_byte_queue),
        cmocka_unit_test(test_frames_and_requests),
        cmocka_unit_test(test_memory_functions),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
