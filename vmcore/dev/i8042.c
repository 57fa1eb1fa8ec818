#include "vmcore/dev/i8042.h"

#include "vmcore/rt.h"

enum {
    STS_OUT_FULL = 0x01,
    STS_SYSTEM = 0x04,
    STS_COMMAND = 0x08,
    STS_UNLOCKED = 0x10,
    STS_AUX = 0x20,

    CB_INT1 = 0x01,
    CB_INT12 = 0x02,
    CB_SYSTEM = 0x04,
    CB_KBD_OFF = 0x10,
    CB_AUX_OFF = 0x20,
    CB_TRANSLATE = 0x40,

    OUT_NOT_RESET = 0x01,
    OUT_A20 = 0x02,

    ACK = 0xfa,
    RESEND = 0xfe,
    SELF_TEST_OK = 0xaa,
};

/* ---- queues and the output buffer */

static void push(struct ps2_queue *q, uint8_t byte)
{
    if (q->len < PS2_QUEUE)
        q->byte[(q->head + q->len++) % PS2_QUEUE] = byte;
}

static uint8_t pop(struct ps2_queue *q)
{
    uint8_t byte = q->byte[q->head];
    q->head = (q->head + 1) % PS2_QUEUE;
    q->len--;
    return byte;
}

static void clear(struct ps2_queue *q)
{
    q->head = q->len = 0;
}

static void drive_lines(struct i8042 *k)
{
    irq_set(&k->irq1, k->full && !k->from_aux && (k->command & CB_INT1));
    irq_set(&k->irq12, k->full && k->from_aux && (k->command & CB_INT12));
}

/* Keyboard codes as the host reads them with translation on. Only the identification's second byte needs it, for no key
 * is ever pressed. */
static uint8_t translated(const struct i8042 *k, uint8_t byte)
{
    return (k->command & CB_TRANSLATE) && byte == 0x83 ? 0x41 : byte;
}

/* Fills the output buffer from the first queue that has something and is not switched off. */
static void pump(struct i8042 *k)
{
    if (!k->full) {
        if (k->answers.len) {
            /* Answers of the auxiliary loop-back carry the aux mark in a byte before them. */
            k->from_aux = pop(&k->answers);
            k->data = pop(&k->answers);
            k->full = true;
        } else if (k->kbd.len && !(k->command & CB_KBD_OFF)) {
            k->data = translated(k, pop(&k->kbd));
            k->from_aux = false;
            k->full = true;
        } else if (k->aux.len && !(k->command & CB_AUX_OFF)) {
            k->data = pop(&k->aux);
            k->from_aux = k->full = true;
        }
    }
    drive_lines(k);
}

static void answer(struct i8042 *k, bool aux, uint8_t byte)
{
    push(&k->answers, aux);
    push(&k->answers, byte);
}

/* ---- keyboard */

static void kbd_defaults(struct i8042 *k)
{
    k->kbd_rate = 0x2b;
    k->kbd_set = 2;
    k->kbd_expect = 0;
}

static void kbd_argument(struct i8042 *k, uint8_t v)
{
    uint8_t command = k->kbd_expect;
    k->kbd_expect = 0;
    push(&k->kbd, ACK);
    if (command == 0xed)
        k->kbd_leds = v & 7;
    else if (command == 0xf3)
        k->kbd_rate = v & 0x7f;
    else if (command == 0xf0 && !v)
        push(&k->kbd, k->kbd_set);
    else if (command == 0xf0 && v <= 3)
        k->kbd_set = v;
}

