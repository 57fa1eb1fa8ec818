/* Packages of a guest, from the package manager's own text database, and what differs between two of them. */
#ifndef VT_DIFF_PACKAGES_H
#define VT_DIFF_PACKAGES_H

#include <stddef.h>
#include "src/base/err.h"

struct package {
    char *name, *arch, *version;
};

struct packages { /* sorted by name, then architecture */
    size_t n, cap;
    struct package *pkg;
};

enum package_db { PACKAGES_DPKG, PACKAGES_APK };

/* Where the database of a kind lies in the guest. */
const char *packages_path(enum package_db kind);
/* Reads a database; only packages that are installed count. What is not understood is passed over. */
int packages_parse(enum package_db kind, const char *text, size_t len, struct packages *ret, struct err *e);
void packages_clear(struct packages *p);

/* Compares two Debian versions, as deb-version(7) says: below, equal to, or above 0. */
int deb_version_cmp(const char *a, const char *b);

struct package_change {
    const char *name, *arch;
    const char *status;    /* "added", "removed", "upgraded", "downgraded" */
    const char *old, *new; /* versions, NULL where there is none */
};

/* Calls fn for each difference, in order of name. A fn that returns non-zero ends it, and that is returned. */
int packages_compare(const struct packages *a, const struct packages *b,
                     int (*fn)(void *opaque, const struct package_change *c), void *opaque);

#endif
