/* Writes out an archive that a guest made. Everything in it is hostile: names that climb or are absolute are refused,
 * no symbolic link is followed, set-id bits and owners are dropped, devices are refused. */
#ifndef VT_UNTAR_H
#define VT_UNTAR_H

#include <stdint.h>
#include "src/base/err.h"

struct archive;

/* The archive holds "./name" and what is below it ("." for a whole directory). `host`, absolute: a directory gets it
 * inside; else it is the copy's own name, in a directory that exists. Adds to *files and *bytes. */
int untar(struct archive *ar, const char *name, const char *host, uint64_t *files, uint64_t *bytes, struct err *e);

#endif
