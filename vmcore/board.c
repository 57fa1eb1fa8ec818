#include "vmcore/board.h"

#include "vmcore/rt.h"

enum {
    SLOT_SOUTH = 1,
    SLOT_VGA = 2,
    SLOT_RNG = 3,
    SLOT_CONSOLE = 4,
    SLOT_DISK = 5,
    SLOT_NIC = 16,
    SLOT_BALLOON = 20,

    IO_BASE = 0xc000, /* where board_direct_boot() puts BARs */
    MMIO_BASE = 0xf8000000u,
};

/* ---- interrupts */

/* The 8259s' output is at LINT0 and at the I/O APIC's input 0; with the local APIC off it is INTR itself. */
static bool takes_extint(const struct board *b)
{
    return lapic_takes_extint(&b->lapic) || ioapic_takes_extint(&b->ioapic);
}

bool board_intr(const struct board *b)
{
    return lapic_pending(&b->lapic) >= 0 || (takes_extint(b) && pic_pending(&b->pic));
}

static void update_intr(void *opaque, unsigned n, int level)
{
    struct board *b = opaque;
    irq_set(&b->hooks.intr, board_intr(b));
}

int board_ack_irq(struct board *b)
{
    int vector = lapic_ack(&b->lapic);
    if (vector < 0 && takes_extint(b) && pic_pending(&b->pic))
        vector = pic_ack(&b->pic);
    return vector;
}

static void pic_out(void *opaque, unsigned n, int level)
{
    struct board *b = opaque;
    lapic_set_lint(&b->lapic, 0, level);
    ioapic_set_irq(&b->ioapic, IOAPIC_PIC_PIN, level);
    if (ioapic_takes_extint(&b->ioapic))
        lapic_changed(&b->lapic);
}

/* An ISA device's interrupt: wired-or with PIRQs steered to the same 8259 input. */
static void isa_irq(void *opaque, unsigned n, int level)
{
    struct board *b = opaque;
    uint16_t bit = (uint16_t)(1u << n);
    b->isa_levels = level ? b->isa_levels | bit : b->isa_levels & (uint16_t)~bit;
    pic_set_irq(&b->pic, n, ((b->isa_levels | b->steered_levels) & bit) != 0);
    ioapic_set_irq(&b->ioapic, n ? n : 2, level);
}

static void steered_irq(void *opaque, unsigned n, int level)
{
    struct board *b = opaque;
    uint16_t bit = (uint16_t)(1u << n);
    b->steered_levels = level ? b->steered_levels | bit : b->steered_levels & (uint16_t)~bit;
    pic_set_irq(&b->pic, n, ((b->isa_levels | b->steered_levels) & bit) != 0);
}

static void pirq(void *opaque, unsigned n, int level)
{
    struct board *b = opaque;
    ioapic_set_irq(&b->ioapic, 16 + n, level);
}

static void msi(void *opaque, uint64_t addr, uint32_t data)
{
    struct board *b = opaque;
    if (addr >> 20 != LAPIC_BASE >> 20)
        return; /* a write to memory that nobody takes for an interrupt */
    lapic_deliver(&b->lapic, (uint8_t)(addr >> 12), addr & 4, data >> 8 & 7, (uint8_t)data, data >> 15 & 1);
}

static bool irq1_in_service(void *opaque)
{
    return pic_in_service(&((const struct board *)opaque)->pic, 1);
}

static struct irq_line isa(struct board *b, unsigned n)
{
    return (struct irq_line){isa_irq, b, n};
}

static void test_irq(void *opaque, unsigned n, int level)
{
    struct board *b = opaque;
    if (n < 16)
        isa_irq(b, n, level);
    else
        ioapic_set_irq(&b->ioapic, n, level);
}

/* ---- the coprocessor's interrupt, as the PC/AT has it */

void board_ferr(struct board *b)
{
    isa_irq(b, 13, 1);
}

static void ferr_clear(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    isa_irq(dev, 13, 0);
}

static uint32_t ferr_read(void *dev, uint32_t off, unsigned size)
{
    return 0xff;
}
static const struct bus_ops ferr_ops = {ferr_read, ferr_clear, 1, 1};

