#include "src/exec.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include "src/b64.h"
#include "src/base/banned.h"
#include "src/base/io.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"

#define POLL_FIRST_NS (1 * NS_PER_MS)
#define POLL_LAST_NS  (50 * NS_PER_MS)

/* In the guest: $1 this text, $2 directory, $3 user, $4 how many words of environment follow, then the command. A
 * session of its own, so that all of it can be killed; setsid execs in place, so that the agent's pid is the command's.
 */
static const char launcher[] =
    "self=$1 d=$2 u=$3 n=$4; shift 4\n"
    "if [ -n \"$u\" ]; then\n"
    "  g=$(id -g -- \"$u\") || exit 125\n"
    "  exec setpriv --reuid=\"$u\" --regid=\"$g\" --init-groups --reset-env"
    " /bin/sh -c \"$self\" sh \"$self\" \"$d\" '' \"$n\" \"$@\"\n"
    "fi\n"
    "[ -n \"$HOME\" ] || export HOME=/root\n"
    "[ -n \"$PATH\" ] || export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
    "while [ \"$n\" -gt 0 ]; do export \"$1\"; shift; n=$((n - 1)); done\n"
    "cd \"${d:-/}\" || exit 125\n"
    "if command -v setsid >/dev/null 2>&1; then exec setsid \"$@\"; fi\n"
    "exec \"$@\"\n";

void exec_result_release(struct exec_result *r)
{
    buf_release(&r->out);
    buf_release(&r->err);
}

static bool name_ok(const char *word)
{
    const char *p = word;

    if (!isalpha((unsigned char)*p) && *p != '_')
        return false;
    while (isalnum((unsigned char)*p) || *p == '_')
        p++;
    return *p == '=';
}

static bool add(json_t *list, const char *s)
{
    return json_array_append_new(list, json_string(s)) == 0;
}

static int build_args(const struct exec_spec *x, json_t **ret, struct err *e)
{
    cleanup(cleanup_json) json_t *arg = json_array(), *args = NULL;
    cleanup(cleanup_free) char *input = NULL;
    char count[16];
    unsigned nenv = 0;
    bool ok;

    if (!x->argv[0])
        return err_set(e, VT_USAGE, "no command");
    for (; x->env && x->env[nenv]; nenv++)
        if (!name_ok(x->env[nenv]))
            return err_set(e, VT_USAGE, "\"%s\" is not NAME=value", x->env[nenv]);
    snprintf(count, sizeof count, "%u", nenv);
    ok = add(arg, "-c") && add(arg, launcher) && add(arg, "sh") && add(arg, launcher) &&
         add(arg, x->dir ? x->dir : "") && add(arg, x->user ? x->user : "") && add(arg, count);
    for (unsigned i = 0; i < nenv; i++)
        ok = ok && add(arg, x->env[i]);
    for (size_t i = 0; x->argv[i]; i++)
        ok = ok && add(arg, x->argv[i]);
    if (!ok)
        return err_set(e, VT_USAGE, "a word of the command is not UTF-8 text");
    args = json_pack("{s:s, s:O, s:b}", "path", "/bin/sh", "arg", arg, "capture-output", 1);
    if (args && x->input_len) {
        input = b64_encode(x->input, x->input_len);
        if (!input || json_object_set_new(args, "input-data", json_string(input)) < 0)
            return err_set(e, VT_FAIL, "out of memory");
    }
    *ret = steal(&args);
    return *ret ? 0 : err_set(e, VT_FAIL, "out of memory");
}

static int take_output(const json_t *status, const char *key, struct buf *out, struct err *e)
{
    const json_t *data = json_object_get(status, key);

    if (data && (!json_is_string(data) || !b64_decode(json_string_value(data), json_string_length(data), out)))
        return err_set(e, VT_FAIL, "guest agent: guest-exec-status: %s is not base64", key);
    return 0;
}

/* What the agent says of an ended command. */
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
        ret->status = (int)((128 + json_integer_value(sig)) & 0xff);
    else
        return err_set(e, VT_FAIL, "guest agent: guest-exec-status: neither exit code nor signal");
    if (json_is_true(json_object_get(status, "out-truncated")) ||
        json_is_true(json_object_get(status, "err-truncated")))
        return err_set(e, VT_FAIL,
                       "the command wrote more than the guest agent carries (16 MiB): its output is incomplete"
                       " (redirect it to a file in the guest and copy that out)");
    return 0;
}

/* Ends the command and what it started; nobody will ask for its status any more. */
static void kill_guest(struct agent *a, json_int_t pid)
{
    json_t *arg = json_pack("[s, s, s, s]", "-c",
                            "kill -TERM -$1 2>/dev/null || kill -TERM $1 2>/dev/null; sleep 1; "
                            "kill -KILL -$1 2>/dev/null || kill -KILL $1 2>/dev/null",
                            "sh", "");

    json_array_set_new(arg, 3, json_sprintf("%lld", (long long)pid));
    agent_call(a, "guest-exec", json_pack("{s:s, s:o}", "path", "/bin/sh", "arg", arg), AGENT_TIMEOUT_MS, NULL, NULL);
}

