#include "tests/store/fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

uint64_t rng_next(struct rng *r)
{
    uint64_t z = r->x += 0x9e3779b97f4a7c15ull; /* SplitMix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    return rng_next(r) % n;
}

char *tmpdir_new(void)
{
    const char *base = getenv("TMPDIR");
    char *path;

    if (!base) /* these tests sync a lot, and prove nothing about a disk */
        base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
    assert_true(asprintf(&path, "%s/vmtest-store-XXXXXX", base) > 0);
    assert_non_null(mkdtemp(path));
    return path;
}

static int rm_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    return remove(path);
}

void rmtree(const char *dir)
{
    nftw(dir, rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

void page_make(uint8_t page[PAGE], uint64_t tag)
{
    struct rng r = {tag};

    memset(page, 0, PAGE);
    if (!tag)
        return;
    memcpy(page, &tag, sizeof tag);
    for (size_t i = sizeof tag; i < PAGE / 2; i += 8) {
        uint64_t v = rng_next(&r);
        memcpy(page + i, &v, 8);
    }
}

static uint64_t tag_of(const uint8_t page[PAGE])
{
    uint8_t want[PAGE];
    uint64_t tag;

    memcpy(&tag, page, sizeof tag);
    page_make(want, tag);
    if (memcmp(page, want, PAGE) != 0)
        assert_memory_equal(page, want, PAGE); /* says where; slow */
    return tag;
}

static void print_problem(void *opaque, const char *line)
{
    print_message("check: %s\n", line);
}

void check_sound(struct store *s)
{
    struct store_report rep;

    ok(store_check(s, true, print_problem, NULL, &rep, e));
    assert_int_equal(rep.problems, 0);
}

static void open_all(struct fixture *f)
{
    ok(store_open(f->dir, STORE_CREATE, &f->s, e));
    ok(machine_lock(f->s, f->machine, &f->lock, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct slot_spec disk = {.slot = "disk0", .bytes = DISK_PAGES * PAGE, .import_fd = -1};

    f->dir = tmpdir_new();
    ok(store_open(f->dir, STORE_CREATE, &f->s, e));
    ok(machine_create(f->s, "web", "{}", &disk, 1, NULL, NULL, &f->machine, e));
    store_close(f->s);
    open_all(f);
    *state = f;
    return 0;
}

static void close_all(struct fixture *f)
{
    ok(head_close(f->h, e));
    close(f->lock);
    store_close(f->s);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    check_sound(f->s);
    close_all(f);
    rmtree(f->dir);
    free(f->dir);
    free(f);
    return 0;
}

void fixture_reopen(struct fixture *f)
{
    close_all(f);
    open_all(f);
}

void disk_put(struct head *h, const char *slot, uint64_t page, uint64_t tag)
{
    struct blockdev *b = head_disk(h, slot);
    uint8_t data[PAGE];

    page_make(data, tag);
    ok(b->ops->pwrite(b, data, PAGE, page * PAGE, e));
}

uint64_t disk_tag(struct head *h, const char *slot, uint64_t page)
{
    struct blockdev *b = head_disk(h, slot);
    uint8_t data[PAGE];

    ok(b->ops->pread(b, data, PAGE, page * PAGE, e));
    return tag_of(data);
}

uint64_t image_tag(struct image *i, uint64_t page)
{
    uint8_t data[PAGE];

    ok(image_read(i, page, 1, data, e));
    return tag_of(data);
}

void disk_sync(struct head *h, const char *slot)
{
    struct blockdev *b = head_disk(h, slot);

    ok(b->ops->flush(b, e));
}

int64_t take(struct head *h, const char *name, uint64_t ram)
{
    struct snap_meta meta = {.name = name, .power = ram ? POWER_RUNNING : POWER_OFF, .vclock = 42};
    struct head_pos live;
    struct snap *p;
    int64_t id = 0;

    ok(head_seal(h, &live, e));
    ok(snap_begin(h, NULL, &live, &p, e));
    if (ram) {
        uint8_t pages[16 * PAGE];
        for (unsigned i = 0; i < 16; i++)
            page_make(pages + i * PAGE, ram + i);
        ok(snap_image(p, "ram", RAM_PAGES, false, e));
        ok(snap_put_pages(p, "ram", 0, 16, pages, e));
        ok(snap_put_state(p, "device state", 12, e));
    }
    ok(snap_commit(p, &meta, &id, NULL, e));
    return id;
}
