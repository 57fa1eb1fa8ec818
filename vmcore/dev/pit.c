#include "vmcore/dev/pit.h"

#include "vmcore/clock.h"
#include "vmcore/rt.h"

#define REFRESH_NS 15085u /* port 61h bit 4 toggles at each memory refresh */

static uint32_t from_bcd(uint32_t v)
{
    return (v & 15) + (v >> 4 & 15) * 10 + (v >> 8 & 15) * 100 + (v >> 12 & 15) * 1000;
}

static uint32_t to_bcd(uint32_t v)
{
    return v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12;
}

static uint32_t modulus(const struct pit_counter *c)
{
    return c->bcd ? 10000 : 65536;
}

/* The divisor: 1..65536 (10000 in BCD). Digits above 9 are taken at face value and wrapped. */
static uint32_t divisor_of(const struct pit_counter *c, uint16_t written)
{
    uint32_t n = c->bcd ? from_bcd(written) % 10000 : written;
    if (!n)
        n = modulus(c);
    /* A count of 1 is illegal in modes 2 and 3; it acts as 2 here, so that periods have two edges. */
    return n == 1 && (c->mode == 2 || c->mode == 3) ? 2 : n;
}

static uint32_t divisor(const struct pit_counter *c)
{
    return divisor_of(c, c->reload);
}

/* Mode 3 is high for the longer half of an odd count. */
static uint32_t high_half(uint32_t n)
{
    return (n + 1) / 2;
}

/* Where in its period a counter of mode 2 or 3 is, d clocks after its load. */
static uint32_t phase(const struct pit_counter *c, uint64_t d)
{
    uint32_t n = divisor(c);
    return (uint32_t)((d + (c->low_first ? high_half(n) : 0)) % n);
}

static uint64_t ns_of(uint64_t clocks)
{
    return mul_div(clocks, NS_PER_S, PIT_HZ) + 1;
}

static bool counting(const struct pit_counter *c)
{
    return c->running && (c->gate || c->mode == 1 || c->mode == 5);
}

static uint64_t clocks_of(uint64_t ns)
{
    return mul_div(ns, PIT_HZ, NS_PER_S);
}

/* The count that waited takes over, in mode 3 with the half that begins there. */
static void take_next(struct pit_counter *c, uint64_t at)
{
    c->low_first = c->mode == 3 && at > c->start && phase(c, clocks_of(at - c->start)) != 0;
    c->start = at;
    c->reload = c->next;
    c->switch_at = UINT64_MAX;
    c->null_count = false;
}

/* Clocks since the load; lets a count that waited for the period's or half-cycle's end take over first. */
static uint64_t elapsed(struct pit *p, struct pit_counter *c)
{
    uint64_t now = vclock_now(p->clock);
    if (!counting(c))
        return c->held;
    if (now >= c->switch_at)
        take_next(c, c->switch_at);
    return now > c->start ? clocks_of(now - c->start) : 0;
}

static uint16_t count(struct pit *p, struct pit_counter *c)
{
    uint64_t d = elapsed(p, c);
    uint32_t n = divisor(c), m = modulus(c), v;

    switch (c->mode) {
    case 2:
        v = n - phase(c, d);
        break;
    case 3: {
        uint32_t r = phase(c, d), high = high_half(n);
        v = (n & ~1u) - 2 * (r < high ? r : r - high);
        break;
    }
    default:
        v = (uint32_t)((n + m - d % m) % m);
    }
    v %= m;
    return (uint16_t)(c->bcd ? to_bcd(v) : v);
}

static bool output(struct pit *p, struct pit_counter *c)
{
    uint64_t d = elapsed(p, c);
    uint32_t n = divisor(c);

    if (!c->running)
        return c->mode != 0;
    switch (c->mode) {
    case 0:
    case 1:
        return d >= n;
    case 2:
        return !c->gate || phase(c, d) != n - 1;
    case 3:
        return !c->gate || phase(c, d) < high_half(n);
    default:
        return d != n;
    }
}

/* When a counter of mode 2 or 3 rises next, d clocks after its load. */
static uint64_t next_rise(const struct pit_counter *c, uint64_t d)
{
    uint32_t n = divisor(c), at = phase(c, d);

    if (c->switch_at == UINT64_MAX)
        return c->start + ns_of(d + n - at);
    /* A count that waits for the end of the high half counts the low one first. */
    return c->switch_at + (c->mode == 3 && at < high_half(n) ? ns_of(divisor_of(c, c->next) / 2) : 0);
}

/* Counter 0's line and the time of its next rising edge. The low pulses of modes 2 to 5 are shown at their end only. */
static void schedule(struct pit *p)
{
    struct pit_counter *c = &p->ch[0];
    uint64_t d = elapsed(p, c), at = UINT64_MAX;
    uint32_t n = divisor(c);

    if (counting(c)) {
        if (c->mode == 2 || c->mode == 3)
            at = next_rise(c, d);
        else if (c->edge_due) /* past already, maybe, as host time goes on while this runs: then at once */
            at = c->start + ns_of(c->mode < 2 ? n : n + 1);
    }
    vtimer_set(p->clock, &p->timer, at);
}

