/* The native runner by known answers, in every mode: what the differential test takes for the truth. The runner's path
 * is the only argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "host.h"
#include "src/base/util.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R15 = 15 };

static const char *runner;

struct fixture {
    const struct mode *m;
    struct host host;
    struct insn_case *c;
    struct insn_result *r;
};

static int start(void **state, enum cpu_test_mode mode)
{
    struct fixture *f = test_calloc(1, sizeof(*f));
    struct err e = {0};
    f->m = mode_get(mode);
    *state = f;
    int r = host_start(&f->host, runner, f->m, &e);
    if (r == VT_GONE) {
        print_message("skipped: %s\n", e.msg);
        host_stop(&f->host);
        return 0;
    }
    f->c = f->host.shm->cases;
    f->r = f->host.shm->results;
    for (unsigned i = 0; i < MEM_BYTES; i++)
        f->host.shm->base[i] = (uint8_t)(i * 7 + i / 256);
    return r;
}

static int start_64(void **state)
{
    return start(state, CPU_TEST_64);
}

static int start_32(void **state)
{
    return start(state, CPU_TEST_32);
}

static int start_16(void **state)
{
    return start(state, CPU_TEST_16);
}

static int stop(void **state)
{
    struct fixture *f = *state;
    host_stop(&f->host);
    test_free(f);
    return 0;
}

/* A case of these bytes; registers are distinct and harmless. */
static struct fixture *load(void **state, const uint8_t *code, unsigned len)
{
    struct fixture *f = *state;
    struct insn_case *c = f->c;
    if (!f->host.shm)
        skip();
    memset(c, 0, sizeof(*c));
    c->code_va = f->m->code + 100;
    c->len = (uint8_t)len;
    memcpy(c->code, code, len);
    memcpy(c->native, code, len);
    for (unsigned i = 0; i < f->m->gprs; i++)
        c->in.gpr[i] = (0x1111111111111111u * i + 5) & f->m->mask;
    c->in.gpr[RSP] = f->m->stack + 0x1000 - f->m->ss_base;
    c->in.rip = c->code_va - f->m->cs_base;
    c->in.rflags = 0x202;
    c->in.fx[0] = 0x7f;
    c->in.fx[1] = 3;
    c->in.fx[24] = 0x80;
    c->in.fx[25] = 0x1f;
    return f;
}

#define LOAD(...)                                                  \
    static const uint8_t bytes[] = {__VA_ARGS__};                  \
    struct fixture *f = load(state, bytes, sizeof(bytes));         \
    const struct mode *m = f->m;                                   \
    struct cpu_test_regs *in = &f->c->in, want, *out = &f->r->out; \
    (void)m;                                                       \
    (void)want;                                                    \
    (void)out

static void run(struct fixture *f)
{
    struct err e = {0};
    host_submit(&f->host, 1);
    assert_int_equal(host_wait(&f->host, &e), 0);
}

/* It ended where it should, in this way, with these registers. */
static void check(const struct fixture *f, int vector, uint32_t error, uint64_t cr2, uint64_t rip,
                  const struct cpu_test_regs *want)
{
    assert_int_equal(f->r->fault.vector, vector);
    assert_int_equal(f->r->fault.error, error);
    assert_int_equal(f->r->fault.cr2, cr2);
    assert_int_equal(f->r->out.rip, rip);
    assert_memory_equal(f->r->out.gpr, want->gpr, sizeof(want->gpr));
}

/* Memory as the case left it, by linear address. */
static uint8_t byte_at(const struct fixture *f, uint64_t va)
{
    unsigned off = (unsigned)mode_offset(f->m, va);
    for (unsigned i = 0; i < f->r->n_lines; i++)
        if (f->r->line[i].index == off / LINE)
            return f->r->line[i].bytes[off % LINE];
    return f->host.shm->base[off];
}

static uint64_t word_at(const struct fixture *f, uint64_t va, unsigned len)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < len; i++)
        v |= (uint64_t)byte_at(f, va + i) << (8 * i);
    return v;
}

