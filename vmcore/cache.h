/* Code memory and blocks: lookup, chains, invalidation. Code memory is one memfd mapped twice, for writing and for
 * execution; hot code fills it from the start, cold code (misses, twins, exits) from the middle.
 *
 * Invariants:
 *  1. A block is keyed by backing page, offset, mode and, where an instruction crosses into a second page, that page.
 *  2. A dead block's memory stays until the whole cache is flushed, which happens outside of translated code only.
 *  3. A direct jump is linked only to a live block of the same mode. A block that crosses pages checks its second page
 *     itself, at its entry. */
#ifndef VT_CACHE_H
#define VT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/buf.h"
#include "src/base/err.h"
#include "vmcore/cpu.h"

#define CACHE_HASH_BITS 20
#define CACHE_SHARED    1024
#define PLAN_WAY        41 /* bytes of a way: four registers and a jump */
#define SHARED_LEAVE    (1ull << 60)
#define SHARED_STACK    (2ull << 60)
#define SHARED_JUMP     (3ull << 60)

struct link {             /* a direct exit that can be linked */
    struct link *next_in; /* list of links into the same block */
    struct block *to;
    uint32_t jump;  /* code offset of the rel32 */
    uint32_t cold;  /* where it jumps while not linked */
    uint32_t check; /* code offset of the imm32 that holds the backing page + 1 (K_XPAGE), 0 for K_CHAIN */
    uint32_t way;   /* 64-bit code: PLAN_WAY bytes, which lead to a block of another plan */
    struct block *from;
};

struct fault_entry { /* a place where the host CPU may fault on the guest's behalf */
    uint32_t host;   /* code offset of the host instruction */
    uint16_t off;    /* guest instruction in its page */
    uint8_t len, live;
    uint8_t loc; /* where the live flags are: 0 in RFLAGS, 1 in r12 */
    uint8_t fix; /* FIX_: borrowed registers */
    uint8_t size, rw;
};
enum { FIX_NONE, FIX_RDI };

struct look { /* bytes of the page, outside of the block, on which its translation rests all the same */
    uint16_t off, len;
};

enum block_jump { JUMP_NONE, JUMP_ALWAYS, JUMP_MAYBE };

struct block {
    struct block *hash_next, *page_next, *page2_next;
    uint32_t bpn, bpn2; /* MEM_NONE: does not cross */
    uint16_t off, glen, ninsn;
    uint8_t dead, live_in;
    uint8_t shares; /* routines that others jump to are among its cold code */
    uint8_t jump;   /* enum block_jump: what the last instruction is to single steps on branches */
    uint32_t mode;
    uint32_t hot, hot_len, cold, cold_len; /* code offsets */
    uint32_t entry_host;                   /* flags in RFLAGS */
    uint32_t entry_saved;                  /* flags in r12 */
    uint32_t entry_spilled;                /* flags in RFLAGS, the plan's registers spilled; 0 in 32-bit code */
    uint32_t thunk_host, thunk_saved, thunk_spilled;
    uint16_t plan;
    struct link *in;
    struct link *links;
    struct fault_entry *faults;
    struct look *look;
    uint16_t nlinks, nfaults, nlook;
};

struct cache {
    uint8_t *w, *x; /* the two mappings */
    size_t size, hot_end, cold_end;
    size_t hot, cold; /* next free offsets */
    size_t base_hot, base_cold;
    int fd;
    struct cpu *cpu;
    uint8_t *arena; /* blocks, links, fault maps */
    size_t arena_used, arena_size;
    struct block **order; /* by hot offset, for lookup by host address */
    uint32_t nblocks, max_blocks;
    struct block **hash;
    struct {
        uint64_t key;
        uint32_t at;
    } shared[CACHE_SHARED]; /* routines that blocks have in common, by what they depend on */
    uint32_t nshared;       /* how often one was made */
    bool flush_wanted;
    void *tb; /* block.c's workspace */
};

int cache_new(struct cpu *cpu, size_t size, struct cache **ret, struct err *e);
void cache_free(struct cache *c);
/* Does a translation rest on any of these bytes of a page? */
bool cache_overlaps(const struct cache *c, uint32_t bpn, uint32_t off, uint32_t len);
/* How many bytes from each one of the page on none does, up to 255. */
void cache_room(const struct cache *c, uint32_t bpn, uint8_t room[4096]);
void cache_flush(struct cache *c); /* outside of translated code only */

struct block *cache_find(struct cache *c, uint32_t bpn, uint32_t off, uint32_t mode, uint32_t bpn2_lin);
struct block *cache_by_host(struct cache *c, const void *host);
void cache_add(struct cache *c, struct block *b);
void cache_link(struct cache *c, struct link *l, struct block *to, bool saved);
void cache_kill(struct cache *c, struct block *b);
/* Invalidates blocks that overlap bytes [off, off+len) of a backing page. */
void cache_write(struct cache *c, uint32_t bpn, uint32_t off, uint32_t len);
/* Would this write change code of the block that holds the site, other than by its last instruction? */
bool cache_hits_own_block(struct cache *c, const struct site *s, uint64_t pa0, unsigned n0, uint64_t pa1, unsigned n1);
void *cache_alloc(struct cache *c, size_t n);               /* NULL: full */
uint32_t cache_shared(const struct cache *c, uint64_t key); /* code offset, 0: not made */
void cache_share(struct cache *c, uint64_t key, uint32_t at);
void cache_unshare(struct cache *c, uint32_t from); /* what was made from this code offset on is gone */

/* cache_warm.c: appends what is translated, but for blocks of pages that were written since the restore (they are
 * dropped here, too). The other way: into an empty cache; false: made by another program, or for another machine. */
int cache_save(struct cache *c, struct buf *out, struct err *e);
bool cache_load(struct cache *c, const void *data, size_t len);

/* A link's place, for its site: what the cache's memory of blocks is counted in. */
static inline uint32_t cache_link_at(const struct cache *c, const struct link *l)
{
    return (uint32_t)(((const uint8_t *)l - c->arena) / 8);
}

static inline struct link *cache_link_of(const struct cache *c, uint32_t at)
{
    return (struct link *)(c->arena + (size_t)at * 8);
}

static inline bool cache_contains(const struct cache *c, const void *host)
{
    return (const uint8_t *)host >= c->x && (const uint8_t *)host < c->x + c->size;
}

/* block.c: translates at the CPU's eip (bpn, off known). NULL: an exception was raised, or the cache is full
 * (flush_wanted). Leaves general registers: call through cpu_translate. */
struct block *block_translate(struct cpu *cpu, uint32_t bpn, uint32_t off);

#endif