static void timer_fired(void *opaque)
{
    struct pit *p = opaque;
    p->ch[0].edge_due = false;
    if (p->ch[0].mode >= 2)
        irq_set(&p->out0, 0);
    irq_set(&p->out0, 1);
    schedule(p);
}

static void changed(struct pit *p, unsigned n)
{
    if (n)
        return;
    irq_set(&p->out0, p->ch[0].mode >= 2 || output(p, &p->ch[0]));
    schedule(p);
}

static void load(struct pit *p, unsigned n, uint16_t value)
{
    struct pit_counter *c = &p->ch[n];
    uint64_t now = vclock_now(p->clock);

    c->null_count = true;
    if ((c->mode == 2 || c->mode == 3) && c->running) {
        uint64_t d = elapsed(p, c);
        uint32_t period = divisor(c), at = phase(c, d), half = high_half(period);
        /* What is written while the gate is low waits for its rise. */
        c->switch_at = c->gate ? c->start + ns_of(d + (c->mode == 3 && at < half ? half : period) - at) : now;
        c->next = value;
    } else if (c->mode == 1 || c->mode == 5) {
        c->next = value;
        c->armed = c->waits = true;
    } else {
        c->reload = value;
        c->running = c->edge_due = true;
        c->null_count = c->low_first = false;
        c->start = now;
        c->held = 0;
    }
    changed(p, n);
}

static void set_gate(struct pit *p, unsigned n, bool level)
{
    struct pit_counter *c = &p->ch[n];
    uint64_t now = vclock_now(p->clock);

    if (c->gate == level)
        return;
    if (!level) {
        if (c->mode != 1 && c->mode != 5)
            c->held = elapsed(p, c);
        c->gate = false;
    } else {
        c->gate = true;
        if (c->mode == 1 || c->mode == 5) {
            if (c->armed) {
                c->reload = c->waits ? c->next : c->reload;
                c->waits = false;
                c->running = c->edge_due = true;
                c->null_count = false;
                c->start = now;
            }
        } else if (c->mode == 2 || c->mode == 3) {
            if (c->switch_at != UINT64_MAX)
                take_next(c, now);
            c->low_first = false;
            c->start = now;
            c->held = 0;
        } else {
            uint64_t ns = ns_of(c->held);
            c->start = now > ns ? now - ns : 0;
        }
    }
    changed(p, n);
}

static void latch_count(struct pit *p, struct pit_counter *c)
{
    if (c->latched_count)
        return;
    c->latched = count(p, c);
    c->latched_count = true;
}

static void write_control(struct pit *p, uint8_t v)
{
    unsigned n = v >> 6;

    if (n == 3) { /* read-back */
        for (unsigned i = 0; i < 3; i++) {
            struct pit_counter *c = &p->ch[i];
            if (!(v >> (i + 1) & 1))
                continue;
            if (!(v & 0x20))
                latch_count(p, c);
            if (!(v & 0x10) && !c->latched_status) {
                c->status = (uint8_t)(output(p, c) << 7 | c->null_count << 6 | c->rw << 4 | c->mode << 1 | c->bcd);
                c->latched_status = true;
            }
        }
        return;
    }
    struct pit_counter *c = &p->ch[n];
    if (!(v & 0x30)) {
        latch_count(p, c);
        return;
    }
    bool gate = c->gate;
    uint8_t mode = v >> 1 & 7;
    *c = (struct pit_counter){.gate = gate, .reload = c->reload};
    c->rw = v >> 4 & 3;
    c->mode = mode > 5 ? mode & 3 : mode;
    c->bcd = v & 1;
    c->null_count = true;
    c->switch_at = UINT64_MAX;
    changed(p, n);
}

static void pit_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct pit *p = dev;
    uint8_t v = (uint8_t)val;

    if (off == 3) {
        write_control(p, v);
        return;
    }
    struct pit_counter *c = &p->ch[off];
    if (c->rw == 1) {
        load(p, off, v);
    } else if (c->rw == 2) {
        load(p, off, (uint16_t)(v << 8));
    } else if (!c->write_high_next) {
        c->write_low = v;
        c->write_high_next = true;
        if (c->mode == 0) { /* the first byte stops the count */
            c->held = elapsed(p, c);
            c->running = false;
            changed(p, off);
        }
    } else {
        c->write_high_next = false;
        load(p, off, (uint16_t)(v << 8 | c->write_low));
    }
}

