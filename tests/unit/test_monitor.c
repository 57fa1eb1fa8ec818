/* The monitor's life with a machine that has no CPU: start, snapshot, revert, disks in trouble, ends, a killed process.
 * argv[1] is the monitor. What the guest does is seen on its console. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "snapshot/snapshot.h"
#include "src/base/io.h"
#include "src/base/json.h"
#include "src/client.h"
#include "src/config.h"

struct bench {
    char dir[64], kernel[96], store_dir[96];
    struct store *store;
    int64_t machine;
    struct client *client;
    int console;     /* -1: none */
    uint64_t blocks; /* that the last revert brought back */
    char said[65536];
};

static const char *monitor;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    char link[128];

    snprintf(b->dir, sizeof b->dir, "/tmp/vmtest-monitor-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->kernel, sizeof b->kernel, "%s/kernel", b->dir);
    snprintf(b->store_dir, sizeof b->store_dir, "%s/store", b->dir);
    snprintf(link, sizeof link, "%s/vmtest-monitor", b->dir);
    assert_int_equal(symlink(monitor, link), 0);
    setenv("VMTEST_LIBEXEC", b->dir, 1);
    setenv("XDG_RUNTIME_DIR", b->dir, 1);
    assert_int_equal(store_open(b->store_dir, STORE_CREATE, &b->store, NULL), 0);
    b->console = -1;
    *state = b;
    return 0;
}

/* A machine of 1 MiB of RAM and a disk of 1 MiB that runs text. */
static void create(struct bench *b, const char *text)
{
    struct machine_config c;
    struct slot_spec slot = {.slot = "disk0", .bytes = 1 << 20, .import_fd = -1};
    struct err err = {0};
    char *config;

    assert_int_equal(io_replace_file(AT_FDCWD, b->kernel, text, strlen(text), 0644, NULL), 0);
    config_init(&c);
    c.mem = 1 << 20;
    c.nnics = 0;
    c.kernel = strdup(b->kernel);
    c.ndisks = 1;
    snprintf(c.disk[0].slot, sizeof c.disk[0].slot, "disk0");
    config = config_text(&c);
    if (machine_create(b->store, "web", config, &slot, 1, NULL, NULL, &b->machine, &err) < 0)
        fail_msg("%s", err.msg);
    free(config);
    config_release(&c);
}

static void attach(struct bench *b)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(client_call_fds(b->client, "vmtest-console", NULL, &pair[1], 1, NULL, NULL), 0);
    close(pair[1]);
    b->console = pair[0];
    b->said[0] = 0;
}

static void start_paused(struct bench *b)
{
    struct monitor_spec spec = {.store = b->store_dir, .machine = b->machine, .lock_fd = -1, .paused = true};
    struct err err = {0};

    if (monitor_spawn(&spec, &b->client, &err) < 0)
        fail_msg("%s", err.msg);
    attach(b);
}

static json_t *call(struct bench *b, const char *command, json_t *args)
{
    struct err err = {0};
    json_t *result = NULL;

    if (client_call(b->client, command, args, &result, &err) < 0)
        fail_msg("%s: %s", command, err.msg);
    return result;
}

static void start(struct bench *b)
{
    start_paused(b);
    json_decref(call(b, "cont", NULL));
}

/* Waits until the guest says a line with text, after what was looked at before. */
static void await(struct bench *b, const char *text)
{
    for (;;) {
        char *at = strstr(b->said, text);
        size_t used;
        ssize_t n;

        if (at && strchr(at, '\n')) {
            char *rest = strchr(at, '\n') + 1;
            memmove(b->said, rest, strlen(rest) + 1);
            return;
        }
        used = strlen(b->said);
        n = read(b->console, b->said + used, sizeof b->said - 1 - used);
        if (n <= 0)
            fail_msg("the console ended; expected \"%s\", heard \"%s\"", text, b->said);
        b->said[used + (size_t)n] = 0;
    }
}

static void tell(struct bench *b, const char *line)
{
    assert_int_equal(io_write_full(b->console, line, strlen(line), "console", NULL), 0);
}

static int64_t snapshot(struct bench *b, const char *name)
{
    json_t *r = call(b, "vmtest-snapshot", json_pack("{s:s}", "name", name));
    int64_t id = json_integer_value(json_object_get(r, "id"));

    assert_true(json_is_true(json_object_get(r, "ram")));
    assert_true(json_real_value(json_object_get(r, "stopped_seconds")) < 5);
    json_decref(r);
    return id;
}

