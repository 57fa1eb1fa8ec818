/* Machine configurations: text and back, a snapshot's hardware, forwards, and what a damaged store may hold. */
#include "tests/unit/unit.h"
#include <stdio.h>
#include "src/base/buf.h"
#include "src/config.h"

static void goes_round(void **state)
{
    cleanup(config_release) struct machine_config a = {0}, b = {0};
    cleanup(cleanup_free) char *text = NULL, *again = NULL;
    struct err e = {0};

    config_init(&a);
    a.mem = 256u << 20;
    a.kernel = strdup("/boot/vmlinuz");
    a.append = strdup("console=ttyS0 \"quoted\"");
    a.ndisks = 2;
    memcpy(a.disk[0].slot, "disk0", 6);
    memcpy(a.disk[1].slot, "disk1", 6);
    a.disk[1].read_only = true;
    a.balloon = true;
    a.rom_bytes = 16u << 20;
    a.nforwards = 1;
    assert_int_equal(config_forward_parse("2222:22", &a.forward[0], &e), 0);
    text = config_text(&a);
    assert_int_equal(config_parse(text, &b, &e), 0);
    again = config_text(&b);
    assert_string_equal(text, again);
    assert_int_equal(b.mem, 256u << 20);
    assert_string_equal(b.append, "console=ttyS0 \"quoted\"");
    assert_null(b.initrd);
    assert_true(b.balloon);
    assert_int_equal(b.rom_bytes, 16u << 20);
    assert_true(b.disk[1].read_only && !b.disk[0].read_only);
    assert_memory_equal(a.nic[0].mac, b.nic[0].mac, 6);
}

static void hardware_comes_back_and_forwards_stay(void **state)
{
    cleanup(config_release) struct machine_config a = {0}, b = {0};
    cleanup(cleanup_free) char *hw = NULL;
    struct err e = {0};

    config_init(&a);
    a.mem = 128u << 20;
    hw = config_hardware(&a);
    config_init(&b);
    b.cpu = strdup("other");
    b.balloon = true; /* and a is of before there was one */
    b.rom_bytes = 1u << 20;
    b.nforwards = 1;
    assert_int_equal(config_forward_parse("udp:0.0.0.0:53:5353", &b.forward[0], &e), 0);
    assert_int_equal(config_set_hardware(&b, hw, &e), 0);
    assert_int_equal(b.mem, 128u << 20);
    assert_null(b.cpu);
    assert_false(b.balloon);
    assert_int_equal(b.rom_bytes, 0);
    assert_int_equal(b.nforwards, 1);
    assert_memory_equal(a.nic[0].mac, b.nic[0].mac, 6);
    assert_int_equal(config_set_hardware(&b, "{\"mem\":1}", &e), VT_CORRUPT);
    assert_int_equal(config_set_hardware(&b, "{\"mem\":1048576,\"rom\":17825792,\"disks\":[],\"nics\":[]}", &e),
                     VT_CORRUPT);
    assert_int_equal(config_set_hardware(&b, "{\"mem\":1048576,\"rom\":100000,\"disks\":[],\"nics\":[]}", &e),
                     VT_CORRUPT);
    assert_int_equal(b.mem, 128u << 20);
}

static void forwards(void **state)
{
    static const char *const bad[] = {"",        "22",           "1:2:3",    "tcp:1:2:3:4", "127.0.0.1:0:22",
                                      "1:65536", "x:22",         "sctp:1:2", "1:2:",        "tcp:300.1.1.1:1:2",
                                      ":1:2",    "localhost:1:2"};
    struct config_forward f;

    assert_int_equal(config_forward_parse("tcp:10.0.0.1:8080:80", &f, NULL), 0);
    assert_string_equal(f.host, "10.0.0.1");
    assert_true(f.host_port == 8080 && f.guest_port == 80 && !f.udp);
    assert_int_equal(config_forward_parse("udp:53:5353", &f, NULL), 0);
    assert_string_equal(f.host, "127.0.0.1");
    assert_true(f.host_port == 53 && f.guest_port == 5353 && f.udp);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};
        assert_int_equal(config_forward_parse(bad[i], &f, &e), VT_USAGE);
        assert_true(e.msg[0]);
    }
}

