/* The comparison itself: what must be seen is seen, what is undefined is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "compare.h"

#define CF 0x1u
#define AF 0x10u
#define ZF 0x40u
#define OF 0x800u

#define M       mode_get(CPU_TEST_32)
#define CODE_VA M->code
#define DATA_VA M->data

struct pair {
    struct decoder dec;
    struct insn_case c;
    struct insn_result a, b;
    uint8_t base[MEM_BYTES];
    char why[4096];
};

static struct pair p;

static void load(const uint8_t *code, unsigned len)
{
    memset(&p, 0, sizeof(p));
    decoder_init(&p.dec, M, NULL, false);
    p.c.code_va = p.c.in.rip = CODE_VA;
    memcpy(p.c.code, code, len);
    while (p.c.len < len) {
        struct dec d;
        assert_int_equal(decode(&p.dec, code + p.c.len, len - p.c.len, &d), DEC_COMPARE);
        p.c.off[p.c.n_insn++] = p.c.len;
        p.c.len = (uint8_t)(p.c.len + d.i.length);
        p.c.off[p.c.n_insn] = p.c.len;
    }
    p.a.fault.vector = p.b.fault.vector = 3;
    p.a.out.rip = p.b.out.rip = CODE_VA + len + 1;
}

static bool same(void)
{
    return compare_results(&p.dec, &p.c, &p.a, &p.b, p.base, false, p.why, sizeof(p.why));
}

#define LOAD(...)                                     \
    do {                                              \
        static const uint8_t bytes[] = {__VA_ARGS__}; \
        load(bytes, sizeof(bytes));                   \
    } while (0)

static void test_registers(void **state)
{
    LOAD(0x01, 0xd8); /* add eax, ebx */
    assert_true(same());
    for (unsigned i = 0; i < 8; i++) {
        p.b.out.gpr[i] ^= 1u << (4 * i);
        assert_false(same());
        p.b.out.gpr[i] = 0;
    }
    p.b.out.rip++;
    assert_false(same());
}

static void test_flags(void **state)
{
    LOAD(0x01, 0xd8);
    p.b.out.rflags = AF;
    assert_false(same());
    LOAD(0x21, 0xd8); /* and eax, ebx: AF is undefined */
    p.b.out.rflags = AF;
    assert_true(same());
    p.b.out.rflags = OF;
    assert_false(same());
    p.b.out.rflags = 0x400; /* DF */
    assert_false(same());
    LOAD(0x21, 0xd8, 0x01, 0xd8); /* the addition defines AF again */
    p.b.out.rflags = AF;
    assert_false(same());
}

static void test_flags_at_fault(void **state)
{
    LOAD(0x01, 0xd8, 0x8b, 0x03, 0x01, 0xd8); /* add; mov eax, [ebx]; add */
    p.a.fault.vector = p.b.fault.vector = 14;
    p.a.out.rip = p.b.out.rip = CODE_VA + 2;
    p.b.out.rflags = ZF | CF;
    assert_true(same());                      /* the second addition overwrites them whatever happens */
    LOAD(0x01, 0xd8, 0x8b, 0x03, 0xd3, 0xe0); /* shl eax, cl may leave them */
    p.a.fault.vector = p.b.fault.vector = 14;
    p.a.out.rip = p.b.out.rip = CODE_VA + 2;
    p.b.out.rflags = ZF;
    assert_false(same());
    LOAD(0x01, 0xd8, 0x8b, 0x03, 0x11, 0xd8); /* adc reads CF */
    p.a.fault.vector = p.b.fault.vector = 14;
    p.a.out.rip = p.b.out.rip = CODE_VA + 2;
    p.b.out.rflags = CF;
    assert_false(same());
}

static void test_faults(void **state)
{
    LOAD(0x8b, 0x03); /* mov eax, [ebx] */
    p.a.fault = p.b.fault = (struct cpu_test_fault){14, 4, 0x20003000};
    p.a.out.rip = p.b.out.rip = CODE_VA;
    assert_true(same());
    p.b.fault.error = 6;
    assert_false(same());
    p.b.fault = (struct cpu_test_fault){14, 4, 0x20003001};
    assert_false(same());
    p.b.fault = (struct cpu_test_fault){13, 4, 0x20003000};
    assert_false(same());
    p.b.fault = (struct cpu_test_fault){14, 0x14, 0x20003000}; /* of data: bit 4 has no excuse */
    assert_false(same());
}

static void test_vector_state(void **state)
{
    LOAD(0x0f, 0x58, 0xc1); /* addps */
    static const uint16_t seen[] = {0, 1, 2, 3, 4, 24, 25, 32, 41, 32 + 112 + 9, 160, 175, 287};
    static const uint16_t unseen[] = {8, 16, 42, 47, 288, 400};
    for (unsigned i = 0; i < sizeof(seen) / sizeof(seen[0]); i++) {
        p.b.out.fx[seen[i]] ^= 1;
        assert_false(same());
        p.b.out.fx[seen[i]] ^= 1;
    }
    for (unsigned i = 0; i < sizeof(unseen) / sizeof(unseen[0]); i++)
        p.b.out.fx[unseen[i]] ^= 1;
    assert_true(same());
    p.b.out.fx[8] = 5;
    assert_false(compare_results(&p.dec, &p.c, &p.a, &p.b, p.base, true, p.why, sizeof(p.why)));
}

