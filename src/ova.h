/* The disk within an appliance's file (OVA): a tar archive of a description and of disks in VMware's format. DMTF
 * DSP0243; the archive as POSIX ustar has it. */
#ifndef VT_OVA_H
#define VT_OVA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"

/* Does a file that begins so hold an archive? head: its first bytes, got of them. */
bool ova_is(const uint8_t *head, size_t got);
/* Where the one disk is in the file open as fd, bytes long. VT_CORRUPT: cut short, or no archive; VT_USAGE: it holds no
 * disk, or several. path is for messages. */
int ova_find_disk(int fd, uint64_t bytes, const char *path, uint64_t *ret_off, uint64_t *ret_len, struct err *e);

#endif
