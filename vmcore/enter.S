/* Crossing between C and translated code. Translated code has no stack of the host's: RSP is the guest's ESP, so
 * there is one way out: r10 = its struct site, jmp *%gs:CPU_STUB. The stub saves all, calls the C function of the
 * site's kind, and goes on at the host address that it returns, or leaves vcpu_enter where that is 0. */
#include "vmcore/cpu_offsets.h"

    .text
    .globl vcpu_enter
    .type vcpu_enter, @function
/* void vcpu_enter(struct cpu *cpu, const void *code) */
vcpu_enter:
    .cfi_startproc
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    movq %rsp, CPU_HOST_RSP(%rdi)
    movq %rsi, %rax
    jmp vcpu_restore
    .cfi_endproc
    .size vcpu_enter, . - vcpu_enter

    .globl vcpu_stub
    .type vcpu_stub, @function
vcpu_stub:
    movq %rax, %gs:CPU_GPR+0
    lahf
    seto %al
    movl %eax, %gs:CPU_HFL
    movq %rcx, %gs:CPU_GPR+8
    movq %rdx, %gs:CPU_GPR+16
    movq %rbx, %gs:CPU_GPR+24
    movq %rsp, %gs:CPU_GPR+32
    movq %rbp, %gs:CPU_GPR+40
    movq %rsi, %gs:CPU_GPR+48
    movq %rdi, %gs:CPU_GPR+56
    movq %r8, %gs:CPU_R8
    movq %r9, %gs:CPU_R9
    movq %r10, %gs:CPU_R10
    movq %r11, %gs:CPU_R11
    movq %r12, %gs:CPU_R12
    movq %r13, %gs:CPU_R13
    movq %r14, %gs:CPU_R14
    movq %r15, %gs:CPU_R15
    movq %gs:CPU_HOST_RSP, %rsp
    movq %gs:CPU_SELF, %rdi
    movq %r10, %rsi
    movl %r8d, %edx
    movzbl SITE_KIND(%r10), %eax
    movq %gs:CPU_KINDS, %rcx
    call *(%rcx,%rax,8)
    testq %rax, %rax
    jz vcpu_leave
    .globl vcpu_restore
vcpu_restore: /* rax: where to go on */
    testl $CPU_MODE_CODE64, %gs:CPU_MODE
    jnz vcpu_restore64
    movq %gs:CPU_R8, %r8
    movq %gs:CPU_R9, %r9
    movq %rax, %r10
    movl %gs:CPU_HFL, %eax
    movq %gs:CPU_R11, %r11
    movq %gs:CPU_R12, %r12
    movq %gs:CPU_R13, %r13
    movq %gs:CPU_R14, %r14
    movq %gs:CPU_R15, %r15
    movq %gs:CPU_GPR+8, %rcx
    movq %gs:CPU_GPR+16, %rdx
    movq %gs:CPU_GPR+24, %rbx
    movq %gs:CPU_GPR+32, %rsp
    movq %gs:CPU_GPR+40, %rbp
    movq %gs:CPU_GPR+48, %rsi
    movq %gs:CPU_GPR+56, %rdi
    addb $127, %al
    sahf
    movq %gs:CPU_GPR+0, %rax
    jmp *%r10
    .size vcpu_stub, . - vcpu_stub

/* 64-bit code comes with all sixteen registers the guest's, the site in CPU_R10, an address or 0 in CPU_R8. */
    .globl vcpu_stub64
    .type vcpu_stub64, @function
vcpu_stub64:
    movq %rax, %gs:CPU_GPR+0
    lahf
    seto %al
    movl %eax, %gs:CPU_HFL
    movq %rcx, %gs:CPU_GPR+8
    movq %rdx, %gs:CPU_GPR+16
    movq %rbx, %gs:CPU_GPR+24
    movq %rsp, %gs:CPU_GPR+32
    movq %rbp, %gs:CPU_GPR+40
    movq %rsi, %gs:CPU_GPR+48
    movq %rdi, %gs:CPU_GPR+56
    movq %r8, %gs:CPU_GPR+64
    movq %r9, %gs:CPU_GPR+72
    movq %r10, %gs:CPU_GPR+80
    movq %r11, %gs:CPU_GPR+88
    movq %r12, %gs:CPU_GPR+96
    movq %r13, %gs:CPU_GPR+104
    movq %r14, %gs:CPU_GPR+112
    movq %r15, %gs:CPU_GPR+120
    movq %gs:CPU_HOST_RSP, %rsp
    movq %gs:CPU_SELF, %rdi
    movq %gs:CPU_R10, %rsi
    movq %gs:CPU_R8, %rdx
    movzbl SITE_KIND(%rsi), %eax
    movq %gs:CPU_KINDS, %rcx
    call *(%rcx,%rax,8)
    testq %rax, %rax
    jz vcpu_leave
    testl $CPU_MODE_CODE64, %gs:CPU_MODE
    jz vcpu_restore
vcpu_restore64:
    movq %rax, %gs:CPU_GO
    movl %gs:CPU_HFL, %eax
    movq %gs:CPU_GPR+8, %rcx
    movq %gs:CPU_GPR+16, %rdx
    movq %gs:CPU_GPR+24, %rbx
    movq %gs:CPU_GPR+32, %rsp
    movq %gs:CPU_GPR+40, %rbp
    movq %gs:CPU_GPR+48, %rsi
    movq %gs:CPU_GPR+56, %rdi
    movq %gs:CPU_GPR+64, %r8
    movq %gs:CPU_GPR+72, %r9
    movq %gs:CPU_GPR+80, %r10
    movq %gs:CPU_GPR+88, %r11
    movq %gs:CPU_GPR+96, %r12
    movq %gs:CPU_GPR+104, %r13
    movq %gs:CPU_GPR+112, %r14
    movq %gs:CPU_GPR+120, %r15
    addb $127, %al
    sahf
    movq %gs:CPU_GPR+0, %rax
    jmp *%gs:CPU_GO
    .size vcpu_stub64, . - vcpu_stub64

/* The signal handler sends a faulting thread here with all guest state already in struct cpu. */
    .globl vcpu_leave
    .type vcpu_leave, @function
vcpu_leave:
    movq %gs:CPU_HOST_RSP, %rsp
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
    .section .note.GNU-stack, "", @progbits