static void kbd_command(struct i8042 *k, uint8_t v)
{
    if (k->kbd_expect && v < 0xed) {
        kbd_argument(k, v);
        return;
    }
    k->kbd_expect = 0;
    switch (v) {
    case 0xed: /* LEDs */
    case 0xf0: /* scan code set */
    case 0xf3: /* repeat rate */
        k->kbd_expect = v;
        push(&k->kbd, ACK);
        break;
    case 0xee: /* echo */
        push(&k->kbd, 0xee);
        break;
    case 0xf2: /* identify */
        push(&k->kbd, ACK);
        push(&k->kbd, 0xab);
        push(&k->kbd, 0x83);
        break;
    case 0xf4:
        k->kbd_scanning = true;
        push(&k->kbd, ACK);
        break;
    case 0xf5:
    case 0xf6:
        kbd_defaults(k);
        k->kbd_scanning = v == 0xf6;
        push(&k->kbd, ACK);
        break;
    case 0xf7: /* key types of set 3 */
    case 0xf8:
    case 0xf9:
    case 0xfa:
        push(&k->kbd, ACK);
        break;
    case 0xff:
        clear(&k->kbd);
        kbd_defaults(k);
        k->kbd_leds = 0;
        k->kbd_scanning = true;
        push(&k->kbd, ACK);
        push(&k->kbd, SELF_TEST_OK);
        break;
    default:
        push(&k->kbd, RESEND);
    }
}

/* ---- mouse: a plain two-button one */

static void aux_defaults(struct i8042 *k)
{
    k->aux_expect = 0;
    k->aux_rate = 100;
    k->aux_resolution = 2;
    k->aux_reporting = k->aux_remote = k->aux_scale2 = k->aux_wrap = false;
}

static void aux_command(struct i8042 *k, uint8_t v)
{
    if (k->aux_wrap && v != 0xff && v != 0xec) {
        push(&k->aux, v);
        return;
    }
    if (k->aux_expect) {
        if (k->aux_expect == 0xf3)
            k->aux_rate = v;
        else
            k->aux_resolution = v & 3;
        k->aux_expect = 0;
        push(&k->aux, ACK);
        return;
    }
    if (v < 0xe6 || v == 0xed || v == 0xef || v == 0xf1 || (v > 0xf6 && v != 0xff)) {
        push(&k->aux, RESEND);
        return;
    }
    push(&k->aux, ACK);
    switch (v) {
    case 0xe6:
    case 0xe7:
        k->aux_scale2 = v == 0xe7;
        break;
    case 0xe8: /* resolution */
    case 0xf3: /* rate */
        k->aux_expect = v;
        break;
    case 0xe9: /* status */
        push(&k->aux, (uint8_t)(k->aux_remote << 6 | k->aux_reporting << 5 | k->aux_scale2 << 4));
        push(&k->aux, k->aux_resolution);
        push(&k->aux, k->aux_rate);
        break;
    case 0xea:
    case 0xf0:
        k->aux_remote = v == 0xf0;
        break;
    case 0xeb: /* read data: no buttons, no movement */
        push(&k->aux, 0x08);
        push(&k->aux, 0);
        push(&k->aux, 0);
        break;
    case 0xec:
    case 0xee:
        k->aux_wrap = v == 0xee;
        break;
    case 0xf2:
        push(&k->aux, 0x00);
        break;
    case 0xf4:
    case 0xf5:
        k->aux_reporting = v == 0xf4;
        break;
    case 0xf6:
        aux_defaults(k);
        break;
    default: /* FFh: reset */
        clear(&k->aux);
        aux_defaults(k);
        push(&k->aux, ACK);
        push(&k->aux, SELF_TEST_OK);
        push(&k->aux, 0x00);
    }
}

/* ---- controller */

static void write_output_port(struct i8042 *k, uint8_t v)
{
    k->output_port = v & 0xcf;
    irq_set(&k->a20, (v & OUT_A20) != 0);
    if (!(v & OUT_NOT_RESET))
        k->reset_request(k->reset_opaque);
}

