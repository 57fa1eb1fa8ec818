/* What firmware (SeaBIOS) is told about the machine: the contents of the firmware configuration device, and CMOS. Made
 * when the machine is, whatever it boots: a guest that is restored in the middle of its BIOS reads on. */
#include "vmcore/board.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "src/base/buf.h"
#include "src/base/util.h"
#include "vmcore/boot.h"

#define HOLE_START 0xc0000000u /* PCI's part of the address space; RAM past it lies from 4 GiB on */
#define E820_RAM   1u

enum {
    CMOS_HIGH_RAM = 0x5b,   /* 64 KiB blocks from 4 GiB on, three bytes */
    CMOS_BOOT_THIRD = 0x38, /* high nibble: third device; bit 0: floppies need no boot signature */
    CMOS_BOOT = 0x3d,       /* low nibble: first device; high nibble: second */
    CMOS_LAST_CPU = 0x5f,
};

struct bios_files {
    struct acpi_files acpi;
    struct smbios_files smbios;
    struct buf bootorder;
    uint8_t e820[2 * 20];
    uint8_t boot_fail_wait[4];
};

void bios_files_free(struct bios_files *f)
{
    if (!f)
        return;
    buf_release(&f->bootorder);
    free(f);
}

static void put(uint8_t *p, unsigned off, uint64_t v, unsigned size)
{
    memcpy(p + off, &v, size);
}

/* ---- boot order: firmware's list of Open Firmware device paths, for the choice between devices of one class as well,
 * and CMOS's classes, for what the paths leave out */

static const enum vm_boot default_order[] = {VM_BOOT_DISK, VM_BOOT_CDROM, VM_BOOT_FLOPPY, VM_BOOT_NET};

static unsigned slot(const struct pci_dev *d)
{
    return d->devfn >> 3;
}

static void add_ide(struct buf *f, const struct board *b, const struct vm_config *c, bool cdrom)
{
    for (unsigned i = 0; i < VM_IDE_SLOTS; i++)
        if (c->ide[i].present && c->ide[i].cdrom == cdrom)
            buf_printf(f, "/pci@i0cf8/ide@%x,1/drive@%x/disk@%x\n", slot(&b->piix3.pci), i / 2, i % 2);
}

static void add_class(struct buf *f, const struct board *b, const struct vm_config *c, enum vm_boot class)
{
    switch (class) {
    case VM_BOOT_DISK:
        for (unsigned i = 0; i < b->ndisks; i++)
            buf_printf(f, "/pci@i0cf8/scsi@%x/disk@0,0\n", slot(&b->disk[i].v.pci));
        add_ide(f, b, c, false);
        break;
    case VM_BOOT_CDROM:
        add_ide(f, b, c, true);
        break;
    case VM_BOOT_NET:
        for (unsigned i = 0; i < b->nnics; i++)
            buf_printf(f, "/pci@i0cf8/ethernet@%x/ethernet-phy@0\n",
                       slot(c->nic[i].model == VM_NIC_NE2K_PCI ? &b->ne2k[i].pci : &b->nic[i].v.pci));
        break;
    case VM_BOOT_FLOPPY:
        for (unsigned i = 0; i < VM_FLOPPIES; i++)
            if (c->floppy[i].present)
                buf_printf(f, "/pci@i0cf8/isa@%x/fdc@03f0/floppy@%x\n", slot(&b->piix3.pci), i);
        break;
    default:
        break;
    }
}

static void set_boot_order(struct board *b, const struct vm_config *c, struct bios_files *f)
{
    /* CMOS's numbers of the classes */
    static const uint8_t cmos[] = {[VM_BOOT_FLOPPY] = 1, [VM_BOOT_DISK] = 2, [VM_BOOT_CDROM] = 3, [VM_BOOT_NET] = 4};
    const enum vm_boot *order = c->boot_order[0] ? c->boot_order : default_order;
    uint8_t nibble[VM_BOOT_CLASSES] = {0};

    for (unsigned i = 0; i < VM_BOOT_CLASSES && order[i] && order[i] <= VM_BOOT_CLASSES; i++) {
        nibble[i] = cmos[order[i]];
        add_class(&f->bootorder, b, c, order[i]);
    }
    rtc_preset(&b->rtc, CMOS_BOOT, (uint8_t)(nibble[1] << 4 | nibble[0]));
    rtc_preset(&b->rtc, CMOS_BOOT_THIRD, (uint8_t)(nibble[2] << 4 | 1));
}

