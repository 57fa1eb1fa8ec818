#include "tests/dev/board_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#define VT_RT_NO_RENAME
#include "src/base/util.h"
#include "vmcore/rt.h"

/* ---- what the machine gives devices */

bool dma_read(struct mem *m, uint64_t pa, void *dst, uint64_t len)
{
    if (pa > RIG_DMA || len > RIG_DMA - pa)
        return false;
    memcpy(dst, m->bytes + pa, len);
    return true;
}

bool dma_write(struct mem *m, uint64_t pa, const void *src, uint64_t len)
{
    if (pa > RIG_DMA || len > RIG_DMA - pa)
        return false;
    memcpy(m->bytes + pa, src, len);
    return true;
}

void dma_discard(struct mem *m, uint64_t pa, uint64_t len)
{
    if (pa <= RIG_DMA && len <= RIG_DMA - pa)
        memset(m->bytes + pa, 0, len);
}

uint32_t vram_pages(const struct mem *m)
{
    return RIG_VRAM >> 12;
}

const uint8_t *vram_read(struct mem *m, uint32_t page)
{
    assert_true(page < RIG_VRAM >> 12);
    return m->vram + ((size_t)page << 12);
}

uint8_t *vram_write(struct mem *m, uint32_t page, uint32_t off, uint32_t len)
{
    assert_true(page < RIG_VRAM >> 12 && off < 4096 && len <= 4096 - off);
    return m->vram + ((size_t)page << 12);
}

void vram_map(struct mem *m, enum vram_slot slot, uint64_t pa, uint32_t pages, uint32_t first)
{
    assert_true(slot <= VRAM_WINDOW && first <= RIG_VRAM >> 12 && pages <= (RIG_VRAM >> 12) - first);
    m->slot[slot].pa = pa;
    m->slot[slot].pages = pages;
    m->slot[slot].first = first;
}

void vm_post(struct vm *vm, struct vm_event *ev)
{
    if (ev->pending)
        return;
    ev->pending = 1;
    ev->next = NULL;
    *vm->last = ev;
    vm->last = &ev->next;
}

void rt_log(struct vm *vm, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(vm->log, sizeof vm->log, fmt, ap);
    va_end(ap);
}

void rig_events(struct rig *r)
{
    struct vm_event *ev = r->vm.first;
    r->vm.first = NULL;
    r->vm.last = &r->vm.first;
    while (ev) {
        struct vm_event *next = ev->next;
        ev->pending = 0;
        ev->fn(ev);
        ev = next;
    }
}

static void on_intr(void *opaque, unsigned n, int level)
{
    ((struct rig *)opaque)->intr = level;
}
static void on_nmi(void *opaque, unsigned n, int level)
{
    ((struct rig *)opaque)->nmis++;
}
static void on_a20(void *opaque, unsigned n, int level)
{
    ((struct rig *)opaque)->a20 = level;
}
static void on_reset(void *opaque)
{
    ((struct rig *)opaque)->resets++;
}
static void on_poweroff(void *opaque)
{
    ((struct rig *)opaque)->poweroffs++;
}
static void on_exit_port(void *opaque, uint32_t code)
{
    ((struct rig *)opaque)->exit_code = code;
}
static void add_state(struct devctx *c, struct state_entry *e, const char *instance, const struct state_table *t,
                      void *dev)
{
    state_add(&container_of(c, struct rig, ctx)->states, e, instance, t, dev);
}

/* ---- the rig */

void rig_rom(uint8_t image[RIG_ROM])
{
    static const uint8_t a[16] = {0, 0, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6};
    uint8_t *font = image + 0x7123;

    for (uint32_t i = 0; i < RIG_ROM; i++)
        image[i] = (uint8_t)(i * 167 + (i >> 8) + 1);
    memset(font, 0, 256 * 16);
    memcpy(font + 'A' * 16, a, sizeof a);
    memset(font + 0xc4 * 16 + 7, 0xff, 1); /* a line across */
    memset(font + 0xdb * 16, 0xff, 16);    /* a block */
}

static struct rig *make_rig(bool hpet, bool testdev)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->mem.bytes = calloc(1, RIG_DMA);
    assert_non_null(r->mem.bytes);
    /* of its own: an allocator that fills what is freed would fill all of it each time */
    r->mem.vram = mmap(NULL, RIG_VRAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    r->mem.rom = calloc(1, RIG_ROM);
    assert_true(r->mem.vram != MAP_FAILED && r->mem.rom);
    rig_rom(r->mem.rom);
    r->vm.last = &r->vm.first;
    bus_init(&r->bus);
    state_list_init(&r->states);
    r->ctx = (struct devctx){&r->bus, &r->clock, &r->mem, add_state, &r->vm};
    vclock_init(&r->clock, &r->ctx, RIG_WALL);
    assert_int_equal(chrport_init(&r->serial, "serial0", 64, 64), 0);
    assert_int_equal(inputport_init(&r->input), 0);

    struct vm_config config = {.ram_bytes = RIG_RAM,
                               .vga_bios = r->mem.rom,
                               .vga_bios_len = RIG_ROM,
                               .serial = {&r->serial, NULL},
                               .input = &r->input,
                               .hpet = hpet,
                               .testdev = testdev};
    struct board_hooks hooks = {
        .intr = {on_intr, r, 0},
        .nmi = {on_nmi, r, 0},
        .a20 = {on_a20, r, 0},
        .power = {on_reset, on_poweroff, on_exit_port, r},
    };
    assert_int_equal(board_init(&r->board, &r->ctx, &config, &hooks), 0);
    return r;
}

struct rig *rig_new(void)
{
    return make_rig(false, false);
}

