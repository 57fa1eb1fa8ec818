/* The console device: the driver's handshake for each port, data both ways with a full queue in the way, saved state.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "src/base/util.h"
#include "tests/dev/virtio_rig.h"
#include "vmcore/dev/virtio_console.h"

enum {
    CTRL_IN = 2,
    CTRL_OUT = 3,
    READY = 0,
    ADD = 1,
    PORT_READY = 3,
    CONSOLE = 4,
    OPEN = 6,
    NAME = 7,
    AGENT = 1, /* port numbers */
    EXEC = 2,
    QUEUES = 8,
    TO_HOST = 1024,
};
#define WANT (VIRTIO_F_VERSION_1 | 1u << 1)

struct message {
    uint32_t id;
    uint16_t event, value;
    char name[65];
};

struct t {
    struct rig r;
    struct virtio_console c;
    struct drv d;
    struct chrport tty, agent, exec;
};

static unsigned in_q(unsigned port)
{
    return port ? 2 * port + 2 : 0;
}

static void buffers(struct t *t, unsigned q, unsigned n, uint32_t len)
{
    while (n--)
        drv_add(&t->d, q, NULL, 0, &(struct sg){rig_alloc(&t->r, len, 1), len}, 1, false);
    drv_kick(&t->d, q);
}

static void power_on(struct t *t)
{
    struct chrport *ports[] = {&t->agent, &t->exec};

    memset(t, 0, sizeof *t);
    rig_init(&t->r);
    assert_int_equal(chrport_init(&t->tty, "hvc", TO_HOST, 4096), 0);
    assert_int_equal(chrport_init(&t->agent, "org.qemu.guest_agent.0", TO_HOST, 65536), 0);
    assert_int_equal(chrport_init(&t->exec, "org.vmtest.exec.0", TO_HOST, 4096), 0);
    virtio_console_init(&t->c, &t->r.ctx, &t->r.pci, PCI_DEVFN(5, 0), "vcon0", &t->tty, ports, 2);
    drv_find(&t->d, &t->r, &t->c.v.pci, true);
}

static void stop(struct t *t)
{
    rig_events(&t->r);
    chrport_release(&t->tty);
    chrport_release(&t->agent);
    chrport_release(&t->exec);
    rig_release(&t->r);
}

static void send_control(struct t *t, uint32_t id, uint16_t event, uint16_t value)
{
    uint32_t at = rig_alloc(&t->r, 8, 1), n;
    uint16_t head;

    put_le32(rig_at(&t->r, at), id);
    put_le16(rig_at(&t->r, at + 4), event);
    put_le16(rig_at(&t->r, at + 6), value);
    drv_add(&t->d, CTRL_OUT, &(struct sg){at, 8}, 1, NULL, 0, false);
    drv_kick(&t->d, CTRL_OUT);
    assert_true(drv_used(&t->d, CTRL_OUT, &head, &n));
}

/* The bytes of the next used in-buffer. */
static bool next_in(struct t *t, unsigned q, uint8_t **ret_data, uint32_t *ret_len)
{
    uint16_t head;

    if (!drv_used(&t->d, q, &head, ret_len))
        return false;
    *ret_data = rig_at(&t->r, get_le64(rig_at(&t->r, t->d.ring[q].desc + 16 * head)));
    return true;
}

static bool get_control(struct t *t, struct message *m)
{
    uint8_t *p;
    uint32_t n;

    if (!next_in(t, CTRL_IN, &p, &n))
        return false;
    assert_true(n >= 8 && n < 8 + sizeof m->name);
    *m = (struct message){get_le32(p), get_le16(p + 4), get_le16(p + 6), ""};
    memcpy(m->name, p + 8, n - 8);
    return true;
}

static void expect(struct t *t, uint32_t id, uint16_t event, uint16_t value, const char *name)
{
    struct message m;

    assert_true(get_control(t, &m));
    assert_int_equal(m.id, id);
    assert_int_equal(m.event, event);
    assert_int_equal(m.value, value);
    assert_string_equal(m.name, name);
}

