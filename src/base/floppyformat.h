/* The floppy disks that there are, known by their size: what a drive must be to read one, and what an image may be. */
#ifndef VT_FLOPPYFORMAT_H
#define VT_FLOPPYFORMAT_H

#include <stddef.h>
#include <stdint.h>

#define FLOPPY_DRIVES 2
#define FLOPPY_SECTOR 512

struct floppy_format {
    uint32_t bytes;
    uint8_t cyls, heads, sectors;
    uint8_t rate; /* as the controller's CCR has it: 0 500, 1 300, 2 250 Kbit/s, 3 1 Mbit/s */
    uint8_t type; /* of the drive, as CMOS byte 10h has it: 1 360K, 2 1.2M, 3 720K, 4 1.44M, 5 2.88M */
};

/* NULL: no disk has this size. */
static inline const struct floppy_format *floppy_format(uint64_t bytes)
{
    static const struct floppy_format formats[] = {
        {160 << 10, 40, 1, 8, 2, 1},   {180 << 10, 40, 1, 9, 2, 1},   {320 << 10, 40, 2, 8, 2, 1},
        {360 << 10, 40, 2, 9, 2, 1},   {720 << 10, 80, 2, 9, 2, 3},   {1200 << 10, 80, 2, 15, 0, 2},
        {1440 << 10, 80, 2, 18, 0, 4}, {1680 << 10, 80, 2, 21, 0, 4}, {1722 << 10, 82, 2, 21, 0, 4},
        {2880 << 10, 80, 2, 36, 3, 5},
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].bytes == bytes)
            return &formats[i];
    return NULL;
}

#endif