struct rig *rig_new_hpet(void)
{
    return make_rig(true, false);
}

struct rig *rig_new_testdev(void)
{
    return make_rig(false, true);
}

void rig_free(struct rig *r)
{
    board_release(&r->board);
    chrport_release(&r->serial);
    inputport_release(&r->input);
    free(r->mem.bytes);
    munmap(r->mem.vram, RIG_VRAM);
    free(r->mem.rom);
    free(r);
}

void out8(struct rig *r, uint16_t port, uint8_t v)
{
    bus_io_write(&r->bus, port, v, 1);
}
void out32(struct rig *r, uint16_t port, uint32_t v)
{
    bus_io_write(&r->bus, port, v, 4);
}
uint8_t in8(struct rig *r, uint16_t port)
{
    return (uint8_t)bus_io_read(&r->bus, port, 1);
}
uint32_t in32(struct rig *r, uint16_t port)
{
    return bus_io_read(&r->bus, port, 4);
}

uint32_t cfg_read(struct rig *r, unsigned devfn, unsigned reg, unsigned size)
{
    out32(r, 0xcf8, 0x80000000u | devfn << 8 | (reg & 0xfc));
    return bus_io_read(&r->bus, (uint16_t)(0xcfc + (reg & 3)), size);
}
void cfg_write(struct rig *r, unsigned devfn, unsigned reg, uint32_t v, unsigned size)
{
    out32(r, 0xcf8, 0x80000000u | devfn << 8 | (reg & 0xfc));
    bus_io_write(&r->bus, (uint16_t)(0xcfc + (reg & 3)), v, size);
}

uint32_t apic(struct rig *r, uint32_t off)
{
    return (uint32_t)bus_mmio_read(&r->bus, LAPIC_BASE + off, 4);
}
void apic_set(struct rig *r, uint32_t off, uint32_t v)
{
    bus_mmio_write(&r->bus, LAPIC_BASE + off, v, 4);
}
void ioapic_entry(struct rig *r, unsigned pin, uint64_t v)
{
    for (unsigned half = 2; half-- > 0;) {
        bus_mmio_write(&r->bus, IOAPIC_BASE, 0x10 + 2 * pin + half, 4);
        bus_mmio_write(&r->bus, IOAPIC_BASE + 0x10, v >> 32 * half & 0xffffffff, 4);
    }
}
uint64_t ioapic_get(struct rig *r, unsigned pin)
{
    uint64_t v = 0;
    for (unsigned half = 0; half < 2; half++) {
        bus_mmio_write(&r->bus, IOAPIC_BASE, 0x10 + 2 * pin + half, 4);
        v |= bus_mmio_read(&r->bus, IOAPIC_BASE + 0x10, 4) << 32 * half;
    }
    return v;
}

void pic_setup(struct rig *r)
{
    static const uint8_t init[][2] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 0x04}, {0x21, 0x01}, {0xa0, 0x11},
                                      {0xa1, 0x28}, {0xa1, 0x02}, {0xa1, 0x01}, {0x21, 0x00}, {0xa1, 0x00}};
    for (unsigned i = 0; i < ARRAY_LEN(init); i++)
        out8(r, init[i][0], init[i][1]);
    apic_set(r, 0xf0, 0x1ff);
    apic_set(r, 0x350, 0x700);
}

int take_irq(struct rig *r)
{
    assert_int_equal(r->intr, 1);
    int v = board_ack_irq(&r->board);
    assert_int_equal(r->intr, board_intr(&r->board));
    return v;
}

/* ---- state */

struct rig *rig_reload(struct rig *r)
{
    uint8_t *a, *b;
    size_t alen, blen;
    char *diff;
    struct err e = {0};
    struct rig *fresh = make_rig(r->board.has_hpet, r->board.has_testdev);

    assert_int_equal(state_save(&r->states, &a, &alen, &e), 0);
    if (state_load(&fresh->states, a, alen, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(state_save(&fresh->states, &b, &blen, &e), 0);
    assert_int_equal(state_compare(a, alen, b, blen, &diff, &e), 0);
    assert_string_equal(diff, "");
    assert_int_equal(fresh->intr, r->intr);
    assert_int_equal(vclock_next_deadline(&fresh->clock), vclock_next_deadline(&r->clock));
    free(a);
    free(b);
    free(diff);
    rig_free(r);
    return fresh;
}

void rig_refuses(struct rig *r, const char *instance, const char *field, unsigned index, uint8_t value)
{
    uint8_t *data;
    size_t len;
    struct err e = {0};
    struct rig *fresh = make_rig(r->board.has_hpet, r->board.has_testdev);
    bool found = false;

    assert_int_equal(state_save(&r->states, &data, &len, &e), 0);
    for (struct state_entry *s = r->states.head; s; s = s->next) {
        if (strcmp(s->instance, instance))
            continue;
        /* The field's bytes follow "name type count" after the instance's name. */
        uint8_t *at = memmem(data, len, instance, strlen(instance));
        while (at && at[-1] != strlen(instance))
            at = memmem(at + 1, len - (size_t)(at + 1 - data), instance, strlen(instance));
        assert_non_null(at);
        for (at += strlen(instance); at < data + len; at++)
            if (at[0] == strlen(field) && !memcmp(at + 1, field, strlen(field))) {
                at[1 + strlen(field) + 5 + index] = value;
                found = true;
                break;
            }
    }
    assert_true(found);
    assert_int_equal(state_load(&fresh->states, data, len, &e), VT_CORRUPT);
    assert_non_null(strstr(e.msg, instance));
    free(data);
    rig_free(fresh);
}
