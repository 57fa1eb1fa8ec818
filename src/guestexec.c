#include "src/guestexec.h"

#include <poll.h>
#include <time.h>
#include "src/b64.h"
#include "src/base/banned.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"

static bool add(json_t *list, const char *s)
{
    return json_array_append_new(list, json_string(s)) == 0;
}

int guestexec_start(struct agent *a, const char *script, const char *const *words, const void *input, size_t input_len,
                    struct guestexec *ret, struct err *e)
{
    cleanup(cleanup_json) json_t *arg = json_array(), *args = NULL, *started = NULL;
    cleanup(cleanup_free) char *text = NULL;
    const json_t *pid;
    bool ok = add(arg, "-c") && add(arg, script) && add(arg, "sh");
    uint64_t generation = agent_generation(a);
    int rc;

    for (; words && *words && ok; words++)
        ok = add(arg, *words);
    if (!ok)
        return err_set(e, VT_USAGE, "a word of the command is not UTF-8 text");
    if (input_len > GUESTEXEC_INPUT_MAX)
        return err_set(e, VT_FAIL, "more input than the guest agent carries");
    args = json_pack("{s:s, s:O, s:b}", "path", "/bin/sh", "arg", arg, "capture-output", 1);
    text = input_len ? b64_encode(input, input_len) : NULL;
    if (!args || (input_len && (!text || json_object_set_new(args, "input-data", json_string(text)) < 0)))
        return err_set(e, VT_FAIL, "out of memory");
    rc = agent_call(a, "guest-exec", steal(&args), 3 * AGENT_TIMEOUT_MS, &started, e);
    if (rc < 0)
        return rc;
    pid = json_object_get(started, "pid");
    if (!json_is_integer(pid))
        return err_set(e, VT_FAIL, "guest agent: guest-exec: an answer without a process number");
    *ret = (struct guestexec){.agent = a, .pid = json_integer_value(pid), .generation = generation};
    return 0;
}

static int take_output(const json_t *status, const char *key, struct buf *out, struct err *e)
{
    const json_t *data = json_object_get(status, key);

    if (data && (!json_is_string(data) || !b64_decode(json_string_value(data), json_string_length(data), out)))
        return err_set(e, VT_FAIL, "guest agent: guest-exec-status: %s is not base64", key);
    return 0;
}

static int take_status(const json_t *status, struct exec_result *ret, struct err *e)
{
    const json_t *code = json_object_get(status, "exitcode"), *sig = json_object_get(status, "signal");
    int rc = take_output(status, "out-data", &ret->out, e);

    if (rc == 0)
        rc = take_output(status, "err-data", &ret->err, e);
    if (rc < 0)
        return rc;
    if (json_is_integer(code))
        ret->status = (int)(json_integer_value(code) & 0xff);
    else if (json_is_integer(sig))
        ret->status = (int)((128 + (json_integer_value(sig) & 0x7f)) & 0xff);
    else
        return err_set(e, VT_FAIL, "guest agent: guest-exec-status: neither exit code nor signal");
    if (json_is_true(json_object_get(status, "out-truncated")) ||
        json_is_true(json_object_get(status, "err-truncated")))
        return err_set(e, VT_FAIL, "the command wrote more than the guest agent carries: its output is incomplete");
    return 0;
}

int guestexec_poll(struct guestexec *g, bool *ret_ended, struct exec_result *ret, struct err *e)
{
    cleanup(cleanup_json) json_t *status = NULL;
    int rc;

    if (agent_generation(g->agent) != g->generation)
        return err_set(e, VT_GONE, "the machine was reverted, reset or stopped under the command");
    rc = agent_call(g->agent, "guest-exec-status", json_pack("{s:I}", "pid", (json_int_t)g->pid), AGENT_TIMEOUT_MS,
                    &status, e);
    *ret_ended = rc == 0 && json_is_true(json_object_get(status, "exited"));
    return *ret_ended ? take_status(status, ret, e) : rc;
}

bool guestexec_pause(int fd, uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)};
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return ppoll(&p, 1, &ts, NULL) > 0 && p.revents;
}
