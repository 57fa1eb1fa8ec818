#include "vmcore/dev/atapi.h"

#include "src/base/util.h"
#include "vmcore/dev/ata.h"
#include "vmcore/rt.h"

enum {
    DISC_SECTOR = 2048,
    CD_SECTORS_MAX = 80 * 60 * 75, /* more is a DVD */
    LEAD_OUT = 0xaa,
    SPEED = 5645, /* kB a second: 32 times */

    KEY_NOT_READY = 2,
    KEY_MEDIUM = 3,
    KEY_ILLEGAL = 5,
    KEY_ATTENTION = 6,

    ASC_UNRECOVERED = 0x11,
    ASC_OPCODE = 0x20,
    ASC_RANGE = 0x21,
    ASC_FIELD = 0x24,
    ASC_CHANGED = 0x28,
    ASC_RESET = 0x29,
    ASC_SAVING = 0x39,
    ASC_NO_MEDIUM = 0x3a,
    ASC_REMOVAL = 0x53,

    EVENT_NEW = 2,
    EVENT_GONE = 3,

    REASON_COMMAND = 1, /* interrupt reason, in the count register */
    REASON_TO_HOST = 2,

    PACKET = 0xa0,
    IDENTIFY_PACKET_DEVICE = 0xa1,
};

/* ---- small things */

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)be16(p) << 16 | be16(p + 2);
}
static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
}
static void put_text(uint8_t *p, unsigned n, const char *text)
{
    for (unsigned i = 0; i < n; i++)
        p[i] = *text ? (uint8_t)*text++ : ' ';
}

static uint32_t sectors(const struct ide_drive *d)
{
    uint64_t n = d->port.size / DISC_SECTOR;
    return (uint32_t)MIN(n, (uint64_t)UINT32_MAX);
}
static bool disc_in(const struct ide_drive *d)
{
    return sectors(d) && !d->tray_open;
}

/* ---- how commands end */

static void end(struct ide_drive *d, uint8_t error)
{
    d->reg[IDE_COUNT][0] = REASON_COMMAND | REASON_TO_HOST;
    ide_finish(d, error, true);
}

static void ok(struct ide_drive *d)
{
    end(d, 0);
}

static void fail(struct ide_drive *d, uint8_t key, uint8_t asc, uint8_t ascq)
{
    d->sense_key = key;
    d->asc = asc;
    d->ascq = ascq;
    end(d, (uint8_t)(key << 4 | IDE_ERR_ABRT));
}

static void bad_field(struct ide_drive *d)
{
    fail(d, KEY_ILLEGAL, ASC_FIELD, 0);
}

void atapi_done(struct ide_drive *d)
{
    if (d->ch->x.command == PACKET)
        ok(d);
    else
        ide_finish(d, 0, false); /* identify data: the block was its interrupt */
}

void atapi_failed(struct ide_drive *d)
{
    fail(d, KEY_MEDIUM, ASC_UNRECOVERED, 0);
}

/* ---- data to the guest */

void atapi_block(struct ide_drive *d, uint32_t n)
{
    if (d->ch->x.command != PACKET)
        return;
    d->reg[IDE_COUNT][0] = REASON_TO_HOST;
    d->reg[IDE_MID][0] = (uint8_t)n;
    d->reg[IDE_HIGH][0] = (uint8_t)(n >> 8);
}

static bool by_dma(const struct ide_drive *d)
{
    return d->reg[IDE_FEATURE][0] & 1;
}

/* The longest block of PIO that the guest takes: what it wrote as byte count, made even. 0: it forgot to. */
static uint32_t block_limit(const struct ide_drive *d)
{
    uint32_t n = d->reg[IDE_MID][0] | (uint32_t)d->reg[IDE_HIGH][0] << 8;
    return n == 1 ? 2 : MIN(n & ~1u, IDE_BLOCK);
}

static bool can_send(struct ide_drive *d)
{
    if (by_dma(d) || block_limit(d))
        return true;
    ide_finish(d, IDE_ERR_ABRT, true);
    return false;
}

/* The buffer's first len bytes, or as many as the packet asks for. */
static void reply(struct ide_drive *d, uint32_t len, uint32_t allocated)
{
    len = MIN(len, allocated);
    if (!len)
        ok(d);
    else if (can_send(d))
        ide_send_reply(d->ch, len, by_dma(d) ? IDE_SECTOR : block_limit(d), by_dma(d));
}

static uint8_t *cleared(struct ide_drive *d)
{
    memset(d->ch->buf, 0, IDE_BLOCK);
    return d->ch->buf;
}

