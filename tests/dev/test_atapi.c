/* The ATAPI CD drive: the packet protocol of ATA/ATAPI-6 (9.8) and SFF-8020i, and the commands of MMC-3, as a driver
 * meets them; discs that come and go; packets saved in their midst. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "src/base/util.h"
#include "tests/dev/ide_rig.h"

#define SECTORS 1000u /* of 2048 bytes */

static const struct ide_rig_drive with_disc[IDE_DRIVES] = {{0}, {0}, {IDE_CD, SECTORS * 4, true}};
static const struct ide_rig_drive no_disc[IDE_DRIVES] = {{0}, {0}, {IDE_CD, 0, true}, {IDE_DISK, 64, false}};

static const uint8_t *disc(struct ide_rig *t, uint32_t sector)
{
    return t->medium[2].bytes + sector * 2048ull;
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The PACKET command and the packet. limit: the byte count that the driver takes at a time. */
static void packet(struct ide_rig *t, const uint8_t p[12], uint16_t limit, bool dma)
{
    unsigned irqs = t->irqs[1];

    wr(t, SEC + 6, 0xa0);
    wr(t, SEC + 1, dma);
    wr(t, SEC + 4, (uint8_t)limit);
    wr(t, SEC + 5, (uint8_t)(limit >> 8));
    wr(t, SEC + 7, 0xa0);
    ide_rig_settle(t);
    assert_int_equal(rd(t, SEC + CONTROL) & (BSY | DRQ), DRQ);
    assert_int_equal(rd(t, SEC + 2), 1); /* a command, to the device */
    assert_int_equal(t->irqs[1], irqs);  /* asked for without an interrupt */
    pio_out(t, SEC, p, 12);
}

/* Takes all that comes, by PIO, at most `limit` bytes a block, and returns the last status. */
static uint8_t take(struct ide_rig *t, uint16_t limit, void *dst, uint32_t size, uint32_t *ret_len,
                    unsigned *ret_blocks)
{
    uint32_t len = 0;
    uint8_t status;

    *ret_blocks = 0; /* blocks but the last are of an even length */
    while ((status = ide_wait(t, SEC)) & DRQ) {
        uint32_t n = rd(t, SEC + 4) | (uint32_t)rd(t, SEC + 5) << 8;
        assert_int_equal(rd(t, SEC + 2), 2); /* data, to the host */
        assert_true(n && n <= limit && len % 2 == 0 && len + n <= size);
        pio_in(t, SEC, (uint8_t *)dst + len, n);
        len += n;
        ++*ret_blocks;
    }
    assert_int_equal(rd(t, SEC + 2), 3);
    *ret_len = len;
    return status;
}

static uint8_t run(struct ide_rig *t, const uint8_t p[12], void *dst, uint32_t size, uint32_t *ret_len)
{
    unsigned blocks;

    packet(t, p, 4096, false);
    return take(t, 4096, dst, size, ret_len, &blocks);
}

/* A command without data; the sense key that it ends with. */
static unsigned key_of(struct ide_rig *t, const uint8_t p[12])
{
    uint8_t b[65536];
    uint32_t len;
    uint8_t status = run(t, p, b, sizeof b, &len);

    if (!(status & ERR)) {
        assert_int_equal(status, READY);
        return 0;
    }
    assert_int_equal(status, READY | ERR);
    assert_int_equal(rd(t, SEC + 1) & 0x0f, 4);
    return rd(t, SEC + 1) >> 4;
}

static void check_sense(struct ide_rig *t, unsigned key, unsigned asc, unsigned ascq)
{
    uint8_t b[18] = {0};
    uint32_t len;

    assert_int_equal(run(t, (uint8_t[12]){0x03, [4] = 18}, b, sizeof b, &len), READY);
    assert_int_equal(len, 18);
    assert_int_equal(b[0], 0x70);
    assert_int_equal(b[2], key);
    assert_int_equal(b[12], asc);
    assert_int_equal(b[13], ascq);
}

/* A drive whose power-on attention has been taken. */
static struct ide_rig *ready(const struct ide_rig_drive drives[IDE_DRIVES])
{
    struct ide_rig *t = ide_rig_new(drives);
    check_sense(t, 6, 0x29, 0);
    return t;
}

/* ---- what kind of device it is */

static void signature(void **state)
{
    static const uint8_t disk_commands[] = {0xec, 0x20};
    struct ide_rig *t = ide_rig_new(with_disc);
    uint8_t b[512];

    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(rd(t, SEC + 2), 1);
        assert_int_equal(rd(t, SEC + 3), 1);
        assert_int_equal(rd(t, SEC + 4), 0x14);
        assert_int_equal(rd(t, SEC + 5), 0xeb);
        assert_int_equal(rd(t, SEC + 6) & 0x10, 0);
        wr(t, SEC + 4, 0);
        wr(t, SEC + 5, 0);
        if (i < 2) { /* a driver that takes it for a disk */
            wr(t, SEC + 7, disk_commands[i]);
            assert_int_equal(ide_wait(t, SEC), READY | ERR);
            assert_int_equal(rd(t, SEC + 1), 4);
        } else { /* DEVICE RESET: no interrupt */
            wr(t, SEC + 7, 0x08);
            assert_int_equal(rd(t, SEC + 7), 0);
            assert_false(t->irq[1]);
        }
    }
    unsigned irqs = t->irqs[1];
    wr(t, SEC + 7, 0xa1);
    assert_int_equal(ide_wait(t, SEC), READY | DRQ);
    pio_in(t, SEC, b, 512);
    assert_int_equal(rd(t, SEC + 7), READY);
    assert_int_equal(t->irqs[1], irqs + 1);
    assert_int_equal(get_le16(b), 0x85c0);
    assert_int_equal(b[510], 0xa5);
    ide_rig_free(t);
}

