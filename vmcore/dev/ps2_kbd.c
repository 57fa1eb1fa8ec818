/* Keys come from the host's port when the last one's scan code was read. Two things hold them back besides:
 *
 * Time: a byte takes a while on the keyboard's cable. Programs count on it: one that hooks the interrupt reads port 60h
 * and calls the BIOS, which reads it again and has to find the same byte. So the next one comes BYTE_NS later, and not
 * while the interrupt is in service, unless that lasts SERVICE_NS: then somebody polls in the handler.
 *
 * The BIOS's key buffer in low memory: BIOS and DOS programs take keys from there, and the BIOS drops what finds it
 * full. So no key is offered while less than RING_MARGIN places are free. A system of its own that never reads that
 * buffer leaves it as it is; where a full one does not move for RING_PATIENCE_NS, it counts no more until it does.
 *
 * A key that somebody holds down repeats, the last one that went down, at the rate that F3h sets; a repetition for
 * which the guest has no time is left out. */
#include "vmcore/dev/ps2.h"

#include "vmcore/clock.h"
#include "vmcore/rt.h"

#define BYTE_NS          100000u
#define SERVICE_NS       20000000u
#define RING_LOOK_NS     1000000u
#define RING_PATIENCE_NS (20 * NS_PER_S)
#define RING_MARGIN      4u

enum {
    ACK = 0xfa,
    RESEND = 0xfe,
    SELF_TEST_OK = 0xaa,
    BREAK = 0xf0,
    EXTENDED = 0x80, /* in input_key.code */

    KEY_LCTRL = 0x1d,
    KEY_LSHIFT = 0x2a,
    KEY_RSHIFT = 0x36,
    KEY_LALT = 0x38,
    KEY_RCTRL = EXTENDED | 0x1d,
    KEY_RALT = EXTENDED | 0x38,
    RATE_DEFAULT = 0x2b, /* 10.9 a second after half a second */
    KEY_PRINT = EXTENDED | 0x37,
    KEY_PAUSE = EXTENDED | 0x46,

    MOD_LCTRL = 0x01,
    MOD_RCTRL = 0x02,
    MOD_LSHIFT = 0x04,
    MOD_RSHIFT = 0x08,
    MOD_LALT = 0x10,
    MOD_RALT = 0x20,
    MOD_CTRL = MOD_LCTRL | MOD_RCTRL,
    MOD_SHIFT = MOD_LSHIFT | MOD_RSHIFT,
    MOD_ALT = MOD_LALT | MOD_RALT,
};

/* The controller's translation of set 2; from 85h on a code is what it was. */
static const uint8_t set2_to_1[0x85] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, /* 00 */
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, /* 10 */
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, /* 20 */
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, /* 30 */
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, /* 40 */
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, /* 50 */
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, /* 60 */
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, /* 70 */
    0x80, 0x81, 0x82, 0x41, 0x54,                                                                   /* 80 */
};

/* Set 3 by the code of set 1: plain keys, then those that follow E0h. 0: no such key. */
static const uint8_t set3_plain[0x59] = {
    0x00, 0x08, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66, 0x0d, /* 00 */
    0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x11, 0x1c, 0x1b, /* 10 */
    0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5c, 0x1a, 0x22, 0x21, 0x2a, /* 20 */
    0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7e, 0x19, 0x29, 0x14, 0x07, 0x0f, 0x17, 0x1f, 0x27, /* 30 */
    0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x76, 0x5f, 0x6c, 0x75, 0x7d, 0x84, 0x6b, 0x73, 0x74, 0x7c, 0x69, /* 40 */
    0x72, 0x7a, 0x70, 0x71, 0x57, 0x00, 0x13, 0x56, 0x5e,                                           /* 50 */
};
static const uint8_t set3_extended[][2] = {
    {0x1c, 0x79}, {0x1d, 0x58}, {0x35, 0x77}, {0x37, 0x57}, {0x38, 0x39}, {0x46, 0x62}, {0x47, 0x6e},
    {0x48, 0x63}, {0x49, 0x6f}, {0x4b, 0x61}, {0x4d, 0x6a}, {0x4f, 0x65}, {0x50, 0x60}, {0x51, 0x6d},
    {0x52, 0x67}, {0x53, 0x64}, {0x5b, 0x8b}, {0x5c, 0x8c}, {0x5d, 0x8d},
};

