/* An ATAPI CD-ROM drive's commands (ATA/ATAPI-6 packet feature set, SFF-8020i, MMC-3) on a read-only medium of
 * 2048-byte sectors: one data track, one session. */
#ifndef VT_ATAPI_H
#define VT_ATAPI_H

#include "vmcore/dev/ide.h"

/* As after a hardware reset. */
void atapi_reset(struct ide_drive *d);
/* The command in the channel's transfer begins. */
void atapi_command(struct ide_drive *d);
/* The packet's 12 bytes are there. */
void atapi_packet(struct ide_drive *d);
/* A block of n bytes is ready for the guest: its byte count and interrupt reason. */
void atapi_block(struct ide_drive *d, uint32_t n);
/* The packet command's data have moved, or the medium failed. */
void atapi_done(struct ide_drive *d);
void atapi_failed(struct ide_drive *d);
/* Another disc, or none, is in the drive. */
void atapi_disc_changed(struct ide_drive *d);
int atapi_loaded(struct ide_drive *d, const char **why);

#endif
