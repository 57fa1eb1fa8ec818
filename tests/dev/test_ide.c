/* The IDE function and ATA disks: registers and interrupts of each protocol of ATA/ATAPI-6 (chapter 9), the commands
 * (chapter 8), the bus master (Bus Master IDE 1.0, Intel 82371SB), as a driver meets them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "src/base/util.h"
#include "tests/dev/ide_rig.h"

#define SECTORS 8192u

static const struct ide_rig_drive one_disk[IDE_DRIVES] = {{IDE_DISK, SECTORS, false}};
static const struct ide_rig_drive two_disks[IDE_DRIVES] = {
    {IDE_DISK, SECTORS, false}, {IDE_DISK, 2000, true}, {0}, {IDE_DISK, 100, false}};

static uint8_t *at(struct ide_rig *t, uint32_t sector)
{
    return t->medium[0].bytes + sector * 512ull;
}

/* ---- what is where */

static void pci_function(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);

    assert_int_equal(pci_config_read(&t->ide.pci, 0, 4), 0x70108086);
    assert_int_equal(pci_config_read(&t->ide.pci, 8, 4) >> 8, 0x010180);
    assert_int_equal(pci_config_read(&t->ide.pci, 0x3d, 1), 0); /* interrupts 14 and 15 are not PCI's */
    assert_int_equal(pci_config_read(&t->ide.pci, 0x20, 4), MASTER | 1);
    assert_int_equal(rd(t, PRI + 7), READY);
    assert_int_equal(rd(t, PRI + CONTROL), READY);
    /* each channel by its timing register's bit, both by the command register's */
    pci_config_write(&t->ide.pci, 0x40, 0, 2);
    assert_int_equal(rd(t, PRI + 7), 0xff);
    assert_int_equal(rd(t, PRI + CONTROL), 0xff);
    assert_int_equal(rd(t, SEC + 7), 0x7f);
    pci_config_write(&t->ide.pci, 0x40, 0x8000, 2);
    pci_config_write(&t->ide.pci, PCI_COMMAND, 0, 2);
    assert_int_equal(rd(t, PRI + 7), 0xff);
    assert_int_equal(rd(t, MASTER + 2), 0xff);
    pci_config_write(&t->ide.pci, PCI_COMMAND, PCI_CMD_IO, 2);
    assert_int_equal(rd(t, PRI + 7), READY);
    ide_rig_free(t);
}

static void who_answers(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);

    assert_int_equal(rd(t, SEC + 7), 0x7f); /* nobody: not busy */
    wr(t, SEC + 2, 0x55);
    assert_int_equal(rd(t, SEC + 2), 0x7f);
    wr(t, PRI + 6, 0xb0); /* drive 0 stands in for drive 1 */
    assert_int_equal(rd(t, PRI + 7), 0);
    assert_int_equal(rd(t, PRI + CONTROL), 0);
    wr(t, PRI + 2, 0x55);
    assert_int_equal(rd(t, PRI + 2), 0x55);
    wr(t, PRI + 7, 0xec); /* a command to nobody */
    ide_rig_settle(t);
    assert_false(t->irq[0]);
    assert_int_equal(rd(t, PRI + 7), 0);
    wr(t, PRI + 6, 0xa0);
    assert_int_equal(rd(t, PRI + 7), READY);
    ide_rig_free(t);

    t = ide_rig_new(two_disks);
    for (unsigned n = 0; n < 2; n++) {
        wr(t, PRI + 6, (uint8_t)(0xa0 | n << 4));
        assert_int_equal(rd(t, PRI + 7), READY);
        assert_int_equal(rd(t, PRI + 6), 0xa0 | n << 4);
    }
    wr(t, SEC + 6, 0xa0);
    assert_int_equal(rd(t, SEC + 7), 0x7f);
    wr(t, SEC + 6, 0xb0);
    assert_int_equal(rd(t, SEC + 7), READY);
    ide_rig_free(t);
}

static void check_signature(struct ide_rig *t, unsigned base)
{
    assert_int_equal(rd(t, base + 1), 1);
    assert_int_equal(rd(t, base + 2), 1);
    assert_int_equal(rd(t, base + 3), 1);
    assert_int_equal(rd(t, base + 4), 0);
    assert_int_equal(rd(t, base + 5), 0);
    assert_int_equal(rd(t, base + 6), 0xa0);
    assert_int_equal(rd(t, base + 7), READY);
}

