/* Names and references of machines and snapshots, as text: what is well-formed, what it means, and what the user may
 * have meant. Knows no store. */
#ifndef VT_CLI_NAME_H
#define VT_CLI_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"

#define NAME_MAX_LEN 63

/* [A-Za-z0-9][A-Za-z0-9._+-]*, at most 63 characters. VT_USAGE. */
int name_valid(const char *name, struct err *e);

/* "MACHINE@SNAP~N", "MACHINE@{TIME}", "@SNAP", "SNAP", "MACHINE": a part that is not there is "". */
struct name_ref {
    char machine[NAME_MAX_LEN + 1];
    char snap[NAME_MAX_LEN + 12]; /* with its "~N", or "{TIME}" */
    int64_t when;                 /* what that means, ns since 1970; 0: it is a snapshot's name */
};
/* Without an '@', the whole word is the snapshot part when word_is_snap, else the machine part. VT_USAGE. */
int name_ref_parse(const char *text, bool word_is_snap, struct name_ref *ret, struct err *e);

/* The candidate nearest to a word, for "did you mean": at most a third of its letters changed, swapped or missing. */
struct near {
    const char *word;
    const char *best; /* NULL: none was near enough; borrowed from the candidates */
    unsigned distance;
};
void near_offer(struct near *n, const char *candidate);

#endif
