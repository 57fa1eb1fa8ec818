#include "vmcore/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/util.h"

static const char magic[8] = "VTSTATE1";

void state_list_init(struct state_list *l)
{
    l->head = NULL;
    l->tail = &l->head;
}

void state_add(struct state_list *l, struct state_entry *e, const char *instance, const struct state_table *t,
               void *dev)
{
    for (const struct state_entry *o = l->head; o; o = o->next)
        vt_assert(strcmp(o->instance, instance) != 0);
    *e = (struct state_entry){.instance = instance, .table = t, .dev = dev};
    *l->tail = e;
    l->tail = &e->next;
}

static size_t elem_size(unsigned type)
{
    switch (type) {
    case F_U8:
    case F_BOOL:
    case F_BYTES:
        return 1;
    case F_U16:
        return 2;
    case F_U32:
        return 4;
    case F_U64:
        return 8;
    default:
        return 0;
    }
}

/* ---- writing */

struct out {
    uint8_t *p;
    size_t len, cap;
    bool failed; /* sticky: no memory */
};

static void put(struct out *o, const void *src, size_t n)
{
    if (o->failed)
        return;
    if (o->len + n > o->cap) {
        size_t cap = MAX(o->cap * 2, o->len + n + 4096);
        uint8_t *p = realloc(o->p, cap);
        if (!p) {
            o->failed = true;
            return;
        }
        o->p = p;
        o->cap = cap;
    }
    memcpy(o->p + o->len, src, n);
    o->len += n;
}

static void put_u32(struct out *o, uint32_t v)
{
    put(o, &v, sizeof v);
}

static void put_str(struct out *o, const char *s)
{
    size_t n = strlen(s);
    uint8_t len = (uint8_t)n;
    vt_assert(n < 256);
    put(o, &len, 1);
    put(o, s, n);
}

static void release_out(struct out *o)
{
    free(o->p);
}

static uint32_t count_fields(const struct state_table *t)
{
    uint32_t n = 0;
    while (t->fields[n].name)
        n++;
    return n;
}

int state_save(struct state_list *l, uint8_t **ret_data, size_t *ret_len, struct err *e)
{
    cleanup(release_out) struct out o = {0};
    uint32_t n = 0;

    for (struct state_entry *s = l->head; s; s = s->next, n++)
        if (s->table->before_save)
            s->table->before_save(s->dev);
    put(&o, magic, sizeof magic);
    put_u32(&o, n);
    for (struct state_entry *s = l->head; s; s = s->next) {
        put_str(&o, s->instance);
        put_str(&o, s->table->name);
        put_u32(&o, s->table->version);
        put_u32(&o, count_fields(s->table));
        for (const struct field *f = s->table->fields; f->name; f++) {
            put_str(&o, f->name);
            put(&o, &f->type, 1);
            put_u32(&o, f->count);
            put(&o, (const char *)s->dev + f->off, f->count * elem_size(f->type));
        }
    }
    if (o.failed)
        return err_set(e, VT_FAIL, "no memory for the machine's state");
    *ret_len = o.len;
    *ret_data = steal(&o.p);
    return 0;
}

/* ---- reading */

struct in {
    const uint8_t *p, *end;
};

static bool get(struct in *in, void *dst, size_t n)
{
    if ((size_t)(in->end - in->p) < n)
        return false;
    memcpy(dst, in->p, n);
    in->p += n;
    return true;
}

static bool get_str(struct in *in, char dst[256])
{
    uint8_t n;
    if (!get(in, &n, 1) || !get(in, dst, n) || memchr(dst, 0, n))
        return false;
    dst[n] = 0;
    return true;
}

struct saved_entry {
    char instance[256], table[256];
    uint32_t version, fields;
};
struct saved_field {
    char name[256];
    uint8_t type;
    uint32_t count;
    size_t bytes;
    const uint8_t *data;
};

static bool get_entry(struct in *in, struct saved_entry *s)
{
    return get_str(in, s->instance) && get_str(in, s->table) && get(in, &s->version, 4) && get(in, &s->fields, 4);
}

