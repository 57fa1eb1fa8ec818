#include "vmcore/dev/lapic.h"

#include "src/base/util.h"
#include "vmcore/rt.h"

enum {
    VERSION = 0x00050014, /* six LVT entries */
    SVR_ENABLE = 0x100,
    LVT_MASKED = 0x10000,
    LVT_MODE_SHIFT = 8,
    TIMER_MODE_SHIFT = 17,
    TIMER_ONE_SHOT = 0,
    TIMER_PERIODIC = 1,
    TIMER_DEADLINE = 2,
    ICR_LOGICAL = 1 << 11,
    ICR_LEVEL = 1 << 15,
    ICR_ASSERT = 1 << 14,
    ESR_SEND_ILLEGAL = 1 << 5,
    ESR_RECV_ILLEGAL = 1 << 6,
    ESR_REGISTER = 1 << 7,
};
#define DEADLINE_MAX_NS (1ull << 60)
#define MIN_PERIOD_NS   1000u /* a faster periodic timer would leave the guest no time */

static bool bit(const uint32_t *set, unsigned n)
{
    return set[n / 32] >> n % 32 & 1;
}
static void set_bit(uint32_t *set, unsigned n, bool v)
{
    if (v)
        set[n / 32] |= 1u << n % 32;
    else
        set[n / 32] &= ~(1u << n % 32);
}
static int highest(const uint32_t *set)
{
    for (int i = 7; i >= 0; i--)
        if (set[i])
            return i * 32 + 31 - __builtin_clz(set[i]);
    return -1;
}

static void tell(struct lapic *l)
{
    irq_set(&l->changed, 1);
}

static uint32_t ppr(const struct lapic *l)
{
    int in_service = highest(l->isr);
    uint32_t isrv = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;
    return (l->tpr & 0xf0) >= isrv ? l->tpr : isrv;
}

static bool on(const struct lapic *l)
{
    return l->enabled && (l->svr & SVR_ENABLE);
}

void lapic_changed(struct lapic *l)
{
    tell(l);
}

int lapic_pending(const struct lapic *l)
{
    int v = on(l) ? highest(l->irr) : -1;
    return v >= 0 && ((uint32_t)v & 0xf0) > (ppr(l) & 0xf0) ? v : -1;
}

int lapic_ack(struct lapic *l)
{
    int v = lapic_pending(l);
    if (v < 0)
        return -1;
    set_bit(l->irr, (unsigned)v, false);
    set_bit(l->isr, (unsigned)v, true);
    tell(l);
    return v;
}

bool lapic_takes_extint(const struct lapic *l)
{
    uint32_t lvt = l->lvt[LVT_LINT0];
    return !l->enabled || (!(lvt & LVT_MASKED) && (lvt >> LVT_MODE_SHIFT & 7) == APIC_EXTINT);
}

/* ---- accepting */

static void local_error(struct lapic *l, uint32_t error);

static void accept(struct lapic *l, unsigned mode, uint8_t vector, bool level)
{
    switch (mode) {
    case APIC_FIXED:
    case APIC_LOWEST:
        if (vector < 16) {
            local_error(l, ESR_RECV_ILLEGAL);
            return;
        }
        if (!on(l))
            return;
        set_bit(l->irr, vector, true);
        set_bit(l->tmr, vector, level);
        tell(l);
        break;
    case APIC_NMI:
        irq_set(&l->nmi, 1);
        break;
    default: /* SMI, INIT and start-up: one processor without SMM has no use for them */
        break;
    }
}

static void fire_lvt(struct lapic *l, unsigned n)
{
    uint32_t lvt = l->lvt[n];
    if (!l->enabled || (lvt & LVT_MASKED))
        return;
    accept(l, n == LVT_TIMER || n == LVT_ERROR ? APIC_FIXED : lvt >> LVT_MODE_SHIFT & 7, (uint8_t)lvt, false);
}

