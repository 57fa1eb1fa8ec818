/* One configuration file: lines of "key = value", "[verb]" before those that are one verb's alone, "#" before what is
 * for people. Which keys there are is not known here. Format: vmtest.conf(5). */
#ifndef VT_CLI_CONFFILE_H
#define VT_CLI_CONFFILE_H

#include <stddef.h>
#include "src/base/buf.h"
#include "src/base/err.h"

struct confline {
    char *section; /* NULL: before the first section */
    char *key, *value;
    unsigned line; /* from 1 */
};
struct conffile {
    char *path;
    struct confline *lines;
    size_t n;
};

/* Reads text as the content of path. VT_USAGE names the file and the line. */
int conffile_parse(const char *path, const struct buf *text, struct conffile *ret, struct err *e);
void conffile_release(struct conffile *f);

#endif
