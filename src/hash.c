#include "src/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "snapshot/snapshot.h"
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"

#define RUN_PAGES 16
#define HEX_SIZE  (2 * sizeof(XXH128_canonical_t) + 1)

/* Set at each revert to what the host's time is then: no two have the same. */
#define HOST_TIME "clock.wall_offset "

struct hashes {
    json_t *found;
    XXH3_state_t *all, *one; /* of the lines; of the part that is being read */
    uint8_t run[RUN_PAGES * VT_PAGE_SIZE];
};

static const uint8_t zeros[RUN_PAGES * VT_PAGE_SIZE];

int hashes_new(struct hashes **ret, struct err *e)
{
    struct hashes *h = calloc(1, sizeof *h);

    if (h) {
        h->found = json_object();
        h->all = XXH3_createState();
        h->one = XXH3_createState();
    }
    if (!h || !h->found || !h->all || !h->one) {
        hashes_free(h);
        return err_set(e, VT_FAIL, "out of memory");
    }
    XXH3_128bits_reset(h->all);
    XXH3_128bits_reset(h->one);
    *ret = h;
    return 0;
}

void hashes_free(struct hashes *h)
{
    if (!h)
        return;
    json_decref(h->found);
    XXH3_freeState(h->all);
    XXH3_freeState(h->one);
    free(h);
}

void cleanup_hashes(struct hashes **h)
{
    hashes_free(*h);
}

static int put_digest(struct hashes *h, const char *name, const XXH3_state_t *from, char hex[HEX_SIZE], struct err *e)
{
    XXH128_canonical_t digest;

    XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(from));
    for (size_t i = 0; i < sizeof digest.digest; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest.digest[i]);
    if (json_object_set_new(h->found, name, json_string(hex)) < 0)
        return err_set(e, VT_FAIL, "out of memory");
    return 0;
}

/* The part is read. */
static int finish(struct hashes *h, const char *name, struct err *e)
{
    char hex[HEX_SIZE];
    int rc = put_digest(h, name, h->one, hex, e);

    XXH3_128bits_reset(h->one);
    XXH3_128bits_update(h->all, name, strlen(name));
    XXH3_128bits_update(h->all, " ", 1);
    XXH3_128bits_update(h->all, hex, strlen(hex));
    XXH3_128bits_update(h->all, "\n", 1);
    return rc;
}

static void put_zeros(struct hashes *h, uint64_t n)
{
    for (size_t some; n > 0; n -= some) {
        some = (size_t)MIN(n, (uint64_t)sizeof zeros);
        XXH3_128bits_update(h->one, zeros, some);
    }
}

int hashes_add_disk(struct hashes *h, const char *slot, struct image *i, struct err *e)
{
    uint64_t bytes = image_bytes(i), pages = image_pages(i), at = 0;
    int rc = 0;

    while (rc == 0 && at < bytes) {
        uint64_t page = at / VT_PAGE_SIZE, next = page;
        uint32_t n;
        bool found = false;

        rc = image_next_data(i, &next, &found, e);
        if (rc == 0 && (!found || next > page)) {
            uint64_t to = found ? MIN(next * VT_PAGE_SIZE, bytes) : bytes;

            put_zeros(h, to - at);
            at = to;
        } else if (rc == 0) {
            size_t len;

            n = (uint32_t)MIN(pages - page, (uint64_t)RUN_PAGES);
            len = (size_t)MIN((uint64_t)n * VT_PAGE_SIZE, bytes - at);
            rc = image_read(i, page, n, h->run, e);
            XXH3_128bits_update(h->one, h->run, len);
            at += len;
        }
    }
    return rc < 0 ? rc : finish(h, slot, e);
}

int hashes_add_memory(struct hashes *h, const char *name, struct pagetrack *t, struct err *e)
{
    uint64_t epoch = t->capture(t), at = 0, page = 0;
    int rc = 0;

    for (; rc == 0 && t->next_changed(t, 0, epoch, &page); at = ++page) {
        put_zeros(h, (page - at) * VT_PAGE_SIZE);
        rc = t->copy(t, epoch, page, h->run, e);
        XXH3_128bits_update(h->one, h->run, VT_PAGE_SIZE);
    }
    t->done(t, epoch);
    if (rc < 0)
        return rc;
    put_zeros(h, (t->pages - at) * VT_PAGE_SIZE);
    return finish(h, name, e);
}

int hashes_add_state(struct hashes *h, const char *dump, struct err *e)
{
    while (*dump) {
        size_t len = strcspn(dump, "\n");

        len += dump[len] == '\n';
        if (strncmp(dump, HOST_TIME, strlen(HOST_TIME)) != 0)
            XXH3_128bits_update(h->one, dump, len);
        dump += len;
    }
    return finish(h, "state", e);
}

int hashes_end(struct hashes *h, json_t **ret, struct err *e)
{
    char hex[HEX_SIZE];
    int rc = put_digest(h, "all", h->all, hex, e);

    if (rc == 0)
        *ret = json_incref(h->found);
    return rc;
}
