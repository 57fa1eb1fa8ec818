#include "guest.h"

#include <string.h>

int guest_start(struct guest *g, bool low, bool smc, struct err *e)
{
    *g = (struct guest){0};
    int r = cpu_test_new(&g->t);
    if (r)
        return err_set(e, r, "the translated machine did not start");
    for (unsigned i = 0; i < MEM_PAGES; i++) {
        if (i >= PAGE_SMC ? !smc : i >= PAGE_LOW && !low)
            continue;
        g->page[i] = cpu_test_map(g->t, mem_page_va(i), i != PAGE_RO);
        if (!g->page[i])
            return err_set(e, VT_FAIL, "mapping guest page %#x", mem_page_va(i));
    }
    for (unsigned i = 0; i < CODE_PAGES; i++) {
        g->code[i] = cpu_test_map(g->t, CODE_VA + i * INSN_PAGE, 0);
        if (!g->code[i])
            return err_set(e, VT_FAIL, "mapping guest page %#x", CODE_VA + i * INSN_PAGE);
    }
    return 0;
}

void guest_stop(struct guest *g)
{
    if (g->t)
        cpu_test_free(g->t);
    *g = (struct guest){0};
}

void guest_load(struct guest *g, const struct insn_case *cases, uint32_t n, const uint8_t *base)
{
    for (unsigned i = 0; i < CODE_PAGES; i++)
        memset(g->code[i], 0xcc, INSN_PAGE);
    for (uint32_t i = 0; i < n; i++)
        for (unsigned k = 0; k < cases[i].len && cases[i].shape != SHAPE_SMC; k++) {
            uint32_t at = cases[i].code_va + k - CODE_VA;
            g->code[at / INSN_PAGE][at % INSN_PAGE] = cases[i].code[k];
        }
    cpu_test_flush_code(g->t);
    for (unsigned i = 0; i < MEM_PAGES; i++)
        if (g->page[i])
            memcpy(g->page[i], base + i * INSN_PAGE, INSN_PAGE);
}

void guest_run(struct guest *g, const struct insn_case *c, const uint8_t *base, struct insn_result *r)
{
    mem_poke(g->page, c);
    if (c->shape == SHAPE_SMC)
        cpu_test_flush_code(g->t);
    r->out = c->in;
    r->fault = (struct cpu_test_fault){.vector = -1};
    cpu_test_run(g->t, &r->out, 0xffffffff, &r->fault);
    mem_collect(g->page, base, r);
}