/* ---- state: what no chip holds; loaded last, it makes the lines agree with the chips */

static const struct field board_fields[] = {
    FIELD(struct board, ram_saved, F_U64),
    FIELD(struct board, isa_levels, F_U16),
    FIELD(struct board, steered_levels, F_U16),
    FIELD_END,
};

static int board_loaded(void *dev, const char **why)
{
    struct board *b = dev;
    if (b->ram_bytes != b->ram_saved) {
        *why = "another amount of memory";
        return -1;
    }
    b->steered_levels = b->piix3.steered_levels;
    piix3_resync(&b->piix3);
    irq_set(&b->hooks.intr, board_intr(b));
    return 0;
}

static const struct state_table board_table = {"board", 1, board_fields, board_loaded, NULL};

/* ---- wiring */

static const char *name_for(char buf[8], const char *kind, unsigned n)
{
    unsigned i = 0;
    while (*kind)
        buf[i++] = *kind++;
    buf[i++] = (char)('0' + n);
    buf[i] = 0;
    return buf;
}

static void power_button(struct vm_event *ev)
{
    struct board *b = ev->opaque;
    piix4_pm_power_button(&b->pm);
}

static int init_ide(struct board *b, struct devctx *c, const struct vm_config *config)
{
    struct ide_config drives[IDE_DRIVES];
    const struct irq_line irqs[2] = {isa(b, 14), isa(b, 15)};

    for (unsigned n = 0; n < IDE_DRIVES; n++) {
        const struct vm_disk_config *d = &config->ide[n];
        drives[n] = (struct ide_config){!d->present ? IDE_NONE : d->cdrom ? IDE_CD : IDE_DISK, d->port};
    }
    return ide_init(&b->ide, c, &b->pci, PCI_DEVFN(SLOT_SOUTH, 1), drives, irqs);
}

static void init_floppy(struct board *b, struct devctx *c, const struct vm_config *config)
{
    const struct blkport *port[FLOPPY_DRIVES];
    uint8_t types, drives;

    for (unsigned n = 0; n < FLOPPY_DRIVES; n++)
        port[n] = config->floppy[n].present ? &config->floppy[n].port : NULL;
    floppy_init(&b->floppy, c, &b->dma, isa(b, 6), port);
    types = floppy_cmos_types(&b->floppy);
    drives = (uint8_t)((types >> 4 != 0) + ((types & 15) != 0));
    rtc_preset(&b->rtc, 0x10, types);
    if (drives) /* equipment: there are drives, and how many but one */
        rtc_preset(&b->rtc, 0x14, (uint8_t)(b->rtc.cmos[0x14] | 1 | (drives - 1) << 6));
}

static void init_nic(struct board *b, struct devctx *c, unsigned n, const struct vm_nic_config *nic)
{
    unsigned devfn = PCI_DEVFN(SLOT_NIC + n, 0);
    char *buf = b->names[VM_MAX_DISKS + n];

    if (nic->model == VM_NIC_NE2K_PCI)
        ne2000_init(&b->ne2k[n], c, &b->pci, devfn, name_for(buf, "ne2k", n), nic->mac, nic->port);
    else
        virtio_net_init(&b->nic[n], c, &b->pci, devfn, name_for(buf, "vnet", n), nic->mac, nic->port);
    pci_rom(nic->model == VM_NIC_NE2K_PCI ? &b->ne2k[n].pci : &b->nic[n].v.pci, nic->rom, nic->rom_len, "nic-rom");
}

