# A boot sector that asks the VGA BIOS for the monitor's EDID (VBE/DDC, INT 10h, AX=4F15h), and sends what it got over the
# serial line: AX and BX of "report capabilities", AX of "read EDID", then the 128 bytes, all in hexadecimal.
#include "start.inc"
	mov	$0x4f15, %ax
	xor	%bx, %bx
	xor	%cx, %cx
	int	$0x10
	call	word
	mov	%bx, %ax
	call	word
	mov	$0x4f15, %ax
	mov	$1, %bx
	xor	%cx, %cx
	xor	%dx, %dx
	mov	$0x8000, %di
	int	$0x10
	call	word
	mov	$0x8000, %si
	mov	$128, %cx
1:	lodsb
	call	byte
	loop	1b
2:	mov	$0x3fd, %dx		# until all is sent
	in	%dx, %al
	test	$0x40, %al
	jz	2b
	mov	$21, %al
	out	%al, $0xf4
3:	hlt
	jmp	3b

# AX, its high byte first
word:	xchg	%al, %ah
	call	byte
	xchg	%al, %ah
byte:	push	%ax
	mov	%al, %ah
	shr	$4, %al
	push	%ax
	call	digit
	pop	%ax
	mov	%ah, %al
	and	$15, %al
	call	digit
	pop	%ax
	ret
digit:	cmp	$10, %al
	sbb	$0x69, %al
	das
#include "serial.inc"
	.org	510
	.word	0xaa55
