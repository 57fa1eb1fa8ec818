/* The block device against a disk in memory, whose completions the test lets through one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "src/base/util.h"
#include "tests/dev/virtio_rig.h"
#include "vmcore/dev/virtio_blk.h"

enum {
    DISK = 4 << 20,
    IN = 0,
    OUT = 1,
    FLUSH = 4,
    GET_ID = 8,
    DISCARD = 11,
    ZEROES = 13,
    OK = 0,
    IOERR = 1,
    UNSUPP = 2
};
#define WANT (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | 1u << 5 | 1u << 9 | 1u << 13 | 1u << 14)

struct t {
    struct rig r;
    struct virtio_blk b;
    struct drv d;
    uint8_t *disk;
    struct blk_req *first, **last; /* submitted, not served */
    unsigned submitted, flushes, discards;
    int result; /* of what is served from now on */
};

static void submit(void *opaque, struct blk_req *r)
{
    struct t *t = opaque;
    r->next = NULL;
    *t->last = r;
    t->last = &r->next;
    t->submitted++;
}

static bool serve_one(struct t *t)
{
    struct blk_req *r = t->first;

    if (!r)
        return false;
    t->first = r->next;
    if (!t->first)
        t->last = &t->first;
    assert_true(r->off <= DISK && r->len <= DISK - r->off);
    r->result = t->result;
    if (r->result == 0)
        switch (r->op) {
        case BLK_READ:
            memcpy(r->buf, t->disk + r->off, r->len);
            break;
        case BLK_WRITE:
            memcpy(t->disk + r->off, r->buf, r->len);
            break;
        case BLK_FLUSH:
            t->flushes++;
            break;
        default:
            memset(t->disk + r->off, 0, r->len);
            t->discards++;
        }
    vm_post(&t->r.vm, &r->done);
    return true;
}

static void settle(struct t *t)
{
    do
        rig_events(&t->r);
    while (serve_one(t));
}

static void start(struct t *t, bool modern, bool read_only)
{
    struct blkport p = {.size = DISK, .read_only = read_only, .serial = "vt-disk0", .submit = submit, .opaque = t};

    memset(t, 0, sizeof *t);
    rig_init(&t->r);
    t->last = &t->first;
    t->disk = malloc(DISK);
    for (unsigned i = 0; i < DISK; i++)
        t->disk[i] = (uint8_t)(i * 7 + (i >> 9));
    assert_int_equal(virtio_blk_init(&t->b, &t->r.ctx, &t->r.pci, PCI_DEVFN(4, 0), "vblk0", &p), 0);
    drv_find(&t->d, &t->r, &t->b.v.pci, modern);
    drv_start(&t->d, modern ? WANT : WANT & 0xffffffff, 1, 64, false);
}

static void stop(struct t *t)
{
    settle(t);
    virtio_blk_release(&t->b);
    free(t->disk);
    rig_release(&t->r);
}

/* One request whose data lies in `pieces` buffers. Returns the address of its data; its status is behind. */
static uint32_t request(struct t *t, uint32_t type, uint64_t sector, uint32_t len, unsigned pieces, const void *data,
                        uint16_t *ret_head)
{
    uint32_t header = rig_alloc(&t->r, 16, 1), at = rig_alloc(&t->r, len + 1, 1);
    bool reads = type == IN || type == GET_ID;
    struct sg out[20] = {{header, 16}}, in[20];
    unsigned nout = 1, nin = 0;

    put_le32(rig_at(&t->r, header), type);
    put_le64(rig_at(&t->r, header + 8), sector);
    if (data)
        memcpy(rig_at(&t->r, at), data, len);
    *rig_at(&t->r, at + len) = 0xee;
    for (unsigned i = 0; i < pieces; i++) {
        uint32_t from = len / pieces * i, to = i + 1 == pieces ? len : len / pieces * (i + 1);
        struct sg s = {at + from, to - from};
        if (reads)
            in[nin++] = s;
        else
            out[nout++] = s;
    }
    in[nin++] = (struct sg){at + len, 1};
    *ret_head = drv_add(&t->d, 0, out, nout, in, nin, t->d.features & VIRTIO_F_INDIRECT_DESC && pieces > 2);
    drv_kick(&t->d, 0);
    return at;
}

static uint8_t finish(struct t *t, uint16_t head, uint32_t at, uint32_t len, uint32_t *ret_written)
{
    uint16_t got;

    settle(t);
    assert_true(drv_used(&t->d, 0, &got, ret_written));
    assert_int_equal(got, head);
    return *rig_at(&t->r, at + len);
}

