/* The emitted-code verifier: decodes a block again as host code and proves that nothing in it can leave the translated
 * world. On in checked builds for every block; the decoder's fuzz target runs it too. */
#ifndef VT_VERIFY_H
#define VT_VERIFY_H

#include "vmcore/tb.h"

struct verify_result {
    const char *why; /* NULL: sound */
    const uint8_t *at;
    char text[96]; /* the instruction's bytes */
};
/* Over b's hot and cold code; t is the translation that made it. */
void verify_block(const struct tb *t, const struct block *b, struct verify_result *ret);

#endif
