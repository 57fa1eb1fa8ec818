#include "vmcore/clock.h"

#include <time.h>

#include "vmcore/rt.h"

/* Times are kept below this, so that sums of two do not wrap. */
#define CLOCK_LIMIT (1ull << 62)

static uint64_t host_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts); /* the vDSO: general registers, no system call */
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t vclock_now(struct vclock *c)
{
    return c->running ? c->base + (host_ns() - c->host_base) : c->base;
}

void vclock_start(struct vclock *c)
{
    if (c->running)
        return;
    c->host_base = host_ns();
    c->running = true;
}

void vclock_stop(struct vclock *c)
{
    c->base = vclock_now(c);
    c->running = false;
}

int64_t vclock_wall(struct vclock *c)
{
    return c->wall_offset + (int64_t)(vclock_now(c) / NS_PER_S);
}

void vclock_set_wall(struct vclock *c, int64_t seconds_since_1970)
{
    c->wall_offset = seconds_since_1970 - (int64_t)(vclock_now(c) / NS_PER_S);
}

void vtimer_init(struct vclock *c, struct vtimer *t, void (*fn)(void *opaque), void *opaque)
{
    *t = (struct vtimer){.deadline = UINT64_MAX, .fn = fn, .opaque = opaque};
}

void vtimer_set(struct vclock *c, struct vtimer *t, uint64_t deadline)
{
    struct vtimer **p;

    if (t->deadline != UINT64_MAX) {
        for (p = &c->timers; *p != t; p = &(*p)->next)
            ;
        *p = t->next;
    }
    t->deadline = deadline;
    t->next = NULL;
    if (deadline == UINT64_MAX)
        return;
    for (p = &c->timers; *p && (*p)->deadline <= deadline; p = &(*p)->next)
        ;
    t->next = *p;
    *p = t;
    if (c->timers == t && c->armed)
        c->armed(c->opaque);
}

/* `now` is read once: a timer that arms itself for a moment already past waits for the next call. */
static unsigned run_until(struct vclock *c, uint64_t now)
{
    unsigned n = 0;
    while (c->timers && c->timers->deadline <= now && n < 1000) {
        struct vtimer *t = c->timers;
        c->timers = t->next;
        t->next = NULL;
        t->deadline = UINT64_MAX;
        t->fn(t->opaque);
        n++;
    }
    return n;
}

unsigned vclock_run_timers(struct vclock *c)
{
    return c->timers ? run_until(c, vclock_now(c)) : 0;
}

void vclock_advance(struct vclock *c, uint64_t ns)
{
    uint64_t end = c->base + ns;
    while (c->timers && c->timers->deadline <= end) {
        if (c->timers->deadline > c->base)
            c->base = c->timers->deadline;
        run_until(c, c->base);
    }
    c->base = end;
}

static void clock_before_save(void *dev)
{
    struct vclock *c = dev;
    if (c->running) {
        c->base = vclock_now(c);
        c->host_base = host_ns();
    }
}

static int clock_loaded(void *dev, const char **why)
{
    struct vclock *c = dev;
    if (c->base >= CLOCK_LIMIT) {
        *why = "time out of range";
        return -1;
    }
    if (c->wall_offset >= (int64_t)CLOCK_LIMIT || c->wall_offset <= -(int64_t)CLOCK_LIMIT) {
        *why = "wall clock out of range";
        return -1;
    }
    if (c->running)
        c->host_base = host_ns();
    return 0;
}

static const struct field clock_fields[] = {
    FIELD(struct vclock, base, F_U64),
    FIELD(struct vclock, wall_offset, F_U64),
    FIELD_END,
};
static const struct state_table clock_table = {"clock", 1, clock_fields, clock_loaded, clock_before_save};

void vclock_init(struct vclock *c, struct devctx *ctx, int64_t wall_start)
{
    memset(c, 0, sizeof *c);
    c->wall_offset = wall_start;
    ctx->add_state(ctx, &c->state, "clock", &clock_table, c);
}