/* Returns how many pages it had to bring back. */
static uint64_t revert(struct bench *b, int64_t id, const char *power)
{
    json_t *r = call(b, "vmtest-revert", json_pack("{s:I}", "id", (json_int_t)id));
    uint64_t pages = (uint64_t)json_integer_value(json_object_get(r, "pages"));

    b->blocks = (uint64_t)json_integer_value(json_object_get(r, "blocks"));
    assert_string_equal(json_string_value(json_object_get(r, "power")), power);
    json_decref(r);
    return pages;
}

static void expect_status(struct bench *b, const char *want)
{
    json_t *r = call(b, "query-status", NULL);

    assert_string_equal(json_string_value(json_object_get(r, "status")), want);
    json_decref(r);
}

/* Waits for an event, passing over others. */
static void expect_event(struct bench *b, const char *name)
{
    for (;;) {
        struct err err = {0};
        json_t *ev = NULL;
        bool it;

        if (client_event(b->client, 10000, &ev, &err) < 0)
            fail_msg("waiting for %s: %s", name, err.msg);
        it = strcmp(json_string_value(json_object_get(ev, "event")), name) == 0;
        json_decref(ev);
        if (it)
            return;
    }
}

/* Until the process and with it the machine's lock are gone. */
static void await_gone(struct bench *b)
{
    json_t *ev = NULL;
    bool locked = true;

    while (client_event(b->client, 10000, &ev, NULL) == 0)
        json_decref(ev);
    client_close(b->client);
    b->client = NULL;
    close(b->console);
    b->console = -1;
    for (int i = 0; i < 1000 && locked; i++) {
        assert_int_equal(machine_locked(b->store, b->machine, &locked, NULL), 0);
        if (locked)
            poll(NULL, 0, 10); /* the socket closes a moment before the process is gone; a lock has no event */
    }
    assert_false(locked);
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    if (b->client) {
        client_call(b->client, "quit", NULL, NULL, NULL);
        await_gone(b);
    }
    store_close(b->store);
    nftw(b->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(b);
    return 0;
}

static void test_poweroff(void **state)
{
    struct bench *b = *state;

    create(b, "fakevm\necho\npoweroff\n");
    start(b);
    expect_status(b, "running");
    tell(b, "bye\n");
    await(b, "bye");
    expect_event(b, "SHUTDOWN");
    await_gone(b);
}

/* Memory, disk and the place in the program come back; what was after the snapshot is gone. */
static void test_revert(void **state)
{
    struct bench *b = *state;
    int64_t one, two;

    create(b,
           "fakevm\npoke 3 7\nwrite 0 70\nsay ready\necho\npeek 3\nread 0\npoke 3 8\npoke 5 1\nwrite 0 80\nsay again\n"
           "echo\npeek 3\npeek 5\nread 0\npoke 9 1\nsay last\necho\npoweroff\n");
    start(b);
    await(b, "ready");
    one = snapshot(b, "one");
    tell(b, "go\n");
    await(b, "page 3 is 7");
    await(b, "disk 70");
    await(b, "again");
    two = snapshot(b, "two");
    tell(b, "go\n");
    await(b, "last");
    assert_int_equal(revert(b, one, "running"), 3); /* pages 3, 5 and 9 */
    assert_int_equal(b->blocks, 1);
    tell(b, "go\n");
    await(b, "page 3 is 7");
    await(b, "disk 70");
    await(b, "again");
    assert_int_equal(revert(b, two, "running"), 2); /* 3 and 5, known by the map and by the guest's own writes */
    tell(b, "go\n");
    await(b, "page 3 is 8");
    await(b, "page 5 is 1");
    await(b, "disk 80");
    await(b, "last");
    assert_int_equal(revert(b, two, "running"), 1);
    assert_int_equal(revert(b, two, "running"), 0);
    assert_int_equal(b->blocks, 0);
}

/* A branch: snapshot, revert, another snapshot from there; memory of each is its own. */
static void test_branch(void **state)
{
    struct bench *b = *state;
    int64_t root, left, right;

    create(b, "fakevm\npoke 1 1\nsay root\necho\npoke 2 2\nsay left\necho\npeek 1\npeek 2\npeek 3\nsay end\nspin\n");
    start(b);
    await(b, "root");
    root = snapshot(b, "root");
    tell(b, "x\n");
    await(b, "left");
    left = snapshot(b, "left");
    revert(b, root, "running");
    tell(b, "y\n");
    await(b, "y");
    await(b, "left");
    right = snapshot(b, "right");
    assert_true(right != left);
    revert(b, left, "running");
    tell(b, "z\n");
    await(b, "page 1 is 1");
    await(b, "page 2 is 2");
    await(b, "page 3 is 0");
    await(b, "end");
    for (int i = 0; i < 40; i++) { /* more often than images are kept open */
        revert(b, i % 3 == 0 ? root : i % 3 == 1 ? left : right, "running");
        if (i % 3 == 0) {
            tell(b, "a\n");
            await(b, "left");
        } else {
            tell(b, "b\n");
            await(b, "page 2 is 2");
            await(b, "end");
        }
    }
}

/* Waits for an event's data; the caller's. */
static json_t *await_event(struct bench *b, const char *name)
{
    for (;;) {
        struct err err = {0};
        json_t *ev = NULL, *data = NULL;

        if (client_event(b->client, 10000, &ev, &err) < 0)
            fail_msg("waiting for %s: %s", name, err.msg);
        if (strcmp(json_string_value(json_object_get(ev, "event")), name) == 0)
            data = json_incref(json_object_get(ev, "data"));
        json_decref(ev);
        if (data)
            return data;
    }
}

/* One that is not waited for is answered when it is taken, and told when it is stored, or why not. */
static void test_async(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    json_t *r;
    int64_t id;

    create(b, "fakevm\npoke 3 7\nsay ready\necho\npoke 3 8\nsay changed\necho\npeek 3\nspin\n");
    start(b);
    await(b, "ready");
    r = call(b, "vmtest-snapshot", json_pack("{s:s, s:b}", "name", "later", "async", 1));
    assert_null(json_object_get(r, "id"));
    assert_true(json_is_real(json_object_get(r, "stopped_seconds")));
    json_decref(r);
    tell(b, "go\n");
    await(b, "changed");
    r = await_event(b, "VMTEST_SNAPSHOT");
    assert_string_equal(json_string_value(json_object_get(r, "name")), "later");
    id = json_integer_value(json_object_get(r, "id"));
    assert_true(id > 0);
    json_decref(r);
    assert_int_equal(
        client_call(b->client, "vmtest-snapshot", json_pack("{s:s, s:b}", "name", "later", "async", 1), NULL, &err),
        VT_EXISTS);
    json_decref(call(b, "vmtest-snapshot", json_pack("{s:s, s:b}", "name", "no name", "async", 1)));
    json_decref(call(b, "vmtest-snapshot", json_pack("{s:s, s:b}", "name", "behind", "async", 1)));
    r = await_event(b, "VMTEST_SNAPSHOT_FAILED"); /* the store looks at it last */
    assert_string_equal(json_string_value(json_object_get(r, "name")), "no name");
    assert_int_equal(json_integer_value(json_object_get(r, "code")), VT_USAGE);
    json_decref(r);
    r = await_event(b, "VMTEST_SNAPSHOT"); /* it has what that one would have had */
    revert(b, json_integer_value(json_object_get(r, "id")), "running");
    json_decref(r);
    tell(b, "go\n");
    await(b, "page 3 is 8");
    revert(b, id, "running"); /* to the instant that it was taken at */
    tell(b, "go\n");
    await(b, "changed");
}

/* A fork runs from the snapshot in a process of its own, beside the machine; the machine's disk stays as it is. */
static void test_fork(void **state)
{
    struct bench *b = *state, f;
    struct monitor_spec spec = {.store = b->store_dir, .lock_fd = -1, .paused = true};
    struct err err = {0};

    create(b, "fakevm\npoke 3 7\nwrite 0 70\nsay ready\necho\npeek 3\nread 0\nwrite 0 99\npoke 3 9\nsay done\nspin\n");
    start(b);
    await(b, "ready");
    spec.snapshot = snapshot(b, "clean");
    tell(b, "go\n");
    await(b, "done");
    f = *b;
    if (monitor_spawn(&spec, &f.client, &err) < 0)
        fail_msg("%s", err.msg);
    attach(&f);
    json_decref(call(&f, "cont", NULL));
    tell(&f, "go\n");
    await(&f, "page 3 is 7");
    await(&f, "disk 70");
    await(&f, "done");
    assert_int_equal(client_call(f.client, "vmtest-snapshot", json_pack("{s:s}", "name", "no"), NULL, &err), VT_BUSY);
    client_close(f.client); /* and the fork ends with it */
    while (read(f.console, f.said, sizeof f.said) > 0)
        ;
    close(f.console);
    expect_status(b, "running");
}

/* What the guest flushed and what was reported as a snapshot survive a killed monitor. */
static void test_killed(void **state)
{
    struct bench *b = *state;
    int64_t id;
    json_t *info;

    create(b, "fakevm\npoke 3 7\nwrite 0 70\nflush\nsay ready\necho\npeek 3\nread 0\nsay done\nspin\n");
    start(b);
    await(b, "ready");
    id = snapshot(b, "kept");
    info = call(b, "vmtest-info", NULL);
    kill((pid_t)json_integer_value(json_object_get(info, "pid")), SIGKILL);
    json_decref(info);
    await_gone(b);
    start_paused(b);
    expect_status(b, "prelaunch");
    revert(b, id, "running"); /* into a process that never booted */
    tell(b, "go\n");
    await(b, "page 3 is 7");
    await(b, "disk 70");
    await(b, "done");
}

static void limit_files(struct bench *b, rlim_t bytes)
{
    json_t *info = call(b, "vmtest-info", NULL);
    pid_t pid = (pid_t)json_integer_value(json_object_get(info, "pid"));
    struct rlimit limit;

    assert_int_equal(prlimit(pid, RLIMIT_FSIZE, NULL, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(prlimit(pid, RLIMIT_FSIZE, &limit, NULL), 0);
    json_decref(info);
}

/* No file can grow: as a full disk. The guest stands, and sees no error when there is room again. */
static void test_no_room(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    int64_t id;

    create(b, "fakevm\nsay up\necho\nwrite 0 5\nflush\nsay written\nread 0\necho\nwrite 0 6\nflush\nspin\n");
    start(b);
    await(b, "up");
    limit_files(b, 0);
    tell(b, "x\n");
    expect_event(b, "BLOCK_IO_ERROR");
    expect_event(b, "STOP");
    expect_status(b, "io-error");
    assert_int_equal(client_call(b->client, "vmtest-snapshot", json_pack("{s:s}", "name", "no"), NULL, &err), VT_BUSY);
    json_decref(call(b, "cont", NULL));
    expect_event(b, "BLOCK_IO_ERROR"); /* there is still no room */
    expect_event(b, "STOP");
    limit_files(b, RLIM_INFINITY);
    json_decref(call(b, "cont", NULL));
    await(b, "written");
    await(b, "disk 5");
    expect_status(b, "running");
    id = snapshot(b, "fine");
    limit_files(b, 0);
    err = (struct err){0};
    assert_int_equal(client_call(b->client, "vmtest-snapshot", json_pack("{s:s}", "name", "no"), NULL, &err), VT_IO);
    limit_files(b, RLIM_INFINITY);
    expect_status(b, "running"); /* a snapshot that fails costs nothing */
    snapshot(b, "yes");
    limit_files(b, 0);
    tell(b, "x\n");
    expect_event(b, "BLOCK_IO_ERROR");
    limit_files(b, RLIM_INFINITY);
    revert(b, id, "running"); /* away from a disk in trouble */
    tell(b, "x\n");
    await(b, "x");
}

static void test_pause(void **state)
{
    struct bench *b = *state;
    int64_t id;

    create(b, "fakevm\nsay up\necho\nsay down\necho\nspin\n");
    start(b);
    await(b, "up");
    json_decref(call(b, "stop", NULL));
    expect_status(b, "paused");
    id = snapshot(b, "held");
    expect_status(b, "paused"); /* a snapshot does not wake it */
    tell(b, "x\n");
    json_decref(call(b, "cont", NULL));
    await(b, "down");
    revert(b, id, "paused"); /* as it was */
    expect_status(b, "paused");
    json_decref(call(b, "cont", NULL));
    tell(b, "y\n");
    await(b, "y");
    await(b, "down");
}

/* A virtual CPU that gives up stops the guest, not us: the machine can still be reverted or reset. */
static void test_panic(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    int64_t id;

    create(b, "fakevm\nsay up\necho\ntriple\n");
    start(b);
    await(b, "up");
    id = snapshot(b, "before");
    tell(b, "x\n");
    expect_event(b, "GUEST_PANICKED");
    expect_status(b, "guest-panicked");
    assert_int_equal(client_call(b->client, "cont", NULL, NULL, &err), VT_BUSY);
    revert(b, id, "running");
    expect_status(b, "running");
    tell(b, "x\n");
    expect_event(b, "GUEST_PANICKED");
    json_decref(call(b, "system_reset", NULL));
    await(b, "up");
    expect_status(b, "running");
}

static void test_reboot(void **state)
{
    struct bench *b = *state;

    create(b, "fakevm\nsay up\necho\nreset\n");
    start(b);
    await(b, "up");
    tell(b, "x\n");
    expect_event(b, "RESET");
    await(b, "up");
    expect_status(b, "running");
}

static void expect_refusal(struct bench *b, const char *command, json_t *args, int code, const char *message)
{
    struct err err = {0};

    assert_int_equal(client_call(b->client, command, args, NULL, &err), code);
    assert_non_null(strstr(err.msg, message));
}

/* The ports in the directory of the network `lab`. */
static unsigned ports(const struct bench *b)
{
    char path[PATH_MAX];
    struct dirent *d;
    unsigned n = 0;
    DIR *dir;

    snprintf(path, sizeof path, "%s/vmtest/%s/net-lab", b->dir, store_uuid(b->store));
    dir = opendir(path);
    assert_non_null(dir);
    while ((d = readdir(dir)))
        n += d->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* A machine is on its network; a fork, which has its addresses, is not. */
static void test_private_network(void **state)
{
    cleanup(machine_info_release) struct machine_info info = {0};
    cleanup(config_release) struct machine_config c = {0};
    cleanup(cleanup_free) char *text = NULL;
    struct monitor_spec spec = {.lock_fd = -1, .paused = true};
    struct bench *b = *state;
    struct client *fork;
    char *nets[] = {"private:lab"};

    create(b, "fakevm\nsay up\nspin\n");
    assert_int_equal(machine_get(b->store, b->machine, &info, NULL), 0);
    assert_int_equal(config_parse(info.config, &c, NULL), 0);
    assert_int_equal(config_set_nets(&c, nets, 1, NULL), 0);
    text = config_text(&c);
    assert_int_equal(machine_set_config(b->store, b->machine, text, NULL), 0);
    start(b);
    await(b, "up");
    assert_int_equal(ports(b), 1);
    spec.store = b->store_dir;
    spec.snapshot = snapshot(b, "clean");
    assert_int_equal(monitor_spawn(&spec, &fork, NULL), 0);
    assert_int_equal(ports(b), 1);
    client_close(fork);
    json_decref(call(b, "quit", NULL));
    await_gone(b);
    assert_int_equal(ports(b), 0);
}

/* QMP's inject-nmi; a guest that does not take one is an error that says so, as is one that is not there. */
static void test_nmi(void **state)
{
    struct bench *b = *state;

    create(b, "fakevm\nsay up\necho\ngraphics\nsay masked\necho\ntriple\n");
    start_paused(b);
    expect_refusal(b, "inject-nmi", NULL, VT_BUSY, "prelaunch");
    json_decref(call(b, "cont", NULL));
    await(b, "up");
    json_decref(call(b, "inject-nmi", NULL));
    await(b, "nmi");
    json_decref(call(b, "stop", NULL));
    json_decref(call(b, "inject-nmi", NULL));
    json_decref(call(b, "cont", NULL));
    await(b, "nmi");
    tell(b, "x\n");
    await(b, "masked");
    expect_refusal(b, "inject-nmi", NULL, VT_BUSY, "masked in its local APIC");
    tell(b, "x\n");
    expect_event(b, "GUEST_PANICKED");
    expect_refusal(b, "inject-nmi", NULL, VT_BUSY, "guest-panicked");
}

/* Names that exist, commands for the agent of a guest that has none, two monitors of one machine. */
static void test_refusals(void **state)
{
    struct bench *b = *state;
    struct monitor_spec spec = {.store = b->store_dir, .machine = b->machine, .lock_fd = -1};
    struct err err = {0};
    int fds[2] = {1, 2};

    create(b, "fakevm\nsay up\nspin\n");
    start(b);
    await(b, "up");
    snapshot(b, "one");
    assert_int_equal(client_call(b->client, "vmtest-snapshot", json_pack("{s:s}", "name", "one"), NULL, &err),
                     VT_EXISTS);
    err = (struct err){0};
    assert_int_equal(client_call(b->client, "vmtest-snapshot",
                                 json_pack("{s:s, s:s}", "name", "two", "quiesce", "require"), NULL, &err),
                     VT_GONE);
    assert_non_null(strstr(err.msg, "agent"));
    assert_int_equal(client_call(b->client, "vmtest-revert", json_pack("{s:i}", "id", 999), NULL, NULL), VT_NOENT);
    assert_int_equal(client_call(b->client, "vmtest-revert", NULL, NULL, NULL), VT_CORRUPT);
    assert_int_equal(client_call(b->client, "system_powerdown", NULL, NULL, NULL), 0); /* by the button */
    await(b, "power button");
    assert_int_equal(client_call_fds(b->client, "vmtest-install", json_pack("{s:s}", "path", "/nonexistent.deb"), fds,
                                     2, NULL, NULL),
                     VT_NOENT);
    spec.machine = b->machine;
    assert_int_equal(monitor_spawn(&spec, NULL, NULL), VT_BUSY);
    expect_status(b, "running");
}

/* Deleting a snapshot that the running machine stands on: its memory no longer needs it. */
static void test_delete(void **state)
{
    struct bench *b = *state;
    int64_t one, two;

    create(b, "fakevm\npoke 3 7\nsay ready\necho\npeek 3\nsay done\nspin\n");
    start(b);
    await(b, "ready");
    one = snapshot(b, "one");
    revert(b, one, "running");
    json_decref(call(b, "vmtest-delete", json_pack("{s:I}", "id", (json_int_t)one)));
    two = snapshot(b, "one"); /* the name is free again */
    tell(b, "x\n");
    await(b, "page 3 is 7");
    await(b, "done");
    revert(b, two, "running");
    tell(b, "x\n");
    await(b, "page 3 is 7");
    json_decref(call(b, "vmtest-rename", json_pack("{s:I, s:s}", "id", (json_int_t)two, "name", "two")));
    assert_int_equal(snapshot_find(b->store, b->machine, "two", true, &one, NULL), 0);
    assert_int_equal(one, two);
}

/* QMP's screendump in both forms, and the text that is waited for after a revert is of this time. */
static void test_screen(void **state)
{
    struct bench *b = *state;
    cleanup(buf_release) struct buf ppm = {0};
    cleanup(buf_release) struct buf png = {0};
    char file[128];
    int64_t id;

    create(b, "fakevm\nsay up\ngraphics\necho\nsay word\nspin\n");
    start(b);
    await(b, "up");
    id = snapshot(b, "one");
    tell(b, "x\n");
    await(b, "word");
    json_decref(call(b, "vmtest-wait", json_pack("{s:s, s:s, s:b}", "for", "text", "text", "word", "serial", 1)));
    snprintf(file, sizeof file, "%s/picture", b->dir);
    json_decref(call(b, "screendump", json_pack("{s:s}", "filename", file)));
    assert_int_equal(io_read_file(AT_FDCWD, file, 1 << 20, &ppm, NULL), 0);
    assert_int_equal(ppm.len, 13 + 64 * 32 * 3);
    assert_memory_equal(ppm.data, "P6\n64 32\n255\n\xff\0\0\xff\0\0", 19);
    json_decref(call(b, "screendump", json_pack("{s:s, s:s}", "filename", file, "format", "png")));
    assert_int_equal(io_read_file(AT_FDCWD, file, 1 << 20, &png, NULL), 0);
    assert_memory_equal(png.data, "\x89PNG\r\n\x1a\n", 8);
    expect_refusal(b, "screendump", json_pack("{s:s}", "filename", "picture"), VT_USAGE, "absolute");
    expect_refusal(b, "screendump", json_pack("{s:s, s:s}", "filename", file, "format", "gif"), VT_USAGE, "ppm or png");
    expect_refusal(b, "screendump", NULL, VT_CORRUPT, "filename");
    expect_refusal(b, "vmtest-screenshot", NULL, VT_USAGE, "descriptor");
    expect_refusal(b, "vmtest-screen", NULL, VT_BUSY, "64x32");
    revert(b, id, "running");
    expect_refusal(b, "vmtest-wait",
                   json_pack("{s:s, s:s, s:b, s:f}", "for", "text", "text", "word", "serial", 1, "timeout", 0.05),
                   VT_TIMEOUT, "\"word\" was not seen");
}

static void test_bad_start(void **state)
{
    struct bench *b = *state;
    struct monitor_spec spec = {.store = b->store_dir, .lock_fd = -1};
    struct err err = {0};

    create(b, "not a kernel");
    spec.machine = b->machine;
    assert_int_equal(monitor_spawn(&spec, NULL, &err), VT_CORRUPT);
    assert_non_null(strstr(err.msg, "not a fake kernel"));
    spec.machine = 12345;
    assert_int_equal(monitor_spawn(&spec, NULL, NULL), VT_NOENT);
    spec.store = "/nonexistent";
    assert_int_equal(monitor_spawn(&spec, NULL, NULL), VT_NOENT);
}

/* An object from text with single quotes. */
static json_t *object(const char *text)
{
    char *copy = strdup(text);
    json_t *j;

    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    j = json_loads(copy, 0, NULL);
    assert_non_null(j);
    free(copy);
    return j;
}

static void refuse(struct bench *b, const char *command, const char *args, const char *why)
{
    struct err err = {0};

    assert_int_not_equal(client_call(b->client, command, object(args), NULL, &err), 0);
    if (!strstr(err.msg, why))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

/* QMP's own commands for input, as its clients send them. */
static void test_input(void **state)
{
    struct bench *b = *state;

    create(b, "fakevm\nkeys 6\nkeys 2\nmouse 6\nspin\n");
    start(b);
    json_decref(call(b, "send-key",
                     object("{'keys': [{'type': 'qcode', 'data': 'ctrl'}, {'type': 'qcode', 'data': 'alt'},"
                            " {'type': 'number', 'data': 211}], 'hold-time': 100}")));
    await(b, "1d+38+d3+d3-38-1d-");
    json_decref(
        call(b, "input-send-event",
             object("{'events': [{'type': 'key', 'data': {'down': true, 'key': {'type': 'qcode', 'data': 'a'}}},"
                    " {'type': 'key', 'data': {'down': false, 'key': {'type': 'qcode', 'data': 'a'}}}]}")));
    await(b, "1e+1e-");
    json_decref(call(b, "input-send-event",
                     object("{'events': [{'type': 'rel', 'data': {'axis': 'x', 'value': 5}},"
                            " {'type': 'rel', 'data': {'axis': 'y', 'value': -300}},"
                            " {'type': 'btn', 'data': {'button': 'left', 'down': true}},"
                            " {'type': 'btn', 'data': {'button': 'wheel-up', 'down': true}},"
                            " {'type': 'btn', 'data': {'button': 'extra', 'down': true}},"
                            " {'type': 'btn', 'data': {'button': 'left', 'down': false}}]}")));
    await(b, "5,0,0,0 0,-300,0,0 0,0,0,1 0,0,-1,1 0,0,0,17 0,0,0,16 ");
    refuse(b, "send-key", "{'keys': []}", "1 to 16 keys");
    refuse(b, "send-key", "{'keys': [{'type': 'qcode', 'data': 'hyper'}]}", "no key \"hyper\"");
    refuse(b, "send-key", "{'keys': [{'type': 'number', 'data': 256}]}", "no key number 256");
    refuse(b, "input-send-event", "{'events': [{'type': 'abs', 'data': {'axis': 'x', 'value': 1}}]}",
           "no input that this machine has");
    refuse(b, "input-send-event", "{'events': [{'type': 'rel', 'data': {'axis': 'x', 'value': 40000}}]}",
           "not a number from");
    refuse(b, "input-send-event", "{'events': [{'type': 'btn', 'data': {'button': 'top', 'down': true}}]}",
           "no button");
    refuse(b, "vmtest-type", "{'keys': [7]}", "not strings");
}

int main(int argc, char **argv)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH(test_poweroff),        WITH(test_revert),   WITH(test_branch), WITH(test_fork),      WITH(test_killed),
        WITH(test_pause),           WITH(test_no_room),  WITH(test_panic),  WITH(test_reboot),    WITH(test_nmi),
        WITH(test_private_network), WITH(test_refusals), WITH(test_delete), WITH(test_bad_start), WITH(test_screen),
        WITH(test_input),           WITH(test_async),
    };

    if (argc != 2)
        return 2;
    monitor = realpath(argv[1], NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
