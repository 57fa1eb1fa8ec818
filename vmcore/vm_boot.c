/* Direct boot: the kernel and its modules are kept, because a reset boots them again. */
#include <stdlib.h>
#include <string.h>

#include "src/base/util.h"
#include "vmcore/cpuid.h"
#include "vmcore/rt_log.h"
#include "vmcore/vm.h"

static int boot_write(void *opaque, uint64_t pa, const void *src, size_t len, struct err *e)
{
    struct vm *vm = opaque;

    if (!dma_write(vm->mem, pa, src, len))
        return err_set(e, VT_FAIL, "boot data at %llx is outside of memory", (unsigned long long)pa);
    return 0;
}

static void set_entry(struct cpu *c, const struct boot_entry *b)
{
    c->cr0 = CR0_PE | CR0_ET;
    c->mtrr_def = 0xc06; /* as firmware leaves them: on, write-back */
    for (unsigned i = 0; i < 11; i++)
        c->mtrr_fix[i] = 0x0606060606060606ull;
    c->gdt.base = b->gdt_base;
    c->gdt.limit = b->gdt_limit;
    for (unsigned i = 0; i < 6; i++)
        seg_set_flat(c, i, i == S_CS ? b->cs : b->ds, i == S_CS ? 0xc09b : 0xc093);
    c->seg[S_TR].limit = 0x67; /* as the PVH ABI has it */
    c->eip = b->eip;
    c->gpr[R_ESP] = b->esp;
    c->gpr[R_EAX] = b->eax;
    c->gpr[R_EBX] = b->ebx;
    c->gpr[R_ESI] = b->esi;
    c->gpr[R_EDX] = 0;
    cpu_update_mode(c);
}

int vm_boot_again(struct vm *vm, struct err *e)
{
    struct boot_mem m = {(uint64_t)vm->mem->low_pages << VT_PAGE_SHIFT, boot_write, vm,
                         (uint64_t)(vm->mem->ram_pages - vm->mem->low_pages) << VT_PAGE_SHIFT};
    const struct acpi_config acpi = boot_acpi_config(&vm->config);
    struct boot_entry b;
    enum { APIC = 1 << 9 };
    uint32_t rsdp = 0, id[4];
    int r;

    cpu_reset(vm->cpu);
    if (vm->board)
        board_direct_boot(vm->board);
    r = vm->board ? acpi_load(&m, &acpi, &rsdp, e) : 0;
    cpuid_query(vm->cpu->model, 1, 0, id);
    if (!r && vm->board && (id[3] & APIC))
        r = mptable_load(&m, id, e);
    if (!r)
        r = boot_load(&m, &vm->boot.files, rsdp, &b, e);
    if (r)
        return r;
    set_entry(vm->cpu, &b);
    if (b.note)
        rt_log_put(&vm->log, "%s", b.note);
    return 0;
}

void vm_boot_release(struct vm *vm)
{
    for (unsigned i = 0; i < vm->boot.files.nmodules; i++) {
        free((void *)vm->boot.module[i].data);
        free((void *)vm->boot.module[i].args);
    }
    free((void *)vm->boot.files.kernel);
    free((void *)vm->boot.files.cmdline);
    memset(&vm->boot, 0, sizeof vm->boot);
}

static void *copy(const void *src, size_t len)
{
    void *p = malloc(len + 1); /* an empty one is not NULL */

    return p && len ? memcpy(p, src, len) : p;
}

static bool keep(struct vm *vm, const void *kernel, size_t kernel_len, const struct vm_module *modules,
                 unsigned nmodules, const char *cmdline)
{
    struct boot_files *f = &vm->boot.files;
    bool ok;

    *f = (struct boot_files){copy(kernel, kernel_len), kernel_len, vm->boot.module, nmodules,
                             strdup(cmdline ? cmdline : "")};
    ok = f->kernel && f->cmdline;
    for (unsigned i = 0; i < nmodules; i++) {
        struct vm_module *to = &vm->boot.module[i];

        *to = (struct vm_module){copy(modules[i].data, modules[i].len), modules[i].len,
                                 modules[i].args ? strdup(modules[i].args) : NULL};
        ok = ok && to->data && (to->args || !modules[i].args);
    }
    return ok;
}

enum vm_kernel vm_kernel_kind(const void *kernel, size_t len)
{
    return boot_kind(kernel, len);
}

bool vm_kernel_64(const struct vm *vm)
{
    return vm->boot.files.kernel && boot_is_64(vm->boot.files.kernel, vm->boot.files.kernel_len);
}

int vm_load_kernel(struct vm *vm, const void *kernel, size_t kernel_len, const struct vm_module *modules,
                   unsigned nmodules, const char *cmdline, struct err *e)
{
    int r;

    vm_boot_release(vm);
    if (nmodules > (boot_kind(kernel, kernel_len) == VM_KERNEL_LINUX ? 1 : VM_MAX_MODULES))
        return err_set(e, VT_USAGE, "more modules than such a kernel takes");
    if (!keep(vm, kernel, kernel_len, modules, nmodules, cmdline)) {
        vm_boot_release(vm);
        return err_set(e, VT_FAIL, "out of memory");
    }
    r = vm_boot_again(vm, e);
    if (r)
        vm_boot_release(vm);
    return r;
}