/* What repeats in set 3 after a reset: letters, digits, the keys among and beside them, arrows, Delete and the number
 * pad's plus. */
static const uint8_t set3_repeat[] = {
    0x0e, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66, 0x0d,
    0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5c, 0x53, 0x1c,
    0x1b, 0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x5a, 0x13, 0x1a, 0x22, 0x21,
    0x2a, 0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x29, 0x64, 0x61, 0x63, 0x60, 0x6a, 0x7c,
};

/* ---- queues */

void ps2_push(struct ps2_queue *q, uint8_t byte)
{
    if (q->len < PS2_QUEUE)
        q->byte[(q->head + q->len++) % PS2_QUEUE] = byte;
}

uint8_t ps2_pop(struct ps2_queue *q)
{
    uint8_t byte = q->byte[q->head];
    q->head = (q->head + 1) % PS2_QUEUE;
    q->len--;
    return byte;
}

bool ps2_queue_ok(const struct ps2_queue *q)
{
    return q->head < PS2_QUEUE && q->len <= PS2_QUEUE;
}

/* ---- scan codes */

uint8_t ps2_translate(uint8_t set2)
{
    return set2 < sizeof set2_to_1 ? set2_to_1[set2] : set2;
}

/* Set 2 from set 1; where two codes translate to one, as for F7 and Alt+Print, the later is the key's. 0: no key. */
static uint8_t set2_of(uint8_t set1)
{
    for (unsigned i = sizeof set2_to_1; i-- > 1;)
        if (set2_to_1[i] == set1)
            return (uint8_t)i;
    return 0;
}

static uint8_t set3_of(uint8_t code)
{
    if (!(code & EXTENDED))
        return code < sizeof set3_plain ? set3_plain[code] : 0;
    for (unsigned i = 0; i < sizeof set3_extended / sizeof set3_extended[0]; i++)
        if (set3_extended[i][0] == (code & 0x7f))
            return set3_extended[i][1];
    return 0;
}

/* Sends codes of set 2; a keyboard in set 1 sends what they translate to. */
static void send(struct ps2_kbd *k, const uint8_t *codes, unsigned n)
{
    uint8_t up = 0;

    for (unsigned i = 0; i < n; i++) {
        if (k->set == 2) {
            ps2_push(&k->scan, codes[i]);
        } else if (codes[i] == BREAK) {
            up = 0x80;
        } else {
            ps2_push(&k->scan, ps2_translate(codes[i]) | up);
            up = 0;
        }
    }
}

#define SEND(k, ...) send(k, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void send_print(struct ps2_kbd *k, bool down)
{
    if (k->modifiers & MOD_ALT) {
        if (down)
            SEND(k, 0x84);
        else
            SEND(k, BREAK, 0x84);
    } else if (k->modifiers & (MOD_CTRL | MOD_SHIFT)) {
        if (down)
            SEND(k, 0xe0, 0x7c);
        else
            SEND(k, 0xe0, BREAK, 0x7c);
    } else if (down) {
        SEND(k, 0xe0, 0x12, 0xe0, 0x7c);
    } else {
        SEND(k, 0xe0, BREAK, 0x7c, 0xe0, BREAK, 0x12);
    }
}

static void send_set3(struct ps2_kbd *k, uint8_t code, bool down)
{
    uint8_t c = set3_of(code);

    if (!c || (!down && (k->no_break[c >> 3] >> (c & 7) & 1)))
        return;
    if (!down)
        ps2_push(&k->scan, BREAK);
    ps2_push(&k->scan, c);
}

