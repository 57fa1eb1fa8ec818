/* The south bridge: PIIX3 ISA bridge (interrupt routing, reset control), and the PIIX4's power management function with
 * its SMBus host (Intel 82371SB and 82371AB data sheets). */
#ifndef VT_PIIX_H
#define VT_PIIX_H

#include "vmcore/dev/pci.h"

/* What happens to the whole machine. */
struct power_hooks {
    void (*reset)(void *opaque);
    void (*poweroff)(void *opaque);
    void (*exit)(void *opaque, uint32_t code); /* the debug exit port was written */
    void *opaque;
};

struct piix3 {
    struct pci_dev pci;
    uint8_t reset_control;       /* port CF9h */
    struct irq_line pirq[4];     /* PIRQA..D as they are, for the I/O APIC */
    struct irq_line steered[16]; /* the 8259 inputs that registers 60h to 63h lead them to */
    uint16_t steered_levels;
    struct power_hooks power;
    struct bus_window reset_win;
    struct state_entry state;
};
/* Takes the bus's INTx pins. pirq: four lines; steered: sixteen, those for inputs that cannot be steered to unused. */
void piix3_init(struct piix3 *p, struct devctx *c, struct pci_bus *bus, unsigned slot, const struct irq_line pirq[4],
                const struct irq_line steered[16], const struct power_hooks *power);
void piix3_reset(struct piix3 *p);
/* After a load of all devices: drives every line anew. */
void piix3_resync(struct piix3 *p);

#define PIIX4_PM_BASE  0x600u
#define PIIX4_SMB_BASE 0x700u
#define PIIX4_SCI_IRQ  9u
#define PIIX4_PM_HZ    3579545u

struct piix4_pm {
    struct pci_dev pci;
    uint16_t pm_status, pm_enable, pm_control;
    uint16_t gpe_status, gpe_enable;
    uint64_t timer_seen;             /* PM timer ticks at the last look for an overflow */
    uint8_t apm_control, apm_status; /* ports B2h and B3h */
    uint8_t smb[16];
    struct vclock *clock;
    struct vtimer overflow;
    struct irq_line sci;
    struct power_hooks power;
    struct bus_window pm_win, smb_win, apm_win;
    struct state_entry state;
};
void piix4_pm_init(struct piix4_pm *p, struct devctx *c, struct pci_bus *bus, unsigned slot, struct irq_line sci,
                   const struct power_hooks *power);
/* The power button was pressed: an operating system that listens shuts down. */
void piix4_pm_power_button(struct piix4_pm *p);

#endif
