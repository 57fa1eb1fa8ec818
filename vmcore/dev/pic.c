#include "vmcore/dev/pic.h"

#include "vmcore/rt.h"

enum {
    ICW1_IC4 = 0x01,
    ICW1_SNGL = 0x02,
    ICW1_LTIM = 0x08,
    ICW1 = 0x10,
    ICW4_AEOI = 0x02,
    ICW4_SFNM = 0x10,
    OCW3 = 0x08,
    OCW3_RR_RIS = 0x03,
    OCW3_POLL = 0x04,
    OCW3_ESMM_SMM = 0x60,
};

static bool is_level(const struct pic_chip *c, unsigned n)
{
    return c->ltim || (c->elcr >> n & 1);
}

/* Distance from the highest priority, 0..7; 8 for none of the bits. */
static unsigned best(const struct pic_chip *c, uint8_t bits)
{
    unsigned rank = 0;
    if (!bits)
        return 8;
    while (!(bits >> ((c->lowest + 1 + rank) & 7) & 1))
        rank++;
    return rank;
}

/* The input that is to interrupt, or -1. */
static int pending_input(const struct pic_chip *c, bool master)
{
    unsigned rank = best(c, c->irr & ~c->imr);
    uint8_t in_service = c->isr;

    if (c->special_mask)
        in_service &= ~c->imr;
    /* Special fully nested: a slave in service lets further requests of that slave through, and of nobody else. */
    if (master && (c->icw4 & ICW4_SFNM) && ((c->lowest + 1 + rank) & 7) == 2)
        in_service &= ~(1u << 2);
    if (rank == 8 || rank >= best(c, in_service))
        return -1;
    return (int)((c->lowest + 1 + rank) & 7);
}

static void chip_line(struct pic_chip *c, bool master, unsigned n, int level)
{
    uint8_t bit = (uint8_t)(1u << n);

    if (level) {
        if (is_level(c, n) || !(c->lines & bit))
            c->irr |= bit;
        c->lines |= bit;
    } else {
        /* A level request goes away with the level. An edge stays latched until its acknowledge: the data sheet would
         * have it turn into a spurious input 7, which no driver wants. The cascade follows the slave's output. */
        if (is_level(c, n) || (master && n == 2))
            c->irr &= ~bit;
        c->lines &= ~bit;
    }
}

static void update(struct pic *p)
{
    chip_line(&p->chip[0], true, 2, pending_input(&p->chip[1], false) >= 0);
    irq_set(&p->out, pending_input(&p->chip[0], true) >= 0);
}

bool pic_pending(const struct pic *p)
{
    return pending_input(&p->chip[0], true) >= 0;
}

bool pic_in_service(const struct pic *p, unsigned n)
{
    return p->chip[n >> 3].isr >> (n & 7) & 1;
}

void pic_set_irq(void *pic, unsigned n, int level)
{
    struct pic *p = pic;
    if (n > 15 || n == 2)
        return;
    chip_line(&p->chip[n >> 3], n < 8, n & 7, level);
    update(p);
}

static void acknowledge(struct pic_chip *c, unsigned n)
{
    uint8_t bit = (uint8_t)(1u << n);
    if (c->icw4 & ICW4_AEOI) {
        if (c->rotate_on_aeoi)
            c->lowest = (uint8_t)n;
    } else {
        c->isr |= bit;
    }
    if (!is_level(c, n))
        c->irr &= ~bit;
}

uint8_t pic_ack(struct pic *p)
{
    struct pic_chip *m = &p->chip[0], *s = &p->chip[1];
    int n = pending_input(m, true);
    unsigned vector;

    if (n < 0)
        return m->base + 7;
    acknowledge(m, (unsigned)n);
    if (n == 2 && !m->single) {
        int k = pending_input(s, false);
        if (k >= 0)
            acknowledge(s, (unsigned)k);
        vector = s->base + (k >= 0 ? (unsigned)k : 7u);
    } else {
        vector = m->base + (unsigned)n;
    }
    update(p);
    return (uint8_t)vector;
}