/* As Linux does it: all ports known, those in `open` (bits) opened. */
static void start(struct t *t, unsigned open)
{
    static const char *const names[] = {"hvc", "org.qemu.guest_agent.0", "org.vmtest.exec.0"};
    struct message m;

    drv_start(&t->d, WANT, QUEUES, 16, false);
    buffers(t, CTRL_IN, 12, 128);
    send_control(t, 0xffffffff, READY, 1);
    for (unsigned i = 0; i < 3; i++)
        expect(t, i, ADD, 1, "");
    assert_false(get_control(t, &m));
    for (unsigned i = 0; i < 3; i++) {
        send_control(t, i, PORT_READY, 1);
        if (i == 0)
            expect(t, 0, CONSOLE, 1, "");
        expect(t, i, NAME, 1, names[i]);
        if (i == 0)
            expect(t, 0, OPEN, 1, "");
        if (open & 1u << i)
            send_control(t, i, OPEN, 1);
    }
    assert_false(get_control(t, &m));
}

static void handshake(void **state)
{
    struct t t;

    power_on(&t);
    assert_int_equal(drv_config(&t.d, 4, 4), 3);
    start(&t, 1u << AGENT);
    assert_int_equal(t.agent.guest_open, 1);
    assert_int_equal(t.exec.guest_open, 0);
    /* the host's side of a port opens and closes */
    t.exec.host_open = 1;
    vm_post(&t.r.vm, &t.exec.rx_event);
    rig_events(&t.r);
    expect(&t, EXEC, OPEN, 1, "");
    vm_post(&t.r.vm, &t.exec.rx_event);
    rig_events(&t.r);
    t.exec.host_open = 0;
    vm_post(&t.r.vm, &t.exec.rx_event);
    rig_events(&t.r);
    expect(&t, EXEC, OPEN, 0, "");
    send_control(&t, AGENT, OPEN, 0);
    assert_int_equal(t.agent.guest_open, 0);
    drv_set_status(&t.d, 0);
    stop(&t);
}

/* Fewer control buffers than messages: the rest comes when there are more. */
static void scarce_control_buffers(void **state)
{
    struct t t;
    struct message m;

    power_on(&t);
    t.agent.host_open = 1;
    drv_start(&t.d, WANT, QUEUES, 16, false);
    send_control(&t, 0xffffffff, READY, 1);
    assert_false(get_control(&t, &m));
    buffers(&t, CTRL_IN, 2, 128);
    expect(&t, 0, ADD, 1, "");
    expect(&t, 1, ADD, 1, "");
    assert_false(get_control(&t, &m));
    send_control(&t, 1, PORT_READY, 1);
    rig_roundtrip(&t.r);
    rig_events(&t.r);
    buffers(&t, CTRL_IN, 4, 128);
    expect(&t, 1, NAME, 1, "org.qemu.guest_agent.0");
    expect(&t, 1, OPEN, 1, "");
    expect(&t, 2, ADD, 1, "");
    assert_false(get_control(&t, &m));
    stop(&t);
}

static void write_port(struct t *t, unsigned port, const char *data, uint32_t len)
{
    uint32_t at = rig_alloc(&t->r, len, 1);

    memcpy(rig_at(&t->r, at), data, len);
    drv_add(&t->d, in_q(port) + 1, &(struct sg){at, len}, 1, NULL, 0, false);
    drv_kick(&t->d, in_q(port) + 1);
}

static uint32_t take(struct byteq *q, char *dst, uint32_t len)
{
    len = byteq_peek(q, dst, len);
    byteq_drop(q, len);
    return len;
}

