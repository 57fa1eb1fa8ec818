/* Typed keys and a moved mouse: scan codes of each set by the keyboard's reference, the pace at which they are offered,
 * and packets as the wheel and five-button drivers expect them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/util.h"
#include "tests/dev/board_rig.h"

#define BYTE_TIME 100000u

static void press(struct rig *r, uint8_t code, unsigned down)
{
    struct input_key k = {code, (uint8_t)down};
    assert_int_equal(byteq_put(&r->input.keys, &k, sizeof k), sizeof k);
    vm_post(&r->vm, &r->input.rx_event);
    rig_events(r);
}
static void move(struct rig *r, int dx, int dy, int dz, unsigned buttons)
{
    struct input_mouse m = {(int16_t)dx, (int16_t)dy, (int16_t)dz, (uint16_t)buttons};
    assert_int_equal(byteq_put(&r->input.mouse, &m, sizeof m), sizeof m);
    vm_post(&r->vm, &r->input.rx_event);
    rig_events(r);
}

/* The next byte, whatever the time it takes; -1: none comes. The status's bit 5 says whose it is. */
static int next(struct rig *r, unsigned aux)
{
    for (unsigned i = 0; i < 3; i++) {
        uint8_t s = in8(r, 0x64);
        if (s & 1) {
            assert_int_equal(s >> 5 & 1, aux);
            return in8(r, 0x60);
        }
        vclock_advance(&r->clock, BYTE_TIME);
    }
    return -1;
}

static void expect(struct rig *r, unsigned aux, const uint8_t *codes, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(next(r, aux), codes[i]);
    assert_int_equal(next(r, aux), -1);
}
#define KEYS(r, ...)  expect(r, 0, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define MOUSE(r, ...) expect(r, 1, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void controller(struct rig *r, uint8_t command, uint8_t v)
{
    out8(r, 0x64, command);
    out8(r, 0x60, v);
}
static void kbd(struct rig *r, uint8_t v)
{
    out8(r, 0x60, v);
    assert_int_equal(next(r, 0), 0xfa);
}
static void mouse(struct rig *r, uint8_t v)
{
    controller(r, 0xd4, v);
    assert_int_equal(next(r, 1), 0xfa);
}

enum { A = 0x1e, CTRL = 0x1d, SHIFT = 0x2a, ALT = 0x38, F7 = 0x41, UP = 0xc8, PRINT = 0xb7, PAUSE = 0xc6 };

/* ---- keyboard */

static void both(struct rig *r, uint8_t code)
{
    press(r, code, true);
    press(r, code, false);
}

static void test_set_2(void **state)
{
    struct rig *r = rig_new();
    controller(r, 0x60, 0x05); /* no translation */
    both(r, A);
    KEYS(r, 0x1c, 0xf0, 0x1c);
    both(r, F7);
    KEYS(r, 0x83, 0xf0, 0x83);
    both(r, UP);
    KEYS(r, 0xe0, 0x75, 0xe0, 0xf0, 0x75);
    both(r, PRINT);
    KEYS(r, 0xe0, 0x12, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12);
    both(r, PAUSE);
    KEYS(r, 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77);
    press(r, CTRL, true);
    both(r, PAUSE);
    both(r, PRINT);
    press(r, CTRL, false);
    KEYS(r, 0x14, 0xe0, 0x7e, 0xe0, 0xf0, 0x7e, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c, 0xf0, 0x14);
    press(r, ALT, true);
    both(r, PRINT);
    press(r, ALT, false);
    KEYS(r, 0x11, 0x84, 0xf0, 0x84, 0xf0, 0x11);
    both(r, 0x00); /* no such key */
    assert_int_equal(next(r, 0), -1);
    rig_free(r);
}

/* Translated set 2, and set 1 from the keyboard itself, are the same. */
static void test_set_1(void **state)
{
    for (unsigned direct = 0; direct < 2; direct++) {
        struct rig *r = rig_new();
        if (direct) {
            controller(r, 0x60, 0x05);
            kbd(r, 0xf0);
            kbd(r, 1);
        }
        both(r, A);
        KEYS(r, 0x1e, 0x9e);
        both(r, F7);
        KEYS(r, 0x41, 0xc1);
        both(r, UP);
        KEYS(r, 0xe0, 0x48, 0xe0, 0xc8);
        both(r, PRINT);
        KEYS(r, 0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa);
        both(r, PAUSE);
        KEYS(r, 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5);
        for (unsigned code = 1; code < 0x54; code++) { /* the main block: a key's number is its code */
            both(r, (uint8_t)code);
            KEYS(r, (uint8_t)code, (uint8_t)(code | 0x80));
        }
        rig_free(r);
    }
}

