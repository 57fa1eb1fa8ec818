. "$LIB"
status vmtest check
made web
vmtest -q snapshot one
vmtest check
vmtest check --quick
vmtest --json check
vmtest check --deep
status vmtest check --quick --deep
# what a killed process leaves is no damage; what is lost is told, also after a repair
echo x >"$VMTEST_HOME/packs/99.pack"
vmtest check
vmtest check --repair
vmtest check --repair
truncate -s 100 web.img
status vmtest check --deep
status vmtest --json check --repair
