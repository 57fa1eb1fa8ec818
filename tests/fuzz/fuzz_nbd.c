/* Hostile bytes on an NBD connection, in pieces: what is kept of them and what is answered stay bounded, and each reply
 * that is begun is whole. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "src/base/err.h"
#include "src/base/util.h"
#include "src/nbd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define SIZE (3u << 20) /* less than one request may ask for */

static int read_some(void *opaque, void *dst, uint32_t len, uint64_t off, struct err *e)
{
    vt_assert(off <= SIZE && len <= SIZE - off && len <= NBD_READ_MAX);
    if (off == 4096)
        return err_set(e, VT_IO, "a page that cannot be read");
    memset(dst, 'x', len);
    return 0;
}

static int extent(void *opaque, uint64_t off, uint64_t max, uint64_t *ret_len, bool *ret_zero, struct err *e)
{
    vt_assert(off < SIZE && max && max <= SIZE - off);
    *ret_len = MIN(max, 512 - off % 512);
    *ret_zero = off / 512 % 2;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct nbd_export x = {"disk0", SIZE, read_some, extent, NULL};
    size_t step = len % 2 ? 7 : NBD_IN_MAX / 2;
    struct nbd_conn c;

    nbd_conn_init(&c, &x);
    vt_assert(c.out.len == 18);
    buf_clear(&c.out);
    for (size_t at = 0; at < len && !c.closed; at += step) {
        buf_add(&c.in, data + at, MIN(step, len - at));
        vt_assert(c.in.len < NBD_IN_MAX);
        while (nbd_conn_step(&c)) {
            vt_assert(c.out.len <= SIZE + 64 || c.out.len <= NBD_IN_MAX);
            buf_clear(&c.out);
        }
        vt_assert(c.closed || c.in.len < NBD_IN_MAX / 2); /* else nothing more would be received, for ever */
    }
    nbd_conn_release(&c);
    return 0;
}