static void read_sectors(struct ide_drive *d, uint32_t lba, uint32_t n)
{
    if (lba > sectors(d) || n > sectors(d) - lba)
        fail(d, KEY_ILLEGAL, ASC_RANGE, 0);
    else if (!n)
        ok(d);
    else if (can_send(d))
        ide_read_medium(d->ch, (uint64_t)lba * DISC_SECTOR, (uint64_t)n * DISC_SECTOR,
                        by_dma(d) ? DISC_SECTOR : block_limit(d), by_dma(d));
}

/* ---- the drive */

static void test_unit_ready(struct ide_drive *d, const uint8_t *p)
{
    ok(d);
}

static void request_sense(struct ide_drive *d, const uint8_t *p)
{
    uint8_t *b = cleared(d);

    if (!d->sense_key && d->attention) {
        d->sense_key = KEY_ATTENTION;
        d->asc = d->attention;
        d->attention = 0;
    }
    b[0] = 0x70;
    b[2] = d->sense_key;
    b[7] = 10;
    b[12] = d->asc;
    b[13] = d->ascq;
    d->sense_key = d->asc = d->ascq = 0;
    reply(d, 18, p[4]);
}

static void inquiry(struct ide_drive *d, const uint8_t *p)
{
    uint8_t *b = cleared(d);

    if ((p[1] & 1) || p[2]) {
        bad_field(d);
        return;
    }
    b[0] = 5;    /* CD-ROM */
    b[1] = 0x80; /* removable */
    b[3] = 0x21; /* ATAPI's response format */
    b[4] = 31;
    put_text(b + 8, 8, "vmtest");
    put_text(b + 16, 16, "CD-ROM");
    put_text(b + 32, 4, "1.0");
    reply(d, 36, be16(p + 3));
}

static void start_stop(struct ide_drive *d, const uint8_t *p)
{
    bool load_eject = p[4] & 2, start = p[4] & 1;

    if (p[4] >> 4 || !load_eject || start == !d->tray_open) {
        ok(d); /* power conditions, the motor, or nothing to do */
    } else if (start) {
        d->tray_open = false;
        atapi_disc_changed(d);
        ok(d);
    } else if (d->locked) {
        fail(d, KEY_ILLEGAL, ASC_REMOVAL, 2);
    } else {
        d->tray_open = true;
        d->event = EVENT_GONE;
        ok(d);
    }
}

static void prevent_removal(struct ide_drive *d, const uint8_t *p)
{
    d->locked = p[4] & 1;
    ok(d);
}

static void mechanism_status(struct ide_drive *d, const uint8_t *p)
{
    uint8_t *b = cleared(d);
    b[1] = d->tray_open ? 0x10 : 0;
    reply(d, 8, be16(p + 8));
}

static void get_event(struct ide_drive *d, const uint8_t *p)
{
    uint8_t *b = cleared(d);
    const uint8_t media = 1 << 4;

    if (!(p[1] & 1)) { /* asynchronous operation */
        bad_field(d);
        return;
    }
    b[3] = media; /* the classes that there are */
    if (!(p[4] & media)) {
        put16(b, 2);
        b[2] = 0x80; /* none of those asked for */
        reply(d, 4, be16(p + 7));
        return;
    }
    put16(b, 6);
    b[2] = 4;
    b[4] = d->event;
    b[5] = (uint8_t)((d->tray_open ? 1 : 0) | (disc_in(d) ? 2 : 0));
    if (be16(p + 7) > 4)
        d->event = 0; /* told */
    reply(d, 8, be16(p + 7));
}

/* ---- mode pages */

static unsigned page_error_recovery(const struct ide_drive *d, uint8_t *b)
{
    b[0] = 0x01;
    b[1] = 6;
    b[3] = 5; /* retries */
    return 8;
}

static unsigned page_audio(const struct ide_drive *d, uint8_t *b)
{
    b[0] = 0x0e;
    b[1] = 14;
    b[2] = 4; /* immediate */
    return 16;
}

static unsigned page_capabilities(const struct ide_drive *d, uint8_t *b)
{
    b[0] = 0x2a;
    b[1] = 18;
    b[2] = 0x0b;                                     /* reads CD-R, CD-RW, DVD-ROM */
    b[6] = (uint8_t)(0x29 | (d->locked ? 0x02 : 0)); /* a tray that ejects and locks */
    put16(b + 8, SPEED);
    put16(b + 12, 128); /* KiB of buffer */
    put16(b + 14, SPEED);
    return 20;
}

