/* Rings and the PCI transport, seen through the entropy device, which answers at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/dev/virtio_rig.h"
#include "vmcore/dev/virtio_rng.h"

#define V1  VIRTIO_F_VERSION_1
#define EVT VIRTIO_F_EVENT_IDX
#define IND VIRTIO_F_INDIRECT_DESC

struct t {
    struct rig r;
    struct virtio_rng rng;
    struct drv d;
};

static void start(struct t *t, bool modern, uint64_t want, bool msix)
{
    rig_init(&t->r);
    memset(&t->rng, 0, sizeof t->rng);
    virtio_rng_init(&t->rng, &t->r.ctx, &t->r.pci, PCI_DEVFN(3, 0), "vrng0");
    drv_find(&t->d, &t->r, &t->rng.v.pci, modern);
    drv_start(&t->d, want, 1, 16, msix);
}

static bool all_zero(struct t *t, uint32_t pa, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        if (*rig_at(&t->r, pa + i))
            return false;
    return true;
}

static void ask(struct t *t, uint32_t len, bool indirect)
{
    struct sg in[2] = {{rig_alloc(&t->r, len, 1), len / 2}, {0, len - len / 2}};
    uint16_t head, got;
    uint32_t n;

    in[1].pa = in[0].pa + len / 2;
    head = drv_add(&t->d, 0, NULL, 0, in, 2, indirect);
    drv_kick(&t->d, 0);
    assert_true(drv_used(&t->d, 0, &got, &n));
    assert_int_equal(got, head);
    assert_int_equal(n, len);
    assert_false(all_zero(t, (uint32_t)in[0].pa, len));
}

static void identity(void **state)
{
    struct t t;
    start(&t, true, V1, false);
    assert_int_equal(pci_config_read(t.d.pci, PCI_VENDOR, 4), 0x10051af4);
    assert_int_equal(pci_config_read(t.d.pci, PCI_SUB_DEVICE, 2), VIRTIO_ID_RNG);
    assert_int_equal(pci_config_read(t.d.pci, PCI_REVISION, 1), 0);
    assert_true(t.d.common && t.d.notify && t.d.isr && t.d.window_cap);
    assert_true(drv_offered(&t.d) & V1);
    rig_release(&t.r);
}

static void modern_and_legacy(void **state)
{
    static const struct {
        bool modern;
        uint64_t want;
    } kinds[] = {{true, V1}, {true, V1 | EVT | IND}, {false, 0}, {false, EVT | IND}};

    for (unsigned i = 0; i < 4; i++)
        for (unsigned msix = 0; msix < 2; msix++) {
            struct t t;
            start(&t, kinds[i].modern, kinds[i].want, msix);
            assert_true(drv_status(&t.d) & VIRTIO_S_DRIVER_OK);
            for (unsigned n = 1; n <= 40; n++) { /* wraps the ring */
                ask(&t, 256, n % 2 && (kinds[i].want & IND));
                if (msix) {
                    assert_int_equal(t.r.intx, 0);
                } else if (t.r.intx) {
                    assert_int_equal(drv_take_isr(&t.d), VIRTIO_ISR_QUEUE);
                    assert_int_equal(t.r.intx, 0);
                }
            }
            if (!(kinds[i].want & EVT))
                assert_int_equal(msix ? t.r.msi[1] : t.r.intx_up, 40);
            rig_roundtrip(&t.r);
            ask(&t, 64, false);
            rig_release(&t.r);
        }
}

static void unknown_feature_is_refused(void **state)
{
    struct t t;
    start(&t, true, V1, false);
    drv_set_status(&t.d, 0);
    assert_int_equal(drv_status(&t.d), 0);
    drv_set_status(&t.d, 3);
    bus_mmio_write(&t.r.bus, t.d.common + 8, 1, 4);
    bus_mmio_write(&t.r.bus, t.d.common + 12, 1u << 20, 4); /* bit 52 */
    drv_set_status(&t.d, 3 | VIRTIO_S_FEATURES_OK);
    assert_int_equal(drv_status(&t.d), 3);
    rig_release(&t.r);
}