static void test_segment_bases(void **state)
{
    LOAD(0x65, 0x48, 0x8b, 0x03,  /* mov rax, gs:[rbx] */
         0x64, 0x44, 0x89, 0x39); /* mov fs:[rcx], r15d */
    in->gs_base = m->data - 0x123456789;
    in->gpr[RBX] = 0x123456789 + 16;
    in->fs_base = m->low + 8;
    in->gpr[RCX] = (uint64_t)-8;
    want = *in;
    want.gpr[RAX] = word_at(f, m->data + 16, 8);
    run(f);
    check(f, 3, 0, 0, in->rip + sizeof(bytes) + 1, &want);
    assert_int_equal(f->r->n_lines, 1);
    assert_int_equal(word_at(f, m->low, 4), (uint32_t)in->gpr[R15]);
    assert_int_equal(out->fs_base, in->fs_base);
    assert_int_equal(out->gs_base, in->gs_base);
}

static void test_stack_64(void **state)
{
    LOAD(0x41, 0x57, 0x58, 0x66, 0x50); /* push r15; pop rax; push ax */
    want = *in;
    want.gpr[RAX] = in->gpr[R15];
    want.gpr[RSP] -= 2;
    run(f);
    check(f, 3, 0, 0, in->rip + sizeof(bytes) + 1, &want);
    assert_int_equal(word_at(f, m->stack + 0xffe, 2), in->gpr[R15] & 0xffff);
    assert_int_equal(word_at(f, m->stack + 0xff8, 6), in->gpr[R15] & 0xffffffffffff);
}

static void test_not_canonical(void **state)
{
    LOAD(0x8a, 0x01); /* mov al, [rcx] */
    in->gpr[RCX] = 1ull << 47;
    want = *in;
    run(f);
    check(f, 13, 0, 0, in->rip, &want);
    in->gpr[RCX] = UINT64_MAX << 47; /* the first address of the upper half is canonical */
    want = *in;
    run(f);
    check(f, 14, 5, in->gpr[RCX], in->rip, &want);
}

static void test_stack_not_canonical(void **state)
{
    LOAD(0x50); /* push rax */
    in->gpr[RSP] = 0x8000000000000000;
    want = *in;
    run(f);
    check(f, 12, 0, 0, in->rip, &want);
}

static void test_page_fault(void **state)
{
    LOAD(0x90, 0x4c, 0x89, 0x7c, 0x8b, 0x03); /* nop; mov [rbx + rcx * 4 + 3], r15 */
    in->gpr[RBX] = m->data + 2 * INSN_PAGE;   /* read-only */
    in->gpr[RCX] = 3;
    want = *in;
    run(f);
    check(f, 14, 7, in->gpr[RBX] + 15, in->rip + 1, &want);
    in->gpr[RBX] = m->data + 3 * INSN_PAGE; /* not mapped */
    want = *in;
    run(f);
    check(f, 14, 6, in->gpr[RBX] + 15, in->rip + 1, &want);
    assert_int_equal(f->r->n_lines, 0);
}

static void test_rip_relative(void **state)
{
    LOAD(0x48, 0x83, 0x05, 0, 0, 0, 0, 0x7f); /* add qword [rip + disp], 7fh */
    uint32_t disp = (uint32_t)(m->data + 24 - (in->rip + sizeof(bytes)));
    memcpy(f->c->native + 3, &disp, 4);
    want = *in;
    uint64_t before = word_at(f, m->data + 24, 8);
    run(f);
    check(f, 3, 0, 0, in->rip + sizeof(bytes) + 1, &want);
    assert_int_equal(word_at(f, m->data + 24, 8), before + 0x7f);
}

static void test_divide(void **state)
{
    LOAD(0x48, 0xf7, 0xf1);      /* div rcx */
    in->gpr[RDX] = in->gpr[RCX]; /* the quotient does not fit */
    want = *in;
    run(f);
    check(f, 0, 0, 0, in->rip, &want);
    in->gpr[RDX] = 1;
    in->gpr[RAX] = 7;
    in->gpr[RCX] = 1ull << 60;
    want = *in;
    want.gpr[RAX] = 16;
    want.gpr[RDX] = 7;
    run(f);
    check(f, 3, 0, 0, in->rip + sizeof(bytes) + 1, &want);
}

