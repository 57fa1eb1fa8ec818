#include "src/guestfile.h"

#include <stdio.h>
#include "src/b64.h"
#include "src/base/banned.h"
#include "src/base/json.h"
#include "src/base/util.h"

int guestfile_open(struct agent *a, const char *path, const char *mode, struct guestfile *ret, struct err *e)
{
    cleanup(cleanup_json) json_t *handle = NULL;
    json_t *args = json_pack("{s:s, s:s}", "path", path, "mode", mode);
    uint64_t generation = agent_generation(a);
    int rc;

    if (!args)
        return err_set(e, VT_USAGE, "a guest path that is not UTF-8 text");
    rc = agent_call(a, "guest-file-open", args, AGENT_TIMEOUT_MS, &handle, e);
    if (rc < 0)
        return rc;
    if (!json_is_integer(handle))
        return err_set(e, VT_FAIL, "guest agent: guest-file-open: an answer without a handle");
    *ret = (struct guestfile){.agent = a, .handle = json_integer_value(handle), .generation = generation};
    snprintf(ret->path, sizeof ret->path, "%s", path);
    return 0;
}

/* A handle of before a revert names another file now, or none. */
static int same_guest(const struct guestfile *f, struct err *e)
{
    if (agent_generation(f->agent) == f->generation)
        return 0;
    return err_set(e, VT_GONE, "the machine was reverted, reset or stopped under the copy");
}

int guestfile_write(struct guestfile *f, const void *src, size_t len, struct err *e)
{
    const char *p = src;

    while (len) {
        cleanup(cleanup_json) json_t *result = NULL;
        size_t n = MIN(len, (size_t)GUESTFILE_CHUNK);
        cleanup(cleanup_free) char *text = b64_encode(p, n);
        json_int_t count;
        int rc = text ? same_guest(f, e) : err_set(e, VT_FAIL, "out of memory");

        if (rc == 0)
            rc = agent_call(f->agent, "guest-file-write",
                            json_pack("{s:I, s:s}", "handle", (json_int_t)f->handle, "buf-b64", text),
                            3 * AGENT_TIMEOUT_MS, &result, e);
        if (rc < 0)
            return err_prefix(e, rc, "%s", f->path);
        count = json_integer_value(json_object_get(result, "count"));
        if (count <= 0 || (size_t)count > n)
            return err_set(e, VT_FAIL, "%s: the guest wrote %lld of %zu bytes", f->path, (long long)count, n);
        p += count;
        len -= (size_t)count;
    }
    return 0;
}

int guestfile_read(struct guestfile *f, struct buf *out, bool *ret_eof, struct err *e)
{
    cleanup(cleanup_json) json_t *result = NULL;
    const json_t *data;
    size_t before = out->len;
    int rc = same_guest(f, e);

    if (rc == 0)
        rc = agent_call(f->agent, "guest-file-read",
                        json_pack("{s:I, s:i}", "handle", (json_int_t)f->handle, "count", (int)GUESTFILE_CHUNK),
                        3 * AGENT_TIMEOUT_MS, &result, e);
    if (rc < 0)
        return err_prefix(e, rc, "%s", f->path);
    data = json_object_get(result, "buf-b64");
    if (!json_is_string(data) || !b64_decode(json_string_value(data), json_string_length(data), out) ||
        out->len - before > GUESTFILE_CHUNK)
        return err_set(e, VT_FAIL, "%s: guest agent: guest-file-read: not what was asked for", f->path);
    *ret_eof = json_is_true(json_object_get(result, "eof")) || out->len == before;
    return 0;
}

int guestfile_close(struct guestfile *f, struct err *e)
{
    int rc = same_guest(f, e);

    if (rc == 0)
        rc = agent_call(f->agent, "guest-file-close", json_pack("{s:I}", "handle", (json_int_t)f->handle),
                        3 * AGENT_TIMEOUT_MS, NULL, e);
    return rc < 0 ? err_prefix(e, rc, "%s", f->path) : 0;
}
