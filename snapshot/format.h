/* What stands in files and in map nodes; vmtest-store(5) describes the same for others. All numbers are little-endian,
 * and are put and got by these functions only: no struct is ever written. */
#ifndef VT_SNAPSHOT_FORMAT_H
#define VT_SNAPSHOT_FORMAT_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "src/base/util.h"

#define STORE_SCHEMA 2 /* user_version */
#define STORE_FORMAT 1 /* of packs and logs */

/* ---- map entries ---- */

enum entry_kind {
    ENTRY_HOLE = 0,  /* falls through to the raw base file; zero where there is none */
    ENTRY_ZERO = 1,  /* all zero; in an inner node: the whole subtree */
    ENTRY_FRAME = 2, /* leaf: page `page` of frame `num` */
    ENTRY_NODE = 3,  /* inner node and root: node `num` */
    ENTRY_NEW = 4,   /* never stored: page `page` of the frame with index `num` of the pack being written */
};

#define MAP_FANOUT      512u
#define MAP_BITS        9
#define ENTRY_NUM_MAX   ((1ull << 40) - 1)
#define ENTRY_ZERO_WORD ((uint64_t)ENTRY_ZERO << 60)

/* kind 63..60 | store 59..52 | number 51..12 | page in frame 11..0 */
static inline uint64_t entry_make(enum entry_kind kind, uint64_t num, unsigned page)
{
    return (uint64_t)kind << 60 | num << 12 | page;
}
static inline enum entry_kind entry_kind(uint64_t e)
{
    return (enum entry_kind)(e >> 60);
}
static inline unsigned entry_store(uint64_t e)
{
    return e >> 52 & 0xff;
}
static inline uint64_t entry_num(uint64_t e)
{
    return e >> 12 & ENTRY_NUM_MAX;
}
/* Number and store as one: what nodes are asked for by. */
static inline uint64_t entry_ref(uint64_t e)
{
    return e >> 12 & 0xffffffffffffull;
}
#define REF_STORE(ref) ((unsigned)((ref) >> 40))
#define REF_NUM(ref)   ((ref)&ENTRY_NUM_MAX)
static inline unsigned entry_page(uint64_t e)
{
    return e & 0xfff;
}

/* ---- frames: header, page hashes, payload ---- */

#define FRAME_MAGIC     0x31465456u /* "VTF1" */
#define FRAME_HEADER    24
#define FRAME_PAGES     16   /* of an image */
#define FRAME_PAGES_MAX 4096 /* of a blob */
#define FRAME_ALIGN     16
enum frame_codec { FRAME_RAW = 0, FRAME_ZSTD = 1 };

/* ---- packs: header, frames, trailer, footer ---- */

#define PACK_MAGIC       0x314b434150545600ull /* "\0VTPACK1" */
#define PACK_FORMAT      1u
#define PACK_HEADER      64
#define PACK_TRAILER_REC 24 /* then 8 bytes a page */
#define PACK_FOOTER      56
#define PACK_FOOT_MAGIC  0x31444e4550545600ull /* "\0VTPEND1" */

/* ---- head logs: header, batches {header, entries, padding, pages} ---- */

#define LOG_MAGIC         0x31474f4c48545600ull /* "\0VTHLOG1" */
#define LOG_FORMAT        1u
#define LOG_HEADER        64
#define BATCH_MAGIC       0x31425456u /* "VTB1" */
#define BATCH_HEADER      64
#define BATCH_ENTRY       24
#define BATCH_ALIGN       64
#define BATCH_PAGES_MAX   256 /* data pages */
#define BATCH_ENTRIES_MAX 4096
enum batch_kind { BATCH_DATA = 0, BATCH_ZERO = 1, BATCH_DISCARD = 2 };

/* ---- the mark: magic, number of the last durable commit, UUID of the store as text, zeros, checksum ---- */

#define MARK_MAGIC 0x314b52414d545600ull /* "\0VTMARK1" */
#define MARK_SIZE  64

/* ---- numbers ---- */

static inline void put16(uint8_t *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, 2);
}
static inline void put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, 4);
}
static inline void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, 8);
}
static inline uint16_t get16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return le16toh(v);
}
static inline uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return le32toh(v);
}
static inline uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return le64toh(v);
}

/* Is this page all zero? p is 8-byte aligned. */
static inline bool page_is_zero(const void *p)
{
    const uint64_t *w = p;

    for (unsigned i = 0; i < VT_PAGE_SIZE / 8; i += 8)
        if (w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7])
            return false;
    return true;
}

#endif
