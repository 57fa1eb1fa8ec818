/* A processor alone, in ring 3 with flat segments and paging, for the differential test. Selectors are those that
 * 32-bit programs have on a 64-bit Linux host, so that reads of them agree. */
#include "vmcore/cpu_test.h"

#include <string.h>
#include "src/base/util.h"
#include "vmcore/cpuid.h"
#include "vmcore/tb.h"
#include "vmcore/vm.h"

enum { RAM = 64 << 20, GDT_PA = 0x1000, DIR_PA = 0x2000, LDT_PA = 0x3000, FIRST_FREE = 0x4000, LDT_MAX = 8 };
#define GDT_VA   0xffc00000u
#define LDT_VA   0xffc01000u
#define GDT_VA64 0xffff800000000000ull

struct cpu_test {
    struct vm *vm;
    enum cpu_test_mode mode;
    uint64_t ldt[LDT_MAX];
    uint16_t sel[6];
    uint32_t next_free;
    uint32_t dir[1024]; /* page table of each 4 MiB, 0 none */
    bool done;
};

static void on_exception(struct cpu *c)
{
    c->stop = 1;
    cpu_set_attn(c, ATTN_EXIT);
}

static uint32_t new_page(struct cpu_test *t)
{
    uint32_t pa = t->next_free;

    vt_assert(pa < RAM && (pa < 0xa0000 || pa >= 0xc0000));
    t->next_free += 4096;
    if (t->next_free == 0xa0000)
        t->next_free = 0x100000;
    return pa;
}

static uint32_t *phys(struct cpu_test *t, uint32_t pa)
{
    return (uint32_t *)(mem_write_ptr(t->vm->mem, pa >> 12) + (pa & 0xfff));
}

static uint32_t *pte(struct cpu_test *t, uint64_t lin)
{
    uint32_t va = (uint32_t)lin, *d = &t->dir[va >> 22];

    if (!*d) {
        *d = new_page(t);
        phys(t, DIR_PA)[va >> 22] = *d | 7;
    }
    return phys(t, *d) + ((va >> 12) & 1023);
}

static uint64_t *pte64(struct cpu_test *t, uint64_t va)
{
    uint32_t table = DIR_PA;

    for (unsigned level = 3; level > 0; level--) {
        uint64_t *e = (uint64_t *)phys(t, table) + ((va >> (12 + 9 * level)) & 511);
        if (!*e)
            *e = new_page(t) | 7;
        table = (uint32_t)*e & 0xfffff000u;
    }
    return (uint64_t *)phys(t, table) + ((va >> 12) & 511);
}

static uint64_t pte_get(struct cpu_test *t, uint64_t va)
{
    return t->mode == CPU_TEST_64 ? *pte64(t, va) : *pte(t, va);
}

static void pte_put(struct cpu_test *t, uint64_t va, uint64_t v)
{
    if (t->mode == CPU_TEST_64)
        *pte64(t, va) = v;
    else
        *pte(t, va) = (uint32_t)v;
}

