/* Memory of a case: what is put in before, what came out. Shared by the native runner and the test; the runner has no
 * thread-local storage, so nothing here may call more than memcpy and memcmp. And the way back from a case. */
#include "insn.h"

#include <string.h>

static void put(const struct mode *m, uint8_t *const page[MEM_PAGES], uint64_t va, const uint8_t *bytes, unsigned len)
{
    for (unsigned k = 0; k < len; k++) {
        int off = mode_offset(m, va + k);
        if (off >= 0 && page[(unsigned)off / INSN_PAGE])
            page[(unsigned)off / INSN_PAGE][(unsigned)off % INSN_PAGE] = bytes[k];
    }
}

void mem_poke(const struct mode *m, uint8_t *const page[MEM_PAGES], const struct insn_case *c)
{
    for (unsigned i = 0; i < c->n_pokes; i++)
        put(m, page, c->poke[i].va, c->poke[i].bytes, c->poke[i].len);
    if (c->shape == SHAPE_SMC)
        put(m, page, c->code_va, c->code, c->len);
}

static uint64_t hash_line(uint64_t h, unsigned index, const uint8_t *bytes)
{
    uint64_t w[LINE / 8];
    memcpy(w, bytes, LINE);
    h = (h ^ index) * 0x9e3779b97f4a7c15u;
    for (unsigned i = 0; i < LINE / 8; i++)
        h = ((h ^ w[i]) * 0xff51afd7ed558ccdu) ^ (h >> 29);
    return h;
}

void mem_collect(uint8_t *const page[MEM_PAGES], const uint8_t *base, struct insn_result *r)
{
    r->n_lines = 0;
    r->hash = 0;
    for (unsigned p = 0; p < MEM_PAGES; p++) {
        const uint8_t *want = base + p * INSN_PAGE;
        if (!page[p] || memcmp(page[p], want, INSN_PAGE) == 0)
            continue;
        for (unsigned off = 0; off < INSN_PAGE; off += LINE) {
            if (memcmp(page[p] + off, want + off, LINE) == 0)
                continue;
            unsigned index = (p * INSN_PAGE + off) / LINE;
            if (r->n_lines < MAX_LINES) {
                r->line[r->n_lines].index = index;
                memcpy(r->line[r->n_lines].bytes, page[p] + off, LINE);
            }
            r->n_lines++;
            r->hash = hash_line(r->hash, index, page[p] + off);
            memcpy(page[p] + off, want + off, LINE);
        }
    }
}

unsigned native_put_exit(const struct mode *m, uint8_t *out)
{
    static const uint8_t far32[] = {
        0xea, EXIT_VA & 0xff, EXIT_VA >> 8 & 0xff, EXIT_VA >> 16 & 0xff, EXIT_VA >> 24, SEL_CODE64, 0};
    static const uint32_t pointer = SAVE_VA + SAVE_EXIT_RIP;
    if (m->mode == CPU_TEST_64) { /* jmp qword [pointer]: wherever the code is */
        memcpy(out, "\xff\x24\x25", 3);
        memcpy(out + 3, &pointer, 4);
        return 7;
    }
    unsigned n = m->mode == CPU_TEST_16;
    out[0] = 0x66;
    memcpy(out + n, far32, sizeof(far32));
    return n + (unsigned)sizeof(far32);
}
