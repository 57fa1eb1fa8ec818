/* REP MOVS and REP STOS that stay within a page on each side, as most do, natively and in place: the count and both
 * pages are checked first, and what does not pass goes to the helper. Nothing can interrupt such a run: the pages are
 * memory without code. Intel SDM vol. 2, REP. */
#include "vmcore/tb.h"

static bool plain(const struct tb *t, unsigned seg)
{
    return seg_is_flat(t, seg) && !(t->mode & (M_STEP | M_DF | M_AC)) && t->cur->z.address_width == (t->m64 ? 64 : 32);
}

/* rx: the last byte of the run that begins at ra (an address cut to the mode's width). */
static void last_byte(struct tb *t, struct em *h, int from, unsigned log)
{
    t_mov(t, h, t->ra, from);
    e_mem(h, t->m64, 0x8d, t->rx, t->ra, H_RCX, (int)log, -1);
}

static void check_in_ram(struct tb *t)
{
    if (!CHECKED)
        return;
    t->base = t->ra;
    t->index = t->rb;
    t->disp = 0;
    range_check(t, &t->hot);
}

/* arg and arg2 are help_string()'s. False: not for here. */
bool emit_rep_inline(struct tb *t, unsigned seg, uint32_t arg, uint32_t arg2)
{
    struct em *h = &t->hot;
    bool movs = (arg & 0xff) == 0;
    unsigned size = arg >> 8 & 0xff, log = size == 8 ? 3 : size >> 1, n = 0;
    int set = tlb_set(t->mode);
    uint8_t *miss[3];

    if (!plain(t, S_ES) || (movs && !plain(t, seg)))
        return false;
    if (t->cur->before)
        fl_save(t);
    t->loc = LOC_SAVED;
    e_rr(h, t->m64, 0x81, 7, H_RCX); /* cmp rcx, a page's worth */
    e32(h, 4096u >> log);
    miss[n++] = e_jcc32(h, CC_A);
    if (movs) {
        last_byte(t, h, H_RSI, log);
        miss[n++] = tlb_check_to(t, h, 1, set);
        check_in_ram(t);
        e_mov64(h, t->rv, t->rb);
    }
    last_byte(t, h, H_RDI, log);
    miss[n++] = tlb_check_to(t, h, 2, set);
    check_in_ram(t);
    if (movs)
        e_rr(h, 1, 0x01, t->rv, H_RSI);
    e_rr(h, 1, 0x01, t->rb, H_RDI);
    e8(h, 0xf3);
    if (size == 2)
        e8(h, 0x66);
    else if (size == 8)
        e8(h, 0x48);
    e8(h, (movs ? 0xa4u : 0xaau) | (size > 1));
    e_rr(h, t->m64, 0x29, t->rb, H_RDI); /* sub: in 32-bit code also past 4 GiB */
    if (movs)
        e_rr(h, t->m64, 0x29, t->rv, H_RSI);
    cold_helper(t, miss, n, HELPER_string, arg, arg2);
    return true;
}