/* An illegal vector in LVT_ERROR itself must not come back here. */
static void local_error(struct lapic *l, uint32_t error)
{
    bool was = l->errors & error;
    l->errors |= error;
    if (!was && (l->lvt[LVT_ERROR] & 0xff) >= 16)
        fire_lvt(l, LVT_ERROR);
}

bool lapic_is_for(const struct lapic *l, uint8_t dest, bool logical)
{
    uint8_t me = (uint8_t)(l->ldr >> 24);
    if (!logical)
        return dest == 0xff || dest == (uint8_t)(l->id >> 24);
    if (l->dfr >> 28 == 0xf)
        return dest & me;                                              /* flat */
    return dest == 0xff || (dest >> 4 == me >> 4 && (dest & me & 15)); /* cluster */
}

bool lapic_deliver(struct lapic *l, uint8_t dest, bool logical, unsigned mode, uint8_t vector, bool level)
{
    if (!l->enabled || !lapic_is_for(l, dest, logical))
        return false;
    accept(l, mode, vector, level);
    return true;
}

static void send_ipi(struct lapic *l)
{
    uint32_t icr = l->icr_low;
    unsigned mode = icr >> 8 & 7, shorthand = icr >> 18 & 3;
    uint8_t vector = (uint8_t)icr;

    if ((mode == APIC_FIXED || mode == APIC_LOWEST) && vector < 16) {
        local_error(l, ESR_SEND_ILLEGAL);
        return;
    }
    if (shorthand == 3) /* all but self: nobody else */
        return;
    if (shorthand || lapic_is_for(l, (uint8_t)(l->icr_high >> 24), icr & ICR_LOGICAL))
        accept(l, mode, vector, false); /* IPIs are edge-triggered whatever the level bit says */
}

static void end_of_interrupt(struct lapic *l)
{
    int v = highest(l->isr);
    if (v < 0)
        return;
    set_bit(l->isr, (unsigned)v, false);
    if (bit(l->tmr, (unsigned)v) && l->eoi)
        l->eoi(l->eoi_opaque, (uint8_t)v);
    tell(l);
}

void lapic_set_lint(void *lapic, unsigned n, int level)
{
    struct lapic *l = lapic;
    unsigned entry = n ? LVT_LINT1 : LVT_LINT0;
    bool rose = level && !l->lint[n & 1];
    l->lint[n & 1] = level != 0;
    /* LINT0 as ExtINT is a level that the board reads by lapic_takes_extint(). */
    if ((l->lvt[entry] >> LVT_MODE_SHIFT & 7) == APIC_EXTINT || !l->enabled)
        tell(l);
    else if (rose)
        fire_lvt(l, entry);
}

bool lapic_nmi_pin(struct lapic *l)
{
    if (!l->enabled)
        irq_set(&l->nmi, 1);
    else
        fire_lvt(l, LVT_LINT1);
    return !l->enabled || !(l->lvt[LVT_LINT1] & LVT_MASKED);
}

/* ---- timer */

static unsigned timer_mode(const struct lapic *l)
{
    return l->lvt[LVT_TIMER] >> TIMER_MODE_SHIFT & 3;
}

static unsigned divisor(const struct lapic *l)
{
    unsigned code = (l->timer_divide & 3) | (l->timer_divide >> 1 & 4);
    return code == 7 ? 1 : 2u << code;
}

static uint64_t period_ns(const struct lapic *l)
{
    return (uint64_t)l->timer_initial * divisor(l);
}

static uint32_t current_count(struct lapic *l)
{
    uint64_t period = period_ns(l), gone = vclock_now(l->clock) - l->timer_start;
    if (!period || timer_mode(l) == TIMER_DEADLINE || l->timer_stopped)
        return 0;
    if (timer_mode(l) == TIMER_PERIODIC)
        gone %= period;
    else if (gone >= period)
        return 0;
    return (uint32_t)((period - gone + divisor(l) - 1) / divisor(l));
}