static void features_stand_once_accepted(void **state)
{
    struct t t;
    start(&t, true, V1, false);
    bus_mmio_write(&t.r.bus, t.d.common + 8, 0, 4);
    bus_mmio_write(&t.r.bus, t.d.common + 12, (uint32_t)EVT, 4);
    assert_int_equal(t.rng.v.features, V1);
    rig_release(&t.r);
}

static void event_index_silences(void **state)
{
    struct t t;
    start(&t, true, V1 | EVT, false);
    ask(&t, 16, false);
    assert_int_equal(drv_take_isr(&t.d), VIRTIO_ISR_QUEUE); /* the first always */
    assert_int_equal(drv_avail_event(&t.d, 0), 1);
    drv_set_used_event(&t.d, 0, 3);
    for (unsigned i = 2; i <= 3; i++) {
        ask(&t, 16, false);
        assert_int_equal(t.r.intx, 0);
    }
    ask(&t, 16, false);
    assert_int_equal(drv_take_isr(&t.d), VIRTIO_ISR_QUEUE);
    assert_int_equal(drv_avail_event(&t.d, 0), 4);
    rig_release(&t.r);
}

static void no_interrupt_flag(void **state)
{
    struct t t;
    start(&t, true, V1, false);
    put_le16(rig_at(&t.r, t.d.ring[0].avail), 1);
    ask(&t, 16, false);
    assert_int_equal(t.r.intx, 0);
    rig_release(&t.r);
}

static void pci_window(void **state)
{
    struct t t;
    start(&t, true, V1, false);
    unsigned cap = t.d.window_cap;
    pci_config_write(t.d.pci, cap + 4, 4, 1);
    pci_config_write(t.d.pci, cap + 8, 20, 4); /* device status */
    pci_config_write(t.d.pci, cap + 12, 1, 4);
    assert_int_equal(pci_config_read(t.d.pci, cap + 16, 1), drv_status(&t.d));
    pci_config_write(t.d.pci, cap + 16, 0, 1);
    assert_int_equal(drv_status(&t.d), 0);
    pci_config_write(t.d.pci, cap + 8, 0xfffffffe, 4); /* outside: nothing happens */
    pci_config_write(t.d.pci, cap + 12, 2, 4);
    pci_config_read(t.d.pci, cap + 16, 2);
    pci_config_write(t.d.pci, cap + 16, 0xffff, 2);
    assert_int_equal(drv_status(&t.d), 0);
    rig_release(&t.r);
}

static void queue_that_is_not(void **state)
{
    struct t t;
    start(&t, true, V1, false);
    bus_mmio_write(&t.r.bus, t.d.common + 22, 7, 2);
    assert_int_equal(bus_mmio_read(&t.r.bus, t.d.common + 24, 2), 0);
    bus_mmio_write(&t.r.bus, t.d.common + 28, 1, 2);
    bus_mmio_write(&t.r.bus, t.d.notify + 7 * 4, 7, 2);
    ask(&t, 16, false);
    rig_release(&t.r);
}

static void large_request_is_cut(void **state)
{
    struct t t;
    struct sg in = {0x100000, 1u << 20};
    uint16_t head;
    uint32_t n;

    start(&t, true, V1, false);
    drv_add(&t.d, 0, NULL, 0, &in, 1, false);
    drv_kick(&t.d, 0);
    assert_true(drv_used(&t.d, 0, &head, &n));
    assert_int_equal(n, 4096);
    assert_true(all_zero(&t, 0x101000, 4096));
    rig_release(&t.r);
}

