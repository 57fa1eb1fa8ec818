#include "vmcore/dev/ata.h"

#include "src/base/util.h"
#include "vmcore/rt.h"

enum {
    MULTIPLE_MAX = 16, /* sectors: IDE_BLOCK */
    LBA28_SECTORS = 0x0fffffff,

    POWER_STANDBY = 0x00,
    POWER_IDLE = 0x80,
    POWER_ACTIVE = 0xff,

    MODE_PIO = 0x08, /* SET FEATURES' transfer modes: kind, and number in the low bits */
    MODE_MWDMA = 0x20,
    MODE_UDMA = 0x40,
};
_Static_assert(MULTIPLE_MAX *IDE_SECTOR == IDE_BLOCK, "the longest block of READ MULTIPLE");

static uint64_t capacity(const struct ide_drive *d)
{
    return d->port.size / IDE_SECTOR;
}

static void ok(struct ide_drive *d)
{
    ide_finish(d, 0, true);
}

static void abort_command(struct ide_drive *d)
{
    ide_finish(d, IDE_ERR_ABRT, true);
}

/* ---- addresses */

/* The translation for a disk of this size: 16 heads of 63 sectors, as far as 16383 cylinders go (ATA-5, annex B). */
static uint16_t default_cylinders(const struct ide_drive *d)
{
    uint64_t n = capacity(d) / (16 * 63);
    return (uint16_t)(n > 16383 ? 16383 : n ? n : 1);
}

static void translate(struct ide_drive *d, unsigned heads, unsigned sectors)
{
    uint64_t n = capacity(d) / (heads * sectors);
    d->heads = (uint8_t)heads;
    d->sectors = (uint8_t)sectors;
    d->cylinders = (uint16_t)(n > 65535 ? 65535 : n ? n : 1);
}

/* The task file's first sector. False: no such sector. */
static bool address(const struct ide_drive *d, bool ext, uint64_t *ret)
{
    const uint8_t(*r)[2] = d->reg;
    unsigned device = r[IDE_DEVICE][0];

    if (ext) {
        *ret = r[IDE_LOW][0] | (uint32_t)r[IDE_MID][0] << 8 | (uint32_t)r[IDE_HIGH][0] << 16 |
               (uint64_t)r[IDE_LOW][1] << 24 | (uint64_t)r[IDE_MID][1] << 32 | (uint64_t)r[IDE_HIGH][1] << 40;
    } else if (device & IDE_DEV_LBA) {
        *ret = r[IDE_LOW][0] | (uint32_t)r[IDE_MID][0] << 8 | (uint32_t)r[IDE_HIGH][0] << 16 | (device & 15u) << 24;
    } else {
        unsigned sector = r[IDE_LOW][0], head = device & 15, cylinder = r[IDE_MID][0] | (unsigned)r[IDE_HIGH][0] << 8;
        if (!sector || sector > d->sectors || head >= d->heads || cylinder >= d->cylinders)
            return false;
        *ret = ((uint64_t)cylinder * d->heads + head) * d->sectors + sector - 1;
    }
    return *ret < capacity(d);
}

static uint32_t count(const struct ide_drive *d, bool ext)
{
    uint32_t n = d->reg[IDE_COUNT][0] | (ext ? (uint32_t)d->reg[IDE_COUNT][1] << 8 : 0);
    return n ? n : ext ? 65536 : 256;
}

static bool is_ext(uint8_t command)
{
    switch (command) {
    case 0x24: /* READ SECTORS EXT */
    case 0x25: /* READ DMA EXT */
    case 0x27: /* READ NATIVE MAX ADDRESS EXT */
    case 0x29: /* READ MULTIPLE EXT */
    case 0x34: /* WRITE SECTORS EXT */
    case 0x35: /* WRITE DMA EXT */
    case 0x39: /* WRITE MULTIPLE EXT */
    case 0x42: /* READ VERIFY EXT */
        return true;
    default:
        return false;
    }
}

