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
};

/* ---- the output buffer */

static void drive_lines(struct i8042 *k)
{
    irq_set(&k->irq1, k->full && !k->from_aux && (k->command & CB_INT1));
    irq_set(&k->irq12, k->full && k->from_aux && (k->command & CB_INT12));
}

/* The next byte from the keyboard as the system sees it; F0h is not seen where codes are translated. */
static bool take_from_keyboard(struct i8042 *k)
{
    uint8_t byte;

    while (ps2_kbd_take(&k->kbd, &byte, &k->from_scan)) {
        if (k->command & CB_TRANSLATE) {
            if (k->from_scan && byte == 0xf0) {
                k->release = true;
                continue;
            }
            byte = ps2_translate(byte);
            if (k->from_scan && k->release)
                byte |= 0x80;
        }
        k->release = false;
        k->data = byte;
        return true;
    }
    return false;
}

/* Fills the output buffer from the first that has something and is not switched off. */
static void pump(struct i8042 *k)
{
    if (!k->full) {
        if (k->answers.len) {
            k->from_aux = ps2_pop(&k->answers);
            k->data = ps2_pop(&k->answers);
            k->from_scan = false;
            k->full = true;
        } else if (!(k->command & CB_KBD_OFF) && take_from_keyboard(k)) {
            k->from_aux = false;
            k->full = true;
        } else if (!(k->command & CB_AUX_OFF) && ps2_mouse_take(&k->mouse, &k->data)) {
            k->from_scan = false;
            k->from_aux = k->full = true;
        }
    }
    drive_lines(k);
}

static void ready(void *opaque)
{
    pump(opaque);
}

static bool in_service(void *opaque)
{
    const struct i8042 *k = opaque;
    return k->irq1_in_service && k->irq1_in_service(k->service_opaque);
}

static void input_event(struct vm_event *ev)
{
    struct i8042 *k = ev->opaque;

    if (__atomic_load_n(&k->input->withdraw, __ATOMIC_ACQUIRE)) {
        byteq_drop(&k->input->keys, UINT32_MAX);
        ps2_kbd_let_go(&k->kbd);
        __atomic_store_n(&k->input->withdraw, 0, __ATOMIC_RELEASE);
        host_kick(&k->input->kick);
    }
    pump(k);
}

static void answer(struct i8042 *k, bool aux, uint8_t byte)
{
    ps2_push(&k->answers, aux);
    ps2_push(&k->answers, byte);
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
    default: /* 61h to 7Fh */
        k->ram[command & 0x1f] = v;
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
        ps2_mouse_write(&k->mouse, v);
        break;
    }
}

