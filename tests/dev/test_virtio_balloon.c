/* The balloon: what a driver reports or inflates is given back, by whole pages; hostile queues do no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/dev/virtio_rig.h"
#include "vmcore/dev/virtio_balloon.h"

#define V1        VIRTIO_F_VERSION_1
#define IND       VIRTIO_F_INDIRECT_DESC
#define REPORTING (1ull << 5)
#define PAGE      4096u
#define AREA      0x200000u /* what the tests give back lies here */

enum { INFLATE, DEFLATE, COMPACT, NONE, REPORT };

struct t {
    struct rig r;
    struct virtio_balloon b;
    struct drv d;
};

static void start(struct t *t, uint64_t want)
{
    rig_init(&t->r);
    memset(&t->b, 0, sizeof t->b);
    virtio_balloon_init(&t->b, &t->r.ctx, &t->r.pci, PCI_DEVFN(20, 0), "vballoon0");
    drv_find(&t->d, &t->r, &t->b.v.pci, true);
    drv_start(&t->d, want, 3, 128, false);
    drv_setup_queue(&t->d, REPORT, 128);
    memset(rig_at(&t->r, AREA), 0xaa, 64 * PAGE);
}

/* The pages of AREA that are zero, a bit each; none is so in part. */
static uint64_t zeroed(struct t *t)
{
    static const uint8_t zero[PAGE];
    uint64_t pages = 0;
    uint8_t full[PAGE];

    memset(full, 0xaa, PAGE);
    for (unsigned n = 0; n < 64; n++) {
        const uint8_t *p = rig_at(&t->r, AREA + n * PAGE);
        if (!memcmp(p, zero, PAGE))
            pages |= 1ull << n;
        else
            assert_memory_equal(p, full, PAGE);
    }
    return pages;
}

static void gives(struct t *t, unsigned q, const struct sg *out, unsigned nout, const struct sg *in, unsigned nin,
                  bool indirect)
{
    uint16_t head = drv_add(&t->d, q, out, nout, in, nin, indirect), got;
    uint32_t len;

    drv_kick(&t->d, q);
    rig_events(&t->r);
    assert_true(drv_used(&t->d, q, &got, &len));
    assert_int_equal(got, head);
    assert_int_equal(len, 0);
    assert_true(drv_take_isr(&t->d) & VIRTIO_ISR_QUEUE);
}

static void identity(void **state)
{
    struct t t;

    start(&t, V1);
    assert_int_equal(pci_config_read(t.d.pci, PCI_VENDOR, 4), 0x10451af4);
    assert_true(pci_config_read(t.d.pci, PCI_SUB_DEVICE, 2) >= 0x40);
    assert_true(pci_config_read(t.d.pci, PCI_REVISION, 1) >= 1);
    assert_int_equal(pci_config_read(t.d.pci, PCI_BAR0, 4), 0); /* no legacy interface */
    assert_int_equal(drv_offered(&t.d) & 0xffffff, REPORTING);
    assert_int_equal(drv_config(&t.d, 0, 4), 0);
    drv_config_write(&t.d, 0, 5, 4); /* not the driver's */
    drv_config_write(&t.d, 4, 7, 4);
    assert_int_equal(drv_config(&t.d, 0, 4), 0);
    assert_int_equal(drv_config(&t.d, 4, 4), 7);
    rig_roundtrip(&t.r);
    assert_int_equal(drv_config(&t.d, 4, 4), 7);
    drv_start(&t.d, REPORTING, 0, 128, false); /* such a device has no legacy drivers */
    assert_false(drv_status(&t.d) & VIRTIO_S_FEATURES_OK);
    rig_release(&t.r);
}

/* By the queue's number in the specification, and by that of drivers which count only queues that are there. */
static void reported_ranges_are_given_back(void **state)
{
    static const unsigned queues[] = {REPORT, COMPACT};
    const struct sg in[] = {{AREA, 8 * PAGE}, {AREA + 32 * PAGE, PAGE}, {AREA + 10 * PAGE, 2 * PAGE}};

    for (unsigned n = 0; n < 4; n++) {
        struct t t;
        start(&t, V1 | IND | REPORTING);
        gives(&t, queues[n / 2], NULL, 0, in, 3, n & 1);
        assert_int_equal(zeroed(&t), 0xffull | 1ull << 32 | 3ull << 10);
        assert_int_equal(t.r.mem.discards, 3);
        for (unsigned k = 0; k < 300; k++) /* around the ring */
            gives(&t, queues[n / 2], NULL, 0, in, 1, false);
        rig_roundtrip(&t.r);
        gives(&t, queues[n / 2], NULL, 0, (const struct sg[]){{AREA + 63 * PAGE, PAGE}}, 1, false);
        assert_int_equal(zeroed(&t), 0xffull | 1ull << 32 | 3ull << 10 | 1ull << 63);
        rig_release(&t.r);
    }
}

