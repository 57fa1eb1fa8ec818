/* Templates: sparse files of a snapshot's uncompressed RAM, templates/ID in the store, which all machines on that
 * snapshot map read-only. A cache: not part of what the store keeps, never synced, of no use after the host's next
 * boot, and free to be deleted at any time.
 *
 * 1. A page's bytes are complete in the file before its bit is set, and never change after. They are verified as they
 * are put there, not again as they are read: within one boot, the file is as good as memory.
 * 2. A file is taken for a snapshot's only where store, snapshot, time, map and the host's boot are those in its
 * header.
 * 3. A file has its name only once its header is whole.
 * 4. Templates take no room that the store will want: none grows into the last part of the file system. */
#ifndef VT_SNAPSHOT_TEMPLATE_H
#define VT_SNAPSHOT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"

struct store;
struct template;

struct template_of {
    int64_t snapshot, taken_at;
    uint64_t root, pages;
};

/* Opens the snapshot's template, or makes it (*ret_made). VT_VERSION: there are none on this file system (tmpfs). */
int template_open(struct store *s, const struct template_of *of, struct template **ret, bool *ret_made, struct err *e);
void template_close(struct template *t); /* NULL is fine */
int template_fd(const struct template *t, uint64_t *ret_at);
/* Is the page there? Any thread. */
bool template_has(const struct template *t, uint64_t page);
/* Puts n pages from page on and marks them. Whoever was faster put the same bytes. Any thread.
 * VT_IO: no room. */
int template_put(struct template *t, uint64_t page, uint32_t n, const void *data, struct err *e);
/* Removes templates of snapshots that are gone, then the longest unused, until they take what they may. */
void template_evict(struct store *s);
/* The snapshot is gone: its template goes, and what lies beside it. */
void template_drop(struct store *s, int64_t snapshot);
/* Name, in the store, of the order in which its pages were asked for (touch.h). */
void template_order_name(int64_t snapshot, char *ret, size_t size);

#endif
