/* Data on their way between medium, buffer and guest: by the data port in DRQ blocks, or by the bus master through its
 * table of regions (Bus Master IDE, revision 1.0). The bus master moves a piece whole or not at all: a table that ends
 * in the midst of one leaves the drive waiting, as a drive does whose DMA request nobody answers. */
#include "src/base/util.h"
#include "vmcore/dev/ata.h"
#include "vmcore/dev/atapi.h"
#include "vmcore/rt.h"

enum {
    BM_START = 0x01, /* command */
    BM_TO_MEMORY = 0x08,
    BM_ACTIVE = 0x01, /* status */
    BM_ERROR = 0x02,
    BM_DRIVES = 0x60, /* drives that firmware found able to DMA: storage */

    DESCRIPTOR = 8,
    REGION_MAX = 0x10000,
    PACKET_LEN = 12,
};

/* ---- the medium */

static void done(struct ide_channel *ch)
{
    struct ide_drive *d = ide_selected(ch);
    if (d->kind == IDE_CD)
        atapi_done(d);
    else
        ata_done(d);
}

static void failed(struct ide_channel *ch)
{
    struct ide_drive *d = ide_selected(ch);
    if (d->kind == IDE_CD)
        atapi_failed(d);
    else
        ata_failed(d);
}

static void submit(struct ide_channel *ch, enum blk_op op, uint64_t at, uint32_t len)
{
    const struct blkport *p = &ide_selected(ch)->port;

    if (at > p->size || len > p->size - at) {
        failed(ch);
        return;
    }
    ch->req.op = (uint8_t)op;
    ch->req.off = at;
    ch->req.len = len;
    ch->req.result = 0;
    ch->lent = true;
    p->submit(p->opaque, &ch->req);
}

static void begin(struct ide_channel *ch)
{
    struct ide_drive *d = ide_selected(ch);
    ch->x.phase = IDE_IDLE;
    if (d->kind == IDE_CD)
        atapi_command(d);
    else
        ata_command(d);
}

/* Bytes of the sector at x->at that the guest has had already: a CD's blocks may end in the midst of one. */
static uint32_t had(const struct ide_xfer *x)
{
    return x->at % IDE_SECTOR;
}

/* Does what the phase asks for, as soon as the buffer is here. */
static void go(struct ide_channel *ch)
{
    struct ide_xfer *x = &ch->x;

    if (ch->lent)
        return;
    switch (x->phase) {
    case IDE_COMMAND:
        begin(ch);
        break;
    case IDE_FETCH:
        submit(ch, BLK_READ, x->at - had(x), (uint32_t)MIN(x->left + had(x), (uint64_t)IDE_PIECE));
        break;
    case IDE_STORE:
        submit(ch, BLK_WRITE, x->at, x->len);
        break;
    case IDE_FLUSH:
        submit(ch, BLK_FLUSH, 0, 0);
        break;
    case IDE_DMA_IN:
    case IDE_DMA_OUT:
        ide_master_run(ch);
        break;
    default:
        break;
    }
}

static void enter(struct ide_channel *ch, enum ide_phase phase)
{
    ch->x.phase = (uint8_t)phase;
    go(ch);
}

/* ---- blocks of PIO */

static void block_in(struct ide_channel *ch)
{
    struct ide_xfer *x = &ch->x;
    struct ide_drive *d = ide_selected(ch);

    x->end = x->pos + MIN(x->unit, x->len - x->pos);
    x->phase = IDE_PIO_IN;
    if (d->kind == IDE_CD)
        atapi_block(d, x->end - x->pos);
    ide_interrupt(d);
}

static void block_out(struct ide_channel *ch, bool interrupt)
{
    struct ide_xfer *x = &ch->x;

    x->len = x->end = (uint32_t)MIN(x->left, (uint64_t)x->unit);
    x->pos = 0;
    x->phase = IDE_PIO_OUT;
    if (interrupt)
        ide_interrupt(ide_selected(ch));
}

static void emptied(struct ide_channel *ch)
{
    struct ide_xfer *x = &ch->x;

    if (x->pos < x->len)
        block_in(ch);
    else if (!x->reply && x->left)
        enter(ch, IDE_FETCH);
    else
        done(ch);
}

