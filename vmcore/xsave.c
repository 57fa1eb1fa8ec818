/* XSAVE and what belongs to it: XCR0, XSAVEOPT, XRSTOR, in the standard format with x87, SSE and AVX state. Whether a
 * state is in use goes by its contents, so that reruns agree. Intel SDM vol. 1, chapter 13. */
#include "vmcore/cpu.h"

#include "vmcore/cpuid.h"
#include "vmcore/helpers.h"
#include "vmcore/rt.h"

enum { AT_MXCSR = 24, AT_ST = 32, AT_XMM = 160, AT_HEADER = 512, AT_YMMH = 576 };
_Static_assert(offsetof(struct xarea, in_use) == AT_HEADER && offsetof(struct xarea, ymmh) == AT_YMMH, "the format");

/* A guest's area: states that the instruction is for, and where it lies. */
struct area {
    uint64_t states, lin;
};

static int find_area(struct cpu *c, const struct site *s, uint64_t addr, unsigned acc, struct area *a)
{
    uint32_t size;

    if (!(c->cr4 & CR4_OSXSAVE))
        return cpu_raise(c, X_UD, -1);
    if (c->cr0 & CR0_TS)
        return cpu_raise(c, X_NM, -1);
    a->states = (c->gpr[R_EDX] << 32 | (uint32_t)c->gpr[R_EAX]) & c->xcr0;
    size = xsave_size(a->states);
    if (seg_check(c, help_seg(s), addr, size, acc, &a->lin))
        return 1;
    if (a->lin & 63)
        return cpu_raise(c, X_GP, 0);
    return mmu_probe(c, a->lin, size, acc);
}

/* Vector registers that instructions of the mode reach. */
static unsigned registers(const struct cpu *c)
{
    return c->mode & M_CODE64 ? 16 : 8;
}

static bool is_zero(const uint8_t *p, unsigned n)
{
    unsigned v = 0;

    for (unsigned i = 0; i < n; i++)
        v |= p[i];
    return !v;
}

/* States that are not as at their initialisation; XMM and YMM whole, whatever the mode reaches. */
static uint64_t in_use(const struct cpu *c, const struct xarea *x)
{
    bool x87 = x->fx[0] != 0x7f || x->fx[1] != 3 || !is_zero(x->fx + 2, AT_MXCSR - 2);

    for (unsigned i = 0; i < 8; i++)
        x87 |= !is_zero(x->fx + AT_ST + 16 * i, 10);
    return (x87 ? XCR0_X87 : 0) | (is_zero(x->fx + AT_XMM, 256) ? 0 : XCR0_SSE) |
           ((c->model->features & FEAT(AVX)) && !is_zero(x->ymmh[0], sizeof x->ymmh) ? XCR0_AVX : 0);
}

static int save(struct cpu *c, const struct site *s, uint64_t addr, bool only_used)
{
    struct xarea *x = &c->x_tmp;
    struct area a;
    uint64_t header, used, what;
    unsigned n = 16 * registers(c);

    if (find_area(c, s, addr, ACC_WRITE, &a) || mmu_read(c, a.lin + AT_HEADER, &header, 8, 0))
        return 1;
    vector_save(c->model, x);
    fpu_guest_view(c, s, x->fx);
    used = in_use(c, x);
    what = only_used ? a.states & used : a.states;
    header = (header & ~a.states) | (a.states & used);
    if ((what & XCR0_X87) &&
        (mmu_write(c, a.lin, x->fx, AT_MXCSR, 0) || mmu_write(c, a.lin + AT_ST, x->fx + AT_ST, AT_XMM - AT_ST, 0)))
        return 1;
    if ((a.states & (XCR0_SSE | XCR0_AVX)) && mmu_write(c, a.lin + AT_MXCSR, x->fx + AT_MXCSR, 8, 0))
        return 1;
    if ((what & XCR0_SSE) && mmu_write(c, a.lin + AT_XMM, x->fx + AT_XMM, n, 0))
        return 1;
    if ((what & XCR0_AVX) && mmu_write(c, a.lin + AT_YMMH, x->ymmh, n, 0))
        return 1;
    return mmu_write(c, a.lin + AT_HEADER, &header, 8, 0);
}

