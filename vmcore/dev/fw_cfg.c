#include "vmcore/dev/fw_cfg.h"

#include "src/base/err.h"
#include "vmcore/rt.h"

#define VERSION_TRADITIONAL 1u
#define VERSION_DMA         2u
#define WRITE_MODE          0x4000u               /* bit of the selector; nothing here is writable */
#define DMA_SIGNATURE       0x51454d5520434647ull /* "QEMU CFG", read from the DMA address register */

/* The DMA request's control word; its upper half is the key to select. */
enum {
    DMA_ERROR = 0x01,
    DMA_READ = 0x02,
    DMA_SKIP = 0x04,
    DMA_SELECT = 0x08,
    DMA_WRITE = 0x10,
};

static const uint8_t zeros[512];

static void put_be(uint8_t *p, uint64_t v, unsigned size)
{
    while (size--) {
        p[size] = (uint8_t)v;
        v >>= 8;
    }
}

static uint64_t get_be(const uint8_t *p, unsigned size)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++)
        v = v << 8 | p[i];
    return v;
}

static struct fw_cfg_item *slot(struct fw_cfg *f, unsigned key)
{
    if (key & FW_CFG_ARCH)
        return key - FW_CFG_ARCH < FW_CFG_ARCH_KEYS ? &f->arch[key - FW_CFG_ARCH] : NULL;
    if (key < FW_CFG_KEYS)
        return &f->key[key];
    return key - FW_CFG_FILE_FIRST < FW_CFG_FILES ? &f->file[key - FW_CFG_FILE_FIRST] : NULL;
}

static void select_item(struct fw_cfg *f, uint16_t key)
{
    f->selected = key & (uint16_t)~WRITE_MODE;
    f->pos = 0;
}

/* What is left of the selected item from the position on; nothing where there is no such item. */
static struct fw_cfg_item rest(struct fw_cfg *f)
{
    const struct fw_cfg_item *i = slot(f, f->selected);
    if (!i || f->pos >= i->len)
        return (struct fw_cfg_item){zeros, 0};
    return (struct fw_cfg_item){i->data + f->pos, i->len - f->pos};
}

static void skip(struct fw_cfg *f, uint32_t n)
{
    f->pos = n > UINT32_MAX - f->pos ? UINT32_MAX : f->pos + n;
}

static uint8_t next_byte(struct fw_cfg *f)
{
    struct fw_cfg_item r = rest(f);
    skip(f, 1);
    return r.len ? r.data[0] : 0;
}

/* Items end in zeros without end. False: the guest's buffer is not in memory. */
static bool copy_out(struct fw_cfg *f, uint64_t pa, uint32_t len)
{
    struct fw_cfg_item r = rest(f);
    uint32_t n = r.len < len ? r.len : len;

    skip(f, len);
    if (n && !dma_write(f->mem, pa, r.data, n))
        return false;
    while (n < len) {
        uint32_t part = len - n < sizeof zeros ? len - n : (uint32_t)sizeof zeros;
        if (!dma_write(f->mem, pa + n, zeros, part))
            return false;
        n += part;
    }
    return true;
}

static void run_dma(struct fw_cfg *f)
{
    uint64_t at = f->dma_address;
    uint8_t request[16], status[4];
    bool ok = true;

    f->dma_address = 0;
    if (!dma_read(f->mem, at, request, sizeof request))
        return; /* there is no place for the error either */
    uint32_t control = (uint32_t)get_be(request, 4), len = (uint32_t)get_be(request + 4, 4);
    if (control & DMA_SELECT)
        select_item(f, (uint16_t)(control >> 16));
    if (control & DMA_READ)
        ok = copy_out(f, get_be(request + 8, 8), len);
    else if (control & DMA_WRITE)
        ok = false; /* no item is writable */
    else if (control & DMA_SKIP)
        skip(f, len);
    put_be(status, ok ? 0 : DMA_ERROR, sizeof status);
    dma_write(f->mem, at, status, sizeof status);
}

