/* What people and scripts read: results on standard output, all else on standard error. With --json a verb prints one
 * object, gathered by out_set, at its end; errors are an object too, beside their line on standard error. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void out_set(struct cli *c, const char *key, json_t *value)
{
    if (!c->json) {
        json_decref(value);
        return;
    }
    if (!c->result)
        c->result = json_object();
    json_object_set_new(c->result, key, value);
}

json_t *out_time(int64_t ns)
{
    char text[UNITS_MAX];

    return json_string(time_format(text, ns));
}

json_t *out_seconds(uint64_t ns)
{
    return json_real((double)ns / (double)NS_PER_SEC);
}

void out_done(struct cli *c, const char *detail, const char *fmt, ...)
{
    uint64_t took = clock_mono_ns() - c->started;
    cleanup(buf_release) struct buf what = {0};
    char text[UNITS_MAX];
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&what, fmt, ap);
    va_end(ap);
    out_set(c, "message", json_string_lossy(buf_cstr(&what), what.len));
    out_set(c, "seconds", out_seconds(took));
    if (c->json || c->quiet)
        return;
    printf("%s in %s", buf_cstr(&what), duration_format(text, took));
    if (detail)
        printf(" (%s)", detail);
    putchar('\n');
}

void out_already(struct cli *c, const char *fmt, ...)
{
    cleanup(buf_release) struct buf what = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&what, fmt, ap);
    va_end(ap);
    out_set(c, "already", json_true());
    out_set(c, "message", json_string_lossy(buf_cstr(&what), what.len));
    if (!c->json && !c->quiet)
        puts(buf_cstr(&what));
}

void out_note(const struct cli *c, const char *fmt, ...)
{
    cleanup(buf_release) struct buf b = {0};
    va_list ap;

    if (c->quiet)
        return;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    fprintf(stderr, "vmtest: %s: %s\n", c->verb->name, buf_cstr(&b));
}

void out_line(const struct cli *c, const char *fmt, ...)
{
    va_list ap;

    if (c->json)
        return;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

void out_table(const struct cli *c, const struct strlist *cells, unsigned cols)
{
    size_t rows = cells->n / cols;
    size_t width[16] = {0};

    vt_assert(cols > 0 && cols <= ARRAY_LEN(width));
    if (c->json)
        return;
    for (size_t i = 0; i < cells->n; i++)
        width[i % cols] = MAX(width[i % cols], strlen(cells->items[i]));
    for (size_t r = 0; r < rows; r++) {
        cleanup(buf_release) struct buf line = {0};

        for (unsigned k = 0; k < cols; k++)
            buf_printf(&line, "%-*s  ", (int)width[k], cells->items[r * cols + k]);
        while (line.len && line.data[line.len - 1] == ' ')
            line.data[--line.len] = 0;
        puts(buf_cstr(&line));
    }
}

static const char *code_name(int code)
{
    switch (code) {
    case VT_USAGE:
        return "usage";
    case VT_CORRUPT:
        return "corrupt";
    case VT_NOENT:
        return "not_found";
    case VT_GONE:
        return "guest_gone";
    case VT_EXISTS:
        return "exists";
    case VT_IO:
        return "io";
    case VT_BUSY:
        return "busy";
    case VT_PERM:
        return "permission";
    case VT_VERSION:
        return "version";
    case VT_TIMEOUT:
        return "timeout";
    default:
        return "failed";
    }
}

static void print_json(const json_t *j)
{
    cleanup(cleanup_free) char *text = json_text(j);

    puts(text ? text : "{\"error\":{\"code\":\"failed\",\"message\":\"out of memory\"}}");
}

static void print_error(struct cli *c, const struct err *e)
{
    fprintf(stderr, "vmtest: %s%s%s\n", c->verb ? c->verb->name : "", c->verb ? ": " : "", e->msg);
    if (!c->json)
        return;
    if (c->verb && c->verb->flags & VERB_GUEST)
        out_set(c, "guest_status", json_null());
    out_set(c, "error",
            json_pack("{s:s, s:o}", "code", code_name(e->code), "message", json_string_lossy(e->msg, strlen(e->msg))));
}

int out_finish(struct cli *c, int r, const struct err *e)
{
    int status = r >= 0 ? r : -r;

    if (r < 0) {
        print_error(c, e);
        if (c->verb && c->verb->flags & VERB_GUEST && r != VT_TIMEOUT)
            status = 125;
    }
    if (c->json && c->result && !(r >= 0 && c->verb && c->verb->flags & VERB_STREAM))
        print_json(c->result);
    json_decref(c->result);
    c->result = NULL;
    /* a full disk or a closed pipe behind standard output must not look like success */
    if (fflush(stdout) || ferror(stdout)) {
        if (errno != EPIPE)
            fprintf(stderr, "vmtest: cannot write standard output: %s\n", strerror(errno));
        if (status == 0)
            status = -VT_IO;
    }
    return status;
}
