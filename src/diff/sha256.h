/* SHA-256 (FIPS 180-4). */
#ifndef VT_DIFF_SHA256_H
#define VT_DIFF_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t h[8];
    uint64_t len;
    unsigned char block[64];
};

#define SHA256_HEX 65 /* with the NUL */

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t len);
/* The digest as lower-case hexadecimal. s is used up. */
void sha256_hex(struct sha256 *s, char dst[SHA256_HEX]);

#endif