struct acpi_config boot_acpi_config(const struct vm_config *c)
{
    return (struct acpi_config){.floppy = c->floppy[0].present || c->floppy[1].present, .hpet = c->hpet};
}

/* ---- memory and processors */

static uint32_t add_e820(uint8_t *p, uint64_t start, uint64_t len)
{
    put(p, 0, start, 8);
    put(p, 8, len, 8);
    put(p, 16, E820_RAM, 4);
    return 20;
}

static void set_hardware(struct board *b, const struct vm_config *c, const uint32_t cpuid1[4], struct bios_files *f)
{
    struct smbios_config s = {.cpu_signature = cpuid1[0], .cpu_features = cpuid1[3]};
    uint32_t len = 0;

    s.low_ram = MIN(c->ram_bytes, (uint64_t)HOLE_START);
    s.high_ram = c->ram_bytes - s.low_ram;
    len += add_e820(f->e820, 0, s.low_ram);
    if (s.high_ram)
        len += add_e820(f->e820 + len, 1ull << 32, s.high_ram);
    fw_cfg_file(&b->fw_cfg, "etc/e820", f->e820, len);
    fw_cfg_number(&b->fw_cfg, FW_CFG_RAM_SIZE, c->ram_bytes, 8);
    for (unsigned i = 0; i < 3; i++)
        rtc_preset(&b->rtc, CMOS_HIGH_RAM + i, (uint8_t)(s.high_ram >> (16 + 8 * i)));
    smbios_files(&s, &f->smbios);
    fw_cfg_file(&b->fw_cfg, "etc/smbios/smbios-anchor", f->smbios.anchor, sizeof f->smbios.anchor);
    fw_cfg_file(&b->fw_cfg, "etc/smbios/smbios-tables", f->smbios.tables, f->smbios.tables_len);

    rtc_preset(&b->rtc, CMOS_LAST_CPU, 0);
    fw_cfg_number(&b->fw_cfg, FW_CFG_NB_CPUS, 1, 2);
    fw_cfg_number(&b->fw_cfg, FW_CFG_MAX_CPUS, 1, 2);
    fw_cfg_number(&b->fw_cfg, FW_CFG_IRQ0_OVERRIDE, 1, 4); /* IRQ 0 is at the I/O APIC's input 2 */
}

int bios_files_new(struct board *b, const struct vm_config *c, const uint32_t cpuid1[4], struct bios_files **ret,
                   struct err *e)
{
    struct bios_files *f = calloc(1, sizeof *f);
    struct acpi_config acpi;

    if (!f)
        return err_set(e, VT_FAIL, "out of memory");
    set_hardware(b, c, cpuid1, f);
    set_boot_order(b, c, f);
    if (f->bootorder.len)
        f->bootorder.data[f->bootorder.len - 1] = 0; /* the last line ends in a zero */
    if (buf_check(&f->bootorder, e)) {
        bios_files_free(f);
        return VT_FAIL;
    }
    fw_cfg_file(&b->fw_cfg, "bootorder", f->bootorder.data, (uint32_t)f->bootorder.len);
    put(f->boot_fail_wait, 0, UINT32_MAX, 4); /* nothing to boot: say so and stay, rather than reset every minute */
    fw_cfg_file(&b->fw_cfg, "etc/boot-fail-wait", f->boot_fail_wait, sizeof f->boot_fail_wait);
    fw_cfg_number(&b->fw_cfg, FW_CFG_BOOT_MENU, 0, 2); /* no menu, and no wait for it */
    fw_cfg_number(&b->fw_cfg, FW_CFG_NOGRAPHIC, 0, 2);
    fw_cfg_number(&b->fw_cfg, FW_CFG_NUMA, 0, 8);
    acpi = boot_acpi_config(c);
    acpi_files(&acpi, &f->acpi);
    fw_cfg_file(&b->fw_cfg, ACPI_RSDP_FILE, f->acpi.rsdp, sizeof f->acpi.rsdp);
    fw_cfg_file(&b->fw_cfg, ACPI_TABLES_FILE, f->acpi.tables, f->acpi.tables_len);
    fw_cfg_file(&b->fw_cfg, ACPI_LOADER_FILE, f->acpi.loader, f->acpi.loader_len);
    *ret = f;
    return 0;
}