static void test_ymm(void **state)
{
    LOAD(0xc4, 0x41, 0x34, 0x58, 0xc2); /* vaddps ymm8, ymm9, ymm10 */
    if (!f->host.shm->avx)
        skip();
    static const float a[8] = {1, 2, 3, 4, 5, 6, 7, 8}, b[8] = {0.5, 10, 100, 1000, -5, 0.25, 1e6, -9};
    memcpy(in->fx + 160 + 16 * 9, a, 16);
    memcpy(in->ymmh[9], a + 4, 16);
    memcpy(in->fx + 160 + 16 * 10, b, 16);
    memcpy(in->ymmh[10], b + 4, 16);
    want = *in;
    run(f);
    check(f, 3, 0, 0, in->rip + sizeof(bytes) + 1, &want);
    float sum[8];
    for (unsigned i = 0; i < 8; i++)
        sum[i] = a[i] + b[i];
    assert_memory_equal(out->fx + 160 + 16 * 8, sum, 16);
    assert_memory_equal(out->ymmh[8], sum + 4, 16);
    assert_memory_equal(out->ymmh[9], a + 4, 16);
}

static void test_hang(void **state)
{
    LOAD(0xeb, 0xfe); /* jmp to itself */
    run(f);
    assert_int_equal(f->r->fault.vector, VECTOR_HANG);
    assert_int_equal(out->rip, in->rip);
}

static void test_narrow_stack(void **state)
{
    LOAD(0x50, 0x66, 0x53);    /* push ax; push ebx */
    in->gpr[RSP] = 0xabcd0000; /* SP wraps, the upper half stays */
    want = *in;
    want.gpr[RSP] = 0xabcdfffa;
    run(f);
    check(f, 3, 0, 0, in->rip + sizeof(bytes) + 1, &want);
    assert_int_equal(word_at(f, m->stack + 0x1ffe, 2), in->gpr[RAX] & 0xffff);
    assert_int_equal(word_at(f, m->stack + 0x1ffa, 4), in->gpr[RBX]);
    in->gpr[RSP] = 1; /* across the segment's end */
    want = *in;
    run(f);
    check(f, 12, 0, 0, in->rip, &want);
}

static void test_limit(void **state)
{
    LOAD(0x89, 0x07); /* mov [bx], ax */
    in->gpr[RBX] = 0xffff0000 | (m->ds_limit - 1);
    want = *in;
    run(f);
    check(f, 14, 7, m->ds_base + m->ds_limit - 1, in->rip, &want); /* inside, but read-only */
    in->gpr[RBX]++;
    want = *in;
    run(f);
    check(f, 13, 0, 0, in->rip, &want);
}

static void test_wide_in_narrow(void **state)
{
    LOAD(0x26, 0x66, 0x67, 0x8b, 0x0c, 0x9d, 0, 0, 0, 0, /* mov ecx, es:[ebx * 4 + disp32] */
         0x8b, 0x46, 0x02);                              /* mov ax, [bp + 2] */
    uint32_t disp = (uint32_t)m->data;
    memcpy(f->c->native + 6, &disp, 4);
    in->gpr[RBX] = 5;
    in->gpr[RBP] = 0xe100;
    want = *in;
    want.gpr[RCX] = word_at(f, m->data + 20, 4);
    want.gpr[RAX] = (in->gpr[RAX] & 0xffff0000) | word_at(f, m->stack + 0x102, 2);
    run(f);
    check(f, 3, 0, 0, in->rip + sizeof(bytes) + 1, &want);
}

static void test_32(void **state)
{
    LOAD(0x40, 0x60, 0x0f, 0x0b); /* inc eax; pushad; ud2 */
    in->gpr[RAX] = 0xffffffff;
    want = *in;
    want.gpr[RAX] = 0;
    want.gpr[RSP] -= 32;
    run(f);
    check(f, 6, 0, 0, in->rip + 2, &want);
    assert_int_equal(word_at(f, in->gpr[RSP] - 16, 4), in->gpr[RBX]);
    assert_int_equal(word_at(f, in->gpr[RSP] - 20, 4), in->gpr[RSP]);
}

int main(int argc, char **argv)
{
#define IN(mode, test) cmocka_unit_test_setup_teardown(test, start_##mode, stop)
    static const struct CMUnitTest tests[] = {
        IN(64, test_segment_bases),
        IN(64, test_stack_64),
        IN(64, test_not_canonical),
        IN(64, test_stack_not_canonical),
        IN(64, test_page_fault),
        IN(64, test_rip_relative),
        IN(64, test_divide),
        IN(64, test_ymm),
        IN(64, test_hang),
        IN(16, test_narrow_stack),
        IN(16, test_limit),
        IN(16, test_wide_in_narrow),
        IN(32, test_32),
    };
    if (argc != 2)
        return 64;
    runner = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