static void track_modifier(struct ps2_kbd *k, uint8_t code, bool down)
{
    static const uint8_t keys[][2] = {{KEY_LCTRL, MOD_LCTRL},   {KEY_RCTRL, MOD_RCTRL}, {KEY_LSHIFT, MOD_LSHIFT},
                                      {KEY_RSHIFT, MOD_RSHIFT}, {KEY_LALT, MOD_LALT},   {KEY_RALT, MOD_RALT}};
    for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (keys[i][0] == code)
            k->modifiers = down ? k->modifiers | keys[i][1] : k->modifiers & (uint8_t)~keys[i][1];
}

static void send_key(struct ps2_kbd *k, uint8_t code, bool down)
{
    uint8_t c = set2_of(code & 0x7f);

    track_modifier(k, code, down);
    if (k->set == 3) {
        send_set3(k, code, down);
    } else if (code == KEY_PRINT) {
        send_print(k, down);
    } else if (code == KEY_PAUSE) {
        if (down && (k->modifiers & MOD_CTRL))
            SEND(k, 0xe0, 0x7e, 0xe0, BREAK, 0x7e);
        else if (down)
            SEND(k, 0xe1, 0x14, 0x77, 0xe1, BREAK, 0x14, BREAK, 0x77);
    } else if (c) {
        if (code & EXTENDED)
            SEND(k, 0xe0);
        if (down)
            SEND(k, c);
        else
            SEND(k, BREAK, c);
    }
}

/* ---- repeating */

static void set_bit(uint8_t bits[32], uint8_t n, bool on)
{
    uint8_t bit = (uint8_t)(1u << (n & 7));
    bits[n >> 3] = on ? bits[n >> 3] | bit : bits[n >> 3] & (uint8_t)~bit;
}

/* Bits 6:5: a quarter of a second each and one more; bits 4:3 and 2:0: (8 + low) << high of 1/240 seconds. */
static uint64_t repeat_delay(const struct ps2_kbd *k)
{
    return (1 + (k->rate >> 5 & 3)) * (NS_PER_S / 4);
}
static uint64_t repeat_period(const struct ps2_kbd *k)
{
    return ((8 + (k->rate & 7u)) << (k->rate >> 3 & 3)) * (NS_PER_S / 240);
}

void ps2_kbd_let_go(struct ps2_kbd *k)
{
    k->held = 0;
    vtimer_set(k->host.ctx->clock, &k->repeat, UINT64_MAX);
}

static bool repeats(const struct ps2_kbd *k, uint8_t code)
{
    uint8_t c = set3_of(code);

    if (k->set == 3)
        return c && !(k->no_repeat[c >> 3] >> (c & 7) & 1);
    return code != KEY_PAUSE;
}

static void hold(struct ps2_kbd *k, const struct input_key *key)
{
    if (key->down == KEY_HELD && repeats(k, key->code)) {
        k->held = key->code;
        vtimer_set(k->host.ctx->clock, &k->repeat, vclock_now(k->host.ctx->clock) + repeat_delay(k));
    } else if (key->down || key->code == k->held) {
        ps2_kbd_let_go(k);
    }
}

/* ---- taking keys from the host */

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* Has the BIOS's key buffer (40:1Ah head, 1Ch tail, 80h start, 82h end; offsets in segment 40h) too little room? */
static bool ring_is_full(struct ps2_kbd *k, uint16_t *ret_head)
{
    uint8_t ends[4], at[4];

    if (!dma_read(k->host.ctx->mem, 0x480, ends, 4) || !dma_read(k->host.ctx->mem, 0x41a, at, 4))
        return false;
    unsigned start = get16(ends), end = get16(ends + 2), head = get16(at), tail = get16(at + 2);
    if (!start && !end) { /* before there was a choice */
        start = 0x1e;
        end = 0x3e;
    }
    if (start >= end || end - start > 512 || (end - start) % 2 || head < start || head >= end || tail < start ||
        tail >= end)
        return false; /* that is no buffer */
    unsigned places = (end - start) / 2, used = (tail + (end - start) - head) % (end - start) / 2;
    *ret_head = (uint16_t)head;
    return places - 1 - used < RING_MARGIN;
}

