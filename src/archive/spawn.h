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
 * this process be killed. at: the snapshot that the machine is to stand on in the file, instead of its lock, which is
 * -1; 0: as it is. Errors are those of the other process. */
int archive_export(const char *store, int64_t machine, int lock_fd, int64_t at, const char *file,
                   struct archive_result *ret, struct err *e);
/* name: NULL, as it was. */
int archive_import(const char *store, const char *name, const char *file, struct archive_result *ret, struct err *e);

#endif
