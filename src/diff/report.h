/* How differences are shown. Everything goes to out as one text; the caller writes it. */
#ifndef VT_DIFF_REPORT_H
#define VT_DIFF_REPORT_H

#include <stdio.h>

#include "src/base/buf.h"
#include "src/diff/result.h"

/* One line a change: status, path, and what changed, with tabs between; then packages (P) and units (U), unless all is
 * set. Paths with control characters, quotes or backslashes are in C quotes, as git does it. */
int report_list(const struct result *r, bool all, struct buf *out, struct err *e);
/* One line a file with the lines or bytes that came and went, and a total. */
int report_stat(const struct result *r, struct buf *out, struct err *e);
/* Contents as unified text. Writes to f as it goes, so that memory does not grow with the number of files. */
int report_patch(const struct result *r, FILE *f, struct err *e);
/* One JSON object; keys are documented in the manual page of `vmtest diff`. */
int report_json(const struct result *r, struct disk *a, struct disk *b, struct buf *out, struct err *e);

/* Shared by the forms. */
const char *report_type(const struct fsnode *n); /* "file", "dir", "symlink", "char", "block", "fifo", "socket" */
void report_path(struct buf *out, const char *prefix, const char *path);
/* The words for a set of WHAT_ bits, one at a time: *at starts at 0; NULL at the end. */
const char *report_what(unsigned what, unsigned *at);
/* The whole content of a regular file, or the target of a link, up to max bytes; *ret_whole says if it fit. */
int report_content(struct extfs *fs, const struct fsnode *n, size_t max, struct buf *ret, bool *ret_whole,
                   struct err *e);
/* The sum of a regular file; dst is "" for one that is mostly a hole of more than a gigabyte, since that takes long. */
int report_sha256(struct extfs *fs, const struct fsnode *n, char dst[65], struct err *e);

#endif
