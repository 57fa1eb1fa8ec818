#include "cli/life.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include "cli/settings.h"

/* The socket closes a moment before the process is gone and its lock with it. */
int life_wait_unlocked(struct cli *c, const struct machine_info *m, struct err *e)
{
    const uint64_t until = clock_mono_ns() + 10 * NS_PER_SEC;
    bool locked = true;

    for (;;) {
        int r = machine_locked(c->store, m->id, &locked, e);

        if (r || !locked)
            return r;
        if (clock_mono_ns() > until)
            return err_set(e, VT_TIMEOUT, "%s: its monitor does not end", m->name);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

void life_end_parked(struct cli *c, int64_t snapshot)
{
    cleanup(cleanup_client) struct client *client = NULL;
    json_t *event = NULL;

    if (client_open(store_uuid(c->store), CLIENT_PARKED(snapshot), &client, NULL) ||
        client_call(client, "quit", NULL, NULL, NULL))
        return;
    while (client_event(client, 10000, &event, NULL) == 0) /* it closes the connection last, its locks before */
        json_decref(steal(&event));
}

void life_end_all_parked(struct cli *c, int64_t machine)
{
    struct snapshot_info *list = NULL;
    size_t n = 0;

    if (snapshot_list(c->store, machine, &list, &n, NULL))
        return;
    for (size_t i = 0; i < n; i++)
        life_end_parked(c, list[i].id);
    snapshot_list_free(list, n);
}

void life_dated_name(struct cli *c, int64_t machine, const char *prefix, char name[NAME_MAX_LEN + 1])
{
    time_t now = (time_t)(clock_wall_ns() / (int64_t)NS_PER_SEC);
    struct tm tm;
    int64_t id;
    size_t n;

    gmtime_r(&now, &tm);
    n = (size_t)snprintf(name, NAME_MAX_LEN, "%.20s", prefix);
    n += strftime(name + n, NAME_MAX_LEN - n, "%Y%m%d-%H%M%S", &tm);
    /* a second one in the same second */
    for (char letter = 'b'; letter <= 'z' && snapshot_find(c->store, machine, name, true, &id, NULL) == 0; letter++) {
        name[n] = letter;
        name[n + 1] = 0;
    }
}

int life_drop(struct cli *c, int64_t machine, int64_t snapshot, struct client *client, struct err *e)
{
    const int64_t begun = clock_wall_ns();
    int r;

    life_end_parked(c, snapshot);
    r = client_call(client, "vmtest-delete", json_pack("{s:I}", "id", (json_int_t)snapshot), NULL, e);
    return r ? r : undo_forget(c->store, machine, begun, e);
}

/* It ends by closing the connection, once what it was storing is stored: on a busy host, that takes its time. */
#define END_TIMEOUT 60000 /* ms */

int life_end(struct cli *c, const struct machine_info *m, struct client *client, struct err *e)
{
    struct err why = {0};
    int r = client_call(client, "quit", NULL, NULL, &why);

    while (r == 0) {
        json_t *event = NULL;

        r = client_event(client, END_TIMEOUT, &event, &why);
        json_decref(event);
    }
    if (r != VT_GONE)
        return err_set(e, r, "%s: %s", m->name, why.msg);
    return life_wait_unlocked(c, m, e);
}

int life_clock(const char *word, bool *ret_keep, struct err *e)
{
    if (word && strcmp(word, "host") != 0 && strcmp(word, "snapshot") != 0)
        return err_set(e, VT_USAGE, "--clock: \"%s\" is neither host nor snapshot", word);
    *ret_keep = word && word[0] == 's';
    return 0;
}

#define SNAPSHOT_MEMORY_LEAST (UINT64_C(1) << 20)

/* What the monitor may take for what the guest's memory was; 0: what it takes unless told. */
static int snapshot_memory(struct cli *c, uint64_t *ret, struct err *e)
{
    struct setting_value v;
    int r = settings_get(c, "snapshot-memory", &v, e);

    *ret = 0;
    if (r || !v.text)
        return r;
    r = size_parse(v.text, ret, e);
    if (!r && *ret < SNAPSHOT_MEMORY_LEAST)
        r = err_set(e, VT_USAGE, "\"%s\": less than 1M would have the guest stand still", v.text);
    return r ? err_prefix(e, r, "%s: snapshot-memory", v.origin) : 0;
}

int life_start(struct cli *c, const struct machine_info *m, int *lock, const struct life_how *how, struct client **ret,
               struct err *e)
{
    struct monitor_spec spec = {.store = store_dir(c->store),
                                .machine = m->id,
                                .snapshot = how->snapshot,
                                .lock_fd = *lock,
                                .paused = how->paused,
                                .frozen = how->frozen,
                                .keep_clock = how->keep_clock,
                                .gdb = how->gdb,
                                .pcap = how->pcap,
                                .cache_unsafe = how->cache_unsafe};
    cleanup(cleanup_free) char *log = NULL;
    int r = cli_log_path(c, m->id, &log, e);

    if (!r)
        r = snapshot_memory(c, &spec.snapshot_memory, e);
    if (r)
        return r;
    spec.log = log;
    r = monitor_spawn(&spec, ret, e);
    if (!r)
        return 0;
    /* it said why before it ended: the next command finds it gone */
    close(steal_fd(lock));
    life_wait_unlocked(c, m, NULL);
    return err_prefix(e, r, "%s", m->name);
}

int life_command(struct cli *c, const char *command, const char *done, const char *already, struct err *e)
{
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_json) json_t *info = NULL;
    const char *status;
    int r;

    r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        r = cli_connect(c, &m, &client, e);
    if (!r && already && (r = client_call(client, "vmtest-info", NULL, &info, e)) != 0)
        err_prefix(e, r, "%s", m.name);
    status = json_string_value(json_object_get(info, "status"));
    if (!r && already && status && !strcmp(status, already)) {
        out_set(c, "machine", json_string(m.name));
        out_already(c, "%s is %s already", m.name, already);
        return 0;
    }
    if (!r && (r = client_call(client, command, NULL, NULL, e)) != 0)
        err_prefix(e, r, "%s", m.name);
    if (r)
        return r;
    out_set(c, "machine", json_string(m.name));
    out_done(c, NULL, "%s %s", done, m.name);
    return 0;
}

void life_tidy(struct cli *c, int *lock)
{
    fflush(stdout);
    if (*lock >= 0)
        close(steal_fd(lock));
    if (store_maintain(c->store, NULL) == 0)
        store_gc(c->store, NULL, NULL);
}

uint64_t answer_u64(const json_t *answer, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(answer, key));

    return v > 0 ? (uint64_t)v : 0;
}
