#include "snapshot/frame.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>
#include "snapshot/format.h"

static_assert(FRAME_HEADER % 8 == 0, "page hashes are aligned");

enum { F_MAGIC = 0, F_CODEC = 4, F_PAGES = 6, F_RAW_LEN = 8, F_PAYLOAD = 12, F_CHECKSUM = 16 };

uint64_t page_hash(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

static uint32_t pages_of(uint32_t raw_len)
{
    return (raw_len + VT_PAGE_SIZE - 1) / VT_PAGE_SIZE;
}

size_t frame_bound(uint32_t raw_len)
{
    return FRAME_HEADER + 8 * (size_t)pages_of(raw_len) + ZSTD_compressBound(raw_len);
}

size_t frame_encode(ZSTD_CCtx *z, const void *raw, uint32_t raw_len, const uint64_t *hashes, uint8_t *out)
{
    uint32_t pages = pages_of(raw_len);
    uint8_t *payload = out + FRAME_HEADER + 8 * (size_t)pages;
    size_t n = ZSTD_compressCCtx(z, payload, ZSTD_compressBound(raw_len), raw, raw_len, 1);
    enum frame_codec codec = FRAME_ZSTD;

    if (ZSTD_isError(n) || n >= raw_len) {
        codec = FRAME_RAW;
        n = raw_len;
        memcpy(payload, raw, n);
    }
    memset(out, 0, FRAME_HEADER);
    put32(out + F_MAGIC, FRAME_MAGIC);
    out[F_CODEC] = codec;
    put16(out + F_PAGES, (uint16_t)pages);
    put32(out + F_RAW_LEN, raw_len);
    put32(out + F_PAYLOAD, (uint32_t)n);
    for (uint32_t i = 0; i < pages; i++)
        put64(out + FRAME_HEADER + 8 * (size_t)i, hashes[i]);
    n += FRAME_HEADER + 8 * (size_t)pages;
    put64(out + F_CHECKSUM, XXH3_64bits(out, n));
    return n;
}

static int corrupt(const char *file, const struct frame_ref *ref, const char *what, struct err *e)
{
    return err_set(e, VT_CORRUPT, "%s: offset %llu: %s", file, (unsigned long long)ref->off, what);
}

int frame_decode(uint8_t *stored, const struct frame_ref *ref, void *raw, const char *file, struct err *e)
{
    size_t hashes = 8 * (size_t)ref->pages;
    const uint8_t *payload = stored + FRAME_HEADER + hashes;
    uint64_t sum;
    uint32_t n;

    if (ref->len < FRAME_HEADER + hashes || get32(stored + F_MAGIC) != FRAME_MAGIC)
        return corrupt(file, ref, "no frame here", e);
    sum = get64(stored + F_CHECKSUM);
    put64(stored + F_CHECKSUM, 0);
    if (XXH3_64bits(stored, ref->len) != sum)
        return corrupt(file, ref, "frame does not match its checksum", e);
    n = get32(stored + F_PAYLOAD);
    if (get16(stored + F_PAGES) != ref->pages || get32(stored + F_RAW_LEN) != ref->raw_len ||
        pages_of(ref->raw_len) != ref->pages || n != ref->len - FRAME_HEADER - hashes)
        return corrupt(file, ref, "frame is not the one that the database means", e);
    if (stored[F_CODEC] == FRAME_RAW && n == ref->raw_len)
        memcpy(raw, payload, n);
    else if (stored[F_CODEC] != FRAME_ZSTD || ZSTD_decompress(raw, ref->raw_len, payload, n) != ref->raw_len)
        return corrupt(file, ref, "frame cannot be unpacked", e);
    for (uint32_t i = 0; i < ref->pages; i++) {
        size_t at = (size_t)i * VT_PAGE_SIZE;
        if (page_hash((uint8_t *)raw + at, MIN(VT_PAGE_SIZE, ref->raw_len - at)) !=
            get64(stored + FRAME_HEADER + 8 * (size_t)i))
            return corrupt(file, ref, "page does not match its hash", e);
    }
    return 0;
}