static void arm_timer(struct lapic *l)
{
    uint64_t at = UINT64_MAX, period = period_ns(l), now = vclock_now(l->clock);

    if (timer_mode(l) == TIMER_DEADLINE) {
        at = l->deadline;
    } else if (l->timer_stopped) {
        at = UINT64_MAX;
    } else if (period && timer_mode(l) == TIMER_PERIODIC) {
        if (period < MIN_PERIOD_NS)
            period = MIN_PERIOD_NS;
        at = now < l->timer_start ? l->timer_start : l->timer_start + ((now - l->timer_start) / period + 1) * period;
    } else if (period && l->timer_due) {
        /* It may be past already, as host time goes on while this runs: then it fires at once. */
        at = l->timer_start + period;
    }
    vtimer_set(l->clock, &l->timer, at);
}

/* The counter and the clock are two: how far the one is from the deadline is asked again once the other is there. */
static bool await_tsc(struct lapic *l)
{
    uint64_t left = l->tsc_deadline && l->tsc_left ? l->tsc_left(l->tsc_opaque, l->tsc_deadline) : 0;

    if (left)
        l->deadline = vclock_now(l->clock) + MIN(left, DEADLINE_MAX_NS);
    return left;
}

static void timer_fired(void *opaque)
{
    struct lapic *l = opaque;

    if (timer_mode(l) == TIMER_DEADLINE && await_tsc(l)) {
        arm_timer(l);
        return;
    }
    l->deadline = UINT64_MAX;
    l->tsc_deadline = 0;
    l->timer_due = false;
    fire_lvt(l, LVT_TIMER);
    if (timer_mode(l) == TIMER_PERIODIC)
        arm_timer(l);
}

void lapic_set_deadline(struct lapic *l, uint64_t tsc)
{
    if (timer_mode(l) != TIMER_DEADLINE)
        return;
    l->tsc_deadline = tsc;
    l->deadline = UINT64_MAX;
    bool due = tsc && !await_tsc(l);
    arm_timer(l);
    if (due)
        timer_fired(l);
}

void lapic_tsc_changed(struct lapic *l)
{
    if (l->tsc_deadline)
        lapic_set_deadline(l, l->tsc_deadline);
}

/* ---- registers */

/* To and from deadline mode disarms. Between the others the count goes on: to one-shot in the period that it is in, to
 * periodic unless it has come to 0, where it stays until a count is written. */
static void change_mode(struct lapic *l, unsigned old_mode)
{
    unsigned mode = timer_mode(l);

    if ((old_mode == TIMER_DEADLINE) != (mode == TIMER_DEADLINE)) {
        l->timer_initial = 0;
        l->deadline = UINT64_MAX;
        l->tsc_deadline = 0;
    } else if (old_mode == TIMER_PERIODIC && mode == TIMER_ONE_SHOT && period_ns(l) && !l->timer_stopped) {
        uint64_t gone = vclock_now(l->clock) - l->timer_start;
        l->timer_start += gone - gone % period_ns(l);
        l->timer_due = true;
    } else if (old_mode == TIMER_ONE_SHOT && mode == TIMER_PERIODIC) {
        l->timer_stopped = !l->timer_due;
    }
}

static void write_lvt(struct lapic *l, unsigned n, uint32_t v)
{
    static const uint32_t mask[LVT_COUNT] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};
    unsigned old_mode = timer_mode(l);

    v &= mask[n];
    if (!(l->svr & SVR_ENABLE))
        v |= LVT_MASKED;
    l->lvt[n] = v;
    if (n == LVT_TIMER) {
        change_mode(l, old_mode);
        arm_timer(l);
    }
    tell(l);
}

static void write_svr(struct lapic *l, uint32_t v)
{
    l->svr = v & 0x3ff;
    if (!(v & SVR_ENABLE))
        for (unsigned i = 0; i < LVT_COUNT; i++)
            l->lvt[i] |= LVT_MASKED;
    tell(l);
}

