/* The helper's end of the virtio port: frames in and out, without ever waiting. */
#ifndef GUEST_PORT_H
#define GUEST_PORT_H

#include <stdbool.h>
#include <stdint.h>
#include "guest/wire.h"

enum { PORT_BUF = 4 * (EW_HEAD + EW_PAYLOAD + EW_TAIL) };

struct port {
    int fd;
    bool is_port; /* and not a test's socket */
    bool hung_up; /* nobody is on the other side for now */
    uint32_t in_len, out_len;
    uint8_t in[PORT_BUF], out[PORT_BUF];
};
struct frame {
    uint8_t type;
    uint32_t session, len;
    uint8_t *data; /* until the next call */
};

/* Finds the port by its name, or takes "fd:N" from the command line. A negative errno. */
int port_open(struct port *p, const char *word);
/* Takes what is there. False: the port is gone. */
bool port_read(struct port *p);
/* The next whole frame; false: there is none yet. `used` is the length of the frame before, 0 at first; at the end the
 * rest is kept. */
bool port_next(struct port *p, uint32_t *used, struct frame *ret);

/* How many payload bytes a frame can hold now; negative: none fits at all. */
int32_t port_room(const struct port *p);
uint8_t *port_payload(struct port *p); /* where the next frame's payload goes */
void port_send(struct port *p, uint8_t type, uint32_t session, uint32_t len);
void port_send_u32(struct port *p, uint8_t type, uint32_t session, uint32_t value);
bool port_flush(struct port *p); /* false: the port is gone */

#endif
