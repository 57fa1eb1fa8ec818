/* The machine's insides, shared by vm.c (running), vm_host.c (making, loading, saving) and vm_thread.c (signals, the
 * timer thread). */
#ifndef VT_VM_H
#define VT_VM_H

#include <pthread.h>
#include "vmcore/board.h"
#include "vmcore/boot.h"
#include "vmcore/bus.h"
#include "vmcore/cache.h"
#include "vmcore/clock.h"
#include "vmcore/cpu.h"
#include "vmcore/debug.h"
#include "vmcore/mem.h"
#include "vmcore/rt_log.h"
#include "vmcore/state.h"
#include "vmcore/vmcore.h"

struct vm {
    struct cpu *cpu; /* the start of the GS region */
    struct mem *mem;
    struct cache *cache;
    struct bus bus;
    struct vclock clock;
    struct board *board; /* NULL: VM_BOARD_BARE */
    struct devctx ctx;
    struct state_list states;
    struct state_entry cpu_state;
    struct vm_config config;
    struct rt_log_ring log;
    uint64_t guest_tsc; /* while stopped: what RDTSC would give */

    struct vm_event *events; /* atomic LIFO */
    struct vm_event power_event;
    uint32_t kicked; /* atomic */
    bool runs;       /* inside of vm_run */
    uint32_t asleep; /* atomic: the vCPU thread waits on cpu->attn */
    uint8_t want_reset, want_poweroff, want_exit;
    uint32_t exit_code;
    bool failed;
    struct err failure;

    int timer_fd;
    uint64_t timer_at; /* virtual time that timer_fd is set for; UINT64_MAX: off, 0: not known */
    bool in_guest;     /* between cpu_resume and the return of vcpu_enter */
    bool ticker_on;
    pthread_t ticker;
    void *alt_stack;
    size_t alt_size;
    uint64_t halts, halted_ns;
    struct debug debug;

    struct bios_files *bios_files; /* what firmware reads */
    struct {                       /* direct boot, kept for resets; all malloc'ed */
        struct boot_files files;
        struct vm_module module[VM_MAX_MODULES]; /* files.module */
    } boot;
};

void vm_arm_timer(void *vm);                     /* vm.c: the clock's soonest deadline changed */
int vm_boot_again(struct vm *vm, struct err *e); /* vm_boot.c: where a kernel is loaded */
void vm_boot_release(struct vm *vm);
extern const struct state_table cpu_state_table; /* cpu_state.c */

#endif