static void output(void **state)
{
    struct t t;
    char got[64] = "", big[3000], back[3000];
    uint16_t head;
    uint32_t n;

    power_on(&t);
    start(&t, 7);
    write_port(&t, 0, "login: ", 7);
    assert_true(drv_used(&t.d, 1, &head, &n));
    assert_int_equal(take(&t.tty.to_host, got, sizeof got), 7);
    assert_string_equal(got, "login: ");

    /* nobody listens on the agent's port: dropped */
    write_port(&t, AGENT, "x", 1);
    assert_true(drv_used(&t.d, 5, &head, &n));
    assert_int_equal(byteq_used(&t.agent.to_host), 0);

    /* more than the queue holds: the guest waits, over a save too, and nothing is lost or doubled */
    t.agent.host_open = 1;
    for (unsigned i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 31 >> 3);
    write_port(&t, AGENT, big, sizeof big);
    assert_false(drv_used(&t.d, 5, &head, &n));
    assert_int_equal(byteq_space(&t.agent.to_host), 0);
    assert_int_equal(take(&t.agent.to_host, back, 600), 600);
    rig_roundtrip(&t.r);
    rig_events(&t.r);
    assert_int_equal(byteq_space(&t.agent.to_host), 0);
    assert_int_equal(take(&t.agent.to_host, back + 600, TO_HOST), TO_HOST);
    vm_post(&t.r.vm, &t.agent.rx_event);
    rig_events(&t.r);
    assert_false(drv_used(&t.d, 5, &head, &n));
    assert_int_equal(take(&t.agent.to_host, back + 600 + TO_HOST, TO_HOST), TO_HOST);
    vm_post(&t.r.vm, &t.agent.rx_event);
    rig_events(&t.r);
    assert_true(drv_used(&t.d, 5, &head, &n));
    assert_int_equal(take(&t.agent.to_host, back + 600 + 2 * TO_HOST, TO_HOST), sizeof big - 600 - 2 * TO_HOST);
    assert_memory_equal(back, big, sizeof big);
    stop(&t);
}

/* The host hears of each chain, also of one that is as long as the one before. */
static void the_host_hears_of_each_chain(void **state)
{
    struct t t;
    uint64_t kicks;

    power_on(&t);
    start(&t, 7);
    t.agent.host_open = 1;
    t.agent.kick.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(t.agent.kick.fd >= 0);
    for (unsigned i = 0; i < 3; i++) {
        write_port(&t, AGENT, "as long", 7);
        assert_int_equal(read(t.agent.kick.fd, &kicks, sizeof kicks), sizeof kicks);
    }
    close(t.agent.kick.fd);
    t.agent.kick.fd = -1;
    stop(&t);
}

static void input(void **state)
{
    struct t t;
    uint8_t *p;
    uint32_t n, total = 0;
    char big[20000];

    power_on(&t);
    start(&t, 1);
    for (unsigned i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 13 >> 4);
    buffers(&t, in_q(AGENT), 3, 5000);
    byteq_put(&t.agent.to_guest, big, sizeof big);
    vm_post(&t.r.vm, &t.agent.rx_event);
    rig_events(&t.r);
    assert_false(next_in(&t, in_q(AGENT), &p, &n)); /* not open in the guest: kept */
    send_control(&t, AGENT, OPEN, 1);
    for (unsigned i = 0; i < 3; i++, total += n) {
        assert_true(next_in(&t, in_q(AGENT), &p, &n));
        assert_int_equal(n, 5000);
        assert_memory_equal(p, big + total, n);
    }
    assert_false(next_in(&t, in_q(AGENT), &p, &n));
    assert_int_equal(byteq_used(&t.agent.to_guest), 5000);
    buffers(&t, in_q(AGENT), 2, 4096);
    for (unsigned i = 0; i < 2; i++, total += n) {
        assert_true(next_in(&t, in_q(AGENT), &p, &n));
        assert_memory_equal(p, big + total, n);
    }
    assert_int_equal(total, sizeof big);
    assert_int_equal(byteq_used(&t.agent.to_guest), 0);
    stop(&t);
}

