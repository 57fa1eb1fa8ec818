/* Making a guest ready for a command: the helper or the agent answers, and a guest of an earlier time has become one of
 * its own. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/monitor.h"

static int ready_agent(struct monitor *m, const struct qmp_call *call, struct agent **ret, struct err *e)
{
    struct agent *a = m->machine->agent;
    struct err why = {0};
    int rc = agent_synced(a) ? 0 : agent_wait(a, AGENT_TIMEOUT_MS, qmp_call_gone_fd(call), &why);

    *ret = a;
    return rc == 0 ? 0 : err_set(e, rc == VT_TIMEOUT ? VT_GONE : rc, "%s", why.msg); /* not the command's time-out */
}

/* Where it cannot run, commands go by the agent, and the log says why. */
static int ready_helper(struct monitor *m, const struct qmp_call *call, struct exec_way *way, struct err *e)
{
    struct err why = {0};
    int rc = execport_connect(m->machine->exec, way->agent, qmp_call_gone_fd(call), &why);

    if (rc == VT_NOENT && !way->agent) { /* it ended a moment ago, or was of another version */
        why = (struct err){0};
        rc = ready_agent(m, call, &way->agent, &why);
        if (rc == 0)
            rc = execport_connect(m->machine->exec, way->agent, qmp_call_gone_fd(call), &why);
    }
    if (rc == 0) {
        way->port = m->machine->exec;
        return 0;
    }
    if (rc != VT_FAIL)
        return err_set(e, rc, "%s", why.msg);
    snprintf(way->why_plain, sizeof way->why_plain, "%.*s", (int)sizeof way->why_plain - 1, why.msg);
    log_msg(&m->log, LOG_WARN, "commands go by the guest agent alone: %s", why.msg);
    return 0;
}

/* Its own date: the agent's guest-set-time also writes the hardware clock, which waits for that to tick (1.7 s), and
 * the host has set that one already. */
static int set_clock(struct agent *a, struct err *e)
{
    static const char script[] = "date -s \"@$1\" >/dev/null 2>&1 || date -s \"@${1%.*}\" >/dev/null";
    cleanup(exec_result_release) struct exec_result r = {0};
    int64_t now = clock_wall_ns();
    char text[48];

    snprintf(text, sizeof text, "%lld.%09lld", (long long)(now / (int64_t)NS_PER_SEC),
             (long long)(now % (int64_t)NS_PER_SEC));
    return exec_script(a, script, (const char *[]){text, NULL}, &r, e);
}

/* A fork's cards on private networks get addresses of their own before they are connected. */
static bool fresh_macs(const struct monitor *m, struct ew_mac mac[EW_MACS])
{
    unsigned n = 0;

    _Static_assert(EW_MACS >= CONFIG_MAX_NICS, "room for all");
    for (unsigned i = 0; i < m->config.nnics && m->fork_of; i++) {
        uint8_t random[3];
        if (!*m->config.nic[i].net)
            continue;
        if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
            return false; /* then they stay apart */
        mac[n] = (struct ew_mac){.fresh = {0x52, 0x54, 0x00, random[0], random[1], random[2]}};
        memcpy(mac[n++].old, m->config.nic[i].mac, 6);
    }
    return n > 0;
}

struct joining {
    struct machine *machine;
    struct err err;
    int rc;
};

static void join(void *opaque)
{
    struct joining *j = opaque;

    j->rc = machine_join(j->machine, &j->err);
}

/* The guest's cards are connected, and it asks for the addresses that go with their new ones. */
static void connect_cards(struct monitor *m, const struct qmp_call *call, struct execport *port)
{
    struct joining j = {.machine = m->machine};
    struct err why = {0};
    uint32_t done = 0;

    loop_call_wait(m->loop, join, &j);
    if (j.rc < 0)
        log_msg(&m->log, LOG_WARN, "the fork is on no private network: %s", j.err.msg);
    else if (execport_identity(port, EW_RENEW, NULL, qmp_call_gone_fd(call), &done, &why) < 0)
        log_msg(&m->log, LOG_WARN, "the guest's network addresses could not be renewed: %s", why.msg);
    else if (!done)
        log_msg(&m->log, LOG_WARN, "the guest's network addresses could not be renewed");
}

static int by_helper(struct monitor *m, const struct qmp_call *call, struct execport *port, struct err *e)
{
    struct ew_mac mac[EW_MACS] = {0};
    uint32_t want = EW_SEEDED | (m->keep_clock ? 0 : EW_CLOCK) | (fresh_macs(m, mac) ? EW_MAC : 0), done = 0;
    int rc = execport_identity(port, want, mac, qmp_call_gone_fd(call), &done, e);

    if (rc == 0 && !(done & EW_SEEDED))
        log_msg(&m->log, LOG_WARN, "the guest's random numbers could not be reseeded");
    if (rc == 0 && (want & ~done & EW_CLOCK))
        log_msg(&m->log, LOG_WARN, "the guest's clock could not be set");
    if (rc == 0 && (want & ~done & EW_MAC))
        log_msg(&m->log, LOG_WARN, "the guest's hardware addresses could not be set: its private networks stay away");
    if (rc == 0 && (done & EW_MAC))
        connect_cards(m, call, port);
    return rc;
}

static void by_agent(struct monitor *m, struct agent *a)
{
    struct err why = {0};

    log_msg(&m->log, LOG_WARN, "the guest's random numbers are not reseeded, since the helper does not run in it");
    if (!m->keep_clock && set_clock(a, &why) < 0)
        log_msg(&m->log, LOG_WARN, "the guest's clock could not be set: %s", why.msg);
}

/* Two commands at once must not run before either has seen this through. */
static int own_identity(struct monitor *m, const struct qmp_call *call, const struct exec_way *way, struct err *e)
{
    int rc = 0;

    atomic_store(&m->stale, false); /* first: a revert meanwhile sets it again */
    if (way->port)
        rc = by_helper(m, call, way->port, e);
    else
        by_agent(m, way->agent);
    if (rc < 0)
        atomic_store(&m->stale, true);
    return rc;
}

static int make_ready(struct monitor *m, const struct qmp_call *call, unsigned need, struct exec_way *way,
                      struct err *e)
{
    bool stale = atomic_load(&m->stale) && !m->frozen;
    int rc = 0;

    if (stale)
        need |= READY_COMMAND;
    if ((need & READY_AGENT) || !execport_running(m->machine->exec))
        rc = ready_agent(m, call, &way->agent, e);
    if (rc == 0 && (need & READY_COMMAND))
        rc = ready_helper(m, call, way, e);
    if (rc == 0 && (need & READY_COMMAND) && !way->port && !way->agent)
        rc = ready_agent(m, call, &way->agent, e);
    if (rc == 0 && stale)
        rc = own_identity(m, call, way, e);
    return rc;
}

int monitor_ready(struct monitor *m, const struct qmp_call *call, unsigned need, struct exec_way *ret, struct err *e)
{
    int rc;

    *ret = (struct exec_way){0};
    if (m->state != RUN_RUNNING)
        return err_set(e, VT_BUSY, "the machine does not run: its state is %s", run_state_name(m->state));
    pthread_mutex_lock(&m->readying);
    rc = make_ready(m, call, need, ret, e);
    pthread_mutex_unlock(&m->readying);
    return rc;
}
