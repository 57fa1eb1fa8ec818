/* The private networks of a store. Each is a name, kept as an empty directory STORE/nets/NAME; the machines on it meet
 * in a directory beside their sockets (client.h), STORE/net-NAME, as src/net/switch.h describes. No daemon. */
#ifndef VT_NETS_H
#define VT_NETS_H

#include <stdbool.h>
#include "src/base/buf.h"
#include "src/base/err.h"

#define NET_NAME_MAX 63

/* [A-Za-z0-9][A-Za-z0-9._+-]*, as for machines. */
bool nets_name_valid(const char *name);
/* VT_EXISTS. */
int nets_create(const char *store_dir, const char *name, struct err *e);
/* VT_NOENT; VT_BUSY: a machine that runs is on it. */
int nets_rm(const char *store_dir, const char *store_uuid, const char *name, struct err *e);
bool nets_exists(const char *store_dir, const char *name);
/* Their names, in no order. */
int nets_list(const char *store_dir, struct strlist *ret, struct err *e);
/* Opens the directory where its machines meet, which is made where it is not there. *ret_fd is the caller's. */
int nets_open(const char *store_uuid, const char *name, int *ret_fd, struct err *e);

#endif
