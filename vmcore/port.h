/* The seam between devices (vCPU thread) and host backends (other threads). Devices take no locks: requests and bytes
 * cross in lock-free queues; the host completes by posting a vm_event, which runs on the vCPU thread. */
#ifndef VT_PORT_H
#define VT_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- events: from any thread to the vCPU thread. The node belongs to the poster until fn runs. */
struct vm_event {
    struct vm_event *next;
    void (*fn)(struct vm_event *ev); /* on the vCPU thread, between blocks or while halted */
    void *opaque;
    uint32_t pending; /* atomic; kept by vm_post: posting a pending event is a no-op */
};
struct vm;
void vm_post(struct vm *vm, struct vm_event *ev); /* any thread; wakes a halted vCPU */

/* ---- kick: how the vCPU thread wakes a host thread (an eventfd, written by a raw system call) */
struct host_kick {
    int fd; /* -1: none */
};
void host_kick(const struct host_kick *k);

/* ---- a one-way byte queue, one producer thread, one consumer thread */
struct byteq {
    uint8_t *buf;
    uint32_t size; /* a power of two */
    uint32_t head; /* atomic; producer's */
    uint32_t tail; /* atomic; consumer's */
};
uint32_t byteq_space(const struct byteq *q);
uint32_t byteq_used(const struct byteq *q);
uint32_t byteq_put(struct byteq *q, const void *src, uint32_t len);  /* bytes taken, 0..len */
uint32_t byteq_peek(const struct byteq *q, void *dst, uint32_t len); /* bytes copied */
void byteq_drop(struct byteq *q, uint32_t len);

/* ---- character port: serial lines, virtio-console ports. The host side attaches to it; with nobody attached, output
 * is kept up to the queue's size, the oldest dropped by the host side's drain. */
struct chrport {
    const char *name;      /* "serial0", "org.qemu.guest_agent.0" */
    struct byteq to_host;  /* producer: vCPU thread */
    struct byteq to_guest; /* producer: host thread, which then posts rx_event */
    struct host_kick kick; /* told when to_host got bytes, when to_guest was drained, or guest_open changed */
    struct vm_event rx_event;
    uint32_t guest_open; /* atomic: virtio-console: the guest has the port open */
    uint32_t host_open;  /* atomic: set by the host side; the device tells the guest on rx_event */
    uint32_t generation; /* atomic: bumped by each restore; host sessions of older generations are over */
};
/* Queue sizes are powers of two, in bytes. Returns 0 or -1 (no memory). */
int chrport_init(struct chrport *p, const char *name, uint32_t to_host_size, uint32_t to_guest_size);
void chrport_release(struct chrport *p);

/* ---- input port: a keyboard's and a mouse's events on their way to the guest. The devices take them as the guest
 * reads, so that none is lost or doubled; what they have no room for yet waits here. */
enum {
    KEY_UP,
    KEY_DOWN, /* for a moment: it does not repeat, however long the guest leaves the release unread */
    KEY_HELD, /* by somebody, for as long as he likes: the keyboard repeats it. Where the host repeats it by itself,
               * too, each of those counts, and puts the keyboard's own off. */
};
struct input_key { /* a key went down or up */
    uint8_t code;  /* as in scan code set 1, with bit 7 set for those that follow E0h; C6h: Pause, B7h: Print Screen */
    uint8_t down;  /* KEY_UP, KEY_DOWN or KEY_HELD */
};
struct input_mouse {
    int16_t dx, dy, dz; /* right, down, wheel towards the user */
    uint16_t buttons;   /* that are down now: bit 0 left, 1 right, 2 middle, 3 and 4 the side ones */
};
struct inputport {
    struct byteq keys;     /* struct input_key each; producer: host thread, which then posts rx_event */
    struct byteq mouse;    /* struct input_mouse each */
    struct host_kick kick; /* told when keys were taken: at the latest when half of the queue, or all, is empty */
    struct vm_event rx_event;
    uint32_t withdraw; /* atomic: the host sets it, posts rx_event, and puts no keys until the device has dropped those
                        * that wait and set it to 0 */
};
int inputport_init(struct inputport *p); /* 0 or -1 (no memory) */
void inputport_release(struct inputport *p);

/* ---- network port: whole Ethernet frames, each as a 32-bit length before its bytes in a byteq */
struct netport {
    struct byteq to_host, to_guest;
    struct host_kick kick;
    struct vm_event rx_event;
};
int netport_init(struct netport *p, uint32_t size);
void netport_release(struct netport *p);
bool netq_put(struct byteq *q, const void *frame, uint32_t len); /* false: no room, the frame is dropped */
uint32_t netq_get(struct byteq *q, void *frame, uint32_t max);   /* 0: empty; a longer frame is cut */

/* ---- block port: the device fills a request (its own memory) and submits; a host worker does the I/O into buf, sets
 * result, and posts done. Order: a FLUSH completes after all writes that completed before it was submitted. */
enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZERO };
struct blk_req {
    struct blk_req *next;
    uint8_t op;
    uint64_t off; /* bytes */
    uint32_t len; /* bytes */
    uint8_t *buf;
    int result; /* 0 or negative */
    struct vm_event done;
};
struct blkport {
    uint64_t size; /* bytes */
    bool read_only;
    char serial[21];
    void (*submit)(void *opaque, struct blk_req *r); /* any thread context of the vCPU; general registers only */
    void *opaque;
};

/* ---- many producers, one consumer list of requests, for submit() implementations */
struct reqlist {
    struct blk_req *head; /* atomic LIFO */
};
void reqlist_push(struct reqlist *l, struct blk_req *r);
struct blk_req *reqlist_take_all(struct reqlist *l); /* oldest first */

#endif