static void resets(void **state)
{
    struct ide_rig *t = ide_rig_new(two_disks);

    check_signature(t, PRI);
    wr(t, PRI + 6, 0xb0);
    wr(t, PRI + 3, 77);
    wr(t, PRI + CONTROL, 4);
    assert_int_equal(rd(t, PRI + 7), BSY);
    wr(t, PRI + 7, 0xec); /* not while it is held */
    wr(t, PRI + CONTROL, 0);
    check_signature(t, PRI);
    /* in the midst of a transfer, and of a request */
    ide_command(t, PRI, 0xe0, 0, 4, 0x20);
    assert_int_equal(ide_wait(t, PRI), READY | DRQ);
    rd16(t, PRI);
    wr(t, PRI + CONTROL, 4);
    wr(t, PRI + CONTROL, 0);
    check_signature(t, PRI);
    ide_command(t, PRI, 0xe0, 0, 4, 0x20);
    assert_int_equal(rd(t, PRI + 7), READY | BSY);
    wr(t, PRI + CONTROL, 4);
    ide_rig_serve(t);
    rig_events(&t->r); /* comes while the reset is held: to nobody */
    assert_int_equal(t->ide.ch[0].x.phase, IDE_IDLE);
    assert_false(t->irq[0]);
    wr(t, PRI + CONTROL, 0);
    check_signature(t, PRI);
    ide_command(t, PRI, 0xe0, 0, 4, 0x20);
    wr(t, PRI + CONTROL, 4);
    wr(t, PRI + CONTROL, 0);
    check_signature(t, PRI);
    /* the next command waits for the buffer that is still lent */
    ide_command(t, PRI, 0xa0, 0, 0, 0xec);
    assert_int_equal(rd(t, PRI + CONTROL), READY | BSY);
    assert_int_equal(ide_wait(t, PRI), READY | DRQ);
    assert_int_equal(rd16(t, PRI), 0x0040);
    ide_rig_free(t);
}

/* ---- IDENTIFY DEVICE */

static uint16_t word(const uint8_t *b, unsigned n)
{
    return get_le16(b + 2 * n);
}

static void identify_data(struct ide_rig *t, uint8_t *b)
{
    unsigned before = t->irqs[0];

    ide_command(t, PRI, 0xa0, 0, 0, 0xec);
    assert_int_equal(rd(t, PRI + CONTROL), READY | DRQ);
    assert_true(t->irq[0]); /* reading the alternate status leaves it */
    assert_int_equal(ide_wait(t, PRI), READY | DRQ);
    pio_in(t, PRI, b, 510);
    assert_int_equal(rd(t, PRI + 7), READY | DRQ);
    pio_in(t, PRI, b + 510, 2);
    assert_int_equal(rd(t, PRI + 7), READY);
    assert_int_equal(t->irqs[0], before + 1); /* none after the last block */
}

static void identify(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    uint8_t b[512], sum = 0;

    identify_data(t, b);
    for (unsigned i = 0; i < 512; i++)
        sum = (uint8_t)(sum + b[i]);
    assert_int_equal(sum, 0);
    assert_int_equal(word(b, 1), SECTORS / 16 / 63);
    assert_int_equal(word(b, 3), 16);
    assert_int_equal(word(b, 6), 63);
    assert_memory_equal(b + 20, "tvi-ed              ", 20); /* vt-ide, bytes of each word swapped */
    assert_int_equal(word(b, 47) & 0xff, 16);
    assert_int_equal(word(b, 49) & 0x300, 0x300); /* LBA, DMA */
    assert_int_equal(word(b, 59), 0x110);
    assert_int_equal(word(b, 60) | word(b, 61) << 16, SECTORS);
    assert_int_equal(word(b, 63), 7);
    assert_int_equal(word(b, 83) & 0xf400, 0x7400); /* valid, 48 bits, both FLUSH CACHEs */
    assert_int_equal(word(b, 100) | word(b, 101) << 16, SECTORS);
    /* SMART, security, a protected area: not there, not said */
    assert_int_equal(word(b, 82) & 0x0403, 0);
    ide_command(t, PRI, 0xa0, 0xc24f00, 0, 0xb0);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    assert_int_equal(rd(t, PRI + 1), 4);
    ide_rig_free(t);
}