static void end_of_interrupt(struct pic_chip *c, uint8_t ocw2)
{
    unsigned n = ocw2 & 7;
    bool specific = ocw2 & 0x40, rotate = ocw2 & 0x80, eoi = ocw2 & 0x20;

    if (!eoi) {
        if (specific && rotate)
            c->lowest = (uint8_t)n; /* set priority */
        else if (!specific)
            c->rotate_on_aeoi = rotate;
        return;
    }
    if (!specific) {
        uint8_t in_service = c->isr;
        if (c->special_mask)
            in_service &= ~c->imr;
        unsigned rank = best(c, in_service);
        if (rank == 8)
            return;
        n = (c->lowest + 1 + rank) & 7;
    }
    c->isr &= ~(1u << n);
    if (rotate)
        c->lowest = (uint8_t)n;
}

static void write_command(struct pic_chip *c, uint8_t v)
{
    if (v & ICW1) {
        /* Edge sense is reset: an input that is high has to fall and rise again. */
        c->irr = 0;
        c->isr = c->imr = 0;
        c->lowest = 7;
        c->read_isr = c->poll = c->special_mask = c->rotate_on_aeoi = false;
        c->ltim = v & ICW1_LTIM;
        c->single = v & ICW1_SNGL;
        c->need_icw4 = v & ICW1_IC4;
        if (!c->need_icw4)
            c->icw4 = 0;
        c->init = 2;
        for (unsigned n = 0; n < 8; n++)
            if (is_level(c, n))
                c->irr |= c->lines & (1u << n);
    } else if (v & OCW3) {
        if ((v & OCW3_ESMM_SMM) >= 0x40)
            c->special_mask = v & 0x20;
        if (v & 2)
            c->read_isr = v & 1;
        c->poll = v & OCW3_POLL;
    } else {
        end_of_interrupt(c, v);
    }
}

static void write_data(struct pic_chip *c, uint8_t v)
{
    switch (c->init) {
    case 2:
        c->base = v & 0xf8;
        c->init = c->single ? (c->need_icw4 ? 4 : 0) : 3;
        break;
    case 3:
        c->icw3 = v;
        c->init = c->need_icw4 ? 4 : 0;
        break;
    case 4:
        c->icw4 = v;
        c->init = 0;
        break;
    default:
        c->imr = v;
    }
}

static void pic_write(struct pic *p, unsigned which, uint32_t off, uint32_t v)
{
    struct pic_chip *c = &p->chip[which];
    if (off)
        write_data(c, (uint8_t)v);
    else
        write_command(c, (uint8_t)v);
    update(p);
}

static uint32_t pic_read(struct pic *p, unsigned which, uint32_t off)
{
    struct pic_chip *c = &p->chip[which];

    if (c->poll) {
        int n = pending_input(c, which == 0);
        c->poll = false;
        if (n < 0)
            return 0;
        acknowledge(c, (unsigned)n);
        update(p);
        return 0x80u | (unsigned)n;
    }
    if (off)
        return c->imr;
    return c->read_isr ? c->isr : c->irr;
}

static uint32_t master_read(void *dev, uint32_t off, unsigned size)
{
    return pic_read(dev, 0, off);
}
static void master_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    pic_write(dev, 0, off, val);
}
static uint32_t slave_read(void *dev, uint32_t off, unsigned size)
{
    return pic_read(dev, 1, off);
}
static void slave_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    pic_write(dev, 1, off, val);
}
static uint32_t elcr_read(void *dev, uint32_t off, unsigned size)
{
    return ((struct pic *)dev)->chip[off].elcr;
}
static void elcr_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct pic *p = dev;
    /* Inputs 0, 1, 2, 8 and 13 are always edge-triggered. */
    p->chip[off].elcr = (uint8_t)val & (off ? 0xde : 0xf8);
    update(p);
}

