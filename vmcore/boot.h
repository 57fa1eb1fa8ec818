/* Starting a guest without firmware: what the loaders share, and the tables that firmware would leave in memory.
 * Runs on the host side, before the guest does. */
#ifndef VT_BOOT_H
#define VT_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"
#include "vmcore/vmcore.h"

/* Guest memory as the loaders see it. */
struct boot_mem {
    uint64_t ram_bytes; /* RAM from address 0 on, without holes: what lies below 4 GiB */
    /* Copies len bytes to pa, which is inside of RAM. 0, or negative and e filled. */
    int (*write)(void *opaque, uint64_t pa, const void *src, size_t len, struct err *e);
    void *opaque;
    uint64_t high_bytes; /* RAM from 4 GiB on; nothing is loaded there */
};

/* The processor's state at the first instruction, beside its reset state: protected mode without paging, interrupts
 * off, flat 4 GiB segments from the GDT: CS code32 read/execute, DS ES SS FS GS data32 read/write. */
struct boot_entry {
    uint32_t eip, esp;
    uint32_t eax, ebx, esi; /* EBP, EDI, ECX, EDX are 0 */
    uint16_t cs, ds;
    uint32_t gdt_base;
    uint16_t gdt_limit;
    const char *note; /* NULL, or what the kernel asked for and does not get */
};

/* A kernel and what it is given; the bytes stay the caller's. */
struct boot_files {
    const void *kernel;
    size_t kernel_len;
    const struct vm_module *module; /* Linux: at most one, the initial RAM disk */
    unsigned nmodules;              /* at most VM_MAX_MODULES */
    const char *cmdline;
};

/* What in the ACPI tables depends on the machine's configuration. */
struct acpi_config {
    bool floppy; /* there are floppy drives */
    bool hpet;
};
/* The ACPI tables' area: writes them, and sets *ret_rsdp to the root pointer's address. */
#define ACPI_AREA 0xe0000u
#define ACPI_SIZE 0x20000u
int acpi_load(const struct boot_mem *m, const struct acpi_config *c, uint32_t *ret_rsdp, struct err *e);

/* The same tables for firmware, which places them by the linker/loader commands of QEMU's bios-linker-loader: an
 * allocation for each file, then pointers and checksums. */
#define ACPI_RSDP_FILE      "etc/acpi/rsdp"
#define ACPI_TABLES_FILE    "etc/acpi/tables"
#define ACPI_LOADER_FILE    "etc/table-loader"
#define ACPI_LOADER_COMMAND 128u
struct acpi_files {
    uint8_t rsdp[36], tables[0x2000], loader[40 * ACPI_LOADER_COMMAND];
    uint32_t tables_len, loader_len;
};
void acpi_files(const struct acpi_config *c, struct acpi_files *ret);

/* MultiProcessor tables at F0000h, inside of the ACPI area, for kernels that do without ACPI. cpuid1: the processor's
 * CPUID leaf 1. */
int mptable_load(const struct boot_mem *m, const uint32_t cpuid1[4], struct err *e);

/* SMBIOS for firmware: the entry point, its checksums right for a table at address 0, and the structures. */
struct smbios_config {
    uint64_t low_ram, high_ram;           /* bytes below 4 GiB, and above */
    uint32_t cpu_signature, cpu_features; /* CPUID leaf 1: EAX, EDX */
};
struct smbios_files {
    uint8_t anchor[31], tables[1024];
    uint32_t tables_len;
};
void smbios_files(const struct smbios_config *c, struct smbios_files *ret);

/* A bzImage by the Linux/x86 boot protocol (Documentation/arch/x86/boot.rst, "32-bit boot protocol"), version 2.10 or
 * later. initrd and cmdline may be NULL. rsdp: 0, or the ACPI root pointer. VT_CORRUPT: not such a kernel, or cut
 * short; VT_USAGE: the command line is too long, or RAM too small. */
int boot_linux_load(const struct boot_mem *m, const void *kernel, size_t kernel_len, const void *initrd,
                    size_t initrd_len, const char *cmdline, uint32_t rsdp, struct boot_entry *ret, struct err *e);

bool boot_linux_is(const void *kernel, size_t len);

/* Multiboot 1 (Multiboot Specification 0.6.96, chapter 3): in ELF or, by the header's address fields, any file. */
bool boot_multiboot_is(const void *kernel, size_t len);
int boot_multiboot_load(const struct boot_mem *m, const struct boot_files *f, struct boot_entry *ret, struct err *e);
/* The "x86/HVM direct boot ABI" (PVH): an ELF file with the note XEN_ELFNOTE_PHYS32_ENTRY. rsdp as above. */
bool boot_pvh_is(const void *kernel, size_t len);
int boot_pvh_load(const struct boot_mem *m, const struct boot_files *f, uint32_t rsdp, struct boot_entry *ret,
                  struct err *e);

/* What sort of kernel a file is, by its headers. Where an ELF file has both, the Multiboot header counts. */
enum vm_kernel boot_kind(const void *kernel, size_t len);
/* Is the kernel a 64-bit one, in whatever mode it starts? */
bool boot_is_64(const void *kernel, size_t len);
/* Loads a kernel of any sort. VT_CORRUPT: it is of none, or damaged; VT_USAGE: it does not fit this machine. */
int boot_load(const struct boot_mem *m, const struct boot_files *f, uint32_t rsdp, struct boot_entry *ret,
              struct err *e);

/* ---- firmware: what it is told (boot_bios.c) */
struct board;
struct vm_config;
struct bios_files;
struct acpi_config boot_acpi_config(const struct vm_config *c);
/* Fills b's firmware configuration device and CMOS. cpuid1: the processor's CPUID leaf 1. *ret lives as long as b. */
int bios_files_new(struct board *b, const struct vm_config *c, const uint32_t cpuid1[4], struct bios_files **ret,
                   struct err *e);
void bios_files_free(struct bios_files *f); /* NULL is fine */

#endif
