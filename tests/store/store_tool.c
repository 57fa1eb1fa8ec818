/* A store with known content, and what is in a store, for tests in other languages:
 *
 *   store_tool make DIR BASE     makes a store in DIR, and the raw file BASE that lies under one of its disks
 *   store_tool hashes DIR        a line for each image: MACHINE SNAPSHOT SLOT ROOT BYTES HASH; for the device state
 *                                (SLOT "state"); and for each disk as its last flush left it (SNAPSHOT "-")
 *   store_tool check DIR         proves all of it; problems are printed, and end it with 1
 *   store_tool revert DIR MACHINE SNAPSHOT
 *
 * HASH is the XXH3 with 64 bits of each page that is not all zero, its number (64 bits, little-endian) before it; of
 * the device state, of all bytes. */
#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include "snapshot/snapshot.h"
#include "src/base/units.h"
#include "src/base/util.h"

#define PAGE     VT_PAGE_SIZE
#define DISK0    (UINT64_C(2300) * PAGE + 512) /* five leaves; the last page is not whole */
#define DISK1    (UINT64_C(3) << 30)           /* three levels of nodes */
#define BASE     (UINT64_C(90) * PAGE + 1536)
#define RAM      1200u
#define BLOB_LEN (5 * PAGE + 123)

/* Bytes that follow from tag: most pack well, some not at all; tag 0 is zero. */
static void page_of(uint64_t tag, uint8_t page[PAGE])
{
    uint64_t x = tag * 0x9e3779b97f4a7c15ull + 1;
    size_t n = tag % 61 ? tag % 3 ? 24 : 200 : PAGE;

    memset(page, tag ? (int)(tag % 251) : 0, PAGE);
    for (size_t i = 0; tag && i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        page[i] = (uint8_t)x;
    }
}

static int disk_write(struct head *h, const char *slot, uint64_t first, uint64_t n, uint64_t tag, struct err *e)
{
    struct blockdev *b = head_disk(h, slot);
    uint8_t page[PAGE];
    int r = 0;

    for (uint64_t i = 0; i < n && !r; i++) {
        page_of(tag ? tag + i : 0, page);
        r = b->ops->pwrite(b, page, (size_t)MIN((uint64_t)PAGE, b->size - (first + i) * PAGE), (first + i) * PAGE, e);
    }
    return r;
}

static int memory(struct snap *p, uint64_t tag, struct err *e)
{
    uint8_t page[PAGE], *blob cleanup(cleanup_free) = malloc(BLOB_LEN);
    int r = blob ? snap_image(p, "ram", RAM, false, e) : err_set(e, VT_FAIL, "out of memory");

    for (uint64_t i = 0; i < RAM && !r; i += 1 + i % 5) {
        page_of(i % 4 ? tag + i : 1000 + i, page); /* some as on the disk */
        r = snap_put_pages(p, "ram", i, 1, page, e);
    }
    for (size_t i = 0; i < BLOB_LEN && blob; i++)
        blob[i] = (uint8_t)(i * tag >> 5);
    return r ? r : snap_put_state(p, blob, BLOB_LEN, e);
}

/* tag 0: without memory. quiesced: two roots, between which page 7 of disk0 changes. */
static int take(struct head *h, const char *name, uint64_t tag, bool quiesced, struct err *e)
{
    struct snap_meta meta = {.name = name, .note = quiesced ? "held still" : NULL, .vclock = (int64_t)tag * 1000};
    struct head_pos still, live;
    struct snap *p = NULL;
    int64_t id;
    int r = quiesced ? head_mark(h, &still, e) : 0;

    if (!r && quiesced)
        r = disk_write(h, "disk0", 7, 1, 70000 + tag, e);
    if (!r)
        r = head_seal(h, &live, e);
    if (!r)
        r = snap_begin(h, quiesced ? &still : NULL, &live, &p, e);
    if (!r && tag)
        r = memory(p, tag, e);
    meta.power = tag ? POWER_RUNNING : POWER_OFF;
    meta.hardware = "{\"mem\":4915200}";
    meta.cpu_features = tag ? "sse2 fxsr" : "";
    if (!r)
        return snap_commit(p, &meta, &id, NULL, e);
    snap_abort(p);
    return r;
}

