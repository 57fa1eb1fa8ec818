/* Single files out of a file system: ls, cat, get. */
#ifndef VT_DIFF_FILES_H
#define VT_DIFF_FILES_H

#include <stdio.h>

#include "src/base/buf.h"
#include "src/diff/extfs.h"

/* Lists a directory's entries, or the one file that path names, like `ls -l`; json: one object a line. */
int files_ls(struct extfs *fs, const char *path, bool json, FILE *out, struct err *e);
/* Writes the content of a regular file. */
int files_cat(struct extfs *fs, const char *path, FILE *out, struct err *e);
/* Copies a file, or a directory with all below it, to the host path `to`: into it where it is a directory, else under
 * that name. Contents, permissions (without set-id bits) and mtimes are kept, owners are not. Devices, FIFOs and
 * sockets are left out, with a line in warnings. */
int files_get(struct extfs *fs, const char *path, const char *to, struct strlist *warnings, struct err *e);

#endif
