/* The machine: a PC with one virtual CPU, its memory, board and devices. Knows no snapshots and no files.
 *
 * Threads: vm_run() is called by one thread, the vCPU thread, with every signal blocked but SIGSEGV, SIGBUS, SIGFPE,
 * SIGILL and SIGTRAP (vm_thread_init sets that up). All else here is for the host's other threads where marked
 * [any thread], and otherwise only while the vCPU thread is outside of vm_run(). */
#ifndef VT_VMCORE_H
#define VT_VMCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/pagesrc.h"
#include "vmcore/display.h"
#include "vmcore/port.h"

#define VM_MAX_DISKS 8
#define VM_MAX_NICS  4
#define VM_IDE_SLOTS 4 /* primary 0 and 1, secondary 0 and 1 */
#define VM_FLOPPIES  2

enum vm_board {
    VM_BOARD_PC,   /* everything of the PC */
    VM_BOARD_BARE, /* CPU and RAM only (tests) */
};

struct vm_disk_config {
    struct blkport port; /* copied; port.submit is called on the vCPU thread */
    bool present, cdrom; /* IDE, floppy: is there a drive; a CD or floppy drive without a disc has a port of size 0 */
};
enum vm_nic_model { VM_NIC_VIRTIO, VM_NIC_NE2K_PCI };
struct vm_nic_config {
    enum vm_nic_model model;
    uint8_t mac[6];
    const void *rom; /* boot ROM, outlives the machine; rom_len 0: none */
    uint32_t rom_len;
    struct netport *port; /* host side's; outlives the machine */
};

/* Where firmware looks for something to boot. */
enum vm_boot { VM_BOOT_NONE, VM_BOOT_DISK, VM_BOOT_CDROM, VM_BOOT_FLOPPY, VM_BOOT_NET, VM_BOOT_CLASSES = 4 };

struct vm_config {
    enum vm_board board;
    uint64_t ram_bytes;    /* a multiple of 1 MiB, 1 MiB to 64 GiB; past 3 GiB it lies from 4 GiB on */
    const char *cpu_model; /* NULL: the default */
    uint32_t rom_bytes;    /* room for the BIOS, whole 64 KiB to 16 MiB; 0: 256 KiB */
    unsigned ndisks, nnics;
    struct vm_disk_config disk[VM_MAX_DISKS]; /* virtio */
    struct vm_disk_config ide[VM_IDE_SLOTS];
    struct vm_nic_config nic[VM_MAX_NICS];
    struct vm_disk_config floppy[VM_FLOPPIES];
    struct chrport *serial[2];  /* NULL: none */
    struct chrport *console[8]; /* virtio-console ports after port 0; name is the port's name */
    unsigned nconsole;
    struct inputport *input;                  /* keyboard and mouse; NULL: never used */
    enum vm_boot boot_order[VM_BOOT_CLASSES]; /* first one NONE: disk, CD, floppy, network */
    bool hpet;                                /* the board has high precision event timers */
    bool balloon;                             /* the board has a balloon, by which the guest gives back free pages */
    bool testdev;                             /* the board has what test kernels know of QEMU's: vmcore/dev/testdev.h */
    bool no_reboot;                           /* a reset ends the machine (VM_STOP_RESET) instead of rebooting */
    const void *vga_bios;                     /* the display's expansion ROM, outlives the machine; NULL: none */
    uint32_t vga_bios_len;
    uint64_t wall_start; /* seconds since 1970 that the clock shows at vclock 0 */
};

struct vm;

int vm_new(const struct vm_config *c, struct vm **ret_vm, struct err *e);
void vm_free(struct vm *vm);

/* Direct boot, without firmware. A Linux bzImage takes one module at most, its initial RAM disk. */
#define VM_MAX_MODULES 64
struct vm_module {
    const void *data;
    size_t len;
    const char *args; /* Multiboot and PVH: its command line; NULL: none */
};
enum vm_kernel { VM_KERNEL_NONE, VM_KERNEL_LINUX, VM_KERNEL_MULTIBOOT, VM_KERNEL_PVH };
/* What sort of kernel a file is, by its headers alone. */
enum vm_kernel vm_kernel_kind(const void *kernel, size_t len);
/* Is the kernel that was loaded a 64-bit one, in whatever mode it starts? */
bool vm_kernel_64(const struct vm *vm);
/* Copies what it needs; a reset boots it again. VT_CORRUPT: not a kernel, or damaged; VT_USAGE: it does not fit. */
int vm_load_kernel(struct vm *vm, const void *kernel, size_t kernel_len, const struct vm_module *modules,
                   unsigned nmodules, const char *cmdline, struct err *e);

