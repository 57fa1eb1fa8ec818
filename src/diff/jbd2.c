/* See jbd2.h. All numbers in a journal are big-endian. Three passes over the log, as the kernel makes: find the last
 * complete transaction, collect the revoked blocks, put the others into the overlay.
 *
 * A block revoked in transaction t is not replayed from any transaction up to and including t. A transaction whose
 * commit block is absent or does not verify ends the log. */
#include "src/diff/jbd2.h"

#include <ext2fs/ext2fs.h>
#include <string.h>

#include "src/base/util.h"
#include "src/diff/dev.h"

#define JBD2_MAGIC 0xc03b3998u

enum { BLOCK_DESCRIPTOR = 1, BLOCK_COMMIT = 2, BLOCK_SUPER_V1 = 3, BLOCK_SUPER_V2 = 4, BLOCK_REVOKE = 5 };
enum {
    INCOMPAT_REVOKE = 1,
    INCOMPAT_64BIT = 2,
    INCOMPAT_ASYNC_COMMIT = 4,
    INCOMPAT_CSUM_V2 = 8,
    INCOMPAT_CSUM_V3 = 16,
    INCOMPAT_FAST_COMMIT = 32,
    INCOMPAT_KNOWN = 63,
};
enum { TAG_ESCAPE = 1, TAG_SAME_UUID = 2, TAG_DELETED = 4, TAG_LAST = 8 };
enum { PASS_SCAN, PASS_REVOKE, PASS_REPLAY };

struct revoked {
    uint64_t block;
    uint32_t sequence;
};

struct log {
    const struct jbd2_source *src;
    struct blockdev *overlay;
    uint32_t first, last; /* log blocks [first, last) are the ring */
    uint32_t start, sequence;
    uint32_t incompat, compat;
    uint32_t seed;         /* of the checksums */
    uint32_t end_sequence; /* the first transaction that is not complete */
    bool csum;             /* v2 or v3 */
    size_t nrevoked, caprevoked;
    struct revoked *revoked; /* sorted by block, once collected */
    struct jbd2_result res;
};

struct tag {
    uint64_t block;
    uint32_t flags;
    uint32_t checksum;
};

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int read_log_block(const struct log *l, uint32_t at, unsigned char *dst, struct err *e)
{
    uint64_t block = at < l->src->map_len ? l->src->map[at] : 0;

    if (!block)
        return err_set(e, VT_CORRUPT, "journal block %u is not mapped", at);
    return dev_read(l->src->dev, dst, l->src->block_size, block * l->src->block_size, e);
}

static uint32_t next_block(const struct log *l, uint32_t at)
{
    return at + 1 >= l->last ? l->first : at + 1;
}

/* The checksum of a block whose 4 bytes at `at` hold it, and count as zero. */
static bool block_csum_ok(const struct log *l, unsigned char *b, size_t at)
{
    uint32_t stored = be32(b + at), c;
    unsigned char keep[4];

    if (!l->csum)
        return true;
    memcpy(keep, b + at, 4);
    memset(b + at, 0, 4);
    c = ext2fs_crc32c_le(l->seed, b, l->src->block_size);
    memcpy(b + at, keep, 4);
    return c == stored;
}

static size_t tag_bytes(const struct log *l)
{
    size_t n = 12;

    if (l->incompat & INCOMPAT_CSUM_V3)
        return 16;
    if (l->incompat & INCOMPAT_CSUM_V2)
        n += 2;
    return l->incompat & INCOMPAT_64BIT ? n : n - 4;
}

/* The tag at *at in a descriptor block; moves *at behind it. False when there is no more. */
static bool next_tag(const struct log *l, const unsigned char *b, size_t *at, struct tag *t)
{
    size_t end = l->src->block_size - (l->csum ? 4 : 0), n = tag_bytes(l);
    const unsigned char *p = b + *at;

    if (*at + n > end)
        return false;
    *t = (struct tag){.block = be32(p)};
    if (l->incompat & INCOMPAT_CSUM_V3) {
        t->flags = be32(p + 4);
        t->checksum = be32(p + 12);
    } else {
        t->checksum = (uint32_t)p[4] << 8 | p[5];
        t->flags = (uint32_t)p[6] << 8 | p[7];
    }
    if (l->incompat & INCOMPAT_64BIT)
        t->block |= (uint64_t)be32(p + 8) << 32;
    *at += n;
    if (!(t->flags & TAG_SAME_UUID))
        *at += 16;
    return true;
}

