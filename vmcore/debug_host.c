/* Debugging from outside, while the vCPU stands. */
#include <string.h>

#include "src/base/util.h"
#include "vmcore/debug.h"
#include "vmcore/vm.h"

/* ---- breakpoints, watchpoints, steps */

static struct debug *begin(struct vm *vm)
{
    vm->cpu->debug = &vm->debug;
    return &vm->debug;
}

void vm_debug_clear(struct vm *vm)
{
    if (!vm->cpu->debug)
        return;
    vm->cpu->debug = NULL;
    memset(&vm->debug, 0, sizeof vm->debug);
    vm->cache->flush_wanted = true; /* blocks may be whole again */
}

void debug_other_state(struct debug *d)
{
    d->step = STEP_NONE;
    d->skip = d->stopped = false;
    d->hit = (struct vm_debug_stop){0};
}

/* Blocks that run past the new offset, chains and hash entries that lead there: all of them go. */
static void split_at(struct vm *vm, uint64_t lin)
{
    if (debug_splits(&vm->debug, lin))
        return;
    vm->debug.split[(lin >> 6) & 63] |= 1ull << (lin & 63);
    vm->cache->flush_wanted = true;
}

static int find(const struct debug *d, unsigned kinds, uint64_t lin, uint32_t len)
{
    for (unsigned i = 0; i < d->n; i++)
        if (d->point[i].kinds == kinds && d->point[i].lin == lin && d->point[i].len == len)
            return (int)i;
    return -1;
}

int vm_debug_break(struct vm *vm, unsigned kinds, uint64_t lin, uint32_t len, bool add, struct err *e)
{
    struct debug *d = begin(vm);
    int i;

    if (kinds & VM_BREAK_EXEC)
        len = 1;
    i = find(d, kinds, lin, len);
    if (add == (i >= 0))
        return 0;
    if (!add) {
        d->nwatch -= kinds != VM_BREAK_EXEC;
        d->point[i] = d->point[--d->n];
        return 0;
    }
    if (len == 0 || len > VT_PAGE_SIZE)
        return err_set(e, VT_USAGE, "a watchpoint of %u bytes: 1 to 4096 will do", len);
    if (d->n == DEBUG_POINTS)
        return err_set(e, VT_FAIL, "more than %d breakpoints and watchpoints", DEBUG_POINTS);
    d->point[d->n].kinds = kinds;
    d->point[d->n].lin = lin;
    d->point[d->n++].len = len;
    if (kinds == VM_BREAK_EXEC) {
        split_at(vm, lin);
    } else {
        d->nwatch++;
        mmu_flush_all(vm->cpu);
    }
    return 0;
}

void vm_debug_step(struct vm *vm)
{
    struct debug *d = begin(vm);

    d->step = STEP_ARMED;
    d->step_seen = false;
}

struct vm_debug_stop vm_debug_why(const struct vm *vm)
{
    return vm->debug.why;
}

/* ---- memory */

static bool translate(struct vm *vm, uint64_t lin, uint64_t *ret_pa)
{
    struct cpu *c = vm->cpu;
    uint32_t flags;

    if (cpu_long(c) ? !cpu_canonical(lin) : lin > UINT32_MAX)
        return false;
    return !mmu_translate(c, lin, ACC_READ | ACC_SUP | ACC_PROBE | ACC_NO_SMAP, ret_pa, &flags);
}

static size_t transfer(struct vm *vm, uint64_t lin, void *buf, size_t len, bool write)
{
    uint8_t *p = buf;
    size_t done = 0;

    while (done < len) {
        size_t n = MIN(len - done, VT_PAGE_SIZE - ((lin + done) & (VT_PAGE_SIZE - 1)));
        uint64_t pa;

        if (!translate(vm, lin + done, &pa))
            break;
        if (!(write ? vm_phys_write(vm, pa, p + done, n) : vm_phys_read(vm, pa, p + done, n)))
            break;
        done += n;
    }
    return done;
}

size_t vm_debug_read(struct vm *vm, uint64_t lin, void *dst, size_t len)
{
    return transfer(vm, lin, dst, len, false);
}

size_t vm_debug_write(struct vm *vm, uint64_t lin, const void *src, size_t len)
{
    return transfer(vm, lin, (void *)src, len, true);
}

/* ---- registers */

static unsigned code_bits(const struct cpu *c)
{
    return c->mode & M_CODE64 ? 64 : c->mode & M_CODE32 ? 32 : 16;
}

void vm_debug_get_regs(struct vm *vm, struct vm_debug_regs *ret)
{
    struct cpu *c = vm->cpu;

    memset(ret, 0, sizeof *ret);
    for (unsigned i = 0; i < 8; i++) {
        const struct cpu_seg *s = &c->seg[i];

        ret->seg[i].sel = s->sel;
        ret->seg[i].attr = s->attr;
        ret->seg[i].base = s->base;
        ret->seg[i].limit = s->limit;
        ret->dr[i] = c->dr[i];
    }
    memcpy(ret->gpr, c->gpr, sizeof ret->gpr);
    ret->rip = c->eip;
    ret->rflags = cpu_get_eflags(c, FL_ALL);
    ret->cr0 = c->cr0;
    ret->cr2 = c->cr2;
    ret->cr3 = c->cr3;
    ret->cr4 = c->cr4;
    ret->cr8 = c->cr8;
    ret->efer = c->efer;
    ret->gdt_base = c->gdt.base;
    ret->gdt_limit = c->gdt.limit;
    ret->idt_base = c->idt.base;
    ret->idt_limit = c->idt.limit;
    ret->cpl = c->cpl;
    ret->halted = c->halted;
    ret->code_bits = (uint8_t)code_bits(c);
    memcpy(ret->fx, c->fx, sizeof ret->fx);
}

void vm_debug_set_regs(struct vm *vm, const struct vm_debug_regs *r)
{
    struct cpu *c = vm->cpu;
    uint32_t mxcsr;

    if (c->eip != r->rip && cpu_canonical(r->rip)) {
        c->eip = cpu_wrap(c, r->rip);
        c->halted = 0;
        c->inhibit = 0;
        vm->debug.skip = false;
    }
    for (unsigned i = 0; i < 16; i++)
        c->gpr[i] = cpu_long(c) ? r->gpr[i] : (uint32_t)r->gpr[i];
    cpu_set_eflags(c, (uint32_t)r->rflags, EF_ARITH | EF_TF | EF_IF | EF_DF | EF_NT | EF_RF | EF_AC | EF_ID);
    memcpy(c->fx, r->fx, sizeof c->fx);
    memcpy(&mxcsr, c->fx + 24, 4);
    mxcsr &= 0xffff; /* reserved bits would fault in the host */
    memcpy(c->fx + 24, &mxcsr, 4);
}
