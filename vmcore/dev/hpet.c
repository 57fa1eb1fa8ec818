#include "vmcore/dev/hpet.h"

#include "vmcore/clock.h"
#include "vmcore/dev/ioapic.h"
#include "vmcore/rt.h"

enum {
    CONF_ENABLE = 1,
    CONF_LEGACY = 2,

    T_LEVEL = 1 << 1,
    T_ENABLE = 1 << 2,
    T_PERIODIC = 1 << 3,
    T_CAN_PERIODIC = 1 << 4,
    T_CAN_64 = 1 << 5,
    T_SET = 1 << 6,
    T_32 = 1 << 8,
    T_ROUTE = 31 << 9,
    T_WRITABLE = T_LEVEL | T_ENABLE | T_PERIODIC | T_SET | T_32,
    ROUTE_SHIFT = 9,

    TICK_NS = 10,
    TICK_FS = 10000000,
    APART_NS = 10000, /* two interrupts of one timer */
    HALVES_NS = 20000,

    R_CAP = 0x00,
    R_CONF = 0x10,
    R_STATUS = 0x20,
    R_COUNTER = 0xf0,
    R_TIMER = 0x100,
    TIMER_BYTES = 0x20,
};
#define ROUTES 0x00f00000u /* inputs 20 to 23 */

/* ---- the main counter */

static bool enabled(const struct hpet *h)
{
    return h->config & CONF_ENABLE;
}

static uint64_t count(const struct hpet *h)
{
    return enabled(h) ? (vclock_now(h->clock) - h->start) / TICK_NS : h->counter;
}

static uint64_t mask(const struct hpet_timer *t)
{
    return t->config & T_32 ? UINT32_MAX : UINT64_MAX;
}

/* ---- lines */

static bool legacy(const struct hpet *h, unsigned n)
{
    return (h->config & CONF_LEGACY) && n < 2;
}

/* What timer n pulls on, as a bit of `levels`; 0: nothing. A route that was never set is none. */
static uint64_t line_of(const struct hpet *h, unsigned n)
{
    unsigned route = (unsigned)(h->t[n].config & T_ROUTE) >> ROUTE_SHIFT;

    if (!(h->t[n].config & T_ENABLE))
        return 0;
    if (legacy(h, n))
        return 1ull << n;
    return ROUTES >> route & 1 ? 1ull << route : 0;
}

static void drive(struct hpet *h)
{
    uint64_t levels = 0, differ;

    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        bool up = h->t[n].config & T_LEVEL ? h->status >> n & 1 : h->t[n].high;
        levels |= up ? line_of(h, n) : 0;
    }
    for (unsigned n = 0; n < 2 && !(h->config & CONF_LEGACY); n++)
        levels |= (uint64_t)h->legacy_in[n] << n;
    differ = levels ^ h->levels;
    h->levels = levels;
    for (unsigned n = 0; n < 2; n++)
        if (differ >> n & 1)
            irq_set(&h->legacy[n], levels >> n & 1);
    for (unsigned n = 2; n < IOAPIC_PINS; n++)
        if (differ >> n & 1)
            h->gsi.fn(h->gsi.opaque, n, levels >> n & 1);
}

/* As without us: also a change that is none is passed on, since an edge may be a low and a high at once. */
void hpet_legacy_in(void *hpet, unsigned n, int level)
{
    struct hpet *h = hpet;

    h->legacy_in[n] = level != 0;
    drive(h);
}

/* ---- timers */

/* Is it a periodic timer that the counter has passed? */
static bool behind(const struct hpet_timer *t, uint64_t now)
{
    uint64_t m = mask(t);

    return (t->config & T_PERIODIC) && (t->period & m) && ((now - t->cmp) & m) <= m >> 1;
}

/* A periodic timer whose interrupts nobody wanted meanwhile goes on in step. */
static void catch_up(struct hpet_timer *t, uint64_t now)
{
    uint64_t m = mask(t), period = t->period & m;

    if (behind(t, now))
        t->cmp = (t->cmp + (((now - t->cmp) & m) / period + 1) * period) & m;
}

/* When timer n fires next. A one-shot's comparator that is behind the counter is met when that has come round. */
static void arm(struct hpet *h, unsigned n)
{
    struct hpet_timer *t = &h->t[n];
    uint64_t now = vclock_now(h->clock), at = UINT64_MAX, left;

    if (enabled(h) && (t->config & (T_ENABLE | T_LEVEL))) {
        uint64_t at_count = count(h);
        left = (t->cmp - at_count) & mask(t);
        if (behind(t, at_count))
            left = 0;
        else if (!left && t->met)
            left = t->config & T_32 ? 1ull << 32 : UINT64_MAX;
        if (left < UINT64_MAX >> 8) /* else in centuries */
            at = now - (now - h->start) % TICK_NS + left * TICK_NS;
        if (at < t->not_then)
            at = t->not_then;
    }
    vtimer_set(h->clock, &t->vt, at);
}

