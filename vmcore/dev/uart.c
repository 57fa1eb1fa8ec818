#include "vmcore/dev/uart.h"

#include "vmcore/rt.h"

enum {
    IER_RDA = 1,
    IER_THRE = 2,
    IER_RLS = 4,
    IER_MS = 8,
    IIR_NONE = 1,
    IIR_RLS = 6,
    IIR_RDA = 4,
    IIR_TIMEOUT = 12,
    IIR_THRE = 2,
    IIR_MS = 0,
    FCR_ENABLE = 1,
    FCR_CLEAR_RX = 2,
    FCR_CLEAR_TX = 4,
    LCR_DLAB = 0x80,
    MCR_DTR = 1,
    MCR_RTS = 2,
    MCR_OUT1 = 4,
    MCR_OUT2 = 8,
    MCR_LOOP = 16,
    LSR_DR = 1,
    LSR_OE = 2,
    LSR_ERRORS = 0x1e, /* overrun, parity, framing, break */
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,
    MSR_DELTAS = 0x0f,
    MSR_TERI = 4,
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
};

static unsigned trigger(const struct uart *u)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

static unsigned pending(const struct uart *u)
{
    if ((u->ier & IER_RLS) && (u->lsr & LSR_ERRORS))
        return IIR_RLS;
    if ((u->ier & IER_RDA) && (u->lsr & LSR_DR)) {
        if (u->rx_len >= trigger(u))
            return IIR_RDA;
        if (u->rx_timeout)
            return IIR_TIMEOUT;
    }
    if ((u->ier & IER_THRE) && u->thre_pending)
        return IIR_THRE;
    if ((u->ier & IER_MS) && (u->msr & MSR_DELTAS))
        return IIR_MS;
    return IIR_NONE;
}

/* OUT2 gates the interrupt on a PC's serial card; in loopback the pin is off. */
static void update(struct uart *u)
{
    bool on = pending(u) != IIR_NONE && (u->mcr & MCR_OUT2) && !(u->mcr & MCR_LOOP);
    irq_set(&u->out, on);
}

static void receive(struct uart *u, uint8_t byte)
{
    unsigned cap = u->fcr & FCR_ENABLE ? UART_FIFO : 1;
    if (u->rx_len >= cap) {
        u->lsr |= LSR_OE;
        if (cap > 1)
            return; /* the FIFO keeps what it has; without it the newest wins */
        u->rx_len = 0;
    }
    u->rx[(u->rx_head + u->rx_len) % UART_FIFO] = byte;
    u->rx_len++;
    u->lsr |= LSR_DR;
}

/* Takes what the FIFO has room for: nothing overruns, the rest waits in the port. */
static void fill(struct uart *u)
{
    unsigned cap = u->fcr & FCR_ENABLE ? UART_FIFO : 1;
    uint8_t byte;
    bool any = false;

    if (!u->port || (u->mcr & MCR_LOOP))
        return;
    while (u->rx_len < cap && byteq_peek(&u->port->to_guest, &byte, 1)) {
        byteq_drop(&u->port->to_guest, 1);
        receive(u, byte);
        any = true;
    }
    if (any) {
        u->rx_timeout = true; /* no line speed: the four character times are over at once */
        host_kick(&u->port->kick);
    }
}

/* The transmitter waits for the host side to drain a full queue; nobody tells it, so it looks every millisecond. */
#define TX_RETRY_NS 1000000u

static void try_transmitter(struct uart *u)
{
    if (u->lsr & LSR_THRE)
        return;
    if (byteq_space(&u->port->to_host)) {
        u->lsr |= LSR_THRE | LSR_TEMT;
        u->thre_pending = true;
    } else {
        vtimer_set(u->clock, &u->tx_retry, vclock_now(u->clock) + TX_RETRY_NS);
    }
}

static void tx_retry(void *opaque)
{
    struct uart *u = opaque;
    try_transmitter(u);
    update(u);
}

static void port_event(struct vm_event *ev)
{
    struct uart *u = ev->opaque;
    fill(u);
    try_transmitter(u);
    update(u);
}

