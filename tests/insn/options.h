/* The test program's command line. */
#ifndef INSN_OPTIONS_H
#define INSN_OPTIONS_H

#include "mode.h"

struct options {
    uint64_t seed, cases, first, count;
    bool exhaustive, one, native_only, verbose, pointers;
    const char *runner, *only, *model;
    const struct mode *mode;
};

/* 0, or the exit status after a message: a bad option. */
int parse_options(int argc, char **argv, struct options *o);

#endif
