/* Limits for a process that parses hostile file systems. */
#ifndef VT_DIFF_SANDBOX_H
#define VT_DIFF_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include "src/base/err.h"

struct sandbox_limits {
    uint64_t memory;  /* bytes of address space that may be used; 0: no limit */
    unsigned seconds; /* of time; the process then ends with 124; 0: no limit */
    bool open_files;  /* may still open files to read (a store's packs) */
    bool make_files;  /* may create files and directories as well */
};

/* Applies the limits to this process, for good. Without libseccomp the system-call filter is left out; the rest holds.
 */
int sandbox_enter(const struct sandbox_limits *l, struct err *e);
/* Was the program built with the system-call filter? */
bool sandbox_has_filter(void);

#endif