static uint32_t pit_read(void *dev, uint32_t off, unsigned size)
{
    struct pit *p = dev;
    if (off == 3)
        return 0xff;
    struct pit_counter *c = &p->ch[off];
    if (c->latched_status) {
        c->latched_status = false;
        return c->status;
    }
    uint16_t v = c->latched_count ? c->latched : count(p, c);
    bool high = c->rw == 2 || (c->rw == 3 && c->read_high_next);
    if (c->rw == 3)
        c->read_high_next = !c->read_high_next;
    if (c->rw != 3 || high)
        c->latched_count = false;
    return high ? v >> 8 : v & 0xff;
}

static uint32_t port61_read(void *dev, uint32_t off, unsigned size)
{
    struct pit *p = dev;
    return (uint32_t)(p->ch[2].gate | p->speaker << 1 | p->checks | (vclock_now(p->clock) / REFRESH_NS & 1) << 4 |
                      output(p, &p->ch[2]) << 5);
}

static void port61_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct pit *p = dev;
    p->speaker = val & 2;
    p->checks = val & 0x0c;
    set_gate(p, 2, val & 1);
}

static const struct bus_ops pit_ops = {pit_read, pit_write, 1, 1};
static const struct bus_ops port61_ops = {port61_read, port61_write, 1, 1};

#define CH(i, prefix, m, type)                               \
    {                                                        \
        prefix #m, offsetof(struct pit, ch[i].m), 1, type, 1 \
    }
#define CH_SINCE(i, prefix, m, type, v)                      \
    {                                                        \
        prefix #m, offsetof(struct pit, ch[i].m), 1, type, v \
    }
#define CH_FIELDS(i, prefix)                                                                                          \
    CH(i, prefix, reload, F_U16), CH(i, prefix, latched, F_U16), CH(i, prefix, mode, F_U8), CH(i, prefix, rw, F_U8),  \
        CH(i, prefix, write_low, F_U8), CH(i, prefix, status, F_U8), CH(i, prefix, bcd, F_BOOL),                      \
        CH(i, prefix, gate, F_BOOL), CH(i, prefix, write_high_next, F_BOOL), CH(i, prefix, read_high_next, F_BOOL),   \
        CH(i, prefix, null_count, F_BOOL), CH(i, prefix, running, F_BOOL), CH(i, prefix, armed, F_BOOL),              \
        CH(i, prefix, latched_count, F_BOOL), CH(i, prefix, latched_status, F_BOOL), CH(i, prefix, edge_due, F_BOOL), \
        CH(i, prefix, start, F_U64), CH(i, prefix, held, F_U64), CH(i, prefix, switch_at, F_U64),                     \
        CH(i, prefix, next, F_U16), CH_SINCE(i, prefix, waits, F_BOOL, 3), CH_SINCE(i, prefix, low_first, F_BOOL, 4)

static const struct field pit_fields[] = {
    CH_FIELDS(0, "ch0."),
    CH_FIELDS(1, "ch1."),
    CH_FIELDS(2, "ch2."),
    FIELD(struct pit, speaker, F_BOOL),
    FIELD_SINCE(struct pit, checks, F_U8, 2),
    FIELD_END,
};

static int pit_loaded(void *dev, const char **why)
{
    struct pit *p = dev;
    for (unsigned i = 0; i < 3; i++) {
        const struct pit_counter *c = &p->ch[i];
        if (c->mode > 5 || c->rw > 3 || c->start >> 62 || c->held >> 62 ||
            (c->switch_at != UINT64_MAX && c->switch_at >> 62)) {
            *why = "impossible counter state";
            return -1;
        }
    }
    p->checks &= 0x0c;
    schedule(p); /* the line's level is the interrupt controllers' state */
    return 0;
}

/* What is due is done: a saved state is the same whether or not a guest looked at the counters before. */
static void before_save(void *dev)
{
    struct pit *p = dev;
    for (unsigned i = 0; i < 3; i++)
        elapsed(p, &p->ch[i]);
}

static const struct state_table pit_table = {"i8254", 4, pit_fields, pit_loaded, before_save};

void pit_reset(struct pit *p)
{
    for (unsigned i = 0; i < 3; i++)
        p->ch[i] = (struct pit_counter){.gate = i < 2, .rw = 3, .switch_at = UINT64_MAX};
    p->speaker = false;
    p->checks = 0;
    changed(p, 0);
}

void pit_init(struct pit *p, struct devctx *c, struct irq_line out0)
{
    memset(p, 0, sizeof *p);
    p->clock = c->clock;
    p->out0 = out0;
    vtimer_init(c->clock, &p->timer, timer_fired, p);
    bus_map(c->bus, &p->win, false, 0x40, 4, &pit_ops, p, "pit");
    bus_map(c->bus, &p->port61, false, 0x61, 1, &port61_ops, p, "port61");
    c->add_state(c, &p->state, "pit", &pit_table, p);
    for (unsigned i = 0; i < 3; i++)
        p->ch[i] = (struct pit_counter){.gate = i < 2, .rw = 3, .switch_at = UINT64_MAX};
}
