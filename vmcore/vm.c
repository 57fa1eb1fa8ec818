/* Running: the vCPU thread's loop around translated code. General registers only; the guest's vector state is in the
 * host's registers from enter_guest() to leave_guest(). */
#include "vmcore/vm.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include "src/base/util.h"
#include "vmcore/rt.h"

void rt_log(struct vm *vm, const char *fmt, ...)
{
    va_list ap;

    if (!vm)
        return;
    va_start(ap, fmt);
    rt_log_vput(&vm->log, fmt, ap);
    va_end(ap);
}

void vm_fail(struct vm *vm, const char *what, uint64_t addr)
{
    static const char hex[] = "0123456789abcdef";
    char *p = vm->failure.msg;

    if (vm->failed)
        return;
    while (*what)
        *p++ = *what++;
    for (int i = 0; i < 2; i++) {
        uint64_t v = i ? vm->cpu->eip : addr;
        const char *name = i ? ", eip " : ": linear ";
        while (*name)
            *p++ = *name++;
        for (int k = v >> 32 ? 60 : 28; k >= 0; k -= 4)
            *p++ = hex[(v >> k) & 15];
    }
    *p = 0;
    vm->failure.code = VT_FAIL;
    vm->failed = true;
    cpu_set_attn(vm->cpu, ATTN_EXIT);
}