uint32_t ide_data_read(struct ide_channel *ch, unsigned size)
{
    struct ide_xfer *x = &ch->x;
    uint32_t v = 0, n;

    if (x->phase != IDE_PIO_IN)
        return UINT32_MAX;
    n = MIN(size, x->end - x->pos);
    memcpy(&v, ch->buf + x->pos, n);
    x->pos += n;
    if (x->pos == x->end)
        emptied(ch);
    return v;
}

void ide_data_write(struct ide_channel *ch, uint32_t val, unsigned size)
{
    struct ide_xfer *x = &ch->x;
    uint32_t n;

    if (x->phase == IDE_PACKET) {
        n = MIN(size, PACKET_LEN - x->pos);
        memcpy(x->packet + x->pos, &val, n);
        x->pos += n;
        if (x->pos == PACKET_LEN)
            atapi_packet(ide_selected(ch));
    } else if (x->phase == IDE_PIO_OUT) {
        n = MIN(size, x->end - x->pos);
        memcpy(ch->buf + x->pos, &val, n);
        x->pos += n;
        if (x->pos == x->end)
            enter(ch, IDE_STORE);
    }
}

/* ---- the bus master */

static bool next_region(struct ide_channel *ch, struct ide_region *r)
{
    uint8_t d[DESCRIPTOR];
    uint32_t count;

    if (!dma_read(ch->ide->ctx->mem, r->next, d, sizeof d)) {
        ch->bm.status |= BM_ERROR;
        return false;
    }
    memcpy(&r->addr, d, 4);
    r->addr &= ~1u;
    count = d[4] | (uint32_t)d[5] << 8;
    r->left = count & ~1u ? count & ~1u : REGION_MAX;
    r->last = d[7] & 0x80;
    r->next += DESCRIPTOR;
    return true;
}

static uint32_t move(struct ide_channel *ch, struct ide_region *r, uint8_t *buf, uint32_t len, bool to_memory)
{
    struct mem *m = ch->ide->ctx->mem;
    uint32_t moved = 0;

    while (moved < len) {
        if (!r->left && (r->last || !next_region(ch, r)))
            break;
        uint32_t n = MIN(r->left, len - moved);
        if (!(to_memory ? dma_write(m, r->addr, buf + moved, n) : dma_read(m, r->addr, buf + moved, n))) {
            ch->bm.status |= BM_ERROR;
            break;
        }
        r->addr += n;
        r->left -= n;
        moved += n;
    }
    return moved;
}

static void commit(struct ide_master *b)
{
    b->region = b->after;
    if (b->region.last && !b->region.left)
        b->status &= (uint8_t)~BM_ACTIVE;
}

void ide_master_run(struct ide_channel *ch)
{
    struct ide_xfer *x = &ch->x;
    struct ide_master *b = &ch->bm;
    bool in = x->phase == IDE_DMA_IN;

    if ((!in && x->phase != IDE_DMA_OUT) || ch->lent || !(b->status & BM_ACTIVE) || !pci_may_dma(&ch->ide->pci))
        return;
    uint32_t from = in ? x->pos : 0, len = in ? x->len - from : (uint32_t)MIN(x->left, (uint64_t)IDE_PIECE);
    b->after = b->region;
    if (move(ch, &b->after, ch->buf + from, len, in) != len) {
        b->status &= (uint8_t)~BM_ACTIVE;
        return;
    }
    if (in) {
        commit(b);
        x->pos = x->len;
        emptied(ch);
    } else {
        x->len = len;
        enter(ch, IDE_STORE);
    }
}

static void master_command(struct ide_channel *ch, uint8_t val)
{
    struct ide_master *b = &ch->bm;
    bool started = (val & BM_START) && !(b->command & BM_START);

    b->command = val & (BM_START | BM_TO_MEMORY);
    if (started) {
        b->status |= BM_ACTIVE;
        b->region = b->after = (struct ide_region){.next = b->table};
        ide_master_run(ch);
    } else if (!(val & BM_START)) {
        b->status &= (uint8_t)~BM_ACTIVE;
    }
}

uint32_t ide_master_read(void *dev, uint32_t off, unsigned size)
{
    struct ide *ide = dev;
    uint32_t v = 0;

    for (unsigned i = 0; i < size; i++, off++) {
        const struct ide_master *b = &ide->ch[off >> 3 & 1].bm;
        unsigned reg = off & 7;
        uint8_t byte = reg == 0 ? b->command : reg == 2 ? b->status : reg >= 4 ? b->table >> (reg - 4) * 8 & 0xff : 0;
        v |= (uint32_t)byte << i * 8;
    }
    return v;
}

