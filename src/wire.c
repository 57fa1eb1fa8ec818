#include "src/wire.h"

#include "src/base/banned.h"
#include "src/base/util.h"

static void restart(struct wire *w)
{
    w->scanned = 0;
    w->depth = 0;
    w->in_string = w->escaped = false;
}

void wire_release(struct wire *w)
{
    buf_release(&w->in);
    restart(w);
}

void wire_reset(struct wire *w)
{
    buf_clear(&w->in);
    restart(w);
    w->skipping = false;
}

int wire_feed(struct wire *w, const void *data, size_t n, struct err *e)
{
    buf_add(&w->in, data, n);
    return buf_check(&w->in, e);
}

/* Drops what is before offset n, and scans from there. */
static void drop(struct wire *w, size_t n)
{
    buf_drop(&w->in, n);
    restart(w);
}

static int malformed(struct wire *w, struct err *e, const char *why)
{
    w->skipping = true;
    return err_set(e, VT_CORRUPT, "malformed message: %s", why);
}

/* Takes the object that ends before offset end. */
static int take(struct wire *w, size_t end, json_t **ret_obj, struct err *e)
{
    json_error_t why;
    json_t *obj = json_loadb(w->in.data, end, JSON_REJECT_DUPLICATES, &why);

    if (!obj) {
        drop(w, end);
        return malformed(w, e, why.text);
    }
    drop(w, end);
    *ret_obj = obj;
    return 1;
}

static bool is_space(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int wire_next(struct wire *w, json_t **ret_obj, struct err *e)
{
    while (w->scanned < w->in.len) {
        unsigned char c = (unsigned char)w->in.data[w->scanned++];

        if (c == 0xff || (w->skipping && c == '\n')) {
            w->skipping = false;
            drop(w, w->scanned);
        } else if (w->skipping) {
            continue;
        } else if (w->depth == 0) {
            if (c == '{') {
                drop(w, w->scanned - 1); /* white space before it */
                w->scanned = 1;
                w->depth = 1;
            } else if (!is_space(c)) {
                return malformed(w, e, "not a JSON object");
            }
        } else if (w->in_string) {
            if (w->escaped)
                w->escaped = false;
            else if (c == '\\')
                w->escaped = true;
            else if (c == '"')
                w->in_string = false;
        } else if (c == '"') {
            w->in_string = true;
        } else if (c == '{' || c == '[') {
            w->depth++;
        } else if ((c == '}' || c == ']') && --w->depth == 0) {
            return take(w, w->scanned, ret_obj, e);
        }
        if (w->scanned > w->max && !w->skipping) {
            drop(w, w->scanned);
            return malformed(w, e, "too long");
        }
    }
    if (w->skipping || w->depth == 0)
        drop(w, w->scanned);
    return 0;
}
