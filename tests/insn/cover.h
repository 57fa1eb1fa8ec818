/* What has been covered: distinct (mnemonic, operand forms, widths, prefixes). */
#ifndef INSN_COVER_H
#define INSN_COVER_H

#include "decode.h"

struct cover {
    uint64_t *key;   /* open addressing, 0 is free; COVER_SLOTS */
    bool *completed; /* ran to its end at least once */
    uint32_t n, n_completed;
    uint64_t failed[ZYDIS_MNEMONIC_MAX_VALUE + 2]; /* by mnemonic; the last: bytes that do not decode */
    bool seen[ZYDIS_MNEMONIC_MAX_VALUE + 1], finished[ZYDIS_MNEMONIC_MAX_VALUE + 1];
};

int cover_init(struct cover *v);
void cover_release(struct cover *v);
void cover_add(struct cover *v, const struct dec *d, bool completed);

#endif
