/* A guest that writes anything anywhere: seeded port accesses, completions in between, states moved and spoilt. What
 * must hold is checked after each step; a sanitizer sees what reaches outside. IDE_FUZZ_STEPS and IDE_FUZZ_SEED ask for
 * a longer or another run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "src/base/util.h"
#include "tests/dev/ide_rig.h"

static const struct ide_rig_drive drives[IDE_DRIVES] = {
    {IDE_DISK, 1000, false}, {IDE_CD, 400, true}, {IDE_CD, 800, true}, {IDE_DISK, 600, true}};

static uint64_t next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static uint64_t setting(const char *name, uint64_t standard)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : standard;
}

/* Commands and packets that do something, so that most steps are not refused. */
static uint8_t likely_command(uint64_t r)
{
    static const uint8_t commands[] = {0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x40,
                                       0x90, 0x91, 0xa0, 0xa0, 0xa0, 0xa1, 0xc4, 0xc5, 0xc6,
                                       0xc8, 0xca, 0xe5, 0xe7, 0xec, 0xef, 0x08, 0xf8, 0x70};
    return r & 0x300 ? commands[(r >> 16) % ARRAY_LEN(commands)] : (uint8_t)(r >> 16);
}

static uint8_t likely_opcode(uint64_t r)
{
    static const uint8_t opcodes[] = {0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x28, 0x43,
                                      0x46, 0x4a, 0x51, 0x52, 0x5a, 0xa8, 0xbd, 0xbe, 0x2b};
    return opcodes[r % ARRAY_LEN(opcodes)];
}

static void check(struct ide_rig *t)
{
    for (unsigned n = 0; n < 2; n++) {
        const struct ide_channel *ch = &t->ide.ch[n];
        const struct ide_xfer *x = &ch->x;
        const struct ide_drive *d = &ch->drive[ch->select];

        assert_true(ch->select < 2 && x->phase < IDE_PHASES);
        if (x->phase == IDE_PACKET)
            assert_true(x->pos < 12);
        else if (x->phase == IDE_PIO_IN || x->phase == IDE_PIO_OUT)
            assert_true(x->pos < x->end && x->end <= x->len);
        assert_true(x->len <= IDE_PIECE);
        assert_true(x->unit >= 2 && x->unit <= IDE_BLOCK);
        assert_true(x->phase == IDE_IDLE || d->kind != IDE_NONE);
        /* busy means that somebody will go on: the worker, a pending event, or the guest */
        if (x->phase == IDE_COMMAND || x->phase == IDE_FETCH || x->phase == IDE_STORE || x->phase == IDE_FLUSH)
            assert_true(ch->lent || ch->resume.pending);
        assert_int_equal(ch->line, t->irq[n]);
        assert_int_equal(ch->line, d->intrq && !(ch->control & 2));
    }
}

static void table(struct ide_rig *t, uint64_t *seed)
{
    uint64_t r = next(seed);
    uint32_t at = 0x1000 + (uint32_t)(r & 0xff0);

    for (unsigned i = 0; i < 4; i++) {
        r = next(seed);
        put_le32(rig_at(&t->r, at + 8 * i), (uint32_t)(r & 0x3f ? r >> 8 & 0x3ffffe : r >> 32));
        put_le32(rig_at(&t->r, at + 8 * i + 4), (uint32_t)(r >> 40 & 0xffff) | (i == 3 || r >> 62 == 0 ? 1u << 31 : 0));
    }
    wr32(t, MASTER + (r & 8) + 4, r >> 20 & 0x1f ? at : (uint32_t)(r >> 32));
}

