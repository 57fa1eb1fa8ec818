/* Instructions that long mode lacks or changes: decimal adjust, PUSHA, ENTER, BOUND, LDS and kin. Flags that the
 * manuals call undefined are left as current CPUs leave them where that is known. Intel SDM vol. 2. */
#include "vmcore/cpu.h"

#include "vmcore/helpers.h"
#include "vmcore/rt.h"

static uint32_t flags(const struct cpu *c)
{
    return cpu_flags_to_ef(c->r12);
}

static void set_flags(struct cpu *c, uint32_t ef)
{
    c->r12 = cpu_flags_from_ef(ef);
}

static void set_al(struct cpu *c, uint8_t v)
{
    c->gpr[R_EAX] = (c->gpr[R_EAX] & ~0xffull) | v;
}

static void set_ax(struct cpu *c, uint16_t v)
{
    c->gpr[R_EAX] = (c->gpr[R_EAX] & ~0xffffull) | v;
}

static uint32_t szp(uint8_t v)
{
    uint32_t f = v ? 0 : EF_ZF;

    if (v & 0x80)
        f |= EF_SF;
    v ^= (uint8_t)(v >> 4);
    if (!((0x6996 >> (v & 15)) & 1))
        f |= EF_PF;
    return f;
}

int help_daa(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint8_t al = (uint8_t)c->gpr[R_EAX], old = al;
    uint32_t f = flags(c), out = 0;

    if ((al & 15) > 9 || (f & EF_AF)) {
        al = (uint8_t)(al + 6);
        out |= EF_AF;
    }
    if (old > 0x99 || (f & EF_CF)) {
        al = (uint8_t)(al + 0x60);
        out |= EF_CF;
    }
    set_al(c, al);
    set_flags(c, out | szp(al));
    return 0;
}

int help_das(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint8_t al = (uint8_t)c->gpr[R_EAX], old = al;
    uint32_t f = flags(c), out = 0;

    if ((al & 15) > 9 || (f & EF_AF)) {
        if (al < 6)
            out |= EF_CF;
        al = (uint8_t)(al - 6);
        out |= EF_AF;
    }
    if (old > 0x99 || (f & EF_CF)) {
        al = (uint8_t)(al - 0x60);
        out |= EF_CF;
    }
    out |= f & EF_CF && !(old > 0x99) ? EF_CF : 0;
    set_al(c, al);
    set_flags(c, out | szp(al));
    return 0;
}

static int ascii_adjust(struct cpu *c, int sign)
{
    uint16_t ax = (uint16_t)c->gpr[R_EAX];
    uint32_t f = 0;

    if ((ax & 15) > 9 || (flags(c) & EF_AF)) {
        ax = (uint16_t)(ax + sign * 0x106);
        f = EF_AF | EF_CF;
    }
    ax &= 0xff0f;
    set_ax(c, ax);
    set_flags(c, f | szp((uint8_t)ax));
    return 0;
}

int help_aaa(struct cpu *c, const struct site *s, uint64_t addr)
{
    return ascii_adjust(c, 1);
}

int help_aas(struct cpu *c, const struct site *s, uint64_t addr)
{
    return ascii_adjust(c, -1);
}

int help_aam(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint8_t al = (uint8_t)c->gpr[R_EAX], d = (uint8_t)s->arg2;

    if (!d)
        return cpu_raise(c, X_DE, -1);
    set_ax(c, (uint16_t)((al / d) << 8 | al % d));
    set_flags(c, szp((uint8_t)(al % d)));
    return 0;
}

int help_aad(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint16_t ax = (uint16_t)c->gpr[R_EAX];
    uint8_t al = (uint8_t)((ax & 0xff) + (ax >> 8) * (s->arg2 & 0xff));

    set_ax(c, al);
    set_flags(c, szp(al));
    return 0;
}

int help_salc(struct cpu *c, const struct site *s, uint64_t addr)
{
    set_al(c, flags(c) & EF_CF ? 0xff : 0);
    return 0;
}

