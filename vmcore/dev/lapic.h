/* The local APIC of one processor (Intel SDM volume 3, chapter 11): priorities, EOI, IPIs, local vector table, timer.
 * The timer counts at 1 GHz before its divider, so that its ticks are the clock's nanoseconds. */
#ifndef VT_LAPIC_H
#define VT_LAPIC_H

#include "vmcore/dev/dev.h"

#define LAPIC_BASE      0xfee00000u
#define LAPIC_BASE_BITS 0x000ffffffffff000ull /* of the APIC base register: the address */
#define LAPIC_TIMER_HZ  1000000000u

enum lapic_mode { APIC_FIXED, APIC_LOWEST, APIC_SMI, APIC_NMI = 4, APIC_INIT, APIC_STARTUP, APIC_EXTINT };
enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

struct lapic {
    uint32_t id, ldr, dfr, svr, tpr;
    uint32_t esr, errors; /* as read; collected since the last write to ESR */
    uint32_t icr_low, icr_high;
    uint32_t lvt[LVT_COUNT];
    uint32_t irr[8], isr[8], tmr[8];
    uint32_t timer_initial, timer_divide;
    uint64_t timer_start;  /* virtual ns of the count's load */
    uint64_t deadline;     /* virtual ns of the TSC deadline, UINT64_MAX: none */
    uint64_t tsc_deadline; /* what was written for it, 0: none */
    bool timer_due;        /* one-shot: it has not fired since the load */
    bool timer_stopped;    /* periodic: it had come to 0 as one-shot, and waits for a count */
    bool enabled;          /* the APIC base register's enable bit, which the CPU hands in */
    uint64_t base;         /* and its address: where the registers are while it is set */
    bool lint[2];          /* input levels of LINT0 and LINT1 */
    struct vclock *clock;
    struct vtimer timer;
    struct irq_line changed;                   /* something that lapic_pending() looks at may have changed */
    struct irq_line nmi;                       /* pulsed */
    void (*eoi)(void *opaque, uint8_t vector); /* end of a level-triggered interrupt, towards the I/O APIC */
    void *eoi_opaque;
    uint64_t (*tsc_left)(void *opaque,
                         uint64_t tsc); /* ns until the counter reaches tsc, 0: it has; set by the owner */
    void *tsc_opaque;
    bool absent;       /* the processor has none: for good off, set by the owner before a reset */
    uint32_t first_id; /* after a reset */
    const char *instance;
    struct bus *bus;
    struct bus_window win;
    struct state_entry state;
};

void lapic_init(struct lapic *l, struct devctx *c, const char *instance, uint8_t id, struct irq_line changed,
                struct irq_line nmi);
void lapic_reset(struct lapic *l);
/* The CPU's APIC base register was written. Where there is RAM, it hides registers that are moved there. */
void lapic_set_base(struct lapic *l, uint64_t msr);

/* Registers by their offset, 0..FF0h, 32 bits. */
uint32_t lapic_read(struct lapic *l, uint32_t off);
void lapic_write(struct lapic *l, uint32_t off, uint32_t val);
/* The task priority as CR8 has it, 0..15. */
unsigned lapic_cr8(const struct lapic *l);
void lapic_set_cr8(struct lapic *l, unsigned v);
/* IA32_TSC_DEADLINE (SDM 11.5.4.1): 0 disarms. Ignored unless the LVT is in that mode. */
void lapic_set_deadline(struct lapic *l, uint64_t tsc);
/* The counter was written. */
void lapic_tsc_changed(struct lapic *l);

/* The vector that is to be delivered now, or -1. */
int lapic_pending(const struct lapic *l);
/* Delivers it: -1, or the vector, now in service. */
int lapic_ack(struct lapic *l);
/* Does LINT0 pass the 8259's request on to the processor (virtual wire, or APIC off)? */
bool lapic_is_for(const struct lapic *l, uint8_t dest, bool logical); /* is it among a message's destinations? */
void lapic_changed(struct lapic *l); /* what lies between the 8259s and the processor changed: INTR is looked at */
bool lapic_takes_extint(const struct lapic *l);
/* irq_line function: LINTn. */
void lapic_set_lint(void *lapic, unsigned n, int level);
/* A pulse at LINT1, where a PC's NMI is wired to; with the APIC off that is the processor's NMI pin. False: the guest
 * has it masked there. */
bool lapic_nmi_pin(struct lapic *l);
/* A message from the I/O APIC or an MSI. Returns false when it was not for this APIC. */
bool lapic_deliver(struct lapic *l, uint8_t dest, bool logical, unsigned mode, uint8_t vector, bool level);

#endif