static void port_step(struct ide_rig *t, uint64_t *seed)
{
    uint64_t r = next(seed);
    unsigned base = r & 1 ? SEC : PRI, off = r >> 1 & 7;
    struct ide_channel *ch = &t->ide.ch[base == SEC];

    switch (r >> 4 & 15) {
    case 0:
    case 1:
        if (r >> 10 & 3)
            ide_command(t, base, (uint8_t)(0xa0 | (r >> 12 & 0x50)), (uint32_t)(r >> 24) & 0x3ff, (uint8_t)(r >> 60),
                        likely_command(next(seed)));
        else
            wr(t, base + off, (uint8_t)(r >> 16));
        break;
    case 2:
        wr(t, base + 7, likely_command(r));
        break;
    case 3:
        for (unsigned i = 0; i < (r >> 16 & 0x1ff); i++)
            rd16(t, base);
        break;
    case 4:
        if (ch->x.phase == IDE_PACKET && ch->x.pos == 0) {
            uint64_t q = next(seed);
            uint8_t p[12] = {likely_opcode(r >> 16), (uint8_t)(q & 3),         [4] = (uint8_t)(q >> 8 & 3),
                             (uint8_t)(q >> 16),     [8] = (uint8_t)(q >> 24), (uint8_t)(q >> 32 & 0x18)};
            pio_out(t, base, p, 12);
        } else {
            for (unsigned i = 0; i < (r >> 16 & 0x1ff); i++)
                wr16(t, base, (uint16_t)(r >> 32));
        }
        break;
    case 5:
        table(t, seed);
        break;
    case 6:
        wr(t, MASTER + (base == SEC ? 8 : 0) + (r >> 20 & 2), (uint8_t)(r >> 24));
        break;
    case 7:
        dma_start(t, base, r >> 20 & 1);
        break;
    case 8:
        if ((r >> 20 & 7) == 0) {
            wr(t, base + CONTROL, (uint8_t)(r >> 24 & 0x86));
            wr(t, base + CONTROL, r >> 32 & 7 ? 0 : 2);
        }
        break;
    case 9:
        rd(t, base + off);
        break;
    case 10:
        bus_io_read(&t->r.bus, (uint16_t)(base + off), r >> 16 & 1 ? 4 : 2);
        break;
    case 11:
        bus_io_write(&t->r.bus, (uint16_t)(base + off), (uint32_t)(r >> 24), r >> 16 & 1 ? 4 : 2);
        break;
    case 12:
        if ((r >> 20 & 63) == 0)
            pci_config_write(&t->ide.pci, r >> 28 & 1 ? 0x04 : 0x40, (uint32_t)(r >> 30), 4);
        break;
    default:
        rig_events(&t->r);
        t->result = (r >> 40 & 31) == 0 ? -1 : 0;
        ide_rig_serve(t);
        rig_events(&t->r);
    }
}

static void anything(void **state)
{
    uint64_t seed = setting("IDE_FUZZ_SEED", 0x9e3779b97f4a7c15), steps = setting("IDE_FUZZ_STEPS", 300000);
    struct ide_rig *t = ide_rig_new(drives);
    unsigned moved = 0, busy = 0;

    for (uint64_t i = 0; i < steps; i++) {
        port_step(t, &seed);
        check(t);
        busy += t->ide.ch[0].x.phase != IDE_IDLE;
        if (i % 997 == 0) { /* decoding and bus mastering back, whatever it wrote */
            pci_config_write(&t->ide.pci, 0x40, 0x80008000, 4);
            pci_config_write(&t->ide.pci, 0x20, MASTER, 4);
            pci_config_write(&t->ide.pci, PCI_COMMAND, PCI_CMD_IO | PCI_CMD_MASTER, 2);
        }
        if (i % 10007 == 0) {
            t = ide_rig_move(t);
            check(t);
            moved++;
        }
    }
    assert_true(moved > steps / 20000 && busy > steps / 10); /* it was not refused all along */
    assert_true(t->submitted > 0);
    ide_rig_free(t);
}

/* A saved state with bytes changed: refused, or a machine whose guest goes on without reaching outside. */
static void spoilt_states(void **state)
{
    uint64_t seed = setting("IDE_FUZZ_SEED", 0x1234567), steps = setting("IDE_FUZZ_STEPS", 300000) / 100;
    struct ide_rig *t = ide_rig_new(drives);
    unsigned refused = 0, taken = 0;

    for (uint64_t i = 0; i < steps; i++) {
        uint8_t *data;
        size_t len;
        struct err e = {0};

        for (unsigned k = 0; k < 20; k++)
            port_step(t, &seed);
        ide_rig_settle(t);
        port_step(t, &seed);
        ide_rig_serve(t); /* the worker is idle at a load */
        assert_int_equal(state_save(&t->r.states, &data, &len, &e), 0);
        for (unsigned k = 0; k < 1 + i % 4; k++) /* among the scalars: the two blocks of data are the most of it */
            data[next(&seed) % len] ^= (uint8_t)(1u << (next(&seed) & 7));
        if (state_load(&t->r.states, data, len, &e)) {
            refused++;
            ide_rig_free(t); /* unusable now */
            t = ide_rig_new(drives);
        } else {
            taken++;
            t->irq[0] = t->ide.ch[0].line; /* the board's lines are not in this state */
            t->irq[1] = t->ide.ch[1].line;
            check(t);
        }
        free(data);
    }
    assert_true(refused && taken);
    ide_rig_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anything),
        cmocka_unit_test(spoilt_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
