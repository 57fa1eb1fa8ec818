. "$LIB"
made web
status vmtest install
status vmtest install ./app.deb
status vmtest install app