static void features(void **state)
{
    static const struct {
        uint8_t feature, count, status;
    } cases[] = {{3, 0x22, READY},       {3, 0x23, READY | ERR}, {3, 0x42, READY}, {3, 0x45, READY | ERR},
                 {3, 0x0c, READY},       {3, 0x0d, READY | ERR}, {3, 0, READY},    {0x55, 0, READY},
                 {0xaa, 0, READY},       {0x66, 0, READY},       {0x02, 0, READY}, {0x82, 0, READY},
                 {0x05, 1, READY | ERR}, {0x77, 0, READY | ERR}};
    struct ide_rig *t = ide_rig_new(one_disk);
    uint8_t b[512];

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        wr(t, PRI + 1, cases[i].feature);
        ide_command(t, PRI, 0xa0, 0, cases[i].count, 0xef);
        assert_int_equal(ide_wait(t, PRI), cases[i].status);
        if (cases[i].feature == 3 && !(cases[i].status & ERR)) {
            identify_data(t, b);
            assert_int_equal(word(b, 63), cases[i].count == 0x22 ? 0x407 : 7);
            assert_int_equal(word(b, 88), cases[i].count == 0x42 ? 0x407 : 7);
        }
    }
    identify_data(t, b);
    assert_int_equal(word(b, 85) & 0x60, 0x40); /* look-ahead on, write cache off */
    ide_rig_free(t);
}

/* ---- PIO */

static void read_sectors(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    uint8_t b[512];

    ide_command(t, PRI, 0xe0, 1000, 5, 0x20);
    assert_int_equal(rd(t, PRI + CONTROL), READY | BSY);
    wr(t, PRI + 2, 99); /* not while it is busy */
    wr(t, PRI + 7, 0xec);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(ide_wait(t, PRI), READY | DRQ);
        pio_in(t, PRI, b, 512);
        assert_memory_equal(b, at(t, 1000 + i), 512);
    }
    assert_int_equal(t->irqs[0], 5);
    assert_int_equal(t->submitted, 1); /* the disk was asked once */
    assert_int_equal(rd(t, PRI + 7), READY);
    assert_int_equal(rd(t, PRI + 2), 0);
    assert_int_equal(rd(t, PRI + 3) | rd(t, PRI + 4) << 8, 1004); /* the last one */
    /* 256 sectors; a read with 32-bit accesses */
    ide_command(t, PRI, 0xe0, 0, 0, 0x21);
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(ide_wait(t, PRI), READY | DRQ);
        for (unsigned k = 0; k < 512; k += 4)
            put_le32(b + k, rd32(t, PRI));
        assert_memory_equal(b, at(t, i), 512);
    }
    assert_int_equal(rd(t, PRI + 7), READY);
    assert_int_equal(rd16(t, PRI), 0xffff); /* nothing more */
    ide_rig_free(t);
}

static void write_sectors(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    uint8_t b[3 * 512];

    memset(b, 0xa5, sizeof b);
    b[0] = 1;
    ide_command(t, PRI, 0xe0, 77, 3, 0x30);
    assert_false(t->irq[0]); /* the first block is asked for without an interrupt */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(rd(t, PRI + 7), READY | DRQ);
        pio_out(t, PRI, b + 512 * i, 512);
        assert_int_equal(rd(t, PRI + CONTROL), READY | BSY);
        assert_int_equal(ide_wait(t, PRI), i < 2 ? READY | DRQ : READY);
    }
    assert_int_equal(t->irqs[0], 3);
    assert_memory_equal(at(t, 77), b, sizeof b);
    assert_int_not_equal(at(t, 80)[0], 0xa5);
    ide_rig_free(t);
}