/* May a key be offered, as far as the BIOS's buffer goes? */
static bool ring_has_room(struct ps2_kbd *k)
{
    uint64_t now = vclock_now(k->host.ctx->clock);
    uint16_t head = 0;

    if (!ring_is_full(k, &head)) {
        k->ring_since = 0;
        k->ring_ignored = false;
        return true;
    }
    if (!k->ring_since || head != k->ring_head) {
        k->ring_since = now ? now : 1;
        k->ring_head = head;
        k->ring_ignored = false;
    }
    if (now > k->ring_since + RING_PATIENCE_NS)
        k->ring_ignored = true;
    return k->ring_ignored;
}

static void kick_host(struct ps2_kbd *k)
{
    const struct byteq *q = &k->host.port->keys;
    uint32_t used = byteq_used(q);
    if (!used || used == q->size / 2)
        host_kick(&k->host.port->kick);
}

static void look_again(struct ps2_kbd *k, uint64_t at)
{
    vtimer_set(k->host.ctx->clock, &k->timer, at);
}

static void fill(struct ps2_kbd *k)
{
    uint64_t now = vclock_now(k->host.ctx->clock);
    struct input_key key;

    if (!k->host.port || !k->scanning || k->expect)
        return;
    while (!k->scan.len && byteq_peek(&k->host.port->keys, &key, sizeof key) == sizeof key) {
        if (key.down && !ring_has_room(k)) {
            look_again(k, now + RING_LOOK_NS);
            return;
        }
        byteq_drop(&k->host.port->keys, sizeof key);
        kick_host(k);
        send_key(k, key.code, key.down);
        hold(k, &key);
    }
}

static void repeat_fired(void *opaque)
{
    struct ps2_kbd *k = opaque;

    vtimer_set(k->host.ctx->clock, &k->repeat, vclock_now(k->host.ctx->clock) + repeat_period(k));
    if (k->scan.len || !k->scanning || k->expect || byteq_used(&k->host.port->keys) || !ring_has_room(k))
        return;
    if (k->held == KEY_PRINT && k->set != 3 && !(k->modifiers & (MOD_ALT | MOD_CTRL | MOD_SHIFT)))
        SEND(k, 0xe0, 0x7c); /* without the shift that went before the first */
    else
        send_key(k, k->held, true);
    k->host.ready(k->host.opaque);
}

bool ps2_kbd_take(struct ps2_kbd *k, uint8_t *ret, bool *ret_scan)
{
    uint64_t now = vclock_now(k->host.ctx->clock);

    *ret_scan = k->in_break || !k->reply.len;
    if (!*ret_scan) {
        *ret = k->last = ps2_pop(&k->reply);
        return true;
    }
    if (now < k->scan_at ||
        (k->host.in_service && k->host.in_service(k->host.opaque) && now < k->scan_at + SERVICE_NS)) {
        if (k->scan.len || (k->host.port && byteq_used(&k->host.port->keys)))
            look_again(k, now < k->scan_at ? k->scan_at : now + BYTE_NS);
        return false;
    }
    fill(k);
    if (!k->scan.len)
        return false;
    *ret = k->last = ps2_pop(&k->scan);
    k->in_break = *ret == BREAK && k->set != 1;
    return true;
}

void ps2_kbd_was_read(struct ps2_kbd *k)
{
    k->scan_at = vclock_now(k->host.ctx->clock) + BYTE_NS;
}

void ps2_kbd_wait(struct ps2_kbd *k)
{
    if (k->scan.len)
        look_again(k, k->scan_at);
}

static void timer_fired(void *opaque)
{
    struct ps2_kbd *k = opaque;
    k->host.ready(k->host.opaque);
}

/* ---- commands */

static void clear_scan(struct ps2_kbd *k)
{
    ps2_kbd_let_go(k);
    k->scan.len = 0;
    k->in_break = false;
}

static void set_all(struct ps2_kbd *k, bool breaks, bool repeat)
{
    memset(k->no_break, breaks ? 0 : 0xff, sizeof k->no_break);
    memset(k->no_repeat, repeat ? 0 : 0xff, sizeof k->no_repeat);
}

