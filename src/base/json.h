/* jansson with our errors: fetch a typed member or say which one is missing or wrong. `where` names the document in
 * messages ("machine configuration", "monitor's answer"). Getters of optional members leave *ret untouched when the
 * member is absent or null. */
#ifndef VT_BASE_JSON_H
#define VT_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "src/base/err.h"

static inline void cleanup_json(json_t **j)
{
    json_decref(*j);
}

/* Parses exactly one value of any type; VT_CORRUPT with line and column where it is not JSON. */
int json_parse(const char *text, size_t len, const char *where, json_t **ret, struct err *e);
/* Compact, keys in insertion order; malloc'ed. NULL: out of memory. */
char *json_text(const json_t *j);

enum json_need { JSON_OPTIONAL, JSON_REQUIRED };
/* The string is owned by obj. */
int json_get_str(const json_t *obj, const char *key, enum json_need need, const char **ret, const char *where,
                 struct err *e);
int json_get_u64(const json_t *obj, const char *key, enum json_need need, uint64_t *ret, const char *where,
                 struct err *e);
int json_get_bool(const json_t *obj, const char *key, enum json_need need, bool *ret, const char *where, struct err *e);
/* The array or object is borrowed from obj. */
int json_get_array(const json_t *obj, const char *key, enum json_need need, json_t **ret, const char *where,
                   struct err *e);
int json_get_object(const json_t *obj, const char *key, enum json_need need, json_t **ret, const char *where,
                    struct err *e);

/* A JSON string of len bytes: as they are where they are UTF-8 without NUL, else each bad byte as U+FFFD. */
json_t *json_string_lossy(const char *s, size_t len);

#endif
