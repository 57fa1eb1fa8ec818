#include "vmcore/clock.h"
#include "vmcore/dev/piix.h"
#include "vmcore/rt.h"

enum {
    PM_STATUS = 0x00,
    PM_ENABLE = 0x02,
    PM_CONTROL = 0x04,
    PM_TIMER = 0x08,
    GPE_STATUS = 0x0c,
    GPE_ENABLE = 0x0e,
    PM_SIZE = 64,

    STS_TIMER = 1 << 0,
    STS_GLOBAL = 1 << 5,
    STS_POWER_BUTTON = 1 << 8,
    STS_RTC = 1 << 10,
    STS_ALL = 0x8d31,
    EN_ALL = 0x0521,
    CTL_SCI_EN = 1 << 0,
    CTL_SUS_TYPE_SHIFT = 10,
    CTL_SUS_EN = 1 << 13,
    SUS_SOFT_OFF = 0,

    CFG_PM_BASE = 0x40,
    CFG_PM_ENABLE = 0x80,
    CFG_SMB_BASE = 0x90,
    CFG_SMB_ENABLE = 0xd2,

    SMB_STATUS = 0,
    SMB_CONTROL = 2,
    SMB_START = 0x40,
    SMB_STS_DEVICE_ERROR = 0x04,
    SMB_STS_DONE = 0x02,

    APM_ENABLE = 0xf1, /* values for port B2h, as the FADT says */
    APM_DISABLE = 0xf0,
};

/* ---- PM timer: 24 bits; its status bit is set each time the top bit changes */

static uint64_t ticks(struct piix4_pm *p)
{
    return mul_div(vclock_now(p->clock), PIIX4_PM_HZ, NS_PER_S);
}

static void see_overflow(struct piix4_pm *p)
{
    uint64_t now = ticks(p);
    if (now >> 23 != p->timer_seen >> 23)
        p->pm_status |= STS_TIMER;
    p->timer_seen = now;
}

static void update(struct piix4_pm *p)
{
    uint64_t at = UINT64_MAX;

    see_overflow(p);
    irq_set(&p->sci, (p->pm_control & CTL_SCI_EN) &&
                         ((p->pm_status & p->pm_enable & EN_ALL) || (p->gpe_status & p->gpe_enable)));
    if ((p->pm_enable & STS_TIMER) && !(p->pm_status & STS_TIMER))
        at = mul_div(((p->timer_seen >> 23) + 1) << 23, NS_PER_S, PIIX4_PM_HZ) + 1;
    vtimer_set(p->clock, &p->overflow, at);
}

static void overflowed(void *opaque)
{
    update(opaque);
}

void piix4_pm_power_button(struct piix4_pm *p)
{
    p->pm_status |= STS_POWER_BUTTON;
    update(p);
}

/* ---- registers: 16 bits wide but for the timer; other widths are put together from them */

static uint32_t read16(struct piix4_pm *p, unsigned off)
{
    switch (off) {
    case PM_STATUS:
        see_overflow(p);
        return p->pm_status;
    case PM_ENABLE:
        return p->pm_enable;
    case PM_CONTROL:
        return p->pm_control;
    case PM_TIMER:
        return ticks(p) & 0xffff;
    case PM_TIMER + 2:
        return ticks(p) >> 16 & 0xff;
    case GPE_STATUS:
        return p->gpe_status;
    case GPE_ENABLE:
        return p->gpe_enable;
    default:
        return 0;
    }
}

static void write_control(struct piix4_pm *p, uint16_t v)
{
    p->pm_control = v & 0x1c03;
    if ((v & CTL_SUS_EN) && (v >> CTL_SUS_TYPE_SHIFT & 7) == SUS_SOFT_OFF)
        p->power.poweroff(p->power.opaque);
}