/* Firmware: a ROM image of 64 to 256 KiB that ends at 4 GiB and, its last 128 KiB, at 1 MiB; the machine is reset and
 * starts in it. VT_CORRUPT: not of such a size. */
int vm_load_bios(struct vm *vm, const void *bios, size_t len, struct err *e);

/* Once, on the thread that will call vm_run. */
int vm_thread_init(struct vm *vm, struct err *e);

enum vm_stop {
    VM_STOP_KICK,     /* vm_kick was called */
    VM_STOP_POWEROFF, /* the guest turned the power off */
    VM_STOP_RESET,    /* the guest reset itself and no_reboot is set */
    VM_STOP_EXIT,     /* isa-debug-exit: vm_exit_code() */
    VM_STOP_TRIPLE,   /* triple fault */
    VM_STOP_FAIL,     /* we failed: the message is in *e */
    VM_STOP_DEBUG,    /* a breakpoint, a watchpoint, or the end of a step: vm_debug_why() */
};
/* Runs the guest until something stops it. The state is complete at return and may be saved. */
enum vm_stop vm_run(struct vm *vm, struct err *e);
void vm_kick(struct vm *vm);           /* [any thread] ask vm_run to return; sticky until it does */
int vm_exit_code(const struct vm *vm); /* after VM_STOP_EXIT: the value v that the guest wrote; the status is 2v+1 */
void vm_reset(struct vm *vm);
void vm_power_button(struct vm *vm); /* [any thread] ACPI's: the guest's operating system shuts down */
/* A non-maskable interrupt from outside. Only while stopped. False: the guest's local APIC masks it. */
bool vm_nmi(struct vm *vm);
/* Another disc in the CD drive at an IDE slot, the tray closed; NULL: none. The old port's worker is idle. False: there
 * is no CD drive. */
bool vm_change_disc(struct vm *vm, unsigned slot, const struct blkport *port);
/* The same of a floppy drive. */
bool vm_change_floppy(struct vm *vm, unsigned drive, const struct blkport *port);

/* The virtual clock runs only inside vm_run, and advances over a halt. */
uint64_t vm_clock_ns(struct vm *vm);
void vm_set_wall(struct vm *vm, int64_t seconds_since_1970);

/* CPU and device state as bytes: named, versioned tables. The load validates everything and leaves the machine
 * unusable on error. *ret_data is malloc'ed. */
int vm_state_save(struct vm *vm, uint8_t **ret_data, size_t *ret_len, struct err *e);
int vm_state_load(struct vm *vm, const uint8_t *data, size_t len, struct err *e);
/* A text form, a field a line, for info and for comparing. malloc'ed. */
char *vm_state_dump(struct vm *vm);

/* What the machine needs of a host's processor, as words: its CPU model, and the features of that which are the host's
 * instructions. Cut where it does not fit. */
void vm_cpu_features(const struct vm *vm, char *out, size_t size);
/* Can a machine with such a text run here? VT_FAIL, with what is lacking. */
int vm_cpu_check(const char *features, struct err *e);

/* Images: 0 is RAM, 1 video RAM and after it the firmware's ROM. Their change tracking, and their contents after a
 * restore (lazily: pages come at first touch). */
unsigned vm_images(struct vm *vm);
const char *vm_image_name(struct vm *vm, unsigned image); /* "ram", "vram" */
struct pagetrack *vm_image_track(struct vm *vm, unsigned image);
/* All pages are src's from now on; what was there is dropped; translations of unchanged code may stay. src lives until
 * the next restore or vm_free; NULL: zero. */
int vm_image_restore(struct vm *vm, unsigned image, struct pagesrc *src, struct err *e);
/* The pages in list[] become src's again (a revert that knows what differs). */
int vm_image_revert(struct vm *vm, unsigned image, struct pagesrc *src, const uint64_t *list, size_t n, struct err *e);
/* Captures of the image that are not done hold so many pages at most of what was written over since; a guest that goes
 * on to change others waits until some are stored. */
void vm_image_bound(struct vm *vm, unsigned image, uint64_t most);
/* Before either of them: the pages in list[], which are all that may differ from what the image stands on, are kept as
 * they are now, until the next call of this. It costs no copies until other bytes take a page's place; past `most` of
 * those it is lost. False: it cannot be had. */