static void mode_sense(struct ide_drive *d, const uint8_t *p)
{
    static const struct {
        uint8_t code;
        unsigned (*fill)(const struct ide_drive *d, uint8_t *b);
    } pages[] = {{0x01, page_error_recovery}, {0x0e, page_audio}, {0x2a, page_capabilities}};
    unsigned control = p[2] >> 6, code = p[2] & 0x3f, len = 8;
    uint8_t *b = cleared(d);

    if (control == 3) {
        fail(d, KEY_ILLEGAL, ASC_SAVING, 0);
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(pages); i++) {
        if (code != pages[i].code && code != 0x3f)
            continue;
        unsigned n = pages[i].fill(d, b + len);
        if (control == 1) /* what may be changed: nothing */
            memset(b + len + 2, 0, n - 2);
        len += n;
    }
    if (len == 8) {
        bad_field(d);
        return;
    }
    put16(b, len - 2);
    b[2] = d->tray_open ? 0x71 : disc_in(d) ? 0x01 : 0x70;
    reply(d, len, be16(p + 7));
}

/* ---- the disc */

static void read_capacity(struct ide_drive *d, const uint8_t *p)
{
    uint8_t *b = cleared(d);
    put32(b, sectors(d) - 1);
    put32(b + 4, DISC_SECTOR);
    reply(d, 8, 8);
}

static void read_10(struct ide_drive *d, const uint8_t *p)
{
    read_sectors(d, be32(p + 2), be16(p + 7));
}

static void read_12(struct ide_drive *d, const uint8_t *p)
{
    read_sectors(d, be32(p + 2), be32(p + 6));
}

/* Of the kinds of data that a sector has, a file holds the user data alone. */
static void read_cd(struct ide_drive *d, const uint8_t *p)
{
    unsigned type = p[1] >> 2 & 7;

    if ((type && type != 2) || (p[10] & 7) || (p[9] & 0xfe & ~0x10)) /* any, or mode 1; no subchannel */
        bad_field(d);
    else
        read_sectors(d, be32(p + 2), p[9] & 0x10 ? (uint32_t)p[6] << 16 | be16(p + 7) : 0);
}

static void seek(struct ide_drive *d, const uint8_t *p)
{
    if (be32(p + 2) >= sectors(d))
        fail(d, KEY_ILLEGAL, ASC_RANGE, 0);
    else
        ok(d);
}

static void put_address(uint8_t *b, uint32_t lba, bool msf)
{
    uint32_t frames = lba + 150; /* two seconds of pregap */

    if (!msf) {
        put32(b, lba);
        return;
    }
    b[0] = 0;
    b[1] = (uint8_t)MIN(frames / 75 / 60, 255u);
    b[2] = (uint8_t)(frames / 75 % 60);
    b[3] = (uint8_t)(frames % 75);
}

static unsigned put_track(uint8_t *b, uint8_t track, uint32_t lba, bool msf)
{
    b[1] = 0x14; /* data, address in subchannel Q */
    b[2] = track;
    put_address(b + 4, lba, msf);
    return 8;
}

static unsigned put_raw(uint8_t *b, uint8_t point, uint8_t m, uint8_t s, uint8_t f)
{
    b[0] = 1; /* session */
    b[1] = 0x14;
    b[3] = point;
    b[8] = m;
    b[9] = s;
    b[10] = f;
    return 11;
}

static unsigned raw_toc(const struct ide_drive *d, uint8_t *b)
{
    uint8_t out[4];
    unsigned n = put_raw(b, 0xa0, 1, 0, 0); /* first and last track, lead-out, track 1 */

    n += put_raw(b + n, 0xa1, 1, 0, 0);
    put_address(out, sectors(d), true);
    n += put_raw(b + n, 0xa2, out[1], out[2], out[3]);
    return n + put_raw(b + n, 1, 0, 2, 0);
}

static void read_toc(struct ide_drive *d, const uint8_t *p)
{
    unsigned format = p[2] & 15 ? p[2] & 15u : p[9] >> 6u, track = p[6], len = 4; /* SFF-8020i has it in byte 9 */
    bool msf = p[1] & 2;
    uint8_t *b = cleared(d);

    b[2] = b[3] = 1; /* first and last track or session */
    switch (format) {
    case 0:
        if (track > 1 && track != LEAD_OUT) {
            bad_field(d);
            return;
        }
        if (track <= 1)
            len += put_track(b + len, 1, 0, msf);
        len += put_track(b + len, LEAD_OUT, sectors(d), msf);
        break;
    case 1:
        len += put_track(b + len, 1, 0, msf);
        break;
    case 2:
        len += raw_toc(d, b + len);
        break;
    default:
        bad_field(d);
        return;
    }
    put16(b, len - 2);
    reply(d, len, be16(p + 7));
}

