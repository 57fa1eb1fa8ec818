/* Names of keys (QMP's QKeyCode), and text as presses of keys on a US keyboard. */
#ifndef VT_KEYS_H
#define VT_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/buf.h"
#include "src/base/err.h"
#include "vmcore/port.h"

/* The code of a key, as in struct input_key; -1: no such name. */
int keys_find(const char *name);
/* Appends a press of all keys, in order, and their release in the other order: struct input_key each. text is names
 * with
 * "-" between, "ctrl-alt-delete". VT_USAGE: an unknown name. */
int keys_add_chord(struct buf *out, const char *text, struct err *e);
/* Appends what types the text, a newline being Enter. VT_USAGE: it is not UTF-8, or has what a US keyboard has not. */
int keys_add_text(struct buf *out, const char *text, size_t len, struct err *e);

#endif