/* ---- hostile rings: each breaks one rule, by a change to a ring that was right */
static void far_index(struct t *t)
{
    put_le16(rig_at(&t->r, t->d.ring[0].avail + 2), 17 + 1);
}
static void far_head(struct t *t)
{
    drv_avail(&t->d, 0, 16);
}
static void looping(struct t *t)
{
    drv_desc(&t->d, 0, 0, 0x1000, 1, 3, 1);
    drv_desc(&t->d, 0, 1, 0x1000, 1, 3, 0);
    drv_avail(&t->d, 0, 0);
}
static void far_next(struct t *t)
{
    drv_desc(&t->d, 0, 0, 0x1000, 1, 3, 0xffff);
    drv_avail(&t->d, 0, 0);
}
static void readable_late(struct t *t)
{
    drv_desc(&t->d, 0, 0, 0x1000, 1, 3, 1);
    drv_desc(&t->d, 0, 1, 0x1000, 1, 0, 0);
    drv_avail(&t->d, 0, 0);
}
static void outside(struct t *t)
{
    drv_desc(&t->d, 0, 0, RIG_RAM - 8, 64, 2, 0);
    drv_avail(&t->d, 0, 0);
}
static void wrapping(struct t *t)
{
    drv_desc(&t->d, 0, 0, UINT64_MAX - 7, 64, 2, 0);
    drv_avail(&t->d, 0, 0);
}
static void indirect_desc(struct t *t, uint32_t table, uint32_t len, uint16_t flags)
{
    drv_desc(&t->d, 0, 0, table, len, flags, 0);
    drv_avail(&t->d, 0, 0);
}
static void indirect_odd(struct t *t)
{
    indirect_desc(t, 0x3000, 24, 4);
}
static void indirect_none(struct t *t)
{
    indirect_desc(t, 0x3000, 0, 4);
}
static void indirect_huge(struct t *t)
{
    indirect_desc(t, 0x3000, 0xfffffff0, 4);
}
static void indirect_next(struct t *t)
{
    indirect_desc(t, 0x3000, 16, 5);
}
static void indirect_outside(struct t *t)
{
    indirect_desc(t, RIG_RAM - 16, 32, 4);
}
static void indirect_nested(struct t *t)
{
    put_le16(rig_at(&t->r, 0x300000 + 12), 4);
    indirect_desc(t, 0x300000, 16, 4);
}
static void indirect_loop(struct t *t)
{
    put_le16(rig_at(&t->r, 0x300000 + 12), 1 | 2);
    put_le16(rig_at(&t->r, 0x300000 + 14), 0);
    indirect_desc(t, 0x300000, 32, 4);
}

static void breaks(void (*how)(struct t *), bool modern, const char *log)
{
    struct t t;
    start(&t, modern, V1 | IND, false);
    how(&t);
    drv_kick(&t.d, 0);
    rig_events(&t.r);
    assert_true(t.rng.v.broken);
    assert_int_equal(t.r.vm.logged, 1);
    assert_non_null(strstr(t.r.vm.log, log));
    assert_true(drv_status(&t.d) & VIRTIO_S_NEEDS_RESET);
    assert_int_equal(drv_take_isr(&t.d) & VIRTIO_ISR_CONFIG, VIRTIO_ISR_CONFIG);
    /* it stays so until a reset, over a save too; then all is well */
    rig_roundtrip(&t.r);
    drv_kick(&t.d, 0);
    assert_int_equal(t.r.vm.logged, 1);
    drv_set_status(&t.d, VIRTIO_S_DRIVER | VIRTIO_S_DRIVER_OK);
    assert_true(drv_status(&t.d) & VIRTIO_S_NEEDS_RESET);
    drv_start(&t.d, V1, 1, 16, false);
    ask(&t, 32, false);
    rig_release(&t.r);
}

static void hostile_rings(void **state)
{
    static const struct {
        void (*how)(struct t *);
        const char *log;
    } ways[] = {
        {far_index, "ahead of the ring"},           {far_head, "bad descriptor chain"},
        {looping, "bad descriptor chain"},          {far_next, "bad descriptor chain"},
        {readable_late, "readable buffer after"},   {outside, "buffer outside of memory"},
        {wrapping, "buffer outside of memory"},     {indirect_odd, "bad indirect descriptor"},
        {indirect_none, "bad indirect descriptor"}, {indirect_huge, "bad indirect descriptor"},
        {indirect_next, "bad indirect descriptor"}, {indirect_outside, "indirect table outside"},
        {indirect_nested, "bad indirect table"},    {indirect_loop, "bad indirect table"},
    };
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++)
        for (int modern = 0; modern < 2; modern++)
            if (modern || ways[i].how != far_index) /* the legacy ring has another size */
                if (modern || ways[i].how != far_head)
                    breaks(ways[i].how, modern, ways[i].log);
}

