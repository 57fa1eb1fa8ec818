# every failure of ours is 125
. "$LIB"
made web
status vmtest exec -- true
status vmtest --json exec -- true
status vmtest exec web true
status vmtest exec nobody -- true
status vmtest exec --env A -- true
status vmtest exec --timeout soon -- true
status vmtest exec --