static int init_virtio(struct board *b, struct devctx *c, const struct vm_config *config)
{
    virtio_rng_init(&b->rng, c, &b->pci, PCI_DEVFN(SLOT_RNG, 0), "vrng0");
    virtio_console_init(&b->console, c, &b->pci, PCI_DEVFN(SLOT_CONSOLE, 0), "vcon0", NULL, config->console,
                        config->nconsole);
    for (; b->ndisks < config->ndisks; b->ndisks++)
        if (virtio_blk_init(&b->disk[b->ndisks], c, &b->pci, PCI_DEVFN(SLOT_DISK + b->ndisks, 0),
                            name_for(b->names[b->ndisks], "vblk", b->ndisks), &config->disk[b->ndisks].port))
            return -1;
    for (; b->nnics < config->nnics; b->nnics++)
        init_nic(b, c, b->nnics, &config->nic[b->nnics]);
    if (config->balloon)
        virtio_balloon_init(&b->balloon, c, &b->pci, PCI_DEVFN(SLOT_BALLOON, 0), "vballoon0");
    return 0;
}

int board_init(struct board *b, struct devctx *c, const struct vm_config *config, const struct board_hooks *hooks)
{
    struct irq_line pirqs[4], steered[16];

    memset(b, 0, offsetof(struct board, testdev));
    b->ram_bytes = b->ram_saved = config->ram_bytes;
    for (unsigned n = 0; n < 16; n++)
        steered[n] = (struct irq_line){steered_irq, b, n};
    for (unsigned n = 0; n < 4; n++)
        pirqs[n] = (struct irq_line){pirq, b, n};

    /* interrupt controllers */
    lapic_init(&b->lapic, c, "lapic0", 0, (struct irq_line){update_intr, b, 0}, hooks->nmi);
    ioapic_init(&b->ioapic, c, &b->lapic);
    pic_init(&b->pic, c, (struct irq_line){pic_out, b, 0});
    /* time: the HPET lies between the others and the interrupt controllers, which it can take their lines from */
    struct irq_line timers[2] = {isa(b, 0), isa(b, 8)};
    b->has_hpet = config->hpet;
    if (b->has_hpet) {
        hpet_init(&b->hpet, c, timers, (struct irq_line){ioapic_set_irq, &b->ioapic, 0});
        for (unsigned n = 0; n < 2; n++)
            timers[n] = (struct irq_line){hpet_legacy_in, &b->hpet, n};
    }
    pit_init(&b->pit, c, timers[0]);
    rtc_init(&b->rtc, c, timers[1], config->ram_bytes);
    /* ports of the ISA bus */
    i8042_init(&b->i8042, c, isa(b, 1), isa(b, 12), hooks->a20, hooks->power.reset, hooks->power.opaque, config->input);
    b->i8042.irq1_in_service = irq1_in_service;
    b->i8042.service_opaque = b;
    uart_init(&b->uart[0], c, "uart0", 0x3f8, isa(b, 4), config->serial[0]);
    uart_init(&b->uart[1], c, "uart1", 0x2f8, isa(b, 3), config->serial[1]);
    debugport_init(&b->debugport, c, hooks->power.exit, hooks->power.opaque);
    b->has_testdev = config->testdev;
    if (b->has_testdev)
        testdev_init(&b->testdev, c, (struct irq_line){test_irq, b, 0});
    fw_cfg_init(&b->fw_cfg, c);
    dma8237_init(&b->dma, c);
    init_floppy(b, c, config);
    bus_map(c->bus, &b->ferr, false, 0xf0, 2, &ferr_ops, b, "ferr");
    /* PCI and its bridges */
    pci_bus_init(&b->pci, c);
    b->pci.msi = msi;
    b->pci.msi_opaque = b;
    i440fx_init(&b->i440fx, c, &b->pci);
    b->i440fx.pam = hooks->pam;
    b->i440fx.pam_opaque = hooks->pam_opaque;
    piix3_init(&b->piix3, c, &b->pci, SLOT_SOUTH, pirqs, steered, &hooks->power);
    piix4_pm_init(&b->pm, c, &b->pci, SLOT_SOUTH, isa(b, PIIX4_SCI_IRQ), &hooks->power);
    vga_init(&b->vga, c, &b->pci, SLOT_VGA, config->vga_bios, config->vga_bios_len);
    b->power_button = (struct vm_event){.fn = power_button, .opaque = b};
    /* disks, and what else is virtio */
    if (init_ide(b, c, config) || init_virtio(b, c, config)) {
        board_release(b);
        return -1;
    }
    c->add_state(c, &b->state, "board", &board_table, b);
    b->hooks = *hooks; /* from here on INTR is told */
    return 0;
}

