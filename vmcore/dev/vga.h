/* The display adapter: an IBM VGA with the Bochs display interface, as PCI device 1234:1111 (BAR 0: 16 MiB of video
 * RAM, BAR 2: the same registers as memory, and the expansion ROM with the VGA BIOS).
 *
 * Video RAM is backing pages of the machine's. The frame buffer, and the window at A0000h where a mode makes it plain
 * memory, are mapped for the guest at full speed; planes and text go through the bus, byte by byte. */
#ifndef VT_VGA_H
#define VT_VGA_H

#include "vmcore/dev/pci.h"
#include "vmcore/display.h"

struct vga {
    struct pci_dev pci; /* first: its hooks come back to us by it */
    struct vga_regs regs;
    struct mem *mem;
    struct vclock *clock;
    const uint8_t *rom; /* the VGA BIOS, the machine's; NULL: none */
    uint32_t rom_len, rom_size;
    struct bus_window io_win, dispi_win, mem_win, rom_win;
    uint32_t plain; /* accesses to the window since it became plain memory; not state */
    bool window_mapped;
    struct state_entry state;
};

/* rom (may be NULL) outlives the device: len bytes, at most 64 KiB count. */
void vga_init(struct vga *v, struct devctx *c, struct pci_bus *bus, unsigned slot, const void *rom, uint32_t len);
void vga_reset(struct vga *v);
/* What the VGA BIOS would have set up: text mode 3, its font (as the BIOS image has it) and colours, a clear screen. */
void vga_direct_boot(struct vga *v);

/* ---- between the files of the device */
/* Ports 3B0h..3DFh. */
uint8_t vga_port_read(struct vga *v, unsigned port);
void vga_port_write(struct vga *v, unsigned port, uint8_t val);
/* dispi registers by index. */
uint16_t vga_dispi_read(const struct vga *v, unsigned index);
void vga_dispi_write(struct vga *v, unsigned index, uint16_t val);
/* NULL, or what is wrong with loaded dispi registers. */
const char *vga_dispi_check(const struct vga *v);
/* Accesses to the window at A0000h..BFFFFh, off from A0000h. */
uint8_t vga_mem_read(struct vga *v, uint32_t off);
void vga_mem_write(struct vga *v, uint32_t off, uint8_t val);
/* What is at the start of BAR 2. */
#define VGA_EDID_LEN 128
extern const uint8_t vga_edid[VGA_EDID_LEN];
/* A register changed that may change what the window is. */
void vga_window_changed(struct vga *v);

#endif
