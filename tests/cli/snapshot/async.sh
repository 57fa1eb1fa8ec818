# of a machine that runs, back when it is taken: what comes next sees it stored
. "$LIB"
printf 'poke 5 1\nsay up\necho\nspin\n' | guest kernel
made web
vmtest start --no-wait web
vmtest wait --serial --text up web
vmtest snapshot --async first
vmtest --json snapshot --async second
vmtest revert first | sed 's/([0-9]* pages, [0-9]* blocks/(N pages, N blocks/'
status vmtest snapshot --progress third | sed 's/([0-9]* pages, [0-9]* blocks/(N pages, N blocks/'
vmtest snapshots | cut -d ' ' -f 1-5
vmtest -q stop --force web
# off, it is stored at once
vmtest snapshot --async fourth
