/* A 16550A serial port over a character port (National Semiconductor PC16550D data sheet). Bytes go out at once, unless
 * the port's queue is full: then THRE waits. Input is taken as the FIFO has room. Line speed is not modelled. */
#ifndef VT_UART_H
#define VT_UART_H

#include "vmcore/dev/dev.h"
#include "vmcore/port.h"

#define UART_FIFO 16

struct uart {
    uint8_t rx[UART_FIFO];
    uint8_t rx_head, rx_len;
    uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;
    uint16_t divisor;
    bool thre_pending;    /* the transmitter-empty interrupt condition */
    bool rx_timeout;      /* characters wait below the trigger level */
    struct chrport *port; /* NULL: nothing attached, output is dropped */
    struct irq_line out;
    struct vclock *clock;
    struct vtimer tx_retry;
    struct bus_window win;
    struct state_entry state;
};
/* port may be NULL. instance names the saved state ("uart0"). */
void uart_init(struct uart *u, struct devctx *c, const char *instance, uint16_t base, struct irq_line out,
               struct chrport *port);
void uart_reset(struct uart *u);

#endif
