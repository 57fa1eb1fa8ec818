. "$LIB"
status vmtest run
status vmtest run -- true
made web
vmtest -q snapshot clean
status vmtest run --from clean
status vmtest run --from cleen -- true
status vmtest run --from clean --mem 1G -- true
status vmtest run --from web@clean word -- true
status vmtest run --kernel absent
status vmtest run --kernel kernel -- true
status vmtest --json run --kernel kernel
echo text >text
status vmtest run --kernel text
status vmtest run --kernel kernel --initrd absent
status env VMTEST_LIBEXEC=/nowhere vmtest run --kernel kernel
status vmtest run --from clean --clock noon -- true
status vmtest run --kernel kernel --frozen
status vmtest run --kernel kernel --cpu pentium2
status vmtest run --cdrom absent
status vmtest run --disk absent --disk-bus scsi
status vmtest run --from clean -j 0 -- true
status vmtest run --from clean -j 2 --copy-out a:b -- true
status vmtest run --from cleen -j 2 -- true
status vmtest run --kernel kernel -j 2
status vmtest run --from clean --warm -j 2 -- true
status vmtest run --from clean --warm -- true
status env VMTEST_WARM_IDLE=soon vmtest run --from clean --warm -- true
status vmtest run --kernel kernel --warm
