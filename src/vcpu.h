/* The vCPU thread: the one caller of vm_run. Other threads pause it, resume it and hear how it ended. */
#ifndef VT_VCPU_H
#define VT_VCPU_H

#include <stdbool.h>
#include "src/base/err.h"
#include "vmcore/vmcore.h"

struct vcpu;

/* How the guest came to its end. */
struct vcpu_end {
    enum vm_stop stop; /* never VM_STOP_KICK */
    int exit_code;     /* VM_STOP_EXIT: the guest's value */
    struct err err;    /* VM_STOP_FAIL: why */
};

/* Starts the thread, paused once (vcpu_resume lets the guest go). ended() is called on the vCPU thread, outside of
 * vm_run, each time the guest comes to an end; the vCPU then stands until vcpu_restart. */
int vcpu_new(struct vm *vm, void (*ended)(void *opaque, const struct vcpu_end *end), void *opaque,
             struct vcpu **ret_vcpu, struct err *e);
/* Stops the guest between two instructions and ends the thread; the machine itself stays. */
void vcpu_free(struct vcpu *v);

/* [any thread but the vCPU's] Pauses nest. At return of vcpu_pause the vCPU stands outside of vm_run. */
void vcpu_pause(struct vcpu *v);
void vcpu_resume(struct vcpu *v);
/* [paused] The machine has another state now (a reset, a revert): an end that it had come to is forgotten. */
void vcpu_restart(struct vcpu *v);
/* [paused] The machine is off (a revert to a snapshot of a stopped machine): it stands until vcpu_restart. */
void vcpu_halt(struct vcpu *v);

#endif