static void over_a_restore(void **state)
{
    struct t t;
    uint8_t *p;
    uint32_t n;

    power_on(&t);
    start(&t, 7);
    byteq_put(&t.exec.to_guest, "old", 3);
    rig_roundtrip(&t.r);
    assert_int_equal(t.exec.generation, 1);
    assert_int_equal(t.exec.guest_open, 1);
    rig_events(&t.r);
    buffers(&t, in_q(EXEC), 1, 100);
    assert_false(next_in(&t, in_q(EXEC), &p, &n)); /* those bytes were from another time */
    byteq_put(&t.exec.to_guest, "new", 3);
    vm_post(&t.r.vm, &t.exec.rx_event);
    rig_events(&t.r);
    assert_true(next_in(&t, in_q(EXEC), &p, &n));
    assert_memory_equal(p, "new", 3);
    /* the host opened its side between save and load: the guest is told when it runs */
    t.agent.host_open = 1;
    rig_roundtrip(&t.r);
    rig_events(&t.r);
    expect(&t, AGENT, OPEN, 1, "");
    stop(&t);
}

static void without_multiport(void **state)
{
    struct t t;
    uint8_t *p;
    uint32_t n;
    uint16_t head;
    char c;

    power_on(&t);
    drv_find(&t.d, &t.r, &t.c.v.pci, false);
    drv_start(&t.d, 0, 2, 16, false);
    buffers(&t, 0, 1, 10);
    byteq_put(&t.tty.to_guest, "k", 1);
    vm_post(&t.r.vm, &t.tty.rx_event);
    rig_events(&t.r);
    assert_true(next_in(&t, 0, &p, &n));
    assert_true(n == 1 && *p == 'k');
    write_port(&t, 0, "o", 1);
    assert_true(drv_used(&t.d, 1, &head, &n));
    assert_true(take(&t.tty.to_host, &c, 1) == 1 && c == 'o');
    stop(&t);
}

static void hostile_driver(void **state)
{
    struct t t;
    const char *why = "";
    uint16_t head;
    uint32_t n;

    power_on(&t);
    start(&t, 7);
    send_control(&t, 3, PORT_READY, 1); /* no such port, no such event */
    send_control(&t, 0xffffffff, OPEN, 1);
    send_control(&t, 1, 99, 1);
    drv_add(&t.d, CTRL_OUT, &(struct sg){0x1000, 3}, 1, NULL, 0, false); /* too short */
    drv_kick(&t.d, CTRL_OUT);
    assert_true(drv_used(&t.d, CTRL_OUT, &head, &n));
    assert_false(t.c.v.broken);
    write_port(&t, AGENT, "", 0);
    assert_true(drv_used(&t.d, 5, &head, &n));
    t.agent.host_open = 1;
    drv_add(&t.d, 5, &(struct sg){RIG_RAM - 10, 0xffffffff}, 1, NULL, 0, false);
    drv_kick(&t.d, 5);
    assert_true(t.c.v.broken);
    drv_start(&t.d, WANT, QUEUES, 16, false);
    buffers(&t, CTRL_IN, 1, 7);
    send_control(&t, 0, READY, 1);
    assert_true(t.c.v.broken);
    /* state */
    const struct state_table *table = t.c.v.state.table;
    t.c.port[1].pending = 0x10;
    assert_int_equal(table->loaded(&t.c, &why), -1);
    t.c.port[1].pending = 0;
    t.c.port[1].tx_active = true;
    t.c.port[1].tx_head = 16;
    assert_int_equal(table->loaded(&t.c, &why), -1);
    assert_string_equal(why, "request in flight");
    drv_start(&t.d, WANT, QUEUES, 16, false);
    t.c.port[1].tx_active = true; /* the chain is not one of a driver's; the offset is beyond it */
    t.c.port[1].tx_done = UINT64_MAX;
    assert_int_equal(table->loaded(&t.c, &why), 0);
    rig_events(&t.r);
    assert_int_equal(byteq_used(&t.agent.to_host), 0);
    stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake),      cmocka_unit_test(scarce_control_buffers),
        cmocka_unit_test(output),         cmocka_unit_test(input),
        cmocka_unit_test(over_a_restore), cmocka_unit_test(without_multiport),
        cmocka_unit_test(hostile_driver), cmocka_unit_test(the_host_hears_of_each_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