static void read_disc_information(struct ide_drive *d, const uint8_t *p)
{
    uint8_t *b = cleared(d);

    if (p[1] & 7) {
        bad_field(d);
        return;
    }
    put16(b, 32);
    b[2] = 0x0e; /* complete, as is its last session */
    b[3] = b[4] = b[5] = b[6] = 1;
    b[7] = 0x20; /* for unrestricted use */
    memset(b + 16, 0xff, 8);
    reply(d, 34, be16(p + 7));
}

static void read_track_information(struct ide_drive *d, const uint8_t *p)
{
    uint32_t which = be32(p + 2);
    uint8_t *b = cleared(d);
    bool there = (p[1] & 3) == 0 ? which < sectors(d) : (p[1] & 3) < 3 && which == 1;

    if (!there) {
        bad_field(d);
        return;
    }
    put16(b, 34);
    b[2] = b[3] = 1;
    b[5] = 4; /* data */
    b[6] = 1; /* mode 1 */
    put32(b + 24, sectors(d));
    reply(d, 36, be16(p + 7));
}

/* ---- features (MMC-3, 5.3) */

static uint16_t profile(const struct ide_drive *d)
{
    return !disc_in(d) ? 0 : sectors(d) > CD_SECTORS_MAX ? 0x0010 : 0x0008;
}

static unsigned put_feature(uint8_t *b, uint16_t code, uint8_t flags, uint8_t len)
{
    put16(b, code);
    b[2] = flags;
    b[3] = len;
    return 4u + len;
}

static unsigned fill_feature(const struct ide_drive *d, uint16_t code, uint8_t *b)
{
    const uint8_t persistent = 2, current = 1;
    uint16_t now = profile(d);
    unsigned n;

    switch (code) {
    case 0x0000: /* profiles */
        n = put_feature(b, code, persistent | current, 8);
        put16(b + 4, 0x0010);
        b[6] = now == 0x0010;
        put16(b + 8, 0x0008);
        b[10] = now == 0x0008;
        return n;
    case 0x0001: /* core: ATAPI */
        n = put_feature(b, code, 2 << 2 | persistent | current, 8);
        b[7] = 2;
        return n;
    case 0x0003: /* removable medium: tray, ejects, locks */
        n = put_feature(b, code, persistent | current, 4);
        b[4] = 0x29;
        return n;
    case 0x0010: /* random readable */
        n = put_feature(b, code, now ? current : 0, 8);
        put32(b + 4, DISC_SECTOR);
        put16(b + 8, 1);
        return n;
    case 0x001e: /* CD read */
        return put_feature(b, code, (uint8_t)(2 << 2 | (now == 0x0008 ? current : 0)), 4);
    case 0x001f: /* DVD read */
        return put_feature(b, code, now == 0x0010 ? current : 0, 0);
    default:
        return 0;
    }
}

static void get_configuration(struct ide_drive *d, const uint8_t *p)
{
    static const uint16_t features[] = {0x0000, 0x0001, 0x0003, 0x0010, 0x001e, 0x001f};
    unsigned which = p[1] & 3, from = be16(p + 2), len = 8;
    uint8_t *b = cleared(d);

    if (which == 3) {
        bad_field(d);
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
        if (which == 2 ? features[i] != from : features[i] < from)
            continue;
        unsigned n = fill_feature(d, features[i], b + len);
        if (which != 1 || (b[len + 2] & 1))
            len += n;
        else
            memset(b + len, 0, n);
    }
    put32(b, len - 4);
    put16(b + 6, profile(d));
    reply(d, len, be16(p + 7));
}

/* ---- packets */

enum { NEEDS_DISC = 1, ANY_TIME = 2 }; /* ANY_TIME: a unit attention waits on */

