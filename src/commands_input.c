/* The monitor's commands for input: typed text and keys, and QMP's single events. */
#include <string.h>
#include "src/base/banned.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/commands.h"
#include "src/keys.h"

#define STALL_NS (10 * NS_PER_SEC)

/* ---- vmtest-type */

static int read_text(const json_t *args, struct buf *keys, struct err *e)
{
    const char *text = NULL;
    json_t *chords = NULL, *j;
    size_t i;
    int rc = json_get_str(args, "text", JSON_OPTIONAL, &text, WHERE, e);

    if (rc == 0 && text)
        rc = keys_add_text(keys, text, strlen(text), e);
    if (rc == 0)
        rc = json_get_array(args, "keys", JSON_OPTIONAL, &chords, WHERE, e);
    json_array_foreach(chords, i, j)
    {
        if (rc == 0 && !json_is_string(j))
            rc = err_set(e, VT_USAGE, "\"keys\" are not strings");
        if (rc == 0)
            rc = keys_add_chord(keys, json_string_value(j), e);
    }
    return rc;
}

static void work_type(struct monitor *m, struct qmp_call *call)
{
    struct typist_stop stop = {.stall_ns = STALL_NS, .gone_fd = qmp_call_gone_fd(call), .end_fd = m->end_fd};
    cleanup(buf_release) struct buf keys = {0};
    struct err err = {0};
    size_t taken = 0;
    int rc = get_seconds(call->args, "timeout", &stop.stall_ns, &err);

    if (rc == 0)
        rc = read_text(call->args, &keys, &err);
    if (rc == 0 && m->state != RUN_RUNNING)
        rc = err_set(&err, VT_BUSY, "the guest does not run: it is in state \"%s\"", run_state_name(m->state));
    if (rc == 0)
        rc = typist_type(m->machine->typist, (const struct input_key *)keys.data, keys.len / sizeof(struct input_key),
                         &stop, &taken, &err);
    answer(call, rc, rc ? NULL : json_pack("{s:I}", "events", (json_int_t)taken), &err);
}

void cmd_type(void *opaque, struct qmp_call *call)
{
    start_job(opaque, call, work_type);
}

/* ---- send-key and input-send-event, as QEMU has them */

/* {"type": "qcode", "data": NAME} or {"type": "number", "data": CODE} */
static int read_key(const json_t *j, uint8_t *ret, struct err *e)
{
    const char *type = NULL, *name = NULL;
    uint64_t number = 0;
    int rc = json_get_str(j, "type", JSON_REQUIRED, &type, WHERE, e), code;

    if (rc < 0)
        return rc;
    if (!strcmp(type, "number")) {
        rc = json_get_u64(j, "data", JSON_REQUIRED, &number, WHERE, e);
        if (rc == 0 && (number == 0 || number > 0xff))
            rc = err_set(e, VT_USAGE, "there is no key number %llu", (unsigned long long)number);
        *ret = (uint8_t)number;
        return rc;
    }
    if (strcmp(type, "qcode") != 0)
        return err_set(e, VT_USAGE, "a key's \"type\" is qcode or number");
    rc = json_get_str(j, "data", JSON_REQUIRED, &name, WHERE, e);
    if (rc < 0)
        return rc;
    code = keys_find(name);
    if (code < 0)
        return err_set(e, VT_USAGE, "there is no key \"%.20s\"", name);
    *ret = (uint8_t)code;
    return 0;
}

static int send_keys(struct monitor *m, const json_t *args, struct err *e)
{
    struct input_key keys[32];
    json_t *list = NULL, *j;
    size_t i, n;
    int rc = json_get_array(args, "keys", JSON_REQUIRED, &list, WHERE, e);

    if (rc < 0)
        return rc;
    n = json_array_size(list);
    if (n == 0 || n > ARRAY_LEN(keys) / 2)
        return err_set(e, VT_USAGE, "1 to %zu keys can be pressed at once", ARRAY_LEN(keys) / 2);
    json_array_foreach(list, i, j)
    {
        struct input_key *down = &keys[i], *up = &keys[2 * n - 1 - i];

        rc = read_key(j, &down->code, e);
        if (rc < 0)
            return rc;
        down->down = KEY_DOWN;
        *up = (struct input_key){down->code, KEY_UP};
    }
    return typist_keys(m->machine->typist, keys, 2 * n, e);
}

