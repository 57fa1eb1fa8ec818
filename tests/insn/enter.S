/* Into the tested code and back. native_enter() loads everything from the save page and goes by IRETQ, which sets SS,
 * RSP, the flags, CS and RIP at once; native_enter16() by MOV SS and a far jump, because IRETQ to a 16-bit stack
 * segment does not load all of ESP. The tested code comes back by a jump to exit_begin, copied to EXIT_VA (a far jump
 * of 32-bit code reaches only the low 4 GiB), or the signal handler sends it to exit_fx after it has noted the
 * registers itself. All data is at fixed low addresses: no register is free on either way. SAVE_INSIDE says from when
 * and until when a signal belongs to the tested code. */
#include "layout.h"

        .macro  BEGIN
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, SAVE_VA+SAVE_HOST_RSP
        pushq   $2              /* a signal's return keeps NT, with which IRETQ faults */
        popfq
        movl    SAVE_VA+SAVE_IN_DS, %eax
        movl    %eax, %ds
        movl    SAVE_VA+SAVE_IN_ES, %eax
        movl    %eax, %es
        cmpl    $0, SAVE_VA+SAVE_AVX
        je      1f
        movl    $7, %eax
        xorl    %edx, %edx
        xrstor  SAVE_VA+SAVE_X_IN
        jmp     2f
1:      fxrstor SAVE_VA+SAVE_X_IN
2:
        .endm

        .macro  LOAD_REGISTERS
        movq    SAVE_VA+SAVE_IN_GPR+0, %rax
        movq    SAVE_VA+SAVE_IN_GPR+8, %rcx
        movq    SAVE_VA+SAVE_IN_GPR+16, %rdx
        movq    SAVE_VA+SAVE_IN_GPR+24, %rbx
        movq    SAVE_VA+SAVE_IN_GPR+40, %rbp
        movq    SAVE_VA+SAVE_IN_GPR+48, %rsi
        movq    SAVE_VA+SAVE_IN_GPR+56, %rdi
        movq    SAVE_VA+SAVE_IN_GPR+64, %r8
        movq    SAVE_VA+SAVE_IN_GPR+72, %r9
        movq    SAVE_VA+SAVE_IN_GPR+80, %r10
        movq    SAVE_VA+SAVE_IN_GPR+88, %r11
        movq    SAVE_VA+SAVE_IN_GPR+96, %r12
        movq    SAVE_VA+SAVE_IN_GPR+104, %r13
        movq    SAVE_VA+SAVE_IN_GPR+112, %r14
        movq    SAVE_VA+SAVE_IN_GPR+120, %r15
        movl    $1, SAVE_VA+SAVE_INSIDE
        .endm

        .text
        .globl  native_enter
        .type   native_enter, @function
native_enter:
        BEGIN
        pushq   SAVE_VA+SAVE_IN_SS
        pushq   SAVE_VA+SAVE_IN_GPR+32
        pushq   SAVE_VA+SAVE_IN_FLAGS
        pushq   SAVE_VA+SAVE_IN_CS
        pushq   SAVE_VA+SAVE_IN_RIP
        LOAD_REGISTERS
        iretq
        .size   native_enter, . - native_enter

        .globl  native_enter16
        .type   native_enter16, @function
native_enter16:
        BEGIN
        pushq   SAVE_VA+SAVE_IN_FLAGS
        popfq
        LOAD_REGISTERS
        movw    SAVE_VA+SAVE_IN_SS, %ss
        movq    SAVE_VA+SAVE_IN_GPR+32, %rsp
        ljmpl   *SAVE_VA+SAVE_IN_FAR
        .size   native_enter16, . - native_enter16

        .globl  exit_begin, exit_fx, exit_end
exit_begin:
        movl    $0, SAVE_VA+SAVE_INSIDE
        movq    %rax, SAVE_VA+SAVE_OUT_GPR+0
        movq    %rcx, SAVE_VA+SAVE_OUT_GPR+8
        movq    %rdx, SAVE_VA+SAVE_OUT_GPR+16
        movq    %rbx, SAVE_VA+SAVE_OUT_GPR+24
        movq    %rsp, SAVE_VA+SAVE_OUT_GPR+32
        movq    %rbp, SAVE_VA+SAVE_OUT_GPR+40
        movq    %rsi, SAVE_VA+SAVE_OUT_GPR+48
        movq    %rdi, SAVE_VA+SAVE_OUT_GPR+56
        movq    %r8, SAVE_VA+SAVE_OUT_GPR+64
        movq    %r9, SAVE_VA+SAVE_OUT_GPR+72
        movq    %r10, SAVE_VA+SAVE_OUT_GPR+80
        movq    %r11, SAVE_VA+SAVE_OUT_GPR+88
        movq    %r12, SAVE_VA+SAVE_OUT_GPR+96
        movq    %r13, SAVE_VA+SAVE_OUT_GPR+104
        movq    %r14, SAVE_VA+SAVE_OUT_GPR+112
        movq    %r15, SAVE_VA+SAVE_OUT_GPR+120
        movl    $SEL_DATA, %eax
        movl    %eax, %ss
        movq    SAVE_VA+SAVE_HOST_RSP, %rsp
        pushfq
        popq    SAVE_VA+SAVE_OUT_FLAGS
        pushq   $2
        popfq
exit_fx:
        cmpl    $0, SAVE_VA+SAVE_AVX
        je      1f
        movl    $7, %eax
        xorl    %edx, %edx
        xsave   SAVE_VA+SAVE_X_OUT
        vzeroupper
        jmp     2f
1:      fxsave  SAVE_VA+SAVE_X_OUT
2:      fninit
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret
exit_end:
        .section .note.GNU-stack, "", @progbits