uint32_t lapic_read(struct lapic *l, uint32_t off)
{
    unsigned reg = off >> 4 & 0xff;

    if (reg >= 0x10 && reg < 0x28)
        return (reg < 0x18 ? l->isr : reg < 0x20 ? l->tmr : l->irr)[reg & 7];
    if (reg >= 0x32 && reg < 0x32 + LVT_COUNT)
        return l->lvt[reg - 0x32];
    switch (reg) {
    case 0x02:
        return l->id;
    case 0x03:
        return VERSION;
    case 0x08:
        return l->tpr;
    case 0x09: /* arbitration priority and remote read: not in this generation, read as 0 */
    case 0x0b:
    case 0x0c:
        return 0;
    case 0x0a:
        return ppr(l);
    case 0x0d:
        return l->ldr;
    case 0x0e:
        return l->dfr;
    case 0x0f:
        return l->svr;
    case 0x28:
        return l->esr;
    case 0x30:
        return l->icr_low;
    case 0x31:
        return l->icr_high;
    case 0x38:
        return l->timer_initial;
    case 0x39:
        return current_count(l);
    case 0x3e:
        return l->timer_divide;
    default:
        local_error(l, ESR_REGISTER);
        return 0;
    }
}

void lapic_write(struct lapic *l, uint32_t off, uint32_t v)
{
    unsigned reg = off >> 4 & 0xff;

    if (reg >= 0x32 && reg < 0x32 + LVT_COUNT) {
        write_lvt(l, reg - 0x32, v);
        return;
    }
    switch (reg) {
    case 0x02:
        l->id = v & 0xff000000;
        break;
    case 0x08:
        l->tpr = v & 0xff;
        tell(l);
        break;
    case 0x0b:
        end_of_interrupt(l);
        break;
    case 0x0d:
        l->ldr = v & 0xff000000;
        break;
    case 0x0e:
        l->dfr = v | 0x0fffffff;
        break;
    case 0x0f:
        write_svr(l, v);
        break;
    case 0x28: /* a write makes the errors since the last one readable */
        l->esr = l->errors;
        l->errors = 0;
        break;
    case 0x30:
        l->icr_low = v & 0xccfff;
        send_ipi(l);
        break;
    case 0x31:
        l->icr_high = v & 0xff000000;
        break;
    case 0x38:
        if (timer_mode(l) == TIMER_DEADLINE)
            break;
        l->timer_initial = v;
        l->timer_start = vclock_now(l->clock);
        l->timer_due = v != 0;
        l->timer_stopped = false;
        arm_timer(l);
        break;
    case 0x3e: {
        /* The count goes on from where it is, at the new pace. */
        uint32_t left = current_count(l), initial = l->timer_initial;
        l->timer_divide = v & 0xb;
        uint64_t gone = (uint64_t)(initial - left) * divisor(l), now = vclock_now(l->clock);
        l->timer_start = now > gone ? now - gone : 0;
        arm_timer(l);
        break;
    }
    case 0x03: /* read-only ones */
    case 0x09:
    case 0x0a:
    case 0x0c:
    case 0x39:
        break;
    default:
        local_error(l, ESR_REGISTER);
    }
}

unsigned lapic_cr8(const struct lapic *l)
{
    return l->tpr >> 4;
}

void lapic_set_cr8(struct lapic *l, unsigned v)
{
    l->tpr = (v & 15) << 4;
    tell(l);
}

static uint32_t mmio_read(void *dev, uint32_t off, unsigned size)
{
    return off & 15 ? 0 : lapic_read(dev, off);
}
static void mmio_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    if (!(off & 15))
        lapic_write(dev, off, val);
}
static const struct bus_ops lapic_ops = {mmio_read, mmio_write, 4, 4};

static void map(struct lapic *l)
{
    if (l->enabled && l->win.mapped && l->win.base == l->base)
        return;
    if (l->enabled)
        bus_map(l->bus, &l->win, true, l->base, 4096, &lapic_ops, l, l->instance);
    else
        bus_unmap(l->bus, &l->win);
}

/* ---- state */