static void test_set_3(void **state)
{
    struct rig *r = rig_new();
    controller(r, 0x60, 0x05);
    kbd(r, 0xf0);
    kbd(r, 3);
    both(r, A); /* only the left modifiers and Caps Lock tell that they go up */
    both(r, UP);
    both(r, SHIFT);
    KEYS(r, 0x1c, 0x63, 0x12, 0xf0, 0x12);
    kbd(r, 0xf8);
    both(r, A);
    both(r, UP);
    both(r, PAUSE);
    KEYS(r, 0x1c, 0xf0, 0x1c, 0x63, 0xf0, 0x63, 0x62, 0xf0, 0x62);
    kbd(r, 0xfd); /* these keys: without break code */
    kbd(r, 0x63);
    kbd(r, 0x1c);
    kbd(r, 0xf4); /* ends the list */
    both(r, A);
    both(r, UP);
    both(r, PAUSE);
    r = rig_reload(r); /* what waits is the old host's; here the first code is in the buffer already */
    KEYS(r, 0x1c);
    rig_free(r);
}

static void test_commands_and_keys(void **state)
{
    struct rig *r = rig_new();
    kbd(r, 0xf5); /* no scanning: keys wait */
    both(r, A);
    assert_int_equal(next(r, 0), -1);
    kbd(r, 0xf4);
    assert_int_equal(next(r, 0), 0x1e);
    out8(r, 0x60, 0xed); /* an answer goes before what is typed, and arguments are no keys */
    assert_int_equal(in8(r, 0x60), 0xfa);
    assert_int_equal(next(r, 0), -1);
    out8(r, 0x60, 0x05);
    assert_int_equal(in8(r, 0x60), 0xfa);
    assert_int_equal(r->board.i8042.kbd.leds, 5);
    KEYS(r, 0x9e);
    controller(r, 0x60, 0x05);
    press(r, A, true);
    assert_int_equal(next(r, 0), 0x1c);
    kbd(r, 0xf4);
    out8(r, 0x60, 0xfe); /* again */
    assert_int_equal(next(r, 0), 0xfa);
    out8(r, 0x64, 0xad); /* the keyboard's line is held */
    press(r, A, false);
    assert_int_equal(next(r, 0), -1);
    out8(r, 0x64, 0xae);
    KEYS(r, 0xf0, 0x1c);
    out8(r, 0x64, 0x6a); /* the controller's memory */
    out8(r, 0x60, 0x77);
    out8(r, 0x64, 0x2a);
    assert_int_equal(next(r, 0), 0x77);
    rig_free(r);
}

/* How many bytes come in so many milliseconds, read as they come; the last is *ret_last. */
static unsigned count(struct rig *r, unsigned ms, int *ret_last)
{
    unsigned n = 0;

    for (unsigned i = 0; i < ms * 10; i++) {
        if (in8(r, 0x64) & 1) {
            *ret_last = in8(r, 0x60);
            n++;
        }
        vclock_advance(&r->clock, MS / 10);
    }
    return n;
}

