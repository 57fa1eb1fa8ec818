/* Files that a machine is made of, looked at before they are used: disk images (what format, whole or cut short) and
 * kernels. */
#ifndef VT_IMAGEFILE_H
#define VT_IMAGEFILE_H

#include <stdbool.h>
#include <stdint.h>
#include "src/base/err.h"

struct imagefile {
    int fd;             /* raw bytes, read-only */
    uint64_t bytes;     /* a multiple of 512 */
    char *path;         /* absolute, of the file that was named */
    const char *format; /* "raw", "qcow2" … */
    bool converted;     /* fd is an unlinked raw copy */
};

/* Opens a disk image. Formats other than raw are converted by qemu-img into an unlinked file in scratch_dir. VT_NOENT;
 * VT_CORRUPT: cut short, or not convertible; VT_FAIL: qemu-img is not installed. */
int imagefile_open(const char *path, const char *scratch_dir, struct imagefile *ret, struct err *e);
void imagefile_release(struct imagefile *f);

/* Is this a whole bzImage, or does it look like a Multiboot or PVH kernel (which the monitor looks at closely)?
 * VT_NOENT, VT_CORRUPT. */
int imagefile_check_kernel(const char *path, bool *ret_linux, struct err *e);
/* Can a BIOS have so many bytes: 64 KiB to 16 MiB, in whole 64 KiB? */
bool imagefile_is_bios_size(uint64_t bytes);
/* Is this a BIOS image: a regular file of such a size? VT_NOENT, VT_CORRUPT. */
int imagefile_check_bios(const char *path, uint64_t *ret_bytes, struct err *e);
/* Is this a non-empty regular file that can be read? VT_NOENT, VT_CORRUPT, VT_PERM. */
int imagefile_check_initrd(const char *path, struct err *e);
/* Does this file begin as ISO 9660 has it? One that cannot be read does not. */
bool imagefile_is_iso(const char *path);
/* Is this a file that can be a CD-ROM: not empty, whole sectors of 2048 bytes? VT_NOENT, VT_CORRUPT, VT_PERM. */
int imagefile_check_disc(const char *path, struct err *e);

#endif
