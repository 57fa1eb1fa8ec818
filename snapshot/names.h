/* Names of machines and snapshots: which are allowed, and which one a word means. */
#ifndef VT_SNAPSHOT_NAMES_H
#define VT_SNAPSHOT_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"

struct named {
    int64_t id, parent;
    char *name;
};
struct names {
    struct named *v;
    size_t n;
};
void names_release(struct names *l);
int names_add(struct names *l, int64_t id, const char *name, int64_t parent, struct err *e);
const struct named *names_by_id(const struct names *l, int64_t id);

/* VT_USAGE unless name may be a machine's or snapshot's (`what`). */
int names_check(const char *what, const char *name, struct err *e);
/* The entry that word (len bytes) means: the whole name, or where !exact a prefix that only one has. Messages begin
 * with prefix and word ("web@cle"), and speak of `what`. */
int names_resolve(const struct names *l, const char *word, size_t len, bool exact, const char *prefix, const char *what,
                  const struct named **ret, struct err *e);

#endif