static uint8_t run(struct t *t, uint32_t type, uint64_t sector, uint32_t len, unsigned pieces, const void *data)
{
    uint16_t head;
    uint32_t written, at = request(t, type, sector, len, pieces, data, &head);
    uint8_t status = finish(t, head, at, len, &written);

    if (status == OK && type == IN) {
        assert_int_equal(written, len + 1);
        assert_memory_equal(rig_at(&t->r, at), t->disk + sector * 512, len);
    } else {
        assert_int_equal(written, type == GET_ID && status == OK ? 21 : 1);
    }
    return status;
}

static void configuration(void **state)
{
    struct t t;
    start(&t, true, false);
    assert_int_equal(drv_config(&t.d, 0, 4), DISK / 512);
    assert_int_equal(drv_config(&t.d, 12, 4), 254);
    assert_int_equal(drv_config(&t.d, 20, 4), 512);
    drv_config_write(&t.d, 0, 0, 4);
    assert_int_equal(drv_config(&t.d, 0, 4), DISK / 512);
    assert_int_equal(drv_config(&t.d, 4095, 1), 0);
    stop(&t);
}

static void read_and_write(void **state)
{
    static uint8_t data[700 * 1024];
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i ^ i >> 8);
    for (int modern = 0; modern < 2; modern++) {
        struct t t;
        start(&t, modern, false);
        assert_int_equal(run(&t, IN, 0, 512, 1, NULL), OK);
        assert_int_equal(run(&t, IN, DISK / 512 - 8, 4096, 3, NULL), OK);
        assert_int_equal(run(&t, OUT, 3, 4096, 2, data), OK);
        assert_memory_equal(t.disk + 3 * 512, data, 4096);
        /* longer than a slot's buffer, and in pieces that are not whole sectors */
        assert_int_equal(run(&t, OUT, 100, sizeof data, 17, data), OK);
        assert_memory_equal(t.disk + 100 * 512, data, sizeof data);
        assert_int_equal(run(&t, IN, 99, sizeof data + 1024, 5, NULL), OK);
        assert_true(t.submitted > 6);
        assert_int_equal(run(&t, FLUSH, 0, 0, 0, NULL), OK);
        assert_int_equal(t.flushes, 1);
        stop(&t);
    }
}

static void identify(void **state)
{
    struct t t;
    uint16_t head;
    uint32_t written, at;
    start(&t, true, false);
    at = request(&t, GET_ID, 0, 20, 1, NULL, &head);
    assert_int_equal(finish(&t, head, at, 20, &written), OK);
    assert_string_equal((char *)rig_at(&t.r, at), "vt-disk0");
    stop(&t);
}

static void discard_and_zero(void **state)
{
    struct t t;
    uint8_t range[48] = {0};
    start(&t, true, false);
    put_le64(range, 8);
    put_le32(range + 8, 16);
    put_le64(range + 16, 1000);
    put_le32(range + 24, 1);
    put_le64(range + 32, DISK / 512 - 1);
    put_le32(range + 40, 1);
    assert_int_equal(run(&t, DISCARD, 0, 48, 2, range), OK);
    assert_int_equal(t.discards, 3);
    assert_true(t.disk[8 * 512] == 0 && t.disk[24 * 512 - 1] == 0 && t.disk[24 * 512] != 0 && t.disk[DISK - 1] == 0);
    put_le32(range + 12, 1); /* unmap: write zeroes only */
    assert_int_equal(run(&t, ZEROES, 0, 16, 1, range), OK);
    assert_int_equal(run(&t, DISCARD, 0, 16, 1, range), UNSUPP);
    put_le32(range + 12, 2);
    assert_int_equal(run(&t, ZEROES, 0, 16, 1, range), UNSUPP);
    put_le32(range + 12, 0);
    put_le64(range, DISK / 512 - 1);
    put_le32(range + 8, 2);
    assert_int_equal(run(&t, ZEROES, 0, 16, 1, range), IOERR);
    assert_int_equal(run(&t, ZEROES, 0, 15, 1, range), UNSUPP);
    assert_int_equal(run(&t, ZEROES, 0, 0, 0, NULL), UNSUPP);
    stop(&t);
}