static const struct field lapic_fields[] = {
    FIELD(struct lapic, id, F_U32),
    FIELD(struct lapic, ldr, F_U32),
    FIELD(struct lapic, dfr, F_U32),
    FIELD(struct lapic, svr, F_U32),
    FIELD(struct lapic, tpr, F_U32),
    FIELD(struct lapic, esr, F_U32),
    FIELD(struct lapic, errors, F_U32),
    FIELD(struct lapic, icr_low, F_U32),
    FIELD(struct lapic, icr_high, F_U32),
    FIELD_ARRAY(struct lapic, lvt, F_U32),
    FIELD_ARRAY(struct lapic, irr, F_U32),
    FIELD_ARRAY(struct lapic, isr, F_U32),
    FIELD_ARRAY(struct lapic, tmr, F_U32),
    FIELD(struct lapic, timer_initial, F_U32),
    FIELD(struct lapic, timer_divide, F_U32),
    FIELD(struct lapic, timer_start, F_U64),
    FIELD(struct lapic, deadline, F_U64),
    FIELD_SINCE(struct lapic, tsc_deadline, F_U64, 2),
    FIELD(struct lapic, timer_due, F_BOOL),
    FIELD(struct lapic, enabled, F_BOOL),
    FIELD_ARRAY(struct lapic, lint, F_BOOL),
    FIELD_SINCE(struct lapic, base, F_U64, 3),
    FIELD_SINCE(struct lapic, timer_stopped, F_BOOL, 3),
    FIELD_END,
};

static int lapic_loaded(void *dev, const char **why)
{
    struct lapic *l = dev;
    if ((l->irr[0] | l->isr[0]) & 0xffff) {
        *why = "an interrupt below vector 16";
        return -1;
    }
    if (l->timer_start >> 62 || (l->deadline != UINT64_MAX && l->deadline >> 62) || (l->timer_divide & ~0xbu) ||
        l->tpr > 0xff) {
        *why = "register out of range";
        return -1;
    }
    if (l->base & ~LAPIC_BASE_BITS) {
        *why = "registers at an address that is none";
        return -1;
    }
    l->enabled &= !l->absent;
    map(l);
    arm_timer(l);
    tell(l);
    return 0;
}

static const struct state_table lapic_table = {"lapic", 3, lapic_fields, lapic_loaded, NULL};

static void reset_registers(struct lapic *l)
{
    l->id = l->first_id;
    l->ldr = l->tpr = l->esr = l->errors = l->icr_low = l->icr_high = 0;
    l->dfr = UINT32_MAX;
    l->svr = 0xff;
    memset(l->irr, 0, sizeof l->irr);
    memset(l->isr, 0, sizeof l->isr);
    memset(l->tmr, 0, sizeof l->tmr);
    for (unsigned i = 0; i < LVT_COUNT; i++)
        l->lvt[i] = LVT_MASKED;
    l->timer_initial = l->timer_divide = 0;
    l->timer_start = 0;
    l->timer_due = l->timer_stopped = false;
    l->deadline = UINT64_MAX;
    l->tsc_deadline = 0;
    arm_timer(l);
}

void lapic_set_base(struct lapic *l, uint64_t msr)
{
    bool enable = msr & 0x800 && !l->absent;

    if (l->enabled && !enable) /* off and on again is a reset (SDM 11.4.3) */
        reset_registers(l);
    l->enabled = enable;
    l->base = msr & LAPIC_BASE_BITS;
    map(l);
    tell(l);
}

void lapic_reset(struct lapic *l)
{
    reset_registers(l);
    l->enabled = !l->absent;
    l->base = LAPIC_BASE;
    map(l);
    tell(l);
}

void lapic_init(struct lapic *l, struct devctx *c, const char *instance, uint8_t id, struct irq_line changed,
                struct irq_line nmi)
{
    memset(l, 0, sizeof *l);
    l->first_id = (uint32_t)id << 24;
    l->bus = c->bus;
    l->instance = instance;
    l->clock = c->clock;
    l->nmi = nmi;
    vtimer_init(c->clock, &l->timer, timer_fired, l);
    c->add_state(c, &l->state, instance, &lapic_table, l);
    lapic_reset(l); /* before there is a line to tell */
    l->changed = changed;
}