static void multiple(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    uint8_t b[8192], want[8192];

    ide_command(t, PRI, 0xe0, 64, 40, 0xc4);
    for (unsigned done = 0; done < 40; done += 16) {
        unsigned n = MIN(40 - done, 16u);
        assert_int_equal(ide_wait(t, PRI), READY | DRQ);
        pio_in(t, PRI, b, n * 512);
        assert_memory_equal(b, at(t, 64 + done), n * 512);
    }
    assert_int_equal(t->irqs[0], 3);
    assert_int_equal(rd(t, PRI + 7), READY);
    ide_command(t, PRI, 0xa0, 0, 4, 0xc6);
    assert_int_equal(ide_wait(t, PRI), READY);
    memset(want, 0x3c, sizeof want);
    ide_command(t, PRI, 0xe0, 500, 6, 0xc5);
    pio_out(t, PRI, want, 2048);
    assert_int_equal(ide_wait(t, PRI), READY | DRQ);
    pio_out(t, PRI, want, 1024);
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_memory_equal(at(t, 500), want, 6 * 512);
    assert_int_equal(t->writes, 2);
    for (unsigned i = 0; i < 3; i++) { /* too long, no power of two */
        ide_command(t, PRI, 0xa0, 0, (const uint8_t[]){32, 3, 255}[i], 0xc6);
        assert_int_equal(ide_wait(t, PRI), READY | ERR);
    }
    ide_command(t, PRI, 0xa0, 0, 0, 0xc6); /* off */
    assert_int_equal(ide_wait(t, PRI), READY);
    ide_command(t, PRI, 0xe0, 0, 1, 0xc4);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    assert_int_equal(rd(t, PRI + 1), 4);
    ide_rig_free(t);
}

static void addresses(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    uint8_t b[512];

    /* cylinder 3, head 5, sector 7 of 16 heads and 63 sectors */
    ide_command(t, PRI, 0xa5, 0x000307, 2, 0x20);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ide_wait(t, PRI), READY | DRQ);
        pio_in(t, PRI, b, 512);
        assert_memory_equal(b, at(t, (3 * 16 + 5) * 63 + 6 + i), 512);
    }
    assert_int_equal(rd(t, PRI + 3), 8);
    assert_int_equal(rd(t, PRI + 6), 0xa5);
    /* another translation: 4 heads of 17 sectors */
    ide_command(t, PRI, 0xa3, 0, 17, 0x91);
    assert_int_equal(ide_wait(t, PRI), READY);
    ide_command(t, PRI, 0xa2, 0x000a11, 1, 0x20);
    assert_int_equal(ide_wait(t, PRI), READY | DRQ);
    pio_in(t, PRI, b, 512);
    assert_memory_equal(b, at(t, (10 * 4 + 2) * 17 + 16), 512);
    static const uint32_t bad[][2] = {{0xa0, 0x000000}, {0xa0, 0x000012}, {0xa4, 0x000001}, {0xa0, 0xffff01}};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        ide_command(t, PRI, (uint8_t)bad[i][0], bad[i][1], 1, 0x20);
        assert_int_equal(ide_wait(t, PRI), READY | ERR);
        assert_int_equal(rd(t, PRI + 1), 0x10);
    }
    ide_command(t, PRI, 0xa3, 0, 0, 0x91); /* no sectors */
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    /* 48 bits, and what the registers held before */
    ide_command_ext(t, PRI, 0xe0, 4100, 257, 0x24);
    for (unsigned i = 0; i < 257; i++) {
        assert_int_equal(ide_wait(t, PRI), READY | DRQ);
        pio_in(t, PRI, b, 512);
        assert_memory_equal(b, at(t, 4100 + i), 512);
    }
    wr(t, PRI + 4, 0x12);
    wr(t, PRI + 4, 0x34);
    wr(t, PRI + CONTROL, 0x80);
    assert_int_equal(rd(t, PRI + 4), 0x12);
    wr(t, PRI + 3, 0); /* a write to the task file shows the newest again */
    assert_int_equal(rd(t, PRI + 4), 0x34);
    /* the end */
    ide_command(t, PRI, 0xe0, SECTORS - 1, 2, 0x20);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    assert_int_equal(rd(t, PRI + 1), 0x10);
    ide_command_ext(t, PRI, 0xe0, 1ull << 40, 1, 0x24);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    assert_int_equal(rd(t, PRI + 1), 0x10);
    ide_command(t, PRI, 0xe0, 0, 0, 0xf8); /* READ NATIVE MAX ADDRESS */
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_int_equal(rd(t, PRI + 3) | rd(t, PRI + 4) << 8, SECTORS - 1);
    ide_rig_free(t);
}

/* ---- what moves no data */