void ide_master_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct ide *ide = dev;

    for (unsigned i = 0; i < size; i++, off++) {
        struct ide_channel *ch = &ide->ch[off >> 3 & 1];
        struct ide_master *b = &ch->bm;
        unsigned reg = off & 7, shift = (reg & 3) * 8;
        uint8_t byte = (uint8_t)(val >> i * 8);

        if (reg == 0)
            master_command(ch, byte);
        else if (reg == 2)
            b->status =
                (uint8_t)((b->status & ~BM_DRIVES & ~(byte & (BM_ERROR | IDE_BM_INTERRUPT))) | (byte & BM_DRIVES));
        else if (reg >= 4)
            b->table = ((b->table & ~(0xffu << shift)) | (uint32_t)byte << shift) & ~3u;
    }
}

/* ---- begin and end */

static void start(struct ide_channel *ch, const struct ide_xfer *set, enum ide_phase phase)
{
    struct ide_xfer *x = &ch->x;

    x->dma = set->dma;
    x->out = set->out;
    x->reply = set->reply;
    x->verify = set->verify;
    x->at = set->at;
    x->left = set->left;
    x->unit = set->unit ? set->unit : IDE_SECTOR;
    x->len = set->len;
    x->pos = x->end = 0;
    enter(ch, phase);
}

void ide_read_medium(struct ide_channel *ch, uint64_t at, uint64_t len, uint32_t unit, bool dma)
{
    start(ch, &(struct ide_xfer){.at = at, .left = len, .unit = unit, .dma = dma}, IDE_FETCH);
}

void ide_verify_medium(struct ide_channel *ch, uint64_t at, uint64_t len)
{
    start(ch, &(struct ide_xfer){.at = at, .left = len, .verify = true}, IDE_FETCH);
}

void ide_write_medium(struct ide_channel *ch, uint64_t at, uint64_t len, uint32_t unit, bool dma)
{
    const struct ide_xfer set = {.at = at, .left = len, .unit = unit, .dma = dma, .out = true};

    start(ch, &set, dma ? IDE_DMA_OUT : IDE_IDLE);
    if (!dma)
        block_out(ch, false);
}

void ide_flush_medium(struct ide_channel *ch)
{
    ch->x.out = false;
    enter(ch, IDE_FLUSH);
}

void ide_send_reply(struct ide_channel *ch, uint32_t len, uint32_t unit, bool dma)
{
    const struct ide_xfer set = {.len = len, .unit = unit, .dma = dma, .reply = true};

    start(ch, &set, dma ? IDE_DMA_IN : IDE_IDLE);
    if (!dma)
        block_in(ch);
}

void ide_take_packet(struct ide_channel *ch)
{
    start(ch, &(struct ide_xfer){.unit = IDE_SECTOR}, IDE_PACKET);
}

void ide_abort(struct ide_channel *ch)
{
    ch->stale = ch->lent;
    ch->x.phase = IDE_IDLE;
}

static void stored(struct ide_channel *ch)
{
    struct ide_xfer *x = &ch->x;

    x->at += x->len;
    x->left -= x->len;
    x->len = x->pos = x->end = 0;
    if (x->dma)
        commit(&ch->bm);
    if (!x->left)
        done(ch);
    else if (x->dma)
        enter(ch, IDE_DMA_OUT);
    else
        block_out(ch, true);
}

static void fetched(struct ide_channel *ch)
{
    struct ide_xfer *x = &ch->x;

    x->len = ch->req.len;
    x->pos = x->end = had(x);
    x->at += x->len - x->pos;
    x->left -= x->len - x->pos;
    if (x->verify) {
        x->pos = x->len;
        emptied(ch);
    } else if (x->dma) {
        enter(ch, IDE_DMA_IN);
    } else {
        block_in(ch);
    }
}

