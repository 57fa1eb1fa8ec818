/* What the store's tests share: a store in a folder of its own, a machine in it, pages with known bytes, and failing
 * loudly with the store's own message. */
#ifndef TEST_STORE_FIXTURE_H
#define TEST_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "src/base/util.h"
#include "snapshot/snapshot.h"

#define PAGE VT_PAGE_SIZE

/* How many times fewer rounds are made under the sanitizers, which look at memory and not at what survives. */
#if defined(__SANITIZE_ADDRESS__)
#define SLOW 4
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLOW 4
#endif
#endif
#ifndef SLOW
#define SLOW 1
#endif

/* Fails the test with the message; `e` in the call is a fresh struct err. */
#define ok(call)                                           \
    do {                                                   \
        struct err ok_e = {0}, *e = &ok_e;                 \
        int ok_r = (call);                                 \
        if (ok_r)                                          \
            fail_msg("%s: %d: %s", #call, ok_r, ok_e.msg); \
        (void)e;                                           \
    } while (0)
/* The call must fail so, with these words in its message. */
#define fails(code, words, call)                                                    \
    do {                                                                            \
        struct err ok_e = {0}, *e = &ok_e;                                          \
        int ok_r = (call);                                                          \
        if (ok_r != (code) || !strstr(ok_e.msg, words))                             \
            fail_msg("%s: %d (wanted %d): %s", #call, ok_r, (int)(code), ok_e.msg); \
    } while (0)

/* A pseudo-random stream; the same seed gives the same numbers anywhere. */
struct rng {
    uint64_t x;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);

/* A folder for one test, under $TMPDIR; removed with all in it by rmtree. */
char *tmpdir_new(void);
void rmtree(const char *dir);
/* A page whose bytes follow from tag; tag 0 is all zero. Half of it packs well. */
void page_make(uint8_t page[PAGE], uint64_t tag);
/* Fails unless the store is sound. */
void check_sound(struct store *s);

struct fixture {
    char *dir;
    struct store *s;
    int64_t machine;
    int lock;
    struct head *h;
};
#define DISK_PAGES 4096u /* of the fixture's disk0: several leaves */
#define RAM_PAGES  2048u
/* cmocka setup: a store, the machine "web" with disk0, its head open. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* Closes all and opens it again, as another process would. */
void fixture_reopen(struct fixture *f);

void disk_put(struct head *h, const char *slot, uint64_t page, uint64_t tag);
uint64_t disk_tag(struct head *h, const char *slot, uint64_t page); /* reads, and says which tag it is */
uint64_t image_tag(struct image *i, uint64_t page);
void disk_sync(struct head *h, const char *slot);
/* A snapshot of the disks as they are, and of RAM where ram is a tag (pages 0 to 15 get ram + page). */
int64_t take(struct head *h, const char *name, uint64_t ram);

#endif
