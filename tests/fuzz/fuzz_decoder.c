/* Guest code bytes through decoding, liveness and emission, in all the modes that are part of a block's key. Nothing is
 * run: each block that comes out is decoded again as host code, and must hold no instruction that could leave the
 * translated world, and no memory access but through the checked address (r8, r9, a borrowed RDI) or the context (GS).
 *
 * Input: a byte of mode bits (MODE_*), two of offset in the page, then code. */
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/util.h"
#include "vmcore/tb.h"
#include "vmcore/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
    MODE_CODE16 = 1,
    MODE_STACK16 = 2,
    MODE_KERNEL = 4,
    MODE_DF = 8,
    MODE_NOT_FLAT = 16,
    MODE_STEP = 32,
    MODE_NO_SSE = 64
};
enum { PAGE = 16, RAM = 2 << 20, MAX_BLOCKS = 256 };

static void __attribute__((noreturn)) bad(const char *what, const uint8_t *at)
{
    fprintf(stderr, "fuzz_decoder: %s:", what);
    for (unsigned i = 0; i < 15; i++)
        fprintf(stderr, " %02x", at[i]);
    fprintf(stderr, "\n");
    abort();
}

static bool forbidden(const ZydisDecodedInstruction *i)
{
    switch (i->mnemonic) {
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_XGETBV:
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE:
    case ZYDIS_MNEMONIC_RDFSBASE:
    case ZYDIS_MNEMONIC_RDGSBASE:
    case ZYDIS_MNEMONIC_SWAPGS:
    case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR:
    case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_STD:
    case ZYDIS_MNEMONIC_RET:
    case ZYDIS_MNEMONIC_LEAVE:
    case ZYDIS_MNEMONIC_ENTER:
        return true;
    default:
        return i->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || (i->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED);
    }
}

static void check_operand(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *op, const uint8_t *at)
{
    if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
        ZydisRegisterClass c = ZydisRegisterGetClass(op->reg.value);
        if (c == ZYDIS_REGCLASS_SEGMENT || c == ZYDIS_REGCLASS_CONTROL || c == ZYDIS_REGCLASS_DEBUG)
            bad("segment, control or debug register", at);
    }
    if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->mem.type != ZYDIS_MEMOP_TYPE_MEM ||
        i->mnemonic == ZYDIS_MNEMONIC_NOP || op->mem.segment == ZYDIS_REGISTER_GS)
        return;
    if (op->mem.segment == ZYDIS_REGISTER_FS)
        bad("FS", at);
    if (op->mem.base == ZYDIS_REGISTER_R8 && op->mem.index == ZYDIS_REGISTER_R9)
        return;
    if (op->mem.base == ZYDIS_REGISTER_RDI && op->mem.index == ZYDIS_REGISTER_NONE && !op->mem.disp.has_displacement)
        return; /* borrowed: AH..BH take no REX; MASKMOV */
    bad("memory not through the checked address", at);
}

/* Places of struct site among the cold code: every LEA into R10 names one. */
struct sites {
    const uint8_t *at[1024];
    unsigned n;
};

static bool is_site(const struct sites *s, const uint8_t *p)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->at[i] == p)
            return true;
    return false;
}

/* The copies of a block, in order: each must come out with its mnemonic and operand size. */
struct copies {
    const struct tb *tb;
    unsigned next;
};

static void skip_to_copy(struct copies *c)
{
    while (c->next < c->tb->n && (!c->tb->in[c->next].row || c->tb->in[c->next].row->kind != ROW_COPY))
        c->next++;
}

static void see_copy(struct copies *c, const ZydisDecodedInstruction *i, const ZydisDecodedOperand *op)
{
    const struct ginsn *g = &c->tb->in[c->next];

    if (c->next >= c->tb->n || g->z.mnemonic != i->mnemonic)
        return;
    if (g->z.operand_count_visible && g->op[0].size != op[0].size)
        return;
    c->next++;
    skip_to_copy(c);
}

