/* An ATA disk's commands (ATA/ATAPI-6, with what older drivers still send). */
#ifndef VT_ATA_H
#define VT_ATA_H

#include "vmcore/dev/ide.h"

/* As after a hardware reset. */
void ata_reset(struct ide_drive *d);
/* The command in the channel's transfer begins. */
void ata_command(struct ide_drive *d);
/* Its data have moved, or the medium failed at x.at. */
void ata_done(struct ide_drive *d);
void ata_failed(struct ide_drive *d);
int ata_loaded(struct ide_drive *d, const char **why);

/* Commands that disks and CD drives share: diagnostics, power, features. False: not one of them. */
bool ata_common_command(struct ide_drive *d);

/* IDENTIFY data: text in a field of n bytes, padded with spaces, and the checksum of word 255. */
void ata_identify_text(uint8_t *at, unsigned n, const char *text);
void ata_identify_word(uint8_t *data, unsigned word, uint16_t value);
void ata_identify_modes(struct ide_drive *d, uint8_t *data);
void ata_identify_seal(uint8_t *data);

#endif
