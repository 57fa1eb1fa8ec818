/* disk_export STORE SNAPSHOT_ID SLOT quiesced|live OUT: writes a disk of a snapshot as a sparse raw file, for tests
 * that look at it with other people's tools. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "snapshot/snapshot.h"
#include "src/base/units.h"
#include "src/base/util.h"

static bool all_zero(const char *p, size_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static int copy_out(struct image *in, int out, struct err *e)
{
    static char data[256 * 4096];
    uint64_t page = 0, pages = image_pages(in), bytes = image_bytes(in);
    bool found;
    int r;

    if (ftruncate(out, (off_t)bytes) != 0)
        return err_set(e, err_from_errno(errno), "output: %m");
    for (;;) {
        r = image_next_data(in, &page, &found, e);
        if (r || !found)
            return r;
        uint32_t n = (uint32_t)MIN(pages - page, sizeof data / 4096);
        r = image_read(in, page, n, data, e);
        if (r)
            return r;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t off = (page + i) * 4096;
            size_t len = (size_t)MIN(bytes - off, 4096u);
            if (!all_zero(data + (size_t)i * 4096, len) &&
                pwrite(out, data + (size_t)i * 4096, len, (off_t)off) != (ssize_t)len)
                return err_set(e, err_from_errno(errno), "output: %m");
        }
        page += n;
        if (page >= pages)
            return 0;
    }
}

int main(int argc, char **argv)
{
    struct err e = {0};
    struct store *store = NULL;
    struct image *image = NULL;
    uint64_t id = 0;
    int out = -1, r;

    if (argc != 6 || (strcmp(argv[4], "quiesced") != 0 && strcmp(argv[4], "live") != 0)) {
        fprintf(stderr, "usage: disk_export STORE SNAPSHOT_ID SLOT quiesced|live OUT\n");
        return 64;
    }
    r = number_parse(argv[2], 1, INT64_MAX, &id, &e);
    if (!r)
        r = store_open(argv[1], 0, &store, &e);
    if (!r)
        r = image_open(store, (int64_t)id, argv[3], argv[4][0] == 'q' ? ROOT_QUIESCED : ROOT_LIVE, &image, &e);
    if (!r) {
        out = open(argv[5], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        r = out < 0 ? err_set(&e, err_from_errno(errno), "%s: %m", argv[5]) : copy_out(image, out, &e);
    }
    if (r)
        fprintf(stderr, "disk_export: %s\n", e.msg);
    if (out >= 0 && close(out) != 0)
        r = VT_IO;
    image_close(image);
    store_close(store);
    return -r;
}
