/* The frames of guest/wire.h on the monitor's side. What comes from the guest is hostile. */
#ifndef VT_EXECWIRE_H
#define VT_EXECWIRE_H

#include <stddef.h>
#include <stdint.h>
#include "guest/wire.h"
#include "src/base/buf.h"
#include "src/base/err.h"

struct execwire_frame {
    uint8_t type;
    uint32_t session, len;
    const uint8_t *data; /* in what was given */
};

/* Appends a frame; len is at most EW_PAYLOAD. */
void execwire_put(struct buf *b, uint8_t type, uint32_t session, const void *payload, size_t len);
/* Appends what makes the helper begin anew. */
void execwire_put_hello(struct buf *b, const uint8_t nonce[EW_NONCE]);

/* The frame that data begins with. 1: *ret_frame, and *ret_used bytes are done with; 0: it is not all there;
 * VT_CORRUPT: it is none. */
int execwire_next(const void *data, size_t len, struct execwire_frame *ret_frame, size_t *ret_used, struct err *e);
/* Looks for the answer to a HELLO in whatever a guest says. 1: found, *ret_version is the helper's; 0: not yet. Either
 * way *ret_used bytes are done with. */
int execwire_seek(const void *data, size_t len, const uint8_t nonce[EW_NONCE], size_t *ret_used, uint32_t *ret_version);

uint32_t execwire_u32(const uint8_t *p);

#endif
