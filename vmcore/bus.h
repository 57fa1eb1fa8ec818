/* The machine's I/O ports and memory-mapped windows. One list a space, newest first, with a small direct-mapped cache
 * in front: a lookup is one compare in the common case. Maps change rarely (BAR writes); each change drops the cache.
 */
#ifndef VT_BUS_H
#define VT_BUS_H

#include "vmcore/dev/dev.h"

#define BUS_CACHE_BITS 7
#define BUS_CACHE      (1u << BUS_CACHE_BITS)
#define BUS_GRANULE    4 /* log2 of the bytes that one mmio cache entry covers */

struct bus_cache {
    uint64_t key; /* port, or physical address >> BUS_GRANULE; UINT64_MAX: empty */
    struct bus_window *w;
};
struct bus {
    struct bus_window *io, *mmio;
    struct bus_cache io_cache[BUS_CACHE], mmio_cache[BUS_CACHE];
    uint64_t generation; /* counts changes of the mmio map, for whoever caches what an address is */
};
void bus_init(struct bus *b);
/* Is any part of [pa, pa + len) claimed by a memory-mapped window? */
bool bus_mmio_claimed(struct bus *b, uint64_t pa, uint64_t len);

#endif