static void test_repeat(void **state)
{
    struct rig *r = rig_new();
    int last = 0;

    controller(r, 0x60, 0x05); /* interrupt, no translation */
    press(r, A, KEY_DOWN);
    KEYS(r, 0x1c);
    assert_int_equal(count(r, 3000, &last), 0); /* of a moment */
    press(r, A, KEY_UP);
    KEYS(r, 0xf0, 0x1c);
    /* half a second, then (8 + 3) << 1 of 1/240 s: 91.7 ms */
    press(r, A, KEY_HELD);
    assert_int_equal(next(r, 0), 0x1c);
    assert_int_equal(count(r, 499, &last), 0);
    assert_int_equal(count(r, 2, &last), 1);
    assert_int_equal(last, 0x1c);
    assert_int_equal(count(r, 917, &last), 10);
    press(r, UP, KEY_HELD); /* the last one that went down repeats, and the release of another does not matter */
    KEYS(r, 0xe0, 0x75);
    press(r, A, KEY_UP);
    KEYS(r, 0xf0, 0x1c);
    assert_int_equal(count(r, 600, &last), 2 * 2);
    assert_int_equal(last, 0x75);
    press(r, UP, KEY_UP);
    count(r, 10, &last);
    assert_int_equal(count(r, 2000, &last), 0);
    /* 250 ms, 30 a second */
    kbd(r, 0xf3);
    kbd(r, 0x00);
    press(r, A, KEY_HELD);
    assert_int_equal(next(r, 0), 0x1c);
    assert_int_equal(count(r, 249, &last), 0);
    assert_int_equal(count(r, 1000, &last), 30);
    /* a host that repeats by itself */
    for (unsigned i = 0; i < 20; i++) {
        press(r, A, KEY_HELD);
        assert_int_equal(next(r, 0), 0x1c);
        assert_int_equal(count(r, 50, &last), 0);
    }
    /* one second, 2 a second */
    kbd(r, 0xf3);
    kbd(r, 0x7f);
    press(r, A, KEY_HELD);
    assert_int_equal(next(r, 0), 0x1c);
    assert_int_equal(count(r, 999, &last), 0);
    assert_int_equal(count(r, 2000, &last), 4);
    /* a guest that does not read: what comes late is not many */
    vclock_advance(&r->clock, 20000 * MS);
    press(r, A, KEY_UP);
    assert_true(count(r, 100, &last) <= 2 + 2);
    assert_int_equal(last, 0x1c);
    /* F5h, disable; F4h and a reset: the key does not go on */
    for (unsigned i = 0; i < 3; i++) {
        press(r, A, KEY_HELD);
        assert_int_equal(next(r, 0), 0x1c);
        kbd(r, i == 0 ? 0xf4 : i == 1 ? 0xf6 : 0xff);
        if (i == 2)
            assert_int_equal(next(r, 0), 0xaa);
        assert_int_equal(count(r, 2000, &last), 0);
    }
    assert_int_equal(r->board.i8042.kbd.rate, 0x2b);
    /* whose hand it was is not saved */
    press(r, A, KEY_HELD);
    assert_int_equal(next(r, 0), 0x1c);
    __atomic_store_n(&r->input.withdraw, 1, __ATOMIC_RELEASE);
    vm_post(&r->vm, &r->input.rx_event);
    rig_events(r);
    assert_int_equal(count(r, 2000, &last), 0);
    rig_free(r);
}

static void test_repeat_of_special_keys(void **state)
{
    struct rig *r = rig_new();
    int last = 0;

    controller(r, 0x60, 0x05);
    kbd(r, 0xf3);
    kbd(r, 0x00);
    press(r, PAUSE, KEY_HELD); /* does not */
    KEYS(r, 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77);
    assert_int_equal(count(r, 2000, &last), 0);
    press(r, PRINT, KEY_HELD);
    KEYS(r, 0xe0, 0x12, 0xe0, 0x7c);
    assert_int_equal(count(r, 260, &last), 2);
    assert_int_equal(last, 0x7c);
    press(r, PRINT, KEY_UP);
    count(r, 10, &last);
    /* set 3: arrows repeat, function keys do not, but where they are told to */
    kbd(r, 0xf0);
    kbd(r, 3);
    kbd(r, 0xf3);
    kbd(r, 0x00);
    press(r, F7, KEY_HELD);
    assert_int_equal(next(r, 0), 0x37);
    assert_int_equal(count(r, 1000, &last), 0);
    press(r, UP, KEY_HELD);
    KEYS(r, 0x63);
    assert_int_equal(count(r, 260, &last), 1);
    kbd(r, 0xfc); /* with break code, without repeating */
    kbd(r, 0x63);
    kbd(r, 0xfb); /* the other way */
    kbd(r, 0x1c);
    kbd(r, 0xf4);
    press(r, UP, KEY_HELD);
    KEYS(r, 0x63);
    assert_int_equal(count(r, 1000, &last), 0);
    press(r, A, KEY_HELD);
    assert_int_equal(next(r, 0), 0x1c);
    assert_int_equal(count(r, 260, &last), 1);
    press(r, A, KEY_UP);
    assert_int_equal(next(r, 0), -1); /* it has no break code now */
    kbd(r, 0xf8);
    r = rig_reload(r); /* types of keys are state */
    press(r, A, KEY_HELD);
    KEYS(r, 0x1c);
    assert_int_equal(count(r, 1000, &last), 0);
    kbd(r, 0xf7);
    press(r, F7, KEY_HELD);
    assert_true(next(r, 0) > 0);
    assert_int_equal(count(r, 260, &last), 1);
    rig_free(r);
}