static void fired(struct hpet *h, unsigned n)
{
    struct hpet_timer *t = &h->t[n];

    t->not_then = vclock_now(h->clock) + APART_NS;
    if (t->config & T_LEVEL) {
        h->status |= 1u << n;
    } else {
        t->high = false;
        drive(h);
        t->high = true;
    }
    drive(h);
    t->met = true;
    catch_up(t, count(h));
    arm(h, n);
}

static void fired0(void *opaque)
{
    fired(opaque, 0);
}
static void fired1(void *opaque)
{
    fired(opaque, 1);
}
static void fired2(void *opaque)
{
    fired(opaque, 2);
}

static void enable(struct hpet *h, bool on)
{
    uint64_t now = count(h);

    if (on == enabled(h))
        return;
    h->config ^= CONF_ENABLE;
    if (on)
        h->start = vclock_now(h->clock) - h->counter * TICK_NS;
    else
        h->counter = now;
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        arm(h, n);
}

/* Pulses are over by then: who gets the lines finds them down. */
static void set_legacy(struct hpet *h, bool on)
{
    if (on == ((h->config & CONF_LEGACY) != 0))
        return;
    for (unsigned n = 0; n < 2; n++)
        h->t[n].high = false;
    drive(h);
    h->config ^= CONF_LEGACY;
    drive(h);
}

static void write_config(struct hpet *h, unsigned n, uint32_t v)
{
    struct hpet_timer *t = &h->t[n];
    uint64_t old = t->config;

    t->config = (v & T_WRITABLE) | (old & T_ROUTE);
    if (ROUTES >> ((v & T_ROUTE) >> ROUTE_SHIFT) & 1) /* another one does not read back */
        t->config = (t->config & ~(uint64_t)T_ROUTE) | (v & T_ROUTE);
    if (t->config & T_32) {
        t->cmp &= UINT32_MAX;
        t->period &= UINT32_MAX;
    }
    if ((old ^ t->config) & (T_LEVEL | T_ENABLE)) {
        t->high = false;
        if (!(t->config & T_LEVEL))
            h->status &= ~(1ull << n);
    }
    if (!(old & T_ENABLE))
        catch_up(t, count(h));
    drive(h);
    arm(h, n);
}

static void put_half(uint64_t *v, bool high, uint32_t half)
{
    *v = high ? (*v & UINT32_MAX) | (uint64_t)half << 32 : (*v & ~(uint64_t)UINT32_MAX) | half;
}

/* A periodic timer's comparator is its period, and with VAL_SET when it fires first as well. */
static void write_comparator(struct hpet *h, unsigned n, bool high, uint32_t v)
{
    struct hpet_timer *t = &h->t[n];
    bool set = !(t->config & T_PERIODIC) || (t->config & T_SET) || (high && t->set_high);

    if (high && (t->config & T_32))
        return;
    if (set) {
        put_half(&t->cmp, high, v);
        t->met = false;
    }
    if (t->config & T_PERIODIC)
        put_half(&t->period, high, v);
    t->set_high = !high && set;
    t->config &= ~(uint64_t)T_SET;
    arm(h, n);
}

/* ---- registers */

static uint32_t timer_read(struct hpet *h, unsigned n, uint32_t off)
{
    struct hpet_timer *t = &h->t[n];

    switch (off) {
    case 0x00:
        return (uint32_t)t->config | T_CAN_PERIODIC | T_CAN_64;
    case 0x04:
        return ROUTES;
    case 0x08:
        return (uint32_t)t->cmp;
    case 0x0c:
        return (uint32_t)(t->cmp >> 32);
    default:
        return 0;
    }
}

static uint32_t read_counter(struct hpet *h, bool high)
{
    uint64_t now = vclock_now(h->clock), v = count(h);

    if (!high) {
        h->read_high = (uint32_t)(v >> 32);
        h->read_at = now;
        return (uint32_t)v;
    }
    return now - h->read_at < HALVES_NS ? h->read_high : (uint32_t)(v >> 32);
}