static void ring_outside_of_memory(void **state)
{
    static const unsigned regs[] = {32, 40, 48};
    for (unsigned i = 0; i < 3; i++) {
        struct t t;
        start(&t, true, V1 | EVT, false);
        drv_set_status(&t.d, 0);
        drv_start(&t.d, V1 | EVT, 0, 16, false);
        t.r.brk = 0x10000;
        bus_mmio_write(&t.r.bus, t.d.common + 22, 0, 2);
        for (unsigned k = 0; k < 3; k++)
            bus_mmio_write(&t.r.bus, t.d.common + regs[k], 0x4000 + 0x1000 * k, 4);
        bus_mmio_write(&t.r.bus, t.d.common + regs[i] + 4, 1, 4); /* at 4 GiB */
        bus_mmio_write(&t.r.bus, t.d.common + 28, 1, 2);
        put_le16(rig_at(&t.r, 0x5000 + 2), 1); /* one chain: descriptor 0, empty */
        drv_kick(&t.d, 0);
        assert_true(t.rng.v.broken);
        rig_release(&t.r);
    }
}

/* The device's own answers move the available index on: the guest must not keep the vCPU thread for ever. */
static void ring_that_feeds_itself(void **state)
{
    struct t t;
    start(&t, true, V1, false);
    struct drv_ring *g = &t.d.ring[0];
    drv_desc(&t.d, 0, 0, g->avail + 2, 2, 2, 0); /* random bytes over the index */
    for (unsigned i = 0; i < 16; i++)
        put_le16(rig_at(&t.r, g->avail + 4 + 2 * i), 0);
    put_le16(rig_at(&t.r, g->avail + 2), 1);
    drv_kick(&t.d, 0);
    rig_events(&t.r);
    /* it ended where an index was out of reach or, by a rare chance, was the very next one */
    assert_true(t.rng.v.broken || get_le16(rig_at(&t.r, g->avail + 2)) == t.rng.v.vq[0].next_avail);
    rig_release(&t.r);
}

static void bad_queue_size(void **state)
{
    static const uint16_t sizes[] = {0, 3, 128, 0xffff};
    for (unsigned i = 0; i < 4; i++) {
        struct t t;
        start(&t, true, V1, false);
        drv_start(&t.d, V1, 0, 16, false);
        bus_mmio_write(&t.r.bus, t.d.common + 22, 0, 2);
        bus_mmio_write(&t.r.bus, t.d.common + 24, sizes[i], 2);
        assert_true(t.rng.v.broken);
        rig_release(&t.r);
    }
}

static void hostile_state(void **state)
{
    struct t t;
    uint8_t *data;
    size_t len;
    struct err e = {0};

    start(&t, true, V1, false);
    t.rng.v.vq[0].size = 128;
    assert_int_equal(state_save(&t.r.states, &data, &len, &e), 0);
    assert_int_equal(state_load(&t.r.states, data, len, &e), VT_CORRUPT);
    assert_non_null(strstr(e.msg, "queue size"));
    free(data);
    t.rng.v.vq[0].size = 16;
    t.rng.v.vq[0].vector = 2;
    e = (struct err){0};
    assert_int_equal(state_save(&t.r.states, &data, &len, &e), 0);
    assert_int_equal(state_load(&t.r.states, data, len, &e), VT_CORRUPT);
    assert_non_null(strstr(e.msg, "vector"));
    free(data);
    rig_release(&t.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity),
        cmocka_unit_test(modern_and_legacy),
        cmocka_unit_test(unknown_feature_is_refused),
        cmocka_unit_test(features_stand_once_accepted),
        cmocka_unit_test(event_index_silences),
        cmocka_unit_test(no_interrupt_flag),
        cmocka_unit_test(pci_window),
        cmocka_unit_test(queue_that_is_not),
        cmocka_unit_test(large_request_is_cut),
        cmocka_unit_test(hostile_rings),
        cmocka_unit_test(ring_outside_of_memory),
        cmocka_unit_test(ring_that_feeds_itself),
        cmocka_unit_test(bad_queue_size),
        cmocka_unit_test(hostile_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