int help_xsave(struct cpu *c, const struct site *s, uint64_t addr)
{
    return save(c, s, addr, false);
}

int help_xsaveopt(struct cpu *c, const struct site *s, uint64_t addr)
{
    return save(c, s, addr, true);
}

/* A state of the guest's area into x, or its initial one. */
static int load_x87(struct cpu *c, uint64_t lin, bool there, struct xarea *x)
{
    memset(x->fx, 0, AT_MXCSR);
    memset(x->fx + AT_ST, 0, AT_XMM - AT_ST);
    x->fx[0] = 0x7f;
    x->fx[1] = 3;
    if (there && (mmu_read(c, lin, x->fx, AT_MXCSR, 0) || mmu_read(c, lin + AT_ST, x->fx + AT_ST, AT_XMM - AT_ST, 0)))
        return 1;
    memset(x->fx + 6, 0, 18); /* the last instruction's addresses would be taken for the host's */
    return 0;
}

static int load_mxcsr(struct cpu *c, uint64_t lin, struct xarea *x)
{
    uint32_t v, mask;

    memcpy(&mask, x->fx + AT_MXCSR + 4, 4);
    if (mmu_read(c, lin + AT_MXCSR, &v, 4, 0))
        return 1;
    if (v & ~(mask ? mask : 0xffbf))
        return cpu_raise(c, X_GP, 0);
    memcpy(x->fx + AT_MXCSR, &v, 4);
    return 0;
}

static int load_registers(struct cpu *c, uint64_t lin, bool there, uint8_t *to)
{
    unsigned n = 16 * registers(c);

    memset(to, 0, n);
    return there ? mmu_read(c, lin, to, n, 0) : 0;
}

int help_xrstor(struct cpu *c, const struct site *s, uint64_t addr)
{
    struct xarea *x = &c->x_tmp;
    struct area a;
    uint64_t header[3], there;

    if (find_area(c, s, addr, ACC_READ, &a) || mmu_read(c, a.lin + AT_HEADER, header, sizeof header, 0))
        return 1;
    there = header[0];
    if (there & ~c->xcr0 || header[1] || header[2])
        return cpu_raise(c, X_GP, 0);
    vector_save(c->model, x);
    if ((a.states & (XCR0_SSE | XCR0_AVX)) && load_mxcsr(c, a.lin, x)) /* whatever the header says */
        return 1;
    if ((a.states & XCR0_X87) && load_x87(c, a.lin, there & XCR0_X87, x))
        return 1;
    if ((a.states & XCR0_SSE) && load_registers(c, a.lin + AT_XMM, there & XCR0_SSE, x->fx + AT_XMM))
        return 1;
    if ((a.states & XCR0_AVX) && load_registers(c, a.lin + AT_YMMH, there & XCR0_AVX, x->ymmh[0]))
        return 1;
    vector_load(c->model, x);
    return 0;
}

int help_xgetbv(struct cpu *c, const struct site *s, uint64_t addr)
{
    if (!(c->cr4 & CR4_OSXSAVE))
        return cpu_raise(c, X_UD, -1);
    if ((uint32_t)c->gpr[R_ECX])
        return cpu_raise(c, X_GP, 0);
    c->gpr[R_EAX] = (uint32_t)c->xcr0;
    c->gpr[R_EDX] = c->xcr0 >> 32;
    return 0;
}

int help_xsetbv(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint64_t v = c->gpr[R_EDX] << 32 | (uint32_t)c->gpr[R_EAX];

    if (!(c->cr4 & CR4_OSXSAVE))
        return cpu_raise(c, X_UD, -1);
    if (c->cpl || (uint32_t)c->gpr[R_ECX] || !cpu_xcr0_ok(c, v))
        return cpu_raise(c, X_GP, 0);
    c->xcr0 = v;
    cpu_update_mode(c);
    return 0;
}

bool cpu_xcr0_ok(const struct cpu *c, uint64_t v)
{
    return (v & XCR0_X87) && !(v & ~cpuid_xcr0(c->model)) && (!(v & XCR0_AVX) || (v & XCR0_SSE));
}