static void write16(struct piix4_pm *p, unsigned off, uint16_t v, uint16_t written)
{
    switch (off) {
    case PM_STATUS:
        see_overflow(p);
        p->pm_status &= (uint16_t)~v;
        break;
    case PM_ENABLE:
        p->pm_enable = ((p->pm_enable & ~written) | (v & written)) & EN_ALL;
        break;
    case PM_CONTROL:
        write_control(p, (uint16_t)((p->pm_control & ~written) | (v & written)));
        break;
    case GPE_STATUS:
        p->gpe_status &= (uint16_t)~v;
        break;
    case GPE_ENABLE:
        p->gpe_enable = (uint16_t)((p->gpe_enable & ~written) | (v & written));
        break;
    default:
        break;
    }
}

static uint32_t pm_read(void *dev, uint32_t off, unsigned size)
{
    struct piix4_pm *p = dev;
    if (off == PM_TIMER && size == 4)
        return ticks(p) & 0xffffff; /* in one piece */
    uint32_t v = 0;
    for (unsigned i = 0; i < size; i++)
        v |= (read16(p, (off + i) & ~1u) >> ((off + i) & 1) * 8 & 0xff) << i * 8;
    return v;
}

static void pm_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct piix4_pm *p = dev;
    for (unsigned i = 0; i < size;) {
        unsigned at = off + i;
        if (!(at & 1) && i + 1 < size) {
            write16(p, at, (uint16_t)(val >> i * 8), 0xffff);
            i += 2;
        } else {
            unsigned shift = (at & 1) * 8;
            write16(p, at & ~1u, (uint16_t)((val >> i * 8 & 0xff) << shift), (uint16_t)(0xff << shift));
            i++;
        }
    }
    update(p);
}

static const struct bus_ops pm_ops = {pm_read, pm_write, 1, 4};

/* ---- APM control: how the FADT's SMI command turns ACPI on and off */

static uint32_t apm_read(void *dev, uint32_t off, unsigned size)
{
    struct piix4_pm *p = dev;
    return off ? p->apm_status : p->apm_control;
}

static void apm_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct piix4_pm *p = dev;
    if (off) {
        p->apm_status = (uint8_t)val;
        return;
    }
    p->apm_control = (uint8_t)val;
    if (val == APM_ENABLE)
        p->pm_control |= CTL_SCI_EN;
    else if (val == APM_DISABLE)
        p->pm_control &= (uint16_t)~CTL_SCI_EN;
    update(p);
}

static const struct bus_ops apm_ops = {apm_read, apm_write, 1, 1};

/* ---- SMBus host with nothing on its bus: every transaction ends with "no answer" */

static uint32_t smb_read(void *dev, uint32_t off, unsigned size)
{
    return ((struct piix4_pm *)dev)->smb[off];
}

static void smb_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct piix4_pm *p = dev;
    if (off == SMB_STATUS) {
        p->smb[SMB_STATUS] &= (uint8_t) ~(val & 0x1e);
        return;
    }
    p->smb[off] = (uint8_t)val;
    if (off == SMB_CONTROL && (val & SMB_START)) {
        p->smb[SMB_CONTROL] &= (uint8_t)~SMB_START;
        p->smb[SMB_STATUS] |= SMB_STS_DEVICE_ERROR | SMB_STS_DONE;
    }
}

static const struct bus_ops smb_ops = {smb_read, smb_write, 1, 1};

/* ---- configuration space */

static void map_windows(struct piix4_pm *p)
{
    struct bus *b = p->pci.bus->ctx->bus;
    uint32_t pm = pci_get(&p->pci, CFG_PM_BASE, 2) & 0xffc0, smb = pci_get(&p->pci, CFG_SMB_BASE, 2) & 0xfff0;
    bool smb_on = (p->pci.config[CFG_SMB_ENABLE] & 1) && smb;

    if (!(p->pci.config[CFG_PM_ENABLE] & 1) || !pm)
        bus_unmap(b, &p->pm_win);
    else if (!p->pm_win.mapped || p->pm_win.base != pm)
        bus_map(b, &p->pm_win, false, pm, PM_SIZE, &pm_ops, p, "pm");
    if (!smb_on)
        bus_unmap(b, &p->smb_win);
    else if (!p->smb_win.mapped || p->smb_win.base != smb)
        bus_map(b, &p->smb_win, false, smb, sizeof p->smb, &smb_ops, p, "smbus");
}