/* A program that hooks the interrupt reads the byte and calls the BIOS, which reads it again. */
static void test_a_byte_can_be_read_twice(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    both(r, A);
    assert_int_equal(take_irq(r), 0x21);
    assert_int_equal(in8(r, 0x60), 0x1e);
    vclock_advance(&r->clock, BYTE_TIME / 2);
    assert_int_equal(in8(r, 0x64) & 1, 0);
    assert_int_equal(in8(r, 0x60), 0x1e);
    vclock_advance(&r->clock, 10 * MS); /* a slow one, too: until the interrupt ends */
    assert_int_equal(in8(r, 0x60), 0x1e);
    out8(r, 0x20, 0x20);
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, BYTE_TIME);
    assert_int_equal(take_irq(r), 0x21);
    assert_int_equal(in8(r, 0x60), 0x9e);
    both(r, F7);
    assert_int_equal(in8(r, 0x64) & 1, 0);
    for (unsigned i = 0; i < 220; i++) /* one that polls without an end sees them all the same */
        vclock_advance(&r->clock, BYTE_TIME);
    assert_int_equal(in8(r, 0x64) & 1, 1);
    assert_int_equal(in8(r, 0x60), 0x41);
    rig_free(r);
}

/* ---- many keys */

static uint8_t nth_code(unsigned n)
{
    return (uint8_t)(0x02 + n * 7 % 0x30); /* some key that makes a character */
}

/* Puts as many of the keys as there is room for, each pressed and released. */
static void feed(struct rig *r, unsigned *fed, unsigned total)
{
    while (*fed < total && byteq_space(&r->input.keys) >= 4) {
        struct input_key k[2] = {{nth_code(*fed), 1}, {nth_code(*fed), 0}};
        byteq_put(&r->input.keys, k, sizeof k);
        ++*fed;
    }
    vm_post(&r->vm, &r->input.rx_event);
    rig_events(r);
}

static void test_ten_thousand_keys(void **state)
{
    enum { N = 10000 };
    struct rig *r = rig_new();
    unsigned fed = 0, got = 0;

    pic_setup(r);
    while (got < 2 * N) {
        feed(r, &fed, N);
        if (!r->intr) {
            vclock_advance(&r->clock, BYTE_TIME / 3);
            continue;
        }
        assert_int_equal(take_irq(r), 0x21);
        assert_int_equal(in8(r, 0x60), nth_code(got / 2) | (got % 2) << 7);
        out8(r, 0x20, 0x20);
        got++;
    }
    assert_int_equal(next(r, 0), -1);
    assert_in_range(vclock_now(&r->clock) / MS, 1, 10000); /* 2,000 keys a second at least */
    rig_free(r);
}

/* ---- the BIOS's key buffer */

static uint16_t low16(struct rig *r, unsigned at)
{
    return (uint16_t)(r->mem.bytes[at] | r->mem.bytes[at + 1] << 8);
}
static void set_low16(struct rig *r, unsigned at, unsigned v)
{
    r->mem.bytes[at] = (uint8_t)v;
    r->mem.bytes[at + 1] = (uint8_t)(v >> 8);
}
static unsigned after(unsigned at)
{
    return at + 2 == 0x3e ? 0x1e : at + 2;
}

/* The interrupt handler: a key that finds the buffer full is lost. */
static void bios_int9(struct rig *r)
{
    uint8_t code = in8(r, 0x60);
    unsigned tail = low16(r, 0x41c);
    if (!(code & 0x80) && after(tail) != low16(r, 0x41a)) {
        set_low16(r, 0x400 + tail, code);
        set_low16(r, 0x41c, after(tail));
    }
    out8(r, 0x20, 0x20);
}

