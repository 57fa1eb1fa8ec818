/* The PC: every chip, wired. board_init() is one plain function, a block a chip.
 *
 * PCI slots: 0 host bridge, 1 south bridge (function 0 ISA, 1 IDE, 3 power management), 2 display, 3 entropy, 4
 * console, 5..12 disks, 16..19 network cards, 20 balloon. INTx pins reach I/O APIC inputs 16..19, and the 8259s where
 * the guest steers them to. ISA interrupts reach both (IRQ 0 at I/O APIC input 2). */
#ifndef VT_BOARD_H
#define VT_BOARD_H

#include "vmcore/dev/debugport.h"
#include "vmcore/dev/dma8237.h"
#include "vmcore/dev/floppy.h"
#include "vmcore/dev/fw_cfg.h"
#include "vmcore/dev/hpet.h"
#include "vmcore/dev/i440fx.h"
#include "vmcore/dev/i8042.h"
#include "vmcore/dev/ide.h"
#include "vmcore/dev/ioapic.h"
#include "vmcore/dev/lapic.h"
#include "vmcore/dev/ne2000.h"
#include "vmcore/dev/pci.h"
#include "vmcore/dev/pic.h"
#include "vmcore/dev/piix.h"
#include "vmcore/dev/pit.h"
#include "vmcore/dev/rtc.h"
#include "vmcore/dev/testdev.h"
#include "vmcore/dev/uart.h"
#include "vmcore/dev/vga.h"
#include "vmcore/dev/virtio_balloon.h"
#include "vmcore/dev/virtio_blk.h"
#include "vmcore/dev/virtio_console.h"
#include "vmcore/dev/virtio_net.h"
#include "vmcore/dev/virtio_rng.h"
#include "vmcore/vmcore.h"

/* What the board needs of the machine around it. */
struct board_hooks {
    struct irq_line intr;                            /* the processor's INTR: level; answered by board_ack_irq() */
    struct irq_line nmi;                             /* a pulse: called with level 1 */
    struct irq_line a20;                             /* level of the A20 gate; fn may be NULL */
    void (*pam)(void *opaque, const uint8_t pam[7]); /* what C0000h..FFFFFh is; may be NULL */
    void *pam_opaque;
    struct power_hooks power; /* called in the middle of an instruction's port access: note it, and act after */
};

struct board {
    struct board_hooks hooks;
    uint64_t ram_bytes, ram_saved;       /* the same; a load that changes the second is of another machine */
    uint16_t isa_levels, steered_levels; /* who pulls on the 8259 inputs */
    struct lapic lapic;
    struct ioapic ioapic;
    struct pic pic;
    struct pit pit;
    struct rtc rtc;
    struct hpet hpet; /* where has_hpet */
    bool has_hpet;
    struct i8042 i8042;
    struct uart uart[2];
    struct dma8237 dma;
    struct floppy floppy;
    struct debugport debugport;
    struct fw_cfg fw_cfg;
    struct pci_bus pci;
    struct i440fx i440fx;
    struct piix3 piix3;
    struct ide ide;
    struct piix4_pm pm;
    struct vga vga;
    struct vm_event power_button;
    unsigned ndisks, nnics;
    struct virtio_rng rng;
    struct virtio_console console;
    struct virtio_balloon balloon; /* where config has one */
    struct virtio_blk disk[VM_MAX_DISKS];
    struct virtio_net nic[VM_MAX_NICS]; /* or ne2k[] of the same index */
    struct ne2000 ne2k[VM_MAX_NICS];
    char names[VM_MAX_DISKS + VM_MAX_NICS][8];
    struct bus_window ferr;
    struct state_entry state;
    bool has_testdev;
    struct testdev testdev; /* where has_testdev; last, since few machines need its memory */
};

/* c's bus, clock and memory are ready; config's ports outlive the board. Returns 0, or -1: no memory (then the board is
 * released). */
int board_init(struct board *b, struct devctx *c, const struct vm_config *config, const struct board_hooks *hooks);
void board_release(struct board *b);
/* All chips as after power-on; the clock and CMOS memory go on. */
void board_reset(struct board *b);
/* What firmware would have set up before it starts an operating system: PCI addresses and interrupts, power
 * management's ports, ACPI mode, virtual wire. For direct boots, after board_reset(). */
void board_direct_boot(struct board *b);

/* Interrupt acknowledge: the vector, now in service, or -1 when the request has gone. */
int board_ack_irq(struct board *b);
/* Is INTR asserted? */
bool board_intr(const struct board *b);
/* The processor's FERR#: IRQ 13, until the guest writes to port F0h. */
void board_ferr(struct board *b);
/* Somebody outside pulls NMI. False: the guest's local APIC masks it. */
bool board_nmi(struct board *b);
/* [any thread] The power button is pressed: an operating system that listens shuts down in its own way. */
void board_power_button(struct board *b);

/* Where INTx lines go on the 8259s after board_direct_boot(), by PIRQ. */
#define BOARD_PIRQ_IRQS \
    {                   \
        10, 10, 11, 11  \
    }

#endif
