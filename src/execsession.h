/* One command by the helper in the guest: its streams, signals, terminal, end and time-out. */
#ifndef VT_EXECSESSION_H
#define VT_EXECSESSION_H

#include "src/base/err.h"
#include "src/exec.h"
#include "src/execport.h"

/* As exec_streams; the port is connected. */
int execsession_run(struct execport *p, const struct exec_spec *x, int in, int out, int err, int *ret_status,
                    struct err *e);

#endif