static bool tag_csum_ok(const struct log *l, const struct tag *t, uint32_t sequence, const unsigned char *data)
{
    unsigned char seq[4] = {(unsigned char)(sequence >> 24), (unsigned char)(sequence >> 16),
                            (unsigned char)(sequence >> 8), (unsigned char)sequence};
    uint32_t c;

    if (!l->csum)
        return true;
    c = ext2fs_crc32c_le(l->seed, seq, 4);
    c = ext2fs_crc32c_le(c, data, l->src->block_size);
    return l->incompat & INCOMPAT_CSUM_V3 ? c == t->checksum : (c & 0xffff) == t->checksum;
}

static int revoked_cmp(const void *a, const void *b)
{
    const struct revoked *x = a, *y = b;

    return x->block < y->block ? -1 : x->block > y->block;
}

static bool is_revoked(const struct log *l, uint64_t block, uint32_t sequence)
{
    size_t lo = 0, hi = l->nrevoked;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (l->revoked[mid].block < block)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < l->nrevoked && l->revoked[lo].block == block; lo++)
        if ((int32_t)(l->revoked[lo].sequence - sequence) >= 0)
            return true;
    return false;
}

static int collect_revoked(struct log *l, unsigned char *b, uint32_t sequence, struct err *e)
{
    size_t width = l->incompat & INCOMPAT_64BIT ? 8 : 4, end = be32(b + 12);

    if (end > l->src->block_size - (l->csum ? 4 : 0) || !block_csum_ok(l, b, l->src->block_size - 4))
        return err_set(e, VT_CORRUPT, "a revoke block of the journal does not verify");
    for (size_t at = 16; at + width <= end; at += width) {
        uint64_t block = be32(b + at);

        if (width == 8)
            block = block << 32 | be32(b + at + 4);
        if (l->nrevoked == l->caprevoked) {
            size_t cap = l->caprevoked ? l->caprevoked * 2 : 256;
            struct revoked *p = realloc(l->revoked, cap * sizeof(*p));

            if (!p)
                return err_set(e, VT_FAIL, "out of memory");
            l->revoked = p;
            l->caprevoked = cap;
        }
        l->revoked[l->nrevoked++] = (struct revoked){.block = block, .sequence = sequence};
    }
    return 0;
}

static int replay_one(struct log *l, const struct tag *t, uint32_t at, uint32_t sequence, unsigned char *data,
                      struct err *e)
{
    static const unsigned char magic[4] = {0xc0, 0x3b, 0x39, 0x98};
    int r;

    if (t->flags & TAG_DELETED || is_revoked(l, t->block, sequence))
        return 0;
    r = read_log_block(l, at, data, e);
    if (r < 0)
        return r;
    if (!tag_csum_ok(l, t, sequence, data)) {
        l->res.skipped++;
        return 0;
    }
    if (t->flags & TAG_ESCAPE)
        memcpy(data, magic, 4);
    if (t->block >= l->src->fs_blocks)
        return err_set(e, VT_CORRUPT, "the journal names block %llu, past the end of the file system",
                       (unsigned long long)t->block);
    return dev_overlay_put(l->overlay, t->block, data, e);
}

/* Handles the descriptor in b that stands at *at; moves *at behind its data blocks. *used counts log blocks. */
static int descriptor(struct log *l, int pass, const unsigned char *b, uint32_t sequence, uint32_t *at, uint64_t *used,
                      unsigned char *data, struct err *e)
{
    size_t pos = 12;
    struct tag t;

    while (next_tag(l, b, &pos, &t)) {
        int r = pass == PASS_REPLAY ? replay_one(l, &t, *at, sequence, data, e) : 0;

        if (r < 0)
            return r;
        *at = next_block(l, *at);
        if (++*used > l->last)
            return pass == PASS_SCAN ? 0 : err_set(e, VT_CORRUPT, "the journal wraps onto itself");
        if (t.flags & TAG_LAST)
            break;
    }
    return 0;
}

static int walk(struct log *l, int pass, unsigned char *b, unsigned char *data, struct err *e)
{
    uint32_t at = l->start, sequence = l->sequence;
    uint64_t used = 0;

    for (;;) {
        uint32_t type;
        int r;

        if (pass != PASS_SCAN && sequence == l->end_sequence)
            return 0;
        if (used > l->last)
            break;
        r = read_log_block(l, at, b, e);
        if (r < 0)
            return r;
        if (be32(b) != JBD2_MAGIC || be32(b + 8) != sequence)
            break;
        type = be32(b + 4);
        at = next_block(l, at);
        used++;
        if (type == BLOCK_DESCRIPTOR) {
            if (!block_csum_ok(l, b, l->src->block_size - 4))
                break;
            r = descriptor(l, pass, b, sequence, &at, &used, data, e);
        } else if (type == BLOCK_COMMIT) {
            if (!block_csum_ok(l, b, 16))
                break;
            sequence++;
        } else if (type == BLOCK_REVOKE) {
            r = pass == PASS_REVOKE ? collect_revoked(l, b, sequence, e) : 0;
        } else {
            break;
        }
        if (r < 0)
            return r;
    }
    if (pass == PASS_SCAN) {
        l->end_sequence = sequence;
        return 0;
    }
    return err_set(e, VT_CORRUPT, "the journal changed while it was read");
}