static bool get_field(struct in *in, struct saved_field *f)
{
    if (!get_str(in, f->name) || !get(in, &f->type, 1) || !get(in, &f->count, 4))
        return false;
    size_t size = elem_size(f->type);
    if (!size || (size_t)(in->end - in->p) / size < f->count)
        return false;
    f->bytes = f->count * size;
    f->data = in->p;
    in->p += f->bytes;
    return true;
}

static int get_header(struct in *in, uint32_t *ret_entries, struct err *e)
{
    char m[sizeof magic];
    if (!get(in, m, sizeof m) || memcmp(m, magic, sizeof m) || !get(in, ret_entries, 4))
        return err_set(e, VT_CORRUPT, "machine state: not a state of this format");
    return 0;
}

static int truncated(struct err *e)
{
    return err_set(e, VT_CORRUPT, "machine state: truncated or malformed");
}

/* Loads one field; marks it in seen[] (an index a table field). */
static int load_field(struct state_entry *s, const struct saved_entry *head, const struct saved_field *sf, bool *seen,
                      struct err *e)
{
    const struct state_table *t = s->table;
    uint32_t i = 0;

    while (t->fields[i].name && strcmp(t->fields[i].name, sf->name))
        i++;
    const struct field *f = &t->fields[i];
    if (!f->name) {
        if (head->version < t->version)
            return 0; /* a field that later versions dropped */
        return err_set(e, VT_CORRUPT, "machine state: %s: unknown field \"%s\"", s->instance, sf->name);
    }
    if (seen[i])
        return err_set(e, VT_CORRUPT, "machine state: %s.%s: repeated", s->instance, f->name);
    seen[i] = true;
    if (sf->type != f->type || sf->count != f->count)
        return err_set(e, VT_CORRUPT, "machine state: %s.%s: wrong type or count", s->instance, f->name);
    if (f->type == F_BOOL)
        for (uint32_t k = 0; k < f->count; k++)
            if (sf->data[k] > 1)
                return err_set(e, VT_CORRUPT, "machine state: %s.%s: not a truth value", s->instance, f->name);
    memcpy((char *)s->dev + f->off, sf->data, sf->bytes);
    return 0;
}

static int load_entry(struct state_entry *s, const struct saved_entry *head, struct in *in, struct err *e)
{
    const struct state_table *t = s->table;
    uint32_t n = count_fields(t);
    cleanup(cleanup_free) bool *seen = calloc(n + 1, 1);

    if (!seen)
        return err_set(e, VT_FAIL, "no memory for the machine's state");
    if (strcmp(head->table, t->name))
        return err_set(e, VT_CORRUPT, "machine state: %s is a %s, not a %s", s->instance, head->table, t->name);
    if (head->version > t->version)
        return err_set(e, VT_VERSION, "machine state: %s: version %u, this program knows %u", s->instance,
                       head->version, t->version);
    for (uint32_t i = 0; i < head->fields; i++) {
        struct saved_field sf;
        if (!get_field(in, &sf))
            return truncated(e);
        int r = load_field(s, head, &sf, seen, e);
        if (r)
            return r;
    }
    for (uint32_t i = 0; i < n; i++)
        if (!seen[i] && t->fields[i].since <= head->version)
            return err_set(e, VT_CORRUPT, "machine state: %s.%s: missing", s->instance, t->fields[i].name);
    return 0;
}

static int load_entries(struct state_list *l, const uint8_t *data, size_t len, struct err *e)
{
    struct in in = {data, data + len};
    uint32_t entries, have = 0;

    int r = get_header(&in, &entries, e);
    if (r)
        return r;
    for (struct state_entry *s = l->head; s; s = s->next)
        have++;
    if (entries != have)
        return err_set(e, VT_CORRUPT, "machine state: %u devices, this machine has %u", entries, have);
    /* Same devices in the same order: the machine that loads was built from the same configuration. That also makes
     * a repeated or missing one impossible. */
    for (struct state_entry *s = l->head; s; s = s->next) {
        struct saved_entry head;
        if (!get_entry(&in, &head))
            return truncated(e);
        if (strcmp(head.instance, s->instance))
            return err_set(e, VT_CORRUPT, "machine state: device \"%s\" where this machine has \"%s\"", head.instance,
                           s->instance);
        r = load_entry(s, &head, &in, e);
        if (r)
            return r;
    }
    if (in.p != in.end)
        return err_set(e, VT_CORRUPT, "machine state: %zu bytes too many", (size_t)(in.end - in.p));
    return 0;
}

