. "$LIB"
made web
echo x >file
status vmtest cp file
status vmtest cp file other
status vmtest cp :a :b
status vmtest cp file web:
status vmtest cp file web@one:/x
status vmtest cp file web:/x
status vmtest cp file nobody:/x
status vmtest cp web@absent:/x .
# a time, whose colons are not the path's
status vmtest cp 'web@{2001-01-31T12:00:00Z}:/etc/passwd' out
status vmtest cp file 'web@{5m}:/x'
