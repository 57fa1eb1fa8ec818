. "$LIB"
printf 'say up\nspin\n' | guest kernel
made web
for bad in soon 10ms 5m,keep=0 5m,keep 5m,7 400d; do status vmtest set --auto $bad; done
vmtest set --auto 5m
vmtest info | grep auto
vmtest -q start --no-wait web
# while it runs: every second, two are kept; one that was given another name is the user's
vmtest set --auto 1s,keep=2
vmtest info | grep ^auto
await "$XDG_STATE_HOME"/vmtest/log/*.log 1 'snapshot auto-'
tries=0
until vmtest -q rename web "$(vmtest snapshots | awk '/auto-/ { print $1; exit }')" mine; do
    tries=$((tries + 1))
    [ $tries -lt 20 ] || exit 1
done
await "$XDG_STATE_HOME"/vmtest/log/*.log 5 'snapshot auto-'
vmtest set --auto off
vmtest info | grep -c ^auto
vmtest stop -f
vmtest snapshots | awk '{ print $1 }' | sed 's/-.*//'
# what was dropped is no revert or delete to take back
vmtest undo --list
vmtest check