static void other_commands(void **state)
{
    static const struct {
        uint8_t command, status, error;
    } cases[] = {
        {0x00, READY | ERR, 4}, /* NOP */
        {0x08, READY | ERR, 4}, /* DEVICE RESET: for packet devices */
        {0x10, READY, 0},       {0x1f, READY, 0},       {0x70, READY, 0},       {0x40, READY, 0},
        {0xe7, READY, 0},       {0xea, READY, 0},       {0xe0, READY, 0},       {0xe1, READY, 0},
        {0xe2, READY, 0},       {0xe3, READY, 0},       {0xa1, READY | ERR, 4}, {0xa0, READY | ERR, 4},
        {0xff, READY | ERR, 4}, {0xf5, READY | ERR, 4}, {0x22, READY | ERR, 4}, {0xf9, READY | ERR, 4},
    };
    struct ide_rig *t = ide_rig_new(two_disks);

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        ide_command(t, PRI, 0xe0, 5, 1, cases[i].command);
        assert_int_equal(ide_wait(t, PRI), cases[i].status);
        assert_int_equal(rd(t, PRI + 1), cases[i].error);
    }
    ide_command(t, PRI, 0xe0, SECTORS, 1, 0x40);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    ide_command(t, PRI, 0xe0, SECTORS, 1, 0x70);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    /* power */
    static const uint8_t modes[][2] = {{0xe0, 0x00}, {0xe1, 0x80}, {0x94, 0x00}, {0x95, 0x80}, {0x40, 0x80}};
    for (unsigned i = 0; i < ARRAY_LEN(modes) - 1; i++) {
        ide_command(t, PRI, 0xe0, 0, 0, modes[i][0]);
        assert_int_equal(ide_wait(t, PRI), READY);
        ide_command(t, PRI, 0xe0, 0, 0x55, 0xe5);
        assert_int_equal(ide_wait(t, PRI), READY);
        assert_int_equal(rd(t, PRI + 2), modes[i][1]);
    }
    ide_command(t, PRI, 0xe0, 0, 0, 0xe6); /* SLEEP: a reset wakes it */
    assert_int_equal(ide_wait(t, PRI), READY);
    ide_command(t, PRI, 0xe0, 0, 0, 0xec);
    ide_rig_settle(t);
    assert_false(t->irq[0]);
    wr(t, PRI + CONTROL, 4);
    wr(t, PRI + CONTROL, 0);
    ide_command(t, PRI, 0xe0, 0, 0, 0xe5);
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_int_equal(rd(t, PRI + 2), 0xff);
    /* diagnostics: both drives, the answer from drive 0 */
    ide_command(t, PRI, 0xb0, 0, 0, 0x90);
    assert_true(t->irq[0]);
    check_signature(t, PRI);
    ide_rig_free(t);
}

static void interrupt_line(void **state)
{
    struct ide_rig *t = ide_rig_new(two_disks);

    wr(t, PRI + CONTROL, 2); /* nIEN */
    ide_command(t, PRI, 0xa0, 0, 0, 0x10);
    assert_false(t->irq[0]);
    wr(t, PRI + CONTROL, 0);
    assert_true(t->irq[0]); /* it was waiting */
    wr(t, PRI + 6, 0xb0);   /* the other drive has none */
    assert_false(t->irq[0]);
    wr(t, PRI + 6, 0xa0);
    assert_true(t->irq[0]);
    wr(t, PRI + 7, 0x10); /* a command takes the old one back */
    assert_true(t->irq[0]);
    assert_int_equal(t->irqs[0], 3);
    assert_int_equal(ide_wait(t, PRI), READY);
    ide_command(t, SEC, 0xb0, 0, 0, 0x10);
    assert_true(t->irq[1] && !t->irq[0]);
    assert_int_equal(ide_wait(t, SEC), READY);
    ide_rig_free(t);
}