static void inquiry(void **state)
{
    struct ide_rig *t = ide_rig_new(with_disc);
    uint8_t b[96];
    uint32_t len;

    assert_int_equal(run(t, (uint8_t[12]){0x12, [4] = 96}, b, sizeof b, &len), READY);
    assert_int_equal(len, 36);
    assert_int_equal(b[0], 5);
    assert_int_equal(b[1], 0x80);
    assert_int_equal(b[4], 31);
    assert_memory_equal(b + 8, "vmtest  CD-ROM          1.0 ", 28);
    assert_int_equal(run(t, (uint8_t[12]){0x12, [4] = 5}, b, sizeof b, &len), READY);
    assert_int_equal(len, 5); /* an odd count */
    assert_int_equal(key_of(t, (uint8_t[12]){0x12, 1, 0x80, [4] = 96}), 5);
    check_sense(t, 5, 0x24, 0);
    check_sense(t, 6, 0x29, 0); /* it has waited: neither INQUIRY nor sense data of another error take it */
    check_sense(t, 0, 0, 0);
    ide_rig_free(t);
}

static void attention_comes_first(void **state)
{
    struct ide_rig *t = ide_rig_new(with_disc);

    assert_int_equal(key_of(t, (uint8_t[12]){0x00}), 6);
    check_sense(t, 6, 0x29, 0);
    assert_int_equal(key_of(t, (uint8_t[12]){0x00}), 0);
    assert_int_equal(key_of(t, (uint8_t[12]){0xff}), 5);
    check_sense(t, 5, 0x20, 0);
    /* the sense of a command is gone with the next one */
    assert_int_equal(key_of(t, (uint8_t[12]){0xff}), 5);
    assert_int_equal(key_of(t, (uint8_t[12]){0x00}), 0);
    check_sense(t, 0, 0, 0);
    ide_rig_free(t);
}

/* ---- reading */

