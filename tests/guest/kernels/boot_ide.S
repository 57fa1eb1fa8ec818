/* A boot sector for disk and CD (El Torito, no emulation): reads a sector by INT 13h extended read, writes it elsewhere and
 * reads that where the medium is a disk, says the sector's first eight bytes on COM1, and leaves by the debug exit port. */
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    sti
    ljmp $0, $start
start:
    movb $0x42, %ah
    cmpb $0xe0, %dl             /* SeaBIOS numbers CD drives from there */
    jae 1f
    movl $1, lba                /* a disk: sector 1 by way of sector 2 */
    call transfer
    movl $2, lba
    movw $0x4300, %ax
    call transfer
    movw $0x6000, %di           /* what was read is gone */
    movw $256, %cx
    xorw %ax, %ax
    cld
    rep stosw
    movb $0x42, %ah
    call transfer
    jmp 2f
1:  movl $16, lba               /* a CD: its volume descriptor */
    call transfer
2:  movw $0x6000, %si
    movw $8, %cx
3:  lodsb
    movw $0x3f8, %dx
    outb %al, %dx
    loop 3b
    movb $20, %al
    outb %al, $0xf4

/* Function AH with the packet at DS:SI; the drive in DL. A failure is told by the exit port. */
transfer:
    movw $packet, %si
    int $0x13
    jnc 4f
    movb $40, %al
    outb %al, $0xf4
4:  ret

packet:
    .byte 16, 0
    .word 1, 0x6000, 0
lba:
    .long 0, 0

    .org 510
    .word 0xaa55