static void other_floppies(void **state)
{
    static const char *const bad[] = {"[\"a.img\"]", "[null, null, \"\"]", "[1]", "{}", "[null, null]x"};
    cleanup(config_release) struct machine_config a = {0}, b = {0};
    cleanup(cleanup_free) char *text = NULL, *old = NULL;
    struct config_disk *d;

    config_init(&a);
    old = config_text(&a);
    assert_null(strstr(old, "floppies"));
    assert_int_equal(config_set_floppy(&a, 1, "none", NULL), VT_USAGE); /* no second before a first */
    assert_int_equal(config_floppy_add(&a, "a.img", 1440 * 1024, &d, NULL), 0);
    assert_int_equal(config_floppy_drives(&a), 1);
    assert_int_equal(config_set_floppy(&a, 0, "/absent.img", NULL), VT_NOENT);
    assert_int_equal(config_set_floppy(&a, 0, "/proc/self/exe", NULL), VT_USAGE);
    assert_null(a.floppy[0]);
    assert_int_equal(config_set_floppy(&a, 0, "none", NULL), 0);
    assert_int_equal(config_set_floppy(&a, 1, "none", NULL), 0);
    assert_int_equal(config_floppy_drives(&a), 2);
    assert_int_equal(config_set_floppy(&a, 2, "none", NULL), VT_USAGE);
    assert_int_equal(config_set_floppy(&a, 0, "own", NULL), 0);
    text = config_text(&a);
    assert_int_equal(config_parse(text, &b, NULL), 0);
    assert_true(!b.floppy[0] && b.floppy[1] && !*b.floppy[1]);
    assert_int_equal(config_floppy_drives(&b), 2);
    assert_int_equal(config_set_floppy(&b, 1, "own", NULL), 0);
    assert_int_equal(config_floppy_drives(&b), 1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cleanup(cleanup_free) char *t = str_printf("{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[{\"slot\":"
                                                   "\"disk0\",\"floppy\":true}],\"nics\":[],\"floppies\":%s},"
                                                   "\"forwards\":[]}",
                                                   bad[i]);
        cleanup(config_release) struct machine_config c = {0};
        assert_int_equal(config_parse(t, &c, NULL), VT_CORRUPT);
    }
}

static void ide_drives(void **state)
{
    static const char *const bad[] = {"\"disk_bus\":\"scsi\"", "\"disk_bus\":1", "\"cdrom\":\"cd.iso\"",
                                      "\"cdrom\":true"};
    cleanup(config_release) struct machine_config a = {0}, b = {0};
    cleanup(cleanup_free) char *text = NULL, *old = NULL;
    struct err e = {0};

    config_init(&a);
    old = config_text(&a);
    assert_null(strstr(old, "cdrom")); /* a machine without says nothing of them: older versions read it */
    assert_null(strstr(old, "disk_bus"));
    assert_int_equal(config_set_disk_bus(&a, "scsi", &e), VT_USAGE);
    assert_int_equal(config_set_disk_bus(&a, "ide", NULL), 0);
    assert_int_equal(config_set_cdrom(&a, "none", NULL), 0);
    assert_string_equal(a.cdrom, "");
    assert_int_equal(config_set_cdrom(&a, "/absent.iso", NULL), VT_NOENT);
    assert_string_equal(a.cdrom, "");
    a.ndisks = 3;
    for (unsigned i = 0; i < 4; i++)
        snprintf(a.disk[i].slot, sizeof a.disk[i].slot, "disk%u", i);
    text = config_text(&a);
    assert_int_equal(config_parse(text, &b, NULL), 0);
    assert_true(b.ide && b.cdrom && !*b.cdrom);
    /* beside the CD drive at the secondary channel's first place there is room for three */
    assert_int_equal(config_ide_slot(&a, 0), 0);
    assert_int_equal(config_ide_slot(&a, 1), 1);
    assert_int_equal(config_ide_slot(&a, 2), 3);
    assert_int_equal(config_disks_check(&a, NULL), 0);
    a.ndisks = 4;
    assert_int_equal(config_disks_check(&a, NULL), VT_USAGE);
    free(a.cdrom);
    a.cdrom = NULL;
    assert_int_equal(config_disks_check(&a, NULL), 0);
    assert_int_equal(config_ide_slot(&a, 2), 2);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char json[200];
        struct machine_config c;
        snprintf(json, sizeof json,
                 "{\"format\":1,\"hardware\":{\"mem\":1048576,%s,\"disks\":[],\"nics\":[]},\"forwards\":[]}", bad[i]);
        assert_int_equal(config_parse(json, &c, NULL), VT_CORRUPT);
    }
}

