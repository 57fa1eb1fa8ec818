/* JSON objects one after the other on a byte stream, as QMP and the QEMU guest agent send them: with or without white
 * space between, hostile on either side. A byte FFh, which no JSON text holds, throws away all that came before it. */
#ifndef VT_WIRE_H
#define VT_WIRE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "src/base/buf.h"
#include "src/base/err.h"

/* Zero-initialised but for max. */
struct wire {
    size_t max; /* longest object in bytes; longer ones are an error */
    struct buf in;
    size_t scanned; /* of in; what follows was not looked at yet */
    unsigned depth;
    bool in_string, escaped;
    bool skipping; /* throwing bytes away up to the next end of line */
};

void wire_release(struct wire *w);
/* Forgets what came in. */
void wire_reset(struct wire *w);
/* Appends what was received. VT_FAIL: out of memory. */
int wire_feed(struct wire *w, const void *data, size_t n, struct err *e);
/* 1: *ret_obj is the next object (the caller's); 0: none is complete; VT_CORRUPT: what came is no JSON object or too
 * long, and was thrown away up to the next end of line. Call it until it returns 0. */
int wire_next(struct wire *w, json_t **ret_obj, struct err *e);

#endif
