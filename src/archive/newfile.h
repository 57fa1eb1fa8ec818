/* A file that is there whole or not at all, and never takes the place of another. While it is being written it has no
 * name, so that whatever happens nothing is left of it; or where another program is to write it (and some write the
 * file's name into it) its own, in a folder beside its place. */
#ifndef VT_ARCHIVE_NEWFILE_H
#define VT_ARCHIVE_NEWFILE_H

#include <stdbool.h>
#include "src/base/err.h"

struct newfile {
    char *path, *folder, *tmp; /* where it is to be; where it is now, NULL: it has no name yet */
    int fd;                    /* to write */
};

/* VT_EXISTS: there is a file of this name; VT_NOENT: its folder is missing. */
int newfile_begin(const char *path, bool named, struct newfile *ret, struct err *e);
/* Makes it durable and puts it in its place. VT_EXISTS: another was there first. */
int newfile_commit(struct newfile *f, struct err *e);
/* Forgets it; removes what was not committed. Zeroed is fine. */
void newfile_release(struct newfile *f);

#endif