/* A tree of snapshots, one of them deleted; what was written to the head since stays in its logs. */
static int write_history(struct store *s, int64_t machine, struct head *h, struct err *e)
{
    struct blockdev *b = head_disk(h, "disk1");
    int64_t id = 0;
    int r = disk_write(h, "disk0", 0, 60, 1000, e);

    if (!r)
        r = disk_write(h, "disk0", 2290, 11, 3000, e); /* to its end */
    if (!r)
        r = disk_write(h, "disk1", 20, 9, 0, e); /* zero over the raw file */
    if (!r)
        r = disk_write(h, "disk1", 700000, 3, 4000, e);
    if (!r)
        r = take(h, "clean", 500, true, e);
    if (!r)
        r = disk_write(h, "disk0", 20, 10, 5000, e);
    if (!r)
        r = take(h, "passing", 0, false, e);
    if (!r)
        r = disk_write(h, "disk0", 40, 300, 6000, e);
    if (!r)
        r = b->ops->discard(b, 40 * PAGE, 50 * PAGE, false, e);
    if (!r)
        r = take(h, "tests.pass", 900, false, e);
    if (!r)
        r = snapshot_find(s, machine, "passing", true, &id, e);
    if (!r)
        r = snapshot_delete(s, id, e);
    if (!r)
        r = snapshot_find(s, machine, "clean", true, &id, e);
    if (!r)
        r = head_reset(h, id, e);
    if (!r)
        r = disk_write(h, "disk0", 1, 280, 8000, e); /* more than a batch */
    if (!r)
        r = disk_write(h, "disk0", 5, 3, 0, e);
    if (!r)
        r = disk_write(h, "disk1", 1, 2, 9000, e);
    return r;
}

static int make_base(const char *path, struct err *e)
{
    uint8_t page[PAGE];
    int fd cleanup(cleanup_close) = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    for (uint64_t i = 0; i * PAGE < BASE; i++) {
        size_t len = (size_t)MIN((uint64_t)PAGE, BASE - i * PAGE);
        page_of(i % 5 ? 200000 + i : 0, page);
        if (fd < 0 || write(fd, page, len) != (ssize_t)len)
            return err_set(e, VT_IO, "%s: %m", path);
    }
    return 0;
}

static int make(struct store *s, const char *base, struct err *e)
{
    struct slot_spec disks[2] = {{.slot = "disk0", .bytes = DISK0, .import_fd = -1},
                                 {.slot = "disk1", .bytes = DISK1, .base_path = base, .import_fd = -1}};
    struct slot_spec small = {.slot = "disk0", .bytes = 64 * PAGE, .import_fd = -1};
    int64_t machine, other;
    struct head *h = NULL;
    int lock cleanup(cleanup_close) = -1, r = make_base(base, e);

    if (!r)
        r = machine_create(s, "web", "{\"mem\":4915200}", disks, 2, NULL, NULL, &machine, e);
    if (!r)
        r = machine_create(s, "db", "{}", &small, 1, NULL, NULL, &other, e);
    if (!r)
        r = machine_lock(s, machine, &lock, e);
    if (!r)
        r = head_open(s, machine, 0, &h, e);
    if (!r)
        r = write_history(s, machine, h, e);
    if (r) {
        head_close(h, NULL);
        return r;
    }
    return head_close(h, e);
}

/* ---- hashes ---- */

static int hash_pages(struct image *i, XXH3_state_t *x, struct err *e)
{
    static const uint8_t zero[PAGE];
    uint64_t bytes = image_bytes(i);
    uint8_t page[PAGE];
    bool found;

    for (uint64_t p = 0;; p++) {
        uint64_t number;
        size_t len;
        int r = image_next_data(i, &p, &found, e);
        if (!r && found)
            r = image_read(i, p, 1, page, e);
        if (r || !found)
            return r;
        len = (size_t)MIN((uint64_t)PAGE, bytes - p * PAGE);
        number = htole64(p);
        if (!memcmp(page, zero, len))
            continue;
        XXH3_64bits_update(x, &number, sizeof number);
        XXH3_64bits_update(x, page, len);
    }
}

static int hash_image(const char *who, const char *slot, const char *root, struct image *i, struct err *e)
{
    XXH3_state_t *x = XXH3_createState();
    int r;

    if (!x)
        return err_set(e, VT_FAIL, "out of memory");
    XXH3_64bits_reset(x);
    r = hash_pages(i, x, e);
    if (!r)
        printf("%s %s %s %" PRIu64 " %016" PRIx64 "\n", who, slot, root, image_bytes(i),
               (uint64_t)XXH3_64bits_digest(x));
    XXH3_freeState(x);
    return r;
}

