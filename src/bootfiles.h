/* The files of a direct boot, read: a kernel, and its initial RAM disk or modules. */
#ifndef VT_BOOTFILES_H
#define VT_BOOTFILES_H

#include "src/base/buf.h"
#include "src/base/err.h"
#include "vmcore/vmcore.h"

struct bootfiles {
    struct buf kernel;
    unsigned n;
    struct vm_module module[VM_MAX_MODULES];
    struct buf data[VM_MAX_MODULES];
    char *args[VM_MAX_MODULES];
};

/* initrd may be NULL. For Linux it names one file. For other kernels it is a list of modules, "FILE[ ARGS]" with commas
 * between; a module's command line is its whole entry. The machine's memory in bytes bounds what is read. */
int bootfiles_read(const char *kernel, const char *initrd, uint64_t mem, struct bootfiles *ret, struct err *e);
void bootfiles_release(struct bootfiles *f);

#endif