/* "hold-time" is taken and means nothing: the guest sees each press and each release when it reads them. */
void cmd_send_key(void *opaque, struct qmp_call *call)
{
    struct err err = {0};
    int rc = send_keys(opaque, call->args, &err);

    answer(call, rc, NULL, &err);
}

static int send_button(struct typist *t, const json_t *data, struct err *e)
{
    static const char *const names[] = {"left", "right", "middle", "side", "extra"};
    const char *name = NULL;
    bool down = false;
    int rc = json_get_str(data, "button", JSON_REQUIRED, &name, WHERE, e);

    if (rc == 0)
        rc = json_get_bool(data, "down", JSON_REQUIRED, &down, WHERE, e);
    if (rc < 0)
        return rc;
    if (!strcmp(name, "wheel-up") || !strcmp(name, "wheel-down"))
        return down ? typist_mouse(t, 0, 0, name[6] == 'u' ? -1 : 1, 0, 0, e) : 0;
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(name, names[i]))
            return typist_mouse(t, 0, 0, 0, 1u << i, down ? 1u << i : 0, e);
    return err_set(e, VT_USAGE, "a mouse has no button \"%.20s\"", name);
}

static int send_movement(struct typist *t, const json_t *data, struct err *e)
{
    const json_t *value = json_object_get(data, "value");
    const char *axis = NULL;
    int rc = json_get_str(data, "axis", JSON_REQUIRED, &axis, WHERE, e), n;

    if (rc < 0)
        return rc;
    if (!json_is_integer(value) || json_integer_value(value) < -32767 || json_integer_value(value) > 32767)
        return err_set(e, VT_USAGE, "\"value\" is not a number from -32767 to 32767");
    n = (int)json_integer_value(value);
    if (strcmp(axis, "x") != 0 && strcmp(axis, "y") != 0)
        return err_set(e, VT_USAGE, "\"axis\" is x or y");
    return axis[0] == 'x' ? typist_mouse(t, n, 0, 0, 0, 0, e) : typist_mouse(t, 0, n, 0, 0, 0, e);
}

static int send_event(struct typist *t, const json_t *event, struct err *e)
{
    const char *type = NULL;
    json_t *data = NULL, *key = NULL;
    struct input_key k;
    bool down = false;
    int rc = json_get_str(event, "type", JSON_REQUIRED, &type, WHERE, e);

    if (rc == 0)
        rc = json_get_object(event, "data", JSON_REQUIRED, &data, WHERE, e);
    if (rc < 0)
        return rc;
    if (!strcmp(type, "btn"))
        return send_button(t, data, e);
    if (!strcmp(type, "rel"))
        return send_movement(t, data, e);
    if (strcmp(type, "key") != 0)
        return err_set(e, VT_USAGE, "\"%.20s\" is no input that this machine has: key, btn and rel are", type);
    rc = json_get_object(data, "key", JSON_REQUIRED, &key, WHERE, e);
    if (rc == 0)
        rc = json_get_bool(data, "down", JSON_REQUIRED, &down, WHERE, e);
    if (rc == 0)
        rc = read_key(key, &k.code, e);
    k.down = down ? KEY_HELD : KEY_UP;
    return rc < 0 ? rc : typist_keys(t, &k, 1, e);
}

void cmd_input_send_event(void *opaque, struct qmp_call *call)
{
    struct monitor *m = opaque;
    struct err err = {0};
    json_t *events = NULL, *j;
    size_t i;
    int rc = json_get_array(call->args, "events", JSON_REQUIRED, &events, WHERE, &err);

    json_array_foreach(events, i, j) if (rc == 0)
    {
        rc = json_is_object(j) ? send_event(m->machine->typist, j, &err)
                               : err_set(&err, VT_USAGE, "\"events\" are not objects");
    }
    answer(call, rc, NULL, &err);
}