static void bios_setup(struct rig *r)
{
    pic_setup(r);
    set_low16(r, 0x41a, 0x1e);
    set_low16(r, 0x41c, 0x1e);
    set_low16(r, 0x480, 0x1e);
    set_low16(r, 0x482, 0x3e);
}

static void test_a_program_that_reads_slowly(void **state)
{
    enum { N = 500 };
    struct rig *r = rig_new();
    unsigned fed = 0, got = 0;

    bios_setup(r);
    for (unsigned ms = 0; got < N; ms++) {
        feed(r, &fed, N);
        for (unsigned i = 0; i < 4; i++) {
            vclock_advance(&r->clock, MS / 4);
            if (r->intr && take_irq(r) == 0x21)
                bios_int9(r);
        }
        unsigned head = low16(r, 0x41a);
        if (ms % 50 == 0 && head != low16(r, 0x41c)) { /* INT 16h */
            assert_int_equal(low16(r, 0x400 + head), nth_code(got));
            set_low16(r, 0x41a, after(head));
            got++;
        }
        assert_in_range(ms, 0, 60 * N);
    }
    rig_free(r);
}

/* A system of its own leaves the BIOS's buffer as it was, even full: after a while keys come all the same. */
static void test_a_stale_buffer_is_no_obstacle(void **state)
{
    struct rig *r = rig_new();
    bios_setup(r);
    set_low16(r, 0x41c, 0x3c); /* 15 keys that nobody takes */
    both(r, A);
    both(r, F7);
    for (unsigned i = 0; i < 15000; i++)
        vclock_advance(&r->clock, MS);
    assert_int_equal(in8(r, 0x64) & 1, 0);
    for (unsigned i = 0; i < 6000; i++)
        vclock_advance(&r->clock, MS);
    KEYS(r, 0x1e, 0x9e, 0x41, 0xc1);
    both(r, A); /* and at once from then on */
    KEYS(r, 0x1e, 0x9e);
    for (unsigned i = 0; i < 4; i++)
        r->mem.bytes[0x41a + i] = 0x55; /* memory that is something else now */
    both(r, A);
    KEYS(r, 0x1e, 0x9e);
    rig_free(r);
}

/* ---- mouse */

static uint8_t identify(struct rig *r)
{
    mouse(r, 0xf2);
    return (uint8_t)next(r, 1);
}
static void knock(struct rig *r, uint8_t a, uint8_t b, uint8_t c)
{
    const uint8_t rates[] = {a, b, c};
    for (unsigned i = 0; i < 3; i++) {
        mouse(r, 0xf3);
        mouse(r, rates[i]);
    }
}

static void test_plain_mouse(void **state)
{
    struct rig *r = rig_new();
    controller(r, 0x60, 0x47);
    move(r, 5, 5, 0, 0); /* nobody listens yet */
    assert_int_equal(next(r, 1), -1);
    mouse(r, 0xf4);
    assert_int_equal(next(r, 1), -1);
    move(r, 3, 2, 1, 0); /* a plain mouse has no wheel; y grows upwards */
    MOUSE(r, 0x28, 3, 0xfe);
    move(r, -300, 0, 0, 0); /* more than a packet holds */
    MOUSE(r, 0x18, 0x01, 0, 0x18, 0xd3, 0);
    /* Presses and releases that come at once are told apart; movements between them add up. */
    move(r, 1, 0, 0, 0);
    move(r, 0, 0, 0, 1);
    move(r, 0, 0, 0, 0);
    move(r, 1, 0, 0, 2);
    move(r, 1, 0, 0, 2);
    move(r, 0, -4, 0, 6);
    MOUSE(r, 0x08, 1, 0, 0x09, 0, 0, 0x08, 0, 0, 0x0a, 2, 0, 0x0e, 0, 4);
    mouse(r, 0xe7); /* scaling */
    move(r, 4, 10, 0, 6);
    MOUSE(r, 0x2e, 6, 0xec);
    mouse(r, 0xe9);
    MOUSE(r, 0x33, 2, 100);
    mouse(r, 0xf0); /* remote: when asked, and without scaling */
    move(r, 4, 0, 0, 1);
    move(r, 4, 0, 0, 1);
    assert_int_equal(next(r, 1), -1);
    mouse(r, 0xeb);
    MOUSE(r, 0x09, 8, 0);
    mouse(r, 0xeb);
    MOUSE(r, 0x09, 0, 0);
    mouse(r, 0xee); /* wrap */
    controller(r, 0xd4, 0xf4);
    MOUSE(r, 0xf4);
    mouse(r, 0xec);
    rig_free(r);
}