static void controller_argument(struct i8042 *k, uint8_t command, uint8_t v)
{
    switch (command) {
    case 0x60:
        k->command = v;
        break;
    case 0xd1:
        write_output_port(k, v);
        break;
    case 0xd2:
    case 0xd3: /* loop-back, as if keyboard or mouse had sent it */
        answer(k, command == 0xd3, v);
        break;
    case 0xd4:
        k->command &= (uint8_t)~CB_AUX_OFF;
        aux_command(k, v);
        break;
    }
}

static void controller_command(struct i8042 *k, uint8_t v)
{
    k->expect = 0;
    switch (v) {
    case 0x20:
        answer(k, false, k->command);
        break;
    case 0x60:
    case 0xd1:
    case 0xd2:
    case 0xd3:
    case 0xd4:
        k->expect = v;
        break;
    case 0xa7:
        k->command |= CB_AUX_OFF;
        break;
    case 0xa8:
        k->command &= (uint8_t)~CB_AUX_OFF;
        break;
    case 0xa9: /* interface tests: no fault */
    case 0xab:
        answer(k, false, 0);
        break;
    case 0xaa:
        k->command |= CB_SYSTEM;
        answer(k, false, 0x55);
        break;
    case 0xad:
        k->command |= CB_KBD_OFF;
        break;
    case 0xae:
        k->command &= (uint8_t)~CB_KBD_OFF;
        break;
    case 0xc0: /* input port: not locked */
        answer(k, false, 0x80);
        break;
    case 0xd0:
        answer(k, false, k->output_port);
        break;
    case 0xdd:
    case 0xdf:
        write_output_port(k, v == 0xdf ? k->output_port | OUT_A20 : k->output_port & (uint8_t)~OUT_A20);
        break;
    default:
        if (v >= 0xf0 && !(v & 1)) /* pulse output bit 0 */
            k->reset_request(k->reset_opaque);
    }
}

static uint32_t data_read(void *dev, uint32_t off, unsigned size)
{
    struct i8042 *k = dev;
    k->full = false;
    drive_lines(k); /* the line falls before the next byte raises it: it is an edge that interrupts */
    uint8_t v = k->data;
    pump(k);
    return v;
}

static void data_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct i8042 *k = dev;
    uint8_t expect = k->expect;

    k->last_was_command = false;
    k->expect = 0;
    if (expect) {
        controller_argument(k, expect, (uint8_t)val);
    } else {
        k->command &= (uint8_t)~CB_KBD_OFF;
        kbd_command(k, (uint8_t)val);
    }
    pump(k);
}

static uint32_t status_read(void *dev, uint32_t off, unsigned size)
{
    struct i8042 *k = dev;
    return (k->full ? STS_OUT_FULL : 0u) | (k->full && k->from_aux ? STS_AUX : 0u) |
           (k->command & CB_SYSTEM ? STS_SYSTEM : 0u) | (k->last_was_command ? STS_COMMAND : 0u) | STS_UNLOCKED;
}

static void command_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct i8042 *k = dev;
    k->last_was_command = true;
    controller_command(k, (uint8_t)val);
    pump(k);
}

static uint32_t port92_read(void *dev, uint32_t off, unsigned size)
{
    struct i8042 *k = dev;
    return k->output_port & OUT_A20;
}

static void port92_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct i8042 *k = dev;
    bool was = k->port92 & 1;
    k->port92 = val & 3;
    k->output_port = (uint8_t)((k->output_port & ~OUT_A20) | (val & OUT_A20));
    irq_set(&k->a20, (val & OUT_A20) != 0);
    if (!was && (val & 1)) /* fast reset */
        k->reset_request(k->reset_opaque);
}

static const struct bus_ops data_ops = {data_read, data_write, 1, 1};
static const struct bus_ops command_ops = {status_read, command_write, 1, 1};
static const struct bus_ops port92_ops = {port92_read, port92_write, 1, 1};