static int hash_snapshot(struct store *s, const char *who, int64_t machine, int64_t id, struct err *e)
{
    struct slot_info *slots = NULL;
    void *state cleanup(cleanup_free) = NULL;
    size_t n = 0, len = 0;
    int r = slots_list(s, machine, id, &slots, &n, e);

    for (size_t i = 0; i < n && !r; i++)
        for (int q = 0; q < 2 && !r; q++) {
            struct image *image = NULL;
            if (!id && (q || strncmp(slots[i].slot, "disk", 4) != 0))
                continue;
            r = id ? image_open(s, id, slots[i].slot, q ? ROOT_QUIESCED : ROOT_LIVE, &image, e)
                   : image_open_flushed(s, machine, slots[i].slot, &image, e);
            if (!r)
                r = hash_image(who, slots[i].slot, !id ? "flushed" : q ? "quiesced" : "live", image, e);
            image_close(image);
        }
    slots_list_free(slots, n);
    if (!r && id)
        r = snapshot_state(s, id, &state, &len, e);
    if (!r && state)
        printf("%s state live %zu %016" PRIx64 "\n", who, len, (uint64_t)XXH3_64bits(state, len));
    return r;
}

static int hash_machine(struct store *s, const struct machine_info *m, struct err *e)
{
    struct snapshot_info *list = NULL;
    char who[2 * STORE_NAME_MAX + 2];
    size_t n = 0;
    int r = snapshot_list(s, m->id, &list, &n, e);

    for (size_t i = 0; i < n && !r; i++) {
        snprintf(who, sizeof who, "%s %s", m->name, list[i].name);
        r = hash_snapshot(s, who, m->id, list[i].id, e);
    }
    snapshot_list_free(list, n);
    snprintf(who, sizeof who, "%s -", m->name);
    return r ? r : hash_snapshot(s, who, m->id, 0, e);
}

static int hashes(struct store *s, struct err *e)
{
    struct machine_info *list = NULL;
    size_t n = 0;
    int r = machine_list(s, &list, &n, e);

    for (size_t i = 0; i < n && !r; i++)
        r = hash_machine(s, &list[i], e);
    machine_list_free(list, n);
    return r;
}

/* ---- check, revert ---- */

static void print_problem(void *opaque, const char *line)
{
    puts(line);
}

static int check(struct store *s, bool *ret_bad, struct err *e)
{
    struct store_report rep;
    int r = store_check(s, true, print_problem, NULL, &rep, e);

    if (!r)
        printf("%" PRIu64 " snapshots, %" PRIu64 " images, %" PRIu64 " frames\n", rep.snapshots, rep.images,
               rep.frames);
    *ret_bad = !r && rep.problems;
    return r;
}

static int revert(struct store *s, const char *machine, const char *snapshot, struct err *e)
{
    struct head *h = NULL;
    int64_t id = 0, snap = 0;
    int lock cleanup(cleanup_close) = -1, r = machine_find(s, machine, true, &id, e);

    if (!r)
        r = snapshot_find(s, id, snapshot, true, &snap, e);
    if (!r)
        r = machine_lock(s, id, &lock, e);
    if (!r)
        r = head_open(s, id, 0, &h, e);
    if (!r)
        r = head_reset(h, snap, e);
    if (r) {
        head_close(h, NULL);
        return r;
    }
    return head_close(h, e);
}

static int usage(void)
{
    fprintf(stderr, "usage: store_tool make DIR BASE | hashes DIR | check DIR | revert DIR MACHINE SNAPSHOT\n");
    return 64;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 2 ? argv[1] : "";
    bool making = !strcmp(verb, "make") && argc == 4, bad = false;
    struct store *s = NULL;
    struct err e = {0};
    int r;

    if (!making && (strcmp(verb, "hashes") || argc != 3) && (strcmp(verb, "check") || argc != 3) &&
        (strcmp(verb, "revert") || argc != 5))
        return usage();
    r = store_open(argv[2], making ? STORE_CREATE : 0, &s, &e);
    if (!r)
        r = making         ? make(s, argv[3], &e)
            : *verb == 'h' ? hashes(s, &e)
            : *verb == 'c' ? check(s, &bad, &e)
                           : revert(s, argv[3], argv[4], &e);
    store_close(s);
    if (r)
        fprintf(stderr, "store_tool: %s\n", e.msg);
    return r ? -r : bad;
}
