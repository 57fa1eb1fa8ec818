# A boot sector that looks at floppy drive A for each byte on the serial line: the disk change line, what INT 13h reads of
# the second sector, the change line again, and whether it can be written. A line each, on the serial port.
#include "start.inc"
	mov	$ready, %si
	call	say
next:	mov	$0x3fd, %dx
	in	%dx, %al
	test	$1, %al
	jz	next
	mov	$0x3f8, %dx
	in	%dx, %al
	call	line
	xor	%ax, %ax		# INT 13h: reset, as after any error
	xor	%dx, %dx
	int	$0x13
	movb	$0, 0x8000
	mov	$0x0201, %ax		# read the second sector
	call	sector
	mov	$failed, %si
	jc	1f
	mov	$0x8000, %si
1:	call	say
	call	line
	mov	$0x0301, %ax		# write it back
	call	sector
	mov	$failed, %si
	jc	2f
	mov	$written, %si
2:	call	say
	mov	$end, %si
	call	say
	jmp	next

sector:	mov	$0x0002, %cx
	xor	%dx, %dx
	mov	$0x8000, %bx
	int	$0x13
	ret

# The disk change line, by the digital input register of the selected drive.
line:	mov	$0x3f7, %dx
	in	%dx, %al
	mov	$same, %si
	test	$0x80, %al
	jz	say
	mov	$changed, %si

say:	lodsb
	test	%al, %al
	jz	4f
	call	put
	jmp	say
4:	ret

#include "serial.inc"

ready:	.asciz	"ready\n"
same:	.asciz	"same "
changed: .asciz	"changed "
failed:	.asciz	"failed "
written: .asciz	"written "
end:	.asciz	"\n"
	.org	510
	.word	0xaa55
