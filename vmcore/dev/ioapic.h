/* The I/O APIC (Intel 82093AA data sheet; the EOI register of version 20h): 24 inputs. Polarity is not looked at: an
 * input's level here is whether it is asserted. */
#ifndef VT_IOAPIC_H
#define VT_IOAPIC_H

#include "vmcore/dev/lapic.h"

#define IOAPIC_BASE 0xfec00000u
#define IOAPIC_PINS 24

struct ioapic {
    uint32_t id;
    uint8_t select;
    uint32_t lines; /* input levels */
    uint64_t entry[IOAPIC_PINS];
    struct lapic *lapic;
    struct bus_window win;
    struct state_entry state;
};
void ioapic_init(struct ioapic *a, struct devctx *c, struct lapic *lapic);
void ioapic_reset(struct ioapic *a);
/* irq_line function: input n. */
/* Does an interrupt of the 8259s, whose output is input IOAPIC_PIC_PIN, reach the processor through here? */
#define IOAPIC_PIC_PIN 0
bool ioapic_takes_extint(const struct ioapic *a);
void ioapic_set_irq(void *ioapic, unsigned n, int level);

#endif