static int stack_check(struct cpu *c, uint64_t esp, unsigned n, unsigned acc, uint64_t *lin)
{
    return seg_check(c, S_SS, esp & cpu_sp_mask(c), n, acc, lin);
}

/* PUSHA, POPA and ENTER write and load as they go, like the CPUs: a fault leaves part of it done, ESP as it was. */
int help_pusha(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned n = help_size(s) == 2 ? 2 : 4;
    uint32_t esp = (uint32_t)c->gpr[R_ESP];
    uint64_t lin;

    for (unsigned i = 0; i < 8; i++) {
        uint32_t v = (uint32_t)c->gpr[i];
        if (stack_check(c, esp - (i + 1) * n, n, ACC_WRITE, &lin) || mmu_write(c, lin, &v, n, 0))
            return 1;
    }
    cpu_set_sp(c, esp - 8 * n);
    return 0;
}

int help_popa(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned n = help_size(s) == 2 ? 2 : 4;
    uint32_t esp = (uint32_t)c->gpr[R_ESP];
    uint64_t lin;

    for (unsigned i = 0; i < 8; i++) {
        uint32_t v = 0;
        if (7 - i == R_ESP)
            continue;
        if (stack_check(c, esp + i * n, n, ACC_READ, &lin) || mmu_read(c, lin, &v, n, 0))
            return 1;
        c->gpr[7 - i] = n == 4 ? v : (c->gpr[7 - i] & 0xffff0000u) | v;
    }
    cpu_set_sp(c, esp + 8 * n);
    return 0;
}

int help_enter(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned n = help_size(s), level = s->arg2 & 31;
    uint64_t alloc = (s->arg2 >> 16) & 0xffff, esp = c->gpr[R_ESP], ebp = c->gpr[R_EBP], lin;
    uint64_t frame = esp - n, at = esp;

    for (unsigned i = 0; i <= level; i++) {
        uint64_t v = ebp;
        if (i && i == level)
            v = frame;
        else if (i) {
            v = 0;
            if (stack_check(c, ebp - i * n, n, ACC_READ, &lin) || mmu_read(c, lin, &v, n, 0))
                return 1;
        }
        at -= n;
        if (stack_check(c, at, n, ACC_WRITE, &lin) || mmu_write(c, lin, &v, n, 0))
            return 1;
    }
    if (stack_check(c, at - alloc, 1, ACC_WRITE, &lin) || mmu_probe(c, lin, 1, ACC_WRITE))
        return 1;
    if (n == 8)
        c->gpr[R_EBP] = frame;
    else if (n == 4)
        c->gpr[R_EBP] = (uint32_t)frame;
    else
        c->gpr[R_EBP] = (c->gpr[R_EBP] & ~0xffffull) | (frame & 0xffff);
    cpu_set_sp(c, at - alloc);
    return 0;
}

int help_bound(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned n = help_size(s) == 2 ? 2 : 4;
    uint64_t lin;
    uint8_t b[8];
    int32_t lo, hi, v;

    if (seg_check(c, help_seg(s), addr, 2 * n, ACC_READ, &lin) || mmu_read(c, lin, b, 2 * n, 0))
        return 1;
    lo = n == 4 ? *(int32_t *)b : *(int16_t *)b;
    hi = n == 4 ? *(int32_t *)(b + 4) : *(int16_t *)(b + 2);
    v = n == 4 ? (int32_t)c->gpr[help_reg(s)] : (int16_t)c->gpr[help_reg(s)];
    return v < lo || v > hi ? cpu_raise(c, X_BR, -1) : 0;
}

int help_lxs(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned n = help_size(s), seg = s->arg2 & 7, r = help_reg(s);
    uint64_t lin, off = 0;
    uint16_t sel;
    uint8_t b[10];

    if (seg_check(c, help_seg(s), addr, n + 2, ACC_READ, &lin) || mmu_read(c, lin, b, n + 2, 0))
        return 1;
    memcpy(&off, b, n);
    memcpy(&sel, b + n, 2);
    if (seg_load(c, seg, sel, X_GP))
        return 1;
    c->gpr[r] = n == 2 ? (c->gpr[r] & ~0xffffull) | off : off;
    return 0;
}