static const struct bus_ops master_ops = {master_read, master_write, 1, 1};
static const struct bus_ops slave_ops = {slave_read, slave_write, 1, 1};
static const struct bus_ops elcr_ops = {elcr_read, elcr_write, 1, 1};

#define CHIP_FIELDS(i, prefix)                                                              \
    {prefix "irr", offsetof(struct pic, chip[i].irr), 1, F_U8, 1},                          \
        {prefix "isr", offsetof(struct pic, chip[i].isr), 1, F_U8, 1},                      \
        {prefix "imr", offsetof(struct pic, chip[i].imr), 1, F_U8, 1},                      \
        {prefix "lines", offsetof(struct pic, chip[i].lines), 1, F_U8, 1},                  \
        {prefix "elcr", offsetof(struct pic, chip[i].elcr), 1, F_U8, 1},                    \
        {prefix "base", offsetof(struct pic, chip[i].base), 1, F_U8, 1},                    \
        {prefix "icw3", offsetof(struct pic, chip[i].icw3), 1, F_U8, 1},                    \
        {prefix "icw4", offsetof(struct pic, chip[i].icw4), 1, F_U8, 1},                    \
        {prefix "init", offsetof(struct pic, chip[i].init), 1, F_U8, 1},                    \
        {prefix "lowest", offsetof(struct pic, chip[i].lowest), 1, F_U8, 1},                \
        {prefix "need_icw4", offsetof(struct pic, chip[i].need_icw4), 1, F_BOOL, 1},        \
        {prefix "single", offsetof(struct pic, chip[i].single), 1, F_BOOL, 1},              \
        {prefix "ltim", offsetof(struct pic, chip[i].ltim), 1, F_BOOL, 1},                  \
        {prefix "read_isr", offsetof(struct pic, chip[i].read_isr), 1, F_BOOL, 1},          \
        {prefix "poll", offsetof(struct pic, chip[i].poll), 1, F_BOOL, 1},                  \
        {prefix "special_mask", offsetof(struct pic, chip[i].special_mask), 1, F_BOOL, 1},  \
    {                                                                                       \
        prefix "rotate_on_aeoi", offsetof(struct pic, chip[i].rotate_on_aeoi), 1, F_BOOL, 1 \
    }

static const struct field pic_fields[] = {CHIP_FIELDS(0, "master."), CHIP_FIELDS(1, "slave."), FIELD_END};

static int pic_loaded(void *dev, const char **why)
{
    struct pic *p = dev;
    for (unsigned i = 0; i < 2; i++) {
        const struct pic_chip *c = &p->chip[i];
        if (c->lowest > 7 || c->init == 1 || c->init > 4 || (c->base & 7)) {
            *why = "impossible controller state";
            return -1;
        }
    }
    update(p);
    return 0;
}

static const struct state_table pic_table = {"i8259", 1, pic_fields, pic_loaded, NULL};

void pic_reset(struct pic *p)
{
    for (unsigned i = 0; i < 2; i++) {
        uint8_t lines = p->chip[i].lines;
        p->chip[i] = (struct pic_chip){.lines = lines, .lowest = 7};
    }
    update(p);
}

void pic_init(struct pic *p, struct devctx *c, struct irq_line out)
{
    memset(p, 0, sizeof *p);
    p->out = out;
    p->chip[0].lowest = p->chip[1].lowest = 7;
    bus_map(c->bus, &p->win[0], false, 0x20, 2, &master_ops, p, "pic0");
    bus_map(c->bus, &p->win[1], false, 0xa0, 2, &slave_ops, p, "pic1");
    bus_map(c->bus, &p->elcr_win, false, 0x4d0, 2, &elcr_ops, p, "elcr");
    c->add_state(c, &p->state, "pic", &pic_table, p);
}