static void when_the_medium_fails(void **state)
{
    struct ide_rig *t = ide_rig_new(two_disks);
    uint8_t b[512] = {0};

    t->result = -1;
    ide_command(t, PRI, 0xe0, 300, 2, 0x20);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    assert_int_equal(rd(t, PRI + 1), 0x40);
    assert_int_equal(rd(t, PRI + 3) | rd(t, PRI + 4) << 8, 300);
    ide_command(t, PRI, 0xe0, 300, 2, 0x40);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    ide_command(t, PRI, 0xe0, 300, 1, 0x30);
    pio_out(t, PRI, b, 512);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    ide_command(t, PRI, 0xe0, 300, 1, 0xe7);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    t->result = 0;
    ide_command(t, PRI, 0xe0, 300, 1, 0xe7);
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_int_equal(t->flushes, 1);
    ide_command(t, PRI, 0xf0, 0, 1, 0x30); /* drive 1 is read-only */
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    assert_int_equal(rd(t, PRI + 1), 4);
    ide_command(t, PRI, 0xf0, 0, 1, 0x20);
    assert_int_equal(ide_wait(t, PRI), READY | DRQ);
    pio_in(t, PRI, b, 512);
    assert_memory_equal(b, t->medium[1].bytes, 512);
    ide_rig_free(t);
}

static void without_write_cache(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    uint8_t b[512] = {9};

    wr(t, PRI + 1, 0x82);
    ide_command(t, PRI, 0xa0, 0, 0, 0xef);
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_int_equal(t->flushes, 1); /* what it held */
    ide_command(t, PRI, 0xe0, 9, 1, 0x30);
    pio_out(t, PRI, b, 512);
    rig_events(&t->r);
    assert_true(ide_rig_serve(t));
    rig_events(&t->r);
    assert_int_equal(rd(t, PRI + CONTROL), READY | BSY); /* written, and not durable yet */
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_int_equal(t->flushes, 2);
    assert_memory_equal(at(t, 9), b, 512);
    ide_rig_free(t);
}

/* ---- DMA */

static void dma_read_cases(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    uint32_t to = rig_alloc(&t->r, 128 * 1024, 65536);

    /* the table's size is the transfer's: active goes with its end */
    dma_table(t, PRI, (struct prd[]){{to, 512, false}, {to + 4096, 1024, true}}, 2);
    ide_command(t, PRI, 0xe0, 11, 3, 0xc8);
    dma_start(t, PRI, true);
    assert_int_equal(rd(t, MASTER + 2), 1);
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_int_equal(dma_stop(t, PRI), 4);
    assert_memory_equal(rig_at(&t->r, to), at(t, 11), 512);
    assert_memory_equal(rig_at(&t->r, to + 4096), at(t, 12), 1024);
    assert_int_equal(t->irqs[0], 1);
    assert_int_equal(rd(t, MASTER + 2), 0);
    /* a longer table: still active */
    dma_table(t, PRI, (struct prd[]){{to, 0, true}}, 1);
    dma_start(t, PRI, true); /* before the command: it waits for the drive */
    ide_rig_settle(t);
    assert_int_equal(rd(t, MASTER + 2), 1);
    ide_command(t, PRI, 0xe0, 20, 8, 0xc8);
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_int_equal(dma_stop(t, PRI), 5);
    assert_memory_equal(rig_at(&t->r, to), at(t, 20), 4096);
    /* a shorter one: neither active nor interrupted, the drive waits until it is reset */
    dma_table(t, PRI, (struct prd[]){{to, 512, true}}, 1);
    ide_command(t, PRI, 0xe0, 20, 8, 0xc8);
    dma_start(t, PRI, true);
    ide_rig_settle(t);
    assert_int_equal(dma_stop(t, PRI), 0);
    assert_int_equal(rd(t, PRI + CONTROL), READY | DRQ);
    assert_false(t->irq[0]);
    wr(t, PRI + CONTROL, 4);
    wr(t, PRI + CONTROL, 0);
    check_signature(t, PRI);
    ide_rig_free(t);
}

