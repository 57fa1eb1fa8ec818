. "$LIB"
made web
vmtest snapshot -q one
status vmtest rm we
status vmtest rm wbe
vmtest rm web
status vmtest rm web
vmtest list
vmtest check