static void defaults(struct ps2_kbd *k)
{
    static const uint8_t with_break[] = {0x11, 0x12, 0x14, 0x19, 0x59}; /* Ctrl, Shift, Caps Lock, Alt on the left */

    k->rate = RATE_DEFAULT;
    k->set = 2;
    k->expect = 0;
    set_all(k, false, false);
    for (unsigned i = 0; i < sizeof with_break; i++)
        set_bit(k->no_break, with_break[i], false);
    for (unsigned i = 0; i < sizeof set3_repeat; i++)
        set_bit(k->no_repeat, set3_repeat[i], false);
    clear_scan(k);
}

static void argument(struct ps2_kbd *k, uint8_t v)
{
    uint8_t command = k->expect;

    if (command >= 0xfb) { /* types of single keys: a list, up to the next command */
        set_bit(k->no_break, v, command != 0xfc);
        set_bit(k->no_repeat, v, command != 0xfb);
        ps2_push(&k->reply, ACK);
        return;
    }
    k->expect = 0;
    ps2_push(&k->reply, ACK);
    if (command == 0xed) {
        k->leds = v & 7;
    } else if (command == 0xf3) {
        k->rate = v & 0x7f;
    } else if (!v) { /* F0h: which set? */
        ps2_push(&k->reply, k->set);
    } else if (v <= 3) {
        k->set = v;
        clear_scan(k);
    }
}

void ps2_kbd_write(struct ps2_kbd *k, uint8_t v)
{
    if (k->expect && v < 0xed) {
        argument(k, v);
        return;
    }
    k->expect = 0;
    switch (v) {
    case 0xed: /* LEDs */
    case 0xf0: /* scan code set */
    case 0xf3: /* repeat rate */
    case 0xfb: /* a key's type: repeats, without break code */
    case 0xfc: /* with break code, does not repeat */
    case 0xfd: /* neither */
        k->expect = v;
        ps2_push(&k->reply, ACK);
        break;
    case 0xee: /* echo */
        ps2_push(&k->reply, 0xee);
        break;
    case 0xf2: /* identify */
        ps2_push(&k->reply, ACK);
        ps2_push(&k->reply, 0xab);
        ps2_push(&k->reply, 0x83);
        break;
    case 0xf4:
        clear_scan(k);
        k->scanning = true;
        ps2_push(&k->reply, ACK);
        break;
    case 0xf5:
    case 0xf6:
        defaults(k);
        k->scanning = v == 0xf6;
        ps2_push(&k->reply, ACK);
        break;
    case 0xf7: /* the same for all keys of set 3 */
    case 0xf8:
    case 0xf9:
    case 0xfa:
        set_all(k, v == 0xf8 || v == 0xfa, v == 0xf7 || v == 0xfa);
        ps2_push(&k->reply, ACK);
        break;
    case 0xfe: /* again */
        ps2_push(&k->reply, k->last);
        break;
    case 0xff:
        k->reply.len = 0;
        defaults(k);
        k->leds = 0;
        k->scanning = true;
        ps2_push(&k->reply, ACK);
        ps2_push(&k->reply, SELF_TEST_OK);
        break;
    default:
        ps2_push(&k->reply, RESEND);
    }
}

bool ps2_kbd_ok(const struct ps2_kbd *k)
{
    return ps2_queue_ok(&k->reply) && ps2_queue_ok(&k->scan) && k->set >= 1 && k->set <= 3 && !(k->scan_at >> 62) &&
           !(k->ring_since >> 62);
}

void ps2_kbd_reset(struct ps2_kbd *k)
{
    k->reply.len = 0;
    defaults(k);
    k->leds = k->last = k->modifiers = 0;
    k->scanning = true;
    k->scan_at = k->ring_since = 0;
    k->ring_ignored = false;
    k->ring_head = 0;
    look_again(k, UINT64_MAX);
}

void ps2_kbd_init(struct ps2_kbd *k, const struct ps2_host *host)
{
    memset(k, 0, sizeof *k);
    k->host = *host;
    vtimer_init(host->ctx->clock, &k->timer, timer_fired, k);
    vtimer_init(host->ctx->clock, &k->repeat, repeat_fired, k);
    ps2_kbd_reset(k);
}
