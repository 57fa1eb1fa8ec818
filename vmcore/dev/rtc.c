#include "vmcore/dev/rtc.h"

#include "src/base/util.h"
#include "vmcore/clock.h"
#include "vmcore/rt.h"

enum {
    R_SEC = 0,
    R_SEC_ALARM,
    R_MIN,
    R_MIN_ALARM,
    R_HOUR,
    R_HOUR_ALARM,
    R_WDAY,
    R_DAY,
    R_MONTH,
    R_YEAR,
    R_A,
    R_B,
    R_C,
    R_D,
    R_CENTURY = 0x32, /* always BCD; the FADT names it */

    A_UIP = 0x80,
    A_DV_RESET = 0x60, /* both set: divider held in reset */
    B_SET = 0x80,
    B_PIE = 0x40,
    B_AIE = 0x20,
    B_UIE = 0x10,
    B_DM = 0x04, /* binary */
    B_24 = 0x02,
    C_IRQF = 0x80,
    C_PF = 0x40,
    C_AF = 0x20,
    C_UF = 0x10,
    D_VRT = 0x80,
};
#define UIP_NS 244000u /* UIP is up this long before an update */

struct time {
    int year;
    unsigned month, day, hour, min, sec, wday;
};

/* Days since 1970-01-01 of a date in the proleptic Gregorian calendar, by counting years from 1 March. */
static int64_t days_of(int64_t y, unsigned m, unsigned d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400, doy = (153 * (int64_t)(m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static struct time split(int64_t t)
{
    int64_t days = t / 86400, rest = t % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    struct time r = {
        .month = (unsigned)(mp < 10 ? mp + 3 : mp - 9),
        .day = (unsigned)(doy - (153 * mp + 2) / 5 + 1),
        .hour = (unsigned)(rest / 3600),
        .min = (unsigned)(rest / 60 % 60),
        .sec = (unsigned)(rest % 60),
        .wday = (unsigned)(((days + 4) % 7 + 7) % 7 + 1), /* 1: Sunday */
    };
    r.year = (int)(yoe + era * 400 + (r.month <= 2));
    return r;
}

static int64_t join(const struct time *t)
{
    return days_of(t->year, t->month, t->day) * 86400 + t->hour * 3600 + t->min * 60 + t->sec;
}

static uint8_t enc_bcd(unsigned v)
{
    return (uint8_t)(v / 10 % 10 << 4 | v % 10);
}
static unsigned dec_bcd(uint8_t v)
{
    return (v >> 4) * 10u + (v & 15);
}
static uint8_t enc(const struct rtc *r, unsigned v)
{
    return r->cmos[R_B] & B_DM ? (uint8_t)v : enc_bcd(v);
}
static unsigned dec(const struct rtc *r, uint8_t v)
{
    return r->cmos[R_B] & B_DM ? v : dec_bcd(v);
}
static uint8_t enc_hour(const struct rtc *r, unsigned h)
{
    if (r->cmos[R_B] & B_24)
        return enc(r, h);
    return enc(r, h % 12 ? h % 12 : 12) | (h >= 12 ? 0x80 : 0);
}
static unsigned dec_hour(const struct rtc *r, uint8_t v)
{
    if (r->cmos[R_B] & B_24)
        return dec(r, v);
    return dec(r, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

static bool stopped(const struct rtc *r)
{
    return (r->cmos[R_B] & B_SET) || (r->cmos[R_A] & A_DV_RESET) == A_DV_RESET;
}

static int64_t now_s(struct rtc *r)
{
    return vclock_wall(r->clock) + r->offset;
}

/* Time registers from the clock; they keep what they hold while updates are stopped. */
static void to_registers(struct rtc *r)
{
    if (stopped(r))
        return;
    struct time t = split(now_s(r));
    r->cmos[R_SEC] = enc(r, t.sec);
    r->cmos[R_MIN] = enc(r, t.min);
    r->cmos[R_HOUR] = enc_hour(r, t.hour);
    r->cmos[R_WDAY] = enc(r, t.wday);
    r->cmos[R_DAY] = enc(r, t.day);
    r->cmos[R_MONTH] = enc(r, t.month);
    r->cmos[R_YEAR] = enc(r, (unsigned)t.year % 100);
    r->cmos[R_CENTURY] = enc_bcd((unsigned)t.year / 100);
}

static unsigned within(unsigned v, unsigned lo, unsigned hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static void from_registers(struct rtc *r)
{
    struct time t = {
        .year = (int)(dec_bcd(r->cmos[R_CENTURY]) * 100 + within(dec(r, r->cmos[R_YEAR]), 0, 99)),
        .month = within(dec(r, r->cmos[R_MONTH]), 1, 12),
        .day = within(dec(r, r->cmos[R_DAY]), 1, 31),
        .hour = within(dec_hour(r, r->cmos[R_HOUR]), 0, 23),
        .min = within(dec(r, r->cmos[R_MIN]), 0, 59),
        .sec = within(dec(r, r->cmos[R_SEC]), 0, 59),
    };
    r->offset = join(&t) - vclock_wall(r->clock);
}

/* ---- interrupts */

/* The periodic interrupt's rate; false: off. */
static bool rate(const struct rtc *r, uint64_t *ret_hz)
{
    unsigned rs = r->cmos[R_A] & 15;
    if (!rs || (r->cmos[R_A] & 0x70) != 0x20)
        return false;
    if (rs < 3)
        rs += 7; /* with the 32,768 Hz base, 1 and 2 are 256 and 128 Hz */
    *ret_hz = 32768u >> (rs - 1);
    return true;
}

static void update_line(struct rtc *r)
{
    uint8_t on = r->cmos[R_C] & r->cmos[R_B] & (C_PF | C_AF | C_UF);
    if (on)
        r->cmos[R_C] |= C_IRQF;
    else
        r->cmos[R_C] &= (uint8_t)~C_IRQF;
    irq_set(&r->out, on != 0);
}

/* An alarm register against what its time register would hold; 11xxxxxx is any. */
static bool alarm_at(const struct rtc *r, unsigned reg, uint8_t shown)
{
    uint8_t a = r->cmos[reg];
    return (a & 0xc0) == 0xc0 || a == shown;
}

/* Did an update show the alarm in the last `seconds` seconds? A day has all times. */
static bool alarm_met(struct rtc *r, uint64_t seconds)
{
    unsigned now = (unsigned)(((now_s(r) % 86400) + 86400) % 86400);

    for (unsigned ago = 0; ago < seconds && ago < 86400; ago++) {
        unsigned t = (now + 86400 - ago) % 86400;
        if (alarm_at(r, R_SEC_ALARM, enc(r, t % 60)) && alarm_at(r, R_MIN_ALARM, enc(r, t / 60 % 60)) &&
            alarm_at(r, R_HOUR_ALARM, enc_hour(r, t / 3600)))
            return true;
    }
    return false;
}

/* Sets PF and UF for the boundaries that time crossed since the last look, and AF when an update shows the alarm. */
static void bring_up_to_date(struct rtc *r)
{
    uint64_t now = vclock_now(r->clock), then = r->flags_at, hz;

    r->flags_at = now;
    if (rate(r, &hz) && mul_div(now, hz, NS_PER_S) != mul_div(then, hz, NS_PER_S))
        r->cmos[R_C] |= C_PF;
    if (!stopped(r) && now / NS_PER_S != then / NS_PER_S) {
        r->cmos[R_C] |= C_UF;
        to_registers(r);
        if (alarm_met(r, now / NS_PER_S - then / NS_PER_S))
            r->cmos[R_C] |= C_AF;
    }
}

/* Timers run only for enabled interrupts; flags that are polled are found by bring_up_to_date. */
static void schedule(struct rtc *r)
{
    uint64_t now = vclock_now(r->clock), hz, at = UINT64_MAX;

    if ((r->cmos[R_B] & B_PIE) && rate(r, &hz)) {
        at = mul_div(mul_div(now, hz, NS_PER_S) + 1, NS_PER_S, hz);
        while (mul_div(at, hz, NS_PER_S) == mul_div(now, hz, NS_PER_S))
            at++; /* the division above rounds down */
    }
    vtimer_set(r->clock, &r->periodic, at);
    at = (r->cmos[R_B] & (B_AIE | B_UIE)) && !stopped(r) ? (now / NS_PER_S + 1) * NS_PER_S : UINT64_MAX;
    vtimer_set(r->clock, &r->update, at);
}

static void timer_fired(void *opaque)
{
    struct rtc *r = opaque;
    bring_up_to_date(r);
    update_line(r);
    schedule(r);
}

/* ---- registers */

static void write_reg(struct rtc *r, unsigned i, uint8_t v)
{
    switch (i) {
    case R_SEC:
    case R_MIN:
    case R_HOUR:
    case R_WDAY:
    case R_DAY:
    case R_MONTH:
    case R_YEAR:
    case R_CENTURY:
        to_registers(r);
        r->cmos[i] = v;
        if (!stopped(r))
            from_registers(r);
        break;
    case R_A:
    case R_B: {
        bring_up_to_date(r);
        bool was = stopped(r);
        if (!was)
            to_registers(r);
        if (i == R_A)
            r->cmos[R_A] = v & 0x7f;
        else
            r->cmos[R_B] = v & B_SET ? v & (uint8_t)~B_UIE : v; /* SET clears UIE */
        if (was && !stopped(r))
            from_registers(r);
        update_line(r);
        schedule(r);
        break;
    }
    case R_C:
    case R_D:
        break;
    default:
        r->cmos[i] = v;
    }
}

static uint8_t read_reg(struct rtc *r, unsigned i)
{
    uint8_t v;

    switch (i) {
    case R_SEC:
    case R_MIN:
    case R_HOUR:
    case R_WDAY:
    case R_DAY:
    case R_MONTH:
    case R_YEAR:
    case R_CENTURY:
        to_registers(r);
        return r->cmos[i];
    case R_A:
        v = r->cmos[R_A];
        if (!stopped(r) && vclock_now(r->clock) % NS_PER_S >= NS_PER_S - UIP_NS)
            v |= A_UIP;
        return v;
    case R_C:
        bring_up_to_date(r);
        update_line(r);
        v = r->cmos[R_C];
        r->cmos[R_C] = 0;
        update_line(r);
        return v;
    case R_D:
        return D_VRT;
    default:
        return r->cmos[i];
    }
}

static uint32_t rtc_read(void *dev, uint32_t off, unsigned size)
{
    struct rtc *r = dev;
    return off & 1 ? read_reg(r, r->index) : 0xff;
}

static void rtc_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct rtc *r = dev;
    if (off & 1)
        write_reg(r, r->index, (uint8_t)val);
    else
        r->index =
            val & 0x7f; /* bit 7, which masks NMI on a PC: BIOSes leave it set, and whoever injects one means it */
}

static const struct bus_ops rtc_ops = {rtc_read, rtc_write, 1, 1};

static const struct field rtc_fields[] = {
    FIELD(struct rtc, index, F_U8),
    FIELD_BYTES(struct rtc, cmos),
    FIELD(struct rtc, offset, F_U64),
    FIELD(struct rtc, flags_at, F_U64),
    FIELD_END,
};

static int rtc_loaded(void *dev, const char **why)
{
    struct rtc *r = dev;
    if (r->index > 127 || r->offset > INT64_MAX / 4 || r->offset < INT64_MIN / 4 || r->flags_at >> 62) {
        *why = "index or offset out of range";
        return -1;
    }
    update_line(r);
    schedule(r);
    return 0;
}

static const struct state_table rtc_table = {"mc146818", 1, rtc_fields, rtc_loaded, NULL};

void rtc_reset(struct rtc *r)
{
    r->cmos[R_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE);
    r->cmos[R_C] = 0;
    r->index = 0;
    update_line(r);
    schedule(r);
}

static void put16(struct rtc *r, unsigned i, uint64_t v)
{
    r->cmos[i] = (uint8_t)v;
    r->cmos[i + 1] = (uint8_t)(v >> 8);
}

#define LOW_RAM_MAX 0xc0000000u /* the rest lies from 4 GiB on: the firmware's part of CMOS says how much */

static void set_memory_size(struct rtc *r, uint64_t ram)
{
    uint64_t ext_kib;

    ram = MIN(ram, (uint64_t)LOW_RAM_MAX);
    ext_kib = ram > 1 << 20 ? (ram - (1 << 20)) >> 10 : 0;
    put16(r, 0x15, 640);
    put16(r, 0x17, ext_kib > 65535 ? 65535 : ext_kib);
    put16(r, 0x30, ext_kib > 65535 ? 65535 : ext_kib);
    put16(r, 0x34, ram > 16 << 20 ? (ram - (16 << 20)) >> 16 : 0);
}

static void set_checksum(struct rtc *r)
{
    unsigned sum = 0;

    for (unsigned i = 0x10; i < 0x2e; i++)
        sum += r->cmos[i];
    r->cmos[0x2e] = (uint8_t)(sum >> 8);
    r->cmos[0x2f] = (uint8_t)sum;
}

void rtc_preset(struct rtc *r, unsigned index, uint8_t v)
{
    r->cmos[index] = v;
    set_checksum(r);
}

void rtc_init(struct rtc *r, struct devctx *c, struct irq_line out, uint64_t ram_bytes)
{
    memset(r, 0, sizeof *r);
    r->clock = c->clock;
    r->out = out;
    vtimer_init(c->clock, &r->periodic, timer_fired, r);
    vtimer_init(c->clock, &r->update, timer_fired, r);
    r->cmos[R_A] = 0x26; /* 32,768 Hz base, 1,024 Hz periodic rate */
    r->cmos[R_B] = B_24;
    r->cmos[0x14] = 0x06; /* equipment: numeric coprocessor, pointing device */
    set_memory_size(r, ram_bytes);
    set_checksum(r);
    bus_map(c->bus, &r->win, false, 0x70, 2, &rtc_ops, r, "rtc");
    c->add_state(c, &r->state, "rtc", &rtc_table, r);
}