/* ---- ports */

static uint32_t port_read(void *dev, uint32_t off, unsigned size)
{
    struct fw_cfg *f = dev;
    uint32_t v = next_byte(f);
    return size == 2 ? v | (uint32_t)next_byte(f) << 8 : v;
}

static void port_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    if (off == 0 && size == 2) /* the data port takes writes and forgets them */
        select_item(dev, (uint16_t)val);
}

static uint32_t dma_port_read(void *dev, uint32_t off, unsigned size)
{
    uint8_t bytes[8];
    uint32_t v = 0;

    put_be(bytes, DMA_SIGNATURE, 8);
    memcpy(&v, bytes + off, size);
    return v;
}

static void dma_port_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct fw_cfg *f = dev;
    uint32_t v = __builtin_bswap32(val);

    if (size != 4)
        return;
    if (off == 0) {
        f->dma_address = (uint64_t)v << 32;
    } else if (off == 4) {
        f->dma_address |= v;
        run_dma(f);
    }
}

static const struct bus_ops port_ops = {port_read, port_write, 1, 2};
static const struct bus_ops dma_ops = {dma_port_read, dma_port_write, 1, 4};

/* ---- contents */

static void put_file_count(struct fw_cfg *f)
{
    put_be(f->dir, f->nfiles, 4);
    f->key[FW_CFG_FILE_DIR] = (struct fw_cfg_item){f->dir, 4 + f->nfiles * (8 + FW_CFG_NAME)};
}

void fw_cfg_number(struct fw_cfg *f, unsigned key, uint64_t value, unsigned size)
{
    uint8_t *p = f->numbers[key & FW_CFG_ARCH ? FW_CFG_KEYS + (key - FW_CFG_ARCH) : key];
    memcpy(p, &value, size);
    *slot(f, key) = (struct fw_cfg_item){p, size};
}

void fw_cfg_file(struct fw_cfg *f, const char *name, const void *data, uint32_t len)
{
    unsigned n = f->nfiles, i = 0;
    uint8_t *entry = f->dir + 4 + n * (8 + FW_CFG_NAME);

    vt_assert(n < FW_CFG_FILES);
    put_be(entry, len, 4);
    put_be(entry + 4, FW_CFG_FILE_FIRST + n, 2);
    while (name[i]) {
        vt_assert(i < FW_CFG_NAME - 1);
        entry[8 + i] = (uint8_t)name[i];
        i++;
    }
    f->file[n] = (struct fw_cfg_item){data, len};
    f->nfiles++;
    put_file_count(f);
}

/* ---- state */

static const struct field fw_cfg_fields[] = {
    FIELD(struct fw_cfg, selected, F_U16),
    FIELD(struct fw_cfg, pos, F_U32),
    FIELD(struct fw_cfg, dma_address, F_U64),
    FIELD_END,
};
/* Nothing to check: any key and any position is what a guest may write. */
static const struct state_table fw_cfg_table = {"fw_cfg", 1, fw_cfg_fields, NULL, NULL};

void fw_cfg_reset(struct fw_cfg *f)
{
    select_item(f, 0);
    f->dma_address = 0;
}

void fw_cfg_init(struct fw_cfg *f, struct devctx *c)
{
    static const uint8_t signature[4] = {'Q', 'E', 'M', 'U'};

    memset(f, 0, sizeof *f);
    f->mem = c->mem;
    f->key[FW_CFG_SIGNATURE] = (struct fw_cfg_item){signature, sizeof signature};
    fw_cfg_number(f, FW_CFG_ID, VERSION_TRADITIONAL | VERSION_DMA, 4);
    put_file_count(f);
    bus_map(c->bus, &f->win, false, 0x510, 2, &port_ops, f, "fw-cfg");
    bus_map(c->bus, &f->dma_win, false, 0x514, 8, &dma_ops, f, "fw-cfg-dma");
    c->add_state(c, &f->state, "fw_cfg", &fw_cfg_table, f);
}