static uint32_t hpet_read(void *dev, uint32_t off, unsigned size)
{
    struct hpet *h = dev;

    if (off >= R_TIMER && off < R_TIMER + HPET_TIMERS * TIMER_BYTES)
        return timer_read(h, (off - R_TIMER) / TIMER_BYTES, off % TIMER_BYTES);
    switch (off) {
    case R_CAP:
        return HPET_ID;
    case R_CAP + 4:
        return TICK_FS;
    case R_CONF:
        return (uint32_t)h->config;
    case R_STATUS:
        return (uint32_t)h->status;
    case R_COUNTER:
    case R_COUNTER + 4:
        return read_counter(h, off != R_COUNTER);
    default:
        return 0;
    }
}

static void hpet_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct hpet *h = dev;

    if (off >= R_TIMER && off < R_TIMER + HPET_TIMERS * TIMER_BYTES) {
        unsigned n = (off - R_TIMER) / TIMER_BYTES, reg = off % TIMER_BYTES;
        if (reg == 0)
            write_config(h, n, val);
        else if (reg == 8 || reg == 12)
            write_comparator(h, n, reg == 12, val);
        return;
    }
    switch (off) {
    case R_CONF:
        set_legacy(h, val & CONF_LEGACY);
        enable(h, val & CONF_ENABLE);
        break;
    case R_STATUS:
        h->status &= ~(uint64_t)val;
        drive(h);
        break;
    case R_COUNTER:
    case R_COUNTER + 4:
        if (!enabled(h)) /* else undefined */
            put_half(&h->counter, off != R_COUNTER, val);
        for (unsigned n = 0; n < HPET_TIMERS; n++)
            h->t[n].met &= enabled(h);
        h->read_at = 0;
        break;
    default:
        break;
    }
}

static const struct bus_ops hpet_ops = {hpet_read, hpet_write, 4, 4};

/* ---- state */

#define TIMER(i, prefix, m, type)                            \
    {                                                        \
        prefix #m, offsetof(struct hpet, t[i].m), 1, type, 1 \
    }
#define TIMER_FIELDS(i, prefix)                                                                            \
    TIMER(i, prefix, config, F_U64), TIMER(i, prefix, cmp, F_U64), TIMER(i, prefix, period, F_U64),        \
        TIMER(i, prefix, set_high, F_BOOL), TIMER(i, prefix, met, F_BOOL), TIMER(i, prefix, high, F_BOOL), \
        TIMER(i, prefix, not_then, F_U64)

static const struct field hpet_fields[] = {
    FIELD(struct hpet, config, F_U64),
    FIELD(struct hpet, status, F_U64),
    FIELD(struct hpet, counter, F_U64),
    FIELD(struct hpet, start, F_U64),
    TIMER_FIELDS(0, "t0."),
    TIMER_FIELDS(1, "t1."),
    TIMER_FIELDS(2, "t2."),
    FIELD_ARRAY(struct hpet, legacy_in, F_BOOL),
    FIELD(struct hpet, levels, F_U64),
    FIELD_END,
};

static int hpet_loaded(void *dev, const char **why)
{
    struct hpet *h = dev;

    if (h->config > 3 || h->status >> HPET_TIMERS || h->levels & ~(uint64_t)(ROUTES | 3)) {
        *why = "register out of range";
        return -1;
    }
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        const struct hpet_timer *t = &h->t[n];
        uint64_t route = (t->config & T_ROUTE) >> ROUTE_SHIFT;
        if ((t->config & ~(uint64_t)(T_WRITABLE | T_ROUTE)) || (route && !(ROUTES >> route & 1)) || t->not_then >> 62) {
            *why = "impossible timer";
            return -1;
        }
    }
    h->read_at = 0;
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        arm(h, n);
    return 0; /* the lines' levels are the interrupt controllers' state */
}

static const struct state_table hpet_table = {"hpet", 1, hpet_fields, hpet_loaded, NULL};

void hpet_reset(struct hpet *h)
{
    h->config = h->status = h->counter = h->start = h->read_at = 0;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        struct hpet_timer *t = &h->t[n];
        t->config = t->period = t->not_then = 0;
        t->cmp = UINT64_MAX;
        t->set_high = t->met = t->high = false;
        arm(h, n);
    }
    drive(h);
}

void hpet_init(struct hpet *h, struct devctx *c, const struct irq_line lines[2], struct irq_line gsi)
{
    static void (*const fns[HPET_TIMERS])(void *) = {fired0, fired1, fired2};

    memset(h, 0, sizeof *h);
    h->clock = c->clock;
    h->legacy[0] = lines[0];
    h->legacy[1] = lines[1];
    h->gsi = gsi;
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        vtimer_init(c->clock, &h->t[n].vt, fns[n], h);
    bus_map(c->bus, &h->win, true, HPET_BASE, 0x400, &hpet_ops, h, "hpet");
    c->add_state(c, &h->state, "hpet", &hpet_table, h);
    hpet_reset(h);
}