/* A result as the run makes it: the page differs from the base in one byte. */
static void write_byte(struct insn_result *r, uint32_t va)
{
    static uint8_t mem[MEM_BYTES];
    uint8_t *page[MEM_PAGES];
    for (unsigned i = 0; i < MEM_PAGES; i++)
        page[i] = mem + i * INSN_PAGE;
    memcpy(mem, p.base, MEM_BYTES);
    mem[mode_offset(M, va)] ^= 0x55;
    mem_collect(page, p.base, r);
    assert_memory_equal(mem, p.base, MEM_BYTES);
}

static void test_memory(void **state)
{
    LOAD(0x89, 0x03); /* mov [ebx], eax */
    for (unsigned i = 0; i < MEM_PAGES; i++) {
        if (!mode_page(M, i))
            continue;
        write_byte(&p.b, mode_page(M, i) + 77 * i);
        assert_int_equal(p.b.n_lines, 1);
        assert_false(same());
        write_byte(&p.a, mode_page(M, i) + 77 * i);
        assert_true(same());
        p.a.n_lines = 0;
        p.a.hash = 0;
    }
    write_byte(&p.a, DATA_VA + 100); /* only the native side wrote */
    p.b.n_lines = 0;
    p.b.hash = 0;
    assert_false(same());
}

static void test_x87_pointers_in_memory(void **state)
{
    LOAD(0xd9, 0x33); /* fnstenv [ebx] */
    p.c.in.gpr[3] = DATA_VA;
    write_byte(&p.b, DATA_VA + 12);
    assert_true(same());
    write_byte(&p.b, DATA_VA + 4);
    assert_false(same());
}

static void test_refused(void **state)
{
    LOAD(0x90);
    p.b.fault.vector = 6;
    p.b.out = p.c.in;
    assert_true(compare_refused(&p.c, &p.b, p.why, sizeof(p.why)));
    p.b.out.gpr[0] ^= 1;
    assert_false(compare_refused(&p.c, &p.b, p.why, sizeof(p.why)));
    p.b.out = p.c.in;
    p.b.fault.vector = 13;
    assert_false(compare_refused(&p.c, &p.b, p.why, sizeof(p.why)));
}

static void test_old_meaning(void **state)
{
    static const uint8_t tzcnt[] = {0xf3, 0x0f, 0xbc, 0xc3}, popcnt[] = {0xf3, 0x0f, 0xb8, 0xc3};
    uint8_t out[15];
    struct dec d;
    decoder_init(&p.dec, M, NULL, false);
    assert_int_equal(decode(&p.dec, tzcnt, 4, &d), DEC_COMPARE);
    assert_int_equal(d.i.mnemonic, ZYDIS_MNEMONIC_BSF);
    decode_native_form(&p.dec, &d, tzcnt, out);
    assert_int_equal(out[0], 0xf2);
    assert_int_equal(decode(&p.dec, popcnt, 4, &d), DEC_COMPARE);
    decode_native_form(&p.dec, &d, popcnt, out);
    assert_memory_equal(out, popcnt, 4);
}

/* FXSAVE's bytes 6 to 23 are open, and so is what an instruction behind it reads there. */
static void test_unspecified_bytes_read_again(void **state)
{
    LOAD(0x0f, 0xae, 0x03, 0x8b, 0x43, 0x10); /* fxsave [ebx]; mov eax, [ebx+16] */
    p.c.in.gpr[3] = DATA_VA;
    p.b.out.gpr[0] = 1;
    assert_true(same());
    LOAD(0x0f, 0xae, 0x03, 0x8b, 0x43, 0x18); /* MXCSR */
    p.c.in.gpr[3] = DATA_VA;
    p.b.out.gpr[0] = 1;
    assert_false(same());
    LOAD(0x0f, 0xae, 0x03, 0xf3, 0xa4); /* rep movsb: from anywhere */
    p.c.in.gpr[3] = DATA_VA;
    write_byte(&p.b, DATA_VA + 0x900);
    assert_true(same());
    LOAD(0xf3, 0xa4, 0x0f, 0xae, 0x03); /* before it */
    p.c.in.gpr[3] = DATA_VA;
    write_byte(&p.b, DATA_VA + 0x900);
    assert_false(same());
}

/* Selector 78h: the guest has no such descriptor, Linux has one. */
static void test_host_descriptor(void **state)
{
    LOAD(0x8e, 0xd8, 0x40); /* mov ds, ax; inc eax */
    p.b.out.rip = CODE_VA;
    p.b.fault = (struct cpu_test_fault){13, 0x78, 0};
    p.a.out.gpr[0] = 1;
    assert_true(same());
    p.b.fault.error = 0x70;
    assert_false(same());
    LOAD(0x90, 0x40); /* no load of a segment */
    p.b.out.rip = CODE_VA;
    p.b.fault = (struct cpu_test_fault){13, 0x78, 0};
    assert_false(same());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers),       cmocka_unit_test(test_unspecified_bytes_read_again),
        cmocka_unit_test(test_host_descriptor), cmocka_unit_test(test_flags),
        cmocka_unit_test(test_flags_at_fault),  cmocka_unit_test(test_faults),
        cmocka_unit_test(test_memory),          cmocka_unit_test(test_x87_pointers_in_memory),
        cmocka_unit_test(test_vector_state),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_old_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
