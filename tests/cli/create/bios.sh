# a machine that its BIOS boots: what it boots from is kept, shown and changed
. "$LIB"
disk disk.img 1M
printf 'say from the BIOS\nspin\n' | bios rom
vmtest create --image disk.img --bios rom --boot cdrom,disk --mem 16M web
vmtest info web | grep -E '^(bios|boot)'
vmtest start --no-wait web
vmtest stop --force web
vmtest set --boot net web
vmtest info web | grep '^boot'
vmtest set --bios '' --boot '' web
vmtest info web | grep -E -c '^(bios|boot)' || true
status vmtest set --boot disk,,net web
head -c 100000 disk.img >odd
status vmtest set --bios odd web
kernel kernel
vmtest set --kernel kernel --append x web
vmtest set --kernel '' web
vmtest info web | grep -E -c '^(kernel|append)' || true
