/* Virtio console (virtio 1.1, section 5.3) with multiple ports. Port 0 is the guest's hvc0; further ports have names,
 * which the guest's udev shows as /dev/virtio-ports/NAME.
 *
 * Output with no room in to_host waits in the guest's buffer: the host side posts the port's rx_event also after it has
 * drained to_host. What is written to a named port that has host_open 0 is dropped. */
#ifndef VT_VIRTIO_CONSOLE_H
#define VT_VIRTIO_CONSOLE_H

#include "vmcore/dev/virtio.h"

#define CONSOLE_PORTS 9

struct virtio_console;
struct console_port {
    struct virtio_console *dev;
    struct chrport *chr; /* NULL: no such port */
    struct vq_chain tx;  /* the chain that is being written to the host, where tx_loaded */
    bool tx_loaded;
    /* saved */
    bool ready;      /* the driver knows the port */
    bool guest_open; /* a program has it open */
    bool told_open;  /* host_open as the driver was last told */
    uint8_t pending; /* control messages to send */
    bool tx_active;
    uint16_t tx_head;
    uint64_t tx_done; /* bytes of it that the host has */
};

struct virtio_console {
    struct virtio v;
    uint8_t config[12];
    unsigned nports;
    struct console_port port[CONSOLE_PORTS];
};

/* console: port 0, or NULL; ports: n named ones, at most 8, which become 1..n. The chrports outlive the device, which
 * takes their rx_event. name ("vcon0") names the saved state and is copied. A load bumps every port's generation and
 * drops what was not yet delivered to the guest. */
void virtio_console_init(struct virtio_console *d, struct devctx *c, struct pci_bus *bus, unsigned devfn,
                         const char *name, struct chrport *console, struct chrport *const *ports, unsigned n);

#endif