static const struct packet_command {
    uint8_t code, flags;
    void (*run)(struct ide_drive *d, const uint8_t *p);
} packet_commands[] = {
    {0x00, NEEDS_DISC, test_unit_ready},
    {0x03, ANY_TIME, request_sense},
    {0x12, ANY_TIME, inquiry},
    {0x1b, 0, start_stop},
    {0x1e, 0, prevent_removal},
    {0x25, NEEDS_DISC, read_capacity},
    {0x28, NEEDS_DISC, read_10},
    {0x2b, NEEDS_DISC, seek},
    {0x43, NEEDS_DISC, read_toc},
    {0x46, ANY_TIME, get_configuration},
    {0x4a, ANY_TIME, get_event},
    {0x51, NEEDS_DISC, read_disc_information},
    {0x52, NEEDS_DISC, read_track_information},
    {0x5a, 0, mode_sense},
    {0xa8, NEEDS_DISC, read_12},
    {0xbb, 0, test_unit_ready}, /* SET CD SPEED: it is as fast as it is */
    {0xbd, 0, mechanism_status},
    {0xbe, NEEDS_DISC, read_cd},
};

void atapi_packet(struct ide_drive *d)
{
    const uint8_t *p = d->ch->x.packet;
    const struct packet_command *c = NULL;

    for (unsigned i = 0; i < ARRAY_LEN(packet_commands) && !c; i++)
        if (packet_commands[i].code == p[0])
            c = &packet_commands[i];
    if (p[0] != 0x03)
        d->sense_key = d->asc = d->ascq = 0;
    if (d->attention && !(c && (c->flags & ANY_TIME))) {
        uint8_t asc = d->attention;
        d->attention = 0;
        fail(d, KEY_ATTENTION, asc, 0);
    } else if (!c) {
        fail(d, KEY_ILLEGAL, ASC_OPCODE, 0);
    } else if ((c->flags & NEEDS_DISC) && !disc_in(d)) {
        fail(d, KEY_NOT_READY, ASC_NO_MEDIUM, d->tray_open ? 2 : 1);
    } else {
        d->power = 0xff;
        c->run(d, p);
    }
}

/* ---- ATA commands */

static void identify(struct ide_drive *d)
{
    uint8_t *b = d->ch->buf;

    memset(b, 0, IDE_SECTOR);
    ata_identify_word(b, 0, 0x85c0); /* CD-ROM, removable, packets of 12 bytes within 50 us and without an interrupt */
    ata_identify_text(b + 20, 20, d->port.serial);
    ata_identify_text(b + 46, 8, "1.0");
    ata_identify_text(b + 54, 40, "vmtest CD-ROM");
    ata_identify_modes(d, b);
    ata_identify_word(b, 82, 0x4218); /* NOP, DEVICE RESET, packets, power management */
    ata_identify_word(b, 83, 0x4000);
    ata_identify_word(b, 84, 0x4000);
    ata_identify_word(b, 85, 0x4218);
    ata_identify_word(b, 87, 0x4000);
    ata_identify_seal(b);
    ide_send_reply(d->ch, IDE_SECTOR, IDE_SECTOR, false);
}

/* The signature tells a driver that took it for a disk. */
static void not_a_disk(struct ide_drive *d)
{
    uint8_t device = d->reg[IDE_DEVICE][0];

    ide_signature(d);
    d->reg[IDE_DEVICE][0] = device & IDE_DEV_SELECT;
    ide_finish(d, IDE_ERR_ABRT, true);
}

void atapi_command(struct ide_drive *d)
{
    switch (d->ch->x.command) {
    case PACKET:
        if (d->reg[IDE_FEATURE][0] & 2) { /* overlapped */
            ide_finish(d, IDE_ERR_ABRT, true);
            return;
        }
        d->reg[IDE_COUNT][0] = REASON_COMMAND;
        ide_take_packet(d->ch);
        break;
    case IDENTIFY_PACKET_DEVICE:
        identify(d);
        break;
    case 0x20: /* READ SECTORS, IDENTIFY DEVICE */
    case 0x21:
    case 0xec:
        not_a_disk(d);
        break;
    default:
        if (!ata_common_command(d))
            ide_finish(d, IDE_ERR_ABRT, true);
    }
}

void atapi_disc_changed(struct ide_drive *d)
{
    bool disc = sectors(d) != 0;

    d->tray_open = false;
    d->attention = disc ? ASC_CHANGED : 0;
    d->event = disc ? EVENT_NEW : EVENT_GONE;
}

void atapi_reset(struct ide_drive *d)
{
    d->sense_key = d->asc = d->ascq = 0;
    d->attention = ASC_RESET;
    d->event = 0;
    d->tray_open = d->locked = false;
    d->transfer_mode = 0;
}

int atapi_loaded(struct ide_drive *d, const char **why)
{
    if (d->sense_key > 15 || d->event > EVENT_GONE) {
        *why = "sense key or media event";
        return -1;
    }
    if (d->disc_size != d->port.size)
        atapi_disc_changed(d); /* the disc was changed while the machine was away */
    return 0;
}