/* The task file names this sector afterwards: the last one that was moved, or the first that could not be. */
static void show_address(struct ide_drive *d, uint64_t lba, bool ext)
{
    uint8_t(*r)[2] = d->reg;
    unsigned device = r[IDE_DEVICE][0];

    if (!ext && !(device & IDE_DEV_LBA)) {
        uint64_t track = lba / d->sectors, cylinder = track / d->heads;
        r[IDE_LOW][0] = (uint8_t)(lba % d->sectors + 1);
        r[IDE_MID][0] = (uint8_t)cylinder;
        r[IDE_HIGH][0] = (uint8_t)(cylinder >> 8);
        r[IDE_DEVICE][0] = (uint8_t)((device & 0xf0) | track % d->heads);
        return;
    }
    r[IDE_LOW][0] = (uint8_t)lba;
    r[IDE_MID][0] = (uint8_t)(lba >> 8);
    r[IDE_HIGH][0] = (uint8_t)(lba >> 16);
    if (ext) {
        r[IDE_LOW][1] = (uint8_t)(lba >> 24);
        r[IDE_MID][1] = (uint8_t)(lba >> 32);
        r[IDE_HIGH][1] = (uint8_t)(lba >> 40);
    } else {
        r[IDE_DEVICE][0] = (uint8_t)((device & 0xf0) | (lba >> 24 & 15));
    }
}

/* ---- data */

static void read_write(struct ide_drive *d, bool out, bool dma, bool multiple)
{
    struct ide_channel *ch = d->ch;
    bool ext = is_ext(ch->x.command);
    uint32_t n = count(d, ext), unit = multiple ? d->multiple * IDE_SECTOR : IDE_SECTOR;
    uint64_t lba;

    if ((multiple && !d->multiple) || (out && d->port.read_only)) {
        abort_command(d);
        return;
    }
    if (!address(d, ext, &lba) || n > capacity(d) - lba) {
        ide_finish(d, IDE_ERR_IDNF, true);
        return;
    }
    d->power = POWER_ACTIVE;
    if (out)
        ide_write_medium(ch, lba * IDE_SECTOR, (uint64_t)n * IDE_SECTOR, unit, dma);
    else
        ide_read_medium(ch, lba * IDE_SECTOR, (uint64_t)n * IDE_SECTOR, unit, dma);
}

static void verify(struct ide_drive *d)
{
    bool ext = is_ext(d->ch->x.command);
    uint32_t n = count(d, ext);
    uint64_t lba;

    if (!address(d, ext, &lba) || n > capacity(d) - lba)
        ide_finish(d, IDE_ERR_IDNF, true);
    else
        ide_verify_medium(d->ch, lba * IDE_SECTOR, (uint64_t)n * IDE_SECTOR);
}

void ata_done(struct ide_drive *d)
{
    const struct ide_xfer *x = &d->ch->x;
    bool flushed = x->phase == IDE_FLUSH, data_in = x->phase == IDE_PIO_IN;

    if (!x->reply && !flushed && x->at) {
        show_address(d, x->at / IDE_SECTOR - 1, is_ext(x->command));
        d->reg[IDE_COUNT][0] = d->reg[IDE_COUNT][1] = 0;
    }
    if (x->out && !d->write_cache)
        ide_flush_medium(d->ch); /* and here again */
    else
        ide_finish(d, 0, !data_in); /* the block that the guest has read was its interrupt */
}

void ata_failed(struct ide_drive *d)
{
    const struct ide_xfer *x = &d->ch->x;

    if (x->phase != IDE_FLUSH)
        show_address(d, x->at / IDE_SECTOR, is_ext(x->command));
    ide_finish(d, x->out ? IDE_ERR_ABRT : IDE_ERR_UNC, true);
}

/* ---- IDENTIFY DEVICE */

void ata_identify_word(uint8_t *data, unsigned word, uint16_t value)
{
    data[2 * word] = (uint8_t)value;
    data[2 * word + 1] = (uint8_t)(value >> 8);
}

void ata_identify_text(uint8_t *at, unsigned n, const char *text)
{
    for (unsigned i = 0; i < n; i++) /* the first character of a pair is the high byte */
        at[i ^ 1] = *text ? (uint8_t)*text++ : ' ';
}

void ata_identify_modes(struct ide_drive *d, uint8_t *data)
{
    unsigned bit = 1u << (8 + (d->transfer_mode & 7));

    ata_identify_word(data, 49, 0x0f00); /* DMA, LBA, IORDY that may be disabled */
    ata_identify_word(data, 51, 0x0200); /* PIO 2 without, and 3 and 4 with flow control */
    ata_identify_word(data, 53, 0x0006);
    ata_identify_word(data, 63, (uint16_t)(0x0007 | (d->transfer_mode & MODE_MWDMA ? bit : 0)));
    ata_identify_word(data, 64, 0x0003);
    for (unsigned w = 65; w <= 68; w++)
        ata_identify_word(data, w, 120); /* ns a cycle */
    ata_identify_word(data, 80, 0x007e); /* ATA-1 to ATA/ATAPI-6 */
    ata_identify_word(data, 88, (uint16_t)(0x0007 | (d->transfer_mode & MODE_UDMA ? bit : 0)));
}

