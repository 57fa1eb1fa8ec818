/* make_store DIR BEFORE AFTER: makes a store with one machine whose disk0 is the raw image BEFORE, snapshots it, writes
 * what AFTER has otherwise through the head, and snapshots that too. Prints the ids of both snapshots and the machine,
 * and two times: before the writing, and after it. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "snapshot/snapshot.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/diff/dev.h"

enum { CHUNK = 65536 };

static int write_changes(struct blockdev *a, struct blockdev *b, struct blockdev *disk, struct err *e)
{
    static unsigned char x[CHUNK], y[CHUNK];
    int r = 0;

    for (uint64_t at = 0; r == 0 && at < a->size; at += CHUNK) {
        size_t len = (size_t)MIN((uint64_t)CHUNK, a->size - at);

        r = dev_read(a, x, len, at, e);
        if (r == 0)
            r = dev_read(b, y, len, at, e);
        for (size_t i = 0; r == 0 && i < len; i += 512)
            if (memcmp(x + i, y + i, 512))
                r = disk->ops->pwrite(disk, y + i, 512, at + i, e);
    }
    return r ? r : disk->ops->flush(disk, e);
}

static int snapshot(struct head *h, const char *name, int64_t *ret, struct err *e)
{
    const struct snap_meta meta = {.name = name, .power = POWER_OFF};
    struct head_pos pos;
    struct snap *snap;
    int r = head_seal(h, &pos, e);

    if (r == 0)
        r = snap_begin(h, NULL, &pos, &snap, e);
    return r ? r : snap_commit(snap, &meta, ret, NULL, e);
}

static int make(const char *dir, const char *before, const char *after, struct err *e)
{
    struct blockdev *a, *b;
    struct store *s;
    struct head *h;
    int64_t machine, first, second, unwritten = 0, written = 0;
    int lock, r;
    struct slot_spec slot = {.slot = "disk0", .import_fd = open(before, O_RDONLY | O_CLOEXEC)};

    r = dev_open_file(before, &a, e);
    if (r == 0)
        r = dev_open_file(after, &b, e);
    if (r == 0)
        r = store_open(dir, STORE_CREATE, &s, e);
    if (r == 0)
        r = machine_create(s, "m", "{}", &slot, 1, NULL, NULL, &machine, e);
    if (r == 0)
        r = machine_lock(s, machine, &lock, e);
    if (r == 0)
        r = head_open(s, machine, 0, &h, e);
    if (r == 0)
        r = snapshot(h, "before", &first, e);
    unwritten = clock_wall_ns();
    if (r == 0)
        r = write_changes(a, b, head_disk(h, "disk0"), e);
    written = clock_wall_ns();
    if (r == 0)
        r = snapshot(h, "after", &second, e);
    if (r < 0)
        return r;
    printf("%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", first, second, machine, unwritten, written);
    r = head_close(h, e);
    close(lock);
    close(slot.import_fd);
    store_close(s);
    dev_close(a);
    dev_close(b);
    return r;
}

int main(int argc, char **argv)
{
    struct err e = {0};

    if (argc != 4) {
        fprintf(stderr, "usage: make_store DIR BEFORE AFTER\n");
        return 64;
    }
    if (make(argv[1], argv[2], argv[3], &e) < 0) {
        fprintf(stderr, "make_store: %s\n", e.msg);
        return 2;
    }
    return 0;
}
