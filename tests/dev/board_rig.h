/* A whole board for device tests: ports and memory windows are accessed as a processor would, the clock is driven by
 * the test, and interrupts are counted. No CPU, no threads. */
#ifndef VT_BOARD_RIG_H
#define VT_BOARD_RIG_H

#include "vmcore/board.h"
#include "vmcore/bus.h"
#include "vmcore/clock.h"
#include "vmcore/state.h"

#define RIG_RAM  (16u << 20) /* what the board is told */
#define RIG_DMA  (64u << 10) /* what is there */
#define RIG_VRAM (16u << 20)
#define RIG_ROM  39936u     /* bytes of VGA BIOS: no power of two */
#define RIG_WALL 1700000000 /* 2023-11-14 22:13:20 UTC, a Tuesday */
#define MS       1000000ull

struct mem {
    uint8_t *bytes;
    uint8_t *vram;
    uint8_t *rom;
    struct {
        uint64_t pa;
        uint32_t pages, first;
    } slot[2]; /* what vram_map was told, by enum vram_slot */
};
struct vm {
    struct vm_event *first, **last;
    char log[256]; /* the last line */
};
struct rig {
    struct mem mem;
    struct vm vm;
    struct bus bus;
    struct vclock clock;
    struct state_list states;
    struct devctx ctx;
    struct board board;
    struct chrport serial;
    struct inputport input;
    int intr, a20; /* levels */
    unsigned nmis, resets, poweroffs;
    uint32_t exit_code;
};

struct rig *rig_new(void);
struct rig *rig_new_hpet(void);    /* with high precision event timers */
struct rig *rig_new_testdev(void); /* with the ports of test kernels */
void rig_free(struct rig *r);
void rig_events(struct rig *r);
/* What the rig's display has for a BIOS: noise, with an 8x16 font of few letters in it. */
void rig_rom(uint8_t image[RIG_ROM]);

void out8(struct rig *r, uint16_t port, uint8_t v);
void out32(struct rig *r, uint16_t port, uint32_t v);
uint8_t in8(struct rig *r, uint16_t port);
uint32_t in32(struct rig *r, uint16_t port);
uint32_t cfg_read(struct rig *r, unsigned devfn, unsigned reg, unsigned size);
void cfg_write(struct rig *r, unsigned devfn, unsigned reg, uint32_t v, unsigned size);
uint32_t apic(struct rig *r, uint32_t off);
void apic_set(struct rig *r, uint32_t off, uint32_t v);
void ioapic_entry(struct rig *r, unsigned pin, uint64_t v);
uint64_t ioapic_get(struct rig *r, unsigned pin);

/* The 8259s at vectors 20h and 28h, all unmasked, through LINT0. */
void pic_setup(struct rig *r);
/* The vector that the processor gets; asserts that INTR is up. */
int take_irq(struct rig *r);

/* Saves, loads into a fresh board, asserts that the two then save the same, and returns the fresh one in place of r. */
struct rig *rig_reload(struct rig *r);
/* Loads r's state with one field changed into a fresh board, and asserts that it is refused as corrupt. */
void rig_refuses(struct rig *r, const char *instance, const char *field, unsigned index, uint8_t value);

#endif
