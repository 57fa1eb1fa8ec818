#include "src/ova.h"

#include <inttypes.h>
#include <string.h>
#include "src/base/io.h"

#define BLOCK 512u

bool ova_is(const uint8_t *head, size_t got)
{
    return got >= BLOCK && !memcmp(head + 257, "ustar", 5);
}

/* A size: octal digits, or a large one in base 256, marked by the first bit. */
static bool get_size(const uint8_t *p, uint64_t *ret)
{
    uint64_t v = 0;

    if (p[0] & 0x80) {
        for (unsigned i = 1; i < 12; i++) {
            if (v >> 52)
                return false;
            v = v << 8 | p[i];
        }
    } else {
        for (unsigned i = 0; i < 12 && p[i] && p[i] != ' '; i++) {
            if (p[i] < '0' || p[i] > '7')
                return false;
            v = v << 3 | (uint64_t)(p[i] - '0');
        }
    }
    *ret = v;
    return true;
}

static bool is_disk(const uint8_t *header)
{
    size_t n = strnlen((const char *)header, 100);

    return (header[156] == '0' || !header[156]) && n > 5 && !memcmp(header + n - 5, ".vmdk", 5);
}

int ova_find_disk(int fd, uint64_t bytes, const char *path, uint64_t *ret_off, uint64_t *ret_len, struct err *e)
{
    uint8_t h[BLOCK];
    unsigned disks = 0;
    uint64_t size;

    for (uint64_t at = 0; at + BLOCK <= bytes; at += BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK) {
        int r = io_pread_full(fd, h, sizeof h, at, NULL, path, e);
        if (r)
            return r;
        if (!h[0]) /* the end */
            break;
        if (!ova_is(h, sizeof h) || !get_size(h + 124, &size))
            return err_set(e, VT_CORRUPT, "%s: offset %" PRIu64 ": no header of a member", path, at);
        if (size > bytes - at - BLOCK)
            return err_set(e, VT_CORRUPT, "%s: cut short: \"%.80s\" ends past the file's end", path, (const char *)h);
        if (is_disk(h)) {
            *ret_off = at + BLOCK;
            *ret_len = size;
            disks++;
        }
    }
    if (disks == 1)
        return 0;
    return disks
               ? err_set(e, VT_USAGE, "%s: holds %u disks; unpack it with tar, and give each with --disk", path, disks)
               : err_set(e, VT_USAGE, "%s: is an archive that holds no disk (.vmdk)", path);
}
