/* Running vmtest-archive from the command line's side; needs no libarchive. */
#ifndef VT_ARCHIVE_SPAWN_H
#define VT_ARCHIVE_SPAWN_H

#include <stdint.h>
#include "src/base/err.h"

struct archive_result {
    int64_t machine; /* of an import */
    uint64_t snapshots, pages, bytes;
};

/* Each runs `vmtest-archive` to its end; file may be "-". lock_fd is handed on, so that the machine stays locked should
 * this process be killed. Errors are those of the other process. */
int archive_export(const char *store, int64_t machine, int lock_fd, const char *file, struct archive_result *ret,
                   struct err *e);
/* name: NULL, as it was. */
int archive_import(const char *store, const char *name, const char *file, struct archive_result *ret, struct err *e);

#endif