static void reads(void **state)
{
    static const struct {
        uint16_t limit;
        unsigned blocks;
    } limits[] = {{2048, 5}, {0xffff, 2}, {0xfffe, 2}, {1024, 10}, {3000, 4}, {3001, 4}, {8192, 2}};
    struct ide_rig *t = ready(with_disc);
    uint8_t b[5 * 2048];
    uint32_t len;
    unsigned blocks;

    for (unsigned i = 0; i < ARRAY_LEN(limits); i++) {
        memset(b, 0, sizeof b);
        packet(t, (uint8_t[12]){0x28, [4] = 1, [5] = 2, [8] = 5}, limits[i].limit, false);
        assert_int_equal(rd(t, SEC + CONTROL) & (BSY | DRQ), BSY);
        assert_int_equal(take(t, limits[i].limit, b, sizeof b, &len, &blocks), READY);
        assert_int_equal(len, sizeof b);
        assert_int_equal(blocks, limits[i].blocks);
        assert_memory_equal(b, disc(t, 258), sizeof b);
    }
    assert_int_equal(run(t, (uint8_t[12]){0xa8, [5] = 7, [9] = 2}, b, sizeof b, &len), READY);
    assert_int_equal(len, 4096);
    assert_memory_equal(b, disc(t, 7), len);
    assert_int_equal(run(t, (uint8_t[12]){0xbe, [5] = 9, [8] = 1, [9] = 0x10}, b, sizeof b, &len), READY);
    assert_int_equal(len, 2048);
    assert_memory_equal(b, disc(t, 9), len);
    assert_int_equal(key_of(t, (uint8_t[12]){0xbe, [5] = 9, [8] = 1, [9] = 0xf8}), 5); /* headers: there are none */
    check_sense(t, 5, 0x24, 0);
    /* nothing, and past the end */
    assert_int_equal(run(t, (uint8_t[12]){0x28, [5] = 9}, b, sizeof b, &len), READY);
    assert_int_equal(len, 0);
    assert_int_equal(key_of(t, (uint8_t[12]){0x28, [4] = SECTORS >> 8, [5] = SECTORS & 255, [8] = 1}), 5);
    check_sense(t, 5, 0x21, 0);
    assert_int_equal(key_of(t, (uint8_t[12]){0xa8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), 5);
    check_sense(t, 5, 0x21, 0);
    /* a byte count of 0 is no way to take data */
    packet(t, (uint8_t[12]){0x28, [8] = 1}, 0, false);
    assert_int_equal(ide_wait(t, SEC), READY | ERR);
    assert_int_equal(rd(t, SEC + 1), 4);
    packet(t, (uint8_t[12]){0x00}, 0, false);
    assert_int_equal(ide_wait(t, SEC), READY);
    t->result = -1;
    assert_int_equal(key_of(t, (uint8_t[12]){0x28, [8] = 1}), 3);
    t->result = 0;
    check_sense(t, 3, 0x11, 0);
    ide_rig_free(t);
}

static void dma_reads(void **state)
{
    enum { N = 150 };
    struct ide_rig *t = ready(with_disc);
    uint32_t to = rig_alloc(&t->r, N * 2048, 65536);
    struct prd prd[5];

    for (unsigned i = 0; i < 5; i++)
        prd[i] = (struct prd){to + i * 61440, 61440, i == 4};
    dma_table(t, SEC, prd, 5);
    packet(t, (uint8_t[12]){0x28, [5] = 3, [8] = N}, 0, true);
    dma_start(t, SEC, true);
    assert_int_equal(ide_wait(t, SEC), READY);
    assert_int_equal(rd(t, SEC + 2), 3);
    assert_int_equal(dma_stop(t, SEC), 4);
    assert_memory_equal(rig_at(&t->r, to), disc(t, 3), N * 2048);
    /* a reply that is shorter than the table */
    dma_table(t, SEC, (struct prd[]){{to, 96, true}}, 1);
    packet(t, (uint8_t[12]){0x12, [4] = 96}, 0, true);
    dma_start(t, SEC, true);
    assert_int_equal(ide_wait(t, SEC), READY);
    assert_int_equal(dma_stop(t, SEC), 5);
    assert_memory_equal(rig_at(&t->r, to + 8), "vmtest", 6);
    ide_rig_free(t);
}

static void contents(void **state)
{
    struct ide_rig *t = ready(with_disc);
    uint8_t b[512];
    uint32_t len;

    assert_int_equal(run(t, (uint8_t[12]){0x25}, b, sizeof b, &len), READY);
    assert_int_equal(len, 8);
    assert_int_equal(be32(b), SECTORS - 1);
    assert_int_equal(be32(b + 4), 2048);
    /* TOC: track 1 and lead-out */
    assert_int_equal(run(t, (uint8_t[12]){0x43, [8] = 255}, b, sizeof b, &len), READY);
    assert_int_equal(len, 20);
    assert_memory_equal(b, ((uint8_t[]){0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0}), 16);
    assert_int_equal(be32(b + 16), SECTORS);
    assert_int_equal(run(t, (uint8_t[12]){0x43, 2, [6] = 0xaa, [8] = 255}, b, sizeof b, &len), READY);
    assert_int_equal(len, 12); /* 1000 + 150 frames are 15 seconds and 25 */
    assert_memory_equal(b, ((uint8_t[]){0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, 15, 25}), 12);
    assert_int_equal(key_of(t, (uint8_t[12]){0x43, [6] = 2, [8] = 255}), 5);
    assert_int_equal(run(t, (uint8_t[12]){0x43, [8] = 4}, b, sizeof b, &len), READY);
    assert_int_equal(len, 4);                /* a driver that asks for the length first */
    for (unsigned old = 0; old < 2; old++) { /* the sessions: the format in byte 2, or in SFF-8020i's place */
        assert_int_equal(run(t, (uint8_t[12]){0x43, [2] = !old, [8] = 12, [9] = old ? 0x40 : 0}, b, sizeof b, &len),
                         READY);
        assert_memory_equal(b, ((uint8_t[]){0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0}), 12);
    }
    assert_int_equal(run(t, (uint8_t[12]){0x43, 2, 2, [8] = 255}, b, sizeof b, &len), READY);
    assert_int_equal(len, 4 + 4 * 11);
    assert_int_equal(b[4 + 3], 0xa0);
    assert_memory_equal(b + 4 + 22, ((uint8_t[]){1, 0x14, 0, 0xa2, 0, 0, 0, 0, 0, 15, 25}), 11);
    assert_memory_equal(b + 4 + 33, ((uint8_t[]){1, 0x14, 0, 1, 0, 0, 0, 0, 0, 2, 0}), 11);
    assert_int_equal(key_of(t, (uint8_t[12]){0x43, [2] = 5, [8] = 255}), 5);
    /* disc and track */
    assert_int_equal(run(t, (uint8_t[12]){0x51, [8] = 255}, b, sizeof b, &len), READY);
    assert_int_equal(len, 34);
    assert_int_equal(b[2], 0x0e);
    assert_int_equal(run(t, (uint8_t[12]){0x52, 1, [5] = 1, [8] = 255}, b, sizeof b, &len), READY);
    assert_int_equal(len, 36);
    assert_int_equal(be32(b + 24), SECTORS);
    assert_int_equal(key_of(t, (uint8_t[12]){0x52, 1, [5] = 2, [8] = 255}), 5);
    assert_int_equal(key_of(t, (uint8_t[12]){0x2b, [5] = 9}), 0);
    assert_int_equal(key_of(t, (uint8_t[12]){0x2b, [3] = 9}), 5);
    ide_rig_free(t);
}

/* ---- the drive */

static void mode_pages(void **state)
{
    struct ide_rig *t = ready(with_disc);
    uint8_t b[256];
    uint32_t len;

    assert_int_equal(run(t, (uint8_t[12]){0x5a, [2] = 0x2a, [8] = 128}, b, sizeof b, &len), READY);
    assert_int_equal(len, 28);
    assert_int_equal(b[1], 26);
    assert_int_equal(b[2], 0x01);
    assert_int_equal(b[8], 0x2a);
    assert_int_equal(b[14], 0x29);
    assert_int_equal(key_of(t, (uint8_t[12]){0x1e, [4] = 1}), 0);
    assert_int_equal(run(t, (uint8_t[12]){0x5a, [2] = 0x2a, [8] = 128}, b, sizeof b, &len), READY);
    assert_int_equal(b[14], 0x2b); /* locked */
    assert_int_equal(run(t, (uint8_t[12]){0x5a, [2] = 0x3f, [8] = 255}, b, sizeof b, &len), READY);
    assert_int_equal(len, 8 + 8 + 16 + 20);
    assert_int_equal(run(t, (uint8_t[12]){0x5a, [2] = 0x41, [8] = 255}, b, sizeof b, &len), READY);
    assert_memory_equal(b + 8, ((uint8_t[]){1, 6, 0, 0, 0, 0, 0, 0}), 8); /* nothing can be changed */
    assert_int_equal(key_of(t, (uint8_t[12]){0x5a, [2] = 0xc1, [8] = 255}), 5);
    check_sense(t, 5, 0x39, 0);
    assert_int_equal(key_of(t, (uint8_t[12]){0x5a, [2] = 0x15, [8] = 255}), 5);
    check_sense(t, 5, 0x24, 0);
    ide_rig_free(t);
}

static void configuration(void **state)
{
    struct ide_rig *t = ready(with_disc);
    uint8_t b[256];
    uint32_t len;
    unsigned features = 0;

    assert_int_equal(run(t, (uint8_t[12]){0x46, [8] = 255}, b, sizeof b, &len), READY);
    assert_int_equal(be32(b), len - 4);
    assert_int_equal(b[7], 0x08); /* a CD-ROM */
    for (unsigned at = 8; at < len; at += 4u + b[at + 3])
        features++;
    assert_int_equal(features, 6);
    assert_int_equal(run(t, (uint8_t[12]){0x46, 2, [3] = 3, [8] = 255}, b, sizeof b, &len), READY);
    assert_int_equal(len, 16);
    assert_memory_equal(b + 8, ((uint8_t[]){0, 3, 3, 4, 0x29}), 5);
    assert_int_equal(run(t, (uint8_t[12]){0x46, 1, [3] = 0x1e, [8] = 255}, b, sizeof b, &len), READY);
    assert_int_equal(len, 16); /* current ones from 1Eh on: CD, not DVD */
    assert_int_equal(run(t, (uint8_t[12]){0x46, 2, [2] = 1, [8] = 255}, b, sizeof b, &len), READY);
    assert_int_equal(len, 8); /* one that is not there */
    assert_int_equal(key_of(t, (uint8_t[12]){0x46, 3, [8] = 255}), 5);
    ide_rig_free(t);
}

static unsigned event(struct ide_rig *t, unsigned *ret_status)
{
    uint8_t b[8];
    uint32_t len;

    assert_int_equal(run(t, (uint8_t[12]){0x4a, 1, [4] = 0x10, [8] = 8}, b, sizeof b, &len), READY);
    assert_int_equal(len, 8);
    assert_memory_equal(b, ((uint8_t[]){0, 6, 4, 0x10}), 4);
    *ret_status = b[5];
    return b[4];
}

static void discs(void **state)
{
    struct ide_rig *t = ready(with_disc);
    struct blkport port = t->ide.ch[1].drive[0].port;
    uint8_t b[16];
    unsigned status;
    uint32_t len;

    assert_int_equal(event(t, &status), 0);
    assert_int_equal(status, 2);
    /* locked, it stays; then the tray opens, and closes with the disc in it */
    assert_int_equal(key_of(t, (uint8_t[12]){0x1e, [4] = 1}), 0);
    assert_int_equal(key_of(t, (uint8_t[12]){0x1b, [4] = 2}), 5);
    check_sense(t, 5, 0x53, 2);
    assert_int_equal(key_of(t, (uint8_t[12]){0x1e}), 0);
    assert_int_equal(key_of(t, (uint8_t[12]){0x1b, [4] = 2}), 0);
    assert_int_equal(event(t, &status), 3);
    assert_int_equal(status, 1);
    assert_int_equal(key_of(t, (uint8_t[12]){0x00}), 2);
    check_sense(t, 2, 0x3a, 2);
    assert_int_equal(run(t, (uint8_t[12]){0xbd, [9] = 8}, b, sizeof b, &len), READY);
    assert_int_equal(b[1], 0x10);
    t = ide_rig_move(t);
    assert_int_equal(key_of(t, (uint8_t[12]){0x1b, [4] = 3}), 0);
    assert_int_equal(event(t, &status), 2);
    assert_int_equal(status, 2);
    assert_int_equal(event(t, &status), 0); /* told once */
    assert_int_equal(key_of(t, (uint8_t[12]){0x25}), 6);
    check_sense(t, 6, 0x28, 0);
    assert_int_equal(key_of(t, (uint8_t[12]){0x25}), 0);
    /* the host takes it out, and puts a smaller one in */
    port.opaque = &t->medium[2].rig;
    assert_true(ide_change_disc(&t->ide, 2, NULL));
    assert_int_equal(event(t, &status), 3);
    assert_int_equal(key_of(t, (uint8_t[12]){0x28, [8] = 1}), 2);
    check_sense(t, 2, 0x3a, 1);
    port.size = 100 * 2048;
    assert_true(ide_change_disc(&t->ide, 2, &port));
    assert_int_equal(key_of(t, (uint8_t[12]){0x00}), 6);
    check_sense(t, 6, 0x28, 0);
    assert_int_equal(run(t, (uint8_t[12]){0x25}, b, sizeof b, &len), READY);
    assert_int_equal(be32(b), 99);
    assert_int_equal(key_of(t, (uint8_t[12]){0x28, [5] = 100, [8] = 1}), 5);
    assert_false(ide_change_disc(&t->ide, 3, NULL)); /* no CD drive */
    assert_false(ide_change_disc(&t->ide, 4, NULL));
    assert_int_equal(key_of(t, (uint8_t[12]){0x4a, [4] = 0x10, [8] = 8}), 5); /* asynchronous */
    assert_int_equal(run(t, (uint8_t[12]){0x4a, 1, [4] = 0x02, [8] = 8}, b, sizeof b, &len), READY);
    assert_memory_equal(b, ((uint8_t[]){0, 2, 0x80, 0x10}), 4);
    ide_rig_free(t);
}

static void an_empty_drive(void **state)
{
    struct ide_rig *t = ready(no_disc);
    static const uint8_t need_one[] = {0x00, 0x25, 0x28, 0x43, 0x51, 0xa8, 0xbe};
    uint8_t b[64];
    uint32_t len;

    for (unsigned i = 0; i < ARRAY_LEN(need_one); i++) {
        assert_int_equal(key_of(t, (uint8_t[12]){need_one[i], [8] = 1}), 2);
        check_sense(t, 2, 0x3a, 1);
    }
    assert_int_equal(run(t, (uint8_t[12]){0x46, 2, [8] = 64}, b, sizeof b, &len), READY);
    assert_int_equal(b[7], 0);
    assert_int_equal(run(t, (uint8_t[12]){0x5a, [2] = 0x2a, [8] = 64}, b, sizeof b, &len), READY);
    assert_int_equal(b[2], 0x70);
    ide_rig_free(t);
}

/* ---- saved in the midst */

static void moves(void **state)
{
    struct ide_rig *t = ready(with_disc);
    uint8_t b[20 * 2048], p[12] = {0x28, [5] = 50, [8] = 20};
    uint32_t done = 0, to = rig_alloc(&t->r, sizeof b, 65536);

    wr(t, SEC + 1, 0);
    wr(t, SEC + 4, 0xd0); /* 2000 */
    wr(t, SEC + 5, 0x07);
    wr(t, SEC + 7, 0xa0);
    pio_out(t, SEC, p, 4);
    t = ide_rig_move(t); /* in the packet */
    pio_out(t, SEC, p + 4, 8);
    t = ide_rig_move(t); /* the read under way */
    while (ide_wait(t, SEC) & DRQ) {
        uint32_t n = rd(t, SEC + 4) | (uint32_t)rd(t, SEC + 5) << 8;
        assert_true(n >= 2 && done + n <= sizeof b);
        pio_in(t, SEC, b + done, n / 4 & ~1u);
        t = ide_rig_move(t);
        pio_in(t, SEC, b + done + (n / 4 & ~1u), n - (n / 4 & ~1u));
        done += n;
    }
    assert_int_equal(done, sizeof b);
    assert_memory_equal(b, disc(t, 50), sizeof b);
    /* a reply in small blocks, and one that waits for the bus master */
    packet(t, (uint8_t[12]){0x12, [4] = 36}, 10, false);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(ide_wait(t, SEC), READY | DRQ);
        assert_int_equal(rd(t, SEC + 4), i < 3 ? 10 : 6);
        pio_in(t, SEC, b + 10 * i, 4);
        t = ide_rig_move(t);
        pio_in(t, SEC, b + 10 * i + 4, i < 3 ? 6 : 2);
    }
    assert_int_equal(ide_wait(t, SEC), READY);
    assert_memory_equal(b + 8, "vmtest  CD-ROM          1.0 ", 28);
    dma_table(t, SEC, (struct prd[]){{to, 36, true}}, 1);
    packet(t, (uint8_t[12]){0x12, [4] = 36}, 0, true);
    t = ide_rig_move(t);
    dma_start(t, SEC, true);
    assert_int_equal(ide_wait(t, SEC), READY);
    assert_int_equal(dma_stop(t, SEC), 4);
    assert_memory_equal(rig_at(&t->r, to), b, 36);
    ide_rig_free(t);
}