static void what_is_refused(void **state)
{
    struct t t;
    uint8_t data[1024] = {0};
    start(&t, true, false);
    assert_int_equal(run(&t, IN, DISK / 512, 512, 1, NULL), IOERR);
    assert_int_equal(run(&t, IN, DISK / 512 - 1, 1024, 1, NULL), IOERR);
    assert_int_equal(run(&t, IN, UINT64_MAX / 512 + 1, 512, 1, NULL), IOERR);
    assert_int_equal(run(&t, OUT, UINT64_MAX, 512, 1, data), IOERR);
    assert_int_equal(run(&t, OUT, 0, 511, 1, data), IOERR);
    assert_int_equal(run(&t, 99, 0, 512, 1, data), UNSUPP);
    assert_int_equal(t.submitted, 0);
    t.result = -1;
    assert_int_equal(run(&t, IN, 0, 512, 1, NULL), IOERR);
    assert_int_equal(run(&t, OUT, 0, 512, 1, data), IOERR);
    t.result = 0;
    assert_int_equal(run(&t, IN, 0, 512, 1, NULL), OK);
    stop(&t);
    start(&t, true, true);
    assert_true(drv_offered(&t.d) & 1u << 5);
    assert_false(drv_offered(&t.d) & 1u << 13);
    assert_int_equal(run(&t, OUT, 0, 512, 1, data), IOERR);
    assert_int_equal(run(&t, IN, 0, 512, 1, NULL), OK);
    assert_int_equal(t.submitted, 1);
    stop(&t);
}

static void no_room_for_a_status(void **state)
{
    struct t t;
    struct sg out = {0x1000, 16};
    start(&t, true, false);
    drv_add(&t.d, 0, &out, 1, NULL, 0, false);
    drv_kick(&t.d, 0);
    assert_true(t.b.v.broken);
    drv_start(&t.d, WANT, 1, 64, false);
    out.len = 15;
    drv_add(&t.d, 0, &out, 1, &(struct sg){0x2000, 1}, 1, false);
    drv_kick(&t.d, 0);
    assert_true(t.b.v.broken);
    drv_start(&t.d, WANT, 1, 64, false);
    assert_int_equal(run(&t, IN, 0, 512, 1, NULL), OK);
    stop(&t);
}

/* A read into what is no memory: found when the data is there. */
static void data_outside_of_memory(void **state)
{
    struct t t;
    uint32_t header;
    start(&t, true, false);
    header = rig_alloc(&t.r, 32, 1);
    struct sg in[] = {{RIG_RAM - 256, 512}, {header + 16, 1}};
    drv_add(&t.d, 0, &(struct sg){header, 16}, 1, in, 2, false);
    drv_kick(&t.d, 0);
    settle(&t);
    assert_true(t.b.v.broken);
    drv_start(&t.d, WANT, 1, 64, false);
    assert_int_equal(run(&t, IN, 0, 512, 1, NULL), OK);
    stop(&t);
}

/* More requests than slots: none is lost, all come back in order. */
static void many_at_once(void **state)
{
    struct t t;
    start(&t, true, false);
    drv_start(&t.d, VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC, 1, 256, false);
    uint32_t header = rig_alloc(&t.r, 16, 1), data = rig_alloc(&t.r, 256 * 512, 1), status = rig_alloc(&t.r, 256, 1);
    for (unsigned i = 0; i < 256; i++)
        drv_add(&t.d, 0, &(struct sg){header, 16}, 1, (struct sg[]){{data + 512 * i, 512}, {status + i, 1}}, 2, true);
    drv_kick(&t.d, 0);
    assert_int_equal(t.submitted, 64);
    settle(&t);
    for (unsigned i = 0; i < 256; i++) {
        uint16_t head;
        uint32_t n;
        assert_true(drv_used(&t.d, 0, &head, &n));
        assert_int_equal(head, i);
        assert_int_equal(n, 513);
        assert_memory_equal(rig_at(&t.r, data + 512 * i), t.disk, 512);
    }
    stop(&t);
}

/* The driver resets the device while the worker has requests: their results go nowhere, their slots come back. */
static void reset_in_flight(void **state)
{
    struct t t;
    uint16_t head;
    uint32_t at[70], n;
    start(&t, true, false);
    for (unsigned i = 0; i < 20; i++)
        at[i] = request(&t, IN, i, 512, 1, NULL, &head);
    drv_start(&t.d, WANT, 1, 64, false);
    settle(&t);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(*rig_at(&t.r, at[i] + 512), 0xee);
    assert_false(drv_used(&t.d, 0, &head, &n));
    for (unsigned i = 0; i < 70; i++)
        assert_int_equal(run(&t, IN, i, 512, 1, NULL), OK);
    stop(&t);
}

