/* A file that is there whole or not at all, and never takes the place of another. While it is being written it lies in
 * a folder of its own beside its place, under its own name (some formats write their file's name into it). */
#ifndef VT_ARCHIVE_NEWFILE_H
#define VT_ARCHIVE_NEWFILE_H

#include "src/base/err.h"

struct newfile {
    char *path, *folder, *tmp; /* where it is to be; where it is now */
    int fd;                    /* of tmp, to write */
};

/* VT_EXISTS: there is a file of this name; VT_NOENT: its folder is missing. */
int newfile_begin(const char *path, struct newfile *ret, struct err *e);
/* Makes it durable and puts it in its place. VT_EXISTS: another was there first. */
int newfile_commit(struct newfile *f, struct err *e);
/* Forgets it; removes what was not committed. Zeroed is fine. */
void newfile_release(struct newfile *f);

#endif
