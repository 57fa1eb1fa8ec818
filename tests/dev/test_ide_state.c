/* Transfers of an IDE disk that are saved in their midst and go on in another machine, and saved states that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/dev/ide_rig.h"

#define SECTORS 8192u

static const struct ide_rig_drive one_disk[IDE_DRIVES] = {{IDE_DISK, SECTORS, false}};

static uint8_t *at(struct ide_rig *t, uint32_t sector)
{
    return t->medium[0].bytes + sector * 512ull;
}

static void move_in_pio_read(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    uint8_t b[8 * 512], *p = b;

    ide_command(t, PRI, 0xe0, 1000, 8, 0x20);
    t = ide_rig_move(t); /* nothing is read yet */
    assert_int_equal(rd(t, PRI + CONTROL), READY | BSY);
    for (unsigned i = 0; i < 8; i++, p += 512) {
        if (i == 1)
            t = ide_rig_move(t); /* between blocks, the interrupt pending */
        assert_int_equal(ide_wait(t, PRI), READY | DRQ);
        pio_in(t, PRI, p, 100);
        if (i % 3 == 0)
            t = ide_rig_move(t); /* in a block */
        pio_in(t, PRI, p + 100, 412);
    }
    assert_int_equal(rd(t, PRI + 7), READY);
    assert_memory_equal(b, at(t, 1000), sizeof b);
    ide_command(t, PRI, 0xa0, 0, 0, 0xec);
    t = ide_rig_move(t); /* data that are not on the disk */
    assert_int_equal(ide_wait(t, PRI), READY | DRQ);
    pio_in(t, PRI, b, 512);
    assert_int_equal(get_le16(b + 120), SECTORS);
    assert_int_equal(rd(t, PRI + 7), READY);
    ide_rig_free(t);
}

static void move_in_pio_write(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    uint8_t b[5 * 512];

    for (unsigned i = 0; i < sizeof b; i++)
        b[i] = (uint8_t)(i * 13 + 5);
    wr(t, PRI + 1, 0x82); /* every write is made durable */
    ide_command(t, PRI, 0xa0, 0, 0, 0xef);
    assert_int_equal(ide_wait(t, PRI), READY);
    ide_command(t, PRI, 0xa0, 0, 2, 0xc6);
    assert_int_equal(ide_wait(t, PRI), READY);
    ide_command(t, PRI, 0xe0, 200, 5, 0xc5);
    pio_out(t, PRI, b, 600);
    t = ide_rig_move(t); /* in a block */
    pio_out(t, PRI, b + 600, 424);
    t = ide_rig_move(t); /* a block on its way to the disk: it goes again */
    assert_int_equal(ide_wait(t, PRI), READY | DRQ);
    pio_out(t, PRI, b + 1024, 1024);
    assert_int_equal(ide_wait(t, PRI), READY | DRQ);
    pio_out(t, PRI, b + 2048, 512);
    rig_events(&t->r);
    ide_rig_serve(t);
    rig_events(&t->r);
    t = ide_rig_move(t); /* written, the flush under way */
    assert_int_equal(rd(t, PRI + CONTROL), READY | BSY);
    assert_int_equal(ide_wait(t, PRI), READY);
    assert_int_equal(t->flushes, 1);
    assert_memory_equal(at(t, 200), b, sizeof b);
    ide_rig_free(t);
}

static void move_in_dma(void **state)
{
    enum { N = 600 }; /* three pieces */
    struct ide_rig *t = ide_rig_new(one_disk);
    uint32_t mem = rig_alloc(&t->r, N * 512, 65536);
    struct prd prd[10];

    for (unsigned i = 0; i < 10; i++)
        prd[i] = (struct prd){mem + i * 30720, 30720, i == 9};
    dma_table(t, PRI, prd, 10);
    for (unsigned out = 0; out < 2; out++) {
        uint8_t *want = malloc(N * 512);
        for (unsigned i = 0; i < N * 512; i++)
            want[i] = (uint8_t)(i * 3 + (i >> 8));
        if (out)
            memcpy(rig_at(&t->r, mem), want, N * 512);
        else
            memcpy(at(t, 1000), want, N * 512);
        ide_command_ext(t, PRI, 0xe0, 1000, N, out ? 0x35 : 0x25);
        t = ide_rig_move(t); /* the bus master is not started yet */
        rig_events(&t->r);
        ide_rig_serve(t);
        rig_events(&t->r);
        t = ide_rig_move(t);
        dma_start(t, PRI, !out);
        for (unsigned i = 0; i < 3; i++) {
            t = ide_rig_move(t); /* each piece under way */
            rig_events(&t->r);
            ide_rig_serve(t);
            rig_events(&t->r);
        }
        assert_int_equal(ide_wait(t, PRI), READY);
        assert_int_equal(dma_stop(t, PRI), 4);
        assert_memory_equal(out ? at(t, 1000) : rig_at(&t->r, mem), want, N * 512);
        free(want);
    }
    ide_rig_free(t);
}