/* What was in flight at a save is started again after the load, in its order, on another disk worker. */
static void saved_in_flight(void **state)
{
    struct t t;
    uint8_t data[2][512], *saved, *again;
    uint16_t heads[3], head;
    uint32_t at[3], n;
    size_t len, again_len;
    char *diff;
    struct err e = {0};

    memset(data[0], 0xaa, 512);
    memset(data[1], 0xbb, 512);
    start(&t, true, false);
    assert_int_equal(run(&t, IN, 0, 512, 1, NULL), OK);
    at[0] = request(&t, OUT, 5, 512, 1, data[0], &heads[0]);
    at[1] = request(&t, OUT, 5, 512, 1, data[1], &heads[1]);
    at[2] = request(&t, IN, 9, 4096, 1, NULL, &heads[2]);
    assert_int_equal(state_save(&t.r.states, &saved, &len, &e), 0);
    uint8_t *ram = malloc(RIG_RAM);
    memcpy(ram, t.r.mem.bytes, RIG_RAM);

    /* the machine goes on, then is reverted: disk, memory, devices */
    settle(&t);
    assert_int_equal(*rig_at(&t.r, at[2] + 4096), OK);
    memset(t.disk + 5 * 512, 0x11, 512);
    memcpy(t.r.mem.bytes, ram, RIG_RAM);
    unsigned before = t.submitted;
    assert_int_equal(state_load(&t.r.states, saved, len, &e), 0);
    assert_int_equal(t.submitted, before); /* not before the machine runs: its memory may not be there yet */
    assert_int_equal(state_save(&t.r.states, &again, &again_len, &e), 0);
    assert_int_equal(state_compare(saved, len, again, again_len, &diff, &e), 0);
    assert_string_equal(diff, "");
    free(diff);
    settle(&t);
    t.d.ring[0].seen = 1;
    for (unsigned i = 0; i < 3; i++) {
        assert_true(drv_used(&t.d, 0, &head, &n));
        assert_int_equal(head, heads[i]);
        assert_int_equal(*rig_at(&t.r, at[i] + (i < 2 ? 512 : 4096)), OK);
    }
    assert_false(drv_used(&t.d, 0, &head, &n));
    assert_memory_equal(t.disk + 5 * 512, data[1], 512);
    assert_memory_equal(rig_at(&t.r, at[2]), t.disk + 9 * 512, 4096);

    /* a load over requests of the time before: their completions arrive late and change nothing */
    for (unsigned i = 0; i < 10; i++)
        request(&t, IN, 100 + i, 512, 1, NULL, &head);
    memcpy(t.r.mem.bytes, ram, RIG_RAM);
    assert_int_equal(state_load(&t.r.states, saved, len, &e), 0);
    settle(&t);
    t.d.ring[0].seen = 1;
    for (unsigned i = 0; i < 3; i++) {
        assert_true(drv_used(&t.d, 0, &head, &n));
        assert_int_equal(head, heads[i]);
    }
    assert_false(drv_used(&t.d, 0, &head, &n));
    free(saved);
    free(again);
    free(ram);
    stop(&t);
}

static void hostile_state(void **state)
{
    struct t t;
    const char *why = "";
    start(&t, true, false);
    const struct state_table *table = t.b.v.state.table;
    t.b.inflight_count = VQ_SIZE_MAX + 1;
    assert_int_equal(table->loaded(&t.b, &why), -1);
    t.b.inflight_count = 1;
    t.b.inflight[0] = 64;
    assert_int_equal(table->loaded(&t.b, &why), -1);
    assert_string_equal(why, "request in flight");
    /* heads that name the same or a broken chain: harmless */
    t.b.inflight_count = VQ_SIZE_MAX;
    memset(t.b.inflight, 0, sizeof t.b.inflight);
    assert_int_equal(table->loaded(&t.b, &why), 0);
    settle(&t);
    assert_true(t.b.v.broken);
    drv_start(&t.d, WANT, 1, 64, false);
    assert_int_equal(run(&t, IN, 0, 512, 1, NULL), OK);
    stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration),
        cmocka_unit_test(read_and_write),
        cmocka_unit_test(identify),
        cmocka_unit_test(discard_and_zero),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(no_room_for_a_status),
        cmocka_unit_test(data_outside_of_memory),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(reset_in_flight),
        cmocka_unit_test(saved_in_flight),
        cmocka_unit_test(hostile_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