/* Decodes emitted code, collecting the sites that it names and stepping over those that lie in it. */
static void verify(const struct cache *k, uint32_t from, uint32_t n, struct sites *s, struct copies *c)
{
    ZydisDecoder dec;
    const uint8_t *p = k->w + from, *end = p + n;

    ZydisDecoderInit(&dec, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    while (p < end) {
        ZydisDecodedInstruction i;
        ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
        if (is_site(s, p)) {
            p += sizeof(struct site);
            continue;
        }
        if (ZYAN_FAILED(ZydisDecoderDecodeFull(&dec, p, (size_t)(end - p), &i, op)))
            bad("bytes that do not decode", p);
        if (forbidden(&i))
            bad("forbidden instruction", p);
        if (c)
            see_copy(c, &i, op);
        for (unsigned o = 0; o < i.operand_count; o++)
            check_operand(&i, &op[o], p);
        if (i.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            const uint8_t *to = p + i.length + op[0].imm.value.s;
            if (to < k->w || to >= k->w + k->size)
                bad("jump out of the cache", p);
        }
        if (i.mnemonic == ZYDIS_MNEMONIC_LEA && op[0].reg.value == ZYDIS_REGISTER_R10 &&
            op[1].mem.base == ZYDIS_REGISTER_RIP && s->n < ARRAY_LEN(s->at))
            s->at[s->n++] = p + i.length + op[1].mem.disp.value;
        p += i.length;
    }
}

static void set_mode(struct cpu *c, unsigned mode)
{
    unsigned dpl = mode & MODE_KERNEL ? 0 : 3;
    unsigned code = 0x809b | dpl << 5, data = 0x8093 | dpl << 5;

    c->cpl = (uint8_t)dpl;
    c->cr0 = CR0_PE | CR0_NE | CR0_ET;
    c->cr4 = mode & MODE_NO_SSE ? 0 : CR4_OSFXSR | CR4_OSXMMEXCPT;
    seg_set_flat(c, S_CS, (uint16_t)(0x20 | dpl), code | (mode & MODE_CODE16 ? 0 : 0x4000));
    seg_set_flat(c, S_SS, (uint16_t)(0x28 | dpl), data | (mode & MODE_STACK16 ? 0 : 0x4000));
    for (unsigned s = 0; s <= S_GS; s++) {
        if (s == S_CS || s == S_SS)
            continue;
        seg_set_flat(c, s, (uint16_t)(0x28 | dpl), data | 0x4000);
        if (mode & MODE_NOT_FLAT) {
            c->seg[s].base = 0x1000;
            seg_update(c, s);
        }
    }
    c->eflags = EF_IF | (mode & MODE_DF ? EF_DF : 0);
    c->single = (mode & MODE_STEP) != 0;
    c->exc_pending = 0;
    cpu_update_mode(c);
}

static struct vm *machine(void)
{
    struct vm_config config = {.board = VM_BOARD_BARE, .ram_bytes = RAM};
    struct err e = {0};
    struct vm *vm;

    if (vm_new(&config, &vm, &e)) {
        fprintf(stderr, "fuzz_decoder: %s\n", e.msg);
        exit(1);
    }
    return vm;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct vm *vm;
    struct cpu *c;
    uint32_t off;

    if (len < 4)
        return 0;
    vm = machine();
    c = vm->cpu;
    set_mode(c, data[0]);
    off = (uint32_t)(data[1] | data[2] << 8) & 0xfff;
    data += 3;
    len -= 3;
    for (uint32_t i = 0; i < 2 * VT_PAGE_SIZE - off; i++)
        mem_write_ptr(vm->mem, PAGE + (off + i) / VT_PAGE_SIZE)[(off + i) % VT_PAGE_SIZE] = i < len ? data[i] : 0xcc;
    for (unsigned n = 0; n < MAX_BLOCKS && off < VT_PAGE_SIZE; n++) {
        c->eip = PAGE * VT_PAGE_SIZE + off;
        struct block *b = block_translate(c, PAGE, off);
        if (!b)
            bad("no block", mem_read_ptr(vm->mem, PAGE) + MIN(off, VT_PAGE_SIZE - 15));
        if (b->off != off || b->glen == 0 || b->ninsn == 0 || (off + b->glen > VT_PAGE_SIZE && b->ninsn != 1))
            bad("a block that is not where it was asked for", mem_read_ptr(vm->mem, PAGE));
        struct sites sites = {.n = 0};
        struct copies copies = {.tb = vm->cache->tb};
        skip_to_copy(&copies);
        verify(vm->cache, b->hot, b->hot_len, &sites, &copies);
        if (copies.next < copies.tb->n)
            bad("a copy that is not the instruction it should be", copies.tb->in[copies.next].bytes);
        verify(vm->cache, b->cold, b->cold_len, &sites, NULL);
        off += b->glen;
    }
    vm_free(vm);
    return 0;
}