static void floppies_and_cards(void **state)
{
    static const struct {
        unsigned kib;
        bool disk;
    } sizes[] = {{160, true},  {180, true},  {320, true},  {360, true},   {720, true},
                 {1200, true}, {1440, true}, {1680, true}, {1722, true},  {2880, true},
                 {1, false},   {100, false}, {640, false}, {1441, false}, {4096, false}};
    cleanup(config_release) struct machine_config a = {0}, b = {0};
    cleanup(cleanup_free) char *text = NULL;
    struct config_disk *d = NULL;
    struct err e = {0};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct machine_config c = {0};
        assert_int_equal(config_floppy_add(&c, "x.img", sizes[i].kib * 1024, &d, NULL), sizes[i].disk ? 0 : VT_USAGE);
        assert_int_equal(c.ndisks, sizes[i].disk);
    }
    config_init(&a);
    a.ndisks = 1;
    memcpy(a.disk[0].slot, "disk0", 6);
    assert_int_equal(config_floppy_add(&a, "a.img", 1440 * 1024, &d, &e), 0);
    assert_string_equal(d->slot, "disk1");
    assert_int_equal(config_floppy_add(&a, "b.img", 360 * 1024, &d, &e), 0);
    assert_int_equal(config_floppy_add(&a, "c.img", 360 * 1024, &d, &e), VT_USAGE);
    assert_non_null(strstr(e.msg, "c.img"));
    assert_int_equal(config_set_nic(&a, "ne2k_pci", &e), 0);
    assert_int_equal(config_set_nic(&a, "rtl8139", &e), VT_USAGE);
    text = config_text(&a);
    assert_int_equal(config_parse(text, &b, &e), 0);
    assert_int_equal(b.ndisks, 3);
    assert_true(!b.disk[0].floppy && b.disk[1].floppy && b.disk[2].floppy);
    assert_true(b.nic[0].ne2k);
    /* IDE has room for four disks; floppies are not among them */
    assert_int_equal(config_set_disk_bus(&b, "ide", &e), 0);
    for (; b.ndisks < 6; b.ndisks++)
        snprintf(b.disk[b.ndisks].slot, sizeof b.disk[0].slot, "disk%u", b.ndisks);
    assert_int_equal(config_disks_check(&b, &e), 0);
    memcpy(b.disk[b.ndisks++].slot, "disk7", 6);
    assert_int_equal(config_disks_check(&b, &e), VT_USAGE);
}

static void damage_is_refused(void **state)
{
    static const struct {
        const char *text;
        int code;
    } row[] = {
        {"", VT_CORRUPT},
        {"[]", VT_CORRUPT},
        {"{\"format\":2}", VT_VERSION},
        {"{\"format\":1}", VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[],\"nics\":[]}}", VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048577,\"disks\":[],\"nics\":[]},\"forwards\":[]}", VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[{\"slot\":\"ram\"}],\"nics\":[]},\"forwards\":[]}",
         VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[{\"slot\":\"disk0\"},{\"slot\":\"disk0\"}],\"nics\":[]"
         "},"
         "\"forwards\":[]}",
         VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[{\"slot\":\"disk16\"}],\"nics\":[]},\"forwards\":[]}",
         VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[{\"slot\":\"disk0123\"}],\"nics\":[]},"
         "\"forwards\":[]}",
         VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[],\"nics\":[{\"mac\":\"52:54:00:12:34\"}]},"
         "\"forwards\":[]}",
         VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[{\"slot\":\"disk0\",\"floppy\":true},"
         "{\"slot\":\"disk1\",\"floppy\":true},{\"slot\":\"disk2\",\"floppy\":true}],\"nics\":[]},\"forwards\":[]}",
         VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[],\"nics\":[{\"mac\":\"52:54:00:12:34:56\","
         "\"model\":\"ne1000\"}]},\"forwards\":[]}",
         VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[],\"nics\":[{},{},{},{},{}]},\"forwards\":[]}",
         VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[],\"nics\":[]},\"forwards\":[{\"proto\":\"tcp\","
         "\"host\":\"::\",\"host_port\":1,\"guest_port\":1}]}",
         VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"boot\":{},\"disks\":[],\"nics\":[]},\"forwards\":[]}",
         VT_CORRUPT},
        {"{\"format\":1,\"hardware\":{\"mem\":1048576,\"disks\":[],\"nics\":[]},\"forwards\":[]}", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        cleanup(config_release) struct machine_config c = {0};
        struct err e = {0};
        assert_int_equal(config_parse(row[i].text, &c, &e), row[i].code);
        assert_true(!row[i].code == !e.msg[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_round),        cmocka_unit_test(hardware_comes_back_and_forwards_stay),
        cmocka_unit_test(forwards),          cmocka_unit_test(ide_drives),
        cmocka_unit_test(other_floppies),    cmocka_unit_test(floppies_and_cards),
        cmocka_unit_test(damage_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
