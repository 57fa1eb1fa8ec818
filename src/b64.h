/* Base64 (RFC 4648 section 4), as the guest agent carries bytes. */
#ifndef VT_B64_H
#define VT_B64_H

#include <stdbool.h>
#include <stddef.h>
#include "src/base/buf.h"

/* malloc'ed, NUL-terminated; NULL: out of memory. */
char *b64_encode(const void *src, size_t len);
/* Appends the decoded bytes to out. False: not base64 (padding is required, no white space), or out of memory. */
bool b64_decode(const char *text, size_t len, struct buf *out);

#endif
