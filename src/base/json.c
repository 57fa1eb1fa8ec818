#include "src/base/json.h"

#include <stdlib.h>
#include <string.h>
#include "src/base/buf.h"
#include "src/base/util.h"

int json_parse(const char *text, size_t len, const char *where, json_t **ret, struct err *e)
{
    json_error_t je;
    json_t *j = json_loadb(text, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &je);

    if (!j)
        return err_set(e, VT_CORRUPT, "%s: not valid JSON: %s (line %d, column %d)", where, je.text, je.line,
                       je.column);
    *ret = j;
    return 0;
}

char *json_text(const json_t *j)
{
    return json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* The member, or NULL with *r set: 0 when it may be absent. */
static json_t *member(const json_t *obj, const char *key, enum json_need need, const char *where, struct err *e, int *r)
{
    json_t *v = json_object_get(obj, key);

    *r = 0;
    if (v && !json_is_null(v))
        return v;
    if (need == JSON_REQUIRED)
        *r = err_set(e, VT_CORRUPT, "%s: no \"%s\"", where, key);
    return NULL;
}

static int wrong(const char *key, const char *type, const char *where, struct err *e)
{
    return err_set(e, VT_CORRUPT, "%s: \"%s\" is not %s", where, key, type);
}

int json_get_str(const json_t *obj, const char *key, enum json_need need, const char **ret, const char *where,
                 struct err *e)
{
    int r;
    json_t *v = member(obj, key, need, where, e, &r);

    if (!v)
        return r;
    if (!json_is_string(v))
        return wrong(key, "a string", where, e);
    *ret = json_string_value(v);
    return 0;
}

int json_get_u64(const json_t *obj, const char *key, enum json_need need, uint64_t *ret, const char *where,
                 struct err *e)
{
    int r;
    json_t *v = member(obj, key, need, where, e, &r);

    if (!v)
        return r;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return wrong(key, "a number of 0 or more", where, e);
    *ret = (uint64_t)json_integer_value(v);
    return 0;
}

int json_get_bool(const json_t *obj, const char *key, enum json_need need, bool *ret, const char *where, struct err *e)
{
    int r;
    json_t *v = member(obj, key, need, where, e, &r);

    if (!v)
        return r;
    if (!json_is_boolean(v))
        return wrong(key, "true or false", where, e);
    *ret = json_is_true(v);
    return 0;
}

int json_get_array(const json_t *obj, const char *key, enum json_need need, json_t **ret, const char *where,
                   struct err *e)
{
    int r;
    json_t *v = member(obj, key, need, where, e, &r);

    if (!v)
        return r;
    if (!json_is_array(v))
        return wrong(key, "an array", where, e);
    *ret = v;
    return 0;
}

int json_get_object(const json_t *obj, const char *key, enum json_need need, json_t **ret, const char *where,
                    struct err *e)
{
    int r;
    json_t *v = member(obj, key, need, where, e, &r);

    if (!v)
        return r;
    if (!json_is_object(v))
        return wrong(key, "an object", where, e);
    *ret = v;
    return 0;
}

/* Length of the well-formed UTF-8 sequence at s, 0 when there is none (Unicode, table 3-7). */
static size_t utf8_seq(const unsigned char *s, size_t len)
{
    unsigned char lo = 0x80, hi = 0xbf;
    size_t n;

    if (s[0] < 0x80)
        return s[0] != 0;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (len < n)
        return 0;
    if (s[0] == 0xe0)
        lo = 0xa0;
    else if (s[0] == 0xed)
        hi = 0x9f;
    else if (s[0] == 0xf0)
        lo = 0x90;
    else if (s[0] == 0xf4)
        hi = 0x8f;
    if (s[1] < lo || s[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

json_t *json_string_lossy(const char *s, size_t len)
{
    cleanup(buf_release) struct buf b = {0};

    for (size_t i = 0; i < len;) {
        size_t n = utf8_seq((const unsigned char *)s + i, len - i);

        if (n)
            buf_add(&b, s + i, n);
        else
            buf_str(&b, "\xef\xbf\xbd");
        i += n ? n : 1;
    }
    return b.failed ? NULL : json_stringn(buf_cstr(&b), b.len);
}
