/* The vCPU thread's side of debugging: see debug.h. A stop is before the instruction at a breakpoint, and after the one
 * that met a watchpoint. */
#include "vmcore/debug.h"

#include "vmcore/cache.h"
#include "vmcore/cpu.h"

static bool stop_for(struct cpu *c, struct vm_debug_stop why, uint64_t lin)
{
    struct debug *d = c->debug;

    d->why = why;
    d->hit = (struct vm_debug_stop){0};
    d->step = STEP_NONE;
    d->skip = true;
    d->skip_lin = lin;
    d->stopped = true;
    cpu_set_attn(c, ATTN_EXIT);
    return true;
}

static bool breaks_at(const struct debug *d, uint64_t lin)
{
    if (!debug_splits(d, lin))
        return false;
    for (unsigned i = 0; i < d->n; i++)
        if (d->point[i].kinds == VM_BREAK_EXEC && d->point[i].lin == lin)
            return true;
    return false;
}

bool debug_stop(struct cpu *c, uint64_t lin)
{
    struct debug *d = c->debug;

    if (d->stopped)
        return true;
    if (d->hit.kinds)
        return stop_for(c, d->hit, lin);
    if (d->step == STEP_RUNS || (d->step == STEP_ARMED && d->step_seen && lin != d->step_lin))
        return stop_for(c, (struct vm_debug_stop){0, 0}, lin); /* the second: it faulted where it was fetched */
    if (d->step == STEP_ARMED) {
        d->step_seen = true;
        d->step_lin = lin;
        c->single = 1;
        return false;
    }
    if ((!d->skip || d->skip_lin != lin) && breaks_at(d, lin))
        return stop_for(c, (struct vm_debug_stop){VM_BREAK_EXEC, lin}, lin);
    return false;
}

void debug_enters(struct cpu *c, uint64_t lin)
{
    struct debug *d = c->debug;

    if (d->step == STEP_ARMED)
        d->step = STEP_RUNS;
    if (d->skip_lin == lin)
        d->skip = false;
}

bool debug_holds_interrupts(const struct cpu *c)
{
    return c->debug->step != STEP_NONE && !c->halted;
}

/* ---- watchpoints */

static bool page_overlap(uint64_t a, unsigned alen, uint64_t b, unsigned blen)
{
    return a >> 12 <= (b + blen - 1) >> 12 && b >> 12 <= (a + alen - 1) >> 12;
}

bool debug_watched(const struct debug *d, uint64_t lin, unsigned len)
{
    for (unsigned i = 0; d->nwatch && i < d->n; i++)
        if (d->point[i].kinds != VM_BREAK_EXEC && page_overlap(d->point[i].lin, d->point[i].len, lin, len))
            return true;
    return false;
}

static bool find_hit(const struct debug *d, uint64_t lin, unsigned len, unsigned rw, struct vm_debug_stop *ret)
{
    unsigned kinds = (rw & 1 ? VM_WATCH_READ : 0) | (rw & 2 ? VM_WATCH_WRITE : 0);

    for (unsigned i = 0; i < d->n; i++)
        if ((d->point[i].kinds & kinds) && d->point[i].lin < lin + len && lin < d->point[i].lin + d->point[i].len) {
            *ret = (struct vm_debug_stop){d->point[i].kinds, d->point[i].lin};
            return true;
        }
    return false;
}

bool debug_access(struct cpu *c, const struct site *s, uint64_t lin, unsigned len, unsigned rw)
{
    struct vm_debug_stop hit;
    const struct block *b;

    if (!find_hit(c->debug, lin, len, rw, &hit))
        return false;
    b = cache_by_host(c->cache, s);
    if (b && !(b->mode & M_STEP))
        return true;
    c->debug->hit = hit;
    cpu_set_attn(c, ATTN_EXIT);
    return false;
}

void debug_c_access(struct cpu *c, uint64_t lin, unsigned len, bool write)
{
    if (c->debug->hit.kinds || !find_hit(c->debug, lin, len, write ? 2 : 1, &c->debug->hit))
        return;
    cpu_set_attn(c, ATTN_EXIT);
}