int state_load(struct state_list *l, const uint8_t *data, size_t len, struct err *e)
{
    int r = load_entries(l, data, len, e);
    if (r)
        return r;
    for (struct state_entry *s = l->head; s; s = s->next) {
        const char *why = "invalid";
        if (s->table->loaded && s->table->loaded(s->dev, &why))
            return err_set(e, VT_CORRUPT, "machine state: %s: %s", s->instance, why);
    }
    return 0;
}

/* ---- text */

static void put_value(FILE *f, const struct saved_field *sf)
{
    size_t size = elem_size(sf->type);
    for (size_t i = 0; i < sf->count; i++) {
        uint64_t v = 0;
        memcpy(&v, sf->data + i * size, size);
        if (sf->type == F_BYTES)
            fprintf(f, "%s%02x", i ? "" : " ", (unsigned)v);
        else
            fprintf(f, " %llx", (unsigned long long)v);
    }
}

int state_dump_saved(const uint8_t *data, size_t len, char **ret_text, struct err *e)
{
    struct in in = {data, data + len};
    uint32_t entries;
    size_t text_len;
    cleanup(cleanup_free) char *text = NULL;

    int r = get_header(&in, &entries, e);
    if (r)
        return r;
    FILE *f = open_memstream(&text, &text_len);
    if (!f)
        return err_set(e, VT_FAIL, "no memory for the machine's state");
    for (uint32_t i = 0; i < entries && !r; i++) {
        struct saved_entry s;
        if (!get_entry(&in, &s)) {
            r = truncated(e);
            break;
        }
        fprintf(f, "%s %s %u\n", s.instance, s.table, s.version);
        for (uint32_t k = 0; k < s.fields; k++) {
            struct saved_field sf;
            if (!get_field(&in, &sf)) {
                r = truncated(e);
                break;
            }
            fprintf(f, "%s.%s", s.instance, sf.name);
            put_value(f, &sf);
            fputc('\n', f);
        }
    }
    if (fclose(f) && !r)
        r = err_set(e, VT_FAIL, "no memory for the machine's state");
    if (!r)
        *ret_text = steal(&text);
    return r;
}

char *state_dump(struct state_list *l)
{
    cleanup(cleanup_free) uint8_t *data = NULL;
    size_t len;
    char *text = NULL;
    if (state_save(l, &data, &len, NULL) || state_dump_saved(data, len, &text, NULL))
        return NULL;
    return text;
}

int state_compare(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen, char **ret_text, struct err *e)
{
    cleanup(cleanup_free) char *ta = NULL, *tb = NULL, *text = NULL;
    char *sa, *sb;
    size_t text_len;

    int r = state_dump_saved(a, alen, &ta, e);
    if (!r)
        r = state_dump_saved(b, blen, &tb, e);
    if (r)
        return r;
    FILE *f = open_memstream(&text, &text_len);
    if (!f)
        return err_set(e, VT_FAIL, "no memory for the machine's state");
    char *la = strtok_r(ta, "\n", &sa), *lb = strtok_r(tb, "\n", &sb);
    while (la || lb) {
        if (!la || !lb || strcmp(la, lb))
            fprintf(f, "%s%s%s%s%s%s", la ? "-" : "", la ? la : "", la ? "\n" : "", lb ? "+" : "", lb ? lb : "",
                    lb ? "\n" : "");
        la = la ? strtok_r(NULL, "\n", &sa) : NULL;
        lb = lb ? strtok_r(NULL, "\n", &sb) : NULL;
    }
    if (fclose(f))
        return err_set(e, VT_FAIL, "no memory for the machine's state");
    *ret_text = steal(&text);
    return 0;
}
