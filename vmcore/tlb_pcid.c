/* What the TLB had for other PCIDs, while the guest keeps it (SDM 4.10.1): entries are put aside where MOV CR3 leaves
 * an address space, and brought back where it returns with its bit 63 set. Only 64-bit code's, and none that is global.
 * An entry put aside is not told when the memory behind it changes: it is looked at again when it is brought back. */
#include "vmcore/tlb.h"

#include "src/base/util.h"
#include "vmcore/mem.h"

/* Beside the page's address in kept_entry.lin. */
enum { KEPT_WRITE = 1, KEPT_CODE = 2, KEPT_SET_SHIFT = 4 };

static void keep(struct kept_pcid *k, uint64_t lin, unsigned set, unsigned what, uint64_t addend)
{
    if (k->n < ARRAY_LEN(k->entry))
        k->entry[k->n++] = (struct kept_entry){lin | set << KEPT_SET_SHIFT | what, addend};
}

static struct kept_pcid *kept_for(struct cpu *c, unsigned pcid)
{
    for (unsigned i = 0; i < ARRAY_LEN(c->kept); i++)
        if (c->kept[i].valid && c->kept[i].pcid == pcid)
            return &c->kept[i];
    return NULL;
}

void tlb_forget_pcid(struct cpu *c, unsigned pcid)
{
    struct kept_pcid *k = kept_for(c, pcid);

    if (k)
        k->valid = 0;
}

void tlb_forget_pcids(struct cpu *c)
{
    for (unsigned i = 0; i < ARRAY_LEN(c->kept); i++)
        c->kept[i].valid = 0;
}

void tlb_put_aside(struct cpu *c, unsigned pcid)
{
    struct kept_pcid *k = kept_for(c, pcid);

    if (!k) {
        k = &c->kept[c->kept_next];
        c->kept_next = (c->kept_next + 1) % ARRAY_LEN(c->kept);
    }
    k->valid = 1;
    k->pcid = (uint16_t)pcid;
    k->n = 0;
    for (unsigned set = 0; set < TLB_SETS; set++) {
        const struct tlb64_list *l = &c->list64[set][0];
        for (uint32_t i = 0; i < l->n; i++)
            for (unsigned w = 0; w < 2; w++) {
                const struct tlb64 *t = cpu_tlb64(c, (int)set, (int)w, (uint64_t)l->slot[i] << 12);
                if (t->tag != TLB64_INVALID && !c->list64[set][1].in[l->slot[i]])
                    keep(k, t->tag, set, w ? KEPT_WRITE : 0, t->addend);
            }
    }
    for (unsigned user = 0; user < 2; user++) {
        const struct tlb64_list *l = &c->code_list64[user][0];
        for (uint32_t i = 0; i < l->n; i++) {
            const struct tlb64 *t = cpu_code64(c, (int)user, (uint64_t)l->slot[i] << 12);
            if (t->tag != TLB64_INVALID && !c->code_list64[user][1].in[l->slot[i]])
                keep(k, t->tag, user, KEPT_CODE, t->addend);
        }
    }
}

/* Is a page's memory still where it was, and may it still be written to without asking? */
static bool still_so(const struct cpu *c, uint64_t host, bool write)
{
    struct mem *m = c->mem;
    uint64_t ram = (uint64_t)m->ram, shared = (uint64_t)m->shared, size = (uint64_t)m->pages << VT_PAGE_SHIFT;
    uint32_t bpn;

    if (host - ram < size)
        bpn = (uint32_t)((host - ram) >> VT_PAGE_SHIFT);
    else if (host - shared < size)
        bpn = (uint32_t)((host - shared) >> VT_PAGE_SHIFT);
    else
        return false;
    return (uint64_t)m->host[bpn] == host && (!write || (!mem_has_code(m, bpn) && mem_is_written(m, bpn)));
}

void tlb_bring_back(struct cpu *c, unsigned pcid)
{
    struct kept_pcid *k = kept_for(c, pcid);

    if (!k)
        return;
    k->valid = 0;
    if (c->debug || c->dr_active)
        return;
    for (uint32_t i = 0; i < k->n; i++) {
        uint64_t what = k->entry[i].lin & 0xfff, lin = k->entry[i].lin & ~0xfffull, addend = k->entry[i].addend;
        int set = (int)(what >> KEPT_SET_SHIFT);
        if (what & KEPT_CODE)
            tlb_again_code(c, set, lin, (uint32_t)addend);
        else if (still_so(c, lin + addend, what & KEPT_WRITE))
            tlb_again(c, set, lin, addend, what & KEPT_WRITE);
    }
}