int cpu_test_new(enum cpu_test_mode mode, const char *model, struct cpu_test **ret)
{
    /* 23h code, 2Bh data, 33h 64-bit code */
    static const uint32_t gdt[14] = {
        [8] = 0x0000ffff, [9] = 0x00cffb00, [10] = 0x0000ffff, [11] = 0x00cff300, [12] = 0x0000ffff, [13] = 0x00affb00};
    struct vm_config config = {.board = VM_BOARD_BARE, .ram_bytes = RAM, .cpu_model = model};
    struct err e = {0};
    struct cpu *c;

    struct cpu_test *t = calloc(1, sizeof *t);
    if (!t)
        return VT_FAIL;
    t->mode = mode;
    for (unsigned i = 0; i < 6; i++)
        t->sel[i] = i == S_CS ? (mode == CPU_TEST_64 ? 0x33 : 0x23) : 0x2b;
    t->next_free = FIRST_FREE;
    if (vm_new(&config, &t->vm, &e) || vm_thread_init(t->vm, &e)) {
        cpu_test_free(t);
        return VT_FAIL;
    }
    c = t->vm->cpu;
    memcpy(phys(t, GDT_PA), gdt, sizeof gdt);
    bool wide = mode == CPU_TEST_64;
    pte_put(t, wide ? GDT_VA64 : GDT_VA, GDT_PA | 3);
    pte_put(t, LDT_VA, LDT_PA | 3);
    c->seg[S_TR].limit = 0; /* no I/O permission map */
    c->gdt.base = wide ? GDT_VA64 : GDT_VA;
    c->gdt.limit = sizeof gdt - 1;
    c->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP;
    c->cr3 = DIR_PA;
    c->cr4 = CR4_PSE | CR4_OSFXSR | CR4_OSXMMEXCPT | (wide ? CR4_PAE : 0);
    if (c->model->features & FEAT(XSAVE)) {
        c->cr4 |= CR4_OSXSAVE;
        c->xcr0 = cpuid_xcr0(c->model);
    }
    if (wide)
        c->cr4 |= CR4_FSGSBASE & cpuid_cr4(c->model); /* as hosts have it */
    c->efer = wide ? EFER_LME | EFER_LMA | EFER_NXE : 0;
    c->exc_hook = on_exception;
    *ret = t;
    return 0;
}

void cpu_test_free(struct cpu_test *t)
{
    if (!t)
        return;
    vm_free(t->vm);
    free(t);
}

uint8_t *cpu_test_map(struct cpu_test *t, uint64_t va, unsigned prot)
{
    uint32_t pa = (uint32_t)pte_get(t, va) & 0xfffff000u;

    if (!pa)
        pa = new_page(t);
    bool nx = t->mode == CPU_TEST_64 && prot & CPU_TEST_NOEXEC;
    pte_put(t, va, pa | 5 | (prot & CPU_TEST_WRITE ? 2u : 0) | (nx ? 1ull << 63 : 0));
    mmu_flush_all(t->vm->cpu);
    return (uint8_t *)phys(t, pa);
}

void cpu_test_unmap(struct cpu_test *t, uint64_t va)
{
    pte_put(t, va, pte_get(t, va) & ~1ull);
    mmu_flush_all(t->vm->cpu);
}

void cpu_test_set_ldt(struct cpu_test *t, const uint64_t *desc, unsigned n)
{
    struct cpu_seg *s = &t->vm->cpu->seg[S_LDTR];

    vt_assert(n > 0 && n <= LDT_MAX);
    memcpy(t->ldt, desc, n * 8);
    memcpy(phys(t, LDT_PA), desc, n * 8);
    *s = (struct cpu_seg){.base = LDT_VA, .limit = n * 8 - 1, .sel = 0x38, .attr = 0x82, .valid = 1};
}

void cpu_test_set_selector(struct cpu_test *t, unsigned seg, uint16_t sel)
{
    vt_assert(seg < 6);
    t->sel[seg] = sel;
}

static void load_segments(const struct cpu_test *t)
{
    struct cpu *c = t->vm->cpu;

    for (unsigned i = 0; i < 6; i++) {
        if (t->sel[i] & 4) {
            const uint32_t raw[2] = {(uint32_t)t->ldt[t->sel[i] >> 3], (uint32_t)(t->ldt[t->sel[i] >> 3] >> 32)};
            seg_from_raw(c, i, t->sel[i], raw);
        } else {
            seg_set_flat(c, i, t->sel[i], i != S_CS ? 0xc0f3 : t->mode == CPU_TEST_64 ? 0xa0fb : 0xc0fb);
        }
    }
}