static void controller_command(struct i8042 *k, uint8_t v)
{
    k->expect = 0;
    if (v >= 0x21 && v <= 0x3f) {
        answer(k, false, k->ram[v & 0x1f]);
        return;
    }
    if (v >= 0x60 && v <= 0x7f) {
        k->expect = v;
        return;
    }
    switch (v) {
    case 0x20:
        answer(k, false, k->command);
        break;
    case 0xa4: /* password: there is none */
        answer(k, false, 0xf1);
        break;
    case 0xe0: /* test inputs: clock and data lines */
        answer(k, false, 0x03);
        break;
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
    if (k->full && k->from_scan)
        ps2_kbd_was_read(&k->kbd);
    k->full = k->from_scan = false;
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
        ps2_kbd_write(&k->kbd, (uint8_t)val);
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
    FIELD(struct i8042, from_scan, F_BOOL),
    FIELD(struct i8042, release, F_BOOL),
    FIELD_BYTES(struct i8042, ram),
    FIELD(struct i8042, port92, F_U8),
    QUEUE_FIELDS(answers),
    QUEUE_FIELDS(kbd.reply),
    QUEUE_FIELDS(kbd.scan),
    FIELD(struct i8042, kbd.expect, F_U8),
    FIELD(struct i8042, kbd.leds, F_U8),
    FIELD(struct i8042, kbd.set, F_U8),
    FIELD(struct i8042, kbd.rate, F_U8),
    FIELD(struct i8042, kbd.last, F_U8),
    FIELD(struct i8042, kbd.modifiers, F_U8),
    FIELD(struct i8042, kbd.scanning, F_BOOL),
    FIELD(struct i8042, kbd.in_break, F_BOOL),
    FIELD_BYTES(struct i8042, kbd.no_break),
    {"kbd.no_repeat", offsetof(struct i8042, kbd.no_repeat), sizeof(((struct i8042 *)0)->kbd.no_repeat), F_BYTES, 3},
    FIELD(struct i8042, kbd.scan_at, F_U64),
    FIELD(struct i8042, kbd.ring_ignored, F_BOOL),
    FIELD(struct i8042, kbd.ring_head, F_U16),
    FIELD(struct i8042, kbd.ring_since, F_U64),
    QUEUE_FIELDS(mouse.reply),
    QUEUE_FIELDS(mouse.packet),
    FIELD(struct i8042, mouse.expect, F_U8),
    FIELD(struct i8042, mouse.rate, F_U8),
    FIELD(struct i8042, mouse.resolution, F_U8),
    FIELD(struct i8042, mouse.id, F_U8),
    FIELD_BYTES(struct i8042, mouse.knock),
    FIELD(struct i8042, mouse.reporting, F_BOOL),
    FIELD(struct i8042, mouse.remote, F_BOOL),
    FIELD(struct i8042, mouse.scale2, F_BOOL),
    FIELD(struct i8042, mouse.wrap, F_BOOL),
    FIELD(struct i8042, mouse.dx, F_U16),
    FIELD(struct i8042, mouse.dy, F_U16),
    FIELD(struct i8042, mouse.dz, F_U16),
    FIELD(struct i8042, mouse.buttons, F_U16),
    FIELD(struct i8042, mouse.told_buttons, F_U16),
    FIELD_END,
};

static int i8042_loaded(void *dev, const char **why)
{
    struct i8042 *k = dev;
    bool ok = ps2_queue_ok(&k->answers) && k->answers.len % 2 == 0;

    for (unsigned i = 0; ok && i < k->answers.len; i += 2)
        ok = k->answers.byte[(k->answers.head + i) % PS2_QUEUE] <= 1;
    if (!ok || !ps2_kbd_ok(&k->kbd) || !ps2_mouse_ok(&k->mouse)) {
        *why = "impossible queue or register";
        return -1;
    }
    irq_set(&k->a20, (k->output_port & OUT_A20) != 0);
    ps2_kbd_let_go(&k->kbd);
    drive_lines(k);
    if (!k->full)
        ps2_kbd_wait(&k->kbd); /* memory may not be there yet, so nothing is taken now */
    return 0;
}

static const struct state_table i8042_table = {"i8042", 3, i8042_fields, i8042_loaded, NULL};

void i8042_reset(struct i8042 *k)
{
    k->command = CB_INT1 | CB_SYSTEM | CB_TRANSLATE;
    k->expect = k->data = k->port92 = 0;
    k->output_port = OUT_NOT_RESET | OUT_A20;
    k->full = k->from_aux = k->from_scan = k->release = k->last_was_command = false;
    k->answers.head = k->answers.len = 0;
    ps2_kbd_reset(&k->kbd);
    ps2_mouse_reset(&k->mouse);
    irq_set(&k->a20, 1);
    drive_lines(k);
}

void i8042_init(struct i8042 *k, struct devctx *c, struct irq_line irq1, struct irq_line irq12, struct irq_line a20,
                void (*reset_request)(void *opaque), void *reset_opaque, struct inputport *input)
{
    const struct ps2_host host = {c, input, ready, in_service, k};

    memset(k, 0, sizeof *k);
    k->irq1 = irq1;
    k->irq12 = irq12;
    k->a20 = a20;
    k->reset_request = reset_request;
    k->reset_opaque = reset_opaque;
    k->input = input;
    ps2_kbd_init(&k->kbd, &host);
    ps2_mouse_init(&k->mouse, &host);
    if (input) {
        input->rx_event.fn = input_event;
        input->rx_event.opaque = k;
    }
    bus_map(c->bus, &k->data_win, false, 0x60, 1, &data_ops, k, "i8042-data");
    bus_map(c->bus, &k->cmd_win, false, 0x64, 1, &command_ops, k, "i8042-command");
    bus_map(c->bus, &k->win92, false, 0x92, 1, &port92_ops, k, "port92");
    c->add_state(c, &k->state, "i8042", &i8042_table, k);
    i8042_reset(k);
}
