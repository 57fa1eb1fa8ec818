/* The RTL8029AS: an NE2000 on PCI (National's DP8390D data sheet; Realtek's of the RTL8029AS) on a netport. Its 16 KiB
 * of packet memory lie at 4000h of the chip's own address space, the address PROM at 0.
 *
 * A frame that finds the ring full waits in the port, where a wire would lose it: only after OVERFLOW_NS is it lost and
 * the overflow told, since the guest then does not come for its frames. */
#ifndef VT_NE2000_H
#define VT_NE2000_H

#include "vmcore/dev/pci.h"
#include "vmcore/port.h"

#define NE_MEMORY    16384
#define NE_PROM      16
#define NE_FRAME_MAX 1518 /* without the CRC, with a VLAN tag */

struct ne2000 {
    struct pci_dev pci;
    struct netport *port;
    struct devctx *ctx;
    /* saved, by their names in the data sheet */
    uint8_t cr, isr, imr, rcr, tcr, dcr, tsr, rsr;
    uint8_t pstart, pstop, bnry, curr, tpsr;
    uint16_t tbcr, rsar, rbcr, clda;
    uint8_t par[6], mar[8], cntr[3], fifo[8], fifo_at;
    uint8_t cr9346, config3;
    bool started;     /* by STA, until STP */
    bool send_packet; /* the remote read under way is the send command's: it moves the boundary at its end */
    uint64_t overflow_due;
    uint8_t prom[NE_PROM], memory[NE_MEMORY];
    /* the next frame from the port, waiting for room; 0 bytes: none */
    uint32_t held;
    uint8_t frame[NE_FRAME_MAX + 1], sending[NE_FRAME_MAX];
    struct vtimer overflow;
    struct state_entry state;
    char names[2][16];
};

/* name ("ne2k0") names the saved state and is copied. port outlives the device, which takes its rx_event. Frames on
 * their way at a save are lost, as on a wire. */
void ne2000_init(struct ne2000 *d, struct devctx *c, struct pci_bus *bus, unsigned devfn, const char *name,
                 const uint8_t mac[6], struct netport *port);

#endif