void ata_identify_seal(uint8_t *data)
{
    uint8_t sum = 0xa5;

    data[510] = 0xa5;
    for (unsigned i = 0; i < 510; i++)
        sum = (uint8_t)(sum + data[i]);
    data[511] = (uint8_t)-sum;
}

static void identify(struct ide_drive *d)
{
    uint8_t *b = d->ch->buf;
    uint64_t total = capacity(d);
    uint32_t chs = (uint32_t)d->cylinders * d->heads * d->sectors, lba28 = (uint32_t)MIN(total, LBA28_SECTORS);

    memset(b, 0, IDE_SECTOR);
    ata_identify_word(b, 0, 0x0040); /* fixed */
    ata_identify_word(b, 1, default_cylinders(d));
    ata_identify_word(b, 3, 16);
    ata_identify_word(b, 6, 63);
    ata_identify_text(b + 20, 20, d->port.serial);
    ata_identify_text(b + 46, 8, "1.0");
    ata_identify_text(b + 54, 40, "vmtest disk");
    ata_identify_word(b, 47, 0x8000 | MULTIPLE_MAX);
    ata_identify_word(b, 48, 0x0001); /* 32-bit accesses of the data port */
    ata_identify_modes(d, b);
    ata_identify_word(b, 50, 0x4000);
    ata_identify_word(b, 53, 0x0007);
    ata_identify_word(b, 54, d->cylinders);
    ata_identify_word(b, 55, d->heads);
    ata_identify_word(b, 56, d->sectors);
    ata_identify_word(b, 57, (uint16_t)chs);
    ata_identify_word(b, 58, (uint16_t)(chs >> 16));
    ata_identify_word(b, 59, (uint16_t)(d->multiple ? 0x0100 | d->multiple : 0));
    ata_identify_word(b, 60, (uint16_t)lba28);
    ata_identify_word(b, 61, (uint16_t)(lba28 >> 16));
    ata_identify_word(b, 82, 0x4068); /* NOP, look-ahead, write cache, power management */
    ata_identify_word(b, 83, 0x7400); /* FLUSH CACHE, FLUSH CACHE EXT, 48-bit addresses */
    ata_identify_word(b, 84, 0x4000);
    ata_identify_word(b, 85, (uint16_t)(0x4008 | (d->write_cache ? 0x20 : 0) | (d->look_ahead ? 0x40 : 0)));
    ata_identify_word(b, 86, 0x3400);
    ata_identify_word(b, 87, 0x4000);
    ata_identify_word(b, 93, d == &d->ch->drive[0] ? 0x400b : 0x4b00); /* hardware reset: passed, found by jumper */
    for (unsigned i = 0; i < 4; i++)
        ata_identify_word(b, 100 + i, (uint16_t)(total >> 16 * i));
    ata_identify_word(b, 106, 0x6003); /* physical sectors of eight logical ones */
    ata_identify_seal(b);
    ide_send_reply(d->ch, IDE_SECTOR, IDE_SECTOR, false);
}

/* ---- the rest */

static void set_transfer_mode(struct ide_drive *d, uint8_t mode)
{
    unsigned n = mode & 7;

    if (mode <= 1 || ((mode & 0xf8) == MODE_PIO && n <= 4) ||
        (((mode & 0xf8) == MODE_MWDMA || (mode & 0xf8) == MODE_UDMA) && n <= 2)) {
        d->transfer_mode = mode;
        ok(d);
    } else {
        abort_command(d);
    }
}

static void set_features(struct ide_drive *d)
{
    bool disk = d->kind == IDE_DISK;
    uint8_t feature = d->reg[IDE_FEATURE][0];

    if (feature == 0x03) {
        set_transfer_mode(d, d->reg[IDE_COUNT][0]);
    } else if (feature == 0x66 || feature == 0xcc) {
        ok(d); /* settings stay or go at a soft reset: none of ours goes */
    } else if (disk && (feature == 0x02 || feature == 0x82)) {
        d->write_cache = feature == 0x02;
        if (d->write_cache)
            ok(d);
        else
            ide_flush_medium(d->ch);
    } else if (disk && (feature == 0x55 || feature == 0xaa)) {
        d->look_ahead = feature == 0xaa;
        ok(d);
    } else {
        abort_command(d);
    }
}

static void diagnostic(struct ide_channel *ch)
{
    ide_soft_reset(ch);
    ide_interrupt(ide_selected(ch));
}

static void set_power(struct ide_drive *d, uint8_t power)
{
    d->power = power;
    ok(d);
}

