/* The MC146818 real-time clock with 128 bytes of CMOS RAM (Motorola data sheet). The time is the machine's wall clock
 * plus an offset that writes to the time registers set; nothing is stepped once a second but the interrupts. */
#ifndef VT_RTC_H
#define VT_RTC_H

#include "vmcore/dev/dev.h"

struct rtc {
    uint8_t index;
    uint8_t cmos[128]; /* register C's flags included; the time registers hold what was written while stopped (SET) */
    int64_t offset;    /* seconds to add to the wall clock */
    uint64_t flags_at; /* virtual ns up to which register C's PF and UF were brought up to date */
    struct vclock *clock;
    struct vtimer periodic, update;
    struct irq_line out;
    struct bus_window win;
    struct state_entry state;
};
/* ram_bytes: all of RAM, low and high, for the memory size bytes that firmware and old systems read. */
void rtc_init(struct rtc *r, struct devctx *c, struct irq_line out, uint64_t ram_bytes);
void rtc_reset(struct rtc *r);
/* Sets a byte of CMOS memory (index 0Eh and up) before the machine runs, and makes its checksum right. */
void rtc_preset(struct rtc *r, unsigned index, uint8_t v);

#endif