void board_release(struct board *b)
{
    ide_release(&b->ide);
    while (b->ndisks)
        virtio_blk_release(&b->disk[--b->ndisks]);
}

void board_reset(struct board *b)
{
    pci_bus_reset(&b->pci);
    piix3_reset(&b->piix3);
    i440fx_reset(&b->i440fx);
    vga_reset(&b->vga);
    i8042_reset(&b->i8042);
    uart_reset(&b->uart[0]);
    uart_reset(&b->uart[1]);
    dma8237_reset(&b->dma);
    floppy_reset(&b->floppy);
    if (b->has_hpet)
        hpet_reset(&b->hpet);
    pit_reset(&b->pit);
    rtc_reset(&b->rtc);
    ioapic_reset(&b->ioapic);
    lapic_reset(&b->lapic);
    pic_reset(&b->pic);
    fw_cfg_reset(&b->fw_cfg);
    if (b->has_testdev)
        testdev_reset(&b->testdev);
}

void board_direct_boot(struct board *b)
{
    static const uint8_t irqs[4] = BOARD_PIRQ_IRQS;
    struct bus *bus = b->pci.ctx->bus;

    for (unsigned off = 0x59; off <= 0x5f; off++) /* RAM up to 1 MiB */
        pci_config_write(&b->i440fx.pci, off, 0x33, 1);
    bus_io_write(bus, 0x92, 2, 1); /* A20 */
    vga_direct_boot(&b->vga);
    pci_assign(&b->pci, IO_BASE, MMIO_BASE, irqs);
    for (unsigned n = 0; n < 4; n++)
        pci_config_write(&b->piix3.pci, 0x60 + n, irqs[n], 1);
    bus_io_write(bus, 0x4d0, 0, 1);
    bus_io_write(bus, 0x4d1, 1u << (10 - 8) | 1u << (11 - 8) | 1u << (PIIX4_SCI_IRQ - 8), 1); /* level-triggered */

    ide_direct_boot(&b->ide);

    pci_config_write(&b->pm.pci, PCI_INT_LINE, PIIX4_SCI_IRQ, 1);
    pci_config_write(&b->pm.pci, 0x40, PIIX4_PM_BASE, 4);
    pci_config_write(&b->pm.pci, 0x80, 1, 1);
    pci_config_write(&b->pm.pci, 0x90, PIIX4_SMB_BASE, 4);
    pci_config_write(&b->pm.pci, 0xd2, 0x09, 1); /* SMBus on, interrupt by IRQ 9 */
    bus_io_write(bus, 0xb2, 0xf1, 1);            /* ACPI mode */

    /* The 8259s at their PC vectors, everything masked; counter 0 and DMA as the BIOS leaves them. */
    static const struct {
        uint16_t port;
        uint8_t val;
    } init[] =
        {
            {0x20, 0x11}, {0x21, 0x08}, {0x21, 0x04}, {0x21, 0x01}, {0xa0, 0x11}, {0xa1, 0x70},
            {0xa1, 0x02}, {0xa1, 0x01}, {0x21, 0xfb}, {0xa1, 0xff}, {0x43, 0x36}, {0x40, 0x00},
            {0x40, 0x00}, {0xd6, 0xc0}, {0xd4, 0x00}, /* DMA channels 0 to 3 go through channel 4 */
        };
    for (unsigned i = 0; i < sizeof init / sizeof init[0]; i++)
        bus_io_write(bus, init[i].port, init[i].val, 1);

    lapic_write(&b->lapic, 0x0f0, 0x10f);  /* on, spurious vector 0Fh */
    lapic_write(&b->lapic, 0x350, 0x8700); /* LINT0: the 8259s */
    lapic_write(&b->lapic, 0x360, 0x8400); /* LINT1: NMI */
}

bool board_nmi(struct board *b)
{
    return lapic_nmi_pin(&b->lapic);
}

void board_power_button(struct board *b)
{
    vm_post(b->pci.ctx->opaque, &b->power_button);
}
