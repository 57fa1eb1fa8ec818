/* The 16550A at register level, with what Linux's 8250 driver does to find out what it has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/dev/board_rig.h"

enum { RBR = 0x3f8, THR = 0x3f8, IER, IIR, FCR = IIR, LCR, MCR, LSR, MSR, SCR };

static void type(struct rig *r, const char *s)
{
    assert_int_equal(byteq_put(&r->serial.to_guest, s, (uint32_t)strlen(s)), strlen(s));
    vm_post(&r->vm, &r->serial.rx_event);
    rig_events(r);
}

static void assert_output(struct rig *r, const char *s)
{
    char buf[65] = {0};
    byteq_drop(&r->serial.to_host, byteq_peek(&r->serial.to_host, buf, 64));
    assert_string_equal(buf, s);
}

static void test_probe(void **state)
{
    struct rig *r = rig_new();
    out8(r, IER, 0);
    assert_int_equal(in8(r, IER), 0);
    out8(r, IER, 0xff);
    assert_int_equal(in8(r, IER), 0x0f);
    out8(r, IER, 0);
    out8(r, MCR, 0x1a); /* loop, OUT2, RTS */
    assert_int_equal(in8(r, MSR) & 0xf0, 0x90);
    out8(r, MCR, 0);
    assert_int_equal(in8(r, MSR) & 0xf0, 0xb0);
    assert_int_equal(in8(r, IIR), 0x01);
    out8(r, FCR, 1);
    assert_int_equal(in8(r, IIR), 0xc1);
    out8(r, LCR, 0x80);
    out8(r, THR, 0x01);
    out8(r, IER, 0x02);
    assert_int_equal(in8(r, RBR), 1);
    assert_int_equal(in8(r, IER), 2);
    r = rig_reload(r);
    assert_int_equal(in8(r, LCR), 0x80);
    out8(r, LCR, 3);
    assert_int_equal(in8(r, IER), 0);
    out8(r, SCR, 0x5a);
    assert_int_equal(in8(r, SCR), 0x5a);
    assert_int_equal(in8(r, 0x2ff), 0); /* the second port is there too */
    rig_free(r);
}

static void test_output_and_thre(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    out8(r, FCR, 1);
    for (const char *s = "hello"; *s; s++) {
        assert_int_equal(in8(r, LSR) & 0x60, 0x60);
        out8(r, THR, (uint8_t)*s);
    }
    assert_output(r, "hello");
    out8(r, MCR, 8);
    out8(r, IER, 2); /* raises THRE at once, as the transmitter is empty */
    assert_int_equal(take_irq(r), 0x24);
    out8(r, 0x20, 0x20);
    assert_int_equal(in8(r, IIR), 0xc2);
    assert_int_equal(in8(r, IIR), 0xc1); /* reading it cleared it */
    out8(r, IER, 0);
    out8(r, IER, 2); /* again: Linux tests for chips that do not */
    assert_int_equal(in8(r, IIR), 0xc2);
    out8(r, THR, 'x');
    r = rig_reload(r);
    assert_int_equal(take_irq(r), 0x24);
    out8(r, MCR, 0); /* OUT2 off: no line to the 8259 */
    out8(r, 0x20, 0x20);
    out8(r, THR, 'y');
    assert_int_equal(r->intr, 0);
    rig_free(r);
}

static void test_full_port_holds_the_transmitter(void **state)
{
    struct rig *r = rig_new();
    r->serial.host_open = 1;
    for (unsigned i = 0; i < 64; i++)
        out8(r, THR, 'a');
    assert_int_equal(in8(r, LSR) & 0x20, 0);
    byteq_drop(&r->serial.to_host, 10);
    vclock_advance(&r->clock, 2 * MS);
    assert_int_equal(in8(r, LSR) & 0x60, 0x60);
    r->serial.host_open = 0; /* nobody reads: bytes are lost rather than the guest stopped */
    for (unsigned i = 0; i < 64; i++)
        out8(r, THR, 'b');
    assert_int_equal(in8(r, LSR) & 0x60, 0x60);
    rig_free(r);
}

/* The host side is woken when it may be asleep, and not once a byte. */
static void test_kicks(void **state)
{
    struct rig *r = rig_new();
    uint64_t n = 0;
    r->serial.kick.fd = eventfd(0, EFD_NONBLOCK);
    for (const char *s = "login: "; *s; s++)
        out8(r, THR, (uint8_t)*s);
    assert_int_equal(read(r->serial.kick.fd, &n, sizeof n), sizeof n);
    assert_int_equal(n, 1);
    assert_output(r, "login: ");
    out8(r, THR, '$');
    assert_int_equal(read(r->serial.kick.fd, &n, sizeof n), sizeof n);
    assert_int_equal(n, 1);
    close(r->serial.kick.fd);
    rig_free(r);
}

static void test_input(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    out8(r, MCR, 8);
    out8(r, FCR, 0x81); /* trigger at 8 */
    out8(r, IER, 1);
    type(r, "abc");
    assert_int_equal(take_irq(r), 0x24);
    out8(r, 0x20, 0x20);
    assert_int_equal(in8(r, IIR), 0xcc); /* character time-out */
    type(r, "defghijklmnopqrstuvwxyz");
    assert_int_equal(in8(r, IIR), 0xc4);                        /* trigger level */
    assert_int_equal(byteq_used(&r->serial.to_guest), 26 - 16); /* the rest waits: no overrun */
    assert_int_equal(in8(r, LSR) & 3, 1);
    for (const char *s = "abcdefghijkl"; *s; s++)
        assert_int_equal(in8(r, RBR), *s);
    assert_int_equal(byteq_used(&r->serial.to_guest), 0);
    r = rig_reload(r);
    for (const char *s = "mnopqrstuvwxyz"; *s; s++) {
        assert_int_equal(in8(r, LSR) & 1, 1);
        assert_int_equal(in8(r, RBR), *s);
    }
    assert_int_equal(in8(r, LSR) & 1, 0);
    assert_int_equal(in8(r, IIR), 0xc1);
    rig_free(r);
}

static void test_loopback(void **state)
{
    struct rig *r = rig_new();
    out8(r, FCR, 1);
    out8(r, MCR, 0x10);
    for (unsigned i = 0; i < 17; i++)
        out8(r, THR, (uint8_t)i);
    assert_output(r, "");
    assert_int_equal(in8(r, LSR) & 3, 3); /* data, and the seventeenth overran */
    assert_int_equal(in8(r, LSR) & 3, 1); /* reading cleared the error */
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in8(r, RBR), i);
    assert_int_equal(in8(r, LSR) & 1, 0);
    out8(r, MCR, 0x1f);
    assert_int_equal(in8(r, MSR) & 0xf0, 0xf0);
    out8(r, FCR, 7);
    assert_int_equal(in8(r, LSR) & 1, 0);
    rig_free(r);
}

static void test_bad_state(void **state)
{
    struct rig *r = rig_new();
    rig_refuses(r, "uart0", "rx_len", 0, 17);
    rig_refuses(r, "uart1", "rx_head", 0, 16);
    rig_refuses(r, "uart0", "ier", 0, 0xff);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_output_and_thre),
        cmocka_unit_test(test_full_port_holds_the_transmitter),
        cmocka_unit_test(test_kicks),
        cmocka_unit_test(test_input),
        cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_bad_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