static void dma_errors(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    uint32_t to = rig_alloc(&t->r, 4096, 4096);

    dma_table(t, PRI, (struct prd[]){{to, 512, false}, {RIG_RAM, 512, true}}, 2); /* no memory there */
    ide_command(t, PRI, 0xe0, 0, 2, 0xc8);
    dma_start(t, PRI, true);
    ide_rig_settle(t);
    assert_int_equal(dma_stop(t, PRI), 2);
    assert_int_equal(rd(t, MASTER + 2), 0); /* 1 written clears it */
    wr(t, PRI + CONTROL, 4);
    wr(t, PRI + CONTROL, 0);
    wr32(t, MASTER + 4, 0xfffffffc); /* nor a table */
    ide_command(t, PRI, 0xe0, 0, 2, 0xc8);
    dma_start(t, PRI, true);
    ide_rig_settle(t);
    assert_int_equal(dma_stop(t, PRI), 2);
    wr(t, PRI + CONTROL, 4);
    wr(t, PRI + CONTROL, 0);
    /* a disk that cannot read ends the command */
    t->result = -1;
    dma_table(t, PRI, (struct prd[]){{to, 512, true}}, 1);
    ide_command(t, PRI, 0xe0, 0, 1, 0xc8);
    dma_start(t, PRI, true);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    assert_int_equal(dma_stop(t, PRI), 5);
    t->result = 0;
    /* not a bus master: nothing moves until it is one */
    pci_config_write(&t->ide.pci, PCI_COMMAND, PCI_CMD_IO, 2);
    ide_command(t, PRI, 0xe0, 40, 1, 0xc8);
    dma_start(t, PRI, true);
    ide_rig_settle(t);
    assert_false(t->irq[0]);
    pci_config_write(&t->ide.pci, PCI_COMMAND, PCI_CMD_IO | PCI_CMD_MASTER, 2);
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_int_equal(dma_stop(t, PRI), 4);
    assert_memory_equal(rig_at(&t->r, to), at(t, 40), 512);
    /* registers: bits that there are, storage, the other channel apart */
    wr(t, MASTER + 8, 0xff);
    assert_int_equal(rd(t, MASTER + 8), 9);
    wr(t, MASTER + 8 + 2, 0x60);
    assert_int_equal(rd32(t, MASTER + 8) >> 16 & 0x67, 0x61);
    wr32(t, MASTER + 12, 0x12345677);
    assert_int_equal(rd32(t, MASTER + 12), 0x12345674);
    assert_int_equal(rd(t, MASTER), 0);
    ide_rig_free(t);
}

/* Longer than a request to the medium, through regions that fit neither. */
static void dma_long(void **state)
{
    enum { N = 700, PARTS = 25 };
    struct ide_rig *t = ide_rig_new(one_disk);
    uint32_t mem = rig_alloc(&t->r, N * 512 + PARTS * 4096, 4096), to = mem, left = N * 512;
    struct prd prd[PARTS];
    uint8_t *want = malloc(N * 512);

    for (unsigned i = 0; i < PARTS; i++) {
        uint32_t n = i + 1 == PARTS ? left : (N * 512 / PARTS + i * 6) & ~1u;
        prd[i] = (struct prd){to, (uint16_t)n, i + 1 == PARTS};
        to += n + 2 * i;
        left -= n;
    }
    dma_table(t, PRI, prd, PARTS);
    ide_command_ext(t, PRI, 0xe0, 3000, N, 0x25);
    dma_start(t, PRI, true);
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_int_equal(dma_stop(t, PRI), 4);
    assert_int_equal(t->submitted, 3);
    const uint8_t *p = at(t, 3000);
    for (unsigned i = 0; i < PARTS; p += prd[i++].len)
        assert_memory_equal(rig_at(&t->r, prd[i].addr), p, prd[i].len);
    /* and back to elsewhere */
    memcpy(want, at(t, 3000), N * 512);
    ide_command_ext(t, PRI, 0xe0, 100, N, 0x35);
    dma_start(t, PRI, false);
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_int_equal(dma_stop(t, PRI), 4);
    assert_memory_equal(at(t, 100), want, N * 512);
    assert_int_equal(rd(t, PRI + 3) | rd(t, PRI + 4) << 8, 100 + N - 1);
    free(want);
    ide_rig_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pci_function),
        cmocka_unit_test(who_answers),
        cmocka_unit_test(resets),
        cmocka_unit_test(identify),
        cmocka_unit_test(features),
        cmocka_unit_test(read_sectors),
        cmocka_unit_test(write_sectors),
        cmocka_unit_test(multiple),
        cmocka_unit_test(addresses),
        cmocka_unit_test(other_commands),
        cmocka_unit_test(interrupt_line),
        cmocka_unit_test(when_the_medium_fails),
        cmocka_unit_test(without_write_cache),
        cmocka_unit_test(dma_read_cases),
        cmocka_unit_test(dma_errors),
        cmocka_unit_test(dma_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