#define QUEUE_FIELDS(q)                                                  \
    {#q ".byte", offsetof(struct i8042, q.byte), PS2_QUEUE, F_BYTES, 1}, \
        {#q ".head", offsetof(struct i8042, q.head), 1, F_U8, 1},        \
    {                                                                    \
#q ".len", offsetof(struct i8042, q.len), 1, F_U8, 1             \
    }

static const struct field i8042_fields[] = {
    FIELD(struct i8042, command, F_U8),
    FIELD(struct i8042, expect, F_U8),
    FIELD(struct i8042, output_port, F_U8),
    FIELD(struct i8042, data, F_U8),
    FIELD(struct i8042, full, F_BOOL),
    FIELD(struct i8042, from_aux, F_BOOL),
    FIELD(struct i8042, last_was_command, F_BOOL),
    QUEUE_FIELDS(answers),
    QUEUE_FIELDS(kbd),
    QUEUE_FIELDS(aux),
    FIELD(struct i8042, kbd_expect, F_U8),
    FIELD(struct i8042, kbd_leds, F_U8),
    FIELD(struct i8042, kbd_set, F_U8),
    FIELD(struct i8042, kbd_rate, F_U8),
    FIELD(struct i8042, kbd_scanning, F_BOOL),
    FIELD(struct i8042, aux_expect, F_U8),
    FIELD(struct i8042, aux_rate, F_U8),
    FIELD(struct i8042, aux_resolution, F_U8),
    FIELD(struct i8042, aux_reporting, F_BOOL),
    FIELD(struct i8042, aux_remote, F_BOOL),
    FIELD(struct i8042, aux_scale2, F_BOOL),
    FIELD(struct i8042, aux_wrap, F_BOOL),
    FIELD(struct i8042, port92, F_U8),
    FIELD_END,
};

static bool queue_ok(const struct ps2_queue *q)
{
    return q->head < PS2_QUEUE && q->len <= PS2_QUEUE;
}

static int i8042_loaded(void *dev, const char **why)
{
    struct i8042 *k = dev;
    bool ok = queue_ok(&k->answers) && queue_ok(&k->kbd) && queue_ok(&k->aux) && k->answers.len % 2 == 0;

    for (unsigned i = 0; ok && i < k->answers.len; i += 2)
        ok = k->answers.byte[(k->answers.head + i) % PS2_QUEUE] <= 1;
    if (!ok) {
        *why = "impossible queue";
        return -1;
    }
    irq_set(&k->a20, (k->output_port & OUT_A20) != 0);
    drive_lines(k);
    return 0;
}

static const struct state_table i8042_table = {"i8042", 1, i8042_fields, i8042_loaded, NULL};

void i8042_reset(struct i8042 *k)
{
    k->command = CB_INT1 | CB_SYSTEM | CB_TRANSLATE;
    k->expect = k->data = k->port92 = 0;
    k->output_port = OUT_NOT_RESET | OUT_A20;
    k->full = k->from_aux = k->last_was_command = false;
    clear(&k->answers);
    clear(&k->kbd);
    clear(&k->aux);
    kbd_defaults(k);
    k->kbd_leds = 0;
    k->kbd_scanning = true;
    aux_defaults(k);
    irq_set(&k->a20, 1);
    drive_lines(k);
}

void i8042_init(struct i8042 *k, struct devctx *c, struct irq_line irq1, struct irq_line irq12, struct irq_line a20,
                void (*reset_request)(void *opaque), void *reset_opaque)
{
    memset(k, 0, sizeof *k);
    k->irq1 = irq1;
    k->irq12 = irq12;
    k->a20 = a20;
    k->reset_request = reset_request;
    k->reset_opaque = reset_opaque;
    bus_map(c->bus, &k->data_win, false, 0x60, 1, &data_ops, k, "i8042-data");
    bus_map(c->bus, &k->cmd_win, false, 0x64, 1, &command_ops, k, "i8042-command");
    bus_map(c->bus, &k->win92, false, 0x92, 1, &port92_ops, k, "port92");
    c->add_state(c, &k->state, "i8042", &i8042_table, k);
    i8042_reset(k);
}