static void only_what_was_agreed_on(void **state)
{
    struct t t;
    const struct sg s = {AREA, 8 * PAGE};

    start(&t, V1);
    gives(&t, REPORT, NULL, 0, &s, 1, false); /* the feature was not accepted */
    gives(&t, DEFLATE, &s, 1, NULL, 0, false);
    gives(&t, INFLATE, NULL, 0, &s, 1, false); /* no page numbers */
    assert_int_equal(zeroed(&t), 0);
    drv_kick(&t.d, NONE);
    assert_int_equal(t.r.vm.logged, 0);
    rig_release(&t.r);
}

/* Up, down, alone, twice, nowhere: each is its page, and neighbours go as one. */
static void inflated_pages_are_given_back(void **state)
{
    static const uint32_t pages[] = {0, 1, 2, 3, 20, 19, 18, 40, 40, 7};
    struct t t;
    uint32_t at;

    start(&t, V1);
    at = rig_alloc(&t.r, 64, 4);
    for (unsigned n = 0; n < 10; n++)
        put_le32(rig_at(&t.r, at + 4 * n), AREA / PAGE + pages[n]);
    put_le32(rig_at(&t.r, at + 40), 0xffffffff);
    put_le32(rig_at(&t.r, at + 44), RIG_RAM / PAGE);
    put_le32(rig_at(&t.r, at + 48), AREA / PAGE + 63); /* cut off: only three of its bytes are in the chain */
    gives(&t, INFLATE, (const struct sg[]){{at, 18}, {at + 18, 51 - 18}}, 2, NULL, 0, false);
    assert_int_equal(zeroed(&t), 0xfull | 7ull << 18 | 1ull << 40 | 1ull << 7);
    assert_int_equal(t.r.mem.discards, 5);
    gives(&t, DEFLATE, (const struct sg[]){{at, 40}}, 1, NULL, 0, false);
    assert_int_equal(t.r.vm.logged, 0);
    rig_release(&t.r);
}

static void bad_ranges_are_left_out(void **state)
{
    const struct sg bad[] = {
        {AREA + 1, PAGE},       {AREA + 100, 2 * PAGE - 101},  {AREA, PAGE - 1},         {AREA, 0}, {RIG_RAM, PAGE},
        {UINT64_MAX - 7, PAGE}, {UINT64_MAX & ~4095ull, PAGE}, {1ull << 63, 0xffffffff},
    };
    struct t t;

    start(&t, V1 | REPORTING);
    for (unsigned n = 0; n < sizeof bad / sizeof *bad; n++)
        gives(&t, REPORT, NULL, 0, &bad[n], 1, false);
    assert_int_equal(zeroed(&t), 0);
    gives(&t, REPORT, NULL, 0, (const struct sg[]){{AREA + 1, 3 * PAGE}}, 1, false); /* the two that are whole */
    assert_int_equal(zeroed(&t), 6);
    assert_int_equal(t.r.vm.logged, 0);

    drv_add(&t.d, INFLATE, (const struct sg[]){{RIG_RAM - 4, 64}}, 1, NULL, 0, false); /* the list itself */
    drv_kick(&t.d, INFLATE);
    assert_non_null(strstr(t.r.vm.log, "buffer outside of memory"));
    assert_true(drv_status(&t.d) & VIRTIO_S_NEEDS_RESET);
    rig_release(&t.r);
}

/* A guest that lists more than there can be: other events come in between, and the end is reached. */
static void endless_lists(void **state)
{
    struct t t;
    struct sg huge[8];
    uint16_t head;
    uint32_t len;

    start(&t, V1 | REPORTING);
    for (unsigned n = 0; n < 8; n++)
        huge[n] = (struct sg){AREA, 0xffffffff};
    for (unsigned n = 0; n < 4; n++)
        drv_add(&t.d, REPORT, NULL, 0, huge, 8, false);
    drv_kick(&t.d, REPORT);
    assert_true(drv_used(&t.d, REPORT, &head, &len));
    assert_false(drv_used(&t.d, REPORT, &head, &len)); /* one, and it does not hold up the rest */
    assert_int_equal(rig_events(&t.r), 4);
    for (unsigned n = 0; n < 3; n++)
        assert_true(drv_used(&t.d, REPORT, &head, &len));
    assert_int_equal(t.r.vm.logged, 0);
    rig_release(&t.r);
}

static void hostile_state(void **state)
{
    struct t t;
    struct err e = {0};
    uint8_t *data;
    size_t len;

    start(&t, V1);
    t.b.config[0] = 1;
    assert_int_equal(state_save(&t.r.states, &data, &len, &e), 0);
    assert_int_equal(state_load(&t.r.states, data, len, &e), VT_CORRUPT);
    assert_non_null(strstr(e.msg, "never asks for"));
    free(data);
    rig_release(&t.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity),
        cmocka_unit_test(reported_ranges_are_given_back),
        cmocka_unit_test(only_what_was_agreed_on),
        cmocka_unit_test(inflated_pages_are_given_back),
        cmocka_unit_test(bad_ranges_are_left_out),
        cmocka_unit_test(endless_lists),
        cmocka_unit_test(hostile_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
