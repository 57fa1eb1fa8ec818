/* Native against translated. */
#ifndef INSN_COMPARE_H
#define INSN_COMPARE_H

#include "decode.h"

/* True where both results agree in everything that is defined; else `why` lists what differs (first: native).
 * pointers: FIP, FDP and FOP count too. */
bool compare_results(const struct decoder *dec, const struct insn_case *c, const struct insn_result *native,
                     const struct insn_result *guest, const uint8_t *base, bool pointers, char *why, size_t size);
/* The same for a case that the guest must refuse: #UD and nothing changed. */
bool compare_refused(const struct insn_case *c, const struct insn_result *guest, char *why, size_t size);
/* Did the case run to its end? */
bool result_completed(const struct insn_case *c, const struct insn_result *r);
/* The case's input state, for a report. */
void describe_input(const struct mode *m, const struct insn_case *c, char *out, size_t size);

#endif