void ide_request_done(struct vm_event *ev)
{
    struct ide_channel *ch = ev->opaque;

    ch->lent = false;
    if (ch->stale) {
        ch->stale = false;
        go(ch);
    } else if (ch->req.result < 0) {
        failed(ch);
    } else if (ch->x.phase == IDE_FETCH) {
        fetched(ch);
    } else if (ch->x.phase == IDE_STORE) {
        stored(ch);
    } else {
        done(ch);
    }
}

/* ---- state */

void ide_resume(struct vm_event *ev)
{
    go(ev->opaque);
}

void ide_save_transfer(struct ide_channel *ch)
{
    const struct ide_xfer *x = &ch->x;
    struct ide_saved *s = &ch->saved;
    uint32_t from = 0;

    memset(s, 0, sizeof *s);
    s->phase = x->phase;
    s->at = x->at;
    s->left = x->left;
    switch (x->phase) {
    case IDE_PACKET:
        s->pos = x->pos;
        break;
    case IDE_PIO_IN:
        from = x->pos;
        s->end = x->end - from;
        s->len = x->reply ? x->len - from : s->end;
        if (!x->reply) {
            s->at -= x->len - x->end;
            s->left += x->len - x->end;
        }
        break;
    case IDE_DMA_IN:
        if (x->reply) {
            s->len = x->len;
        } else {
            s->phase = IDE_FETCH;
            s->at -= x->len - x->pos;
            s->left += x->len - x->pos;
        }
        break;
    case IDE_PIO_OUT:
        s->pos = x->pos;
        s->len = s->end = x->len;
        break;
    case IDE_STORE:
        if (x->dma)
            s->phase = IDE_DMA_OUT;
        else
            s->len = s->pos = s->end = x->len;
        break;
    default:
        break;
    }
    if (s->len)
        memcpy(s->buf, ch->buf + from, s->len);
}

/* Is the saved transfer one that a command of this drive can have led to? Where on the medium it lies is checked when
 * it goes on. */
static bool plausible(const struct ide_channel *ch)
{
    const struct ide_saved *s = &ch->saved;
    const struct ide_xfer *x = &ch->x;
    uint8_t kind = ch->drive[ch->select].kind;
    bool sectors = s->at % IDE_SECTOR == 0 && s->left;
    bool whole = sectors && s->len && s->len % IDE_SECTOR == 0 && s->len <= s->left && x->unit % IDE_SECTOR == 0;

    if (s->len > IDE_BLOCK || s->end > s->len || (s->at + s->left) % IDE_SECTOR || s->at >> 56 || s->left >> 56 ||
        x->unit < 2 || x->unit > IDE_BLOCK || (s->phase != IDE_PACKET && s->pos > s->end))
        return false;
    if (s->phase == IDE_IDLE)
        return true;
    if (kind == IDE_NONE)
        return false;
    switch (s->phase) {
    case IDE_COMMAND:
        return true;
    case IDE_PACKET:
        return kind == IDE_CD && s->pos < PACKET_LEN;
    case IDE_FETCH:
        return s->left && !x->reply;
    case IDE_PIO_IN:
        return s->pos < s->end && !x->dma;
    case IDE_PIO_OUT:
        return kind == IDE_DISK && whole && s->end == s->len && s->pos < s->end && !x->dma;
    case IDE_DMA_IN:
        return s->len && x->reply && x->dma;
    case IDE_DMA_OUT:
        return kind == IDE_DISK && sectors && x->dma;
    case IDE_STORE:
        return kind == IDE_DISK && whole && !x->dma;
    case IDE_FLUSH:
        return kind == IDE_DISK;
    default:
        return false;
    }
}

int ide_load_transfer(struct ide_channel *ch, const char **why)
{
    const struct ide_saved *s = &ch->saved;
    struct ide_xfer *x = &ch->x;

    if (ch->select > 1 || !plausible(ch) || ch->bm.region.left > REGION_MAX) {
        *why = "transfer in flight";
        return -1;
    }
    x->phase = s->phase;
    x->at = s->at;
    x->left = s->left;
    x->len = s->len;
    x->pos = s->pos;
    x->end = s->end;
    if (s->len && ch->buf)
        memcpy(ch->buf, s->buf, s->len);
    ch->bm.table &= ~3u;
    ch->bm.after = ch->bm.region;
    ch->stale = ch->lent;                       /* of the time before */
    vm_post(ch->ide->ctx->opaque, &ch->resume); /* not now: the machine's memory may not be there yet */
    return 0;
}