static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    map_windows((struct piix4_pm *)d); /* pci is the first member */
}

static void reset(struct pci_dev *d)
{
    struct piix4_pm *p = (struct piix4_pm *)d;
    p->pm_status = p->pm_enable = p->pm_control = 0;
    p->gpe_status = p->gpe_enable = 0;
    p->apm_control = p->apm_status = 0;
    memset(p->smb, 0, sizeof p->smb);
    map_windows(p);
    update(p);
}

static const struct field piix4_pm_fields[] = {
    FIELD(struct piix4_pm, pm_status, F_U16),  FIELD(struct piix4_pm, pm_enable, F_U16),
    FIELD(struct piix4_pm, pm_control, F_U16), FIELD(struct piix4_pm, gpe_status, F_U16),
    FIELD(struct piix4_pm, gpe_enable, F_U16), FIELD(struct piix4_pm, timer_seen, F_U64),
    FIELD(struct piix4_pm, apm_control, F_U8), FIELD(struct piix4_pm, apm_status, F_U8),
    FIELD_BYTES(struct piix4_pm, smb),         FIELD_END,
};

static void piix4_pm_before_save(void *dev)
{
    see_overflow(dev);
}

static int piix4_pm_loaded(void *dev, const char **why)
{
    struct piix4_pm *p = dev;
    if (p->timer_seen >> 56) {
        *why = "timer out of range";
        return -1;
    }
    map_windows(p);
    update(p);
    return 0;
}

static const struct state_table piix4_pm_table = {"piix4_pm", 1, piix4_pm_fields, piix4_pm_loaded,
                                                  piix4_pm_before_save};

void piix4_pm_init(struct piix4_pm *p, struct devctx *c, struct pci_bus *bus, unsigned slot, struct irq_line sci,
                   const struct power_hooks *power)
{
    static const struct pci_id id = {
        .vendor = 0x8086, .device = 0x7113, .class_code = 0x068000, .revision = 3, .int_pin = 1};

    memset(p, 0, sizeof *p);
    p->clock = c->clock;
    p->sci = sci;
    p->power = *power;
    p->pci.config_written = config_written;
    p->pci.reset = reset;
    vtimer_init(c->clock, &p->overflow, overflowed, p);
    pci_add(bus, &p->pci, "piix4_pm.pci", PCI_DEVFN(slot, 3), &id);
    pci_fix(&p->pci, PCI_STATUS, 0x0280, 2);
    pci_fix(&p->pci, CFG_PM_BASE, 1, 4);
    pci_writable(&p->pci, CFG_PM_BASE, 0xffc0, 4);
    pci_writable(&p->pci, 0x58, 0xffffffff, 4); /* device activity B */
    /* Device activity B's top byte reads 02h after reset: firmware takes the machine for initialised and leaves SMM,
     * which there is none of, alone. */
    pci_fix(&p->pci, 0x58, 0x02000000, 4);
    pci_writable(&p->pci, CFG_PM_ENABLE, 1, 1);
    pci_fix(&p->pci, CFG_SMB_BASE, 1, 4);
    pci_writable(&p->pci, CFG_SMB_BASE, 0xfff0, 4);
    pci_writable(&p->pci, CFG_SMB_ENABLE, 0x0f, 1);
    bus_map(c->bus, &p->apm_win, false, 0xb2, 2, &apm_ops, p, "apm");
    c->add_state(c, &p->state, "piix4_pm", &piix4_pm_table, p);
    update(p);
}
