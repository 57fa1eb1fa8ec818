/* gdb's remote protocol, over a machine without a CPU: its "instructions" are the lines of a text, and its program
 * counter is where the next line starts ("fakevm\n" is 7 bytes). */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <sys/socket.h>
#include "src/gdbregs.h"
#include "src/gdbwire.h"
#include "tests/unit/gdb_rig.h"

static char got[2 * GDBWIRE_MAX + 64];

static void send_packet(struct gdb_rig *r, const char *data, size_t len)
{
    char frame[2 * GDBWIRE_MAX + 64];
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + (uint8_t)data[i]);
    frame[0] = '$';
    memcpy(frame + 1, data, len);
    snprintf(frame + 1 + len, 4, "#%02x", sum);
    gdb_rig_send(r, frame, len + 4);
}

static const char *ask(struct gdb_rig *r, const char *packet)
{
    send_packet(r, packet, strlen(packet));
    assert_true(gdb_rig_receive(r, got, sizeof got));
    return got;
}

static uint32_t pc(struct gdb_rig *r)
{
    unsigned b[4] = {0};

    assert_int_equal(sscanf(ask(r, "p8"), "%2x%2x%2x%2x", &b[0], &b[1], &b[2], &b[3]), 4);
    return b[0] | b[1] << 8 | b[2] << 16 | b[3] << 24;
}

static void test_stops(void **state)
{
    struct gdb_rig r;

    gdb_rig_init(&r, "poke 1 1\npoke 2 2\npoke 3 3\nspin\n");
    assert_string_equal(ask(&r, "?"), "T05thread:1;");
    assert_int_equal(pc(&r), 7);
    assert_string_equal(ask(&r, "s"), "T05thread:1;");
    assert_int_equal(pc(&r), 16);
    assert_string_equal(ask(&r, "Z0,19,1"), "OK"); /* 25: the third line */
    assert_string_equal(ask(&r, "Z1,19,1"), "OK"); /* at the same place: one of the two goes, the other stays */
    assert_string_equal(ask(&r, "z0,19,1"), "OK");
    assert_string_equal(ask(&r, "vCont;c:1"), "T05thread:1;hwbreak:;");
    assert_int_equal(pc(&r), 25);
    assert_string_equal(ask(&r, "z1,19,1"), "OK");
    assert_string_equal(ask(&r, "vCont;s:1;c"), "T05thread:1;");
    assert_int_equal(pc(&r), 34);
    assert_string_equal(ask(&r, "m3000,2"), "0303");
    send_packet(&r, "c", 1);
    gdb_rig_send(&r, "\x03", 1);
    assert_true(gdb_rig_receive(&r, got, sizeof got));
    assert_string_equal(got, "T02thread:1;");
    assert_string_equal(ask(&r, "?"), "T02thread:1;");
    assert_int_equal(r.runs, 4);
    send_packet(&r, "k", 1);
    assert_int_equal(r.kills, 1);
    gdb_rig_release(&r);
}

static void test_the_guest_ends(void **state)
{
    struct gdb_rig r;

    gdb_rig_init(&r, "exit 5\n");
    assert_string_equal(ask(&r, "c"), "W0b");
    gdb_rig_release(&r);
    gdb_rig_init(&r, "triple\n");
    assert_string_equal(ask(&r, "c"), "T0bthread:1;"); /* it can be looked at */
    assert_int_equal(pc(&r), 14);
    send_packet(&r, "c", 1); /* and cannot go on */
    assert_int_equal(r.kills, 1);
    gdb_rig_release(&r);
}

static void test_registers(void **state)
{
    struct gdb_rig r;
    static char all[sizeof got + 1];

    gdb_rig_init(&r, "spin\n");
    assert_string_equal(ask(&r, "P0=78563412"), "OK");
    assert_string_equal(ask(&r, "p0"), "78563412");
    snprintf(all, sizeof all, "G%s", ask(&r, "g"));
    assert_memory_equal(all + 1, "78563412", 8);
    assert_string_equal(ask(&r, all), "OK");
    assert_string_equal(ask(&r, "g"), all + 1);
    assert_string_equal(ask(&r, "P12=00000000000000800040"), "OK"); /* st2: 2.0 */
    assert_string_equal(ask(&r, "p12"), "00000000000000800040");
    assert_string_equal(ask(&r, "P12=000000000000008000"), "E01");
    assert_string_equal(ask(&r, "P0=785634"), "E01");
    assert_string_equal(ask(&r, "Pa=01000000"), "E01"); /* CS */
    assert_string_equal(ask(&r, "Pa=00000000"), "OK");  /* as it is */
    gdb_rig_release(&r);
}

/* Both sets: every register comes back as it went in, or is refused; sizes are those of target.xml. */
static void test_the_table(void **state)
{
    for (int amd64 = 0; amd64 < 2; amd64++) {
        cleanup(buf_release) struct buf xml = {0};
        unsigned n = gdbregs_count(amd64), settable = 0;
        const char *at;

        gdbregs_xml(amd64, false, &xml);
        at = xml.data;
        for (unsigned i = 0; i < n; i++) {
            struct vm_debug_regs r = {.code_bits = amd64 ? 64 : 32};
            uint8_t in[GDBREG_BYTES], out[GDBREG_BYTES];
            unsigned size, bits = 0;

            at = strstr(at, "<reg name=");
            assert_non_null(at);
            assert_int_equal(sscanf(strstr(at, "bitsize="), "bitsize=\"%u\"", &bits), 1);
            at++;
            for (unsigned k = 0; k < sizeof in; k++)
                in[k] = (uint8_t)(k + 1);
            size = gdbregs_get(amd64, i, &r, out);
            assert_int_equal(size * 8, bits);
            if (!gdbregs_set(amd64, i, &r, in))
                continue;
            settable++;
            gdbregs_get(amd64, i, &r, out);
            if (size == 4 && out[3] == 0) /* FCTRL, FSTAT: 16 bits of the 32 */
                size = 2;
            assert_memory_equal(out, in, size);
        }
        assert_null(strstr(at, "<reg name="));
        assert_int_equal(settable, amd64 ? 18 + 8 + 2 + 17 : 10 + 8 + 2 + 9);
    }
}

