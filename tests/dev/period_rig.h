/* A machine for the tests of DMA, floppy and NE2000: ports, memory, a clock that the test drives, disks whose requests
 * the test lets through, frames in a port. No CPU and no threads. */
#ifndef VT_PERIOD_RIG_H
#define VT_PERIOD_RIG_H

#include "vmcore/bus.h"
#include "vmcore/clock.h"
#include "vmcore/dev/dma8237.h"
#include "vmcore/dev/floppy.h"
#include "vmcore/dev/ne2000.h"
#include "vmcore/state.h"

#define RIG_RAM (1u << 20)
#define US      1000ull
#define MS      1000000ull

struct mem {
    uint8_t *bytes; /* an allocation of its own, so that a sanitizer sees a step outside */
};
struct vm {
    struct vm_event *first, **last;
};
/* A floppy's image. Requests wait until rig_serve(). */
struct rig_disk {
    uint8_t *bytes;
    uint32_t size;
    bool read_only;
    struct blk_req *waiting;
    unsigned reads, writes, flushes;
    int result; /* of what is served from now on */
};
struct rig {
    struct mem mem;
    struct vm vm;
    struct bus bus;
    struct vclock clock;
    struct state_list states;
    struct devctx ctx;
    struct pci_bus pci;
    struct dma8237 dma;
    struct floppy floppy;
    struct ne2000 ne;
    struct netport net;
    struct rig_disk disk[FLOPPY_DRIVES];
    int irq;         /* the floppy's line */
    unsigned irq_up; /* its rising edges */
};

/* sizes[i]: bytes of the medium in drive i; 0: none in it; UINT32_MAX: no drive. */
struct rig *rig_new(const uint32_t sizes[FLOPPY_DRIVES]);
void rig_free(struct rig *r);
void rig_events(struct rig *r);
/* Completes what the disks were asked; how many requests that were. Their events run. */
unsigned rig_serve(struct rig *r);
/* Lets time pass and requests complete until nothing is left to do, but for timers further than 10 ms away. */
void rig_settle(struct rig *r);
void rig_out(struct rig *r, uint16_t port, uint8_t v);
uint8_t rig_in(struct rig *r, uint16_t port);
/* Saves, loads into a fresh machine with the same disks and memory, asserts that it saves the same, and returns it in
 * place of r. A request in flight is lost on the way. */
struct rig *rig_reload(struct rig *r);
/* Loads r's state with one byte of a field changed, and asserts that it is refused. */
void rig_refuses(struct rig *r, const char *instance, const char *field, unsigned index, uint8_t value);
/* Loads r's state with one byte of it changed (at an index that wraps) into a machine that shares r's disks and memory,
 * and lets that one go on for a while if it is taken; false: refused. Another machine's index, a time, a register: any
 * byte may be wrong, and none may lead outside of an array. */
bool rig_survives(struct rig *r, size_t index, uint8_t flip);
/* A random number; the sequence depends on the seed alone. */
uint32_t rig_random(uint64_t *seed);

#endif
