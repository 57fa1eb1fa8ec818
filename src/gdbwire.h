/* The socket and the framing of gdb's remote protocol ("Remote Protocol", Overview and Packet Acknowledgment, in gdb's
 * manual): packets with checksums, escapes, acknowledgements. One client at a time; whoever comes meanwhile waits. On
 * the loop's thread. */
#ifndef VT_GDBWIRE_H
#define VT_GDBWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include "src/base/err.h"
#include "src/loop.h"

#define GDBWIRE_MAX 16384u /* bytes of a packet's contents */

struct gdbwire;

struct gdbwire_hooks {
    void (*attached)(void *opaque);
    void (*packet)(void *opaque, char *data, size_t len); /* unescaped, and NUL after it */
    void (*interrupt)(void *opaque);                      /* Ctrl-C */
    void (*gone)(void *opaque);
    void *opaque;
};

int gdbwire_new(struct loop *l, const char *where, const struct gdbwire_hooks *hooks, struct gdbwire **ret_wire,
                struct err *e);
void gdbwire_free(struct gdbwire *w); /* sends what is left, for a second at most; NULL is fine */
int gdbwire_where_check(const char *where, struct err *e);

void gdbwire_send(struct gdbwire *w, const void *data, size_t len); /* a packet; escapes it. Nobody there: nothing */
void gdbwire_no_ack(struct gdbwire *w);
void gdbwire_close(struct gdbwire *w); /* after what was sent; gone() is called */

#endif
