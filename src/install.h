/* Installs a package with the guest's own installer. */
#ifndef VT_INSTALL_H
#define VT_INSTALL_H

#include "src/base/err.h"
#include "src/exec.h"

/* Is the host file a package that can be installed? VT_NOENT, VT_CORRUPT (not what its name says), VT_USAGE (a kind
 * that cannot). */
int install_check(const char *path, struct err *e);
/* Copies it in by way->agent, installs, removes the copy. The installer's output goes to out and err (-1: dropped), its
 * status to *ret_status. Configuration files that the user changed stay. cancel_fd as in struct exec_spec. */
int install_package(const struct exec_way *way, const char *path, int out, int err, int cancel_fd, int *ret_status,
                    struct err *e);

#endif
