/* Numbers and bytes in the hexadecimal of gdb's remote protocol. */
#ifndef VT_GDBHEX_H
#define VT_GDBHEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/buf.h"

int gdbhex_digit(char c); /* 0 to 15, -1: none */
/* A number at *p that ends in `then` (0: the end of the text); *p is put behind that. False: not so. */
bool gdbhex_number(const char **p, char then, uint64_t *ret);
/* Two digits a byte up to the text's end; returns how many bytes, -1: not such, or more than max. */
int gdbhex_bytes(const char *s, uint8_t *dst, size_t max);
void gdbhex_add(struct buf *b, const void *data, size_t len);

#endif
