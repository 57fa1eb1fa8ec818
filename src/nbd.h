/* A read-only NBD server: the protocol as one client sees it, and the sockets around it. Newstyle fixed handshake,
 * structured replies, base:allocation; from the protocol's own document (NetworkBlockDevice/nbd, doc/proto.md). Nothing
 * that a client sends makes it take more memory than NBD_IN_MAX and one reply. */
#ifndef VT_NBD_H
#define VT_NBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/buf.h"
#include "src/base/err.h"

#define NBD_IN_MAX      (128u << 10)
#define NBD_READ_MAX    (32u << 20) /* one request */
#define NBD_EXTENTS_MAX 1024        /* in one answer */

/* What is served. The functions are called by one thread at a time. */
struct nbd_export {
    const char *name; /* known by this name, and as "" */
    uint64_t size;
    int (*read)(void *opaque, void *dst, uint32_t len, uint64_t off, struct err *e);
    /* How many bytes from off on, at most max, are all known to be zero, or all not. */
    int (*extent)(void *opaque, uint64_t off, uint64_t max, uint64_t *ret_len, bool *ret_zero, struct err *e);
    void *opaque;
};

struct nbd_conn {
    const struct nbd_export *x;
    struct buf in, out; /* bytes from the client, not looked at yet; bytes for it */
    int stage;
    bool no_zeroes, structured, allocation; /* as negotiated */
    bool closed;                            /* nothing more will be said than what is in out */
    uint64_t skip;                          /* payload of a refused request, to be passed over */
};

/* Begins a connection: out has the greeting. Zero-cost to release at any time. */
void nbd_conn_init(struct nbd_conn *c, const struct nbd_export *x);
void nbd_conn_release(struct nbd_conn *c);
/* Looks at one message of what is in c->in; false where that has no whole one, or the connection is closed. Call it
 * while out is empty. */
bool nbd_conn_step(struct nbd_conn *c);
bool nbd_conn_serving(const struct nbd_conn *c); /* the handshake is over */

/* Serves to all who connect to `listener` (-1: nobody) and on the connected socket `fd` (-1: none; closed in any case),
 * until `stop` (-1: none) is readable, or where `once` is set the last client has gone. VT_IO. */
int nbd_serve(const struct nbd_export *x, int listener, int fd, int stop, bool once, struct err *e);

/* Listening sockets: at a path (0600; what another left there, and nobody listens on, goes), or on 127.0.0.1, port 0
 * being any (*ret_port says which). */
int nbd_listen_unix(const char *path, int *ret_fd, struct err *e);
int nbd_listen_tcp(uint16_t port, int *ret_fd, uint16_t *ret_port, struct err *e);

#endif