/* The first block of the fast-commit area starts with a head tag that names the transaction that the commits follow. */
static int look_for_fast_commits(struct log *l, unsigned char *b, struct err *e)
{
    uint32_t tid;
    int r;

    if (!(l->incompat & INCOMPAT_FAST_COMMIT) || l->last >= l->src->map_len || !l->src->map[l->last])
        return 0;
    r = read_log_block(l, l->last, b, e);
    if (r < 0)
        return r;
    tid = (uint32_t)b[8] | (uint32_t)b[9] << 8 | (uint32_t)b[10] << 16 | (uint32_t)b[11] << 24;
    l->res.fast_commits = b[0] == 9 && b[1] == 0 && tid == l->end_sequence;
    return 0;
}

static int read_super(struct log *l, unsigned char *b, struct err *e)
{
    uint32_t type, maxlen, fc;
    int r = read_log_block(l, 0, b, e);

    if (r < 0)
        return r;
    type = be32(b + 4);
    if (be32(b) != JBD2_MAGIC || (type != BLOCK_SUPER_V1 && type != BLOCK_SUPER_V2))
        return err_set(e, VT_CORRUPT, "the journal has no superblock");
    maxlen = be32(b + 16);
    l->first = be32(b + 20);
    l->sequence = be32(b + 24);
    l->start = be32(b + 28);
    if (type == BLOCK_SUPER_V2) {
        l->compat = be32(b + 36);
        l->incompat = be32(b + 40);
    }
    if (l->incompat & ~(uint32_t)INCOMPAT_KNOWN)
        return err_set(e, VT_VERSION, "the journal has features (0x%x) that are not known",
                       l->incompat & ~(uint32_t)INCOMPAT_KNOWN);
    l->csum = l->incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3);
    if (be32(b + 12) != l->src->block_size || maxlen > l->src->map_len)
        return err_set(e, VT_CORRUPT, "the journal's superblock does not match the file system");
    l->last = maxlen;
    if (l->incompat & INCOMPAT_FAST_COMMIT) {
        fc = be32(b + 84) ? be32(b + 84) : 256;
        l->last = fc < maxlen ? maxlen - fc : 0;
    }
    if (l->first < 1 || l->first >= l->last || (l->start && (l->start < l->first || l->start >= l->last)))
        return err_set(e, VT_CORRUPT, "the journal's superblock does not make sense");
    if (l->csum) {
        uint32_t stored = be32(b + 252);

        memset(b + 252, 0, 4);
        if (ext2fs_crc32c_le(~0u, b, 1024) != stored)
            return err_set(e, VT_CORRUPT, "the journal's superblock has a wrong checksum");
        l->seed = ext2fs_crc32c_le(~0u, b + 48, 16);
    }
    return 0;
}

static void log_clear(struct log *l)
{
    free(l->revoked);
}

int jbd2_replay(const struct jbd2_source *src, struct blockdev *overlay, struct jbd2_result *ret, struct err *e)
{
    cleanup(log_clear) struct log l = {.src = src, .overlay = overlay};
    cleanup(cleanup_free) unsigned char *b = malloc(src->block_size), *data = malloc(src->block_size);
    int r;

    if (!b || !data)
        return err_set(e, VT_FAIL, "out of memory");
    r = read_super(&l, b, e);
    if (r < 0)
        return r;
    if (l.start) {
        r = walk(&l, PASS_SCAN, b, data, e);
        if (r == 0)
            r = walk(&l, PASS_REVOKE, b, data, e);
        if (r < 0)
            return r;
        if (l.nrevoked)
            qsort(l.revoked, l.nrevoked, sizeof(*l.revoked), revoked_cmp);
        r = walk(&l, PASS_REPLAY, b, data, e);
        if (r < 0)
            return r;
        l.res.transactions = l.end_sequence - l.sequence;
    } else {
        l.end_sequence = l.sequence;
    }
    r = look_for_fast_commits(&l, b, e);
    if (r < 0)
        return r;
    *ret = l.res;
    return 0;
}
