#include "vmcore/dev/ps2.h"

#include "vmcore/rt.h"

enum {
    ACK = 0xfa,
    RESEND = 0xfe,
    SELF_TEST_OK = 0xaa,
    ID_PLAIN = 0,
    ID_WHEEL = 3,
    ID_FIVE = 4,
};

static int clamp(int v, int lo, int hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static int16_t add(int16_t a, int b)
{
    return (int16_t)clamp(a + b, INT16_MIN, INT16_MAX);
}

/* Takes what one packet can tell of *v, and leaves the rest. */
static int portion(int16_t *v, int lo, int hi)
{
    int n = clamp(*v, lo, hi);
    *v = (int16_t)(*v - n);
    return n;
}

/* Scaling 2:1 of small movements, in stream mode only. */
static int scaled(int n)
{
    static const uint8_t small[] = {0, 1, 1, 3, 6, 9};
    int a = n < 0 ? -n : n, s = a < 6 ? small[a] : 2 * a;
    s = s > 255 ? 255 : s;
    return n < 0 ? -s : s;
}

static void tell(struct ps2_mouse *m, struct ps2_queue *q, bool scale)
{
    /* The packet's y grows upwards. */
    int x = portion(&m->dx, -255, 255), y = -portion(&m->dy, -255, 255), z;

    if (scale) {
        x = scaled(x);
        y = scaled(y);
    }
    ps2_push(q, (uint8_t)((m->buttons & 7) | 0x08 | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0)));
    ps2_push(q, (uint8_t)x);
    ps2_push(q, (uint8_t)y);
    z = portion(&m->dz, -8, 7);
    if (m->id == ID_WHEEL)
        ps2_push(q, (uint8_t)z);
    else if (m->id == ID_FIVE)
        ps2_push(q, (uint8_t)((z & 0x0f) | (m->buttons << 1 & 0x30)));
    else
        m->dz = 0;
    m->told_buttons = m->buttons;
}

static bool has_news(const struct ps2_mouse *m)
{
    return m->dx || m->dy || (m->dz && m->id != ID_PLAIN) || m->buttons != m->told_buttons;
}

/* Takes events from the host up to the next change of buttons, which is a packet of its own: no click is lost. */
static void gather(struct ps2_mouse *m)
{
    struct input_mouse ev;

    while (byteq_peek(&m->host.port->mouse, &ev, sizeof ev) == sizeof ev) {
        if (m->reporting && !m->remote && ev.buttons != m->buttons && has_news(m))
            return;
        byteq_drop(&m->host.port->mouse, sizeof ev);
        m->buttons = ev.buttons & 0x1f;
        if (!m->reporting && !m->remote)
            continue; /* nobody looks: movement is not kept */
        m->dx = add(m->dx, ev.dx);
        m->dy = add(m->dy, ev.dy);
        m->dz = add(m->dz, ev.dz);
    }
}

bool ps2_mouse_take(struct ps2_mouse *m, uint8_t *ret)
{
    if (m->reply.len) {
        *ret = ps2_pop(&m->reply);
        return true;
    }
    if (!m->packet.len && m->host.port) {
        gather(m);
        if (m->reporting && !m->remote && !m->expect && has_news(m))
            tell(m, &m->packet, m->scale2);
    }
    if (!m->packet.len)
        return false;
    *ret = ps2_pop(&m->packet);
    return true;
}

static void forget_movement(struct ps2_mouse *m)
{
    m->packet.len = 0;
    m->dx = m->dy = m->dz = 0;
    m->told_buttons = m->buttons;
}

static void defaults(struct ps2_mouse *m)
{
    m->expect = 0;
    m->rate = 100;
    m->resolution = 2;
    m->reporting = m->remote = m->scale2 = m->wrap = false;
    forget_movement(m);
}

/* Three sample rates in a row are the knock by which a driver asks for the wheel, and then for five buttons. */
static void set_rate(struct ps2_mouse *m, uint8_t v)
{
    if (m->knock[0] == 200 && m->knock[1] == 100 && v == 80 && m->id == ID_PLAIN)
        m->id = ID_WHEEL;
    else if (m->knock[0] == 200 && m->knock[1] == 200 && v == 80 && m->id == ID_WHEEL)
        m->id = ID_FIVE;
    m->knock[0] = m->knock[1];
    m->knock[1] = m->rate = v;
}

static void tell_status(struct ps2_mouse *m)
{
    uint8_t b = (uint8_t)((m->buttons & 1) << 2 | (m->buttons & 4) >> 1 | (m->buttons & 2) >> 1);
    ps2_push(&m->reply, (uint8_t)(m->remote << 6 | m->reporting << 5 | m->scale2 << 4 | b));
    ps2_push(&m->reply, m->resolution);
    ps2_push(&m->reply, m->rate);
}

void ps2_mouse_write(struct ps2_mouse *m, uint8_t v)
{
    if (m->wrap && v != 0xff && v != 0xec) {
        ps2_push(&m->reply, v);
        return;
    }
    if (m->expect) {
        if (m->expect == 0xf3)
            set_rate(m, v);
        else
            m->resolution = v & 3;
        m->expect = 0;
        ps2_push(&m->reply, ACK);
        return;
    }
    if (v < 0xe6 || v == 0xed || v == 0xef || v == 0xf1 || (v > 0xf6 && v != 0xff)) {
        ps2_push(&m->reply, RESEND);
        return;
    }
    ps2_push(&m->reply, ACK);
    switch (v) {
    case 0xe6:
    case 0xe7:
        m->scale2 = v == 0xe7;
        break;
    case 0xe8: /* resolution */
    case 0xf3: /* rate */
        m->expect = v;
        break;
    case 0xe9:
        tell_status(m);
        break;
    case 0xea:
    case 0xf0:
        m->remote = v == 0xf0;
        forget_movement(m);
        break;
    case 0xeb: /* read data */
        if (m->host.port)
            gather(m);
        tell(m, &m->reply, false);
        break;
    case 0xec:
    case 0xee:
        m->wrap = v == 0xee;
        break;
    case 0xf2:
        ps2_push(&m->reply, m->id);
        break;
    case 0xf4:
    case 0xf5:
        m->reporting = v == 0xf4;
        forget_movement(m);
        break;
    case 0xf6:
        defaults(m);
        break;
    default: /* FFh: reset */
        m->reply.len = 0;
        m->id = ID_PLAIN;
        defaults(m);
        ps2_push(&m->reply, ACK);
        ps2_push(&m->reply, SELF_TEST_OK);
        ps2_push(&m->reply, ID_PLAIN);
    }
}

bool ps2_mouse_ok(const struct ps2_mouse *m)
{
    return ps2_queue_ok(&m->reply) && ps2_queue_ok(&m->packet) &&
           (m->id == ID_PLAIN || m->id == ID_WHEEL || m->id == ID_FIVE) && m->buttons < 0x20 && m->told_buttons < 0x20;
}

void ps2_mouse_reset(struct ps2_mouse *m)
{
    m->reply.len = 0;
    m->id = ID_PLAIN;
    m->knock[0] = m->knock[1] = 0;
    defaults(m);
}

void ps2_mouse_init(struct ps2_mouse *m, const struct ps2_host *host)
{
    memset(m, 0, sizeof *m);
    m->host = *host;
    ps2_mouse_reset(m);
}
