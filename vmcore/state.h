/* Saving, loading, dumping and comparing the machine's state, driven by the devices' field tables.
 *
 * The bytes name everything they hold (instance, table, version, field, type, count), little-endian:
 *   "VTSTATE1"  u32 entries
 *   entry:  str instance, str table, u32 version, u32 fields
 *   field:  str name, u8 type, u32 count, the elements
 *   str:    u8 length, bytes
 * A load is strict: what is missing, unknown, repeated or of another shape is an error. It writes into the live structs
 * and then calls every table's loaded(); after an error the machine is unusable. */
#ifndef VT_STATE_H
#define VT_STATE_H

#include "src/base/err.h"
#include "vmcore/dev/dev.h"

struct state_list {
    struct state_entry *head, **tail;
};
void state_list_init(struct state_list *l);
/* Order of adding is the order of loaded() calls. */
void state_add(struct state_list *l, struct state_entry *e, const char *instance, const struct state_table *t,
               void *dev);

/* *ret_data is malloc'ed. VT_FAIL: no memory. */
int state_save(struct state_list *l, uint8_t **ret_data, size_t *ret_len, struct err *e);
/* VT_CORRUPT, or VT_VERSION where a table is newer than this program's. */
int state_load(struct state_list *l, const uint8_t *data, size_t len, struct err *e);
/* Text, "instance.field value" a line; malloc'ed, NULL: no memory. */
char *state_dump(struct state_list *l);
/* The saved state as text in the same form. *ret_text is malloc'ed. */
int state_dump_saved(const uint8_t *data, size_t len, char **ret_text, struct err *e);
/* Lines that differ, as "-old" and "+new"; *ret_text is "" where a and b are equal, malloc'ed. */
int state_compare(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen, char **ret_text, struct err *e);

#endif