/* A load into the machine itself, over a request of the time before: its result changes nothing. */
static void load_over_a_request(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    uint8_t *data, b[512];
    size_t len;
    struct err e = {0};

    ide_command(t, PRI, 0xe0, 33, 1, 0x20);
    assert_int_equal(state_save(&t->r.states, &data, &len, &e), 0);
    assert_int_equal(ide_wait(t, PRI), READY | DRQ);
    wr(t, PRI + CONTROL, 4);
    wr(t, PRI + CONTROL, 0);
    ide_command(t, PRI, 0xe0, 44, 1, 0x20); /* submitted, and then the past is back */
    ide_rig_serve(t);                       /* the worker is idle, its word still on the way */
    assert_int_equal(state_load(&t->r.states, data, len, &e), 0);
    assert_int_equal(rd(t, PRI + CONTROL), READY | BSY);
    assert_int_equal(ide_wait(t, PRI), READY | DRQ);
    pio_in(t, PRI, b, 512);
    assert_memory_equal(b, at(t, 33), 512);
    free(data);
    ide_rig_free(t);
}

static void hostile_state(void **state)
{
    struct ide_rig *t = ide_rig_new(one_disk);
    struct ide_channel *ch = &t->ide.ch[0];
    const struct state_table *table = ch->state.table;
    const char *why = "";
    struct ide_saved good;

    ide_command(t, PRI, 0xe0, 100, 2, 0x30);
    wr16(t, PRI, 1);
    table->before_save(ch);
    good = ch->saved;
    assert_int_equal(good.phase, IDE_PIO_OUT);
    assert_int_equal(table->loaded(ch, &why), 0);
#define REFUSES(change)                                 \
    do {                                                \
        ch->saved = good;                               \
        why = "";                                       \
        change;                                         \
        assert_int_equal(table->loaded(ch, &why), -1);  \
        assert_string_equal(why, "transfer in flight"); \
    } while (0)
    REFUSES(ch->saved.phase = IDE_PHASES);
    REFUSES(ch->saved.phase = 255);
    REFUSES(ch->saved.phase = IDE_PACKET); /* a disk takes none */
    REFUSES(ch->saved.phase = IDE_DMA_OUT);
    REFUSES((ch->saved.phase = IDE_FETCH, ch->saved.left = 0));
    REFUSES(ch->saved.len = IDE_BLOCK + 512);
    REFUSES(ch->saved.len = 511);
    REFUSES(ch->saved.end = 1024);
    REFUSES(ch->saved.pos = 512);
    REFUSES(ch->saved.at = 1);
    REFUSES(ch->saved.at = 1ull << 60);
    REFUSES(ch->saved.left = 0);
    REFUSES(ch->saved.left = UINT64_MAX & ~511ull);
    REFUSES(ch->select = 2);
    ch->select = 0;
    REFUSES(ch->x.unit = 0);
    REFUSES(ch->x.unit = 100);
    REFUSES(ch->x.unit = IDE_BLOCK + 512);
    ch->x.unit = 512;
    REFUSES(ch->bm.region.left = 0x10001);
    ch->bm.region.left = 0;
    /* where no such sector is: the command fails when it gets there */
    ch->saved = good;
    ch->saved.at = (uint64_t)SECTORS * 512;
    assert_int_equal(table->loaded(ch, &why), 0);
    for (unsigned i = 0; i < 255; i++)
        wr16(t, PRI, 0);
    assert_int_equal(ide_wait(t, PRI), READY | ERR);
    ch->drive[0].heads = 0;
    assert_int_equal(ch->drive[0].state.table->loaded(&ch->drive[0], &why), -1);
    ch->drive[0].heads = 16;
    ch->drive[0].multiple = 32;
    assert_int_equal(ch->drive[0].state.table->loaded(&ch->drive[0], &why), -1);
    ch->drive[0].multiple = 16;
    ide_rig_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(move_in_pio_read),    cmocka_unit_test(move_in_pio_write), cmocka_unit_test(move_in_dma),
        cmocka_unit_test(load_over_a_request), cmocka_unit_test(hostile_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
