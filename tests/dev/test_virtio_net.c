/* The network device: frames both ways, headers of each kind, buffers that are merged, missing or too small. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/dev/virtio_rig.h"
#include "vmcore/dev/virtio_net.h"

enum { RX = 0, TX = 1 };
#define V1  VIRTIO_F_VERSION_1
#define MRG (1u << 15)

struct t {
    struct rig r;
    struct virtio_net n;
    struct drv d;
    struct netport port;
};

static void start(struct t *t, bool modern, uint64_t want)
{
    static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};

    memset(t, 0, sizeof *t);
    rig_init(&t->r);
    assert_int_equal(netport_init(&t->port, 65536), 0);
    virtio_net_init(&t->n, &t->r.ctx, &t->r.pci, PCI_DEVFN(6, 0), "vnet0", mac, &t->port);
    drv_find(&t->d, &t->r, &t->n.v.pci, modern);
    drv_start(&t->d, want, 2, 32, false);
}

static void stop(struct t *t)
{
    rig_events(&t->r);
    netport_release(&t->port);
    rig_release(&t->r);
}

static void buffers(struct t *t, unsigned n, uint32_t len)
{
    while (n--)
        drv_add(&t->d, RX, NULL, 0, &(struct sg){rig_alloc(&t->r, len, 1), len}, 1, false);
    drv_kick(&t->d, RX);
}

static void from_host(struct t *t, const void *frame, uint32_t len)
{
    assert_true(netq_put(&t->port.to_guest, frame, len));
    vm_post(&t->r.vm, &t->port.rx_event);
    rig_events(&t->r);
}

static uint8_t *received(struct t *t, uint32_t *ret_len)
{
    uint16_t head;

    if (!drv_used(&t->d, RX, &head, ret_len))
        return NULL;
    return rig_at(&t->r, get_le64(rig_at(&t->r, t->d.ring[RX].desc + 16 * head)));
}

static void configuration(void **state)
{
    struct t t;
    start(&t, true, V1);
    assert_int_equal(drv_config(&t.d, 0, 4), 0x01005452);
    assert_int_equal(drv_config(&t.d, 4, 4), 0x00010302);
    drv_config_write(&t.d, 0, 0, 4);
    assert_int_equal(drv_config(&t.d, 0, 1), 0x52); /* modern: read-only */
    stop(&t);
    start(&t, false, 0);
    drv_config_write(&t.d, 5, 0x77, 1);
    drv_config_write(&t.d, 6, 0, 2);
    assert_int_equal(drv_config(&t.d, 4, 4), 0x00017702);
    rig_roundtrip(&t.r);
    assert_int_equal(drv_config(&t.d, 4, 4), 0x00017702);
    stop(&t);
}

static void both_ways(void **state)
{
    static const struct {
        bool modern;
        uint64_t want;
        unsigned header;
    } kinds[] = {{true, V1, 12}, {true, V1 | MRG, 12}, {false, 0, 10}, {false, MRG, 12}};

    for (unsigned k = 0; k < 4; k++) {
        struct t t;
        uint8_t frame[1514], got[2000];
        uint16_t head;
        uint32_t n;

        start(&t, kinds[k].modern, kinds[k].want);
        for (unsigned i = 0; i < sizeof frame; i++)
            frame[i] = (uint8_t)(i * 3 + k);
        for (unsigned round = 0; round < 70; round++) { /* wraps both rings */
            uint32_t at = rig_alloc(&t.r, 12 + 1514, 1), len = 60 + round * 20;
            memcpy(rig_at(&t.r, at + kinds[k].header), frame, len);
            struct sg out[] = {
                {at, kinds[k].header}, {at + kinds[k].header, 14}, {at + kinds[k].header + 14, len - 14}};
            drv_add(&t.d, TX, out, 3, NULL, 0, false);
            drv_kick(&t.d, TX);
            assert_true(drv_used(&t.d, TX, &head, &n));
            assert_int_equal(netq_get(&t.port.to_host, got, sizeof got), len);
            assert_memory_equal(got, frame, len);

            t.r.brk = 0x100000;
            buffers(&t, 1, 1526);
            from_host(&t, frame, len);
            uint8_t *p = received(&t, &n);
            assert_non_null(p);
            assert_int_equal(n, kinds[k].header + len);
            for (unsigned i = 0; i < 10; i++)
                assert_int_equal(p[i], 0);
            if (kinds[k].header == 12)
                assert_int_equal(get_le16(p + 10), 1);
            assert_memory_equal(p + kinds[k].header, frame, len);
        }
        rig_roundtrip(&t.r);
        stop(&t);
    }
}