bool vm_image_leave(struct vm *vm, unsigned image, const uint64_t *list, size_t n, uint64_t most);
bool vm_image_left(struct vm *vm, unsigned image); /* Is it there still? */
void vm_image_drop_left(struct vm *vm, unsigned image);
/* After the image was made what it stood on then, and its epoch ended, and with nothing retained: those pages are as
 * they were left, changed in this epoch. Nothing is kept any more. */
void vm_image_back(struct vm *vm, unsigned image);
/* What was translated of pages that nobody has written to since the restore, for the next process that restores the
 * same. Only while stopped. vm_code_load: before the first vm_run; false: of another program or machine. */
int vm_code_save(struct vm *vm, struct buf *out, struct err *e);
bool vm_code_load(struct vm *vm, const void *data, size_t len);
/* Reads guest-physical memory; false: outside of RAM. Only while stopped. */
bool vm_phys_read(struct vm *vm, uint64_t pa, void *dst, size_t len);
bool vm_phys_write(struct vm *vm, uint64_t pa, const void *src, size_t len);

/* What the display shows now, as a copy for display_release. Only while stopped. VT_BUSY: the machine has no display.
 */
int vm_display(struct vm *vm, struct display *ret, struct err *e);
void display_release(struct display *d);

/* Debugging. All of it only while stopped. Addresses are linear. */
enum { VM_BREAK_EXEC = 1, VM_WATCH_READ = 2, VM_WATCH_WRITE = 4 };
/* Adds or removes one breakpoint (kinds VM_BREAK_EXEC; vm_run stops before the instruction) or watchpoint (VM_WATCH_*,
 * len bytes; vm_run stops after the instruction). What is there, or not there, already is no error. VT_FAIL: too many;
 * VT_USAGE: not such a length. */
int vm_debug_break(struct vm *vm, unsigned kinds, uint64_t lin, uint32_t len, bool add, struct err *e);
/* The next vm_run runs one instruction, or one run of a REP, with interrupts held back unless the processor is halted.
 */
void vm_debug_step(struct vm *vm);
/* The debugger is gone: all of it is forgotten. */
void vm_debug_clear(struct vm *vm);
struct vm_debug_stop {
    unsigned kinds; /* of what was met; 0: the step is over */
    uint64_t lin;   /* of the breakpoint or watchpoint */
};
struct vm_debug_stop vm_debug_why(const struct vm *vm); /* after VM_STOP_DEBUG */
/* Through the guest's page tables as a supervisor that no write protection stops, without side effects on tables and
 * devices. Return how many bytes could be accessed. */
size_t vm_debug_read(struct vm *vm, uint64_t lin, void *dst, size_t len);
size_t vm_debug_write(struct vm *vm, uint64_t lin, const void *src, size_t len);
enum { VM_SEG_ES, VM_SEG_CS, VM_SEG_SS, VM_SEG_DS, VM_SEG_FS, VM_SEG_GS, VM_SEG_LDTR, VM_SEG_TR };
struct vm_debug_regs {
    uint64_t gpr[16]; /* rax rcx rdx rbx rsp rbp rsi rdi r8..r15 */
    uint64_t rip;     /* offset in CS */
    uint64_t rflags;  /* a flag that the code to come does not read may show as 0 */
    struct {
        uint64_t base;
        uint32_t limit;
        uint16_t sel, attr; /* attr: the descriptor's bits 55:40 */
    } seg[8];
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, dr[8];
    uint64_t gdt_base, idt_base;
    uint32_t gdt_limit, idt_limit;
    uint8_t cpl, halted, code_bits; /* 16, 32 or 64: what the instruction at rip is decoded as */
    uint8_t fx[512];                /* FXSAVE's layout */
};
void vm_debug_get_regs(struct vm *vm, struct vm_debug_regs *ret);
/* Takes gpr, rip, rflags (but VM and IOPL) and fx; the rest changes what the processor is doing too much. */
void vm_debug_set_regs(struct vm *vm, const struct vm_debug_regs *r);

/* Counters, as "name value" lines. malloc'ed. [any thread]: approximate while running */
char *vm_stats(struct vm *vm);
/* NULL, or the next line that the vCPU thread logged (malloc'ed). [any thread] */
char *vm_log_line(struct vm *vm);

#endif