static void test_wheel_and_side_buttons(void **state)
{
    struct rig *r = rig_new();
    assert_int_equal(identify(r), 0);
    knock(r, 200, 200, 80); /* five buttons are for those who have asked for the wheel */
    assert_int_equal(identify(r), 0);
    knock(r, 200, 100, 80);
    assert_int_equal(identify(r), 3);
    mouse(r, 0xf4);
    move(r, 1, 0, -1, 0);
    MOUSE(r, 0x08, 1, 0, 0xff);
    move(r, 0, 0, 10, 0);
    MOUSE(r, 0x08, 0, 0, 7, 0x08, 0, 0, 3);
    mouse(r, 0xf5);
    knock(r, 200, 200, 80);
    assert_int_equal(identify(r), 4);
    mouse(r, 0xf4);
    move(r, 0, 0, -1, 0x08);
    r = rig_reload(r);
    MOUSE(r, 0x08, 0, 0, 0x1f);
    move(r, 0, 0, 0, 0x10);
    MOUSE(r, 0x08, 0, 0, 0x20);
    controller(r, 0xd4, 0xff);
    MOUSE(r, 0xfa, 0xaa, 0x00);
    assert_int_equal(identify(r), 0);
    rig_free(r);
}

static void test_any_port_access(void **state)
{
    struct rig *r = rig_new();
    uint32_t seed = 12345;

    for (unsigned i = 0; i < 60000; i++) {
        seed = seed * 1664525 + 1013904223;
        uint8_t v = (uint8_t)(seed >> 24);
        switch (seed >> 8 & 7) {
        case 0:
            out8(r, 0x64, v == 0xfe ? 0xd4 : v);
            break;
        case 1:
        case 2:
            out8(r, 0x60, v);
            break;
        case 3:
            if (byteq_space(&r->input.keys) >= 2)
                press(r, v, seed >> 16 & 1);
            break;
        case 4:
            if (byteq_space(&r->input.mouse) >= 8)
                move(r, (int)(seed >> 4 & 0xffff) - 32768, v, (int)(v >> 3) - 16, v);
            break;
        case 5:
            vclock_advance(&r->clock, seed >> 14);
            break;
        default:
            in8(r, v & 1 ? 0x60 : 0x64);
        }
        assert_true(ps2_kbd_ok(&r->board.i8042.kbd));
        assert_true(ps2_mouse_ok(&r->board.i8042.mouse));
        if (i % 4096 == 0) {
            byteq_drop(&r->input.keys, UINT32_MAX); /* keys on the host's side are not saved */
            byteq_drop(&r->input.mouse, UINT32_MAX);
            vclock_advance(&r->clock, BYTE_TIME);
            r = rig_reload(r);
        }
    }
    out8(r, 0x64, 0xae);
    out8(r, 0x64, 0x60);
    out8(r, 0x60, 0x45);
    out8(r, 0x60, 0xff);
    for (unsigned n = 0; next(r, in8(r, 0x64) >> 5 & 1) != 0xaa; n++)
        assert_in_range(n, 0, 200);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_1),
        cmocka_unit_test(test_set_2),
        cmocka_unit_test(test_set_3),
        cmocka_unit_test(test_commands_and_keys),
        cmocka_unit_test(test_repeat),
        cmocka_unit_test(test_repeat_of_special_keys),
        cmocka_unit_test(test_a_byte_can_be_read_twice),
        cmocka_unit_test(test_ten_thousand_keys),
        cmocka_unit_test(test_a_program_that_reads_slowly),
        cmocka_unit_test(test_a_stale_buffer_is_no_obstacle),
        cmocka_unit_test(test_plain_mouse),
        cmocka_unit_test(test_wheel_and_side_buttons),
        cmocka_unit_test(test_any_port_access),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
