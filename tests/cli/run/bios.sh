# without a kernel the BIOS boots; what is no BIOS, and what is no boot order, is one clear line
. "$LIB"
printf 'say hello\npoweroff\n' | bios rom
disk disk.img 1M
vmtest run --bios rom --disk disk.img --mem 16M --boot floppy,disk
printf 'reset\n' | bios rom2
vmtest run --bios rom2 --mem 16M --no-reboot
status vmtest run --bios absent
echo small >small
status vmtest run --bios small
status vmtest run --boot disk,tape
status vmtest run --boot disk,net,disk
status vmtest run --disk disk.img --append x
status vmtest run --disk disk.img -- true
