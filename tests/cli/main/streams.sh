# errors go to standard error, with --json their object to standard output beside it
vmtest lst
vmtest --json lst
vmtest version x --json
