# of a machine that is off: its disks
. "$LIB"
made web
vmtest snapshot clean
status vmtest snapshot clean
status vmtest snapshot web@clean
vmtest snapshot web second
vmtest snapshot web@third
status vmtest snapshot web db@x
status vmtest snapshot
status vmtest snapshot 'bad name'
status vmtest snapshot clean~1
status vmtest snapshot --quiesce never x
status vmtest snapshot nobody x
vmtest --json snapshot --note 'a note' fourth
vmtest snapshots
