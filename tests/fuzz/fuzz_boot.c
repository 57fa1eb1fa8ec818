/* Kernel files through all loaders. Whatever a file says, a loader stays inside of it (a sanitizer sees a read behind
 * its end) and of RAM.
 *
 * Input: a byte whose low 2 bits are the number of modules, then the file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/util.h"
#include "vmcore/boot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { RAM = 4 << 20 };

static int write_ram(void *opaque, uint64_t pa, const void *src, size_t len, struct err *e)
{
    if (pa > RAM || len > RAM - pa || (len && pa < 0x100000 && pa + len > 0xa0000)) {
        fprintf(stderr, "fuzz_boot: %zu bytes written to %llx\n", len, (unsigned long long)pa);
        abort();
    }
    if (len)
        memcpy((uint8_t *)opaque + pa, src, len);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct vm_module modules[3] = {{"one", 3, "one a b"}, {"", 0, ""}, {"three", 5, NULL}};
    cleanup(cleanup_free) uint8_t *ram = calloc(1, RAM);
    struct boot_mem m = {RAM, write_ram, ram};
    struct boot_entry b = {0};
    struct boot_files f = {.module = modules, .cmdline = "root=/dev/vda"};
    struct err e = {0};
    int r;

    if (!ram || len < 1)
        return 0;
    f.kernel = data + 1;
    f.kernel_len = len - 1;
    f.nmodules = data[0] & 3;
    r = boot_load(&m, &f, 0xe0000, &b, &e);
    if ((r != 0) != (e.msg[0] != 0) || strchr(e.msg, '\n')) {
        fprintf(stderr, "fuzz_boot: returns %d and says \"%s\"\n", r, e.msg);
        abort();
    }
    if (r == 0 && (b.gdt_base == 0 || b.gdt_base + b.gdt_limit >= RAM)) {
        fprintf(stderr, "fuzz_boot: a GDT at %x\n", b.gdt_base);
        abort();
    }
    return 0;
}