static void wake(struct vm *vm)
{
    if (__atomic_load_n(&vm->asleep, __ATOMIC_SEQ_CST))
        rt_syscall6(SYS_futex, (long)&vm->cpu->attn, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

void vm_post(struct vm *vm, struct vm_event *ev)
{
    if (__atomic_exchange_n(&ev->pending, 1, __ATOMIC_ACQ_REL))
        return;
    ev->next = __atomic_load_n(&vm->events, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&vm->events, &ev->next, ev, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
    cpu_set_attn(vm->cpu, ATTN_EVENT);
    wake(vm);
}

void vm_kick(struct vm *vm)
{
    __atomic_store_n(&vm->kicked, 1, __ATOMIC_SEQ_CST);
    cpu_set_attn(vm->cpu, ATTN_STOP);
    wake(vm);
}

static void run_events(struct vm *vm)
{
    struct vm_event *list = __atomic_exchange_n(&vm->events, NULL, __ATOMIC_ACQUIRE), *rev = NULL, *next;

    for (; list; list = next) { /* oldest first */
        next = list->next;
        list->next = rev;
        rev = list;
    }
    for (; rev; rev = next) {
        next = rev->next;
        __atomic_store_n(&rev->pending, 0, __ATOMIC_RELEASE);
        rev->fn(rev);
    }
}

/* The timer that interrupts translated code: for the soonest deadline, UINT64_MAX disarms. */
static void set_timer(struct vm *vm, uint64_t at)
{
    struct {
        struct timespec interval, value;
    } t = {{0, 0}, {0, 0}};

    if (at == vm->timer_at || vm->timer_fd < 0)
        return;
    vm->timer_at = at;
    if (at != UINT64_MAX) {
        uint64_t now = vclock_now(&vm->clock);
        at = at > now ? at - now : 1;
        t.value.tv_sec = (time_t)(at / NS_PER_S);
        t.value.tv_nsec = (long)(at % NS_PER_S);
    }
    rt_syscall6(SYS_timerfd_settime, vm->timer_fd, 0, (long)&t, 0, 0, 0);
}

/* The clock's soonest deadline changed: at once inside translated code, else before it is entered. A halt needs no
 * timer, it sleeps until the deadline. */
void vm_arm_timer(void *opaque)
{
    struct vm *vm = opaque;

    if (vm->in_guest)
        set_timer(vm, vclock_next_deadline(&vm->clock));
}

static uint64_t host_tsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}

static void enter_guest(struct vm *vm)
{
    struct cpu *c = vm->cpu;

    c->tsc_offset = vm->guest_tsc - host_tsc();
    vclock_start(&vm->clock);
    vm->timer_at = 0;
    vector_save(c->model, &c->x_host);
    vector_load(c->model, &c->x);
}

static void leave_guest(struct vm *vm)
{
    struct cpu *c = vm->cpu;

    vector_save(c->model, &c->x);
    vector_load(c->model, &c->x_host);
    vclock_stop(&vm->clock);
    vm->guest_tsc = host_tsc() + c->tsc_offset;
}

/* Sleeps until the attention word changes or the next timer is due. */
static void halt_wait(struct vm *vm)
{
    uint64_t at = vclock_next_deadline(&vm->clock), now = vclock_now(&vm->clock), wait;
    struct timespec ts = {0, 0};

    if (at <= now)
        return;
    set_timer(vm, UINT64_MAX);
    wait = at == UINT64_MAX ? 1000 * NS_PER_S : at - now;
    ts.tv_sec = (time_t)(wait / NS_PER_S);
    ts.tv_nsec = (long)(wait % NS_PER_S);
    __atomic_store_n(&vm->asleep, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&vm->cpu->attn, __ATOMIC_SEQ_CST))
        rt_syscall6(SYS_futex, (long)&vm->cpu->attn, FUTEX_WAIT_PRIVATE, 0, (long)&ts, 0, 0);
    __atomic_store_n(&vm->asleep, 0, __ATOMIC_SEQ_CST);
    vm->halts++;
    vm->halted_ns += vclock_now(&vm->clock) - now;
}

static void interrupts(struct vm *vm)
{
    struct cpu *c = vm->cpu;
    int v;

    if (c->exc_pending || c->trap_after || (c->inhibit && c->inhibit_eip == c->eip) ||
        (c->debug && debug_holds_interrupts(c))) {
        cpu_update_intr(c);
        return;
    }
    c->inhibit = 0;
    if (c->nmi_pending && !c->nmi_masked) {
        c->nmi_pending = 0;
        c->nmi_masked = 1;
        c->halted = 0;
        gate_interrupt(c, X_NMI, false, false, 0);
        return;
    }
    if (!c->intr_level || !(c->eflags & EF_IF) || !c->ack_irq)
        return;
    v = c->ack_irq(c->board);
    if (v < 0)
        return;
    c->halted = 0;
    gate_interrupt(c, (unsigned)v, false, false, 0);
    cpu_update_intr(c);
}

/* What the vCPU thread itself, or somebody, asked for. True: *ret_stop. */
static bool requests(struct vm *vm, enum vm_stop *ret_stop)
{
    if (vm->failed) {
        *ret_stop = VM_STOP_FAIL;
    } else if (vm->want_poweroff) {
        vm->want_poweroff = 0;
        *ret_stop = VM_STOP_POWEROFF;
    } else if (vm->want_exit) {
        vm->want_exit = 0;
        *ret_stop = VM_STOP_EXIT;
    } else if (vm->cpu->triple) {
        vm->cpu->triple = 0;
        *ret_stop = VM_STOP_TRIPLE;
    } else if (vm->want_reset) {
        vm->want_reset = 0;
        *ret_stop = VM_STOP_RESET;
    } else if (vm->debug.stopped) {
        vm->debug.stopped = false;
        *ret_stop = VM_STOP_DEBUG;
    } else if (__atomic_exchange_n(&vm->kicked, 0, __ATOMIC_SEQ_CST)) {
        *ret_stop = VM_STOP_KICK;
    } else
        return false;
    return true;
}

static enum vm_stop loop(struct vm *vm)
{
    struct cpu *c = vm->cpu;
    enum vm_stop stop;

    for (;;) {
        uint32_t attn = __atomic_exchange_n(&c->attn, 0, __ATOMIC_SEQ_CST);
        uint64_t code;

        if (attn & ATTN_EVENT)
            run_events(vm);
        if ((attn & ATTN_TIMER) || c->halted) {
            vm->timer_at = attn & ATTN_TIMER ? 0 : vm->timer_at;
            vclock_run_timers(&vm->clock);
        }
        if (c->ferr) {
            c->ferr = 0;
            if (c->ferr_hook)
                c->ferr_hook(c->board);
        }
        if (requests(vm, &stop))
            return stop;
        if (vm->cache->flush_wanted)
            cache_flush(vm->cache);
        interrupts(vm);
        if (c->halted) {
            halt_wait(vm);
            continue;
        }
        set_timer(vm, vclock_next_deadline(&vm->clock));
        vm->in_guest = true;
        code = cpu_resume(c);
        if (code)
            vcpu_enter(c, (const void *)code);
        vm->in_guest = false;
    }
}

enum vm_stop vm_run(struct vm *vm, struct err *e)
{
    enum vm_stop stop;

    for (;;) {
        enter_guest(vm);
        vm->runs = true;
        stop = loop(vm);
        vm->runs = false;
        leave_guest(vm);
        if (stop != VM_STOP_RESET || vm->config.no_reboot)
            break;
        vm_reset(vm);
        if (vm->failed)
            stop = VM_STOP_FAIL;
        if (stop == VM_STOP_FAIL)
            break;
    }
    if (stop == VM_STOP_FAIL && e)
        *e = vm->failure;
    return stop;
}

int vm_exit_code(const struct vm *vm)
{
    return (int)vm->exit_code;
}
