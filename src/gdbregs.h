/* The registers as gdb's remote protocol has them: a table of descriptions from which come target.xml, the order of the
 * "g" packet, and each register's bytes. */
#ifndef VT_GDBREGS_H
#define VT_GDBREGS_H

#include <stdbool.h>
#include "src/base/buf.h"
#include "vmcore/vmcore.h"

#define GDBREG_BYTES 16 /* of the widest register */

/* x86-64's set where `amd64`, else i386's. */
unsigned gdbregs_count(bool amd64);
/* target.xml. code16: gdb is to decode 16-bit code (i386's set). */
void gdbregs_xml(bool amd64, bool code16, struct buf *to);
/* Register n's bytes in the guest's order; returns how many. n is below the count. */
unsigned gdbregs_get(bool amd64, unsigned n, const struct vm_debug_regs *r, uint8_t ret[GDBREG_BYTES]);
/* False: it is another value, and the register cannot be set. */
bool gdbregs_set(bool amd64, unsigned n, struct vm_debug_regs *r, const uint8_t v[GDBREG_BYTES]);
/* What gdb calls the program counter: linear, so that breakpoints mean the same in every mode. */
uint64_t gdbregs_pc(const struct vm_debug_regs *r);
/* The whole state as text, for "monitor info registers". */
void gdbregs_print(const struct vm_debug_regs *r, struct buf *to);

#endif