static void test_memory(void **state)
{
    struct gdb_rig r;
    char data[2 * 256 + 32];
    size_t n = (size_t)snprintf(data, sizeof data, "X100,100:");

    gdb_rig_init(&r, "spin\n");
    assert_string_equal(ask(&r, "M200,3:010203"), "OK");
    assert_string_equal(ask(&r, "m1ff,5"), "0001020300");
    for (unsigned i = 0; i < 256; i++) {
        bool special = strchr("#$}*", (int)i) && i;
        if (special)
            data[n++] = '}';
        data[n++] = (char)(special ? i ^ 0x20 : i);
    }
    send_packet(&r, data, n);
    assert_true(gdb_rig_receive(&r, got, sizeof got));
    assert_string_equal(got, "OK");
    assert_memory_equal(ask(&r, "m100,100"), "000102030405060708", 18);
    assert_memory_equal(got + 2 * 0xf0, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", 33);
    assert_string_equal(ask(&r, "mfffff000,4"), "E01");
    assert_string_equal(ask(&r, "M100,2:01"), "E01");
    assert_string_equal(ask(&r, "M100,2:010g"), "E01");
    assert_int_equal(strlen(ask(&r, "m0,ffffff")), GDBWIRE_MAX); /* no more than fits */
    gdb_rig_release(&r);
}

static void test_framing(void **state)
{
    struct gdb_rig r;
    char c = 0;

    gdb_rig_init(&r, "spin\n");
    for (const char *p = "$qC#b4"; *p; p++) /* a byte at a time, noise before */
        gdb_rig_send(&r, p, 1);
    assert_true(gdb_rig_receive(&r, got, sizeof got));
    assert_string_equal(got, "QC1");
    gdb_rig_send(&r, "-", 1); /* once more */
    assert_true(gdb_rig_receive(&r, got, sizeof got));
    assert_string_equal(got, "QC1");
    gdb_rig_send(&r, "$qC#b5", 6);
    assert_int_equal(recv(r.fd, &c, 1, MSG_DONTWAIT), 1);
    assert_int_equal(c, '-');
    gdb_rig_send(&r, "$qC#b4$?#3f", 11); /* two at once */
    assert_true(gdb_rig_receive(&r, got, sizeof got) && strcmp(got, "QC1") == 0);
    assert_true(gdb_rig_receive(&r, got, sizeof got) && strcmp(got, "T05thread:1;") == 0);
    assert_string_equal(ask(&r, "QStartNoAckMode"), "OK");
    gdb_rig_send(&r, "$qC#00", 6); /* sums are not looked at any more */
    assert_true(gdb_rig_receive(&r, got, sizeof got) && strcmp(got, "QC1") == 0);
    gdb_rig_release(&r);
}

/* What never becomes a packet is cut off, and the guest goes on without a debugger. */
static void test_endless_packet(void **state)
{
    static char noise[3 * GDBWIRE_MAX];
    struct gdb_rig r;
    char c;

    gdb_rig_init(&r, "spin\n");
    memset(noise, 'x', sizeof noise);
    noise[0] = '$';
    gdb_rig_send(&r, noise, sizeof noise);
    assert_int_equal(recv(r.fd, &c, 1, MSG_DONTWAIT), 0);
    assert_int_equal(r.runs, 1);
    gdb_rig_release(&r);
}

static void test_monitor(void **state)
{
    struct gdb_rig r;

    gdb_rig_init(&r, "poke 1 1\nspin\n");
    assert_string_equal(ask(&r, "s"), "T05thread:1;");
    assert_int_equal(ask(&r, "qRcmd,7265736574")[0], 'O'); /* reset */
    assert_true(gdb_rig_receive(&r, got, sizeof got) && strcmp(got, "OK") == 0);
    assert_int_equal(r.resets, 1);
    assert_int_equal(pc(&r), 7);
    assert_int_equal(ask(&r, "qRcmd,zz")[0], 'O');
    assert_true(gdb_rig_receive(&r, got, sizeof got) && strcmp(got, "OK") == 0);
    gdb_rig_release(&r);
}

static void test_where(void **state)
{
    static const struct {
        const char *where;
        bool good;
    } cases[] = {{"gdb.sock", true},        {"tcp::1", true},          {"tcp::65535", true},
                 {"tcp:localhost:7", true}, {"tcp:127.0.0.1:7", true}, {"", false},
                 {"tcp::", false},          {"tcp::0", false},         {"tcp::65536", false},
                 {"tcp:0.0.0.0:7", false},  {"tcp:7", false},          {"tcp:::7", false}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        int rc = gdb_where_check(cases[i].where, &e);

        assert_int_equal(rc, cases[i].good ? 0 : VT_USAGE);
        assert_int_equal(e.msg[0] != 0, !cases[i].good);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stops),     cmocka_unit_test(test_the_guest_ends), cmocka_unit_test(test_registers),
        cmocka_unit_test(test_the_table), cmocka_unit_test(test_memory),         cmocka_unit_test(test_framing),
        cmocka_unit_test(test_monitor),   cmocka_unit_test(test_endless_packet), cmocka_unit_test(test_where),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