static void load(struct cpu_test *t, const struct cpu_test_regs *r)
{
    struct cpu *c = t->vm->cpu;

    for (unsigned i = 0; i < (t->mode == CPU_TEST_64 ? 16u : 8u); i++)
        c->gpr[i] = r->gpr[i];
    c->eip = t->mode == CPU_TEST_64 ? r->rip : (uint32_t)r->rip;
    c->cpl = 3;
    load_segments(t);
    if (t->mode == CPU_TEST_64) {
        c->seg[S_FS].base = r->fs_base;
        c->seg[S_GS].base = r->gs_base;
    }
    c->eflags = ((uint32_t)r->rflags & (EF_TF | EF_DF | EF_AC | EF_ID)) | EF_IF;
    c->r12 = cpu_flags_from_ef((uint32_t)r->rflags);
    memcpy(c->fx, r->fx, sizeof c->fx);
    memset(c->fx + 8, 0, 16);
    c->exc_pending = c->single = c->trap_after = c->inhibit = c->stop = 0;
    cpu_update_mode(c);
}

void cpu_test_run(struct cpu_test *t, struct cpu_test_regs *r, uint64_t until, struct cpu_test_fault *f)
{
    struct cpu *c = t->vm->cpu;
    struct xarea host = {.in_use = 0}, guest = {.in_use = 0};

    load(t, r);
    memcpy(guest.fx, c->fx, sizeof guest.fx);
    memcpy(guest.ymmh, r->ymmh, sizeof guest.ymmh);
    vector_save(c->model, &host);
    vector_load(c->model, &guest);
    while (!c->stop && c->eip != until) {
        __atomic_store_n(&c->attn, 0, __ATOMIC_SEQ_CST);
        if (t->vm->cache->flush_wanted)
            cache_flush(t->vm->cache);
        uint64_t code = cpu_resume(c);
        if (code)
            vcpu_enter(c, (const void *)code);
    }
    __atomic_store_n(&c->attn, 0, __ATOMIC_SEQ_CST);
    vector_save(c->model, &guest);
    vector_load(c->model, &host);
    memcpy(c->fx, guest.fx, sizeof c->fx);
    memcpy(r->ymmh, guest.ymmh, sizeof r->ymmh);
    *f = (struct cpu_test_fault){-1, 0, 0};
    if (c->stop)
        *f = (struct cpu_test_fault){(int)c->exc_vector, c->exc_has_error ? c->exc_error : 0,
                                     c->exc_vector == X_PF ? c->exc_cr2 : 0};
    c->exc_pending = 0;
    for (unsigned i = 0; i < 16; i++)
        if (t->mode == CPU_TEST_64)
            r->gpr[i] = c->gpr[i];
        else if (i < 8)
            r->gpr[i] = (uint32_t)c->gpr[i];
    if (t->mode == CPU_TEST_64) {
        r->fs_base = c->seg[S_FS].base;
        r->gs_base = c->seg[S_GS].base;
    }
    r->rip = c->eip;
    r->rflags = cpu_get_eflags(c, FL_ALL);
    memcpy(r->fx, c->fx, sizeof r->fx);
    memset(r->fx + 6, 0, 18);
}

void cpu_test_flush_code(struct cpu_test *t)
{
    struct mem *m = t->vm->mem;

    for (uint32_t p = 0; p < m->pages; p++)
        if (m->code[p].lines)
            cache_write(t->vm->cache, p, 0, 4096);
}

unsigned cpu_test_rows(void)
{
    return row_count();
}

const char *cpu_test_row_name(unsigned i)
{
    return row_get(i)->name;
}

bool cpu_test_row_is_copy(unsigned i)
{
    return row_get(i)->kind == ROW_COPY;
}

uint64_t cpu_test_row_hits(struct cpu_test *t, unsigned i)
{
    return t->vm->cpu->row_hits[i];
}

bool cpu_test_isa_offered(const char *model, unsigned zydis_isa_set)
{
    const struct cpu_model *m = cpu_model_find(model);
    struct cpu_model here;

    if (!m)
        return false;
    here = *m;
    if (m->as_host)
        here.features &= cpu_features_of_host();
    return cpuid_offers(&here, zydis_isa_set);
}