static uint8_t modem_inputs(const struct uart *u)
{
    if (!(u->mcr & MCR_LOOP))
        return u->port ? MSR_CTS | MSR_DSR | MSR_DCD : 0;
    return (uint8_t)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                     (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void update_modem(struct uart *u)
{
    uint8_t old = u->msr & 0xf0, now = modem_inputs(u);
    uint8_t delta = (uint8_t)((old ^ now) >> 4);
    if (!(old & MSR_RI) || (now & MSR_RI))
        delta &= (uint8_t)~MSR_TERI; /* ring: its trailing edge only */
    u->msr = (uint8_t)(now | (u->msr & MSR_DELTAS) | delta);
}

static void transmit(struct uart *u, uint8_t byte)
{
    u->thre_pending = false;
    if (u->mcr & MCR_LOOP) {
        receive(u, byte);
        u->rx_timeout = true;
    } else if (u->port) {
        byteq_put(&u->port->to_host, &byte, 1);
        /* A kick is a system call: only where the reader may be asleep, which is when this byte is alone. */
        if (byteq_used(&u->port->to_host) <= 1)
            host_kick(&u->port->kick);
        if (!byteq_space(&u->port->to_host) && __atomic_load_n(&u->port->host_open, __ATOMIC_ACQUIRE)) {
            u->lsr &= (uint8_t) ~(LSR_THRE | LSR_TEMT);
            host_kick(&u->port->kick);
            try_transmitter(u);
            return;
        }
    }
    u->lsr |= LSR_THRE | LSR_TEMT;
    u->thre_pending = true;
}

static uint8_t read_rx(struct uart *u)
{
    uint8_t byte = u->rx[u->rx_head];
    if (u->rx_len) {
        u->rx_head = (u->rx_head + 1) % UART_FIFO;
        u->rx_len--;
    }
    fill(u);
    if (!u->rx_len) {
        u->lsr &= (uint8_t)~LSR_DR;
        u->rx_timeout = false;
    }
    return byte;
}

static void clear_rx(struct uart *u)
{
    u->rx_head = u->rx_len = 0;
    u->rx_timeout = false;
    u->lsr &= (uint8_t)~LSR_DR;
}

static uint32_t uart_read(void *dev, uint32_t off, unsigned size)
{
    struct uart *u = dev;
    uint8_t v;

    switch (off) {
    case 0:
        if (u->lcr & LCR_DLAB)
            return u->divisor & 0xff;
        v = read_rx(u);
        break;
    case 1:
        return u->lcr & LCR_DLAB ? u->divisor >> 8 : u->ier;
    case 2:
        v = (uint8_t)pending(u);
        if (v == IIR_THRE)
            u->thre_pending = false;
        v |= u->fcr & FCR_ENABLE ? 0xc0 : 0;
        break;
    case 3:
        return u->lcr;
    case 4:
        return u->mcr;
    case 5:
        v = u->lsr;
        u->lsr &= (uint8_t)~LSR_ERRORS;
        break;
    case 6:
        v = u->msr;
        u->msr &= (uint8_t)~MSR_DELTAS;
        break;
    default:
        return u->scr;
    }
    update(u);
    return v;
}

static void write_fcr(struct uart *u, uint8_t v)
{
    if ((v ^ u->fcr) & FCR_ENABLE)
        clear_rx(u); /* changing the mode empties the FIFOs */
    if (!(v & FCR_ENABLE)) {
        u->fcr = 0;
        return;
    }
    if (v & FCR_CLEAR_RX)
        clear_rx(u);
    u->fcr = v & 0xc9;
    fill(u);
}

static void uart_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct uart *u = dev;
    uint8_t v = (uint8_t)val, old;

    switch (off) {
    case 0:
        if (u->lcr & LCR_DLAB)
            u->divisor = (uint16_t)((u->divisor & 0xff00) | v);
        else
            transmit(u, v);
        break;
    case 1:
        if (u->lcr & LCR_DLAB) {
            u->divisor = (uint16_t)((u->divisor & 0xff) | v << 8);
            break;
        }
        old = u->ier;
        u->ier = v & 15;
        /* Enabling the interrupt while the transmitter is empty raises it: drivers start their output so. */
        if ((v & ~old & IER_THRE) && (u->lsr & LSR_THRE))
            u->thre_pending = true;
        break;
    case 2:
        write_fcr(u, v);
        break;
    case 3:
        u->lcr = v;
        break;
    case 4:
        u->mcr = v & 0x1f;
        update_modem(u);
        fill(u);
        break;
    case 7:
        u->scr = v;
        break;
    default: /* LSR and MSR: factory test */
        break;
    }
    update(u);
}

static const struct bus_ops uart_ops = {uart_read, uart_write, 1, 1};

static const struct field uart_fields[] = {
    FIELD_BYTES(struct uart, rx),           FIELD(struct uart, rx_head, F_U8),
    FIELD(struct uart, rx_len, F_U8),       FIELD(struct uart, ier, F_U8),
    FIELD(struct uart, fcr, F_U8),          FIELD(struct uart, lcr, F_U8),
    FIELD(struct uart, mcr, F_U8),          FIELD(struct uart, lsr, F_U8),
    FIELD(struct uart, msr, F_U8),          FIELD(struct uart, scr, F_U8),
    FIELD(struct uart, divisor, F_U16),     FIELD(struct uart, thre_pending, F_BOOL),
    FIELD(struct uart, rx_timeout, F_BOOL), FIELD_END,
};

static int uart_loaded(void *dev, const char **why)
{
    struct uart *u = dev;
    if (u->rx_head >= UART_FIFO || u->rx_len > UART_FIFO || u->ier > 15 || u->mcr > 31) {
        *why = "register or queue position out of range";
        return -1;
    }
    if (!(u->lsr & LSR_THRE)) { /* what it waited for was the old session's queue */
        vtimer_set(u->clock, &u->tx_retry, UINT64_MAX);
        u->lsr |= LSR_THRE | LSR_TEMT;
        u->thre_pending = true;
    }
    fill(u);
    update_modem(u);
    update(u);
    return 0;
}

static const struct state_table uart_table = {"16550a", 1, uart_fields, uart_loaded, NULL};

void uart_reset(struct uart *u)
{
    clear_rx(u);
    vtimer_set(u->clock, &u->tx_retry, UINT64_MAX);
    u->ier = u->fcr = u->lcr = u->mcr = u->scr = 0;
    u->lsr = LSR_THRE | LSR_TEMT;
    u->msr = modem_inputs(u);
    u->divisor = 12; /* 9600 baud */
    u->thre_pending = false;
    update(u);
}

void uart_init(struct uart *u, struct devctx *c, const char *instance, uint16_t base, struct irq_line out,
               struct chrport *port)
{
    memset(u, 0, sizeof *u);
    u->port = port;
    u->out = out;
    u->clock = c->clock;
    vtimer_init(c->clock, &u->tx_retry, tx_retry, u);
    if (port) {
        port->rx_event.fn = port_event;
        port->rx_event.opaque = u;
    }
    bus_map(c->bus, &u->win, false, base, 8, &uart_ops, u, instance);
    c->add_state(c, &u->state, instance, &uart_table, u);
    uart_reset(u);
}
