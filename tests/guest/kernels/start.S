/* The entry of the test kernel, in three forms: MULTIBOOT gives it a Multiboot 1 header, ADDRESSES the header's address
 * fields as well, PVH the note. probe.c gets the registers that the loader set. */
    .section .boot, "ax"
    .code32
#ifdef MULTIBOOT
#ifdef ADDRESSES
#define FLAGS 0x10003
#elif defined(VIDEO)
#define FLAGS 0x7
#else
#define FLAGS 0x3
#endif
    .align 4
header:
    .long 0x1badb002, FLAGS, -(0x1badb002 + FLAGS)
#ifdef ADDRESSES
    .long header, image_start, image_end, bss_end, start
#else
    .long 0, 0, 0, 0, 0
#endif
    .long 0, 80, 25, 0
#endif

    .globl start
start:
    movl $stack_top, %esp
    pushfl
    pushl %ebx
    pushl %eax
    call probe
halt:
    cli
    hlt
    jmp halt

#ifdef PVH
    .section .note.pvh, "a", @note
    .align 4
    .long 4, 4, 18
    .asciz "Xen"
    .long start
#endif

    .bss
    .align 16
    .skip 16384
stack_top:
    .section .note.GNU-stack, "", @progbits
