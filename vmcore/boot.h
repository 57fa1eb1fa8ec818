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
    uint64_t ram_bytes; /* RAM from address 0 on, without holes */
    /* Copies len bytes to pa, which is inside of RAM. 0, or negative and e filled. */
    int (*write)(void *opaque, uint64_t pa, const void *src, size_t len, struct err *e);
    void *opaque;
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

/* The ACPI tables' area: writes them, and sets *ret_rsdp to the root pointer's address. */
#define ACPI_AREA 0xe0000u
#define ACPI_SIZE 0x20000u
int acpi_load(const struct boot_mem *m, uint32_t *ret_rsdp, struct err *e);

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
/* Loads a kernel of any sort. VT_CORRUPT: it is of none, or damaged; VT_USAGE: it does not fit this machine. */
int boot_load(const struct boot_mem *m, const struct boot_files *f, uint32_t rsdp, struct boot_entry *ret,
              struct err *e);

#endif