bool ata_common_command(struct ide_drive *d)
{
    switch (d->ch->x.command) {
    case 0x90:
        diagnostic(d->ch);
        return true;
    case 0x94: /* STANDBY IMMEDIATE, STANDBY, as ATA-1 and as later ones call them */
    case 0x96:
    case 0xe0:
    case 0xe2:
        set_power(d, POWER_STANDBY);
        return true;
    case 0x95: /* IDLE IMMEDIATE, IDLE */
    case 0x97:
    case 0xe1:
    case 0xe3:
        set_power(d, POWER_IDLE);
        return true;
    case 0x98: /* CHECK POWER MODE */
    case 0xe5:
        d->reg[IDE_COUNT][0] = d->power;
        ok(d);
        return true;
    case 0x99: /* SLEEP */
    case 0xe6:
        d->asleep = true;
        set_power(d, POWER_STANDBY);
        return true;
    case 0xef:
        set_features(d);
        return true;
    default:
        return false;
    }
}

static void set_multiple(struct ide_drive *d)
{
    unsigned n = d->reg[IDE_COUNT][0];

    if (n > MULTIPLE_MAX || (n & (n - 1))) {
        abort_command(d);
        return;
    }
    d->multiple = (uint8_t)n; /* 0 turns it off */
    ok(d);
}

static void initialize_parameters(struct ide_drive *d)
{
    unsigned heads = (d->reg[IDE_DEVICE][0] & 15u) + 1, sectors = d->reg[IDE_COUNT][0];

    if (!sectors) {
        abort_command(d);
        return;
    }
    translate(d, heads, sectors);
    ok(d);
}

static void native_max(struct ide_drive *d)
{
    bool ext = is_ext(d->ch->x.command);

    d->reg[IDE_DEVICE][0] |= IDE_DEV_LBA;
    show_address(d, (ext ? capacity(d) : MIN(capacity(d), LBA28_SECTORS)) - 1, ext);
    ok(d);
}

static void seek(struct ide_drive *d)
{
    uint64_t lba;
    ide_finish(d, address(d, false, &lba) ? 0 : IDE_ERR_IDNF, true);
}

static void other_command(struct ide_drive *d, uint8_t command)
{
    if ((command & 0xf0) == 0x10) /* RECALIBRATE */
        ok(d);
    else if ((command & 0xf0) == 0x70)
        seek(d);
    else if (!ata_common_command(d))
        abort_command(d); /* NOP is among them: it ends so whatever it is asked */
}

void ata_command(struct ide_drive *d)
{
    uint8_t command = d->ch->x.command;

    switch (command) {
    case 0x20: /* READ SECTORS, with and without retries, EXT */
    case 0x21:
    case 0x24:
        read_write(d, false, false, false);
        break;
    case 0x29: /* READ MULTIPLE EXT, READ MULTIPLE */
    case 0xc4:
        read_write(d, false, false, true);
        break;
    case 0x25: /* READ DMA EXT, READ DMA */
    case 0xc8:
    case 0xc9:
        read_write(d, false, true, false);
        break;
    case 0x30: /* WRITE SECTORS, EXT, WRITE VERIFY */
    case 0x31:
    case 0x34:
    case 0x3c:
        read_write(d, true, false, false);
        break;
    case 0x39: /* WRITE MULTIPLE EXT, WRITE MULTIPLE */
    case 0xc5:
        read_write(d, true, false, true);
        break;
    case 0x35: /* WRITE DMA EXT, WRITE DMA */
    case 0xca:
    case 0xcb:
        read_write(d, true, true, false);
        break;
    case 0x40: /* READ VERIFY SECTORS */
    case 0x41:
    case 0x42:
        verify(d);
        break;
    case 0x27: /* READ NATIVE MAX ADDRESS */
    case 0xf8:
        native_max(d);
        break;
    case 0x91:
        initialize_parameters(d);
        break;
    case 0xc6:
        set_multiple(d);
        break;
    case 0xe7: /* FLUSH CACHE, EXT */
    case 0xea:
        ide_flush_medium(d->ch);
        break;
    case 0xec:
        identify(d);
        break;
    default:
        other_command(d, command);
    }
}

void ata_reset(struct ide_drive *d)
{
    translate(d, 16, 63);
    d->cylinders = default_cylinders(d);
    d->multiple = MULTIPLE_MAX;
    d->write_cache = d->look_ahead = true;
    d->transfer_mode = 0;
}

int ata_loaded(struct ide_drive *d, const char **why)
{
    if (!d->heads || d->heads > 16 || !d->sectors || d->multiple > MULTIPLE_MAX || (d->multiple & (d->multiple - 1))) {
        *why = "translation or block size";
        return -1;
    }
    return 0;
}