static void merged_buffers(void **state)
{
    struct t t;
    uint8_t frame[1000], *p;
    uint32_t n, total = 0;

    start(&t, true, V1 | MRG | VIRTIO_F_EVENT_IDX);
    for (unsigned i = 0; i < sizeof frame; i++)
        frame[i] = (uint8_t)(i * 5 >> 1);
    buffers(&t, 3, 300); /* 288 + 300 + 300 are too few: nothing is given until there are four */
    from_host(&t, frame, sizeof frame);
    assert_null(received(&t, &n));
    rig_events(&t.r);
    buffers(&t, 1, 300);
    for (unsigned i = 0; i < 4; i++) {
        p = received(&t, &n);
        assert_non_null(p);
        if (i == 0) {
            assert_int_equal(get_le16(p + 10), 4);
            p += 12;
            n -= 12;
        }
        assert_memory_equal(p, frame + total, n);
        total += n;
    }
    assert_int_equal(total, sizeof frame);
    stop(&t);
}

static void buffer_too_small(void **state)
{
    struct t t;
    uint8_t frame[200] = {1}, *p;
    uint32_t n;

    start(&t, true, V1);
    buffers(&t, 2, 100);
    from_host(&t, frame, sizeof frame); /* lost; the buffers stay */
    assert_null(received(&t, &n));
    from_host(&t, frame, 88);
    p = received(&t, &n);
    assert_non_null(p);
    assert_int_equal(n, 100);
    assert_false(t.n.v.broken);
    stop(&t);
}

static void nobody_listens(void **state)
{
    struct t t;
    uint8_t frame[100] = {0};
    uint32_t n;

    start(&t, true, V1);
    drv_set_status(&t.d, 0);
    from_host(&t, frame, sizeof frame);
    assert_int_equal(byteq_used(&t.port.to_guest), 0);
    drv_start(&t.d, V1, 2, 32, false);
    buffers(&t, 1, 1526);
    assert_null(received(&t, &n));
    /* no buffers: frames wait in the port, and are dropped by a load */
    from_host(&t, frame, 60);
    assert_non_null(received(&t, &n));
    from_host(&t, frame, 60);
    from_host(&t, frame, 60);
    assert_true(byteq_used(&t.port.to_guest) > 0);
    rig_roundtrip(&t.r);
    rig_events(&t.r);
    buffers(&t, 1, 1526);
    assert_null(received(&t, &n));
    stop(&t);
}

static void hostile_driver(void **state)
{
    struct t t;
    uint16_t head;
    uint32_t n;
    uint8_t frame[100] = {0};

    start(&t, true, V1 | MRG);
    static const uint32_t lens[] = {0, 5, 12, 12 + NET_FRAME_MAX + 1, RIG_RAM - 0x1000};
    for (unsigned i = 0; i < 5; i++) { /* no header, no frame, too long: given back, not sent */
        drv_add(&t.d, TX, &(struct sg){0x1000, lens[i]}, 1, NULL, 0, false);
        drv_kick(&t.d, TX);
        assert_true(drv_used(&t.d, TX, &head, &n));
        assert_int_equal(byteq_used(&t.port.to_host), 0);
    }
    for (unsigned i = 0; i < 32; i++) /* buffers of no bytes after the first: never enough */
        drv_add(&t.d, RX, NULL, 0, &(struct sg){0x1000, i ? 0 : 12}, 1, false);
    from_host(&t, frame, sizeof frame);
    assert_false(t.n.v.broken);
    assert_false(drv_used(&t.d, RX, &head, &n));
    drv_start(&t.d, V1, 2, 32, false);
    drv_add(&t.d, TX, &(struct sg){RIG_RAM - 20, 100}, 1, NULL, 0, false);
    drv_kick(&t.d, TX);
    assert_true(t.n.v.broken);
    assert_int_equal(byteq_used(&t.port.to_host), 0);
    stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration),    cmocka_unit_test(both_ways),      cmocka_unit_test(merged_buffers),
        cmocka_unit_test(buffer_too_small), cmocka_unit_test(nobody_listens), cmocka_unit_test(hostile_driver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