/* The machine comes back, and another disc lies in the drive. */
static void another_disc_after_a_load(void **state)
{
    struct ide_rig *t = ready(with_disc);
    struct ide_drive *d = &t->ide.ch[1].drive[0];
    struct blkport port = d->port;
    uint8_t *data;
    size_t len;
    struct err e = {0};
    const char *why = "";

    assert_int_equal(key_of(t, (uint8_t[12]){0x00}), 0);
    assert_int_equal(state_save(&t->r.states, &data, &len, &e), 0);
    assert_int_equal(state_load(&t->r.states, data, len, &e), 0);
    assert_int_equal(key_of(t, (uint8_t[12]){0x00}), 0); /* the same one: nothing to tell */
    port.size = 2048 * 10;
    d->port = port;
    assert_int_equal(state_load(&t->r.states, data, len, &e), 0);
    assert_int_equal(key_of(t, (uint8_t[12]){0x00}), 6);
    check_sense(t, 6, 0x28, 0);
    free(data);
    d->sense_key = 16;
    assert_int_equal(d->state.table->loaded(d, &why), -1);
    d->sense_key = 0;
    d->event = 4;
    assert_int_equal(d->state.table->loaded(d, &why), -1);
    d->event = 0;
    ide_rig_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signature),      cmocka_unit_test(inquiry),       cmocka_unit_test(attention_comes_first),
        cmocka_unit_test(reads),          cmocka_unit_test(dma_reads),     cmocka_unit_test(contents),
        cmocka_unit_test(mode_pages),     cmocka_unit_test(configuration), cmocka_unit_test(discs),
        cmocka_unit_test(an_empty_drive), cmocka_unit_test(moves),         cmocka_unit_test(another_disc_after_a_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
