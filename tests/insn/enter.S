/* Into 32-bit code and back. native_enter() loads everything from the save page and goes by IRETQ, which sets SS, ESP,
 * the flags, CS and EIP at once. The tested code comes back by a far jump to exit_begin, copied to EXIT_VA (a far jump
 * reaches only the low 4 GiB), or the signal handler sends it to exit_fx after it has noted the registers itself.
 * All data is at fixed low addresses: no register is free on either way. */
#include "layout.h"

        .text
        .globl  native_enter
        .type   native_enter, @function
native_enter:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, SAVE_VA+SAVE_HOST_RSP
        pushq   $2              /* a signal's return keeps NT, with which IRETQ faults */
        popfq
        fxrstor SAVE_VA+SAVE_FX_IN
        movl    $SEL_DATA, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    SAVE_VA+SAVE_IN_FSGS, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        pushq   $SEL_DATA
        movl    SAVE_VA+SAVE_IN_GPR+16, %eax
        pushq   %rax
        pushq   SAVE_VA+SAVE_IN_FLAGS
        pushq   $SEL_CODE32
        pushq   SAVE_VA+SAVE_IN_EIP
        movl    SAVE_VA+SAVE_IN_GPR+0, %eax
        movl    SAVE_VA+SAVE_IN_GPR+4, %ecx
        movl    SAVE_VA+SAVE_IN_GPR+8, %edx
        movl    SAVE_VA+SAVE_IN_GPR+12, %ebx
        movl    SAVE_VA+SAVE_IN_GPR+20, %ebp
        movl    SAVE_VA+SAVE_IN_GPR+24, %esi
        movl    SAVE_VA+SAVE_IN_GPR+28, %edi
        iretq
        .size   native_enter, . - native_enter

        .globl  exit_begin, exit_fx, exit_end
exit_begin:
        movl    %eax, SAVE_VA+SAVE_OUT_GPR+0
        movl    %ecx, SAVE_VA+SAVE_OUT_GPR+4
        movl    %edx, SAVE_VA+SAVE_OUT_GPR+8
        movl    %ebx, SAVE_VA+SAVE_OUT_GPR+12
        movl    %esp, SAVE_VA+SAVE_OUT_GPR+16
        movl    %ebp, SAVE_VA+SAVE_OUT_GPR+20
        movl    %esi, SAVE_VA+SAVE_OUT_GPR+24
        movl    %edi, SAVE_VA+SAVE_OUT_GPR+28
        movq    SAVE_VA+SAVE_HOST_RSP, %rsp
        pushfq
        popq    SAVE_VA+SAVE_OUT_FLAGS
        pushq   $2
        popfq
exit_fx:
        fxsave  SAVE_VA+SAVE_FX_OUT
        fninit
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret
exit_end:
        .section .note.GNU-stack, "", @progbits