/* Waits for fd (-1: none) to become readable, at most ns. */
static bool cancelled(int fd, uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)};
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return ppoll(&p, 1, &ts, NULL) > 0 && p.revents;
}

int exec_run(struct agent *a, const struct exec_spec *x, struct exec_result *ret, struct err *e)
{
    cleanup(cleanup_json) json_t *args = NULL, *started = NULL;
    uint64_t begin = clock_mono_ns(), generation = agent_generation(a), wait = POLL_FIRST_NS;
    const json_t *pid;
    int rc = build_args(x, &args, e);

    *ret = (struct exec_result){0};
    if (rc == 0)
        rc = agent_call(a, "guest-exec", steal(&args), AGENT_TIMEOUT_MS, &started, e);
    if (rc < 0)
        return rc;
    pid = json_object_get(started, "pid");
    if (!json_is_integer(pid))
        return err_set(e, VT_FAIL, "guest agent: guest-exec: an answer without a process number");
    for (;;) {
        cleanup(cleanup_json) json_t *status = NULL;
        bool given_up = cancelled(x->cancel_fd, wait), late = x->timeout && clock_mono_ns() - begin >= x->timeout;

        if (agent_generation(a) != generation)
            return err_set(e, VT_GONE, "the machine was reverted, reset or stopped under the command");
        rc = agent_call(a, "guest-exec-status", json_pack("{s:O}", "pid", pid), AGENT_TIMEOUT_MS, &status, e);
        if (rc < 0)
            return rc;
        if (json_is_true(json_object_get(status, "exited")))
            return take_status(status, ret, e);
        if (given_up || late) {
            kill_guest(a, json_integer_value(pid));
            return given_up ? err_set(e, VT_GONE, "given up")
                            : err_set(e, VT_TIMEOUT, "timed out after %g s", (double)x->timeout / (double)NS_PER_SEC);
        }
        wait = MIN(wait + wait / 2, POLL_LAST_NS);
    }
}

/* All of fd, or an error where it holds more than the agent carries. */
static int read_input(int fd, int cancel_fd, struct buf *input, struct err *e)
{
    for (;;) {
        struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};
        char *room = buf_reserve(input, 65536);
        ssize_t n;

        if (!room)
            return err_set(e, VT_FAIL, "out of memory");
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return err_set(e, VT_IO, "standard input: %m");
        if (p[1].revents)
            return err_set(e, VT_GONE, "given up");
        if (!p[0].revents)
            continue;
        n = read(fd, room, 65536);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return err_set(e, VT_IO, "standard input: %m");
        if (n == 0)
            return 0;
        input->len += (size_t)n;
        if (input->len > EXEC_INPUT_MAX)
            return err_set(e, VT_FAIL,
                           "standard input: more than the guest agent carries (16 MiB): copy it in as a file");
    }
}

static int write_output(int fd, const struct buf *b, const char *name, struct err *e)
{
    if (fd < 0 || b->len == 0)
        return 0;
    return io_write_full(fd, b->data, b->len, name, e);
}

int exec_streams(struct agent *a, const struct exec_spec *x, int in, int out, int err, int *ret_status, struct err *e)
{
    cleanup(buf_release) struct buf input = {0};
    cleanup(exec_result_release) struct exec_result r = {0};
    struct exec_spec with = *x;
    int rc = in >= 0 && !isatty(in) ? read_input(in, x->cancel_fd, &input, e) : 0, rc_out;
    struct err late = {0};

    if (rc < 0)
        return rc;
    with.input = input.data;
    with.input_len = input.len;
    rc = exec_run(a, &with, &r, e);
    rc_out = write_output(out, &r.out, "standard output", &late); /* an incomplete output is shown, too */
    if (rc_out == 0)
        rc_out = write_output(err, &r.err, "standard error", &late);
    if (rc == 0 && rc_out < 0)
        rc = err_set(e, rc_out, "%s", late.msg);
    if (rc == 0)
        *ret_status = r.status;
    return rc;
}

int exec_script(struct agent *a, const char *script, const char *const *words, struct exec_result *ret, struct err *e)
{
    const char *argv[12] = {"/bin/sh", "-c", script, "sh"};
    struct exec_spec x = {.argv = argv, .cancel_fd = -1, .timeout = 600 * NS_PER_SEC};
    unsigned n = 4;
    char *end;
    int rc;

    for (; words && *words; words++) {
        vt_assert(n + 1 < ARRAY_LEN(argv));
        argv[n++] = *words;
    }
    rc = exec_run(a, &x, ret, e);
    if (rc < 0 || ret->status == 0)
        return rc;
    while (ret->err.len && isspace((unsigned char)ret->err.data[ret->err.len - 1]))
        ret->err.data[--ret->err.len] = 0;
    end = ret->err.len ? strrchr(ret->err.data, '\n') : NULL;
    return err_set(e, VT_FAIL, "in the guest: %s", ret->err.len ? (end ? end + 1 : ret->err.data) : "failed");
}
