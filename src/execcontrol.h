/* What goes from a user to a running command beside its streams: a stream of these, from the CLI to the monitor. */
#ifndef VT_EXECCONTROL_H
#define VT_EXECCONTROL_H

#include <stdint.h>

enum { EXEC_SIGNAL = 1, EXEC_RESIZE = 2 };
struct exec_control {
    uint8_t what, number; /* number: the signal's */
    uint16_t rows, cols;
};

#endif
