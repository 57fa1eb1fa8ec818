# A boot sector and the one after it: says by the BIOS what it was booted from and what the second sector holds, then
# sends each key that the BIOS gives it over the serial line. Escape, and any byte from that line, ends the machine with
# status 43; Ctrl-Alt-Delete is the BIOS's business.
#include "start.inc"
	mov	%dl, drive
	movb	$'C', kind
	test	%dl, %dl
	js	1f
	movb	$'A', kind
1:	mov	$text, %si
	call	say
	mov	$0x0201, %ax		# INT 13h: read the second sector
	mov	$0x0002, %cx
	mov	$0, %dh
	mov	drive, %dl
	mov	$0x8000, %bx
	int	$0x13
	mov	$failed, %si
	jc	2f
	mov	$0x8000, %si
2:	call	say
keys:
	mov	$1, %ah			# INT 16h: is there a key?
	int	$0x16
	jnz	key
	mov	$0x3fd, %dx
	in	%dx, %al
	test	$1, %al
	jnz	end
	hlt
	jmp	keys
key:
	xor	%ax, %ax		# INT 16h: take it
	int	$0x16
	cmp	$0x1b, %al
	je	end
	call	put
	jmp	keys
end:
	mov	$21, %al
	out	%al, $0xf4
3:	hlt
	jmp	3b

# To the screen by INT 10h, to the first serial port by INT 14h.
say:	lodsb
	test	%al, %al
	jz	4f
	push	%ax
	mov	$0x0e, %ah
	mov	$7, %bx
	int	$0x10
	pop	%ax
	mov	$1, %ah
	xor	%dx, %dx
	int	$0x14
	jmp	say
4:	ret

# Fast, and right behind what INT 14h sent.
#include "serial.inc"

drive:	.byte	0
text:	.ascii	"booted from "
kind:	.asciz	"?:\r\n"
failed:	.asciz	"INT 13h failed\r\n"
	.org	510
	.word	0xaa55
	.asciz	"second sector\r\nready\r\n"
	.org	1024
